#include "server/json_out.h"

#include <stdbool.h>
#include <string.h>

/* How many continuation bytes follow `lead`, and the range the first of them must lie in (Unicode
 * table 3-7); -1: not a lead byte. */
static int sequence_of(unsigned char lead, unsigned char *low, unsigned char *high) {
    *low = 0x80;
    *high = 0xbf;
    if (lead >= 0xc2 && lead <= 0xdf) return 1;
    if (lead >= 0xe0 && lead <= 0xef) {
        if (lead == 0xe0) *low = 0xa0;
        if (lead == 0xed) *high = 0x9f;
        return 2;
    }
    if (lead >= 0xf0 && lead <= 0xf4) {
        if (lead == 0xf0) *low = 0x90;
        if (lead == 0xf4) *high = 0x8f;
        return 3;
    }
    return -1;
}

/* Length of the character at bytes[0..n), n >= 1. *valid false: the length of its malformed part.
 */
static size_t character_bytes(const unsigned char *bytes, size_t n, bool *valid) {
    unsigned char low, high;
    *valid = true;
    if (bytes[0] < 0x80) return 1;
    int continuation = sequence_of(bytes[0], &low, &high);
    *valid = false;
    if (continuation < 0) return 1;
    size_t i = 1;
    for (; i <= (size_t)continuation; i++) {
        if (i >= n || bytes[i] < low || bytes[i] > high) return i;
        low = 0x80;
        high = 0xbf;
    }
    *valid = true;
    return i;
}

static void escape(ds4_strbuf *out, unsigned char c) {
    switch (c) {
    case '"':
        ds4_strbuf_append(out, "\\\"", 2);
        break;
    case '\\':
        ds4_strbuf_append(out, "\\\\", 2);
        break;
    case '\n':
        ds4_strbuf_append(out, "\\n", 2);
        break;
    case '\r':
        ds4_strbuf_append(out, "\\r", 2);
        break;
    case '\t':
        ds4_strbuf_append(out, "\\t", 2);
        break;
    default:
        ds4_strbuf_printf(out, "\\u%04x", (unsigned)c);
        break;
    }
}

void ds4_json_string(ds4_strbuf *out, const char *text, size_t n) {
    const unsigned char *bytes = (const unsigned char *)text;
    size_t start = 0, i = 0;
    if (n == 0) {
        ds4_strbuf_append(out, "\"\"", 2);
        return;
    }
    ds4_strbuf_putc(out, '"');
    while (i < n) {
        unsigned char c = bytes[i];
        bool valid = true;
        size_t length = 1;
        if (c >= 0x80) length = character_bytes(bytes + i, n - i, &valid);
        if (c >= 0x20 && c != '"' && c != '\\' && valid) {
            i += length;
            continue;
        }
        ds4_strbuf_append(out, text + start, i - start);
        if (valid)
            escape(out, c);
        else
            ds4_strbuf_append(out, "\xef\xbf\xbd", 3);
        i += length;
        start = i;
    }
    ds4_strbuf_append(out, text + start, n - start);
    ds4_strbuf_putc(out, '"');
}

void ds4_json_cstring(ds4_strbuf *out, const char *text) {
    ds4_json_string(out, text, strlen(text));
}
