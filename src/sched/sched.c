#include "sched/sched.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/error.h"
#include "sched/sched_internal.h"

enum { DEFAULT_SLOTS = 2, DEFAULT_QUEUE = 16, MAX_SLOTS = 256, MORE_SESSIONS = 2 };

/* Ends jobs whose client left, and, while draining, all that may not go on. */
static void end_unwanted(ds4_sched *sched) {
    ds4_sched_job *job;
    while ((job = ds4_job_take(sched, false)) != NULL) ds4_job_end(job, DS4_CANCELLED, "cancelled");
    pthread_mutex_lock(&sched->mutex);
    bool draining = sched->draining;
    bool expired = sched->stopping || (draining && ds4_sched_now() >= sched->drain_deadline);
    pthread_mutex_unlock(&sched->mutex);
    while (draining && (job = ds4_job_take(sched, true)) != NULL)
        ds4_job_end(job, DS4_BUSY, "the server is shutting down");
    for (size_t i = 0; i < sched->n_slots; i++) {
        job = sched->lanes[i].job;
        if (job == NULL) continue;
        if (atomic_load(&job->cancelled))
            ds4_job_end(job, DS4_CANCELLED, "cancelled");
        else if (expired || (draining && job->phase == DS4_JOB_READING))
            ds4_job_end(job, DS4_BUSY, "the server is shutting down");
    }
}

static size_t live_jobs(const ds4_sched *sched) {
    size_t n = 0;
    for (size_t i = 0; i < sched->n_slots; i++) n += sched->lanes[i].job != NULL;
    return n;
}

static bool has_cancelled_jobs(const ds4_sched *sched) {
    for (const ds4_sched_job *job = sched->first; job != NULL; job = job->next)
        if (atomic_load(&job->cancelled)) return true;
    for (size_t i = 0; i < sched->n_slots; i++)
        if (sched->lanes[i].job != NULL && atomic_load(&sched->lanes[i].job->cancelled))
            return true;
    return false;
}

/* With the lock held and nothing to compute. */
static void wait_for_work(ds4_sched *sched) {
    if (!sched->draining) {
        pthread_cond_wait(&sched->changed, &sched->mutex);
        return;
    }
    struct timespec soon; /* draining: look at the deadline again */
    clock_gettime(CLOCK_REALTIME, &soon);
    soon.tv_nsec += 20 * 1000 * 1000;
    if (soon.tv_nsec >= 1000 * 1000 * 1000) soon.tv_sec++, soon.tv_nsec -= 1000 * 1000 * 1000;
    pthread_cond_timedwait(&sched->changed, &sched->mutex, &soon);
}

static void *run(void *context) {
    ds4_sched *sched = context;
    for (;;) {
        end_unwanted(sched);
        while (ds4_sched_admit(sched)) {
        }
        ds4_sched_finish_loads(sched);
        uint32_t reading = 0;
        pthread_mutex_lock(&sched->mutex);
        uint32_t n = ds4_sched_plan(sched, &reading);
        size_t live = live_jobs(sched);
        bool stop = sched->stopping && sched->first == NULL && live == 0;
        bool can_admit = sched->first != NULL && live < sched->n_slots && !sched->blocked;
        if (n == 0 && !can_admit && !sched->stopping && !has_cancelled_jobs(sched) &&
            !ds4_sched_has_loaded(sched))
            wait_for_work(sched);
        pthread_mutex_unlock(&sched->mutex);
        if (stop) return NULL;
        if (n > 0) {
            ds4_sched_step(sched, reading);
            ds4_kv_pool_trim(sched->pool, ds4_sched_now());
        }
        ds4_sched_publish(sched, n == 0);
    }
}

/* ---- life ---- */

static ds4_status allocate(ds4_sched *sched, ds4_error *error) {
    size_t n = sched->n_slots;
    sched->lanes = calloc(n, sizeof *sched->lanes);
    sched->wishes = calloc(n, sizeof *sched->wishes);
    sched->items = calloc(n, sizeof *sched->items);
    sched->item_lanes = calloc(n, sizeof *sched->item_lanes);
    sched->sessions = calloc(sched->kv.n_sessions, sizeof *sched->sessions);
    if (sched->lanes == NULL || sched->wishes == NULL || sched->items == NULL ||
        sched->item_lanes == NULL || sched->sessions == NULL)
        return ds4_fail_memory(error, n * sizeof *sched->items, "the scheduler");
    return DS4_OK;
}

static ds4_status allocate_logits(ds4_sched *sched, ds4_error *error) {
    for (size_t i = 0; i < sched->n_slots; i++) {
        sched->lanes[i].logits = ds4_engine_allocate_logits(sched->engine, 1);
        if (sched->lanes[i].logits == NULL)
            return ds4_fail_memory(error, ds4_model_get_info(sched->model)->n_vocab * sizeof(float),
                                   "a row of logits");
    }
    return DS4_OK;
}

ds4_status ds4_sched_engine_options(const ds4_model *model, const ds4_sched_options *options,
                                    ds4_engine_options *engine, ds4_error *error) {
    uint32_t n_slots = options->n_slots != 0 ? options->n_slots : DEFAULT_SLOTS;
    *engine = options->engine;
    engine->max_sessions = options->n_sessions == 0        ? n_slots + MORE_SESSIONS
                           : options->n_sessions < n_slots ? n_slots
                                                           : options->n_sessions;
    engine->row_budget = options->memory_budget;
    if (engine->row_budget != 0) return DS4_OK;
    /* Rows of as many full contexts as there are slots, and room for some anchors. */
    ds4_memory_plan plan;
    ds4_status status = ds4_engine_plan(model, engine, &plan, error);
    if (status == DS4_OK)
        engine->row_budget =
            n_slots * plan.session_rows + 2 * (uint64_t)engine->max_sessions * plan.session_fixed;
    return status;
}

ds4_status ds4_sched_create(const ds4_model *model, const ds4_sched_options *options,
                            ds4_sched **out, ds4_error *error) {
    if (ds4_model_get_tokenizer(model) == NULL)
        return ds4_fail(error, DS4_UNSUPPORTED, "the model file carries no tokenizer");
    if (options->n_slots > MAX_SLOTS)
        return ds4_fail(error, DS4_INVALID_ARGUMENT, "at most %d slots", MAX_SLOTS);
    ds4_engine_options engine;
    ds4_status status = ds4_sched_engine_options(model, options, &engine, error);
    if (status != DS4_OK) return status;
    ds4_sched *sched = calloc(1, sizeof *sched);
    if (sched == NULL) return ds4_fail_memory(error, sizeof *sched, "the scheduler");
    sched->model = model;
    sched->log = options->log;
    if (options->observer != NULL) sched->observer = *options->observer;
    sched->n_slots = options->n_slots != 0 ? options->n_slots : DEFAULT_SLOTS;
    sched->n_queue = options->n_queue != 0 ? options->n_queue : DEFAULT_QUEUE;
    sched->status.n_slots = sched->n_slots;
    sched->status.n_queue = sched->n_queue;
    sched->kv.n_sessions = engine.max_sessions;
    pthread_mutex_init(&sched->mutex, NULL);
    pthread_cond_init(&sched->changed, NULL);
    status = allocate(sched, error);
    if (status != DS4_OK) goto done;
    sched->row_budget = engine.row_budget;
    status = ds4_engine_create(model, &engine, &sched->engine, error);
    if (status == DS4_OK) status = allocate_logits(sched, error);
    if (status != DS4_OK) goto done;
    sched->n_context = ds4_engine_get_options(sched->engine)->max_context;
    sched->step_tokens = ds4_engine_get_options(sched->engine)->max_batch_tokens;
    status = ds4_ban_set_create(model, &sched->bans, error);
    if (status == DS4_OK)
        status = ds4_vocabulary_create(ds4_model_get_tokenizer(model), &sched->vocabulary, error);
    if (status != DS4_OK) goto done;
    status = ds4_kv_pool_create(sched->engine, engine.max_sessions, engine.row_budget, &sched->pool,
                                error);
    if (status != DS4_OK) goto done;
    sched->disk = options->disk;
    status = ds4_persist_open(sched, error);
    if (status != DS4_OK) goto done;
    ds4_sched_publish(sched, true);
    if (pthread_create(&sched->thread, NULL, run, sched) != 0) {
        status = ds4_fail(error, DS4_INTERNAL, "the engine thread could not be started");
        goto done;
    }
    sched->thread_runs = true;
    *out = sched;
    sched = NULL;
done:
    if (sched != NULL) ds4_sched_destroy(sched);
    return status;
}

void ds4_sched_drain(ds4_sched *sched, double seconds) {
    pthread_mutex_lock(&sched->mutex);
    sched->draining = true;
    sched->drain_deadline = ds4_sched_now() + seconds;
    pthread_cond_signal(&sched->changed);
    pthread_mutex_unlock(&sched->mutex);
}

void ds4_sched_destroy(ds4_sched *sched) {
    if (sched == NULL) return;
    if (sched->thread_runs) {
        pthread_mutex_lock(&sched->mutex);
        sched->draining = sched->stopping = true;
        pthread_cond_signal(&sched->changed);
        pthread_mutex_unlock(&sched->mutex);
        pthread_join(sched->thread, NULL);
    }
    if (sched->thread_runs) ds4_persist_close(sched);
    ds4_kv_store_close(sched->store);
    for (size_t i = 0; sched->lanes != NULL && i < sched->n_slots; i++)
        ds4_engine_free_logits(sched->engine, sched->lanes[i].logits);
    ds4_kv_pool_destroy(sched->pool);
    ds4_ban_set_destroy(sched->bans);
    ds4_vocabulary_destroy(sched->vocabulary);
    ds4_engine_destroy(sched->engine);
    free(sched->lanes);
    free(sched->wishes);
    free(sched->items);
    free(sched->item_lanes);
    free(sched->sessions);
    pthread_cond_destroy(&sched->changed);
    pthread_mutex_destroy(&sched->mutex);
    free(sched);
}

void ds4_sched_get_status(ds4_sched *sched, ds4_sched_status *status) {
    pthread_mutex_lock(&sched->mutex);
    *status = sched->status;
    pthread_mutex_unlock(&sched->mutex);
}

void ds4_sched_get_kv(ds4_sched *sched, ds4_kv_stats *stats) {
    pthread_mutex_lock(&sched->mutex);
    *stats = sched->kv;
    pthread_mutex_unlock(&sched->mutex);
}

size_t ds4_sched_list_sessions(ds4_sched *sched, ds4_kv_session_view *sessions, size_t n) {
    pthread_mutex_lock(&sched->mutex);
    size_t n_all = sched->kv.n_sessions;
    for (size_t i = 0; i < n && i < n_all; i++) {
        sessions[i] = sched->sessions[i];
        if (!sessions[i].busy && sessions[i].n_tokens > 0)
            sessions[i].idle_seconds += ds4_sched_now() - sched->published;
    }
    pthread_mutex_unlock(&sched->mutex);
    return n_all;
}
