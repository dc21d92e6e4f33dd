/* Composing a step: layout, and every refusal, with sessions built by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "engine/batch.h"

static void rows_follow_items(void **state) {
    (void)state;
    ds4_session a = {.n_context = 100, .n_tokens = 10}, b = {.n_context = 50};
    int32_t first[] = {1, 2, 3}, second[] = {4};
    ds4_batch_item items[] = {{.session = &a, .tokens = first, .n_tokens = 3},
                              {.session = &b, .tokens = second, .n_tokens = 1}};
    ds4_step step;
    assert_int_equal(ds4_step_create(4, &step, NULL), DS4_OK);
    assert_int_equal(ds4_step_compose(items, 2, 4, 5, &step, NULL), DS4_OK);
    assert_int_equal(step.n_rows, 4);
    assert_int_equal(step.n_items, 2);
    static const uint32_t positions[] = {10, 11, 12, 0}, owner[] = {0, 0, 0, 1};
    assert_memory_equal(step.position, positions, sizeof positions);
    assert_memory_equal(step.item_of_row, owner, sizeof owner);
    assert_int_equal(step.token[3], 4);
    assert_int_equal(step.items[1].first_row, 3);
    assert_ptr_equal(step.items[0].kv, &a.kv);
    assert_int_equal(ds4_step_compose(items, 0, 4, 5, &step, NULL), DS4_OK);
    assert_int_equal(step.n_rows, 0);
    ds4_step_free(&step);
}

static void refuse(ds4_batch_item *items, size_t n, ds4_status expected, const char *word) {
    ds4_step step;
    ds4_error error = {0};
    assert_int_equal(ds4_step_create(4, &step, NULL), DS4_OK);
    assert_int_equal(ds4_step_compose(items, n, 4, 5, &step, &error), expected);
    if (strstr(error.message, word) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", error.message, word);
    ds4_step_free(&step);
}

static void refusals(void **state) {
    (void)state;
    ds4_session a = {.n_context = 8, .n_tokens = 6}, b = {.n_context = 8};
    int32_t good[] = {0, 1, 2, 3, 4}, negative[] = {-1}, large[] = {5};
    ds4_batch_item item = {.session = &a, .tokens = good, .n_tokens = 0};
    refuse(&item, 1, DS4_INVALID_ARGUMENT, "no tokens");
    item.n_tokens = 3;
    refuse(&item, 1, DS4_CONTEXT_FULL, "context of 8");
    item = (ds4_batch_item){.session = &b, .tokens = good, .n_tokens = 5};
    refuse(&item, 1, DS4_INVALID_ARGUMENT, "more than 4 tokens");
    item = (ds4_batch_item){.session = &b, .tokens = negative, .n_tokens = 1};
    refuse(&item, 1, DS4_INVALID_ARGUMENT, "is -1");
    item.tokens = large;
    refuse(&item, 1, DS4_INVALID_ARGUMENT, "vocabulary has 5");
    item = (ds4_batch_item){.session = &b, .tokens = good, .n_tokens = 1, .want = DS4_LOGITS_LAST};
    refuse(&item, 1, DS4_INVALID_ARGUMENT, "memory");
    ds4_batch_item twice[] = {{.session = &b, .tokens = good, .n_tokens = 1},
                              {.session = &b, .tokens = good, .n_tokens = 1}};
    refuse(twice, 2, DS4_INVALID_ARGUMENT, "same session");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(rows_follow_items),
                                       cmocka_unit_test(refusals)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
