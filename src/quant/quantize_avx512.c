/* The quantizers for AVX-512. */
#if defined(__x86_64__)
#define DS4_SIMD_AVX512
#include "quant/quantize_simd.h"

const ds4_block_quantizers ds4_block_quantizers_avx512 = {
    .name = "avx512",
    .q8_0 = simd_q8_0,
    .q2_k = simd_q2_k,
    .q4_k = simd_q4_k,
    .iq2_xxs = simd_iq2_xxs,
    .iq2_best_row = simd_iq2_best_row,
};
#endif
