/* What all sub-commands do alike: parse, complain, say sizes. */
#include "gguf-tool/tool.h"

#include <inttypes.h>
#include <stdio.h>

bool ds4_tool_parse(const ds4_program *program, int argc, char **argv, void *values,
                    ds4_options_parsed *parsed, int *exit_status) {
    ds4_error error = {0};
    ds4_strbuf text = {0};
    if (ds4_options_parse(program, argc, argv, values, parsed, &error) != DS4_OK) {
        *exit_status = ds4_tool_misused(program, error.message);
        return false;
    }
    if (parsed->action == DS4_OPTIONS_RUN) return true;
    ds4_options_document(program, parsed->action, 0, &text);
    *exit_status =
        text.failed || fwrite(text.data, 1, text.n, stdout) != text.n ? EXIT_FAILED : EXIT_OK;
    ds4_strbuf_free(&text);
    return false;
}

int ds4_tool_misused(const ds4_program *program, const char *message) {
    fprintf(stderr, "%s: %s\nTry '%s --help'.\n", program->name, message, program->name);
    return EXIT_USAGE;
}

int ds4_tool_failed(const ds4_program *program, const ds4_error *error) {
    fprintf(stderr, "%s: %s\n", program->name, error->message);
    return EXIT_FAILED;
}

const char *ds4_tool_size(uint64_t n_bytes, char text[64]) {
    if (n_bytes < 1000000) {
        snprintf(text, 64, "%" PRIu64 " bytes", n_bytes);
    } else {
        bool is_large = n_bytes >= 1000000000;
        snprintf(text, 64, "%" PRIu64 " bytes (%.2f %s)", n_bytes,
                 (double)n_bytes / (is_large ? 1e9 : 1e6), is_large ? "GB" : "MB");
    }
    return text;
}
