#include "gguf-tool/gguf_source.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/error.h"

ds4_status ds4_gguf_source_open(const char *path, ds4_gguf_source *source, ds4_error *error) {
    *source = (ds4_gguf_source){.file = {.fd = -1}};
    ds4_status status = ds4_gguf_open(path, NULL, &source->gguf, error);
    return status == DS4_OK ? ds4_source_file_open(path, path, &source->file, error) : status;
}

void ds4_gguf_source_close(ds4_gguf_source *source) {
    if (source->file.name != NULL) ds4_source_file_close(&source->file);
    ds4_gguf_close(source->gguf);
    *source = (ds4_gguf_source){.file = {.fd = -1}};
}

uint64_t ds4_gguf_source_identity(const ds4_gguf_source *source) {
    const uint64_t numbers[2] = {source->file.n_bytes, (uint64_t)source->file.modified};
    uint64_t hash = XXH64(source->file.name, strlen(source->file.name), 0);
    return XXH64(numbers, sizeof numbers, hash);
}

ds4_status ds4_gguf_source_matrices(const ds4_gguf_source *source, const ds4_gguf_tensor *tensor,
                                    ds4_matrix_source **matrices, ds4_error *error) {
    size_t n = (size_t)(tensor->ne[2] * tensor->ne[3]);
    ds4_matrix_source *found = *matrices = calloc(n, sizeof *found);
    if (found == NULL) return ds4_fail_memory(error, n * sizeof *found, "sources");
    for (size_t m = 0; m < n; m++)
        found[m] = (ds4_matrix_source){.name = tensor->name,
                                       .file = &source->file,
                                       .offset = tensor->file_offset +
                                                 m * tensor->ne[1] * tensor->row_bytes,
                                       .form = DS4_SOURCE_BLOCKS,
                                       .type = (ds4_type)tensor->type,
                                       .n_columns = tensor->ne[0],
                                       .n_rows = tensor->ne[1]};
    return DS4_OK;
}

void ds4_matrix_lists_free(ds4_matrix_source **lists, size_t n) {
    for (size_t i = 0; lists != NULL && i < n; i++) free(lists[i]);
    free(lists);
}

uint32_t ds4_gguf_source_experts(const ds4_gguf_source *source) {
    uint32_t n = 0;
    return ds4_gguf_get_u32(source->gguf, "deepseek4.expert_count", &n, NULL) == DS4_OK
               ? n
               : UINT32_MAX;
}

bool ds4_gguf_key_is(const ds4_gguf_value *value, const char *name) {
    return value->key.n == strlen(name) && memcmp(value->key.data, name, value->key.n) == 0;
}

bool ds4_gguf_key_begins(const ds4_gguf_value *value, const char *prefix) {
    size_t n = strlen(prefix);
    return value->key.n >= n && memcmp(value->key.data, prefix, n) == 0;
}
