/* POST /v1/responses: the life of a response as events, each with its number; one item is open at a
 * time and is closed before the next begins. */
#include <string.h>

#include "server/json_out.h"
#include "server/responses_out.h"

typedef enum item_kind { ITEM_NONE, ITEM_REASONING, ITEM_MESSAGE, ITEM_CALL } item_kind;

typedef struct responses_state {
    unsigned sequence;
    unsigned n_items; /* announced */
    item_kind open;
    char id[48];     /* of the open item */
    ds4_strbuf text; /* of the open item: what its deltas add up to */
    ds4_strbuf logprobs;
    ds4_strbuf name, call_id;
    const ds4_tool_alias *alias;
    ds4_strbuf output; /* the closed items, with commas between */
    ds4_strbuf scratch;
} responses_state;

static void free_state(void *context) {
    responses_state *s = context;
    ds4_strbuf *buffers[] = {&s->text,    &s->logprobs, &s->name,
                             &s->call_id, &s->output,   &s->scratch};
    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++) ds4_strbuf_free(buffers[i]);
}

static ds4_text view(const ds4_strbuf *buffer) {
    return (ds4_text){buffer->n > 0 ? buffer->data : "", buffer->n};
}

/* ---- events ---- */

static void begin_event(responses_state *s, const char *type, ds4_strbuf *out) {
    ds4_strbuf_printf(out, "event: %s\ndata: {\"type\":\"%s\",\"sequence_number\":%u", type, type,
                      s->sequence++);
}

static void end_event(ds4_strbuf *out) {
    ds4_strbuf_puts(out, "}\n\n");
}

static void response_event(ds4_exchange *x, const char *type, ds4_response_status status,
                           const ds4_sched_result *r, const ds4_api_error *error, ds4_strbuf *out) {
    responses_state *s = x->state;
    begin_event(s, type, out);
    ds4_strbuf_puts(out, ",\"response\":");
    ds4_response_json(x, status, &s->output, r, error, out);
    end_event(out);
}

/* An event about a part of the open item; its own members follow. */
static void begin_part_event(responses_state *s, const char *type, const char *index,
                             ds4_strbuf *out) {
    begin_event(s, type, out);
    ds4_strbuf_printf(out, ",\"item_id\":\"%s\",\"output_index\":%u", s->id, s->n_items - 1);
    if (index != NULL) ds4_strbuf_printf(out, ",\"%s\":0", index);
}

static void string_member(ds4_strbuf *out, const char *name, const ds4_strbuf *text) {
    ds4_strbuf_printf(out, ",\"%s\":", name);
    ds4_json_string(out, text->data, text->n);
}

/* ---- items ---- */

static bool sealed(const ds4_exchange *x) {
    return x->request.responses.sealed_reasoning;
}
static bool shown(const ds4_exchange *x) {
    return x->request.responses.show_reasoning;
}

static ds4_call_item open_call(const responses_state *s) {
    return (ds4_call_item){.id = s->id,
                           .alias = s->alias,
                           .name = view(&s->name),
                           .call_id = view(&s->call_id),
                           .arguments = view(&s->text)};
}

/* The open item: as it begins (status IN_PROGRESS), or whole. */
static void item_json(const ds4_exchange *x, ds4_response_status status, ds4_strbuf *out) {
    const responses_state *s = x->state;
    const ds4_strbuf *text = status == DS4_RESPONSE_IN_PROGRESS ? NULL : &s->text;
    if (s->open == ITEM_REASONING) {
        ds4_reasoning_item_json(s->id, status, text, shown(x), sealed(x), out);
    } else if (s->open == ITEM_MESSAGE) {
        ds4_message_item_json(s->id, status, text, &s->logprobs, out);
    } else {
        ds4_call_item call = open_call(s);
        ds4_call_item_json(&call, status, out);
    }
}

/* A new item, which nobody is told of yet. */
static void begin_item(ds4_exchange *x, item_kind kind, const ds4_chat_event *call) {
    static const char *const prefixes[] = {"", "rs_", "msg_", "fc_"};
    responses_state *s = x->state;
    s->open = kind;
    s->n_items++;
    ds4_exchange_random_id(x, prefixes[kind], s->id, sizeof s->id);
    ds4_strbuf_clear(&s->text);
    ds4_strbuf_clear(&s->logprobs);
    if (call == NULL) return;
    ds4_strbuf_clear(&s->name);
    ds4_strbuf_append(&s->name, call->name.data, call->name.n);
    ds4_strbuf_clear(&s->call_id);
    ds4_strbuf_append(&s->call_id, call->id.data, call->id.n);
    s->alias = ds4_find_alias(&x->request, call->name);
}

static void keep_item(ds4_exchange *x, ds4_response_status status) {
    responses_state *s = x->state;
    if (s->output.n > 0) ds4_strbuf_putc(&s->output, ',');
    item_json(x, status, &s->output);
    s->open = ITEM_NONE;
}

static void item_event(ds4_exchange *x, const char *type, ds4_response_status status,
                       ds4_strbuf *out) {
    responses_state *s = x->state;
    begin_event(s, type, out);
    ds4_strbuf_printf(out, ",\"output_index\":%u,\"item\":", s->n_items - 1);
    item_json(x, status, out);
    end_event(out);
}

static void open_item(ds4_exchange *x, item_kind kind, const ds4_chat_event *call,
                      ds4_strbuf *out) {
    responses_state *s = x->state;
    begin_item(x, kind, call);
    item_event(x, "response.output_item.added", DS4_RESPONSE_IN_PROGRESS, out);
    if (kind == ITEM_REASONING && shown(x)) {
        begin_part_event(s, "response.reasoning_summary_part.added", "summary_index", out);
        ds4_strbuf_puts(out, ",\"part\":{\"type\":\"summary_text\",\"text\":\"\"}");
        end_event(out);
    } else if (kind == ITEM_MESSAGE) {
        begin_part_event(s, "response.content_part.added", "content_index", out);
        ds4_strbuf_puts(out, ",\"part\":{\"type\":\"output_text\",\"text\":\"\",\"annotations\":[],"
                             "\"logprobs\":[]}");
        end_event(out);
    }
}

static void close_reasoning(ds4_exchange *x, ds4_strbuf *out) {
    responses_state *s = x->state;
    if (!shown(x)) return;
    begin_part_event(s, "response.reasoning_summary_text.done", "summary_index", out);
    string_member(out, "text", &s->text);
    end_event(out);
    begin_part_event(s, "response.reasoning_summary_part.done", "summary_index", out);
    ds4_strbuf_puts(out, ",\"part\":{\"type\":\"summary_text\"");
    string_member(out, "text", &s->text);
    ds4_strbuf_putc(out, '}');
    end_event(out);
}

static void close_message(ds4_exchange *x, ds4_strbuf *out) {
    responses_state *s = x->state;
    begin_part_event(s, "response.output_text.done", "content_index", out);
    string_member(out, "text", &s->text);
    ds4_strbuf_puts(out, ",\"logprobs\":[");
    ds4_strbuf_append(out, s->logprobs.data, s->logprobs.n);
    ds4_strbuf_putc(out, ']');
    end_event(out);
    begin_part_event(s, "response.content_part.done", "content_index", out);
    ds4_strbuf_puts(out, ",\"part\":");
    ds4_output_text_json(&s->text, &s->logprobs, out);
    end_event(out);
}

/* A custom tool's input is known when its arguments are whole. */
static void close_call(ds4_exchange *x, ds4_strbuf *out) {
    responses_state *s = x->state;
    ds4_call_item call = open_call(s);
    ds4_tool_alias_kind kind = s->alias != NULL ? s->alias->kind : DS4_TOOL_FUNCTION;
    if (kind == DS4_TOOL_SEARCH) return;
    if (kind == DS4_TOOL_CUSTOM) {
        ds4_strbuf_clear(&s->scratch);
        ds4_custom_input(call.arguments, &s->scratch);
        begin_part_event(s, "response.custom_tool_call_input.delta", NULL, out);
        string_member(out, "delta", &s->scratch);
        end_event(out);
        begin_part_event(s, "response.custom_tool_call_input.done", NULL, out);
        string_member(out, "input", &s->scratch);
    } else {
        begin_part_event(s, "response.function_call_arguments.done", NULL, out);
        ds4_strbuf_putc(out, ',');
        ds4_call_name_json(&call, out);
        string_member(out, "arguments", &s->text);
    }
    end_event(out);
}

static void close_item(ds4_exchange *x, ds4_response_status status, ds4_strbuf *out) {
    responses_state *s = x->state;
    if (s->open == ITEM_NONE) return;
    if (s->open == ITEM_REASONING) close_reasoning(x, out);
    if (s->open == ITEM_MESSAGE) close_message(x, out);
    if (s->open == ITEM_CALL) close_call(x, out);
    item_event(x, "response.output_item.done", status, out);
    keep_item(x, status);
}

/* ---- the stream ---- */

static void begin(ds4_exchange *x, ds4_strbuf *out) {
    response_event(x, "response.created", DS4_RESPONSE_IN_PROGRESS, NULL, NULL, out);
    response_event(x, "response.in_progress", DS4_RESPONSE_IN_PROGRESS, NULL, NULL, out);
}

static void text_event(ds4_exchange *x, item_kind kind, ds4_text text, ds4_strbuf *out) {
    responses_state *s = x->state;
    if (text.n == 0) return;
    if (s->open != kind) {
        close_item(x, DS4_RESPONSE_COMPLETED, out);
        open_item(x, kind, NULL, out);
    }
    ds4_strbuf_append(&s->text, text.data, text.n);
    if (kind == ITEM_REASONING && !shown(x)) return;
    if (kind == ITEM_REASONING)
        begin_part_event(s, "response.reasoning_summary_text.delta", "summary_index", out);
    else
        begin_part_event(s, "response.output_text.delta", "content_index", out);
    ds4_strbuf_puts(out, ",\"delta\":");
    ds4_json_string(out, text.data, text.n);
    if (kind == ITEM_MESSAGE) {
        ds4_strbuf_clear(&s->scratch);
        bool any = ds4_logprobs_out_take(&x->logprobs, false, &s->scratch);
        ds4_strbuf_puts(out, ",\"logprobs\":[");
        if (any && s->logprobs.n > 0) ds4_strbuf_putc(&s->logprobs, ',');
        ds4_strbuf_append(&s->logprobs, s->scratch.data, s->scratch.n);
        ds4_strbuf_append(out, s->scratch.data, s->scratch.n);
        ds4_strbuf_putc(out, ']');
    }
    end_event(out);
}

static void arguments_event(ds4_exchange *x, ds4_text text, ds4_strbuf *out) {
    responses_state *s = x->state;
    if (text.n == 0) return;
    ds4_strbuf_append(&s->text, text.data, text.n);
    if (s->alias != NULL && s->alias->kind != DS4_TOOL_FUNCTION) return;
    begin_part_event(s, "response.function_call_arguments.delta", NULL, out);
    ds4_strbuf_puts(out, ",\"delta\":");
    ds4_json_string(out, text.data, text.n);
    end_event(out);
}

static void event(ds4_exchange *x, const ds4_chat_event *event, ds4_strbuf *out) {
    switch (event->type) {
    case DS4_EVENT_REASONING:
        if (shown(x) || sealed(x)) text_event(x, ITEM_REASONING, event->text, out);
        return;
    case DS4_EVENT_CONTENT:
        text_event(x, ITEM_MESSAGE, event->text, out);
        return;
    case DS4_EVENT_TOOL_BEGIN:
        close_item(x, DS4_RESPONSE_COMPLETED, out);
        open_item(x, ITEM_CALL, event, out);
        return;
    case DS4_EVENT_TOOL_ARGUMENTS:
        arguments_event(x, event->text, out);
        return;
    case DS4_EVENT_TOOL_END:
        close_item(x, event->malformed != NULL ? DS4_RESPONSE_INCOMPLETE : DS4_RESPONSE_COMPLETED,
                   out);
        return;
    case DS4_EVENT_FINISH:
        return;
    }
}

/* The answer and what it continues, for previous_response_id. Reasoning is kept even where the
 * client does not see it: the next prompt holds it then, as the session does. */
static void store(ds4_exchange *x, ds4_text response) {
    responses_state *s = x->state;
    const ds4_responses_fields *f = &x->request.responses;
    if (f->no_store) return;
    ds4_strbuf items = {0};
    ds4_strbuf_append(&items, f->input_items.data, f->input_items.n);
    if (!shown(x) && !sealed(x) && x->result.reasoning.n > 0) {
        if (items.n > 0) ds4_strbuf_putc(&items, ',');
        ds4_reasoning_item_json("rs_", DS4_RESPONSE_COMPLETED, &x->result.reasoning, true, false,
                                &items);
    }
    if (items.n > 0 && s->output.n > 0) ds4_strbuf_putc(&items, ',');
    ds4_strbuf_append(&items, s->output.data, s->output.n);
    if (!items.failed)
        ds4_response_store_put(x->app->responses, x->id, view(&items), f->input_items.n, response);
    ds4_strbuf_free(&items);
}

static void end(ds4_exchange *x, const ds4_sched_result *r, ds4_strbuf *out) {
    responses_state *s = x->state;
    ds4_response_status status = ds4_response_status_of(r);
    close_item(x, status, out);
    response_event(x,
                   status == DS4_RESPONSE_INCOMPLETE ? "response.incomplete" : "response.completed",
                   status, r, NULL, out);
    ds4_strbuf_clear(&s->scratch);
    ds4_response_json(x, status, &s->output, r, NULL, &s->scratch);
    if (!s->scratch.failed && !s->output.failed) store(x, view(&s->scratch));
}

static void fail(ds4_exchange *x, const ds4_api_error *error, ds4_strbuf *out) {
    close_item(x, DS4_RESPONSE_INCOMPLETE, out);
    response_event(x, "response.failed", DS4_RESPONSE_FAILED, NULL, error, out);
}

/* ---- in one piece ---- */

static void whole_text(ds4_exchange *x, item_kind kind, const ds4_strbuf *text,
                       ds4_response_status status) {
    responses_state *s = x->state;
    if (text->n == 0) return;
    begin_item(x, kind, NULL);
    ds4_strbuf_append(&s->text, text->data, text->n);
    if (kind == ITEM_MESSAGE) ds4_logprobs_out_take(&x->logprobs, false, &s->logprobs);
    keep_item(x, status);
}

static void whole(ds4_exchange *x, const ds4_sched_result *r, ds4_strbuf *out) {
    responses_state *s = x->state;
    const ds4_chat_result *result = &x->result;
    ds4_response_status status = ds4_response_status_of(r);
    if (shown(x) || sealed(x))
        whole_text(x, ITEM_REASONING, &result->reasoning,
                   result->content.n > 0 || result->n_calls > 0 ? DS4_RESPONSE_COMPLETED : status);
    whole_text(x, ITEM_MESSAGE, &result->content,
               result->n_calls > 0 ? DS4_RESPONSE_COMPLETED : status);
    for (size_t i = 0; i < result->n_calls; i++) {
        const ds4_result_call *call = &result->calls[i];
        ds4_chat_event begun = {.name = view(&call->name), .id = {call->id, strlen(call->id)}};
        begin_item(x, ITEM_CALL, &begun);
        ds4_strbuf_append(&s->text, call->arguments.data, call->arguments.n);
        keep_item(x, DS4_RESPONSE_COMPLETED);
    }
    ds4_response_json(x, status, &s->output, r, NULL, out);
    if (!out->failed && !s->output.failed) store(x, view(out));
    ds4_strbuf_putc(out, '\n');
    if (s->output.failed) out->failed = true;
}

static const ds4_protocol protocol = {
    .label = "responses",
    .id_prefix = "resp_",
    .prompt_param = "input",
    .spare_thoughts = true,
    .tool_ids = DS4_TOOL_ID_OPENAI,
    .parse = ds4_responses_request_parse,
    .state_bytes = sizeof(responses_state),
    .free_state = free_state,
    .begin = begin,
    .event = event,
    .end = end,
    .fail = fail,
    .whole = whole,
};

void ds4_api_responses(ds4_app *app, const ds4_strbuf *body, ds4_http_reply *reply) {
    ds4_exchange_run(&protocol, app, body, reply);
}
