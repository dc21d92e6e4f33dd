#include <stdlib.h>
#include <string.h>

#include "base/error.h"

static ds4_status reserve(ds4_tokens *tokens, size_t extra, ds4_error *error) {
    if (extra <= tokens->capacity - tokens->n) return DS4_OK;
    if (extra > SIZE_MAX / sizeof *tokens->ids / 2 - tokens->n)
        return ds4_fail_memory(error, SIZE_MAX, "a token list");
    size_t capacity = tokens->capacity * 2;
    if (capacity < tokens->n + extra) capacity = tokens->n + extra;
    if (capacity < 64) capacity = 64;
    int32_t *grown = realloc(tokens->ids, capacity * sizeof *grown);
    if (grown == NULL) return ds4_fail_memory(error, capacity * sizeof *grown, "a token list");
    tokens->ids = grown;
    tokens->capacity = capacity;
    return DS4_OK;
}

ds4_status ds4_tokens_push(ds4_tokens *tokens, int32_t id, ds4_error *error) {
    return ds4_tokens_append(tokens, &id, 1, error);
}

ds4_status ds4_tokens_append(ds4_tokens *tokens, const int32_t *ids, size_t n, ds4_error *error) {
    if (n == 0) return DS4_OK;
    ds4_status status = reserve(tokens, n, error);
    if (status != DS4_OK) return status;
    memcpy(tokens->ids + tokens->n, ids, n * sizeof *ids);
    tokens->n += n;
    return DS4_OK;
}

void ds4_tokens_free(ds4_tokens *tokens) {
    free(tokens->ids);
    *tokens = (ds4_tokens){0};
}
