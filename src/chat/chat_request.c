#include "chat/chat_request.h"

#include <stdlib.h>
#include <string.h>

#define CHUNK_BYTES 16384u

/* Memory of one request: chunks that only grow and go all at once. */
struct ds4_request_chunk {
    struct ds4_request_chunk *next;
    size_t used, capacity;
    max_align_t bytes[];
};

void ds4_chat_request_init(ds4_chat_request *request) {
    *request = (ds4_chat_request){
        .model = DS4_TEXT("deepseek-v4-flash"),
        .sampling = {.temperature = 1.0f,
                     .top_p = 1.0f,
                     .min_p = 0.05f,
                     .repetition_penalty = 1.0f},
    };
}

void ds4_chat_request_free(ds4_chat_request *request) {
    struct ds4_request_chunk *chunk = request->memory;
    while (chunk != NULL) {
        struct ds4_request_chunk *next = chunk->next;
        free(chunk);
        chunk = next;
    }
    ds4_chat_request_init(request);
}

void *ds4_chat_request_alloc(ds4_chat_request *request, size_t n_bytes) {
    const size_t unit = sizeof(max_align_t);
    if (n_bytes > SIZE_MAX / 2) return NULL;
    size_t rounded = n_bytes == 0 ? unit : (n_bytes + unit - 1) / unit * unit;
    struct ds4_request_chunk *chunk = request->memory;
    if (chunk == NULL || chunk->capacity - chunk->used < rounded) {
        size_t capacity = rounded > CHUNK_BYTES / 4 ? rounded : CHUNK_BYTES;
        struct ds4_request_chunk *fresh = calloc(1, sizeof *fresh + capacity);
        if (fresh == NULL) return NULL;
        fresh->capacity = capacity;
        if (capacity == CHUNK_BYTES || chunk == NULL) {
            fresh->next = chunk;
            request->memory = fresh;
        } else { /* a large piece goes behind the chunk that still has room */
            fresh->next = chunk->next;
            chunk->next = fresh;
        }
        chunk = fresh;
    }
    void *piece = (char *)chunk->bytes + chunk->used;
    chunk->used += rounded;
    return piece;
}

ds4_text ds4_chat_request_text(ds4_chat_request *request, const char *bytes, size_t n) {
    char *copy = n < SIZE_MAX ? ds4_chat_request_alloc(request, n + 1) : NULL;
    if (copy == NULL) return (ds4_text){NULL, 0};
    if (n > 0) memcpy(copy, bytes, n);
    return (ds4_text){copy, n};
}

bool ds4_text_equals(ds4_text text, const char *string) {
    size_t n = strlen(string);
    return text.n == n && (n == 0 || memcmp(text.data, string, n) == 0);
}

bool ds4_text_same(ds4_text a, ds4_text b) {
    return a.n == b.n && (a.n == 0 || memcmp(a.data, b.data, a.n) == 0);
}

bool ds4_chat_request_tools_active(const ds4_chat_request *request) {
    return request->n_tools > 0 && request->tool_choice != DS4_TOOL_CHOICE_NONE;
}
