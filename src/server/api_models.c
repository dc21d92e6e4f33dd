#include "base/strbuf.h"
#include "server/api_error.h"
#include "server/app.h"
#include "server/json_out.h"

/* The ids under which the one model is offered: the names of the vendor's own service select
 * thinking. */
static const char *const aliases[] = {DS4_MODEL_ID, "deepseek-chat", "deepseek-reasoner"};

static void append_model(const ds4_app *app, const char *id, ds4_strbuf *out) {
    long long context = (long long)app->flags->ctx, limit = (long long)app->flags->tokens;
    ds4_strbuf_puts(out, "{\"id\":");
    ds4_json_cstring(out, id);
    ds4_strbuf_printf(
        out,
        ",\"object\":\"model\",\"created\":1767225600,\"owned_by\":\"pi-ds4\","
        "\"name\":\"DeepSeek V4 Flash\",\"context_length\":%lld,"
        "\"top_provider\":{\"context_length\":%lld,\"max_completion_tokens\":%lld,"
        "\"is_moderated\":false},"
        "\"supported_parameters\":[\"tools\",\"tool_choice\",\"max_tokens\",\"temperature\","
        "\"top_p\",\"top_k\",\"min_p\",\"stop\",\"seed\",\"stream\",\"reasoning_effort\"]}",
        context, context, limit < context ? limit : context);
}

static void send_json(ds4_http_reply *reply, int status, const char *headers, ds4_strbuf *body) {
    ds4_strbuf_putc(body, '\n');
    if (body->failed)
        ds4_api_error_send(reply, &(ds4_api_error){.status = 500, .message = "out of memory"});
    else
        ds4_http_reply_send(reply, status, headers, "application/json", body->data, body->n);
    ds4_strbuf_free(body);
}

/* A supervisor may take "the list is there" for "the server is ready". */
static bool refuse_while_loading(ds4_app *app, ds4_http_reply *reply) {
    if (!ds4_app_is_starting(app)) return false;
    ds4_api_error_unavailable(reply, "loading", "the model is still loading");
    return true;
}

void ds4_api_models_list(ds4_app *app, ds4_http_reply *reply) {
    if (refuse_while_loading(app, reply)) return;
    ds4_strbuf body = {0};
    ds4_strbuf_puts(&body, "{\"object\":\"list\",\"data\":[");
    append_model(app, DS4_MODEL_ID, &body);
    ds4_strbuf_puts(&body, "]}");
    send_json(reply, 200, NULL, &body);
}

void ds4_api_models_get(ds4_app *app, ds4_http_text id, ds4_http_reply *reply) {
    if (refuse_while_loading(app, reply)) return;
    for (size_t i = 0; i < sizeof aliases / sizeof aliases[0]; i++) {
        if (!ds4_http_text_equals(id, aliases[i])) continue;
        ds4_strbuf body = {0};
        append_model(app, aliases[i], &body);
        send_json(reply, 200, NULL, &body);
        return;
    }
    ds4_api_error_send(reply, &(ds4_api_error){.status = 404,
                                               .code = "model_not_found",
                                               .param = "model",
                                               .message = "there is no model of this name here"});
}
