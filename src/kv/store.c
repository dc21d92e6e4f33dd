#include "kv/store.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/error.h"
#include "kv/store_internal.h"

enum { GRACE_SECONDS = 60 };
static const uint64_t default_pending = 512u << 20;

uint64_t ds4_kv_unix_seconds(void) {
    return (uint64_t)time(NULL);
}

/* ---- what is there ---- */

void ds4_kv_store_reject(ds4_kv_store *store, const ds4_kv_file *file, const char *why) {
    char name[DS4_KV_NAME_BYTES];
    ds4_kv_file_name(file, name);
    ds4_kv_disk_quarantine(store->disk, name, why);
    pthread_mutex_lock(&store->mutex);
    ds4_kv_index_remove(&store->index, file);
    store->stats.quarantined++;
    pthread_mutex_unlock(&store->mutex);
}

/* A file that this process has not seen before. Its header tells the parent of a block. */
static void learn(ds4_kv_store *store, const ds4_kv_file *named, const char *name) {
    ds4_kv_header header;
    ds4_error error = {0};
    uint8_t *bytes = NULL;
    size_t n;
    uint64_t n_file, n_bytes, used;
    bool missing = false;
    ds4_status status = ds4_kv_disk_read(store->disk, name, DS4_KV_HEADER_BYTES, &bytes, &n,
                                         &n_file, &missing, &error);
    if (status == DS4_OK) status = ds4_kv_header_decode(bytes, n, n_file, &header, &error);
    free(bytes);
    if (status == DS4_OK &&
        (header.file.kind != named->kind || !ds4_kv_key_equal(header.file.key, named->key) ||
         header.file.n_tail != named->n_tail ||
         (named->kind == DS4_KV_TIP && !ds4_kv_key_equal(header.file.parent, named->parent))))
        status = ds4_fail(&error, DS4_FORMAT, "it is another file than its name says");
    if (status == DS4_FORMAT) {
        ds4_kv_store_reject(store, named, error.message);
    } else if (status == DS4_OK && ds4_kv_disk_stat(store->disk, name, &n_bytes, &used)) {
        ds4_kv_item item = {.file = header.file,
                            .n_tokens = header.n_tokens,
                            .block_tokens = header.block_tokens,
                            .n_bytes = n_bytes,
                            .used = used,
                            .seen = store->scan};
        pthread_mutex_lock(&store->mutex);
        ds4_kv_index_put(&store->index, &item);
        pthread_mutex_unlock(&store->mutex);
    }
}

static void on_found(void *context, const char *name) {
    ds4_kv_store *store = context;
    ds4_kv_file file;
    if (!ds4_kv_file_parse_name(name, &file)) return; /* not ours: left alone */
    pthread_mutex_lock(&store->mutex);
    ds4_kv_item *item = ds4_kv_index_find(&store->index, &file);
    if (item != NULL) item->seen = store->scan;
    pthread_mutex_unlock(&store->mutex);
    if (item == NULL) learn(store, &file, name);
}

void ds4_kv_store_scan(ds4_kv_store *store) {
    struct timespec changed = ds4_kv_disk_changed(store->disk);
    if (changed.tv_sec == store->scanned.tv_sec && changed.tv_nsec == store->scanned.tv_nsec)
        return;
    store->scanned = changed;
    store->scan++;
    if (ds4_kv_disk_list(store->disk, on_found, store, NULL) != DS4_OK) return;
    pthread_mutex_lock(&store->mutex);
    for (size_t i = store->index.n; i-- > 0;) {
        ds4_kv_file file = store->index.items[i].file;
        if (store->index.items[i].seen != store->scan) ds4_kv_index_remove(&store->index, &file);
    }
    pthread_mutex_unlock(&store->mutex);
}

void ds4_kv_store_trim(ds4_kv_store *store, const ds4_kv_file *keep) {
    for (;;) {
        char name[DS4_KV_NAME_BYTES];
        pthread_mutex_lock(&store->mutex);
        const ds4_kv_item *victim =
            store->index.n_bytes <= store->budget
                ? NULL
                : ds4_kv_index_victim(&store->index, ds4_kv_unix_seconds(), GRACE_SECONDS, keep);
        ds4_kv_file file = {0};
        if (victim != NULL) {
            file = victim->file;
            ds4_kv_index_give_up(&store->index, &file);
            store->stats.evicted++;
        }
        pthread_mutex_unlock(&store->mutex);
        if (victim == NULL) return;
        ds4_kv_file_name(&file, name);
        ds4_kv_disk_remove(store->disk, name);
    }
}

/* ---- the thread ---- */

static ds4_kv_load *take_load(ds4_kv_store *store) {
    ds4_kv_load *load = store->first_load;
    if (load == NULL) return NULL;
    store->first_load = load->next;
    if (load->next == NULL) store->last_load = NULL;
    return load;
}

static ds4_kv_save_job *take_save(ds4_kv_store *store) {
    ds4_kv_save_job *job = store->first_save;
    if (job == NULL) return NULL;
    store->first_save = job->next;
    if (job->next == NULL) store->last_save = NULL;
    return job;
}

void ds4_kv_store_serve_loads(ds4_kv_store *store) {
    for (;;) {
        pthread_mutex_lock(&store->mutex);
        ds4_kv_load *load = take_load(store);
        pthread_mutex_unlock(&store->mutex);
        if (load == NULL) return;
        ds4_kv_store_run_load(store, load);
    }
}

static void *run(void *context) {
    ds4_kv_store *store = context;
    for (;;) {
        pthread_mutex_lock(&store->mutex);
        store->busy = false;
        while (store->first_load == NULL && store->first_save == NULL && !store->stopping) {
            pthread_cond_broadcast(&store->idle);
            pthread_cond_wait(&store->work, &store->mutex);
        }
        store->busy = true;
        ds4_kv_load *load = take_load(store);
        ds4_kv_save_job *save = load == NULL ? take_save(store) : NULL;
        pthread_mutex_unlock(&store->mutex);
        if (load != NULL)
            ds4_kv_store_run_load(store, load);
        else if (save != NULL)
            ds4_kv_store_run_save(store, save);
        else
            return NULL; /* stopping, and all is written */
    }
}

/* ---- life ---- */

ds4_status ds4_kv_store_open(const ds4_engine *engine, const ds4_kv_store_options *options,
                             ds4_kv_store **out, ds4_error *error) {
    ds4_kv_store *store = calloc(1, sizeof *store);
    if (store == NULL) return ds4_fail_memory(error, sizeof *store, "the KV cache");
    store->log = options->log;
    store->identity = ds4_engine_identity(engine);
    store->block_tokens = ds4_engine_block_tokens(engine);
    store->budget = options->budget_bytes;
    store->min_tokens = options->min_tokens;
    store->max_pending = options->pending_bytes != 0 ? options->pending_bytes : default_pending;
    store->root = ds4_kv_key_root(store->identity, store->block_tokens);
    pthread_mutex_init(&store->mutex, NULL);
    pthread_cond_init(&store->work, NULL);
    pthread_cond_init(&store->idle, NULL);
    ds4_status status = ds4_kv_disk_open(options->directory, options->log, &store->disk, error);
    if (status != DS4_OK) goto done;
    ds4_kv_store_scan(store);
    ds4_kv_store_trim(store, NULL);
    store->busy = true;
    if (pthread_create(&store->thread, NULL, run, store) != 0) {
        status = ds4_fail(error, DS4_INTERNAL, "the KV cache's thread could not be started");
        goto done;
    }
    store->thread_runs = true;
    *out = store;
    store = NULL;
done:
    ds4_kv_store_close(store);
    return status;
}

void ds4_kv_store_flush(ds4_kv_store *store) {
    pthread_mutex_lock(&store->mutex);
    while (store->busy || store->first_save != NULL || store->first_load != NULL)
        pthread_cond_wait(&store->idle, &store->mutex);
    pthread_mutex_unlock(&store->mutex);
}

void ds4_kv_store_close(ds4_kv_store *store) {
    if (store == NULL) return;
    if (store->thread_runs) {
        pthread_mutex_lock(&store->mutex);
        store->stopping = true;
        pthread_cond_signal(&store->work);
        pthread_mutex_unlock(&store->mutex);
        pthread_join(store->thread, NULL);
    }
    ds4_kv_disk_close(store->disk);
    ds4_kv_index_free(&store->index);
    pthread_cond_destroy(&store->work);
    pthread_cond_destroy(&store->idle);
    pthread_mutex_destroy(&store->mutex);
    free(store);
}

void ds4_kv_store_get_stats(ds4_kv_store *store, ds4_kv_disk_stats *stats) {
    pthread_mutex_lock(&store->mutex);
    *stats = store->stats;
    stats->enabled = true;
    stats->used_bytes = store->index.n_bytes;
    stats->budget_bytes = store->budget;
    for (size_t i = 0; i < store->index.n; i++) {
        if (store->index.items[i].file.kind == DS4_KV_BLOCK)
            stats->n_blocks++;
        else
            stats->n_tips++;
    }
    pthread_mutex_unlock(&store->mutex);
}
