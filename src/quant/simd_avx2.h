/* simd.h for AVX2 with FMA and F16C. */
#include <immintrin.h>

typedef struct {
    __m256 a, b;
} f32x16;
typedef __m256i b8x32;
typedef __m256i i32acc;

enum { MICRO_ROWS = 2, MICRO_TOKENS = 3 };

static inline f32x16 f_zero(void) {
    return (f32x16){_mm256_setzero_ps(), _mm256_setzero_ps()};
}
static inline f32x16 f_set1(float v) {
    return (f32x16){_mm256_set1_ps(v), _mm256_set1_ps(v)};
}
static inline f32x16 f_load(const float *p) {
    return (f32x16){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}
static inline f32x16 f_load_part(const float *p, size_t n) {
    float padded[16] = {0};
    memcpy(padded, p, n * sizeof *p);
    return f_load(padded);
}
static inline void f_store(float *p, f32x16 v) {
    _mm256_storeu_ps(p, v.a);
    _mm256_storeu_ps(p + 8, v.b);
}
static inline f32x16 f_add(f32x16 x, f32x16 y) {
    return (f32x16){_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)};
}
static inline f32x16 f_mul(f32x16 x, f32x16 y) {
    return (f32x16){_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)};
}
static inline f32x16 f_fma(f32x16 x, f32x16 y, f32x16 z) {
    return (f32x16){_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
}

static inline __m128i load_16_bytes(const void *p) {
    return _mm_loadu_si128((const __m128i *)p);
}
static inline f32x16 f_load_f16(const uint8_t *p) {
    return (f32x16){_mm256_cvtph_ps(load_16_bytes(p)), _mm256_cvtph_ps(load_16_bytes(p + 16))};
}
static inline __m256 f_from_bf16(__m128i v) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(v), 16));
}
static inline f32x16 f_load_bf16(const uint8_t *p) {
    return (f32x16){f_from_bf16(load_16_bytes(p)), f_from_bf16(load_16_bytes(p + 16))};
}
static inline f32x16 f_from_s8(__m128i v) {
    return (f32x16){_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(v)),
                    _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(v, 8)))};
}
static inline f32x16 f_load_s8(const uint8_t *p) {
    return f_from_s8(load_16_bytes(p));
}
static inline f32x16 f_load_i32(const int32_t *p) {
    return (f32x16){_mm256_cvtepi32_ps(_mm256_loadu_si256((const __m256i *)(const void *)p)),
                    _mm256_cvtepi32_ps(_mm256_loadu_si256((const __m256i *)(const void *)(p + 8)))};
}

static inline float f16_scalar(const uint8_t *p) {
    return _cvtsh_ss(ds4_load_u16(p));
}

static inline float f_sum(f32x16 v) {
    __m256 a = _mm256_add_ps(v.a, v.b);
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    __m128 c = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(c, _mm_movehdup_ps(c)));
}
static inline void f_sum4(const f32x16 *v, float *out) {
    for (int i = 0; i < 4; i++) out[i] = f_sum(v[i]);
}

static inline b8x32 b_load(const void *p) {
    return _mm256_loadu_si256((const __m256i *)p);
}
static inline b8x32 b_load_nibbles(const void *p) {
    __m128i v = load_16_bytes(p);
    __m256i both = _mm256_inserti128_si256(_mm256_castsi128_si256(v), _mm_srli_epi16(v, 4), 1);
    return _mm256_and_si256(both, _mm256_set1_epi8(15));
}
static inline b8x32 b_shift_mask(b8x32 v, unsigned shift, int mask) {
    return _mm256_and_si256(_mm256_srli_epi16(v, (int)shift), _mm256_set1_epi8((char)mask));
}
static inline b8x32 b_lut16(const int8_t table[16], b8x32 v) {
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(load_16_bytes(table)), v);
}
static inline b8x32 b_from_u64(uint64_t a, uint64_t b, uint64_t c, uint64_t d) {
    return _mm256_set_epi64x((long long)d, (long long)c, (long long)b, (long long)a);
}
static inline b8x32 b_negate_where(b8x32 v, b8x32 sign) {
    return _mm256_sub_epi8(_mm256_xor_si256(v, sign), sign);
}
static inline void b_to_f32(b8x32 v, f32x16 out[2]) {
    out[0] = f_from_s8(_mm256_castsi256_si128(v));
    out[1] = f_from_s8(_mm256_extracti128_si256(v, 1));
}

static inline i32acc i_zero(void) {
    return _mm256_setzero_si256();
}
/* |w| <= 128 as unsigned bytes times x with w's sign: pairs sum to at most 2 * 128 * 127 < 2^15,
 * nothing saturates. */
static inline i32acc dot_of_four(b8x32 w, b8x32 x) {
    __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
    return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}
static inline i32acc i_dot(i32acc acc, b8x32 w, b8x32 x) {
    return _mm256_add_epi32(acc, dot_of_four(w, x));
}
static inline i32acc i_dot_scaled(i32acc acc, b8x32 w, b8x32 x, int lo, int hi) {
    __m256i scale = _mm256_inserti128_si256(_mm256_set1_epi32(lo), _mm_set1_epi32(hi), 1);
    return _mm256_add_epi32(acc, _mm256_mullo_epi32(dot_of_four(w, x), scale));
}
static inline int32_t i_sum(i32acc v) {
    __m128i a = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    a = _mm_add_epi32(a, _mm_shuffle_epi32(a, 0x4E));
    return _mm_cvtsi128_si32(_mm_add_epi32(a, _mm_shuffle_epi32(a, 0xB1)));
}
