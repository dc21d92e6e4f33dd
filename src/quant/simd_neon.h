/* simd.h for the NEON of every 64-bit Arm; the dot-product extension is used where the compiler may
 * assume it. */
#include <arm_neon.h>

typedef struct {
    float32x4_t v[4];
} f32x16;
typedef struct {
    int8x16_t lo, hi;
} b8x32;
typedef struct {
    int32x4_t lo, hi;
} i32acc;

enum { MICRO_ROWS = 2, MICRO_TOKENS = 3 };

#define EACH4(expression)                                                                          \
    f32x16 r;                                                                                      \
    for (int i = 0; i < 4; i++) r.v[i] = (expression);                                             \
    return r

static inline f32x16 f_set1(float s) {
    EACH4(vdupq_n_f32(s));
}
static inline f32x16 f_zero(void) {
    return f_set1(0);
}
static inline f32x16 f_load(const float *p) {
    EACH4(vld1q_f32(p + 4 * i));
}
static inline f32x16 f_load_part(const float *p, size_t n) {
    float padded[16] = {0};
    memcpy(padded, p, n * sizeof *p);
    return f_load(padded);
}
static inline void f_store(float *p, f32x16 a) {
    for (int i = 0; i < 4; i++) vst1q_f32(p + 4 * i, a.v[i]);
}
static inline f32x16 f_add(f32x16 a, f32x16 b) {
    EACH4(vaddq_f32(a.v[i], b.v[i]));
}
static inline f32x16 f_mul(f32x16 a, f32x16 b) {
    EACH4(vmulq_f32(a.v[i], b.v[i]));
}
static inline f32x16 f_fma(f32x16 a, f32x16 b, f32x16 c) {
    EACH4(vfmaq_f32(c.v[i], a.v[i], b.v[i]));
}

static inline f32x16 f_load_f16(const uint8_t *p) {
    EACH4(vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(p + 8 * i))));
}
static inline f32x16 f_load_bf16(const uint8_t *p) {
    EACH4(vreinterpretq_f32_u32(vshll_n_u16(vreinterpret_u16_u8(vld1_u8(p + 8 * i)), 16)));
}
static inline f32x16 f_from_s8(int8x16_t b) {
    int16x8_t lo = vmovl_s8(vget_low_s8(b)), hi = vmovl_high_s8(b);
    return (f32x16){{vcvtq_f32_s32(vmovl_s16(vget_low_s16(lo))), vcvtq_f32_s32(vmovl_high_s16(lo)),
                     vcvtq_f32_s32(vmovl_s16(vget_low_s16(hi))),
                     vcvtq_f32_s32(vmovl_high_s16(hi))}};
}
static inline f32x16 f_load_s8(const uint8_t *p) {
    return f_from_s8(vreinterpretq_s8_u8(vld1q_u8(p)));
}
static inline f32x16 f_load_i32(const int32_t *p) {
    EACH4(vcvtq_f32_s32(vld1q_s32(p + 4 * i)));
}

static inline float f16_scalar(const uint8_t *p) {
    return ds4_f16_bits_to_f32(ds4_load_u16(p));
}

static inline float f_sum(f32x16 a) {
    float32x4_t lo = vaddq_f32(a.v[0], a.v[2]), hi = vaddq_f32(a.v[1], a.v[3]);
    float32x4_t q = vaddq_f32(lo, hi);
    float32x2_t d = vadd_f32(vget_low_f32(q), vget_high_f32(q));
    return vget_lane_f32(d, 0) + vget_lane_f32(d, 1);
}
static inline void f_sum4(const f32x16 *a, float *out) {
    for (int i = 0; i < 4; i++) out[i] = f_sum(a[i]);
}

static inline b8x32 b_load(const void *p) {
    const int8_t *bytes = p;
    return (b8x32){vld1q_s8(bytes), vld1q_s8(bytes + 16)};
}
static inline b8x32 b_load_nibbles(const void *p) {
    uint8x16_t v = vld1q_u8(p);
    return (b8x32){vreinterpretq_s8_u8(vandq_u8(v, vdupq_n_u8(15))),
                   vreinterpretq_s8_u8(vshrq_n_u8(v, 4))};
}
static inline b8x32 b_shift_mask(b8x32 v, unsigned shift, int mask) {
    int8x16_t by = vdupq_n_s8((int8_t) - (int)shift);
    uint8x16_t m = vdupq_n_u8((uint8_t)mask);
    return (b8x32){vreinterpretq_s8_u8(vandq_u8(vshlq_u8(vreinterpretq_u8_s8(v.lo), by), m)),
                   vreinterpretq_s8_u8(vandq_u8(vshlq_u8(vreinterpretq_u8_s8(v.hi), by), m))};
}
static inline b8x32 b_lut16(const int8_t table[16], b8x32 v) {
    int8x16_t t = vld1q_s8(table);
    return (b8x32){vqtbl1q_s8(t, vreinterpretq_u8_s8(v.lo)),
                   vqtbl1q_s8(t, vreinterpretq_u8_s8(v.hi))};
}
static inline b8x32 b_from_u64(uint64_t a, uint64_t b, uint64_t c, uint64_t d) {
    return (b8x32){vreinterpretq_s8_u64(vcombine_u64(vcreate_u64(a), vcreate_u64(b))),
                   vreinterpretq_s8_u64(vcombine_u64(vcreate_u64(c), vcreate_u64(d)))};
}
static inline b8x32 b_negate_where(b8x32 v, b8x32 sign) {
    return (b8x32){vsubq_s8(veorq_s8(v.lo, sign.lo), sign.lo),
                   vsubq_s8(veorq_s8(v.hi, sign.hi), sign.hi)};
}
static inline void b_to_f32(b8x32 v, f32x16 out[2]) {
    out[0] = f_from_s8(v.lo);
    out[1] = f_from_s8(v.hi);
}

static inline i32acc i_zero(void) {
    return (i32acc){vdupq_n_s32(0), vdupq_n_s32(0)};
}
/* Lane i: the sum of the products of bytes 4i..4i+3. */
static inline int32x4_t dot_of_four(int8x16_t w, int8x16_t x) {
#if defined(__ARM_FEATURE_DOTPROD)
    return vdotq_s32(vdupq_n_s32(0), w, x);
#else
    int16x8_t lo = vmull_s8(vget_low_s8(w), vget_low_s8(x));
    int16x8_t hi = vmull_high_s8(w, x);
    return vpaddq_s32(vpaddlq_s16(lo), vpaddlq_s16(hi));
#endif
}
static inline i32acc i_dot(i32acc acc, b8x32 w, b8x32 x) {
    return (i32acc){vaddq_s32(acc.lo, dot_of_four(w.lo, x.lo)),
                    vaddq_s32(acc.hi, dot_of_four(w.hi, x.hi))};
}
static inline i32acc i_dot_scaled(i32acc acc, b8x32 w, b8x32 x, int lo, int hi) {
    return (i32acc){vmlaq_n_s32(acc.lo, dot_of_four(w.lo, x.lo), lo),
                    vmlaq_n_s32(acc.hi, dot_of_four(w.hi, x.hi), hi)};
}
static inline int32_t i_sum(i32acc a) {
    return vaddvq_s32(vaddq_s32(a.lo, a.hi));
}
