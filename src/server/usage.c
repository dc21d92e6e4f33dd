/* What the scheduler counts, over all the schedulers that a process has had. */
#include "server/app.h"

static void add_n(uint64_t *sums, const uint64_t *more, size_t n) {
    for (size_t i = 0; i < n; i++) sums[i] += more[i];
}

static void add_disk(ds4_kv_disk_stats *sum, const ds4_kv_disk_stats *more) {
    sum->hits += more->hits;
    sum->misses += more->misses;
    sum->loaded_bytes += more->loaded_bytes;
    sum->loaded_tokens += more->loaded_tokens;
    sum->saved_bytes += more->saved_bytes;
    add_n(sum->saves, more->saves, DS4_KV_SAVE_COUNT);
    sum->saves_skipped += more->saves_skipped;
    sum->save_failures += more->save_failures;
    sum->quarantined += more->quarantined;
    sum->evicted += more->evicted;
}

/* Counters are added; gauges stay `sum`'s. */
static void add_counters(ds4_app_usage *sum, const ds4_app_usage *more) {
    sum->sched.jobs_submitted += more->sched.jobs_submitted;
    sum->sched.jobs_done += more->sched.jobs_done;
    sum->sched.jobs_cancelled += more->sched.jobs_cancelled;
    sum->sched.jobs_failed += more->sched.jobs_failed;
    sum->sched.steps += more->sched.steps;
    sum->sched.prompt_tokens += more->sched.prompt_tokens;
    sum->sched.generated_tokens += more->sched.generated_tokens;
    sum->sched.cached_tokens += more->sched.cached_tokens;
    add_n(sum->kv.prompts, more->kv.prompts, DS4_KV_SOURCE_COUNT);
    add_n(sum->kv.tokens, more->kv.tokens, DS4_KV_SOURCE_COUNT);
    add_n(sum->kv.misses, more->kv.misses, DS4_KV_MISS_COUNT);
    sum->kv.released += more->kv.released;
    add_disk(&sum->kv.disk, &more->kv.disk);
}

/* With the mutex held. */
static void read_scheduler(ds4_app *app, ds4_app_usage *usage) {
    ds4_sched_get_status(app->sched, &usage->sched);
    ds4_sched_get_kv(app->sched, &usage->kv);
    usage->n_sessions = ds4_sched_list_sessions(app->sched, usage->sessions, DS4_APP_SESSIONS);
    if (usage->n_sessions > DS4_APP_SESSIONS) usage->n_sessions = DS4_APP_SESSIONS;
}

void ds4_app_remember_usage(ds4_app *app) {
    ds4_app_usage now = {0};
    read_scheduler(app, &now);
    add_counters(&app->past, &now);
}

ds4_app_state ds4_app_look(ds4_app *app, ds4_app_model *model, ds4_app_usage *usage) {
    *usage = (ds4_app_usage){0};
    pthread_mutex_lock(&app->mutex);
    ds4_app_state state = app->state;
    *model = app->about;
    if (app->sched != NULL) read_scheduler(app, usage);
    add_counters(usage, &app->past);
    pthread_mutex_unlock(&app->mutex);
    return state;
}
