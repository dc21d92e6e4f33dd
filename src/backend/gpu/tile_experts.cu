/* Experts' products for a step of several sessions: a few rows each for many experts. There are so
 * many tiles that each warp sums whole ones, macro after macro: nothing of a sum passes through
 * shared memory. The rows of the experts that a block meets lie there instead, in the order in
 * which lanes hand them to the matrix unit. The order of the sums is that of tile_macros.h, which
 * does the same for one row. */
#include "backend/gpu/tile_sums.h"

namespace GPU_NAMESPACE {

enum { EXPERT_WARPS = 16, MOST_TILES = 2 };

struct expert_arguments {
    product p;
    expert_tiles tiles;
    int n_rows, most_rows;      /* most_rows: of a tile */
    int macros, slots, at_once; /* at_once: tiles whose rows are in shared memory together */
    int wait_first;             /* the launch before says which experts there are */
    int table_bytes, ring_bytes;
    const uint32_t *code_book;
};

template <int TYPE> struct expert_work {
    typedef tile_format<TYPE> F;
    typedef step_format<TYPE> S;
    enum { DEPTH = S::DEPTH, PLACE = 2 * S::BYTES };

    /* What is common to the block. A unit is a tile with that of its gate, or two tiles. */
    struct block {
        const expert_arguments *t;
        row_tile *rows; /* [at_once] */
        uint8_t *staged;
        int units;      /* of an expert's tile of rows */
        int first_unit; /* of the first such tile in shared memory */
        bool pair;
    };
    struct unit_place {
        int tile, slot, n; /* n: tiles of weights */
    };
    DEVICE unit_place place_of_unit(const block &b, int unit) {
        int local = unit - b.first_unit, tile = local >= b.units ? 1 : 0;
        int slot = (local - tile * b.units) * (b.pair ? 1 : 2);
        return unit_place{tile, slot, b.pair || slot + 1 < b.t->slots ? 2 : 1};
    }

    /* A warp's weights on their way: macro `macro` of a unit is asked for next. */
    struct stream {
        int unit, end, macro, n;
        const uint8_t *from[2];
    };
    DEVICE void open_unit(stream &s, const block &b) {
        s.macro = 0;
        if (s.unit >= s.end) return;
        unit_place u = place_of_unit(b, s.unit);
        const product &p = b.t->p;
        s.n = u.n;
        s.from[0] = macro_place_of(p.m, b.rows[u.tile].expert, u.slot, 0, S::BYTES);
        s.from[1] = b.pair ? macro_place_of(p.gate, b.rows[u.tile].expert, u.slot, 0, S::BYTES)
                           : s.from[0] + S::BYTES;
    }
    DEVICE void fetch(stream &s, const block &b, uint8_t *to, uint64_t *signal) {
        if (s.unit < s.end) {
            fetch_begin(signal, s.n * (int)S::BYTES);
            fetch_run(to, s.from[0], S::BYTES, signal, true);
            if (s.n > 1) fetch_run(to + S::BYTES, s.from[1], S::BYTES, signal, true);
            size_t step = (size_t)b.t->p.m.side_tiles * S::BYTES;
            s.from[0] += step;
            s.from[1] += step;
            if (++s.macro == b.t->macros) {
                s.unit++;
                open_unit(s, b);
            }
        }
        fetch_end();
    }

    /* The rows of the block's tiles, macro by macro: [tile][macro][row]. */
    DEVICE void stage_rows(const block &b, int n_tiles) {
        const expert_arguments &t = *b.t;
        const activation &a = t.p.x;
        for (int i = warp_index(); i < n_tiles * t.macros; i += EXPERT_WARPS) {
            int tile = i / t.macros, macro = i - tile * t.macros;
            NOT_UNROLLED
            for (int r = 0; r < b.rows[tile].n; r++)
                stage_macro<F::MINIMA>(a, b.rows[tile].x_row[r], macro,
                                       b.staged + (i * t.most_rows + r) * (int)MACRO_ROW);
        }
    }

    /* Adds a macro of two tiles to their sums. */
    DEVICE void multiply(const uint8_t *at, const uint8_t *rows, bool has_row, const uint8_t *table,
                         uint32_t table_lane, float (*y)[4]) {
        typename F::half_data d[2];
        const uint4 *row = (const uint4 *)rows;
        float part[2][4];
        multiply_two<TYPE, 2>(d, at, row, has_row, table, table_lane, part);
        UNROLL
        for (int i = 0; i < 2; i++) add_scaled(y[i], part[i], F::macro_factor(d[i]));
        if (!F::MINIMA) return;
        multiply_minima<TYPE>(d, row, has_row, part);
        UNROLL
        for (int i = 0; i < 2; i++) add_scaled(y[i], part[i], F::minimum_factor(d[i]));
    }

    /* What comes of a unit's sums, by way of the warp's `values`, [row][16]. */
    DEVICE void finish(const block &b, const unit_place &u, float (*y)[4], float *values) {
        const product &p = b.t->p;
        const row_tile &rows = b.rows[u.tile];
        int lane = lane_index();
        NOT_UNROLLED
        for (int i = 0; i < (b.pair ? 1 : u.n); i++) {
            warp_barrier();
            UNROLL
            for (int j = 0; j < 4; j++) {
                int row = lane % 4 * 2 + j % 2, output = lane / 4 + j / 2 * 8;
                if (row >= rows.n) continue;
                float x = (i ? y[1][j] : y[0][j]) * (1.0f / ACTIVATION_SCALE);
                if (b.pair)
                    x = gated(x, y[1][j] * (1.0f / ACTIVATION_SCALE), p.clamp, rows.weight[row]);
                values[row * TILE + output] = x;
            }
            warp_barrier();
            for (int r = 0; r < rows.n; r += 2) {
                int row = r + lane / TILE;
                bool valid = row < rows.n;
                if (!valid) row = r;
                store_product(p, rows.y_row[row], (u.slot + i) * TILE + lane % TILE,
                              values[row * TILE + lane % TILE], valid);
            }
        }
    }

    /* Units [first, last) of all tiles, those of `at_once` tiles at a time. */
    DEVICE void run(block &b, int first, int last, uint8_t *memory, uint64_t *all_signals,
                    float *values, bool *waited) {
        const expert_arguments &t = *b.t;
        uint8_t *ring = memory + t.table_bytes + warp_index() * (int)(DEPTH * PLACE);
        uint64_t *signals = all_signals + warp_index() * (int)MOST_DEPTH;
        uint32_t table_lane = 4 * IQ2_ROW * (uint32_t)(lane_index() % IQ2_COPIES), use = 0;
        int place = 0, filled = 0, lane_row = lane_index() / 4;
        create_signals(signals, DEPTH);
        NOT_UNROLLED
        while (first < last) {
            int tile = first / b.units, end = (tile + t.at_once) * b.units;
            if (end > last) end = last;
            int n_tiles = (end - 1) / b.units - tile + 1, n = end - first;
            b.first_unit = tile * b.units;
            for (int k = 0; k < n_tiles; k++)
                find_rows(t.tiles, t.n_rows, t.p, tile + k, NARROW_ROWS, b.rows[k]);
            block_barrier();
            stream s = {};
            int unit = first + n * warp_index() / EXPERT_WARPS;
            s.unit = unit;
            s.end = first + n * (warp_index() + 1) / EXPERT_WARPS;
            open_unit(s, b);
            for (int i = 0; i < DEPTH - 1; i++) {
                fetch(s, b, ring + filled * (int)PLACE, signals + filled);
                filled = filled + 1 < DEPTH ? filled + 1 : 0;
            }
            if (!*waited) previous_launch();
            *waited = true;
            stage_rows(b, n_tiles);
            block_barrier();
            NOT_UNROLLED
            for (; unit < s.end; unit++) {
                unit_place u = place_of_unit(b, unit);
                const uint8_t *rows =
                    b.staged + (u.tile * t.macros * t.most_rows + lane_row) * (int)MACRO_ROW +
                    lane_index() % 4 * 16;
                bool has_row = lane_row < b.rows[u.tile].n;
                float y[2][4];
                clear_4(y[0]);
                clear_4(y[1]);
                NOT_UNROLLED
                for (int macro = 0; macro < t.macros; macro++) {
                    fetch_wait<DEPTH - 2>(signals + place, use);
                    fetch(s, b, ring + filled * (int)PLACE, signals + filled);
                    filled = filled + 1 < DEPTH ? filled + 1 : 0;
                    multiply(ring + place * (int)PLACE, rows, has_row, memory, table_lane, y);
                    if (++place == DEPTH) place = 0, use++;
                    rows += t.most_rows * (int)MACRO_ROW;
                }
                finish(b, u, y, values + warp_index() * (int)(NARROW_ROWS * TILE));
            }
            filled = place; /* the last places were not asked for */
            first = end;
            block_barrier(); /* before rows of the next */
        }
        forget_signals(signals, DEPTH);
    }
};

template <int TYPE>
KERNEL LAUNCH_BOUNDS(EXPERT_WARPS *WARP, 1) expert_kernel(ARGUMENTS expert_arguments t) {
    DYNAMIC_SHARED(uint8_t, memory); /* code book, rings, rows */
    SHARED row_tile rows[MOST_TILES];
    SHARED uint64_t signals[EXPERT_WARPS * MOST_DEPTH];
    SHARED float values[EXPERT_WARPS * NARROW_ROWS * TILE];
    bool waited = false;
    if (!t.wait_first) next_launch();
    if (TYPE == DS4_TYPE_IQ2_XXS) fill_iq2_table((uint32_t *)memory, t.code_book);
    if (t.wait_first) {
        previous_launch();
        next_launch(); /* it may read which rows meet which expert */
        waited = true;
    }
    typename expert_work<TYPE>::block b = {};
    b.t = &t;
    b.rows = rows;
    b.staged = memory + t.table_bytes + t.ring_bytes;
    b.pair = t.p.gate.codes != nullptr;
    b.units = b.pair ? t.slots : (t.slots + 1) / 2;
    int n = *t.tiles.n_tiles * b.units;
    int first = (int)((int64_t)n * block_x() / blocks_x());
    int last = (int)((int64_t)n * (block_x() + 1) / blocks_x());
    expert_work<TYPE>::run(b, first, last, memory, signals, values, &waited);
    if (!waited) previous_launch();
}

/* Shared memory of a block whose tiles have so many rows; at_once: as many as fit. */
static bool plan_experts(expert_arguments *t, device *d, int *bytes) {
    enum { RESERVED = 12 * 1024 /* what the kernel declares, and more */ };
    bool iq2 = t->p.m.type == DS4_TYPE_IQ2_XXS;
    int place = 2 * (iq2 ? (int)step_format<DS4_TYPE_IQ2_XXS>::BYTES
                         : (int)step_format<DS4_TYPE_Q2_K>::BYTES);
    int depth =
        iq2 ? (int)step_format<DS4_TYPE_IQ2_XXS>::DEPTH : (int)step_format<DS4_TYPE_Q2_K>::DEPTH;
    t->table_bytes = iq2 ? (int)(IQ2_TABLE * sizeof(uint32_t)) : 0;
    t->ring_bytes = EXPERT_WARPS * depth * place;
    int tile = t->macros * t->most_rows * MACRO_ROW;
    int left = device_shared_bytes(d) - RESERVED - t->table_bytes - t->ring_bytes;
    t->at_once = left / tile < MOST_TILES ? left / tile : (int)MOST_TILES;
    *bytes = t->table_bytes + t->ring_bytes + t->at_once * tile;
    return t->at_once > 0;
}

bool expert_products_run(device *d, const product_list &list, int n_rows, int tile_rows,
                         const expert_tiles &tiles, const uint32_t *code_book) {
    expert_arguments t = {};
    int bytes = 0;
    t.p = list.items[0];
    if (list.n != 1 || !t.p.by_expert || n_rows < 2 || !by_macros(t.p.m.type)) return false;
    t.tiles = tiles;
    t.n_rows = n_rows;
    t.most_rows = tile_rows < NARROW_ROWS ? tile_rows : (int)NARROW_ROWS;
    t.macros = split_width(t.p.m.n_in) / MACRO;
    t.slots = (t.p.m.n_out + TILE - 1) / TILE;
    t.wait_first = !t.p.rows_known;
    t.code_book = code_book;
    if (!plan_experts(&t, d, &bytes)) return false;
    dim3 grid((unsigned)device_processors(d));
    if (t.p.m.type == DS4_TYPE_IQ2_XXS)
        launch(d, expert_kernel<DS4_TYPE_IQ2_XXS>, grid, EXPERT_WARPS * WARP, (size_t)bytes, t);
    else
        launch(d, expert_kernel<DS4_TYPE_Q2_K>, grid, EXPERT_WARPS * WARP, (size_t)bytes, t);
    return true;
}

} // namespace GPU_NAMESPACE
