/* lanes.h for AVX2. */
typedef f32x16 m16; /* all bits of a lane, or none */
typedef struct {
    __m256i a, b;
} i32x16;

static inline f32x16 f_sub(f32x16 x, f32x16 y) {
    return (f32x16){_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)};
}
static inline f32x16 f_div(f32x16 x, f32x16 y) {
    return (f32x16){_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)};
}
static inline f32x16 f_sqrt(f32x16 v) {
    return (f32x16){_mm256_sqrt_ps(v.a), _mm256_sqrt_ps(v.b)};
}
static inline f32x16 f_abs(f32x16 v) {
    const __m256 sign = _mm256_set1_ps(-0.0f);
    return (f32x16){_mm256_andnot_ps(sign, v.a), _mm256_andnot_ps(sign, v.b)};
}
static inline f32x16 f_flip(f32x16 v) {
    const __m256 sign = _mm256_set1_ps(-0.0f);
    return (f32x16){_mm256_xor_ps(sign, v.a), _mm256_xor_ps(sign, v.b)};
}
static inline f32x16 f_max(f32x16 x, f32x16 y) {
    return (f32x16){_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)};
}
static inline f32x16 f_min(f32x16 x, f32x16 y) {
    return (f32x16){_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)};
}
static inline __m256 wrap8(__m256 v) {
    return _mm256_cvtepi32_ps(_mm256_and_si256(_mm256_cvtps_epi32(v), _mm256_set1_epi32(255)));
}
static inline f32x16 f_wrap8(f32x16 v) {
    return (f32x16){wrap8(v.a), wrap8(v.b)};
}
static inline m16 m_gt(f32x16 x, f32x16 y) {
    return (m16){_mm256_cmp_ps(x.a, y.a, _CMP_GT_OQ), _mm256_cmp_ps(x.b, y.b, _CMP_GT_OQ)};
}
static inline m16 m_eq(f32x16 x, f32x16 y) {
    return (m16){_mm256_cmp_ps(x.a, y.a, _CMP_EQ_OQ), _mm256_cmp_ps(x.b, y.b, _CMP_EQ_OQ)};
}
static inline m16 m_and(m16 p, m16 q) {
    return (m16){_mm256_and_ps(p.a, q.a), _mm256_and_ps(p.b, q.b)};
}
static inline m16 m_first(unsigned n) {
    const __m256 low = _mm256_setr_ps(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256 high = _mm256_setr_ps(8, 9, 10, 11, 12, 13, 14, 15),
                 end = _mm256_set1_ps((float)n);
    return (m16){_mm256_cmp_ps(low, end, _CMP_LT_OQ), _mm256_cmp_ps(high, end, _CMP_LT_OQ)};
}
static inline unsigned m_bits(m16 p) {
    return (unsigned)_mm256_movemask_ps(p.a) | (unsigned)_mm256_movemask_ps(p.b) << 8;
}
static inline f32x16 f_select(m16 p, f32x16 x, f32x16 y) {
    return (f32x16){_mm256_blendv_ps(y.a, x.a, p.a), _mm256_blendv_ps(y.b, x.b, p.b)};
}
static inline float f_least(f32x16 v) {
    __m256 a = _mm256_min_ps(v.a, v.b);
    __m128 b = _mm_min_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    __m128 c = _mm_min_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_min_ss(c, _mm_movehdup_ps(c)));
}
static inline i32x16 i_load_u16(const uint16_t *p) {
    return (i32x16){_mm256_cvtepu16_epi32(load_16_bytes(p)),
                    _mm256_cvtepu16_epi32(load_16_bytes(p + 8))};
}
static inline i32x16 i_shift(i32x16 v, unsigned n) {
    return (i32x16){_mm256_srli_epi32(v.a, (int)n), _mm256_srli_epi32(v.b, (int)n)};
}
static inline f32x16 f_lut4(const float table[4], i32x16 v) {
    __m256 all = _mm256_broadcast_ps((const __m128 *)(const void *)table);
    return (f32x16){_mm256_permutevar_ps(all, v.a), _mm256_permutevar_ps(all, v.b)};
}
