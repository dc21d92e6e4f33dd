#include "cli/terminal.h"

#include <string.h>
#include <unistd.h>

#define GREY  "\x1b[90m"
#define RESET "\x1b[0m"

void cli_terminal_open(cli_terminal *terminal, const cli_settings *settings) {
    *terminal = (cli_terminal){.answer = stdout};
    if (settings->show_thinking == CLI_SHOW_STDOUT) terminal->reasoning = stdout;
    if (settings->show_thinking == CLI_SHOW_STDERR) terminal->reasoning = stderr;
    bool tty = terminal->reasoning != NULL && isatty(fileno(terminal->reasoning)) != 0;
    const char *kind = ds4_environment("TERM");
    bool capable =
        tty && ds4_environment("NO_COLOR") == NULL && !(kind != NULL && strcmp(kind, "dumb") == 0);
    terminal->grey =
        settings->color == CLI_COLOR_ALWAYS || (settings->color == CLI_COLOR_AUTO && capable);
    terminal->guarded = isatty(STDOUT_FILENO) != 0 || tty;
}

static void put(cli_terminal *terminal, FILE *file, const char *bytes, size_t n) {
    if (n == 0) return;
    if (fwrite(bytes, 1, n, file) != n) terminal->failed = true;
    if (file == terminal->answer) {
        terminal->last = bytes[n - 1];
        terminal->wrote = true;
    }
}

static bool is_control(char byte) {
    unsigned char code = (unsigned char)byte;
    return (code < 0x20 && code != '\n' && code != '\t') || code == 0x7f;
}

/* The model's text; on a terminal without the control characters that could drive it. */
static void put_text(cli_terminal *terminal, FILE *file, ds4_text text) {
    size_t start = 0;
    for (size_t i = 0; terminal->guarded && i < text.n; i++) {
        if (!is_control(text.data[i])) continue;
        put(terminal, file, text.data + start, i - start);
        start = i + 1;
    }
    put(terminal, file, text.data + start, text.n - start);
    if (fflush(file) != 0) terminal->failed = true;
}

static void end_reasoning(cli_terminal *terminal) {
    if (!terminal->shows_reasoning) return;
    terminal->shows_reasoning = false;
    /* The colour is no text: the last byte stays the model's. */
    if (terminal->grey) fputs(RESET, terminal->reasoning);
    if (terminal->reasoning != terminal->answer)
        fputc('\n', terminal->reasoning);
    else if (terminal->last != '\n')
        put(terminal, terminal->answer, "\n", 1);
    fflush(terminal->reasoning);
}

void cli_terminal_event(cli_terminal *terminal, const ds4_chat_event *event) {
    if (event->type == DS4_EVENT_REASONING && terminal->reasoning != NULL) {
        if (!terminal->shows_reasoning && terminal->grey) fputs(GREY, terminal->reasoning);
        terminal->shows_reasoning = true;
        put_text(terminal, terminal->reasoning, event->text);
    } else if (event->type == DS4_EVENT_CONTENT) {
        end_reasoning(terminal);
        put_text(terminal, terminal->answer, event->text);
    }
}

void cli_terminal_end(cli_terminal *terminal) {
    end_reasoning(terminal);
    if (terminal->wrote && terminal->last != '\n') put(terminal, terminal->answer, "\n", 1);
    if (fflush(terminal->answer) != 0) terminal->failed = true;
}
