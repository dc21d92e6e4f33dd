#include "engine/cursor.h"

#include <string.h>

#include "base/error.h"

ds4_status ds4_cursor_count(void *cursor, void *bytes, size_t n, ds4_error *error) {
    (void)bytes;
    (void)error;
    ((ds4_cursor *)cursor)->counted += n;
    return DS4_OK;
}

ds4_status ds4_cursor_write(void *cursor, void *bytes, size_t n, ds4_error *error) {
    (void)error;
    ds4_cursor *c = cursor;
    if (n > 0) memcpy(c->at, bytes, n);
    c->at += n;
    return DS4_OK;
}

ds4_status ds4_cursor_read(void *cursor, void *bytes, size_t n, ds4_error *error) {
    ds4_cursor *c = cursor;
    if (n > (size_t)(c->end - c->at))
        return ds4_fail(error, DS4_FORMAT, "the saved session is cut short");
    if (n > 0) memcpy(bytes, c->at, n);
    c->at += n;
    return DS4_OK;
}
