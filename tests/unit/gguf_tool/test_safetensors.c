/* The safetensors reader: shards, and everything that can be wrong with a file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "temporary.h"

#include "gguf-tool/safetensors.h"

/* A file with this header and payload; `n_header` is what its first eight bytes claim. */
static void write_shard(const char *name, const char *header, uint64_t n_header, size_t n_payload) {
    size_t n = 8 + strlen(header) + n_payload;
    uint8_t *bytes = calloc(n, 1);
    assert_non_null(bytes);
    for (int i = 0; i < 8; i++) bytes[i] = (uint8_t)(n_header >> 8 * i);
    memcpy(bytes + 8, header, strlen(header));
    for (size_t i = 0; i < n_payload; i++) bytes[8 + strlen(header) + i] = (uint8_t)(i + 1);
    write_bytes(in_temporary(name), bytes, n);
    free(bytes);
}

static uint8_t byte_of(const ds4_safetensor *tensor, uint64_t at) {
    uint8_t byte;
    assert_true(at < tensor->n_bytes);
    assert_int_equal(ds4_source_file_read(tensor->file, tensor->offset + at, &byte, 1, NULL),
                     DS4_OK);
    return byte;
}

static void test_one_file(void **state) {
    (void)state;
    /* Headers are often padded with spaces; names may have escapes and a "model." in front. */
    const char *header = "{\"__metadata__\":{\"format\":\"pt\"},"
                         "\"model.b\":{\"dtype\":\"BF16\",\"shape\":[2,3],\"data_offsets\":[8,20]},"
                         "\"\\u0061\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[0,8]}}   ";
    ds4_error error = {0};
    ds4_safetensors *all = NULL;
    write_shard("model.safetensors", header, strlen(header), 20);
    if (ds4_safetensors_open(temporary, &all, &error) != DS4_OK) fail_msg("%s", error.message);
    assert_int_equal(ds4_safetensors_count(all), 2);
    const ds4_safetensor *a = ds4_safetensors_find(all, "a"), *b = ds4_safetensors_find(all, "b");
    assert_non_null(a);
    assert_non_null(b);
    assert_int_equal(a->dtype, DS4_DTYPE_I64);
    assert_int_equal(a->n_dims, 0);
    assert_int_equal(a->n_elements, 1);
    assert_int_equal(byte_of(a, 0), 1);
    assert_int_equal(b->dtype, DS4_DTYPE_BF16);
    assert_int_equal(b->n_dims, 2);
    assert_int_equal(b->shape[0], 2);
    assert_int_equal(b->shape[1], 3);
    assert_int_equal(b->n_elements, 6);
    assert_int_equal(byte_of(b, 0), 9);
    assert_int_equal(byte_of(b, 11), 20);
    assert_null(ds4_safetensors_find(all, "model.b"));
    ds4_safetensors_close(all);
}

static void test_shards(void **state) {
    (void)state;
    const char *first = "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}";
    const char *second = "{\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}";
    static const struct {
        const char *index, *says; /* says NULL: fine */
    } cases[] = {
        {"{\"weight_map\":{\"a\":\"1.safetensors\",\"b\":\"2.safetensors\"}}", NULL},
        {"{\"weight_map\":{\"a\":\"1.safetensors\",\"b\":\"1.safetensors\"}}",
         "does not hold the tensor 'b'"},
        {"{\"weight_map\":{\"a\":\"1.safetensors\",\"b\":\"3.safetensors\"}}", "cannot open"},
        {"{\"weight_map\":{\"a\":\"1.safetensors\",\"b\":\"copy.safetensors\"}}",
         "'a' occurs twice"},
        {"{\"weight_map\":{\"a\":\"../1.safetensors\"}}", "impossible file"},
        {"{\"weight_map\":{\"a\":\"/etc/passwd\"}}", "impossible file"},
        {"{\"weight_map\":{\"a\":\"\"}}", "impossible file"},
        {"{\"weight_map\":{\"a\":1}}", "does not name a file"},
        {"{\"weight_map\":[]}", "no object 'weight_map'"},
        {"{\"weight_map\":{}}", "no tensors"},
        {"{\"weight_map\":", "malformed JSON"},
    };
    write_shard("1.safetensors", first, strlen(first), 4);
    write_shard("2.safetensors", second, strlen(second), 4);
    write_shard("copy.safetensors", first, strlen(first), 4);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ds4_error error = {0};
        ds4_safetensors *all = NULL;
        write_text(in_temporary("model.safetensors.index.json"), cases[i].index);
        ds4_status status = ds4_safetensors_open(temporary, &all, &error);
        if (cases[i].says == NULL) {
            assert_int_equal(status, DS4_OK);
            assert_int_equal(ds4_safetensors_count(all), 2);
        } else if (status == DS4_OK || strstr(error.message, cases[i].says) == NULL) {
            fail_msg("case %zu: '%s' does not say '%s'", i, error.message, cases[i].says);
        }
        ds4_safetensors_close(all);
    }
    unlink(in_temporary("model.safetensors.index.json"));
}

static void test_bad_files(void **state) {
    (void)state;
    static const struct {
        const char *header;
        int64_t n_header; /* -1: as long as it is */
        size_t n_payload;
        const char *says;
    } cases[] = {
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", INT64_MAX, 4,
         "the header claims"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 5000, 4,
         "the header claims"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 20, 4, "cut off"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 0, 4,
         "no JSON document"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}} {}", -1, 4,
         "malformed JSON"},
        {"[1]", -1, 4, "not a JSON object"},
        {"{\"a\":1}", -1, 4, "no dtype"},
        {"{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", -1, 4, "no dtype"},
        {"{\"a\":{\"dtype\":\"F33\",\"shape\":[1],\"data_offsets\":[0,4]}}", -1, 4,
         "unknown dtype 'F33'"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}", -1, 4,
         "at most 8"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", -1, 4,
         "impossible shape"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1.0],\"data_offsets\":[0,4]}}", -1, 4,
         "impossible shape"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", -1,
         4, "impossible"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[99999999999999999999],\"data_offsets\":[0,4]}}", -1,
         4, "impossible"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", -1, 4, "no data_offsets"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", -1, 4,
         "no data_offsets"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", -1, 4,
         "no data_offsets"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[-4,0]}}", -1, 4,
         "no data_offsets"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", -1, 3, "truncated"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", -1, 4,
         "4 bytes where its shape needs 8"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
         "\"model.a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
         -1, 4, "'a' occurs twice"},
        {"{}", -1, 4, "no tensors"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ds4_error error = {0};
        ds4_safetensors *all = NULL;
        uint64_t n = cases[i].n_header < 0 ? strlen(cases[i].header) : (uint64_t)cases[i].n_header;
        write_shard("model.safetensors", cases[i].header, n, cases[i].n_payload);
        ds4_status status = ds4_safetensors_open(temporary, &all, &error);
        if (status != DS4_FORMAT || strstr(error.message, cases[i].says) == NULL) {
            fail_msg("case %zu: status %d, '%s' does not say '%s'", i, status, error.message,
                     cases[i].says);
        }
        assert_null(all);
    }
    ds4_error error = {0};
    ds4_safetensors *all = NULL;
    write_text(in_temporary("model.safetensors"), "1234567");
    assert_int_equal(ds4_safetensors_open(temporary, &all, &error), DS4_FORMAT);
    write_text(in_temporary("model.safetensors"), "");
    assert_int_equal(ds4_safetensors_open(temporary, &all, &error), DS4_IO);
    unlink(in_temporary("model.safetensors"));
    assert_int_equal(ds4_safetensors_open(temporary, &all, &error), DS4_IO);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_file),
        cmocka_unit_test(test_shards),
        cmocka_unit_test(test_bad_files),
    };
    return cmocka_run_group_tests(tests, make_temporary, remove_temporary);
}
