/* Compares the kernels of two instruction sets on random valid and hostile blocks, byte for byte.
 * Plain C: shared by the cmocka test of the host and by the cross-built check that runs under an
 * emulator. */
#ifndef TESTS_QUANT_COMPARE_H
#define TESTS_QUANT_COMPARE_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/quant.h"

enum { COMPARE_MAX_TOKENS = 13 };

static const ds4_type compare_types[] = {DS4_TYPE_F32,   DS4_TYPE_F16,     DS4_TYPE_BF16,
                                         DS4_TYPE_Q8_0,  DS4_TYPE_Q2_K,    DS4_TYPE_Q4_K,
                                         DS4_TYPE_MXFP4, DS4_TYPE_IQ2_XXS, DS4_TYPE_I32};
enum { COMPARE_N_TYPES = sizeof compare_types / sizeof compare_types[0] };

/* splitmix64 */
static uint64_t compare_random(uint64_t *state) {
    uint64_t z = (*state += 0x9E3779B97F4A7C15u);
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

/* FNV-1a over results: equal on every machine, so two machines can be compared by one line of
 * output. */
static void compare_hash(uint64_t *hash, const void *bytes, size_t n) {
    const uint8_t *p = bytes;
    for (size_t i = 0; i < n; i++) *hash = (*hash ^ p[i]) * 0x100000001B3u;
}

/* Random bytes, made finite: the payload of a NaN is not part of any definition. */
static void compare_fill_weights(ds4_type type, uint8_t *row, size_t row_bytes, uint64_t *rng) {
    for (size_t i = 0; i < row_bytes; i++) row[i] = (uint8_t)compare_random(rng);
    const ds4_type_info *info = ds4_type_get_info((uint32_t)type);
    for (size_t b = 0; b < row_bytes / info->block_bytes; b++) {
        uint8_t *block = row + b * info->block_bytes;
        uint8_t *high = NULL; /* the byte that holds the exponent's upper bits of an f16 */
        switch (type) {
        case DS4_TYPE_Q8_0:
        case DS4_TYPE_IQ2_XXS:
        case DS4_TYPE_F16:
            high = block + 1;
            break;
        case DS4_TYPE_Q4_K:
            high = block + 1;
            break;
        case DS4_TYPE_Q2_K:
            high = block + 81;
            break;
        case DS4_TYPE_F32:
            block[3] = (uint8_t)(block[3] & 0x80) | (uint8_t)(56 + block[3] % 16);
            break;
        case DS4_TYPE_BF16:
            block[1] = (uint8_t)(block[1] & 0x80) | (uint8_t)(56 + block[1] % 16);
            break;
        case DS4_TYPE_MXFP4:
            block[0] = (uint8_t)(block[0] % 4 == 0 ? block[0] / 64 : 96 + block[0] % 64);
            break;
        case DS4_TYPE_I32:
            break;
        }
        if (high != NULL && (*high & 0x7C) == 0x7C) *high = (uint8_t)(*high & ~0x40);
        if (high != NULL && (type == DS4_TYPE_Q4_K || type == DS4_TYPE_Q2_K)) {
            high += 2;
            if ((*high & 0x7C) == 0x7C) *high = (uint8_t)(*high & ~0x40);
        }
    }
}

/* Mostly ordinary values, some zeros, tiny and large ones; now and then a whole block of zeros or
 * of ties. */
static void compare_fill_activations(float *x, size_t n, uint64_t *rng) {
    for (size_t i = 0; i < n; i++) {
        uint64_t r = compare_random(rng);
        float v = (float)(int32_t)(r >> 32) * 0x1p-31f;
        switch (r & 63) {
        case 0:
            v = 0;
            break;
        case 1:
            v *= 1e-30f;
            break;
        case 2:
            v *= 1e4f;
            break;
        case 3:
            v = -1;
            break;
        case 4:
            v = 1;
            break;
        case 5:
            v *= 0x1p-140f;
            break;
        default:
            break;
        }
        x[i] = v;
    }
    for (size_t b = 0; b + 32 <= n; b += 32) {
        uint64_t kind = compare_random(rng) & 63;
        for (size_t i = b; i < b + 32 && kind < 3; i++)
            x[i] = kind == 0 ? 0 : kind == 1 ? (i & 1 ? 0.5f : -0.5f) : x[i] * 0x1p-130f;
    }
}

typedef struct compare_case {
    ds4_type type;
    size_t n_in, n_rows, n_tokens;
    size_t row_begin, row_end;
} compare_case;

static void *compare_aligned(size_t n) {
    void *p = aligned_alloc(64, (n + 127) / 64 * 64);
    if (p == NULL) {
        fprintf(stderr, "out of memory\n");
        exit(2);
    }
    memset(p, 0xA5, (n + 127) / 64 * 64);
    return p;
}

static int compare_bytes(const char *what, const char *set, const compare_case *c, const void *a,
                         const void *b, size_t n, size_t unit) {
    if (memcmp(a, b, n) == 0) return 0;
    size_t i = 0;
    while (((const uint8_t *)a)[i] == ((const uint8_t *)b)[i]) i++;
    fprintf(stderr,
            "%s %s: %s differs from scalar at element %zu (n_in %zu, rows %zu..%zu, tokens %zu)\n",
            ds4_type_get_info((uint32_t)c->type)->name, what, set, i / unit, c->n_in, c->row_begin,
            c->row_end, c->n_tokens);
    return 1;
}

/* One matrix product, float or int8, by both sets; outputs outside the row range must stay
 * untouched. */
static int compare_product(const ds4_kernels *truth, const ds4_kernels *set, const compare_case *c,
                           bool int8, const uint8_t *weights, size_t row_bytes, float *x,
                           uint64_t *hash) {
    const float *xs[COMPARE_MAX_TOKENS];
    void *xq[2][COMPARE_MAX_TOKENS];
    float *y[2][COMPARE_MAX_TOKENS];
    const ds4_kernels *sets[2] = {truth, set};
    void *scratch = compare_aligned(ds4_matmul_scratch_bytes());
    size_t q_bytes = ds4_activation_row_bytes(c->type, c->n_in);
    int failures = 0;
    for (size_t t = 0; t < c->n_tokens; t++) xs[t] = x + t * c->n_in;
    for (int s = 0; s < 2; s++) {
        for (size_t t = 0; t < c->n_tokens; t++) {
            xq[s][t] = compare_aligned(q_bytes);
            y[s][t] = compare_aligned(c->n_rows * sizeof(float));
            if (int8) sets[s]->quantize_activations(c->type, xs[t], xq[s][t], c->n_in);
        }
        ds4_matmul product = {.type = c->type,
                              .weights = weights,
                              .row_bytes = row_bytes,
                              .n_in = c->n_in,
                              .n_tokens = c->n_tokens,
                              .x = int8 ? NULL : xs,
                              .xq = int8 ? (const void *const *)xq[s] : NULL,
                              .y = y[s]};
        sets[s]->matmul(&product, c->row_begin, c->row_end, scratch);
    }
    for (size_t t = 0; t < c->n_tokens; t++) {
        if (int8) {
            failures += compare_bytes("activations", set->name, c, xq[0][t], xq[1][t], q_bytes, 1);
            compare_hash(hash, xq[1][t], q_bytes);
        }
        failures += compare_bytes(int8 ? "int8 product" : "product", set->name, c, y[0][t], y[1][t],
                                  c->n_rows * sizeof(float), sizeof(float));
        compare_hash(hash, y[1][t], c->n_rows * sizeof(float));
        for (int s = 0; s < 2; s++) {
            free(xq[s][t]);
            free(y[s][t]);
        }
    }
    free(scratch);
    return failures;
}

/* Decoding, activation rounding and both products of one random case. Returns the number of
 * differences. */
static int compare_one(const ds4_kernels *truth, const ds4_kernels *set, const compare_case *c,
                       uint64_t seed, uint64_t *hash) {
    uint64_t rng = seed;
    int failures = 0;
    size_t row_bytes = ds4_type_row_bytes(c->type, c->n_in);
    /* Malloc'ed exactly, at an odd address: reads beyond the rows are caught by the address
     * sanitizer. */
    uint8_t *allocation = malloc(row_bytes * c->n_rows + 1);
    float *x = malloc(c->n_in * c->n_tokens * sizeof *x);
    float *decoded[2] = {malloc(c->n_in * sizeof(float)), malloc(c->n_in * sizeof(float))};
    if (allocation == NULL || x == NULL || decoded[0] == NULL || decoded[1] == NULL) exit(2);
    size_t odd = c->type == DS4_TYPE_F32 || c->type == DS4_TYPE_I32 ? 0 : 1;
    uint8_t *weights = allocation + odd;
    for (size_t r = 0; r < c->n_rows; r++)
        compare_fill_weights(c->type, weights + r * row_bytes, row_bytes, &rng);
    for (size_t t = 0; t < c->n_tokens; t++)
        compare_fill_activations(x + t * c->n_in, c->n_in, &rng);

    for (size_t r = 0; r < c->n_rows; r++) {
        truth->decode(c->type, weights + r * row_bytes, decoded[0], c->n_in);
        set->decode(c->type, weights + r * row_bytes, decoded[1], c->n_in);
        failures += compare_bytes("decode", set->name, c, decoded[0], decoded[1],
                                  c->n_in * sizeof(float), 4);
        compare_hash(hash, decoded[1], c->n_in * sizeof(float));
    }
    failures += compare_product(truth, set, c, false, weights, row_bytes, x, hash);
    if (ds4_type_takes_int8(c->type))
        failures += compare_product(truth, set, c, true, weights, row_bytes, x, hash);
    float dots[2] = {truth->dot(x, decoded[0], c->n_in), set->dot(x, decoded[0], c->n_in)};
    failures +=
        compare_bytes("dot", set->name, c, &dots[0], &dots[1], sizeof(float), sizeof(float));
    compare_hash(hash, &dots[1], sizeof(float));
    free(allocation);
    free(x);
    free(decoded[0]);
    free(decoded[1]);
    return failures;
}

/* Cases of every shape until `n_blocks` blocks of `type` were decoded. */
static int compare_type(const ds4_kernels *truth, const ds4_kernels *set, ds4_type type,
                        size_t n_blocks, uint64_t seed, uint64_t *hash) {
    const ds4_type_info *info = ds4_type_get_info((uint32_t)type);
    static const size_t lengths[] = {256, 1024, 1280, 2048, 4096 + 256, 768};
    static const size_t plain_lengths[] = {1, 15, 16, 17, 100, 1023, 1025, 1040, 2049, 4100};
    uint64_t rng = seed;
    size_t done = 0;
    int failures = 0;
    for (size_t i = 0; done < n_blocks && failures == 0; i++) {
        compare_case c = {.type = type, .n_tokens = 1 + i % COMPARE_MAX_TOKENS};
        c.n_in = info->block_elements == 1 ? plain_lengths[i % 10] : lengths[i % 6];
        if (info->block_elements == 32) c.n_in -= 32 * (compare_random(&rng) % 8);
        c.n_rows = 1 + compare_random(&rng) % 7;
        if (i % 5 == 0) c.n_rows += 16 + compare_random(&rng) % 64;
        c.row_begin = i % 3 == 0 ? 0 : compare_random(&rng) % c.n_rows;
        c.row_end = i % 3 == 0 ? c.n_rows
                               : c.row_begin + compare_random(&rng) % (c.n_rows - c.row_begin + 1);
        failures += compare_one(truth, set, &c, compare_random(&rng), hash);
        done += info->block_elements == 1 ? c.n_rows * c.n_in / 16
                                          : c.n_rows * c.n_in / info->block_elements;
    }
    return failures;
}

#endif
