/* Cases for judging a model by reference answers: one JSON object per line,
 *     {"id": "a", "request": {chat-completions body}, "reference": {assistant message}}
 *     {"id": "b", "prompt": "text of one user turn", "continuation": "text"}
 * The first is rendered as the server would, and everything that the assistant's turn adds to the
 * prompt is the target: reasoning, tool calls, end of sentence. The second asks without thinking,
 * and the target is the text alone. An optional "weight" above 0 counts in the summary (1 when
 * absent). */
#ifndef DS4_GGUF_TOOL_SCORE_CASE_H
#define DS4_GGUF_TOOL_SCORE_CASE_H

#include "ds4.h"

typedef struct ds4_score_case {
    char id[64];
    double weight;
    ds4_tokens prompt, target; /* neither is empty */
} ds4_score_case;

/* `line` without its newline, `n_context`: what the renderer assumes. FORMAT naming the field that
 * is wrong. Free with ds4_score_case_free, also after a failure. */
ds4_status ds4_score_case_parse(const char *line, size_t n, const ds4_tokenizer *tokenizer,
                                uint32_t n_context, ds4_score_case *result, ds4_error *error);
void ds4_score_case_free(ds4_score_case *c);

#endif
