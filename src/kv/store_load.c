#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "kv/store_internal.h"

static void release(ds4_kv_load *load) {
    if (atomic_fetch_sub(&load->references, 1) != 1) return;
    for (uint32_t i = 0; load->files != NULL && i <= load->n_blocks; i++) free(load->files[i]);
    free(load->files);
    free(load->n_bytes);
    free(load->names);
    free(load);
}

/* ---- the engine's thread ---- */

ds4_kv_load *ds4_kv_store_load(ds4_kv_store *store, const int32_t *tokens, uint32_t n,
                               uint64_t dial, uint32_t more_than, void (*ready)(void *context),
                               void *context) {
    if (n <= store->min_tokens || n <= more_than + 1) return NULL;
    ds4_kv_load *load = calloc(1, sizeof *load + n * sizeof *tokens);
    if (load == NULL) return NULL;
    load->store = store;
    load->on_ready = ready;
    load->context = context;
    load->dial = dial;
    load->n = n;
    load->more_than = more_than;
    memcpy(load->tokens, tokens, n * sizeof *tokens);
    atomic_init(&load->references, 2);
    atomic_init(&load->ready, false);
    atomic_init(&load->abandoned, false);
    pthread_mutex_lock(&store->mutex);
    if (store->last_load != NULL)
        store->last_load->next = load;
    else
        store->first_load = load;
    store->last_load = load;
    pthread_cond_signal(&store->work);
    pthread_mutex_unlock(&store->mutex);
    return load;
}

bool ds4_kv_load_is_ready(const ds4_kv_load *load) {
    return atomic_load(&load->ready);
}

uint32_t ds4_kv_load_length(const ds4_kv_load *load) {
    return load->n_found;
}

void ds4_kv_load_free(ds4_kv_load *load) {
    if (load == NULL) return;
    atomic_store(&load->abandoned, true);
    release(load);
}

ds4_status ds4_kv_load_restore(ds4_kv_load *load, ds4_session *session, ds4_error *error) {
    uint32_t n_block = load->store->block_tokens, i = 0;
    ds4_status status = DS4_OK;
    ds4_session_reset(session);
    for (; i < load->n_blocks && status == DS4_OK; i++) {
        ds4_kv_block block;
        status =
            ds4_kv_block_view(load->files[i] + DS4_KV_HEADER_BYTES,
                              load->n_bytes[i] - DS4_KV_HEADER_BYTES, n_block, NULL, &block, error);
        if (status == DS4_OK)
            status = ds4_session_restore_block(session, i * n_block, block.tokens, block.dials,
                                               block.rows, block.n_rows, error);
    }
    if (status == DS4_OK)
        status = ds4_session_restore_tip(
            session, load->n_found, load->files[load->n_blocks] + DS4_KV_HEADER_BYTES,
            load->n_bytes[load->n_blocks] - DS4_KV_HEADER_BYTES, error);
    else
        i--; /* the block that failed */
    /* The tip brings its own tokens: they must be those that were asked for. */
    for (uint32_t t = 0; t < load->n_found && status == DS4_OK; t++)
        if (ds4_session_tokens(session)[t] != load->tokens[t] ||
            ds4_session_dials(session)[t] != load->dial)
            status = ds4_fail(error, DS4_FORMAT, "the saved tokens are not those of the prompt");
    if (status != DS4_OK) ds4_session_reset(session);
    if (status == DS4_FORMAT)
        ds4_kv_store_reject(load->store, &load->names[i], error == NULL ? "" : error->message);
    return status;
}

/* ---- the store's thread ---- */

/* Reads and verifies one file. On failure it is gone from the index: vanished, or moved aside. */
static bool read_file(ds4_kv_store *store, const ds4_kv_file *file, uint32_t n_tokens,
                      uint8_t **bytes, size_t *n) {
    char name[DS4_KV_NAME_BYTES];
    ds4_kv_header header;
    ds4_error error = {0};
    uint64_t n_file;
    bool missing = false;
    ds4_kv_file_name(file, name);
    ds4_status status =
        ds4_kv_disk_read(store->disk, name, SIZE_MAX, bytes, n, &n_file, &missing, &error);
    if (status == DS4_OK) {
        status = ds4_kv_header_decode(*bytes, *n, n_file, &header, &error);
        if (status == DS4_OK &&
            (header.identity != store->identity || header.n_tokens != n_tokens ||
             header.block_tokens != store->block_tokens || header.file.kind != file->kind ||
             !ds4_kv_key_equal(header.file.key, file->key) ||
             !ds4_kv_key_equal(header.file.parent, file->parent)))
            status = ds4_fail(&error, DS4_FORMAT, "it is another file than its name says");
        if (status == DS4_OK &&
            header.payload_hash !=
                ds4_kv_payload_hash(*bytes + DS4_KV_HEADER_BYTES, *n - DS4_KV_HEADER_BYTES))
            status = ds4_fail(&error, DS4_FORMAT, "the checksum is wrong");
        ds4_kv_block block;
        if (status == DS4_OK && file->kind == DS4_KV_BLOCK)
            status = ds4_kv_block_view(*bytes + DS4_KV_HEADER_BYTES, *n - DS4_KV_HEADER_BYTES,
                                       store->block_tokens, file, &block, &error);
        if (status != DS4_OK) free(*bytes);
    }
    if (status == DS4_OK) return true;
    *bytes = NULL;
    if (missing || status == DS4_NO_MEMORY || status == DS4_UNSUPPORTED) {
        pthread_mutex_lock(&store->mutex);
        ds4_kv_index_remove(&store->index, file);
        pthread_mutex_unlock(&store->mutex);
    } else {
        ds4_kv_store_reject(store, file, error.message);
    }
    return false;
}

/* The files of the longest state that serves; false: there is none. */
static bool choose_files(ds4_kv_store *store, ds4_kv_load *load, ds4_kv_file **files) {
    bool found = false;
    pthread_mutex_lock(&store->mutex);
    const ds4_kv_item *tip =
        ds4_kv_index_search(&store->index, store->root, store->block_tokens, load->tokens, load->n,
                            load->dial, load->more_than);
    if (tip != NULL && tip->n_tokens >= store->min_tokens) {
        load->n_found = tip->n_tokens;
        load->n_blocks = tip->n_tokens / store->block_tokens;
        *files = calloc(load->n_blocks + 1, sizeof **files);
        found = *files != NULL;
        if (found) (*files)[load->n_blocks] = tip->file;
        ds4_kv_key key = tip->file.parent;
        for (uint32_t i = load->n_blocks; found && i-- > 0;) {
            const ds4_kv_item *block = ds4_kv_index_find_block(&store->index, key);
            found = block != NULL;
            if (!found) break;
            (*files)[i] = block->file;
            key = block->file.parent;
        }
    }
    pthread_mutex_unlock(&store->mutex);
    return found;
}

/* False: a file was bad; try again without it. */
static bool read_files(ds4_kv_store *store, ds4_kv_load *load, const ds4_kv_file *files) {
    uint32_t n = load->n_blocks + 1;
    load->files = calloc(n, sizeof *load->files);
    load->n_bytes = calloc(n, sizeof *load->n_bytes);
    bool whole = load->files != NULL && load->n_bytes != NULL;
    for (uint32_t i = 0; i < n && whole && !atomic_load(&load->abandoned); i++) {
        uint32_t n_tokens = i + 1 < n ? (i + 1) * store->block_tokens : load->n_found;
        whole = read_file(store, &files[i], n_tokens, &load->files[i], &load->n_bytes[i]);
    }
    if (whole) return true;
    for (uint32_t i = 0; load->files != NULL && i < n; i++) free(load->files[i]);
    free(load->files);
    free(load->n_bytes);
    load->files = NULL;
    load->n_bytes = NULL;
    return false;
}

static void count_hit(ds4_kv_store *store, const ds4_kv_load *load, const ds4_kv_file *tip) {
    char name[DS4_KV_NAME_BYTES];
    ds4_kv_file_name(tip, name);
    ds4_kv_disk_touch(store->disk, name);
    pthread_mutex_lock(&store->mutex);
    ds4_kv_item *item = ds4_kv_index_find(&store->index, tip);
    if (item != NULL) {
        item->hits++;
        item->used = ds4_kv_unix_seconds();
    }
    store->stats.hits++;
    store->stats.loaded_tokens += load->n_found;
    for (uint32_t i = 0; i <= load->n_blocks; i++) store->stats.loaded_bytes += load->n_bytes[i];
    pthread_mutex_unlock(&store->mutex);
}

void ds4_kv_store_run_load(ds4_kv_store *store, ds4_kv_load *load) {
    bool found = false;
    if (!atomic_load(&load->abandoned)) ds4_kv_store_scan(store);
    while (!found && !atomic_load(&load->abandoned) && choose_files(store, load, &load->names)) {
        found = read_files(store, load, load->names);
        if (found) {
            count_hit(store, load, &load->names[load->n_blocks]);
        } else {
            free(load->names);
            load->names = NULL;
        }
    }
    if (!found) {
        load->n_found = load->n_blocks = 0;
        pthread_mutex_lock(&store->mutex);
        store->stats.misses++;
        pthread_mutex_unlock(&store->mutex);
    }
    atomic_store(&load->ready, true);
    if (!atomic_load(&load->abandoned)) load->on_ready(load->context);
    release(load);
}
