/* lanes.h for AVX-512. */
typedef __mmask16 m16;
typedef __m512i i32x16;

static inline f32x16 f_sub(f32x16 a, f32x16 b) {
    return _mm512_sub_ps(a, b);
}
static inline f32x16 f_div(f32x16 a, f32x16 b) {
    return _mm512_div_ps(a, b);
}
static inline f32x16 f_sqrt(f32x16 v) {
    return _mm512_sqrt_ps(v);
}
static inline f32x16 f_abs(f32x16 v) {
    return _mm512_abs_ps(v);
}
static inline f32x16 f_flip(f32x16 v) {
    return _mm512_xor_ps(v, _mm512_set1_ps(-0.0f));
}
static inline f32x16 f_max(f32x16 a, f32x16 b) {
    return _mm512_max_ps(a, b);
}
static inline f32x16 f_min(f32x16 a, f32x16 b) {
    return _mm512_min_ps(a, b);
}
static inline f32x16 f_wrap8(f32x16 v) {
    return _mm512_cvtepi32_ps(_mm512_and_si512(_mm512_cvtps_epi32(v), _mm512_set1_epi32(255)));
}
static inline m16 m_gt(f32x16 a, f32x16 b) {
    return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ);
}
static inline m16 m_eq(f32x16 a, f32x16 b) {
    return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ);
}
static inline m16 m_and(m16 p, m16 q) {
    return (m16)(p & q);
}
static inline m16 m_first(unsigned n) {
    return (m16)(n >= 16 ? 0xFFFFu : (1u << n) - 1);
}
static inline unsigned m_bits(m16 p) {
    return p;
}
static inline f32x16 f_select(m16 p, f32x16 a, f32x16 b) {
    return _mm512_mask_blend_ps(p, b, a);
}
static inline float f_least(f32x16 v) {
    return _mm512_reduce_min_ps(v);
}
static inline i32x16 i_load_u16(const uint16_t *p) {
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)p));
}
static inline i32x16 i_shift(i32x16 v, unsigned n) {
    return _mm512_srli_epi32(v, n);
}
static inline f32x16 f_lut4(const float table[4], i32x16 v) {
    return _mm512_permutevar_ps(_mm512_broadcast_f32x4(_mm_loadu_ps(table)), v);
}
