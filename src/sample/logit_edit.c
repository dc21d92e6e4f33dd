#include "sample/logit_edit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

struct ds4_logit_edit {
    size_t n_vocab;
    ds4_logit_edit_params params;
    ds4_token_bias *biases;
    float *row;         /* [n_vocab] */
    uint32_t *picked;   /* [n_vocab]: how often */
    uint8_t *in_prompt; /* [n_vocab] */
    int32_t *touched;   /* [n_vocab]: the tokens that a penalty changes, each once */
    size_t n_touched;
};

bool ds4_logit_edit_is_needed(const ds4_logit_edit_params *params) {
    return params->presence != 0 || params->frequency != 0 ||
           (params->repetition != 1 && params->repetition != 0) || params->n_biases > 0;
}

static ds4_status check(size_t n_vocab, const ds4_logit_edit_params *params, ds4_error *error) {
    if (!isfinite(params->presence) || !isfinite(params->frequency) ||
        !isfinite(params->repetition) || params->repetition < 0)
        return ds4_fail(error, DS4_INVALID_ARGUMENT, "a penalty is out of its range");
    for (size_t i = 0; i < params->n_biases; i++) {
        int32_t id = params->biases[i].id;
        if (id < 0 || (size_t)id >= n_vocab)
            return ds4_fail(error, DS4_INVALID_ARGUMENT,
                            "logit_bias names token %d, the vocabulary has %zu", id, n_vocab);
        if (!isfinite(params->biases[i].bias))
            return ds4_fail(error, DS4_INVALID_ARGUMENT, "a bias must be a finite number");
    }
    return DS4_OK;
}

ds4_status ds4_logit_edit_create(size_t n_vocab, const ds4_logit_edit_params *params,
                                 ds4_logit_edit **out, ds4_error *error) {
    ds4_status status = check(n_vocab, params, error);
    if (status != DS4_OK) return status;
    ds4_logit_edit *edit = calloc(1, sizeof *edit);
    if (edit == NULL) return ds4_fail_memory(error, sizeof *edit, "the penalties of an answer");
    edit->n_vocab = n_vocab;
    edit->params = *params;
    if (params->repetition == 0) edit->params.repetition = 1;
    edit->biases = calloc(params->n_biases + 1, sizeof *edit->biases);
    edit->row = calloc(n_vocab, sizeof *edit->row);
    edit->picked = calloc(n_vocab, sizeof *edit->picked);
    edit->in_prompt = calloc(n_vocab, sizeof *edit->in_prompt);
    edit->touched = calloc(n_vocab, sizeof *edit->touched);
    if (edit->biases == NULL || edit->row == NULL || edit->picked == NULL ||
        edit->in_prompt == NULL || edit->touched == NULL) {
        ds4_logit_edit_destroy(edit);
        return ds4_fail_memory(error, n_vocab * 13, "the penalties of an answer");
    }
    if (params->n_biases > 0)
        memcpy(edit->biases, params->biases, params->n_biases * sizeof *edit->biases);
    edit->params.biases = edit->biases;
    *out = edit;
    return DS4_OK;
}

void ds4_logit_edit_destroy(ds4_logit_edit *edit) {
    if (edit == NULL) return;
    free(edit->biases);
    free(edit->row);
    free(edit->picked);
    free(edit->in_prompt);
    free(edit->touched);
    free(edit);
}

static bool is_token(const ds4_logit_edit *edit, int32_t token) {
    return token >= 0 && (size_t)token < edit->n_vocab;
}

static void touch(ds4_logit_edit *edit, int32_t token) {
    if (edit->picked[token] == 0 && !edit->in_prompt[token])
        edit->touched[edit->n_touched++] = token;
}

void ds4_logit_edit_add_prompt(ds4_logit_edit *edit, const int32_t *tokens, size_t n) {
    if (edit->params.repetition == 1) return;
    for (size_t i = 0; i < n; i++) {
        if (!is_token(edit, tokens[i])) continue;
        touch(edit, tokens[i]);
        edit->in_prompt[tokens[i]] = 1;
    }
}

void ds4_logit_edit_add_picked(ds4_logit_edit *edit, int32_t token) {
    if (!is_token(edit, token)) return;
    touch(edit, token);
    edit->picked[token]++;
}

const float *ds4_logit_edit_apply(ds4_logit_edit *edit, const float *logits) {
    const ds4_logit_edit_params *p = &edit->params;
    memcpy(edit->row, logits, edit->n_vocab * sizeof *logits);
    for (size_t i = 0; i < edit->n_touched; i++) {
        float *logit = &edit->row[edit->touched[i]];
        uint32_t count = edit->picked[edit->touched[i]];
        if (p->repetition != 1)
            *logit = *logit > 0 ? *logit / p->repetition : *logit * p->repetition;
        if (count > 0) *logit -= p->presence + p->frequency * (float)count;
    }
    for (size_t i = 0; i < p->n_biases; i++) edit->row[p->biases[i].id] += p->biases[i].bias;
    return edit->row;
}
