#include "gguf-tool/stream.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <xxhash.h>

#include "base/error.h"

enum { PIECE_BYTES = 1 << 20 };

/* The tensor that all threads are working on. */
typedef struct work {
    const ds4_stream *stream;
    size_t index;
    uint64_t n_rows, rows_per_piece, row_bytes;
    uint8_t **buffers;      /* per thread */
    _Atomic uint64_t hash;  /* sum of the pieces' hashes: their order does not matter */
    atomic_flag has_failed; /* who sets it writes `error` */
    atomic_bool stop;
    ds4_error error;
} work;

static void cut(work *w, const ds4_tensor_plan *tensor) {
    const ds4_type_info *info = ds4_type_get_info((uint32_t)tensor->type);
    w->n_rows = ds4_plan_rows_per_matrix(tensor) * ds4_plan_n_matrices(tensor);
    w->row_bytes = tensor->ne[0] / info->block_elements * info->block_bytes;
    w->rows_per_piece = w->row_bytes < PIECE_BYTES ? PIECE_BYTES / w->row_bytes : 1;
}

static uint64_t n_pieces(const work *w) {
    return (w->n_rows + w->rows_per_piece - 1) / w->rows_per_piece;
}

static uint64_t end_of_piece(const work *w, uint64_t piece) {
    uint64_t first = piece * w->rows_per_piece;
    return w->n_rows - first > w->rows_per_piece ? first + w->rows_per_piece : w->n_rows;
}

static void fail(work *w, const ds4_error *error) {
    if (!atomic_flag_test_and_set(&w->has_failed)) {
        w->error = *error;
        atomic_store(&w->stop, true);
    }
}

static void make_pieces(void *context, uint32_t thread, size_t begin, size_t end) {
    work *w = context;
    const ds4_stream *s = w->stream;
    for (size_t piece = begin; piece < end && !atomic_load(&w->stop); piece++) {
        ds4_error error = {0};
        uint64_t first = piece * w->rows_per_piece, last = end_of_piece(w, piece);
        size_t n_bytes = (size_t)((last - first) * w->row_bytes);
        uint8_t *bytes = w->buffers[thread];
        ds4_status status = s->produce(s->context, thread, w->index, first, last, bytes, &error);
        if (status == DS4_OK)
            status = ds4_gguf_writer_write_at(s->writer, w->index, first * w->row_bytes, bytes,
                                              n_bytes, &error);
        if (status != DS4_OK) {
            fail(w, &error);
            return;
        }
        if (s->journal != NULL) atomic_fetch_add(&w->hash, XXH64(bytes, n_bytes, piece));
        if (s->progress != NULL) ds4_progress_add(s->progress, n_bytes);
    }
}

/* The hash of a tensor that an earlier run wrote. */
static void hash_pieces(void *context, uint32_t thread, size_t begin, size_t end) {
    work *w = context;
    for (size_t piece = begin; piece < end && !atomic_load(&w->stop); piece++) {
        ds4_error error = {0};
        uint64_t first = piece * w->rows_per_piece, last = end_of_piece(w, piece);
        size_t n_bytes = (size_t)((last - first) * w->row_bytes);
        if (ds4_gguf_writer_read_at(w->stream->writer, w->index, first * w->row_bytes,
                                    w->buffers[thread], n_bytes, &error) != DS4_OK) {
            fail(w, &error);
            return;
        }
        atomic_fetch_add(&w->hash, XXH64(w->buffers[thread], n_bytes, piece));
    }
}

static void free_buffers(work *w, uint32_t n) {
    for (uint32_t i = 0; w->buffers != NULL && i < n; i++) free(w->buffers[i]);
    free(w->buffers);
}

static ds4_status allocate_buffers(work *w, uint32_t n, ds4_error *error) {
    const ds4_plan *plan = w->stream->plan;
    size_t bytes = PIECE_BYTES;
    for (size_t i = 0; i < plan->n; i++) {
        work one = {0};
        cut(&one, &plan->tensors[i]);
        if (one.row_bytes > bytes) bytes = (size_t)one.row_bytes;
    }
    w->buffers = calloc(n, sizeof *w->buffers);
    if (w->buffers == NULL)
        return ds4_fail_memory(error, n * sizeof *w->buffers, "the threads' buffers");
    for (uint32_t i = 0; i < n; i++) {
        w->buffers[i] = malloc(bytes);
        if (w->buffers[i] == NULL) return ds4_fail_memory(error, bytes, "a piece of the model");
    }
    return DS4_OK;
}

/* True when the journal has this tensor and the file still holds the bytes it had then. */
static bool is_done(work *w, ds4_threads *threads) {
    const ds4_stream *s = w->stream;
    uint64_t expected;
    if (s->journal == NULL || !ds4_journal_find(s->journal, w->index, &expected)) return false;
    atomic_store(&w->hash, 0);
    ds4_threads_for(threads, (size_t)n_pieces(w), 1, hash_pieces, w);
    return !atomic_load(&w->stop) && atomic_load(&w->hash) == expected;
}

static ds4_status stream_tensor(work *w, ds4_threads *threads, ds4_error *error) {
    const ds4_stream *s = w->stream;
    ds4_status status = DS4_OK;
    cut(w, &s->plan->tensors[w->index]);
    if (is_done(w, threads)) {
        ds4_gguf_writer_mark_written(s->writer, w->index);
        if (s->progress != NULL) ds4_progress_skip(s->progress, w->n_rows * w->row_bytes);
        return DS4_OK;
    }
    if (atomic_load(&w->stop)) return ds4_fail(error, w->error.status, "%s", w->error.message);
    if (s->prepare != NULL) status = s->prepare(s->context, w->index, threads, error);
    if (status != DS4_OK) return status;
    atomic_store(&w->hash, 0);
    ds4_threads_for(threads, (size_t)n_pieces(w), 1, make_pieces, w);
    if (atomic_load(&w->stop)) return ds4_fail(error, w->error.status, "%s", w->error.message);
    return s->journal == NULL ? DS4_OK
                              : ds4_journal_add(s->journal, w->index, atomic_load(&w->hash), error);
}

uint32_t ds4_stream_threads(uint32_t n_threads) {
    return n_threads == 0 ? ds4_threads_online_cores() : n_threads;
}

ds4_status ds4_stream_payloads(const ds4_stream *stream, ds4_error *error) {
    ds4_threads *threads = NULL;
    work w = {.stream = stream, .has_failed = ATOMIC_FLAG_INIT};
    ds4_status status = ds4_threads_create(ds4_stream_threads(stream->n_threads), &threads, error);
    if (status != DS4_OK) return status;
    status = allocate_buffers(&w, ds4_threads_count(threads), error);
    for (size_t i = 0; status == DS4_OK && i < stream->plan->n; i++) {
        w.index = i;
        status = stream_tensor(&w, threads, error);
    }
    free_buffers(&w, ds4_threads_count(threads));
    ds4_threads_destroy(threads);
    return status;
}
