#include "gguf-tool/score_case.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/json_scan.h"
#include "tokenizer/tokenizer.h"
#include "tool/tool.h"

/* `request` with `reference` as its last message. */
static void append_message(ds4_json_value request, ds4_json_value messages,
                           ds4_json_value reference, ds4_strbuf *body) {
    const char *close = messages.text + messages.n - 1;
    ds4_strbuf_append(body, request.text, (size_t)(close - request.text));
    ds4_strbuf_putc(body, ',');
    ds4_strbuf_append(body, reference.text, reference.n);
    ds4_strbuf_append(body, close, (size_t)(request.text + request.n - close));
}

static ds4_status tokenize_request(const char *body, size_t n, const ds4_tokenizer *tokenizer,
                                   uint32_t n_context, ds4_tokens *ids, ds4_error *error) {
    ds4_tool_prompt prompt;
    ds4_status status = ds4_tool_render(body, n, tokenizer, n_context, &prompt, error);
    *ids = prompt.ids;
    return status;
}

static ds4_status from_request(ds4_json_value request, ds4_json_value reference,
                               const ds4_tokenizer *tokenizer, uint32_t n_context,
                               ds4_score_case *c, ds4_error *error) {
    ds4_json_value messages, element;
    ds4_strbuf body = {0};
    ds4_tokens whole = {0};
    if (!ds4_json_find(request, "messages", &messages) || messages.type != DS4_JSON_ARRAY)
        return ds4_fail(error, DS4_FORMAT, "request.messages is not an array");
    ds4_json_cursor cursor = ds4_json_enter(messages);
    if (!ds4_json_next_element(&cursor, &element))
        return ds4_fail(error, DS4_FORMAT, "request.messages is empty");
    append_message(request, messages, reference, &body);
    ds4_status status = body.failed ? ds4_fail_memory(error, body.n, "a request") : DS4_OK;
    if (status == DS4_OK)
        status = tokenize_request(request.text, request.n, tokenizer, n_context, &c->prompt, error);
    if (status == DS4_OK)
        status = tokenize_request(body.data, body.n, tokenizer, n_context, &whole, error);
    if (status == DS4_OK &&
        (whole.n <= c->prompt.n ||
         memcmp(whole.ids, c->prompt.ids, c->prompt.n * sizeof *whole.ids) != 0))
        status = ds4_fail(error, DS4_FORMAT,
                          "the reference does not continue the prompt: it must be the assistant's "
                          "message that answers the last turn");
    if (status == DS4_OK)
        status =
            ds4_tokens_append(&c->target, whole.ids + c->prompt.n, whole.n - c->prompt.n, error);
    ds4_tokens_free(&whole);
    ds4_strbuf_free(&body);
    return status;
}

static ds4_status from_text(ds4_json_value prompt, ds4_json_value continuation,
                            const ds4_tokenizer *tokenizer, uint32_t n_context, ds4_score_case *c,
                            ds4_error *error) {
    ds4_strbuf body = {0}, text = {0};
    ds4_strbuf_puts(&body, "{\"messages\":[{\"role\":\"user\",\"content\":");
    ds4_strbuf_append(&body, prompt.text, prompt.n);
    ds4_strbuf_puts(&body, "}],\"thinking\":{\"type\":\"disabled\"}}");
    ds4_json_string_decode(continuation, &text);
    ds4_status status =
        body.failed || text.failed ? ds4_fail_memory(error, body.n, "a request") : DS4_OK;
    if (status == DS4_OK)
        status = tokenize_request(body.data, body.n, tokenizer, n_context, &c->prompt, error);
    if (status == DS4_OK && text.n == 0)
        status = ds4_fail(error, DS4_FORMAT, "continuation is empty");
    if (status == DS4_OK)
        status = ds4_tokenizer_encode(tokenizer, text.data, text.n, &c->target, error);
    ds4_strbuf_free(&body);
    ds4_strbuf_free(&text);
    return status;
}

static ds4_status read_id(ds4_json_value document, ds4_score_case *c, ds4_error *error) {
    ds4_json_value value;
    ds4_strbuf id = {0};
    ds4_status status = DS4_OK;
    if (!ds4_json_find(document, "id", &value) || value.type != DS4_JSON_STRING)
        return ds4_fail(error, DS4_FORMAT, "id is missing or not a string");
    ds4_json_string_decode(value, &id);
    if (id.failed || id.n == 0 || id.n >= sizeof c->id || strcspn(id.data, ",\"\n\r") != id.n)
        status = ds4_fail(error, DS4_FORMAT,
                          "id must have 1 to %zu bytes, without commas, quotes and line ends",
                          sizeof c->id - 1);
    else
        snprintf(c->id, sizeof c->id, "%s", id.data);
    ds4_strbuf_free(&id);
    if (status != DS4_OK) return status;
    c->weight = 1;
    if (!ds4_json_find(document, "weight", &value)) return DS4_OK;
    if (value.type == DS4_JSON_NUMBER) c->weight = ds4_json_number(value);
    if (value.type == DS4_JSON_NUMBER && c->weight > 0 && c->weight <= 1e9) return DS4_OK;
    return ds4_fail(error, DS4_FORMAT, "weight must be a number above 0");
}

ds4_status ds4_score_case_parse(const char *line, size_t n, const ds4_tokenizer *tokenizer,
                                uint32_t n_context, ds4_score_case *c, ds4_error *error) {
    ds4_json_value document, first, second;
    *c = (ds4_score_case){0};
    ds4_status status = ds4_json_scan(line, n, DS4_JSON_DEPTH_LIMIT, &document, error);
    if (status != DS4_OK) return status;
    if (document.type != DS4_JSON_OBJECT)
        return ds4_fail(error, DS4_FORMAT, "a case must be a JSON object");
    status = read_id(document, c, error);
    if (status != DS4_OK) return status;
    if (ds4_json_find(document, "request", &first) &&
        ds4_json_find(document, "reference", &second) && first.type == DS4_JSON_OBJECT &&
        second.type == DS4_JSON_OBJECT)
        return from_request(first, second, tokenizer, n_context, c, error);
    if (ds4_json_find(document, "prompt", &first) &&
        ds4_json_find(document, "continuation", &second) && first.type == DS4_JSON_STRING &&
        second.type == DS4_JSON_STRING)
        return from_text(first, second, tokenizer, n_context, c, error);
    return ds4_fail(error, DS4_FORMAT,
                    "a case needs the objects \"request\" and \"reference\", or the strings "
                    "\"prompt\" and \"continuation\"");
}

void ds4_score_case_free(ds4_score_case *c) {
    ds4_tokens_free(&c->prompt);
    ds4_tokens_free(&c->target);
}
