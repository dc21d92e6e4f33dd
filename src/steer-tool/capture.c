#include "steer-tool/capture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"

enum { BATCH_TOKENS = 512 };

typedef struct capturer {
    const ds4_pairs *pairs;
    ds4_engine *engine;
    ds4_session **sessions;
    ds4_batch_item *items;
    float **rows; /* [n_sessions] [longest][n_layers][n_embd] */
    uint32_t n_sessions, n_layers, n_embd;
    size_t longest_prompt, longest_tail;
    bool attention;
    float *target, *contrast;
} capturer;

static void measure(capturer *c) {
    for (size_t i = 0; i < 2 * c->pairs->n; i++) {
        const ds4_pair_side *side = &c->pairs->sides[i];
        size_t tail = side->tokens.n - side->first;
        if (side->tokens.n > c->longest_prompt) c->longest_prompt = side->tokens.n;
        if (tail > c->longest_tail) c->longest_tail = tail;
    }
}

static ds4_status create(capturer *c, const ds4_model *model, const ds4_capture_options *options,
                         ds4_error *error) {
    size_t row = (size_t)c->n_layers * c->n_embd, all = c->pairs->n * row;
    const ds4_engine_options engine = {.n_threads = options->n_threads,
                                       .max_batch_tokens = BATCH_TOKENS,
                                       .max_context = (uint32_t)c->longest_prompt + 1,
                                       .max_sessions = c->n_sessions,
                                       .backend = options->backend};
    c->sessions = calloc(c->n_sessions, sizeof *c->sessions);
    c->items = calloc(c->n_sessions, sizeof *c->items);
    c->rows = calloc(c->n_sessions, sizeof *c->rows);
    c->target = calloc(all, sizeof *c->target);
    c->contrast = calloc(all, sizeof *c->contrast);
    if (c->sessions == NULL || c->items == NULL || c->rows == NULL || c->target == NULL ||
        c->contrast == NULL)
        return ds4_fail_memory(error, 2 * all * sizeof(float), "the activations");
    ds4_status status = ds4_engine_create(model, &engine, &c->engine, error);
    for (uint32_t s = 0; status == DS4_OK && s < c->n_sessions; s++) {
        c->rows[s] = malloc(c->longest_tail * row * sizeof **c->rows);
        if (c->rows[s] == NULL)
            return ds4_fail_memory(error, c->longest_tail * row * sizeof **c->rows, "activations");
        status =
            ds4_session_create(c->engine, (uint32_t)c->longest_prompt + 1, &c->sessions[s], error);
    }
    return status;
}

static void destroy(capturer *c) {
    for (uint32_t s = 0; s < c->n_sessions; s++) {
        if (c->sessions != NULL) ds4_session_destroy(c->sessions[s]);
        if (c->rows != NULL) free(c->rows[s]);
    }
    free(c->sessions);
    free(c->items);
    free(c->rows);
    ds4_engine_destroy(c->engine);
}

/* One step of a group of sides: what each still has to evaluate before (or at) its positions. */
static ds4_status step(capturer *c, size_t first_side, uint32_t n, bool capture, bool *any,
                       ds4_error *error) {
    uint32_t share = BATCH_TOKENS / n;
    size_t n_items = 0;
    for (uint32_t s = 0; s < n; s++) {
        const ds4_pair_side *side = &c->pairs->sides[first_side + s];
        size_t at = ds4_session_length(c->sessions[s]);
        size_t until = capture ? side->tokens.n : side->first, left = until - at;
        if (at >= until) continue;
        float *to = c->rows[s] + (capture ? at - side->first : 0) * c->n_layers * c->n_embd;
        c->items[n_items++] = (ds4_batch_item){
            .session = c->sessions[s],
            .tokens = side->tokens.ids + at,
            .n_tokens = (uint32_t)(left < share ? left : share),
            .attn_outputs = capture && c->attention ? to : NULL,
            .ffn_outputs = capture && !c->attention ? to : NULL,
        };
    }
    *any = n_items > 0;
    return n_items > 0 ? ds4_engine_forward(c->engine, c->items, n_items, error) : DS4_OK;
}

static void keep_means(capturer *c, size_t first_side, uint32_t n) {
    size_t row = (size_t)c->n_layers * c->n_embd;
    for (uint32_t s = 0; s < n; s++) {
        const ds4_pair_side *side = &c->pairs->sides[first_side + s];
        size_t tail = side->tokens.n - side->first, index = first_side + s;
        float *to = (index % 2 == 0 ? c->target : c->contrast) + index / 2 * row;
        for (size_t k = 0; k < row; k++) {
            double sum = 0;
            for (size_t t = 0; t < tail; t++) sum += (double)c->rows[s][t * row + k];
            to[k] = (float)(sum / (double)tail);
        }
    }
}

static ds4_status run_group(capturer *c, size_t first_side, uint32_t n, ds4_error *error) {
    ds4_status status = DS4_OK;
    for (uint32_t s = 0; s < n; s++) ds4_session_reset(c->sessions[s]);
    for (int capture = 0; status == DS4_OK && capture < 2; capture++)
        for (bool any = true; status == DS4_OK && any;)
            status = step(c, first_side, n, capture != 0, &any, error);
    if (status == DS4_OK) keep_means(c, first_side, n);
    return status;
}

ds4_status ds4_capture_pairs(const ds4_model *model, const ds4_pairs *pairs,
                             const ds4_capture_options *options, float **target, float **contrast,
                             ds4_error *error) {
    const ds4_model_info *info = ds4_model_get_info(model);
    capturer c = {.pairs = pairs,
                  .n_sessions = options->n_sessions,
                  .n_layers = info->n_layers,
                  .n_embd = info->n_embd,
                  .attention = options->attention};
    size_t n_sides = 2 * pairs->n;
    measure(&c);
    ds4_status status = create(&c, model, options, error);
    for (size_t at = 0; status == DS4_OK && at < n_sides; at += c.n_sessions) {
        size_t left = n_sides - at;
        status = run_group(&c, at, left < c.n_sessions ? (uint32_t)left : c.n_sessions, error);
        if (isatty(STDERR_FILENO))
            fprintf(stderr, "\rcaptured %zu of %zu prompts%s",
                    left < c.n_sessions ? n_sides : at + c.n_sessions, n_sides,
                    left <= c.n_sessions ? "\n" : "");
    }
    destroy(&c);
    *target = c.target;
    *contrast = c.contrast;
    if (status == DS4_OK) return DS4_OK;
    free(c.target);
    free(c.contrast);
    *target = *contrast = NULL;
    return status;
}
