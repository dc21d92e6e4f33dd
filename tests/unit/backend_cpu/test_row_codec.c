/* FP8, FP4 and Hadamard against definitions written down independently: tables of all codes and a
 * naive transform. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backend/cpu/row_codec.h"

static uint64_t random_state = 42;

static double uniform(void) {
    random_state = random_state * 6364136223846793005ull + 1442695040888963407ull;
    return (double)(random_state >> 11) / 9007199254740992.0;
}

static double e4m3(unsigned code) {
    unsigned e = code >> 3 & 15, m = code & 7;
    return e == 0 ? m * 0x1p-9 : ldexp(1.0 + m / 8.0, (int)e - 7);
}

static double e2m1(unsigned code) {
    static const double values[] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
    return values[code & 7];
}

/* The nearest of n values, ties to the even code: by trying all. */
static unsigned nearest(double v, double (*value)(unsigned), unsigned n) {
    unsigned best = 0;
    for (unsigned c = 1; c < n; c++) {
        double d = fabs(value(c) - v), b = fabs(value(best) - v);
        if (d < b || (d == b && c % 2 == 0)) best = c;
    }
    return best;
}

static void check_block(const float *x, size_t n, bool fp8) {
    uint8_t codes[64];
    double largest = fp8 ? 1e-4 : 6 * 0x1p-126, limit = fp8 ? 448 : 6;
    largest = (double)(float)largest;
    for (size_t i = 0; i < n; i++)
        largest = fabs((double)x[i]) > largest ? fabs((double)x[i]) : largest;
    double quotient = (double)((float)largest / (float)limit);
    int k = fp8 ? ds4_fp8_encode_block(x, codes) : ds4_fp4_encode_block(x, codes);
    assert_int_equal(k, (int)ceil(log2(quotient)));
    for (size_t i = 0; i < n; i++) {
        double v = fabs((double)x[i]) / ldexp(1.0, k);
        unsigned expected =
            fp8 ? nearest(v > 448 ? 448 : v, e4m3, 127) : nearest(v > 6 ? 6 : v, e2m1, 8);
        unsigned got = fp8 ? (unsigned)codes[i] : (unsigned)codes[i / 2] >> (4 * (i & 1)) & 15u;
        assert_int_equal(got & (fp8 ? 127u : 7u), expected);
        assert_int_equal(got >> (fp8 ? 7 : 3), signbit(x[i]) != 0);
    }
}

static void blocks_match_the_tables(void **state) {
    (void)state;
    float x[64];
    for (int round = 0; round < 3000; round++) {
        double size = exp((uniform() - 0.5) * 30);
        for (int i = 0; i < 64; i++) {
            x[i] = (float)((uniform() - 0.5) * size);
            if (round % 4 == 0) x[i] = (float)((floor(uniform() * 64) - 32) * 0.25); /* many ties */
            if (round % 97 == 0) x[i] = 0.0f;
        }
        check_block(x, 64, true);
        check_block(x, 32, false);
    }
}

static ds4_row_codec make_codec(ds4_kv_sim kv_sim, const ds4_vector_ops *ops) {
    ds4_hparams hp = {.head_dim = 160, .rope_dim = 32, .indexer_dim = 128};
    return ds4_row_codec_make(&hp, kv_sim, ops, ds4_kernels_best());
}

static void rows_survive_storing(void **state) {
    (void)state;
    for (int sim = DS4_KV_SIM_FULL; sim <= DS4_KV_SIM_NONE; sim++) {
        ds4_row_codec codec = make_codec((ds4_kv_sim)sim, ds4_vector_ops_best());
        float row[160], rounded[160], again[160];
        uint8_t stored[1024];
        for (int round = 0; round < 500; round++) {
            for (int i = 0; i < 160; i++) row[i] = rounded[i] = (float)(tan((uniform() - 0.5) * 3));
            ds4_row_round(&codec, rounded);
            ds4_row_encode(&codec, row, stored);
            ds4_row_decode(&codec, stored, again);
            assert_memory_equal(rounded, again, sizeof row);
            ds4_row_round(&codec, again); /* stored rows are fixed points: lossless from then on */
            assert_memory_equal(rounded, again, sizeof row);
            if (sim != DS4_KV_SIM_FULL) assert_memory_equal(row, again, sizeof row);
        }
    }
    assert_int_equal(make_codec(DS4_KV_SIM_FULL, ds4_vector_ops_best()).row_bytes, 128 + 2 + 64);
    assert_int_equal(make_codec(DS4_KV_SIM_FP4, ds4_vector_ops_best()).index_row_bytes, 64 + 4);
}

static bool all_finite(const float *x, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!isfinite(x[i])) return false;
    return true;
}

/* Rows from a file: what the codec wrote is let in, whatever its size; nothing that would be read
 * as NaN or infinity is, wherever in the row it stands. */
static void rows_that_hold_no_number_are_told(void **state) {
    (void)state;
    for (int sim = DS4_KV_SIM_FULL; sim <= DS4_KV_SIM_NONE; sim++) {
        ds4_row_codec codec = make_codec((ds4_kv_sim)sim, ds4_vector_ops_best());
        float row[160], index_row[128];
        uint8_t rows[2 * 1024], index_rows[2 * 1024];
        int n_bad = 0, n_bad_index = 0;
        for (int round = 0; round < 4000; round++) {
            double size = exp((uniform() - 0.5) * 20);
            for (int i = 0; i < 160; i++) row[i] = (float)((uniform() - 0.5) * size);
            for (int i = 0; i < 128; i++) index_row[i] = row[i];
            for (size_t r = 0; r < 2; r++) {
                ds4_row_encode(&codec, row, rows + r * codec.row_bytes);
                ds4_index_row_encode(&codec, index_row, index_rows + r * codec.index_row_bytes);
            }
            assert_true(ds4_rows_are_finite(&codec, rows, 2));
            assert_true(ds4_index_rows_are_finite(&codec, index_rows, 2));
            uint8_t *second = rows + codec.row_bytes,
                    *second_index = index_rows + codec.index_row_bytes;
            /* Two neighbours: what F16 and F32 need to be infinite. */
            size_t at = (size_t)(uniform() * (double)(codec.row_bytes - 1));
            size_t at_index = (size_t)(uniform() * (double)(codec.index_row_bytes - 1));
            second[at] = second_index[at_index] = (uint8_t)(uniform() * 256);
            const uint8_t often[] = {0x7F, 0xFF, (uint8_t)(uniform() * 256)};
            second[at + 1] = second_index[at_index + 1] = often[round % 3];
            ds4_row_decode(&codec, second, row);
            ds4_index_row_decode(&codec, second_index, index_row);
            bool bad = !all_finite(row, 160), bad_index = !all_finite(index_row, 128);
            if (bad) assert_false(ds4_rows_are_finite(&codec, rows, 2));
            if (bad_index) assert_false(ds4_index_rows_are_finite(&codec, index_rows, 2));
            n_bad += bad;
            n_bad_index += bad_index;
        }
        assert_true(n_bad > 50);
        assert_true(n_bad_index > 10);
    }
}

static void hadamard_is_the_matrix(void **state) {
    (void)state;
    float x[128], y[128];
    for (int i = 0; i < 128; i++) x[i] = y[i] = (float)(uniform() - 0.5);
    ds4_vector_ops_best()->hadamard(y, 128);
    for (int r = 0; r < 128; r++) {
        double sum = 0;
        for (int c = 0; c < 128; c++)
            sum += __builtin_popcount((unsigned)(r & c)) % 2 ? -(double)x[c] : (double)x[c];
        assert_true(fabs(sum / sqrt(128.0) - (double)y[r]) < 1e-6);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_match_the_tables),
        cmocka_unit_test(rows_survive_storing),
        cmocka_unit_test(rows_that_hold_no_number_are_told),
        cmocka_unit_test(hadamard_is_the_matrix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
