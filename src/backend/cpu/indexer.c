/* The indexer of ratio-4 layers: scores every visible compressed row and keeps the best
 * (docs/model.md, "Indexer"). */
#include <math.h>
#include <string.h>

#include "backend/cpu/step.h"

enum { TILE_ROWS = 64, RADIX_BITS = 11, RADIX_SIZE = 1 << RADIX_BITS };

typedef struct select_loop {
    ds4_forward *f;
    const ds4_step *step;
    uint32_t layer;
    uint32_t first, n;  /* rows of the step whose scores fit the buffer together */
    uint32_t max_tiles; /* tiles of the row that sees most */
} select_loop;

static float *scores_of(const select_loop *loop, uint32_t row) {
    ds4_forward *f = loop->f;
    return f->index_scores + (size_t)(row - loop->first) * (f->max_context / DS4_RATIO_OVERLAP);
}

/* score[j] = sum over heads, ascending, of relu(<q_h, k_j>) * w_h, for one query and one tile of
 * decoded keys. */
static void score_query(const select_loop *loop, uint32_t thread, uint32_t row, uint32_t first,
                        uint32_t n, const float *keys, float *products) {
    ds4_forward *f = loop->f;
    const ds4_hparams *hp = f->hp;
    const float **x = (const float **)(void *)(products + (size_t)hp->indexer_heads * TILE_ROWS);
    float **y = (float **)(x + hp->indexer_heads);
    for (uint32_t h = 0; h < hp->indexer_heads; h++) {
        x[h] = f->index_q.row[row] + (size_t)h * hp->indexer_dim;
        y[h] = products + (size_t)h * TILE_ROWS;
    }
    ds4_matmul matmul = {
        .type = DS4_TYPE_F32,
        .weights = keys,
        .row_bytes = hp->indexer_dim * sizeof(float),
        .n_in = hp->indexer_dim,
        .n_tokens = hp->indexer_heads,
        .x = x,
        .y = y,
    };
    f->cpu.kernels->matmul(&matmul, 0, n, f->cpu.matmul_scratch[thread]);
    float *scores = scores_of(loop, row) + first;
    memset(scores, 0, n * sizeof *scores);
    for (uint32_t h = 0; h < hp->indexer_heads; h++)
        f->cpu.ops->relu_axpy(y[h], f->index_w.row[row][h], scores, n);
}

/* How many rows of the tile that begins at `first` the query must score: 0 when it sees no more
 * than it may keep. */
static uint32_t rows_to_score(const select_loop *loop, uint32_t row, uint32_t first) {
    uint32_t visible = ds4_visible_rows(loop->step->position[row], DS4_RATIO_OVERLAP);
    if (visible <= loop->f->hp->indexer_top_k || first >= visible) return 0;
    return visible - first < TILE_ROWS ? visible - first : TILE_ROWS;
}

/* A piece is one tile of one session's keys: decoded once, scored by all of the session's queries.
 */
static void score_piece(void *context, uint32_t thread, size_t begin, size_t end) {
    const select_loop *loop = context;
    ds4_forward *f = loop->f;
    float *keys = (float *)(void *)f->cpu.scratch[thread];
    float *products = keys + (size_t)TILE_ROWS * f->hp->indexer_dim; /* [IH][TILE_ROWS] */
    for (size_t i = begin; i < end; i++) {
        const ds4_step_item *item = &loop->step->items[i / loop->max_tiles];
        const ds4_compressor_kv *kv = &item->kv->layers[loop->layer].indexer;
        uint32_t first = (uint32_t)(i % loop->max_tiles) * TILE_ROWS, n_decoded = 0;
        for (uint32_t row = item->first_row; row < item->first_row + item->n; row++) {
            if (row < loop->first || row >= loop->first + loop->n) continue;
            uint32_t n = rows_to_score(loop, row, first);
            for (; n_decoded < n; n_decoded++)
                ds4_index_row_decode(&f->codec,
                                     kv->rows + (size_t)(first + n_decoded) * kv->row_stride,
                                     keys + (size_t)n_decoded * f->hp->indexer_dim);
            if (n > 0) score_query(loop, thread, row, first, n, keys, products);
        }
    }
}

/* Unsigned keys in the order of the floats; larger is better. Scores are never NaN unless the model
 * is broken, and then any order will do. */
static uint32_t sort_key(float score) {
    uint32_t bits;
    score += 0.0f; /* -0 ranks as 0 */
    memcpy(&bits, &score, sizeof bits);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

/* The key of the k-th best score, by three rounds of counting; *n_equal of the scores with that key
 * belong to the best k. */
static uint32_t threshold_key(const float *scores, uint32_t n, uint32_t k, uint32_t *histogram,
                              uint32_t *n_equal) {
    uint32_t prefix = 0, mask = 0, wanted = k;
    for (int shift = 32 - RADIX_BITS;; shift = shift > RADIX_BITS ? shift - RADIX_BITS : 0) {
        memset(histogram, 0, RADIX_SIZE * sizeof *histogram);
        for (uint32_t j = 0; j < n; j++) {
            uint32_t key = sort_key(scores[j]);
            if ((key & mask) == prefix) histogram[key >> shift & (RADIX_SIZE - 1)]++;
        }
        uint32_t digit = RADIX_SIZE - 1;
        while (histogram[digit] < wanted) wanted -= histogram[digit--];
        uint32_t digit_mask = (uint32_t)(RADIX_SIZE - 1) << shift;
        prefix = (prefix & ~digit_mask) | digit << shift;
        mask |= digit_mask;
        if (shift == 0) break;
    }
    *n_equal = wanted;
    return prefix;
}

static void select_piece(void *context, uint32_t thread, size_t begin, size_t end) {
    const select_loop *loop = context;
    ds4_forward *f = loop->f;
    uint32_t top_k = f->hp->indexer_top_k;
    for (uint32_t row = loop->first + (uint32_t)begin; row < loop->first + end; row++) {
        uint32_t visible = ds4_visible_rows(loop->step->position[row], DS4_RATIO_OVERLAP), n = 0;
        uint32_t *selected = f->selected + (size_t)row * top_k;
        if (visible <= top_k) {
            for (; n < visible; n++) selected[n] = n;
        } else {
            const float *scores = scores_of(loop, row);
            uint32_t n_equal, *histogram = (uint32_t *)(void *)f->cpu.scratch[thread];
            uint32_t threshold = threshold_key(scores, visible, top_k, histogram, &n_equal);
            for (uint32_t j = 0; j < visible; j++) {
                uint32_t key = sort_key(scores[j]);
                if (key > threshold) {
                    selected[n++] = j;
                } else if (key == threshold && n_equal > 0) {
                    selected[n++] = j; /* ties go to the lower row */
                    n_equal--;
                }
            }
        }
        f->n_selected[row] = n;
    }
}

void ds4_forward_select(ds4_forward *f, const ds4_step *step, uint32_t layer) {
    for (uint32_t first = 0; first < step->n_rows; first += f->score_rows) {
        uint32_t n = step->n_rows - first < f->score_rows ? step->n_rows - first : f->score_rows;
        uint32_t most = 0;
        for (uint32_t r = first; r < first + n; r++) {
            uint32_t visible = ds4_visible_rows(step->position[r], DS4_RATIO_OVERLAP);
            if (visible > most) most = visible;
        }
        select_loop loop = {
            .f = f,
            .step = step,
            .layer = layer,
            .first = first,
            .n = n,
            .max_tiles = (most + TILE_ROWS - 1) / TILE_ROWS,
        };
        if (most > f->hp->indexer_top_k)
            ds4_threads_for(f->cpu.threads, (size_t)step->n_items * loop.max_tiles, 1, score_piece,
                            &loop);
        ds4_threads_for(f->cpu.threads, n, 1, select_piece, &loop);
    }
}
