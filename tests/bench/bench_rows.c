/* What it costs to look at saved rows before they are used: time per MB of each kind, at the widths
 * of V4 Flash. One thread.   usage: bench_rows */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "backend/cpu/row_codec.h"

enum { MEGABYTES = 64, REPEATS = 9 };

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t); /* other work on the machine does not count */
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int main(void) {
    const ds4_hparams hp = {.head_dim = 512, .rope_dim = 64, .indexer_dim = 128};
    const ds4_row_codec codec = ds4_row_codec_make(&hp, DS4_KV_SIM_FULL, NULL, NULL);
    const size_t n = (size_t)MEGABYTES * 1000000;
    uint8_t *bytes = calloc(n, 1), *copy = malloc(n);
    if (bytes == NULL || copy == NULL) return EXIT_FAILURE;
    const char *const names[] = {"float32 rows", "attention rows", "indexer rows", "copying"};
    for (int kind = 0; kind < 4; kind++) {
        double best = 1e9;
        bool finite = true;
        for (int i = 0; i < REPEATS; i++) {
            double start = now();
            if (kind == 0) finite = ds4_floats_are_finite(bytes, n / sizeof(float)) && finite;
            if (kind == 1)
                finite = ds4_rows_are_finite(&codec, bytes, n / codec.row_bytes) && finite;
            if (kind == 2)
                finite =
                    ds4_index_rows_are_finite(&codec, bytes, n / codec.index_row_bytes) && finite;
            if (kind == 3) memcpy(copy, bytes, n);
            double took = now() - start;
            best = took < best ? took : best;
        }
        if (!finite || copy[n / 2] != 0) return EXIT_FAILURE;
        printf("%-14s %.3f ms per MB\n", names[kind], 1e3 * best / MEGABYTES);
    }
    free(bytes);
    free(copy);
    return EXIT_SUCCESS;
}
