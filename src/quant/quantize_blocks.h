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

/* The row of the code book whose digits cost least; `is_odd`: one sign must change as well. */
typedef unsigned (*ds4_iq2_best_row_fn)(float error[8][4], float flip[8][4], bool is_odd);

typedef struct ds4_block_quantizers {
    const char *name;
    void (*q8_0)(const float *x, uint8_t *target, size_t n_blocks);
    void (*q2_k)(const float *x, const float *importance, uint8_t *target, size_t n_blocks);
    void (*q4_k)(const float *x, const float *importance, uint8_t *target, size_t n_blocks);
    void (*iq2_xxs)(const ds4_iq2_search *search, const float *x, const float *importance,
                    uint8_t *target, size_t n_blocks);
    ds4_iq2_best_row_fn iq2_best_row;
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

/* What tells the two K formats apart. */
typedef struct ds4_k_format {
    unsigned n_groups;
    float top, top_scale; /* largest code, largest scale of a group */
    float sigma_factor;   /* with an importance: w = importance * sqrt(factor * mean + x^2) */
    bool has_mean;        /* without: w = |x| plus the group's root mean square, or not */
    ds4_affine_fit plain, weighted;
    size_t n_bytes, d_at; /* of a block; where d is, dmin follows */
    /* One byte per scale, minimum and code, packed; d and dmin are left as they are. */
    void (*pack)(const uint8_t *scales, const uint8_t *mins, const uint8_t q[256], uint8_t *block);
} ds4_k_format;
extern const ds4_k_format ds4_q2_k_format, ds4_q4_k_format;

/* Codes 0..top_scale for the groups' scales (or minima) as the rule without importance has it;
 * returns their factor. */
float ds4_k_scale_codes(const ds4_k_format *format, const float *scales, uint8_t *codes);
/* The scale of an IQ2_XXS block and its groups' scale codes; the words hold rows and signs. */
void ds4_iq2_xxs_finish(const float scales[8], uint32_t words[16], uint8_t *block);

/* ---- refits: `block` holds the published algorithm's result, from which the search starts ---- */

/* How much an error at each of the block's 256 values counts: importance * sqrt(factor * mean
 * square
 * + x^2), as in the published algorithms; NULL: equal importances. */
void ds4_refit_weights(float sigma_factor, const float *x, const float *importance, float *w);
/* By what y, a fit of the block x, must be multiplied so that its projection on x is x:
 * <x, x> / <x, y>, weighted. (Least squares leaves y too small.) 1 when there is no such number. */
float ds4_refit_gain(const float *x, const float *y, const float *w);
/* The scale times the gain; itself when f16 cannot hold that precisely. */
uint16_t ds4_refit_enlarge(uint16_t scale, float gain);
void ds4_q8_0_refit(const float *x, const float *importance, uint8_t *block);
void ds4_q2_k_refit(const float *x, const float *importance, uint8_t *block);
void ds4_q4_k_refit(const float *x, const float *importance, uint8_t *block);
void ds4_iq2_xxs_refit(ds4_iq2_best_row_fn best_row, const float *x, const float *importance,
                       uint8_t *block);
/* What each digit costs in each of eight places: its error, and the change of its sign. */
void ds4_iq2_row_costs(const float *x, const float *w, float scale, float error[8][4],
                       float flip[8][4]);
unsigned ds4_iq2_best_row(float error[8][4], float flip[8][4], bool is_odd);

#endif
