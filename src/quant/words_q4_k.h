/* Q4_K in SIMD words (q4_k.c states the format). */
#ifndef DS4_QUANT_WORDS_Q4_K_H
#define DS4_QUANT_WORDS_Q4_K_H

#include "quant/simd.h"

/* The eight scales and the eight minima as bytes, unpacked eight at a time. */
static inline void q4_k_unpack(const uint8_t *block, uint8_t scales[8], uint8_t mins[8]) {
    uint32_t a = ds4_load_u32(block + 4), b = ds4_load_u32(block + 8), c = ds4_load_u32(block + 12);
    uint32_t s[2] = {a & 0x3F3F3F3Fu, (c & 0x0F0F0F0Fu) | (a >> 2 & 0x30303030u)};
    uint32_t m[2] = {b & 0x3F3F3F3Fu, (c >> 4 & 0x0F0F0F0Fu) | (b >> 2 & 0x30303030u)};
    memcpy(scales, s, 8);
    memcpy(mins, m, 8);
}

typedef struct {
    float ds[8], dm[8]; /* per group of 32: weight = code * ds + dm */
} q4_k_state;

static inline void q4_k_prepare(const uint8_t *block, q4_k_state *state) {
    uint8_t scales[8], mins[8];
    float d = f16_scalar(block), dmin = f16_scalar(block + 2);
    q4_k_unpack(block, scales, mins);
    for (int g = 0; g < 8; g++) {
        state->ds[g] = d * (float)scales[g];
        state->dm[g] = -(dmin * (float)mins[g]);
    }
}

#if defined(DS4_SIMD_AVX512)

/* A group has sixteen possible weights: one register, looked up by the low four bits of each index
 * lane. */
static inline void q4_k_words(const uint8_t *block, const q4_k_state *state, size_t g,
                              f32x16 w[2]) {
    const uint8_t *codes = block + 16 + 32 * (g >> 1);
    const __m512 code = _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    __m512 table =
        _mm512_fmadd_ps(code, _mm512_set1_ps(state->ds[g]), _mm512_set1_ps(state->dm[g]));
    for (size_t i = 0; i < 2; i++) {
        __m512i v =
            _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)(codes + 16 * i)));
        w[i] = _mm512_permutexvar_ps(_mm512_srli_epi32(v, (unsigned)(4 * (g & 1))), table);
    }
}

#else

static inline void q4_k_words(const uint8_t *block, const q4_k_state *state, size_t g,
                              f32x16 w[2]) {
    b_to_f32(b_shift_mask(b_load(block + 16 + 32 * (g >> 1)), (unsigned)(4 * (g & 1)), 15), w);
    w[0] = f_fma(w[0], f_set1(state->ds[g]), f_set1(state->dm[g]));
    w[1] = f_fma(w[1], f_set1(state->ds[g]), f_set1(state->dm[g]));
}

#endif

static inline ds4_block_product q4_k_product(const uint8_t *block, const int8_t *codes,
                                             const int16_t *sums16) {
    uint8_t scales[8], mins[8];
    i32acc acc = i_zero();
    int32_t min_dot = 0;
    q4_k_unpack(block, scales, mins);
    for (size_t g = 0; g < 8; g++) {
        b8x32 w = b_shift_mask(b_load(block + 16 + 32 * (g >> 1)), (unsigned)(4 * (g & 1)), 15);
        acc = i_dot_scaled(acc, w, b_load(codes + 32 * g), scales[g], scales[g]);
        min_dot += mins[g] * (sums16[2 * g] + sums16[2 * g + 1]);
    }
    return (ds4_block_product){i_sum(acc), min_dot, f16_scalar(block), f16_scalar(block + 2)};
}

#endif
