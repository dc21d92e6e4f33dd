/* A growable byte string. Zero-initialise; `data` is always NUL-terminated once anything was
 * appended. Out of memory is remembered in `failed` and makes later appends no-ops, so a writer
 * checks once, at the end. */
#ifndef DS4_BASE_STRBUF_H
#define DS4_BASE_STRBUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct ds4_strbuf {
    char *data;
    size_t n;
    size_t capacity;
    bool failed;
} ds4_strbuf;

void ds4_strbuf_append(ds4_strbuf *buffer, const void *bytes, size_t n);
void ds4_strbuf_puts(ds4_strbuf *buffer, const char *text);
void ds4_strbuf_putc(ds4_strbuf *buffer, char byte);
void ds4_strbuf_printf(ds4_strbuf *buffer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void ds4_strbuf_clear(ds4_strbuf *buffer); /* length 0, memory kept */
void ds4_strbuf_free(ds4_strbuf *buffer);
/* The text as a malloc'ed C string that the caller frees; NULL when out of memory. Leaves `buffer`
 * empty. */
char *ds4_strbuf_take(ds4_strbuf *buffer);

#endif
