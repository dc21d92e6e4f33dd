/* Hyper-connections: several residual streams, mixed around each sub-layer (docs/model.md,
 * "Hyper-connections"). */
#include <math.h>
#include <string.h>

#include "backend/cpu/step.h"

typedef struct hc_loop {
    ds4_forward *f;
    const ds4_hc_weights *weights;
    const float *norm;
} hc_loop;

/* Scalar transcendental functions go through double: the float result then does not depend on the C
 * library. */
static float sigmoid(float x) {
    return (float)(1.0 / (1.0 + exp(-(double)x)));
}

/* Rows softmax, then alternating column and row normalisation; ends with columns. */
static void sinkhorn(float *p, uint32_t n, uint32_t iterations, float eps) {
    for (uint32_t r = 0; r < n; r++) {
        float top = p[r * n], total = 0.0f;
        for (uint32_t k = 1; k < n; k++) top = p[r * n + k] > top ? p[r * n + k] : top;
        for (uint32_t k = 0; k < n; k++) {
            p[r * n + k] = (float)exp((double)(p[r * n + k] - top));
            total += p[r * n + k];
        }
        for (uint32_t k = 0; k < n; k++) p[r * n + k] = p[r * n + k] / total + eps;
    }
    for (uint32_t i = 0; i < iterations; i++) {
        for (uint32_t r = 0; i > 0 && r < n; r++) {
            float total = 0.0f;
            for (uint32_t k = 0; k < n; k++) total += p[r * n + k];
            for (uint32_t k = 0; k < n; k++) p[r * n + k] /= total + eps;
        }
        for (uint32_t k = 0; k < n; k++) {
            float total = 0.0f;
            for (uint32_t r = 0; r < n; r++) total += p[r * n + k];
            for (uint32_t r = 0; r < n; r++) p[r * n + k] /= total + eps;
        }
    }
}

/* Turns the raw products of a row into pre, post and P, in place. */
static void finish_mixer(const ds4_hparams *hp, const ds4_hc_weights *w, float rms, float *m) {
    uint32_t c = hp->n_streams;
    for (uint32_t i = 0; i < c; i++)
        m[i] = sigmoid(m[i] * rms * w->scale[0] + w->base[i]) + hp->hc_eps;
    for (uint32_t i = c; i < 2 * c; i++)
        m[i] = 2.0f * sigmoid(m[i] * rms * w->scale[1] + w->base[i]);
    for (uint32_t i = 2 * c; i < ds4_mix_width(hp); i++)
        m[i] = m[i] * rms * w->scale[2] + w->base[i];
    sinkhorn(m + 2 * (size_t)c, c, hp->sinkhorn_iterations, hp->hc_eps);
}

static void collapse(const ds4_forward *f, const float *streams, const float *pre,
                     const float *norm, float *x) {
    const ds4_hparams *hp = f->hp;
    const float *rows[64];
    for (uint32_t c = 0; c < hp->n_streams; c++) rows[c] = streams + (size_t)c * hp->n_embd;
    f->cpu.ops->combine(pre, rows, hp->n_streams, x, hp->n_embd);
    float scale = f->cpu.ops->rms_scale(x, hp->n_embd, hp->rms_eps);
    f->cpu.ops->scale(x, scale, norm, x, hp->n_embd);
}

static void pre_piece(void *context, uint32_t thread, size_t begin, size_t end) {
    (void)thread;
    const hc_loop *loop = context;
    ds4_forward *f = loop->f;
    for (size_t r = begin; r < end; r++) {
        const float *streams = f->streams.row[r];
        float rms = f->cpu.ops->rms_scale(streams, f->streams.width, f->hp->rms_eps);
        finish_mixer(f->hp, loop->weights, rms, f->mix.row[r]);
        collapse(f, streams, f->mix.row[r], loop->norm, f->x.row[r]);
    }
}

/* The mixer is small and decides a lot: its product always takes float activations. */
static void run_mixer(ds4_forward *f, const ds4_hc_weights *weights, float *const *streams,
                      uint32_t n) {
    ds4_row_list x = {.row = streams};
    ds4_product product = ds4_product_make(&f->cpu, &weights->fn, 0, x, n, f->mix.row);
    ds4_products_run(&f->cpu, &product, 1);
}

void ds4_forward_hc_pre(ds4_forward *f, const ds4_step *step, const ds4_hc_weights *weights,
                        const float *norm) {
    run_mixer(f, weights, f->streams.row, step->n_rows);
    hc_loop loop = {.f = f, .weights = weights, .norm = norm};
    ds4_threads_for(f->cpu.threads, step->n_rows, 1, pre_piece, &loop);
}

static void post_piece(void *context, uint32_t thread, size_t begin, size_t end) {
    (void)thread;
    const hc_loop *loop = context;
    ds4_forward *f = loop->f;
    uint32_t c = f->hp->n_streams;
    for (size_t r = begin; r < end; r++) {
        const float *m = f->mix.row[r];
        f->cpu.ops->mix_streams(f->streams.row[r], f->y.row[r], m + c, m + 2 * (size_t)c, c,
                                f->hp->n_embd);
    }
}

void ds4_forward_hc_post(ds4_forward *f, const ds4_step *step) {
    hc_loop loop = {.f = f};
    ds4_threads_for(f->cpu.threads, step->n_rows, 1, post_piece, &loop);
}

void ds4_forward_head(ds4_forward *f, const ds4_weights *weights, uint32_t n) {
    const ds4_hc_weights *hc = &weights->output_hc;
    run_mixer(f, hc, f->head_row, n);
    for (uint32_t r = 0; r < n; r++) {
        float rms = f->cpu.ops->rms_scale(f->head_row[r], f->streams.width, f->hp->rms_eps),
              *m = f->mix.row[r];
        for (uint32_t i = 0; i < f->hp->n_streams; i++)
            m[i] = sigmoid(m[i] * rms * hc->scale[0] + hc->base[i]) + f->hp->hc_eps;
        collapse(f, f->head_row[r], m, weights->output_norm, f->x.row[r]);
    }
    ds4_product logits =
        ds4_product_make(&f->cpu, &weights->output, 0, ds4_rows_from(&f->x, 0), n, f->logit_row);
    ds4_rows_prepare(&f->cpu, &f->x, 0, n, &logits, 1);
    ds4_products_run(&f->cpu, &logits, 1);
}
