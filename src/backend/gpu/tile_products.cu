/* Products on the matrix units for few rows (decoding): every weight is read once for up to eight
 * activation rows. Each block takes an equal share of the launch's bytes, as one stream: a warp
 * multiplies a tile (tiles.h) by a chunk of the columns while the steps after it, of this tile and
 * the next, are on their way to its ring in shared memory; the first are asked for before the
 * launch that makes the activations has ended. The chunks of a tile lie in neighbouring warps and
 * are added in order. wide_products.cu does the same sums for many rows, in the same order: the
 * bits of a row depend on neither. */
#include "backend/gpu/tile_multiply.h"

namespace GPU_NAMESPACE {

enum {
    THREADS = 256,
    WARPS = THREADS / WARP,
    ROWS = 8,
    VALUES = TILE * ROWS,
    CHUNK_BYTES = CHUNK_MACROS * (4 * MACRO + 64), /* of an activation row, with its sums */
    STAGED_MOST = 144 * 1024,
    RING_BYTES = 8704 /* of a warp, more or less */
};

struct narrow_arguments {
    product_list list;
    uint32_t cost[MAX_PRODUCTS]; /* of a group: its bytes, by 64 */
    int n_rows, most_rows;       /* most_rows: of a tile, for which there is shared memory */
    int max_tiles, counts_tiles; /* counts_tiles: the router says how many there are */
    int ring_bytes, staged_bytes;
    expert_tiles tiles;
    const uint32_t *code_book; /* NULL: no matrix of this launch needs it */
};

/* How a product's columns lie in the warps of a block. A `group` of tiles is what a block
 * multiplies at once. */
struct warp_layout {
    int macros, chunks; /* of all columns */
    int lanes;          /* chunks beside each other: 1, 2, 4 or 8 */
    int passes;         /* for the others */
    int per_block;      /* tiles of a group */
};

ANYWHERE warp_layout layout_of(const product &p, int most_rows) {
    warp_layout l;
    l.macros = split_width(p.m.n_in) / MACRO;
    l.chunks = (l.macros + CHUNK_MACROS - 1) / CHUNK_MACROS;
    l.lanes = 1;
    while (l.lanes < l.chunks && l.lanes < WARPS &&
           2 * l.lanes * most_rows * CHUNK_BYTES <= STAGED_MOST)
        l.lanes *= 2;
    l.passes = (l.chunks + l.lanes - 1) / l.lanes;
    l.per_block = WARPS / l.lanes;
    return l;
}

ANYWHERE int tile_groups(const product &p, const warp_layout &l) {
    return ((p.m.n_out + TILE - 1) / TILE + l.per_block - 1) / l.per_block;
}

/* Bytes of a staged row: its columns of a pass, then their sums; 16 more keep rows apart in the
 * banks. */
ANYWHERE int staged_bytes(const warp_layout &l) {
    return l.lanes * CHUNK_BYTES + 16;
}

/* What a warp copies at once: a half of a macro, or a macro, or two: those that it multiplies side
 * by side. With a gate, of both matrices. */
template <int TYPE, int PAIR> struct step_format {
    typedef tile_format<TYPE> F;
    enum {
        MATRICES = PAIR ? 2 : 1,
        HALVES_OF = !F::MACRO_FACTOR ? 1
                    : PAIR           ? 2
                                     : 4,
        PIECE_HALVES = F::MACRO_FACTOR ? 2 : 1, /* whose codes and scales lie together */
        CODES = F::CODE_BYTES / 2 * PIECE_HALVES,
        SCALES = F::SCALE_BYTES / 2 * PIECE_HALVES,
        PIECE = CODES + SCALES,
        PIECES = HALVES_OF / PIECE_HALVES * MATRICES,
        BYTES = PIECES * PIECE,
        DEPTH = 2 * BYTES > RING_BYTES ? 2 : RING_BYTES / BYTES,
        STEPS = HALVES / HALVES_OF /* of a chunk */
    };
};

/* A block's share of one product and one tile of rows. */
struct segment {
    const product *p;
    warp_layout l;
    int first, n; /* groups */
    const row_tile *rows;
    uint8_t *ring, *staged;
    const uint8_t *zeros;
    float *partial, *totals; /* [matrices][WARPS][VALUES]; totals: of passes before, or NULL */
    const uint32_t *table;
    bool *waited; /* for the launch before */
};

/* Activations of a lane of the warp: where load_tiles begins, bytes from block to block. */
struct lane_rows {
    const uint8_t *row, *sums;
    int step, sums_step;
};

struct operands {
    uint32_t high[4], low[4];
};

DEVICE void read_operands(operands &x, const lane_rows &r, int block) {
    load_tiles(x.high, r.row + block * r.step);
    load_tiles(x.low, r.row + block * r.step + r.step / 2);
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

DEVICE void multiply_one(float *sum, uint32_t (*a)[4], const operands &x) {
    UNROLL
    for (int j = 0; j < 2; j++) {
        multiply_tile(sum, a[j], x.high[2 * j], x.high[2 * j + 1]);
        multiply_tile(sum, a[j], x.low[2 * j], x.low[2 * j + 1]);
    }
}

/* The sums of a step. `at`: its bytes in the ring; `half`: the first of its halves in the chunk;
 * acc: one sum per matrix. */
template <int TYPE, int PAIR> struct step_sums {
    typedef tile_format<TYPE> F;
    typedef typename F::half_data half_data;
    typedef step_format<TYPE, PAIR> S;

    DEVICE void read(half_data &d, const uint8_t *at, int piece, int half) {
        F::template load<1>(d, at + piece * S::PIECE, at + piece * S::PIECE + S::CODES, half);
    }

    /* Blocks have factors of their own. */
    DEVICE void blocks(const uint8_t *at, int half, const lane_rows &r, const uint32_t *table,
                       float (*acc)[4]) {
        half_data d[2];
        read(d[0], at, 0, 0);
        if (PAIR) read(d[1], at, 1, 0);
        UNROLL
        for (int b = 0; b < 4; b += PAIR ? 1 : 2) {
            const half_data &second = PAIR ? d[1] : d[0];
            int c = PAIR ? b : b + 1;
            uint32_t w[2][2][4];
            operands x, y;
            float part[2][4];
            read_operands(x, r, 4 * half + b);
            if (!PAIR) read_operands(y, r, 4 * half + c);
            F::block(d[0], b, 0, table, w[0]);
            F::block(second, c, 0, table, w[1]);
            clear_4(part[0]);
            clear_4(part[1]);
            multiply_two(part[0], w[0], x, part[1], w[1], PAIR ? x : y);
            add_scaled(acc[0], part[0], F::block_factor(d[0], b));
            add_scaled(acc[PAIR], part[1], F::block_factor(second, c));
        }
    }

    DEVICE void end_macro(const half_data &d, int macro, const lane_rows &r, float *part,
                          float *acc) {
        add_scaled(acc, part, F::macro_factor(d));
        if (!F::MINIMA) return;
        uint32_t a[4], x[4];
        F::minima(d, a);
        load_tiles(x, r.sums + macro * r.sums_step);
        clear_4(part);
        multiply_tile(part, a, x[0], x[1]);
        multiply_tile(part, a, x[2], x[3]);
        add_scaled(acc, part, F::minimum_factor(d));
    }

    /* Macros have factors: one of each matrix, or two (`two`) of the one. */
    DEVICE void macros(const uint8_t *at, int half, bool two, const lane_rows &r,
                       const uint32_t *table, float (*acc)[4]) {
        float part[2][4];
        half_data d[2];
        int other = PAIR || !two ? 0 : 8; /* blocks further */
        clear_4(part[0]);
        clear_4(part[1]);
        UNROLL
        for (int h = 0; h < 2; h++) {
            read(d[0], at, 0, h);
            read(d[1], at, PAIR || two ? 1 : 0, h);
            UNROLL
            for (int b = 0; b < 4; b++) {
                uint32_t w[2][2][4];
                operands x, y;
                read_operands(x, r, 4 * half + 4 * h + b);
                if (!PAIR) read_operands(y, r, 4 * half + 4 * h + b + other);
                F::block(d[0], b, h, table, w[0]);
                F::block(d[1], b, h, table, w[1]);
                multiply_two(part[0], w[0], x, part[1], w[1], PAIR ? x : y);
            }
        }
        end_macro(d[0], half / 2, r, part[0], acc[0]);
        if (PAIR) end_macro(d[1], half / 2, r, part[1], acc[PAIR]);
        if (!PAIR && two) end_macro(d[1], half / 2 + 1, r, part[1], acc[0]);
    }

    DEVICE void plain(const uint8_t *at, int half, const lane_rows &r, const uint32_t *table,
                      float (*acc)[4]) {
        UNROLL
        for (int m = 0; m < S::MATRICES; m++) {
            half_data d;
            read(d, at, m, 0);
            UNROLL
            for (int b = 0; b < 4; b++) {
                uint32_t w[2][4];
                operands x;
                read_operands(x, r, 4 * half + b);
                F::block(d, b, 0, table, w);
                multiply_one(acc[m], w, x);
            }
        }
    }
};

/* A warp's stream through its units: one tile (of each matrix) and one chunk. A `turn` is a group
 * and a pass. */
template <int TYPE, int PAIR> struct stream {
    typedef tile_format<TYPE> F;
    typedef step_format<TYPE, PAIR> S;
    const segment *g;
    uint8_t *ring;
    int n_turns, n_tiles;
    /* what is copied next */
    const uint8_t *codes[S::MATRICES], *scales[S::MATRICES];
    int turn, left, slot; /* left: halves of the unit */

    /* Halves of the unit of a turn; 0: this warp has none. */
    DEVICE int halves_of(const stream &s, int turn, int *tile, int *chunk) {
        const warp_layout &l = s.g->l;
        *tile = (s.g->first + turn / l.passes) * l.per_block + warp_index() / l.lanes;
        *chunk = turn % l.passes * l.lanes + warp_index() % l.lanes;
        if (*tile >= s.n_tiles || *chunk >= l.chunks) return 0;
        int n = 2 * l.macros - *chunk * HALVES;
        return n < HALVES ? n : (int)HALVES;
    }

    DEVICE void open_unit(stream &s) {
        int tile, chunk;
        s.left = halves_of(s, s.turn, &tile, &chunk);
        UNROLL
        for (int k = 0; k < S::MATRICES; k++) {
            const matrix &m = k == 0 ? s.g->p->m : s.g->p->gate;
            size_t place = (size_t)s.g->rows->expert * (size_t)s.n_tiles + (size_t)tile;
            s.codes[k] = m.codes + place * m.code_stride +
                         (size_t)(chunk * CHUNK_MACROS) * (size_t)F::CODE_BYTES;
            s.scales[k] = m.scales + place * m.scale_stride +
                          (size_t)(chunk * CHUNK_MACROS) * (size_t)F::SCALE_BYTES;
        }
    }

    DEVICE void open(stream &s, const segment &g) {
        s.g = &g;
        s.ring = g.ring + warp_index() * (int)(S::DEPTH * S::BYTES);
        s.n_turns = g.n * g.l.passes;
        s.n_tiles = (g.p->m.n_out + TILE - 1) / TILE;
        s.turn = s.slot = 0;
        open_unit(s);
        for (int i = 0; i < S::DEPTH - 1; i++) fetch_step(s);
    }

    DEVICE void fetch_bytes(uint8_t *to, const uint8_t *from, int n) {
        UNROLL
        for (int k = 0; k < (n + 16 * WARP - 1) / (16 * WARP); k++) {
            int at = 16 * (lane_index() + k * WARP);
            if (at < n) fetch_16(to + at, from + at);
        }
    }

    DEVICE void fetch_step(stream &s) {
        while (s.left == 0 && s.turn + 1 < s.n_turns) {
            s.turn++;
            open_unit(s);
        }
        if (s.left > 0) {
            uint8_t *to = s.ring + s.slot * (int)S::BYTES;
            int done = 0;
            UNROLL
            for (int h = 0; h < S::HALVES_OF; h += S::PIECE_HALVES) {
                if (h >= s.left) continue;
                UNROLL
                for (int k = 0; k < S::MATRICES; k++) {
                    uint8_t *piece = to + (h / S::PIECE_HALVES * S::MATRICES + k) * S::PIECE;
                    fetch_bytes(piece, s.codes[k], S::CODES);
                    fetch_bytes(piece + S::CODES, s.scales[k], S::SCALES);
                    s.codes[k] += S::CODES;
                    s.scales[k] += S::SCALES;
                }
                done += S::PIECE_HALVES;
            }
            s.left -= done;
            s.slot = s.slot + 1 < S::DEPTH ? s.slot + 1 : 0;
        }
        fetch_group();
    }

    /* Sums of the unit of a turn; *slot: of its first step. */
    DEVICE void multiply_unit(stream &s, int turn, const lane_rows &r, int *slot, float (*acc)[4]) {
        typedef step_sums<TYPE, PAIR> sums;
        int tile, chunk, n = halves_of(s, turn, &tile, &chunk);
        for (int h = 0; h < n; h += S::HALVES_OF) {
            fetch_finished<S::DEPTH - 2>();
            warp_barrier(); /* all lanes' copies have come; the slot before this one is free */
            fetch_step(s);
            const uint8_t *at = s.ring + *slot * (int)S::BYTES;
            *slot = *slot + 1 < S::DEPTH ? *slot + 1 : 0;
            if (F::MACRO_FACTOR)
                sums::macros(at, h, h + 2 < n, r, s.g->table, acc);
            else if (F::BLOCK_FACTOR)
                sums::blocks(at, h, r, s.g->table, acc);
            else
                sums::plain(at, h, r, s.g->table, acc);
        }
    }
};

/* The columns of a pass, of each row of the tile, to shared memory. */
DEVICE void stage_rows(const segment &g, int pass) {
    enum { AT_ONCE = 4 };
    const product &p = *g.p;
    const warp_layout &l = g.l;
    int stride = staged_bytes(l), first = pass * l.lanes * CHUNK_MACROS;
    int macros =
        l.macros - first < l.lanes * CHUNK_MACROS ? l.macros - first : l.lanes * CHUNK_MACROS;
    int columns = macros * 4 * MACRO / 16;
    int pieces = columns + (p.m.type == DS4_TYPE_Q2_K ? macros * 64 / 16 : 0);
    for (int r = 0; r < g.rows->n; r++) {
        const uint8_t *row = split_row(p.x, g.rows->x_row[r]);
        const uint4 *from = (const uint4 *)(row + 4 * p.x.first + first * 4 * MACRO);
        const uint4 *sums =
            (const uint4 *)(row + sums_offset(p.x) + (p.x.first / MACRO + first) * 64);
        uint4 *to = (uint4 *)(g.staged + r * stride);
        uint4 *to_sums = to + l.lanes * CHUNK_MACROS * 4 * MACRO / 16;
        for (int k0 = thread_index(); k0 < pieces; k0 += AT_ONCE * THREADS) {
            uint4 x[AT_ONCE];
            UNROLL
            for (int i = 0; i < AT_ONCE; i++) {
                int k = k0 + i * THREADS;
                if (k < pieces) x[i] = k < columns ? from[k] : sums[k - columns];
            }
            UNROLL
            for (int i = 0; i < AT_ONCE; i++) {
                int k = k0 + i * THREADS;
                if (k < pieces) (k < columns ? to + k : to_sums + k - columns)[0] = x[i];
            }
        }
    }
}

DEVICE void store_partial(float *partial, const float *acc) {
    float *to = partial + warp_index() * VALUES + lane_index() % 4 * 2 * TILE + lane_index() / 4;
    to[0] = acc[0];
    to[TILE] = acc[1];
    to[8] = acc[2];
    to[TILE + 8] = acc[3];
}

/* Chunks in order, passes in order; after the last pass what comes of the sums: with a gate, weight
 * silu(gate) up. A thread takes the same values in each pass. */
DEVICE void add_chunks(const segment &g, int turn) {
    const product &p = *g.p;
    const warp_layout &l = g.l;
    bool pair = p.gate.codes != nullptr;
    int pass = turn % l.passes, group = g.first + turn / l.passes, n = g.rows->n;
    int left = l.chunks - pass * l.lanes, chunks = left < l.lanes ? left : l.lanes;
    int n_values = l.per_block * n * TILE;
    for (int i = thread_index(); i - lane_index() < n_values; i += THREADS) {
        bool valid = i < n_values;
        int o = i % TILE, row = valid ? i / TILE % n : 0, unit = valid ? i / TILE / n : 0;
        float sum[2] = {0.0f, 0.0f};
        UNROLL
        for (int k = 0; k < 2; k++) {
            if (k == 1 && !pair) continue;
            int at = k * WARPS * VALUES + unit * l.lanes * VALUES + row * TILE + o;
            if (pass > 0) sum[k] = g.totals[at];
            for (int c = 0; c < chunks; c++) sum[k] += g.partial[at + c * VALUES];
            if (pass + 1 < l.passes) g.totals[at] = sum[k];
        }
        if (pass + 1 < l.passes) continue;
        float y = sum[0] * (1.0f / ACTIVATION_SCALE);
        if (pair) y = gated(y, sum[1] * (1.0f / ACTIVATION_SCALE), p.clamp, g.rows->weight[row]);
        store_product(p, g.rows->y_row[row], (group * l.per_block + unit) * TILE + o, y, valid);
    }
}

template <int TYPE, int PAIR> DEVICE void run_stream(const segment &g) {
    stream<TYPE, PAIR> s;
    stream<TYPE, PAIR>::open(s, g);
    if (!*g.waited) previous_launch();
    *g.waited = true;
    int r = lane_index() % 8, piece = lane_index() / 8 * 16, chunk = warp_index() % g.l.lanes;
    bool real = r < g.rows->n;
    const uint8_t *row = g.staged + r * staged_bytes(g.l);
    lane_rows lane = {g.zeros, g.zeros, 0, 0};
    if (real)
        lane = lane_rows{row + chunk * 4 * CHUNK + piece,
                         row + g.l.lanes * 4 * CHUNK + chunk * CHUNK_MACROS * 64 + piece, 128, 64};
    int slot = 0;
    for (int turn = 0; turn < s.n_turns; turn++) {
        if (turn == 0 || g.l.passes > 1) {
            stage_rows(g, turn % g.l.passes);
            block_barrier();
        }
        float acc[2][4];
        clear_4(acc[0]);
        clear_4(acc[1]);
        stream<TYPE, PAIR>::multiply_unit(s, turn, lane, &slot, acc);
        store_partial(g.partial, acc[0]);
        if (PAIR) store_partial(g.partial + WARPS * VALUES, acc[1]);
        block_barrier();
        add_chunks(g, turn);
        block_barrier(); /* before the next sums, columns or rows */
    }
    fetch_finished<0>();
}

template <int TYPE> DEVICE void run_format(const segment &g) {
    if (g.p->gate.codes != nullptr)
        run_stream<TYPE, 1>(g);
    else
        run_stream<TYPE, 0>(g);
}

/* ONLY: the format of all of the launch's matrices, or ANY. */
enum { ANY = -1 };

template <int ONLY> DEVICE void run_segment(const segment &g) {
    switch (ONLY == ANY ? g.p->m.type : ONLY) {
    case DS4_TYPE_Q8_0:
        run_format<DS4_TYPE_Q8_0>(g);
        break;
    case DS4_TYPE_F16:
        run_format<DS4_TYPE_F16>(g);
        break;
    case DS4_TYPE_IQ2_XXS:
        run_format<DS4_TYPE_IQ2_XXS>(g);
        break;
    case DS4_TYPE_Q2_K:
        run_format<DS4_TYPE_Q2_K>(g);
        break;
    default:
        break;
    }
}

/* Tiles of rows whose weights lie apart: those of experts. */
DEVICE int weight_tiles(const narrow_arguments &t, const product &p) {
    return !p.by_expert ? 1 : t.counts_tiles ? *t.tiles.n_tiles : t.max_tiles;
}

/* Groups [first, end) of a product are this block's: those that begin in its share of the cost. */
DEVICE void find_share(uint64_t begin, uint64_t end, uint64_t base, uint32_t cost, int n,
                       int *first, int *last) {
    uint64_t all = (uint64_t)n * cost;
    uint64_t from = begin > base ? begin - base : 0, to = end > base ? end - base : 0;
    if (from > all) from = all;
    if (to > all) to = all;
    *first = (int)((from + cost - 1) / cost);
    *last = (int)((to + cost - 1) / cost);
}

template <int ONLY> KERNEL LAUNCH_BOUNDS(THREADS, 2) narrow_kernel(ARGUMENTS narrow_arguments t) {
    DYNAMIC_SHARED(uint8_t, memory); /* ring, rows, zeros, partial sums, totals, code book */
    SHARED row_tile rows;
    bool waited = t.counts_tiles != 0;
    next_launch();
    segment g = {};
    g.rows = &rows;
    g.ring = memory;
    g.staged = memory + t.ring_bytes;
    uint32_t *zeros = (uint32_t *)(g.staged + t.staged_bytes);
    if (thread_index() < 4) zeros[thread_index()] = 0;
    g.zeros = (const uint8_t *)zeros;
    uint32_t *table = zeros + 4;
    if (t.code_book != nullptr) fill_iq2_table(table, t.code_book);
    g.table = table;
    g.partial = (float *)(table + (t.code_book != nullptr ? (int)IQ2_TABLE : 0));
    g.totals = g.partial + 2 * WARPS * VALUES;
    g.waited = &waited;
    if (waited) previous_launch();
    uint64_t total = 0, base = 0;
    for (int i = 0; i < t.list.n; i++) {
        const product &p = t.list.items[i];
        total += (uint64_t)t.cost[i] *
                 (uint64_t)(tile_groups(p, layout_of(p, t.most_rows)) * weight_tiles(t, p));
    }
    uint64_t begin = total * (uint64_t)block_x() / (uint64_t)blocks_x();
    uint64_t end = total * (uint64_t)(block_x() + 1) / (uint64_t)blocks_x();
    for (int i = 0; i < t.list.n; i++) {
        const product &p = t.list.items[i];
        g.p = &p;
        g.l = layout_of(p, t.most_rows);
        int groups = tile_groups(p, g.l), n = groups * weight_tiles(t, p), first, last;
        find_share(begin, end, base, t.cost[i], n, &first, &last);
        base += (uint64_t)t.cost[i] * (uint64_t)n;
        int row_tiles = p.by_expert ? 1 : (t.n_rows + ROWS - 1) / ROWS;
        while (first < last) {
            int tile = first / groups,
                upto = (tile + 1) * groups < last ? (tile + 1) * groups : last;
            g.first = first % groups;
            g.n = upto - first;
            for (int k = 0; k < row_tiles; k++) {
                if (p.by_expert && !waited) previous_launch();
                waited = waited || p.by_expert;
                find_rows(t.tiles, t.n_rows, p, p.by_expert ? tile : k, ROWS, rows);
                block_barrier(); /* the rows are known to all */
                run_segment<ONLY>(g);
            }
            first = upto;
        }
    }
    if (!waited) previous_launch();
}

template <int TYPE> static uint32_t macro_bytes() {
    return tile_format<TYPE>::CODE_BYTES + tile_format<TYPE>::SCALE_BYTES;
}

template <int TYPE> static int ring_bytes(bool pair) {
    int single = step_format<TYPE, 0>::DEPTH * step_format<TYPE, 0>::BYTES;
    int both = step_format<TYPE, 1>::DEPTH * step_format<TYPE, 1>::BYTES;
    return WARPS * (pair ? both : single);
}

static uint32_t bytes_of_macro(int type) {
    return type == DS4_TYPE_Q8_0      ? macro_bytes<DS4_TYPE_Q8_0>()
           : type == DS4_TYPE_F16     ? macro_bytes<DS4_TYPE_F16>()
           : type == DS4_TYPE_IQ2_XXS ? macro_bytes<DS4_TYPE_IQ2_XXS>()
                                      : macro_bytes<DS4_TYPE_Q2_K>();
}

static int ring_of(int type, bool pair) {
    return type == DS4_TYPE_Q8_0      ? ring_bytes<DS4_TYPE_Q8_0>(pair)
           : type == DS4_TYPE_F16     ? ring_bytes<DS4_TYPE_F16>(pair)
           : type == DS4_TYPE_IQ2_XXS ? ring_bytes<DS4_TYPE_IQ2_XXS>(pair)
                                      : ring_bytes<DS4_TYPE_Q2_K>(pair);
}

void narrow_products_run(device *d, const product_list &list, int n_rows, int tile_rows,
                         const expert_tiles &tiles, int max_tiles, const uint32_t *code_book) {
    enum { PROCESSOR_BYTES = 226 * 1024, RESERVED = 2048 /* of a block */ };
    narrow_arguments t = {};
    t.list = list;
    t.n_rows = n_rows;
    t.tiles = tiles;
    t.max_tiles = max_tiles;
    int dense_rows = n_rows < ROWS ? n_rows : (int)ROWS;
    for (int i = 0; i < list.n; i++) {
        int most = list.items[i].by_expert && tile_rows < dense_rows ? tile_rows : dense_rows;
        if (most > t.most_rows) t.most_rows = most;
    }
    long n_groups = 0;
    int passes = 1, only = list.items[0].m.type;
    for (int i = 0; i < list.n; i++) {
        const product &p = list.items[i];
        bool pair = p.gate.codes != nullptr;
        warp_layout l = layout_of(p, t.most_rows);
        t.cost[i] =
            (uint32_t)(l.per_block * l.macros) * bytes_of_macro(p.m.type) / 64 * (pair ? 2 : 1);
        n_groups += (long)tile_groups(p, l) * (p.by_expert ? max_tiles : 1);
        if (ring_of(p.m.type, pair) > t.ring_bytes) t.ring_bytes = ring_of(p.m.type, pair);
        int staged = t.most_rows * staged_bytes(l);
        if (staged > t.staged_bytes) t.staged_bytes = staged;
        if (l.passes > passes) passes = l.passes;
        if (p.by_expert && n_rows > 1) t.counts_tiles = 1;
        if (p.m.type == DS4_TYPE_IQ2_XXS) t.code_book = code_book;
        if (p.m.type != only) only = ANY;
    }
    size_t sums = (passes > 1 ? 4 : 2) * WARPS * VALUES * sizeof(float);
    size_t bytes = (size_t)t.ring_bytes + (size_t)t.staged_bytes + 16 + sums +
                   (t.code_book != nullptr ? IQ2_TABLE * sizeof(uint32_t) : 0);
    long blocks = (long)device_processors(d) * (2 * (bytes + RESERVED) <= PROCESSOR_BYTES ? 2 : 1);
    dim3 grid((unsigned)(n_groups < blocks ? n_groups : blocks));
    if (only == DS4_TYPE_Q8_0)
        launch(d, narrow_kernel<DS4_TYPE_Q8_0>, grid, THREADS, bytes, t);
    else if (only == DS4_TYPE_IQ2_XXS)
        launch(d, narrow_kernel<DS4_TYPE_IQ2_XXS>, grid, THREADS, bytes, t);
    else
        launch(d, narrow_kernel<ANY>, grid, THREADS, bytes, t);
}

} // namespace GPU_NAMESPACE
