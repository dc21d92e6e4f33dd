/* From thinking controls to what the prompt and the parser do: thinking off, on, or on with the
 * longest effort. */
#ifndef DS4_CHAT_THINK_H
#define DS4_CHAT_THINK_H

#include "chat/chat_request.h"

typedef enum ds4_think_mode {
    DS4_THINK_NONE, /* the answer begins behind </think> */
    DS4_THINK_HIGH,
    DS4_THINK_MAX, /* only in a context of at least DS4_THINK_MAX_CONTEXT tokens, otherwise HIGH */
} ds4_think_mode;

#define DS4_THINK_MAX_CONTEXT 393216u

/* What an effort means is a property of the weights: mode and the text that opens the prompt (NULL:
 * none). */
typedef struct ds4_effort_rule {
    ds4_think_mode mode;
    const char *prefix;
} ds4_effort_rule;

typedef struct ds4_effort_table {
    const char *name;
    ds4_effort_rule rules[DS4_EFFORT_COUNT]; /* by ds4_effort */
    ds4_effort_rule short_context;           /* replaces a MAX rule below DS4_THINK_MAX_CONTEXT */
} ds4_effort_table;

/* The first V4 Flash weights: none, high (every middle name), max. */
extern const ds4_effort_table ds4_effort_table_first;
/* The later refresh of the weights: low (the default, no text), high, max, each other name one of
 * these. */
extern const ds4_effort_table ds4_effort_table_refresh;

/* The rule that holds for these controls in a context of `n_context` tokens. */
ds4_effort_rule ds4_think_resolve(const ds4_effort_table *table, ds4_think_controls controls,
                                  uint32_t n_context);

/* "none", "minimal", ... "max" -> effort; false for any other word. */
bool ds4_effort_from_name(ds4_text name, ds4_effort *effort);

/* What the model's name says when the request has no thinking control of its own: deepseek-chat
 * does not think. */
bool ds4_model_name_disables_thinking(ds4_text model);

#endif
