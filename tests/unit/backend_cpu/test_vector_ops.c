/* Every build of the vector operations gives the same bits as the scalar one, for all lengths; and
 * the scalar one agrees with double precision. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backend/cpu/vector_ops.h"

enum { MAX = 300, ROWS = 9 };

static uint64_t random_state = 7;

static float uniform(void) {
    random_state = random_state * 6364136223846793005ull + 1442695040888963407ull;
    return (float)((double)(random_state >> 40) / 8388608.0 - 1.0);
}

static void fill(float *x, size_t n, float scale) {
    for (size_t i = 0; i < n; i++) x[i] = uniform() * scale;
}

/* One buffer of inputs; each operation writes its results behind each other into `out`. */
static size_t run_all(const ds4_vector_ops *ops, const float *in, size_t n, float *out) {
    static float x[4 * MAX], y[8 * MAX];
    const float *rows[ROWS], *gates[ROWS];
    size_t at = 0;
#define EMIT(pointer, count) (memcpy(out + at, (pointer), (count) * sizeof(float)), at += (count))
    for (size_t r = 0; r < ROWS; r++) {
        rows[r] = in + r * 17;
        gates[r] = in + 400 + r * 31;
    }
    out[at++] = (float)ops->dot(in, in + 23, n);
    out[at++] = ops->rms_scale(in, n, 1e-6f);
    out[at++] = ops->sum(in, n);
    out[at++] = ops->max(in, n);
    ops->scale(in, 0.3f, in + MAX, x, n), EMIT(x, n);
    ops->scale(in, 0.3f, NULL, x, n), EMIT(x, n);
    memcpy(x, in, n * sizeof *x), ops->axpy(0.7f, in + 5, x, n), EMIT(x, n);
    ops->combine(in + 3, rows, ROWS, x, n), EMIT(x, n);
    memcpy(x, in, 4 * n * sizeof *x), ops->mix_streams(x, in + 9, in + 40, in + 60, 4, n),
        EMIT(x, 4 * n);
    memcpy(x, in, n * sizeof *x), ops->swiglu(x, in + 77, 2.0f, 1.3f, n), EMIT(x, n);
    memcpy(x, in, n * sizeof *x), ops->swiglu(x, in + 77, 0.0f, 1.3f, n), EMIT(x, n);
    memcpy(x, in, n * sizeof *x), ops->exp_minus(x, 5.0f, n), EMIT(x, n);
    ops->pool(rows, gates, ROWS, x, n), EMIT(x, n);
    memset(y, 0, sizeof y), ops->weighted_rows(in, 11, 6, in + 100, 1, y, n, n), EMIT(y, 6 * n);
    memcpy(x, in, n * sizeof *x), ops->relu_axpy(in + 13, 0.4f, x, n), EMIT(x, n);
    ops->decode_fp8((const uint8_t *)in, 0.25f, x, n);
    for (size_t i = 0; i < n; i++) out[at++] = isnan(x[i]) ? 0.0f : x[i];
    ops->decode_fp4((const uint8_t *)in, 0.25f, x, n), EMIT(x, n);
    memcpy(x, in, 128 * sizeof *x), ops->hadamard(x, 128), EMIT(x, 128);
#undef EMIT
    return at;
}

static void all_builds_agree(void **state) {
    (void)state;
    static const char *const names[] = {"avx2", "avx512", "neon"};
    static float in[4 * MAX + 2000], expected[40 * MAX], got[40 * MAX];
    const ds4_vector_ops *scalar = ds4_vector_ops_by_name("scalar");
    assert_non_null(scalar);
    for (size_t n = 1; n <= MAX; n += n < 70 ? 1 : 23) {
        fill(in, sizeof in / sizeof in[0], n % 3 == 0 ? 30.0f : 2.0f);
        size_t n_out = run_all(scalar, in, n, expected);
        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
            const ds4_vector_ops *ops = ds4_vector_ops_by_name(names[i]);
            if (ops == NULL) continue;
            assert_int_equal(run_all(ops, in, n, got), n_out);
            for (size_t k = 0; k < n_out; k++) {
                if (memcmp(&got[k], &expected[k], sizeof(float)) != 0)
                    fail_msg("%s, n = %zu, output %zu: %a, scalar gives %a", names[i], n, k,
                             (double)got[k], (double)expected[k]);
            }
        }
    }
}

static void exp_is_close(void **state) {
    (void)state;
    const ds4_vector_ops *ops = ds4_vector_ops_best();
    for (double at = -90.0; at <= 87.0; at += 0.01) {
        float x = (float)at;
        ops->exp_minus(&x, 0.0f, 1);
        double exact = exp((double)(float)at);
        if (at < -87.0)
            assert_true(x == 0.0f);
        else
            assert_true(fabs((double)x - exact) <= 3e-7 * exact);
    }
}

static void swiglu_is_silu_times_up(void **state) {
    (void)state;
    const ds4_vector_ops *ops = ds4_vector_ops_best();
    for (int i = 0; i < 2000; i++) {
        float g = uniform() * 120.0f, u = uniform() * 20.0f, y = g;
        ops->swiglu(&y, &u, 10.0f, 1.5f, 1);
        double gd = g > 10 ? 10 : (double)g, ud = u > 10 ? 10 : u < -10 ? -10 : (double)u;
        double exact = 1.5 * gd / (1.0 + exp(-gd)) * ud;
        assert_true(fabs((double)y - exact) <= 1e-6 * fabs(exact) + 1e-30);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_builds_agree),
        cmocka_unit_test(exp_is_close),
        cmocka_unit_test(swiglu_is_silu_times_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
