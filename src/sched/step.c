#include "sched/sched_internal.h"

enum {
    LEAST_PREFILL = 32,   /* prompt tokens per step, however slow the machine */
    RATE_MIN_TOKENS = 16, /* steps with fewer prompt tokens say nothing about the prefill rate */
    ANCHOR_REACH = 64,    /* a tip can still be taken when so many more tokens were evaluated */
};
/* A step is the time in which nobody hears a cancellation or gets a token: short while others wait
 * for their next one. */
static const double alone_seconds = 3, shared_seconds = 0.1;

uint32_t ds4_sched_plan(ds4_sched *sched, uint32_t *reading) {
    bool decoding = false;
    for (size_t i = 0; i < sched->n_slots; i++) {
        const ds4_sched_job *job = sched->lanes[i].job;
        ds4_step_wish *wish = &sched->wishes[i];
        *wish = (ds4_step_wish){.paused = true};
        if (job == NULL || job->phase == DS4_JOB_LOADING) continue;
        if (job->phase == DS4_JOB_READING) {
            *wish = (ds4_step_wish){.prompt_left = job->n_prompt - job->n_read};
        } else if (job->sink.stalled == NULL || !job->sink.stalled(job->sink.context)) {
            *wish = (ds4_step_wish){0};
            decoding = true;
        }
    }
    uint32_t prefill =
        ds4_prefill_tokens(sched->tokens_per_second, decoding ? shared_seconds : alone_seconds,
                           LEAST_PREFILL, sched->step_tokens);
    uint32_t n = ds4_plan_step(sched->wishes, sched->n_slots, sched->step_tokens, prefill);
    *reading = 0;
    for (size_t i = 0; i < sched->n_slots; i++)
        if (sched->wishes[i].prompt_left > 0) *reading += sched->wishes[i].n_tokens;
    return n;
}

/* A prompt is cut behind its next anchor, while the session's journal still reaches that. */
static uint32_t cut_for_anchor(const ds4_sched_job *job, uint32_t n_tokens) {
    if (job->next_anchor == job->n_anchors) return n_tokens;
    uint32_t most = job->anchors[job->next_anchor] + ANCHOR_REACH - job->n_read;
    return n_tokens < most ? n_tokens : most;
}

static size_t compose(ds4_sched *sched) {
    size_t n = 0;
    for (size_t i = 0; i < sched->n_slots; i++) {
        const ds4_lane *lane = &sched->lanes[i];
        uint32_t n_tokens = sched->wishes[i].n_tokens;
        if (n_tokens == 0) continue;
        ds4_sched_job *job = lane->job;
        ds4_batch_item *item = &sched->items[n];
        sched->item_lanes[n++] = i;
        if (job->phase == DS4_JOB_READING) n_tokens = cut_for_anchor(job, n_tokens);
        *item = (ds4_batch_item){.session = job->lease.session,
                                 .n_tokens = n_tokens,
                                 .logits = lane->logits,
                                 .steering = job->steering};
        if (job->phase == DS4_JOB_READING) {
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

static void keep_anchors(ds4_sched *sched, ds4_sched_job *job) {
    while (job->next_anchor < job->n_anchors && job->anchors[job->next_anchor] <= job->n_read) {
        uint32_t at = job->anchors[job->next_anchor++];
        ds4_kv_pool_anchor(sched->pool, job->lease.id, at);
        if (at == job->cold_at) ds4_persist_save(sched, job->lease.id, at, DS4_KV_SAVE_COLD);
    }
}

static void observe_token(const ds4_sched *sched, ds4_sched_job *job) {
    double now = ds4_sched_now();
    bool first = job->sampled == 0;
    if (sched->observer.token != NULL)
        sched->observer.token(sched->observer.context, first,
                              now - (first ? job->submitted : job->sampled));
    job->sampled = now;
}

/* The last token of the session, which it forgets. */
static ds4_status take_back(ds4_session *session, int32_t *token, ds4_error *error) {
    uint32_t n = ds4_session_length(session);
    *token = ds4_session_tokens(session)[n - 1];
    return ds4_session_rewind(session, n - 1, error);
}

/* One item was evaluated: reads on, or chooses the next token. */
static void advance(ds4_sched *sched, const ds4_batch_item *item, size_t lane) {
    ds4_sched_job *job = sched->lanes[lane].job;
    ds4_persist_grown(sched, job);
    if (job->phase == DS4_JOB_READING) {
        job->n_read += item->n_tokens;
        keep_anchors(sched, job);
        if (job->n_read < job->n_prompt) return;
        job->phase = DS4_JOB_DECODING;
        job->read = ds4_sched_now();
        double seconds = job->read - job->started;
        uint32_t n_read = job->n_prompt - job->n_cached;
        ds4_log_request(sched->log, DS4_LOG_PREFILL, job->id,
                        "%s ctx=%u..%u:%u prompt done %.2fs (%.1f t/s)", job->label, job->n_cached,
                        job->n_prompt, n_read, seconds, seconds > 0 ? n_read / seconds : 0);
    }
    ds4_error error = {0};
    ds4_generation_step step;
    uint32_t before = ds4_generation_count(job->generation);
    ds4_status status = ds4_generation_next(job->generation, item->logits, &step, &error);
    if (step.next != DS4_NEXT_AGAIN) observe_token(sched, job);
    pthread_mutex_lock(&sched->mutex);
    sched->status.generated_tokens += ds4_generation_count(job->generation) - before;
    pthread_mutex_unlock(&sched->mutex);
    if (status == DS4_OK && step.next == DS4_NEXT_AGAIN)
        status = take_back(job->lease.session, &step.token, &error);
    if (status != DS4_OK || step.next == DS4_NEXT_DONE) {
        ds4_job_end(job, status, status != DS4_OK ? error.message : NULL);
        return;
    }
    job->token = step.token;
    job->steering = step.steering;
}

/* A failure with several items is tried again one by one, so that only the request to blame ends.
 */
static void evaluate(ds4_sched *sched, const ds4_batch_item *items, const size_t *item_lanes,
                     size_t n) {
    ds4_error error = {0};
    ds4_status status = ds4_engine_forward(sched->engine, items, n, &error);
    if (status != DS4_OK && n == 1) {
        ds4_log_request(sched->log, DS4_LOG_ERROR, sched->lanes[item_lanes[0]].job->id,
                        "a step failed: %s", error.message);
        ds4_job_end(sched->lanes[item_lanes[0]].job, status, error.message);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        if (status != DS4_OK)
            evaluate(sched, &items[i], &item_lanes[i], 1);
        else
            advance(sched, &items[i], item_lanes[i]);
    }
}

void ds4_sched_step(ds4_sched *sched, uint32_t reading) {
    size_t n = compose(sched);
    reading = 0; /* anchors may have made it less */
    for (size_t i = 0; i < n; i++)
        if (sched->lanes[sched->item_lanes[i]].job->phase == DS4_JOB_READING)
            reading += sched->items[i].n_tokens;
    double begin = ds4_sched_now();
    evaluate(sched, sched->items, sched->item_lanes, n);
    double seconds = ds4_sched_now() - begin;
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
