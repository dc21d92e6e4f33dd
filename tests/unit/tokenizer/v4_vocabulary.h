/* Reads the vocabulary that scripts/make-v4-tokenizer.mjs builds: for tests and benchmarks that
 * want the real 129,280 tokens. */
#ifndef V4_VOCABULARY_H
#define V4_VOCABULARY_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "tokenizer/tokenizer.h"

enum { N_VOCAB = 129280, N_MERGES = 127741 };

static struct json_object *member(struct json_object *object, const char *key) {
    struct json_object *value = NULL;
    if (!json_object_object_get_ex(object, key, &value)) {
        fprintf(stderr, "no '%s'\n", key);
        abort();
    }
    return value;
}

static ds4_token_string string_of(struct json_object *value) {
    return (ds4_token_string){json_object_get_string(value),
                              (size_t)json_object_get_string_len(value)};
}

/* A merge is "left right" or ["left", "right"]; the latter is joined into `*storage`, which moves
 * on. */
static ds4_token_string merge_of(struct json_object *value, char **storage) {
    if (json_object_is_type(value, json_type_string)) return string_of(value);
    ds4_token_string left = string_of(json_object_array_get_idx(value, 0));
    ds4_token_string right = string_of(json_object_array_get_idx(value, 1));
    char *joined = *storage;
    memcpy(joined, left.data, left.n);
    joined[left.n] = ' ';
    memcpy(joined + left.n + 1, right.data, right.n);
    *storage += left.n + 1 + right.n;
    return (ds4_token_string){joined, left.n + 1 + right.n};
}

/* The tokenizer of build/v4/tokenizer.json, parsed. */
static ds4_status create_v4_tokenizer(struct json_object *root, ds4_tokenizer **tokenizer,
                                      ds4_error *error) {
    ds4_token_string *tokens = calloc(N_VOCAB, sizeof *tokens),
                     *merges = calloc(N_MERGES, sizeof *merges);
    char *storage = malloc(N_MERGES * 300), *next = storage;
    if (!(tokens != NULL && merges != NULL && storage != NULL)) abort();
    struct json_object *model = member(root, "model"), *list = member(model, "merges");
    json_object_object_foreach(member(model, "vocab"), text, id) {
        if (json_object_get_int(id) < 0 || json_object_get_int(id) >= N_VOCAB) abort();
        tokens[json_object_get_int(id)] = (ds4_token_string){text, strlen(text)};
    }
    struct json_object *added = member(root, "added_tokens");
    for (size_t i = 0; i < json_object_array_length(added); i++) {
        struct json_object *token = json_object_array_get_idx(added, i);
        if (json_object_get_int(member(token, "id")) < 0 ||
            json_object_get_int(member(token, "id")) >= N_VOCAB)
            abort();
        tokens[json_object_get_int(member(token, "id"))] = string_of(member(token, "content"));
    }
    if (json_object_array_length(list) != N_MERGES) abort();
    for (size_t i = 0; i < N_MERGES; i++)
        merges[i] = merge_of(json_object_array_get_idx(list, i), &next);
    ds4_tokenizer_tables tables = {tokens, N_VOCAB, merges, N_MERGES};
    ds4_status status = ds4_tokenizer_create(&tables, N_VOCAB, tokenizer, error);
    free(tokens);
    free(merges);
    free(storage);
    return status;
}

#endif
