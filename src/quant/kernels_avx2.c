/* The kernels for AVX2. */
#if defined(__x86_64__)
#define DS4_SIMD_AVX2
#include "quant/kernels_simd.h"

static void simd_matmul(const ds4_matmul *product, size_t row_begin, size_t row_end,
                        void *scratch) {
    if (product->xq != NULL)
        matmul_int8(product, row_begin, row_end);
    else
        matmul_float(product, row_begin, row_end, scratch);
}

const ds4_kernels ds4_kernels_avx2 = {
    .name = "avx2",
    .decode = simd_decode,
    .matmul = simd_matmul,
    .quantize_activations = simd_quantize,
    .dot = simd_dot,
};
#endif
