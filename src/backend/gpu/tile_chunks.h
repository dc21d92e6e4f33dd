/* Few rows by weights whose blocks have factors, or none (Q8_0, F16): a warp sums chunks of a
 * block's tiles, one after the other; the rows lie in shared memory. */
#ifndef DS4_BACKEND_GPU_TILE_CHUNKS_H
#define DS4_BACKEND_GPU_TILE_CHUNKS_H

#include "backend/gpu/tile_segment.h"

namespace GPU_NAMESPACE {

template <int TYPE> struct chunk_work {
    typedef tile_format<TYPE> F;
    typedef step_format<TYPE> S;
    typedef typename F::half_data half_data;
    enum { DEPTH = S::DEPTH, DRY = -1 };

    /* A warp's units, one after the other; left: of the turn, with the present one. */
    struct cursor {
        turn_shape shape;
        int turn, left, strip, unit;
    };
    DEVICE void open_turn(cursor &c, const segment &g) {
        c.shape = shape_of(g, c.turn);
        int n = strips_of(g, c.shape) * c.shape.units, warp = warp_index(),
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
    DEVICE int first_macro(const cursor &c, const segment &g) {
        return (c.shape.first_unit + c.unit) * g.plan->unit_macros;
    }
    DEVICE int steps(const cursor &c, const segment &g) { /* of the present unit */
        int most = g.plan->unit_macros, left = g.plan->macros - first_macro(c, g);
        return (left < most ? left : most) * S::STEPS;
    }

    /* What is copied next, and where it goes. */
    struct stream {
        cursor c;
        macro_place from;
        uint8_t *ring;
        uint64_t *signals;
        int left, slot; /* left: steps of the unit */
    };
    /* The present unit, or if the turn has no more the first of the next turn that has some for
     * this warp. */
    DEVICE void find_unit(stream &s, const segment &g) {
        while (s.c.left == 0 && s.c.turn + 1 < g.turns) {
            s.c.turn++;
            open_turn(s.c, g);
        }
        s.left = 0;
        if (s.c.left == 0) return;
        s.left = steps(s.c, g);
        s.from = strip_place(g, s.c.shape, s.c.strip, first_macro(s.c, g));
    }
    DEVICE void open(stream &s, const segment &g) {
        s.ring = g.ring + warp_index() * (int)(DEPTH * S::BYTES);
        s.signals = g.signals + warp_index() * (int)MOST_DEPTH;
        create_signals(s.signals, DEPTH);
        s.slot = 0;
        s.c.turn = 0;
        open_turn(s.c, g);
        find_unit(s, g);
        NOT_UNROLLED
        for (int i = 0; i < DEPTH - 1; i++) fetch_step(s, g);
    }
    DEVICE void fetch_step(stream &s, const segment &g) {
        if (s.left > 0) {
            uint8_t *to = s.ring + s.slot * (int)S::BYTES;
            uint64_t *signal = s.signals + s.slot;
            fetch_begin(signal, S::BYTES);
            fetch_run(to, s.from.codes, S::CODES, signal, g.once);
            if (S::SCALES > 0) fetch_run(to + S::CODES, s.from.scales, S::SCALES, signal, g.once);
            s.from.codes += S::CODES;
            s.from.scales += S::SCALES;
            s.slot = s.slot + 1 < DEPTH ? s.slot + 1 : 0;
            if (--s.left == 0) {
                go_on(s.c);
                find_unit(s, g);
            }
        }
        fetch_end();
    }

    /* The columns of a pass, of each row of the tile, to shared memory. */
    DEVICE void stage_rows(const segment &g, int pass) {
        enum { AT_ONCE = 4 };
        const product &p = *g.p;
        int stride = staged_bytes(*g.plan), most = stride / MACRO_BYTES, threads = block_threads();
        int first = pass * g.plan->pass_units * g.plan->unit_macros;
        int macros = g.plan->macros - first < most ? g.plan->macros - first : most;
        int pieces = macros * MACRO_BYTES / 16;
        for (int r = 0; r < g.rows->n; r++) {
            const uint8_t *row = split_row(p.x, g.rows->x_row[r]);
            const uint4 *from = (const uint4 *)(row + 4 * p.x.first + first * MACRO_BYTES);
            uint4 *to = (uint4 *)(g.staged + r * stride);
            for (int k0 = thread_index(); k0 < pieces; k0 += AT_ONCE * threads) {
                uint4 x[AT_ONCE];
                UNROLL
                for (int i = 0; i < AT_ONCE; i++)
                    if (k0 + i * threads < pieces) x[i] = from[k0 + i * threads];
                UNROLL
                for (int i = 0; i < AT_ONCE; i++)
                    if (k0 + i * threads < pieces) to[k0 + i * threads] = x[i];
            }
        }
    }

    /* A lane's place in the activations in shared memory: that of load_tiles in the first block of
     * the first column. Bytes to the next macro: none for lanes without a row, which read zeros. */
    struct lane_row {
        const uint8_t *at;
        int macro_bytes;
    };
    DEVICE lane_row find_row(const segment &g, int n_rows) {
        int r = lane_index() % 8, piece = lane_index() / 8 * 16;
        if (r >= n_rows) return lane_row{g.zeros + piece, 0};
        return lane_row{g.staged + r * staged_bytes(*g.plan) + piece, MACRO_BYTES};
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
    DEVICE void multiply_blocks(const half_data &d, const uint8_t *row, const uint8_t *table,
                                float *sum) {
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
            UNROLL
            for (int j = 0; j < 2; j++) {
                UNROLL
                for (int i = 0; i < 2; i++)
                    multiply_tile(part[i], w[i][j], x[i].high[2 * j], x[i].high[2 * j + 1]);
                UNROLL
                for (int i = 0; i < 2; i++)
                    multiply_tile(part[i], w[i][j], x[i].low[2 * j], x[i].low[2 * j + 1]);
            }
            UNROLL
            for (int i = 0; i < 2; i++) add_scaled(sum, part[i], F::block_factor(d, b + i));
        }
    }

    /* No factors: one sum all the way. */
    DEVICE void multiply_plain(const half_data &d, const uint8_t *row, const uint8_t *table,
                               float *sum) {
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

    struct ring_place {
        int slot;
        uint32_t use; /* how often all slots have been used before */
    };

    /* The units of a turn, to records [strip of the turn][unit]. c: what is multiplied next. A dry
     * turn is one step of what happens to lie in a place of the ring that nothing is copied to yet
     * by zeros: so the code comes while the first weights are on their way. */
    DEVICE void multiply_turn(const segment &g, stream &s, cursor &c, ring_place *place,
                              float *sums, bool dry) {
        lane_row r = find_row(g, dry ? 0 : g.rows->n);
        for (int left = dry ? warp_index() < 4 : c.left; left > 0; left--, go_on(c)) {
            int n_rows = dry ? 0 : g.rows->n, n = dry ? 1 : steps(c, g);
            float sum[4],
                *record = sums + (c.strip * c.shape.units + c.unit) * S::record_floats(n_rows);
            const uint8_t *row = r.at + c.unit * g.plan->unit_macros * r.macro_bytes;
            clear_4(sum);
            for (int step = 0; step < n; step++) {
                const uint8_t *at = s.ring + (dry ? (int)DEPTH - 1 : place->slot) * (int)S::BYTES;
                if (!dry) {
                    fetch_wait<DEPTH - 2>(s.signals + place->slot, place->use);
                    fetch_step(s, g); /* all lanes have left the slot before this one */
                    if (++place->slot == DEPTH) place->slot = 0, place->use++;
                }
                half_data d;
                F::template load<1>(d, at, at + S::CODES, 0, 0);
                if (F::BLOCK_FACTOR)
                    multiply_blocks(d, row, g.table, sum);
                else
                    multiply_plain(d, row, g.table, sum);
                row += r.macro_bytes / S::STEPS;
            }
            store_sums(record, n_rows, sum);
        }
    }

    DEVICE void run(const segment &from) {
        segment g = from;
        g.turns = turns_of(g);
        stream s = {};
        cursor c = {};
        ring_place place = {0, 0};
        open(s, g);
        for (int turn = g.state->warm ? 0 : (int)DRY; turn < g.turns; turn++) {
            bool dry = turn == DRY;
            c.turn = dry ? 0 : turn;
            open_turn(c, g);
            if (!dry) await_previous(g);
            if (turn == 0 || (!dry && g.plan->passes > 1)) {
                stage_rows(g, c.shape.pass);
                block_barrier();
            }
            float *sums = g.sums + (turn & 1) * g.sum_floats;
            turn_shape shape = c.shape;
            multiply_turn(g, s, c, &place, sums, dry);
            if (dry) continue;
            block_barrier();
            add_units<TYPE>(g, shape, sums);
        }
        g.state->warm = true;
        forget_signals(s.signals, DEPTH);
        block_barrier(); /* before rows and sums of the next */
    }
};

} // namespace GPU_NAMESPACE

#endif
