#include "imatrix/collect.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "tokenizer/tokenizer.h"

enum { MAX_LOGITS_BYTES = 1 << 28 };

/* ---- the dataset ---- */

typedef struct span {
    const char *at;
    size_t n;
} span;

static bool is_separator(const char *line, size_t n) {
    size_t m = strlen(DS4_IMATRIX_SEPARATOR);
    return n >= m && memcmp(line, DS4_IMATRIX_SEPARATOR, m) == 0;
}

static bool is_space(char c) {
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

/* The next prompt that is not empty, without white space around it; moves *rest behind it. */
static bool next_prompt(span *rest, span *prompt) {
    while (rest->n > 0) {
        const char *begin = rest->at, *end = rest->at + rest->n, *line = begin;
        while (line < end) {
            const char *newline = memchr(line, '\n', (size_t)(end - line));
            const char *next = newline != NULL ? newline + 1 : end;
            if (is_separator(line, (size_t)(next - line))) {
                rest->at = next;
                break;
            }
            line = next;
            rest->at = next;
        }
        rest->n = (size_t)(end - rest->at);
        *prompt = (span){begin, (size_t)(line - begin)};
        while (prompt->n > 0 && is_space(prompt->at[0])) prompt->at++, prompt->n--;
        while (prompt->n > 0 && is_space(prompt->at[prompt->n - 1])) prompt->n--;
        if (prompt->n > 0) return true;
    }
    return false;
}

size_t ds4_imatrix_count_prompts(const char *text, size_t n_bytes) {
    span rest = {text, n_bytes}, prompt;
    size_t n = 0;
    while (next_prompt(&rest, &prompt)) n++;
    return n;
}

/* ---- the sums ---- */

typedef struct observer {
    ds4_imatrix *imatrix;
    ds4_status status;
    ds4_error *error;
} observer;

static void observe(void *context, const ds4_observed_product *product) {
    observer *o = context;
    ds4_imatrix_entry *entry;
    if (o->status == DS4_OK)
        o->status = ds4_imatrix_entry_for(o->imatrix, product->weight, product->n_columns,
                                          product->n_matrices, &entry, o->error);
    for (size_t r = 0; o->status == DS4_OK && r < product->n_rows; r++)
        ds4_imatrix_entry_add(entry, product->matrix, product->x[r]);
}

typedef struct collector {
    ds4_engine *engine;
    const ds4_model *model;
    ds4_session *session;
    float *logits;
    uint32_t chunk; /* tokens per call */
    observer observer;
} collector;

static ds4_status evaluate(collector *c, const int32_t *tokens, size_t n, ds4_error *error) {
    ds4_status status = DS4_OK;
    ds4_session_reset(c->session);
    for (size_t done = 0; status == DS4_OK && done < n;) {
        uint32_t take = n - done < c->chunk ? (uint32_t)(n - done) : c->chunk;
        const ds4_batch_item item = {.session = c->session,
                                     .tokens = tokens + done,
                                     .n_tokens = take,
                                     .want = DS4_LOGITS_ALL,
                                     .logits = c->logits};
        status = ds4_engine_forward(c->engine, &item, 1, error);
        if (status == DS4_OK) status = c->observer.status;
        done += take;
    }
    return status;
}

static ds4_status create(collector *c, uint32_t max_context, ds4_error *error) {
    size_t n_vocab = ds4_model_get_info(c->model)->n_vocab;
    size_t chunk = MAX_LOGITS_BYTES / sizeof(float) / n_vocab;
    uint32_t most = ds4_engine_get_options(c->engine)->max_batch_tokens;
    c->chunk = chunk < 1 ? 1 : chunk < most ? (uint32_t)chunk : most;
    c->logits = malloc(c->chunk * n_vocab * sizeof *c->logits);
    if (c->logits == NULL)
        return ds4_fail_memory(error, c->chunk * n_vocab * sizeof *c->logits, "the logits");
    return ds4_session_create(c->engine, max_context, &c->session, error);
}

ds4_status ds4_imatrix_collect(ds4_engine *engine, const ds4_model *model, const char *text,
                               size_t n_bytes, const ds4_imatrix_collection *collection,
                               ds4_imatrix *imatrix, ds4_imatrix_progress *done, ds4_error *error) {
    const ds4_tokenizer *tokenizer = ds4_model_get_tokenizer(model);
    collector c = {.engine = engine,
                   .model = model,
                   .observer = {.imatrix = imatrix, .status = DS4_OK, .error = error}};
    ds4_tokens tokens = {0};
    span rest = {text, n_bytes}, prompt;
    *done = (ds4_imatrix_progress){.n_prompts = ds4_imatrix_count_prompts(text, n_bytes)};
    if (tokenizer == NULL)
        return ds4_fail(error, DS4_UNSUPPORTED, "the model file has no tokenizer");
    if (done->n_prompts == 0)
        return ds4_fail(error, DS4_INVALID_ARGUMENT, "the dataset has no prompt");
    if (collection->max_prompts > 0 && collection->max_prompts < done->n_prompts)
        done->n_prompts = (size_t)collection->max_prompts;

    ds4_status status = create(&c, collection->max_context, error);
    if (status == DS4_OK) status = ds4_engine_observe(engine, observe, &c.observer, error);
    while (status == DS4_OK && done->prompts_done < done->n_prompts &&
           next_prompt(&rest, &prompt)) {
        tokens.n = 0;
        status = ds4_tokenizer_encode_special(tokenizer, prompt.at, prompt.n, &tokens, error);
        if (status != DS4_OK) break;
        if (tokens.n > collection->max_context) tokens.n = collection->max_context;
        status = evaluate(&c, tokens.ids, tokens.n, error);
        if (status != DS4_OK) break;
        done->prompts_done++;
        done->tokens_done += tokens.n;
        if (collection->progress != NULL &&
            !collection->progress(collection->progress_context, done))
            status = ds4_fail(error, DS4_CANCELLED, "collecting was cancelled");
        if (collection->max_tokens > 0 && done->tokens_done >= collection->max_tokens) break;
    }
    ds4_engine_observe(engine, NULL, NULL, NULL);
    ds4_imatrix_set_source(imatrix, collection->dataset, (uint32_t)done->prompts_done,
                           collection->max_context);
    ds4_session_destroy(c.session);
    free(c.logits);
    ds4_tokens_free(&tokens);
    return status;
}
