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

static ds4_status next_text(void *context, ds4_tokens *prompt, bool *more, ds4_error *error) {
    ds4_imatrix_text *text = context;
    span rest = {text->rest, text->n_bytes}, found;
    *more = next_prompt(&rest, &found);
    text->rest = rest.at;
    text->n_bytes = rest.n;
    return *more ? ds4_tokenizer_encode_special(text->tokenizer, found.at, found.n, prompt, error)
                 : DS4_OK;
}

ds4_imatrix_source ds4_imatrix_text_source(ds4_imatrix_text *text) {
    span rest = {text->rest, text->n_bytes}, prompt;
    ds4_imatrix_source source = {.next = next_text, .context = text};
    while (next_prompt(&rest, &prompt)) source.n_prompts++;
    return source;
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

/* The next prompt of the source through the engine; *more as ds4_imatrix_source has it. */
static ds4_status take(collector *c, const ds4_imatrix_source *source, uint32_t max_context,
                       ds4_tokens *tokens, bool *more, ds4_error *error) {
    tokens->n = 0;
    ds4_status status = source->next(source->context, tokens, more, error);
    if (status != DS4_OK || !*more) return status;
    if (tokens->n > max_context) tokens->n = max_context;
    return evaluate(c, tokens->ids, tokens->n, error);
}

ds4_status ds4_imatrix_collect(ds4_engine *engine, const ds4_model *model,
                               const ds4_imatrix_source *source,
                               const ds4_imatrix_collection *collection, ds4_imatrix *imatrix,
                               ds4_imatrix_progress *done, ds4_error *error) {
    collector c = {.engine = engine,
                   .model = model,
                   .observer = {.imatrix = imatrix, .status = DS4_OK, .error = error}};
    ds4_tokens tokens = {0};
    bool more = true;
    *done = (ds4_imatrix_progress){.n_prompts = source->n_prompts};
    if (collection->max_prompts > 0 && collection->max_prompts < done->n_prompts)
        done->n_prompts = (size_t)collection->max_prompts;

    ds4_status status = create(&c, collection->max_context, error);
    if (status == DS4_OK) status = ds4_engine_observe(engine, observe, &c.observer, error);
    while (status == DS4_OK && done->prompts_done < done->n_prompts) {
        status = take(&c, source, collection->max_context, &tokens, &more, error);
        if (status != DS4_OK || !more) break;
        done->prompts_done++;
        done->tokens_done += tokens.n;
        if (collection->progress != NULL &&
            !collection->progress(collection->progress_context, done))
            status = ds4_fail(error, DS4_CANCELLED, "collecting was cancelled");
        if (collection->max_tokens > 0 && done->tokens_done >= collection->max_tokens) break;
    }
    if (status == DS4_OK && done->prompts_done == 0)
        status = ds4_fail(error, DS4_INVALID_ARGUMENT, "the dataset has no prompt");
    ds4_engine_observe(engine, NULL, NULL, NULL);
    ds4_imatrix_set_source(imatrix, collection->dataset, (uint32_t)done->prompts_done,
                           collection->max_context);
    ds4_session_destroy(c.session);
    free(c.logits);
    ds4_tokens_free(&tokens);
    return status;
}
