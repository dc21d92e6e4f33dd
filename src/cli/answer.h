/* One answer from the engine: submitted to a scheduler of one slot (the server's own path, so that
 * a seed gives the same text here and there), watched from the main thread, stopped by Ctrl-C. */
#ifndef DS4_CLI_ANSWER_H
#define DS4_CLI_ANSWER_H

#include "chat/parse.h"
#include "cli/cli.h"
#include "cli/terminal.h"
#include "sched/sched.h"

typedef struct cli_answer {
    ds4_chat_result message; /* free with ds4_chat_result_free; also what a stopped answer said */
    uint32_t n_evaluated;    /* prompt tokens that were not found in the session */
    uint32_t n_generated;
    uint32_t n_steered; /* of these, evaluated under the dial */
    double prefill_seconds, decode_seconds;
    bool interrupted;
} cli_answer;

ds4_status cli_engine_open(const cli_settings *settings, const ds4_model *model, ds4_sched **sched,
                           ds4_error *error);

/* Writes the answer to `terminal` and fills *answer, which the caller zero-initialised. An
 * interrupted answer is no error. CONTEXT_FULL when the prompt leaves no room. */
ds4_status cli_answer_run(ds4_sched *sched, const cli_settings *settings, const ds4_tokens *prompt,
                          bool thinking, cli_terminal *terminal, cli_answer *answer,
                          ds4_error *error);

/* The line `ds4: prefill: X t/s, generation: Y t/s` on standard error. */
void cli_answer_print_rates(const cli_answer *answer);

#endif
