/* The JSON scanner: grammar, limits, walking, strings, numbers. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/json_scan.h"

static ds4_status scan(const char *text, ds4_json_value *value) {
    return ds4_json_scan(text, strlen(text), DS4_JSON_DEPTH_LIMIT, value, NULL);
}

static void test_good_documents(void **state) {
    (void)state;
    static const struct {
        const char *text;
        ds4_json_type type;
        size_t n;
    } cases[] = {
        {"null", DS4_JSON_NULL, 4},
        {" true\n", DS4_JSON_TRUE, 4},
        {"false", DS4_JSON_FALSE, 5},
        {"0", DS4_JSON_NUMBER, 1},
        {"-0.5e+10 ", DS4_JSON_NUMBER, 8},
        {"\"\"", DS4_JSON_STRING, 2},
        {"[]", DS4_JSON_ARRAY, 2},
        {"[ ]", DS4_JSON_ARRAY, 3},
        {"{ }", DS4_JSON_OBJECT, 3},
        {"[1,[2,{}]]", DS4_JSON_ARRAY, 10},
        {"{\"a\":{\"a\":[]}}", DS4_JSON_OBJECT, 14},
        {"\"\xF0\x9F\x98\x80\\ud800\"", DS4_JSON_STRING, 12},
        {"\"\x7F\\/\"", DS4_JSON_STRING, 5},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ds4_json_value value;
        print_message("  %s\n", cases[i].text);
        assert_int_equal(scan(cases[i].text, &value), DS4_OK);
        assert_int_equal(value.type, cases[i].type);
        assert_int_equal(value.n, cases[i].n);
    }
}

static void test_bad_documents(void **state) {
    (void)state;
    static const char *const cases[] = {
        "",
        " ",
        "nul",
        "nulll",
        "True",
        "01",
        "+1",
        "1.",
        ".5",
        "1e",
        "0x10",
        "NaN",
        "Infinity",
        "-",
        "--1",
        "1 2",
        "[1,]",
        "[,1]",
        "[1 2]",
        "[",
        "]",
        "[1}",
        "{",
        "}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{\"a\" 1}",
        "{a:1}",
        "{1:1}",
        "{\"a\":1 \"b\":2}",
        "\"",
        "\"\\",
        "\"\\\"",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "\"\n\"",
        "\"\t\"",
        "\"\x80\"",
        "\"\xC0\x80\"",
        "\"\xED\xA0\x80\"",
        "\"\xF4\x90\x80\x80\"",
        "\"\xE2\x82\"",
        "\"\xC3",
        "[\"a\",\v1]",
        "// c\n1",
        "'a'",
        "\xEF\xBB\xBF"
        "1",
        "{\"a\":1}x",
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ds4_json_value value;
        ds4_error error = {0};
        print_message("  %s\n", cases[i]);
        assert_int_equal(ds4_json_scan(cases[i], strlen(cases[i]), 256, &value, &error),
                         DS4_FORMAT);
        assert_non_null(strstr(error.message, "invalid JSON"));
    }
    ds4_json_value value;
    assert_int_equal(ds4_json_scan("\"a\0b\"", 5, 256, &value, NULL), DS4_FORMAT);
    assert_int_equal(ds4_json_scan("1\0", 2, 256, &value, NULL), DS4_FORMAT);
}

/* Every proper prefix of a container is incomplete, and reading one never leaves its bytes. */
static void test_prefixes(void **state) {
    (void)state;
    static const char text[] =
        "{\"a\":[1,-2.5e3,\"x\\u00e9\\n\xC3\xA9\",null,true,{\"b\":{}}],\"c\":false}";
    for (size_t n = 0; n < sizeof text - 1; n++) {
        ds4_json_value value;
        char *exact = test_malloc(n + 1); /* its end is guarded */
        memcpy(exact, text, n);
        assert_int_equal(ds4_json_scan(exact, n, 256, &value, NULL), DS4_FORMAT);
        test_free(exact);
    }
}

static void test_depth(void **state) {
    (void)state;
    char text[2 * 1100];
    for (size_t depth = 1; depth <= 1100; depth++) {
        ds4_json_value value;
        for (size_t i = 0; i < depth; i++) {
            text[i] = '[';
            text[2 * depth - 1 - i] = ']';
        }
        assert_int_equal(ds4_json_scan(text, 2 * depth, 256, &value, NULL),
                         depth <= 256 ? DS4_OK : DS4_FORMAT);
        assert_int_equal(ds4_json_scan(text, 2 * depth, 5000, &value, NULL),
                         depth <= 1024 ? DS4_OK : DS4_FORMAT);
    }
}

static void assert_span(ds4_json_value value, const char *wanted) {
    assert_int_equal(value.n, strlen(wanted));
    assert_memory_equal(value.text, wanted, value.n);
}

static void test_walking(void **state) {
    (void)state;
    ds4_json_value object, key, value;
    assert_int_equal(
        scan(" { \"a\" : [ 1 , \"]}\\\"\" , { } ] , \"b\\u0063\":-1.50 ,\"a\":null} ", &object),
        DS4_OK);
    ds4_json_cursor cursor = ds4_json_enter(object);
    assert_true(ds4_json_next_member(&cursor, &key, &value));
    assert_span(key, "\"a\"");
    assert_span(value, "[ 1 , \"]}\\\"\" , { } ]");
    ds4_json_cursor inner = ds4_json_enter(value);
    assert_true(ds4_json_next_element(&inner, &value));
    assert_span(value, "1");
    assert_true(ds4_json_next_element(&inner, &value));
    assert_span(value, "\"]}\\\"\"");
    assert_true(ds4_json_next_element(&inner, &value));
    assert_span(value, "{ }");
    assert_false(ds4_json_next_element(&inner, &value));
    assert_true(ds4_json_next_member(&cursor, &key, &value));
    assert_true(ds4_json_string_equals(key, "bc"));
    assert_span(value, "-1.50");
    assert_true(ds4_json_next_member(&cursor, &key, &value));
    assert_false(ds4_json_next_member(&cursor, &key, &value));

    assert_true(ds4_json_find(object, "a", &value)); /* the last one */
    assert_int_equal(value.type, DS4_JSON_NULL);
    assert_false(ds4_json_find(object, "c", &value));
    assert_false(ds4_json_find(key, "a", &value));
    cursor = ds4_json_enter(key);
    assert_false(ds4_json_next_element(&cursor, &value));
}

static void test_strings(void **state) {
    (void)state;
    static const char wanted[] = "\"\\/\b\f\n\r\t\0A\xC3\xA9\xE4\xBD\xA0\xF0\x9F\x98\x80"
                                 "\xEF\xBF\xBD\xEF\xBF\xBDx\xEF\xBF\xBD\xEF\xBF\xBD"
                                 "A";
    ds4_json_value value;
    ds4_strbuf out = {0};
    assert_int_equal(scan("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0000\\u0041\\u00e9\\u4F60\\ud83d\\ude00"
                          "\\ud83d\\ud83dx\\ude00\\ud83d\\u0041\"",
                          &value),
                     DS4_OK);
    ds4_json_string_decode(value, &out);
    assert_int_equal(out.n, sizeof wanted - 1);
    assert_memory_equal(out.data, wanted, out.n);
    assert_int_equal(scan("\"a\\u0062c\"", &value), DS4_OK);
    assert_true(ds4_json_string_equals(value, "abc"));
    assert_false(ds4_json_string_equals(value, "ab"));
    assert_false(ds4_json_string_equals(value, "abcd"));
    ds4_strbuf_clear(&out);
    ds4_json_escape("a\"\\\n\r\t\x01\x1f\x7f/\xC3\xA9\0z", 14, &out);
    assert_string_equal(out.data, "a\\\"\\\\\\n\\r\\t\\u0001\\u001f\x7f/\xC3\xA9\\u0000z");
    ds4_strbuf_clear(&out);
    assert_int_equal(scan("{ \"a b\" : [ 1 , 2 ] ,\n\"c\\\" \" : \" x \" }", &value), DS4_OK);
    ds4_json_minify(value, &out);
    assert_string_equal(out.data, "{\"a b\":[1,2],\"c\\\" \":\" x \"}");
    ds4_strbuf_free(&out);
}

static void test_numbers(void **state) {
    (void)state;
    static const struct {
        const char *text;
        double number;
        bool is_integer;
        uint64_t integer;
    } cases[] = {
        {"0", 0, true, 0},
        {"41.9", 41.9, false, 0},
        {"-1", -1, false, 0},
        {"1e5", 1e5, false, 0},
        {"0.1", 0.1, false, 0},
        {"18446744073709551615", 18446744073709551615.0, true, UINT64_MAX},
        {"2.50", 2.5, false, 0},
        {"18446744073709551616", 18446744073709551616.0, false, 0},
        {"1e999", HUGE_VAL, false, 0},
        {"9007199254740993", 9007199254740993.0, true, 9007199254740993u},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ds4_json_value value;
        uint64_t integer = 0;
        print_message("  %s\n", cases[i].text);
        assert_int_equal(scan(cases[i].text, &value), DS4_OK);
        assert_true(ds4_json_number(value) == cases[i].number);
        assert_int_equal(ds4_json_uint64(value, &integer), cases[i].is_integer);
        assert_true(integer == cases[i].integer);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_documents), cmocka_unit_test(test_bad_documents),
        cmocka_unit_test(test_prefixes),       cmocka_unit_test(test_depth),
        cmocka_unit_test(test_walking),        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
