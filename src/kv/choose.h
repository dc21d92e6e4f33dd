/* Which session serves a prompt, and how it is brought there: a pure function over views of the
 * pool. Any thread; nothing is allocated.
 *
 * Two spellings of one text. A model may sample "Hel" "lo" where the tokenizer would write "Hello".
 * Token by token such a history ends at the first difference although its text goes on agreeing.
 * With `tokenizer` set, the comparison goes on by bytes: where both sides have a token boundary at
 * the same byte, the session's own spelling up to there followed by the prompt's from there on says
 * the same text, and control tokens only ever agree with themselves. Without it only equal tokens
 * count: then what a seeded request is answered does not depend on what was asked before. */
#ifndef DS4_KV_CHOOSE_H
#define DS4_KV_CHOOSE_H

#include "ds4.h"
#include "kv/stats.h"

/* One session of the pool. */
typedef struct ds4_kv_view {
    bool busy;
    const int32_t *tokens; /* what it holds, [n_tokens] */
    const uint64_t *dials; /* the dial of each */
    uint32_t n_tokens;
    uint32_t n_prompt;       /* of these, the first that came in prompts: the others can be sampled
                                again, nobody waits for them to be read */
    uint32_t rewind_floor;   /* smallest length it can be rewound to */
    const uint32_t *anchors; /* further lengths it can return to, [n_anchors], any order */
    uint32_t n_anchors;
    double idle_seconds;
} ds4_kv_view;

typedef struct ds4_kv_prompt {
    const int32_t *tokens;
    uint32_t n;                     /* >= 1 */
    uint64_t dial;                  /* wanted for all of them */
    const ds4_tokenizer *tokenizer; /* NULL: only equal tokens count */
} ds4_kv_prompt;

typedef struct ds4_kv_choice {
    size_t target; /* the session to use; not busy */
    size_t from;   /* the session that holds the prefix; `target` unless CLONED */
    ds4_kv_source source;
    uint32_t n_held; /* tokens of `from` to keep */
    uint32_t n_read; /* prompt tokens these stand for; < n */
    ds4_kv_miss miss;
    uint32_t n_common;  /* equal tokens in the session that agrees longest: the position of the
                           first difference */
    uint32_t n_longest; /* tokens of that session */
} ds4_kv_choice;

/* False: all are busy. `scratch` [largest n_tokens + 1]; may be NULL when there is no tokenizer. */
bool ds4_kv_choose(const ds4_kv_view *views, size_t n_views, const ds4_kv_prompt *prompt,
                   uint32_t *scratch, ds4_kv_choice *choice);

/* What would be lost with it: tokens, fewer the longer nobody asked for it. */
double ds4_kv_view_worth(const ds4_kv_view *view);

#endif
