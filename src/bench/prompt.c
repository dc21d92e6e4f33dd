#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "bench/bench.h"
#include "chat/render.h"
#include "tokenizer/tokenizer.h"

enum { MAX_PROMPT_BYTES = 1 << 30 };

ds4_status bench_read_prompt(const bench_settings *settings, ds4_strbuf *text, ds4_error *error) {
    const char *path =
        settings->prompt_file != NULL ? settings->prompt_file : settings->chat_prompt_file;
    return path != NULL ? ds4_file_read(path, MAX_PROMPT_BYTES, text, error) : DS4_OK;
}

/* splitmix64: any seed gives an even sequence of ids. */
static uint64_t next_random(uint64_t *state) {
    uint64_t x = *state += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static ds4_status make_synthetic(const bench_settings *settings, uint32_t n_vocab, ds4_tokens *ids,
                                 ds4_error *error) {
    uint64_t state = settings->seed;
    ds4_status status = DS4_OK;
    for (int64_t i = 0; i < settings->ctx_max && status == DS4_OK; i++)
        status = ds4_tokens_push(ids, (int32_t)(next_random(&state) % n_vocab), error);
    return status;
}

/* One user message, answered without thinking. */
static ds4_status tokenize_chat(const bench_settings *settings, const ds4_tokenizer *tokenizer,
                                ds4_text text, ds4_tokens *ids, ds4_error *error) {
    ds4_render_options options = {.layout = DS4_TEMPLATE_DS4,
                                  .n_context = (uint32_t)settings->ctx_max};
    ds4_chat_message messages[2] = {
        {.role = DS4_ROLE_SYSTEM, .content = {settings->system, strlen(settings->system)}},
        {.role = DS4_ROLE_USER, .content = text}};
    size_t skip = settings->system[0] == '\0' ? 1 : 0;
    ds4_chat_request request = {0};
    ds4_prompt prompt = {0};
    ds4_chat_request_init(&request);
    request.messages = messages + skip;
    request.n_messages = 2 - skip;
    request.think.disabled = true;
    ds4_status status = ds4_render(&request, &options, &prompt, error);
    if (status == DS4_OK) status = ds4_prompt_tokenize(&prompt, tokenizer, ids, error);
    ds4_prompt_free(&prompt);
    ds4_chat_request_free(&request);
    return status;
}

ds4_status bench_tokenize_prompt(const bench_settings *settings, const ds4_model *model,
                                 const ds4_strbuf *text, ds4_tokens *ids, ds4_error *error) {
    const ds4_tokenizer *tokenizer = ds4_model_get_tokenizer(model);
    const char *bytes = text->data != NULL ? text->data : "";
    ds4_status status;
    if (settings->synthetic)
        return make_synthetic(settings, ds4_model_get_info(model)->n_vocab, ids, error);
    if (tokenizer == NULL)
        return ds4_fail(error, DS4_UNSUPPORTED,
                        "%.300s carries no tokenizer: use --synthetic-prompt", settings->model);
    status = settings->chat_prompt_file != NULL
                 ? tokenize_chat(settings, tokenizer, (ds4_text){bytes, text->n}, ids, error)
                 : ds4_tokenizer_encode(tokenizer, bytes, text->n, ids, error);
    if (status == DS4_OK && (int64_t)ids->n < settings->ctx_max)
        status = ds4_fail(error, DS4_INVALID_ARGUMENT,
                          "prompt has %zu tokens, need at least --ctx-max=%lld", ids->n,
                          (long long)settings->ctx_max);
    return status;
}
