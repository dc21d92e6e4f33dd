/* What the two kernels for products on the matrix units share: which rows a block multiplies, sums
 * with factors, and where results go. */
#ifndef DS4_BACKEND_GPU_TILE_MULTIPLY_H
#define DS4_BACKEND_GPU_TILE_MULTIPLY_H

#include "backend/gpu/products.h"

namespace GPU_NAMESPACE {

/* The rows that a block multiplies. */
template <int MOST> struct row_tile_of {
    int n, expert;
    int x_row[MOST], y_row[MOST];
    float weight[MOST];
};
typedef row_tile_of<8> row_tile;

/* False: there is no such tile. */
template <int MOST>
DEVICE bool find_rows(const expert_tiles &tiles, int n_rows, const product &p, int tile,
                      int tile_rows, row_tile_of<MOST> &rows) {
    int expert = 0, first = tile * tile_rows;
    int n = n_rows - first < tile_rows ? n_rows - first : tile_rows;
    if (p.by_expert && n_rows == 1) { /* each pair is a tile */
        if (thread_index() == 0) {
            rows.expert = tiles.chosen[tile];
            rows.n = 1;
            rows.x_row[0] = tile / p.x_divisor;
            rows.y_row[0] = tile;
            rows.weight[0] = tiles.weight[tile];
        }
        return true;
    }
    if (p.by_expert) {
        if (tile >= *tiles.n_tiles) return false;
        expert = tiles.expert[tile];
        first = tiles.first[tile];
        n = tiles.count[tile];
    }
    for (int i = thread_index(); i < n; i += block_threads()) {
        int pair = p.by_expert ? tiles.pairs[first + i] : first + i;
        rows.x_row[i] = p.by_expert ? pair / p.x_divisor : pair;
        rows.y_row[i] = pair;
        rows.weight[i] = p.by_expert ? tiles.weight[pair] : 1.0f;
    }
    if (thread_index() == 0) {
        rows.expert = expert;
        rows.n = n;
    }
    return true;
}

DEVICE void clear_4(float *sum) {
    sum[0] = sum[1] = sum[2] = sum[3] = 0.0f;
}

/* Rows g and g + 8 have a factor each. */
DEVICE void add_scaled(float *sum, const float *part, float2 factor) {
    sum[0] = fmaf(factor.x, part[0], sum[0]);
    sum[1] = fmaf(factor.x, part[1], sum[1]);
    sum[2] = fmaf(factor.y, part[2], sum[2]);
    sum[3] = fmaf(factor.y, part[3], sum[3]);
}

DEVICE float gated(float up, float gate, float clamp, float weight) {
    float limit = clamp > 1e-6f ? clamp : INFINITY;
    gate = fminf(gate, limit);
    up = fminf(fmaxf(up, -limit), limit);
    return weight * (gate / (1.0f + expf(-gate)) * up);
}

enum { MACRO_ROW = 4 * MACRO + 64 /* bytes: rows are apart in the banks */ };

/* A macro of a row in shared memory, so that what lane 4 g + t hands to multiply_tile of row g is
 * one load for each of the two steps of a block: [step of 32 columns / 2][t]; then, with SUMS, its
 * sums of 16 columns: [t]. A whole warp calls it. */
template <int SUMS>
DEVICE void stage_macro(const activation &a, int row, int macro, uint8_t *place) {
    const uint8_t *x = split_row(a, row);
    const uint32_t *from = (const uint32_t *)(x + 4 * (a.first + macro * MACRO));
    uint32_t *to = (uint32_t *)place, part[MACRO / 32], sum = 0;
    int w = lane_index(), low = w >> 4, step = w >> 3 & 1, half = w >> 2 & 1, t = w & 3;
    UNROLL
    for (int b = 0; b < MACRO / 32; b++) part[b] = from[32 * b + w];
    if (SUMS && w < 16)
        sum = ((const uint32_t *)(x + sums_offset(a) + (a.first / MACRO + macro) * 64))[w];
    UNROLL
    for (int b = 0; b < MACRO / 32; b++) to[32 * b + 16 * step + 4 * t + 2 * low + half] = part[b];
    if (SUMS && w < 16) to[MACRO + 4 * t + w / 4] = sum;
}

/* Output o of a row, when `valid`. The lanes of a warp call it together: each half holds the
 * outputs of one tile and row, whose sum is kept as well. */
DEVICE void store_product(const product &p, int row, int o, float y, bool valid) {
    bool inside = valid && o < p.m.n_out;
    if (p.y.plain != nullptr && inside)
        p.y.plain[(size_t)row * (size_t)p.y.n + (size_t)(p.y.first + o)] = y;
    if (p.y.split == nullptr) return;
    float sum = inside ? y : 0.0f;
    UNROLL
    for (int mask = 1; mask < TILE; mask *= 2) sum += warp_shuffle_xor(sum, mask);
    if (!inside) return;
    uint8_t *to = split_row(p.y, row);
    store_split(to, p.y.first + o, y);
    if (o % TILE == 0) store_sum(p.y, to, (p.y.first + o) / TILE, sum);
}

/* The same of outputs o (an even number) and o + 1: eight lanes hold those of a tile and row. */
DEVICE void store_two_products(const product &p, int row, int o, float y0, float y1, bool valid) {
    bool first = valid && o < p.m.n_out, second = valid && o + 1 < p.m.n_out;
    if (p.y.plain != nullptr) {
        float *to = p.y.plain + (size_t)row * (size_t)p.y.n + (size_t)(p.y.first + o);
        if (first) to[0] = y0;
        if (second) to[1] = y1;
    }
    if (p.y.split == nullptr) return;
    float sum = (first ? y0 : 0.0f) + (second ? y1 : 0.0f);
    UNROLL
    for (int mask = 1; mask < TILE / 2; mask *= 2) sum += warp_shuffle_xor(sum, mask);
    if (!first) return;
    uint8_t *to = split_row(p.y, row);
    if (second)
        store_split_pair(to, p.y.first + o, y0, y1);
    else
        store_split(to, p.y.first + o, y0);
    if (o % TILE == 0) store_sum(p.y, to, (p.y.first + o) / TILE, sum);
}

} // namespace GPU_NAMESPACE

#endif
