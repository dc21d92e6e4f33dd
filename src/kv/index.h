/* What is in the store's directory, in memory: which blocks and tips there are, which tip serves a
 * prompt, and which files to give up when the budget is exceeded. Belongs to one thread at a time;
 * knows no files. */
#ifndef DS4_KV_INDEX_H
#define DS4_KV_INDEX_H

#include "kv/format.h"

typedef struct ds4_kv_item {
    ds4_kv_file file;
    uint32_t n_tokens, block_tokens;
    uint64_t n_bytes; /* of the file */
    uint64_t used;    /* Unix seconds */
    uint32_t hits;    /* since this process looks at it */
    uint32_t seen;    /* mark of the last scan */
} ds4_kv_item;

/* Zero-initialise; free with ds4_kv_index_free. */
typedef struct ds4_kv_index {
    ds4_kv_item *items;
    size_t n, capacity;
    uint32_t *slots; /* hash table of item numbers + 1; a power of two */
    size_t n_slots;
    uint64_t n_bytes;
} ds4_kv_index;

void ds4_kv_index_free(ds4_kv_index *index);
/* The item of this file, or NULL; valid until the index changes. */
ds4_kv_item *ds4_kv_index_find(const ds4_kv_index *index, const ds4_kv_file *file);
ds4_kv_item *ds4_kv_index_find_block(const ds4_kv_index *index, ds4_kv_key key);
/* Adds it, or replaces what was known of it. False: no memory. */
bool ds4_kv_index_put(ds4_kv_index *index, const ds4_kv_item *item);
void ds4_kv_index_remove(ds4_kv_index *index, const ds4_kv_file *file);
/* The same for a victim: blocks that only it needed have no grace any more. */
void ds4_kv_index_give_up(ds4_kv_index *index, const ds4_kv_file *file);

/* The longest tip of more than `more_than` and fewer than n tokens that these tokens begin with,
 * and all of whose blocks are there. NULL: none. */
const ds4_kv_item *ds4_kv_index_search(const ds4_kv_index *index, ds4_kv_key root,
                                       uint32_t block_tokens, const int32_t *tokens, uint32_t n,
                                       uint64_t dial, uint32_t more_than);

/* The file to delete next so that the store gets smaller, or NULL. Tips fall first, the least
 * valuable one: (1 + hits) x tokens per byte that goes with it, decaying by half in six hours
 * without use. Blocks fall when no tip needs them any more, unless they are younger than
 * `grace` seconds: their tip may still be on its way. Tips used less than `grace` seconds ago
 * are spared while others are left, the tip `keep` (may be NULL) always. */
const ds4_kv_item *ds4_kv_index_victim(ds4_kv_index *index, uint64_t now, uint64_t grace,
                                       const ds4_kv_file *keep);

#endif
