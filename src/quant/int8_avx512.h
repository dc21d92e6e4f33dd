/* Products with int8 activations on AVX-512 VNNI. The integers of a block are exact, so any layout
 * may compute them; the float steps are those of the definition (docs/numerics.md). few tokens:  a
 * row's blocks lie across the lanes and are summed horizontally, sixteen blocks at a time many
 * tokens: sixteen rows are packed so that a lane is a row; every instruction then multiplies
 * sixteen rows with four activations that are broadcast from memory, and no horizontal sum is
 * needed */
#ifndef DS4_QUANT_INT8_AVX512_H
#define DS4_QUANT_INT8_AVX512_H

#include "quant/kernels_simd.h"

/* ---- few tokens ---- */

/* Sixteen lanes of four vectors to four sums. */
static inline __m128i sum4_i32(__m512i a, __m512i b, __m512i c, __m512i d) {
    __m512i ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    __m512i cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    __m512i q = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
    __m256i h = _mm256_add_epi32(_mm512_castsi512_si256(q), _mm512_extracti64x4_epi64(q, 1));
    return _mm_add_epi32(_mm256_castsi256_si128(h), _mm256_extracti128_si256(h, 1));
}

/* Lane sums of one 256-block: `dot` and, for formats with minima, `min_dot`. */
typedef struct {
    __m512i dot, min_dot;
} block_lanes;

/* 32 bytes twice, the upper copy shifted further right: two neighbouring groups of codes. */
static inline __m512i code_pair(const uint8_t *bytes, int low_shift, int high_shift, int mask) {
    __m512i v = _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)(const void *)bytes));
    __m512i shift = _mm512_inserti64x4(_mm512_set1_epi16((short)low_shift),
                                       _mm256_set1_epi16((short)high_shift), 1);
    return _mm512_and_si512(_mm512_srlv_epi16(v, shift), _mm512_set1_epi8((char)mask));
}

static inline __m512i wide_sums16(const int16_t *sums16) {
    return _mm512_cvtepi16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)sums16));
}

/* Lane l -> 4 * i + l / 4: the groups of 16 within 64 elements. */
static inline __m512i index_by_4(int i) {
    const __m512i base = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
    return _mm512_add_epi32(base, _mm512_set1_epi32(4 * i));
}

/* Lane l -> 2 * i + l / 8: the groups of 32 within 64 elements. */
static inline __m512i index_by_8(int i) {
    const __m512i base = _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
    return _mm512_add_epi32(base, _mm512_set1_epi32(2 * i));
}

/* The 64 weights from element 64 * i, each already times its scale (at most 15 * 3). Byte c of a
 * group's dword in `products` is c times the group's scale, so the lookup multiplies. */
static inline __m512i q2_k_quarter(const uint8_t *block, __m512i products, int i) {
    int shift = 4 * (i & 1);
    __m512i codes = code_pair(block + 16 + 32 * (i >> 1), shift, shift + 2, 3);
    return _mm512_shuffle_epi8(_mm512_permutexvar_epi32(index_by_4(i), products), codes);
}

static inline __m512i q2_k_products(const uint8_t *block) {
    __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)block);
    __m512i scale = _mm512_cvtepu8_epi32(_mm_and_si128(bytes, _mm_set1_epi8(15)));
    return _mm512_mullo_epi32(scale, _mm512_set1_epi32(0x03020100));
}

static inline __m128i q2_k_mins(const uint8_t *block) {
    __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)block);
    return _mm_and_si128(_mm_srli_epi16(bytes, 4), _mm_set1_epi8(15));
}

static inline block_lanes q2_k_lanes(const uint8_t *block, const int8_t *codes,
                                     const int16_t *sums16) {
    __m512i products = q2_k_products(block), dot = _mm512_setzero_si512();
    UNROLLED for (int i = 0; i < 4; i++) dot = _mm512_dpbusd_epi32(
        dot, q2_k_quarter(block, products, i), _mm512_loadu_si512(codes + 64 * i));
    __m512i mins = _mm512_cvtepu8_epi32(q2_k_mins(block));
    return (block_lanes){dot, _mm512_mullo_epi32(mins, wide_sums16(sums16))};
}

static inline block_lanes q4_k_lanes(const uint8_t *block, const int8_t *codes,
                                     const int16_t *sums16) {
    uint8_t scale_bytes[8], min_bytes[8];
    q4_k_unpack(block, scale_bytes, min_bytes);
    __m512i scale =
        _mm512_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)scale_bytes));
    __m128i min = _mm_loadl_epi64((const __m128i *)(const void *)min_bytes);
    __m512i dot = _mm512_setzero_si512();
    UNROLLED for (int i = 0; i < 4; i++) {
        __m512i w = code_pair(block + 16 + 32 * i, 0, 4, 15);
        __m512i p =
            _mm512_dpbusd_epi32(_mm512_setzero_si512(), w, _mm512_loadu_si512(codes + 64 * i));
        p = _mm512_mullo_epi32(p, _mm512_permutexvar_epi32(index_by_8(i), scale));
        dot = _mm512_add_epi32(dot, p);
    }
    __m512i mins = _mm512_cvtepu8_epi32(_mm_unpacklo_epi8(min, min));
    return (block_lanes){dot, _mm512_mullo_epi32(mins, wide_sums16(sums16))};
}

/* What all 256 weights of an IQ2_XXS block need. */
typedef struct {
    __m512i digits;
    __m256i multipliers; /* eight int32 */
    uint64_t signs[4];
} iq2_xxs_block;

static inline iq2_xxs_block iq2_xxs_open(const uint8_t *block) {
    iq2_xxs_block b;
    __m512i groups = _mm512_loadu_si512(block + 2);
    b.digits = iq2_xxs_row_digits(_mm512_cvtepu8_epi16(_mm512_cvtepi64_epi32(groups)));
    __m256i c = _mm512_cvtepi64_epi32(_mm512_srli_epi64(groups, 60));
    b.multipliers = _mm256_add_epi32(_mm256_add_epi32(c, c), _mm256_set1_epi32(1));
    _mm256_storeu_si256((__m256i *)(void *)b.signs, iq2_xxs_sign_bytes(groups));
    return b;
}

/* The 64 magnitudes from element 64 * i: each 16-bit row becomes eight bytes, one per 2-bit digit.
 */
static inline __m512i iq2_xxs_quarter(const iq2_xxs_block *b, int i) {
    const __m512i magnitudes = _mm512_set1_epi32(0x002B1908); /* 8, 25, 43 */
    const __m512i fields = _mm512_set1_epi64(0x0E0C0A0806040200);
    const __m512i word_of_lane = _mm512_set_epi16(7, 7, 7, 7, 6, 6, 6, 6, 5, 5, 5, 5, 4, 4, 4, 4, 3,
                                                  3, 3, 3, 2, 2, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0);
    __m512i words = _mm512_add_epi16(word_of_lane, _mm512_set1_epi16((short)(8 * i)));
    __m512i w = _mm512_multishift_epi64_epi8(fields, _mm512_permutexvar_epi16(words, b->digits));
    return _mm512_shuffle_epi8(magnitudes, _mm512_and_si512(w, _mm512_set1_epi8(3)));
}

static inline __m512i negate_where(__m512i v, uint64_t mask) {
    return _mm512_mask_sub_epi8(v, (__mmask64)mask, _mm512_setzero_si512(), v);
}

static inline block_lanes iq2_xxs_lanes(const uint8_t *block, const int8_t *codes,
                                        const int16_t *sums16) {
    (void)sums16;
    iq2_xxs_block b = iq2_xxs_open(block);
    __m512i multipliers = _mm512_castsi256_si512(b.multipliers), dot = _mm512_setzero_si512();
    UNROLLED for (int i = 0; i < 4; i++) {
        __m512i x = negate_where(_mm512_loadu_si512(codes + 64 * i), b.signs[i]);
        __m512i p = _mm512_dpbusd_epi32(_mm512_setzero_si512(), iq2_xxs_quarter(&b, i), x);
        p = _mm512_mullo_epi32(p, _mm512_permutexvar_epi32(index_by_8(i), multipliers));
        dot = _mm512_add_epi32(dot, p);
    }
    return (block_lanes){dot, _mm512_setzero_si512()};
}

/* <row, x> for a format with 256-blocks. */
#define DEFINE_INT8_ROW_256(F, BYTES, HAS_MINS, SCALE, MIN_SCALE)                                  \
    static float F##_row_int8(const uint8_t *row, size_t distance, const ds4_activation_row *x,    \
                              size_t n_blocks) {                                                   \
        __m512 acc = _mm512_setzero_ps();                                                          \
        for (size_t b0 = 0; b0 < n_blocks; b0 += DS4_LANES) {                                      \
            _Alignas(64) int32_t dot[DS4_LANES] = {0}, min_dot[DS4_LANES] = {0};                   \
            _Alignas(64) float scale[DS4_LANES] = {0}, min_scale[DS4_LANES] = {0};                 \
            size_t n = min_size(DS4_LANES, n_blocks - b0);                                         \
            for (size_t l0 = 0; l0 < n; l0 += 4) {                                                 \
                block_lanes lanes[4];                                                              \
                UNROLLED for (size_t l = 0; l < 4; l++) {                                          \
                    /* Beyond the last block its own lanes are computed again and dropped. */      \
                    size_t b = b0 + min_size(l0 + l, n - 1);                                       \
                    const uint8_t *block = row + b * (BYTES);                                      \
                    prefetch_block(block, distance, (BYTES));                                      \
                    lanes[l] = F##_lanes(block, x->codes + 256 * b, x->sums16 + 16 * b);           \
                    scale[l0 + l] = SCALE(block);                                                  \
                    if (HAS_MINS) min_scale[l0 + l] = f16_scalar(block + (MIN_SCALE));             \
                }                                                                                  \
                _mm_store_si128((__m128i *)(void *)(dot + l0),                                     \
                                sum4_i32(lanes[0].dot, lanes[1].dot, lanes[2].dot, lanes[3].dot)); \
                if (HAS_MINS)                                                                      \
                    _mm_store_si128((__m128i *)(void *)(min_dot + l0),                             \
                                    sum4_i32(lanes[0].min_dot, lanes[1].min_dot, lanes[2].min_dot, \
                                             lanes[3].min_dot));                                   \
            }                                                                                      \
            __mmask16 valid = (__mmask16)((1u << n) - 1u);                                         \
            __m512 xd = _mm512_maskz_loadu_ps(valid, x->scales + b0);                              \
            __m512i d = _mm512_maskz_load_epi32(valid, dot);                                       \
            acc = _mm512_fmadd_ps(_mm512_cvtepi32_ps(d), _mm512_mul_ps(_mm512_load_ps(scale), xd), \
                                  acc);                                                            \
            if (HAS_MINS) {                                                                        \
                __m512i m = _mm512_maskz_load_epi32(valid, min_dot);                               \
                acc = _mm512_fnmadd_ps(_mm512_cvtepi32_ps(m),                                      \
                                       _mm512_mul_ps(_mm512_load_ps(min_scale), xd), acc);         \
            }                                                                                      \
        }                                                                                          \
        return f_sum(acc);                                                                         \
    }

static inline float iq2_xxs_scale(const uint8_t *block) {
    return 0.125f * f16_scalar(block);
}
static inline float q2_k_scale(const uint8_t *block) {
    return f16_scalar(block + 80);
}

DEFINE_INT8_ROW_256(q2_k, DS4_Q2_K_BYTES, true, q2_k_scale, 82)
DEFINE_INT8_ROW_256(q4_k, DS4_Q4_K_BYTES, true, f16_scalar, 2)
DEFINE_INT8_ROW_256(iq2_xxs, DS4_IQ2_XXS_BYTES, false, iq2_xxs_scale, 0)

/* The weights of one 32-block as signed bytes. */
static inline __m256i q8_0_bytes(const uint8_t *block) {
    return b_load(block + 2);
}
static inline __m256i mxfp4_bytes(const uint8_t *block) {
    return b_lut16(ds4_fp4_doubled, b_load_nibbles(block + 1));
}

/* Eight vectors, each two 32-blocks of eight lanes, to the sixteen block sums in order. */
static inline __m512i sum16_blocks(const __m512i v[8]) {
    __m512i q[2];
    for (int i = 0; i < 2; i++) {
        __m512i a = v[4 * i], b = v[4 * i + 1], c = v[4 * i + 2], d = v[4 * i + 3];
        __m512i ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
        __m512i cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
        q[i] = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
        q[i] = _mm512_add_epi32(q[i], _mm512_shuffle_i32x4(q[i], q[i], 0xB1));
    }
    /* q[i]: dwords 0..3 are the even blocks, dwords 8..11 the odd ones. */
    const __m512i order =
        _mm512_setr_epi32(0, 8, 1, 9, 2, 10, 3, 11, 16, 24, 17, 25, 18, 26, 19, 27);
    return _mm512_permutex2var_epi32(q[0], order, q[1]);
}

/* <row, x> for a format with 32-blocks: weights get an offset of 128 to be unsigned, bias32 takes
 * it back. */
#define DEFINE_INT8_ROW_32(F, BYTES, SCALE)                                                        \
    static float F##_row_int8(const uint8_t *row, size_t distance, const ds4_activation_row *x,    \
                              size_t n_blocks) {                                                   \
        __m512 acc = _mm512_setzero_ps();                                                          \
        for (size_t b0 = 0; b0 < n_blocks; b0 += DS4_LANES) {                                      \
            __m512i pairs[8];                                                                      \
            _Alignas(64) float scale[DS4_LANES];                                                   \
            size_t n = min_size(DS4_LANES, n_blocks - b0);                                         \
            UNROLLED for (size_t i = 0; i < 8; i++) {                                              \
                size_t even = b0 + min_size(2 * i, n - 1), odd = b0 + min_size(2 * i + 1, n - 1);  \
                const uint8_t *block = row + even * (BYTES), *next = row + odd * (BYTES);          \
                prefetch_block(block, distance, 2 * (BYTES));                                      \
                __m512i w = _mm512_inserti64x4(_mm512_castsi256_si512(F##_bytes(block)),           \
                                               F##_bytes(next), 1);                                \
                __m512i codes =                                                                    \
                    _mm512_inserti64x4(_mm512_castsi256_si512(b_load(x->codes + 32 * even)),       \
                                       b_load(x->codes + 32 * odd), 1);                            \
                w = _mm512_xor_si512(w, _mm512_set1_epi8(-128));                                   \
                pairs[i] = _mm512_dpbusd_epi32(_mm512_setzero_si512(), w, codes);                  \
                scale[2 * i] = SCALE(block);                                                       \
                scale[2 * i + 1] = SCALE(next);                                                    \
            }                                                                                      \
            __mmask16 valid = (__mmask16)((1u << n) - 1u);                                         \
            __m512 xd = _mm512_maskz_loadu_ps(valid, x->scales + b0);                              \
            __m512i bias = _mm512_maskz_loadu_epi32(valid, x->bias32 + b0);                        \
            __m512i dot = _mm512_maskz_add_epi32(valid, sum16_blocks(pairs), bias);                \
            acc = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot),                                         \
                                  _mm512_mul_ps(_mm512_load_ps(scale), xd), acc);                  \
        }                                                                                          \
        return f_sum(acc);                                                                         \
    }

DEFINE_INT8_ROW_32(q8_0, DS4_Q8_0_BYTES, f16_scalar)
DEFINE_INT8_ROW_32(mxfp4, DS4_MXFP4_BYTES, mxfp4_half_scale)

typedef float (*row_int8)(const uint8_t *row, size_t distance, const ds4_activation_row *x,
                          size_t n_blocks);

static row_int8 row_int8_of(ds4_type type) {
    switch (type) {
    case DS4_TYPE_Q8_0:
        return q8_0_row_int8;
    case DS4_TYPE_Q2_K:
        return q2_k_row_int8;
    case DS4_TYPE_Q4_K:
        return q4_k_row_int8;
    case DS4_TYPE_IQ2_XXS:
        return iq2_xxs_row_int8;
    case DS4_TYPE_MXFP4:
        return mxfp4_row_int8;
    case DS4_TYPE_F32:
    case DS4_TYPE_F16:
    case DS4_TYPE_I32:
    case DS4_TYPE_BF16:
        break;
    }
    return NULL;
}

static void few_tokens_int8(const ds4_matmul *p, size_t row_begin, size_t row_end) {
    size_t n_blocks = p->n_in / ds4_type_get_info((uint32_t)p->type)->block_elements;
    row_int8 product = row_int8_of(p->type);
    for (size_t r = row_begin; r < row_end; r++) {
        const uint8_t *row = (const uint8_t *)p->weights + r * p->row_bytes;
        for (size_t t = 0; t < p->n_tokens; t++) {
            ds4_activation_row x;
            ds4_activation_row_layout(p->type, p->n_in, (void *)(uintptr_t)p->xq[t], &x);
            p->y[t][r] = product(row, 2 * p->row_bytes, &x, n_blocks);
        }
    }
}

#endif
