#include "base/strbuf.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool reserve(ds4_strbuf *buffer, size_t extra) {
    if (buffer->failed) return false;
    if (extra < buffer->capacity - buffer->n) return true;
    if (extra >= SIZE_MAX / 2 - buffer->n) {
        buffer->failed = true;
        return false;
    }
    size_t capacity = buffer->capacity * 2;
    if (capacity < buffer->n + extra + 1) capacity = buffer->n + extra + 1;
    if (capacity < 64) capacity = 64;
    char *grown = realloc(buffer->data, capacity);
    if (grown == NULL) {
        buffer->failed = true;
        return false;
    }
    buffer->data = grown;
    buffer->capacity = capacity;
    return true;
}

void ds4_strbuf_append(ds4_strbuf *buffer, const void *bytes, size_t n) {
    if (!reserve(buffer, n)) return;
    if (n > 0) memcpy(buffer->data + buffer->n, bytes, n);
    buffer->n += n;
    buffer->data[buffer->n] = '\0';
}

void ds4_strbuf_puts(ds4_strbuf *buffer, const char *text) {
    ds4_strbuf_append(buffer, text, strlen(text));
}

void ds4_strbuf_putc(ds4_strbuf *buffer, char byte) {
    ds4_strbuf_append(buffer, &byte, 1);
}

void ds4_strbuf_printf(ds4_strbuf *buffer, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int n = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (n < 0 || !reserve(buffer, (size_t)n)) {
        buffer->failed = true;
        return;
    }
    va_start(arguments, format);
    vsnprintf(buffer->data + buffer->n, (size_t)n + 1, format, arguments);
    va_end(arguments);
    buffer->n += (size_t)n;
}

void ds4_strbuf_clear(ds4_strbuf *buffer) {
    buffer->n = 0;
    buffer->failed = false;
    if (buffer->data != NULL) buffer->data[0] = '\0';
}

void ds4_strbuf_free(ds4_strbuf *buffer) {
    free(buffer->data);
    *buffer = (ds4_strbuf){0};
}

char *ds4_strbuf_take(ds4_strbuf *buffer) {
    if (buffer->data == NULL) ds4_strbuf_append(buffer, "", 0);
    char *text = buffer->failed ? NULL : buffer->data;
    if (text == NULL) free(buffer->data);
    *buffer = (ds4_strbuf){0};
    return text;
}
