/* The GGUF form: per weight NAME the float32 tensors "NAME.in_sum2" [columns, matrices] and
 * "NAME.counts" [1, matrices]; general.type is "imatrix". */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "gguf/gguf_writer.h"
#include "imatrix/imatrix_internal.h"

#define SUMS_SUFFIX   ".in_sum2"
#define COUNTS_SUFFIX ".counts"

enum { ALIGNMENT = 32 };

/* ---- reading ---- */

static bool ends_with(const char *name, const char *suffix) {
    size_t n = strlen(name), m = strlen(suffix);
    return n > m && strcmp(name + n - m, suffix) == 0;
}

static float f32_at(const void *data, size_t index) {
    float value;
    memcpy(&value, (const uint8_t *)data + index * sizeof value, sizeof value);
    return value;
}

static bool is_valid(float value) {
    return isfinite(value) && value >= 0;
}

/* Both tensors of one weight. */
static ds4_status read_entry(const ds4_gguf *gguf, const ds4_gguf_tensor *sums, const char *what,
                             ds4_imatrix *imatrix, ds4_error *error) {
    char name[sizeof sums->name], other[sizeof sums->name + sizeof COUNTS_SUFFIX];
    ds4_imatrix_entry *entry;
    snprintf(name, sizeof name, "%.*s", (int)(strlen(sums->name) - strlen(SUMS_SUFFIX)),
             sums->name);
    snprintf(other, sizeof other, "%s" COUNTS_SUFFIX, name);
    const ds4_gguf_tensor *counts = ds4_gguf_find_tensor(gguf, other);
    size_t n_columns = (size_t)sums->ne[0], n_matrices = (size_t)sums->ne[1];
    if (counts == NULL)
        return ds4_fail(error, DS4_FORMAT, "%.200s: tensor %s is missing beside %s", what, other,
                        sums->name);
    if (sums->type != DS4_TYPE_F32 || counts->type != DS4_TYPE_F32)
        return ds4_fail(error, DS4_FORMAT, "%.200s: the tensors of %s are not float32", what, name);
    if (counts->n_elements != n_matrices || sums->n_elements != n_columns * n_matrices)
        return ds4_fail(error, DS4_FORMAT,
                        "%.200s: %s has %llu counts for %zu matrices of %zu columns", what, name,
                        (unsigned long long)counts->n_elements, n_matrices, n_columns);
    ds4_status status = ds4_imatrix_entry_for(imatrix, name, n_columns, n_matrices, &entry, error);
    for (size_t m = 0; status == DS4_OK && m < n_matrices; m++) {
        float count = f32_at(counts->data, m);
        if (!is_valid(count) || count > 0x1p62f)
            return ds4_fail(error, DS4_FORMAT, "%.200s: count %zu of %s is not a number of inputs",
                            what, m, name);
        entry->counts[m] = (uint64_t)count;
        for (size_t k = m * n_columns; k < (m + 1) * n_columns; k++) {
            float sum = f32_at(sums->data, k);
            if (!is_valid(sum))
                return ds4_fail(error, DS4_FORMAT,
                                "%.200s: value %zu of %s is negative or not finite", what, k, name);
            entry->sums[k] = (double)sum;
        }
    }
    return status;
}

static void read_source(const ds4_gguf *gguf, ds4_imatrix *imatrix) {
    uint32_t chunks = 0, chunk_tokens = 0;
    ds4_gguf_string first = {NULL, 0};
    const ds4_gguf_value *datasets = ds4_gguf_find_value(gguf, "imatrix.datasets");
    ds4_gguf_get_u32(gguf, "imatrix.chunk_count", &chunks, NULL);
    ds4_gguf_get_u32(gguf, "imatrix.chunk_size", &chunk_tokens, NULL);
    if (datasets != NULL) {
        ds4_gguf_string_cursor cursor = ds4_gguf_strings(datasets);
        ds4_gguf_next_string(&cursor, &first);
    }
    char *text = first.data != NULL ? strndup(first.data, first.n) : NULL;
    ds4_imatrix_set_source(imatrix, text, chunks, chunk_tokens);
    free(text);
}

ds4_status ds4_imatrix_parse_gguf(const void *bytes, size_t n_bytes, const char *what,
                                  ds4_imatrix *imatrix, ds4_error *error) {
    ds4_gguf *gguf = NULL;
    ds4_error reason = {0};
    ds4_gguf_string type;
    if (ds4_gguf_open_memory(bytes, n_bytes, NULL, &gguf, &reason) != DS4_OK)
        return ds4_fail(error, reason.status, "%.200s: %.280s", what, reason.message);
    ds4_status status = ds4_gguf_get_string(gguf, "general.type", &type, NULL);
    if (status != DS4_OK || type.n != 7 || memcmp(type.data, "imatrix", 7) != 0)
        status = ds4_fail(error, DS4_FORMAT,
                          "%.200s is a GGUF file but not an imatrix (general.type)", what);
    for (uint64_t i = 0; status == DS4_OK && i < ds4_gguf_n_tensors(gguf); i++) {
        const ds4_gguf_tensor *tensor = ds4_gguf_tensor_at(gguf, i);
        if (ends_with(tensor->name, SUMS_SUFFIX))
            status = read_entry(gguf, tensor, what, imatrix, error);
        else if (!ends_with(tensor->name, COUNTS_SUFFIX))
            status = ds4_fail(error, DS4_FORMAT, "%.200s: tensor %s does not belong to an imatrix",
                              what, tensor->name);
    }
    if (status == DS4_OK) read_source(gguf, imatrix);
    if (status == DS4_OK && imatrix->n_entries == 0)
        status = ds4_fail(error, DS4_FORMAT, "%.200s holds no weight", what);
    ds4_gguf_close(gguf);
    return status;
}

ds4_status ds4_imatrix_parse(const void *bytes, size_t n_bytes, const char *what,
                             ds4_imatrix **imatrix, ds4_error *error) {
    ds4_status status = ds4_imatrix_create(imatrix, error);
    if (status != DS4_OK) return status;
    bool is_gguf = n_bytes >= 4 && memcmp(bytes, "GGUF", 4) == 0;
    status = (is_gguf ? ds4_imatrix_parse_gguf : ds4_imatrix_parse_dat)(bytes, n_bytes, what,
                                                                        *imatrix, error);
    if (status == DS4_OK) return DS4_OK;
    ds4_imatrix_destroy(*imatrix);
    *imatrix = NULL;
    return status;
}

ds4_status ds4_imatrix_open(const char *path, ds4_imatrix **imatrix, ds4_error *error) {
    enum { MAX_BYTES = INT32_MAX };
    ds4_strbuf bytes = {0};
    *imatrix = NULL;
    ds4_status status = ds4_file_read(path, MAX_BYTES, &bytes, error);
    if (status == DS4_OK)
        status =
            ds4_imatrix_parse(bytes.data != NULL ? bytes.data : "", bytes.n, path, imatrix, error);
    ds4_strbuf_free(&bytes);
    return status;
}

/* ---- writing ---- */

static int by_name(const void *a, const void *b) {
    const ds4_imatrix_entry *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

static void declare(const ds4_imatrix *imatrix, const ds4_imatrix_entry *const *sorted,
                    ds4_gguf_writer *writer) {
    const char *dataset = ds4_imatrix_dataset(imatrix);
    const ds4_gguf_string datasets[1] = {{dataset, strlen(dataset)}};
    ds4_gguf_writer_put_string(writer, "general.type", "imatrix", 7);
    ds4_gguf_writer_put_string_array(writer, "imatrix.datasets", datasets, 1);
    ds4_gguf_writer_put_u32(writer, "imatrix.chunk_count", imatrix->chunks);
    ds4_gguf_writer_put_u32(writer, "imatrix.chunk_size", imatrix->chunk_tokens);
    for (size_t i = 0; i < imatrix->n_entries; i++) {
        const ds4_imatrix_entry *e = sorted[i];
        char name[sizeof e->name + sizeof SUMS_SUFFIX];
        snprintf(name, sizeof name, "%s" COUNTS_SUFFIX, e->name);
        ds4_gguf_writer_add_tensor(writer, name, DS4_TYPE_F32, 2,
                                   (const uint64_t[2]){1, e->n_matrices});
        snprintf(name, sizeof name, "%s" SUMS_SUFFIX, e->name);
        ds4_gguf_writer_add_tensor(writer, name, DS4_TYPE_F32, 2,
                                   (const uint64_t[2]){e->n_columns, e->n_matrices});
    }
}

static ds4_status write_payloads(const ds4_imatrix_entry *e, float *row, ds4_gguf_writer *writer,
                                 ds4_error *error) {
    ds4_status status = DS4_OK;
    for (size_t m = 0; status == DS4_OK && m < e->n_matrices; m++) {
        float count = (float)e->counts[m];
        status = ds4_gguf_writer_write(writer, &count, sizeof count, error);
    }
    for (size_t m = 0; status == DS4_OK && m < e->n_matrices; m++) {
        for (size_t c = 0; c < e->n_columns; c++) row[c] = (float)e->sums[m * e->n_columns + c];
        status = ds4_gguf_writer_write(writer, row, e->n_columns * sizeof *row, error);
    }
    return status;
}

ds4_status ds4_imatrix_write_gguf(const ds4_imatrix *imatrix, const char *path, ds4_error *error) {
    ds4_gguf_writer *writer = NULL;
    size_t n = imatrix->n_entries, widest = 1;
    const ds4_imatrix_entry **sorted = calloc(n + 1, sizeof *sorted);
    float *row = NULL;
    ds4_status status = DS4_OK;
    if (sorted == NULL) return ds4_fail_memory(error, n * sizeof *sorted, "the order of entries");
    for (size_t i = 0; status == DS4_OK && i < n; i++) {
        const ds4_imatrix_entry *e = sorted[i] = &imatrix->entries[i];
        if (e->n_columns > widest) widest = e->n_columns;
        if (!e->has_counts)
            status = ds4_fail(error, DS4_UNSUPPORTED,
                              "%s holds means without counts (it was read from a .dat file), which "
                              "the GGUF form cannot say",
                              e->name);
    }
    if (status != DS4_OK) goto done;
    row = malloc(widest * sizeof *row);
    if (row == NULL) {
        status = ds4_fail_memory(error, widest * sizeof *row, "a row of an imatrix");
        goto done;
    }
    qsort(sorted, n, sizeof *sorted, by_name);
    status = ds4_gguf_writer_create(path, ALIGNMENT, &writer, error);
    if (status != DS4_OK) goto done;
    declare(imatrix, sorted, writer);
    status = ds4_gguf_writer_begin(writer, error);
    for (size_t i = 0; status == DS4_OK && i < n; i++)
        status = write_payloads(sorted[i], row, writer, error);
    if (status == DS4_OK) status = ds4_gguf_writer_finish(writer, error);
done:
    ds4_gguf_writer_destroy(writer);
    free(row);
    free(sorted);
    return status;
}
