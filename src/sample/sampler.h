/* From a row of logits to one token: temperature, top-k, top-p, min-p, one seeded draw
 * (docs/sampling.md).
 *
 * Reproducible by construction: given the same logits, parameters, mask and random state the same
 * token comes out on every machine. Sums are float32 in a stated order, exp is float64 rounded to
 * float32, ties go to the lower id, and exactly one random number is drawn per token sampled at a
 * temperature above zero (none when greedy).
 *
 * A sampler owns buffers for its vocabulary, allocated at creation; picking allocates nothing. One
 * thread at a time.
 */
#ifndef DS4_SAMPLE_SAMPLER_H
#define DS4_SAMPLE_SAMPLER_H

#include "ds4.h"

typedef struct ds4_sampling_params {
    float temperature; /* <= 0: greedy, the largest logit */
    int32_t top_k;     /* keep the k likeliest, at most 1024; <= 0: all */
    float top_p;       /* keep the likeliest until their sum reaches p; <= 0 or >= 1: all */
    float min_p;       /* drop what is less likely than min_p x the likeliest; < 0: 0 */
} ds4_sampling_params;

/* Tokens that must not be picked, applied before everything else; they count as if their logit were
 * NaN. A set bit of word id/64 at id%64 means banned. */
typedef struct ds4_token_mask {
    const uint64_t *banned; /* borrowed; (n_vocab + 63) / 64 words */
} ds4_token_mask;

/* xorshift64*: the whole state is one number, the seed itself. */
typedef struct ds4_rng {
    uint64_t state;
} ds4_rng;

uint64_t ds4_rng_next(ds4_rng *rng);
float ds4_rng_uniform(
    ds4_rng *rng); /* in [0, 1), a multiple of 2^-24: the top bits of the next number */

typedef struct ds4_sampler ds4_sampler;

ds4_status ds4_sampler_create(size_t n_vocab, ds4_sampler **sampler, ds4_error *error);
void ds4_sampler_destroy(ds4_sampler *sampler); /* NULL is fine */

/* INVALID_ARGUMENT when a parameter is NaN or infinite. */
ds4_status ds4_sampler_set_params(ds4_sampler *sampler, const ds4_sampling_params *params,
                                  ds4_error *error);
const ds4_sampling_params *ds4_sampler_get_params(const ds4_sampler *sampler);
/* Starts the random sequence afresh. */
void ds4_sampler_seed(ds4_sampler *sampler, uint64_t seed);
/* The random state, to be kept and restored. */
ds4_rng *ds4_sampler_rng(ds4_sampler *sampler);

/* Picks one of n_vocab logits with the sampler's parameters and advances its random state. Logits
 * that are NaN or infinite never win. `mask` may be NULL. INVALID_ARGUMENT when no finite logit is
 * left; the state is then unmoved. */
ds4_status ds4_sampler_pick(ds4_sampler *sampler, const float *logits, const ds4_token_mask *mask,
                            int32_t *token, ds4_error *error);
/* The same at temperature 0 whatever the parameters say; the random state does not move. */
ds4_status ds4_sampler_pick_greedy(const ds4_sampler *sampler, const float *logits,
                                   const ds4_token_mask *mask, int32_t *token, ds4_error *error);

/* ---- log-probabilities ---- */

typedef struct ds4_logprob {
    int32_t id; /* -1 past the last finite logit */
    float logprob;
} ds4_logprob;

/* Log-probabilities of the raw distribution: temperature 1, nothing filtered, finite logits only.
 * `top` receives the `n_top` likeliest in descending order, ties by ascending id. */
void ds4_logprobs_top(const float *logits, size_t n_vocab, ds4_logprob *top, size_t n_top);
/* That of one token; -infinity when its logit is not finite. */
float ds4_logprob_of(const float *logits, size_t n_vocab, int32_t id);

#endif
