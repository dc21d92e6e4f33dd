#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MESSAGE_BYTES = 2048, RECORD_BYTES = MESSAGE_BYTES + 256 };

static const char *kind_colour(ds4_log_kind kind) {
    switch (kind) {
    case DS4_LOG_PREFILL:
        return "\033[36m";
    case DS4_LOG_GENERATION:
        return "\033[32m";
    case DS4_LOG_CACHE:
        return "\033[33m";
    case DS4_LOG_TOOL:
        return "\033[90m";
    case DS4_LOG_WARNING:
        return "\033[38;5;208m";
    case DS4_LOG_ERROR:
        return "\033[31m";
    case DS4_LOG_INFO:
    case DS4_LOG_DEBUG:
        break;
    }
    return "";
}

/* Copies `text`, spelling control characters out: a log must not be forgeable with newlines or
 * terminal escapes. */
static size_t escape_controls(char *out, size_t capacity, const char *text) {
    size_t n = 0;
    for (const unsigned char *p = (const unsigned char *)text; *p != 0; p++) {
        if (*p < 0x20 || *p == 0x7f) {
            if (n + 4 >= capacity) break;
            n += (size_t)snprintf(out + n, capacity - n, "\\x%02x", (unsigned)*p);
        } else {
            if (n + 1 >= capacity) break;
            out[n++] = (char)*p;
        }
    }
    return n;
}

void ds4_log_open(ds4_log *log, int fd, const char *program) {
    log->fd = fd;
    log->colour = fd >= 0 && isatty(fd) == 1;
    log->debug = false;
    log->program = program;
}

void ds4_log_write(const ds4_log *log, ds4_log_kind kind, const char *format, ...) {
    if (log == NULL || log->fd < 0 || (kind == DS4_LOG_DEBUG && !log->debug)) return;
    int saved_errno = errno;
    char message[MESSAGE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);

    char record[RECORD_BYTES];
    struct tm local;
    time_t now = time(NULL);
    size_t n = 0;
    if (localtime_r(&now, &local) != NULL)
        n += strftime(record, sizeof record, "%m%d %H:%M:%S ", &local);
    const char *colour = log->colour ? kind_colour(kind) : "";
    n += (size_t)snprintf(record + n, sizeof record - n, "%s%.64s: ", colour, log->program);
    n += escape_controls(record + n, sizeof record - n - 8, message);
    if (colour[0] != 0) n += (size_t)snprintf(record + n, sizeof record - n, "\033[0m");
    record[n++] = '\n';
    ssize_t written = write(log->fd, record, n);
    (void)written; /* nowhere to report it */
    errno = saved_errno;
}
