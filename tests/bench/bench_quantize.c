/* Speed of the quantizers in MB of float32 input per second of one core: every instruction set of
 * this machine beside the scalar definition, without and with importances, and the refits.
 * Usage: bench_quantize [set] */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "quant/quantize.h"

enum { N = 4096, N_ROWS = 64, MOST_BYTES = 4 * N };

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t); /* other jobs do not count */
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static float gauss(uint64_t *s) {
    float sum = 0;
    for (int i = 0; i < 4; i++) {
        *s = *s * 6364136223846793005u + 1442695040888963407u;
        sum += (float)(*s >> 40) * 0x1p-24f;
    }
    return sum - 2;
}

/* The best of several passes over some rows. */
static double speed(const ds4_quantizer *q, ds4_type type, const float *x, const float *importance,
                    uint8_t *target) {
    double best = 0;
    for (int pass = 0; pass < 3; pass++) {
        int row = 0;
        double start = now(), seconds = 0;
        for (; row < N_ROWS && seconds < 0.5; row++) {
            if (ds4_quantize_row(q, type, x + (size_t)N * (size_t)row, importance, target, N,
                                 NULL) != DS4_OK)
                return 0;
            seconds = now() - start;
        }
        double rate = 4.0 * N * row / seconds * 1e-6;
        if (rate > best) best = rate;
    }
    return best;
}

int main(int argc, char **argv) {
    static const char *const sets[] = {"scalar", "avx2", "avx512", "neon"};
    static const ds4_type types[] = {DS4_TYPE_Q8_0, DS4_TYPE_Q2_K, DS4_TYPE_Q4_K, DS4_TYPE_IQ2_XXS,
                                     DS4_TYPE_MXFP4};
    float *x = malloc(sizeof *x * N * N_ROWS), *importance = malloc(sizeof *x * N);
    uint8_t *target = malloc(MOST_BYTES);
    uint64_t s = 42;
    if (x == NULL || importance == NULL || target == NULL) return 1;
    for (size_t i = 0; i < (size_t)N * N_ROWS; i++) x[i] = 0.05f * gauss(&s);
    for (size_t i = 0; i < N; i++) importance[i] = fabsf(gauss(&s)) + 0.01f;
    printf("MB of float32 per CPU second   plain  importance  refit  refit and importance\n");
    for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++) {
        ds4_quantizer *q[2] = {NULL, NULL};
        bool is_there = argc < 2 || strcmp(argv[1], sets[i]) == 0;
        for (int refit = 0; refit < 2 && is_there; refit++) {
            const ds4_quantizer_options options = {.set = sets[i], .refit = refit == 1};
            is_there = ds4_quantizer_create(&options, &q[refit], NULL) == DS4_OK;
        }
        for (size_t t = 0; is_there && t < sizeof types / sizeof types[0]; t++) {
            printf("%-8s %-8s", sets[i], ds4_type_get_info((uint32_t)types[t])->name);
            for (int refit = 0; refit < 2; refit++) {
                for (int weighted = 0; weighted < 2; weighted++)
                    printf(" %12.1f",
                           speed(q[refit], types[t], x, weighted ? importance : NULL, target));
            }
            printf("\n");
            fflush(stdout);
        }
        ds4_quantizer_destroy(q[0]);
        ds4_quantizer_destroy(q[1]);
    }
    free(x);
    free(importance);
    free(target);
    return 0;
}
