/* The quantizers for NEON. */
#if defined(__aarch64__)
#define DS4_SIMD_NEON
#include "quant/quantize_simd.h"

const ds4_block_quantizers ds4_block_quantizers_neon = {
    .name = "neon",
    .q8_0 = simd_q8_0,
    .q2_k = simd_q2_k,
    .q4_k = simd_q4_k,
    .iq2_xxs = simd_iq2_xxs,
    .iq2_best_row = simd_iq2_best_row,
};
#endif
