/* lanes.h for NEON. */
typedef struct {
    uint32x4_t v[4]; /* all bits of a lane, or none */
} m16;
typedef struct {
    uint32x4_t v[4];
} i32x16;

#define EACH4_OF(type, expression)                                                                 \
    type r;                                                                                        \
    for (int i = 0; i < 4; i++) r.v[i] = (expression);                                             \
    return r

static inline f32x16 f_sub(f32x16 a, f32x16 b) {
    EACH4(vsubq_f32(a.v[i], b.v[i]));
}
static inline f32x16 f_div(f32x16 a, f32x16 b) {
    EACH4(vdivq_f32(a.v[i], b.v[i]));
}
static inline f32x16 f_sqrt(f32x16 a) {
    EACH4(vsqrtq_f32(a.v[i]));
}
static inline f32x16 f_abs(f32x16 a) {
    EACH4(vabsq_f32(a.v[i]));
}
static inline f32x16 f_flip(f32x16 a) {
    EACH4(vnegq_f32(a.v[i]));
}
static inline f32x16 f_max(f32x16 a, f32x16 b) {
    EACH4(vbslq_f32(vcgtq_f32(a.v[i], b.v[i]), a.v[i], b.v[i]));
}
static inline f32x16 f_min(f32x16 a, f32x16 b) {
    EACH4(vbslq_f32(vcltq_f32(a.v[i], b.v[i]), a.v[i], b.v[i]));
}
static inline f32x16 f_wrap8(f32x16 a) {
    EACH4(vcvtq_f32_s32(vandq_s32(vcvtq_s32_f32(a.v[i]), vdupq_n_s32(255))));
}
static inline m16 m_gt(f32x16 a, f32x16 b) {
    EACH4_OF(m16, vcgtq_f32(a.v[i], b.v[i]));
}
static inline m16 m_eq(f32x16 a, f32x16 b) {
    EACH4_OF(m16, vceqq_f32(a.v[i], b.v[i]));
}
static inline m16 m_and(m16 p, m16 q) {
    EACH4_OF(m16, vandq_u32(p.v[i], q.v[i]));
}
static inline m16 m_first(unsigned n) {
    static const uint32_t numbers[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    EACH4_OF(m16, vcltq_u32(vld1q_u32(numbers + 4 * i), vdupq_n_u32(n)));
}
static inline unsigned m_bits(m16 p) {
    static const uint32_t powers[4] = {1, 2, 4, 8};
    unsigned bits = 0;
    for (int i = 0; i < 4; i++) bits |= vaddvq_u32(vandq_u32(p.v[i], vld1q_u32(powers))) << 4 * i;
    return bits;
}
static inline f32x16 f_select(m16 p, f32x16 a, f32x16 b) {
    EACH4(vbslq_f32(p.v[i], a.v[i], b.v[i]));
}
static inline float f_least(f32x16 a) {
    return vminvq_f32(vminq_f32(vminq_f32(a.v[0], a.v[1]), vminq_f32(a.v[2], a.v[3])));
}
static inline i32x16 i_load_u16(const uint16_t *p) {
    EACH4_OF(i32x16, vmovl_u16(vld1_u16(p + 4 * i)));
}
static inline i32x16 i_shift(i32x16 a, unsigned n) {
    EACH4_OF(i32x16, vshlq_u32(a.v[i], vdupq_n_s32(-(int32_t)n)));
}
/* Digit d takes the bytes 4d .. 4d+3 of the table. */
static inline f32x16 f_lut4(const float table[4], i32x16 a) {
    uint8x16_t all = vreinterpretq_u8_f32(vld1q_f32(table));
    EACH4(vreinterpretq_f32_u8(vqtbl1q_u8(
        all,
        vreinterpretq_u8_u32(vmlaq_u32(vdupq_n_u32(0x03020100u), vandq_u32(a.v[i], vdupq_n_u32(3)),
                                       vdupq_n_u32(0x04040404u))))));
}
