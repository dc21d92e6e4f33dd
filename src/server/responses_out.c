#include "server/responses_out.h"

#include "base/json_scan.h"
#include "chat/responses_internal.h"
#include "server/json_out.h"
#include "server/steering.h"

const char *ds4_response_status_name(ds4_response_status status) {
    static const char *const names[] = {"in_progress", "completed", "incomplete", "failed"};
    return names[status];
}

ds4_response_status ds4_response_status_of(const ds4_sched_result *result) {
    return result->finish == DS4_FINISH_LENGTH ? DS4_RESPONSE_INCOMPLETE : DS4_RESPONSE_COMPLETED;
}

/* ---- the response ---- */

/* JSON that the client wrote, or what stands for its absence. */
static void append_raw(ds4_strbuf *out, const char *name, ds4_text json, const char *absent) {
    ds4_strbuf_printf(out, ",\"%s\":", name);
    if (json.n > 0)
        ds4_strbuf_append(out, json.data, json.n);
    else
        ds4_strbuf_puts(out, absent);
}

static void append_text(ds4_strbuf *out, const char *name, ds4_text text) {
    ds4_strbuf_printf(out, ",\"%s\":", name);
    if (text.n > 0)
        ds4_json_string(out, text.data, text.n);
    else
        ds4_strbuf_puts(out, "null");
}

static void append_usage(const ds4_sched_result *r, ds4_strbuf *out) {
    if (r == NULL) {
        ds4_strbuf_puts(out, ",\"usage\":null");
        return;
    }
    ds4_strbuf_printf(out,
                      ",\"usage\":{\"input_tokens\":%u,\"input_tokens_details\":{\"cached_tokens\":"
                      "%u,\"cache_write_tokens\":%u},\"output_tokens\":%u,"
                      "\"output_tokens_details\":{\"reasoning_tokens\":%u},\"total_tokens\":%u}",
                      r->n_prompt, r->n_cached, r->n_prompt - r->n_cached, r->n_generated,
                      r->n_reasoning, r->n_prompt + r->n_generated);
}

/* What the request said, or the defaults that held instead. */
static void append_request(const ds4_exchange *x, ds4_strbuf *out) {
    const ds4_chat_request *r = &x->request;
    const ds4_responses_fields *f = &r->responses;
    append_text(out, "instructions", f->instructions);
    if (r->max_tokens > 0)
        ds4_strbuf_printf(out, ",\"max_output_tokens\":%d", r->max_tokens);
    else
        ds4_strbuf_puts(out, ",\"max_output_tokens\":null");
    append_text(out, "previous_response_id", f->previous_id);
    append_raw(out, "reasoning", f->reasoning, "{\"effort\":null,\"summary\":null}");
    append_raw(out, "text", f->text, "{\"format\":{\"type\":\"text\"}}");
    append_raw(out, "tools", f->tools, "[]");
    append_raw(out, "tool_choice", f->tool_choice, "\"auto\"");
    append_raw(out, "metadata", f->metadata, "{}");
    ds4_strbuf_printf(out,
                      ",\"parallel_tool_calls\":%s,\"store\":%s,\"temperature\":%.7g,"
                      "\"top_p\":%.7g,\"top_logprobs\":%u,\"truncation\":\"disabled\"",
                      r->one_call ? "false" : "true", f->no_store ? "false" : "true",
                      (double)r->sampling.temperature, (double)r->sampling.top_p,
                      r->n_top_logprobs);
}

void ds4_response_json(const ds4_exchange *x, ds4_response_status status, const ds4_strbuf *output,
                       const ds4_sched_result *result, const ds4_api_error *error,
                       ds4_strbuf *out) {
    ds4_strbuf_printf(
        out,
        "{\"id\":\"%s\",\"object\":\"response\",\"created_at\":%lld,\"status\":\"%s\",\"model\":",
        x->id, x->created, ds4_response_status_name(status));
    ds4_json_string(out, x->request.model.data, x->request.model.n);
    ds4_strbuf_puts(out, ",\"error\":");
    if (error != NULL) {
        ds4_strbuf_puts(out, "{\"code\":");
        ds4_json_cstring(out, error->code != NULL ? error->code : "server_error");
        ds4_strbuf_puts(out, ",\"message\":");
        ds4_json_cstring(out, error->message);
        ds4_strbuf_putc(out, '}');
    } else {
        ds4_strbuf_puts(out, "null");
    }
    ds4_strbuf_puts(out, status == DS4_RESPONSE_INCOMPLETE
                             ? ",\"incomplete_details\":{\"reason\":\"max_output_tokens\"}"
                             : ",\"incomplete_details\":null");
    ds4_strbuf_puts(out, ",\"output\":[");
    if (output->n > 0) ds4_strbuf_append(out, output->data, output->n);
    ds4_strbuf_putc(out, ']');
    append_request(x, out);
    append_usage(result, out);
    if (result != NULL) ds4_steering_json(x, result, out);
    ds4_strbuf_putc(out, '}');
}

/* ---- items ---- */

static void begin_item(const char *id, const char *type, ds4_response_status status,
                       ds4_strbuf *out) {
    ds4_strbuf_printf(out, "{\"id\":\"%s\",\"type\":\"%s\",\"status\":\"%s\"", id, type,
                      ds4_response_status_name(status));
}

void ds4_reasoning_item_json(const char *id, ds4_response_status status, const ds4_strbuf *text,
                             bool shown, bool sealed, ds4_strbuf *out) {
    begin_item(id, "reasoning", status, out);
    ds4_strbuf_puts(out, ",\"summary\":[");
    if (text != NULL && shown) {
        ds4_strbuf_puts(out, "{\"type\":\"summary_text\",\"text\":");
        ds4_json_string(out, text->data, text->n);
        ds4_strbuf_putc(out, '}');
    }
    ds4_strbuf_putc(out, ']');
    if (text != NULL && sealed) {
        ds4_strbuf_puts(out, ",\"encrypted_content\":\"" DS4_RESPONSES_REASONING_MARK);
        ds4_json_escape(text->data, text->n, out);
        ds4_strbuf_putc(out, '"');
    }
    ds4_strbuf_putc(out, '}');
}

void ds4_output_text_json(const ds4_strbuf *text, const ds4_strbuf *logprobs, ds4_strbuf *out) {
    ds4_strbuf_puts(out, "{\"type\":\"output_text\",\"text\":");
    ds4_json_string(out, text->data, text->n);
    ds4_strbuf_puts(out, ",\"annotations\":[],\"logprobs\":[");
    if (logprobs->n > 0) ds4_strbuf_append(out, logprobs->data, logprobs->n);
    ds4_strbuf_puts(out, "]}");
}

void ds4_message_item_json(const char *id, ds4_response_status status, const ds4_strbuf *text,
                           const ds4_strbuf *logprobs, ds4_strbuf *out) {
    begin_item(id, "message", status, out);
    ds4_strbuf_puts(out, ",\"role\":\"assistant\",\"content\":[");
    if (text != NULL) ds4_output_text_json(text, logprobs, out);
    ds4_strbuf_puts(out, "]}");
}

const ds4_tool_alias *ds4_find_alias(const ds4_chat_request *request, ds4_text name) {
    const ds4_responses_fields *f = &request->responses;
    for (size_t i = 0; i < f->n_aliases; i++)
        if (ds4_text_same(f->aliases[i].name, name)) return &f->aliases[i];
    return NULL;
}

void ds4_custom_input(ds4_text arguments, ds4_strbuf *out) {
    ds4_json_value object, input;
    if (ds4_json_scan(arguments.data, arguments.n, DS4_JSON_DEPTH_LIMIT, &object, NULL) == DS4_OK &&
        ds4_json_find(object, "input", &input) && input.type == DS4_JSON_STRING)
        ds4_json_string_decode(input, out);
    else
        ds4_strbuf_append(out, arguments.data, arguments.n);
}

void ds4_call_name_json(const ds4_call_item *call, ds4_strbuf *out) {
    ds4_text name = call->alias != NULL ? call->alias->wire_name : call->name;
    ds4_strbuf_puts(out, "\"name\":");
    ds4_json_string(out, name.data, name.n);
    if (call->alias == NULL || call->alias->space.n == 0) return;
    ds4_strbuf_puts(out, ",\"namespace\":");
    ds4_json_string(out, call->alias->space.data, call->alias->space.n);
}

void ds4_call_item_json(const ds4_call_item *call, ds4_response_status status, ds4_strbuf *out) {
    ds4_tool_alias_kind kind = call->alias != NULL ? call->alias->kind : DS4_TOOL_FUNCTION;
    static const char *const types[] = {"function_call", "tool_search_call", "custom_tool_call"};
    begin_item(call->id, types[kind], status, out);
    ds4_strbuf_puts(out, ",\"call_id\":");
    ds4_json_string(out, call->call_id.data, call->call_id.n);
    if (kind == DS4_TOOL_SEARCH) {
        ds4_strbuf_puts(out, ",\"execution\":\"client\",\"arguments\":");
        if (call->arguments.n > 0) /* always one JSON object (chat/parse.h) */
            ds4_strbuf_append(out, call->arguments.data, call->arguments.n);
        else
            ds4_strbuf_puts(out, "{}");
        ds4_strbuf_putc(out, '}');
        return;
    }
    ds4_strbuf_putc(out, ',');
    ds4_call_name_json(call, out);
    if (kind == DS4_TOOL_CUSTOM) {
        ds4_strbuf input = {0};
        if (call->arguments.n > 0) ds4_custom_input(call->arguments, &input);
        ds4_strbuf_puts(out, ",\"input\":");
        ds4_json_string(out, input.data, input.n);
        if (input.failed) out->failed = true;
        ds4_strbuf_free(&input);
    } else {
        ds4_strbuf_puts(out, ",\"arguments\":");
        ds4_json_string(out, call->arguments.data, call->arguments.n);
    }
    ds4_strbuf_putc(out, '}');
}
