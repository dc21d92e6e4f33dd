/* Log-probabilities of sampled tokens on their way to the client: they wait until the text that the
 * tokens spell was released by the parser, and are dropped when it never is (a stop sequence,
 * markup). Engine thread. */
#ifndef DS4_SERVER_LOGPROBS_OUT_H
#define DS4_SERVER_LOGPROBS_OUT_H

#include "sched/generation.h"

typedef struct ds4_logprobs_entry {
    bool reasoning;
    size_t begin;   /* where its text begins in its channel */
    ds4_text bytes; /* the entry's own copy, behind the struct */
    float logprob;
    uint32_t n_top;
    ds4_logprob top[DS4_MAX_TOP_LOGPROBS];
    struct ds4_logprobs_entry *next;
} ds4_logprobs_entry;

/* Zero-initialise; ds4_logprobs_out_free. */
typedef struct ds4_logprobs_out {
    const ds4_tokenizer *tokenizer;
    ds4_logprobs_entry *first, *last; /* waiting */
    size_t n_sampled[2]; /* bytes sampled, and released as text: [0] content, [1] reasoning */
    size_t n_released[2];
    bool failed;
} ds4_logprobs_out;

void ds4_logprobs_out_free(ds4_logprobs_out *out);
void ds4_logprobs_out_add(ds4_logprobs_out *out, const ds4_sampled_token *token);
/* So many more bytes of text were released. */
void ds4_logprobs_out_release(ds4_logprobs_out *out, bool reasoning, size_t n);

/* Takes the entries of a channel whose text was released and appends them as JSON values with
 * commas between: {"token","logprob","bytes","top_logprobs"}. False: there were none. */
bool ds4_logprobs_out_take(ds4_logprobs_out *out, bool reasoning, ds4_strbuf *json);
/* The same in the shape of the older completions: the four arrays as one object. */
void ds4_logprobs_out_take_legacy(ds4_logprobs_out *out, ds4_strbuf *json);

#endif
