/* Rotary angles against long double arithmetic, at small and very large positions, plain and
 * interpolated. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "backend/cpu/rope.h"

static const ds4_hparams FLASH = {
    .rope_dim = 64,
    .rope_base = 10000,
    .compress_rope_base = 160000,
    .rope_factor = 16,
    .yarn_beta_fast = 32,
    .yarn_beta_slow = 1,
    .rope_original_context = 65536,
};

/* Of V4 Flash: pairs up to 15 keep their frequency, from 25 on it is divided by 16, a ramp between.
 */
static long double frequency(bool compressed, int i) {
    long double f = powl(compressed ? 160000.0L : 10000.0L, -2.0L * i / 64.0L);
    if (!compressed) return f;
    long double keep = i <= 15 ? 1.0L : i >= 25 ? 0.0L : (25 - i) / 10.0L;
    return f / 16.0L * (1.0L - keep) + f * keep;
}

static void angles_are_exact(void **state) {
    (void)state;
    static const uint32_t positions[] = {0, 1, 127, 4096, 99999, 819000, 1048575};
    for (int compressed = 0; compressed < 2; compressed++) {
        ds4_rope rope;
        assert_int_equal(
            ds4_rope_create(&FLASH, compressed != 0, DS4_ROPE_ANGLES_EXACT, &rope, NULL), DS4_OK);
        assert_int_equal(rope.n_pairs, 32);
        for (size_t p = 0; p < sizeof positions / sizeof positions[0]; p++) {
            float cos_sin[64];
            ds4_rope_angles(&rope, positions[p], cos_sin);
            for (int i = 0; i < 32; i++) {
                long double angle = positions[p] * frequency(compressed != 0, i);
                assert_true(fabsl(cosl(angle) - (long double)cos_sin[2 * i]) < 1e-7L);
                assert_true(fabsl(sinl(angle) - (long double)cos_sin[2 * i + 1]) < 1e-7L);
            }
        }
        ds4_rope_free(&rope);
    }
}

static void rotating_back_restores(void **state) {
    (void)state;
    ds4_rope rope;
    float lanes[64], cos_sin[64];
    assert_int_equal(ds4_rope_create(&FLASH, true, DS4_ROPE_ANGLES_EXACT, &rope, NULL), DS4_OK);
    ds4_rope_angles(&rope, 1234, cos_sin);
    for (int i = 0; i < 64; i++) lanes[i] = (float)(i * 7 % 13) - 6.0f;
    ds4_rope_rotate(cos_sin, 32, false, lanes);
    assert_true(fabsf(lanes[0] - ((0.0f - 6.0f) * cos_sin[0] - (7.0f - 6.0f) * cos_sin[1])) <
                1e-6f);
    ds4_rope_rotate(cos_sin, 32, true, lanes);
    for (int i = 0; i < 64; i++)
        assert_true(fabsf(lanes[i] - ((float)(i * 7 % 13) - 6.0f)) < 2e-6f);
    ds4_rope_free(&rope);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(angles_are_exact),
        cmocka_unit_test(rotating_back_restores),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
