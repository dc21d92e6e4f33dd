/* Compares the quantizers of several instruction sets on random blocks, byte for byte. Plain C:
 * shared by the cmocka test of the host and by the cross-built check that runs under an emulator.
 */
#ifndef DS4_TESTS_QUANT_COMPARE_QUANTIZERS_H
#define DS4_TESTS_QUANT_COMPARE_QUANTIZERS_H

#include <stdio.h>

#include "quant/quant.h"
#include "quant/quantize.h"
#include "weights.h"

static const ds4_type block_types[] = {DS4_TYPE_Q8_0, DS4_TYPE_Q2_K, DS4_TYPE_Q4_K,
                                       DS4_TYPE_IQ2_XXS, DS4_TYPE_MXFP4};
enum { N_BLOCK_TYPES = 5, MOST_COMPARED_BLOCKS = 17, MOST_BLOCK_BYTES = 272 };

static inline uint64_t hash_more(uint64_t hash, const uint8_t *bytes, size_t n) {
    for (size_t i = 0; i < n; i++) hash = (hash ^ bytes[i]) * 0x100000001B3u;
    return hash;
}

/* One row of n blocks, numbered from `first` on, in one format. Returns whether each of the others
 * made the bytes of quantizers[0]. */
static inline bool quantizers_agree_on(ds4_quantizer *const *quantizers, const char *const *names,
                                       int n_quantizers, ds4_type type, bool is_weighted,
                                       uint32_t first, unsigned n, uint64_t *hash) {
    static float x[256 * MOST_COMPARED_BLOCKS], importance[256 * MOST_COMPARED_BLOCKS];
    static uint8_t expected[MOST_BLOCK_BYTES * MOST_COMPARED_BLOCKS],
        got[MOST_BLOCK_BYTES * MOST_COMPARED_BLOCKS];
    const float *weights = is_weighted ? importance : NULL;
    size_t bytes = ds4_type_row_bytes(type, 256 * n);
    for (unsigned i = 0; i < n; i++) make_block(first + i, x + 256 * i, importance + 256 * i);
    for (int q = 0; q < n_quantizers; q++) {
        uint8_t *to = q == 0 ? expected : got;
        memset(to, 0xA5, sizeof got);
        if (ds4_quantize_row(quantizers[q], type, x, weights, to, 256 * n, NULL) == DS4_OK &&
            memcmp(to, expected, bytes) == 0)
            continue;
        fprintf(stderr, "%s differs from %s: %s, blocks %u to %u, importance %d\n", names[q],
                names[0], ds4_type_get_info((uint32_t)type)->name, first, first + n - 1,
                is_weighted);
        return false;
    }
    *hash = hash_more(*hash, expected, bytes);
    return true;
}

/* Compares all of them with quantizers[0] on n_blocks blocks of each format, with importance and
 * without, in full batches of 16 and what remains of them. The hash is that of all bytes made. */
static inline bool quantizers_agree(ds4_quantizer *const *quantizers, const char *const *names,
                                    int n_quantizers, uint32_t n_blocks, uint64_t *hash) {
    static const unsigned lengths[] = {1, 17, 3, 16};
    for (uint32_t first = 0, i = 0; first < n_blocks; first += lengths[i++ % 4]) {
        unsigned n = lengths[i % 4];
        if (n > n_blocks - first) n = n_blocks - first;
        for (int t = 0; t < N_BLOCK_TYPES; t++) {
            for (int weighted = ds4_type_needs_importance(block_types[t]); weighted < 2; weighted++)
                if (!quantizers_agree_on(quantizers, names, n_quantizers, block_types[t],
                                         weighted != 0, first, n, hash))
                    return false;
        }
    }
    return true;
}

#endif
