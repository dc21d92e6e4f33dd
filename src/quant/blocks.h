/* Inside the quant room: block geometry, unaligned little-endian loads, and the layout of int8
 * activation rows. Blocks may begin at any byte: every load goes through memcpy. */
#ifndef DS4_QUANT_BLOCKS_H
#define DS4_QUANT_BLOCKS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "quant/quant.h"

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "block formats are read in place and need a little-endian machine"
#endif

enum {
    DS4_CHUNK = 1024, /* elements whose products share one set of float lanes (docs/numerics.md) */
    DS4_LANES = 16,
    DS4_Q8_0_BYTES = 34,
    DS4_Q2_K_BYTES = 84,
    DS4_Q4_K_BYTES = 144,
    DS4_IQ2_XXS_BYTES = 66,
    DS4_MXFP4_BYTES = 17,
    DS4_MATMUL_SCRATCH = 640 * 1024,
};

static inline uint16_t ds4_load_u16(const uint8_t *p) {
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline uint32_t ds4_load_u32(const uint8_t *p) {
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline float ds4_bits_to_f32(uint32_t bits) {
    float v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

static inline uint32_t ds4_f32_to_bits(float value) {
    uint32_t v;
    memcpy(&v, &value, sizeof v);
    return v;
}

/* Exact. A signalling NaN becomes quiet, as the conversion instructions do. */
static inline float ds4_f16_bits_to_f32(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
    uint32_t magnitude = half & 0x7FFFu;
    if (magnitude < 0x0400u) { /* subnormal: an integer number of 2^-24 */
        float value = (float)magnitude * 0x1p-24f;
        return ds4_bits_to_f32(ds4_f32_to_bits(value) | sign);
    }
    if (magnitude >= 0x7C00u) {
        uint32_t quiet = magnitude > 0x7C00u ? 0x00400000u : 0;
        return ds4_bits_to_f32(sign | 0x7F800000u | quiet | (magnitude & 0x03FFu) << 13);
    }
    return ds4_bits_to_f32(sign | ((magnitude << 13) + 0x38000000u));
}

/* 2^(e-127); 0 is the subnormal 2^-127. 255 gives infinity: files holding it are rejected before.
 */
static inline float ds4_e8m0_to_f32(uint8_t e) {
    return ds4_bits_to_f32(e == 0 ? 0x00400000u : (uint32_t)e << 23);
}

/* The packed 6-bit scale and minimum of group j (0..7) of a Q4_K block; `p` is its 12-byte field.
 */
static inline void ds4_q4_k_scale_min(const uint8_t *p, unsigned j, uint8_t *scale, uint8_t *min) {
    if (j < 4) {
        *scale = p[j] & 63;
        *min = p[j + 4] & 63;
    } else {
        *scale = (uint8_t)((p[j + 4] & 15) | (p[j - 4] >> 6) << 4);
        *min = (uint8_t)((p[j + 4] >> 4) | (p[j] >> 6) << 4);
    }
}

/* IQ2_XXS code book: row r is eight magnitudes 8, 25 or 43, lane 0 in the lowest byte. */
extern const uint64_t ds4_iq2_xxs_grid[256];
/* The same rows as eight 2-bit digits (0, 1, 2), lane 0 lowest: 512 bytes fit in registers. */
extern const uint16_t ds4_iq2_xxs_digits[256];
/* Sign bytes 0x00 or 0xFF of a 7-bit sign index; the eighth makes the number of minus signs even.
 */
extern const uint64_t ds4_iq2_xxs_signs[128];
/* Twice the FP4 (E2M1) values: integers. */
extern const int8_t ds4_fp4_doubled[16];

/* Whether activations for this weight type come in blocks of 256 (one scale each) or of 32. */
static inline size_t ds4_activation_block(ds4_type type) {
    return type == DS4_TYPE_Q8_0 || type == DS4_TYPE_MXFP4 ? 32 : 256;
}

static inline size_t ds4_round_up(size_t n, size_t multiple) {
    return (n + multiple - 1) / multiple * multiple;
}

/* An int8 activation row of n elements: four arrays, each at a 64-byte boundary and zero-padded to
 * it. |code| <= 127 always: kernels rely on it. */
typedef struct ds4_activation_row {
    int8_t *codes;   /* n */
    float *scales;   /* one per block */
    int16_t *sums16; /* n / 16 sums of 16 codes */
    int32_t *bias32; /* n / 32: -128 x the sum of 32 codes, what an offset of 128 on the weights
                        adds too much */
} ds4_activation_row;

static inline size_t ds4_activation_row_layout(ds4_type type, size_t n, void *base,
                                               ds4_activation_row *row) {
    uint8_t *bytes = base;
    size_t codes = ds4_round_up(n, 64);
    size_t scales = ds4_round_up(n / ds4_activation_block(type) * sizeof(float), 64);
    size_t sums16 = ds4_round_up(n / 16 * sizeof(int16_t), 64);
    size_t bias32 = ds4_round_up(n / 32 * sizeof(int32_t), 64);
    if (row != NULL) {
        row->codes = (int8_t *)bytes;
        row->scales = (float *)(void *)(bytes + codes);
        row->sums16 = (int16_t *)(void *)(bytes + codes + scales);
        row->bias32 = (int32_t *)(void *)(bytes + codes + scales + sums16);
    }
    return codes + scales + sums16 + bias32;
}

/* What one block of weights and one block of activation codes contribute, exactly:
 * dot * (scale * xd) - min_dot * (min_scale * xd), xd being the activation block's scale. */
typedef struct ds4_block_product {
    int32_t dot;
    int32_t min_dot;
    float scale;
    float min_scale;
} ds4_block_product;

/* The scalar truth of each format, one file each: decoding, and the integer product of one block.
 */
void ds4_f32_decode(const uint8_t *source, float *target, size_t n);
void ds4_f16_decode(const uint8_t *source, float *target, size_t n);
void ds4_bf16_decode(const uint8_t *source, float *target, size_t n);
void ds4_i32_decode(const uint8_t *source, float *target, size_t n);
void ds4_q8_0_decode(const uint8_t *source, float *target, size_t n);
void ds4_q2_k_decode(const uint8_t *source, float *target, size_t n);
void ds4_q4_k_decode(const uint8_t *source, float *target, size_t n);
void ds4_iq2_xxs_decode(const uint8_t *source, float *target, size_t n);
void ds4_mxfp4_decode(const uint8_t *source, float *target, size_t n);

ds4_block_product ds4_q8_0_block_product(const uint8_t *block, const int8_t *codes);
ds4_block_product ds4_q2_k_block_product(const uint8_t *block, const int8_t *codes);
ds4_block_product ds4_q4_k_block_product(const uint8_t *block, const int8_t *codes);
ds4_block_product ds4_iq2_xxs_block_product(const uint8_t *block, const int8_t *codes);
ds4_block_product ds4_mxfp4_block_product(const uint8_t *block, const int8_t *codes);

/* The kernel sets that were built in; NULL at the end. */
extern const ds4_kernels ds4_kernels_scalar;
#if defined(__x86_64__)
extern const ds4_kernels ds4_kernels_avx2;
extern const ds4_kernels ds4_kernels_avx512;
#elif defined(__aarch64__)
extern const ds4_kernels ds4_kernels_neon;
#endif

#endif
