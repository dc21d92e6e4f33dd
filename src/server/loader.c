/* The loader thread: model, memory plan, scheduler, readiness line. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "server/app.h"

ds4_app_state ds4_app_get_state(ds4_app *app) {
    pthread_mutex_lock(&app->mutex);
    ds4_app_state state = app->state;
    pthread_mutex_unlock(&app->mutex);
    return state;
}

void ds4_app_set_state(ds4_app *app, ds4_app_state state) {
    pthread_mutex_lock(&app->mutex);
    app->state = state;
    pthread_cond_broadcast(&app->changed);
    pthread_mutex_unlock(&app->mutex);
}

double ds4_app_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

ds4_app_state ds4_app_look(ds4_app *app, ds4_app_model *model, ds4_app_usage *usage) {
    pthread_mutex_lock(&app->mutex);
    ds4_app_state state = app->state;
    *model = app->about;
    if (app->sched != NULL && state != DS4_APP_LOADING) {
        ds4_sched_get_status(app->sched, &usage->sched);
        ds4_sched_get_kv(app->sched, &usage->kv);
        usage->n_sessions = ds4_sched_list_sessions(app->sched, usage->sessions, DS4_APP_SESSIONS);
        if (usage->n_sessions > DS4_APP_SESSIONS) usage->n_sessions = DS4_APP_SESSIONS;
    }
    pthread_mutex_unlock(&app->mutex);
    return state;
}

static void remember_model(ds4_app *app, const ds4_memory_plan *plan) {
    const ds4_model_info *info = ds4_model_get_info(app->model);
    pthread_mutex_lock(&app->mutex);
    snprintf(app->about.name, sizeof app->about.name, "%s", info->name);
    app->about.file_bytes = info->file_bytes;
    app->about.plan = *plan;
    pthread_mutex_unlock(&app->mutex);
}

static bool on_progress(void *context, uint64_t done, uint64_t total) {
    ds4_app *app = context;
    atomic_store(&app->load_done, done);
    atomic_store(&app->load_total, total);
    return !atomic_load(&app->load_cancelled);
}

static double mib(uint64_t bytes) {
    return (double)bytes / (1024.0 * 1024.0);
}

static ds4_status start_scheduler(ds4_app *app, ds4_error *error) {
    const ds4_server_flags *flags = app->flags;
    ds4_sched_options options = {
        .engine = {.n_threads = (uint32_t)flags->threads,
                   .max_context = (uint32_t)flags->ctx,
                   .kv_sim = (ds4_kv_sim)flags->kv_sim,
                   .backend = (ds4_backend_kind)flags->backend,
                   .activations = (ds4_activations)flags->activations},
        .n_slots = (uint32_t)flags->slots,
        .n_sessions = (uint32_t)flags->kv_sessions,
        .memory_budget = (uint64_t)flags->kv_memory_mb << 20,
        .n_queue = (uint32_t)flags->queue,
        .log = app->log,
        .observer = &(ds4_sched_observer){.token = ds4_metrics_observe_token,
                                          .ended = ds4_metrics_observe_end,
                                          .context = &app->metrics},
    };
    ds4_engine_options engine = {0};
    ds4_memory_plan plan = {0};
    ds4_status status = ds4_sched_engine_options(app->model, &options, &engine, error);
    if (status == DS4_OK) status = ds4_engine_plan(app->model, &engine, &plan, error);
    if (status != DS4_OK) return status;
    ds4_log_write(app->log, DS4_LOG_INFO,
                  "memory: weights %.2f MiB, scratch %.2f MiB, %u sessions of %.2f MiB (ctx=%lld), "
                  "their rows %.2f MiB, total %.2f MiB of %.2f MiB available",
                  mib(plan.weights), mib(plan.scratch), engine.max_sessions,
                  mib(plan.session_fixed), (long long)flags->ctx, mib(plan.rows), mib(plan.total),
                  mib(plan.available));
    remember_model(app, &plan);
    ds4_sched *sched = NULL;
    status = ds4_sched_create(app->model, &options, &sched, error);
    pthread_mutex_lock(&app->mutex);
    app->sched = sched;
    pthread_mutex_unlock(&app->mutex);
    return status;
}

static ds4_status load(ds4_app *app, ds4_error *error) {
    ds4_model_options options = {
        .warm = app->flags->warm_weights, .progress = on_progress, .progress_context = app};
    ds4_status status = ds4_model_open(app->flags->model, &options, &app->model, error);
    if (status != DS4_OK) return status;
    return start_scheduler(app, error);
}

static void log_ready(const ds4_app *app) {
    const char *host = app->flags->host;
    bool v6 = strchr(host, ':') != NULL;
    /* Supervisors wait for the words "listening on http://": they mean that the server answers now.
     */
    ds4_log_write(app->log, DS4_LOG_GENERATION, "listening on http://%s%s%s:%u", v6 ? "[" : "",
                  host, v6 ? "]" : "", (unsigned)ds4_http_port(app->http));
}

void *ds4_app_load(void *context) {
    ds4_app *app = context;
    ds4_error error = {0};
    ds4_status status = load(app, &error);
    pthread_mutex_lock(&app->mutex);
    bool stopping = app->state == DS4_APP_STOPPING;
    app->load_failed = status != DS4_OK && !stopping;
    if (status == DS4_OK && !stopping) app->state = DS4_APP_READY;
    pthread_cond_broadcast(&app->changed);
    pthread_mutex_unlock(&app->mutex);
    if (status == DS4_OK && !stopping)
        log_ready(app);
    else if (!stopping)
        ds4_log_write(app->log, DS4_LOG_ERROR, "%s", error.message);
    app->loaded(app->loaded_context);
    return NULL;
}
