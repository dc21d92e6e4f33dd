/* The inside of the store: what its three files share. store.c: life, queues and the thread;
 * store_save.c and store_load.c: what is copied and what is done with it. */
#ifndef DS4_KV_STORE_INTERNAL_H
#define DS4_KV_STORE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "kv/disk.h"
#include "kv/index.h"
#include "kv/store.h"

/* One file to write: rows were copied on the engine's thread. */
typedef struct ds4_kv_save_file {
    ds4_kv_file file;
    uint32_t n_tokens;
    uint8_t *payload; /* NULL: the file is there already, or was when the save was asked for */
    size_t n_payload;
} ds4_kv_save_file;

typedef struct ds4_kv_save_job {
    struct ds4_kv_save_job *next;
    ds4_kv_save reason;
    size_t n_bytes;
    size_t n_files;
    ds4_kv_save_file files[]; /* the chain from its beginning; the tip comes last */
} ds4_kv_save_job;

struct ds4_kv_load {
    ds4_kv_load *next;
    ds4_kv_store *store;
    atomic_bool ready, abandoned;
    atomic_int references;
    void (*on_ready)(void *context);
    void *context;
    uint64_t dial;
    uint32_t more_than, n;
    uint32_t n_found, n_blocks;
    uint8_t **files; /* [n_blocks + 1] whole files, the tip last */
    size_t *n_bytes;
    ds4_kv_file *names; /* likewise */
    int32_t tokens[];
};

struct ds4_kv_store {
    ds4_kv_disk *disk;
    const ds4_log *log;
    uint64_t identity, budget, max_pending;
    uint32_t block_tokens, min_tokens;
    ds4_kv_key root;

    pthread_t thread;
    bool thread_runs;
    pthread_mutex_t mutex; /* guards what follows; never held during input or output */
    pthread_cond_t work, idle;
    ds4_kv_index index;
    ds4_kv_load *first_load, *last_load;
    ds4_kv_save_job *first_save, *last_save;
    uint64_t pending;
    bool busy, stopping;
    uint64_t paused_until; /* Unix seconds: the disk was full */
    ds4_kv_disk_stats stats;

    /* The store's thread only. */
    struct timespec scanned; /* the directory's change time then */
    uint32_t scan;
};

uint64_t ds4_kv_unix_seconds(void);
/* Learns which files other servers have added or removed. */
void ds4_kv_store_scan(ds4_kv_store *store);
/* Deletes until the budget holds; not the tip `keep` (may be NULL). */
void ds4_kv_store_trim(ds4_kv_store *store, const ds4_kv_file *keep);
/* Moves a file aside and forgets it. */
void ds4_kv_store_reject(ds4_kv_store *store, const ds4_kv_file *file, const char *why);

void ds4_kv_save_job_free(ds4_kv_save_job *job);
/* Waiting loads go before the next file of a save. */
void ds4_kv_store_serve_loads(ds4_kv_store *store);
void ds4_kv_store_run_save(ds4_kv_store *store, ds4_kv_save_job *job);
void ds4_kv_store_run_load(ds4_kv_store *store, ds4_kv_load *load);

#endif
