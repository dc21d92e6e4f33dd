/* Finds the first of several stop sequences in a byte stream, each byte being looked at once per
 * sequence. What may be the beginning of one is held back. "First" is the match that completes
 * first; of those that complete with the same byte, the longest. */
#ifndef DS4_CHAT_STOP_MATCH_H
#define DS4_CHAT_STOP_MATCH_H

#include "base/strbuf.h"
#include "chat/chat_request.h"

typedef struct ds4_stop_sequence {
    const char *bytes;
    size_t n;
    size_t *fallback; /* of each prefix: its longest proper border */
    size_t matched;
} ds4_stop_sequence;

typedef struct ds4_stop_matcher {
    ds4_stop_sequence *sequences;
    size_t n_sequences;
    const ds4_stop_sequence *met; /* the one that is complete; NULL before */
    void *memory;                 /* one block: sequences, tables, copies of the bytes */
    ds4_strbuf held;
} ds4_stop_matcher;

/* Empty sequences are ignored. The bytes are copied. */
ds4_status ds4_stop_matcher_create(ds4_stop_matcher *matcher, const ds4_text *stops, size_t n_stops,
                                   ds4_error *error);
void ds4_stop_matcher_free(ds4_stop_matcher *matcher);

/* Appends to `out` what is certainly no part of a stop sequence. True when one is complete: `out`
 * has got everything before it, and the matcher is at its end. */
bool ds4_stop_matcher_push(ds4_stop_matcher *matcher, char byte, ds4_strbuf *out);
/* Nothing follows: releases what was held back. */
void ds4_stop_matcher_end(ds4_stop_matcher *matcher, ds4_strbuf *out);

#endif
