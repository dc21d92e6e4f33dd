#include "tokenizer/tokenizer_gguf.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"

static const char TOKENS[] = "tokenizer.ggml.tokens";
static const char MERGES[] = "tokenizer.ggml.merges";
static const char MODEL[] = "tokenizer.ggml.model";

/* The strings of an array value as a malloc'ed list that points into the file. */
static ds4_status list_strings(const ds4_gguf_value *value, ds4_token_string **strings, size_t *n,
                               ds4_error *error) {
    size_t count =
        (size_t)value->count; /* each string takes 8 bytes of the file at least: it fits */
    ds4_token_string *list = malloc((count > 0 ? count : 1) * sizeof *list);
    if (list == NULL) return ds4_fail_memory(error, count * sizeof *list, "the vocabulary");
    ds4_gguf_string_cursor cursor = ds4_gguf_strings(value);
    ds4_gguf_string string;
    size_t i = 0;
    for (; i < count && ds4_gguf_next_string(&cursor, &string); i++)
        list[i] = (ds4_token_string){string.data, string.n};
    *strings = list;
    *n = i;
    return DS4_OK;
}

/* Absent means byte-level BPE, as in files written before the key existed. */
static ds4_status check_model(const ds4_gguf *gguf, ds4_error *error) {
    if (ds4_gguf_find_value(gguf, MODEL) == NULL) return DS4_OK;
    ds4_gguf_string model;
    ds4_status status = ds4_gguf_get_string(gguf, MODEL, &model, error);
    if (status != DS4_OK) return status;
    if (model.n == 4 && memcmp(model.data, "gpt2", 4) == 0) return DS4_OK;
    return ds4_fail(error, DS4_UNSUPPORTED,
                    "%s is '%.*s': only 'gpt2' (byte-level BPE) is supported", MODEL,
                    model.n < 64 ? (int)model.n : 64, model.data);
}

ds4_status ds4_tokenizer_create_from_gguf(const ds4_gguf *gguf, size_t n_vocab,
                                          ds4_tokenizer **tokenizer, ds4_error *error) {
    const ds4_gguf_value *tokens, *merges;
    ds4_token_string *token_list = NULL, *merge_list = NULL;
    ds4_tokenizer_tables tables = {0};
    *tokenizer = NULL;
    if (ds4_gguf_find_value(gguf, TOKENS) == NULL) return DS4_OK;
    ds4_status status = check_model(gguf, error);
    if (status == DS4_OK) status = ds4_gguf_get_string_array(gguf, TOKENS, &tokens, error);
    if (status == DS4_OK) status = ds4_gguf_get_string_array(gguf, MERGES, &merges, error);
    if (status == DS4_OK) status = list_strings(tokens, &token_list, &tables.n_tokens, error);
    if (status == DS4_OK) status = list_strings(merges, &merge_list, &tables.n_merges, error);
    if (status != DS4_OK) goto done;
    tables.tokens = token_list;
    tables.merges = merge_list;
    status = ds4_tokenizer_create(&tables, n_vocab, tokenizer, error);
done:
    free(token_list);
    free(merge_list);
    return status;
}
