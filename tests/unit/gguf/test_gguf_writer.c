/* What the writer writes, byte by byte where it matters, and that a failed write leaves nothing
 * behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "gguf/gguf_writer.h"
#include "gguf_bytes.h"

static char directory[] = "/tmp/ds4-gguf-writer-XXXXXX";
static char path[64], temporary[72];

static int make_directory(void **state) {
    (void)state;
    if (mkdtemp(directory) == NULL) return 1;
    snprintf(path, sizeof path, "%s/out.gguf", directory);
    snprintf(temporary, sizeof temporary, "%s.tmp", path);
    return 0;
}

static int remove_directory(void **state) {
    (void)state;
    unlink(path);
    return rmdir(directory);
}

static bool exists(const char *p) {
    return access(p, F_OK) == 0;
}

static ds4_gguf_writer *create(uint32_t alignment) {
    ds4_gguf_writer *w = NULL;
    unlink(path);
    assert_int_equal(ds4_gguf_writer_create(path, alignment, &w, NULL), DS4_OK);
    return w;
}

static const uint64_t ne_8[] = {8}, ne_32x2[] = {32, 2}, ne_3[] = {3};

static void test_bytes(void **state) {
    (void)state;
    ds4_error error = {0};
    ds4_gguf_writer *w = create(64);
    ds4_gguf_writer_put_u32(w, "n", 258);
    ds4_gguf_writer_add_tensor(w, "t", DS4_TYPE_F32, 1, ne_3);
    assert_int_equal(ds4_gguf_writer_begin(w, &error), DS4_OK);
    assert_true(exists(temporary));
    assert_int_equal(ds4_gguf_writer_write(w, "abcdefghijkl", 12, &error), DS4_OK);
    assert_false(exists(path));
    assert_int_equal(ds4_gguf_writer_finish(w, &error), DS4_OK);
    assert_true(exists(path));
    assert_false(exists(temporary));
    uint64_t n_expected = ds4_gguf_writer_file_bytes(w);
    ds4_gguf_writer_destroy(w);

    ds4_strbuf b = {0};
    put_header(&b, 3, 1, 2);
    put_key(&b, "n", DS4_GGUF_U32), put_u32(&b, 258);
    put_key(&b, "general.alignment", DS4_GGUF_U32), put_u32(&b, 64);
    put_tensor(&b, "t", 1, ne_3, DS4_TYPE_F32, 0);
    pad_to(&b, 64);
    ds4_strbuf_puts(&b, "abcdefghijkl");
    pad_to(&b, 64);
    char got[512];
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    size_t n = fread(got, 1, sizeof got, file);
    fclose(file);
    assert_int_equal(n, b.n);
    assert_int_equal(n, n_expected);
    assert_memory_equal(got, b.data, n);
    ds4_strbuf_free(&b);
}

static void test_round_trip(void **state) {
    (void)state;
    static const int32_t ints[] = {0, 4, -1};
    static const float floats[] = {10.0f, 2.5f};
    static const ds4_gguf_string words[] = {{"one", 3}, {"", 0}, {"a\0b", 3}};
    ds4_error error = {0};
    uint8_t payload[32 + 68 + 12];
    for (size_t i = 0; i < sizeof payload; i++) payload[i] = (uint8_t)(i * 7 + 1);
    for (size_t chunk = 1; chunk <= sizeof payload; chunk += 37) {
        ds4_gguf_writer *w = create(DS4_GGUF_PAGE_ALIGNMENT);
        ds4_gguf_writer_put_string(w, "general.architecture", "deepseek4", 9);
        ds4_gguf_writer_put_u64(w, "long", UINT64_MAX);
        ds4_gguf_writer_put_f32(w, "eps", 1e-6f);
        ds4_gguf_writer_put_bool(w, "flag", true);
        ds4_gguf_writer_put_i32_array(w, "ints", ints, 3);
        ds4_gguf_writer_put_f32_array(w, "floats", floats, 2);
        ds4_gguf_writer_put_string_array(w, "words", words, 3);
        ds4_gguf_writer_add_tensor(w, "first", DS4_TYPE_F32, 1, ne_8);
        ds4_gguf_writer_add_tensor(w, "second", DS4_TYPE_Q8_0, 2, ne_32x2);
        ds4_gguf_writer_add_tensor(w, "third", DS4_TYPE_I32, 1, ne_3);
        assert_int_equal(ds4_gguf_writer_tensor_bytes(w, 1), 68);
        assert_int_equal(ds4_gguf_writer_begin(w, &error), DS4_OK);
        for (size_t at = 0; at < sizeof payload; at += chunk) {
            size_t n = sizeof payload - at < chunk ? sizeof payload - at : chunk;
            assert_int_equal(ds4_gguf_writer_write(w, payload + at, n, &error), DS4_OK);
        }
        assert_int_equal(ds4_gguf_writer_write(w, "x", 1, &error), DS4_INVALID_ARGUMENT);
        assert_int_equal(ds4_gguf_writer_finish(w, &error), DS4_OK);
        ds4_gguf_writer_destroy(w);

        ds4_gguf *gguf = NULL;
        if (ds4_gguf_open(path, NULL, &gguf, &error) != DS4_OK) fail_msg("%s", error.message);
        assert_int_equal(ds4_gguf_alignment(gguf), 4096);
        assert_int_equal(ds4_gguf_data_start(gguf) % 4096, 0);
        assert_int_equal(ds4_gguf_file_bytes(gguf), ds4_gguf_data_start(gguf) + 3 * 4096);
        assert_memory_equal(ds4_gguf_find_tensor(gguf, "first")->data, payload, 32);
        assert_memory_equal(ds4_gguf_find_tensor(gguf, "second")->data, payload + 32, 68);
        assert_memory_equal(ds4_gguf_find_tensor(gguf, "third")->data, payload + 100, 12);
        uint64_t u64 = 0;
        assert_int_equal(ds4_gguf_get_u64(gguf, "long", &u64, &error), DS4_OK);
        assert_true(u64 == UINT64_MAX);
        const ds4_gguf_value *value = ds4_gguf_find_value(gguf, "words");
        ds4_gguf_string_cursor cursor = ds4_gguf_strings(value);
        for (size_t i = 0; i < 3; i++) {
            ds4_gguf_string string;
            assert_true(ds4_gguf_next_string(&cursor, &string));
            assert_int_equal(string.n, words[i].n);
            assert_memory_equal(string.data, words[i].data, string.n);
        }
        assert_int_equal(ds4_gguf_find_value(gguf, "floats")->count, 2);
        ds4_gguf_close(gguf);
    }
}

static void test_copied_values(void **state) {
    (void)state;
    ds4_strbuf b = {0};
    ds4_error error = {0};
    ds4_gguf *source = NULL, *copy = NULL;
    put_header(&b, 2, 0, 3);
    put_key(&b, "a", DS4_GGUF_I16), put_u16(&b, 0xFFFF);
    put_array_key(&b, "b", DS4_GGUF_STRING, 2), put_text(&b, "x"), put_text(&b, "yz");
    put_key(&b, "c", DS4_GGUF_STRING), put_text(&b, "text");
    assert_int_equal(ds4_gguf_open_memory(b.data, b.n, NULL, &source, &error), DS4_OK);
    ds4_gguf_writer *w = create(32);
    for (uint64_t i = 0; i < 3; i++) ds4_gguf_writer_put_value(w, ds4_gguf_value_at(source, i));
    assert_int_equal(ds4_gguf_writer_begin(w, &error), DS4_OK);
    assert_int_equal(ds4_gguf_writer_finish(w, &error), DS4_OK);
    ds4_gguf_writer_destroy(w);
    assert_int_equal(ds4_gguf_open(path, NULL, &copy, &error), DS4_OK);
    for (uint64_t i = 0; i < 3; i++) {
        const ds4_gguf_value *x = ds4_gguf_value_at(source, i), *y = ds4_gguf_value_at(copy, i);
        assert_int_equal(x->type, y->type);
        assert_int_equal(x->is_array, y->is_array);
        assert_int_equal(x->count, y->count);
        assert_int_equal(x->n_bytes, y->n_bytes);
        assert_memory_equal(x->data, y->data, x->n_bytes);
    }
    ds4_gguf_close(source);
    ds4_gguf_close(copy);
    ds4_strbuf_free(&b);
}

static void expect_refusal(ds4_gguf_writer *w, const char *says) {
    ds4_error error = {0};
    assert_int_equal(ds4_gguf_writer_begin(w, &error), DS4_INVALID_ARGUMENT);
    if (strstr(error.message, says) == NULL)
        fail_msg("'%s' does not say '%s'", error.message, says);
    ds4_gguf_writer_destroy(w);
    assert_false(exists(path));
    assert_false(exists(temporary));
}

static void test_mistakes(void **state) {
    (void)state;
    static const uint64_t ne_48[] = {48}, ne_0[] = {0}, huge[] = {1ull << 40, 1ull << 40};
    ds4_gguf_writer *w = NULL;
    assert_int_equal(ds4_gguf_writer_create(path, 48, &w, NULL), DS4_INVALID_ARGUMENT);
    assert_int_equal(ds4_gguf_writer_create(path, 2, &w, NULL), DS4_INVALID_ARGUMENT);
    w = create(32);
    ds4_gguf_writer_put_u32(w, "k", 1);
    ds4_gguf_writer_put_u32(w, "l", 1);
    ds4_gguf_writer_put_bool(w, "k", true);
    expect_refusal(w, "duplicate metadata key 'k'");
    w = create(32);
    ds4_gguf_writer_put_u32(w, "general.alignment", 1);
    expect_refusal(w, "duplicate metadata key 'general.alignment'");
    w = create(32);
    ds4_gguf_writer_put_u32(w, "", 1);
    expect_refusal(w, "metadata key ''");
    w = create(32);
    ds4_gguf_writer_add_tensor(w, "t", 0, 1, ne_8);
    ds4_gguf_writer_add_tensor(w, "t", 0, 1, ne_8);
    expect_refusal(w, "duplicate tensor name 't'");
    w = create(32);
    ds4_gguf_writer_add_tensor(w, "t", DS4_TYPE_Q8_0, 1, ne_48);
    expect_refusal(w, "tensor 't': its shape");
    w = create(32);
    ds4_gguf_writer_add_tensor(w, "t", 0, 1, ne_0);
    expect_refusal(w, "tensor 't': its shape");
    w = create(32);
    ds4_gguf_writer_add_tensor(w, "t", 0, 2, huge);
    expect_refusal(w, "tensor 't': its shape");
    w = create(32);
    ds4_gguf_writer_add_tensor(w, "t", 4, 1, ne_8);
    expect_refusal(w, "type id 4");
    w = create(32);
    ds4_gguf_writer_add_tensor(
        w, "0123456789012345678901234567890123456789012345678901234567890123", 0, 1, ne_8);
    expect_refusal(w, "not 1 to 63 bytes");
}

static void test_unfinished_leaves_nothing(void **state) {
    (void)state;
    ds4_error error = {0};
    ds4_gguf_writer *w = create(32);
    ds4_gguf_writer_add_tensor(w, "t", DS4_TYPE_F32, 1, ne_8);
    assert_int_equal(ds4_gguf_writer_begin(w, &error), DS4_OK);
    assert_int_equal(ds4_gguf_writer_write(w, "1234", 4, &error), DS4_OK);
    assert_int_equal(ds4_gguf_writer_finish(w, &error), DS4_INVALID_ARGUMENT);
    assert_non_null(strstr(error.message, "'t' got 4 of its 32 bytes"));
    assert_int_equal(ds4_gguf_writer_write_at(w, 0, 30, "1234", 4, &error), DS4_INVALID_ARGUMENT);
    assert_int_equal(ds4_gguf_writer_write_at(w, 1, 0, "1234", 4, &error), DS4_INVALID_ARGUMENT);
    ds4_gguf_writer_destroy(w);
    assert_false(exists(path));
    assert_false(exists(temporary));
}

static void test_impossible_places(void **state) {
    (void)state;
    ds4_error error = {0};
    ds4_gguf_writer *w = NULL;
    static const uint64_t large[] = {1ull << 40, 4}; /* 16 TiB */
    assert_int_equal(ds4_gguf_writer_create("/nonexistent/x.gguf", 32, &w, &error), DS4_OK);
    assert_int_equal(ds4_gguf_writer_begin(w, &error), DS4_IO);
    assert_non_null(strstr(error.message, "/nonexistent/x.gguf.tmp"));
    ds4_gguf_writer_destroy(w);
    w = create(32);
    ds4_gguf_writer_add_tensor(w, "t", DS4_TYPE_F32, 2, large);
    assert_int_equal(ds4_gguf_writer_begin(w, &error), DS4_IO);
    assert_non_null(strstr(error.message, "17592186044"));
    assert_non_null(strstr(error.message, "free"));
    ds4_gguf_writer_destroy(w);
    assert_false(exists(temporary));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_copied_values),
        cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_unfinished_leaves_nothing),
        cmocka_unit_test(test_impossible_places),
    };
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
