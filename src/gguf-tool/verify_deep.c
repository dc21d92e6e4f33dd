#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/threads.h"
#include "gguf-tool/verify.h"

/* ---- payloads ---- */

/* Where in a block the f16 scales are. */
typedef struct scales {
    uint32_t type;
    size_t n, at[2];
} scales;

static const scales half_scales[] = {
    {DS4_TYPE_F16, 1, {0, 0}},  {DS4_TYPE_Q8_0, 1, {0, 0}},    {DS4_TYPE_Q2_K, 2, {80, 82}},
    {DS4_TYPE_Q4_K, 2, {0, 2}}, {DS4_TYPE_IQ2_XXS, 1, {0, 0}},
};

typedef struct scan {
    const ds4_gguf_tensor *tensor;
    const scales *halves; /* NULL: another kind of check */
    uint32_t n_ids;       /* I32: values must be below */
    size_t block_bytes;
    atomic_uint_fast64_t n_bad, first_bad; /* blocks */
} scan;

static uint32_t load(const uint8_t *bytes, size_t n) {
    uint32_t value = 0;
    for (size_t i = 0; i < n; i++) value |= (uint32_t)bytes[i] << 8 * i;
    return value;
}

static bool is_bad(const scan *s, const uint8_t *block) {
    if (s->halves != NULL) {
        bool bad = false;
        for (size_t i = 0; i < s->halves->n; i++)
            bad |= (load(block + s->halves->at[i], 2) & 0x7C00) == 0x7C00;
        return bad;
    }
    switch (s->tensor->type) {
    case DS4_TYPE_F32:
        return (load(block, 4) & 0x7F800000) == 0x7F800000;
    case DS4_TYPE_BF16:
        return (load(block, 2) & 0x7F80) == 0x7F80;
    case DS4_TYPE_MXFP4:
        return block[0] == 255;
    case DS4_TYPE_I32:
        return load(block, 4) >= s->n_ids;
    default:
        return false;
    }
}

static void scan_blocks(void *context, uint32_t thread, size_t begin, size_t end) {
    scan *s = context;
    uint64_t n_bad = 0, first = UINT64_MAX;
    const uint8_t *block = (const uint8_t *)s->tensor->data + begin * s->block_bytes;
    (void)thread;
    for (size_t i = begin; i < end; i++, block += s->block_bytes) {
        if (!is_bad(s, block)) continue;
        if (n_bad++ == 0) first = i;
    }
    if (n_bad == 0) return;
    atomic_fetch_add(&s->n_bad, n_bad);
    uint_fast64_t seen = atomic_load(&s->first_bad);
    while (first < seen && !atomic_compare_exchange_weak(&s->first_bad, &seen, first)) {
    }
}

static void scan_tensor(const ds4_gguf_tensor *tensor, uint32_t n_experts, ds4_threads *threads,
                        ds4_findings *findings) {
    const ds4_type_info *info = ds4_type_get_info(tensor->type);
    bool is_table = strstr(tensor->name, "tid2eid") != NULL;
    scan s = {.tensor = tensor,
              .n_ids = is_table ? n_experts : UINT32_MAX,
              .block_bytes = info->block_bytes};
    char message[256];
    atomic_init(&s.n_bad, 0);
    atomic_init(&s.first_bad, UINT64_MAX);
    for (size_t i = 0; i < sizeof half_scales / sizeof half_scales[0]; i++) {
        if (half_scales[i].type == tensor->type) s.halves = &half_scales[i];
    }
    if (tensor->type == DS4_TYPE_I32 ? !is_table : !info->computable) return;
    ds4_threads_for(threads, (size_t)(tensor->n_bytes / s.block_bytes), 1 << 16, scan_blocks, &s);
    if (atomic_load(&s.n_bad) == 0) return;
    uint64_t first = atomic_load(&s.first_bad);
    snprintf(message, sizeof message, "tensor '%s': %" PRIu64 " %s %s, first at file byte %" PRIu64,
             tensor->name, (uint64_t)atomic_load(&s.n_bad),
             info->block_elements == 1 ? "elements are" : "blocks have",
             tensor->type == DS4_TYPE_I32 ? "no expert"
             : info->block_elements == 1  ? "not finite"
                                          : "a scale that is not finite",
             tensor->file_offset + first * s.block_bytes);
    ds4_findings_add(findings, false, message);
}

/* ---- tokenizer ---- */

static int compare_strings(const void *left, const void *right) {
    const ds4_gguf_string *a = left, *b = right;
    int order = memcmp(a->data, b->data, a->n < b->n ? a->n : b->n);
    return order != 0 ? order : (a->n > b->n) - (a->n < b->n);
}

static ds4_status verify_tokens(const ds4_gguf_value *tokens, ds4_findings *findings,
                                ds4_error *error) {
    ds4_gguf_string *sorted = calloc((size_t)tokens->count + 1, sizeof *sorted);
    ds4_gguf_string_cursor cursor = ds4_gguf_strings(tokens);
    char message[256];
    size_t n = 0;
    if (sorted == NULL)
        return ds4_fail_memory(error, (size_t)tokens->count * sizeof *sorted, "the token table");
    while (ds4_gguf_next_string(&cursor, &sorted[n])) n++;
    if (n > 1) qsort(sorted, n, sizeof *sorted, compare_strings);
    for (size_t i = 1; i < n; i++) {
        if (compare_strings(&sorted[i - 1], &sorted[i]) != 0) continue;
        snprintf(message, sizeof message, "tokenizer.ggml.tokens holds '%.*s' more than once",
                 sorted[i].n < 60 ? (int)sorted[i].n : 60, sorted[i].data);
        ds4_findings_add(findings, false, message);
    }
    free(sorted);
    return DS4_OK;
}

static void verify_merges(const ds4_gguf_value *merges, ds4_findings *findings) {
    ds4_gguf_string_cursor cursor = ds4_gguf_strings(merges);
    ds4_gguf_string merge;
    char message[256];
    for (uint64_t rank = 0; ds4_gguf_next_string(&cursor, &merge); rank++) {
        const char *space = merge.n > 0 ? memchr(merge.data, ' ', merge.n) : NULL;
        bool is_pair = space != NULL && space > merge.data && space < merge.data + merge.n - 1 &&
                       memchr(space + 1, ' ', (size_t)(merge.data + merge.n - space - 1)) == NULL;
        if (is_pair) continue;
        snprintf(message, sizeof message,
                 "tokenizer.ggml.merges: number %" PRIu64 " is not two parts with a space between",
                 rank);
        ds4_findings_add(findings, false, message);
    }
}

static ds4_status verify_tokenizer(const ds4_gguf *gguf, ds4_findings *findings, ds4_error *error) {
    const ds4_gguf_value *tokens = ds4_gguf_find_value(gguf, "tokenizer.ggml.tokens");
    const ds4_gguf_value *types = ds4_gguf_find_value(gguf, "tokenizer.ggml.token_type");
    const ds4_gguf_value *merges = ds4_gguf_find_value(gguf, "tokenizer.ggml.merges");
    const ds4_gguf_value *vocabulary = ds4_gguf_find_value(gguf, "deepseek4.vocab_size");
    uint64_t n_vocab = 0;
    if (tokens == NULL) return DS4_OK; /* a model without tokenizer is allowed */
    if (types != NULL && types->count != tokens->count) {
        ds4_findings_add(findings, false,
                         "tokenizer.ggml.token_type is not as long as tokenizer.ggml.tokens");
    }
    if (vocabulary != NULL && ds4_gguf_value_u64(vocabulary, 0, &n_vocab) &&
        n_vocab != tokens->count) {
        ds4_findings_add(findings, false,
                         "tokenizer.ggml.tokens does not have deepseek4.vocab_size entries");
    }
    if (merges == NULL)
        ds4_findings_add(findings, false, "tokenizer.ggml.merges is missing");
    else
        verify_merges(merges, findings);
    return verify_tokens(tokens, findings, error);
}

ds4_status ds4_verify_deep(const ds4_gguf *gguf, uint32_t n_threads, ds4_findings *findings,
                           ds4_error *error) {
    ds4_threads *threads = NULL;
    uint32_t n_experts = 0;
    ds4_status status = ds4_threads_create(n_threads, &threads, error);
    if (status != DS4_OK) return status;
    if (ds4_gguf_get_u32(gguf, "deepseek4.expert_count", &n_experts, NULL) != DS4_OK)
        n_experts = UINT32_MAX;
    for (uint64_t i = 0; i < ds4_gguf_n_tensors(gguf) && status == DS4_OK; i++) {
        scan_tensor(ds4_gguf_tensor_at(gguf, i), n_experts, threads, findings);
        status = ds4_gguf_verify_unchanged(gguf, error);
    }
    if (status == DS4_OK) status = verify_tokenizer(gguf, findings, error);
    ds4_threads_destroy(threads);
    return status;
}
