/* The seven control tokens that the template and the parser know, and their spelling. Their ids are
 * the tokenizer's. */
#ifndef DS4_CHAT_CONTROL_H
#define DS4_CHAT_CONTROL_H

#include "ds4.h"

typedef enum ds4_control {
    DS4_CONTROL_NONE,
    DS4_CONTROL_BOS,
    DS4_CONTROL_EOS,
    DS4_CONTROL_USER,
    DS4_CONTROL_ASSISTANT,
    DS4_CONTROL_THINK,     /* <think> */
    DS4_CONTROL_THINK_END, /* </think> */
    DS4_CONTROL_DSML,      /* a fragment of the tool-call tags */
} ds4_control;
#define DS4_CONTROL_COUNT 8

/* NUL-terminated UTF-8; "" for NONE. */
const char *ds4_control_spelling(ds4_control control);

/* The ids of one vocabulary; -1 for a control that it lacks. */
typedef struct ds4_control_ids {
    int32_t id[DS4_CONTROL_COUNT]; /* by ds4_control; [NONE] is -1 */
} ds4_control_ids;

ds4_control_ids ds4_control_ids_of(const ds4_tokenizer *tokenizer);
/* NONE for an ordinary token. */
ds4_control ds4_control_of_id(const ds4_control_ids *ids, int32_t id);

/* Whether an answer may not contain the token: what plain text cannot yield (placeholders, other
 * models' markers), except EOS, USER (which ends the turn like EOS), <think>, </think> and DSML.
 * For the sampler's mask. */
bool ds4_control_is_banned(const ds4_tokenizer *tokenizer, int32_t id);

#endif
