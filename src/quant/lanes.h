/* The words in which the quantizers are written once for all instruction sets, beside those of
 * simd.h: sixteen lanes that each run the scalar algorithm for a group of their own. A word does to
 * a lane what the scalar expression in its comment does, bit for bit. */
#ifndef DS4_QUANT_LANES_H
#define DS4_QUANT_LANES_H

#include "quant/quantize_blocks.h"
#include "quant/simd.h"

/* Every set defines the types m16 (a condition per lane) and i32x16 (16 whole numbers), and
 *   f32x16  f_sub, f_div, f_sqrt, f_abs(v), f_flip(v) = -v
 *   f32x16  f_max(a, b) = a > b ? a : b     f_min(a, b) = a < b ? a : b
 *   f32x16  f_wrap8(v) = (float)(uint8_t)(int)v, for whole |v| <= 4194303
 *   m16     m_gt(a, b), m_eq(a, b), m_and(p, q), m_first(n): lanes 0 .. n-1
 *   unsigned m_bits(p): bit l for lane l
 *   f32x16  f_select(p, a, b) = p ? a : b
 *   float   f_least(v): the least of all lanes
 *   i32x16  i_load_u16(const uint16_t *), i_shift(v, n) = v >> n
 *   f32x16  f_lut4(const float table[4], i32x16 v) = table[v & 3] */
#if defined(DS4_SIMD_AVX512)
#include "quant/lanes_avx512.h"
#elif defined(DS4_SIMD_AVX2)
#include "quant/lanes_avx2.h"
#elif defined(DS4_SIMD_NEON)
#include "quant/lanes_neon.h"
#endif

static inline bool m_any(m16 p) {
    return m_bits(p) != 0;
}

/* ds4_round_within of quantize_blocks.h */
static inline f32x16 f_round_within(f32x16 v, f32x16 low, f32x16 high) {
    const f32x16 magic = f_set1(0x1.8p23f);
    return f_sub(f_add(f_min(f_max(v, low), high), magic), magic);
}

#endif
