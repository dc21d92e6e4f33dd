/* Rounding activations to int8 blocks. Written once in plain C: it is compiled with each
 * instruction set's flags, and as every operation in it is a single IEEE operation all of them give
 * the same bytes. */
#ifndef DS4_QUANT_ACTIVATIONS_H
#define DS4_QUANT_ACTIVATIONS_H

#include "quant/blocks.h"

/* Round to nearest even for |v| <= 2^22: the sum's last mantissa bit is the unit. */
static inline int32_t ds4_round_even(float v) {
    return (int32_t)(ds4_f32_to_bits(v + 12582912.0f) - 0x4B400000u);
}

/* Codes of one block of n elements for the factor `inverse` (|x * inverse| < 128), and their sums.
 */
static inline void ds4_activation_codes(const float *x, float inverse, int8_t *codes, size_t n,
                                        int16_t *sums16, int32_t *bias32) {
    for (size_t i = 0; i < n; i++) codes[i] = (int8_t)ds4_round_even(x[i] * inverse);
    for (size_t g = 0; g < n / 16; g++) {
        int32_t sum = 0;
        for (size_t i = 0; i < 16; i++) sum += codes[16 * g + i];
        sums16[g] = (int16_t)sum;
    }
    for (size_t g = 0; g < n / 32; g++) bias32[g] = -128 * (sums16[2 * g] + sums16[2 * g + 1]);
}

/* Largest |x| as bits: for finite numbers the order of the bits is the order of the values, NaN
 * comes last. */
static inline uint32_t ds4_largest_bits(const float *x, size_t n) {
    uint32_t largest = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = ds4_f32_to_bits(x[i]) & 0x7FFFFFFFu;
        largest = bits > largest ? bits : largest;
    }
    return largest;
}

/* Scale and factor of a 32-block: d = amax / 127, codes = round(x / d). */
static inline float ds4_scale_of_32(float amax, float *inverse) {
    float d = amax / 127.0f;
    *inverse = d != 0 ? 1.0f / d : 0.0f;
    return d;
}

/* Scale and factor of a 256-block: the extreme element (the first of equals) gets the code -127. */
static inline float ds4_scale_of_256(const float *x, uint32_t largest, float *inverse) {
    if (largest == 0) {
        *inverse = 0;
        return 0;
    }
    size_t i = 0;
    while ((ds4_f32_to_bits(x[i]) & 0x7FFFFFFFu) != largest) i++;
    *inverse = -127.0f / x[i];
    return 1.0f / *inverse;
}

/* A block that holds NaN or infinity gets the scale NaN, so that the product shows it. A block so
 * small that the factor overflows (below about 4e-37) counts as zero. */
static inline void ds4_quantize_activation_row(ds4_type type, const float *source, void *target,
                                               size_t n) {
    ds4_activation_row row;
    size_t bytes = ds4_activation_row_layout(type, n, target, &row);
    size_t block = ds4_activation_block(type);
    uint8_t *end_of_codes = (uint8_t *)target + n;
    memset(end_of_codes, 0, bytes - n);
    for (size_t b = 0; b < n / block; b++) {
        const float *x = source + b * block;
        uint32_t largest = ds4_largest_bits(x, block);
        float inverse = 0, d;
        if (largest >= 0x7F800000u) {
            d = ds4_bits_to_f32(0x7FC00000u);
        } else {
            d = block == 32 ? ds4_scale_of_32(ds4_bits_to_f32(largest), &inverse)
                            : ds4_scale_of_256(x, largest, &inverse);
            if ((ds4_f32_to_bits(inverse) & 0x7FFFFFFFu) >= 0x7F800000u) d = inverse = 0;
        }
        row.scales[b] = d;
        if (d != d) {
            memset(row.codes + b * block, 0, block);
        } else {
            ds4_activation_codes(x, inverse, row.codes + b * block, block,
                                 row.sums16 + b * block / 16, row.bias32 + b * block / 32);
        }
    }
}

#endif
