/* What all kernels of a step know: the model's shape, the rows of the step, the sessions they
 * belong to, and the activation buffers. */
#ifndef DS4_BACKEND_GPU_STEP_H
#define DS4_BACKEND_GPU_STEP_H

#include "backend/gpu/products.h"

extern "C" {
#include "backend/step.h"
}

namespace GPU_NAMESPACE {

enum {
    MAX_STREAMS = 8,
    MAX_MIX = MAX_STREAMS * (MAX_STREAMS + 2),
    MAX_HEAD_DIM = 512,
    MAX_INDEX_DIM = 256
};

/* One session's rows in one layer. */
struct layer_state {
    float *raw;
    float *value, *gate;             /* compressor inputs */
    uint8_t *rows;                   /* compressed rows */
    float *index_value, *index_gate; /* of the indexer's compressor */
    uint8_t *index_rows;
};

struct item_info {
    int position, n, first_row; /* as ds4_step_item */
};

/* Small enough to be a kernel argument. */
struct step_view {
    int n_rows, n_items, max_items;
    const int *item_of_row, *position, *token; /* [n_rows] */
    const item_info *items;
    const layer_state *states; /* [n_layers][max_items] */
    /* shape */
    int n_embd, n_streams, n_heads, head_dim, rope_dim, index_heads, index_dim, window, top_k;
    int raw_slots, journal;
    int row_stride, index_row_stride;
    int kv_sim; /* ds4_kv_sim */
    float rms_eps, hc_eps;
    int sinkhorn_iterations;
    /* rotary tables: [kind][n_pairs] */
    const double *frequency;
    const float *slowdown;
    float rope_ratio[2];
    int rope_float32;
    const float *angles; /* [kind][n_rows][rope_dim] cosine, sine */
    int window_ratio[2]; /* of kinds 2 and 3 (rows.h); other ratios have no angles there */
};

DEVICE const layer_state &state_of(const step_view &v, int layer, int row) {
    return v.states[(size_t)layer * (size_t)v.max_items + (size_t)v.item_of_row[row]];
}

} // namespace GPU_NAMESPACE

#endif
