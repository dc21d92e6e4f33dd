/* Products on the matrix units for few rows (decoding): every weight is read once for up to eight
 * activation rows. Each block takes an equal share of the launch's bytes, whole tiles (tiles.h),
 * and its warps equal shares of those: a warp multiplies its units one after the other, while the
 * steps after the present one are on their way to its ring in shared memory; the first are asked
 * for before the launch that makes the activations has ended. A tile's units may lie in different
 * warps: their sums meet in shared memory and are added in order. wide_products.cu does the same
 * sums for many rows, in the same order: the bits of a row depend on neither. */
#include "backend/gpu/tile_plan.h"

namespace GPU_NAMESPACE {

/* A block's share of one product and one tile of rows. */
struct segment {
    const product *p;
    const product_plan *plan;
    int first, n, turns; /* slots */
    const row_tile *rows;
    uint8_t *ring, *staged;
    uint64_t *signals; /* [warps][MOST_DEPTH] */
    const uint8_t *zeros;
    float *sums, *totals; /* sums: of units, two buffers; totals: of passes before */
    int sum_floats;       /* of a buffer */
    const uint8_t *table;
    bool once;    /* the weights are not read again in this launch */
    bool *waited; /* for the launch before */
};

DEVICE bool has_gate(const segment &g) {
    return g.p->gate.codes != nullptr;
}

/* A turn: slots [first, first + n) and units [first_unit, first_unit + units) of each. */
struct turn_shape {
    int first, n, first_unit, units, pass;
};

DEVICE turn_shape shape_of(const segment &g, int turn) {
    const product_plan &plan = *g.plan;
    turn_shape s;
    s.pass = plan.passes > 1 ? turn % plan.passes : 0;
    int group = plan.passes > 1 ? turn / plan.passes : turn, left = g.n - group * plan.group;
    s.first = g.first + group * plan.group;
    s.n = left < plan.group ? left : plan.group;
    s.first_unit = s.pass * plan.pass_units;
    left = plan.units - s.first_unit;
    s.units = left < plan.pass_units ? left : plan.pass_units;
    return s;
}

/* Slots of a turn; with a gate and slots of one tile, those of the gate come after. */
template <int TYPE> DEVICE int strips_of(const segment &g, const turn_shape &s) {
    return !step_format<TYPE>::TWO && has_gate(g) ? 2 * s.n : s.n;
}

/* A warp's units, one after the other. */
template <int TYPE> struct cursor {
    typedef step_format<TYPE> S;
    turn_shape shape;
    int turn, left, strip, unit; /* left: units of the turn, with the present one */

    DEVICE void open_turn(cursor &c, const segment &g) {
        c.shape = shape_of(g, c.turn);
        int n = strips_of<TYPE>(g, c.shape) * c.shape.units, warp = warp_index(),
            warps = block_threads() / WARP;
        int first = n * warp / warps;
        c.left = n * (warp + 1) / warps - first;
        c.strip = first / c.shape.units;
        c.unit = first % c.shape.units;
    }
    DEVICE void go_on(cursor &c) {
        c.left--;
        c.unit++;
        if (c.unit < c.shape.units) return;
        c.unit = 0;
        c.strip++;
    }
    /* Macros of the present unit. */
    DEVICE int macros(const cursor &c, const segment &g) {
        int most = g.plan->unit_macros,
            left = g.plan->macros - (c.shape.first_unit + c.unit) * most;
        return left < most ? left : most;
    }
};

template <int TYPE> struct stream {
    typedef tile_format<TYPE> F;
    typedef step_format<TYPE> S;
    typedef cursor<TYPE> C;
    cursor<TYPE> c; /* what is copied next */
    const uint8_t *codes[2], *scales[2];
    uint8_t *ring;
    uint64_t *signals;
    int left, slot, n_tiles; /* left: steps of the unit */

    DEVICE void point(stream &s, const segment &g, int i, const matrix &m, int tile) {
        if (tile >= s.n_tiles) tile = s.n_tiles - 1; /* not stored */
        size_t place = (size_t)g.rows->expert * (size_t)s.n_tiles + (size_t)tile;
        size_t macro = (size_t)((s.c.shape.first_unit + s.c.unit) * g.plan->unit_macros);
        s.codes[i] = m.codes + place * m.code_stride + macro * F::CODE_BYTES;
        s.scales[i] = m.scales + place * m.scale_stride + macro * F::SCALE_BYTES;
    }

    DEVICE void open_unit(stream &s, const segment &g) {
        s.left = C::macros(s.c, g) * S::STEPS;
        int slot = s.c.shape.first + s.c.strip;
        if (S::TWO) {
            bool gate = has_gate(g);
            point(s, g, 0, g.p->m, gate ? slot : 2 * slot);
            point(s, g, 1, gate ? g.p->gate : g.p->m, gate ? slot : 2 * slot + 1);
        } else {
            bool gate = s.c.strip >= s.c.shape.n;
            point(s, g, 0, gate ? g.p->gate : g.p->m, gate ? slot - s.c.shape.n : slot);
        }
    }

    /* The present unit, or if the turn has no more the first of the next turn that has some for
     * this warp. */
    DEVICE void find_unit(stream &s, const segment &g) {
        while (s.c.left == 0 && s.c.turn + 1 < g.turns) {
            s.c.turn++;
            C::open_turn(s.c, g);
        }
        s.left = 0;
        if (s.c.left > 0) open_unit(s, g);
    }

    DEVICE void open(stream &s, const segment &g) {
        s.ring = g.ring + warp_index() * (int)(S::DEPTH * S::BYTES);
        s.signals = g.signals + warp_index() * MOST_DEPTH;
        create_signals(s.signals, S::DEPTH);
        s.n_tiles = (g.p->m.n_out + TILE - 1) / TILE;
        s.slot = 0;
        s.c.turn = 0;
        C::open_turn(s.c, g);
        find_unit(s, g);
        for (int i = 0; i < S::DEPTH - 1; i++) fetch_step(s, g);
    }

    DEVICE void fetch_step(stream &s, const segment &g) {
        if (s.left > 0) {
            uint8_t *to = s.ring + s.slot * (int)S::BYTES;
            uint64_t *signal = s.signals + s.slot;
            fetch_begin(signal, S::BYTES);
            UNROLL
            for (int i = 0; i < (S::TWO ? 2 : 1); i++) {
                fetch_run(to + i * S::PIECE, s.codes[i], S::CODES, signal, g.once);
                if (S::SCALES > 0)
                    fetch_run(to + i * S::PIECE + S::CODES, s.scales[i], S::SCALES, signal, g.once);
                s.codes[i] += S::CODES;
                s.scales[i] += S::SCALES;
            }
            s.slot = s.slot + 1 < S::DEPTH ? s.slot + 1 : 0;
            if (--s.left == 0) {
                C::go_on(s.c);
                if (s.c.left > 0 && s.c.unit > 0)
                    s.left = C::macros(s.c, g) * S::STEPS; /* it lies beside the last one */
                else
                    find_unit(s, g);
            }
        }
        fetch_end();
    }
};

/* The columns of a pass, of each row of the tile, to shared memory. */
template <int TYPE> DEVICE void stage_rows(const segment &g, int pass) {
    enum { AT_ONCE = 4 };
    const product &p = *g.p;
    int stride = staged_bytes(*g.plan), most = stride / MACRO_BYTES, threads = block_threads();
    int first = pass * g.plan->pass_units * g.plan->unit_macros;
    int macros = g.plan->macros - first < most ? g.plan->macros - first : most;
    int columns = macros * 4 * MACRO / 16;
    int pieces = columns + (tile_format<TYPE>::MINIMA ? macros * 64 / 16 : 0);
    for (int r = 0; r < g.rows->n; r++) {
        const uint8_t *row = split_row(p.x, g.rows->x_row[r]);
        const uint4 *from = (const uint4 *)(row + 4 * p.x.first + first * 4 * MACRO);
        const uint4 *sums =
            (const uint4 *)(row + sums_offset(p.x) + (p.x.first / MACRO + first) * 64);
        uint4 *to = (uint4 *)(g.staged + r * stride);
        uint4 *to_sums = to + most * 4 * MACRO / 16;
        for (int k0 = thread_index(); k0 < pieces; k0 += AT_ONCE * threads) {
            uint4 x[AT_ONCE];
            UNROLL
            for (int i = 0; i < AT_ONCE; i++) {
                int k = k0 + i * threads;
                if (k < pieces) x[i] = k < columns ? from[k] : sums[k - columns];
            }
            UNROLL
            for (int i = 0; i < AT_ONCE; i++) {
                int k = k0 + i * threads;
                if (k < pieces) (k < columns ? to + k : to_sums + k - columns)[0] = x[i];
            }
        }
    }
}

template <int TYPE> DEVICE lane_rows find_lane_rows(const segment &g) {
    int r = lane_index() % 8, piece = lane_index() / 8 * 16;
    int stride = staged_bytes(*g.plan);
    if (r >= g.rows->n) return lane_rows{g.zeros + piece, g.zeros + piece, 0, 0};
    const uint8_t *row = g.staged + r * stride + piece;
    return lane_rows{row, row + stride / MACRO_BYTES * 4 * MACRO, 4 * MACRO, 64};
}

struct ring_place {
    int slot;
    uint32_t use; /* how often all slots have been used before */
};

/* Of a macro of two tiles: to the sums of a whole unit, or to the macro's records. */
DEVICE void keep_sums(bool whole, int n_rows, float *record, float *second, float (*part)[4],
                      float2 factor0, float2 factor1, float (*sum)[4]) {
    if (whole) {
        add_scaled(sum[0], part[0], factor0);
        add_scaled(sum[1], part[1], factor1);
    } else {
        store_scaled(record, n_rows, part[0], factor0);
        store_scaled(second, n_rows, part[1], factor1);
    }
}

/* The units of a turn, to records [tile of the turn][unit]. Tile 2 s and 2 s + 1 are those of slot
 * s when it has two; else those of the gate come after. c: what is multiplied next. */
template <int TYPE>
DEVICE void multiply_turn(const segment &g, stream<TYPE> &s, cursor<TYPE> &c, const lane_rows &r,
                          ring_place *place, float *sums) {
    typedef tile_format<TYPE> F;
    typedef step_format<TYPE> S;
    typedef step_sums<TYPE> work;
    for (; c.left > 0; cursor<TYPE>::go_on(c)) {
        bool whole = g.plan->whole;
        int n_rows = g.rows->n, size = S::record_floats(n_rows, whole);
        int tile = S::TWO ? 2 * c.strip : c.strip, first = c.unit * g.plan->unit_macros;
        float sum[2][4], *record = sums + (tile * c.shape.units + c.unit) * size;
        float *second = record + c.shape.units * size;
        clear_4(sum[0]);
        clear_4(sum[1]);
        int n = cursor<TYPE>::macros(c, g) * S::STEPS;
        const uint8_t *row = r.row + first * r.macro_bytes;
        for (int step = 0; step < n; step++) {
            fetch_wait<S::DEPTH - 2>(s.signals + place->slot, place->use);
            stream<TYPE>::fetch_step(s, g); /* all lanes have left the slot before this one */
            const uint8_t *at = s.ring + place->slot * (int)S::BYTES;
            if (++place->slot == S::DEPTH) place->slot = 0, place->use++;
            if (S::TWO) {
                typename F::half_data d[2];
                float part[2][4];
                work::macro(d, at, row, g.table, part);
                keep_sums(whole, n_rows, record, second, part, F::macro_factor(d[0]),
                          F::macro_factor(d[1]), sum);
                if (F::MINIMA) {
                    int more = (n_rows + 1) * TILE;
                    work::minima(d, r.sums + (first + step) * r.sums_bytes, part);
                    keep_sums(whole, n_rows, record + more, second + more, part,
                              F::minimum_factor(d[0]), F::minimum_factor(d[1]), sum);
                }
            } else if (F::BLOCK_FACTOR) {
                work::blocks(at, row, g.table, sum[0]);
            } else {
                work::plain(at, row, g.table, sum[0]);
            }
            row += r.macro_bytes / S::STEPS;
        }
        if (!S::TWO || whole) store_sums(record, n_rows, sum[0]);
        if (S::TWO && whole) store_sums(second, n_rows, sum[1]);
    }
}

/* Units in order, passes in order; after the last pass what comes of the sums: with a gate, weight
 * silu(gate) up. A thread takes the same values in each pass. */
template <int TYPE>
DEVICE void add_units(const segment &g, const turn_shape &s, const float *sums) {
    enum { TWO = step_format<TYPE>::TWO };
    const product &p = *g.p;
    bool pair = has_gate(g), last = s.pass + 1 == g.plan->passes;
    int size = step_format<TYPE>::record_floats(g.rows->n, g.plan->whole);
    int tiles = TWO && !pair ? 2 * s.n : s.n, n = g.rows->n, n_values = tiles * n * TILE;
    int first_tile = TWO && !pair ? 2 * s.first : s.first;
    for (int i = thread_index(); i - lane_index() < n_values; i += block_threads()) {
        bool valid = i < n_values;
        int column = valid ? i / TILE : 0, t = n == 1 ? column : column / n;
        int value = (column - t * n) * TILE + i % TILE;
        float y[2] = {0.0f, 0.0f};
        UNROLL
        for (int k = 0; k < 2; k++) {
            if (k == 1 && !pair) continue;
            int tile = !pair ? t : TWO ? 2 * t + k : t + k * s.n;
            const float *record = sums + tile * s.units * size;
            float *total = g.totals + tile * n * TILE + value;
            if (s.pass > 0) y[k] = *total;
            y[k] = add_records<TYPE>(y[k], record, size, s.units, n, value, g.plan->whole);
            if (!last && valid) *total = y[k];
        }
        if (!last) continue;
        int row = value / TILE;
        float x = y[0] * (1.0f / ACTIVATION_SCALE);
        if (pair) x = gated(x, y[1] * (1.0f / ACTIVATION_SCALE), p.clamp, g.rows->weight[row]);
        store_product(p, g.rows->y_row[row], (first_tile + t) * TILE + value % TILE, x, valid);
    }
}

template <int TYPE> DEVICE void run_stream(const segment &from) {
    segment g = from;
    g.turns = (g.n + g.plan->group - 1) / g.plan->group * g.plan->passes;
    stream<TYPE> s = {};
    stream<TYPE>::open(s, g);
    if (!*g.waited) previous_launch();
    *g.waited = true;
    lane_rows r = find_lane_rows<TYPE>(g);
    cursor<TYPE> c;
    ring_place place = {0, 0};
    for (c.turn = 0; c.turn < g.turns; c.turn++) {
        cursor<TYPE>::open_turn(c, g);
        if (c.turn == 0 || g.plan->passes > 1) {
            stage_rows<TYPE>(g, c.shape.pass);
            block_barrier();
        }
        float *sums = g.sums + c.turn % 2 * g.sum_floats;
        turn_shape shape = c.shape;
        multiply_turn<TYPE>(g, s, c, r, &place, sums);
        block_barrier();
        add_units<TYPE>(g, shape, sums);
    }
    forget_signals(s.signals, step_format<TYPE>::DEPTH);
    block_barrier(); /* before rows and sums of the next */
}

/* ONLY: the format of all of the launch's matrices, or ANY. */
enum { ANY = -1 };

template <int ONLY> DEVICE void run_segment(const segment &g) {
    switch (ONLY == ANY ? g.p->m.type : ONLY) {
    case DS4_TYPE_Q8_0:
        run_stream<DS4_TYPE_Q8_0>(g);
        break;
    case DS4_TYPE_F16:
        run_stream<DS4_TYPE_F16>(g);
        break;
    case DS4_TYPE_IQ2_XXS:
        run_stream<DS4_TYPE_IQ2_XXS>(g);
        break;
    case DS4_TYPE_Q2_K:
        run_stream<DS4_TYPE_Q2_K>(g);
        break;
    default:
        break;
    }
}

/* Tiles of rows whose weights lie apart: those of experts. */
DEVICE int weight_tiles(const narrow_arguments &t, const product &p) {
    return !p.by_expert ? 1 : t.counts_tiles ? *t.tiles.n_tiles : t.max_tiles;
}

/* Slots [first, last) of a product are this block's: those that begin in its share of the cost. */
DEVICE bool find_share(const narrow_arguments &t, int i, int *first, int *last) {
    uint32_t blocks = (uint32_t)blocks_x(), block = (uint32_t)block_x();
    if (t.counts_tiles) { /* then there is no other product */
        uint32_t n = (uint32_t)(weight_tiles(t, t.list.items[i]) * t.plan[i].slots);
        *first = (int)((uint64_t)n * block / blocks);
        *last = (int)((uint64_t)n * (block + 1) / blocks);
        return *first < *last;
    }
    uint32_t total = t.begin[t.list.n], cost = t.plan[i].cost, base = t.begin[i];
    uint32_t share = total / blocks, more = total % blocks; /* the first blocks have one more */
    uint32_t begin = share * block + (block < more ? block : more);
    uint32_t end = begin + share + (block < more ? 1 : 0);
    if (begin >= t.begin[i + 1] || end <= base) return false;
    if (end > t.begin[i + 1]) end = t.begin[i + 1];
    *first = (int)(begin > base ? (begin - base + cost - 1) / cost : 0);
    *last = (int)((end - base + cost - 1) / cost);
    return *first < *last;
}

DEVICE void wait_for_router(bool *waited) {
    previous_launch();
    next_launch();
    *waited = true;
}

template <int ONLY>
KERNEL LAUNCH_BOUNDS(MOST_WARPS *WARP, 1) narrow_kernel(ARGUMENTS narrow_arguments t) {
    DYNAMIC_SHARED(uint8_t, memory); /* ring, rows, zeros, sums, totals, code book */
    SHARED row_tile rows;
    SHARED uint64_t signals[MOST_WARPS * MOST_DEPTH];
    bool waited = false;
    if (!t.late_next) next_launch();
    segment g = {};
    g.rows = &rows;
    g.ring = memory;
    g.signals = signals;
    g.staged = memory + t.ring_bytes;
    uint4 *zeros = (uint4 *)(g.staged + t.staged_bytes);
    for (int i = thread_index(); i < ZEROS / 16; i += block_threads()) zeros[i] = uint4{0, 0, 0, 0};
    g.zeros = (const uint8_t *)zeros;
    uint32_t *table = (uint32_t *)(zeros + ZEROS / 16);
    if (t.code_book != nullptr) fill_iq2_table(table, t.code_book);
    g.table = lane_table(table);
    g.sums = (float *)(table + (t.code_book != nullptr ? (int)IQ2_TABLE : 0));
    g.sum_floats = t.sum_bytes / (int)sizeof(float);
    g.totals = g.sums + 2 * g.sum_floats;
    g.waited = &waited;
    if (t.late_next && t.counts_tiles) wait_for_router(&waited);
    for (int i = 0; i < t.list.n; i++) {
        const product &p = t.list.items[i];
        int first, last, slots = t.plan[i].slots;
        if (!find_share(t, i, &first, &last)) continue;
        g.p = &p;
        g.plan = &t.plan[i];
        int row_tiles = p.by_expert ? 1 : (t.n_rows + ROWS - 1) / ROWS;
        g.once = row_tiles == 1;
        while (first < last) {
            int tile = p.by_expert ? first / slots : 0;
            int upto = (tile + 1) * slots < last ? (tile + 1) * slots : last;
            g.first = first - tile * slots;
            g.n = upto - first;
            for (int k = 0; k < row_tiles; k++) {
                if (t.late_next && !waited) wait_for_router(&waited);
                find_rows(t.tiles, t.n_rows, p, p.by_expert ? tile : k, ROWS, rows);
                block_barrier(); /* the rows are known to all */
                run_segment<ONLY>(g);
            }
            first = upto;
        }
    }
    if (!waited) previous_launch();
}

void narrow_products_run(device *d, const product_list &list, int n_rows, int tile_rows,
                         const expert_tiles &tiles, int max_tiles, const uint32_t *code_book) {
    narrow_arguments t = {};
    t.list = list;
    t.n_rows = n_rows;
    t.tiles = tiles;
    t.max_tiles = max_tiles;
    int dense_rows = n_rows < ROWS ? n_rows : (int)ROWS, only = list.items[0].m.type;
    for (int i = 0; i < list.n; i++) {
        const product &p = list.items[i];
        t.most_rows =
            larger(t.most_rows, p.by_expert && tile_rows < dense_rows ? tile_rows : dense_rows);
        if (p.by_expert && n_rows > 1) t.counts_tiles = 1;
        if (p.by_expert && !p.rows_known) t.late_next = 1;
        if (p.m.type == DS4_TYPE_IQ2_XXS) t.code_book = code_book;
        if (p.m.type != only) only = ANY;
    }
    int slots = count_slots(&t), bytes = 0;
    block_plan b = choose_blocks(&t, d, slots, &bytes);
    dim3 grid((unsigned)(slots < b.blocks ? slots : b.blocks));
    int threads = b.warps * WARP;
    if (only == DS4_TYPE_Q8_0)
        launch(d, narrow_kernel<DS4_TYPE_Q8_0>, grid, threads, (size_t)bytes, t);
    else if (only == DS4_TYPE_IQ2_XXS)
        launch(d, narrow_kernel<DS4_TYPE_IQ2_XXS>, grid, threads, (size_t)bytes, t);
    else
        launch(d, narrow_kernel<ANY>, grid, threads, (size_t)bytes, t);
}

} // namespace GPU_NAMESPACE
