/* Filling in a caller's ds4_error. Every fallible function ends in `return ds4_fail(...)` or
 * `return DS4_OK`. */
#ifndef DS4_BASE_ERROR_H
#define DS4_BASE_ERROR_H

#include "ds4.h"

/* Writes the status and the formatted sentence to `error` (may be NULL) and returns the status. */
ds4_status ds4_fail(ds4_error *error, ds4_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* NO_MEMORY for `n_bytes` wanted for `what`. */
ds4_status ds4_fail_memory(ds4_error *error, size_t n_bytes, const char *what);

#endif
