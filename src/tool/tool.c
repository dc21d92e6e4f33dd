/* What all sub-commands do alike: parse, complain, say sizes. */
#include "tool/tool.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"

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

/* "inspect, verify or synth" */
static void list_commands(const ds4_tool_command *commands, size_t n, ds4_strbuf *text) {
    for (size_t i = 0; i < n; i++)
        ds4_strbuf_printf(text, "%s%s",
                          i == 0       ? ""
                          : i + 1 == n ? " or "
                                       : ", ",
                          commands[i].words.name);
}

static void report_lost_pages(int number, siginfo_t *info, void *context) {
    static const char message[] =
        "a file changed on disk while it was read: a part of it is gone\n";
    (void)number, (void)context;
    if (info->si_code != BUS_ADRERR) return; /* comes again, and ends the process */
    ssize_t unused = write(STDERR_FILENO, message, sizeof message - 1);
    (void)unused;
    _exit(EXIT_FAILED);
}

void ds4_tool_watch_mapped_files(void) {
    struct sigaction action = {.sa_sigaction = report_lost_pages,
                               .sa_flags = (int)(SA_SIGINFO | SA_RESETHAND)};
    sigaction(SIGBUS, &action, NULL);
}

int ds4_tool_dispatch(const ds4_program *program, const ds4_tool_command *commands, size_t n,
                      int argc, char **argv) {
    ds4_command words[DS4_TOOL_COMMANDS_MAX];
    ds4_tool_watch_mapped_files();
    for (size_t i = 0; i < n; i++) {
        if (argc > 1 && strcmp(argv[1], commands[i].words.name) == 0)
            return commands[i].run(argc - 1, argv + 1);
        words[i] = commands[i].words;
    }
    ds4_program whole = *program;
    whole.operands = "COMMAND ...";
    whole.commands = words;
    whole.n_commands = n;
    whole.max_operands = DS4_OPERANDS_MAX;
    ds4_options_parsed parsed;
    char unused;
    int exit_status = EXIT_USAGE;
    if (ds4_tool_parse(&whole, argc, argv, &unused, &parsed, &exit_status)) {
        ds4_strbuf message = {0};
        if (parsed.n_operands == 0)
            ds4_strbuf_puts(&message, "missing command (");
        else
            ds4_strbuf_printf(&message, "unknown command: %.60s (", parsed.operands[0]);
        list_commands(commands, n, &message);
        ds4_strbuf_putc(&message, ')');
        exit_status = ds4_tool_misused(&whole, message.data != NULL ? message.data : "");
        ds4_strbuf_free(&message);
    }
    ds4_options_free(&parsed);
    return exit_status;
}

int ds4_tool_misused(const ds4_program *program, const char *message) {
    fprintf(stderr, "%s: %s\nTry '%s --help'.\n", program->name, message, program->name);
    return EXIT_USAGE;
}

int ds4_tool_failed(const ds4_program *program, const ds4_error *error) {
    fprintf(stderr, "%s: %s\n", program->name, error->message);
    return EXIT_FAILED;
}

ds4_status ds4_tool_check_output(const char *path, bool force, ds4_error *error) {
    if (force || access(path, F_OK) != 0) return DS4_OK;
    return ds4_fail(error, DS4_INVALID_ARGUMENT, "'%s' exists; --force replaces it", path);
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
