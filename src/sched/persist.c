/* When sessions are written to disk and read from there (docs/kv-cache.md). */
#include "sched/sched_internal.h"
#include "tokenizer/tokenizer.h"

enum {
    LEAST_GAIN = 256, /* prompt tokens; for less nobody waits for a disk */
    LEAST_LOSS = 256, /* tokens; fewer are not saved before they are lost */
};

/* The whole session, and its anchors: where the next prompt parts from it is not known. */
static void save_all(ds4_sched *sched, size_t id, ds4_kv_save reason) {
    const ds4_session *session = ds4_kv_pool_session(sched->pool, id);
    const uint8_t *tip;
    size_t n_tip;
    uint32_t at;
    for (uint32_t k = 0; ds4_kv_pool_get_anchor(sched->pool, id, k, &at, &tip, &n_tip); k++)
        ds4_kv_store_save_tip(sched->store, session, at, tip, n_tip, reason);
    ds4_persist_save(sched, id, ds4_session_length(session), reason);
}

static void on_loss(void *context, size_t id, uint32_t n_kept) {
    ds4_sched *sched = context;
    uint32_t n = ds4_session_length(ds4_kv_pool_session(sched->pool, id));
    uint32_t stored = ds4_kv_pool_stored(sched->pool, id);
    uint32_t safe = stored > n_kept ? stored : n_kept;
    if (n - safe >= LEAST_LOSS) save_all(sched, id, DS4_KV_SAVE_EVICT);
}

ds4_status ds4_persist_open(ds4_sched *sched, ds4_error *error) {
    if (sched->disk.directory == NULL) return DS4_OK;
    ds4_kv_store_options options = {
        .directory = sched->disk.directory,
        .budget_bytes = sched->disk.budget_bytes,
        .min_tokens = sched->disk.min_tokens,
        .log = sched->log,
    };
    ds4_status status = ds4_kv_store_open(sched->engine, &options, &sched->store, error);
    if (status != DS4_OK) return status;
    ds4_kv_pool_on_loss(sched->pool, on_loss, sched);
    return DS4_OK;
}

static void on_ready(void *context) {
    ds4_sched *sched = context;
    pthread_mutex_lock(&sched->mutex);
    pthread_cond_signal(&sched->changed);
    pthread_mutex_unlock(&sched->mutex);
}

bool ds4_persist_ask(ds4_sched *sched, ds4_sched_job *job, const ds4_kv_prompt *prompt,
                     const ds4_kv_choice *choice) {
    if (sched->store == NULL || prompt->n - choice->n_read <= LEAST_GAIN) return false;
    job->load = ds4_kv_store_load(sched->store, prompt->tokens, prompt->n, prompt->dial,
                                  choice->n_read + LEAST_GAIN, on_ready, sched);
    return job->load != NULL;
}

uint32_t ds4_persist_cold_length(const ds4_sched *sched, const ds4_sched_job *job) {
    const ds4_sched_disk_options *disk = &sched->disk;
    uint32_t n = job->n_prompt, at = 0;
    if (sched->store == NULL || job->n_cached > 0 || n < disk->min_tokens || n > disk->cold_max)
        return 0;
    const ds4_special_ids *special =
        ds4_tokenizer_special_ids(ds4_model_get_tokenizer(sched->model));
    /* The last turn before the first answer: what many conversations share comes before it. */
    for (uint32_t i = 0; i < n && job->prompt[i] != special->assistant; i++)
        if (job->prompt[i] == special->user) at = i;
    if (at >= disk->min_tokens && at > 0) return at;
    at = n - 1;
    if (n > disk->min_tokens + disk->trim) {
        uint32_t cut = n - disk->trim;
        if (disk->align > 0) cut -= cut % disk->align;
        if (cut >= disk->min_tokens && cut > 0 && cut < n) at = cut;
    }
    return at >= disk->min_tokens ? at : 0;
}

void ds4_persist_save(ds4_sched *sched, size_t id, uint32_t n_tokens, ds4_kv_save reason) {
    if (sched->store == NULL) return;
    if (ds4_kv_store_save(sched->store, ds4_kv_pool_session(sched->pool, id), n_tokens, reason))
        ds4_kv_pool_set_stored(sched->pool, id, n_tokens);
}

void ds4_persist_grown(ds4_sched *sched, const ds4_sched_job *job) {
    const ds4_sched_disk_options *disk = &sched->disk;
    if (sched->store == NULL || disk->interval == 0) return;
    size_t id = job->lease.id;
    uint32_t n = ds4_session_length(job->lease.session);
    uint32_t stored = ds4_kv_pool_stored(sched->pool, id);
    uint32_t step = disk->interval;
    if (disk->align > 0) step = (step + disk->align - 1) / disk->align * disk->align;
    if (n / step <= stored / step) return;
    ds4_persist_save(sched, id, n, DS4_KV_SAVE_CONTINUED);
    /* A save that was skipped is not tried again with every token. */
    ds4_kv_pool_set_stored(sched->pool, id, n);
}

void ds4_persist_close(ds4_sched *sched) {
    if (sched->store == NULL) return;
    for (size_t id = 0; id < ds4_kv_pool_count(sched->pool); id++) {
        uint32_t n = ds4_session_length(ds4_kv_pool_session(sched->pool, id));
        if (n < sched->disk.min_tokens || n == ds4_kv_pool_stored(sched->pool, id)) continue;
        ds4_log_write(sched->log, DS4_LOG_CACHE,
                      "persisting current KV cache before shutdown tokens=%u", n);
        ds4_kv_store_flush(sched->store); /* one at a time: memory for one is enough */
        save_all(sched, id, DS4_KV_SAVE_SHUTDOWN);
    }
    ds4_kv_store_close(sched->store);
    sched->store = NULL;
}
