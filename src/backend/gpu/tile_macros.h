/* Few rows by weights whose macros have factors (IQ2_XXS, Q2_K; above all experts): a warp keeps the
 * activations of one macro in registers and multiplies by them that macro of the block's tiles, one
 * after the other. What it reads of shared memory is weights and the code book. */
#ifndef DS4_BACKEND_GPU_TILE_MACROS_H
#define DS4_BACKEND_GPU_TILE_MACROS_H

#include "backend/gpu/tile_segment.h"

namespace GPU_NAMESPACE {

template <int TYPE> struct macro_work {
    typedef tile_format<TYPE> F;
    typedef step_format<TYPE> S;
    enum { DEPTH = S::DEPTH, BLOCKS = MACRO / 32, DRY = -1 };

    /* A macro of up to 8 rows, in the order of multiply_tile: lane 4 g + t has row g. */
    struct activations {
        uint32_t high[BLOCKS][4], low[BLOCKS][4], sums[4];
    };

    /* What is a warp's: macros first, first + step ...; of the slots of a turn part `part` of
     * `parts`. */
    struct share {
        int first, step, part, parts;
    };
    DEVICE share share_of(const segment &g) {
        int warp = warp_index(), warps = block_threads() / WARP, macros = g.plan->macros;
        int together = warps / macros; /* warps of a macro */
        if (together < 2) return share{warp, warps, 0, 1};
        bool idle = warp >= together * macros;
        return share{idle ? macros : warp % macros, macros, warp / macros, together};
    }

    /* Where a warp is: slots [slot, end) of a turn are left of its part, of a macro and its matrix
     * or gate. The end of all is turn g.turns. */
    struct cursor {
        int turn, macro, gate, slot, end;
    };
    DEVICE void begin_part(cursor &c, const segment &g, const share &mine) {
        int n = shape_of(g, c.turn).n;
        c.slot = n * mine.part / mine.parts;
        c.end = n * (mine.part + 1) / mine.parts;
    }
    DEVICE void settle(cursor &c, const segment &g, const share &mine) {
        while (c.slot >= c.end && c.turn < g.turns) {
            c.gate++;
            if (c.gate > (int)has_gate(g)) {
                c.gate = 0;
                c.macro += mine.step;
                if (c.macro >= g.plan->macros) {
                    c.macro = mine.first;
                    c.turn++;
                }
            }
            begin_part(c, g, mine);
        }
    }
    DEVICE cursor open(const segment &g, const share &mine) {
        cursor c = {mine.first < g.plan->macros ? 0 : g.turns, mine.first, 0, 0, 0};
        begin_part(c, g, mine);
        settle(c, g, mine);
        return c;
    }
    /* Tiles that are copied at once. */
    DEVICE int tiles_at(const cursor &c) {
        return c.end - c.slot < S::TILES ? c.end - c.slot : (int)S::TILES;
    }
    DEVICE void go_on(cursor &c, const segment &g, const share &mine) {
        c.slot += tiles_at(c);
        if (c.slot >= c.end) settle(c, g, mine);
    }

    DEVICE void fetch(cursor &c, const segment &g, const share &mine, uint8_t *to,
                      uint64_t *signal) {
        if (c.turn < g.turns) {
            turn_shape shape = shape_of(g, c.turn);
            int bytes = tiles_at(c) * (int)S::BYTES;
            fetch_begin(signal, bytes);
            fetch_run(to, strip_place(g, shape, c.slot + c.gate * shape.n, c.macro).codes, bytes,
                      signal, g.once);
            go_on(c, g, mine);
        }
        fetch_end();
    }

    DEVICE void load_rows(activations &x, const segment &g, int macro) {
        const activation &a = g.p->x;
        int r = lane_index() / 4, word = lane_index() % 4;
        if (r >= g.rows->n) return;
        const uint8_t *row = split_row(a, g.rows->x_row[r]);
        const uint32_t *from = (const uint32_t *)(row + 4 * (a.first + macro * MACRO)) + word;
        UNROLL
        for (int b = 0; b < BLOCKS; b++) UNROLL
        for (int i = 0; i < 4; i++) {
            x.high[b][i] = from[32 * b + 4 * i];
            x.low[b][i] = from[32 * b + 16 + 4 * i];
        }
        if (!F::MINIMA) return;
        from = (const uint32_t *)(row + sums_offset(a) + (a.first / MACRO + macro) * 64) + word;
        UNROLL
        for (int i = 0; i < 4; i++) x.sums[i] = from[4 * i];
    }

    DEVICE void multiply(const uint8_t *at, const activations &x, const uint8_t *table, int n_rows,
                         float *record) {
        typename F::half_data d;
        typename F::block_data now, next;
        float part[4];
        clear_4(part);
        F::template load<1>(d, at, at + S::CODES, 0, 0);
        F::look_up(d, 0, table, next);
        UNROLL
        for (int b = 0; b < BLOCKS; b++) {
            uint32_t w[2][4];
            now = next;
            F::block(d, b % 4, now, w);
            if (b == 3) F::template load<1>(d, at, at + S::CODES, 1, 1);
            if (b + 1 < BLOCKS) F::look_up(d, (b + 1) % 4, table, next);
            UNROLL
            for (int j = 0; j < 2; j++) {
                multiply_tile(part, w[j], x.high[b][2 * j], x.high[b][2 * j + 1]);
                multiply_tile(part, w[j], x.low[b][2 * j], x.low[b][2 * j + 1]);
            }
        }
        store_scaled(record, n_rows, part, F::macro_factor(d));
        if (!F::MINIMA) return;
        uint32_t least[4];
        F::minima(d, least);
        clear_4(part);
        multiply_tile(part, least, x.sums[0], x.sums[1]);
        multiply_tile(part, least, x.sums[2], x.sums[3]);
        store_scaled(record + (n_rows + 1) * TILE, n_rows, part, F::minimum_factor(d));
    }

    /* While the ring is filled for the first time, in a launch's first segment one tile is done dry,
     * with what happens to lie in a place that nothing is copied to yet: so its code comes while the
     * first weights are on their way. */
    DEVICE void run(const segment &from) {
        enum { FILLING = DEPTH - 1, DRY_WARPS = 4, PLACE = S::TILES * S::BYTES };
        segment g = from;
        g.turns = turns_of(g);
        share mine = share_of(g);
        cursor now = open(g, mine), next = now;
        uint8_t *ring = g.ring + warp_index() * (int)(DEPTH * PLACE);
        uint64_t *signals = g.signals + warp_index() * (int)MOST_DEPTH;
        create_signals(signals, DEPTH);
        activations x = {};
        int loaded = -1, n_rows = g.rows->n, size = S::record_floats(n_rows);
        int place = 0, filled = 0; /* what is multiplied next; where the next copy goes */
        uint32_t use = 0;
        NOT_UNROLLED
        for (int filling = FILLING, turn = 0;; filling--) {
            bool dry = filling > 0;
            while (!dry && now.turn > turn) {
                await_previous(g);
                block_barrier();
                add_units<TYPE>(g, shape_of(g, turn), g.sums + (turn & 1) * g.sum_floats);
                if (++turn == g.turns) break;
            }
            if (turn == g.turns) break;
            if (!dry) {
                await_previous(g);
                if (now.macro != loaded) load_rows(x, g, now.macro);
                loaded = now.macro;
                fetch_wait<DEPTH - 2>(signals + place, use);
            }
            fetch(next, g, mine, ring + filled * PLACE, signals + filled); /* all have left it */
            filled = filled + 1 < DEPTH ? filled + 1 : 0;
            if (dry && (filling > 1 || g.state->warm || warp_index() >= DRY_WARPS)) continue;
            const uint8_t *at = ring + (dry ? (int)FILLING : place) * PLACE;
            float *record = g.sums + (turn & 1) * g.sum_floats;
            int strip = now.slot + now.gate * shape_of(g, turn).n, n = dry ? 1 : tiles_at(now);
            record += (strip * g.plan->macros + now.macro) * size;
            NOT_UNROLLED
            for (int i = 0; i < n; i++) {
                multiply(at, x, g.table, dry ? 0 : n_rows, record);
                at += S::BYTES;
                record += g.plan->macros * size;
            }
            if (dry) continue;
            if (++place == DEPTH) place = 0, use++;
            go_on(now, g, mine);
        }
        g.state->warm = true;
        forget_signals(signals, DEPTH);
        block_barrier(); /* before rows and sums of the next */
    }
};

} // namespace GPU_NAMESPACE

#endif
