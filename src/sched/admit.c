#include <stdlib.h>
#include <string.h>

#include "sched/sched_internal.h"
#include "tokenizer/tokenizer.h"

enum { LEAST_ANCHOR = 32 /* tokens; fewer are read again faster than they are kept */ };
static const double publish_seconds = 0.5;

static size_t free_lane(const ds4_sched *sched, size_t *n_busy) {
    size_t found = sched->n_slots;
    *n_busy = 0;
    for (size_t i = sched->n_slots; i-- > 0;) {
        if (sched->lanes[i].job == NULL) found = i;
        *n_busy += sched->lanes[i].job != NULL;
    }
    return found;
}

/* Whether the next job's rows fit beside those that running jobs may still need. One job always
 * runs. */
static bool fits(ds4_sched *sched, uint32_t n_reserve, size_t n_busy) {
    if (n_busy == 0 || sched->row_budget == 0) return true;
    const ds4_session *any = ds4_kv_pool_session(sched->pool, 0);
    uint64_t sum = ds4_session_row_bytes(any, n_reserve);
    for (size_t i = 0; i < sched->n_slots; i++)
        if (sched->lanes[i].job != NULL)
            sum += ds4_session_row_bytes(any, sched->lanes[i].job->n_reserve);
    return sum <= sched->row_budget;
}

/* Lengths of the prompt that later prompts are likely to share: where the first turn begins (the
 * end of the system prompt), where the last one begins (a client may edit it), and everything but
 * the last token, which only says that an answer begins: the same prompt again, or the next turn of
 * a conversation that forgets what was thought. */
static void choose_anchors(const ds4_sched *sched, ds4_sched_job *job) {
    int32_t user = ds4_tokenizer_special_ids(ds4_model_get_tokenizer(sched->model))->user;
    uint32_t first = 0, last = 0, n = job->n_prompt;
    for (uint32_t i = 0; i < n; i++) {
        if (job->prompt[i] != user) continue;
        if (first == 0) first = i;
        last = i;
    }
    job->cold_at = ds4_persist_cold_length(sched, job);
    uint32_t wanted[DS4_JOB_ANCHORS] = {first, last, job->cold_at, n - 1}, previous = 0;
    job->n_anchors = job->next_anchor = 0;
    for (size_t i = 1; i < DS4_JOB_ANCHORS; i++) /* ascending */
        for (size_t k = i; k > 0 && wanted[k] < wanted[k - 1]; k--) {
            uint32_t swap = wanted[k];
            wanted[k] = wanted[k - 1];
            wanted[k - 1] = swap;
        }
    for (size_t i = 0; i < DS4_JOB_ANCHORS; i++) {
        if (wanted[i] < LEAST_ANCHOR || wanted[i] <= previous || wanted[i] <= job->n_cached)
            continue;
        previous = job->anchors[job->n_anchors++] = wanted[i];
    }
}

/* The session's own spelling of what is reused, then the rest of the prompt as it came. Any
 * failure leaves the prompt as it is, and then nothing that is spelled otherwise can be used. */
static bool adopt_spelling(const ds4_sched *sched, ds4_sched_job *job) {
    const ds4_kv_choice *choice = &job->lease.choice;
    const int32_t *held = ds4_session_tokens(job->lease.session);
    uint32_t n_rest = job->n_prompt - choice->n_read, n = choice->n_held + n_rest;
    if (choice->n_held == choice->n_read &&
        memcmp(held, job->prompt, choice->n_held * sizeof *held) == 0)
        return true;
    if (n >= sched->n_context) return false;
    int32_t *prompt = malloc(n * sizeof *prompt);
    if (prompt == NULL) return false;
    memcpy(prompt, held, choice->n_held * sizeof *prompt);
    memcpy(prompt + choice->n_held, job->prompt + choice->n_read, n_rest * sizeof *prompt);
    free(job->prompt);
    job->prompt = prompt;
    job->n_prompt = n;
    return true;
}

static void count(ds4_sched *sched, const ds4_sched_job *job) {
    const ds4_kv_choice *choice = &job->lease.choice;
    pthread_mutex_lock(&sched->mutex);
    sched->status.cached_tokens += job->n_cached;
    sched->kv.prompts[choice->source]++;
    sched->kv.tokens[choice->source] += job->n_cached;
    sched->kv.misses[choice->miss]++;
    pthread_mutex_unlock(&sched->mutex);
}

static void start(ds4_sched *sched, ds4_sched_job *job) {
    const ds4_kv_choice *choice = &job->lease.choice;
    job->n_cached = job->n_read = choice->n_held;
    job->phase = DS4_JOB_READING;
    choose_anchors(sched, job);
    count(sched, job);
    if (choice->miss == DS4_KV_MISS_NONE || choice->miss == DS4_KV_MISS_COLD)
        ds4_log_request(sched->log, DS4_LOG_CACHE, job->id,
                        "%s ctx=%u..%u:%u prompt start session=%zu source=%s", job->label,
                        job->n_cached, job->n_prompt, job->n_prompt - job->n_cached, job->lease.id,
                        ds4_kv_source_name(choice->source));
    else
        ds4_log_request(
            sched->log, DS4_LOG_CACHE, job->id,
            "%s ctx=%u..%u:%u prompt start session=%zu source=%s miss=%s differs at=%u of=%u",
            job->label, job->n_cached, job->n_prompt, job->n_prompt - job->n_cached, job->lease.id,
            ds4_kv_source_name(choice->source), ds4_kv_miss_name(choice->miss), choice->n_common,
            choice->n_longest);
    if (job->sink.started != NULL) job->sink.started(job->sink.context, job->n_cached);
    ds4_sched_publish(sched, true);
}

static ds4_kv_prompt prompt_of(const ds4_sched *sched, const ds4_sched_job *job) {
    return (ds4_kv_prompt){
        .tokens = job->prompt,
        .n = job->n_prompt,
        .dial = ds4_steering_identity(job->steering),
        .tokenizer = job->exact ? NULL : ds4_model_get_tokenizer(sched->model),
    };
}

/* Takes a session from the pool and begins to read. There are as many sessions as lanes at least,
 * so one is idle. */
static void begin(ds4_sched *sched, ds4_sched_job *job) {
    double now = ds4_sched_now();
    ds4_kv_prompt prompt = prompt_of(sched, job);
    bool taken = ds4_kv_pool_take(sched->pool, &prompt, now, &job->lease);
    if (taken && !adopt_spelling(sched, job)) {
        ds4_kv_pool_give_back(sched->pool, job->lease.id, job->lease.choice.n_held, now);
        prompt.tokenizer = NULL;
        taken = ds4_kv_pool_take(sched->pool, &prompt, now, &job->lease);
    }
    if (taken)
        start(sched, job);
    else
        ds4_job_end(job, DS4_INTERNAL, "no session is free");
}

bool ds4_sched_admit(ds4_sched *sched) {
    size_t n_busy, lane = free_lane(sched, &n_busy);
    pthread_mutex_lock(&sched->mutex);
    sched->status.n_busy = (uint32_t)n_busy;
    uint32_t n_reserve = sched->first != NULL ? sched->first->n_reserve : 0;
    pthread_mutex_unlock(&sched->mutex);
    sched->blocked = n_reserve > 0 && !fits(sched, n_reserve, n_busy);
    if (n_reserve == 0 || sched->blocked || lane == sched->n_slots) return false;
    ds4_sched_job *job = ds4_job_take(sched, true);
    if (job == NULL) return false;
    pthread_mutex_lock(&sched->mutex);
    sched->status.n_busy = (uint32_t)n_busy + 1;
    pthread_mutex_unlock(&sched->mutex);
    sched->lanes[lane].job = job;
    job->lane = lane;
    job->started = ds4_sched_now();
    ds4_kv_prompt prompt = prompt_of(sched, job);
    ds4_kv_choice choice;
    job->phase = DS4_JOB_LOADING;
    if (ds4_kv_pool_look(sched->pool, &prompt, job->started, &choice) &&
        ds4_persist_ask(sched, job, &prompt, &choice))
        return true;
    begin(sched, job);
    return true;
}

/* Puts what came from disk into a session. False: nothing came, or the pool has more by now. */
static bool restore(ds4_sched *sched, ds4_sched_job *job) {
    double now = ds4_sched_now();
    uint32_t n = ds4_kv_load_length(job->load);
    ds4_kv_prompt prompt = prompt_of(sched, job);
    ds4_kv_choice choice;
    ds4_error error = {0};
    size_t id;
    if (n == 0 || !ds4_kv_pool_look(sched->pool, &prompt, now, &choice) || choice.n_read >= n ||
        !ds4_kv_pool_seize(sched->pool, now, &id))
        return false;
    ds4_session *session = ds4_kv_pool_session(sched->pool, id);
    if (ds4_kv_load_restore(job->load, session, &error) != DS4_OK) {
        ds4_log_write(sched->log, DS4_LOG_WARNING, "kv cache: a saved state could not be used: %s",
                      error.message);
        ds4_kv_pool_give_back(sched->pool, id, 0, now);
        return false;
    }
    ds4_kv_pool_set_stored(sched->pool, id, n);
    choice.source = DS4_KV_SOURCE_DISK;
    choice.n_held = choice.n_read = n;
    if (n == job->n_prompt - 1) choice.miss = DS4_KV_MISS_NONE;
    job->lease = (ds4_kv_lease){id, session, choice};
    ds4_kv_pool_anchor(sched->pool, id, n);
    return true;
}

void ds4_sched_finish_loads(ds4_sched *sched) {
    for (size_t i = 0; i < sched->n_slots; i++) {
        ds4_sched_job *job = sched->lanes[i].job;
        if (job == NULL || job->phase != DS4_JOB_LOADING || !ds4_kv_load_is_ready(job->load))
            continue;
        bool restored = restore(sched, job);
        ds4_kv_load_free(job->load);
        job->load = NULL;
        if (restored)
            start(sched, job);
        else
            begin(sched, job);
    }
}

bool ds4_sched_has_loaded(const ds4_sched *sched) {
    for (size_t i = 0; i < sched->n_slots; i++) {
        const ds4_sched_job *job = sched->lanes[i].job;
        if (job != NULL && job->load != NULL && ds4_kv_load_is_ready(job->load)) return true;
    }
    return false;
}

void ds4_sched_publish(ds4_sched *sched, bool at_once) {
    double now = ds4_sched_now();
    if (!at_once && now - sched->published < publish_seconds) return;
    sched->published = now;
    pthread_mutex_lock(&sched->mutex);
    ds4_kv_pool_get_stats(sched->pool, &sched->kv);
    if (sched->store != NULL) ds4_kv_store_get_stats(sched->store, &sched->kv.disk);
    for (size_t i = 0; i < ds4_kv_pool_count(sched->pool); i++)
        sched->sessions[i] = ds4_kv_pool_view(sched->pool, i, now);
    pthread_mutex_unlock(&sched->mutex);
}
