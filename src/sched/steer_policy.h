/* Which rows of an answer a dial edits (docs/steering.md). A row is the evaluation of one token: it
 * leaves the token's keys and values, and its logits choose the next token. Pure functions; any
 * thread. */
#ifndef DS4_SCHED_STEER_POLICY_H
#define DS4_SCHED_STEER_POLICY_H

#include "chat/chat_request.h"
#include "chat/parse.h"

/* Whether the rows of the prompt are edited: only ALWAYS does that, so the prompts of all other
 * requests share their rows. */
bool ds4_steer_policy_edits_prompt(ds4_steer_policy policy);

/* Whether the row of a token is edited. `before` and `after`: the parser's phase around the token;
 * `speaking`: a visible token of the answer was chosen, this one included. */
bool ds4_steer_policy_edits(ds4_steer_policy policy, ds4_output_phase before,
                            ds4_output_phase after, bool speaking);

/* Whether a token is the beginning of visible prose: it has a byte that is not white space, and
 * with tools the first such byte is not the beginning of a tag. `is_control`: it is no ordinary
 * text. */
bool ds4_steer_begins_prose(const char *bytes, size_t n, bool is_control, bool tools_active);

#endif
