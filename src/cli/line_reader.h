/* Lines of an interactive user: with editing and history on a terminal (libedit), plain otherwise.
 */
#ifndef DS4_CLI_LINE_READER_H
#define DS4_CLI_LINE_READER_H

#include "ds4.h"

typedef struct cli_line_reader cli_line_reader;

typedef enum cli_line {
    CLI_LINE_OK,
    CLI_LINE_CLEARED, /* Ctrl-C at the prompt: the line is void, ask again */
    CLI_LINE_END,     /* Ctrl-D on an empty line, or end of file */
} cli_line;

/* `prompt` must outlive the reader. */
ds4_status cli_line_reader_open(const char *prompt, cli_line_reader **reader, ds4_error *error);
void cli_line_reader_close(cli_line_reader *reader);

/* *line without its newline, valid until the next call. On a terminal the line goes to the history
 * ($HOME/.ds4_history, 512 entries), which is saved at once. */
cli_line cli_line_reader_next(cli_line_reader *reader, char **line);

#endif
