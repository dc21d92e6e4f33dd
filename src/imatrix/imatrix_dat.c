/* The older form: i32 number of records; per record i32 length of the name, the name, i32 calls,
 * i32 number of values, float32 values; at the end optionally i32 chunks, i32 length, name of the
 * dataset. Little-endian. A value over the calls is a mean of squares. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "imatrix/imatrix_internal.h"

enum { MAX_ENTRIES = 65536, MAX_NAME = 4096 };

typedef struct reader {
    const uint8_t *bytes;
    size_t n, at;
    const char *what;
    ds4_error *error;
} reader;

static ds4_status malformed(const reader *r, size_t at, const char *problem) {
    return ds4_fail(r->error, DS4_FORMAT, "%.200s: %s at byte %zu", r->what, problem, at);
}

static uint32_t u32_at(const uint8_t *b) {
    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

/* A count between `least` and `most`. */
static ds4_status read_count(reader *r, uint32_t least, uint32_t most, const char *what,
                             uint32_t *value) {
    char problem[96];
    if (r->n - r->at < 4) {
        snprintf(problem, sizeof problem, "the file ends before %s", what);
        return malformed(r, r->at, problem);
    }
    *value = u32_at(r->bytes + r->at);
    r->at += 4;
    if (*value >= least && *value <= most) return DS4_OK;
    snprintf(problem, sizeof problem, "%s is %d, expected %u to %u", what, (int)*value, least,
             most);
    return malformed(r, r->at - 4, problem);
}

static ds4_status read_values(reader *r, ds4_imatrix_entry *entry, uint32_t calls) {
    for (size_t c = 0; c < entry->n_columns; c++, r->at += 4) {
        uint32_t bits = u32_at(r->bytes + r->at);
        float value;
        memcpy(&value, &bits, sizeof value);
        if (!isfinite(value) || value < 0)
            return malformed(r, r->at, "a value that is negative or not finite");
        entry->sums[c] = (double)value;
    }
    entry->counts[0] = calls > 0 ? calls : 1;
    entry->has_counts = false;
    return DS4_OK;
}

static ds4_status read_entry(reader *r, ds4_imatrix *imatrix) {
    uint32_t n_name = 0, calls = 0, n_values = 0;
    char name[MAX_NAME + 1];
    ds4_imatrix_entry *entry;
    size_t start = r->at;
    ds4_status status = read_count(r, 1, MAX_NAME, "the length of a name", &n_name);
    if (status != DS4_OK) return status;
    if (n_name > r->n - r->at) return malformed(r, r->at, "the file ends inside a name");
    memcpy(name, r->bytes + r->at, n_name);
    name[n_name] = '\0';
    r->at += n_name;
    if (strlen(name) != n_name) return malformed(r, start, "a name with a zero byte");
    if (ds4_imatrix_find(imatrix, name) != NULL)
        return malformed(r, start, "a name that was there before");
    status = read_count(r, 0, INT32_MAX, "the number of calls", &calls);
    if (status == DS4_OK) status = read_count(r, 1, INT32_MAX, "the number of values", &n_values);
    if (status != DS4_OK) return status;
    if (n_values > (r->n - r->at) / 4) return malformed(r, r->at, "the file ends inside values");
    status = ds4_imatrix_entry_for(imatrix, name, n_values, 1, &entry, r->error);
    return status == DS4_OK ? read_values(r, entry, calls) : status;
}

static ds4_status read_tail(reader *r, ds4_imatrix *imatrix) {
    uint32_t chunks = 0, n_dataset = 0;
    if (r->at == r->n) return DS4_OK;
    ds4_status status = read_count(r, 0, INT32_MAX, "the number of chunks", &chunks);
    if (status == DS4_OK)
        status = read_count(r, 0, MAX_NAME, "the length of the dataset's name", &n_dataset);
    if (status != DS4_OK) return status;
    if (n_dataset != r->n - r->at)
        return malformed(r, r->at, "the dataset's name does not end with the file");
    char dataset[MAX_NAME + 1];
    memcpy(dataset, r->bytes + r->at, n_dataset);
    dataset[n_dataset] = '\0';
    ds4_imatrix_set_source(imatrix, dataset, chunks, 0);
    return DS4_OK;
}

ds4_status ds4_imatrix_parse_dat(const void *bytes, size_t n_bytes, const char *what,
                                 ds4_imatrix *imatrix, ds4_error *error) {
    reader r = {.bytes = bytes, .n = n_bytes, .what = what, .error = error};
    uint32_t n_entries = 0;
    ds4_status status = read_count(&r, 1, MAX_ENTRIES, "the number of entries", &n_entries);
    for (uint32_t i = 0; status == DS4_OK && i < n_entries; i++) status = read_entry(&r, imatrix);
    return status == DS4_OK ? read_tail(&r, imatrix) : status;
}

/* ---- writing ---- */

static bool put_u32(FILE *file, uint32_t value) {
    const uint8_t b[4] = {(uint8_t)value, (uint8_t)(value >> 8), (uint8_t)(value >> 16),
                          (uint8_t)(value >> 24)};
    return fwrite(b, 1, sizeof b, file) == sizeof b;
}

static bool write_entry(FILE *file, const ds4_imatrix_entry *entry) {
    bool good = put_u32(file, (uint32_t)strlen(entry->name)) && fputs(entry->name, file) >= 0 &&
                put_u32(file, 1) && put_u32(file, (uint32_t)(entry->n_columns * entry->n_matrices));
    for (size_t m = 0; m < entry->n_matrices; m++) {
        uint64_t count = entry->counts[m];
        for (size_t c = 0; c < entry->n_columns && good; c++) {
            double sum = entry->sums[m * entry->n_columns + c];
            float value = count == 0 ? 1.0f : (float)(sum / (double)count);
            uint32_t bits;
            memcpy(&bits, &value, sizeof bits);
            good = put_u32(file, bits);
        }
    }
    return good;
}

ds4_status ds4_imatrix_write_dat(const ds4_imatrix *imatrix, const char *path, ds4_error *error) {
    char temporary[4096];
    for (size_t i = 0; i < imatrix->n_entries; i++)
        if (imatrix->entries[i].n_columns * imatrix->entries[i].n_matrices > INT32_MAX)
            return ds4_fail(error, DS4_UNSUPPORTED, "%s is too long for a .dat file",
                            imatrix->entries[i].name);
    if (snprintf(temporary, sizeof temporary, "%s.tmp", path) >= (int)sizeof temporary)
        return ds4_fail(error, DS4_INVALID_ARGUMENT, "the path %.80s... is too long", path);
    FILE *file = fopen(temporary, "wb");
    if (file == NULL)
        return ds4_fail(error, DS4_IO, "cannot create %.300s: %s", temporary, strerror(errno));
    const char *dataset = ds4_imatrix_dataset(imatrix);
    bool good = put_u32(file, (uint32_t)imatrix->n_entries);
    for (size_t i = 0; good && i < imatrix->n_entries; i++)
        good = write_entry(file, &imatrix->entries[i]);
    good = good && put_u32(file, imatrix->chunks) && put_u32(file, (uint32_t)strlen(dataset)) &&
           fputs(dataset, file) >= 0;
    good = (fclose(file) == 0) && good;
    if (good) good = rename(temporary, path) == 0;
    if (good) return DS4_OK;
    ds4_status status = ds4_fail(error, DS4_IO, "cannot write %.300s: %s", path, strerror(errno));
    remove(temporary);
    return status;
}
