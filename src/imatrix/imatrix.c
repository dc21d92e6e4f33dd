#include "imatrix/imatrix.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "imatrix/imatrix_internal.h"

ds4_status ds4_imatrix_create(ds4_imatrix **imatrix, ds4_error *error) {
    *imatrix = calloc(1, sizeof **imatrix);
    return *imatrix != NULL ? DS4_OK : ds4_fail_memory(error, sizeof **imatrix, "an imatrix");
}

void ds4_imatrix_destroy(ds4_imatrix *imatrix) {
    if (imatrix == NULL) return;
    for (size_t i = 0; i < imatrix->n_entries; i++) {
        free(imatrix->entries[i].sums);
        free(imatrix->entries[i].counts);
    }
    free(imatrix->entries);
    free(imatrix->dataset);
    free(imatrix);
}

static ds4_imatrix_entry *find(const ds4_imatrix *imatrix, const char *name) {
    for (size_t i = 0; i < imatrix->n_entries; i++)
        if (strcmp(imatrix->entries[i].name, name) == 0) return &imatrix->entries[i];
    return NULL;
}

static ds4_status add_entry(ds4_imatrix *imatrix, const char *name, size_t n_columns,
                            size_t n_matrices, ds4_imatrix_entry **entry, ds4_error *error) {
    if (imatrix->n_entries == imatrix->capacity) {
        size_t capacity = imatrix->capacity == 0 ? 64 : 2 * imatrix->capacity;
        ds4_imatrix_entry *grown = realloc(imatrix->entries, capacity * sizeof *grown);
        if (grown == NULL)
            return ds4_fail_memory(error, capacity * sizeof *grown, "the imatrix's entries");
        imatrix->entries = grown;
        imatrix->capacity = capacity;
    }
    ds4_imatrix_entry made = {.n_columns = n_columns, .n_matrices = n_matrices, .has_counts = true};
    snprintf(made.name, sizeof made.name, "%s", name);
    made.sums = n_columns > SIZE_MAX / sizeof(double) / n_matrices
                    ? NULL
                    : calloc(n_columns * n_matrices, sizeof *made.sums);
    made.counts = calloc(n_matrices, sizeof *made.counts);
    if (made.sums == NULL || made.counts == NULL) {
        free(made.sums);
        free(made.counts);
        return ds4_fail_memory(error, n_columns * n_matrices * sizeof(double), name);
    }
    *entry = &imatrix->entries[imatrix->n_entries++];
    **entry = made;
    return DS4_OK;
}

ds4_status ds4_imatrix_entry_for(ds4_imatrix *imatrix, const char *name, size_t n_columns,
                                 size_t n_matrices, ds4_imatrix_entry **entry, ds4_error *error) {
    if (n_columns == 0 || n_matrices == 0 || strlen(name) >= sizeof(*entry)->name)
        return ds4_fail(error, DS4_INVALID_ARGUMENT,
                        "%.80s: an imatrix entry needs columns and a name of at most %zu bytes",
                        name, sizeof(*entry)->name - 1);
    *entry = find(imatrix, name);
    if (*entry == NULL) return add_entry(imatrix, name, n_columns, n_matrices, entry, error);
    if ((*entry)->n_columns == n_columns && (*entry)->n_matrices == n_matrices) return DS4_OK;
    return ds4_fail(error, DS4_INVALID_ARGUMENT,
                    "%s: the imatrix has %zu x %zu columns of it, not %zu x %zu", name,
                    (*entry)->n_matrices, (*entry)->n_columns, n_matrices, n_columns);
}

void ds4_imatrix_entry_add(ds4_imatrix_entry *entry, size_t matrix, const float *x) {
    double *sums = entry->sums + matrix * entry->n_columns;
    for (size_t c = 0; c < entry->n_columns; c++) sums[c] += (double)x[c] * (double)x[c];
    entry->counts[matrix]++;
}

size_t ds4_imatrix_n_entries(const ds4_imatrix *imatrix) {
    return imatrix->n_entries;
}

const ds4_imatrix_entry *ds4_imatrix_entry_at(const ds4_imatrix *imatrix, size_t index) {
    return &imatrix->entries[index];
}

const ds4_imatrix_entry *ds4_imatrix_find(const ds4_imatrix *imatrix, const char *name) {
    return find(imatrix, name);
}

void ds4_imatrix_set_source(ds4_imatrix *imatrix, const char *dataset, uint32_t chunks,
                            uint32_t chunk_tokens) {
    if (dataset != NULL) {
        char *copy = strdup(dataset);
        if (copy != NULL) {
            free(imatrix->dataset);
            imatrix->dataset = copy;
        }
    }
    imatrix->chunks = chunks;
    imatrix->chunk_tokens = chunk_tokens;
}

const char *ds4_imatrix_dataset(const ds4_imatrix *imatrix) {
    return imatrix->dataset != NULL ? imatrix->dataset : "";
}

uint32_t ds4_imatrix_chunks(const ds4_imatrix *imatrix) {
    return imatrix->chunks;
}

/* ---- importance ---- */

/* Column c of all matrices together, per input. */
static double mean_of_all(const ds4_imatrix_entry *entry, size_t column, uint64_t total) {
    double sum = 0;
    for (size_t m = 0; m < entry->n_matrices; m++)
        sum += entry->sums[m * entry->n_columns + column];
    return sum / (double)total;
}

/* `first`: where the matrix begins among the entry's values; `count` belongs to it. */
static void fill(const ds4_imatrix_entry *entry, size_t first, uint64_t count, size_t n_columns,
                 double smoothing, float *importance) {
    uint64_t total = ds4_imatrix_entry_coverage(entry).total;
    bool smooth = entry->has_counts && entry->n_matrices > 1 && smoothing > 0;
    for (size_t c = 0; c < n_columns; c++) {
        double sum = entry->sums[first + c];
        if (smooth)
            importance[c] = (float)((sum + smoothing * mean_of_all(entry, c, total)) /
                                    ((double)count + smoothing));
        else
            importance[c] = count == 0 ? 1.0f : (float)(sum / (double)count);
    }
}

/* A single expert's own entry, in the two spellings that are met. */
static const ds4_imatrix_entry *find_expert(const ds4_imatrix *imatrix, const char *name,
                                            size_t matrix) {
    static const char *const spelling[] = {"%s.expert.%zu", "%s.expert_%zu"};
    char other[96];
    const ds4_imatrix_entry *entry = NULL;
    for (size_t i = 0; i < 2 && entry == NULL; i++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(other, sizeof other, spelling[i], name, matrix);
#pragma GCC diagnostic pop
        entry = find(imatrix, other);
    }
    return entry;
}

ds4_status ds4_imatrix_importance(const ds4_imatrix *imatrix, const char *name, size_t matrix,
                                  size_t n_columns, size_t n_matrices, double smoothing,
                                  float *importance, bool *found, ds4_error *error) {
    *found = false;
    const ds4_imatrix_entry *entry = n_matrices > 1 ? find_expert(imatrix, name, matrix) : NULL;
    bool single = entry != NULL;
    if (entry == NULL) entry = find(imatrix, name);
    if (entry == NULL || ds4_imatrix_entry_coverage(entry).total == 0) return DS4_OK;
    size_t n_values = entry->n_columns * entry->n_matrices;
    if (n_values == n_columns)
        fill(entry, 0, entry->counts[0], n_columns, smoothing, importance);
    else if (!single && n_values == n_columns * n_matrices && entry->n_matrices == n_matrices)
        fill(entry, matrix * n_columns, entry->counts[matrix], n_columns, smoothing, importance);
    else if (!single && n_values == n_columns * n_matrices && entry->n_matrices == 1)
        fill(entry, matrix * n_columns, entry->counts[0], n_columns, 0, importance);
    else
        return ds4_fail(error, DS4_FORMAT,
                        "the imatrix has %zu values for %s, which has %zu matrices of %zu columns",
                        n_values, name, n_matrices, n_columns);
    *found = true;
    return DS4_OK;
}

ds4_imatrix_coverage ds4_imatrix_entry_coverage(const ds4_imatrix_entry *entry) {
    ds4_imatrix_coverage coverage = {.least = UINT64_MAX};
    for (size_t m = 0; m < entry->n_matrices; m++) {
        uint64_t n = entry->counts[m];
        if (n == 0)
            coverage.n_unused++;
        else if ((double)n < DS4_IMATRIX_SMOOTHING)
            coverage.n_sparse++;
        if (n < coverage.least) coverage.least = n;
        if (n > coverage.greatest) coverage.greatest = n;
        coverage.total += n;
    }
    return coverage;
}

ds4_status ds4_imatrix_merge(ds4_imatrix *target, const ds4_imatrix *source, ds4_error *error) {
    for (size_t i = 0; i < source->n_entries; i++) {
        const ds4_imatrix_entry *from = &source->entries[i], *to = find(target, from->name);
        if (!from->has_counts || (to != NULL && !to->has_counts))
            return ds4_fail(error, DS4_INVALID_ARGUMENT,
                            "%s holds a mean without the number of inputs (a .dat file), which "
                            "cannot be merged; merge the GGUF forms",
                            from->name);
        if (to != NULL && (to->n_columns != from->n_columns || to->n_matrices != from->n_matrices))
            return ds4_fail(error, DS4_INVALID_ARGUMENT,
                            "%s has %zu x %zu columns in one file and %zu x %zu in another",
                            from->name, to->n_matrices, to->n_columns, from->n_matrices,
                            from->n_columns);
    }
    for (size_t i = 0; i < source->n_entries; i++) {
        const ds4_imatrix_entry *from = &source->entries[i];
        ds4_imatrix_entry *to = NULL;
        ds4_status status = ds4_imatrix_entry_for(target, from->name, from->n_columns,
                                                  from->n_matrices, &to, error);
        if (status != DS4_OK) return status;
        for (size_t k = 0; k < from->n_columns * from->n_matrices; k++)
            to->sums[k] += from->sums[k];
        for (size_t m = 0; m < from->n_matrices; m++) to->counts[m] += from->counts[m];
    }
    target->chunks += source->chunks;
    return DS4_OK;
}
