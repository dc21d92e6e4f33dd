/* All payloads of a file, made by many threads in pieces of about a MiB: memory does not grow with
 * the model. */
#include <stdatomic.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/threads.h"
#include "gguf-tool/plan.h"

enum { PIECE_BYTES = 1 << 20 };

/* The tensor that all threads are working on. */
typedef struct work {
    const ds4_stream *stream;
    size_t index;
    uint64_t n_rows, rows_per_piece, row_bytes;
    uint8_t **buffers; /* per thread */
    float **scratches;
    atomic_flag has_failed; /* who sets it writes `error` */
    atomic_bool stop;
    ds4_error error;
} work;

static void make_pieces(void *context, uint32_t thread, size_t begin, size_t end) {
    work *w = context;
    const ds4_stream *s = w->stream;
    for (size_t piece = begin; piece < end && !atomic_load(&w->stop); piece++) {
        ds4_error error = {0};
        uint64_t first = piece * w->rows_per_piece;
        uint64_t last =
            w->n_rows - first > w->rows_per_piece ? first + w->rows_per_piece : w->n_rows;
        ds4_status status = s->produce(s->produce_context, w->index, first, last,
                                       w->scratches[thread], w->buffers[thread], &error);
        if (status == DS4_OK) {
            status = ds4_gguf_writer_write_at(s->writer, w->index, first * w->row_bytes,
                                              w->buffers[thread],
                                              (size_t)((last - first) * w->row_bytes), &error);
        }
        if (status != DS4_OK && !atomic_flag_test_and_set(&w->has_failed)) {
            w->error = error;
            atomic_store(&w->stop, true);
        }
    }
}

static void widest(const ds4_plan *plan, size_t *row_bytes, size_t *row_elements) {
    for (size_t i = 0; i < plan->n; i++) {
        size_t n = (size_t)plan->tensors[i].ne[0];
        size_t bytes = ds4_type_row_bytes(plan->tensors[i].type, n);
        if (n > *row_elements) *row_elements = n;
        if (bytes > *row_bytes) *row_bytes = bytes;
    }
}

static void free_buffers(work *w, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        if (w->buffers != NULL) free(w->buffers[i]);
        if (w->scratches != NULL) free(w->scratches[i]);
    }
    free(w->buffers);
    free(w->scratches);
}

static ds4_status allocate_buffers(work *w, uint32_t n, ds4_error *error) {
    size_t bytes = PIECE_BYTES, elements = 1;
    widest(w->stream->plan, &bytes, &elements);
    w->buffers = calloc(n, sizeof *w->buffers);
    w->scratches = calloc(n, sizeof *w->scratches);
    for (uint32_t i = 0; w->buffers != NULL && w->scratches != NULL && i < n; i++) {
        w->buffers[i] = malloc(bytes);
        w->scratches[i] = malloc(elements * sizeof(float));
        if (w->buffers[i] == NULL || w->scratches[i] == NULL) {
            return ds4_fail_memory(error, bytes, "a piece of the model");
        }
    }
    if (w->buffers != NULL && w->scratches != NULL) return DS4_OK;
    return ds4_fail_memory(error, n * sizeof *w->buffers, "the threads' buffers");
}

ds4_status ds4_stream_payloads(const ds4_stream *stream, ds4_error *error) {
    ds4_threads *threads = NULL;
    work w = {.stream = stream, .has_failed = ATOMIC_FLAG_INIT};
    uint64_t done = 0, total = 0;
    ds4_status status = ds4_threads_create(stream->n_threads, &threads, error);
    if (status != DS4_OK) return status;
    status = allocate_buffers(&w, ds4_threads_count(threads), error);
    if (status != DS4_OK) goto done;
    for (size_t i = 0; i < stream->plan->n; i++)
        total += ds4_gguf_writer_tensor_bytes(stream->writer, i);
    for (size_t i = 0; i < stream->plan->n; i++) {
        const ds4_tensor_plan *t = &stream->plan->tensors[i];
        w.index = i;
        w.n_rows = t->ne[1] * t->ne[2];
        w.row_bytes = ds4_type_row_bytes(t->type, (size_t)t->ne[0]);
        w.rows_per_piece = w.row_bytes < PIECE_BYTES ? PIECE_BYTES / w.row_bytes : 1;
        ds4_threads_for(threads, (size_t)((w.n_rows + w.rows_per_piece - 1) / w.rows_per_piece), 1,
                        make_pieces, &w);
        if (atomic_load(&w.stop)) {
            status = ds4_fail(error, w.error.status, "%s", w.error.message);
            goto done;
        }
        done += ds4_gguf_writer_tensor_bytes(stream->writer, i);
        if (stream->report != NULL) stream->report(done, total);
    }
done:
    free_buffers(&w, ds4_threads_count(threads));
    ds4_threads_destroy(threads);
    return status;
}
