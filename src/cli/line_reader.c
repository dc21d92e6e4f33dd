#include "cli/line_reader.h"

#include <histedit.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/options.h"
#include "base/strbuf.h"

enum { HISTORY_LINES = 512 };

struct cli_line_reader {
    const char *prompt;
    EditLine *editor; /* NULL: not a terminal */
    History *history;
    ds4_strbuf history_path;
    char *line; /* owned copy of the current line */
    size_t capacity;
    bool cleared;
};

static char *give_prompt(EditLine *editor) {
    cli_line_reader *reader = NULL;
    el_get(editor, EL_CLIENTDATA, &reader);
    return (char *)(uintptr_t)reader->prompt;
}

/* The terminal delivers Ctrl-C as a character while a line is edited, so no signal is involved. */
static unsigned char on_clear(EditLine *editor, int character) {
    (void)character;
    cli_line_reader *reader = NULL;
    el_get(editor, EL_CLIENTDATA, &reader);
    reader->cleared = true;
    return CC_NEWLINE;
}

static void open_history(cli_line_reader *reader) {
    HistEvent event;
    const char *home = ds4_environment("HOME");
    ds4_strbuf_printf(&reader->history_path, "%s/.ds4_history", home != NULL ? home : ".");
    reader->history = history_init();
    if (reader->history == NULL) return;
    history(reader->history, &event, H_SETSIZE, (int)HISTORY_LINES);
    history(reader->history, &event, H_SETUNIQUE, 1);
    if (!reader->history_path.failed)
        history(reader->history, &event, H_LOAD, reader->history_path.data);
    el_set(reader->editor, EL_HIST, history, reader->history);
}

ds4_status cli_line_reader_open(const char *prompt, cli_line_reader **result, ds4_error *error) {
    cli_line_reader *reader = calloc(1, sizeof *reader);
    if (reader == NULL) return ds4_fail_memory(error, sizeof *reader, "the line reader");
    reader->prompt = prompt;
    if (isatty(STDIN_FILENO) != 0 && isatty(STDOUT_FILENO) != 0) {
        setlocale(LC_CTYPE, "");
        reader->editor = el_init("ds4", stdin, stdout, stderr);
        if (reader->editor == NULL) {
            free(reader);
            return ds4_fail(error, DS4_IO, "the terminal cannot be used for line editing");
        }
        el_set(reader->editor, EL_CLIENTDATA, reader);
        el_set(reader->editor, EL_PROMPT, give_prompt);
        el_set(reader->editor, EL_EDITOR, "emacs");
        /* The narrow form of this call would keep copies of both strings for ever. */
        el_wset(reader->editor, EL_ADDFN, L"ds4-clear", L"give up this line", on_clear);
        el_set(reader->editor, EL_BIND, "^C", "ds4-clear", NULL);
        el_set(reader->editor, EL_SETTY, "-d", "-isig", NULL);
        open_history(reader);
        /* Between the prompt and the first key the terminal is not yet in editing mode. */
        signal(SIGINT, SIG_IGN);
    }
    *result = reader;
    return DS4_OK;
}

void cli_line_reader_close(cli_line_reader *reader) {
    if (reader == NULL) return;
    if (reader->history != NULL) history_end(reader->history);
    if (reader->editor != NULL) el_end(reader->editor);
    ds4_strbuf_free(&reader->history_path);
    free(reader->line);
    free(reader);
}

static void remember(cli_line_reader *reader, const char *line) {
    HistEvent event;
    if (reader->history == NULL || line[0] == '\0') return;
    history(reader->history, &event, H_ENTER, line);
    /* A history that cannot be saved is no reason to disturb the chat. */
    if (!reader->history_path.failed)
        history(reader->history, &event, H_SAVE, reader->history_path.data);
}

static cli_line next_edited(cli_line_reader *reader, char **line) {
    int n = 0;
    reader->cleared = false;
    const char *text = el_gets(reader->editor, &n);
    if (reader->cleared) {
        fputs("^C\n", stdout);
        fflush(stdout);
        return CLI_LINE_CLEARED;
    }
    if (text == NULL || n <= 0) {
        fputc('\n', stdout);
        return CLI_LINE_END;
    }
    free(reader->line);
    reader->line = strndup(text, strcspn(text, "\n"));
    if (reader->line == NULL) return CLI_LINE_END;
    remember(reader, reader->line);
    *line = reader->line;
    return CLI_LINE_OK;
}

cli_line cli_line_reader_next(cli_line_reader *reader, char **line) {
    if (reader->editor != NULL) return next_edited(reader, line);
    ssize_t n = getline(&reader->line, &reader->capacity, stdin);
    if (n < 0) return CLI_LINE_END;
    if (n > 0 && reader->line[n - 1] == '\n') reader->line[n - 1] = '\0';
    *line = reader->line;
    return CLI_LINE_OK;
}
