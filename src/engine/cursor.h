/* Visitors that count, write and read the pieces of a session's state in one buffer. */
#ifndef DS4_ENGINE_CURSOR_H
#define DS4_ENGINE_CURSOR_H

#include "backend/cpu/kv.h"

typedef struct ds4_cursor {
    uint8_t *at;
    const uint8_t *end;         /* for reading */
    const ds4_row_codec *codec; /* for reading: of the rows */
    size_t counted;
} ds4_cursor;

/* Visitors for ds4_kv_visit. */
ds4_status ds4_cursor_count_rows(void *cursor, const ds4_kv_piece *piece, ds4_error *error);
ds4_status ds4_cursor_write_rows(void *cursor, const ds4_kv_piece *piece, ds4_error *error);
/* FORMAT when fewer bytes are left, or they hold what is no finite number. */
ds4_status ds4_cursor_read_rows(void *cursor, const ds4_kv_piece *piece, ds4_error *error);

/* Bytes of the host. */
void ds4_cursor_write(ds4_cursor *cursor, const void *bytes, size_t n);
ds4_status ds4_cursor_read(ds4_cursor *cursor, void *bytes, size_t n, ds4_error *error);

#endif
