#include "server/trace.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "server/exchange.h"
#include "tokenizer/tokenizer.h"

struct ds4_trace {
    int fd;
    pthread_mutex_t mutex; /* a large record may take several writes */
    unsigned long long n;  /* records written */
};

ds4_status ds4_trace_open(const char *path, ds4_trace **out, ds4_error *error) {
    ds4_trace *trace = calloc(1, sizeof *trace);
    if (trace == NULL) return ds4_fail_memory(error, sizeof *trace, "the trace");
    trace->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (trace->fd < 0 || fchmod(trace->fd, 0600) != 0) {
        ds4_status status =
            ds4_fail(error, DS4_IO, "failed to open trace file %s: %s", path, strerror(errno));
        if (trace->fd >= 0) close(trace->fd);
        free(trace);
        return status;
    }
    pthread_mutex_init(&trace->mutex, NULL);
    *out = trace;
    return DS4_OK;
}

void ds4_trace_close(ds4_trace *trace) {
    if (trace == NULL) return;
    close(trace->fd);
    pthread_mutex_destroy(&trace->mutex);
    free(trace);
}

/* ---- the text of a record ---- */

static void append(ds4_strbuf *out, const char *title, const ds4_strbuf *text) {
    ds4_strbuf_printf(out, "\n--- %s ---\n", title);
    if (text->n > 0) ds4_strbuf_append(out, text->data, text->n);
    ds4_strbuf_putc(out, '\n');
}

static const char *think_name(ds4_think_mode mode) {
    static const char *const names[] = {"none", "high", "max"};
    return names[mode];
}

static void append_options(ds4_strbuf *out, const ds4_exchange *x, const ds4_sched_result *r) {
    const ds4_sampling_request *sampling = &x->request.sampling;
    ds4_strbuf_printf(out, "kind: %s\nrequest_id: %s\nmodel: %.*s\nstream: %d\ntools: %zu\n",
                      x->protocol->label, ds4_http_reply_id(x->reply), (int)x->request.model.n,
                      x->request.model.n > 0 ? x->request.model.data : "", x->request.stream,
                      x->request.n_tools);
    ds4_strbuf_printf(out,
                      "think_mode: %s\nprompt_tokens: %u\ncached_tokens: %u\nmax_tokens: %lld\n",
                      think_name(x->prompt.think_mode), x->n_prompt, r != NULL ? r->n_cached : 0,
                      (long long)x->request.max_tokens);
    ds4_strbuf_printf(out,
                      "temperature: %.3f\ntop_k: %d\ntop_p: %.3f\nmin_p: %.3f\nseed: %llu\n"
                      "stream_include_usage: %d\n",
                      (double)sampling->temperature, sampling->top_k, (double)sampling->top_p,
                      (double)sampling->min_p, (unsigned long long)sampling->seed,
                      x->request.stream_usage);
}

static void append_cache(ds4_strbuf *out, const ds4_sched_result *r) {
    ds4_strbuf_printf(out,
                      "\n--- cache decision ---\ncache_source: %s\ncached_tokens: %u\n"
                      "memory_miss_reason: %s\nfirst_mismatch_token: %u\nlive_tokens: %u\n",
                      ds4_kv_source_name(r->kv_source), r->n_cached, ds4_kv_miss_name(r->kv_miss),
                      r->kv_common, r->kv_longest);
}

static void append_generated(ds4_strbuf *out, const ds4_exchange *x, const ds4_sched_result *r) {
    const ds4_tokenizer *tokenizer = ds4_model_get_tokenizer(x->app->model);
    ds4_strbuf_puts(out, "\n--- generated text ---\n");
    for (size_t i = 0; i < r->sampled.n; i++) {
        ds4_token_string bytes = ds4_tokenizer_token_bytes(tokenizer, r->sampled.ids[i]);
        ds4_strbuf_append(out, bytes.data, bytes.n);
    }
    ds4_strbuf_putc(out, '\n');
}

static void append_message(ds4_strbuf *out, const ds4_exchange *x, const ds4_sched_result *r) {
    const ds4_chat_result *message = &x->result;
    ds4_strbuf_printf(out,
                      "\n--- parsed message ---\nfinish: %s\ngenerated_tokens: %u\n"
                      "queue_sec: %.3f\nprefill_sec: %.3f\ndecode_sec: %.3f\nelapsed_sec: %.3f\n",
                      r->status == DS4_OK ? ds4_finish_name(r->finish) : r->message, r->n_generated,
                      r->queue_seconds, r->prefill_seconds, r->decode_seconds,
                      r->queue_seconds + r->prefill_seconds + r->decode_seconds);
    if (message->reasoning.n > 0)
        ds4_strbuf_printf(out, "\nreasoning:\n%s\n", message->reasoning.data);
    if (message->content.n > 0) ds4_strbuf_printf(out, "\ncontent:\n%s\n", message->content.data);
    for (size_t i = 0; i < message->n_calls; i++) {
        const ds4_result_call *call = &message->calls[i];
        ds4_strbuf_printf(out, "\ntool_call[%zu]:\nid: %s\nname: %s\narguments:\n%s\n", i, call->id,
                          call->name.n > 0 ? call->name.data : "",
                          call->arguments.n > 0 ? call->arguments.data : "");
    }
}

static void append_stamp(ds4_strbuf *out) {
    char stamp[32] = "";
    struct tm local;
    time_t now = time(NULL);
    if (localtime_r(&now, &local) != NULL)
        strftime(stamp, sizeof stamp, "%Y-%m-%d %H:%M:%S", &local);
    ds4_strbuf_puts(out, stamp);
}

static void append_record(ds4_strbuf *out, unsigned long long number, const ds4_exchange *x,
                          const ds4_sched_result *r) {
    ds4_strbuf_printf(out, "\n===== request %llu ", number);
    append_stamp(out);
    ds4_strbuf_puts(out, " =====\n");
    append_options(out, x, r);
    if (r != NULL) append_cache(out, r);
    append(out, "raw request json", &x->trace.request);
    append(out, "rendered prompt", &x->prompt.text);
    if (r != NULL) {
        append_generated(out, x, r);
        append_message(out, x, r);
    } else {
        ds4_strbuf_printf(out, "\n--- refused ---\n%s\n",
                          x->trace.refusal != NULL ? x->trace.refusal : "");
    }
    ds4_strbuf_printf(out, "\n===== end request %llu =====\n", number);
}

void ds4_trace_write(ds4_trace *trace, const ds4_exchange *x, const ds4_sched_result *result) {
    ds4_strbuf text = {0};
    pthread_mutex_lock(&trace->mutex);
    append_record(&text, ++trace->n, x, result);
    for (size_t at = 0; !text.failed && at < text.n;) {
        ssize_t n = write(trace->fd, text.data + at, text.n - at);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break; /* a full disk: the trace is no reason to stop serving */
        at += (size_t)n;
    }
    pthread_mutex_unlock(&trace->mutex);
    ds4_strbuf_free(&text);
}
