/* Drawing the tokens of one answer: the sampler with its parameters, seed and the model's ban set.
 */
#ifndef DS4_SCHED_DRAW_H
#define DS4_SCHED_DRAW_H

#include "ds4.h"
#include "sample/logit_edit.h"
#include "sample/sampler.h"

/* Which tokens an answer can never contain: control tokens that would only be noise in it, and ids
 * past the vocabulary. Read-only after creation, shared by all answers of a model, any thread. */
typedef struct ds4_ban_set ds4_ban_set;
ds4_status ds4_ban_set_create(const ds4_model *model, ds4_ban_set **set, ds4_error *error);
void ds4_ban_set_destroy(ds4_ban_set *set);
bool ds4_ban_set_has(const ds4_ban_set *set, int32_t id);
/* Word id / 64, bit id % 64; (vocabulary + 63) / 64 words. */
const uint64_t *ds4_ban_set_words(const ds4_ban_set *set);
size_t ds4_ban_set_n_words(const ds4_ban_set *set);

typedef struct ds4_draw_params {
    float temperature, top_p, min_p;
    int32_t top_k;
    uint64_t seed;
    ds4_logit_edit_params edit;
} ds4_draw_params;

typedef struct ds4_draw ds4_draw;
/* `bans` must outlive it. INVALID_ARGUMENT for a parameter that is not finite. */
ds4_status ds4_draw_create(const ds4_ban_set *bans, const ds4_draw_params *params, ds4_draw **draw,
                           ds4_error *error);
void ds4_draw_destroy(ds4_draw *draw);
/* What the repetition penalty counts besides the picked tokens. */
void ds4_draw_add_prompt(ds4_draw *draw, const int32_t *tokens, size_t n);
/* `banned`: what may not come, instead of the ban set (which it should contain); NULL: the ban set.
 * `greedy`: the likeliest token whatever the parameters say; no random number is used
 * up, and penalties and biases are left out: they would break the markup. Nothing is remembered of
 * the token until it is accepted. */
ds4_status ds4_draw_token(ds4_draw *draw, const float *logits, const uint64_t *banned, bool greedy,
                          int32_t *token, ds4_error *error);
/* The random state, to be kept and restored. */
ds4_rng *ds4_draw_rng(ds4_draw *draw);
/* The token is part of the output: penalties count it. */
void ds4_draw_accept(ds4_draw *draw, int32_t token);

#endif
