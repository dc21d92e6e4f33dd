#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "kv/store_internal.h"

enum { PAUSE_SECONDS = 60 /* after a failed write */ };

void ds4_kv_save_job_free(ds4_kv_save_job *job) {
    if (job == NULL) return;
    for (size_t i = 0; i < job->n_files; i++) free(job->files[i].payload);
    free(job);
}

/* ---- the engine's thread ---- */

/* The chain's keys, and which of its files the directory holds already. False: all of them. */
static bool list_files(ds4_kv_store *store, const ds4_session *session, uint32_t n_tokens,
                       ds4_kv_save_job *job, bool *known) {
    const int32_t *tokens = ds4_session_tokens(session);
    const uint64_t *dials = ds4_session_dials(session);
    uint32_t block = store->block_tokens, n_blocks = n_tokens / block;
    ds4_kv_key key = store->root;
    for (uint32_t i = 0; i <= n_blocks; i++) {
        ds4_kv_save_file *f = &job->files[i];
        uint32_t at = i * block, n = i < n_blocks ? block : n_tokens - at;
        f->file.parent = key;
        f->file.key = key = ds4_kv_key_next(key, tokens + at, dials + at, n);
        f->file.kind = i < n_blocks ? DS4_KV_BLOCK : DS4_KV_TIP;
        f->file.n_tail = i < n_blocks ? 0 : n;
        f->n_tokens = at + n;
    }
    job->n_files = n_blocks + 1;
    pthread_mutex_lock(&store->mutex);
    for (size_t i = 0; i < job->n_files; i++)
        known[i] = ds4_kv_index_find(&store->index, &job->files[i].file) != NULL;
    pthread_mutex_unlock(&store->mutex);
    bool all = true;
    for (size_t i = 0; i < job->n_files; i++) all = all && known[i];
    return !all;
}

static bool copy_block(const ds4_kv_store *store, const ds4_session *session, uint32_t first,
                       ds4_kv_save_file *f) {
    size_t n_rows = ds4_session_block_bytes(session);
    size_t n_dials = store->block_tokens * sizeof(uint64_t);
    size_t n_tokens = store->block_tokens * sizeof(int32_t);
    f->n_payload = ds4_kv_block_bytes(store->block_tokens, n_rows);
    f->payload = malloc(f->n_payload);
    if (f->payload == NULL) return false;
    memcpy(f->payload, ds4_session_dials(session) + first, n_dials);
    memcpy(f->payload + n_dials, ds4_session_tokens(session) + first, n_tokens);
    return ds4_session_save_block(session, first, f->payload + n_dials + n_tokens, NULL) == DS4_OK;
}

static bool copy_files(const ds4_kv_store *store, const ds4_session *session, uint32_t n_tokens,
                       const uint8_t *ready, ds4_kv_save_job *job, const bool *known) {
    for (size_t i = 0; i + 1 < job->n_files; i++) {
        if (known[i]) continue;
        if (!copy_block(store, session, (uint32_t)i * store->block_tokens, &job->files[i]))
            return false;
        job->n_bytes += job->files[i].n_payload;
    }
    if (known[job->n_files - 1]) return true;
    ds4_kv_save_file *tip = &job->files[job->n_files - 1];
    tip->n_payload = ds4_session_tip_bytes(session, n_tokens);
    tip->payload = malloc(tip->n_payload);
    job->n_bytes += tip->n_payload;
    if (tip->payload == NULL) return false;
    if (ready == NULL) return ds4_session_save_tip(session, n_tokens, tip->payload, NULL) == DS4_OK;
    memcpy(tip->payload, ready, tip->n_payload);
    return true;
}

static uint64_t missing_bytes(const ds4_kv_store *store, const ds4_session *session,
                              uint32_t n_tokens, const ds4_kv_save_job *job, const bool *known) {
    uint64_t sum = known[job->n_files - 1] ? 0 : ds4_session_tip_bytes(session, n_tokens);
    for (size_t i = 0; i + 1 < job->n_files; i++)
        if (!known[i])
            sum += ds4_kv_block_bytes(store->block_tokens, ds4_session_block_bytes(session));
    return sum;
}

static bool save(ds4_kv_store *store, const ds4_session *session, uint32_t n_tokens,
                 const uint8_t *ready, ds4_kv_save reason) {
    if (n_tokens < store->min_tokens || n_tokens == 0) return false;
    size_t n_files = n_tokens / store->block_tokens + 1;
    ds4_kv_save_job *job = calloc(1, sizeof *job + n_files * sizeof *job->files);
    bool *known = calloc(n_files, sizeof *known);
    bool accepted = false, wanted = job != NULL && known != NULL;
    if (!wanted) goto done;
    job->reason = reason;
    if (!list_files(store, session, n_tokens, job, known)) {
        accepted = true; /* it is there */
        goto done;
    }
    uint64_t n_bytes = missing_bytes(store, session, n_tokens, job, known);
    pthread_mutex_lock(&store->mutex);
    bool room = store->pending == 0 || store->pending + n_bytes <= store->max_pending;
    room = room && n_bytes <= store->budget && ds4_kv_unix_seconds() >= store->paused_until;
    if (!room) store->stats.saves_skipped++;
    pthread_mutex_unlock(&store->mutex);
    if (!room || !copy_files(store, session, n_tokens, ready, job, known)) goto done;
    pthread_mutex_lock(&store->mutex);
    if (store->last_save != NULL)
        store->last_save->next = job;
    else
        store->first_save = job;
    store->last_save = job;
    store->pending += job->n_bytes;
    pthread_cond_signal(&store->work);
    pthread_mutex_unlock(&store->mutex);
    job = NULL;
    accepted = true;
done:
    ds4_kv_save_job_free(job);
    free(known);
    return accepted;
}

bool ds4_kv_store_save(ds4_kv_store *store, const ds4_session *session, uint32_t n_tokens,
                       ds4_kv_save reason) {
    return save(store, session, n_tokens, NULL, reason);
}

bool ds4_kv_store_save_tip(ds4_kv_store *store, const ds4_session *session, uint32_t n_tokens,
                           const uint8_t *tip, size_t n_tip, ds4_kv_save reason) {
    return n_tokens <= ds4_session_length(session) &&
           n_tip == ds4_session_tip_bytes(session, n_tokens) &&
           save(store, session, n_tokens, tip, reason);
}

/* ---- the store's thread ---- */

static ds4_status write_file(ds4_kv_store *store, const ds4_kv_save_job *job,
                             const ds4_kv_save_file *f, ds4_error *error) {
    char name[DS4_KV_NAME_BYTES];
    uint8_t bytes[DS4_KV_HEADER_BYTES];
    uint64_t now = ds4_kv_unix_seconds();
    ds4_kv_header header = {
        .file = f->file,
        .identity = store->identity,
        .n_tokens = f->n_tokens,
        .reason = (uint32_t)job->reason,
        .block_tokens = store->block_tokens,
        .created = now,
        .n_payload = f->n_payload,
        .payload_hash = ds4_kv_payload_hash(f->payload, f->n_payload),
    };
    ds4_kv_header_encode(&header, bytes);
    ds4_kv_file_name(&f->file, name);
    const ds4_kv_part parts[] = {{bytes, sizeof bytes}, {f->payload, f->n_payload}};
    ds4_status status = ds4_kv_disk_write(store->disk, name, parts, 2, error);
    if (status != DS4_OK) return status;
    ds4_kv_item item = {.file = f->file,
                        .n_tokens = f->n_tokens,
                        .block_tokens = store->block_tokens,
                        .n_bytes = sizeof bytes + f->n_payload,
                        .used = now,
                        .seen = store->scan};
    pthread_mutex_lock(&store->mutex);
    ds4_kv_index_put(&store->index, &item);
    store->stats.saved_bytes += item.n_bytes;
    pthread_mutex_unlock(&store->mutex);
    return DS4_OK;
}

/* A block that was there when the save was asked for, and has been given up since, would leave a
 * tip that nothing can be done with. */
static bool chain_is_whole(ds4_kv_store *store, const ds4_kv_save_job *job) {
    char name[DS4_KV_NAME_BYTES];
    uint64_t n_bytes, used;
    for (size_t i = 0; i + 1 < job->n_files; i++) {
        ds4_kv_file_name(&job->files[i].file, name);
        if (!ds4_kv_disk_stat(store->disk, name, &n_bytes, &used)) return false;
    }
    return true;
}

void ds4_kv_store_run_save(ds4_kv_store *store, ds4_kv_save_job *job) {
    ds4_error error = {0};
    ds4_status status = DS4_OK;
    for (size_t i = 0; i < job->n_files && status == DS4_OK; i++) {
        const ds4_kv_save_file *f = &job->files[i];
        ds4_kv_store_serve_loads(store);
        if (i + 1 == job->n_files && !chain_is_whole(store, job))
            status = ds4_fail(&error, DS4_IO, "files that it builds on were removed meanwhile");
        else if (f->payload != NULL)
            status = write_file(store, job, f, &error);
    }
    ds4_kv_disk_sync(store->disk);
    pthread_mutex_lock(&store->mutex);
    store->pending -= job->n_bytes;
    if (status == DS4_OK) {
        store->stats.saves[job->reason]++;
    } else {
        store->stats.save_failures++;
        store->paused_until = ds4_kv_unix_seconds() + PAUSE_SECONDS;
    }
    pthread_mutex_unlock(&store->mutex);
    if (status != DS4_OK)
        ds4_log_write(store->log, DS4_LOG_WARNING,
                      "kv cache store failed (%s): %s; next try in %d s",
                      ds4_kv_save_name(job->reason), error.message, PAUSE_SECONDS);
    else
        ds4_log_write(store->log, DS4_LOG_CACHE, "kv cache stored tokens=%u reason=%s bytes=%zu",
                      job->files[job->n_files - 1].n_tokens, ds4_kv_save_name(job->reason),
                      job->n_bytes);
    ds4_kv_file tip = job->files[job->n_files - 1].file;
    ds4_kv_save_job_free(job);
    ds4_kv_store_trim(store, &tip);
}
