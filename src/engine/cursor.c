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

static bool are_finite(const ds4_row_codec *codec, const ds4_kv_piece *piece,
                       const uint8_t *bytes) {
    switch (piece->content) {
    case DS4_KV_ATTENTION_ROWS:
        return ds4_rows_are_finite(codec, bytes, piece->n);
    case DS4_KV_INDEXER_ROWS:
        return ds4_index_rows_are_finite(codec, bytes, piece->n);
    default:
        return ds4_floats_are_finite(bytes, piece->n * piece->width / sizeof(float));
    }
}

ds4_status ds4_cursor_read_rows(void *cursor, const ds4_kv_piece *piece, ds4_error *error) {
    ds4_cursor *c = cursor;
    const uint8_t *at = c->at;
    if (piece->n * piece->width > (size_t)(c->end - c->at))
        return ds4_fail(error, DS4_FORMAT, "the saved session is cut short");
    if (!are_finite(c->codec, piece, at))
        return ds4_fail(error, DS4_FORMAT, "the saved rows hold what is no finite number");
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
