/* simd.h for AVX-512 (F, BW, DQ, VL, VNNI, VBMI, BITALG: Ice Lake, Zen 4 and newer). */
#include <immintrin.h>

typedef __m512 f32x16;
typedef __m256i b8x32;
typedef __m256i i32acc;

enum { MICRO_ROWS = 4, MICRO_TOKENS = 6 };

/* Keeps `object` in memory. A small table that was just stored is best read back by broadcast
 * loads, which cost no shuffle; left alone, the compiler forwards the stored register through long
 * shuffle sequences instead. */
#define KEEP_IN_MEMORY(object) __asm__("" : "+m"(object))
/* The narrowing moves are slow when they store directly: this separates the two. */
#define KEEP_IN_REGISTER(vector) __asm__("" : "+v"(vector))

static inline f32x16 f_zero(void) {
    return _mm512_setzero_ps();
}
static inline f32x16 f_set1(float v) {
    return _mm512_set1_ps(v);
}
static inline f32x16 f_load(const float *p) {
    return _mm512_loadu_ps(p);
}
static inline f32x16 f_load_part(const float *p, size_t n) {
    return _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1u), p);
}
static inline void f_store(float *p, f32x16 v) {
    _mm512_storeu_ps(p, v);
}
static inline f32x16 f_add(f32x16 a, f32x16 b) {
    return _mm512_add_ps(a, b);
}
static inline f32x16 f_mul(f32x16 a, f32x16 b) {
    return _mm512_mul_ps(a, b);
}
static inline f32x16 f_fma(f32x16 a, f32x16 b, f32x16 c) {
    return _mm512_fmadd_ps(a, b, c);
}

static inline f32x16 f_load_f16(const uint8_t *p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
}
static inline f32x16 f_load_bf16(const uint8_t *p) {
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}
static inline f32x16 f_load_s8(const uint8_t *p) {
    return _mm512_cvtepi32_ps(
        _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p)));
}
static inline f32x16 f_load_i32(const int32_t *p) {
    return _mm512_cvtepi32_ps(_mm512_loadu_si512(p));
}

static inline float f16_scalar(const uint8_t *p) {
    return _cvtsh_ss(ds4_load_u16(p));
}

static inline float f_sum(f32x16 v) {
    __m256 a = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    __m128 c = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(c, _mm_movehdup_ps(c)));
}

static inline void f_sum4(const f32x16 *v, float *out) {
    /* The halves of two vectors side by side, so that one addition serves both. */
    __m512 ab = _mm512_add_ps(_mm512_shuffle_f32x4(v[0], v[1], 0x44),
                              _mm512_shuffle_f32x4(v[0], v[1], 0xEE));
    __m512 cd = _mm512_add_ps(_mm512_shuffle_f32x4(v[2], v[3], 0x44),
                              _mm512_shuffle_f32x4(v[2], v[3], 0xEE));
    __m512 q =
        _mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xDD));
    q = _mm512_add_ps(q, _mm512_permute_ps(q, 0x4E));
    q = _mm512_add_ps(q, _mm512_permute_ps(q, 0xB1));
    q = _mm512_maskz_compress_ps(0x1111, q);
    _mm_storeu_ps(out, _mm512_castps512_ps128(q));
}

static inline b8x32 b_load(const void *p) {
    return _mm256_loadu_si256((const __m256i *)p);
}
static inline b8x32 b_load_nibbles(const void *p) {
    __m128i v = _mm_loadu_si128((const __m128i *)p);
    __m256i both = _mm256_inserti128_si256(_mm256_castsi128_si256(v), _mm_srli_epi16(v, 4), 1);
    return _mm256_and_si256(both, _mm256_set1_epi8(15));
}
static inline b8x32 b_shift_mask(b8x32 v, unsigned shift, int mask) {
    return _mm256_and_si256(_mm256_srli_epi16(v, (int)shift), _mm256_set1_epi8((char)mask));
}
static inline b8x32 b_lut16(const int8_t table[16], b8x32 v) {
    __m128i t = _mm_loadu_si128((const __m128i *)(const void *)table);
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(t), v);
}
static inline b8x32 b_from_u64(uint64_t a, uint64_t b, uint64_t c, uint64_t d) {
    return _mm256_set_epi64x((long long)d, (long long)c, (long long)b, (long long)a);
}
static inline b8x32 b_negate_where(b8x32 v, b8x32 sign) {
    return _mm256_sub_epi8(_mm256_xor_si256(v, sign), sign);
}
static inline void b_to_f32(b8x32 v, f32x16 out[2]) {
    out[0] = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm256_castsi256_si128(v)));
    out[1] = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm256_extracti128_si256(v, 1)));
}

static inline i32acc i_zero(void) {
    return _mm256_setzero_si256();
}
static inline i32acc i_dot(i32acc acc, b8x32 w, b8x32 x) {
    __m256i signed_x = _mm256_mask_sub_epi8(x, _mm256_movepi8_mask(w), _mm256_setzero_si256(), x);
    return _mm256_dpbusd_epi32(acc, _mm256_abs_epi8(w), signed_x);
}
static inline i32acc i_dot_scaled(i32acc acc, b8x32 w, b8x32 x, int lo, int hi) {
    __m256i scale = _mm256_inserti128_si256(_mm256_set1_epi32(lo), _mm_set1_epi32(hi), 1);
    return _mm256_add_epi32(acc, _mm256_mullo_epi32(i_dot(i_zero(), w, x), scale));
}
static inline int32_t i_sum(i32acc v) {
    __m128i a = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    a = _mm_add_epi32(a, _mm_shuffle_epi32(a, 0x4E));
    return _mm_cvtsi128_si32(_mm_add_epi32(a, _mm_shuffle_epi32(a, 0xB1)));
}
