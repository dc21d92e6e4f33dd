/* Log records for the programs: one line each, written with one write() so that lines of different
 * threads never mix.
 *
 * A record is `MMDD HH:MM:SS PROGRAM: MESSAGE\n` in local time; on a terminal the message is
 * coloured by its kind. Control characters in the message (text that a client or a model chose) are
 * written as \xNN. A ds4_log is read-only after ds4_log_open and may be used by many threads at
 * once; a record that cannot be written is lost silently. */
#ifndef DS4_BASE_LOG_H
#define DS4_BASE_LOG_H

#include <stdbool.h>

typedef enum ds4_log_kind {
    DS4_LOG_INFO,       /* no colour */
    DS4_LOG_PREFILL,    /* cyan: prompt progress and timing */
    DS4_LOG_GENERATION, /* green: generation and success */
    DS4_LOG_CACHE,      /* yellow: reuse of KV state */
    DS4_LOG_TOOL,       /* grey */
    DS4_LOG_WARNING,    /* orange */
    DS4_LOG_ERROR,      /* red */
    DS4_LOG_DEBUG,      /* no colour; dropped unless the log asks for it */
} ds4_log_kind;

typedef struct ds4_log {
    int fd;              /* -1: records are dropped */
    bool debug;          /* DEBUG records too */
    bool colour;         /* the descriptor is a terminal */
    const char *program; /* borrowed */
} ds4_log;

/* Without debug records. `program` must outlive the log. The descriptor stays the caller's. */
void ds4_log_open(ds4_log *log, int fd, const char *program);

/* A message longer than about 2000 bytes is cut. `log` may be NULL: nothing is written. */
void ds4_log_write(const ds4_log *log, ds4_log_kind kind, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
