/* The kernels for AVX-512. */
#if defined(__x86_64__)
#define DS4_SIMD_AVX512
#include "quant/panel_avx512.h"

static void simd_matmul(const ds4_matmul *product, size_t row_begin, size_t row_end,
                        void *scratch) {
    if (product->xq != NULL)
        matmul_int8_avx512(product, row_begin, row_end, scratch);
    else
        matmul_float(product, row_begin, row_end, scratch);
}

const ds4_kernels ds4_kernels_avx512 = {
    .name = "avx512",
    .decode = simd_decode,
    .matmul = simd_matmul,
    .quantize_activations = simd_quantize,
    .dot = simd_dot,
};
#endif
