/* POST /v1/completions: thinking and answer are one text, with </think> between. */
#include "server/exchange.h"
#include "server/json_out.h"
#include "server/steering.h"

typedef struct completion_state {
    bool answering; /* </think> was written, or there is none */
} completion_state;

static void append_head(const ds4_exchange *x, ds4_strbuf *out) {
    ds4_strbuf_printf(
        out, "{\"id\":\"%s\",\"object\":\"text_completion\",\"created\":%lld,\"model\":", x->id,
        x->created);
    ds4_json_string(out, x->request.model.data, x->request.model.n);
    ds4_strbuf_puts(out, ",\"choices\":[");
}

static void append_logprobs(ds4_exchange *x, ds4_strbuf *out) {
    ds4_strbuf_puts(out, ",\"logprobs\":");
    if (x->request.logprobs)
        ds4_logprobs_out_take_legacy(&x->logprobs, out);
    else
        ds4_strbuf_puts(out, "null");
}

static void append_chunk(ds4_exchange *x, ds4_text text, const char *finish, ds4_strbuf *out) {
    ds4_strbuf_puts(out, "data: ");
    append_head(x, out);
    ds4_strbuf_puts(out, "{\"text\":");
    ds4_json_string(out, text.data, text.n);
    ds4_strbuf_puts(out, ",\"index\":0");
    append_logprobs(x, out);
    ds4_strbuf_puts(out, ",\"finish_reason\":");
    if (finish != NULL)
        ds4_json_cstring(out, finish);
    else
        ds4_strbuf_puts(out, "null");
    ds4_strbuf_puts(out, "}]}\n\n");
}

/* The first content behind thinking brings the tag along. */
static void event(ds4_exchange *x, const ds4_chat_event *event, ds4_strbuf *out) {
    completion_state *state = x->state;
    bool content = event->type == DS4_EVENT_CONTENT;
    if ((!content && event->type != DS4_EVENT_REASONING) || event->text.n == 0) return;
    if (content && !state->answering && x->prompt.think_mode != DS4_THINK_NONE) {
        if (x->request.logprobs) ds4_logprobs_out_release(&x->logprobs, false, 8);
        append_chunk(x, DS4_TEXT("</think>"), NULL, out);
    }
    if (content) state->answering = true;
    append_chunk(x, event->text, NULL, out);
}

static void fail(ds4_exchange *x, const ds4_api_error *error, ds4_strbuf *out) {
    (void)x;
    ds4_strbuf_puts(out, "data: ");
    ds4_api_error_body(out, DS4_ERROR_OPENAI, error);
    ds4_strbuf_puts(out, "\n\n");
}

static void end(ds4_exchange *x, const ds4_sched_result *r, ds4_strbuf *out) {
    append_chunk(x, DS4_TEXT(""), ds4_finish_name(r->finish), out);
    if (x->request.stream_usage) {
        ds4_strbuf_puts(out, "data: ");
        append_head(x, out);
        ds4_strbuf_puts(out, "],\"usage\":");
        ds4_usage_json(r, out);
        ds4_strbuf_puts(out, "}\n\n");
    }
    ds4_strbuf_puts(out, "data: [DONE]\n\n");
}

static void whole(ds4_exchange *x, const ds4_sched_result *r, ds4_strbuf *out) {
    const ds4_chat_result *result = &x->result;
    ds4_strbuf text = {0};
    ds4_strbuf_append(&text, result->reasoning.data, result->reasoning.n);
    if (x->prompt.think_mode != DS4_THINK_NONE && result->content.n > 0) {
        ds4_strbuf_puts(&text, "</think>");
        if (x->request.logprobs) ds4_logprobs_out_release(&x->logprobs, false, 8);
    }
    ds4_strbuf_append(&text, result->content.data, result->content.n);
    append_head(x, out);
    ds4_strbuf_puts(out, "{\"text\":");
    ds4_json_string(out, text.data, text.n);
    ds4_strbuf_puts(out, ",\"index\":0");
    append_logprobs(x, out);
    ds4_strbuf_printf(out,
                      ",\"finish_reason\":\"%s\"}],\"usage\":", ds4_finish_name(result->finish));
    ds4_usage_json(r, out);
    ds4_steering_json(x, r, out);
    ds4_strbuf_puts(out, "}\n");
    if (text.failed) out->failed = true;
    ds4_strbuf_free(&text);
}

static const ds4_protocol protocol = {
    .label = "completion",
    .id_prefix = "cmpl-",
    .prompt_param = "prompt",
    .tool_ids = DS4_TOOL_ID_OPENAI,
    .parse = ds4_completion_request_parse,
    .state_bytes = sizeof(completion_state),
    .one_text = true,
    .event = event,
    .end = end,
    .fail = fail,
    .whole = whole,
};

void ds4_api_completions(ds4_app *app, const ds4_strbuf *body, ds4_http_reply *reply) {
    ds4_exchange_run(&protocol, app, body, reply);
}
