/* Products on the matrix units for few rows (decoding): every weight is read once for up to eight
 * activation rows. A warp streams tiles (tiles.h) through a chunk of the columns; the chunks of a
 * tile lie in neighbouring warps and are added in order. wide_products.cu does the same sums for
 * many rows, in the same order: the bits of a row depend on neither. */
#include "backend/gpu/tile_multiply.h"

namespace GPU_NAMESPACE {

enum { THREADS = 256, WARPS = THREADS / WARP, ROWS = 8, VALUES = TILE * ROWS };

struct narrow_arguments {
    product_list list;
    int first_block[MAX_PRODUCTS + 1];
    int n_rows, most_rows; /* of a tile, for which there is shared memory */
    expert_tiles tiles;
    const uint32_t *iq2_table;
};

/* How a product's columns lie in the warps of a block. */
struct warp_layout {
    int macros, chunks;    /* of all columns */
    int lanes;             /* chunks beside each other: 1, 2 or 4; units are 8 / lanes */
    int passes, per_block; /* tiles of a block, with a gate its tiles come beside them */
};

ANYWHERE warp_layout layout_of(const product &p) {
    warp_layout l;
    l.macros = split_width(p.m.n_in) / MACRO;
    l.chunks = (l.macros + CHUNK_MACROS - 1) / CHUNK_MACROS;
    l.lanes = l.chunks > 2 ? 4 : l.chunks > 1 ? 2 : 1;
    l.passes = (l.chunks + l.lanes - 1) / l.lanes;
    l.per_block = WARPS / l.lanes / (p.gate.codes != nullptr ? 2 : 1);
    return l;
}

ANYWHERE int tile_groups(const product &p) {
    int per = layout_of(p).per_block;
    return ((p.m.n_out + TILE - 1) / TILE + per - 1) / per;
}

/* Bytes of a staged row: its columns of a pass, then their sums; 16 more keep rows apart in the
 * banks. */
ANYWHERE int staged_bytes(const warp_layout &l) {
    return l.lanes * CHUNK_MACROS * (4 * MACRO + 64) + 16;
}

/* The columns of a pass, of each row of the tile, to shared memory. */
DEVICE void stage_rows(const product &p, const warp_layout &l, const row_tile &rows, int pass,
                       uint8_t *staged) {
    int stride = staged_bytes(l), first = pass * l.lanes * CHUNK_MACROS;
    int macros =
        l.macros - first < l.lanes * CHUNK_MACROS ? l.macros - first : l.lanes * CHUNK_MACROS;
    int columns = macros * 4 * MACRO / 16;
    int pieces = columns + (p.m.type == DS4_TYPE_Q2_K ? macros * 64 / 16 : 0);
    for (int r = 0; r < rows.n; r++) {
        const uint8_t *row = split_row(p.x, rows.x_row[r]);
        const uint8_t *from = row + 4 * p.x.first + first * 4 * MACRO;
        const uint8_t *sums = row + sums_offset(p.x) + (p.x.first / MACRO + first) * 64;
        uint8_t *to = staged + r * stride;
        for (int k = thread_index(); k < columns; k += THREADS)
            fetch_16(to + 16 * k, from + 16 * k);
        to += l.lanes * CHUNK_MACROS * 4 * MACRO;
        for (int k = thread_index(); k < pieces - columns; k += THREADS)
            fetch_16(to + 16 * k, sums + 16 * k);
    }
    fetch_group();
}

/* A warp's chunk of a tile: halves are fetched DEPTH ahead. */
template <int TYPE> struct stream {
    typedef tile_format<TYPE> F;
    typedef typename F::half_data half_data;
    enum { DEPTH = TYPE == DS4_TYPE_F16 ? 1 : TYPE == DS4_TYPE_Q8_0 ? 2 : 4 };
    half_data data[DEPTH > 3 ? DEPTH : 4]; /* those beyond DEPTH are never used */
    const uint8_t *codes, *scales;
    int first, n; /* halves */

    DEVICE void open(stream &s, const matrix &m, size_t tile, const warp_layout &l, int chunk) {
        s.codes = m.codes + tile * m.code_stride;
        s.scales = m.scales + tile * m.scale_stride;
        s.first = chunk * HALVES;
        s.n = 2 * l.macros - s.first;
        if (s.n > HALVES) s.n = HALVES;
        UNROLL
        for (int i = 0; i < DEPTH; i++)
            F::template load<0>(s.data[i], s.codes, s.scales, s.first + (i < s.n ? i : i % 2));
    }

    /* What a block of 32 columns needs: weights as halves, activations. */
    struct operands {
        uint32_t a[2][4], high[4], low[4];
    };
    DEVICE void take(operands &o, const stream &s, int i, int k, int b, const uint8_t *row,
                     int step, const uint32_t *table) {
        const uint8_t *x = row + (4 * i + b) * step;
        load_tiles(o.high, x);
        load_tiles(o.low, x + step / 2);
        F::block(s.data[k], b, k, table, o.a);
    }

    /* Two sums side by side: the matrix unit takes a while for each step of one. */
    DEVICE void multiply_two(float *sum0, const operands &x, float *sum1, const operands &y) {
        UNROLL
        for (int j = 0; j < 2; j++) {
            multiply_tile(sum0, x.a[j], x.high[2 * j], x.high[2 * j + 1]);
            multiply_tile(sum1, y.a[j], y.high[2 * j], y.high[2 * j + 1]);
            multiply_tile(sum0, x.a[j], x.low[2 * j], x.low[2 * j + 1]);
            multiply_tile(sum1, y.a[j], y.low[2 * j], y.low[2 * j + 1]);
        }
    }

    /* Blocks have factors of their own: two blocks of half i, which is in data[k]. */
    DEVICE void run_blocks(stream &s, int i, int k, const uint8_t *row, int step,
                           const uint32_t *table, float *acc) {
        UNROLL
        for (int b = 0; b < 4; b += 2) {
            float part[2][4];
            operands x, y;
            take(x, s, i, k, b, row, step, table);
            take(y, s, i, k, b + 1, row, step, table);
            clear_4(part[0]);
            clear_4(part[1]);
            multiply_two(part[0], x, part[1], y);
            add_scaled(acc, part[0], F::block_factor(s.data[k], b));
            add_scaled(acc, part[1], F::block_factor(s.data[k], b + 1));
            refill(s, i, k, b);
            refill(s, i, k, b + 1);
        }
    }

    DEVICE void refill(stream &s, int i, int k, int b) {
        if (i + DEPTH < s.n) F::refill(s.data[k], s.codes, s.scales, s.first + i + DEPTH, b);
    }

    DEVICE void end_macro(const stream &s, int i, int k, const uint8_t *sums, int sums_step,
                          float *part, float *acc) {
        add_scaled(acc, part, F::macro_factor(s.data[k]));
        if (!F::MINIMA) return;
        uint32_t a[4], x[4];
        F::minima(s.data[k], a);
        load_tiles(x, sums + i / 2 * sums_step);
        clear_4(part);
        multiply_tile(part, a, x[0], x[1]);
        multiply_tile(part, a, x[2], x[3]);
        add_scaled(acc, part, F::minimum_factor(s.data[k]));
    }

    /* Macros have factors: halves i .. i + 3, in data[0 .. 3], are two macros (or the last one). */
    DEVICE void run_macros(stream &s, int i, const uint8_t *row, int step, const uint8_t *sums,
                           int sums_step, const uint32_t *table, float *acc) {
        float part[2][4];
        bool two = i + 2 < s.n;
        clear_4(part[0]);
        clear_4(part[1]);
        UNROLL
        for (int b = 0; b < 8; b++) {
            operands x, y;
            take(x, s, i + b / 4, b / 4, b % 4, row, step, table);
            take(y, s, two ? i + 2 + b / 4 : i + b / 4, 2 + b / 4, b % 4, row, step, table);
            multiply_two(part[0], x, part[1], y);
        }
        end_macro(s, i, 1, sums, sums_step, part[0], acc);
        if (two) end_macro(s, i + 2, 3, sums, sums_step, part[1], acc);
        UNROLL
        for (int k = 0; k < 4; k++) refill(s, i + k, k % DEPTH, 0);
    }

    DEVICE void run_plain(stream &s, int i, const uint8_t *row, int step, const uint32_t *table,
                          float *acc) {
        UNROLL
        for (int b = 0; b < 4; b++) {
            operands x;
            take(x, s, i, 0, b, row, step, table);
            UNROLL
            for (int j = 0; j < 2; j++) {
                multiply_tile(acc, x.a[j], x.high[2 * j], x.high[2 * j + 1]);
                multiply_tile(acc, x.a[j], x.low[2 * j], x.low[2 * j + 1]);
            }
            refill(s, i, 0, b);
        }
    }

    /* `row`: where load_tiles begins for this lane; step: bytes per block of 32 there, or 0. */
    DEVICE void run(stream &s, const uint8_t *row, int step, const uint8_t *sums, int sums_step,
                    const uint32_t *table, float *acc) {
        for (int i = 0; i < s.n; i += DEPTH) {
            if (F::MACRO_FACTOR) {
                run_macros(s, i, row, step, sums, sums_step, table, acc);
            } else if (F::BLOCK_FACTOR) {
                UNROLL
                for (int k = 0; k < DEPTH; k++)
                    if (i + k < s.n) run_blocks(s, i + k, k, row, step, table, acc);
            } else {
                run_plain(s, i, row, step, table, acc);
            }
        }
    }
};

struct narrow_block {
    const product *p;
    warp_layout l;
    int group; /* of tiles */
    const row_tile *rows;
    uint8_t *staged;
    float *partial; /* [WARPS][VALUES] */
    const uint8_t *zeros;
    const uint32_t *table;
};

/* What comes of the sums: with a gate, weight silu(gate) up. One thread per value. */
DEVICE void write_values(const narrow_block &b, float *totals) {
    const product &p = *b.p;
    bool pair = p.gate.codes != nullptr;
    for (int i = thread_index(); i < b.l.per_block * VALUES; i += THREADS) {
        int unit = i / VALUES, token = i % VALUES / TILE, tile = b.group * b.l.per_block + unit;
        int o = tile * TILE + i % TILE;
        float y = totals[pair ? unit * 2 * VALUES + i % VALUES : i];
        bool valid = token < b.rows->n;
        if (pair && valid)
            y = gated(y, totals[(unit * 2 + 1) * VALUES + i % VALUES], p.clamp,
                      b.rows->weight[token]);
        store_product(p, valid ? b.rows->y_row[token] : 0, o, y, valid);
    }
}

/* Partial sums of the chunks in order, onto the thread's totals. */
DEVICE void add_chunks(const narrow_block &b, int chunks, float *total) {
    int units = WARPS / b.l.lanes;
    UNROLL
    for (int k = 0; k < VALUES * WARPS / THREADS; k++) {
        int i = thread_index() + k * THREADS;
        if (i >= units * VALUES) continue;
        const float *from = b.partial + i / VALUES * b.l.lanes * VALUES + i % VALUES;
        for (int c = 0; c < chunks; c++) total[k] += from[c * VALUES];
    }
}

template <int TYPE> DEVICE void narrow_format(const narrow_block &b) {
    const product &p = *b.p;
    bool pair = p.gate.codes != nullptr;
    int unit = warp_index() / b.l.lanes, tile = b.group * b.l.per_block + (pair ? unit / 2 : unit);
    const matrix &m = pair && unit % 2 == 1 ? p.gate : p.m;
    int n_tiles = (m.n_out + TILE - 1) / TILE, stride = staged_bytes(b.l);
    size_t place = (size_t)b.rows->expert * (size_t)n_tiles + (size_t)tile;
    int r = lane_index() % 8, piece = lane_index() / 8 * 16, chunk_lane = warp_index() % b.l.lanes;
    bool real = r < b.rows->n;
    float total[VALUES * WARPS / THREADS] = {0, 0, 0, 0};
    for (int pass = 0; pass < b.l.passes; pass++) {
        int chunk = pass * b.l.lanes + chunk_lane;
        bool active = chunk < b.l.chunks && tile < n_tiles;
        stream<TYPE> s;
        if (active) stream<TYPE>::open(s, m, place, b.l, chunk);
        if (pass == 0 && !p.by_expert) previous_launch();
        stage_rows(p, b.l, *b.rows, pass, b.staged);
        fetch_finished<0>();
        block_barrier();
        float acc[4] = {0, 0, 0, 0};
        if (active) {
            const uint8_t *row = b.staged + r * stride;
            const uint8_t *sums =
                row + b.l.lanes * CHUNK_MACROS * 4 * MACRO + chunk_lane * CHUNK_MACROS * 64 + piece;
            stream<TYPE>::run(s, real ? row + chunk_lane * 4 * CHUNK + piece : b.zeros,
                              real ? 128 : 0, real ? sums : b.zeros, real ? 64 : 0, b.table, acc);
        }
        float *to =
            b.partial + warp_index() * VALUES + lane_index() % 4 * 2 * TILE + lane_index() / 4;
        to[0] = acc[0];
        to[TILE] = acc[1];
        to[8] = acc[2];
        to[TILE + 8] = acc[3];
        block_barrier();
        int left = b.l.chunks - pass * b.l.lanes;
        add_chunks(b, left < b.l.lanes ? left : b.l.lanes, total);
        block_barrier();
    }
    UNROLL
    for (int k = 0; k < VALUES * WARPS / THREADS; k++) {
        int i = thread_index() + k * THREADS;
        if (i < WARPS / b.l.lanes * VALUES) b.partial[i] = total[k] * (1.0f / ACTIVATION_SCALE);
    }
    block_barrier();
    write_values(b, b.partial);
}

/* ONLY: the format of all of the launch's matrices, or ANY. */
enum { ANY = -1 };
template <int ONLY> KERNEL LAUNCH_BOUNDS(THREADS, 2) narrow_kernel(const narrow_arguments t) {
    DYNAMIC_SHARED(uint8_t, staged);
    SHARED row_tile rows;
    SHARED_16 float partial[WARPS * VALUES];
    SHARED_16 uint32_t table[IQ2_TABLE];
    int index = 0;
    while (index + 1 < t.list.n && block_x() >= t.first_block[index + 1]) index++;
    const product &p = t.list.items[index];
    next_launch();
    if (p.m.type == DS4_TYPE_IQ2_XXS)
        ((uint4 *)table)[thread_index()] = stream_load((const uint4 *)t.iq2_table + thread_index());
    if (p.by_expert) previous_launch();
    int groups = tile_groups(p), local = block_x() - t.first_block[index];
    int row_tiles = p.by_expert ? 0 : (t.n_rows + ROWS - 1) / ROWS;
    int tile = p.by_expert ? local / groups : local % row_tiles;
    if (!find_rows(t.tiles, t.n_rows, p, tile, ROWS, rows)) return;
    narrow_block b = {&p,      layout_of(p), p.by_expert ? local % groups : local / row_tiles,
                      &rows,   staged,       partial,
                      nullptr, table};
    uint32_t *zeros = (uint32_t *)(staged + t.most_rows * staged_bytes(b.l));
    if (thread_index() < 4) zeros[thread_index()] = 0;
    b.zeros = (const uint8_t *)zeros;
    block_barrier(); /* the rows are known to all */
    switch (ONLY == ANY ? p.m.type : ONLY) {
    case DS4_TYPE_Q8_0:
        narrow_format<DS4_TYPE_Q8_0>(b);
        break;
    case DS4_TYPE_F16:
        narrow_format<DS4_TYPE_F16>(b);
        break;
    case DS4_TYPE_IQ2_XXS:
        narrow_format<DS4_TYPE_IQ2_XXS>(b);
        break;
    case DS4_TYPE_Q2_K:
        narrow_format<DS4_TYPE_Q2_K>(b);
        break;
    default:
        break;
    }
}

void narrow_products_run(device *d, const product_list &list, int n_rows, const expert_tiles &tiles,
                         int max_tiles, const uint32_t *iq2_table) {
    narrow_arguments t = {};
    int n_blocks = 0, bytes = 0, row_tiles = (n_rows + ROWS - 1) / ROWS;
    t.list = list;
    t.n_rows = n_rows;
    t.most_rows = n_rows < ROWS ? n_rows : (int)ROWS;
    t.tiles = tiles;
    t.iq2_table = iq2_table;
    for (int i = 0; i < list.n; i++) {
        const product &p = list.items[i];
        warp_layout l = layout_of(p);
        t.first_block[i] = n_blocks;
        n_blocks += tile_groups(p) * (p.by_expert ? max_tiles : row_tiles);
        int need = t.most_rows * staged_bytes(l) + 16;
        if (need > bytes) bytes = need;
    }
    t.first_block[list.n] = n_blocks;
    int only = list.items[0].m.type;
    for (int i = 1; i < list.n; i++)
        if (list.items[i].m.type != only) only = ANY;
    dim3 grid((unsigned)n_blocks);
    if (only == DS4_TYPE_Q8_0)
        launch(d, narrow_kernel<DS4_TYPE_Q8_0>, grid, THREADS, (size_t)bytes, t);
    else if (only == DS4_TYPE_IQ2_XXS)
        launch(d, narrow_kernel<DS4_TYPE_IQ2_XXS>, grid, THREADS, (size_t)bytes, t);
    else
        launch(d, narrow_kernel<ANY>, grid, THREADS, (size_t)bytes, t);
}

} // namespace GPU_NAMESPACE
