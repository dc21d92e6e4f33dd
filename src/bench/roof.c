#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/error.h"
#include "base/threads.h"
#include "bench/bench.h"

/* Larger than the last-level caches of today's servers; smaller pieces keep the threads even. */
enum { ROOF_BYTES = 512 << 20, ROOF_SMALL_BYTES = 64 << 20, PIECE_WORDS = 1 << 16, PASSES = 5 };

double bench_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

typedef struct reading {
    const uint64_t *words;
    uint64_t *sums; /* per thread, a cache line apart: the result that keeps the reads alive */
} reading;

static void read_piece(void *context, uint32_t thread, size_t begin, size_t end) {
    const reading *r = context;
    for (size_t piece = begin; piece < end; piece++) {
        const uint64_t *words = r->words + piece * PIECE_WORDS;
        uint64_t lanes[16] = {0};
        for (size_t i = 0; i < PIECE_WORDS; i += 16)
            for (size_t lane = 0; lane < 16; lane++) lanes[lane] ^= words[i + lane];
        for (size_t lane = 0; lane < 16; lane++) r->sums[8 * (size_t)thread] ^= lanes[lane];
    }
}

ds4_status bench_read_bandwidth(uint32_t n_threads, double *gb_per_second, ds4_error *error) {
    ds4_threads *threads = NULL;
    ds4_status status = ds4_threads_create(n_threads, &threads, error);
    if (status != DS4_OK) return status;
    size_t n_bytes = ROOF_BYTES;
    uint64_t *words = malloc(n_bytes);
    if (words == NULL) {
        n_bytes = ROOF_SMALL_BYTES;
        words = malloc(n_bytes);
    }
    uint64_t *sums = calloc(8 * (size_t)ds4_threads_count(threads), sizeof *sums);
    if (words == NULL || sums == NULL) {
        status = ds4_fail_memory(error, n_bytes, "the bandwidth test");
        goto done;
    }
    memset(words, 0x5a, n_bytes); /* real pages, not the shared zero page */
    reading r = {words, sums};
    for (int pass = 0; pass < PASSES; pass++) {
        double start = bench_seconds();
        ds4_threads_for(threads, n_bytes / sizeof *words / PIECE_WORDS, 4, read_piece, &r);
        double rate = (double)n_bytes / (bench_seconds() - start) / 1e9;
        if (rate > *gb_per_second) *gb_per_second = rate;
    }
done:
    free(sums);
    free(words);
    ds4_threads_destroy(threads);
    return status;
}
