/* The comparison of compare.h without a test library, for machines that are reached through a cross
 * compiler. Usage: neon_check SET. Fails when SET differs from the scalar kernels; prints a hash of
 * all results that is the same on every machine and for every set. */
#include "compare.h"
#include "quant/quantize.h"
#include "weights.h"

static const ds4_type quantized[] = {DS4_TYPE_Q8_0, DS4_TYPE_Q2_K, DS4_TYPE_Q4_K, DS4_TYPE_IQ2_XXS};

static ds4_quantizer *quantizer_of(const char *set) {
    const ds4_quantizer_options options = {.set = set};
    ds4_quantizer *quantizer = NULL;
    ds4_error error = {0};
    if (ds4_quantizer_create(&options, &quantizer, &error) != DS4_OK)
        fprintf(stderr, "%s\n", error.message);
    return quantizer;
}

/* Quantises some blocks of each kind; 0 when the set makes the scalar quantizers' bytes. */
static int check_quantizers(const char *set, uint64_t *hash) {
    enum { N_ROUNDS = 40, N = 17 * 256 };
    static float x[N], importance[N];
    static uint8_t expected[N * 2], got[N * 2];
    ds4_quantizer *scalar = quantizer_of("scalar"), *other = quantizer_of(set);
    int differing = scalar == NULL || other == NULL;
    for (uint32_t round = 0; !differing && round < N_ROUNDS; round++) {
        for (uint32_t b = 0; b < 17; b++)
            make_block(17 * round + b, x + 256 * b, importance + 256 * b);
        for (size_t t = 0; t < sizeof quantized / sizeof quantized[0]; t++) {
            const float *weights =
                round % 2 == 0 || quantized[t] == DS4_TYPE_IQ2_XXS ? importance : NULL;
            size_t n = ds4_type_row_bytes(quantized[t], N);
            differing |=
                ds4_quantize_row(scalar, quantized[t], x, weights, expected, N, NULL) != DS4_OK ||
                ds4_quantize_row(other, quantized[t], x, weights, got, N, NULL) != DS4_OK ||
                memcmp(expected, got, n) != 0;
            for (size_t i = 0; i < n; i++) *hash = (*hash ^ got[i]) * 0x100000001B3u;
        }
    }
    ds4_quantizer_destroy(scalar);
    ds4_quantizer_destroy(other);
    return differing;
}

int main(int argc, char **argv) {
    const ds4_kernels *set = argc == 2 ? ds4_kernels_by_name(argv[1]) : NULL;
    uint64_t hash = 0xCBF29CE484222325u;
    if (set == NULL) {
        fprintf(stderr, "usage: neon_check SET; this machine has no set %s\n",
                argc == 2 ? argv[1] : "(none given)");
        return 2;
    }
    for (int i = 0; i < COMPARE_N_TYPES; i++)
        if (compare_type(ds4_kernels_by_name("scalar"), set, compare_types[i], 2000,
                         1000u + (unsigned)i, &hash) != 0)
            return 1;
    if (check_quantizers(argv[1], &hash) != 0) {
        fprintf(stderr, "the quantizers of %s differ from the scalar ones\n", argv[1]);
        return 1;
    }
    printf("%016llx\n", (unsigned long long)hash);
    return 0;
}
