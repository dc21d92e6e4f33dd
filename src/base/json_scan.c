#include "base/json_scan.h"

#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

#define HARD_DEPTH_LIMIT 1024u

static bool is_space(char c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}
static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static const char *skip_space(const char *at, const char *end) {
    while (at < end && is_space(*at)) at++;
    return at;
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

size_t ds4_utf8_sequence(const char *at, const char *end) {
    const unsigned char *s = (const unsigned char *)at;
    size_t left = (size_t)(end - at);
    unsigned low = 0x80, high = 0xBF;
    size_t n;
    if (s[0] < 0x80) return 1;
    if (s[0] >= 0xC2 && s[0] <= 0xDF) {
        n = 2;
    } else if (s[0] >= 0xE0 && s[0] <= 0xEF) {
        n = 3;
        if (s[0] == 0xE0) low = 0xA0;
        if (s[0] == 0xED) high = 0x9F;
    } else if (s[0] >= 0xF0 && s[0] <= 0xF4) {
        n = 4;
        if (s[0] == 0xF0) low = 0x90;
        if (s[0] == 0xF4) high = 0x8F;
    } else {
        return 0;
    }
    if (left < n || s[1] < low || s[1] > high) return 0;
    for (size_t i = 2; i < n; i++)
        if (s[i] < 0x80 || s[i] > 0xBF) return 0;
    return n;
}

/* ---- validation ---- */

typedef struct scanner {
    const char *begin, *at, *end;
    const char *problem; /* what is wrong at `at` */
    unsigned depth, max_depth;
    unsigned char in_object[HARD_DEPTH_LIMIT / 8]; /* one bit per open container */
} scanner;

static bool wrong(scanner *s, const char *problem) {
    s->problem = problem;
    return false;
}

static bool scan_string(scanner *s) {
    s->at++;
    for (;;) {
        if (s->at == s->end) return wrong(s, "a string is not closed");
        unsigned char c = (unsigned char)*s->at;
        if (c == '"') {
            s->at++;
            return true;
        }
        if (c < 0x20) return wrong(s, "a string holds an unescaped control character");
        if (c == '\\') {
            if (s->end - s->at < 2) return wrong(s, "a string is not closed");
            char kind = s->at[1];
            if (kind == 'u') {
                if (s->end - s->at < 6) return wrong(s, "a \\u escape is cut short");
                for (int i = 2; i < 6; i++)
                    if (hex_digit(s->at[i]) < 0)
                        return wrong(s, "a \\u escape needs four hexadecimal digits");
                s->at += 6;
            } else if (kind != '\0' && strchr("\"\\/bfnrt", kind) != NULL) {
                s->at += 2;
            } else {
                return wrong(s, "a string holds an unknown escape");
            }
            continue;
        }
        size_t n = ds4_utf8_sequence(s->at, s->end);
        if (n == 0) return wrong(s, "a string holds invalid UTF-8");
        s->at += n;
    }
}

static bool scan_digits(scanner *s) {
    if (s->at == s->end || !is_digit(*s->at)) return wrong(s, "a number lacks a digit");
    while (s->at < s->end && is_digit(*s->at)) s->at++;
    return true;
}

static bool scan_number(scanner *s) {
    if (*s->at == '-') s->at++;
    if (s->at < s->end && *s->at == '0') {
        s->at++;
    } else if (!scan_digits(s)) {
        return false;
    }
    if (s->at < s->end && *s->at == '.') {
        s->at++;
        if (!scan_digits(s)) return false;
    }
    if (s->at < s->end && (*s->at == 'e' || *s->at == 'E')) {
        s->at++;
        if (s->at < s->end && (*s->at == '+' || *s->at == '-')) s->at++;
        if (!scan_digits(s)) return false;
    }
    return true;
}

static bool scan_word(scanner *s, const char *word) {
    size_t n = strlen(word);
    if ((size_t)(s->end - s->at) < n || memcmp(s->at, word, n) != 0)
        return wrong(s, "a value was expected");
    s->at += n;
    return true;
}

static bool scan_scalar(scanner *s) {
    switch (*s->at) {
    case '"':
        return scan_string(s);
    case 't':
        return scan_word(s, "true");
    case 'f':
        return scan_word(s, "false");
    case 'n':
        return scan_word(s, "null");
    default:
        if (*s->at == '-' || is_digit(*s->at)) return scan_number(s);
        return wrong(s, "a value was expected");
    }
}

static bool scan_open(scanner *s) {
    if (s->depth == s->max_depth) return wrong(s, "the nesting is too deep");
    unsigned char bit = (unsigned char)(1u << (s->depth % 8));
    if (*s->at == '{') {
        s->in_object[s->depth / 8] |= bit;
    } else {
        s->in_object[s->depth / 8] &= (unsigned char)~bit;
    }
    s->depth++;
    s->at = skip_space(s->at + 1, s->end);
    return true;
}

static bool top_is_object(const scanner *s) {
    return (s->in_object[(s->depth - 1) / 8] >> ((s->depth - 1) % 8) & 1) != 0;
}

static bool scan_key(scanner *s) {
    if (s->at == s->end || *s->at != '"') return wrong(s, "a member name was expected");
    if (!scan_string(s)) return false;
    s->at = skip_space(s->at, s->end);
    if (s->at == s->end || *s->at != ':') return wrong(s, "a colon was expected");
    s->at = skip_space(s->at + 1, s->end);
    return true;
}

/* After a value: closes containers until another value must follow. *done: the outermost value is
 * complete. */
static bool scan_after_value(scanner *s, bool *done) {
    for (;;) {
        if (s->depth == 0) {
            *done = true;
            return true;
        }
        s->at = skip_space(s->at, s->end);
        if (s->at == s->end) return wrong(s, "the text ends inside a container");
        bool object = top_is_object(s);
        if (*s->at == ',') {
            s->at = skip_space(s->at + 1, s->end);
            return !object || scan_key(s);
        }
        if (*s->at != (object ? '}' : ']'))
            return wrong(s, "a comma or a closing bracket was expected");
        s->at++;
        s->depth--;
    }
}

static bool scan_value(scanner *s) {
    bool done = false;
    while (!done) {
        if (s->at == s->end) return wrong(s, "a value was expected");
        if (*s->at == '{' || *s->at == '[') {
            char close = *s->at == '{' ? '}' : ']';
            if (!scan_open(s)) return false;
            if (s->at < s->end && *s->at == close) {
                s->at++;
                s->depth--;
            } else {
                if (close == '}' && !scan_key(s)) return false;
                continue;
            }
        } else if (!scan_scalar(s)) {
            return false;
        }
        if (!scan_after_value(s, &done)) return false;
    }
    return true;
}

static ds4_json_type type_at(const char *at) {
    switch (*at) {
    case 'n':
        return DS4_JSON_NULL;
    case 'f':
        return DS4_JSON_FALSE;
    case 't':
        return DS4_JSON_TRUE;
    case '"':
        return DS4_JSON_STRING;
    case '[':
        return DS4_JSON_ARRAY;
    case '{':
        return DS4_JSON_OBJECT;
    default:
        return DS4_JSON_NUMBER;
    }
}

ds4_status ds4_json_scan(const char *text, size_t n, unsigned max_depth, ds4_json_value *value,
                         ds4_error *error) {
    if (n == 0) return ds4_fail(error, DS4_FORMAT, "invalid JSON: the text is empty");
    scanner s = {.begin = text, .at = text, .end = text + n};
    s.max_depth = max_depth < HARD_DEPTH_LIMIT ? max_depth : HARD_DEPTH_LIMIT;
    s.at = skip_space(s.at, s.end);
    const char *begin = s.at;
    bool good = scan_value(&s);
    if (good) {
        *value = (ds4_json_value){type_at(begin), begin, (size_t)(s.at - begin)};
        s.at = skip_space(s.at, s.end);
        if (s.at < s.end) good = wrong(&s, "something follows the value");
    }
    if (!good)
        return ds4_fail(error, DS4_FORMAT, "invalid JSON at byte %zu: %s", (size_t)(s.at - s.begin),
                        s.problem);
    return DS4_OK;
}

/* ---- walking ---- */

/* The end of the validated value at `at`. */
static const char *value_end(const char *at, const char *end) {
    unsigned depth = 0;
    do {
        char c = *at++;
        if (c == '"') {
            for (; *at != '"'; at++)
                if (*at == '\\') at++;
            at++;
        } else if (c == '{' || c == '[') {
            depth++;
        } else if (c == '}' || c == ']') {
            depth--;
        } else if (depth == 0) {
            while (at < end && *at != ',' && *at != ']' && *at != '}' && !is_space(*at)) at++;
        }
    } while (depth > 0);
    return at;
}

static ds4_json_value take_value(ds4_json_cursor *cursor) {
    const char *begin = cursor->at;
    const char *end = value_end(begin, cursor->end);
    cursor->at = skip_space(end, cursor->end);
    return (ds4_json_value){type_at(begin), begin, (size_t)(end - begin)};
}

ds4_json_cursor ds4_json_enter(ds4_json_value container) {
    ds4_json_cursor cursor = {container.text, container.text};
    if (container.type == DS4_JSON_ARRAY || container.type == DS4_JSON_OBJECT) {
        cursor.end = container.text + container.n - 1; /* the closing bracket */
        cursor.at = skip_space(container.text + 1, cursor.end);
    }
    return cursor;
}

bool ds4_json_next_element(ds4_json_cursor *cursor, ds4_json_value *value) {
    if (cursor->at >= cursor->end) return false;
    *value = take_value(cursor);
    if (cursor->at < cursor->end) cursor->at = skip_space(cursor->at + 1, cursor->end); /* comma */
    return true;
}

bool ds4_json_next_member(ds4_json_cursor *cursor, ds4_json_value *key, ds4_json_value *value) {
    if (cursor->at >= cursor->end) return false;
    *key = take_value(cursor);
    cursor->at = skip_space(cursor->at + 1, cursor->end); /* colon */
    return ds4_json_next_element(cursor, value);
}

bool ds4_json_find(ds4_json_value object, const char *name, ds4_json_value *value) {
    if (object.type != DS4_JSON_OBJECT) return false;
    ds4_json_cursor cursor = ds4_json_enter(object);
    ds4_json_value key, candidate;
    bool found = false;
    while (ds4_json_next_member(&cursor, &key, &candidate)) {
        if (!ds4_json_string_equals(key, name)) continue;
        *value = candidate;
        found = true;
    }
    return found;
}

/* ---- strings ---- */

static unsigned hex4(const char *at) {
    unsigned value = 0;
    for (int i = 0; i < 4; i++) value = value << 4 | (unsigned)hex_digit(at[i]);
    return value;
}

static size_t encode_utf8(unsigned code, char out[4]) {
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xC0 | code >> 6);
        out[1] = (char)(0x80 | (code & 0x3F));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (char)(0xE0 | code >> 12);
        out[1] = (char)(0x80 | (code >> 6 & 0x3F));
        out[2] = (char)(0x80 | (code & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | code >> 18);
    out[1] = (char)(0x80 | (code >> 12 & 0x3F));
    out[2] = (char)(0x80 | (code >> 6 & 0x3F));
    out[3] = (char)(0x80 | (code & 0x3F));
    return 4;
}

/* Decodes what stands at `*at` (an escape or one byte) into out; returns its length. */
static size_t decode_unit(const char **at, const char *end, char out[4]) {
    const char *s = *at;
    if (*s != '\\') {
        *at = s + 1;
        out[0] = *s;
        return 1;
    }
    *at = s + 2;
    switch (s[1]) {
    case 'b':
        out[0] = '\b';
        return 1;
    case 'f':
        out[0] = '\f';
        return 1;
    case 'n':
        out[0] = '\n';
        return 1;
    case 'r':
        out[0] = '\r';
        return 1;
    case 't':
        out[0] = '\t';
        return 1;
    case 'u':
        break;
    default:
        out[0] = s[1];
        return 1;
    }
    unsigned code = hex4(s + 2);
    *at = s + 6;
    if (code < 0xD800 || code > 0xDFFF) return encode_utf8(code, out);
    if (code < 0xDC00 && end - *at >= 6 && s[6] == '\\' && s[7] == 'u') {
        unsigned low = hex4(s + 8);
        if (low >= 0xDC00 && low <= 0xDFFF) {
            *at = s + 12;
            return encode_utf8(0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00), out);
        }
    }
    return encode_utf8(0xFFFD, out);
}

bool ds4_json_string_equals(ds4_json_value string, const char *text) {
    if (string.type != DS4_JSON_STRING) return false;
    const char *at = string.text + 1, *end = string.text + string.n - 1;
    size_t left = strlen(text);
    char unit[4];
    while (at < end) {
        size_t n = decode_unit(&at, end, unit);
        if (n > left || memcmp(unit, text, n) != 0) return false;
        text += n;
        left -= n;
    }
    return left == 0;
}

void ds4_json_string_decode(ds4_json_value string, ds4_strbuf *out) {
    const char *at = string.text + 1, *end = string.text + string.n - 1;
    while (at < end) {
        const char *plain = at;
        while (at < end && *at != '\\') at++;
        ds4_strbuf_append(out, plain, (size_t)(at - plain));
        if (at == end) break;
        char unit[4];
        size_t n = decode_unit(&at, end, unit);
        ds4_strbuf_append(out, unit, n);
    }
}

void ds4_json_escape(const char *bytes, size_t n, ds4_strbuf *out) {
    if (n == 0) return;
    size_t plain = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)bytes[i];
        if (c >= 0x20 && c != '"' && c != '\\') continue;
        ds4_strbuf_append(out, bytes + plain, i - plain);
        plain = i + 1;
        switch (c) {
        case '"':
            ds4_strbuf_puts(out, "\\\"");
            break;
        case '\\':
            ds4_strbuf_puts(out, "\\\\");
            break;
        case '\n':
            ds4_strbuf_puts(out, "\\n");
            break;
        case '\r':
            ds4_strbuf_puts(out, "\\r");
            break;
        case '\t':
            ds4_strbuf_puts(out, "\\t");
            break;
        default:
            ds4_strbuf_printf(out, "\\u%04x", c);
        }
    }
    ds4_strbuf_append(out, bytes + plain, n - plain);
}

void ds4_json_minify(ds4_json_value value, ds4_strbuf *out) {
    const char *at = value.text, *end = value.text + value.n, *keep = at;
    while (at < end) {
        if (*at == '"') {
            for (at++; *at != '"'; at++)
                if (*at == '\\') at++;
            at++;
        } else if (is_space(*at)) {
            ds4_strbuf_append(out, keep, (size_t)(at - keep));
            at = skip_space(at, end);
            keep = at;
        } else {
            at++;
        }
    }
    ds4_strbuf_append(out, keep, (size_t)(at - keep));
}

/* ---- numbers ---- */

double ds4_json_number(ds4_json_value number) {
    /* strtod reads the decimal point of the locale, and a NUL behind the number. */
    const char *point = localeconv()->decimal_point;
    ds4_strbuf copy = {0};
    for (size_t i = 0; i < number.n; i++) {
        if (number.text[i] == '.') {
            ds4_strbuf_puts(&copy, point);
        } else {
            ds4_strbuf_putc(&copy, number.text[i]);
        }
    }
    double value = copy.failed || copy.data == NULL ? (double)NAN : strtod(copy.data, NULL);
    ds4_strbuf_free(&copy);
    return value;
}

bool ds4_json_uint64(ds4_json_value number, uint64_t *value) {
    if (number.type != DS4_JSON_NUMBER) return false;
    uint64_t sum = 0;
    for (size_t i = 0; i < number.n; i++) {
        if (!is_digit(number.text[i])) return false;
        unsigned digit = (unsigned)(number.text[i] - '0');
        if (sum > (UINT64_MAX - digit) / 10) return false;
        sum = sum * 10 + digit;
    }
    *value = sum;
    return true;
}
