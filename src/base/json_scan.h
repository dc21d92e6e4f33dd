/* A strict RFC 8259 scanner over raw text. It builds no tree: a value is the span of bytes it was
 * written with, so the original spelling of numbers, key order and white space survive. Used where
 * bytes matter (tool schemas, arguments) and where input is hostile (request bodies).
 *
 * Rule of use: ds4_json_scan validates a whole document once (grammar, UTF-8, depth); the other
 * functions then walk values taken from it and trust that validation. Values point into the
 * caller's text and own nothing. Nothing here recurses, so depth costs no stack. Any thread.
 */
#ifndef DS4_BASE_JSON_SCAN_H
#define DS4_BASE_JSON_SCAN_H

#include "base/strbuf.h"
#include "ds4.h"

#define DS4_JSON_DEPTH_LIMIT 256u /* containers within containers that a request body may have */

typedef enum ds4_json_type {
    DS4_JSON_NULL,
    DS4_JSON_FALSE,
    DS4_JSON_TRUE,
    DS4_JSON_NUMBER,
    DS4_JSON_STRING,
    DS4_JSON_ARRAY,
    DS4_JSON_OBJECT,
} ds4_json_type;

/* `text[0..n)` is exactly the value: quotes and brackets included, surrounding white space not. */
typedef struct ds4_json_value {
    ds4_json_type type;
    const char *text;
    size_t n;
} ds4_json_value;

/* Validates one document: one value, white space around it, nothing else. FORMAT with the byte
 * offset for: bad grammar, invalid UTF-8, raw control characters in strings, bytes after the value,
 * more than `max_depth` (<= 1024) nested containers. Lone surrogate escapes are grammatical and
 * become U+FFFD when decoded. */
ds4_status ds4_json_scan(const char *text, size_t n, unsigned max_depth, ds4_json_value *value,
                         ds4_error *error);

/* Walks the members of an object or the elements of an array in written order, duplicates included.
 */
typedef struct ds4_json_cursor {
    const char *at, *end;
} ds4_json_cursor;

ds4_json_cursor ds4_json_enter(ds4_json_value container);
/* False at the end. `key` is a STRING value (still escaped). */
bool ds4_json_next_member(ds4_json_cursor *cursor, ds4_json_value *key, ds4_json_value *value);
bool ds4_json_next_element(ds4_json_cursor *cursor, ds4_json_value *value);

/* The member of that name; of duplicates the last. False when there is none or `object` is no
 * object. */
bool ds4_json_find(ds4_json_value object, const char *name, ds4_json_value *value);

/* Whether a STRING value decodes to exactly `text` (NUL-terminated). */
bool ds4_json_string_equals(ds4_json_value string, const char *text);
/* Appends the decoded bytes of a STRING value: UTF-8, U+0000 kept as a zero byte, lone surrogates
 * as U+FFFD. */
void ds4_json_string_decode(ds4_json_value string, ds4_strbuf *out);

/* The value of a NUMBER, correctly rounded, independent of the locale; +-HUGE_VAL beyond the range
 * of double, NaN when memory for a copy ran out. */
double ds4_json_number(ds4_json_value number);
/* True when a NUMBER is spelled as an integer that fits uint64_t. */
bool ds4_json_uint64(ds4_json_value number, uint64_t *value);

/* Appends the value without the white space between its tokens; spellings and escapes stay as they
 * are. */
void ds4_json_minify(ds4_json_value value, ds4_strbuf *out);

/* Bytes of the well-formed UTF-8 sequence at `at` (at < end), 0 when there is none. */
size_t ds4_utf8_sequence(const char *at, const char *end);

/* Appends `bytes` as the inside of a JSON string: escapes quote, backslash and controls below 0x20
 * (\n \r \t short, the others \u00xx). UTF-8 passes unchanged; the caller answers for its validity.
 */
void ds4_json_escape(const char *bytes, size_t n, ds4_strbuf *out);

#endif
