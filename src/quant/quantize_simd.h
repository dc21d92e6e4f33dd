/* The quantizers in SIMD words: included once by each quantize_<set>.c, compiled with that set's
 * flags. Every lane runs the scalar algorithm (fit.c, quantize_k.c, quantize_iq2_xxs.c) for one
 * group, so the order of its sums stays and the bytes are the same. */
#ifndef DS4_QUANT_QUANTIZE_SIMD_H
#define DS4_QUANT_QUANTIZE_SIMD_H

#include "quant/quantize_simd_fit.h"
#include "quant/quantize_simd_iq2.h"
#include "quant/quantize_simd_k.h"

/* Half away from zero, of |v| < 2^22. */
static inline f32x16 round_away(f32x16 v) {
    const f32x16 zero = f_zero(), half = f_set1(0.5f), magic = f_set1(0x1p23f);
    f32x16 magnitude = f_abs(v);
    f32x16 even = f_sub(f_add(magnitude, magic), magic); /* nearest; ties to even */
    f32x16 below = f_sub(magnitude, even);               /* exact; 0.5 at a tie that went down */
    even = f_select(m_eq(below, half), f_add(even, f_set1(1)), even);
    return f_select(m_gt(zero, v), f_flip(even), even);
}

static void simd_q8_0(const float *x, uint8_t *target, size_t n_blocks) {
    for (size_t b = 0; b < n_blocks; b++, x += 32, target += DS4_Q8_0_BYTES) {
        float lanes[16], codes[32], most = 0;
        f32x16 low = f_load(x), high = f_load(x + 16);
        f_store(lanes, f_max(f_abs(low), f_abs(high)));
        for (int i = 0; i < 16; i++) most = lanes[i] > most ? lanes[i] : most;
        float d = most / 127.0f;
        float inverse = d != 0 ? 1.0f / d : 0.0f;
        if (!isfinite(inverse)) inverse = 0;
        ds4_store_f16(target, d);
        f_store(codes, round_away(f_mul(low, f_set1(inverse))));
        f_store(codes + 16, round_away(f_mul(high, f_set1(inverse))));
        for (int i = 0; i < 32; i++) target[2 + i] = (uint8_t)(int8_t)(int)codes[i];
    }
}

#endif
