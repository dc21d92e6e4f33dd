/* Few rows by weights whose blocks have factors, or none (Q8_0, F16): a warp sums chunks of a
 * block's tiles, one after the other; the rows lie in shared memory, or where there is no room for
 * all of their columns, a window of them: then each warp has one chunk in a turn, and all go
 * through their chunks side by side. */
#ifndef DS4_BACKEND_GPU_TILE_CHUNKS_H
#define DS4_BACKEND_GPU_TILE_CHUNKS_H

#include "backend/gpu/tile_plan.h"

namespace GPU_NAMESPACE {

/* A block's share of one product. */
struct chunk_job {
    const product *p;
    const product_plan *plan;
    int first, end;       /* slots */
    int n_rows;           /* of the launch, or of `rows` */
    const row_tile *rows; /* which they are, when they are listed */
    uint8_t *ring, *staged;
    uint64_t *signals; /* [warps][MOST_DEPTH] */
    int warp_ring;     /* bytes */
    int warp_bits;     /* logarithm of the warps of a block */
    int windows, window_bytes;
    float *sums, *totals; /* sums: of units, one or two buffers; totals: of passes before */
    int sum_floats;       /* from a buffer to the other */
    block_state *state;
};

/* GROUPS: of eight rows that are multiplied at once. LISTED: the rows are those of a row tile, no
 * more than a group. */
template <int TYPE, int GROUPS, int LISTED> struct chunk_work {
    typedef tile_format<TYPE> F;
    typedef step_format<TYPE> S;
    typedef chunk_step<TYPE, GROUPS> C;
    typedef typename F::half_data half_data;
    enum { AT_ONCE = 8 * GROUPS };

    DEVICE int x_row(const chunk_job &g, int row) { return LISTED ? g.rows->x_row[row] : row; }
    DEVICE int y_row(const chunk_job &g, int row) { return LISTED ? g.rows->y_row[row] : row; }

    /* Slots [first, first + n), units [first_unit, first_unit + units) of each, rows [row, row +
     * n_rows). Of these a warp's units, one after the other; left: with the next one. */
    struct turn {
        int row, n_rows, first, n, pass, first_unit, units;
        int left, strip, unit;
    };
    DEVICE bool is_over(const turn &c, const chunk_job &g) { return c.row >= g.n_rows; }
    DEVICE void deal(turn &c, const chunk_job &g) {
        const product_plan &plan = *g.plan;
        c.n_rows = smaller(g.n_rows - c.row, AT_ONCE);
        c.n = smaller(g.end - c.first, plan.group);
        c.first_unit = c.pass * plan.pass_units;
        c.units = smaller(plan.units - c.first_unit, plan.pass_units);
        int n = c.n * plan.slot_tiles * c.units, warp = warp_index();
        c.unit = warp;
        c.left = warp < n;
        if (n > 1 << g.warp_bits) {
            c.unit = n * warp >> g.warp_bits;
            c.left = (n * (warp + 1) >> g.warp_bits) - c.unit;
        }
        c.strip = 0;
        if (c.units == 1) {
            c.strip = c.unit;
            c.unit = 0;
        }
        NOT_UNROLLED
        for (; c.unit >= c.units; c.unit -= c.units) c.strip++;
    }
    DEVICE turn first_turn(const chunk_job &g) {
        turn c = {};
        c.first = g.first;
        if (g.first == g.end) c.row = g.n_rows;
        deal(c, g);
        return c;
    }
    DEVICE void next_turn(turn &c, const chunk_job &g) {
        if (++c.pass == g.plan->passes) {
            c.pass = 0;
            c.first += g.plan->group;
            if (c.first >= g.end) {
                c.first = g.first;
                c.row += AT_ONCE;
            }
        }
        deal(c, g);
    }
    DEVICE void next_unit(turn &c) {
        c.left--;
        c.unit++;
        if (c.unit < c.units) return;
        c.unit = 0;
        c.strip++;
    }
    DEVICE int halves_of(const turn &c, const chunk_job &g, int unit) {
        return smaller(2 * g.plan->macros - (c.first_unit + unit) * (int)HALVES, HALVES);
    }

    /* What is copied next, and where it goes; only fetching lanes know. */
    struct stream {
        turn c; /* units that have not begun */
        const uint8_t *codes, *scales;
        uint8_t *ring;
        uint64_t *signals;
        int left, place, depth; /* left: copies of the unit */
        bool once;              /* the weights are not read again in this launch */
    };
    DEVICE void begin_unit(stream &s, const chunk_job &g) {
        NOT_UNROLLED
        while (s.c.left == 0 && !is_over(s.c, g)) next_turn(s.c, g);
        if (s.c.left == 0) return;
        bool gate = s.c.strip >= s.c.n;
        const matrix &m = gate ? g.p->gate : g.p->m;
        int tile = s.c.first + s.c.strip - (gate ? s.c.n : 0);
        int macro = (s.c.first_unit + s.c.unit) * (int)CHUNK_MACROS;
        if (LISTED) tile += g.rows->expert * ((m.n_out + TILE - 1) / TILE);
        s.codes = m.codes + (size_t)tile * m.code_stride + macro * (int)F::CODE_BYTES;
        s.scales = m.scales + (size_t)tile * m.scale_stride + macro * (int)F::SCALE_BYTES;
        s.left = halves_of(s.c, g, s.c.unit) / (int)C::HALF_STEPS;
        next_unit(s.c);
    }
    DEVICE void fetch(stream &s, const chunk_job &g) {
        if (fetch_lane()) {
            if (s.left == 0) begin_unit(s, g);
            if (s.left > 0) {
                uint8_t *to = s.ring + s.place * (int)C::BYTES;
                uint64_t *signal = s.signals + s.place;
                fetch_begin(signal, C::BYTES);
                fetch_run(to, s.codes, C::CODES, signal, s.once);
                if (C::SCALES > 0) fetch_run(to + C::CODES, s.scales, C::SCALES, signal, s.once);
                s.codes += C::CODES;
                s.scales += C::SCALES;
                s.place = s.place + 1 < s.depth ? s.place + 1 : 0;
                s.left--;
            }
        }
        fetch_end();
    }

    /* A window of the turn's columns, of each row, on their way to shared memory:
     * [row][unit][halves of the window]. */
    DEVICE void stage_window(const chunk_job &g, const turn &c, int window) {
        const product &p = *g.p;
        int lane = lane_index(), warp = warp_index(), warps = 1 << g.warp_bits, units = c.units;
        if (c.n_rows == 1 && g.windows == 1) { /* the same, with fewer instructions */
            int n = smaller(2 * g.plan->macros - c.first_unit * (int)HALVES, units * HALVES);
            const uint8_t *from = split_row(p.x, x_row(g, c.row)) + 16 * lane +
                                  4 * (p.x.first + c.first_unit * (int)CHUNK);
            for (int i = warp; i < n; i += warps)
                fetch_16(g.staged + i * (int)HALF_BYTES + 16 * lane, from + i * (int)HALF_BYTES);
            return;
        }
        int stride = staged_bytes(*g.plan, g.windows), each = (int)HALVES / g.windows;
        int at_once = g.plan->stage_rows, row0 = 0, unit = warp, place_step = at_once * stride;
        size_t row_step = (size_t)at_once * p.x.row_bytes;
        NOT_UNROLLED
        for (; at_once > 1 && unit >= units; unit -= units) row0++;
        if (row0 >= at_once) return;
        int unit_step = at_once > 1 ? units : warps;
        NOT_UNROLLED
        for (; unit < units; unit += unit_step) {
            int left = smaller(halves_of(c, g, unit) - window * each, each);
            int column = (c.first_unit + unit) * (int)CHUNK + window * each * (int)HALF;
            const uint8_t *from = split_row(p.x, 0) + 4 * (p.x.first + column) + 16 * lane;
            const uint8_t *row = from + (size_t)(c.row + row0) * p.x.row_bytes;
            uint8_t *to = g.staged + (window & 1) * g.window_bytes + row0 * stride +
                          unit * each * (int)HALF_BYTES + 16 * lane;
            if (left <= 0) continue;
            NOT_UNROLLED
            for (int r = row0; r < c.n_rows; r += at_once, row += row_step, to += place_step) {
                if (LISTED) row = from + (size_t)x_row(g, c.row + r) * p.x.row_bytes;
                fetch_16(to, row);
                NOT_UNROLLED
                for (int i = HALF_BYTES; i < left * (int)HALF_BYTES; i += HALF_BYTES)
                    fetch_16(to + i, row + i);
            }
        }
    }
    DEVICE void await_window() {
        fetch_group();
        fetch_finished<0>();
        block_barrier();
    }

    /* A lane's places in the activations in shared memory: those of load_tiles in the first block
     * of the first column. Where there is no such row another does: what comes of it is not kept.
     * (A dry turn reads the ring instead: others write rows meanwhile.) */
    struct lane_rows {
        const uint8_t *at[GROUPS];
    };
    DEVICE lane_rows find_rows_of_lane(const chunk_job &g, int n_rows) {
        lane_rows x;
        int stride = staged_bytes(*g.plan, g.windows);
        UNROLL
        for (int k = 0; k < GROUPS; k++) {
            int r = lane_index() % 8 + 8 * k;
            x.at[k] = g.staged + (r < n_rows ? r : 0) * stride + lane_index() / 8 * 16;
        }
        return x;
    }

    struct operands {
        uint32_t high[4], low[4];
    };
    DEVICE void read_operands(operands &x, const uint8_t *row, int block) {
        load_tiles(x.high, row + 128 * block);
        load_tiles(x.low, row + 128 * block + 64);
    }

    /* Half a macro whose blocks have factors, two at a time: the matrix unit takes a while for each
     * step of a sum. */
    DEVICE void multiply_blocks(const half_data &d, const uint4 &factors, const lane_rows &rows,
                                int at, float (*sum)[4]) {
        UNROLL
        for (int b = 0; b < 4; b += 2) {
            uint32_t w[2][2][4];
            UNROLL
            for (int i = 0; i < 2; i++) F::block(d, b + i, nullptr, w[i]);
            UNROLL
            for (int k = 0; k < GROUPS; k++) {
                operands x[2];
                float part[2][4];
                UNROLL
                for (int i = 0; i < 2; i++) read_operands(x[i], rows.at[k] + at, b + i);
                UNROLL
                for (int i = 0; i < 2; i++)
                    multiply_first_tile(part[i], w[i][0], x[i].high[0], x[i].high[1]);
                UNROLL
                for (int i = 0; i < 2; i++)
                    multiply_tile(part[i], w[i][0], x[i].low[0], x[i].low[1]);
                UNROLL
                for (int i = 0; i < 2; i++)
                    multiply_tile(part[i], w[i][1], x[i].high[2], x[i].high[3]);
                UNROLL
                for (int i = 0; i < 2; i++)
                    multiply_tile(part[i], w[i][1], x[i].low[2], x[i].low[3]);
                UNROLL
                for (int i = 0; i < 2; i++)
                    add_scaled(sum[k], part[i], F::factor_of(word_of(factors, b + i)));
            }
        }
    }

    /* No factors: one sum all the way. */
    DEVICE void multiply_plain(const half_data &d, const lane_rows &rows, int at, float (*sum)[4]) {
        UNROLL
        for (int b = 0; b < 4; b++) {
            uint32_t w[2][4];
            F::block(d, b, nullptr, w);
            UNROLL
            for (int k = 0; k < GROUPS; k++) {
                operands x;
                read_operands(x, rows.at[k] + at, b);
                UNROLL
                for (int j = 0; j < 2; j++) {
                    multiply_tile(sum[k], w[j], x.high[2 * j], x.high[2 * j + 1]);
                    multiply_tile(sum[k], w[j], x.low[2 * j], x.low[2 * j + 1]);
                }
            }
        }
    }

    struct ring_place {
        int place;
        uint32_t use; /* how often all places have been used before */
    };

    /* n places of the ring, by columns that begin `at` bytes after the lanes' places. */
    DEVICE void multiply_places(const chunk_job &g, stream &s, ring_place *next, int n, int at,
                                const lane_rows &rows, bool dry, float (*sum)[4]) {
        NOT_UNROLLED
        for (; n > 0; n--) {
            const uint8_t *from = s.ring + next->place * (int)C::BYTES;
            if (!dry) fetch_wait(s.signals + next->place, next->use, s.depth - 1);
            NOT_UNROLLED
            for (int half = 0; half < (dry ? 1 : (int)C::HALF_STEPS); half++, at += HALF_BYTES) {
                half_data d;
                F::load_codes(d, from + half * (int)S::CODES);
                if (F::BLOCK_FACTOR)
                    multiply_blocks(d, F::half_factors(from + C::CODES + half * (int)S::SCALES),
                                    rows, at, sum);
                else
                    multiply_plain(d, rows, at, sum);
            }
            if (dry) continue;
            warp_barrier(); /* all lanes have read the place */
            fetch(s, g);
            if (++next->place == s.depth) next->place = 0, next->use++;
        }
    }

    DEVICE void clear_sums(float (*sum)[4]) {
        UNROLL
        for (int k = 0; k < GROUPS; k++) clear_4(sum[k]);
    }

    /* The units of a turn, to records [strip of the turn][unit]. With windows, the next is on its
     * way during each. A dry turn is one step of what happens to lie in a place of the ring that
     * nothing is copied to yet: so the code comes while the first weights are on their way. */
    DEVICE void multiply_turn(const chunk_job &g, stream &s, turn c, ring_place *next, float *sums,
                              bool dry) {
        int n_rows = dry ? 0 : c.n_rows, each = (int)HALVES / g.windows;
        bool windows = !dry && g.windows > 1;
        lane_rows rows = find_rows_of_lane(g, n_rows);
        UNROLL
        for (int k = 0; k < GROUPS; k++)
            if (dry) rows.at[k] = s.ring + next->place * (int)C::BYTES;
        int rounds = dry ? 1 : windows ? g.windows : c.left;
        float sum[GROUPS][4];
        clear_sums(sum);
        NOT_UNROLLED
        for (int round = 0; round < rounds; round++) {
            int window = windows ? round : 0, upto = window + 1;
            if (windows && upto < rounds) stage_window(g, c, upto);
            if (dry || c.left > 0) {
                int n = smaller(halves_of(c, g, c.unit) - window * each, each);
                int at = c.unit * each * (int)HALF_BYTES + (window & 1) * g.window_bytes;
                multiply_places(g, s, next, dry ? 1 : n / (int)C::HALF_STEPS, dry ? 0 : at, rows,
                                dry, sum);
                if (!windows || upto == rounds) {
                    float *record = sums + (c.strip * c.units + c.unit) * S::record_floats(n_rows);
                    UNROLL
                    for (int k = 0; k < GROUPS; k++)
                        store_sums(record + 8 * k * (int)TILE, n_rows - 8 * k, sum[k]);
                }
            }
            if (windows) {
                await_window();
            } else {
                clear_sums(sum);
                next_unit(c);
            }
        }
        if (!windows && !dry) block_barrier();
    }

    /* Sums of a tile's units after those of the passes before, of two outputs. */
    DEVICE float2 add_up(const chunk_job &g, const turn &c, const float *sums, int tile, int value,
                         bool keep) {
        enum { TOGETHER = 4 };
        int size = S::record_floats(c.n_rows);
        const float *record = sums + tile * c.units * size + value;
        float2 *total = (float2 *)(g.totals + tile * size + value);
        float2 y = {0.0f, 0.0f};
        if (c.pass > 0) y = *total;
        NOT_UNROLLED
        for (int k0 = 0; k0 < c.units; k0 += TOGETHER, record += TOGETHER * size) {
            float2 x[TOGETHER];
            UNROLL
            for (int k = 0; k < TOGETHER; k++)
                x[k] = k0 + k < c.units ? *(const float2 *)(record + k * size) : float2{0.0f, 0.0f};
            UNROLL
            for (int k = 0; k < TOGETHER; k++) {
                if (k0 + k >= c.units) continue;
                y.x += x[k].x;
                y.y += x[k].y;
            }
        }
        if (keep) *total = y;
        return y;
    }

    /* Units in order, passes in order; after the last pass what comes of the sums: with a gate,
     * weight silu(gate) up. A thread takes the same pairs of outputs in each pass. */
    DEVICE void add_turn(const chunk_job &g, const turn &c, const float *sums) {
        enum { PAIRS = TILE / 2 };
        const product &p = *g.p;
        bool two = g.plan->slot_tiles > 1, last = c.pass + 1 == g.plan->passes;
        int n = c.n_rows, n_pairs = c.n * n * PAIRS;
        float inverse = n == 1 ? 1.0f : 1.0f / (float)n;
        NOT_UNROLLED
        for (int i = thread_index(); i - lane_index() < n_pairs; i += block_threads()) {
            bool valid = i < n_pairs;
            int column = valid ? i / PAIRS : 0, output = i % PAIRS * 2;
            int t = (int)(((float)column + 0.5f) * inverse), row = column - t * n;
            int value = row * TILE + output;
            float2 y = add_up(g, c, sums, t, value, !last && valid), gate = {0.0f, 0.0f};
            if (two) gate = add_up(g, c, sums, t + c.n, value, !last && valid);
            if (!last) continue;
            y.x *= 1.0f / ACTIVATION_SCALE;
            y.y *= 1.0f / ACTIVATION_SCALE;
            if (two) {
                float weight = LISTED ? g.rows->weight[c.row + row] : 1.0f;
                y.x = gated(y.x, gate.x * (1.0f / ACTIVATION_SCALE), p.clamp, weight);
                y.y = gated(y.y, gate.y * (1.0f / ACTIVATION_SCALE), p.clamp, weight);
            }
            store_two_products(p, y_row(g, c.row + row), (c.first + t) * TILE + output, y.x, y.y,
                               valid);
        }
    }

    DEVICE void run(const chunk_job &g) {
        turn c = first_turn(g);
        stream s = {};
        ring_place next = {0, 0};
        s.c = c;
        s.once = g.n_rows <= AT_ONCE;
        s.depth = smaller(g.warp_ring / (int)C::BYTES, MOST_DEPTH);
        s.ring = g.ring + warp_index() * g.warp_ring;
        s.signals = g.signals + warp_index() * (int)MOST_DEPTH;
        create_signals(s.signals, s.depth);
        int early = smaller(larger(1, EARLY / (int)C::BYTES), s.depth - 1);
        NOT_UNROLLED
        for (int i = 0; i < early; i++) fetch(s, g);
        /* Warps without a unit, if there are any, are the last. */
        bool dry = !g.state->warm && warp_index() + 4 >= 1 << g.warp_bits;
        next.place = s.depth - 1;
        NOT_UNROLLED
        for (int number = 0; dry || !is_over(c, g); dry = false) {
            float *sums = g.sums + (number & 1) * g.sum_floats;
            if (!dry && number == 0) {
                next.place = 0;
                if (!g.state->waited) previous_launch();
                g.state->waited = true;
            }
            if (!dry && (g.windows > 1 || g.plan->passes > 1 || c.first == g.first)) {
                stage_window(g, c, 0);
                if (number == 0) {
                    warp_barrier(); /* all have done the dry turn */
                    NOT_UNROLLED
                    for (int i = early; i < s.depth; i++) fetch(s, g);
                }
                await_window();
            }
            multiply_turn(g, s, c, &next, sums, dry);
            if (dry) continue;
            add_turn(g, c, sums);
            next_turn(c, g);
            number++;
        }
        g.state->warm = true;
        if (LISTED) forget_signals(s.signals, s.depth); /* the next segment makes them anew */
    }
};

} // namespace GPU_NAMESPACE

#endif
