#include "constraint/vocabulary.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "constraint/matcher_internal.h"
#include "tokenizer/tokenizer.h"

typedef struct entry {
    ds4_token_string text;
    int32_t id;
} entry;

static int compare_entries(const void *a, const void *b) {
    const entry *x = a, *y = b;
    size_t n = x->text.n < y->text.n ? x->text.n : y->text.n;
    int order = memcmp(x->text.data, y->text.data, n);
    if (order != 0) return order;
    if (x->text.n != y->text.n) return x->text.n < y->text.n ? -1 : 1;
    return x->id < y->id ? -1 : 1;
}

/* The tokens of ordinary text, sorted by their bytes; the number of them. */
static size_t list_tokens(const ds4_tokenizer *tokenizer, entry *entries) {
    size_t n = 0, n_tokens = ds4_tokenizer_n_tokens(tokenizer);
    ds4_control_ids controls = ds4_control_ids_of(tokenizer);
    for (size_t i = 0; i < n_tokens; i++) {
        int32_t id = (int32_t)i;
        if (ds4_control_is_banned(tokenizer, id)) continue;
        if (ds4_control_of_id(&controls, id) != DS4_CONTROL_NONE) continue;
        ds4_token_string text = ds4_tokenizer_token_bytes(tokenizer, id);
        if (text.n == 0 || text.n >= DS4_LEVELS - 2) continue;
        entries[n++] = (entry){text, id};
    }
    qsort(entries, n, sizeof *entries, compare_entries);
    return n;
}

/* Lays the sorted tokens out in preorder: each adds the nodes that its predecessor does not share.
 */
static void build_trie(ds4_vocabulary *v, const entry *entries, size_t n) {
    uint32_t path[DS4_LEVELS] = {0};
    size_t length = 0;
    const char *previous = NULL;
    v->n_nodes = 1;
    v->tokens[0] = -1;
    for (size_t i = 0; i < n; i++) {
        ds4_token_string text = entries[i].text;
        size_t shared = 0;
        while (shared < length && shared < text.n && text.data[shared] == previous[shared])
            shared++;
        for (; length > shared; length--) v->ends[path[length]] = v->n_nodes;
        for (; length < text.n; length++) {
            uint32_t node = v->n_nodes++;
            v->bytes[node] = (unsigned char)text.data[length];
            v->depths[node] = (uint16_t)(length + 1);
            v->tokens[node] = -1;
            path[length + 1] = node;
        }
        v->tokens[path[length]] = entries[i].id;
        previous = text.data;
    }
    for (; length > 0; length--) v->ends[path[length]] = v->n_nodes;
    v->ends[0] = v->n_nodes;
}

static ds4_status allocate(ds4_vocabulary *v, const entry *entries, size_t n, ds4_error *error) {
    size_t n_nodes = 1; /* an upper bound */
    for (size_t i = 0; i < n; i++) n_nodes += entries[i].text.n;
    v->bytes = calloc(n_nodes, sizeof *v->bytes);
    v->depths = calloc(n_nodes, sizeof *v->depths);
    v->ends = calloc(n_nodes, sizeof *v->ends);
    v->tokens = calloc(n_nodes, sizeof *v->tokens);
    v->prelude = calloc(ds4_grammar_prelude.end, sizeof *v->prelude);
    v->string_chars = malloc(v->n_tokens + 1);
    v->raw_chars = malloc(v->n_tokens + 1);
    if (v->bytes == NULL || v->depths == NULL || v->ends == NULL || v->tokens == NULL ||
        v->prelude == NULL || v->string_chars == NULL || v->raw_chars == NULL)
        return ds4_fail_memory(error, n_nodes * 12, "the vocabulary's trie");
    return DS4_OK;
}

ds4_status ds4_vocabulary_create(const ds4_tokenizer *tokenizer, ds4_vocabulary **out,
                                 ds4_error *error) {
    size_t n_tokens = ds4_tokenizer_n_tokens(tokenizer);
    ds4_status status = DS4_OK;
    ds4_vocabulary *v = calloc(1, sizeof *v);
    entry *entries = malloc((n_tokens + 1) * sizeof *entries);
    if (v == NULL || entries == NULL) {
        status = ds4_fail_memory(error, n_tokens * sizeof *entries, "the vocabulary's trie");
        goto done;
    }
    v->n_tokens = n_tokens;
    v->n_words = (n_tokens + 63) / 64;
    v->end_of_turn = ds4_tokenizer_special_ids(tokenizer)->eos;
    v->dsml = ds4_tokenizer_special_ids(tokenizer)->dsml;
    size_t n = list_tokens(tokenizer, entries);
    status = allocate(v, entries, n, error);
    if (status != DS4_OK) goto done;
    build_trie(v, entries, n);
    status = ds4_vocabulary_learn_prelude(v, error);
    if (status != DS4_OK) goto done;
    *out = v;
    v = NULL;
done:
    ds4_vocabulary_destroy(v);
    free(entries);
    return status;
}

void ds4_vocabulary_destroy(ds4_vocabulary *v) {
    if (v == NULL) return;
    for (size_t i = 0; v->prelude != NULL && i < ds4_grammar_prelude.end; i++) {
        free(v->prelude[i].allowed);
        free(v->prelude[i].exits);
    }
    free(v->prelude);
    free(v->bytes);
    free(v->depths);
    free(v->ends);
    free(v->tokens);
    free(v->string_chars);
    free(v->raw_chars);
    free(v);
}

size_t ds4_vocabulary_n_words(const ds4_vocabulary *v) {
    return v->n_words;
}
