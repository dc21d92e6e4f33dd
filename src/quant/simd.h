/* The words in which the SIMD kernels are written once for all instruction sets: sixteen floats
 * (f32x16) and thirty-two bytes (b8x32). The including file names the set: DS4_SIMD_AVX512,
 * DS4_SIMD_AVX2 or DS4_SIMD_NEON. A word means the same bits everywhere; lane l of a loaded f32x16
 * is element l. */
#ifndef DS4_QUANT_SIMD_H
#define DS4_QUANT_SIMD_H

#include "quant/blocks.h"

#if defined(DS4_SIMD_AVX512)
#include "quant/simd_avx512.h"
#elif defined(DS4_SIMD_AVX2)
#include "quant/simd_avx2.h"
#elif defined(DS4_SIMD_NEON)
#include "quant/simd_neon.h"
#else
#error "name an instruction set"
#endif

/* Every set defines:
 *   f32x16 f_zero(void), f_set1(float), f_load(const float *), f_add(a, b), f_mul(a, b), f_fma(a,
 * b, c) = a * b + c f32x16 f_load_part(const float *, size_t n)    the first n < 16 elements, the
 * others 0 f32x16 f_load_f16(const uint8_t *), f_load_bf16(const uint8_t *), f_load_s8(const
 * uint8_t *), f_load_i32 void   f_store(float *, f32x16) float  f16_scalar(const uint8_t *) one f16
 * at any address float  f_sum(f32x16)                           the fixed tree of docs/numerics.md
 *   void   f_sum4(const f32x16 *, float *)           four trees at once
 *   b8x32  b_load(const void *), b_load_nibbles(const void *)  16 low nibbles, then the 16 high
 * ones b8x32  b_shift_mask(b8x32, unsigned shift, mask)  (byte >> shift) & mask, the mask clears
 * foreign bits b8x32  b_lut16(const int8_t table[16], b8x32)  table lookup of bytes 0..15 b8x32
 * b_from_u64(a, b, c, d), b_negate_where(v, sign_bytes) void   b_to_f32(b8x32, f32x16 out[2])
 * signed bytes to floats i32acc i_zero(void), i_dot(acc, w, x)          int32 sums of products of
 * signed bytes, |x| <= 127 i32acc i_dot_scaled(acc, w, x, lo, hi)         bytes 0..15 count lo
 * times, bytes 16..31 hi times int32_t i_sum(i32acc) MICRO_ROWS x MICRO_TOKENS the register tile of
 * the float product */

#endif
