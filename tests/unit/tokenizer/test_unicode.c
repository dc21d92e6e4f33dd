/* The generated tables against their source, code point by code point, and UTF-8 decoding. */
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "test_support.h"
#include "tokenizer/unicode.h"

static void tables_equal_their_source(void **state) {
    (void)state;
    static const char *const names[] = {"L", "M", "N", "P", "S", "W"}; /* bit 0, 1, ... */
    struct json_object *root =
        json_object_from_file(DS4_FIXTURES "/tokenizer/unicode_classes.json");
    uint8_t *expected = calloc(0x110000, 1);
    assert_non_null(root);
    assert_non_null(expected);
    for (size_t k = 0; k < 6; k++) {
        struct json_object *ranges;
        assert_true(json_object_object_get_ex(root, names[k], &ranges));
        assert_true(json_object_array_length(ranges) > 0);
        for (size_t i = 0; i < json_object_array_length(ranges); i++) {
            struct json_object *range = json_object_array_get_idx(ranges, i);
            int first = json_object_get_int(json_object_array_get_idx(range, 0));
            int last = json_object_get_int(json_object_array_get_idx(range, 1));
            for (int c = first; c <= last; c++) expected[c] = (uint8_t)(expected[c] | 1 << k);
        }
    }
    for (uint32_t c = 0; c < 0x110000; c++)
        if (ds4_unicode_classes(c) != expected[c])
            fail_msg("U+%04X: %d, expected %d", c, ds4_unicode_classes(c), expected[c]);
    assert_int_equal(ds4_unicode_classes(0x110000), 0);
    assert_int_equal(ds4_unicode_classes(DS4_NOT_A_CHARACTER), 0);
    free(expected);
    json_object_put(root);
}

static void classes_exclude_each_other_where_rules_rely_on_it(void **state) {
    (void)state;
    for (uint32_t c = 0; c < 0x110000; c++) {
        uint8_t k = ds4_unicode_classes(c);
        int n = (k & 1) + (k >> 1 & 1) + (k >> 2 & 1) + (k >> 3 & 1) + (k >> 4 & 1) + (k >> 5 & 1);
        if (n > 1) fail_msg("U+%04X has classes %d", c, k);
    }
}

static void every_character_decodes(void **state) {
    (void)state;
    for (uint32_t c = 0; c < 0x110000; c++) {
        uint8_t bytes[8];
        uint32_t got = 0;
        size_t n = put_utf8(bytes, c);
        if (c >= 0xd800 && c <= 0xdfff) {
            assert_int_equal(ds4_utf8_next(bytes, n, &got), 1);
            assert_int_equal(got, DS4_NOT_A_CHARACTER);
            continue;
        }
        assert_int_equal(ds4_utf8_next(bytes, n, &got), n);
        assert_int_equal(got, c);
        for (size_t cut = 1; cut < n; cut++) {
            assert_int_equal(ds4_utf8_next(bytes, cut, &got), 1);
            assert_int_equal(got, DS4_NOT_A_CHARACTER);
        }
    }
}

static void malformed_bytes_are_single_units(void **state) {
    (void)state;
    static const char *const bad[] = {
        "\x80",
        "\xbf",
        "\xc0\x80",
        "\xc1\xbf",
        "\xe0\x80\x80",
        "\xe0\x9f\xbf",
        "\xed\xa0\x80",
        "\xf0\x8f\xbf\xbf",
        "\xf4\x90\x80\x80",
        "\xf5\x80\x80\x80",
        "\xff",
        "\xe4\xbd(",
        "\xc3(",
        "\xf0\x9f\x98(",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        uint32_t c = 0;
        assert_int_equal(ds4_utf8_next((const uint8_t *)bad[i], strlen(bad[i]), &c), 1);
        assert_int_equal(c, DS4_NOT_A_CHARACTER);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_equal_their_source),
        cmocka_unit_test(classes_exclude_each_other_where_rules_rely_on_it),
        cmocka_unit_test(every_character_decodes),
        cmocka_unit_test(malformed_bytes_are_single_units),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
