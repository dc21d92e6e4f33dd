/* GET /health, /v1/status and /metrics: one picture of the server, in three languages. */
#include <string.h>

#include "server/api_error.h"
#include "server/app.h"
#include "server/json_out.h"
#include "server/steering.h"

typedef struct picture {
    ds4_app_state state;
    ds4_app_model model;
    ds4_app_usage usage;
    uint64_t load_done, load_total;
    double uptime, prefill_rate, decode_rate;
    size_t n_connections;
} picture;

static picture look(ds4_app *app) {
    picture p = {.load_done = atomic_load(&app->load_done),
                 .load_total = atomic_load(&app->load_total),
                 .uptime = ds4_app_now() - app->started,
                 .n_connections = ds4_http_connection_count(app->http)};
    p.state = ds4_app_look(app, &p.model, &p.usage);
    ds4_metrics_get_rates(&app->metrics, &p.prefill_rate, &p.decode_rate);
    return p;
}

static void send(ds4_http_reply *reply, int status, const char *headers, const char *type,
                 ds4_strbuf *body) {
    if (body->failed)
        ds4_api_error_send(reply, &(ds4_api_error){.status = 500, .message = "out of memory"});
    else
        ds4_http_reply_send(reply, status, headers, type, body->data, body->n);
    ds4_strbuf_free(body);
}

static unsigned long long u(uint64_t value) {
    return value;
}

static const char *state_name(ds4_app_state state) {
    switch (state) {
    case DS4_APP_READY:
        return "ready";
    case DS4_APP_UNLOADED:
        return "unloaded";
    case DS4_APP_STOPPING:
        return "draining";
    case DS4_APP_LOADING:
        break;
    }
    return "loading";
}

/* ---- /health ---- */

void ds4_api_health(ds4_app *app, ds4_http_reply *reply) {
    picture p = look(app);
    ds4_strbuf body = {0};
    if (ds4_app_is_starting(app)) {
        double progress = p.load_total > 0 ? (double)p.load_done / (double)p.load_total : 0;
        ds4_strbuf_printf(&body,
                          "{\"status\":\"loading\",\"progress\":%.4f,\"bytes_done\":%llu,"
                          "\"bytes_total\":%llu}\n",
                          progress, u(p.load_done), u(p.load_total));
        send(reply, 503, "Retry-After: 1\r\n", "application/json", &body);
        return;
    }
    if (p.state == DS4_APP_STOPPING) {
        ds4_strbuf_puts(&body, "{\"status\":\"stopping\"}\n");
        send(reply, 503, NULL, "application/json", &body);
        return;
    }
    const ds4_sched_status *sched = &p.usage.sched;
    ds4_strbuf_printf(
        &body, "{\"status\":\"ok\",\"state\":\"%s\",\"version\":\"" DS4_VERSION "\",\"model\":",
        state_name(p.state));
    ds4_json_cstring(&body, DS4_MODEL_ID);
    ds4_strbuf_printf(
        &body,
        ",\"context_length\":%lld,\"connections\":%zu,"
        "\"slots\":{\"total\":%u,\"busy\":%u},\"queue\":{\"waiting\":%u,\"limit\":%u},"
        "\"jobs\":{\"submitted\":%llu,\"done\":%llu,\"cancelled\":%llu,\"failed\":%llu},"
        "\"steps\":%llu,\"tokens\":{\"prompt\":%llu,\"cached\":%llu,\"generated\":%llu}}\n",
        (long long)app->flags->ctx, p.n_connections, sched->n_slots, sched->n_busy, sched->n_queued,
        sched->n_queue, u(sched->jobs_submitted), u(sched->jobs_done), u(sched->jobs_cancelled),
        u(sched->jobs_failed), u(sched->steps), u(sched->prompt_tokens), u(sched->cached_tokens),
        u(sched->generated_tokens));
    send(reply, 200, NULL, "application/json", &body);
}

/* ---- /v1/status ---- */

static void append_model(const ds4_app *app, const picture *p, ds4_strbuf *out) {
    const ds4_memory_plan *plan = &p->model.plan;
    uint64_t fixed = plan->weights + plan->scratch;
    ds4_strbuf_puts(out, ",\"model\":{\"id\":\"" DS4_MODEL_ID "\",\"name\":");
    ds4_json_cstring(out, p->model.name);
    ds4_strbuf_printf(out,
                      ",\"file_bytes\":%llu,\"context\":%lld},\"backend\":", u(p->model.file_bytes),
                      (long long)app->flags->ctx);
    ds4_json_cstring(out, plan->backend != NULL ? plan->backend : "");
    ds4_strbuf_printf(out,
                      ",\"memory\":{\"weights_bytes\":%llu,\"scratch_bytes\":%llu,"
                      "\"sessions_bytes\":%llu,\"total_bytes\":%llu,\"available_bytes\":%llu}",
                      u(plan->weights), u(plan->scratch),
                      u(plan->total > fixed ? plan->total - fixed : 0), u(plan->total),
                      u(plan->available));
}

static void append_sessions(const ds4_app_usage *usage, ds4_strbuf *out) {
    ds4_strbuf_puts(out, ",\"sessions\":[");
    for (size_t i = 0; i < usage->n_sessions; i++) {
        const ds4_kv_session_view *s = &usage->sessions[i];
        ds4_strbuf_printf(out,
                          "%s{\"id\":%u,\"tokens\":%u,\"context\":%u,\"busy\":%s,"
                          "\"idle_seconds\":%.3f}",
                          i > 0 ? "," : "", s->id, s->n_tokens, s->n_context,
                          s->busy ? "true" : "false", s->idle_seconds);
    }
    ds4_strbuf_putc(out, ']');
}

static void append_disk(const ds4_app *app, const ds4_kv_disk_stats *disk, ds4_strbuf *out) {
    if (!disk->enabled || app->flags->kv_disk_dir == NULL) {
        ds4_strbuf_puts(out, "null");
        return;
    }
    ds4_strbuf_puts(out, "{\"dir\":");
    ds4_json_cstring(out, app->flags->kv_disk_dir);
    ds4_strbuf_printf(out,
                      ",\"used_bytes\":%llu,\"budget_bytes\":%llu,\"hits\":%llu,\"misses\":%llu}",
                      u(disk->used_bytes), u(disk->budget_bytes), u(disk->hits), u(disk->misses));
}

void ds4_api_status(ds4_app *app, ds4_http_reply *reply) {
    picture p = look(app);
    ds4_strbuf body = {0};
    ds4_strbuf_printf(&body,
                      "{\"object\":\"ds4.status\",\"version\":\"" DS4_VERSION
                      "\",\"state\":\"%s\",\"uptime_seconds\":%.3f,"
                      "\"load\":{\"done_bytes\":%llu,\"total_bytes\":%llu}",
                      state_name(p.state), p.uptime, u(p.load_done), u(p.load_total));
    append_model(app, &p, &body);
    append_sessions(&p.usage, &body);
    const ds4_sched_status *sched = &p.usage.sched;
    ds4_strbuf_printf(
        &body,
        ",\"requests\":{\"active\":%u,\"queued\":%u,\"queue_limit\":%u,"
        "\"completed\":%llu,\"cancelled\":%llu,\"failed\":%llu},"
        "\"tokens\":{\"prompt\":%llu,\"cached\":%llu,\"generated\":%llu},"
        "\"speed\":{\"prefill_tokens_per_second\":%.2f,\"decode_tokens_per_second\":%.2f},"
        "\"kv_disk\":",
        sched->n_busy, sched->n_queued, (unsigned)app->flags->queue, u(sched->jobs_done),
        u(sched->jobs_cancelled), u(sched->jobs_failed), u(sched->prompt_tokens),
        u(sched->cached_tokens), u(sched->generated_tokens), p.prefill_rate, p.decode_rate);
    append_disk(app, &p.usage.kv.disk, &body);
    ds4_strbuf_puts(&body, ",\"steering\":");
    if (p.state == DS4_APP_LOADING)
        ds4_strbuf_puts(&body, "null");
    else
        ds4_steering_status_json(app, &body);
    ds4_strbuf_puts(&body, "}\n");
    send(reply, 200, NULL, "application/json", &body);
}

/* ---- /metrics ---- */

static void append_jobs(const ds4_sched_status *s, ds4_strbuf *out) {
    ds4_metrics_family(out, "ds4_jobs_total", "counter",
                       "Requests that reached the scheduler, by how they ended.");
    ds4_strbuf_printf(out,
                      "ds4_jobs_total{outcome=\"completed\"} %llu\n"
                      "ds4_jobs_total{outcome=\"cancelled\"} %llu\n"
                      "ds4_jobs_total{outcome=\"failed\"} %llu\n",
                      u(s->jobs_done), u(s->jobs_cancelled), u(s->jobs_failed));
    ds4_metrics_sample(out, "ds4_prompt_tokens_total", "counter",
                       "Prompt tokens that were evaluated.", (double)s->prompt_tokens);
    ds4_metrics_sample(out, "ds4_cached_tokens_total", "counter",
                       "Prompt tokens that were found in a session instead.",
                       (double)s->cached_tokens);
    ds4_metrics_sample(out, "ds4_generated_tokens_total", "counter", "Tokens that were sampled.",
                       (double)s->generated_tokens);
    ds4_metrics_sample(out, "ds4_steps_total", "counter", "Forward passes of the engine.",
                       (double)s->steps);
}

static void append_kv(const ds4_kv_stats *kv, ds4_strbuf *out) {
    ds4_metrics_family(out, "ds4_kv_prompts_total", "counter",
                       "Prompts by where the reused part came from.");
    for (int i = 0; i < DS4_KV_SOURCE_COUNT; i++)
        ds4_strbuf_printf(out, "ds4_kv_prompts_total{source=\"%s\"} %llu\n",
                          ds4_kv_source_name((ds4_kv_source)i), u(kv->prompts[i]));
    ds4_metrics_family(out, "ds4_kv_reused_tokens_total", "counter",
                       "Prompt tokens that were reused, by where they came from.");
    for (int i = 0; i < DS4_KV_SOURCE_COUNT; i++)
        ds4_strbuf_printf(out, "ds4_kv_reused_tokens_total{source=\"%s\"} %llu\n",
                          ds4_kv_source_name((ds4_kv_source)i), u(kv->tokens[i]));
    ds4_metrics_family(out, "ds4_kv_misses_total", "counter",
                       "Prompts by why not more of them was reused.");
    for (int i = 0; i < DS4_KV_MISS_COUNT; i++)
        ds4_strbuf_printf(out, "ds4_kv_misses_total{reason=\"%s\"} %llu\n",
                          ds4_kv_miss_name((ds4_kv_miss)i), u(kv->misses[i]));
    ds4_metrics_sample(out, "ds4_kv_sessions", "gauge", "Sessions that hold something.",
                       kv->n_live);
    ds4_metrics_sample(out, "ds4_kv_memory_bytes", "gauge", "Taken by sessions' rows and anchors.",
                       (double)(kv->row_bytes + kv->anchor_bytes));
    ds4_metrics_sample(out, "ds4_kv_memory_budget_bytes", "gauge",
                       "For sessions' rows and anchors.", (double)kv->budget_bytes);
}

static void append_kv_disk(const ds4_kv_disk_stats *disk, ds4_strbuf *out) {
    if (!disk->enabled) return;
    ds4_metrics_sample(out, "ds4_kv_disk_used_bytes", "gauge", "Taken by the cache on disk.",
                       (double)disk->used_bytes);
    ds4_metrics_sample(out, "ds4_kv_disk_budget_bytes", "gauge", "That the cache on disk may take.",
                       (double)disk->budget_bytes);
    ds4_metrics_family(out, "ds4_kv_disk_lookups_total", "counter",
                       "Prompts that did or did not find a longer prefix on disk.");
    ds4_strbuf_printf(out,
                      "ds4_kv_disk_lookups_total{result=\"hit\"} %llu\n"
                      "ds4_kv_disk_lookups_total{result=\"miss\"} %llu\n",
                      u(disk->hits), u(disk->misses));
    ds4_metrics_family(out, "ds4_kv_disk_saves_total", "counter", "States saved, by why.");
    for (int i = 0; i < DS4_KV_SAVE_COUNT; i++)
        ds4_strbuf_printf(out, "ds4_kv_disk_saves_total{reason=\"%s\"} %llu\n",
                          ds4_kv_save_name((ds4_kv_save)i), u(disk->saves[i]));
    ds4_metrics_sample(out, "ds4_kv_disk_saved_bytes_total", "counter", "Written to disk.",
                       (double)disk->saved_bytes);
    ds4_metrics_sample(out, "ds4_kv_disk_loaded_bytes_total", "counter", "Read from disk.",
                       (double)disk->loaded_bytes);
    ds4_metrics_sample(out, "ds4_kv_disk_save_failures_total", "counter",
                       "Saves that failed (disk full, directory gone).",
                       (double)disk->save_failures);
    ds4_metrics_sample(out, "ds4_kv_disk_quarantined_total", "counter",
                       "Damaged files that were moved aside.", (double)disk->quarantined);
    ds4_metrics_sample(out, "ds4_kv_disk_evicted_total", "counter",
                       "Files removed to keep the budget.", (double)disk->evicted);
}

static void append_gauges(const ds4_app *app, const picture *p, ds4_strbuf *out) {
    static const ds4_app_state states[] = {DS4_APP_LOADING, DS4_APP_READY, DS4_APP_UNLOADED,
                                           DS4_APP_STOPPING};
    ds4_metrics_family(out, "ds4_state", "gauge", "1 for the state that the server is in.");
    for (size_t i = 0; i < sizeof states / sizeof states[0]; i++)
        ds4_strbuf_printf(out, "ds4_state{state=\"%s\"} %d\n", state_name(states[i]),
                          states[i] == p->state);
    ds4_metrics_family(out, "ds4_build_info", "gauge", "1; the labels tell what is running.");
    ds4_strbuf_printf(out, "ds4_build_info{version=\"" DS4_VERSION "\",backend=\"%s\"} 1\n",
                      p->model.plan.backend != NULL ? p->model.plan.backend : "");
    ds4_metrics_sample(out, "ds4_uptime_seconds", "gauge", "Since the start of the process.",
                       p->uptime);
    ds4_metrics_sample(out, "ds4_load_done_bytes", "gauge",
                       "Of the model file, read while loading.", (double)p->load_done);
    ds4_metrics_sample(out, "ds4_load_total_bytes", "gauge", "Of the model file, to be read.",
                       (double)p->load_total);
    ds4_metrics_sample(out, "ds4_memory_weights_bytes", "gauge", "Planned: weights.",
                       (double)p->model.plan.weights);
    ds4_metrics_sample(out, "ds4_memory_total_bytes", "gauge", "Planned: everything.",
                       (double)p->model.plan.total);
    ds4_metrics_sample(out, "ds4_connections", "gauge", "Open connections.",
                       (double)p->n_connections);
    ds4_metrics_sample(out, "ds4_slots", "gauge", "Requests that can be answered at once.",
                       (double)app->flags->slots);
    ds4_metrics_sample(out, "ds4_slots_busy", "gauge", "Requests being answered.",
                       p->usage.sched.n_busy);
    ds4_metrics_sample(out, "ds4_queue_length", "gauge", "Requests waiting for a slot.",
                       p->usage.sched.n_queued);
    ds4_metrics_sample(out, "ds4_queue_limit", "gauge", "Requests that may wait.",
                       (double)app->flags->queue);
}

void ds4_api_metrics(ds4_app *app, ds4_http_reply *reply) {
    picture p = look(app);
    ds4_strbuf body = {0};
    append_gauges(app, &p, &body);
    append_jobs(&p.usage.sched, &body);
    append_kv(&p.usage.kv, &body);
    append_kv_disk(&p.usage.kv.disk, &body);
    ds4_metrics_write(&app->metrics, &body);
    send(reply, 200, NULL, "text/plain; version=0.0.4; charset=utf-8", &body);
}
