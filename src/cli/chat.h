/* The chat itself: `ds4 -p PROMPT` answers once, `ds4` alone talks. */
#ifndef DS4_CLI_CHAT_H
#define DS4_CLI_CHAT_H

#include "cli/answer.h"
#include "cli/cli.h"
#include "cli/conversation.h"

typedef struct cli_chat_state {
    cli_settings *settings;
    const ds4_model *model;
    const ds4_tokenizer *tokenizer;
    ds4_sched *sched;
    bool steers_attention; /* the dial at the start steers attention alone: /steer N turns that */
    cli_conversation conversation;
    cli_answer last; /* numbers of the last answer, for /stats; its message is released */
} cli_chat_state;

/* The program with its arguments. */
int cli_chat(int argc, char *const *argv);

/* Answers the conversation, whose last turn is the user's, and appends what was said. On failure,
 * or when it was stopped before the first word, the user's turn is taken back. */
ds4_status cli_chat_reply(cli_chat_state *chat, bool *interrupted, ds4_error *error);

/* Says what --think-max comes to in this context; NULL when nothing needs to be said. */
const char *cli_think_warning(const cli_settings *settings);

/* Reads lines until /quit or the end of input; returns the exit status. */
int cli_repl_run(cli_chat_state *chat);

#endif
