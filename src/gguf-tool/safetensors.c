#include "gguf-tool/safetensors.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/error.h"
#include "base/strbuf.h"
#include "gguf-tool/json_file.h"

enum { MAX_HEADER_BYTES = 100 << 20 };

typedef struct shard {
    ds4_source_file file;
    json_object *header; /* owns the tensors' names */
} shard;

struct ds4_safetensors {
    shard **shards; /* each at its own place: tensors point at them */
    size_t n_shards;
    ds4_safetensor *tensors;
    size_t n_tensors, capacity;
    json_object *index;
};

static const struct {
    const char *name;
    ds4_dtype dtype;
    uint32_t n_bytes;
} dtypes[] = {
    {"F32", DS4_DTYPE_F32, 4},       {"F16", DS4_DTYPE_F16, 2},
    {"BF16", DS4_DTYPE_BF16, 2},     {"I64", DS4_DTYPE_I64, 8},
    {"I32", DS4_DTYPE_I32, 4},       {"F64", DS4_DTYPE_OTHER, 8},
    {"U64", DS4_DTYPE_OTHER, 8},     {"U32", DS4_DTYPE_OTHER, 4},
    {"I16", DS4_DTYPE_OTHER, 2},     {"U16", DS4_DTYPE_OTHER, 2},
    {"I8", DS4_DTYPE_BYTE, 1},       {"U8", DS4_DTYPE_BYTE, 1},
    {"BOOL", DS4_DTYPE_OTHER, 1},    {"F8_E4M3", DS4_DTYPE_F8_E4M3, 1},
    {"F8_E5M2", DS4_DTYPE_OTHER, 1}, {"F8_E8M0", DS4_DTYPE_F8_E8M0, 1},
};

static bool read_unsigned(json_object *value, uint64_t *result) {
    if (!json_object_is_type(value, json_type_int)) return false;
    int64_t n = json_object_get_int64(value); /* clamps beyond 63 bits, where no file reaches */
    *result = (uint64_t)n;
    return n >= 0 && n < INT64_MAX;
}

/* dtype and shape; the payload's size that follows from them. */
static ds4_status read_shape(const shard *file, json_object *entry, ds4_safetensor *tensor,
                             uint64_t *n_bytes, ds4_error *error) {
    json_object *dtype = NULL, *shape = NULL;
    uint64_t n = 1;
    size_t i = 0;
    json_object_object_get_ex(entry, "dtype", &dtype);
    json_object_object_get_ex(entry, "shape", &shape);
    if (!json_object_is_type(dtype, json_type_string) ||
        !json_object_is_type(shape, json_type_array) ||
        json_object_array_length(shape) > DS4_SAFETENSOR_MAX_DIMS) {
        return ds4_fail(error, DS4_FORMAT,
                        "%s: tensor '%.200s' has no dtype, or no shape of at most %d dimensions",
                        file->file.name, tensor->name, DS4_SAFETENSOR_MAX_DIMS);
    }
    tensor->dtype_name = json_object_get_string(dtype);
    while (i < sizeof dtypes / sizeof dtypes[0] && strcmp(dtypes[i].name, tensor->dtype_name) != 0)
        i++;
    if (i == sizeof dtypes / sizeof dtypes[0]) {
        return ds4_fail(error, DS4_FORMAT, "%s: tensor '%.200s' has the unknown dtype '%.40s'",
                        file->file.name, tensor->name, tensor->dtype_name);
    }
    tensor->dtype = dtypes[i].dtype;
    tensor->n_dims = (uint32_t)json_object_array_length(shape);
    for (uint32_t d = 0; d < tensor->n_dims; d++) {
        uint64_t extent = 0;
        if (!read_unsigned(json_object_array_get_idx(shape, d), &extent) ||
            (extent != 0 && n > INT64_MAX / 8 / extent)) {
            return ds4_fail(error, DS4_FORMAT, "%s: tensor '%.200s' has an impossible shape",
                            file->file.name, tensor->name);
        }
        tensor->shape[d] = extent;
        n *= extent;
    }
    tensor->n_elements = n;
    *n_bytes = n * dtypes[i].n_bytes;
    return DS4_OK;
}

static ds4_status read_entry(const shard *file, uint64_t payload_at, const char *name,
                             json_object *entry, ds4_safetensor *tensor, ds4_error *error) {
    uint64_t n_bytes = 0, begin = 0, end = 0, n_payload = file->file.n_bytes - payload_at;
    json_object *offsets = NULL;
    *tensor = (ds4_safetensor){.name = strncmp(name, "model.", 6) == 0 ? name + 6 : name};
    ds4_status status = read_shape(file, entry, tensor, &n_bytes, error);
    if (status != DS4_OK) return status;
    if (!json_object_object_get_ex(entry, "data_offsets", &offsets) ||
        !json_object_is_type(offsets, json_type_array) || json_object_array_length(offsets) != 2 ||
        !read_unsigned(json_object_array_get_idx(offsets, 0), &begin) ||
        !read_unsigned(json_object_array_get_idx(offsets, 1), &end) || begin > end) {
        return ds4_fail(error, DS4_FORMAT, "%s: tensor '%.200s' has no data_offsets [begin, end]",
                        file->file.name, name);
    }
    if (end > n_payload) {
        return ds4_fail(error, DS4_FORMAT,
                        "%s: tensor '%.200s' ends at payload byte %" PRIu64
                        ", but the file has %" PRIu64 ": it is truncated",
                        file->file.name, name, end, n_payload);
    }
    if (end - begin != n_bytes) {
        return ds4_fail(error, DS4_FORMAT,
                        "%s: tensor '%.200s' has %" PRIu64 " bytes where its shape needs %" PRIu64,
                        file->file.name, name, end - begin, n_bytes);
    }
    tensor->file = &file->file;
    tensor->offset = payload_at + begin;
    tensor->n_bytes = n_bytes;
    return DS4_OK;
}

static ds4_status append_tensor(ds4_safetensors *all, const ds4_safetensor *tensor,
                                ds4_error *error) {
    if (all->n_tensors == all->capacity) {
        size_t capacity = all->capacity == 0 ? 1024 : 2 * all->capacity;
        ds4_safetensor *grown = realloc(all->tensors, capacity * sizeof *grown);
        if (grown == NULL)
            return ds4_fail_memory(error, capacity * sizeof *grown, "the list of tensors");
        all->tensors = grown;
        all->capacity = capacity;
    }
    all->tensors[all->n_tensors++] = *tensor;
    return DS4_OK;
}

/* Payloads must not lie over one another. */
static int compare_offsets(const void *left, const void *right) {
    const ds4_safetensor *a = left, *b = right;
    return (a->offset > b->offset) - (a->offset < b->offset);
}

static ds4_status check_overlaps(ds4_safetensor *tensors, size_t n, ds4_error *error) {
    const ds4_safetensor *previous = NULL;
    if (n > 1) qsort(tensors, n, sizeof *tensors, compare_offsets);
    for (size_t i = 0; i < n; i++) {
        const ds4_safetensor *t = &tensors[i];
        if (t->n_bytes == 0) continue;
        bool is_same = previous != NULL && strcmp(previous->name, t->name) == 0; /* found later */
        if (previous != NULL && !is_same && t->offset - previous->offset < previous->n_bytes)
            return ds4_fail(error, DS4_FORMAT, "%s: the tensors '%.100s' and '%.100s' overlap",
                            t->file->name, previous->name, t->name);
        previous = t;
    }
    return DS4_OK;
}

static ds4_status read_entries(ds4_safetensors *all, shard *file, const char *text, size_t n,
                               ds4_error *error) {
    size_t first = all->n_tensors;
    ds4_status status = ds4_json_parse(text, n, file->file.name, &file->header, error);
    if (status != DS4_OK) return status;
    if (!json_object_is_type(file->header, json_type_object)) {
        return ds4_fail(error, DS4_FORMAT, "%s: the header is not a JSON object", file->file.name);
    }
    json_object_object_foreach(file->header, name, entry) {
        ds4_safetensor tensor;
        if (strcmp(name, "__metadata__") == 0) continue;
        status = read_entry(file, 8 + n, name, entry, &tensor, error);
        if (status == DS4_OK) status = append_tensor(all, &tensor, error);
        if (status != DS4_OK) return status;
    }
    if (all->n_tensors == first) return DS4_OK; /* there may be no array yet */
    return check_overlaps(all->tensors + first, all->n_tensors - first, error);
}

static ds4_status read_header(ds4_safetensors *all, shard *file, ds4_error *error) {
    uint8_t length[8];
    uint64_t n_header = 0;
    if (file->file.n_bytes < 8)
        return ds4_fail(error, DS4_FORMAT, "%s: too short for a safetensors file", file->file.name);
    ds4_status status = ds4_source_file_read(&file->file, 0, length, 8, error);
    if (status != DS4_OK) return status;
    for (int i = 0; i < 8; i++) n_header |= (uint64_t)length[i] << 8 * i;
    if (n_header > file->file.n_bytes - 8 || n_header > MAX_HEADER_BYTES) {
        return ds4_fail(error, DS4_FORMAT,
                        "%s: the header claims %" PRIu64 " of the file's %" PRIu64 " bytes",
                        file->file.name, n_header, file->file.n_bytes);
    }
    char *text = malloc((size_t)n_header + 1);
    if (text == NULL) return ds4_fail_memory(error, (size_t)n_header, "a safetensors header");
    status = ds4_source_file_read(&file->file, 8, text, (size_t)n_header, error);
    if (status == DS4_OK) status = read_entries(all, file, text, (size_t)n_header, error);
    free(text);
    return status;
}

static ds4_status add_shard(ds4_safetensors *all, const char *directory, const char *name,
                            ds4_error *error) {
    ds4_strbuf path = {0};
    for (size_t i = 0; i < all->n_shards; i++) {
        if (strcmp(all->shards[i]->file.name, name) == 0) return DS4_OK;
    }
    if (name[0] == '\0' || strchr(name, '/') != NULL || strstr(name, "..") != NULL) {
        return ds4_fail(error, DS4_FORMAT, "the index names the impossible file '%.200s'", name);
    }
    shard **grown = realloc(all->shards, (all->n_shards + 1) * sizeof *grown);
    if (grown == NULL) return ds4_fail_memory(error, sizeof *grown, "a shard");
    all->shards = grown;
    shard *file = calloc(1, sizeof *file);
    if (file == NULL) return ds4_fail_memory(error, sizeof *file, "a shard");
    ds4_strbuf_printf(&path, "%s/%s", directory, name);
    ds4_status status = path.failed ? ds4_fail_memory(error, path.n, "a path")
                                    : ds4_source_file_open(path.data, name, &file->file, error);
    ds4_strbuf_free(&path);
    if (status != DS4_OK) {
        free(file);
        return status;
    }
    all->shards[all->n_shards++] = file; /* from here on ds4_safetensors_close releases it */
    return read_header(all, file, error);
}

static ds4_status add_all_shards(ds4_safetensors *all, const char *directory, ds4_error *error) {
    json_object *map = NULL;
    ds4_status status =
        ds4_json_read_optional(directory, "model.safetensors.index.json", &all->index, error);
    if (status != DS4_OK) return status;
    if (all->index == NULL) return add_shard(all, directory, "model.safetensors", error);
    if (!json_object_object_get_ex(all->index, "weight_map", &map) ||
        !json_object_is_type(map, json_type_object)) {
        return ds4_fail(error, DS4_FORMAT,
                        "model.safetensors.index.json has no object 'weight_map'");
    }
    json_object_object_foreach(map, name, file) {
        if (!json_object_is_type(file, json_type_string)) {
            return ds4_fail(error, DS4_FORMAT,
                            "model.safetensors.index.json: '%.200s' does not name a file", name);
        }
        status = add_shard(all, directory, json_object_get_string(file), error);
        if (status != DS4_OK) return status;
    }
    return DS4_OK;
}

static int compare(const void *left, const void *right) {
    return strcmp(((const ds4_safetensor *)left)->name, ((const ds4_safetensor *)right)->name);
}

/* Names are unique, and everything that the index promises is there. */
static ds4_status check_names(ds4_safetensors *all, ds4_error *error) {
    json_object *map = NULL;
    if (all->n_tensors == 0) return ds4_fail(error, DS4_FORMAT, "the checkpoint holds no tensors");
    qsort(all->tensors, all->n_tensors, sizeof *all->tensors, compare);
    for (size_t i = 1; i < all->n_tensors; i++) {
        if (compare(&all->tensors[i - 1], &all->tensors[i]) == 0) {
            return ds4_fail(error, DS4_FORMAT, "tensor '%.200s' occurs twice",
                            all->tensors[i].name);
        }
    }
    if (all->index == NULL || !json_object_object_get_ex(all->index, "weight_map", &map))
        return DS4_OK;
    json_object_object_foreach(map, name, file) {
        if (ds4_safetensors_find(all, strncmp(name, "model.", 6) == 0 ? name + 6 : name) == NULL) {
            return ds4_fail(error, DS4_FORMAT,
                            "%.100s does not hold the tensor '%.200s' that the index promises",
                            json_object_get_string(file), name);
        }
    }
    return DS4_OK;
}

ds4_status ds4_safetensors_open(const char *directory, ds4_safetensors **tensors,
                                ds4_error *error) {
    *tensors = NULL;
    ds4_safetensors *all = calloc(1, sizeof *all);
    if (all == NULL) return ds4_fail_memory(error, sizeof *all, "a checkpoint");
    ds4_status status = add_all_shards(all, directory, error);
    if (status == DS4_OK) status = check_names(all, error);
    if (status != DS4_OK) {
        ds4_safetensors_close(all);
        return status;
    }
    *tensors = all;
    return DS4_OK;
}

void ds4_safetensors_close(ds4_safetensors *tensors) {
    if (tensors == NULL) return;
    for (size_t i = 0; i < tensors->n_shards; i++) {
        shard *file = tensors->shards[i];
        ds4_source_file_close(&file->file);
        json_object_put(file->header);
        free(file);
    }
    json_object_put(tensors->index);
    free(tensors->shards);
    free(tensors->tensors);
    free(tensors);
}

size_t ds4_safetensors_count(const ds4_safetensors *tensors) {
    return tensors->n_tensors;
}
ds4_safetensor *ds4_safetensors_at(ds4_safetensors *tensors, size_t index) {
    return &tensors->tensors[index];
}

ds4_safetensor *ds4_safetensors_find(ds4_safetensors *tensors, const char *name) {
    ds4_safetensor wanted = {.name = name};
    return bsearch(&wanted, tensors->tensors, tensors->n_tensors, sizeof *tensors->tensors,
                   compare);
}

uint64_t ds4_safetensors_identity(const ds4_safetensors *tensors) {
    uint64_t hash = 0;
    for (size_t i = 0; i < tensors->n_shards; i++) {
        const ds4_source_file *file = &tensors->shards[i]->file;
        const uint64_t numbers[2] = {file->n_bytes, (uint64_t)file->modified};
        hash = XXH64(file->name, strlen(file->name), hash);
        hash = XXH64(numbers, sizeof numbers, hash);
    }
    return hash;
}
