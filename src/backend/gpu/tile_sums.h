/* Sums of few rows on the matrix units: what a warp of tile_products.cu does with the weights of a
 * step that have come to its ring. */
#ifndef DS4_BACKEND_GPU_TILE_SUMS_H
#define DS4_BACKEND_GPU_TILE_SUMS_H

#include "backend/gpu/tile_multiply.h"

namespace GPU_NAMESPACE {

enum { RING_BYTES = 8704 /* of a warp, more or less */, MOST_DEPTH = 4 };

/* What a warp copies and multiplies at once: half a macro of one tile, or, where macros have
 * factors, a macro of two tiles, whose sums are done side by side (TWO). A `unit` is the part of a
 * tile's columns that a warp sums: a chunk; where macros have factors a macro, or, when there are
 * tiles enough for all warps, all of them (`whole`). What is left of it is a record in shared
 * memory: [row][16] sums; then, for a single macro, the factors of the 16; then the same of the
 * minima. */
template <int TYPE> struct step_format {
    typedef tile_format<TYPE> F;
    enum {
        TWO = F::MACRO_FACTOR,
        STEPS = TWO ? 1 : 2, /* of a macro */
        CODES = F::CODE_BYTES / STEPS,
        SCALES = F::SCALE_BYTES / STEPS,
        PIECE = CODES + SCALES,
        BYTES = PIECE * (TWO ? 2 : 1),
        DEPTH = 2 * BYTES > RING_BYTES ? 2 : RING_BYTES / BYTES /* at most MOST_DEPTH */
    };
    static_assert((int)DEPTH <= (int)MOST_DEPTH, "a warp's signals");
    ANYWHERE int record_floats(int n_rows, bool whole) {
        return TWO && !whole ? (F::MINIMA ? 2 : 1) * (n_rows + 1) * TILE : n_rows * TILE;
    }
};

/* Of the real rows. */
DEVICE void store_sums(float *record, int n_rows, const float *sum) {
    int row = lane_index() % 4 * 2;
    float *to = record + row * TILE + lane_index() / 4;
    if (row < n_rows) to[0] = sum[0], to[8] = sum[2];
    if (row + 1 < n_rows) to[TILE] = sum[1], to[TILE + 8] = sum[3];
}

DEVICE void store_scaled(float *record, int n_rows, const float *sum, float2 factor) {
    store_sums(record, n_rows, sum);
    float *to = record + n_rows * TILE + lane_index() / 4;
    if (lane_index() % 4 == 0) to[0] = factor.x, to[8] = factor.y;
}

/* y plus what records of `size` floats hold, in their order: `value` is row * 16 + output. */
template <int TYPE>
DEVICE float add_records(float y, const float *records, int size, int n, int n_rows, int value,
                         bool whole) {
    enum { AT_ONCE = 8, TWO = step_format<TYPE>::TWO, MINIMA = tile_format<TYPE>::MINIMA };
    if (TWO && whole) return records[value];
    int factor = n_rows * TILE + value % TILE, minima = (n_rows + 1) * TILE;
    for (int first = 0; first < n; first += AT_ONCE) {
        float x[AT_ONCE], f[AT_ONCE], least[AT_ONCE], g[AT_ONCE];
        UNROLL
        for (int i = 0; i < AT_ONCE; i++) {
            const float *record = records + (first + i < n ? first + i : n - 1) * size;
            x[i] = record[value];
            f[i] = TWO ? record[factor] : 1.0f;
            least[i] = MINIMA ? record[minima + value] : 0.0f;
            g[i] = MINIMA ? record[minima + factor] : 0.0f;
        }
        UNROLL
        for (int i = 0; i < AT_ONCE; i++) {
            if (first + i >= n) continue;
            y = TWO ? fmaf(f[i], x[i], y) : y + x[i];
            if (MINIMA) y = fmaf(g[i], least[i], y);
        }
    }
    return y;
}

/* A lane's place in the activations in shared memory: that of load_tiles in the first block of the
 * first column, and in the sums. Bytes to the next macro: none for lanes without a row, which read
 * zeros. */
struct lane_rows {
    const uint8_t *row, *sums;
    int macro_bytes, sums_bytes;
};

struct operands {
    uint32_t high[4], low[4];
};

DEVICE void read_operands(operands &x, const uint8_t *row, int block) {
    load_tiles(x.high, row + 128 * block);
    load_tiles(x.low, row + 128 * block + 64);
}

/* Two sums side by side: the matrix unit takes a while for each step of one. */
DEVICE void multiply_two(float *sum0, uint32_t (*a)[4], const operands &x, float *sum1,
                         uint32_t (*b)[4], const operands &y) {
    UNROLL
    for (int j = 0; j < 2; j++) {
        multiply_tile(sum0, a[j], x.high[2 * j], x.high[2 * j + 1]);
        multiply_tile(sum1, b[j], y.high[2 * j], y.high[2 * j + 1]);
        multiply_tile(sum0, a[j], x.low[2 * j], x.low[2 * j + 1]);
        multiply_tile(sum1, b[j], y.low[2 * j], y.low[2 * j + 1]);
    }
}

/* `at`: a step's bytes in the ring. */
template <int TYPE> struct step_sums {
    typedef tile_format<TYPE> F;
    typedef typename F::half_data half_data;
    typedef step_format<TYPE> S;

    DEVICE void read(half_data &d, const uint8_t *at, int piece, int half) {
        F::template load<1>(d, at + piece * S::PIECE, at + piece * S::PIECE + S::CODES, half, half & 1);
    }

    /* Blocks have factors of their own. */
    DEVICE void blocks(const uint8_t *at, const uint8_t *row, const uint8_t *table, float *sum) {
        half_data d;
        read(d, at, 0, 0);
        UNROLL
        for (int b = 0; b < 4; b += 2) {
            uint32_t w[2][2][4];
            operands x[2];
            float part[2][4];
            UNROLL
            for (int i = 0; i < 2; i++) {
                read_operands(x[i], row, b + i);
                F::block(d, b + i, table, w[i]);
                clear_4(part[i]);
            }
            multiply_two(part[0], w[0], x[0], part[1], w[1], x[1]);
            add_scaled(sum, part[0], F::block_factor(d, b));
            add_scaled(sum, part[1], F::block_factor(d, b + 1));
        }
    }

    /* No factors: one sum all the way. */
    DEVICE void plain(const uint8_t *at, const uint8_t *row, const uint8_t *table, float *sum) {
        half_data d;
        read(d, at, 0, 0);
        UNROLL
        for (int b = 0; b < 4; b++) {
            uint32_t w[2][4];
            operands x;
            read_operands(x, row, b);
            F::block(d, b, table, w);
            UNROLL
            for (int j = 0; j < 2; j++) {
                multiply_tile(sum, w[j], x.high[2 * j], x.high[2 * j + 1]);
                multiply_tile(sum, w[j], x.low[2 * j], x.low[2 * j + 1]);
            }
        }
    }

    /* A macro of two tiles, one half like the other: instructions come from far away when a launch
     * begins. */
    DEVICE void macro(half_data *d, const uint8_t *at, const uint8_t *row, const uint8_t *table,
                      float (*part)[4]) {
        clear_4(part[0]);
        clear_4(part[1]);
        NOT_UNROLLED
        for (int h = 0; h < 2; h++) {
            read(d[0], at, 0, h);
            read(d[1], at, 1, h);
            UNROLL
            for (int b = 0; b < 4; b++) {
                uint32_t w[2][2][4];
                operands x;
                read_operands(x, row, 4 * h + b);
                F::block(d[0], b, table, w[0]);
                F::block(d[1], b, table, w[1]);
                multiply_two(part[0], w[0], x, part[1], w[1], x);
            }
        }
    }

    /* Its minima times sums of 16 columns. */
    DEVICE void minima(const half_data *d, const uint8_t *sums, float (*part)[4]) {
        uint32_t x[4], least[2][4];
        load_tiles(x, sums);
        UNROLL
        for (int i = 0; i < 2; i++) {
            F::minima(d[i], least[i]);
            clear_4(part[i]);
            multiply_tile(part[i], least[i], x[0], x[1]);
            multiply_tile(part[i], least[i], x[2], x[3]);
        }
    }
};

} // namespace GPU_NAMESPACE

#endif
