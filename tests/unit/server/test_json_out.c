/* JSON strings: escapes, and valid UTF-8 whatever goes in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <json-c/json.h>

#include "server/json_out.h"

static void test_strings(void **state) {
    (void)state;
#define BAD "\xef\xbf\xbd"
    static const struct {
        const char *bytes;
        size_t n;
        const char *json;
    } cases[] = {
        {"", 0, "\"\""},
        {NULL, 0, "\"\""},
        {"a\"b\\c/\n\r\t\x01\x1f\x7f", 12, "\"a\\\"b\\\\c/\\n\\r\\t\\u0001\\u001f\x7f\""},
        {"\0x", 2, "\"\\u0000x\""},
        {"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", 9, "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\""},
        {"\x80", 1, "\"" BAD "\""},
        {"\xc0\xaf", 2, "\"" BAD BAD "\""},
        {"\xe2\x82", 2, "\"" BAD "\""},
        {"\xe2\x82x", 3, "\"" BAD "x\""},
        {"\xed\xa0\x80", 3, "\"" BAD BAD BAD "\""}, /* a surrogate */
        {"\xf4\x90\x80\x80", 4, "\"" BAD BAD BAD BAD "\""},
        {"\xf0\x9f\x98", 3, "\"" BAD "\""},
        {"\xff"
         "a",
         2, "\"" BAD "a\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ds4_strbuf out = {0};
        ds4_json_string(&out, cases[i].bytes, cases[i].n);
        assert_string_equal(out.data, cases[i].json);
        ds4_strbuf_free(&out);
    }
}

/* Random bytes: what comes out is JSON, and valid text comes back unchanged. */
static void test_random_bytes_stay_json(void **state) {
    (void)state;
    uint64_t seed = 0x9e3779b97f4a7c15u;
    for (int round = 0; round < 2000; round++) {
        char bytes[64];
        size_t n = (size_t)round % sizeof bytes;
        for (size_t i = 0; i < n; i++) {
            seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
            bytes[i] = (char)(round % 2 == 0 ? seed >> 32 : (seed >> 32) % 0x80);
        }
        ds4_strbuf out = {0};
        ds4_json_string(&out, bytes, n);
        struct json_tokener *tokener = json_tokener_new();
        json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
        struct json_object *value = json_tokener_parse_ex(tokener, out.data, (int)out.n + 1);
        assert_int_equal(json_tokener_get_error(tokener), json_tokener_success);
        assert_int_equal(json_object_get_type(value), json_type_string);
        if (round % 2 == 1) {
            assert_int_equal(json_object_get_string_len(value), n);
            if (n > 0) assert_memory_equal(json_object_get_string(value), bytes, n);
        }
        json_object_put(value);
        json_tokener_free(tokener);
        ds4_strbuf_free(&out);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_random_bytes_stay_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
