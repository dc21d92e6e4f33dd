#include "sched/draw.h"

#include <stdlib.h>

#include "base/error.h"
#include "chat/control.h"
#include "sample/sampler.h"
#include "tokenizer/tokenizer.h"

struct ds4_ban_set {
    size_t n_vocab;
    uint64_t words[];
};

struct ds4_draw {
    const ds4_ban_set *bans;
    ds4_sampler *sampler;
    ds4_logit_edit *edit; /* NULL: nothing to change */
};

ds4_status ds4_ban_set_create(const ds4_model *model, ds4_ban_set **out, ds4_error *error) {
    const ds4_tokenizer *tokenizer = ds4_model_get_tokenizer(model);
    size_t n_vocab = ds4_model_get_info(model)->n_vocab, n_words = (n_vocab + 63) / 64;
    size_t n_bytes = sizeof(ds4_ban_set) + n_words * sizeof(uint64_t);
    ds4_ban_set *set = calloc(1, n_bytes);
    if (set == NULL) return ds4_fail_memory(error, n_bytes, "the set of banned tokens");
    set->n_vocab = n_vocab;
    for (size_t i = 0; i < n_vocab; i++) {
        if (ds4_control_is_banned(tokenizer, (int32_t)i))
            set->words[i / 64] |= (uint64_t)1 << (i % 64);
    }
    *out = set;
    return DS4_OK;
}

void ds4_ban_set_destroy(ds4_ban_set *set) {
    free(set);
}

bool ds4_ban_set_has(const ds4_ban_set *set, int32_t id) {
    if (id < 0 || (size_t)id >= set->n_vocab) return true;
    return (set->words[(size_t)id / 64] >> ((size_t)id % 64) & 1) != 0;
}

const uint64_t *ds4_ban_set_words(const ds4_ban_set *set) {
    return set->words;
}

size_t ds4_ban_set_n_words(const ds4_ban_set *set) {
    return (set->n_vocab + 63) / 64;
}

ds4_status ds4_draw_create(const ds4_ban_set *bans, const ds4_draw_params *params, ds4_draw **out,
                           ds4_error *error) {
    ds4_draw *draw = calloc(1, sizeof *draw);
    if (draw == NULL) return ds4_fail_memory(error, sizeof *draw, "a sampler");
    draw->bans = bans;
    ds4_status status = ds4_sampler_create(bans->n_vocab, &draw->sampler, error);
    if (status == DS4_OK) {
        ds4_sampling_params sampling = {.temperature = params->temperature,
                                        .top_k = params->top_k,
                                        .top_p = params->top_p,
                                        .min_p = params->min_p};
        status = ds4_sampler_set_params(draw->sampler, &sampling, error);
    }
    if (status == DS4_OK && ds4_logit_edit_is_needed(&params->edit))
        status = ds4_logit_edit_create(bans->n_vocab, &params->edit, &draw->edit, error);
    if (status != DS4_OK) {
        ds4_draw_destroy(draw);
        return status;
    }
    ds4_sampler_seed(draw->sampler, params->seed);
    *out = draw;
    return DS4_OK;
}

void ds4_draw_destroy(ds4_draw *draw) {
    if (draw == NULL) return;
    ds4_sampler_destroy(draw->sampler);
    ds4_logit_edit_destroy(draw->edit);
    free(draw);
}

void ds4_draw_add_prompt(ds4_draw *draw, const int32_t *tokens, size_t n) {
    if (draw->edit != NULL) ds4_logit_edit_add_prompt(draw->edit, tokens, n);
}

ds4_status ds4_draw_token(ds4_draw *draw, const float *logits, const uint64_t *banned, bool greedy,
                          int32_t *token, ds4_error *error) {
    ds4_token_mask mask = {banned != NULL ? banned : draw->bans->words};
    ds4_status status;
    if (greedy) {
        status = ds4_sampler_pick_greedy(draw->sampler, logits, &mask, token, error);
    } else {
        if (draw->edit != NULL) logits = ds4_logit_edit_apply(draw->edit, logits);
        status = ds4_sampler_pick(draw->sampler, logits, &mask, token, error);
    }
    return status;
}

ds4_rng *ds4_draw_rng(ds4_draw *draw) {
    return ds4_sampler_rng(draw->sampler);
}

void ds4_draw_accept(ds4_draw *draw, int32_t token) {
    if (draw->edit != NULL) ds4_logit_edit_add_picked(draw->edit, token);
}
