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

    /* The first strip of a warp's in a turn, or the next macro's; the end is turn g.turns. */
    struct cursor {
        int turn, macro, strip, strips;
    };
    DEVICE void settle(cursor &c, const segment &g, const share &mine) {
        while (c.strip >= c.strips && c.turn < g.turns) {
            c.macro += mine.step;
            if (c.macro >= g.plan->macros) {
                c.macro = mine.first;
                c.turn++;
                if (c.macro < g.plan->macros) c.strips = strips_of(g, shape_of(g, c.turn));
            }
            c.strip = mine.strip;
        }
    }
    DEVICE cursor open(const segment &g, const share &mine) {
        bool idle = mine.first >= g.plan->macros;
        cursor c = {idle ? g.turns : 0, mine.first, mine.strip, strips_of(g, shape_of(g, 0))};
        settle(c, g, mine);
        return c;
    }

    /* What is copied: the strips of a macro in a turn lie at equal distances, as do its gate's. */
    struct stream {
        cursor next;
        weight_place from;
        int left; /* strips at that distance */
        uint8_t *memory;
        uint64_t *signals;
        uint32_t fetched;
    };
    DEVICE void find_weights(stream &s, const segment &g) {
        turn_shape shape = shape_of(g, s.next.turn);
        s.from = place_of<TYPE>(g, shape, s.next.strip, s.next.macro);
        s.left = (s.next.strip < shape.n ? shape.n : s.next.strips) - s.next.strip;
    }
    DEVICE void fetch(stream &s, const segment &g, const share &mine) {
        if (s.next.turn < g.turns) {
            if (s.left <= 0) find_weights(s, g);
            uint32_t place = s.fetched++ % DEPTH;
            fetch_weights<TYPE>(s.from, s.memory + place * S::BYTES, s.signals + place, g.once);
            s.from.codes += (uint32_t)mine.strips * g.p->m.code_stride;
            s.from.scales += (uint32_t)mine.strips * g.p->m.scale_stride;
            s.left -= mine.strips;
            s.next.strip += mine.strips;
            if (s.next.strip >= s.next.strips) {
                settle(s.next, g, mine);
                s.left = 0;
            }
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

    /* While the ring is filled for the first time, in a launch's first segment one step is done dry,
     * with what happens to lie in a place that nothing is copied to yet: so its code comes while the
     * first weights are on their way. */
    DEVICE void run(const segment &from) {
        enum { FILLING = DEPTH - 1, DRY_WARPS = 4 };
        segment g = from;
        g.turns = turns_of(g);
        share mine = share_of(g);
        cursor now = open(g, mine);
        stream s = {now, {nullptr, nullptr}, 0, g.ring + warp_index() * (int)(DEPTH * S::BYTES),
                    g.signals + warp_index() * (int)MOST_DEPTH, 0};
        create_signals(s.signals, DEPTH);
        activations x = {};
        int loaded = -1, n_rows = g.rows->n, size = S::record_floats(n_rows);
        NOT_UNROLLED
        for (int step = -FILLING, turn = 0;; step++) {
            uint32_t place = (uint32_t)step % DEPTH;
            while (step >= 0 && now.turn > turn) {
                await_previous(g);
                block_barrier();
                add_units<TYPE>(g, shape_of(g, turn), g.sums + (turn & 1) * g.sum_floats);
                if (++turn == g.turns) break;
            }
            if (turn == g.turns) break;
            if (step >= 0) {
                await_previous(g);
                if (now.macro != loaded) load_rows(x, g, now.macro);
                loaded = now.macro;
                fetch_wait<DEPTH - 2>(s.signals + place, (uint32_t)step / DEPTH);
            }
            fetch(s, g, mine); /* all lanes have left the place before this one */
            if (step < 0 && (step != -1 || g.state->warm || warp_index() >= DRY_WARPS)) continue;
            multiply(s.memory + place * S::BYTES, x, g.table, step < 0 ? 0 : n_rows,
                     g.sums + (turn & 1) * g.sum_floats +
                         (now.strip * g.plan->macros + now.macro) * size);
            if (step < 0) continue;
            now.strip += mine.strips;
            settle(now, g, mine);
        }
        g.state->warm = true;
        forget_signals(s.signals, DEPTH);
        block_barrier(); /* before rows and sums of the next */
    }
};

} // namespace GPU_NAMESPACE

#endif
