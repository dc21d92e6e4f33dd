/* Few rows by weights whose macros have factors (IQ2_XXS, Q2_K; above all experts): a warp has the
 * activations of one macro at hand and multiplies by them that macro of the block's tiles, two at a
 * time. Its loops are not unrolled: instructions that come for the first time take longer than what
 * they do. */
#ifndef DS4_BACKEND_GPU_TILE_MACROS_H
#define DS4_BACKEND_GPU_TILE_MACROS_H

#include "backend/gpu/tile_segment.h"

namespace GPU_NAMESPACE {

template <int TYPE> struct macro_work {
    typedef tile_format<TYPE> F;
    typedef step_format<TYPE> S;
    enum { DEPTH = S::DEPTH, BLOCKS = MACRO / 32 };

    /* A macro of up to 8 rows in shared memory, so that what lane 4 g + t hands to multiply_tile of
     * row g is one load for each of the two steps of a block: [row][step of 32 columns / 2][t]. */
    struct activations {
        uint4 *place;    /* the warp's */
        const uint4 *at; /* a lane's */
        bool has_row;
        uint32_t sums[4];
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
        warp_barrier(); /* the last macro has been read */
        NOT_UNROLLED
        for (int r = 0; r < g.rows->n; r++) {
            const uint8_t *row = split_row(a, g.rows->x_row[r]);
            const uint32_t *from = (const uint32_t *)(row + 4 * (a.first + macro * MACRO));
            uint32_t *to = (uint32_t *)(x.place + r * (int)(MACRO_ROW / sizeof(uint4)));
            UNROLL
            for (int b = 0; b < BLOCKS; b++) { /* word: [low][step][half of the step][t] */
                int w = lane_index(), low = w >> 4, step = w >> 3 & 1, half = w >> 2 & 1;
                to[32 * b + 16 * step + 4 * (w & 3) + 2 * low + half] = from[32 * b + w];
            }
            if (!F::MINIMA || lane_index() / 4 != r) continue;
            from = (const uint32_t *)(row + sums_offset(a) + (a.first / MACRO + macro) * 64);
            UNROLL
            for (int i = 0; i < 4; i++) x.sums[i] = from[4 * i + lane_index() % 4];
        }
        warp_barrier();
    }

    /* The sums of a macro of two tiles, of which n are stored. */
    DEVICE void multiply(const uint8_t *at, const activations &x, const segment &g, int n_rows,
                         int n, float *record) {
        int next = g.plan->macros * S::record_floats(n_rows);
        typename F::half_data d[2];
        uint4 b[2] = {{0, 0, 0, 0}, {0, 0, 0, 0}};
        const uint4 *row = x.at;
        float part[2][4];
        clear_4(part[0]);
        clear_4(part[1]);
        NOT_UNROLLED
        for (int half = 0; half < 2; half++) {
            UNROLL
            for (int i = 0; i < 2; i++)
                F::template load<1>(d[i], at + i * S::BYTES, at + i * S::BYTES + S::CODES, half,
                                    half);
            NOT_UNROLLED
            for (int block = 0; block < BLOCKS / 2; block++, row += 8) {
                uint32_t w[2][2][4];
                if (x.has_row) b[0] = row[0], b[1] = row[4];
                UNROLL
                for (int i = 0; i < 2; i++) {
                    F::block(d[i], 0, g.table, w[i]);
                    F::next_block(d[i]);
                }
                UNROLL
                for (int j = 0; j < 2; j++) {
                    UNROLL
                    for (int i = 0; i < 2; i++) multiply_tile(part[i], w[i][j], b[j].x, b[j].y);
                    UNROLL
                    for (int i = 0; i < 2; i++) multiply_tile(part[i], w[i][j], b[j].z, b[j].w);
                }
            }
        }
        UNROLL
        for (int i = 0; i < 2; i++)
            if (i < n) store_scaled(record + i * next, n_rows, part[i], F::macro_factor(d[i]));
        UNROLL
        for (int i = 0; i < (F::MINIMA ? 2 : 0); i++) {
            uint32_t least[4];
            F::minima(d[i], least);
            clear_4(part[i]);
            multiply_tile(part[i], least, x.sums[0], x.sums[1]);
            multiply_tile(part[i], least, x.sums[2], x.sums[3]);
            if (i < n)
                store_scaled(record + i * next + (n_rows + 1) * TILE, n_rows, part[i],
                             F::minimum_factor(d[i]));
        }
    }

    /* While the ring is filled for the first time, in a launch's first segment one tile is done
     * dry, with what happens to lie in a place that nothing is copied to yet: so its code comes
     * while the first weights are on their way. */
    DEVICE void run(const segment &from) {
        enum { FILLING = DEPTH - 1, DRY_WARPS = 4, PLACE = S::TILES * S::BYTES };
        segment g = from;
        g.turns = turns_of(g);
        share mine = share_of(g);
        cursor now = open(g, mine), next = now;
        uint8_t *ring = g.ring + warp_index() * (int)(DEPTH * PLACE);
        uint64_t *signals = g.signals + warp_index() * (int)MOST_DEPTH;
        create_signals(signals, DEPTH);
        int lane_row = lane_index() / 4;
        activations x = {};
        x.place = (uint4 *)(g.staged + warp_index() * g.most_rows * (int)MACRO_ROW);
        x.at = x.place + lane_row * (int)(MACRO_ROW / sizeof(uint4)) + lane_index() % 4;
        x.has_row = lane_row < g.rows->n;
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
            if (!dry && turn == g.turns) break;
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
            int strip = now.slot + now.gate * shape_of(g, turn).n, n = tiles_at(now);
            record += (strip * g.plan->macros + now.macro) * size;
            multiply(at, x, g, dry ? 0 : n_rows, dry ? 0 : n, record);
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
