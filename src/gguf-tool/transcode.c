#include "gguf-tool/transcode.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/error.h"
#include "base/file.h"
#include "base/strbuf.h"
#include "gguf-tool/tool.h"

/* What a thread needs for itself. */
typedef struct worker {
    ds4_source_buffer buffer;
    float *row;
} worker;

struct ds4_transcode {
    ds4_transcode_options options;
    const ds4_plan *plan;
    ds4_matrix_source *const *sources;
    uint32_t n_experts, n_workers;
    uint64_t run; /* what tells this run from others */
    ds4_quantizer *quantizer;
    ds4_imatrix *imatrix;
    worker *workers;
    /* Of the tensor at hand: [matrix][column]; a matrix without has its flag cleared. */
    float *importance;
    bool *has_importance;
    size_t n_without; /* matrices that the imatrix does not cover */
};

/* ---- importance ---- */

static bool uses_importance(const ds4_transcode *t, ds4_type type) {
    bool has_refit = t->options.refit && type != DS4_TYPE_F32 && type != DS4_TYPE_F16 &&
                     type != DS4_TYPE_BF16 && type != DS4_TYPE_I32;
    return ds4_type_uses_importance(type) || has_refit;
}

/* The tensor's own columns, summed up: for types that need an importance and got none. */
typedef struct column_sums {
    ds4_transcode *transcode;
    size_t index;
    atomic_flag has_failed;
    ds4_error error;
} column_sums;

static ds4_status sum_columns(ds4_transcode *t, worker *own, size_t index, uint64_t matrix,
                              ds4_error *error) {
    const ds4_matrix_source *source = &t->sources[index][matrix];
    size_t n = (size_t)source->n_columns;
    float *sums = t->importance + matrix * n;
    memset(sums, 0, n * sizeof *sums);
    for (uint64_t row = 0, n_rows; row < source->n_rows; row += n_rows) {
        n_rows = ds4_source_rows_at_once(source, &own->buffer, row);
        ds4_status status = ds4_source_read(source, row, n_rows, &own->buffer, error);
        for (uint64_t i = 0; status == DS4_OK && i < n_rows; i++) {
            status = ds4_source_widen(source, &own->buffer, i, own->row, error);
            if (status == DS4_OK) ds4_importance_add_row(own->row, sums, n);
        }
        if (status != DS4_OK) return status;
    }
    t->has_importance[matrix] = true;
    return DS4_OK;
}

static void sum_matrices(void *context, uint32_t thread, size_t begin, size_t end) {
    column_sums *c = context;
    for (size_t matrix = begin; matrix < end; matrix++) {
        ds4_error error = {0};
        if (c->transcode->has_importance[matrix]) continue;
        if (sum_columns(c->transcode, &c->transcode->workers[thread], c->index, matrix, &error) ==
            DS4_OK)
            continue;
        if (!atomic_flag_test_and_set(&c->has_failed)) c->error = error;
        return;
    }
}

static ds4_status look_up(ds4_transcode *t, const ds4_tensor_plan *tensor, ds4_error *error) {
    uint64_t n_matrices = ds4_plan_n_matrices(tensor);
    size_t n = (size_t)tensor->ne[0];
    for (uint64_t m = 0; m < n_matrices; m++) {
        t->has_importance[m] = false;
        if (t->imatrix == NULL) continue;
        ds4_status status = ds4_imatrix_importance(
            t->imatrix, tensor->name, (size_t)m, n, (size_t)n_matrices, DS4_IMATRIX_SMOOTHING,
            t->importance + m * n, &t->has_importance[m], error);
        if (status != DS4_OK) return status;
        if (!t->has_importance[m])
            t->n_without++;
        else if (t->options.refit)
            ds4_importance_level(tensor->type, t->importance + m * n, n);
    }
    return DS4_OK;
}

static ds4_status prepare(void *context, size_t index, ds4_threads *threads, ds4_error *error) {
    ds4_transcode *t = context;
    const ds4_tensor_plan *tensor = &t->plan->tensors[index];
    size_t n_matrices = (size_t)ds4_plan_n_matrices(tensor);
    free(t->importance);
    free(t->has_importance);
    t->importance = NULL;
    t->has_importance = NULL;
    if (!uses_importance(t, tensor->type) || ds4_source_can_copy(t->sources[index], tensor->type))
        return DS4_OK;
    t->importance = malloc(n_matrices * (size_t)tensor->ne[0] * sizeof *t->importance);
    t->has_importance = calloc(n_matrices, sizeof *t->has_importance);
    if (t->importance == NULL || t->has_importance == NULL)
        return ds4_fail_memory(error, n_matrices * (size_t)tensor->ne[0] * sizeof(float),
                               "the importances of a tensor");
    ds4_status status = look_up(t, tensor, error);
    if (status != DS4_OK || !ds4_type_needs_importance(tensor->type) || t->options.refit)
        return status;
    column_sums sums = {.transcode = t, .index = index, .has_failed = ATOMIC_FLAG_INIT};
    ds4_threads_for(threads, n_matrices, 1, sum_matrices, &sums);
    if (!atomic_flag_test_and_set(&sums.has_failed)) return DS4_OK;
    return ds4_fail(error, sums.error.status, "%s", sums.error.message);
}

/* ---- rows ---- */

static ds4_status make_row(ds4_transcode *t, worker *own, size_t index, uint64_t matrix,
                           uint64_t row, uint64_t i, uint8_t *target, ds4_error *error) {
    const ds4_tensor_plan *tensor = &t->plan->tensors[index];
    const ds4_matrix_source *source = &t->sources[index][matrix];
    size_t n = (size_t)tensor->ne[0];
    ds4_error why = {0};
    if (tensor->part == DS4_PART_IDS)
        return ds4_source_ids(source, &own->buffer, i, t->n_experts, target, error);
    if (ds4_source_can_copy(source, tensor->type))
        return ds4_source_copy(source, &own->buffer, i, target, error);
    ds4_status status = ds4_source_widen(source, &own->buffer, i, own->row, error);
    if (status != DS4_OK) return status;
    const float *importance =
        t->has_importance != NULL && t->has_importance[matrix] ? t->importance + matrix * n : NULL;
    status = ds4_quantize_row(t->quantizer, tensor->type, own->row, importance, target, n, &why);
    if (status == DS4_OK) return DS4_OK;
    return ds4_fail(error, status, "tensor '%s', row %" PRIu64 ": %s", source->name, row,
                    why.message);
}

static ds4_status produce(void *context, uint32_t thread, size_t index, uint64_t row_begin,
                          uint64_t row_end, uint8_t *target, ds4_error *error) {
    ds4_transcode *t = context;
    worker *own = &t->workers[thread];
    const ds4_tensor_plan *tensor = &t->plan->tensors[index];
    const ds4_type_info *info = ds4_type_get_info((uint32_t)tensor->type);
    uint64_t row_bytes = tensor->ne[0] / info->block_elements * info->block_bytes;
    for (uint64_t at = row_begin, n_rows; at < row_end; at += n_rows) {
        uint64_t matrix = at / tensor->ne[1], row = at % tensor->ne[1];
        const ds4_matrix_source *source = &t->sources[index][matrix];
        n_rows = ds4_source_rows_at_once(source, &own->buffer, row);
        if (n_rows > row_end - at) n_rows = row_end - at;
        ds4_status status = ds4_source_read(source, row, n_rows, &own->buffer, error);
        for (uint64_t i = 0; status == DS4_OK && i < n_rows; i++, target += row_bytes)
            status = make_row(t, own, index, matrix, row + i, i, target, error);
        if (status != DS4_OK) return status;
    }
    return DS4_OK;
}

/* ---- creation ---- */

static ds4_status create_workers(ds4_transcode *t, ds4_error *error) {
    uint64_t widest = 1;
    for (size_t i = 0; i < t->plan->n; i++)
        if (t->plan->tensors[i].ne[0] > widest) widest = t->plan->tensors[i].ne[0];
    t->n_workers = ds4_stream_threads(t->options.n_threads);
    t->workers = calloc(t->n_workers, sizeof *t->workers);
    if (t->workers == NULL)
        return ds4_fail_memory(error, t->n_workers * sizeof *t->workers, "workers");
    for (uint32_t i = 0; i < t->n_workers; i++) {
        ds4_status status = ds4_source_buffer_create(widest, &t->workers[i].buffer, error);
        if (status != DS4_OK) return status;
        t->workers[i].row = malloc((size_t)widest * sizeof(float));
        if (t->workers[i].row == NULL)
            return ds4_fail_memory(error, (size_t)widest * sizeof(float), "a row");
    }
    return DS4_OK;
}

/* Every tensor that will use the imatrix is looked up before hours of work begin. */
static ds4_status check_imatrix(ds4_transcode *t, ds4_error *error) {
    size_t n_missing = 0;
    const char *first = NULL;
    for (size_t i = 0; i < t->plan->n; i++) {
        const ds4_tensor_plan *tensor = &t->plan->tensors[i];
        size_t n = (size_t)tensor->ne[0], n_matrices = (size_t)ds4_plan_n_matrices(tensor);
        bool found = false;
        if (!uses_importance(t, tensor->type)) continue;
        size_t last = n_matrices - 1; /* the first and the last tell whether the shapes agree */
        for (size_t m = 0; m <= last; m += last > 0 ? last : 1) {
            ds4_status status =
                ds4_imatrix_importance(t->imatrix, tensor->name, m, n, n_matrices,
                                       DS4_IMATRIX_SMOOTHING, t->workers[0].row, &found, error);
            if (status != DS4_OK) return status;
        }
        if (found) continue;
        if (n_missing++ == 0) first = tensor->name;
    }
    if (n_missing == 0) return DS4_OK;
    if (t->options.imatrix_strict)
        return ds4_fail(error, DS4_FORMAT, "'%s' knows nothing of %zu tensors, first '%s'",
                        t->options.imatrix, n_missing, first);
    fprintf(stderr,
            "%s knows nothing of %zu tensors, first %s: these are quantised without importances\n",
            t->options.imatrix, n_missing, first);
    return DS4_OK;
}

static ds4_status hash_imatrix(ds4_transcode *t, ds4_error *error) {
    enum { MAX_BYTES = 1 << 30 };
    ds4_strbuf bytes = {0};
    ds4_status status = ds4_file_read(t->options.imatrix, MAX_BYTES, &bytes, error);
    if (status == DS4_OK) t->run = XXH64(bytes.data, bytes.n, t->run);
    ds4_strbuf_free(&bytes);
    return status;
}

ds4_status ds4_transcode_create(const ds4_transcode_options *options, const ds4_plan *plan,
                                ds4_matrix_source *const *sources, uint32_t n_experts,
                                uint64_t origin, ds4_transcode **transcode, ds4_error *error) {
    const ds4_quantizer_options quantizer = {.refit = options->refit};
    *transcode = NULL;
    ds4_transcode *t = calloc(1, sizeof *t);
    if (t == NULL) return ds4_fail_memory(error, sizeof *t, "a conversion");
    *t = (ds4_transcode){.options = *options,
                         .plan = plan,
                         .sources = sources,
                         .n_experts = n_experts,
                         .run = XXH64(&options->refit, sizeof options->refit, origin)};
    ds4_status status = ds4_tool_check_output(options->output, options->force, error);
    if (status == DS4_OK) status = ds4_quantizer_create(&quantizer, &t->quantizer, error);
    if (status == DS4_OK) status = create_workers(t, error);
    if (status == DS4_OK && options->imatrix != NULL) {
        status = ds4_imatrix_open(options->imatrix, &t->imatrix, error);
        if (status == DS4_OK) status = hash_imatrix(t, error);
        if (status == DS4_OK) status = check_imatrix(t, error);
    }
    if (status != DS4_OK) {
        ds4_transcode_destroy(t);
        return status;
    }
    *transcode = t;
    return DS4_OK;
}

void ds4_transcode_destroy(ds4_transcode *transcode) {
    if (transcode == NULL) return;
    for (uint32_t i = 0; transcode->workers != NULL && i < transcode->n_workers; i++) {
        ds4_source_buffer_free(&transcode->workers[i].buffer);
        free(transcode->workers[i].row);
    }
    free(transcode->workers);
    free(transcode->importance);
    free(transcode->has_importance);
    ds4_quantizer_destroy(transcode->quantizer);
    ds4_imatrix_destroy(transcode->imatrix);
    free(transcode);
}

void ds4_transcode_put_metadata(const ds4_transcode *transcode, ds4_gguf_writer *writer) {
    const ds4_transcode *t = transcode;
    if (t->options.refit) ds4_gguf_writer_put_bool(writer, "quantize.refit", true);
    if (t->imatrix == NULL) return;
    const char *slash = strrchr(t->options.imatrix, '/'); /* paths are nobody's business */
    const char *name = slash == NULL ? t->options.imatrix : slash + 1;
    const char *dataset = ds4_imatrix_dataset(t->imatrix);
    slash = strrchr(dataset, '/');
    if (slash != NULL) dataset = slash + 1;
    ds4_gguf_writer_put_string(writer, "quantize.imatrix.file", name, strlen(name));
    ds4_gguf_writer_put_u64(writer, "quantize.imatrix.entries_count",
                            ds4_imatrix_n_entries(t->imatrix));
    if (dataset[0] != '\0')
        ds4_gguf_writer_put_string(writer, "quantize.imatrix.dataset", dataset, strlen(dataset));
    if (ds4_imatrix_chunks(t->imatrix) > 0)
        ds4_gguf_writer_put_u64(writer, "quantize.imatrix.chunks_count",
                                ds4_imatrix_chunks(t->imatrix));
}

/* ---- the file ---- */

static ds4_status open_journal(ds4_transcode *t, ds4_gguf_writer *writer, ds4_journal **journal,
                               ds4_error *error) {
    ds4_strbuf path = {0};
    bool resumed = false;
    size_t n_found = 0;
    ds4_status status = ds4_gguf_writer_resume(writer, &resumed, error);
    if (status != DS4_OK) return status;
    ds4_strbuf_printf(&path, "%s.journal", ds4_gguf_writer_temporary(writer));
    status = path.failed ? ds4_fail_memory(error, path.n, "a path")
                         : ds4_journal_open(path.data, t->run, !resumed || t->options.restart,
                                            journal, &n_found, error);
    ds4_strbuf_free(&path);
    if (status == DS4_OK && n_found > 0)
        fprintf(stderr, "going on after %zu of %zu tensors\n", n_found, t->plan->n);
    return status;
}

ds4_status ds4_transcode_write(ds4_transcode *transcode, ds4_gguf_writer *writer,
                               ds4_error *error) {
    ds4_transcode *t = transcode;
    ds4_journal *journal = NULL;
    ds4_progress *progress = NULL;
    uint64_t total = 0;
    char size[64];
    ds4_plan_put_tensors(t->plan, writer);
    ds4_status status = open_journal(t, writer, &journal, error);
    if (status != DS4_OK) goto done;
    for (size_t i = 0; i < t->plan->n; i++) total += ds4_gguf_writer_tensor_bytes(writer, i);
    status = ds4_progress_create(total, &progress, error);
    if (status != DS4_OK) goto done;
    ds4_gguf_writer_keep(writer, true);
    const ds4_stream stream = {.writer = writer,
                               .plan = t->plan,
                               .n_threads = t->options.n_threads,
                               .context = t,
                               .prepare = prepare,
                               .produce = produce,
                               .journal = journal,
                               .progress = progress};
    status = ds4_stream_payloads(&stream, error);
    ds4_progress_destroy(progress);
    progress = NULL;
    if (status == DS4_IO) {
        fprintf(stderr, "what is done stays in %s: the same command goes on from there\n",
                ds4_gguf_writer_temporary(writer));
    } else if (status != DS4_OK) { /* the sources are at fault: it would fail again */
        ds4_gguf_writer_keep(writer, false);
        ds4_journal_remove(journal);
    }
    if (status != DS4_OK) goto done;
    status = ds4_gguf_writer_finish(writer, error);
    if (status != DS4_OK) goto done;
    ds4_journal_remove(journal);
    if (t->n_without > 0)
        fprintf(stderr, "%zu matrices had no measured importance\n", t->n_without);
    printf("%s: %zu tensors, %s\n", t->options.output, t->plan->n,
           ds4_tool_size(ds4_gguf_writer_file_bytes(writer), size));
done:
    ds4_progress_destroy(progress);
    ds4_journal_close(journal);
    return status;
}
