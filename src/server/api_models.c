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
    if (ds4_app_get_state(app) != DS4_APP_LOADING) return false;
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

void ds4_api_health(ds4_app *app, ds4_http_reply *reply) {
    ds4_strbuf body = {0};
    ds4_app_state state = ds4_app_get_state(app);
    if (state == DS4_APP_LOADING) {
        unsigned long long done = atomic_load(&app->load_done),
                           total = atomic_load(&app->load_total);
        double progress = total > 0 ? (double)done / (double)total : 0;
        ds4_strbuf_printf(&body,
                          "{\"status\":\"loading\",\"progress\":%.4f,\"bytes_done\":%llu,"
                          "\"bytes_total\":%llu}",
                          progress, done, total);
        send_json(reply, 503, "Retry-After: 1\r\n", &body);
        return;
    }
    if (state == DS4_APP_STOPPING) {
        ds4_strbuf_puts(&body, "{\"status\":\"stopping\"}");
        send_json(reply, 503, NULL, &body);
        return;
    }
    ds4_sched_status s;
    ds4_sched_get_status(app->sched, &s);
    ds4_strbuf_puts(&body, "{\"status\":\"ok\",\"version\":\"" DS4_VERSION "\",\"model\":");
    ds4_json_cstring(&body, DS4_MODEL_ID);
    ds4_strbuf_printf(
        &body,
        ",\"context_length\":%lld,\"connections\":%zu,"
        "\"slots\":{\"total\":%u,\"busy\":%u},\"queue\":{\"waiting\":%u,\"limit\":%u},"
        "\"jobs\":{\"submitted\":%llu,\"done\":%llu,\"cancelled\":%llu,\"failed\":%llu},"
        "\"steps\":%llu,\"tokens\":{\"prompt\":%llu,\"cached\":%llu,\"generated\":%llu}}",
        (long long)app->flags->ctx, ds4_http_connection_count(app->http), s.n_slots, s.n_busy,
        s.n_queued, s.n_queue, (unsigned long long)s.jobs_submitted,
        (unsigned long long)s.jobs_done, (unsigned long long)s.jobs_cancelled,
        (unsigned long long)s.jobs_failed, (unsigned long long)s.steps,
        (unsigned long long)s.prompt_tokens, (unsigned long long)s.cached_tokens,
        (unsigned long long)s.generated_tokens);
    send_json(reply, 200, NULL, &body);
}
