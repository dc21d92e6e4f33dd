#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/chat.h"
#include "cli/cli.h"

int cli_report(const ds4_error *error) {
    fprintf(stderr, "ds4: %s\n", error->message);
    switch (error->status) {
    case DS4_NO_MEMORY:
    case DS4_DOES_NOT_FIT:
        return CLI_NO_RESOURCES;
    default:
        return CLI_FAILED;
    }
}

int cli_report_model(const ds4_error *error) {
    int exit_status = cli_report(error);
    return exit_status == CLI_FAILED ? CLI_BAD_MODEL : exit_status;
}

bool cli_write_out(const char *text, size_t n) {
    return fwrite(text, 1, n, stdout) == n && fflush(stdout) == 0;
}

static unsigned terminal_columns(void) {
    struct winsize size = {0};
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0) return 0;
    return size.ws_col > 120 ? 120 : size.ws_col;
}

static int print_document(const ds4_program *program, ds4_options_action action) {
    ds4_strbuf text = {0};
    ds4_options_document(program, action, terminal_columns(), &text);
    bool written = !text.failed && cli_write_out(text.data, text.n);
    ds4_strbuf_free(&text);
    return written ? CLI_OK : CLI_FAILED;
}

bool cli_parse(const ds4_program *program, int argc, char *const *argv, cli_settings *settings,
               ds4_options_parsed *parsed, int *exit_status) {
    ds4_error error = {0};
    if (ds4_options_parse(program, argc, argv, settings, parsed, &error) != DS4_OK) {
        fprintf(stderr, "%s: %s\n%s: try --help\n", program->name, error.message, program->name);
        *exit_status = CLI_USAGE;
    } else if (parsed->action != DS4_OPTIONS_RUN) {
        *exit_status = print_document(program, parsed->action);
    } else {
        return true;
    }
    ds4_options_free(parsed);
    return false;
}

/* One rewritten line, only for somebody who looks at it. */
static bool show_reading(void *context, uint64_t done, uint64_t total) {
    int *percent = context;
    int now = total > 0 ? (int)(100 * done / total) : 100;
    if (now == *percent) return true;
    *percent = now;
    fprintf(stderr, "\rreading weights: %.1f of %.1f GB (%d%%)%s", (double)done / 1e9,
            (double)total / 1e9, now, done < total ? "\x1b[K" : "\r\x1b[K");
    fflush(stderr);
    return true;
}

ds4_status cli_open_model(const cli_settings *settings, ds4_model **model, ds4_error *error) {
    int percent = -1;
    ds4_model_options options = {.warm = settings->warm, .progress_context = &percent};
    if (settings->warm && isatty(STDERR_FILENO) != 0) options.progress = show_reading;
    ds4_status status = ds4_file_check_model(settings->model, error);
    return status == DS4_OK ? ds4_model_open(settings->model, &options, model, error) : status;
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        int (*run)(int argc, char *const *argv);
    } commands[] = {
        {"tokenize", cli_tokenize},
        {"render", cli_render},
        {"parse", cli_parse_output},
        {"logits", cli_logits},
    };
    for (size_t i = 0; argc > 1 && i < sizeof commands / sizeof commands[0]; i++)
        if (strcmp(argv[1], commands[i].name) == 0) return commands[i].run(argc - 1, argv + 1);
    return cli_chat(argc, argv);
}
