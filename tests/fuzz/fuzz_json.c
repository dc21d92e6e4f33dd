/* The JSON scanner that all requests pass, beside json-c.
 *
 * Whatever the scanner accepts json-c accepts too (it is the more lenient), with the same type,
 * members, strings and numbers; minifying keeps the document; decoded strings are UTF-8 and survive
 * escaping. */
#include <json-c/json.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_scan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { DEPTH = 64 };

static void check(bool holds) {
    if (!holds) abort();
}

static void check_utf8(const char *bytes, size_t n) {
    if (n == 0) return;
    const char *end = bytes + n;
    while (bytes < end) {
        size_t length = (unsigned char)*bytes < 0x80 ? 1 : ds4_utf8_sequence(bytes, end);
        check(length > 0);
        bytes += length;
    }
}

static void check_string(ds4_json_value value, json_object *other) {
    ds4_strbuf decoded = {0}, quoted = {0}, again = {0};
    ds4_json_string_decode(value, &decoded);
    check_utf8(decoded.data, decoded.n);
    /* json-c spells lone surrogates in its own way. */
    if (memchr(value.text, '\\', value.n) == NULL)
        check((size_t)json_object_get_string_len(other) == decoded.n &&
              (decoded.n == 0 ||
               memcmp(json_object_get_string(other), decoded.data, decoded.n) == 0));
    ds4_strbuf_putc(&quoted, '"');
    if (decoded.n > 0) ds4_json_escape(decoded.data, decoded.n, &quoted);
    ds4_strbuf_putc(&quoted, '"');
    ds4_json_value reread;
    check(ds4_json_scan(quoted.data, quoted.n, 1, &reread, NULL) == DS4_OK);
    ds4_json_string_decode(reread, &again);
    check(again.n == decoded.n && (again.n == 0 || memcmp(again.data, decoded.data, again.n) == 0));
    ds4_strbuf_free(&decoded);
    ds4_strbuf_free(&quoted);
    ds4_strbuf_free(&again);
}

static void compare(ds4_json_value value, json_object *other);

static void compare_object(ds4_json_value value, json_object *other) {
    ds4_json_cursor cursor = ds4_json_enter(value);
    ds4_json_value key, member, found;
    check(json_object_is_type(other, json_type_object));
    while (ds4_json_next_member(&cursor, &key, &member)) {
        ds4_strbuf name = {0};
        ds4_json_string_decode(key, &name);
        bool plain = memchr(key.text, '\\', key.n) == NULL && name.n > 0;
        if (plain) {
            json_object *last = NULL;
            check(ds4_json_find(value, name.data, &found));
            check(json_object_object_get_ex(other, name.data, &last));
            compare(found, last); /* of duplicates both keep the last */
        }
        ds4_strbuf_free(&name);
    }
}

static void compare_array(ds4_json_value value, json_object *other) {
    ds4_json_cursor cursor = ds4_json_enter(value);
    ds4_json_value element;
    size_t n = 0;
    check(json_object_is_type(other, json_type_array));
    while (ds4_json_next_element(&cursor, &element))
        compare(element, json_object_array_get_idx(other, n++));
    check(n == json_object_array_length(other));
}

static void compare(ds4_json_value value, json_object *other) {
    switch (value.type) {
    case DS4_JSON_NULL:
        check(other == NULL);
        break;
    case DS4_JSON_FALSE:
    case DS4_JSON_TRUE:
        check(json_object_is_type(other, json_type_boolean));
        check(json_object_get_boolean(other) == (value.type == DS4_JSON_TRUE));
        break;
    case DS4_JSON_NUMBER: {
        double ours = ds4_json_number(value);
        uint64_t integer;
        check(!isnan(ours));
        if (ds4_json_uint64(value, &integer)) {
            if (integer <= INT64_MAX) check((uint64_t)json_object_get_int64(other) == integer);
            check(ours == (double)integer);
        } else if (json_object_is_type(other, json_type_double)) {
            check(ours == json_object_get_double(other));
        }
        break;
    }
    case DS4_JSON_STRING:
        check(json_object_is_type(other, json_type_string));
        check_string(value, other);
        break;
    case DS4_JSON_ARRAY:
        compare_array(value, other);
        break;
    case DS4_JSON_OBJECT:
        compare_object(value, other);
        break;
    }
}

static void check_minified(ds4_json_value value) {
    ds4_strbuf once = {0}, twice = {0};
    ds4_json_value reread;
    ds4_json_minify(value, &once);
    check(once.n <= value.n);
    check(ds4_json_scan(once.data, once.n, DEPTH, &reread, NULL) == DS4_OK);
    ds4_json_minify(reread, &twice);
    check(once.n == twice.n && memcmp(once.data, twice.data, once.n) == 0);
    ds4_strbuf_free(&once);
    ds4_strbuf_free(&twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *text = (const char *)data;
    ds4_json_value value;
    ds4_error error = {0};
    ds4_status status = ds4_json_scan(text, size, DEPTH, &value, &error);
    if (status != DS4_OK) {
        check(status == DS4_FORMAT && error.message[0] != '\0');
        return 0;
    }
    check(value.text >= text && value.text + value.n <= text + size);
    check_minified(value);
    json_tokener *tokener = json_tokener_new_ex(DEPTH + 2);
    check(tokener != NULL);
    json_object *other = json_tokener_parse_ex(tokener, value.text, (int)value.n);
    enum json_tokener_error verdict = json_tokener_get_error(tokener);
    /* A number may go on, as far as json-c knows. */
    if (verdict == json_tokener_continue && value.type == DS4_JSON_NUMBER) {
        other = json_tokener_parse_ex(tokener, " ", 1);
        verdict = json_tokener_get_error(tokener);
    }
    check(verdict == json_tokener_success || verdict == json_tokener_continue);
    if (verdict == json_tokener_success) compare(value, other);
    json_object_put(other);
    json_tokener_free(tokener);
    return 0;
}
