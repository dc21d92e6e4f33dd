/* Penalties and biases: by hand on small rows. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sample/logit_edit.h"

static const float row[5] = {2, -2, 0.5f, 1, -1};

static ds4_logit_edit *create(ds4_logit_edit_params params) {
    ds4_logit_edit *edit = NULL;
    assert_true(ds4_logit_edit_is_needed(&params));
    assert_int_equal(ds4_logit_edit_create(5, &params, &edit, NULL), DS4_OK);
    return edit;
}

static void expect(ds4_logit_edit *edit, const float wanted[5]) {
    const float *changed = ds4_logit_edit_apply(edit, row);
    for (int i = 0; i < 5; i++) assert_true(changed[i] == wanted[i]);
}

static void test_presence_and_frequency(void **state) {
    (void)state;
    ds4_logit_edit *edit = create((ds4_logit_edit_params){.presence = 0.5f, .frequency = 0.25f});
    const int32_t prompt[] = {2, 2};
    ds4_logit_edit_add_prompt(edit, prompt, 2); /* does not count here */
    expect(edit, row);
    ds4_logit_edit_add_picked(edit, 0);
    ds4_logit_edit_add_picked(edit, 0);
    ds4_logit_edit_add_picked(edit, 3);
    expect(edit, (const float[5]){1, -2, 0.5f, 0.25f, -1});
    ds4_logit_edit_destroy(edit);
}

static void test_repetition(void **state) {
    (void)state;
    ds4_logit_edit *edit = create((ds4_logit_edit_params){.repetition = 2});
    const int32_t prompt[] = {0, 1, 1, -1, 99};
    ds4_logit_edit_add_prompt(edit, prompt, 5);
    ds4_logit_edit_add_picked(edit, 0); /* once, however often it was said */
    ds4_logit_edit_add_picked(edit, 4);
    expect(edit, (const float[5]){1, -4, 0.5f, 1, -2});
    ds4_logit_edit_destroy(edit);
}

static void test_biases(void **state) {
    (void)state;
    const ds4_token_bias biases[] = {{1, 100}, {0, -1.5f}};
    ds4_logit_edit *edit = create((ds4_logit_edit_params){.biases = biases, .n_biases = 2});
    expect(edit, (const float[5]){0.5f, 98, 0.5f, 1, -1});
    ds4_logit_edit_destroy(edit);
}

static void test_what_is_refused(void **state) {
    (void)state;
    const ds4_token_bias unknown = {5, 1}, infinite = {0, INFINITY};
    const ds4_logit_edit_params bad[] = {{.presence = NAN},
                                         {.frequency = INFINITY},
                                         {.repetition = -1},
                                         {.biases = &unknown, .n_biases = 1},
                                         {.biases = &infinite, .n_biases = 1}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        ds4_logit_edit *edit = NULL;
        ds4_error error = {0};
        assert_int_equal(ds4_logit_edit_create(5, &bad[i], &edit, &error), DS4_INVALID_ARGUMENT);
        assert_true(error.message[0] != '\0');
        assert_null(edit);
    }
    assert_false(ds4_logit_edit_is_needed(&(ds4_logit_edit_params){.repetition = 1}));
    assert_false(ds4_logit_edit_is_needed(&(ds4_logit_edit_params){0}));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_presence_and_frequency),
        cmocka_unit_test(test_repetition),
        cmocka_unit_test(test_biases),
        cmocka_unit_test(test_what_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
