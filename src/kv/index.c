#include "kv/index.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_SLOTS = 256, HALF_LIFE = 21600 };

void ds4_kv_index_free(ds4_kv_index *index) {
    free(index->items);
    free(index->slots);
    *index = (ds4_kv_index){0};
}

static bool same_file(const ds4_kv_file *a, const ds4_kv_file *b) {
    if (a->kind != b->kind || !ds4_kv_key_equal(a->key, b->key)) return false;
    return a->kind == DS4_KV_BLOCK ||
           (ds4_kv_key_equal(a->parent, b->parent) && a->n_tail == b->n_tail);
}

static size_t home(const ds4_kv_index *index, const ds4_kv_file *file) {
    uint64_t hash = file->key.low ^ (uint64_t)file->kind * 0x9e3779b97f4a7c15u;
    return (size_t)(hash & (index->n_slots - 1));
}

/* The slot that holds the file, or the free one where it belongs. */
static size_t probe(const ds4_kv_index *index, const ds4_kv_file *file) {
    size_t at = home(index, file);
    while (index->slots[at] != 0 && !same_file(&index->items[index->slots[at] - 1].file, file))
        at = (at + 1) & (index->n_slots - 1);
    return at;
}

ds4_kv_item *ds4_kv_index_find(const ds4_kv_index *index, const ds4_kv_file *file) {
    if (index->n_slots == 0) return NULL;
    uint32_t number = index->slots[probe(index, file)];
    return number == 0 ? NULL : &index->items[number - 1];
}

ds4_kv_item *ds4_kv_index_find_block(const ds4_kv_index *index, ds4_kv_key key) {
    ds4_kv_file file = {.kind = DS4_KV_BLOCK, .key = key};
    return ds4_kv_index_find(index, &file);
}

static bool grow_slots(ds4_kv_index *index) {
    size_t n_slots = index->n_slots == 0 ? FIRST_SLOTS : index->n_slots * 2;
    uint32_t *slots = calloc(n_slots, sizeof *slots);
    if (slots == NULL) return false;
    free(index->slots);
    index->slots = slots;
    index->n_slots = n_slots;
    for (size_t i = 0; i < index->n; i++)
        slots[probe(index, &index->items[i].file)] = (uint32_t)i + 1;
    return true;
}

bool ds4_kv_index_put(ds4_kv_index *index, const ds4_kv_item *item) {
    ds4_kv_item *known = ds4_kv_index_find(index, &item->file);
    if (known != NULL) {
        index->n_bytes += item->n_bytes - known->n_bytes;
        uint32_t hits = known->hits;
        *known = *item;
        known->hits = hits;
        return true;
    }
    if (2 * (index->n + 1) > index->n_slots && !grow_slots(index)) return false;
    if (index->n == index->capacity) {
        size_t capacity = index->capacity == 0 ? 64 : index->capacity * 2;
        ds4_kv_item *items = realloc(index->items, capacity * sizeof *items);
        if (items == NULL) return false;
        index->items = items;
        index->capacity = capacity;
    }
    index->items[index->n++] = *item;
    index->slots[probe(index, &item->file)] = (uint32_t)index->n;
    index->n_bytes += item->n_bytes;
    return true;
}

void ds4_kv_index_remove(ds4_kv_index *index, const ds4_kv_file *file) {
    ds4_kv_item *item = ds4_kv_index_find(index, file);
    if (item == NULL) return;
    index->n_bytes -= item->n_bytes;
    *item = index->items[--index->n];
    /* Removing is rare: the table is made anew. */
    memset(index->slots, 0, index->n_slots * sizeof *index->slots);
    for (size_t i = 0; i < index->n; i++)
        index->slots[probe(index, &index->items[i].file)] = (uint32_t)i + 1;
}

/* ---- searching ---- */

/* The longest fitting tip behind the block `key`, which ends at token `at`. */
static const ds4_kv_item *best_tip(const ds4_kv_index *index, ds4_kv_key key, uint32_t at,
                                   uint32_t block_tokens, const int32_t *tokens, uint32_t n,
                                   uint64_t dial) {
    const ds4_kv_item *best = NULL;
    for (size_t i = 0; i < index->n; i++) {
        const ds4_kv_item *item = &index->items[i];
        uint32_t n_tail = item->file.n_tail;
        if (item->file.kind != DS4_KV_TIP || !ds4_kv_key_equal(item->file.parent, key)) continue;
        if (n_tail >= block_tokens || n_tail >= n - at || item->n_tokens != at + n_tail) continue;
        if (best != NULL && best->n_tokens >= item->n_tokens) continue;
        ds4_kv_key tail = ds4_kv_key_next_uniform(key, tokens + at, dial, n_tail);
        if (ds4_kv_key_equal(tail, item->file.key)) best = item;
    }
    return best;
}

const ds4_kv_item *ds4_kv_index_search(const ds4_kv_index *index, ds4_kv_key root,
                                       uint32_t block_tokens, const int32_t *tokens, uint32_t n,
                                       uint64_t dial, uint32_t more_than) {
    const ds4_kv_item *best = NULL;
    ds4_kv_key key = root;
    for (uint32_t at = 0; at < n; at += block_tokens) {
        /* A tip behind this block could be the longest so far only if it is long enough. */
        const ds4_kv_item *tip = at + block_tokens > more_than + 1
                                     ? best_tip(index, key, at, block_tokens, tokens, n, dial)
                                     : NULL;
        if (tip != NULL && tip->n_tokens > more_than) best = tip;
        if (n - at < block_tokens) break;
        key = ds4_kv_key_next_uniform(key, tokens + at, dial, block_tokens);
        if (ds4_kv_index_find_block(index, key) == NULL) break;
    }
    return best;
}

/* ---- giving up ---- */

/* refs[i]: how many tips need item i. */
static void count_needs(const ds4_kv_index *index, uint32_t *refs) {
    memset(refs, 0, index->n * sizeof *refs);
    for (size_t i = 0; i < index->n; i++) {
        if (index->items[i].file.kind != DS4_KV_TIP) continue;
        ds4_kv_key key = index->items[i].file.parent;
        for (size_t depth = 0; depth <= index->n; depth++) {
            const ds4_kv_item *block = ds4_kv_index_find_block(index, key);
            if (block == NULL) break; /* the root, or a block that is gone */
            refs[block - index->items]++;
            key = block->file.parent;
        }
    }
}

static double score(const ds4_kv_index *index, const uint32_t *refs, const ds4_kv_item *tip,
                    uint64_t now) {
    uint64_t bytes = tip->n_bytes, used = tip->used < now ? tip->used : now;
    ds4_kv_key key = tip->file.parent;
    for (size_t depth = 0; depth <= index->n; depth++) {
        const ds4_kv_item *block = ds4_kv_index_find_block(index, key);
        if (block == NULL || refs[block - index->items] > 1) break;
        bytes += block->n_bytes;
        key = block->file.parent;
    }
    double freshness = exp2(-(double)(now - used) / HALF_LIFE);
    return (1.0 + tip->hits) * freshness * tip->n_tokens / (double)bytes;
}

void ds4_kv_index_give_up(ds4_kv_index *index, const ds4_kv_file *file) {
    ds4_kv_key key = file->parent;
    for (size_t depth = 0; depth <= index->n; depth++) {
        ds4_kv_item *block = ds4_kv_index_find_block(index, key);
        if (block == NULL) break;
        block->used = 0;
        key = block->file.parent;
    }
    ds4_kv_index_remove(index, file);
}

const ds4_kv_item *ds4_kv_index_victim(ds4_kv_index *index, uint64_t now, uint64_t grace,
                                       const ds4_kv_file *keep) {
    uint32_t *refs = calloc(index->n + 1, sizeof *refs);
    const ds4_kv_item *victim = NULL;
    double lowest = 0;
    bool spared = true;
    if (refs == NULL) return NULL;
    count_needs(index, refs);
    for (size_t i = 0; i < index->n; i++) {
        const ds4_kv_item *item = &index->items[i];
        bool young = item->used + grace > now;
        if (item->file.kind == DS4_KV_BLOCK) {
            if (refs[i] > 0 || young) continue;
            victim = item; /* of no use to anybody */
            break;
        }
        if (keep != NULL && same_file(&item->file, keep)) continue;
        double value = score(index, refs, item, now);
        bool better = victim == NULL || (spared && !young) || (spared == young && value < lowest);
        if (!better) continue;
        victim = item;
        lowest = value;
        spared = young;
    }
    free(refs);
    return victim;
}
