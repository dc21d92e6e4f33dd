/* The KV cache on disk: conversations survive the session they were computed in, and the process.
 *
 * One thread of its own does all input and output; the engine's thread only copies rows and never
 * waits. Files and their names: kv/format.h; which are kept: kv/index.h. Several stores, of this or
 * other processes and models, may share a directory and its budget. Nothing found there is
 * trusted: what is damaged is moved aside and never served. */
#ifndef DS4_KV_STORE_H
#define DS4_KV_STORE_H

#include "base/log.h"
#include "ds4.h"
#include "kv/stats.h"

typedef struct ds4_kv_store ds4_kv_store;

typedef struct ds4_kv_store_options {
    const char *directory;
    uint64_t budget_bytes;  /* of all files; exceeded by what is being written at most */
    uint32_t min_tokens;    /* shorter states are neither saved nor loaded */
    uint64_t pending_bytes; /* memory for what waits to be written; 0: 512 MiB */
    const ds4_log *log;     /* may be NULL */
} ds4_kv_store_options;

/* `engine` is asked for its identity and block size here and not kept. */
ds4_status ds4_kv_store_open(const ds4_engine *engine, const ds4_kv_store_options *options,
                             ds4_kv_store **store, ds4_error *error);
/* Writes what waits to be written first. NULL is fine. */
void ds4_kv_store_close(ds4_kv_store *store);
/* Returns when nothing waits to be written. */
void ds4_kv_store_flush(ds4_kv_store *store);
void ds4_kv_store_get_stats(ds4_kv_store *store, ds4_kv_disk_stats *stats);

/* ---- saving (the engine's thread) ---- */

/* Copies what the directory does not hold yet of the session's state after its first n_tokens,
 * which its journal must reach, and has it written. False: too short, or skipped because the writer
 * is behind or the disk was full a moment ago. */
bool ds4_kv_store_save(ds4_kv_store *store, const ds4_session *session, uint32_t n_tokens,
                       ds4_kv_save reason);
/* The same with a tip that was taken when the journal did reach it; the bytes are copied. */
bool ds4_kv_store_save_tip(ds4_kv_store *store, const ds4_session *session, uint32_t n_tokens,
                           const uint8_t *tip, size_t n_tip, ds4_kv_save reason);

/* ---- loading (the engine's thread) ---- */

typedef struct ds4_kv_load ds4_kv_load;

/* Looks for the longest state that these tokens begin with, longer than `more_than` and shorter
 * than n, and reads it. `ready` is called by the store's thread when the answer is there. NULL: no
 * memory, or nothing can be found. */
ds4_kv_load *ds4_kv_store_load(ds4_kv_store *store, const int32_t *tokens, uint32_t n,
                               uint64_t dial, uint32_t more_than, void (*ready)(void *context),
                               void *context);
bool ds4_kv_load_is_ready(const ds4_kv_load *load);
/* Tokens that were found; 0: nothing. Only when ready. */
uint32_t ds4_kv_load_length(const ds4_kv_load *load);
/* Puts them into a session, which is empty after a failure. Only when ready. FORMAT: what the file
 * holds cannot be what was saved, whatever its checksum says; it has been moved aside. */
ds4_status ds4_kv_load_restore(ds4_kv_load *load, ds4_session *session, ds4_error *error);
/* Also while it is not ready: then the answer is thrown away when it comes. */
void ds4_kv_load_free(ds4_kv_load *load);

#endif
