/* What an answer must look like, from a chat request: a response format, tool calls that must come,
 * and tool calls that, once begun, are whole, known and fit their schemas.
 *
 * Made by whoever parses the request; read-only afterwards and counted, so that the answer in the
 * making and the request may end in any order, in any threads.
 */
#ifndef DS4_CONSTRAINT_CONSTRAINT_H
#define DS4_CONSTRAINT_CONSTRAINT_H

#include "chat/chat_request.h"
#include "constraint/grammar.h"

#define DS4_CONSTRAINT_PATH_BYTES 200u

typedef struct ds4_constraint ds4_constraint;

/* *constraint is NULL when nothing is asked for. `guide_calls`: calls of tools that the model may
 * make (tool_choice auto) are guided too. On failure `path` (DS4_CONSTRAINT_PATH_BYTES) names the
 * part of the request that is to blame: FORMAT, UNSUPPORTED, NO_MEMORY. Schemas of tools never
 * fail: what cannot be enforced is left free, and ds4_constraint_note says so. */
ds4_status ds4_constraint_create(const ds4_chat_request *request, bool guide_calls,
                                 ds4_constraint **constraint, char *path, ds4_error *error);
ds4_constraint *ds4_constraint_retain(ds4_constraint *constraint); /* NULL is fine */
void ds4_constraint_release(ds4_constraint *constraint);           /* NULL is fine */

const ds4_grammar *ds4_constraint_grammar(const ds4_constraint *constraint);
/* True: the grammar begins with the answer's text, which must match from its first byte on. False:
 * text is free, and the grammar begins behind the < and the DSML word that open a tool block. */
bool ds4_constraint_from_start(const ds4_constraint *constraint);
/* For the log: parameters of tools whose schemas are not enforced, and why; "" when there are none.
 */
const char *ds4_constraint_note(const ds4_constraint *constraint);

/* ---- tool_calls.c ---- */

typedef struct ds4_tool_rules {
    size_t n_free; /* parameters whose schema is not enforced */
    char reason[160];
} ds4_tool_rules;

/* The rest of a tool block behind `<` and the DSML word, then `next`: calls of these tools, at most
 * one when `one_call`. Only `only` when its data is not NULL. */
ds4_status ds4_tool_calls_compile(ds4_grammar *grammar, const ds4_chat_tool *tools, size_t n_tools,
                                  ds4_text only, bool one_call, bool with_schemas, uint32_t next,
                                  uint32_t *start, ds4_tool_rules *rules, ds4_error *error);

#endif
