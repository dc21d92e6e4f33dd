/* Every index of a loop is visited exactly once, whatever the pool's size and the grain. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/threads.h"

enum { MAX = 1000 };

typedef struct counts {
    atomic_uint visits[MAX];
    uint32_t n_threads;
} counts;

static void visit(void *context, uint32_t thread, size_t begin, size_t end) {
    counts *c = context;
    assert_true(thread < c->n_threads);
    for (size_t i = begin; i < end; i++) atomic_fetch_add(&c->visits[i], 1);
}

static void loops_visit_once(void **state) {
    (void)state;
    static const size_t sizes[] = {0, 1, 2, 7, 64, 999, MAX}, grains[] = {0, 1, 3, 64, 5000};
    for (uint32_t n_threads = 1; n_threads <= 5; n_threads++) {
        ds4_threads *threads;
        assert_int_equal(ds4_threads_create(n_threads, &threads, NULL), DS4_OK);
        assert_int_equal(ds4_threads_count(threads), n_threads);
        for (size_t round = 0; round < 20; round++) {
            for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
                counts c = {.n_threads = n_threads};
                ds4_threads_for(threads, sizes[s], grains[round % 5], visit, &c);
                for (size_t i = 0; i < MAX; i++) assert_int_equal(c.visits[i], i < sizes[s]);
            }
        }
        ds4_threads_destroy(threads);
    }
}

static void too_many_threads_are_refused(void **state) {
    (void)state;
    ds4_threads *threads;
    ds4_error error = {0};
    assert_int_equal(ds4_threads_create(100000, &threads, &error), DS4_INVALID_ARGUMENT);
    assert_non_null(strstr(error.message, "100000"));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(loops_visit_once),
                                       cmocka_unit_test(too_many_threads_are_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
