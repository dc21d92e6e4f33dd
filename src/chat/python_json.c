#include "chat/python_json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The end of the string that begins at `at`. */
static size_t string_end(const char *text, size_t at) {
    for (at++; text[at] != '"'; at++)
        if (text[at] == '\\') at++;
    return at + 1;
}

static void append_string(ds4_json_value string, ds4_strbuf *scratch, ds4_strbuf *out) {
    ds4_strbuf_clear(scratch);
    ds4_json_string_decode(string, scratch);
    ds4_strbuf_putc(out, '"');
    for (size_t i = 0; i < scratch->n; i++) {
        char c = scratch->data[i];
        if (c == '\b')
            ds4_strbuf_puts(out, "\\b");
        else if (c == '\f')
            ds4_strbuf_puts(out, "\\f");
        else
            ds4_json_escape(&c, 1, out);
    }
    ds4_strbuf_putc(out, '"');
}

/* The fewest digits that read back as the same number; `digits` without the point, 10^exponent
 * before it behind the first one. */
static int shortest_digits(double number, char digits[24], int *exponent) {
    char text[40];
    for (int precision = 0; precision < 17; precision++) {
        snprintf(text, sizeof text, "%.*e", precision, number);
        if (strtod(text, NULL) == number) break;
    }
    int n = 0;
    const char *at = text;
    for (; *at != 'e'; at++)
        if (*at >= '0' && *at <= '9') digits[n++] = *at;
    *exponent = atoi(at + 1);
    while (n > 1 && digits[n - 1] == '0') n--;
    digits[n] = '\0';
    return n;
}

/* float's repr: plain from 1e-4 up to below 1e16, else with an exponent of two digits at least. */
static void append_float(double number, ds4_strbuf *out) {
    char digits[24];
    int exponent = 0;
    if (signbit(number)) ds4_strbuf_putc(out, '-');
    if (isinf(number)) {
        ds4_strbuf_puts(out, "Infinity");
        return;
    }
    int n = shortest_digits(fabs(number), digits, &exponent);
    if (exponent < -4 || exponent >= 16) {
        ds4_strbuf_putc(out, digits[0]);
        if (n > 1) ds4_strbuf_printf(out, ".%s", digits + 1);
        ds4_strbuf_printf(out, "e%c%02d", exponent < 0 ? '-' : '+', abs(exponent));
    } else if (exponent < 0) {
        ds4_strbuf_printf(out, "0.%.*s%s", -exponent - 1, "0000", digits);
    } else {
        for (int i = 0; i <= exponent || i < n; i++) {
            if (i == exponent + 1) ds4_strbuf_putc(out, '.');
            ds4_strbuf_putc(out, i < n ? digits[i] : '0');
        }
        if (n <= exponent + 1) ds4_strbuf_puts(out, ".0");
    }
}

static bool is_integer(ds4_json_value number) {
    for (size_t i = 0; i < number.n; i++)
        if (number.text[i] == '.' || number.text[i] == 'e' || number.text[i] == 'E') return false;
    return true;
}

static void append_number(ds4_json_value number, ds4_strbuf *out) {
    if (!is_integer(number))
        append_float(ds4_json_number(number), out);
    else if (number.n == 2 && memcmp(number.text, "-0", 2) == 0)
        ds4_strbuf_putc(out, '0');
    else
        ds4_strbuf_append(out, number.text, number.n);
}

void ds4_python_json(ds4_json_value value, ds4_strbuf *out) {
    ds4_strbuf scratch = {0};
    const char *text = value.text;
    for (size_t i = 0; i < value.n;) {
        char c = text[i];
        size_t end = i + 1;
        if (c == '"') {
            end = string_end(text, i);
            append_string((ds4_json_value){DS4_JSON_STRING, text + i, end - i}, &scratch, out);
        } else if (c == '-' || (c >= '0' && c <= '9')) {
            while (end < value.n && strchr("0123456789+-.eE", text[end]) != NULL) end++;
            append_number((ds4_json_value){DS4_JSON_NUMBER, text + i, end - i}, out);
        } else if (c == ',' || c == ':') {
            ds4_strbuf_putc(out, c);
            ds4_strbuf_putc(out, ' ');
        } else if (c != ' ' && c != '\t' && c != '\n' && c != '\r') {
            ds4_strbuf_putc(out, c); /* brackets, and the letters of true, false, null */
        }
        i = end;
    }
    if (scratch.failed) out->failed = true;
    ds4_strbuf_free(&scratch);
}
