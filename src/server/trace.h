/* The trace file: everything that was said, for whoever asked for it with --trace.
 *
 * Each request is collected in a record of its own and written with one write when it ends, so that
 * requests that run side by side stay readable. The file is made anew, readable by its owner only.
 * A record belongs to one thread at a time; the trace to any. */
#ifndef DS4_SERVER_TRACE_H
#define DS4_SERVER_TRACE_H

#include "base/strbuf.h"
#include "ds4.h"

typedef struct ds4_trace ds4_trace;
typedef struct ds4_exchange ds4_exchange;
struct ds4_sched_result;

ds4_status ds4_trace_open(const char *path, ds4_trace **trace, ds4_error *error);
void ds4_trace_close(ds4_trace *trace); /* NULL: nothing happens */

typedef struct ds4_trace_record {
    ds4_strbuf request;
    const char *refusal; /* borrowed until the record is written */
} ds4_trace_record;

/* Writes what became of the exchange; `result` NULL: it never reached the scheduler. A request that
 * does not fit into memory is left out. */
void ds4_trace_write(ds4_trace *trace, const ds4_exchange *x,
                     const struct ds4_sched_result *result);

#endif
