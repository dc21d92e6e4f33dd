/* The kernels in SIMD words: included once by each kernels_<set>.c, compiled with that set's flags.
 */
#ifndef DS4_QUANT_KERNELS_SIMD_H
#define DS4_QUANT_KERNELS_SIMD_H

#include "quant/activations.h"
#include "quant/words_iq2_xxs.h"
#include "quant/words_mxfp4.h"
#include "quant/words_q2_k.h"
#include "quant/words_q4_k.h"
#include "quant/words_q8_0.h"

#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* Before a loop of constant length whose accumulators must become registers. */
#if defined(__clang__)
#define UNROLLED _Pragma("unroll")
#else
#define UNROLLED _Pragma("GCC unroll 16")
#endif

enum {
    GEMV_ROWS =
        4, /* rows whose sums are in flight at once: hides the latency of the multiply-add */
    TILE_ROWS =
        64, /* rows decoded to scratch at once: 256 KiB of floats, half of a second-level cache */
};

static inline size_t min_size(size_t a, size_t b) {
    return a < b ? a : b;
}

/* Asks for the block that follows one group of rows later: the streams of several rows, each
 * shorter than a page or two, are more than the hardware's prefetchers foresee. The address may lie
 * beyond the matrix: it is only a hint. */
ALWAYS_INLINE void prefetch_block(const uint8_t *block, size_t distance, size_t n) {
    const uint8_t *ahead = (const uint8_t *)((uintptr_t)block + distance);
    for (size_t i = 0; i < n; i += 64) __builtin_prefetch(ahead + i, 0, 3);
}

/* What the float kernels need of a quantised format, as functions over 16-lane words:
 *   DECODE: n weights to floats
 *   ROWS:   y[r] = <row r, x> for n_rows <= GEMV_ROWS neighbouring rows, decoded in registers */
#define DEFINE_BLOCK_FORMAT(F, ELEMENTS, BYTES)                                                    \
    static void F##_decode(const uint8_t *source, float *target, size_t n) {                       \
        for (size_t k = 0; k < n; k += (ELEMENTS), source += (BYTES)) {                            \
            _Alignas(64) F##_state state;                                                          \
            F##_prepare(source, &state);                                                           \
            for (size_t g = 0; g < (ELEMENTS) / 32; g++) {                                         \
                f32x16 w[2];                                                                       \
                F##_words(source, &state, g, w);                                                   \
                f_store(target + k + 32 * g, w[0]);                                                \
                f_store(target + k + 32 * g + 16, w[1]);                                           \
            }                                                                                      \
        }                                                                                          \
    }                                                                                              \
    ALWAYS_INLINE void F##_chunk(size_t n_rows, const uint8_t *rows, size_t stride,                \
                                 const float *x, size_t n, f32x16 *acc) {                          \
        for (size_t r = 0; r < n_rows; r++) acc[r] = f_zero();                                     \
        for (size_t k = 0; k < n; k += (ELEMENTS), rows += (BYTES)) {                              \
            _Alignas(64) F##_state state[GEMV_ROWS];                                               \
            UNROLLED for (size_t r = 0; r < n_rows; r++) {                                         \
                prefetch_block(rows + r * stride, n_rows * stride, (BYTES));                       \
                F##_prepare(rows + r * stride, &state[r]);                                         \
            }                                                                                      \
            UNROLLED for (size_t g = 0; g < (ELEMENTS) / 32; g++) {                                \
                f32x16 x0 = f_load(x + k + 32 * g), x1 = f_load(x + k + 32 * g + 16);              \
                UNROLLED for (size_t r = 0; r < n_rows; r++) {                                     \
                    f32x16 w[2];                                                                   \
                    F##_words(rows + r * stride, &state[r], g, w);                                 \
                    acc[r] = f_fma(w[0], x0, acc[r]);                                              \
                    acc[r] = f_fma(w[1], x1, acc[r]);                                              \
                }                                                                                  \
            }                                                                                      \
        }                                                                                          \
    }                                                                                              \
    static void F##_rows(size_t n_rows, const uint8_t *rows, size_t stride, const float *x,        \
                         size_t n, float *y) {                                                     \
        float total[GEMV_ROWS] = {0}, sums[GEMV_ROWS];                                             \
        for (size_t k = 0; k < n; k += DS4_CHUNK) {                                                \
            const uint8_t *from = rows + k / (ELEMENTS) * (BYTES);                                 \
            f32x16 acc[GEMV_ROWS];                                                                 \
            size_t n_chunk = min_size(DS4_CHUNK, n - k);                                           \
            if (n_rows == GEMV_ROWS) {                                                             \
                F##_chunk(GEMV_ROWS, from, stride, x + k, n_chunk, acc);                           \
                f_sum4(acc, sums);                                                                 \
                for (size_t r = 0; r < GEMV_ROWS; r++) total[r] += sums[r];                        \
            } else {                                                                               \
                for (size_t r = 0; r < n_rows; r++) {                                              \
                    F##_chunk(1, from + r * stride, stride, x + k, n_chunk, acc);                  \
                    total[r] += f_sum(acc[0]);                                                     \
                }                                                                                  \
            }                                                                                      \
        }                                                                                          \
        memcpy(y, total, n_rows * sizeof *y);                                                      \
    }

DEFINE_BLOCK_FORMAT(q8_0, 32, DS4_Q8_0_BYTES)
DEFINE_BLOCK_FORMAT(mxfp4, 32, DS4_MXFP4_BYTES)
DEFINE_BLOCK_FORMAT(q2_k, 256, DS4_Q2_K_BYTES)
DEFINE_BLOCK_FORMAT(q4_k, 256, DS4_Q4_K_BYTES)
DEFINE_BLOCK_FORMAT(iq2_xxs, 256, DS4_IQ2_XXS_BYTES)

/* The same for plain arrays, whose rows may end inside a word. */
#define DEFINE_PLAIN_FORMAT(F, BYTES, LOAD)                                                        \
    static inline f32x16 F##_tail(const uint8_t *source, size_t n) {                               \
        float decoded[DS4_LANES] = {0};                                                            \
        ds4_##F##_decode(source, decoded, n);                                                      \
        return f_load(decoded);                                                                    \
    }                                                                                              \
    static void F##_decode(const uint8_t *source, float *target, size_t n) {                       \
        size_t whole = n / DS4_LANES * DS4_LANES;                                                  \
        for (size_t k = 0; k < whole; k += DS4_LANES)                                              \
            f_store(target + k, LOAD(source + (BYTES)*k));                                         \
        ds4_##F##_decode(source + (BYTES)*whole, target + whole, n - whole);                       \
    }                                                                                              \
    ALWAYS_INLINE void F##_chunk(size_t n_rows, const uint8_t *rows, size_t stride,                \
                                 const float *x, size_t n, f32x16 *acc) {                          \
        size_t whole = n / DS4_LANES * DS4_LANES;                                                  \
        for (size_t r = 0; r < n_rows; r++) acc[r] = f_zero();                                     \
        for (size_t k = 0; k < whole; k += DS4_LANES)                                              \
            UNROLLED for (size_t r = 0; r < n_rows; r++) acc[r] =                                  \
                f_fma(LOAD(rows + r * stride + (BYTES)*k), f_load(x + k), acc[r]);                 \
        if (whole == n) return;                                                                    \
        for (size_t r = 0; r < n_rows; r++)                                                        \
            acc[r] = f_fma(F##_tail(rows + r * stride + (BYTES)*whole, n - whole),                 \
                           f_load_part(x + whole, n - whole), acc[r]);                             \
    }                                                                                              \
    static void F##_rows(size_t n_rows, const uint8_t *rows, size_t stride, const float *x,        \
                         size_t n, float *y) {                                                     \
        float total[GEMV_ROWS] = {0}, sums[GEMV_ROWS];                                             \
        for (size_t k = 0; k < n; k += DS4_CHUNK) {                                                \
            f32x16 acc[GEMV_ROWS];                                                                 \
            size_t n_chunk = min_size(DS4_CHUNK, n - k);                                           \
            if (n_rows == GEMV_ROWS) {                                                             \
                F##_chunk(GEMV_ROWS, rows + (BYTES)*k, stride, x + k, n_chunk, acc);               \
                f_sum4(acc, sums);                                                                 \
                for (size_t r = 0; r < GEMV_ROWS; r++) total[r] += sums[r];                        \
            } else {                                                                               \
                for (size_t r = 0; r < n_rows; r++) {                                              \
                    F##_chunk(1, rows + r * stride + (BYTES)*k, stride, x + k, n_chunk, acc);      \
                    total[r] += f_sum(acc[0]);                                                     \
                }                                                                                  \
            }                                                                                      \
        }                                                                                          \
        memcpy(y, total, n_rows * sizeof *y);                                                      \
    }

static inline f32x16 load_f32_bytes(const uint8_t *p) {
    return f_load((const float *)(const void *)p);
}
static inline f32x16 load_i32_bytes(const uint8_t *p) {
    return f_load_i32((const int32_t *)(const void *)p);
}
DEFINE_PLAIN_FORMAT(f32, 4, load_f32_bytes)
DEFINE_PLAIN_FORMAT(f16, 2, f_load_f16)
DEFINE_PLAIN_FORMAT(bf16, 2, f_load_bf16)
DEFINE_PLAIN_FORMAT(i32, 4, load_i32_bytes)

typedef struct {
    void (*decode)(const uint8_t *source, float *target, size_t n);
    void (*rows)(size_t n_rows, const uint8_t *rows, size_t stride, const float *x, size_t n,
                 float *y);
    ds4_block_product (*product)(const uint8_t *block, const int8_t *codes, const int16_t *sums16);
} format_kernels;

/* NULL members for a type that is not computable. */
static format_kernels kernels_of(ds4_type type) {
    switch (type) {
    case DS4_TYPE_F32:
        return (format_kernels){f32_decode, f32_rows, NULL};
    case DS4_TYPE_F16:
        return (format_kernels){f16_decode, f16_rows, NULL};
    case DS4_TYPE_BF16:
        return (format_kernels){bf16_decode, bf16_rows, NULL};
    case DS4_TYPE_I32:
        return (format_kernels){i32_decode, i32_rows, NULL};
    case DS4_TYPE_Q8_0:
        return (format_kernels){q8_0_decode, q8_0_rows, q8_0_product};
    case DS4_TYPE_Q2_K:
        return (format_kernels){q2_k_decode, q2_k_rows, q2_k_product};
    case DS4_TYPE_Q4_K:
        return (format_kernels){q4_k_decode, q4_k_rows, q4_k_product};
    case DS4_TYPE_IQ2_XXS:
        return (format_kernels){iq2_xxs_decode, iq2_xxs_rows, iq2_xxs_product};
    case DS4_TYPE_MXFP4:
        return (format_kernels){mxfp4_decode, mxfp4_rows, mxfp4_product};
    }
    return (format_kernels){NULL, NULL, NULL};
}

static void simd_decode(ds4_type type, const void *source, float *target, size_t n) {
    kernels_of(type).decode(source, target, n);
}

/* ---- float activations, few tokens: weights are decoded in registers as they stream by ---- */

enum {
    FEW_TOKENS = 3
}; /* beyond it decoding once to scratch is faster than decoding for each token */

static void matmul_few_tokens(const ds4_matmul *p, size_t row_begin, size_t row_end) {
    format_kernels format = kernels_of(p->type);
    for (size_t r = row_begin; r < row_end; r += GEMV_ROWS)
        for (size_t t = 0; t < p->n_tokens; t++)
            format.rows(min_size(GEMV_ROWS, row_end - r),
                        (const uint8_t *)p->weights + r * p->row_bytes, p->row_bytes, p->x[t],
                        p->n_in, p->y[t] + r);
}

/* ---- float activations, many tokens: a tile of rows is decoded once per chunk ---- */

/* y[t][0..n_rows) (+)= sums of one chunk; w: n_rows x DS4_CHUNK floats, zero-padded to a whole
 * word. */
ALWAYS_INLINE void micro(size_t n_rows, size_t n_tokens, const float *w, const float *const *x,
                         size_t k0, size_t n, float *const *y, size_t r0, bool first) {
    f32x16 acc[MICRO_TOKENS][MICRO_ROWS];
    size_t whole = n / DS4_LANES * DS4_LANES;
    for (size_t t = 0; t < n_tokens; t++)
        for (size_t r = 0; r < n_rows; r++) acc[t][r] = f_zero();
    for (size_t k = 0; k < whole; k += DS4_LANES) {
        f32x16 row[MICRO_ROWS];
        for (size_t r = 0; r < n_rows; r++) row[r] = f_load(w + r * DS4_CHUNK + k);
        for (size_t t = 0; t < n_tokens; t++) {
            f32x16 v = f_load(x[t] + k0 + k);
            for (size_t r = 0; r < n_rows; r++) acc[t][r] = f_fma(row[r], v, acc[t][r]);
        }
    }
    if (whole < n)
        for (size_t t = 0; t < n_tokens; t++)
            for (size_t r = 0; r < n_rows; r++)
                acc[t][r] = f_fma(f_load(w + r * DS4_CHUNK + whole),
                                  f_load_part(x[t] + k0 + whole, n - whole), acc[t][r]);
    for (size_t t = 0; t < n_tokens; t++) {
        float sums[MICRO_ROWS];
        if (n_rows == 4)
            f_sum4(acc[t], sums);
        else
            for (size_t r = 0; r < n_rows; r++) sums[r] = f_sum(acc[t][r]);
        for (size_t r = 0; r < n_rows; r++) y[t][r0 + r] = (first ? 0.0f : y[t][r0 + r]) + sums[r];
    }
}

/* One register tile; the sizes are constants in each branch, so that the accumulators live in
 * registers. */
#define MICRO_CASE(T)                                                                              \
    case T:                                                                                        \
        if (n_rows == MICRO_ROWS)                                                                  \
            micro(MICRO_ROWS, T, w, x, k0, n, y, r0, first);                                       \
        else                                                                                       \
            for (size_t r = 0; r < n_rows; r++)                                                    \
                micro(1, T, w + r * DS4_CHUNK, x, k0, n, y, r0 + r, first);                        \
        break

static void micro_tile(size_t n_rows, size_t n_tokens, const float *w, const float *const *x,
                       size_t k0, size_t n, float *const *y, size_t r0, bool first) {
    switch (n_tokens) {
        MICRO_CASE(1);
        MICRO_CASE(2);
        MICRO_CASE(3);
#if defined(DS4_SIMD_AVX512)
        MICRO_CASE(4);
        MICRO_CASE(5);
        MICRO_CASE(6);
#endif
    default:
        break;
    }
}

static void matmul_chunk(const ds4_matmul *p, const float *tile, size_t r0, size_t n_rows, size_t k,
                         size_t n) {
    for (size_t t = 0; t < p->n_tokens; t += MICRO_TOKENS)
        for (size_t r = 0; r < n_rows; r += MICRO_ROWS)
            micro_tile(min_size(MICRO_ROWS, n_rows - r), min_size(MICRO_TOKENS, p->n_tokens - t),
                       tile + r * DS4_CHUNK, p->x + t, k, n, p->y + t, r0 + r, k == 0);
}

static void matmul_many_tokens(const ds4_matmul *p, size_t row_begin, size_t row_end, float *tile) {
    const ds4_type_info *info = ds4_type_get_info((uint32_t)p->type);
    format_kernels format = kernels_of(p->type);
    for (size_t r0 = row_begin; r0 < row_end; r0 += TILE_ROWS) {
        size_t n_rows = min_size(TILE_ROWS, row_end - r0);
        for (size_t k = 0; k < p->n_in; k += DS4_CHUNK) {
            size_t n = min_size(DS4_CHUNK, p->n_in - k);
            for (size_t r = 0; r < n_rows; r++) {
                const uint8_t *row = (const uint8_t *)p->weights + (r0 + r) * p->row_bytes;
                float *target = tile + r * DS4_CHUNK;
                format.decode(row + k / info->block_elements * info->block_bytes, target, n);
                for (size_t i = n; i % DS4_LANES != 0; i++) target[i] = 0;
            }
            matmul_chunk(p, tile, r0, n_rows, k, n);
        }
    }
}

static void matmul_float(const ds4_matmul *p, size_t row_begin, size_t row_end, void *scratch) {
    if (p->n_tokens <= FEW_TOKENS || p->n_in == 0)
        matmul_few_tokens(p, row_begin, row_end);
    else
        matmul_many_tokens(p, row_begin, row_end, scratch);
}

static float simd_dot(const float *a, const float *b, size_t n) {
    float sum = 0;
    f32_rows(1, (const uint8_t *)(const void *)a, 0, b, n, &sum);
    return sum;
}

/* ---- int8 activations ---- */

/* Sixteen blocks at a time: their exact integers, then one multiply-add per lane. */
static float dot_int8(format_kernels format, const ds4_type_info *info, const uint8_t *row,
                      const ds4_activation_row *x, size_t n_blocks) {
    f32x16 acc = f_zero();
    for (size_t b0 = 0; b0 < n_blocks; b0 += DS4_LANES) {
        int32_t dot[DS4_LANES] = {0}, min_dot[DS4_LANES] = {0};
        float scale[DS4_LANES] = {0}, min_scale[DS4_LANES] = {0}, xd[DS4_LANES] = {0};
        for (size_t l = 0; l < min_size(DS4_LANES, n_blocks - b0); l++) {
            size_t k = (b0 + l) * info->block_elements;
            ds4_block_product product = format.product(row + (b0 + l) * info->block_bytes,
                                                       x->codes + k, x->sums16 + k / 16);
            dot[l] = product.dot;
            min_dot[l] = -product.min_dot;
            scale[l] = product.scale;
            min_scale[l] = product.min_scale;
            xd[l] = x->scales[b0 + l];
        }
        acc = f_fma(f_load_i32(dot), f_mul(f_load(scale), f_load(xd)), acc);
        acc = f_fma(f_load_i32(min_dot), f_mul(f_load(min_scale), f_load(xd)), acc);
    }
    return f_sum(acc);
}

/* Rows outside, tokens inside: a row stays in the first-level cache for all of them. */
static inline void matmul_int8(const ds4_matmul *p, size_t row_begin, size_t row_end) {
    const ds4_type_info *info = ds4_type_get_info((uint32_t)p->type);
    format_kernels format = kernels_of(p->type);
    for (size_t r = row_begin; r < row_end; r++) {
        const uint8_t *row = (const uint8_t *)p->weights + r * p->row_bytes;
        for (size_t t = 0; t < p->n_tokens; t++) {
            ds4_activation_row x;
            ds4_activation_row_layout(p->type, p->n_in, (void *)(uintptr_t)p->xq[t], &x);
            p->y[t][r] = dot_int8(format, info, row, &x, p->n_in / info->block_elements);
        }
    }
}

static void simd_quantize(ds4_type type, const float *source, void *target, size_t n) {
    ds4_quantize_activation_row(type, source, target, n);
}

#endif
