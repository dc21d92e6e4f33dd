/* Q2_K and Q4_K: sixteen groups at once are fitted, then the scales of sixteen blocks at once. */
#ifndef DS4_QUANT_QUANTIZE_SIMD_K_H
#define DS4_QUANT_QUANTIZE_SIMD_K_H

#include "quant/quantize_simd_fit.h"

enum { K_BLOCK = 256, K_BATCH = 16 /* blocks */ };

/* Of a batch: per block and group. */
typedef struct k_batch {
    float scales[K_BATCH * 16], negmins[K_BATCH * 16], weights[K_BATCH * 16];
    float codes[K_BATCH * K_BLOCK]; /* as [block][value] */
    uint8_t scale_codes[K_BATCH * 16], min_codes[K_BATCH * 16];
} k_batch;

/* Sums over the block's squares, in order; the blocks' chains run side by side. */
static inline void k_square_sums(const float *x, size_t n_blocks, float sums[K_BATCH]) {
    for (unsigned b = 0; b < K_BATCH; b++) sums[b] = 0;
    if (n_blocks == K_BATCH) {
        for (unsigned i = 0; i < K_BLOCK; i++)
            for (unsigned b = 0; b < K_BATCH; b++)
                sums[b] += x[K_BLOCK * b + i] * x[K_BLOCK * b + i];
        return;
    }
    for (size_t b = 0; b < n_blocks; b++)
        for (unsigned i = 0; i < K_BLOCK; i++) sums[b] += x[K_BLOCK * b + i] * x[K_BLOCK * b + i];
}

/* Fits the groups of the blocks [first, first + 16 / n_groups). */
static inline void k_fit(const ds4_k_format *format, const float *x, const float *importance,
                         const float *square_sums, size_t first, size_t n_blocks, k_batch *batch) {
    const unsigned n_groups = format->n_groups, n = K_BLOCK / n_groups;
    float xs[DS4_FIT_MAX * WIDTH], ws[DS4_FIT_MAX * WIDTH], codes[DS4_FIT_MAX * WIDTH];
    float scales[WIDTH], negmins[WIDTH], weights[WIDTH], base[WIDTH] = {0};
    for (unsigned lane = 0; lane < WIDTH; lane++) {
        size_t block = first + lane / n_groups;
        bool is_used = block < n_blocks;
        const float *from = x + K_BLOCK * block + n * (lane % n_groups);
        const float *imp =
            importance == NULL ? NULL : importance + K_BLOCK * block + n * (lane % n_groups);
        for (unsigned i = 0; i < n; i++) {
            xs[WIDTH * i + lane] = is_used ? from[i] : 0;
            ws[WIDTH * i + lane] = is_used && imp != NULL ? imp[i] : 0;
        }
        if (is_used && importance != NULL)
            base[lane] = format->sigma_factor * square_sums[block] / K_BLOCK;
    }
    if (importance == NULL && format->has_mean) {
        f32x16 sum = f_zero();
        for (unsigned i = 0; i < n; i++) {
            f32x16 xi = f_load(xs + WIDTH * i);
            sum = f_add(sum, f_mul(xi, xi));
        }
        f_store(base, f_sqrt(f_div(sum, f_set1(32))));
    }
    for (unsigned i = 0; i < n; i++) {
        f32x16 xi = f_load(xs + WIDTH * i), add = f_load(base);
        f_store(ws + WIDTH * i, importance == NULL ? f_add(add, f_abs(xi))
                                                   : f_mul(f_load(ws + WIDTH * i),
                                                           f_sqrt(f_add(add, f_mul(xi, xi)))));
    }
    lane_fit_affine(importance == NULL ? &format->plain : &format->weighted, n, xs, ws, codes,
                    scales, negmins, weights);
    for (unsigned lane = 0; lane < WIDTH; lane++) {
        size_t block = first + lane / n_groups;
        if (block >= n_blocks) break;
        size_t at = 16 * block + lane % n_groups;
        batch->scales[at] = scales[lane];
        batch->negmins[at] = negmins[lane];
        batch->weights[at] = weights[lane];
        for (unsigned i = 0; i < n; i++)
            batch->codes[K_BLOCK * block + n * (lane % n_groups) + i] = codes[WIDTH * i + lane];
    }
}

/* With an importance: the codes of all blocks' scales (or minima), and their factors. */
static inline void k_scale_codes(const ds4_k_format *format, const float *values,
                                 const float *weights, size_t n_blocks, uint8_t *codes,
                                 float factors[K_BATCH]) {
    float xs[16 * WIDTH] = {0}, ws[16 * WIDTH] = {0}, found[16 * WIDTH];
    for (unsigned g = 0; g < format->n_groups; g++)
        for (size_t b = 0; b < n_blocks; b++) {
            xs[WIDTH * g + b] = values[16 * b + g];
            ws[WIDTH * g + b] = weights[16 * b + g];
        }
    f_store(factors, lane_fit_positive(format->top_scale, format->n_groups, xs, ws, found));
    for (unsigned g = 0; g < format->n_groups; g++)
        for (size_t b = 0; b < n_blocks; b++) {
            float code = found[WIDTH * g + b];
            codes[16 * b + g] = code > format->top_scale ? 0 : (uint8_t)(int)code;
        }
}

/* The value codes with the scales as they are stored: one byte each. */
static inline void k_code_values(const ds4_k_format *format, const float *x, const float *fitted,
                                 float d, float dmin, const uint8_t *scales, const uint8_t *mins,
                                 uint8_t *q) {
    const unsigned n = K_BLOCK / format->n_groups;
    const f32x16 zero = f_zero(), top = f_set1(format->top);
    for (unsigned i = 0; i < K_BLOCK; i += WIDTH) {
        unsigned group = i / n;
        float scale = d * (float)scales[group], minimum = dmin * (float)mins[group], codes[WIDTH];
        f_store(codes, scale == 0 ? f_load(fitted + i)
                                  : f_round_within(
                                        f_div(f_add(f_load(x + i), f_set1(minimum)), f_set1(scale)),
                                        zero, top));
        for (unsigned lane = 0; lane < WIDTH; lane++) q[i + lane] = (uint8_t)(int)codes[lane];
    }
}

static inline void k_finish(const ds4_k_format *format, const float *x, bool is_weighted,
                            size_t n_blocks, k_batch *batch, uint8_t *target) {
    float d[K_BATCH], dmin[K_BATCH];
    if (is_weighted) {
        k_scale_codes(format, batch->scales, batch->weights, n_blocks, batch->scale_codes, d);
        k_scale_codes(format, batch->negmins, batch->weights, n_blocks, batch->min_codes, dmin);
    }
    for (size_t b = 0; b < n_blocks; b++, target += format->n_bytes) {
        uint8_t q[K_BLOCK];
        if (!is_weighted) {
            d[b] = ds4_k_scale_codes(format, batch->scales + 16 * b, batch->scale_codes + 16 * b);
            dmin[b] = ds4_k_scale_codes(format, batch->negmins + 16 * b, batch->min_codes + 16 * b);
        }
        ds4_store_f16(target + format->d_at, d[b]);
        ds4_store_f16(target + format->d_at + 2, dmin[b]);
        k_code_values(format, x + K_BLOCK * b, batch->codes + K_BLOCK * b,
                      ds4_f16_bits_to_f32(ds4_load_u16(target + format->d_at)),
                      ds4_f16_bits_to_f32(ds4_load_u16(target + format->d_at + 2)),
                      batch->scale_codes + 16 * b, batch->min_codes + 16 * b, q);
        format->pack(batch->scale_codes + 16 * b, batch->min_codes + 16 * b, q, target);
    }
}

static inline void k_quantize(const ds4_k_format *format, const float *x, const float *importance,
                              uint8_t *target, size_t n_blocks) {
    k_batch batch;
    for (size_t at = 0; at < n_blocks; at += K_BATCH) {
        size_t n = n_blocks - at < K_BATCH ? n_blocks - at : K_BATCH;
        const float *values = x + K_BLOCK * at;
        const float *imp = importance == NULL ? NULL : importance + K_BLOCK * at;
        float sums[K_BATCH];
        if (imp != NULL) k_square_sums(values, n, sums);
        for (size_t b = 0; b < n; b += WIDTH / format->n_groups)
            k_fit(format, values, imp, sums, b, n, &batch);
        k_finish(format, values, imp != NULL, n, &batch, target + format->n_bytes * at);
    }
}

static void simd_q2_k(const float *x, const float *importance, uint8_t *target, size_t n_blocks) {
    k_quantize(&ds4_q2_k_format, x, importance, target, n_blocks);
}

static void simd_q4_k(const float *x, const float *importance, uint8_t *target, size_t n_blocks) {
    k_quantize(&ds4_q4_k_format, x, importance, target, n_blocks);
}

#endif
