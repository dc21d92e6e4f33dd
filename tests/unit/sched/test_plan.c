/* The scheduler's pure decisions: shares of a step. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sched/plan.h"

static void test_shares(void **state) {
    (void)state;
    ds4_step_wish wishes[5] = {
        {.prompt_left = 1000}, {0}, {.prompt_left = 10}, {.paused = true}, {.prompt_left = 1000}};
    assert_int_equal(ds4_plan_step(wishes, 5, 512, 300), 301);
    assert_int_equal(wishes[0].n_tokens, 145);
    assert_int_equal(wishes[1].n_tokens, 1);
    assert_int_equal(wishes[2].n_tokens, 10);
    assert_int_equal(wishes[3].n_tokens, 0);
    assert_int_equal(wishes[4].n_tokens, 145);
    assert_int_equal(ds4_plan_step(wishes, 5, 101, 300), 101);
    assert_int_equal(wishes[1].n_tokens, 1);
    assert_int_equal(ds4_plan_step(wishes, 5, 1, 300), 1);
    assert_int_equal(wishes[1].n_tokens, 1);
    assert_int_equal(ds4_plan_step(wishes, 0, 512, 300), 0);
}

/* Whatever the wishes: within the limits, nobody gets more than asked, and room is left only when
 * all are served. */
static void test_shares_hold_their_bounds(void **state) {
    (void)state;
    uint32_t seed = 12345;
    for (int round = 0; round < 20000; round++) {
        ds4_step_wish wishes[8];
        uint32_t n = seed % 9, most = 8 + seed % 600, prefill = seed / 7 % 600, sum = 0, hungry = 0;
        for (uint32_t i = 0; i < n; i++) {
            seed = seed * 1664525u + 1013904223u;
            wishes[i] = (ds4_step_wish){.prompt_left = seed >> 28 < 6 ? 0 : (seed >> 8) % 700,
                                        .paused = seed >> 30 == 3};
        }
        seed = seed * 1664525u + 1013904223u;
        uint32_t used = ds4_plan_step(wishes, n, most, prefill), reading = 0;
        for (uint32_t i = 0; i < n; i++) {
            sum += wishes[i].n_tokens;
            if (wishes[i].paused)
                assert_int_equal(wishes[i].n_tokens, 0);
            else if (wishes[i].prompt_left == 0)
                assert_int_equal(wishes[i].n_tokens, 1);
            else {
                assert_true(wishes[i].n_tokens <= wishes[i].prompt_left);
                reading += wishes[i].n_tokens;
                hungry += wishes[i].prompt_left - wishes[i].n_tokens;
            }
        }
        assert_int_equal(sum, used);
        assert_true(used <= most && reading <= prefill);
        if (hungry > 0) assert_true(used == most || reading == prefill);
    }
}

static void test_prefill_tokens(void **state) {
    (void)state;
    assert_int_equal(ds4_prefill_tokens(0, 1.5, 32, 512), 32);
    assert_int_equal(ds4_prefill_tokens(100, 1.5, 32, 512), 150);
    assert_int_equal(ds4_prefill_tokens(10, 1.5, 32, 512), 32);
    assert_int_equal(ds4_prefill_tokens(1e9, 1.5, 32, 512), 512);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shares),
        cmocka_unit_test(test_shares_hold_their_bounds),
        cmocka_unit_test(test_prefill_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
