/* MXFP4 in SIMD words (mxfp4.c states the format). */
#ifndef DS4_QUANT_WORDS_MXFP4_H
#define DS4_QUANT_WORDS_MXFP4_H

#include "quant/simd.h"

typedef struct {
    f32x16 half_scale;
} mxfp4_state;

static inline float mxfp4_half_scale(const uint8_t *block) {
    return 0.5f * ds4_e8m0_to_f32(block[0]);
}

static inline void mxfp4_prepare(const uint8_t *block, mxfp4_state *state) {
    state->half_scale = f_set1(mxfp4_half_scale(block));
}

#if defined(DS4_SIMD_AVX512)

/* Sixteen possible weights in one register, looked up by the low four bits of each index lane. */
static inline void mxfp4_words(const uint8_t *block, const mxfp4_state *state, size_t g,
                               f32x16 w[2]) {
    (void)g;
    __m128i values = _mm_loadu_si128((const __m128i *)(const void *)ds4_fp4_doubled);
    __m512 table =
        _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(values)), state->half_scale);
    __m512i v = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)(block + 1)));
    w[0] = _mm512_permutexvar_ps(v, table);
    w[1] = _mm512_permutexvar_ps(_mm512_srli_epi32(v, 4), table);
}

#else

static inline void mxfp4_words(const uint8_t *block, const mxfp4_state *state, size_t g,
                               f32x16 w[2]) {
    (void)g;
    b_to_f32(b_lut16(ds4_fp4_doubled, b_load_nibbles(block + 1)), w);
    w[0] = f_mul(w[0], state->half_scale);
    w[1] = f_mul(w[1], state->half_scale);
}

#endif

static inline ds4_block_product mxfp4_product(const uint8_t *block, const int8_t *codes,
                                              const int16_t *sums16) {
    (void)sums16;
    b8x32 w = b_lut16(ds4_fp4_doubled, b_load_nibbles(block + 1));
    return (ds4_block_product){.dot = i_sum(i_dot(i_zero(), w, b_load(codes))),
                               .scale = mxfp4_half_scale(block)};
}

#endif
