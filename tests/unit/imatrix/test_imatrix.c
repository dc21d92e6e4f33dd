/* Importance matrices: the rule that turns sums into weights, both file forms, hostile files. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/strbuf.h"
#include "imatrix/imatrix.h"

static void expect(ds4_status status, ds4_status wanted, const ds4_error *error,
                   const char *words) {
    if (status != wanted || strstr(error->message, words) == NULL)
        fail_msg("status %d, \"%s\"; expected %d and \"%s\"", (int)status, error->message,
                 (int)wanted, words);
}

/* A dense weight of 3 columns that saw two inputs, and experts of 2 columns: one busy, one sparse,
 * one unused. */
static ds4_imatrix *make(void) {
    ds4_imatrix *imatrix;
    ds4_imatrix_entry *entry;
    ds4_error error = {0};
    assert_int_equal(ds4_imatrix_create(&imatrix, &error), DS4_OK);
    assert_int_equal(ds4_imatrix_entry_for(imatrix, "dense.weight", 3, 1, &entry, &error), DS4_OK);
    ds4_imatrix_entry_add(entry, 0, (const float[]){1, 2, 3});
    ds4_imatrix_entry_add(entry, 0, (const float[]){-1, 0, 0.5f});
    assert_int_equal(ds4_imatrix_entry_for(imatrix, "exps.weight", 2, 3, &entry, &error), DS4_OK);
    for (int i = 0; i < 96; i++) ds4_imatrix_entry_add(entry, 0, (const float[]){2, 0});
    for (int i = 0; i < 4; i++) ds4_imatrix_entry_add(entry, 2, (const float[]){0, 10});
    ds4_imatrix_set_source(imatrix, "some text", 7, 512);
    return imatrix;
}

static void expect_importance(const ds4_imatrix *imatrix, const char *name, size_t matrix, size_t n,
                              size_t n_matrices, double smoothing, const float *wanted) {
    float importance[4];
    bool found;
    ds4_error error = {0};
    assert_int_equal(ds4_imatrix_importance(imatrix, name, matrix, n, n_matrices, smoothing,
                                            importance, &found, &error),
                     DS4_OK);
    assert_int_equal(found, wanted != NULL);
    for (size_t c = 0; wanted != NULL && c < n; c++)
        if (importance[c] != wanted[c])
            fail_msg("%s %zu column %zu: %.9g, expected %.9g", name, matrix, c,
                     (double)importance[c], (double)wanted[c]);
}

static void rule(void **state) {
    (void)state;
    ds4_imatrix *imatrix = make();
    /* Dense weights have one matrix: nothing to lean on, with or without smoothing. */
    expect_importance(imatrix, "dense.weight", 0, 3, 1, 32, (const float[]){1, 2, 4.625f});
    /* Means over all 100 inputs: 3.84 and 4. */
    expect_importance(imatrix, "exps.weight", 0, 2, 3, 0, (const float[]){4, 0});
    expect_importance(imatrix, "exps.weight", 1, 2, 3, 0, (const float[]){1, 1});
    expect_importance(imatrix, "exps.weight", 2, 2, 3, 0, (const float[]){0, 100});
    expect_importance(imatrix, "exps.weight", 1, 2, 3, 32, (const float[]){3.84f, 4});
    expect_importance(imatrix, "exps.weight", 0, 2, 3, 32,
                      (const float[]){(float)((384 + 32 * 3.84) / 128), 1});
    expect_importance(imatrix, "exps.weight", 2, 2, 3, 32,
                      (const float[]){(float)(32 * 3.84 / 36), (float)(528.0 / 36)});
    expect_importance(imatrix, "other.weight", 0, 2, 3, 32, NULL);

    float importance[4];
    bool found;
    ds4_error error = {0};
    expect(ds4_imatrix_importance(imatrix, "exps.weight", 0, 4, 3, 32, importance, &found, &error),
           DS4_FORMAT, &error, "has 6 values for exps.weight, which has 3 matrices of 4 columns");

    ds4_imatrix_coverage coverage =
        ds4_imatrix_entry_coverage(ds4_imatrix_find(imatrix, "exps.weight"));
    assert_int_equal(coverage.n_unused, 1);
    assert_int_equal(coverage.n_sparse, 1);
    assert_int_equal(coverage.least, 0);
    assert_int_equal(coverage.greatest, 96);
    assert_int_equal(coverage.total, 100);
    ds4_imatrix_destroy(imatrix);
}

static void temporary(char path[64]) {
    strcpy(path, "/tmp/ds4-imatrix-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
}

static void gguf_keeps_everything(void **state) {
    (void)state;
    char path[64];
    ds4_imatrix *imatrix = make(), *read = NULL;
    ds4_error error = {0};
    temporary(path);
    assert_int_equal(ds4_imatrix_write_gguf(imatrix, path, &error), DS4_OK);
    assert_int_equal(ds4_imatrix_open(path, &read, &error), DS4_OK);
    assert_int_equal(ds4_imatrix_n_entries(read), 2);
    assert_string_equal(ds4_imatrix_dataset(read), "some text");
    assert_int_equal(ds4_imatrix_chunks(read), 7);
    for (size_t i = 0; i < 2; i++) {
        const ds4_imatrix_entry *a = ds4_imatrix_entry_at(read, i),
                                *b = ds4_imatrix_find(imatrix, a->name);
        assert_non_null(b);
        assert_true(a->has_counts);
        assert_int_equal(a->n_columns, b->n_columns);
        assert_int_equal(a->n_matrices, b->n_matrices);
        assert_memory_equal(a->sums, b->sums, a->n_columns * a->n_matrices * sizeof *a->sums);
        assert_memory_equal(a->counts, b->counts, a->n_matrices * sizeof *a->counts);
    }
    /* Merged with itself everything doubles, so means stay. */
    assert_int_equal(ds4_imatrix_merge(read, imatrix, &error), DS4_OK);
    assert_int_equal(ds4_imatrix_find(read, "exps.weight")->counts[0], 192);
    assert_int_equal(ds4_imatrix_chunks(read), 14);
    expect_importance(read, "exps.weight", 0, 2, 3, 0, (const float[]){4, 0});
    ds4_imatrix_destroy(read);
    ds4_imatrix_destroy(imatrix);
    unlink(path);
}

static void dat_keeps_means(void **state) {
    (void)state;
    char path[64];
    ds4_imatrix *imatrix = make(), *read = NULL;
    ds4_error error = {0};
    temporary(path);
    assert_int_equal(ds4_imatrix_write_dat(imatrix, path, &error), DS4_OK);
    assert_int_equal(ds4_imatrix_open(path, &read, &error), DS4_OK);
    assert_string_equal(ds4_imatrix_dataset(read), "some text");
    expect_importance(read, "dense.weight", 0, 3, 1, 32, (const float[]){1, 2, 4.625f});
    expect_importance(read, "exps.weight", 0, 2, 3, 32, (const float[]){4, 0});
    expect_importance(read, "exps.weight", 1, 2, 3, 32, (const float[]){1, 1});
    expect(ds4_imatrix_merge(imatrix, read, &error), DS4_INVALID_ARGUMENT, &error,
           "cannot be merged");
    expect(ds4_imatrix_write_gguf(read, path, &error), DS4_UNSUPPORTED, &error,
           "means without counts");
    ds4_imatrix_destroy(read);
    ds4_imatrix_destroy(imatrix);
    unlink(path);
}

/* ---- hostile .dat files, built field by field ---- */

static void put(ds4_strbuf *b, int32_t value) {
    for (int i = 0; i < 4; i++) ds4_strbuf_putc(b, (char)(((uint32_t)value >> (8 * i)) & 255));
}

static void put_float(ds4_strbuf *b, float value) {
    int32_t bits;
    memcpy(&bits, &value, sizeof bits);
    put(b, bits);
}

static void record(ds4_strbuf *b, const char *name, int32_t calls, int32_t n, float value) {
    put(b, (int32_t)strlen(name));
    ds4_strbuf_puts(b, name);
    put(b, calls);
    put(b, n);
    for (int32_t i = 0; i < n && i < 100; i++) put_float(b, value);
}

static void refused(ds4_strbuf *b, const char *words) {
    ds4_imatrix *imatrix = NULL;
    ds4_error error = {0};
    expect(ds4_imatrix_parse(b->data, b->n, "x.dat", &imatrix, &error), DS4_FORMAT, &error, words);
    assert_null(imatrix);
    ds4_strbuf_clear(b);
}

static void dat_means_are_divided(void **state) {
    (void)state;
    ds4_strbuf b = {0};
    ds4_imatrix *imatrix = NULL;
    put(&b, 2);
    record(&b, "a.weight.expert.1", 3, 2, 6.0f);
    record(&b, "b.weight", 0, 2, 6.0f);
    assert_int_equal(ds4_imatrix_parse(b.data, b.n, "x.dat", &imatrix, NULL), DS4_OK);
    expect_importance(imatrix, "a.weight", 1, 2, 4, 32, (const float[]){2, 2});
    expect_importance(imatrix, "a.weight", 0, 2, 4, 32, NULL);
    expect_importance(imatrix, "b.weight", 0, 2, 1, 32, (const float[]){6, 6});
    ds4_imatrix_destroy(imatrix);
    ds4_strbuf_free(&b);
}

static void hostile_dat(void **state) {
    (void)state;
    ds4_strbuf b = {0};
    put(&b, 70000);
    refused(&b, "the number of entries is 70000, expected 1 to 65536 at byte 0");
    put(&b, 2);
    record(&b, "a", 1, 1, 1.0f);
    refused(&b, "the file ends before the length of a name");
    put(&b, 1);
    put(&b, -5);
    refused(&b, "the length of a name is -5");
    put(&b, 1);
    put(&b, 4000);
    refused(&b, "the file ends inside a name at byte 8");
    put(&b, 1);
    record(&b, "a", 1, 0, 1.0f);
    refused(&b, "the number of values is 0");
    put(&b, 1);
    record(&b, "a", 1, INT32_MAX, 1.0f);
    refused(&b, "the file ends inside values");
    put(&b, 1);
    record(&b, "a", -1, 1, 1.0f);
    refused(&b, "the number of calls is -1");
    put(&b, 1);
    record(&b, "a", 1, 2, -1.0f);
    refused(&b, "negative or not finite at byte 17");
    put(&b, 1);
    record(&b, "a", 1, 2, NAN);
    refused(&b, "negative or not finite");
    put(&b, 2);
    record(&b, "a", 1, 1, 1.0f);
    record(&b, "a", 1, 1, 1.0f);
    refused(&b, "a name that was there before at byte 21");
    put(&b, 1);
    record(&b, "a", 1, 1, 1.0f);
    put(&b, 1);
    put(&b, 100);
    refused(&b, "does not end with the file");
    ds4_strbuf_free(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rule),
        cmocka_unit_test(gguf_keeps_everything),
        cmocka_unit_test(dat_keeps_means),
        cmocka_unit_test(dat_means_are_divided),
        cmocka_unit_test(hostile_dat),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
