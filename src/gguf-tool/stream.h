/* All payloads of a file, made by many threads in pieces of about a MiB and written where they
 * belong: memory does not grow with the model. With a journal an interrupted run goes on with the
 * first tensor that was not finished. */
#ifndef DS4_GGUF_TOOL_STREAM_H
#define DS4_GGUF_TOOL_STREAM_H

#include "base/threads.h"
#include "gguf-tool/journal.h"
#include "gguf-tool/plan.h"
#include "gguf-tool/progress.h"
#include "gguf/gguf_writer.h"

typedef struct ds4_stream {
    ds4_gguf_writer *writer; /* begun */
    const ds4_plan *plan;
    uint32_t n_threads; /* 0: one per core */
    void *context;      /* of the functions */
    /* Called for each tensor before its pieces, by one thread; may use the others. May be NULL. */
    ds4_status (*prepare)(void *context, size_t index, ds4_threads *threads, ds4_error *error);
    /* Makes the rows [row_begin, row_end) of tensor `index`, as stored, at `target`. Rows count
     * through all matrices. Called by several threads at once; `thread` is below the number that
     * `prepare` was told. */
    ds4_status (*produce)(void *context, uint32_t thread, size_t index, uint64_t row_begin,
                          uint64_t row_end, uint8_t *target, ds4_error *error);
    ds4_journal *journal;   /* or NULL */
    ds4_progress *progress; /* or NULL */
} ds4_stream;

ds4_status ds4_stream_payloads(const ds4_stream *stream, ds4_error *error);

/* Threads that a stream of n_threads will use. */
uint32_t ds4_stream_threads(uint32_t n_threads);

#endif
