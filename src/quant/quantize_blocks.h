/* Inside the quant room: the quantizers of single formats. `x`: whole blocks, finite. `importance`:
 * as many numbers as `x`, or NULL where a format has a rule without. */
#ifndef DS4_QUANT_QUANTIZE_BLOCKS_H
#define DS4_QUANT_QUANTIZE_BLOCKS_H

#include <math.h>
#include <stdbool.h>

#include "quant/blocks.h"

/* Nearest integer, ties to even, of |v| <= 4194303: the addition does the rounding. */
static inline float ds4_round_even(float v) {
    return (v + 0x1.8p23f) - 0x1.8p23f;
}

/* The same within [low, high], which are integers; a NaN, out of 0 * infinity, becomes `low`. */
static inline float ds4_round_within(float v, float low, float high) {
    v = v > low ? v : low;
    v = v < high ? v : high;
    return ds4_round_even(v);
}

static inline void ds4_store_f16(uint8_t *target, float value) {
    uint16_t bits = ds4_f32_to_f16(value);
    memcpy(target, &bits, sizeof bits);
}

/* ---- fits ---- */

enum { DS4_FIT_MAX = 32 }; /* values fitted together */

/* x ~ scale * code - negmin with codes 0..top: a first guess and n_trials + 1 inverse scales
 * (first + step * s + top) / range. */
typedef struct ds4_affine_fit {
    float top;
    float first, step;
    int n_trials;
    bool is_squared; /* the loss: squares, or absolute values */
} ds4_affine_fit;
/* Returns the scale; codes as floats. */
float ds4_fit_affine(const ds4_affine_fit *fit, unsigned n, const float *x, const float *w,
                     float *codes, float *negmin);
/* x ~ scale * code with codes 0..top. Returns the scale. */
float ds4_fit_positive(float top, unsigned n, const float *x, const float *w, uint8_t *codes);

/* ---- the search in the IQ2_XXS code book ---- */

enum { DS4_IQ2_KEYS = 6561 }; /* 3^8: eight digits 0, 1, 2, lane 0 lowest */

typedef struct ds4_iq2_search {
    int16_t rows[DS4_IQ2_KEYS]; /* the row with these digits, or -1 */
    /* Of keys without a row: the rows at the two smallest distances, nearest first. */
    uint32_t near_begin[DS4_IQ2_KEYS + 1];
    uint8_t *near_rows;
    uint16_t *near_digits; /* ds4_iq2_xxs_digits of them; readable beyond the end */
} ds4_iq2_search;
ds4_status ds4_iq2_search_create(ds4_iq2_search **search, ds4_error *error);
void ds4_iq2_search_destroy(ds4_iq2_search *search);

/* ---- whole blocks, once per instruction set; all sets give the same bytes ---- */

typedef struct ds4_block_quantizers {
    const char *name;
    void (*q8_0)(const float *x, uint8_t *target, size_t n_blocks);
    void (*q2_k)(const float *x, const float *importance, uint8_t *target, size_t n_blocks);
    void (*q4_k)(const float *x, const float *importance, uint8_t *target, size_t n_blocks);
    void (*iq2_xxs)(const ds4_iq2_search *search, const float *x, const float *importance,
                    uint8_t *target, size_t n_blocks);
} ds4_block_quantizers;

extern const ds4_block_quantizers ds4_block_quantizers_scalar;
#if defined(__x86_64__)
extern const ds4_block_quantizers ds4_block_quantizers_avx2;
extern const ds4_block_quantizers ds4_block_quantizers_avx512;
#elif defined(__aarch64__)
extern const ds4_block_quantizers ds4_block_quantizers_neon;
#endif

void ds4_q8_0_quantize(const float *x, uint8_t *target, size_t n_blocks);
void ds4_q2_k_quantize(const float *x, const float *importance, uint8_t *target, size_t n_blocks);
void ds4_q4_k_quantize(const float *x, const float *importance, uint8_t *target, size_t n_blocks);
void ds4_iq2_xxs_quantize(const ds4_iq2_search *search, const float *x, const float *importance,
                          uint8_t *target, size_t n_blocks);
/* The exponent is the largest value's; with `refit` its neighbours are tried too. Values that fit
 * FP4 with one power of two come back exactly. */
void ds4_mxfp4_quantize(const float *x, const float *importance, bool refit, uint8_t *target,
                        size_t n_blocks);

/* The second halves of the K formats, from the fits of their groups (16 of Q2_K, 8 of Q4_K) and,
 * with an importance, the groups' sums of weights: scales of scales, then the codes. */
void ds4_q2_k_finish(const float *x, const float *scales, const float *negmins,
                     const float *weights, const float *codes, uint8_t *block);
void ds4_q4_k_finish(const float *x, const float *scales, const float *negmins,
                     const float *weights, const float *codes, uint8_t *block);
/* One byte per scale, minimum and code, packed with d and dmin left as they are. */
void ds4_q2_k_pack(const uint8_t scales[16], const uint8_t mins[16], const uint8_t q[256],
                   uint8_t *block);
void ds4_q4_k_pack(const uint8_t scales[8], const uint8_t mins[8], const uint8_t q[256],
                   uint8_t *block);
/* The scale of an IQ2_XXS block and its groups' scale codes; the words hold rows and signs. */
void ds4_iq2_xxs_finish(const float scales[8], uint32_t words[16], uint8_t *block);

/* ---- refits: `block` holds the published algorithm's result and is only ever bettered ---- */

void ds4_q8_0_refit(const float *x, const float *importance, uint8_t *block);
void ds4_q2_k_refit(const float *x, const float *importance, uint8_t *block);
void ds4_q4_k_refit(const float *x, const float *importance, uint8_t *block);
void ds4_iq2_xxs_refit(const float *x, const float *importance, uint8_t *block);

#endif
