/* Q2_K in SIMD words (q2_k.c states the format). */
#ifndef DS4_QUANT_WORDS_Q2_K_H
#define DS4_QUANT_WORDS_Q2_K_H

#include "quant/simd.h"

#if defined(DS4_SIMD_AVX512)

/* A group of 16 has four possible weights: they are tabulated, and the permutation that looks them
 * up reads only the low two bits of its index, so codes need no masking, no conversion and no
 * arithmetic. */
typedef struct {
    float table[16][4];
} q2_k_state;

static inline void q2_k_prepare(const uint8_t *block, q2_k_state *state) {
    __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)block);
    __m128i low = _mm_set1_epi8(15);
    __m512 scale = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_and_si128(bytes, low)));
    __m512 min =
        _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_and_si128(_mm_srli_epi16(bytes, 4), low)));
    __m512 ds = _mm512_mul_ps(scale, _mm512_set1_ps(f16_scalar(block + 80)));
    __m512 dm = _mm512_mul_ps(min, _mm512_set1_ps(f16_scalar(block + 82)));
    const __m512 code = _mm512_setr_ps(0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3);
    __m512i group = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
    for (int g = 0; g < 16; g += 4) {
        __m512 t = _mm512_fmsub_ps(code, _mm512_permutexvar_ps(group, ds),
                                   _mm512_permutexvar_ps(group, dm));
        _mm512_storeu_ps(state->table[g], t);
        group = _mm512_add_epi32(group, _mm512_set1_epi32(4));
    }
    KEEP_IN_MEMORY(*state);
}

static inline void q2_k_words(const uint8_t *block, const q2_k_state *state, size_t g,
                              f32x16 w[2]) {
    const uint8_t *codes = block + 16 + 32 * (g >> 2);
    for (size_t i = 0; i < 2; i++) {
        __m512i v =
            _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)(codes + 16 * i)));
        v = _mm512_srli_epi32(v, (unsigned)(2 * (g & 3)));
        w[i] =
            _mm512_permutevar_ps(_mm512_broadcast_f32x4(_mm_loadu_ps(state->table[2 * g + i])), v);
    }
}

#else

typedef struct {
    float ds[16], dm[16]; /* per group of 16: weight = code * ds + dm */
} q2_k_state;

static inline void q2_k_prepare(const uint8_t *block, q2_k_state *state) {
    float d = f16_scalar(block + 80), dmin = f16_scalar(block + 82);
    for (int g = 0; g < 16; g++) {
        state->ds[g] = d * (float)(block[g] & 15);
        state->dm[g] = -(dmin * (float)(block[g] >> 4));
    }
}

static inline void q2_k_words(const uint8_t *block, const q2_k_state *state, size_t g,
                              f32x16 w[2]) {
    b_to_f32(b_shift_mask(b_load(block + 16 + 32 * (g >> 2)), (unsigned)(2 * (g & 3)), 3), w);
    w[0] = f_fma(w[0], f_set1(state->ds[2 * g]), f_set1(state->dm[2 * g]));
    w[1] = f_fma(w[1], f_set1(state->ds[2 * g + 1]), f_set1(state->dm[2 * g + 1]));
}

#endif

static inline ds4_block_product q2_k_product(const uint8_t *block, const int8_t *codes,
                                             const int16_t *sums16) {
    i32acc acc = i_zero();
    int32_t min_dot = 0;
    for (size_t g = 0; g < 8; g++) {
        b8x32 w = b_shift_mask(b_load(block + 16 + 32 * (g >> 2)), (unsigned)(2 * (g & 3)), 3);
        acc =
            i_dot_scaled(acc, w, b_load(codes + 32 * g), block[2 * g] & 15, block[2 * g + 1] & 15);
    }
    for (size_t g = 0; g < 16; g++) min_dot += (block[g] >> 4) * sums16[g];
    return (ds4_block_product){i_sum(acc), min_dot, f16_scalar(block + 80), f16_scalar(block + 82)};
}

#endif
