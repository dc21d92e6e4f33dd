/* Sums of few rows on the matrix units: where they are kept until a tile's are added up. */
#ifndef DS4_BACKEND_GPU_TILE_SUMS_H
#define DS4_BACKEND_GPU_TILE_SUMS_H

#include "backend/gpu/tile_multiply.h"

namespace GPU_NAMESPACE {

enum { RING_BYTES = 8704 /* of a warp, more or less */, MOST_DEPTH = 8 /* places of a ring */ };

/* A `unit` is the part of a tile's columns that a warp sums: a chunk, or where macros have factors
 * a macro. What is left of it is a record in shared memory: [row][16] sums; of a macro then the
 * factors of the 16, and the same of its minima. A warp's ring has DEPTH places for what is copied
 * at once: a macro with factors of TILES tiles; else half a macro, and as many places as the launch
 * has room for. */
template <int TYPE> struct step_format {
    typedef tile_format<TYPE> F;
    enum {
        STEPS = F::MACRO_FACTOR ? 1 : 2, /* of a macro */
        TILES = F::MACRO_FACTOR ? 2 : 1,
        CODES = F::CODE_BYTES / STEPS,
        SCALES = F::SCALE_BYTES / STEPS,
        BYTES = CODES + SCALES, /* of a tile */
        FIT = RING_BYTES / (TILES * BYTES),
        DEPTH = FIT < 2            ? 2
                : FIT < MOST_DEPTH ? FIT
                                   : (int)MOST_DEPTH
    };
    ANYWHERE int record_floats(int n_rows) {
        return F::MACRO_FACTOR ? (F::MINIMA ? 2 : 1) * (n_rows + 1) * TILE : n_rows * TILE;
    }
};

/* What is copied at once in tile_chunks.h: with one group of eight rows a macro where that is 4
 * kilobytes, else half of it. */
template <int TYPE, int GROUPS> struct chunk_step {
    typedef step_format<TYPE> S;
    enum {
        HALF_STEPS = GROUPS == 1 && tile_format<TYPE>::BLOCK_FACTOR ? 2 : 1,
        CODES = HALF_STEPS * S::CODES,
        SCALES = HALF_STEPS * S::SCALES,
        BYTES = CODES + SCALES
    };
};

/* Of the real rows. */
DEVICE void store_sums(float *record, int n_rows, const float *sum) {
    int row = lane_index() % 4 * 2;
    float *to = record + row * TILE + lane_index() / 4;
    if (row < n_rows) to[0] = sum[0], to[8] = sum[2];
    if (row + 1 < n_rows) to[TILE] = sum[1], to[TILE + 8] = sum[3];
}

/* The sums of a macro with factors of two tiles, which lie at `at` one after the other; `d` is left
 * with the second half of each. row: a lane's place in a staged row (stage_macro). */
template <int TYPE, int UNROLLED>
DEVICE void multiply_two(typename tile_format<TYPE>::half_data *d, const uint8_t *at,
                         const uint4 *row, bool has_row, const uint8_t *table, uint32_t table_lane,
                         float (*part)[4]) {
    typedef tile_format<TYPE> F;
    typedef step_format<TYPE> S;
    enum { BLOCKS = HALF / 32 };
    uint4 b[2] = {{0, 0, 0, 0}, {0, 0, 0, 0}};
    clear_4(part[0]);
    clear_4(part[1]);
    UNROLL_BY(UNROLLED)
    for (int half = 0; half < 2; half++) {
        UNROLL
        for (int i = 0; i < 2; i++)
            F::template load<1>(d[i], at + i * S::BYTES, at + i * S::BYTES + S::CODES, half, half);
        UNROLL
        for (int block = 0; block < BLOCKS; block++) {
            uint32_t w[2][2][4];
            if (has_row) b[0] = row[8 * block], b[1] = row[8 * block + 4];
            UNROLL
            for (int i = 0; i < 2; i++) F::block(d[i], block, table, w[i], table_lane);
            UNROLL
            for (int j = 0; j < 2; j++) {
                UNROLL
                for (int i = 0; i < 2; i++) multiply_tile(part[i], w[i][j], b[j].x, b[j].y);
                UNROLL
                for (int i = 0; i < 2; i++) multiply_tile(part[i], w[i][j], b[j].z, b[j].w);
            }
        }
        row += 8 * BLOCKS;
    }
}

/* The same of the minima of such a macro. */
template <int TYPE>
DEVICE void multiply_minima(const typename tile_format<TYPE>::half_data *d, const uint4 *row,
                            bool has_row, float (*part)[4]) {
    uint4 sums = {0, 0, 0, 0};
    if (has_row) sums = row[2 * HALF / 4];
    UNROLL
    for (int i = 0; i < 2; i++) {
        uint32_t least[4];
        tile_format<TYPE>::minima(d[i], least);
        clear_4(part[i]);
        multiply_tile(part[i], least, sums.x, sums.y);
        multiply_tile(part[i], least, sums.z, sums.w);
    }
}

/* y plus what records of `size` floats hold, in their order: `value` is row * 16 + output. */
template <int TYPE>
DEVICE float add_records(float y, const float *records, int size, int n, int n_rows, int value) {
    enum { AT_ONCE = 8, FACTOR = tile_format<TYPE>::MACRO_FACTOR };
    enum { MINIMA = tile_format<TYPE>::MINIMA };
    int factor = n_rows * TILE + value % TILE, minima = (n_rows + 1) * TILE;
    NOT_UNROLLED
    for (int first = 0; first < n; first += AT_ONCE) {
        float x[AT_ONCE], f[AT_ONCE], least[AT_ONCE], g[AT_ONCE];
        UNROLL
        for (int i = 0; i < AT_ONCE; i++) {
            const float *record = records + (first + i < n ? first + i : n - 1) * size;
            x[i] = record[value];
            f[i] = FACTOR ? record[factor] : 1.0f;
            least[i] = MINIMA ? record[minima + value] : 0.0f;
            g[i] = MINIMA ? record[minima + factor] : 0.0f;
        }
        UNROLL
        for (int i = 0; i < AT_ONCE; i++) {
            if (first + i >= n) continue;
            y = FACTOR ? fmaf(f[i], x[i], y) : y + x[i];
            if (MINIMA) y = fmaf(g[i], least[i], y);
        }
    }
    return y;
}

} // namespace GPU_NAMESPACE

#endif
