/* Log records for the programs: one line each, written with one write() so that lines of different
 * threads never mix.
 *
 * As text a record is `MMDD HH:MM:SS PROGRAM: MESSAGE[ id=REQUEST]\n` in local time; on a terminal
 * the message is coloured by its kind. As JSON it is one object per line: "ts" (UTC, milliseconds),
 * "level", "event" (the kind), "program", "message", and "request_id" where there is one. Control
 * characters in the message (text that a client or a model chose) are written as \xNN. A ds4_log is
 * read-only once it is set up and may be used by many threads at once; a record that cannot be
 * written is lost silently. */
#ifndef DS4_BASE_LOG_H
#define DS4_BASE_LOG_H

#include <stdbool.h>

typedef enum ds4_log_kind {
    DS4_LOG_DEBUG,      /* grey: what only somebody who looks for a fault wants to read */
    DS4_LOG_INFO,       /* no colour */
    DS4_LOG_PREFILL,    /* cyan: prompt progress and timing */
    DS4_LOG_GENERATION, /* green: generation and success */
    DS4_LOG_CACHE,      /* yellow: reuse of KV state */
    DS4_LOG_TOOL,       /* grey */
    DS4_LOG_WARNING,    /* orange */
    DS4_LOG_ERROR,      /* red */
} ds4_log_kind;

typedef enum ds4_log_level {
    DS4_LOG_LEVEL_ERROR,
    DS4_LOG_LEVEL_WARNING,
    DS4_LOG_LEVEL_INFO, /* all kinds that are neither of the others */
    DS4_LOG_LEVEL_DEBUG,
} ds4_log_level;

typedef struct ds4_log {
    int fd;              /* -1: records are dropped */
    bool colour;         /* the descriptor is a terminal */
    bool json;           /* false after ds4_log_open */
    ds4_log_level level; /* what is written at most; INFO after ds4_log_open */
    const char *program; /* borrowed */
} ds4_log;

/* `program` must outlive the log. The descriptor stays the caller's. */
void ds4_log_open(ds4_log *log, int fd, const char *program);

/* A message longer than about 2000 bytes is cut. `log` may be NULL: nothing is written. */
void ds4_log_write(const ds4_log *log, ds4_log_kind kind, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The same about one request; `request_id` may be NULL or "". */
void ds4_log_request(const ds4_log *log, ds4_log_kind kind, const char *request_id,
                     const char *format, ...) __attribute__((format(printf, 4, 5)));

#endif
