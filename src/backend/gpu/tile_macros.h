/* Few rows by weights whose macros have factors (IQ2_XXS, Q2_K; above all experts): a warp has the
 * activations of one macro at hand and multiplies by them that macro of the block's tiles, two at a
 * time. */
#ifndef DS4_BACKEND_GPU_TILE_MACROS_H
#define DS4_BACKEND_GPU_TILE_MACROS_H

#include "backend/gpu/tile_plan.h"

namespace GPU_NAMESPACE {

/* A block's share of one product and one tile of rows. */
struct segment {
    const product *p;
    const product_plan *plan;
    int first, n; /* slots */
    const row_tile *rows;
    uint8_t *ring, *staged;
    uint64_t *signals; /* [warps][MOST_DEPTH] */
    float *sums;       /* of units, two buffers */
    int sum_floats;    /* of a buffer */
    int most_rows;     /* for which there is shared memory */
    bool once;         /* the weights are not read again in this launch */
    block_state *state;
};

DEVICE bool has_gate(const segment &g) {
    return g.p->gate.codes != nullptr;
}

DEVICE void await_previous(const segment &g) {
    if (!g.state->waited) previous_launch();
    g.state->waited = true;
}

template <int TYPE> struct macro_work {
    typedef tile_format<TYPE> F;
    typedef step_format<TYPE> S;
    enum { DEPTH = S::DEPTH };

    /* A macro of up to 8 rows in shared memory (stage_macro). */
    struct activations {
        uint4 *place;    /* the warp's */
        const uint4 *at; /* a lane's */
        bool has_row;
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

    /* Where a warp is: of the turn that begins with slot `first` and has n of them, slots
     * [slot, end) are left of its part, of a macro and its matrix or gate. The end of all is
     * first >= g.n. */
    struct cursor {
        int first, n, macro, gate, slot, end;
    };
    DEVICE int turn_slots(const segment &g, int first) {
        return g.n - first < g.plan->group ? g.n - first : g.plan->group;
    }
    DEVICE void begin_part(cursor &c, const share &mine) {
        c.slot = 0;
        c.end = c.n;
        if (mine.parts == 1) return;
        c.slot = c.n * mine.part / mine.parts;
        c.end = c.n * (mine.part + 1) / mine.parts;
    }
    DEVICE void settle(cursor &c, const segment &g, const share &mine) {
        while (c.slot >= c.end && c.first < g.n) {
            c.gate++;
            if (c.gate > (int)has_gate(g)) {
                c.gate = 0;
                c.macro += mine.step;
                if (c.macro >= g.plan->macros) {
                    c.macro = mine.first;
                    c.first += g.plan->group;
                    c.n = turn_slots(g, c.first);
                }
            }
            begin_part(c, mine);
        }
    }
    DEVICE cursor open(const segment &g, const share &mine) {
        int first = mine.first < g.plan->macros ? 0 : g.n;
        cursor c = {first, turn_slots(g, first), mine.first, 0, 0, 0};
        begin_part(c, mine);
        settle(c, g, mine);
        return c;
    }
    /* Tiles that are copied at once. */
    DEVICE int tiles_at(const cursor &c) {
        return c.end - c.slot < S::TILES ? c.end - c.slot : (int)S::TILES;
    }
    DEVICE void go_on(cursor &c, const segment &g, const share &mine) {
        c.slot += S::TILES;
        if (c.slot >= c.end) settle(c, g, mine);
    }

    DEVICE void fetch(cursor &c, const segment &g, const share &mine, uint8_t *to,
                      uint64_t *signal) {
        if (c.first < g.n) {
            int bytes = tiles_at(c) * (int)S::BYTES, tile = g.first + c.first + c.slot;
            fetch_begin(signal, bytes);
            const matrix &m = c.gate ? g.p->gate : g.p->m;
            fetch_run(to, macro_place_of(m, g.rows->expert, tile, c.macro, S::BYTES), bytes, signal,
                      g.once);
            go_on(c, g, mine);
        }
        fetch_end();
    }
    DEVICE void load_rows(activations &x, const segment &g, int macro) {
        warp_barrier(); /* the last macro has been read */
        NOT_UNROLLED
        for (int r = 0; r < g.rows->n; r++)
            stage_macro<F::MINIMA>(g.p->x, g.rows->x_row[r], macro,
                                   (uint8_t *)x.place + r * (int)MACRO_ROW);
        warp_barrier();
    }

    /* Where a lane's sums go in a record. */
    struct lane_sums {
        int at, n_rows, row;
        bool factors;
    };
    DEVICE lane_sums sums_of_lane(int n_rows) {
        int row = lane_index() % 4 * 2, output = lane_index() / 4;
        return lane_sums{row * TILE + output, n_rows, row, lane_index() % 4 == 0};
    }
    DEVICE void store(const lane_sums &l, float *record, const float *sum, float2 factor) {
        float *to = record + l.at;
        if (l.row < l.n_rows) to[0] = sum[0], to[8] = sum[2];
        if (l.row + 1 < l.n_rows) to[TILE] = sum[1], to[TILE + 8] = sum[3];
        to += l.n_rows * TILE;
        if (l.factors) to[0] = factor.x, to[8] = factor.y;
    }

    /* The sums of a macro of two tiles, of which n are stored. */
    DEVICE void multiply(const uint8_t *at, const activations &x, const uint8_t *table,
                         uint32_t table_lane, const lane_sums &l, int n, float *record, int next) {
        typename F::half_data d[2];
        float part[2][4];
        multiply_two<TYPE, 1>(d, at, x.at, x.has_row, table, table_lane, part);
        UNROLL
        for (int i = 0; i < 2; i++)
            if (i < n) store(l, record + i * next, part[i], F::macro_factor(d[i]));
        if (!F::MINIMA) return;
        multiply_minima<TYPE>(d, x.at, x.has_row, part);
        record += (l.n_rows + 1) * TILE;
        UNROLL
        for (int i = 0; i < 2; i++)
            if (i < n) store(l, record + i * next, part[i], F::minimum_factor(d[i]));
    }

    /* What comes of a turn's sums: macros in order; with a gate, whose sums lanes 16 to 31 add up,
     * weight silu(gate) up. */
    DEVICE void add_macros(const segment &g, int first, int n_slots, const float *sums) {
        const product &p = *g.p;
        bool pair = has_gate(g);
        int n = g.rows->n, size = S::record_floats(n), macros = g.plan->macros;
        int lane = lane_index(), warps = block_threads() / WARP, groups = n_slots * n;
        int both = pair ? 1 : 2; /* values of 16 outputs that a warp finds at once */
        NOT_UNROLLED
        for (int i = warp_index() * both; i < groups; i += warps * both) {
            int mine = pair ? i : i + lane / TILE, gate = pair ? lane / TILE : 0;
            bool valid = mine < groups;
            if (!valid) mine = i;
            int slot = n == 1 ? mine : mine / n, row = mine - slot * n;
            const float *record = sums + (slot + gate * n_slots) * macros * size;
            float y = add_records<TYPE>(0.0f, record, size, macros, n, row * TILE + lane % TILE);
            y *= 1.0f / ACTIVATION_SCALE;
            if (pair) {
                y = gated(y, warp_shuffle_xor(y, TILE), p.clamp, g.rows->weight[row]);
                valid = lane < TILE;
            }
            store_product(p, g.rows->y_row[row], (g.first + first + slot) * TILE + lane % TILE, y,
                          valid);
        }
    }

    /* While the ring is filled for the first time, in a launch's first segment one tile is done
     * dry, with what happens to lie in a place that nothing is copied to yet: so its code comes
     * while the first weights are on their way. */
    DEVICE void run(const segment &from) {
        enum { FILLING = DEPTH - 1, DRY_WARPS = 4, PLACE = S::TILES * S::BYTES };
        DYNAMIC_SHARED(uint8_t, table);
        segment g = from;
        share mine = share_of(g);
        cursor now = open(g, mine), next = now;
        uint8_t *ring = g.ring + warp_index() * (int)(DEPTH * PLACE);
        uint64_t *signals = g.signals + warp_index() * (int)MOST_DEPTH;
        create_signals(signals, DEPTH);
        int lane_row = lane_index() / 4;
        uint32_t table_lane = 4 * IQ2_ROW * (uint32_t)(lane_index() % IQ2_COPIES);
        activations x = {};
        x.place = (uint4 *)(g.staged + warp_index() * g.most_rows * (int)MACRO_ROW);
        x.at = x.place + lane_row * (int)(MACRO_ROW / sizeof(uint4)) + lane_index() % 4;
        x.has_row = lane_row < g.rows->n;
        lane_sums lane = sums_of_lane(g.rows->n);
        int loaded = -1, size = S::record_floats(g.rows->n), macros = g.plan->macros;
        int place = 0, filled = 0; /* what is multiplied next; where the next copy goes */
        uint32_t use = 0;
        float *sums = g.sums, *other = g.sums + g.sum_floats;
        NOT_UNROLLED
        for (int filling = FILLING, first = 0;; filling--) {
            bool dry = filling > 0;
            while (!dry && now.first > first) {
                await_previous(g);
                block_barrier();
                add_macros(g, first, turn_slots(g, first), sums);
                float *used = sums;
                sums = other;
                other = used;
                first += g.plan->group;
                if (first >= g.n) break;
            }
            if (!dry && first >= g.n) break;
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
            float *record =
                sums + ((now.slot + (now.gate ? now.n : 0)) * macros + now.macro) * size;
            multiply(at, x, table, table_lane, lane, dry ? 0 : tiles_at(now), record,
                     macros * size);
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
