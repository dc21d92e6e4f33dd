/* The scheduler's two pure decisions: slots and shares. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sched/plan.h"

static int32_t counting[4096]; /* 0, 1, 2, ... */
static int32_t other[4096];    /* shares the first 100 tokens with it */

static int fill(void **state) {
    (void)state;
    for (int32_t i = 0; i < 4096; i++) {
        counting[i] = i;
        other[i] = i < 100 ? i : -i;
    }
    return 0;
}

static ds4_slot_view view(const int32_t *tokens, uint32_t n, uint32_t floor, uint64_t used) {
    return (ds4_slot_view){
        .tokens = tokens, .n_tokens = n, .rewind_floor = floor, .last_used = used};
}

static void test_continues_the_longest_prefix(void **state) {
    (void)state;
    ds4_slot_view slots[3] = {view(counting, 50, 50, 9), view(counting, 500, 500, 3),
                              view(NULL, 0, 0, 0)};
    ds4_slot_choice choice;
    assert_true(ds4_choose_slot(slots, 3, counting, 600, &choice));
    assert_int_equal(choice.slot, 1);
    assert_int_equal(choice.reuse, 500);
    slots[1].busy = true;
    assert_true(ds4_choose_slot(slots, 3, counting, 600, &choice));
    assert_int_equal(choice.slot, 0);
    assert_int_equal(choice.reuse, 50);
    slots[0].busy = slots[2].busy = true;
    assert_false(ds4_choose_slot(slots, 3, counting, 600, &choice));
}

static void test_evaluates_the_last_prompt_token_again(void **state) {
    (void)state;
    ds4_slot_view slot = view(counting, 500, 450, 1);
    ds4_slot_choice choice;
    assert_true(ds4_choose_slot(&slot, 1, counting, 500, &choice));
    assert_int_equal(choice.reuse, 499);
    assert_true(ds4_choose_slot(&slot, 1, counting, 470, &choice));
    assert_int_equal(choice.reuse, 469);
    assert_true(ds4_choose_slot(&slot, 1, counting, 450, &choice));
    assert_int_equal(choice.reuse, 0); /* 449 is behind the floor */
    slot.rewind_floor = 500;           /* nothing to rewind: the whole session or none of it */
    assert_true(ds4_choose_slot(&slot, 1, counting, 500, &choice));
    assert_int_equal(choice.reuse, 0);
    assert_true(ds4_choose_slot(&slot, 1, counting, 501, &choice));
    assert_int_equal(choice.reuse, 500);
}

static void test_keeps_a_long_conversation(void **state) {
    (void)state;
    /* `other` shares 100 of 1000 tokens: the empty slot is taken, then the least recently used one.
     */
    ds4_slot_view slots[2] = {view(counting, 1000, 0, 5), view(NULL, 0, 0, 0)};
    ds4_slot_choice choice;
    assert_true(ds4_choose_slot(slots, 2, other, 800, &choice));
    assert_int_equal(choice.slot, 1);
    assert_int_equal(choice.reuse, 0);
    slots[1] = view(counting + 7, 90, 0, 6);
    assert_true(ds4_choose_slot(slots, 2, other, 800, &choice));
    assert_int_equal(choice.slot, 0);
    assert_int_equal(choice.reuse, 100);
    /* A prompt that it serves for at least one half is worth it. */
    assert_true(ds4_choose_slot(slots, 2, other, 150, &choice));
    assert_int_equal(choice.slot, 0);
    assert_int_equal(choice.reuse, 100);
}

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
        cmocka_unit_test(test_continues_the_longest_prefix),
        cmocka_unit_test(test_evaluates_the_last_prompt_token_again),
        cmocka_unit_test(test_keeps_a_long_conversation),
        cmocka_unit_test(test_shares),
        cmocka_unit_test(test_shares_hold_their_bounds),
        cmocka_unit_test(test_prefill_tokens),
    };
    return cmocka_run_group_tests(tests, fill, NULL);
}
