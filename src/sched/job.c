#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/error.h"
#include "sched/sched_internal.h"

double ds4_sched_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void ds4_sched_job_release(ds4_sched_job *job) {
    if (job == NULL || atomic_fetch_sub(&job->references, 1) != 1) return;
    ds4_generation_destroy(job->generation);
    free(job->prompt);
    free(job);
}

static void wake_thread(ds4_sched_job *job) {
    if (atomic_load(&job->ended)) return; /* then the scheduler itself may be gone */
    pthread_mutex_lock(&job->sched->mutex);
    pthread_cond_signal(&job->sched->changed);
    pthread_mutex_unlock(&job->sched->mutex);
}

void ds4_sched_cancel(ds4_sched_job *job) {
    atomic_store(&job->cancelled, true);
    wake_thread(job);
}

void ds4_sched_job_wake(ds4_sched_job *job) {
    wake_thread(job);
}

static void count_end(ds4_sched *sched, ds4_status status) {
    pthread_mutex_lock(&sched->mutex);
    if (status == DS4_OK)
        sched->status.jobs_done++;
    else if (status == DS4_CANCELLED)
        sched->status.jobs_cancelled++;
    else
        sched->status.jobs_failed++;
    pthread_mutex_unlock(&sched->mutex);
}

void ds4_job_end(ds4_sched_job *job, ds4_status status, const char *message) {
    ds4_sched *sched = job->sched;
    double now = ds4_sched_now();
    ds4_sched_result result = {
        .status = status,
        .message = message,
        .finish = ds4_generation_finish(job->generation),
        .n_prompt = job->n_prompt,
        .n_cached = job->n_cached,
        .n_generated = ds4_generation_count(job->generation),
        .n_reasoning = ds4_generation_reasoning_count(job->generation),
        .sampled = ds4_generation_sampled(job->generation),
        .kv_source = job->lease.choice.source,
        .kv_miss = job->lease.choice.miss,
        .kv_common = job->lease.choice.n_common,
        .kv_longest = job->lease.choice.n_longest,
        .n_steered = ds4_generation_steered_count(job->generation),
    };
    result.queue_seconds = (job->phase == DS4_JOB_QUEUED ? now : job->started) - job->submitted;
    if (job->phase != DS4_JOB_QUEUED)
        result.prefill_seconds = (job->phase == DS4_JOB_DECODING ? job->read : now) - job->started;
    if (job->phase == DS4_JOB_DECODING) result.decode_seconds = now - job->read;

    const char *outcome = status == DS4_OK ? ds4_finish_name(result.finish) : message;
    double rate = result.decode_seconds > 0 ? result.n_generated / result.decode_seconds : 0;
    ds4_log_request(
        sched->log, status == DS4_OK ? DS4_LOG_GENERATION : DS4_LOG_WARNING, job->id,
        "%s ctx=%u..%u:%u gen=%u finish=%s queue %.2fs prefill %.2fs decode %.2fs (%.1f t/s)",
        job->label, job->n_cached, job->n_prompt, job->n_prompt - job->n_cached, result.n_generated,
        outcome, result.queue_seconds, result.prefill_seconds, result.decode_seconds, rate);
    if (job->phase != DS4_JOB_QUEUED) sched->lanes[job->lane].job = NULL;
    ds4_kv_load_free(job->load);
    job->load = NULL;
    if (job->phase == DS4_JOB_READING || job->phase == DS4_JOB_DECODING) {
        ds4_kv_pool_give_back(sched->pool, job->lease.id, job->n_read, now);
    }
    count_end(sched, status);
    if (sched->observer.ended != NULL) sched->observer.ended(sched->observer.context, &result);
    job->sink.done(job->sink.context, &result);
    atomic_store(&job->ended, true);
    ds4_sched_job_release(job);
}

static ds4_status create_job(ds4_sched *sched, const ds4_sched_request *request,
                             ds4_sched_job **out, ds4_error *error) {
    if (request->n_prompt == 0 || request->n_prompt >= sched->n_context)
        return ds4_fail(error, DS4_CONTEXT_FULL, "a prompt of %u tokens in a context of %u",
                        request->n_prompt, sched->n_context);
    size_t prompt_bytes = request->n_prompt * sizeof *request->prompt;
    ds4_sched_job *job = calloc(1, sizeof *job);
    int32_t *prompt = malloc(prompt_bytes);
    ds4_status status = DS4_OK;
    if (job == NULL || prompt == NULL) {
        status = ds4_fail_memory(error, prompt_bytes, "a request");
        goto done;
    }
    uint32_t room = sched->n_context - request->n_prompt;
    ds4_generation_options options = {
        .model = sched->model,
        .bans = sched->bans,
        .sampling = request->sampling,
        .max_tokens = request->max_tokens < room ? request->max_tokens : room,
        .parser = request->parser,
        .think_budget = request->think_budget,
        .prompt = request->prompt,
        .n_prompt = request->n_prompt,
        .token = request->sink.token,
        .n_top_logprobs = request->n_top_logprobs,
        .constraint = request->constraint,
        .vocabulary = sched->vocabulary,
        .steering = request->steering,
        .steer_policy = request->steer_policy,
    };
    options.parser.sink = request->sink.event;
    options.parser.sink_context = request->sink.context;
    if (options.sampling.seed == 0) {
        pthread_mutex_lock(&sched->mutex);
        uint64_t count = ++sched->seed_counter;
        pthread_mutex_unlock(&sched->mutex);
        options.sampling.seed = ((uint64_t)time(NULL) << 32) ^ (count << 1) ^ (uintptr_t)job;
    }
    status = ds4_generation_create(&options, &job->generation, error);
    if (status != DS4_OK) goto done;
    job->steering = ds4_generation_prompt_steering(job->generation);
    memcpy(prompt, request->prompt, prompt_bytes);
    job->sched = sched;
    atomic_init(&job->references, 2); /* the scheduler's and the caller's */
    atomic_init(&job->cancelled, false);
    atomic_init(&job->ended, false);
    job->prompt = prompt;
    job->n_prompt = request->n_prompt;
    job->n_reserve = request->n_prompt + options.max_tokens;
    job->exact = request->sampling.seed != 0;
    job->sink = request->sink;
    job->label = request->label;
    if (request->id != NULL) snprintf(job->id, sizeof job->id, "%s", request->id);
    job->submitted = ds4_sched_now();
    *out = job;
    job = NULL;
    prompt = NULL;
done:
    free(job);
    free(prompt);
    return status;
}

ds4_status ds4_sched_submit(ds4_sched *sched, const ds4_sched_request *request, ds4_sched_job **out,
                            ds4_error *error) {
    ds4_sched_job *job = NULL;
    ds4_status status = create_job(sched, request, &job, error);
    if (status != DS4_OK) return status;
    pthread_mutex_lock(&sched->mutex);
    bool closed = sched->draining || sched->stopping;
    uint32_t idle = sched->n_slots - sched->status.n_busy;
    bool full = sched->status.n_queued >= sched->n_queue + idle;
    if (!closed && !full) {
        *out = job; /* before the engine thread can see the job: its sink may want the reference */
        if (sched->last != NULL)
            sched->last->next = job;
        else
            sched->first = job;
        sched->last = job;
        sched->status.n_queued++;
        sched->status.jobs_submitted++;
        pthread_cond_signal(&sched->changed);
    }
    pthread_mutex_unlock(&sched->mutex);
    if (!closed && !full) return DS4_OK;
    ds4_sched_job_release(job);
    ds4_sched_job_release(job);
    if (closed) return ds4_fail(error, DS4_BUSY, "the server is shutting down");
    return ds4_fail(error, DS4_BUSY, "%u requests are waiting already; try again later",
                    sched->n_queue);
}

ds4_sched_job *ds4_job_take(ds4_sched *sched, bool all) {
    pthread_mutex_lock(&sched->mutex);
    ds4_sched_job **link = &sched->first, *previous = NULL, *job = sched->first;
    while (job != NULL && !all && !atomic_load(&job->cancelled)) {
        previous = job;
        link = &job->next;
        job = job->next;
    }
    if (job != NULL) {
        *link = job->next;
        if (sched->last == job) sched->last = previous;
        job->next = NULL;
        sched->status.n_queued--;
    }
    pthread_mutex_unlock(&sched->mutex);
    return job;
}
