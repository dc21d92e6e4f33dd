/* Visitors that count, write and read the pieces of a session's state in one buffer. */
#ifndef DS4_ENGINE_CURSOR_H
#define DS4_ENGINE_CURSOR_H

#include "ds4.h"

typedef struct ds4_cursor {
    uint8_t *at, *end; /* `end` is for reading */
    size_t counted;
} ds4_cursor;

ds4_status ds4_cursor_count(void *cursor, void *bytes, size_t n, ds4_error *error);
ds4_status ds4_cursor_write(void *cursor, void *bytes, size_t n, ds4_error *error);
/* FORMAT when fewer than n bytes are left. */
ds4_status ds4_cursor_read(void *cursor, void *bytes, size_t n, ds4_error *error);

#endif
