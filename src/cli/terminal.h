/* The answer on its way to the screen: reasoning in grey, then the text. Events arrive on the
 * engine's thread while the main thread only waits, so nothing here is locked. */
#ifndef DS4_CLI_TERMINAL_H
#define DS4_CLI_TERMINAL_H

#include <stdio.h>

#include "chat/parse.h"
#include "cli/cli.h"

typedef struct cli_terminal {
    FILE *answer;
    FILE *reasoning;      /* NULL: not shown */
    bool grey;            /* colour for reasoning */
    bool guarded;         /* a terminal: the model must not send it escape sequences */
    bool shows_reasoning; /* state: reasoning was the last thing written */
    bool wrote;           /* state: anything was written to `answer` */
    char last;            /* state: its last byte */
    bool failed;          /* nobody reads any more */
} cli_terminal;

void cli_terminal_open(cli_terminal *terminal, const cli_settings *settings);
/* Reasoning and content; other events mean nothing here. */
void cli_terminal_event(cli_terminal *terminal, const ds4_chat_event *event);
/* After the last event, also of an answer that was stopped: colour reset, line ended. */
void cli_terminal_end(cli_terminal *terminal);

#endif
