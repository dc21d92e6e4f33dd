/* Speed of the block-format kernels beside the machine's roofs: memory read bandwidth for one
 * token, the multiply-add peak for many. One thread. Usage: bench_quant [set [type]] */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "quant/quant.h"

enum { N_IN = 4096, MAX_TOKENS = 512 };
static const size_t weight_bytes = (size_t)192 << 20; /* well beyond the caches */

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void *allocate(size_t n) {
    void *p = aligned_alloc(64, (n + 63) / 64 * 64);
    if (p == NULL) {
        fprintf(stderr, "out of memory\n");
        exit(1);
    }
    return p;
}

/* Sums the bytes as words in eight independent chains: what one core can read. */
static double read_bandwidth(const uint8_t *bytes) {
    double best = 0;
    for (int pass = 0; pass < 3; pass++) {
        uint64_t sums[32] = {0};
        double start = now();
        for (size_t i = 0; i + sizeof sums <= weight_bytes; i += sizeof sums) {
            uint64_t words[32];
            memcpy(words, bytes + i, sizeof words);
            for (int j = 0; j < 32; j++) sums[j] += words[j];
        }
        volatile uint64_t sink = 0;
        for (int j = 0; j < 32; j++) sink += sums[j];
        double speed = (double)weight_bytes / (now() - start);
        if (speed > best) best = speed;
    }
    return best;
}

/* A 1024-element product that stays in the first-level cache: an attainable multiply-add rate. */
static double fma_rate(const ds4_kernels *set, const float *const *x, float *const *y,
                       void *scratch) {
    ds4_matmul p = {.type = DS4_TYPE_F32,
                    .weights = x[0],
                    .row_bytes = 4096,
                    .n_in = 1024,
                    .n_tokens = 6,
                    .x = x,
                    .y = y};
    double best = 0;
    for (int pass = 0; pass < 20; pass++) {
        double start = now();
        for (int i = 0; i < 50; i++) set->matmul(&p, 0, 4, scratch);
        double rate = 2.0 * 1024 * 6 * 4 * 50 / (now() - start);
        if (rate > best) best = rate;
    }
    return best;
}

static void fill(ds4_type type, uint8_t *bytes) {
    uint64_t s = 88172645463325252u;
    for (size_t i = 0; i < weight_bytes; i += 8) {
        s ^= s << 13, s ^= s >> 7, s ^= s << 17;
        memcpy(bytes + i, &s, 8);
    }
    const ds4_type_info *info = ds4_type_get_info((uint32_t)type);
    uint16_t one = 0x2C00, bf_one = 0x3F80;
    float f_one = 1;
    for (size_t b = 0; b + info->block_bytes <= weight_bytes; b += info->block_bytes) {
        uint8_t *block = bytes + b;
        switch (type) {
        case DS4_TYPE_Q8_0:
        case DS4_TYPE_IQ2_XXS:
        case DS4_TYPE_F16:
            memcpy(block, &one, 2);
            break;
        case DS4_TYPE_Q4_K:
            memcpy(block, &one, 2), memcpy(block + 2, &one, 2);
            break;
        case DS4_TYPE_Q2_K:
            memcpy(block + 80, &one, 2), memcpy(block + 82, &one, 2);
            break;
        case DS4_TYPE_MXFP4:
            block[0] = 120;
            break;
        case DS4_TYPE_BF16:
            memcpy(block, &bf_one, 2);
            break;
        case DS4_TYPE_F32:
            memcpy(block, &f_one, 4);
            break;
        case DS4_TYPE_I32:
            break;
        }
    }
}

typedef struct bench {
    uint8_t *weights;
    const float *x[MAX_TOKENS];
    const void *xq[MAX_TOKENS];
    float *y[MAX_TOKENS];
    void *scratch;
} bench;

static double seconds_of(const ds4_kernels *set, const ds4_matmul *p, size_t n_rows,
                         void *scratch) {
    double best = 1e30;
    for (int pass = 0; pass < 3; pass++) {
        double start = now();
        set->matmul(p, 0, n_rows, scratch);
        double s = now() - start;
        if (s < best) best = s;
        if (pass == 0 && s > 1) break;
    }
    return best;
}

static void bench_type(bench *b, const ds4_kernels *set, ds4_type type) {
    size_t row_bytes = ds4_type_row_bytes(type, N_IN);
    size_t all_rows = weight_bytes / row_bytes;
    fill(type, b->weights);
    for (int int8 = 0; int8 <= (ds4_type_takes_int8(type) ? 1 : 0); int8++) {
        for (size_t t = 0; t < MAX_TOKENS && int8; t++) /* touches the pages */
            set->quantize_activations(type, b->x[t], (void *)(uintptr_t)b->xq[t], N_IN);
        double quantize_seconds = now();
        for (size_t t = 0; t < MAX_TOKENS && int8; t++)
            set->quantize_activations(type, b->x[t], (void *)(uintptr_t)b->xq[t], N_IN);
        quantize_seconds = now() - quantize_seconds;
        printf("%-7s %-8s %-5s", set->name, ds4_type_get_info((uint32_t)type)->name,
               int8 ? "int8" : "float");
        static const size_t tokens[] = {1, 2, 6, 12, 64, 512};
        for (size_t i = 0; i < 6; i++) {
            size_t n_rows = tokens[i] == 1 ? all_rows : tokens[i] <= 12 ? 2048 : 512;
            if (n_rows > all_rows) n_rows = all_rows;
            ds4_matmul p = {.type = type,
                            .weights = b->weights,
                            .row_bytes = row_bytes,
                            .n_in = N_IN,
                            .n_tokens = tokens[i],
                            .x = b->x,
                            .y = b->y};
            if (int8) p.xq = b->xq;
            double s = seconds_of(set, &p, n_rows, b->scratch);
            if (tokens[i] == 1)
                printf(" %6.2f GB/s", (double)(n_rows * row_bytes) / s * 1e-9);
            else
                printf(" %7.1f", 2.0 * N_IN * (double)(n_rows * tokens[i]) / s * 1e-9);
        }
        if (int8)
            printf("   rounding %.2f ns/element", quantize_seconds * 1e9 / (N_IN * MAX_TOKENS));
        printf("\n");
        fflush(stdout);
    }
}

int main(int argc, char **argv) {
    static const char *const names[] = {"avx512", "avx2", "neon", "scalar"};
    static const ds4_type types[] = {DS4_TYPE_Q8_0,  DS4_TYPE_IQ2_XXS, DS4_TYPE_Q2_K, DS4_TYPE_Q4_K,
                                     DS4_TYPE_MXFP4, DS4_TYPE_F16,     DS4_TYPE_BF16, DS4_TYPE_F32};
    bench b = {.weights = allocate(weight_bytes), .scratch = allocate(ds4_matmul_scratch_bytes())};
    fill(DS4_TYPE_I32, b.weights);
    size_t max_rows = weight_bytes / ds4_type_row_bytes(DS4_TYPE_IQ2_XXS, N_IN);
    for (size_t t = 0; t < MAX_TOKENS; t++) {
        float *x = allocate(N_IN * sizeof(float));
        for (size_t i = 0; i < N_IN; i++) x[i] = sinf((float)(i * 7 + t));
        b.x[t] = x;
        b.xq[t] = allocate(2 * N_IN);
        b.y[t] = allocate((t == 0 ? max_rows : 2048) * sizeof(float));
    }
    printf("memory read, one thread: %.2f GB/s\n", read_bandwidth(b.weights) * 1e-9);
    for (int i = 0; i < 4; i++) {
        const ds4_kernels *set = ds4_kernels_by_name(names[i]);
        if (set == NULL || (argc > 1 && strcmp(argv[1], names[i]) != 0) || (argc == 1 && i == 3))
            continue;
        printf("%s: multiply-add in the first-level cache %.1f GFLOP/s\n", set->name,
               fma_rate(set, b.x, b.y, b.scratch) * 1e-9);
        printf("set     type     x      1 token    GFLOP/s at 2, 6, 12, 64, 512 tokens\n");
        for (size_t j = 0; j < sizeof types / sizeof types[0]; j++)
            if (argc < 3 || strcmp(argv[2], ds4_type_get_info((uint32_t)types[j])->name) == 0)
                bench_type(&b, set, types[j]);
    }
    return 0; /* the memory goes with the process */
}
