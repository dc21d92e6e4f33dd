#include "server/exchange.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "server/json_out.h"
#include "server/steering.h"

static void release(void *context) {
    ds4_exchange *x = context;
    if (atomic_fetch_sub(&x->references, 1) != 1) return;
    ds4_sched_job_release(x->job);
    ds4_http_reply_release(x->reply);
    ds4_constraint_release(x->constraint);
    ds4_chat_request_free(&x->request);
    ds4_prompt_free(&x->prompt);
    ds4_tokens_free(&x->ids);
    ds4_chat_result_free(&x->result);
    ds4_logprobs_out_free(&x->logprobs);
    if (x->state != NULL && x->protocol->free_state != NULL) x->protocol->free_state(x->state);
    free(x->state);
    free(x->tool_ids);
    ds4_strbuf_free(&x->scratch);
    ds4_strbuf_free(&x->trace.request);
    pthread_mutex_destroy(&x->mutex);
    atomic_fetch_sub(&x->app->n_exchanges, 1);
    free(x);
}

void ds4_exchange_refuse(ds4_exchange *x, const ds4_api_error *error) {
    ds4_api_error_send(x->reply, error);
    if (x->app->trace == NULL || x->traced) return;
    x->trace.refusal = error->message;
    ds4_trace_write(x->app->trace, x, NULL);
    x->trace.refusal = NULL;
    x->traced = true;
}

void ds4_usage_json(const ds4_sched_result *r, ds4_strbuf *out) {
    ds4_strbuf_printf(out,
                      "{\"prompt_tokens\":%u,\"completion_tokens\":%u,\"total_tokens\":%u,"
                      "\"prompt_tokens_details\":{\"cached_tokens\":%u,\"cache_write_tokens\":%u},"
                      "\"completion_tokens_details\":{\"reasoning_tokens\":%u}}",
                      r->n_prompt, r->n_generated, r->n_prompt + r->n_generated, r->n_cached,
                      r->n_prompt - r->n_cached, r->n_reasoning);
}

/* ---- ids ---- */

static bool random_bytes(const ds4_exchange *x, uint8_t *bytes, size_t n) {
    return read(x->app->random_fd, bytes, n) == (ssize_t)n;
}

void ds4_exchange_random_id(const ds4_exchange *x, const char *prefix, char *id, size_t n) {
    uint8_t random[12] = {0};
    if (!random_bytes(x, random, sizeof random)) {
        uint64_t count = atomic_fetch_add(&x->app->n_requests, 1);
        memcpy(random, &x->app->nonce, sizeof x->app->nonce);
        memcpy(random + 4, &count, sizeof count);
    }
    int length = snprintf(id, n, "%s", prefix);
    for (size_t i = 0; i < sizeof random && (size_t)length + 3 <= n; i++, length += 2)
        snprintf(id + length, n - (size_t)length, "%02x", random[i]);
}

static bool id_was_given(const ds4_exchange *x, const char *id) {
    for (size_t i = 0; i < x->n_tool_ids; i++)
        if (strcmp(x->tool_ids[i], id) == 0) return true;
    return false;
}

static void make_tool_id(void *context, size_t index, ds4_text name, char id[64]) {
    ds4_exchange *x = context;
    uint64_t attempt = 0;
    do {
        if (x->request.sampling.seed != 0) {
            ds4_tool_id_derive(&x->id_source, index, attempt, name, id);
        } else {
            uint8_t random[16] = {0};
            if (!random_bytes(x, random, sizeof random))
                memcpy(random, &attempt, sizeof attempt); /* still distinct in this message */
            ds4_tool_id_random(x->protocol->tool_ids, random, id);
        }
        attempt++;
    } while (id_was_given(x, id));
    ds4_tool_id *grown = realloc(x->tool_ids, (x->n_tool_ids + 1) * sizeof *grown);
    if (grown == NULL) return;
    x->tool_ids = grown;
    memcpy(grown[x->n_tool_ids++], id, sizeof *grown);
}

/* ---- what is sent ---- */

static void send_scratch(ds4_exchange *x) {
    if (!x->scratch.failed) ds4_http_reply_write(x->reply, x->scratch.data, x->scratch.n);
    ds4_strbuf_clear(&x->scratch);
}

/* Head and first events, by whoever comes first: the worker behind the submission, or the engine's
 * first event. */
static void open_stream(ds4_exchange *x) {
    pthread_mutex_lock(&x->mutex);
    if (!x->opened) {
        ds4_strbuf first = {0};
        if (x->protocol->keepalive != NULL)
            ds4_http_reply_set_keepalive(x->reply, x->protocol->keepalive);
        ds4_http_reply_start_stream(x->reply);
        if (x->protocol->begin != NULL) x->protocol->begin(x, &first);
        if (!first.failed) ds4_http_reply_write(x->reply, first.data, first.n);
        ds4_strbuf_free(&first);
        x->opened = true;
    }
    pthread_mutex_unlock(&x->mutex);
}

/* An error behind the head: an event, and no finish that would make half an answer look whole. */
static void stream_error(ds4_exchange *x, const char *code, const char *message) {
    ds4_api_error error = {.status = 500, .code = code, .message = message};
    x->protocol->fail(x, &error, &x->scratch);
    send_scratch(x);
    ds4_http_reply_finish(x->reply);
}

static void send_whole(ds4_exchange *x, const ds4_sched_result *r) {
    ds4_strbuf *out = &x->scratch;
    x->protocol->whole(x, r, out);
    if (out->failed || x->result.failed || x->logprobs.failed)
        ds4_exchange_refuse(x, &(ds4_api_error){.status = 500, .message = "out of memory"});
    else
        ds4_http_reply_send(x->reply, 200, NULL, "application/json", out->data, out->n);
}

/* ---- the scheduler's sink (engine thread) ---- */

static void on_started(void *context, uint32_t n_cached) {
    ds4_exchange *x = context;
    x->n_cached = n_cached;
    if (!x->request.stream || x->protocol->started == NULL) return;
    open_stream(x);
    x->protocol->started(x, &x->scratch);
    send_scratch(x);
}

static void on_event(void *context, const ds4_chat_event *event) {
    ds4_exchange *x = context;
    bool text = event->type == DS4_EVENT_REASONING || event->type == DS4_EVENT_CONTENT;
    ds4_chat_result_add(&x->result, event);
    if (x->request.logprobs && text)
        ds4_logprobs_out_release(&x->logprobs,
                                 event->type == DS4_EVENT_REASONING && !x->protocol->one_text,
                                 event->text.n);
    if (!x->request.stream) return;
    open_stream(x);
    x->protocol->event(x, event, &x->scratch);
    send_scratch(x);
}

static void on_token(void *context, const ds4_sampled_token *token) {
    ds4_exchange *x = context;
    ds4_sampled_token copy = *token;
    if (x->protocol->one_text) copy.reasoning = false;
    ds4_logprobs_out_add(&x->logprobs, &copy);
}

static bool on_stalled(void *context) {
    return ds4_http_reply_stalled(((ds4_exchange *)context)->reply);
}

static void on_done(void *context, const ds4_sched_result *r) {
    ds4_exchange *x = context;
    const char *code = r->status == DS4_BUSY ? "shutting_down" : NULL;
    if (r->status == DS4_OK && r->finish == DS4_FINISH_TOOL_CALLS)
        ds4_tool_journal_add(x->app->tool_journal, x->app, &x->result, &r->sampled);
    if (x->app->trace != NULL) {
        ds4_trace_write(x->app->trace, x, r);
        x->traced = true;
    }
    if (x->request.stream) {
        open_stream(x);
        if (r->status != DS4_OK) {
            stream_error(x, code, r->message);
        } else if (x->result.malformed && r->finish != DS4_FINISH_LENGTH) {
            stream_error(x, "malformed_tool_call", "the model wrote a malformed tool call");
        } else if (x->result.failed || x->logprobs.failed) {
            stream_error(x, NULL, "out of memory");
        } else {
            x->protocol->end(x, r, &x->scratch);
            send_scratch(x);
            ds4_http_reply_finish(x->reply);
        }
    } else if (r->status == DS4_OK) {
        send_whole(x, r);
    } else if (r->status == DS4_BUSY) {
        ds4_api_error_unavailable(x->reply, code, r->message);
    } else {
        ds4_exchange_refuse(x, &(ds4_api_error){.status = 500, .message = r->message});
    }
    release(x);
}

/* ---- the reply's watcher (event thread) ---- */

static void on_change(void *context, ds4_http_reply_change change) {
    ds4_exchange *x = context;
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

static uint32_t max_tokens_of(const ds4_exchange *x) {
    if (x->request.max_tokens > 0) return (uint32_t)x->request.max_tokens;
    return (uint32_t)x->app->flags->tokens;
}

/* False: answered. */
static bool parse(ds4_exchange *x, const ds4_strbuf *body, const ds4_request_options *options) {
    ds4_request_error failure = {0};
    const char *bytes = body->data != NULL ? body->data : "";
    ds4_status status = x->protocol->parse(bytes, body->n, options, &x->request, &failure);
    if (status != DS4_OK) {
        ds4_chat_request_init(&x->request); /* the parser left nothing to free */
        ds4_exchange_refuse(x, &(ds4_api_error){.status = failure.status,
                                                .code = failure.code,
                                                .param = failure.param,
                                                .message = failure.message});
        return false;
    }
    if (x->request.ignored.n > 0)
        ds4_log_write(x->app->log, DS4_LOG_DEBUG, "%s fields without effect: %.*s",
                      x->protocol->label, (int)x->request.ignored.n, x->request.ignored.data);
    return true;
}

static void refuse_overflow(ds4_exchange *x, uint64_t n_prompt, uint64_t n_context) {
    /* Clients recognise an overflow, and compact the conversation, by exactly these words. */
    char message[128], extra[96];
    bool anthropic = ds4_http_reply_tag(x->reply) == DS4_ERROR_ANTHROPIC;
    snprintf(message, sizeof message,
             anthropic ? "prompt is too long: %llu tokens > %llu maximum"
                       : "Prompt has %llu tokens, but the configured context size is %llu tokens",
             (unsigned long long)n_prompt, (unsigned long long)n_context);
    snprintf(extra, sizeof extra, ",\"n_prompt_tokens\":%llu,\"n_ctx\":%llu",
             (unsigned long long)n_prompt, (unsigned long long)n_context);
    ds4_exchange_refuse(x, &(ds4_api_error){.status = 400,
                                            .code = "context_length_exceeded",
                                            .param = x->protocol->prompt_param,
                                            .message = message,
                                            .extra = extra});
}

/* False: answered. */
static bool render(ds4_exchange *x) {
    ds4_error error = {0};
    const ds4_server_flags *flags = x->app->flags;
    ds4_render_options options = {.layout = (ds4_template)flags->chat_template,
                                  .n_context = (uint32_t)flags->ctx,
                                  .effort = flags->effort_table == 0 ? &ds4_effort_table_first
                                                                     : &ds4_effort_table_refresh,
                                  .tool_memory = x->app->tool_memory};
    const ds4_tokenizer *tokenizer = ds4_model_get_tokenizer(x->app->model);
    ds4_status status = ds4_render(&x->request, &options, &x->prompt, &error);
    if (status == DS4_OK) status = ds4_prompt_tokenize(&x->prompt, tokenizer, &x->ids, &error);
    if (status == DS4_OK) return true;
    int code = status == DS4_INVALID_ARGUMENT ? 400 : 500;
    ds4_exchange_refuse(x, &(ds4_api_error){.status = code, .message = error.message});
    return false;
}

/* Leaves out what the assistant thought in earlier turns. False: there is nothing to leave out, or
 * no memory. */
static bool forget_thoughts(ds4_chat_request *r) {
    size_t n = 0, n_bytes = r->n_messages * sizeof *r->messages;
    ds4_chat_message *messages = n_bytes > 0 ? ds4_chat_request_alloc(r, n_bytes) : NULL;
    if (messages == NULL) return false;
    memcpy(messages, r->messages, n_bytes);
    for (size_t i = 0; i < r->n_messages; i++) {
        n += messages[i].reasoning.n > 0;
        messages[i].reasoning = (ds4_text){NULL, 0};
    }
    r->messages = messages;
    return n > 0;
}

/* The client of a stored conversation sees neither what the server keeps of it beside the texts nor
 * how long that is: an overflow that only this makes is none. False: answered. */
static bool render_to_fit(ds4_exchange *x) {
    if (!render(x)) return false;
    size_t n_with = x->ids.n;
    if (n_with < (size_t)x->app->flags->ctx || !x->protocol->spare_thoughts ||
        !forget_thoughts(&x->request))
        return true;
    ds4_prompt_free(&x->prompt);
    ds4_tokens_free(&x->ids);
    if (!render(x)) return false;
    ds4_log_write(x->app->log, DS4_LOG_INFO,
                  "%s prompt of %zu tokens does not fit: %zu without earlier reasoning id=%s",
                  x->protocol->label, n_with, x->ids.n, ds4_http_reply_id(x->reply));
    return true;
}

/* A response format, a forced call, guided calls. False: answered. */
static bool constrain(ds4_exchange *x) {
    ds4_error error = {0};
    char path[DS4_CONSTRAINT_PATH_BYTES] = "";
    ds4_status status = ds4_constraint_create(&x->request, !x->app->flags->no_tool_guidance,
                                              &x->constraint, path, &error);
    if (status == DS4_OK) {
        if (x->constraint != NULL && ds4_constraint_note(x->constraint)[0] != '\0')
            ds4_log_write(x->app->log, DS4_LOG_DEBUG, "%s %s", x->protocol->label,
                          ds4_constraint_note(x->constraint));
        return true;
    }
    bool ours = status == DS4_NO_MEMORY || status == DS4_INTERNAL;
    ds4_exchange_refuse(x,
                        &(ds4_api_error){.status = ours ? 500 : 400,
                                         .code = status == DS4_UNSUPPORTED ? "unsupported_parameter"
                                                                           : "invalid_value",
                                         .param = path,
                                         .message = error.message});
    return false;
}

/* What the parser could not know: the size of the context and of the vocabulary, and the server's
 * dial. False: answered. */
static bool check_limits(ds4_exchange *x) {
    uint32_t n_context = (uint32_t)x->app->flags->ctx;
    size_t n_vocab = ds4_model_get_info(x->app->model)->n_vocab;
    const ds4_sampling_request *sampling = &x->request.sampling;
    if (x->ids.n >= n_context) {
        refuse_overflow(x, x->ids.n, n_context);
        return false;
    }
    for (size_t i = 0; i < sampling->n_biases; i++) {
        if ((size_t)sampling->biases[i].id < n_vocab) continue;
        ds4_exchange_refuse(x, &(ds4_api_error){.status = 400,
                                                .code = "invalid_value",
                                                .param = "logit_bias",
                                                .message = "logit_bias names a token that the "
                                                           "vocabulary does not have"});
        return false;
    }
    ds4_api_error failure;
    if (ds4_server_steer(x->app, &x->request.steering, &x->steering, &x->steer_policy, &failure))
        return true;
    ds4_exchange_refuse(x, &failure);
    return false;
}

/* From here on the scheduler holds a reference, whether the client still listens or not. False:
 * answered. */
static bool submit(ds4_exchange *x) {
    bool thinking = x->prompt.think_mode != DS4_THINK_NONE;
    x->id_source = (ds4_tool_id_source){
        .protocol = x->protocol->tool_ids,
        .model = x->request.model,
        .prompt = {x->prompt.text.data, x->prompt.text.n},
        .max_tokens = max_tokens_of(x),
        .sampling = x->request.sampling,
        .think_mode = x->prompt.think_mode,
    };
    x->n_prompt = (uint32_t)x->ids.n;
    x->logprobs.tokenizer = ds4_model_get_tokenizer(x->app->model);
    ds4_sched_request request = {
        .prompt = x->ids.ids,
        .n_prompt = (uint32_t)x->ids.n,
        .max_tokens = max_tokens_of(x),
        .sampling = ds4_sampling_resolve(
            x->request.sampling, (ds4_sampling_profile)x->app->flags->sampling_profile, thinking),
        .think_budget = x->request.think.budget > 0 ? x->request.think.budget
                                                    : (uint32_t)x->app->flags->think_budget,
        .n_top_logprobs = x->request.n_top_logprobs,
        .constraint = x->constraint,
        .steering = x->steering,
        .steer_policy = x->steer_policy,
        .parser = {.thinking = thinking,
                   .tools_active = x->prompt.tools_active,
                   .single_call = x->request.one_call,
                   .stops = x->request.stops,
                   .n_stops = x->request.n_stops,
                   .make_id = make_tool_id,
                   .make_id_context = x},
        .sink = {.started = on_started,
                 .event = on_event,
                 .token = x->request.logprobs ? on_token : NULL,
                 .stalled = on_stalled,
                 .done = on_done,
                 .context = x},
        .label = x->protocol->label,
        .id = ds4_http_reply_id(x->reply),
    };
    ds4_error error = {0};
    ds4_sched_job *job = NULL;
    atomic_fetch_add(&x->references, 1);
    ds4_status status = ds4_sched_submit(x->app->sched, &request, &job, &error);
    if (status != DS4_OK) {
        atomic_fetch_sub(&x->references, 1);
        if (status != DS4_BUSY)
            ds4_exchange_refuse(x, &(ds4_api_error){.status = 500, .message = error.message});
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

static ds4_exchange *create(const ds4_protocol *protocol, ds4_app *app, ds4_http_reply *reply) {
    ds4_exchange *x = calloc(1, sizeof *x);
    void *state = protocol->state_bytes > 0 ? calloc(1, protocol->state_bytes) : NULL;
    if (x == NULL || (state == NULL && protocol->state_bytes > 0)) {
        free(x);
        ds4_api_error_send(reply, &(ds4_api_error){.status = 500, .message = "out of memory"});
        return NULL;
    }
    atomic_init(&x->references, 1);
    atomic_fetch_add(&app->n_exchanges, 1);
    x->protocol = protocol;
    x->state = state;
    x->app = app;
    x->reply = ds4_http_reply_retain(reply);
    x->created = (long long)time(NULL);
    ds4_chat_request_init(&x->request);
    pthread_mutex_init(&x->mutex, NULL);
    ds4_exchange_random_id(x, protocol->id_prefix, x->id, sizeof x->id);
    return x;
}

static bool find_response(void *context, ds4_text id, ds4_strbuf *items) {
    return ds4_response_store_find(((ds4_app *)context)->responses, id, DS4_STORED_ITEMS, items);
}

void ds4_exchange_run(const ds4_protocol *protocol, ds4_app *app, const ds4_strbuf *body,
                      ds4_http_reply *reply) {
    ds4_request_options options = {.for_generation = true,
                                   .any_turn = protocol->any_turn,
                                   .find_response = find_response,
                                   .find_context = app};
    ds4_exchange *x = create(protocol, app, reply);
    if (x == NULL) return;
    atomic_fetch_add(&app->n_requests, 1);
    if (app->trace != NULL && body->n > 0)
        ds4_strbuf_append(&x->trace.request, body->data, body->n);
    if (parse(x, body, &options) && (protocol->prepare == NULL || protocol->prepare(x)) &&
        constrain(x) && render_to_fit(x) && check_limits(x)) {
        if (protocol->rendered != NULL) protocol->rendered(x);
        /* Watched from before the submission on: a client that leaves in between is not missed. */
        atomic_fetch_add(&x->references, 1);
        ds4_http_reply_watch(reply, (ds4_http_watcher){on_change, release, x});
        if (submit(x) && x->request.stream) open_stream(x);
    }
    release(x);
}

bool ds4_exchange_count(const ds4_protocol *protocol, ds4_app *app, const ds4_strbuf *body,
                        ds4_http_reply *reply, size_t *n_tokens) {
    ds4_request_options options = {.for_generation = false};
    ds4_exchange *x = create(protocol, app, reply);
    if (x == NULL) return false;
    bool done = parse(x, body, &options) && render(x);
    *n_tokens = x->ids.n;
    release(x);
    return done;
}
