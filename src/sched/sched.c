#include "sched/sched.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/error.h"
#include "sched/plan.h"

enum {
    DEFAULT_SLOTS = 2,
    DEFAULT_QUEUE = 16,
    MAX_SLOTS = 256,
    STEP_TOKENS = 512,    /* most tokens of one step */
    LEAST_PREFILL = 32,   /* prompt tokens per step, however slow the machine */
    RATE_MIN_TOKENS = 16, /* steps with fewer prompt tokens say nothing about the prefill rate */
};
/* A step is the time in which nobody hears a cancellation: short while others wait for their next
 * token. */
static const double alone_seconds = 3, shared_seconds = 0.25;

typedef enum job_phase { JOB_QUEUED, JOB_READING, JOB_DECODING } job_phase;

struct ds4_sched_job {
    ds4_sched *sched;
    atomic_int references;
    atomic_bool cancelled, ended;
    ds4_sched_job *next; /* in the queue */
    int32_t *prompt;
    uint32_t n_prompt;
    ds4_generation *generation;
    ds4_sched_sink sink;
    const char *label;
    job_phase phase;
    size_t slot;
    uint32_t n_cached, n_read; /* prompt tokens reused; reused or evaluated */
    int32_t token;             /* the sampled token to evaluate next */
    double submitted, started, read;
};

typedef struct slot {
    ds4_session *session;
    ds4_sched_job *job; /* NULL: idle */
    uint64_t last_used;
    float *logits; /* [n_vocab] */
} slot;

struct ds4_sched {
    const ds4_model *model;
    const ds4_log *log;
    ds4_engine *engine;
    ds4_ban_set *bans;
    uint32_t n_slots, n_queue, n_context;
    slot *slots;              /* engine thread */
    ds4_slot_view *views;     /* engine thread, [n_slots] */
    ds4_step_wish *wishes;    /* engine thread, [n_slots] */
    ds4_batch_item *items;    /* engine thread, [n_slots] */
    size_t *item_slots;       /* engine thread, [n_slots]: which slot an item belongs to */
    uint64_t use_counter;     /* engine thread */
    double tokens_per_second; /* engine thread: prefill, running mean; 0: unknown */

    pthread_t thread;
    bool thread_runs;
    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t changed;
    ds4_sched_job *first, *last;
    bool draining, stopping;
    double drain_deadline;
    uint64_t seed_counter;
    ds4_sched_status status;
};

static double now_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- jobs ---- */

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

/* The one place where a job ends. Engine thread, no lock held. */
static void end_job(ds4_sched *sched, ds4_sched_job *job, ds4_status status, const char *message) {
    double now = now_seconds();
    ds4_sched_result result = {
        .status = status,
        .message = message,
        .finish = ds4_generation_finish(job->generation),
        .n_prompt = job->n_prompt,
        .n_cached = job->n_cached,
        .n_generated = ds4_generation_count(job->generation),
        .n_reasoning = ds4_generation_reasoning_count(job->generation),
    };
    result.queue_seconds = (job->phase == JOB_QUEUED ? now : job->started) - job->submitted;
    if (job->phase != JOB_QUEUED)
        result.prefill_seconds = (job->phase == JOB_READING ? now : job->read) - job->started;
    if (job->phase == JOB_DECODING) result.decode_seconds = now - job->read;

    const char *outcome = status == DS4_OK ? ds4_finish_name(result.finish) : message;
    double rate = result.decode_seconds > 0 ? result.n_generated / result.decode_seconds : 0;
    ds4_log_write(
        sched->log, status == DS4_OK ? DS4_LOG_GENERATION : DS4_LOG_WARNING,
        "%s ctx=%u..%u:%u gen=%u finish=%s queue %.2fs prefill %.2fs decode %.2fs (%.1f t/s)",
        job->label, job->n_cached, job->n_prompt, job->n_prompt - job->n_cached, result.n_generated,
        outcome, result.queue_seconds, result.prefill_seconds, result.decode_seconds, rate);
    if (job->phase != JOB_QUEUED) {
        sched->slots[job->slot].job = NULL;
        sched->slots[job->slot].last_used = ++sched->use_counter;
    }
    count_end(sched, status);
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
    memcpy(prompt, request->prompt, prompt_bytes);
    job->sched = sched;
    atomic_init(&job->references, 2); /* the scheduler's and the caller's */
    atomic_init(&job->cancelled, false);
    atomic_init(&job->ended, false);
    job->prompt = prompt;
    job->n_prompt = request->n_prompt;
    job->sink = request->sink;
    job->label = request->label;
    job->submitted = now_seconds();
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

/* ---- the engine thread: admission ---- */

/* Takes the next job out of the queue that is `wanted`: any when `all`, else only cancelled ones.
 */
static ds4_sched_job *take_queued(ds4_sched *sched, bool all) {
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

/* Ends jobs whose client left, and, while draining, all that may not go on. */
static void end_unwanted(ds4_sched *sched) {
    ds4_sched_job *job;
    while ((job = take_queued(sched, false)) != NULL)
        end_job(sched, job, DS4_CANCELLED, "cancelled");
    pthread_mutex_lock(&sched->mutex);
    bool draining = sched->draining;
    bool expired = sched->stopping || (draining && now_seconds() >= sched->drain_deadline);
    pthread_mutex_unlock(&sched->mutex);
    while (draining && (job = take_queued(sched, true)) != NULL)
        end_job(sched, job, DS4_BUSY, "the server is shutting down");
    for (size_t i = 0; i < sched->n_slots; i++) {
        job = sched->slots[i].job;
        if (job == NULL) continue;
        if (atomic_load(&job->cancelled))
            end_job(sched, job, DS4_CANCELLED, "cancelled");
        else if (expired || (draining && job->phase == JOB_READING))
            end_job(sched, job, DS4_BUSY, "the server is shutting down");
    }
}

/* Brings the slot's session to the first `reuse` tokens of the prompt; 0 when it cannot. */
static uint32_t prepare_session(slot *chosen, uint32_t reuse) {
    if (reuse > 0 && reuse < ds4_session_length(chosen->session) &&
        ds4_session_rewind(chosen->session, reuse, NULL) != DS4_OK)
        reuse = 0;
    if (reuse == 0) ds4_session_reset(chosen->session);
    return reuse;
}

static bool admit_next(ds4_sched *sched) {
    uint32_t busy = 0;
    for (size_t i = 0; i < sched->n_slots; i++) {
        const slot *s = &sched->slots[i];
        busy += s->job != NULL;
        sched->views[i] = (ds4_slot_view){
            .busy = s->job != NULL,
            .tokens = ds4_session_tokens(s->session),
            .n_tokens = ds4_session_length(s->session),
            .rewind_floor = ds4_session_rewind_floor(s->session),
            .last_used = s->last_used,
        };
    }
    pthread_mutex_lock(&sched->mutex);
    sched->status.n_busy = busy;
    pthread_mutex_unlock(&sched->mutex);
    ds4_sched_job *job = busy < sched->n_slots ? take_queued(sched, true) : NULL;
    if (job == NULL) return false;

    ds4_slot_choice choice = {0, 0};
    ds4_choose_slot(sched->views, sched->n_slots, job->prompt, job->n_prompt, &choice);
    slot *chosen = &sched->slots[choice.slot];
    uint32_t held = ds4_session_length(chosen->session);
    chosen->job = job;
    job->slot = choice.slot;
    job->n_cached = job->n_read = prepare_session(chosen, choice.reuse);
    job->phase = JOB_READING;
    job->started = now_seconds();
    pthread_mutex_lock(&sched->mutex);
    sched->status.n_busy = busy + 1;
    sched->status.cached_tokens += job->n_cached;
    pthread_mutex_unlock(&sched->mutex);
    ds4_log_write(sched->log, DS4_LOG_CACHE, "%s ctx=%u..%u:%u prompt start slot=%zu held=%u",
                  job->label, job->n_cached, job->n_prompt, job->n_prompt - job->n_cached,
                  choice.slot, held);
    if (job->sink.started != NULL) job->sink.started(job->sink.context, job->n_cached);
    return true;
}

/* ---- the engine thread: steps ---- */

/* With the lock held (a reader that catches up between the question and the wait would be missed
 * otherwise). Returns the tokens of the next step; *reading: how many of them belong to prompts. */
static uint32_t plan(ds4_sched *sched, uint32_t *reading) {
    bool decoding = false;
    for (size_t i = 0; i < sched->n_slots; i++) {
        const ds4_sched_job *job = sched->slots[i].job;
        ds4_step_wish *wish = &sched->wishes[i];
        *wish = (ds4_step_wish){.paused = true};
        if (job == NULL) continue;
        if (job->phase == JOB_READING) {
            *wish = (ds4_step_wish){.prompt_left = job->n_prompt - job->n_read};
        } else if (job->sink.stalled == NULL || !job->sink.stalled(job->sink.context)) {
            *wish = (ds4_step_wish){0};
            decoding = true;
        }
    }
    uint32_t prefill =
        ds4_prefill_tokens(sched->tokens_per_second, decoding ? shared_seconds : alone_seconds,
                           LEAST_PREFILL, STEP_TOKENS);
    uint32_t n = ds4_plan_step(sched->wishes, sched->n_slots, STEP_TOKENS, prefill);
    *reading = 0;
    for (size_t i = 0; i < sched->n_slots; i++)
        if (sched->wishes[i].prompt_left > 0) *reading += sched->wishes[i].n_tokens;
    return n;
}

static size_t compose(ds4_sched *sched) {
    size_t n = 0;
    for (size_t i = 0; i < sched->n_slots; i++) {
        slot *s = &sched->slots[i];
        uint32_t n_tokens = sched->wishes[i].n_tokens;
        if (n_tokens == 0) continue;
        ds4_sched_job *job = s->job;
        ds4_batch_item *item = &sched->items[n];
        sched->item_slots[n++] = i;
        *item = (ds4_batch_item){.session = s->session, .n_tokens = n_tokens, .logits = s->logits};
        if (job->phase == JOB_READING) {
            item->tokens = job->prompt + job->n_read;
            item->want =
                job->n_read + n_tokens == job->n_prompt ? DS4_LOGITS_LAST : DS4_LOGITS_NONE;
        } else {
            item->tokens = &job->token;
            item->want = DS4_LOGITS_LAST;
        }
    }
    return n;
}

/* One item was evaluated: reads on, or chooses the next token. */
static void advance(ds4_sched *sched, const ds4_batch_item *item, size_t slot_index) {
    ds4_sched_job *job = sched->slots[slot_index].job;
    if (job->phase == JOB_READING) {
        job->n_read += item->n_tokens;
        if (job->n_read < job->n_prompt) return;
        job->phase = JOB_DECODING;
        job->read = now_seconds();
        double seconds = job->read - job->started;
        uint32_t n_read = job->n_prompt - job->n_cached;
        ds4_log_write(sched->log, DS4_LOG_PREFILL, "%s ctx=%u..%u:%u prompt done %.2fs (%.1f t/s)",
                      job->label, job->n_cached, job->n_prompt, n_read, seconds,
                      seconds > 0 ? n_read / seconds : 0);
    }
    ds4_error error = {0};
    bool more = false;
    uint32_t before = ds4_generation_count(job->generation);
    ds4_status status =
        ds4_generation_next(job->generation, item->logits, &more, &job->token, &error);
    pthread_mutex_lock(&sched->mutex);
    sched->status.generated_tokens += ds4_generation_count(job->generation) - before;
    pthread_mutex_unlock(&sched->mutex);
    if (status != DS4_OK)
        end_job(sched, job, status, error.message);
    else if (!more)
        end_job(sched, job, DS4_OK, NULL);
}

/* A failure with several items is tried again one by one, so that only the request to blame ends.
 */
static void evaluate(ds4_sched *sched, const ds4_batch_item *items, const size_t *item_slots,
                     size_t n) {
    ds4_error error = {0};
    ds4_status status = ds4_engine_forward(sched->engine, items, n, &error);
    if (status != DS4_OK && n == 1) {
        ds4_log_write(sched->log, DS4_LOG_ERROR, "a step failed: %s", error.message);
        end_job(sched, sched->slots[item_slots[0]].job, status, error.message);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        if (status != DS4_OK)
            evaluate(sched, &items[i], &item_slots[i], 1);
        else
            advance(sched, &items[i], item_slots[i]);
    }
}

static void step(ds4_sched *sched, uint32_t reading) {
    size_t n = compose(sched);
    double begin = now_seconds();
    evaluate(sched, sched->items, sched->item_slots, n);
    double seconds = now_seconds() - begin;
    if (reading >= RATE_MIN_TOKENS && seconds > 0) {
        double rate = reading / seconds;
        double old = sched->tokens_per_second;
        sched->tokens_per_second = old > 0 ? 0.7 * old + 0.3 * rate : rate;
    }
    pthread_mutex_lock(&sched->mutex);
    sched->status.steps++;
    sched->status.prompt_tokens += reading;
    pthread_mutex_unlock(&sched->mutex);
}

static size_t live_jobs(const ds4_sched *sched) {
    size_t n = 0;
    for (size_t i = 0; i < sched->n_slots; i++) n += sched->slots[i].job != NULL;
    return n;
}

static bool has_cancelled_jobs(const ds4_sched *sched) {
    for (const ds4_sched_job *job = sched->first; job != NULL; job = job->next)
        if (atomic_load(&job->cancelled)) return true;
    for (size_t i = 0; i < sched->n_slots; i++)
        if (sched->slots[i].job != NULL && atomic_load(&sched->slots[i].job->cancelled))
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
        while (admit_next(sched)) {
        }
        uint32_t reading = 0;
        pthread_mutex_lock(&sched->mutex);
        uint32_t n = plan(sched, &reading);
        size_t live = live_jobs(sched);
        bool stop = sched->stopping && sched->first == NULL && live == 0;
        bool can_admit = sched->first != NULL && live < sched->n_slots;
        if (n == 0 && !can_admit && !sched->stopping && !has_cancelled_jobs(sched))
            wait_for_work(sched);
        pthread_mutex_unlock(&sched->mutex);
        if (stop) return NULL;
        if (n > 0) step(sched, reading);
    }
}

/* ---- life ---- */

static ds4_status create_sessions(ds4_sched *sched, ds4_error *error) {
    size_t vocabulary = ds4_model_get_info(sched->model)->n_vocab;
    for (size_t i = 0; i < sched->n_slots; i++) {
        slot *s = &sched->slots[i];
        s->logits = malloc(vocabulary * sizeof *s->logits);
        if (s->logits == NULL)
            return ds4_fail_memory(error, vocabulary * sizeof *s->logits, "a row of logits");
        ds4_status status = ds4_session_create(sched->engine, sched->n_context, &s->session, error);
        if (status != DS4_OK) return status;
    }
    return DS4_OK;
}

ds4_status ds4_sched_create(const ds4_model *model, const ds4_sched_options *options,
                            ds4_sched **out, ds4_error *error) {
    if (ds4_model_get_tokenizer(model) == NULL)
        return ds4_fail(error, DS4_UNSUPPORTED, "the model file carries no tokenizer");
    if (options->n_slots > MAX_SLOTS)
        return ds4_fail(error, DS4_INVALID_ARGUMENT, "at most %d slots", MAX_SLOTS);
    ds4_status status = DS4_OK;
    ds4_sched *sched = calloc(1, sizeof *sched);
    if (sched == NULL) return ds4_fail_memory(error, sizeof *sched, "the scheduler");
    sched->model = model;
    sched->log = options->log;
    sched->n_slots = options->n_slots != 0 ? options->n_slots : DEFAULT_SLOTS;
    sched->n_queue = options->n_queue != 0 ? options->n_queue : DEFAULT_QUEUE;
    sched->status.n_slots = sched->n_slots;
    sched->status.n_queue = sched->n_queue;
    pthread_mutex_init(&sched->mutex, NULL);
    pthread_cond_init(&sched->changed, NULL);
    sched->slots = calloc(sched->n_slots, sizeof *sched->slots);
    sched->views = calloc(sched->n_slots, sizeof *sched->views);
    sched->wishes = calloc(sched->n_slots, sizeof *sched->wishes);
    sched->items = calloc(sched->n_slots, sizeof *sched->items);
    sched->item_slots = calloc(sched->n_slots, sizeof *sched->item_slots);
    if (sched->slots == NULL || sched->views == NULL || sched->wishes == NULL ||
        sched->items == NULL || sched->item_slots == NULL) {
        status = ds4_fail_memory(error, sched->n_slots * sizeof *sched->slots, "the scheduler");
        goto done;
    }
    ds4_engine_options engine = options->engine;
    engine.max_batch_tokens = STEP_TOKENS;
    engine.max_sessions = sched->n_slots;
    status = ds4_engine_create(model, &engine, &sched->engine, error);
    if (status != DS4_OK) goto done;
    sched->n_context = ds4_engine_get_options(sched->engine)->max_context;
    status = ds4_ban_set_create(model, &sched->bans, error);
    if (status != DS4_OK) goto done;
    status = create_sessions(sched, error);
    if (status != DS4_OK) goto done;
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
    sched->drain_deadline = now_seconds() + seconds;
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
    for (size_t i = 0; sched->slots != NULL && i < sched->n_slots; i++) {
        ds4_session_destroy(sched->slots[i].session);
        free(sched->slots[i].logits);
    }
    ds4_ban_set_destroy(sched->bans);
    ds4_engine_destroy(sched->engine);
    free(sched->slots);
    free(sched->views);
    free(sched->wishes);
    free(sched->items);
    free(sched->item_slots);
    pthread_cond_destroy(&sched->changed);
    pthread_mutex_destroy(&sched->mutex);
    free(sched);
}

void ds4_sched_get_status(ds4_sched *sched, ds4_sched_status *status) {
    pthread_mutex_lock(&sched->mutex);
    *status = sched->status;
    pthread_mutex_unlock(&sched->mutex);
}
