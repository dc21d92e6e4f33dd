/* Changes to a row of logits before a token is picked from it: biases, and penalties for what was
 * said already (docs/sampling.md).
 *
 * Owns a copy of the row and one counter per token of the vocabulary, allocated at creation. One
 * thread at a time. */
#ifndef DS4_SAMPLE_LOGIT_EDIT_H
#define DS4_SAMPLE_LOGIT_EDIT_H

#include "ds4.h"

typedef struct ds4_token_bias {
    int32_t id;
    float bias;
} ds4_token_bias;

typedef struct ds4_logit_edit_params {
    float presence, frequency; /* subtracted once, and once for each time, a token was picked */
    float repetition; /* divides the positive, multiplies the other logits of tokens that were
                         picked or stand in the prompt; 1 or 0: off */
    const ds4_token_bias *biases; /* copied; added in the end */
    size_t n_biases;
} ds4_logit_edit_params;

/* Whether the parameters change anything. */
bool ds4_logit_edit_is_needed(const ds4_logit_edit_params *params);

typedef struct ds4_logit_edit ds4_logit_edit;

/* INVALID_ARGUMENT for an id that the vocabulary lacks or a number that is not finite. */
ds4_status ds4_logit_edit_create(size_t n_vocab, const ds4_logit_edit_params *params,
                                 ds4_logit_edit **edit, ds4_error *error);
void ds4_logit_edit_destroy(ds4_logit_edit *edit);

/* The prompt counts for the repetition penalty only. */
void ds4_logit_edit_add_prompt(ds4_logit_edit *edit, const int32_t *tokens, size_t n);
void ds4_logit_edit_add_picked(ds4_logit_edit *edit, int32_t token);
/* The changed row; valid until the next call. */
const float *ds4_logit_edit_apply(ds4_logit_edit *edit, const float *logits);

#endif
