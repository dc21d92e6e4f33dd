/* Directions from pairs: exact cases, and what the judgement of a layer says of easy and of
 * hopeless data. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "steering/contrast.h"

static void expect_vector(const float *d, float x, float y) {
    if (fabsf(d[0] - x) > 1e-6f || fabsf(d[1] - y) > 1e-6f)
        fail_msg("(%g, %g), expected (%g, %g)", (double)d[0], (double)d[1], (double)x, (double)y);
}

/* Means G = (3, 1) and B = (1, 0): the difference is (2, 1), and (0, 1) without what lies along B.
 */
static void exact(void **state) {
    (void)state;
    const float target[] = {2, 2, 4, 0}, contrast[] = {1, -3, 1, 3};
    const ds4_contrast c = {target, contrast, 2, 1, 2};
    double scratch[4];
    float d[2];
    ds4_contrast_direction(&c, &(ds4_contrast_options){0}, 0, NULL, scratch, d);
    expect_vector(d, 0, 1);
    ds4_contrast_direction(&c, &(ds4_contrast_options){.keep_common = true}, 0, NULL, scratch, d);
    expect_vector(d, 2 / sqrtf(5), 1 / sqrtf(5));
    /* Pairs: (1, 5) and (3, -3), each made a unit before the mean. */
    ds4_contrast_direction(&c, &(ds4_contrast_options){.keep_common = true, .pair_normalize = true},
                           0, NULL, scratch, d);
    float x = 1 / sqrtf(26) + 1 / sqrtf(2), y = 5 / sqrtf(26) - 1 / sqrtf(2), n = hypotf(x, y);
    expect_vector(d, x / n, y / n);
    /* Only the first pair: (1, 5) without what lies along (1, -3). */
    const bool first[] = {true, false};
    ds4_contrast_direction(&c, &(ds4_contrast_options){0}, 0, first, scratch, d);
    expect_vector(d, 3 / sqrtf(10), 1 / sqrtf(10));
}

static void nothing_gives_nothing(void **state) {
    (void)state;
    const float same[] = {1, 2, 1, 2};
    const ds4_contrast c = {same, same, 2, 1, 2};
    double scratch[4];
    float d[2] = {7, 7};
    ds4_separability q;
    ds4_contrast_direction(&c, &(ds4_contrast_options){0}, 0, NULL, scratch, d);
    expect_vector(d, 0, 0);
    assert_int_equal(ds4_contrast_judge(&c, &(ds4_contrast_options){0}, 0, d, &q, NULL), DS4_OK);
    assert_true(q.difference == 0 && q.relative == 0 && q.effect == 0 && q.stability == 0);
}

static float noise(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return (float)(*state >> 8) / (float)(1 << 23) - 1;
}

/* Layer 0 tells the sides apart along its third element, layer 1 is noise. */
static void judgement(void **state) {
    (void)state;
    enum { PAIRS = 100, LAYERS = 2, WIDTH = 8 };
    static float target[PAIRS * LAYERS * WIDTH], contrast[PAIRS * LAYERS * WIDTH];
    uint32_t seed = 1;
    for (size_t i = 0; i < sizeof target / sizeof *target; i++) {
        target[i] = noise(&seed);
        contrast[i] = noise(&seed);
    }
    for (size_t p = 0; p < PAIRS; p++) {
        target[p * LAYERS * WIDTH + 2] += 4;
        contrast[p * LAYERS * WIDTH + 5] += 3;
        target[p * LAYERS * WIDTH + 5] += 3;
    }
    const ds4_contrast c = {target, contrast, PAIRS, LAYERS, WIDTH};
    const ds4_contrast_options options = {0};
    double scratch[2 * WIDTH];
    float d[WIDTH];
    ds4_separability q;
    ds4_contrast_direction(&c, &options, 0, NULL, scratch, d);
    assert_true(d[2] > 0.98f);
    assert_int_equal(ds4_contrast_judge(&c, &options, 0, d, &q, NULL), DS4_OK);
    assert_true(q.accuracy == 1 && q.effect > 4 && q.stability > 0.95 && q.difference > 3.5);
    ds4_contrast_direction(&c, &options, 1, NULL, scratch, d);
    assert_int_equal(ds4_contrast_judge(&c, &options, 1, d, &q, NULL), DS4_OK);
    assert_true(q.accuracy > 0.3 && q.accuracy < 0.7 && q.stability < 0.8 && q.relative < 0.3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exact),
        cmocka_unit_test(nothing_gives_nothing),
        cmocka_unit_test(judgement),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
