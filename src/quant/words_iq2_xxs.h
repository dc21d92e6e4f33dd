/* IQ2_XXS in SIMD words (iq2_xxs.c states the format). */
#ifndef DS4_QUANT_WORDS_IQ2_XXS_H
#define DS4_QUANT_WORDS_IQ2_XXS_H

#include "quant/simd.h"

/* The 32 signed magnitudes of the group at `group`. */
static inline b8x32 iq2_xxs_magnitudes(const uint8_t *group) {
    const uint64_t *grid = ds4_iq2_xxs_grid, *signs = ds4_iq2_xxs_signs;
    uint32_t s = ds4_load_u32(group + 4);
    return b_negate_where(
        b_from_u64(grid[group[0]], grid[group[1]], grid[group[2]], grid[group[3]]),
        b_from_u64(signs[s & 127], signs[s >> 7 & 127], signs[s >> 14 & 127],
                   signs[s >> 21 & 127]));
}

static inline int iq2_xxs_multiplier(const uint8_t *group) {
    return 2 * (group[7] >> 4) + 1;
}

#if defined(DS4_SIMD_AVX512)

/* A whole block at once: all 32 rows are looked up in the 512-byte table of 2-bit digits (eight
 * registers), all 32 sign bytes are cut out by one multishift and completed by a population count.
 * A word of 16 weights then is one dword of digits, looked up among the three magnitudes, and 16
 * sign bits. */
typedef struct {
    uint32_t digits[16];
    uint32_t signs[8];
    float table[8][4];
} iq2_xxs_state;

static inline __m512i iq2_xxs_row_digits(__m512i rows) {
    const uint16_t *t = ds4_iq2_xxs_digits;
    __m512i q[4];
    for (int i = 0; i < 4; i++)
        q[i] = _mm512_permutex2var_epi16(_mm512_loadu_si512(t + 64 * i), rows,
                                         _mm512_loadu_si512(t + 64 * i + 32));
    __mmask32 bit6 = _mm512_test_epi16_mask(rows, _mm512_set1_epi16(64));
    __mmask32 bit7 = _mm512_test_epi16_mask(rows, _mm512_set1_epi16(128));
    __m512i low = _mm512_mask_blend_epi16(bit6, q[0], q[1]);
    __m512i high = _mm512_mask_blend_epi16(bit6, q[2], q[3]);
    return _mm512_mask_blend_epi16(bit7, low, high);
}

/* Eight sign bits per sub-vector: bytes 4g..4g+3 belong to group g. */
static inline __m256i iq2_xxs_sign_bytes(__m512i groups) {
    const __m512i fields = _mm512_set1_epi64(0x352E2720);
    __m512i t =
        _mm512_and_si512(_mm512_multishift_epi64_epi8(fields, groups), _mm512_set1_epi8(127));
    __m512i odd =
        _mm512_slli_epi16(_mm512_and_si512(_mm512_popcnt_epi8(t), _mm512_set1_epi8(1)), 7);
    return _mm512_cvtepi64_epi32(_mm512_or_si512(t, odd));
}

static inline void iq2_xxs_prepare(const uint8_t *block, iq2_xxs_state *state) {
    __m512i groups = _mm512_loadu_si512(block + 2);
    __m512i rows = _mm512_cvtepu8_epi16(_mm512_cvtepi64_epi32(groups));
    _mm512_storeu_si512(state->digits, iq2_xxs_row_digits(rows));
    _mm256_storeu_si256((__m256i *)(void *)state->signs, iq2_xxs_sign_bytes(groups));
    __m256i c = _mm512_cvtepi64_epi32(_mm512_srli_epi64(groups, 60));
    c = _mm256_add_epi32(_mm256_add_epi32(c, c), _mm256_set1_epi32(1));
    __m256 scale = _mm256_mul_ps(_mm256_cvtepi32_ps(c), _mm256_set1_ps(0.125f * f16_scalar(block)));
    __m512 wide = _mm512_castps256_ps512(scale);
    const __m512 magnitude = _mm512_setr_ps(8, 25, 43, 0, 8, 25, 43, 0, 8, 25, 43, 0, 8, 25, 43, 0);
    __m512i group = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
    _mm512_storeu_ps(state->table[0], _mm512_mul_ps(magnitude, _mm512_permutexvar_ps(group, wide)));
    group = _mm512_add_epi32(group, _mm512_set1_epi32(4));
    _mm512_storeu_ps(state->table[4], _mm512_mul_ps(magnitude, _mm512_permutexvar_ps(group, wide)));
    KEEP_IN_MEMORY(*state);
}

static inline void iq2_xxs_words(const uint8_t *block, const iq2_xxs_state *state, size_t g,
                                 f32x16 w[2]) {
    (void)block;
    const __m512i shifts =
        _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    __m512 table = _mm512_broadcast_f32x4(_mm_loadu_ps(state->table[g]));
    for (size_t i = 0; i < 2; i++) {
        __m512i v = _mm512_srlv_epi32(_mm512_set1_epi32((int)state->digits[2 * g + i]), shifts);
        __m512 m = _mm512_permutevar_ps(table, v);
        __m512 sign = _mm512_castsi512_ps(_mm512_set1_epi32(INT32_MIN));
        w[i] = _mm512_mask_xor_ps(m, (__mmask16)(state->signs[g] >> 16 * i), m, sign);
    }
}

#else

typedef struct {
    float eighth;
} iq2_xxs_state;

static inline void iq2_xxs_prepare(const uint8_t *block, iq2_xxs_state *state) {
    state->eighth = 0.125f * f16_scalar(block);
}

static inline void iq2_xxs_words(const uint8_t *block, const iq2_xxs_state *state, size_t g,
                                 f32x16 w[2]) {
    const uint8_t *group = block + 2 + 8 * g;
    f32x16 scale = f_set1(state->eighth * (float)iq2_xxs_multiplier(group));
    b_to_f32(iq2_xxs_magnitudes(group), w);
    w[0] = f_mul(w[0], scale);
    w[1] = f_mul(w[1], scale);
}

#endif

static inline ds4_block_product iq2_xxs_product(const uint8_t *block, const int8_t *codes,
                                                const int16_t *sums16) {
    (void)sums16;
    i32acc acc = i_zero();
    for (size_t g = 0; g < 8; g++) {
        const uint8_t *group = block + 2 + 8 * g;
        int multiplier = iq2_xxs_multiplier(group);
        acc = i_dot_scaled(acc, iq2_xxs_magnitudes(group), b_load(codes + 32 * g), multiplier,
                           multiplier);
    }
    return (ds4_block_product){.dot = i_sum(acc), .scale = 0.125f * f16_scalar(block)};
}

#endif
