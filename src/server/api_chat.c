/* POST /v1/chat/completions: one chat_exchange per request, from its body to its last byte.
 *
 * A worker makes it, the scheduler's engine thread feeds it with events, the event thread may
 * cancel it. Two parties hold a reference: the scheduler's sink until `done`, the reply's watcher
 * until the connection is over. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "chat/openai_request.h"
#include "chat/render.h"
#include "chat/tool_id.h"
#include "server/api_error.h"
#include "server/app.h"
#include "server/json_out.h"

typedef char tool_id[64];

typedef struct chat_exchange {
    atomic_int references;
    ds4_app *app;
    ds4_http_reply *reply;
    ds4_chat_request request;
    ds4_prompt prompt;
    ds4_tokens ids;
    ds4_tool_id_source id_source;
    char id[40];
    long long created;

    pthread_mutex_t mutex; /* guards `job`, `gone`, `opened` */
    ds4_sched_job *job;
    bool gone, opened;

    /* Engine thread only. */
    ds4_chat_result result; /* the whole message; a stream collects only how it ended */
    tool_id *tool_ids;      /* those given out in this message */
    size_t n_tool_ids;
    ds4_strbuf scratch;
} chat_exchange;

static void release(void *context) {
    chat_exchange *x = context;
    if (atomic_fetch_sub(&x->references, 1) != 1) return;
    ds4_sched_job_release(x->job);
    ds4_http_reply_release(x->reply);
    ds4_chat_request_free(&x->request);
    ds4_prompt_free(&x->prompt);
    ds4_tokens_free(&x->ids);
    ds4_chat_result_free(&x->result);
    free(x->tool_ids);
    ds4_strbuf_free(&x->scratch);
    pthread_mutex_destroy(&x->mutex);
    free(x);
}

/* ---- what is sent ---- */

/* `data: {..."choices":` of every chunk. */
static void append_head(const chat_exchange *x, const char *object, ds4_strbuf *out) {
    ds4_strbuf_printf(out, "{\"id\":\"%s\",\"object\":\"%s\",\"created\":%lld,\"model\":", x->id,
                      object, x->created);
    ds4_json_string(out, x->request.model.data, x->request.model.n);
    ds4_strbuf_puts(out, ",\"choices\":");
}

static void begin_delta(chat_exchange *x) {
    ds4_strbuf_clear(&x->scratch);
    ds4_strbuf_puts(&x->scratch, "data: ");
    append_head(x, "chat.completion.chunk", &x->scratch);
    ds4_strbuf_puts(&x->scratch, "[{\"index\":0,\"delta\":");
}

static void send_scratch(chat_exchange *x) {
    if (!x->scratch.failed) ds4_http_reply_write(x->reply, x->scratch.data, x->scratch.n);
}

static void end_delta(chat_exchange *x) {
    ds4_strbuf_puts(&x->scratch, ",\"finish_reason\":null}]}\n\n");
    send_scratch(x);
}

/* Head and first chunk, by whoever comes first: the worker behind the submission, or the engine's
 * first event. */
static void open_stream(chat_exchange *x) {
    pthread_mutex_lock(&x->mutex);
    if (!x->opened) {
        ds4_strbuf first = {0};
        ds4_strbuf_puts(&first, "data: ");
        append_head(x, "chat.completion.chunk", &first);
        ds4_strbuf_puts(
            &first,
            "[{\"index\":0,\"delta\":{\"role\":\"assistant\"},\"finish_reason\":null}]}\n\n");
        ds4_http_reply_start_stream(x->reply);
        if (!first.failed) ds4_http_reply_write(x->reply, first.data, first.n);
        ds4_strbuf_free(&first);
        x->opened = true;
    }
    pthread_mutex_unlock(&x->mutex);
}

static void append_usage(const ds4_sched_result *r, ds4_strbuf *out) {
    ds4_strbuf_printf(out,
                      "{\"prompt_tokens\":%u,\"completion_tokens\":%u,\"total_tokens\":%u,"
                      "\"prompt_tokens_details\":{\"cached_tokens\":%u,\"cache_write_tokens\":%u},"
                      "\"completion_tokens_details\":{\"reasoning_tokens\":%u}}",
                      r->n_prompt, r->n_generated, r->n_prompt + r->n_generated, r->n_cached,
                      r->n_prompt - r->n_cached, r->n_reasoning);
}

static void stream_event(chat_exchange *x, const ds4_chat_event *event) {
    switch (event->type) {
    case DS4_EVENT_REASONING:
    case DS4_EVENT_CONTENT:
        if (event->text.n == 0) return;
        begin_delta(x);
        ds4_strbuf_puts(&x->scratch, event->type == DS4_EVENT_REASONING ? "{\"reasoning_content\":"
                                                                        : "{\"content\":");
        ds4_json_string(&x->scratch, event->text.data, event->text.n);
        ds4_strbuf_putc(&x->scratch, '}');
        end_delta(x);
        return;
    case DS4_EVENT_TOOL_BEGIN:
        begin_delta(x);
        ds4_strbuf_printf(&x->scratch, "{\"tool_calls\":[{\"index\":%zu,\"id\":", event->index);
        ds4_json_string(&x->scratch, event->id.data, event->id.n);
        ds4_strbuf_puts(&x->scratch, ",\"type\":\"function\",\"function\":{\"name\":");
        ds4_json_string(&x->scratch, event->name.data, event->name.n);
        ds4_strbuf_puts(&x->scratch, ",\"arguments\":\"\"}}]}");
        end_delta(x);
        return;
    case DS4_EVENT_TOOL_ARGUMENTS:
        if (event->text.n == 0) return;
        begin_delta(x);
        ds4_strbuf_printf(
            &x->scratch,
            "{\"tool_calls\":[{\"index\":%zu,\"function\":{\"arguments\":", event->index);
        ds4_json_string(&x->scratch, event->text.data, event->text.n);
        ds4_strbuf_puts(&x->scratch, "}}]}");
        end_delta(x);
        return;
    case DS4_EVENT_TOOL_END:
    case DS4_EVENT_FINISH:
        return; /* the end is written by on_done, which knows the usage */
    }
}

/* An error behind the head: an event, and no finish that would make half an answer look whole. */
static void stream_error(chat_exchange *x, const char *code, const char *message) {
    ds4_api_error error = {.status = 500, .code = code, .message = message};
    ds4_strbuf_clear(&x->scratch);
    ds4_strbuf_puts(&x->scratch, "data: {\"error\":");
    ds4_api_error_json(&x->scratch, &error);
    ds4_strbuf_puts(&x->scratch, "}\n\n");
    send_scratch(x);
    ds4_http_reply_finish(x->reply);
}

static void stream_end(chat_exchange *x, const ds4_sched_result *r) {
    begin_delta(x);
    ds4_strbuf_printf(&x->scratch, "{},\"finish_reason\":\"%s\"}]}\n\n",
                      ds4_finish_name(r->finish));
    if (x->request.stream_usage) {
        ds4_strbuf_puts(&x->scratch, "data: ");
        append_head(x, "chat.completion.chunk", &x->scratch);
        ds4_strbuf_puts(&x->scratch, "[],\"usage\":");
        append_usage(r, &x->scratch);
        ds4_strbuf_puts(&x->scratch, "}\n\n");
    }
    ds4_strbuf_puts(&x->scratch, "data: [DONE]\n\n");
    send_scratch(x);
    ds4_http_reply_finish(x->reply);
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

static void send_whole(chat_exchange *x, const ds4_sched_result *r) {
    const ds4_chat_result *result = &x->result;
    ds4_strbuf *out = &x->scratch;
    ds4_strbuf_clear(out);
    append_head(x, "chat.completion", out);
    ds4_strbuf_puts(out, "[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":");
    ds4_json_string(out, result->content.data, result->content.n);
    if (result->reasoning.n > 0) {
        ds4_strbuf_puts(out, ",\"reasoning_content\":");
        ds4_json_string(out, result->reasoning.data, result->reasoning.n);
    }
    if (result->n_calls > 0) append_calls(result, out);
    ds4_strbuf_printf(out,
                      "},\"finish_reason\":\"%s\"}],\"usage\":", ds4_finish_name(result->finish));
    append_usage(r, out);
    ds4_strbuf_puts(out, "}\n");
    if (out->failed || result->failed)
        ds4_api_error_send(x->reply, &(ds4_api_error){.status = 500, .message = "out of memory"});
    else
        ds4_http_reply_send(x->reply, 200, NULL, "application/json", out->data, out->n);
}

/* ---- the scheduler's sink (engine thread) ---- */

static void on_event(void *context, const ds4_chat_event *event) {
    chat_exchange *x = context;
    if (!x->request.stream) {
        ds4_chat_result_add(&x->result, event);
        return;
    }
    open_stream(x);
    if (event->type == DS4_EVENT_FINISH) x->result.malformed = event->malformed != NULL;
    stream_event(x, event);
}

static bool on_stalled(void *context) {
    return ds4_http_reply_stalled(((chat_exchange *)context)->reply);
}

static void on_done(void *context, const ds4_sched_result *r) {
    chat_exchange *x = context;
    const char *code = r->status == DS4_BUSY ? "shutting_down" : NULL;
    if (x->request.stream) {
        open_stream(x);
        if (r->status != DS4_OK) {
            stream_error(x, code, r->message);
        } else if (x->result.malformed && r->finish != DS4_FINISH_LENGTH) {
            stream_error(x, "malformed_tool_call", "the model wrote a malformed tool call");
        } else {
            stream_end(x, r);
        }
    } else if (r->status == DS4_OK) {
        send_whole(x, r);
    } else if (r->status == DS4_BUSY) {
        ds4_api_error_unavailable(x->reply, code, r->message);
    } else {
        ds4_api_error_send(x->reply, &(ds4_api_error){.status = 500, .message = r->message});
    }
    release(x);
}

/* ---- the reply's watcher (event thread) ---- */

static void on_change(void *context, ds4_http_reply_change change) {
    chat_exchange *x = context;
    pthread_mutex_lock(&x->mutex);
    if (change == DS4_HTTP_REPLY_GONE) x->gone = true;
    ds4_sched_job *job = x->job;
    pthread_mutex_unlock(&x->mutex);
    if (job == NULL) return; /* not submitted yet: submit() looks at `gone` behind it */
    if (change == DS4_HTTP_REPLY_GONE)
        ds4_sched_cancel(job);
    else
        ds4_sched_job_wake(job);
}

/* ---- making an exchange (worker) ---- */

static bool id_was_given(const chat_exchange *x, const char *id) {
    for (size_t i = 0; i < x->n_tool_ids; i++)
        if (strcmp(x->tool_ids[i], id) == 0) return true;
    return false;
}

static void make_tool_id(void *context, size_t index, ds4_text name, char id[64]) {
    chat_exchange *x = context;
    uint64_t attempt = 0;
    do {
        if (x->request.sampling.seed != 0) {
            ds4_tool_id_derive(&x->id_source, index, attempt, name, id);
        } else {
            uint8_t random[16] = {0};
            if (read(x->app->random_fd, random, sizeof random) != (ssize_t)sizeof random)
                memcpy(random, &attempt, sizeof attempt); /* still distinct in this message */
            ds4_tool_id_random(DS4_TOOL_ID_OPENAI, random, id);
        }
        attempt++;
    } while (id_was_given(x, id));
    tool_id *grown = realloc(x->tool_ids, (x->n_tool_ids + 1) * sizeof *grown);
    if (grown == NULL) return;
    x->tool_ids = grown;
    memcpy(grown[x->n_tool_ids++], id, sizeof *grown);
}

static uint32_t max_tokens_of(const chat_exchange *x) {
    if (x->request.max_tokens > 0) return (uint32_t)x->request.max_tokens;
    return (uint32_t)x->app->flags->tokens;
}

/* False: answered. */
static bool parse(chat_exchange *x, const ds4_strbuf *body) {
    ds4_request_error failure = {0};
    ds4_openai_options options = {.for_generation = true};
    const char *bytes = body->data != NULL ? body->data : "";
    ds4_status status = ds4_openai_request_parse(bytes, body->n, &options, &x->request, &failure);
    if (status == DS4_OK) return true;
    ds4_chat_request_init(&x->request); /* the parser left nothing to free */
    ds4_api_error_send(x->reply, &(ds4_api_error){.status = failure.status,
                                                  .code = failure.code,
                                                  .param = failure.param,
                                                  .message = failure.message});
    return false;
}

static void refuse_overflow(const chat_exchange *x, uint64_t n_prompt, uint64_t n_context) {
    /* Clients recognise an overflow, and compact the conversation, by exactly these words. */
    char message[128], extra[96];
    snprintf(message, sizeof message,
             "Prompt has %llu tokens, but the configured context size is %llu tokens",
             (unsigned long long)n_prompt, (unsigned long long)n_context);
    snprintf(extra, sizeof extra, ",\"n_prompt_tokens\":%llu,\"n_ctx\":%llu",
             (unsigned long long)n_prompt, (unsigned long long)n_context);
    ds4_api_error_send(x->reply, &(ds4_api_error){.status = 400,
                                                  .code = "context_length_exceeded",
                                                  .param = "messages",
                                                  .message = message,
                                                  .extra = extra});
}

/* False: answered. */
static bool render(chat_exchange *x) {
    uint32_t n_context = (uint32_t)x->app->flags->ctx;
    ds4_error error = {0};
    ds4_render_options options = {.layout = DS4_TEMPLATE_DS4, .n_context = n_context};
    const ds4_tokenizer *tokenizer = ds4_model_get_tokenizer(x->app->model);
    ds4_status status = ds4_render(&x->request, &options, &x->prompt, &error);
    if (status == DS4_OK) status = ds4_prompt_tokenize(&x->prompt, tokenizer, &x->ids, &error);
    if (status != DS4_OK) {
        int code = status == DS4_INVALID_ARGUMENT ? 400 : 500;
        ds4_api_error_send(x->reply, &(ds4_api_error){.status = code, .message = error.message});
        return false;
    }
    if (x->ids.n < n_context) return true;
    refuse_overflow(x, x->ids.n, n_context);
    return false;
}

/* From here on the scheduler holds a reference, whether the client still listens or not. False:
 * answered. */
static bool submit(chat_exchange *x) {
    bool thinking = x->prompt.think_mode != DS4_THINK_NONE;
    x->id_source = (ds4_tool_id_source){
        .protocol = DS4_TOOL_ID_OPENAI,
        .model = x->request.model,
        .prompt = {x->prompt.text.data, x->prompt.text.n},
        .max_tokens = max_tokens_of(x),
        .sampling = x->request.sampling,
        .think_mode = x->prompt.think_mode,
    };
    ds4_sched_request request = {
        .prompt = x->ids.ids,
        .n_prompt = (uint32_t)x->ids.n,
        .max_tokens = max_tokens_of(x),
        .sampling = ds4_sampling_resolve(
            x->request.sampling, (ds4_sampling_profile)x->app->flags->sampling_profile, thinking),
        .parser = {.thinking = thinking,
                   .tools_active = x->prompt.tools_active,
                   .stops = x->request.stops,
                   .n_stops = x->request.n_stops,
                   .make_id = make_tool_id,
                   .make_id_context = x},
        .sink = {.event = on_event, .stalled = on_stalled, .done = on_done, .context = x},
        .label = "chat",
    };
    ds4_error error = {0};
    ds4_sched_job *job = NULL;
    atomic_fetch_add(&x->references, 1);
    ds4_status status = ds4_sched_submit(x->app->sched, &request, &job, &error);
    if (status != DS4_OK) {
        atomic_fetch_sub(&x->references, 1);
        if (status != DS4_BUSY)
            ds4_api_error_send(x->reply, &(ds4_api_error){.status = 500, .message = error.message});
        else if (ds4_app_get_state(x->app) == DS4_APP_STOPPING)
            ds4_api_error_unavailable(x->reply, "shutting_down", error.message);
        else
            ds4_api_error_busy(x->reply, error.message);
        return false;
    }
    pthread_mutex_lock(&x->mutex);
    x->job = job;
    bool gone = x->gone;
    pthread_mutex_unlock(&x->mutex);
    ds4_tokens_free(&x->ids);
    if (gone)
        ds4_sched_cancel(job);
    else
        ds4_sched_job_wake(job); /* a RESUMED that came before `job` was known went nowhere */
    return true;
}

void ds4_api_chat(ds4_app *app, const ds4_strbuf *body, ds4_http_reply *reply) {
    chat_exchange *x = calloc(1, sizeof *x);
    if (x == NULL) {
        ds4_api_error_send(reply, &(ds4_api_error){.status = 500, .message = "out of memory"});
        return;
    }
    atomic_init(&x->references, 1);
    x->app = app;
    x->reply = ds4_http_reply_retain(reply);
    x->created = (long long)time(NULL);
    ds4_chat_request_init(&x->request);
    pthread_mutex_init(&x->mutex, NULL);
    unsigned long long count = atomic_fetch_add(&app->n_requests, 1) + 1;
    snprintf(x->id, sizeof x->id, "chatcmpl-%08x%08llx", (unsigned)app->nonce, count);
    if (parse(x, body) && render(x)) {
        /* Watched from before the submission on: a client that leaves in between is not missed. */
        atomic_fetch_add(&x->references, 1);
        ds4_http_reply_watch(reply, (ds4_http_watcher){on_change, release, x});
        if (submit(x) && x->request.stream) open_stream(x);
    }
    release(x);
}
