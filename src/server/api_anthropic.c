/* POST /v1/messages and POST /v1/messages/count_tokens. */
#include <stdio.h>
#include <xxhash.h>

#include "server/exchange.h"
#include "server/json_out.h"
#include "server/steering.h"

typedef enum block_kind { BLOCK_NONE, BLOCK_THINKING, BLOCK_TEXT, BLOCK_TOOL } block_kind;

typedef struct messages_state {
    block_kind open;
    unsigned n_blocks;
    bool spoke; /* some block is not thinking */
} messages_state;

/* An opaque mark that clients send back with the thinking. The same thinking has the same one. */
static void append_signature(const ds4_exchange *x, ds4_strbuf *out) {
    const ds4_strbuf *thinking = &x->result.reasoning;
    XXH128_hash_t hash = XXH3_128bits(thinking->n > 0 ? thinking->data : "", thinking->n);
    ds4_strbuf_printf(out, "\"ds4-%016llx%016llx\"", (unsigned long long)hash.high64,
                      (unsigned long long)hash.low64);
}

static void append_usage(uint32_t n_prompt, uint32_t n_cached, uint32_t n_output, ds4_strbuf *out) {
    ds4_strbuf_printf(out,
                      "{\"input_tokens\":%u,\"cache_creation_input_tokens\":0,"
                      "\"cache_read_input_tokens\":%u,\"output_tokens\":%u}",
                      n_prompt - n_cached, n_cached, n_output);
}

static const char *stop_reason(const ds4_exchange *x) {
    if (x->result.stop.n > 0) return "stop_sequence";
    switch (x->result.finish) {
    case DS4_FINISH_TOOL_CALLS:
        return "tool_use";
    case DS4_FINISH_LENGTH:
        return "max_tokens";
    default:
        return "end_turn";
    }
}

static void append_stop(const ds4_exchange *x, ds4_strbuf *out) {
    ds4_strbuf_printf(out, "\"stop_reason\":\"%s\",\"stop_sequence\":", stop_reason(x));
    if (x->result.stop.n > 0)
        ds4_json_string(out, x->result.stop.data, x->result.stop.n);
    else
        ds4_strbuf_puts(out, "null");
}

/* `{"id":...,"model":M` of a message. */
static void append_head(const ds4_exchange *x, ds4_strbuf *out) {
    ds4_strbuf_printf(
        out, "{\"id\":\"%s\",\"type\":\"message\",\"role\":\"assistant\",\"model\":", x->id);
    ds4_json_string(out, x->request.model.data, x->request.model.n);
}

/* ---- the stream ---- */

static void begin_event(const char *name, ds4_strbuf *out) {
    ds4_strbuf_printf(out, "event: %s\ndata: {\"type\":\"%s\"", name, name);
}

static void end_event(ds4_strbuf *out) {
    ds4_strbuf_puts(out, "}\n\n");
}

static void started(ds4_exchange *x, ds4_strbuf *out) {
    uint32_t n_prompt = x->n_prompt;
    begin_event("message_start", out);
    ds4_strbuf_puts(out, ",\"message\":");
    append_head(x, out);
    ds4_strbuf_puts(out, ",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":");
    append_usage(n_prompt, x->n_cached, 0, out);
    ds4_strbuf_putc(out, '}');
    end_event(out);
    begin_event("ping", out);
    end_event(out);
}

static void begin_delta(const messages_state *state, const char *type, const char *member,
                        ds4_strbuf *out) {
    begin_event("content_block_delta", out);
    ds4_strbuf_printf(out, ",\"index\":%u,\"delta\":{\"type\":\"%s\",\"%s\":", state->n_blocks - 1,
                      type, member);
}

static void close_block(ds4_exchange *x, ds4_strbuf *out) {
    messages_state *state = x->state;
    if (state->open == BLOCK_NONE) return;
    if (state->open == BLOCK_THINKING) {
        begin_delta(state, "signature_delta", "signature", out);
        append_signature(x, out);
        ds4_strbuf_putc(out, '}');
        end_event(out);
    }
    begin_event("content_block_stop", out);
    ds4_strbuf_printf(out, ",\"index\":%u", state->n_blocks - 1);
    end_event(out);
    state->open = BLOCK_NONE;
}

/* `call`: the event that announces it, for BLOCK_TOOL. */
static void open_block(ds4_exchange *x, block_kind kind, const ds4_chat_event *call,
                       ds4_strbuf *out) {
    messages_state *state = x->state;
    if (state->open == kind && kind != BLOCK_TOOL) return;
    close_block(x, out);
    begin_event("content_block_start", out);
    ds4_strbuf_printf(out, ",\"index\":%u,\"content_block\":", state->n_blocks++);
    if (kind == BLOCK_THINKING) {
        ds4_strbuf_puts(out, "{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}");
    } else if (kind == BLOCK_TEXT) {
        ds4_strbuf_puts(out, "{\"type\":\"text\",\"text\":\"\"}");
    } else {
        ds4_strbuf_puts(out, "{\"type\":\"tool_use\",\"id\":");
        ds4_json_string(out, call->id.data, call->id.n);
        ds4_strbuf_puts(out, ",\"name\":");
        ds4_json_string(out, call->name.data, call->name.n);
        ds4_strbuf_puts(out, ",\"input\":{}}");
    }
    end_event(out);
    state->open = kind;
    state->spoke = state->spoke || kind != BLOCK_THINKING;
}

static void event(ds4_exchange *x, const ds4_chat_event *event, ds4_strbuf *out) {
    messages_state *state = x->state;
    const char *type = NULL, *member = NULL;
    switch (event->type) {
    case DS4_EVENT_REASONING:
        if (event->text.n == 0) return;
        open_block(x, BLOCK_THINKING, NULL, out);
        type = "thinking_delta", member = "thinking";
        break;
    case DS4_EVENT_CONTENT:
        if (event->text.n == 0) return;
        open_block(x, BLOCK_TEXT, NULL, out);
        type = "text_delta", member = "text";
        break;
    case DS4_EVENT_TOOL_BEGIN:
        open_block(x, BLOCK_TOOL, event, out);
        return;
    case DS4_EVENT_TOOL_ARGUMENTS:
        if (event->text.n == 0) return;
        type = "input_json_delta", member = "partial_json";
        break;
    case DS4_EVENT_TOOL_END:
        close_block(x, out);
        return;
    case DS4_EVENT_FINISH:
        return;
    }
    begin_delta(state, type, member, out);
    ds4_json_string(out, event->text.data, event->text.n);
    ds4_strbuf_putc(out, '}');
    end_event(out);
}

static void end(ds4_exchange *x, const ds4_sched_result *r, ds4_strbuf *out) {
    messages_state *state = x->state;
    close_block(x, out);
    if (!state->spoke) { /* an answer always has a text, however empty */
        open_block(x, BLOCK_TEXT, NULL, out);
        close_block(x, out);
    }
    begin_event("message_delta", out);
    ds4_strbuf_puts(out, ",\"delta\":{");
    append_stop(x, out);
    ds4_strbuf_puts(out, "},\"usage\":");
    append_usage(r->n_prompt, r->n_cached, r->n_generated, out);
    ds4_steering_json(x, r, out);
    end_event(out);
    begin_event("message_stop", out);
    end_event(out);
}

static void fail(ds4_exchange *x, const ds4_api_error *error, ds4_strbuf *out) {
    close_block(x, out);
    ds4_strbuf_puts(out, "event: error\ndata: ");
    ds4_api_error_body(out, DS4_ERROR_ANTHROPIC, error);
    ds4_strbuf_puts(out, "\n\n");
}

/* ---- in one piece ---- */

static void whole(ds4_exchange *x, const ds4_sched_result *r, ds4_strbuf *out) {
    const ds4_chat_result *result = &x->result;
    append_head(x, out);
    ds4_strbuf_puts(out, ",\"content\":[");
    if (result->reasoning.n > 0) {
        ds4_strbuf_puts(out, "{\"type\":\"thinking\",\"thinking\":");
        ds4_json_string(out, result->reasoning.data, result->reasoning.n);
        ds4_strbuf_puts(out, ",\"signature\":");
        append_signature(x, out);
        ds4_strbuf_puts(out, "}");
    }
    if (result->content.n > 0 || result->n_calls == 0) {
        if (result->reasoning.n > 0) ds4_strbuf_putc(out, ',');
        ds4_strbuf_puts(out, "{\"type\":\"text\",\"text\":");
        ds4_json_string(out, result->content.data, result->content.n);
        ds4_strbuf_putc(out, '}');
    }
    for (size_t i = 0; i < result->n_calls; i++) {
        const ds4_result_call *call = &result->calls[i];
        if (i > 0 || result->reasoning.n > 0 || result->content.n > 0) ds4_strbuf_putc(out, ',');
        ds4_strbuf_puts(out, "{\"type\":\"tool_use\",\"id\":");
        ds4_json_cstring(out, call->id);
        ds4_strbuf_puts(out, ",\"name\":");
        ds4_json_string(out, call->name.data, call->name.n);
        ds4_strbuf_puts(out, ",\"input\":"); /* always one JSON object (chat/parse.h) */
        ds4_strbuf_append(out, call->arguments.data, call->arguments.n);
        ds4_strbuf_putc(out, '}');
    }
    ds4_strbuf_puts(out, "],");
    append_stop(x, out);
    ds4_strbuf_puts(out, ",\"usage\":");
    append_usage(r->n_prompt, r->n_cached, r->n_generated, out);
    ds4_steering_json(x, r, out);
    ds4_strbuf_puts(out, "}\n");
}

static const ds4_protocol protocol = {
    .label = "messages",
    .id_prefix = "msg_",
    .prompt_param = "messages",
    .keepalive = "event: ping\ndata: {\"type\":\"ping\"}\n\n",
    .tool_ids = DS4_TOOL_ID_ANTHROPIC,
    .parse = ds4_anthropic_request_parse,
    .state_bytes = sizeof(messages_state),
    .started = started,
    .event = event,
    .end = end,
    .fail = fail,
    .whole = whole,
};

void ds4_api_messages(ds4_app *app, const ds4_strbuf *body, ds4_http_reply *reply) {
    ds4_exchange_run(&protocol, app, body, reply);
}

/* Tokenises only: no session, no queue, and a prompt that is too long for the context has a number
 * too. */
void ds4_api_count_tokens(ds4_app *app, const ds4_strbuf *body, ds4_http_reply *reply) {
    char json[64];
    size_t n_tokens;
    if (!ds4_exchange_count(&protocol, app, body, reply, &n_tokens)) return;
    int n = snprintf(json, sizeof json, "{\"input_tokens\":%zu}\n", n_tokens);
    ds4_http_reply_send(reply, 200, NULL, "application/json", json, (size_t)n);
}
