/* The loader thread: model, memory plan, scheduler, readiness line. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/error.h"
#include "base/instance_lock.h"
#include "base/options.h"
#include "server/app.h"
#include "server/steering.h"
#include "server/supervisor.h"

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

bool ds4_app_is_starting(ds4_app *app) {
    pthread_mutex_lock(&app->mutex);
    bool starting = app->state == DS4_APP_LOADING && !app->served;
    pthread_mutex_unlock(&app->mutex);
    return starting;
}

/* With the lock held. */
static bool is_idle(ds4_app *app) {
    return ds4_workers_are_idle(app->workers) && atomic_load(&app->n_exchanges) == 0;
}

bool ds4_app_is_idle(ds4_app *app) {
    pthread_mutex_lock(&app->mutex);
    bool idle = is_idle(app);
    pthread_mutex_unlock(&app->mutex);
    return idle;
}

bool ds4_app_begin_unload(ds4_app *app) {
    pthread_mutex_lock(&app->mutex);
    bool begun = app->state == DS4_APP_READY && is_idle(app);
    if (begun) app->state = DS4_APP_UNLOADED;
    pthread_mutex_unlock(&app->mutex);
    return begun;
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

/* Two engines that each take more than half of the machine cannot both live: the second would push
 * the first one's weights out of memory for ever. */
static ds4_status lock_machine(ds4_app *app, const ds4_memory_plan *plan, ds4_error *error) {
    if (app->lock_fd >= 0 || plan->available == 0 || plan->total <= plan->available / 2)
        return DS4_OK;
    ds4_strbuf path = {0};
    ds4_instance_lock_path(ds4_environment("XDG_RUNTIME_DIR"), &path);
    ds4_status status = path.failed ? ds4_fail_memory(error, 0, "a path")
                                    : ds4_instance_lock_take(path.data, &app->lock_fd, error);
    if (status == DS4_BUSY) app->load_exit_code = 2;
    ds4_strbuf_free(&path);
    return status;
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
        .disk = {.directory = flags->kv_disk_dir,
                 .budget_bytes = (uint64_t)flags->kv_disk_space_mb << 20,
                 .min_tokens = (uint32_t)flags->kv_min_tokens,
                 .cold_max = (uint32_t)flags->kv_cold_max,
                 .interval = (uint32_t)flags->kv_interval,
                 .trim = (uint32_t)flags->kv_trim,
                 .align = (uint32_t)flags->kv_align},
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
    status = lock_machine(app, &plan, error);
    if (status != DS4_OK) return status;
    ds4_sched *sched = NULL;
    status = ds4_sched_create(app->model, &options, &sched, error);
    pthread_mutex_lock(&app->mutex);
    app->sched = sched;
    pthread_mutex_unlock(&app->mutex);
    if (status == DS4_OK && flags->kv_disk_dir != NULL)
        ds4_log_write(app->log, DS4_LOG_INFO,
                      "KV disk cache %s (budget=%lld MiB, min=%lld, cold_max=%lld, continued=%lld, "
                      "trim=%lld, align=%lld)",
                      flags->kv_disk_dir, (long long)flags->kv_disk_space_mb,
                      (long long)flags->kv_min_tokens, (long long)flags->kv_cold_max,
                      (long long)flags->kv_interval, (long long)flags->kv_trim,
                      (long long)flags->kv_align);
    return status;
}

/* Once: a model that is loaded again is the same. */
static ds4_status open_dial(ds4_app *app, ds4_error *error) {
    if (app->dial.direction != NULL) return DS4_OK;
    ds4_strbuf warning = {0};
    ds4_status status = ds4_dial_open(&app->flags->dial, app->model, &app->dial, &warning, error);
    if (status == DS4_OK) ds4_steering_log(app, warning.n > 0 ? warning.data : "");
    ds4_strbuf_free(&warning);
    return status;
}

static ds4_status load(ds4_app *app, ds4_error *error) {
    ds4_model_options options = {
        .warm = app->flags->warm_weights, .progress = on_progress, .progress_context = app};
    ds4_status status = ds4_model_open(app->flags->model, &options, &app->model, error);
    if (status == DS4_OK) status = open_dial(app, error);
    if (status != DS4_OK) return status;
    if (app->tool_memory != NULL && app->tool_journal == NULL && app->flags->kv_disk_dir != NULL &&
        ds4_model_get_tokenizer(app->model) != NULL)
        app->tool_journal = ds4_tool_journal_open(app, app->flags->kv_disk_dir);
    return start_scheduler(app, error);
}

static void log_ready(const ds4_app *app) {
    const char *host = app->flags->host;
    bool v6 = strchr(host, ':') != NULL;
    /* Supervisors wait for the words "listening on http://": they mean that the server answers now.
     */
    ds4_log_write(app->log, DS4_LOG_GENERATION, "listening on http://%s%s%s:%u", v6 ? "[" : "",
                  host, v6 ? "]" : "", (unsigned)ds4_http_port(app->http));
    ds4_supervisor_tell(ds4_environment("NOTIFY_SOCKET"), "READY=1");
}

/* What a failed or an idle load leaves. Loader thread. */
static void release(ds4_app *app) {
    pthread_mutex_lock(&app->mutex);
    ds4_sched *sched = app->sched;
    ds4_model *model = app->model;
    if (sched != NULL) ds4_app_remember_usage(app);
    app->sched = NULL;
    app->model = NULL;
    pthread_mutex_unlock(&app->mutex);
    ds4_sched_destroy(sched);
    ds4_model_close(model);
}

void *ds4_app_load(void *context) {
    ds4_app *app = context;
    ds4_error error = {0};
    double begin = ds4_app_now();
    ds4_status status = load(app, &error);
    if (status != DS4_OK) release(app);
    pthread_mutex_lock(&app->mutex);
    bool stopping = app->state == DS4_APP_STOPPING, again = app->served;
    app->load_failed = status != DS4_OK && !stopping;
    app->load_error = error;
    if (!stopping && status == DS4_OK) {
        app->state = DS4_APP_READY;
        app->served = true;
    } else if (!stopping && again) {
        app->state = DS4_APP_UNLOADED;
    }
    pthread_cond_broadcast(&app->changed);
    pthread_mutex_unlock(&app->mutex);
    if (status != DS4_OK) {
        if (!stopping) ds4_log_write(app->log, DS4_LOG_ERROR, "%s", error.message);
    } else if (again) {
        ds4_log_write(app->log, DS4_LOG_INFO, "loaded the model again in %.2f s",
                      ds4_app_now() - begin);
    } else if (!stopping) {
        log_ready(app);
    }
    app->loaded(app->callback_context);
    return NULL;
}

void *ds4_app_unload(void *context) {
    ds4_app *app = context;
    release(app);
    ds4_log_write(app->log, DS4_LOG_INFO,
                  "unloaded the model: no request for %lld s; the next one loads it again",
                  (long long)app->flags->idle_unload);
    app->loaded(app->callback_context);
    return NULL;
}
