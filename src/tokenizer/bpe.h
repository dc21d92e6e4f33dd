/* The merge loop of byte-pair encoding: symbols of one piece in, token ids out. */
#ifndef DS4_TOKENIZER_BPE_H
#define DS4_TOKENIZER_BPE_H

#include "ds4.h"

#define DS4_BPE_NO_MERGE UINT32_MAX

typedef struct ds4_bpe_pair {
    uint32_t left, right;
    uint32_t rank; /* DS4_BPE_NO_MERGE: free slot */
} ds4_bpe_pair;

/* Which pairs of ids merge, in which order, into which id. Zero-initialise; read-only once filled:
 * any thread. */
typedef struct ds4_bpe_merges {
    ds4_bpe_pair *slots; /* open addressing */
    size_t mask;
    uint32_t *results; /* by rank */
} ds4_bpe_merges;

ds4_status ds4_bpe_merges_init(ds4_bpe_merges *merges, size_t n_merges, ds4_error *error);
/* False when the pair is there already. `rank` < n_merges. */
bool ds4_bpe_merges_add(ds4_bpe_merges *merges, uint32_t left, uint32_t right, uint32_t rank,
                        uint32_t result);
void ds4_bpe_merges_free(ds4_bpe_merges *merges);

/* Working memory of one encode call, kept from piece to piece. Zero-initialise. */
typedef struct ds4_bpe_scratch {
    struct ds4_bpe_symbol *symbols;
    uint64_t *heap;
    size_t capacity; /* symbols */
} ds4_bpe_scratch;

void ds4_bpe_scratch_free(ds4_bpe_scratch *scratch);

/* Repeatedly merges the neighbours of lowest rank, the leftmost of equals, until none has a rank,
 * and appends what remains to `out`. The piece is n bytes, byte_ids their symbols' ids. O(n log n).
 */
ds4_status ds4_bpe_encode(const ds4_bpe_merges *merges, const int32_t byte_ids[256],
                          const uint8_t *piece, size_t n, ds4_bpe_scratch *scratch, ds4_tokens *out,
                          ds4_error *error);

#endif
