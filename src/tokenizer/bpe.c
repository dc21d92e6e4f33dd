#include "tokenizer/bpe.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"

/* Up to here a linear search for the lowest rank beats the heap; nearly all pieces are words. */
enum { SHORT_PIECE = 48 };

/* ---- the table of merges ---- */

static size_t hash_pair(uint32_t left, uint32_t right) {
    uint64_t x = ((uint64_t)left << 32 | right) * 0x9e3779b97f4a7c15u;
    return (size_t)(x ^ x >> 32);
}

ds4_status ds4_bpe_merges_init(ds4_bpe_merges *merges, size_t n_merges, ds4_error *error) {
    size_t n_slots = 16;
    while (n_slots < 2 * n_merges) n_slots *= 2;
    size_t n_results = n_merges > 0 ? n_merges : 1;
    merges->mask = n_slots - 1;
    merges->slots = malloc(n_slots * sizeof *merges->slots);
    merges->results = malloc(n_results * sizeof *merges->results);
    if (merges->slots == NULL || merges->results == NULL) {
        ds4_bpe_merges_free(merges);
        return ds4_fail_memory(error, n_slots * sizeof *merges->slots, "the table of merges");
    }
    for (size_t i = 0; i < n_slots; i++) merges->slots[i].rank = DS4_BPE_NO_MERGE;
    return DS4_OK;
}

void ds4_bpe_merges_free(ds4_bpe_merges *merges) {
    free(merges->slots);
    free(merges->results);
    *merges = (ds4_bpe_merges){0};
}

/* The pair's slot, or the free one where it would go. */
static ds4_bpe_pair *find_slot(const ds4_bpe_merges *merges, uint32_t left, uint32_t right) {
    size_t i = hash_pair(left, right) & merges->mask;
    for (;; i = (i + 1) & merges->mask) {
        ds4_bpe_pair *slot = &merges->slots[i];
        if (slot->rank == DS4_BPE_NO_MERGE || (slot->left == left && slot->right == right))
            return slot;
    }
}

bool ds4_bpe_merges_add(ds4_bpe_merges *merges, uint32_t left, uint32_t right, uint32_t rank,
                        uint32_t result) {
    ds4_bpe_pair *slot = find_slot(merges, left, right);
    if (slot->rank != DS4_BPE_NO_MERGE) return false;
    *slot = (ds4_bpe_pair){left, right, rank};
    merges->results[rank] = result;
    return true;
}

static uint32_t rank_of(const ds4_bpe_merges *merges, uint32_t left, uint32_t right) {
    return find_slot(merges, left, right)->rank;
}

/* ---- short pieces ---- */

static ds4_status encode_short(const ds4_bpe_merges *merges, const int32_t byte_ids[256],
                               const uint8_t *piece, size_t n, ds4_tokens *out, ds4_error *error) {
    int32_t ids[SHORT_PIECE];
    uint32_t ranks[SHORT_PIECE]; /* ranks[i]: of ids[i] with ids[i + 1] */
    for (size_t i = 0; i < n; i++) ids[i] = byte_ids[piece[i]];
    for (size_t i = 0; i + 1 < n; i++)
        ranks[i] = rank_of(merges, (uint32_t)ids[i], (uint32_t)ids[i + 1]);
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++)
            if (ranks[i] < ranks[best]) best = i;
        if (ranks[best] == DS4_BPE_NO_MERGE) break;
        ids[best] = (int32_t)merges->results[ranks[best]];
        n--;
        memmove(ids + best + 1, ids + best + 2, (n - best - 1) * sizeof *ids);
        memmove(ranks + best, ranks + best + 1, (n - best - 1) * sizeof *ranks);
        if (best > 0)
            ranks[best - 1] = rank_of(merges, (uint32_t)ids[best - 1], (uint32_t)ids[best]);
        if (best + 1 < n)
            ranks[best] = rank_of(merges, (uint32_t)ids[best], (uint32_t)ids[best + 1]);
    }
    return ds4_tokens_append(out, ids, n, error);
}

/* ---- long pieces ---- */

/* A linked list of symbols, and a min-heap of (rank << 32 | position of the left symbol), whose
 * order is the order of merging. An entry is stale when its pair has changed since: then the
 * symbol's rank differs from the entry's. */
typedef struct ds4_bpe_symbol {
    uint32_t id;
    uint32_t rank; /* with the next symbol */
    uint32_t previous, next;
} ds4_bpe_symbol;

#define NO_SYMBOL UINT32_MAX

typedef struct heap {
    uint64_t *entries;
    size_t n;
} heap;

static void heap_push(heap *h, uint64_t entry) {
    size_t i = h->n++;
    for (; i > 0 && h->entries[(i - 1) / 2] > entry; i = (i - 1) / 2)
        h->entries[i] = h->entries[(i - 1) / 2];
    h->entries[i] = entry;
}

static uint64_t heap_pop(heap *h) {
    uint64_t top = h->entries[0], last = h->entries[--h->n];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < h->n; i = child) {
        if (child + 1 < h->n && h->entries[child + 1] < h->entries[child]) child++;
        if (h->entries[child] >= last) break;
        h->entries[i] = h->entries[child];
    }
    h->entries[i] = last;
    return top;
}

void ds4_bpe_scratch_free(ds4_bpe_scratch *scratch) {
    free(scratch->symbols);
    free(scratch->heap);
    *scratch = (ds4_bpe_scratch){0};
}

/* The heap holds at most 2n entries: n - 1 at first, and each of at most n - 1 merges takes one and
 * adds up to two. */
static ds4_status reserve(ds4_bpe_scratch *scratch, size_t n, ds4_error *error) {
    if (n <= scratch->capacity) return DS4_OK;
    ds4_bpe_scratch_free(scratch);
    scratch->symbols = malloc(n * sizeof *scratch->symbols);
    scratch->heap = malloc(2 * n * sizeof *scratch->heap);
    if (scratch->symbols == NULL || scratch->heap == NULL)
        return ds4_fail_memory(error, n * (sizeof *scratch->symbols + 2 * sizeof *scratch->heap),
                               "a long word");
    scratch->capacity = n;
    return DS4_OK;
}

static void rank_pair(const ds4_bpe_merges *merges, ds4_bpe_symbol *symbols, uint32_t left,
                      heap *h) {
    ds4_bpe_symbol *symbol = &symbols[left];
    symbol->rank = DS4_BPE_NO_MERGE;
    if (symbol->next == NO_SYMBOL) return;
    symbol->rank = rank_of(merges, symbol->id, symbols[symbol->next].id);
    if (symbol->rank != DS4_BPE_NO_MERGE) heap_push(h, (uint64_t)symbol->rank << 32 | left);
}

static void merge_all(const ds4_bpe_merges *merges, ds4_bpe_symbol *symbols, heap *h) {
    while (h->n > 0) {
        uint64_t entry = heap_pop(h);
        uint32_t at = (uint32_t)entry, rank = (uint32_t)(entry >> 32);
        ds4_bpe_symbol *left = &symbols[at];
        if (left->rank != rank) continue;
        ds4_bpe_symbol *right = &symbols[left->next];
        left->id = merges->results[rank];
        left->next = right->next;
        right->rank = DS4_BPE_NO_MERGE;
        if (left->next != NO_SYMBOL) symbols[left->next].previous = at;
        if (left->previous != NO_SYMBOL) rank_pair(merges, symbols, left->previous, h);
        rank_pair(merges, symbols, at, h);
    }
}

static ds4_status encode_long(const ds4_bpe_merges *merges, const int32_t byte_ids[256],
                              const uint8_t *piece, size_t n, ds4_bpe_scratch *scratch,
                              ds4_tokens *out, ds4_error *error) {
    ds4_status status = reserve(scratch, n, error);
    if (status != DS4_OK) return status;
    ds4_bpe_symbol *symbols = scratch->symbols;
    heap h = {scratch->heap, 0};
    for (size_t i = 0; i < n; i++) {
        symbols[i].id = (uint32_t)byte_ids[piece[i]];
        symbols[i].previous = i > 0 ? (uint32_t)(i - 1) : NO_SYMBOL;
        symbols[i].next = i + 1 < n ? (uint32_t)(i + 1) : NO_SYMBOL;
    }
    for (size_t i = 0; i < n; i++) rank_pair(merges, symbols, (uint32_t)i, &h);
    merge_all(merges, symbols, &h);
    for (uint32_t at = 0; at != NO_SYMBOL && status == DS4_OK; at = symbols[at].next)
        status = ds4_tokens_push(out, (int32_t)symbols[at].id, error);
    return status;
}

ds4_status ds4_bpe_encode(const ds4_bpe_merges *merges, const int32_t byte_ids[256],
                          const uint8_t *piece, size_t n, ds4_bpe_scratch *scratch, ds4_tokens *out,
                          ds4_error *error) {
    if (n == 1) return ds4_tokens_push(out, byte_ids[piece[0]], error);
    if (n <= SHORT_PIECE) return encode_short(merges, byte_ids, piece, n, out, error);
    return encode_long(merges, byte_ids, piece, n, scratch, out, error);
}
