/* What the reader accepts, and every way in which a file can be wrong. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "gguf_bytes.h"

static const uint64_t dims_32[] = {32};
static const uint64_t dims_8x4[] = {8, 4};

/* One Q8_0 row, one 8x4 F32 matrix, one I32 vector behind it. */
static void put_three_tensors(ds4_strbuf *b) {
    static const uint64_t dims_5[] = {5};
    put_tensor(b, "a.weight", 1, dims_32, DS4_TYPE_Q8_0, 0);
    put_tensor(b, "b.weight", 2, dims_8x4, DS4_TYPE_F32, 64);
    put_tensor(b, "c", 1, dims_5, DS4_TYPE_I32, 192);
}

static void put_payloads(ds4_strbuf *b) {
    pad_to(b, 32);
    for (unsigned i = 0; i < 192 + 20; i++) put_u8(b, i);
}

static ds4_gguf *open_bytes(const ds4_strbuf *b) {
    ds4_error error = {0};
    ds4_gguf *gguf = NULL;
    if (ds4_gguf_open_memory(b->data, b->n, NULL, &gguf, &error) != DS4_OK)
        fail_msg("%s", error.message);
    return gguf;
}

static void test_good_file(void **state) {
    (void)state;
    for (uint32_t version = 2; version <= 3; version++) {
        ds4_strbuf b = {0};
        put_header(&b, version, 3, 2);
        put_key(&b, "general.architecture", DS4_GGUF_STRING);
        put_text(&b, "deepseek4");
        put_key(&b, "x", DS4_GGUF_U32);
        put_u32(&b, 7);
        put_three_tensors(&b);
        put_payloads(&b); /* without the last padding: allowed */
        ds4_gguf *gguf = open_bytes(&b);
        assert_int_equal(ds4_gguf_version(gguf), version);
        assert_int_equal(ds4_gguf_alignment(gguf), 32);
        assert_int_equal(ds4_gguf_file_bytes(gguf), b.n);
        assert_int_equal(ds4_gguf_data_start(gguf), b.n - 212);
        assert_int_equal(ds4_gguf_n_tensors(gguf), 3);
        const ds4_gguf_tensor *t = ds4_gguf_find_tensor(gguf, "b.weight");
        assert_non_null(t);
        assert_ptr_equal(t, ds4_gguf_tensor_at(gguf, 1));
        assert_int_equal(t->type, DS4_TYPE_F32);
        assert_int_equal(t->n_dims, 2);
        assert_int_equal(t->ne[0], 8);
        assert_int_equal(t->ne[1], 4);
        assert_int_equal(t->ne[2], 1);
        assert_int_equal(t->ne[3], 1);
        assert_int_equal(t->n_elements, 32);
        assert_int_equal(t->row_bytes, 32);
        assert_int_equal(t->n_bytes, 128);
        assert_int_equal(t->file_offset, ds4_gguf_data_start(gguf) + 64);
        assert_ptr_equal(t->data, (const uint8_t *)b.data + t->file_offset);
        assert_int_equal(*(const uint8_t *)t->data, 64);
        assert_int_equal(ds4_gguf_find_tensor(gguf, "a.weight")->n_bytes, 34);
        assert_int_equal(ds4_gguf_find_tensor(gguf, "c")->n_bytes, 20);
        assert_null(ds4_gguf_find_tensor(gguf, "b.weigh"));
        assert_null(ds4_gguf_find_tensor(gguf, ""));
        assert_int_equal(ds4_gguf_verify_unchanged(gguf, NULL), DS4_OK);
        ds4_gguf_close(gguf);
        ds4_strbuf_free(&b);
    }
}

static void test_no_tensors(void **state) {
    (void)state;
    ds4_strbuf b = {0};
    put_header(&b, 3, 0, 0);
    ds4_gguf *gguf = open_bytes(&b);
    assert_int_equal(ds4_gguf_n_tensors(gguf), 0);
    assert_int_equal(ds4_gguf_n_values(gguf), 0);
    assert_null(ds4_gguf_find_value(gguf, "x"));
    ds4_gguf_close(gguf);
    ds4_strbuf_free(&b);
}

/* ---- metadata values ---- */

static ds4_gguf *open_values(ds4_strbuf *b) {
    put_header(b, 3, 0, 21);
    put_key(b, "u8", DS4_GGUF_U8), put_u8(b, 200);
    put_key(b, "i8", DS4_GGUF_I8), put_u8(b, 0x80);
    put_key(b, "u16", DS4_GGUF_U16), put_u16(b, 60000);
    put_key(b, "i16", DS4_GGUF_I16), put_u16(b, 0xFFFE);
    put_key(b, "u32", DS4_GGUF_U32), put_u32(b, 4000000000u);
    put_key(b, "i32", DS4_GGUF_I32), put_u32(b, 0xFFFFFFFFu);
    put_key(b, "f32", DS4_GGUF_F32), put_f32(b, 1e-6f);
    put_key(b, "bool", DS4_GGUF_BOOL), put_u8(b, 1);
    put_key(b, "text", DS4_GGUF_STRING), put_text(b, "deepseek4");
    put_key(b, "u64", DS4_GGUF_U64), put_u64(b, UINT64_MAX);
    put_key(b, "i64", DS4_GGUF_I64), put_u64(b, (uint64_t)INT64_MIN);
    put_key(b, "f64", DS4_GGUF_F64), put_f64(b, 0.5);
    put_key(b, "whole", DS4_GGUF_F32), put_f32(b, 4096.0f);
    put_key(b, "huge", DS4_GGUF_F64), put_f64(b, 18446744073709551616.0);
    put_key(b, "nan", DS4_GGUF_F64), put_u64(b, 0x7FF8000000000000u);
    put_key(b, "one", DS4_GGUF_U8), put_u8(b, 1);
    put_array_key(b, "ints", DS4_GGUF_I32, 3), put_u32(b, 0), put_u32(b, 4),
        put_u32(b, 0xFFFFFFFFu);
    put_array_key(b, "floats", DS4_GGUF_F32, 2), put_f32(b, 10.0f), put_f32(b, 2.5f);
    put_array_key(b, "words", DS4_GGUF_STRING, 3), put_text(b, "one"), put_text(b, ""),
        put_text(b, "three");
    put_array_key(b, "flags", DS4_GGUF_BOOL, 2), put_u8(b, 0), put_u8(b, 1);
    put_array_key(b, "none", DS4_GGUF_STRING, 0);
    return open_bytes(b);
}

static void test_scalars(void **state) {
    (void)state;
    static const struct {
        const char *key;
        bool is_u64, is_i64, is_f64;
        uint64_t u64;
        int64_t i64;
        double f64;
    } cases[] = {
        {"u8", true, true, true, 200, 200, 200},
        {"i8", false, true, true, 0, -128, -128},
        {"u16", true, true, true, 60000, 60000, 60000},
        {"i16", false, true, true, 0, -2, -2},
        {"u32", true, true, true, 4000000000u, 4000000000, 4e9},
        {"i32", false, true, true, 0, -1, -1},
        {"f32", false, false, true, 0, 0, (double)1e-6f},
        {"bool", false, false, false, 0, 0, 0},
        {"text", false, false, false, 0, 0, 0},
        {"u64", true, false, false, UINT64_MAX, 0, 0}, /* 2^64 - 1 is no double */
        {"i64", false, true, true, 0, INT64_MIN, -9223372036854775808.0},
        {"f64", false, false, true, 0, 0, 0.5},
        {"whole", true, true, true, 4096, 4096, 4096},
        {"huge", false, false, true, 0, 0, 18446744073709551616.0},
    };
    ds4_strbuf b = {0};
    ds4_gguf *gguf = open_values(&b);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const ds4_gguf_value *value = ds4_gguf_find_value(gguf, cases[i].key);
        uint64_t u64 = 0;
        int64_t i64 = 0;
        double f64 = 0;
        assert_non_null(value);
        assert_int_equal(ds4_gguf_value_u64(value, 0, &u64), cases[i].is_u64);
        assert_int_equal(ds4_gguf_value_i64(value, 0, &i64), cases[i].is_i64);
        assert_int_equal(ds4_gguf_value_f64(value, 0, &f64), cases[i].is_f64);
        if (cases[i].is_u64) assert_int_equal(u64, cases[i].u64);
        if (cases[i].is_i64) assert_true(i64 == cases[i].i64);
        if (cases[i].is_f64) assert_true(f64 == cases[i].f64);
        assert_false(ds4_gguf_value_u64(value, 1, &u64));
        ds4_error error = {0};
        assert_int_equal(ds4_gguf_get_u64(gguf, cases[i].key, &u64, &error) == DS4_OK,
                         cases[i].is_u64);
        if (!cases[i].is_u64) assert_non_null(strstr(error.message, cases[i].key));
    }
    double f64 = 0;
    uint64_t u64 = 0;
    assert_int_equal(ds4_gguf_get_f64(gguf, "nan", &f64, NULL), DS4_OK);
    assert_true(f64 != f64);
    assert_int_equal(ds4_gguf_get_u64(gguf, "nan", &u64, NULL), DS4_FORMAT);
    ds4_gguf_close(gguf);
    ds4_strbuf_free(&b);
}

static void test_getters(void **state) {
    (void)state;
    ds4_strbuf b = {0};
    ds4_error error = {0};
    ds4_gguf *gguf = open_values(&b);
    bool flag = false;
    uint32_t u32 = 0;
    ds4_gguf_string string;
    const ds4_gguf_value *value;
    assert_int_equal(ds4_gguf_get_bool(gguf, "bool", &flag, &error), DS4_OK);
    assert_true(flag);
    flag = false;
    assert_int_equal(ds4_gguf_get_bool(gguf, "one", &flag, &error), DS4_OK);
    assert_true(flag);
    assert_int_equal(ds4_gguf_get_bool(gguf, "u8", &flag, &error), DS4_FORMAT);
    assert_int_equal(ds4_gguf_get_bool(gguf, "f64", &flag, &error), DS4_FORMAT);
    assert_int_equal(ds4_gguf_get_u32(gguf, "u32", &u32, &error), DS4_OK);
    assert_int_equal(u32, 4000000000u);
    assert_int_equal(ds4_gguf_get_u32(gguf, "u64", &u32, &error), DS4_FORMAT);
    assert_int_equal(ds4_gguf_get_string(gguf, "text", &string, &error), DS4_OK);
    assert_int_equal(string.n, 9);
    assert_memory_equal(string.data, "deepseek4", 9);
    assert_int_equal(ds4_gguf_get_string(gguf, "u8", &string, &error), DS4_FORMAT);
    assert_int_equal(ds4_gguf_get_u32(gguf, "absent", &u32, &error), DS4_FORMAT);
    assert_string_equal(error.message, "metadata key 'absent' is missing");
    assert_int_equal(ds4_gguf_get_u32(gguf, "ints", &u32, &error), DS4_FORMAT);

    assert_int_equal(ds4_gguf_get_number_array(gguf, "ints", &value, &error), DS4_OK);
    uint64_t u64 = 0;
    int64_t i64 = 0;
    assert_int_equal(value->count, 3);
    assert_true(ds4_gguf_value_u64(value, 1, &u64));
    assert_int_equal(u64, 4);
    assert_false(ds4_gguf_value_u64(value, 2, &u64));
    assert_true(ds4_gguf_value_i64(value, 2, &i64));
    assert_true(i64 == -1);
    assert_false(ds4_gguf_value_i64(value, 3, &i64));
    assert_int_equal(ds4_gguf_get_number_array(gguf, "u8", &value, &error), DS4_FORMAT);
    assert_int_equal(ds4_gguf_get_number_array(gguf, "words", &value, &error), DS4_FORMAT);
    assert_int_equal(ds4_gguf_get_number_array(gguf, "flags", &value, &error), DS4_FORMAT);
    assert_int_equal(ds4_gguf_get_string_array(gguf, "floats", &value, &error), DS4_FORMAT);
    assert_int_equal(ds4_gguf_get_string_array(gguf, "text", &value, &error), DS4_FORMAT);
    assert_int_equal(ds4_gguf_get_string_array(gguf, "words", &value, &error), DS4_OK);
    const char *const words[] = {"one", "", "three"};
    size_t n = 0;
    ds4_gguf_string_cursor cursor = ds4_gguf_strings(value);
    for (; ds4_gguf_next_string(&cursor, &string); n++) {
        assert_int_equal(string.n, strlen(words[n]));
        assert_memory_equal(string.data, words[n], string.n);
    }
    assert_int_equal(n, 3);
    value = ds4_gguf_find_value(gguf, "flags");
    assert_true(ds4_gguf_value_bool(value, 1, &flag) && flag);
    assert_true(ds4_gguf_value_bool(value, 0, &flag) && !flag);
    assert_false(ds4_gguf_value_bool(value, 2, &flag));
    cursor = ds4_gguf_strings(ds4_gguf_find_value(gguf, "ints"));
    assert_false(ds4_gguf_next_string(&cursor, &string));
    cursor = ds4_gguf_strings(ds4_gguf_find_value(gguf, "none"));
    assert_false(ds4_gguf_next_string(&cursor, &string));
    ds4_gguf_close(gguf);
    ds4_strbuf_free(&b);
}

/* ---- files on disk ---- */

static void write_file(const char *path, const void *bytes, size_t n) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    assert_int_equal(fclose(file), 0);
}

static void test_files(void **state) {
    (void)state;
    char path[] = "/tmp/ds4-gguf-test-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    ds4_strbuf b = {0};
    put_header(&b, 3, 3, 0);
    put_three_tensors(&b);
    put_payloads(&b);
    pad_to(&b, 32);
    write_file(path, b.data, b.n);
    ds4_error error = {0};
    ds4_gguf *gguf = NULL;
    assert_int_equal(ds4_gguf_open(path, NULL, &gguf, &error), DS4_OK);
    assert_int_equal((uintptr_t)ds4_gguf_find_tensor(gguf, "b.weight")->data % 32, 0);
    assert_int_equal(ds4_gguf_verify_unchanged(gguf, &error), DS4_OK);
    assert_int_equal(truncate(path, (off_t)b.n - 40), 0);
    assert_int_equal(ds4_gguf_verify_unchanged(gguf, &error), DS4_IO);
    assert_non_null(strstr(error.message, "changed on disk"));
    ds4_gguf_close(gguf);

    write_file(path, b.data, b.n);
    assert_int_equal(ds4_gguf_open(path, NULL, &gguf, &error), DS4_OK);
    const struct timespec times[2] = {{1, 0}, {1, 0}};
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
    assert_int_equal(ds4_gguf_verify_unchanged(gguf, &error), DS4_IO);
    ds4_gguf_close(gguf);

    write_file(path, b.data, 0);
    assert_int_equal(ds4_gguf_open(path, NULL, &gguf, &error), DS4_FORMAT);
    assert_null(gguf);
    unlink(path);
    assert_int_equal(ds4_gguf_open(path, NULL, &gguf, &error), DS4_IO);
    assert_non_null(strstr(error.message, path));
    assert_int_equal(ds4_gguf_open("/tmp", NULL, &gguf, &error), DS4_IO);
    assert_non_null(strstr(error.message, "not a regular file"));
    ds4_strbuf_free(&b);
}

/* Every shorter file is refused, except those that lack only padding. */
static void test_every_truncation(void **state) {
    (void)state;
    ds4_strbuf b = {0};
    put_header(&b, 3, 3, 3);
    put_key(&b, "general.architecture", DS4_GGUF_STRING);
    put_text(&b, "deepseek4");
    put_array_key(&b, "numbers", DS4_GGUF_U16, 3), put_u16(&b, 1), put_u16(&b, 2), put_u16(&b, 3);
    put_array_key(&b, "words", DS4_GGUF_STRING, 2), put_text(&b, "one"), put_text(&b, "two");
    put_three_tensors(&b);
    put_payloads(&b);
    size_t whole = b.n;
    pad_to(&b, 32);
    for (size_t n = 0; n <= b.n; n++) {
        uint8_t *copy = malloc(
            n + 1); /* its own allocation, so that the address sanitizer sees one byte too many */
        assert_non_null(copy);
        memcpy(copy, b.data, n);
        uint8_t *exact = realloc(copy, n > 0 ? n : 1);
        ds4_gguf *gguf = NULL;
        ds4_error error = {0};
        ds4_status status = ds4_gguf_open_memory(exact, n, NULL, &gguf, &error);
        if (n < whole) {
            assert_int_equal(status, DS4_FORMAT);
            assert_null(gguf);
            assert_true(error.message[0] != '\0');
        } else {
            assert_int_equal(status, DS4_OK);
        }
        ds4_gguf_close(gguf);
        free(exact);
    }
    ds4_strbuf_free(&b);
}

/* ---- reporting ---- */

typedef struct seen {
    int n_problems, n_warnings;
    char all[4096];
} seen;

static void remember(void *context, bool is_warning, const char *message) {
    seen *s = context;
    if (is_warning)
        s->n_warnings++;
    else
        s->n_problems++;
    strncat(s->all, message, sizeof s->all - strlen(s->all) - 1);
}

static void test_all_problems_are_reported(void **state) {
    (void)state;
    static const uint64_t dims_30[] = {30}, dims_0[] = {0};
    ds4_strbuf b = {0};
    seen s = {0};
    put_header(&b, 3, 6, 1);
    put_key(&b, "general.alignment", DS4_GGUF_U32), put_u32(&b, 8);
    put_tensor(&b, "good", 1, dims_32, DS4_TYPE_F32, 0);
    put_tensor(&b, "block", 1, dims_30, DS4_TYPE_Q8_0, 128);
    put_tensor(&b, "empty", 1, dims_0, DS4_TYPE_F32, 128);
    put_tensor(&b, "crooked", 1, dims_32, DS4_TYPE_F32, 132);
    put_tensor(&b, "beyond", 1, dims_32, DS4_TYPE_F32, 160);
    put_tensor(&b, "over", 1, dims_32, DS4_TYPE_F16, 64);
    pad_to(&b, 8);
    put_zeros(&b, 200);
    ds4_gguf_options options = {remember, &s};
    ds4_gguf *gguf = NULL;
    ds4_error error = {0};
    assert_int_equal(ds4_gguf_open_memory(b.data, b.n, &options, &gguf, &error), DS4_FORMAT);
    assert_int_equal(s.n_problems, 5);
    assert_non_null(strstr(error.message, "block"));
    for (size_t i = 0; i < 5; i++) {
        static const char *const names[] = {"'block'", "'empty'", "'crooked'", "'beyond'",
                                            "'over'"};
        if (strstr(s.all, names[i]) == NULL) fail_msg("%s is not named in: %s", names[i], s.all);
    }
    assert_non_null(strstr(s.all, "at least 88 bytes are missing"));
    assert_int_equal(s.n_warnings, 1); /* the small alignment; gaps say nothing in a broken file */
    ds4_strbuf_free(&b);
}

static void test_gap_and_tail_are_warnings(void **state) {
    (void)state;
    ds4_strbuf b = {0};
    seen s = {0};
    put_header(&b, 3, 2, 0);
    put_tensor(&b, "second", 1, dims_32, DS4_TYPE_F32, 192);
    put_tensor(&b, "first", 1, dims_32, DS4_TYPE_F32, 32);
    pad_to(&b, 32);
    put_zeros(&b, 192 + 128 + 5);
    ds4_gguf_options options = {remember, &s};
    ds4_gguf *gguf = NULL;
    assert_int_equal(ds4_gguf_open_memory(b.data, b.n, &options, &gguf, NULL), DS4_OK);
    assert_int_equal(s.n_problems, 0);
    assert_int_equal(s.n_warnings, 3);
    assert_non_null(strstr(s.all, "32 unused bytes before tensor 'first'"));
    assert_non_null(strstr(s.all, "32 unused bytes before tensor 'second'"));
    assert_non_null(strstr(s.all, "5 unused bytes after the last tensor"));
    ds4_gguf_close(gguf);
    ds4_strbuf_free(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_file),
        cmocka_unit_test(test_no_tensors),
        cmocka_unit_test(test_scalars),
        cmocka_unit_test(test_getters),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_every_truncation),
        cmocka_unit_test(test_all_problems_are_reported),
        cmocka_unit_test(test_gap_and_tail_are_warnings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
