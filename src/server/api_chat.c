/* POST /v1/chat/completions. */
#include "server/exchange.h"
#include "server/json_out.h"
#include "server/steering.h"

/* `data: {..."choices":` of every chunk. */
static void append_head(const ds4_exchange *x, const char *object, ds4_strbuf *out) {
    ds4_strbuf_printf(out, "{\"id\":\"%s\",\"object\":\"%s\",\"created\":%lld,\"model\":", x->id,
                      object, x->created);
    ds4_json_string(out, x->request.model.data, x->request.model.n);
    ds4_strbuf_puts(out, ",\"choices\":");
}

static void begin_delta(const ds4_exchange *x, ds4_strbuf *out) {
    ds4_strbuf_puts(out, "data: ");
    append_head(x, "chat.completion.chunk", out);
    ds4_strbuf_puts(out, "[{\"index\":0,\"delta\":");
}

/* `,"logprobs":{...}` with what is ready, when the request asked for it. */
static void append_logprobs(ds4_exchange *x, ds4_strbuf *out) {
    if (!x->request.logprobs) return;
    ds4_strbuf_puts(out, ",\"logprobs\":{\"content\":[");
    ds4_logprobs_out_take(&x->logprobs, false, out);
    ds4_strbuf_puts(out, "],\"reasoning_content\":[");
    ds4_logprobs_out_take(&x->logprobs, true, out);
    ds4_strbuf_puts(out, "],\"refusal\":null}");
}

static void end_delta(ds4_exchange *x, ds4_strbuf *out) {
    append_logprobs(x, out);
    ds4_strbuf_puts(out, ",\"finish_reason\":null}]}\n\n");
}

static void begin(ds4_exchange *x, ds4_strbuf *out) {
    begin_delta(x, out);
    ds4_strbuf_puts(out, "{\"role\":\"assistant\"},\"finish_reason\":null}]}\n\n");
}

static void event(ds4_exchange *x, const ds4_chat_event *event, ds4_strbuf *out) {
    switch (event->type) {
    case DS4_EVENT_REASONING:
    case DS4_EVENT_CONTENT:
        if (event->text.n == 0) return;
        begin_delta(x, out);
        ds4_strbuf_puts(out, event->type == DS4_EVENT_REASONING ? "{\"reasoning_content\":"
                                                                : "{\"content\":");
        ds4_json_string(out, event->text.data, event->text.n);
        ds4_strbuf_putc(out, '}');
        end_delta(x, out);
        return;
    case DS4_EVENT_TOOL_BEGIN:
        begin_delta(x, out);
        ds4_strbuf_printf(out, "{\"tool_calls\":[{\"index\":%zu,\"id\":", event->index);
        ds4_json_string(out, event->id.data, event->id.n);
        ds4_strbuf_puts(out, ",\"type\":\"function\",\"function\":{\"name\":");
        ds4_json_string(out, event->name.data, event->name.n);
        ds4_strbuf_puts(out, ",\"arguments\":\"\"}}]}");
        end_delta(x, out);
        return;
    case DS4_EVENT_TOOL_ARGUMENTS:
        if (event->text.n == 0) return;
        begin_delta(x, out);
        ds4_strbuf_printf(
            out, "{\"tool_calls\":[{\"index\":%zu,\"function\":{\"arguments\":", event->index);
        ds4_json_string(out, event->text.data, event->text.n);
        ds4_strbuf_puts(out, "}}]}");
        end_delta(x, out);
        return;
    case DS4_EVENT_TOOL_END:
    case DS4_EVENT_FINISH:
        return; /* the end is written by end(), which knows the usage */
    }
}

static void fail(ds4_exchange *x, const ds4_api_error *error, ds4_strbuf *out) {
    (void)x;
    ds4_strbuf_puts(out, "data: ");
    ds4_api_error_body(out, DS4_ERROR_OPENAI, error);
    ds4_strbuf_puts(out, "\n\n");
}

static void end(ds4_exchange *x, const ds4_sched_result *r, ds4_strbuf *out) {
    begin_delta(x, out);
    ds4_strbuf_puts(out, "{}");
    append_logprobs(x, out);
    ds4_strbuf_printf(out, ",\"finish_reason\":\"%s\"}]", ds4_finish_name(r->finish));
    ds4_steering_json(x, r, out);
    ds4_strbuf_puts(out, "}\n\n");
    if (x->request.stream_usage) {
        ds4_strbuf_puts(out, "data: ");
        append_head(x, "chat.completion.chunk", out);
        ds4_strbuf_puts(out, "[],\"usage\":");
        ds4_usage_json(r, out);
        ds4_strbuf_puts(out, "}\n\n");
    }
    ds4_strbuf_puts(out, "data: [DONE]\n\n");
}

static void append_calls(const ds4_chat_result *result, ds4_strbuf *out) {
    ds4_strbuf_puts(out, ",\"tool_calls\":[");
    for (size_t i = 0; i < result->n_calls; i++) {
        const ds4_result_call *call = &result->calls[i];
        if (i > 0) ds4_strbuf_putc(out, ',');
        ds4_strbuf_puts(out, "{\"id\":");
        ds4_json_cstring(out, call->id);
        ds4_strbuf_puts(out, ",\"type\":\"function\",\"function\":{\"name\":");
        ds4_json_string(out, call->name.data, call->name.n);
        ds4_strbuf_puts(out, ",\"arguments\":");
        ds4_json_string(out, call->arguments.data, call->arguments.n);
        ds4_strbuf_puts(out, "}}");
    }
    ds4_strbuf_putc(out, ']');
}

static void whole(ds4_exchange *x, const ds4_sched_result *r, ds4_strbuf *out) {
    const ds4_chat_result *result = &x->result;
    append_head(x, "chat.completion", out);
    ds4_strbuf_puts(out, "[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":");
    ds4_json_string(out, result->content.data, result->content.n);
    if (result->reasoning.n > 0) {
        ds4_strbuf_puts(out, ",\"reasoning_content\":");
        ds4_json_string(out, result->reasoning.data, result->reasoning.n);
    }
    if (result->n_calls > 0) append_calls(result, out);
    ds4_strbuf_putc(out, '}');
    append_logprobs(x, out);
    ds4_strbuf_printf(out,
                      ",\"finish_reason\":\"%s\"}],\"usage\":", ds4_finish_name(result->finish));
    ds4_usage_json(r, out);
    ds4_steering_json(x, r, out);
    ds4_strbuf_puts(out, "}\n");
}

static const ds4_protocol protocol = {
    .label = "chat",
    .id_prefix = "chatcmpl-",
    .prompt_param = "messages",
    .tool_ids = DS4_TOOL_ID_OPENAI,
    .parse = ds4_openai_request_parse,
    .begin = begin,
    .event = event,
    .end = end,
    .fail = fail,
    .whole = whole,
};

void ds4_api_chat(ds4_app *app, const ds4_strbuf *body, ds4_http_reply *reply) {
    ds4_exchange_run(&protocol, app, body, reply);
}
