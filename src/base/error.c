#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>

const char *ds4_status_text(ds4_status status) {
    static const char *const texts[] = {
#define DS4_STATUS_TEXT(name, text) text,
        DS4_STATUS_LIST(DS4_STATUS_TEXT)
#undef DS4_STATUS_TEXT
    };
    size_t index = (size_t)status;
    return index < sizeof texts / sizeof texts[0] ? texts[index] : "unknown status";
}

ds4_status ds4_fail(ds4_error *error, ds4_status status, const char *format, ...) {
    if (error != NULL) {
        va_list arguments;
        error->status = status;
        va_start(arguments, format);
        vsnprintf(error->message, sizeof error->message, format, arguments);
        va_end(arguments);
    }
    return status;
}

ds4_status ds4_fail_memory(ds4_error *error, size_t n_bytes, const char *what) {
    return ds4_fail(error, DS4_NO_MEMORY, "out of memory: %zu bytes for %s", n_bytes, what);
}
