/* Every instruction set of this machine gives the bits of the scalar definition. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "block_count.h"
#include "compare.h"

static void check_set(const char *name) {
    const ds4_kernels *set = ds4_kernels_by_name(name);
    if (set == NULL) {
        print_message("this machine has no %s\n", name);
        skip();
    }
    uint64_t hash = 0xCBF29CE484222325u;
    for (int i = 0; i < COMPARE_N_TYPES; i++)
        assert_int_equal(compare_type(ds4_kernels_by_name("scalar"), set, compare_types[i],
                                      block_count(10000), 1000u + (unsigned)i, &hash),
                         0);
}

static void test_avx2_equals_scalar(void **state) {
    (void)state;
    check_set("avx2");
}

static void test_avx512_equals_scalar(void **state) {
    (void)state;
    check_set("avx512");
}

static void test_neon_equals_scalar(void **state) {
    (void)state;
    check_set("neon");
}

/* Rows so long that one panel of packed rows fills the scratch, and that none fits. */
static void test_long_rows(void **state) {
    (void)state;
    const ds4_kernels *scalar = ds4_kernels_by_name("scalar");
    uint64_t hash = 0;
    for (int i = 0; i < COMPARE_N_TYPES; i++) {
        compare_case c = {
            .type = compare_types[i], .n_rows = 35, .n_tokens = 5, .row_begin = 1, .row_end = 35};
        c.n_in = 20480;
        assert_int_equal(compare_one(scalar, ds4_kernels_best(), &c, 7, &hash), 0);
        c.n_in = 28672;
        assert_int_equal(compare_one(scalar, ds4_kernels_best(), &c, 8, &hash), 0);
    }
}

static void test_names(void **state) {
    (void)state;
    assert_non_null(ds4_kernels_best());
    assert_ptr_equal(ds4_kernels_by_name(ds4_kernels_best()->name), ds4_kernels_best());
    assert_string_equal(ds4_kernels_by_name("scalar")->name, "scalar");
    assert_null(ds4_kernels_by_name("mmx"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_avx2_equals_scalar),
        cmocka_unit_test(test_avx512_equals_scalar),
        cmocka_unit_test(test_neon_equals_scalar),
        cmocka_unit_test(test_long_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
