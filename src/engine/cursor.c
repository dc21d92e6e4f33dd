#include "engine/cursor.h"

#include <string.h>

#include "base/error.h"

ds4_status ds4_cursor_count_rows(void *cursor, const ds4_kv_piece *piece, ds4_error *error) {
    (void)error;
    ((ds4_cursor *)cursor)->counted += piece->n * piece->width;
    return DS4_OK;
}

ds4_status ds4_cursor_write_rows(void *cursor, const ds4_kv_piece *piece, ds4_error *error) {
    ds4_cursor *c = cursor;
    uint8_t *at = c->at;
    c->at += piece->n * piece->width;
    return piece->memory->copy(piece->memory->context, DS4_COPY_OUT, at, piece->width, piece->rows,
                               piece->stride, piece->width, piece->n, error);
}

ds4_status ds4_cursor_read_rows(void *cursor, const ds4_kv_piece *piece, ds4_error *error) {
    ds4_cursor *c = cursor;
    const uint8_t *at = c->at;
    if (piece->n * piece->width > (size_t)(c->end - c->at))
        return ds4_fail(error, DS4_FORMAT, "the saved session is cut short");
    c->at += piece->n * piece->width;
    return piece->memory->copy(piece->memory->context, DS4_COPY_IN, piece->rows, piece->stride, at,
                               piece->width, piece->width, piece->n, error);
}

void ds4_cursor_write(ds4_cursor *c, const void *bytes, size_t n) {
    if (n > 0) memcpy(c->at, bytes, n);
    c->at += n;
}

ds4_status ds4_cursor_read(ds4_cursor *c, void *bytes, size_t n, ds4_error *error) {
    if (n > (size_t)(c->end - c->at))
        return ds4_fail(error, DS4_FORMAT, "the saved session is cut short");
    if (n > 0) memcpy(bytes, c->at, n);
    c->at += n;
    return DS4_OK;
}
