#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/json_scan.h"

enum { MESSAGE_BYTES = 2048, RECORD_BYTES = 2 * MESSAGE_BYTES + 512 };

static const char *kind_colour(ds4_log_kind kind) {
    switch (kind) {
    case DS4_LOG_PREFILL:
        return "\033[36m";
    case DS4_LOG_GENERATION:
        return "\033[32m";
    case DS4_LOG_CACHE:
        return "\033[33m";
    case DS4_LOG_TOOL:
    case DS4_LOG_DEBUG:
        return "\033[90m";
    case DS4_LOG_WARNING:
        return "\033[38;5;208m";
    case DS4_LOG_ERROR:
        return "\033[31m";
    case DS4_LOG_INFO:
        break;
    }
    return "";
}

static const char *kind_name(ds4_log_kind kind) {
    static const char *const names[] = {
        [DS4_LOG_DEBUG] = "debug",     [DS4_LOG_INFO] = "info",
        [DS4_LOG_PREFILL] = "prefill", [DS4_LOG_GENERATION] = "generation",
        [DS4_LOG_CACHE] = "cache",     [DS4_LOG_TOOL] = "tool",
        [DS4_LOG_WARNING] = "warning", [DS4_LOG_ERROR] = "error",
    };
    return names[kind];
}

static ds4_log_level kind_level(ds4_log_kind kind) {
    switch (kind) {
    case DS4_LOG_DEBUG:
        return DS4_LOG_LEVEL_DEBUG;
    case DS4_LOG_WARNING:
        return DS4_LOG_LEVEL_WARNING;
    case DS4_LOG_ERROR:
        return DS4_LOG_LEVEL_ERROR;
    default:
        return DS4_LOG_LEVEL_INFO;
    }
}

static const char *level_name(ds4_log_level level) {
    static const char *const names[] = {"error", "warning", "info", "debug"};
    return names[level];
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

/* Copies `text` as the inside of a JSON string; what is no UTF-8 becomes U+FFFD. */
static size_t escape_json(char *out, size_t capacity, const char *text) {
    size_t n = 0;
    const char *end = text + strlen(text);
    while (text < end && n + 4 < capacity) {
        size_t length = (unsigned char)*text < 0x80 ? 1 : ds4_utf8_sequence(text, end);
        if (length == 0) {
            memcpy(out + n, "\xef\xbf\xbd", 3);
            n += 3;
            text++;
            continue;
        }
        if (*text == '"' || *text == '\\') out[n++] = '\\';
        memcpy(out + n, text, length);
        n += length;
        text += length;
    }
    return n;
}

/* One JSON record without its newline. `message` has no control characters any more. */
static size_t format_json(const ds4_log *log, ds4_log_kind kind, const char *request_id,
                          const char *message, char *record, size_t capacity) {
    struct timespec now = {0};
    struct tm utc;
    char stamp[32] = "";
    clock_gettime(CLOCK_REALTIME, &now);
    if (gmtime_r(&now.tv_sec, &utc) != NULL)
        strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &utc);
    size_t n = (size_t)snprintf(
        record, capacity,
        "{\"ts\":\"%s.%03ldZ\",\"level\":\"%s\",\"event\":\"%s\",\"program\":\"%.64s\"", stamp,
        now.tv_nsec / 1000000, level_name(kind_level(kind)), kind_name(kind), log->program);
    if (request_id[0] != '\0')
        n += (size_t)snprintf(record + n, capacity - n, ",\"request_id\":\"%.64s\"", request_id);
    n += (size_t)snprintf(record + n, capacity - n, ",\"message\":\"");
    n += escape_json(record + n, capacity - n - 8, message);
    n += (size_t)snprintf(record + n, capacity - n, "\"}");
    return n;
}

static size_t format_text(const ds4_log *log, ds4_log_kind kind, const char *request_id,
                          const char *message, char *record, size_t capacity) {
    struct tm local;
    time_t now = time(NULL);
    size_t n = 0;
    if (localtime_r(&now, &local) != NULL)
        n += strftime(record, capacity, "%m%d %H:%M:%S ", &local);
    const char *colour = log->colour ? kind_colour(kind) : "";
    n += (size_t)snprintf(record + n, capacity - n, "%s%.64s: %s", colour, log->program, message);
    if (request_id[0] != '\0')
        n += (size_t)snprintf(record + n, capacity - n, " id=%.64s", request_id);
    if (colour[0] != 0) n += (size_t)snprintf(record + n, capacity - n, "\033[0m");
    return n;
}

void ds4_log_open(ds4_log *log, int fd, const char *program) {
    log->fd = fd;
    log->colour = fd >= 0 && isatty(fd) == 1;
    log->json = false;
    log->level = DS4_LOG_LEVEL_INFO;
    log->program = program;
}

static void write_record(const ds4_log *log, ds4_log_kind kind, const char *request_id,
                         const char *format, va_list arguments) {
    int saved_errno = errno;
    char raw[MESSAGE_BYTES], message[MESSAGE_BYTES], record[RECORD_BYTES];
    vsnprintf(raw, sizeof raw, format, arguments);
    message[escape_controls(message, sizeof message, raw)] = '\0';
    size_t n = (log->json ? format_json : format_text)(log, kind, request_id, message, record,
                                                       sizeof record - 1);
    record[n++] = '\n';
    ssize_t written = write(log->fd, record, n);
    (void)written; /* nowhere to report it */
    errno = saved_errno;
}

static bool wants(const ds4_log *log, ds4_log_kind kind) {
    return log != NULL && log->fd >= 0 && kind_level(kind) <= log->level;
}

void ds4_log_write(const ds4_log *log, ds4_log_kind kind, const char *format, ...) {
    if (!wants(log, kind)) return;
    va_list arguments;
    va_start(arguments, format);
    write_record(log, kind, "", format, arguments);
    va_end(arguments);
}

void ds4_log_request(const ds4_log *log, ds4_log_kind kind, const char *request_id,
                     const char *format, ...) {
    if (!wants(log, kind)) return;
    va_list arguments;
    va_start(arguments, format);
    write_record(log, kind, request_id != NULL ? request_id : "", format, arguments);
    va_end(arguments);
}
