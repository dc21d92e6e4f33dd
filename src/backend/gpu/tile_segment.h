/* A block's part of a launch of tile_products.cu: turns of slots, and what comes of their sums. */
#ifndef DS4_BACKEND_GPU_TILE_SEGMENT_H
#define DS4_BACKEND_GPU_TILE_SEGMENT_H

#include "backend/gpu/tile_plan.h"

namespace GPU_NAMESPACE {

/* How far a block has come in its launch. */
struct block_state {
    bool waited; /* for the launch before */
    bool warm;   /* its code has been run */
};

/* A block's share of one product and one tile of rows, for tile_macros.h. */
struct segment {
    const product *p;
    const product_plan *plan;
    int first, n, turns; /* slots */
    const row_tile *rows;
    uint8_t *ring, *staged;
    uint64_t *signals; /* [warps][MOST_DEPTH] */
    float *sums;       /* of units, two buffers */
    int sum_floats;    /* of a buffer */
    int most_rows;     /* for which there is shared memory */
    const uint8_t *table;
    bool once; /* the weights are not read again in this launch */
    block_state *state;
};

DEVICE bool has_gate(const segment &g) {
    return g.p->gate.codes != nullptr;
}

DEVICE void await_previous(const segment &g) {
    if (!g.state->waited) previous_launch();
    g.state->waited = true;
}

/* A turn: slots [first, first + n) and all units of each. */
struct turn_shape {
    int first, n, units;
};

DEVICE turn_shape shape_of(const segment &g, int turn) {
    int done = turn * g.plan->group;
    return turn_shape{g.first + done, smaller(g.n - done, g.plan->group), g.plan->units};
}

DEVICE int turns_of(const segment &g) {
    return (g.n + g.plan->group - 1) / g.plan->group;
}

/* Tiles of a turn; those of the gate come after the others. */
DEVICE int strips_of(const segment &g, const turn_shape &s) {
    return has_gate(g) ? 2 * s.n : s.n;
}

/* Where the weights of a strip begin, from a macro on. */
DEVICE macro_place strip_place(const segment &g, const turn_shape &s, int strip, int macro) {
    bool gate = strip >= s.n;
    return place_of(gate ? g.p->gate : g.p->m, g.rows->expert, s.first + strip - (gate ? s.n : 0),
                    macro);
}

/* Units in order, then what comes of the sums: with a gate, weight silu(gate) up. */
template <int TYPE>
DEVICE void add_units(const segment &g, const turn_shape &s, const float *sums) {
    const product &p = *g.p;
    bool pair = has_gate(g);
    int size = step_format<TYPE>::record_floats(g.rows->n), n = g.rows->n,
        n_values = s.n * n * TILE;
    for (int i = thread_index(); i - lane_index() < n_values; i += block_threads()) {
        bool valid = i < n_values;
        int column = valid ? i / TILE : 0, t = n == 1 ? column : column / n;
        int value = (column - t * n) * TILE + i % TILE;
        float y[2] = {0.0f, 0.0f};
        NOT_UNROLLED
        for (int k = 0; k < (pair ? 2 : 1); k++) {
            const float *record = sums + (t + k * s.n) * s.units * size;
            float sum = add_records<TYPE>(0.0f, record, size, s.units, n, value);
            if (k == 0)
                y[0] = sum;
            else
                y[1] = sum;
        }
        int row = value / TILE;
        float x = y[0] * (1.0f / ACTIVATION_SCALE);
        if (pair) x = gated(x, y[1] * (1.0f / ACTIVATION_SCALE), p.clamp, g.rows->weight[row]);
        store_product(p, g.rows->y_row[row], (s.first + t) * TILE + value % TILE, x, valid);
    }
}

} // namespace GPU_NAMESPACE

#endif
