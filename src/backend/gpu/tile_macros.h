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

    /* What is a warp's: macros first, first + step ...; of each, strips strip, strip + strips ...
     */
    struct share {
        int first, step, strip, strips;
    };
    DEVICE share share_of(const segment &g) {
        int warp = warp_index(), warps = block_threads() / WARP, macros = g.plan->macros;
        int together = warps / macros; /* warps of a macro */
        if (together < 2) return share{warp, warps, 0, 1};
        bool idle = warp >= together * macros;
        return share{idle ? macros : warp % macros, macros, warp / macros, together};
    }

    struct cursor {
        int turn, macro, strip;
    };
    /* From a place that may not exist to the next one that does, or to the end of all turns. */
    DEVICE void settle(cursor &c, const segment &g, const share &mine) {
        while (c.turn < g.turns) {
            bool some = c.macro < g.plan->macros;
            if (some && c.strip < strips_of(g, shape_of(g, c.turn))) return;
            c.strip = mine.strip;
            c.macro += mine.step;
            if (some && c.macro < g.plan->macros) continue;
            c.macro = mine.first;
            c.turn++;
        }
    }
    DEVICE cursor open(const segment &g, const share &mine) {
        cursor c = {0, mine.first, mine.strip};
        settle(c, g, mine);
        return c;
    }
    DEVICE void go_on(cursor &c, const segment &g, const share &mine) {
        c.strip += mine.strips;
        settle(c, g, mine);
    }

    struct ring {
        uint8_t *memory;
        uint64_t *signals;
        uint32_t fetched, used;
    };
    DEVICE void fetch(ring &r, cursor &c, const segment &g, const share &mine) {
        if (c.turn < g.turns) {
            uint32_t place = r.fetched % DEPTH;
            fetch_weights<TYPE>(place_of<TYPE>(g, shape_of(g, c.turn), c.strip, c.macro),
                                r.memory + place * S::BYTES, r.signals + place, g.once);
            r.fetched++;
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
        float part[4];
        clear_4(part);
        UNROLL
        for (int half = 0; half < 2; half++) {
            F::template load<1>(d, at, at + S::CODES, half, half);
            UNROLL
            for (int b = 0; b < 4; b++) {
                const uint32_t *high = x.high[4 * half + b], *low = x.low[4 * half + b];
                uint32_t w[2][4];
                F::block(d, b, table, w);
                UNROLL
                for (int j = 0; j < 2; j++) {
                    multiply_tile(part, w[j], high[2 * j], high[2 * j + 1]);
                    multiply_tile(part, w[j], low[2 * j], low[2 * j + 1]);
                }
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

    /* The first turn of a launch is a dry one, of what happens to lie in a place of the ring that
     * nothing is copied to yet: so the code comes while the first weights are on their way. */
    DEVICE void run(const segment &from) {
        segment g = from;
        g.turns = turns_of(g);
        share mine = share_of(g);
        ring r = {g.ring + warp_index() * (int)(DEPTH * S::BYTES),
                  g.signals + warp_index() * (int)MOST_DEPTH, 0, 0};
        create_signals(r.signals, DEPTH);
        cursor next = open(g, mine), now = next;
        for (int i = 0; i < DEPTH - 1; i++) fetch(r, next, g, mine);
        activations x = {};
        int loaded = -1, size = S::record_floats(g.rows->n);
        for (int turn = g.state->warm ? 0 : (int)DRY; turn < g.turns; turn++) {
            bool dry = turn == DRY;
            if (!dry) await_previous(g);
            float *sums = g.sums + (turn & 1) * g.sum_floats;
            while (dry ? warp_index() < 4 : now.turn == turn) {
                uint32_t place = dry ? (int)DEPTH - 1 : r.used % DEPTH;
                if (!dry) {
                    if (now.macro != loaded) load_rows(x, g, now.macro);
                    loaded = now.macro;
                    fetch_wait<DEPTH - 2>(r.signals + place, r.used / DEPTH);
                    fetch(r, next, g, mine); /* all lanes have left the place before this one */
                }
                multiply(r.memory + place * S::BYTES, x, g.table, dry ? 0 : g.rows->n,
                         sums + (now.strip * g.plan->macros + now.macro) * size);
                if (dry) break;
                r.used++;
                go_on(now, g, mine);
            }
            if (dry) continue;
            block_barrier();
            add_units<TYPE>(g, shape_of(g, turn), sums);
        }
        g.state->warm = true;
        forget_signals(r.signals, DEPTH);
        block_barrier(); /* before rows and sums of the next */
    }
};

} // namespace GPU_NAMESPACE

#endif
