/* Any bytes as a GGUF file: refused with a message, or readable to the last byte that the reader
 * promises. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "gguf/gguf_reader.h"

static volatile uint8_t sink; /* keeps the reads */

static void touch(const void *bytes, size_t n) {
    const uint8_t *b = bytes;
    if (n == 0) return;
    sink = b[0];
    sink = b[n / 2];
    sink = b[n - 1];
}

static void walk_value(const ds4_gguf *gguf, const ds4_gguf_value *value) {
    ds4_gguf_string_cursor cursor = ds4_gguf_strings(value);
    ds4_gguf_string string;
    uint64_t u, n = 0, step = value->count / 64 + 1;
    int64_t i;
    double f;
    bool b;
    touch(value->key.data, value->key.n);
    touch(value->data, value->n_bytes);
    for (; ds4_gguf_next_string(&cursor, &string); n++) touch(string.data, string.n);
    if (value->type == DS4_GGUF_STRING && n != value->count) abort();
    for (uint64_t k = 0; k <= value->count; k += step) {
        ds4_gguf_value_u64(value, k, &u);
        ds4_gguf_value_i64(value, k, &i);
        ds4_gguf_value_f64(value, k, &f);
        ds4_gguf_value_bool(value, k, &b);
    }
    if (ds4_gguf_value_u64(value, value->count, &u) || ds4_gguf_value_bool(value, value->count, &b))
        abort();
    if (ds4_gguf_value_type_name(value->type) == NULL) abort();

    char *key = malloc(value->key.n + 1);
    if (key == NULL) return;
    memcpy(key, value->key.data, value->key.n);
    key[value->key.n] = '\0';
    if (ds4_gguf_find_value(gguf, key) != value) abort();
    ds4_error error = {0};
    const ds4_gguf_value *array;
    uint32_t u32;
    if (ds4_gguf_get_u64(gguf, key, &u, &error) != DS4_OK && error.message[0] == '\0') abort();
    (void)ds4_gguf_get_u32(gguf, key, &u32, &error);
    (void)ds4_gguf_get_f64(gguf, key, &f, &error);
    (void)ds4_gguf_get_bool(gguf, key, &b, &error);
    (void)ds4_gguf_get_string(gguf, key, &string, &error);
    (void)ds4_gguf_get_number_array(gguf, key, &array, &error);
    (void)ds4_gguf_get_string_array(gguf, key, &array, &error);
    free(key);
}

static void walk_tensor(const ds4_gguf *gguf, const ds4_gguf_tensor *tensor) {
    uint64_t n = 1;
    for (int d = 0; d < 4; d++) n *= tensor->ne[d];
    if (n != tensor->n_elements || ds4_type_get_info(tensor->type) == NULL) abort();
    if (ds4_gguf_find_tensor(gguf, tensor->name) != tensor) abort();
    if (tensor->file_offset < ds4_gguf_data_start(gguf)) abort();
    if (tensor->file_offset > ds4_gguf_file_bytes(gguf)) abort();
    if (tensor->n_bytes > ds4_gguf_file_bytes(gguf) - tensor->file_offset) abort();
    touch(tensor->data, (size_t)tensor->n_bytes);
}

static void count_report(void *context, bool is_warning, const char *message) {
    if (!is_warning) ++*(size_t *)context;
    if (message[0] == '\0') abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    ds4_error error = {0};
    ds4_gguf *gguf = NULL;
    size_t n_problems = 0;
    ds4_gguf_options options = {count_report, &n_problems};
    ds4_status status = ds4_gguf_open_memory(data, size, NULL, &gguf, &error);
    if (status == DS4_OK) {
        for (uint64_t i = 0; i < ds4_gguf_n_values(gguf); i++)
            walk_value(gguf, ds4_gguf_value_at(gguf, i));
        for (uint64_t i = 0; i < ds4_gguf_n_tensors(gguf); i++)
            walk_tensor(gguf, ds4_gguf_tensor_at(gguf, i));
        ds4_gguf_close(gguf);
    } else if (gguf != NULL || error.message[0] == '\0' || error.status != status) {
        abort();
    }
    /* Going on after problems finds at least the same first one. */
    ds4_status again = ds4_gguf_open_memory(data, size, &options, &gguf, &error);
    if (again != status || (status == DS4_FORMAT) != (n_problems > 0)) abort();
    ds4_gguf_close(gguf);
    return 0;
}
