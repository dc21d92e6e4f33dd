#include "backend/gpu/tile_multiply.h"

namespace GPU_NAMESPACE {

enum { THREADS = 256, WARPS = THREADS / WARP };

/* Weight rows that a warp streams at once, units of each that are on their way at once, elements of
 * x that are staged at once, and blocks that share a multiprocessor: chosen so that enough loads
 * are in flight and sums stay in registers. */
template <int NT> struct shape {
    enum {
        STREAMS = 2,
        DEPTH = NT > 4 ? 1 : 2,
        CHUNK = NT > 4   ? 2048
                : NT > 1 ? 4096
                         : 8192,
        PER_PROCESSOR = NT > 4 ? 1 : 2
    };
};

struct launch_table {
    product_list list;
    int first_block[MAX_PRODUCTS + 1];
    int repeat[MAX_PRODUCTS]; /* row blocks that a block does one after the other */
    int n_rows;
    expert_tiles tiles;
    const uint32_t *iq2_grid;
};

typedef row_tile_of<TILE_ROWS_MAX> float_rows;

/* Elements [from, from + n) of the tile's rows to shared memory, quads ordered so that neighbouring
 * lanes read neighbouring quads. */
template <int TYPE, int NT>
DEVICE void stage(const product &p, const float_rows &rows, int from, int n_units, float4 *staged) {
    typedef format<TYPE> F;
    enum { QUADS = F::UNIT / 4, PLANE = shape<NT>::CHUNK / 4 };
    for (int i = thread_index(); i < n_units * QUADS * NT; i += block_threads()) {
        int t = i / (n_units * QUADS), slot = i % (n_units * QUADS);
        int unit = slot / QUADS, q = slot % QUADS;
        float4 v = {0, 0, 0, 0};
        if (t < rows.n) {
            int k = F::first(from / F::UNIT + unit, q);
            const float *x =
                p.x.plain + (size_t)rows.x_row[t] * (size_t)p.x.n + (size_t)(p.x.first + k);
            if (k + 4 <= p.m.n_in && p.x.n % 4 == 0 && p.x.first % 4 == 0) {
                v = *(const float4 *)x;
            } else {
                if (k < p.m.n_in) v.x = x[0];
                if (k + 1 < p.m.n_in) v.y = x[1];
                if (k + 2 < p.m.n_in) v.z = x[2];
                if (k + 3 < p.m.n_in) v.w = x[3];
            }
        }
        staged[t * PLANE + q * n_units + unit] = v;
    }
}

template <int NT> struct multiply {
    const product *p;
    const float_rows *rows;
    float4 *staged;
    const uint32_t *iq2;
    int row_block, n_row_blocks; /* the block's share */
    float acc[shape<NT>::STREAMS][NT];

    /* Weight rows of a row block that this warp streams: with a gate, as many of each matrix. */
    DEVICE int first_row_of(const product &p, int row_block) {
        int per_warp = p.gate.codes != nullptr ? shape<NT>::STREAMS / 2 : (int)shape<NT>::STREAMS;
        return (row_block * WARPS + warp_index()) * per_warp;
    }

    /* The next DEPTH units of each stream that this lane takes. */
    template <int TYPE>
    DEVICE void fetch(const multiply &s, unit_data (*u)[shape<NT>::STREAMS], int row_block,
                      int first, int local, int n_units) {
        enum { NS = shape<NT>::STREAMS };
        const product &p = *s.p;
        bool pair = p.gate.codes != nullptr;
        int first_row = first_row_of(p, row_block);
        UNROLL
        for (int i = 0; i < NS; i++) {
            const matrix &m = pair && i >= NS / 2 ? p.gate : p.m;
            int row = first_row + (pair && i >= NS / 2 ? i - NS / 2 : i);
            if (row >= m.n_out) row = m.n_out - 1;
            size_t at = (size_t)s.rows->expert * (size_t)m.n_out + (size_t)row;
            const uint8_t *codes = m.codes + at * m.code_stride;
            const uint8_t *scales = m.scales + at * m.scale_stride;
            UNROLL
            for (int k = 0; k < shape<NT>::DEPTH; k++)
                if (local + WARP * k < n_units)
                    format<TYPE>::load(u[k][i], codes, scales, first + local + WARP * k);
        }
    }

    template <int TYPE> DEVICE void take(multiply &s, const unit_data *u, int local, int n_units) {
        typedef format<TYPE> F;
        enum { QUADS = F::UNIT / 4, PLANE = shape<NT>::CHUNK / 4, NS = shape<NT>::STREAMS };
        float part[NS][NT];
        UNROLL
        for (int i = 0; i < NS; i++) UNROLL
        for (int t = 0; t < NT; t++) part[i][t] = 0.0f;
        UNROLL
        for (int q = 0; q < QUADS; q++) {
            float4 w[NS];
            UNROLL
            for (int i = 0; i < NS; i++) w[i] = F::quad(u[i], q, s.iq2);
            UNROLL
            for (int t = 0; t < NT; t++) {
                float4 x = s.staged[t * PLANE + q * n_units + local];
                UNROLL
                for (int i = 0; i < NS; i++) {
                    float v = fmaf(w[i].x, x.x, part[i][t]);
                    v = fmaf(w[i].y, x.y, v);
                    v = fmaf(w[i].z, x.z, v);
                    part[i][t] = fmaf(w[i].w, x.w, v);
                }
            }
        }
        UNROLL
        for (int i = 0; i < NS; i++) {
            float scale = F::scale(u[i]);
            UNROLL
            for (int t = 0; t < NT; t++)
                s.acc[i][t] =
                    F::SCALED ? fmaf(scale, part[i][t], s.acc[i][t]) : s.acc[i][t] + part[i][t];
        }
    }

    DEVICE void clear(multiply &s) {
        UNROLL
        for (int i = 0; i < shape<NT>::STREAMS; i++) UNROLL
        for (int t = 0; t < NT; t++) s.acc[i][t] = 0.0f;
    }

    DEVICE void finish_rows(multiply &s, int row_block) {
        UNROLL
        for (int i = 0; i < shape<NT>::STREAMS; i++) UNROLL
        for (int t = 0; t < NT; t++)
            if (t < s.rows->n) s.acc[i][t] = warp_sum(s.acc[i][t]);
        if (lane_index() == 0) write(s, first_row_of(*s.p, row_block), s.p->gate.codes != nullptr);
        clear(s);
    }

    /* A chunk of x against all row blocks of the share, as one stream of units: the next are
     * fetched while the present ones are multiplied, across the ends of rows too. */
    template <int TYPE> DEVICE void run_chunk(multiply &s, int from, bool last) {
        enum { NS = shape<NT>::STREAMS, DEPTH = shape<NT>::DEPTH, CHUNK = shape<NT>::CHUNK };
        int n = s.p->m.n_padded - from < CHUNK ? s.p->m.n_padded - from : (int)CHUNK;
        int n_units = n / format<TYPE>::UNIT, first = from / format<TYPE>::UNIT;
        int start = (lane_index() - first) & (WARP - 1);
        int n_groups = (n_units + WARP * DEPTH - 1) / (WARP * DEPTH);
        unit_data now[DEPTH][NS], next[DEPTH][NS];
        fetch<TYPE>(s, now, s.row_block, first, start, n_units); /* while x is staged */
        block_barrier();
        stage<TYPE, NT>(*s.p, *s.rows, from, n_units, s.staged);
        block_barrier();
        for (int block = 0, group = 0; block < s.n_row_blocks;) {
            int next_group = group + 1 < n_groups ? group + 1 : 0;
            int next_block = next_group == 0 ? block + 1 : block;
            int local = start + group * WARP * DEPTH;
            if (next_block < s.n_row_blocks)
                fetch<TYPE>(s, next, s.row_block + next_block, first,
                            start + next_group * WARP * DEPTH, n_units);
            UNROLL
            for (int k = 0; k < DEPTH; k++)
                if (local + WARP * k < n_units) take<TYPE>(s, now[k], local + WARP * k, n_units);
            if (next_group == 0 && last) finish_rows(s, s.row_block + block);
            UNROLL
            for (int k = 0; k < DEPTH; k++) UNROLL
            for (int i = 0; i < NS; i++) now[k][i] = next[k][i];
            block = next_block;
            group = next_group;
        }
    }

    template <int TYPE> DEVICE void run_format(multiply &s) {
        enum { CHUNK = shape<NT>::CHUNK };
        clear(s);
        for (int from = 0; from < s.p->m.n_padded; from += CHUNK)
            run_chunk<TYPE>(s, from, from + CHUNK >= s.p->m.n_padded);
    }

    DEVICE void write(multiply &s, int first_row, bool pair) {
        enum { NS = shape<NT>::STREAMS };
        const product &p = *s.p;
        UNROLL
        for (int i = 0; i < NS; i++) {
            if ((pair && i >= NS / 2) || first_row + i >= p.m.n_out) continue;
            UNROLL
            for (int t = 0; t < NT; t++) {
                if (t >= s.rows->n) continue;
                float v = s.acc[i][t];
                if (pair) v = gated(v, s.acc[(NS / 2 + i) % NS][t], p.clamp, s.rows->weight[t]);
                int column = p.y.first + first_row + i;
                size_t row = (size_t)s.rows->y_row[t];
                if (p.y.plain != nullptr) p.y.plain[row * (size_t)p.y.n + (size_t)column] = v;
                if (p.y.split != nullptr) store_split(split_row(p.y, (int)row), column, v);
            }
        }
    }
};

template <int NT> ANYWHERE int rows_per_block(const product &p) {
    return WARPS * shape<NT>::STREAMS / (p.gate.codes != nullptr ? 2 : 1);
}

template <int NT>
KERNEL LAUNCH_BOUNDS(THREADS, shape<NT>::PER_PROCESSOR) products_kernel(const launch_table t) {
    DYNAMIC_SHARED(float4, staged);
    SHARED float_rows rows;
    int index = 0;
    next_launch();
    previous_launch();
    while (index + 1 < t.list.n && block_x() >= t.first_block[index + 1]) index++;
    const product &p = t.list.items[index];
    int row_blocks = (p.m.n_out + rows_per_block<NT>(p) - 1) / rows_per_block<NT>(p);
    int shares = (row_blocks + t.repeat[index] - 1) / t.repeat[index];
    int local = block_x() - t.first_block[index];
    if (!find_rows(t.tiles, t.n_rows, p, local / shares, NT, rows)) return;
    uint32_t *iq2 = (uint32_t *)(staged + NT * shape<NT>::CHUNK / 4);
    if (p.m.type == DS4_TYPE_IQ2_XXS)
        for (int i = thread_index(); i < IQ2_GRID * WARP; i += THREADS)
            iq2[i] = t.iq2_grid[i / WARP];
    multiply<NT> s;
    s.p = &p;
    s.rows = &rows;
    s.staged = staged;
    s.iq2 = iq2;
    s.row_block = local % shares * t.repeat[index];
    s.n_row_blocks =
        row_blocks - s.row_block < t.repeat[index] ? row_blocks - s.row_block : t.repeat[index];
    block_barrier(); /* the rows are known to all */
    switch (p.m.type) {
    case DS4_TYPE_F32:
        multiply<NT>::template run_format<DS4_TYPE_F32>(s);
        break;
    case DS4_TYPE_F16:
        multiply<NT>::template run_format<DS4_TYPE_F16>(s);
        break;
    case DS4_TYPE_BF16:
        multiply<NT>::template run_format<DS4_TYPE_BF16>(s);
        break;
    case DS4_TYPE_Q8_0:
        multiply<NT>::template run_format<DS4_TYPE_Q8_0>(s);
        break;
    case DS4_TYPE_Q2_K:
        multiply<NT>::template run_format<DS4_TYPE_Q2_K>(s);
        break;
    case DS4_TYPE_Q4_K:
        multiply<NT>::template run_format<DS4_TYPE_Q4_K>(s);
        break;
    case DS4_TYPE_IQ2_XXS:
        multiply<NT>::template run_format<DS4_TYPE_IQ2_XXS>(s);
        break;
    case DS4_TYPE_MXFP4:
        multiply<NT>::template run_format<DS4_TYPE_MXFP4>(s);
        break;
    default:
        break;
    }
}

int products_tile_rows(int n_rows) {
    return n_rows == 1 ? 1 : n_rows <= 4 ? 4 : 16;
}

/* So many row blocks one after the other that the launch is about one wave of blocks. Rows that are
 * staged in several chunks cannot be shared. */
template <int NT>
static int choose_repeat(device *d, const product_list &list, int n_tiles, int max_tiles) {
    long all = 0, wave = (long)device_processors(d) * shape<NT>::PER_PROCESSOR;
    for (int i = 0; i < list.n; i++) {
        const product &p = list.items[i];
        if (p.m.n_padded > shape<NT>::CHUNK) return 1;
        all += (long)((p.m.n_out + rows_per_block<NT>(p) - 1) / rows_per_block<NT>(p)) *
               (p.by_expert ? max_tiles : n_tiles);
    }
    return (int)((all + wave - 1) / wave);
}

template <int NT> static void run(device *d, launch_table &t, int max_tiles) {
    int n_blocks = 0, n_tiles = (t.n_rows + NT - 1) / NT;
    int repeat = choose_repeat<NT>(d, t.list, n_tiles, max_tiles);
    bool iq2 = false;
    for (int i = 0; i < t.list.n; i++) {
        const product &p = t.list.items[i];
        int row_blocks = (p.m.n_out + rows_per_block<NT>(p) - 1) / rows_per_block<NT>(p);
        t.first_block[i] = n_blocks;
        t.repeat[i] = repeat < row_blocks ? repeat : row_blocks;
        n_blocks +=
            (row_blocks + t.repeat[i] - 1) / t.repeat[i] * (p.by_expert ? max_tiles : n_tiles);
        iq2 = iq2 || p.m.type == DS4_TYPE_IQ2_XXS;
    }
    t.first_block[t.list.n] = n_blocks;
    size_t shared =
        ((size_t)NT * shape<NT>::CHUNK + (iq2 ? (size_t)IQ2_GRID * WARP : 0)) * sizeof(float);
    launch(d, products_kernel<NT>, dim3((unsigned)n_blocks), THREADS, shared, t);
}

void float_products_run(device *d, const product_list &list, int n_rows, int tile_rows,
                        const expert_tiles &tiles, int max_tiles, const uint32_t *iq2_grid) {
    launch_table t = {};
    t.list = list;
    t.n_rows = n_rows;
    t.tiles = tiles;
    t.iq2_grid = iq2_grid;
    switch (tile_rows) {
    case 1:
        run<1>(d, t, max_tiles);
        break;
    case 4:
        run<4>(d, t, max_tiles);
        break;
    default:
        run<16>(d, t, max_tiles);
        break;
    }
}

/* ---- which kernel ---- */

enum { NARROW_MOST = 64 /* rows; more are worth the wide kernel */ };

int wide_tile_rows(device *d) {
#ifdef __CUDACC__
    if (device_is_hopper(d)) return HOPPER_ROWS;
#else
    (void)d;
#endif
    return WIDE_ROWS;
}

bool keeps_rows_sorted(device *d, int tile_rows) {
#ifdef __CUDACC__
    return device_is_hopper(d) && tile_rows > NARROW_ROWS;
#else
    (void)d;
    (void)tile_rows;
    return false;
#endif
}

void products_run(device *d, const product_list &list, int n_rows, int tile_rows,
                  const expert_tiles &tiles, int max_tiles, const uint32_t *code_book) {
    product_list plain = {}, wide = {}, narrow = {};
    for (int i = 0; i < list.n; i++) {
        const product &p = list.items[i];
        bool many = p.by_expert ? tile_rows > NARROW_ROWS : n_rows > NARROW_MOST;
        product_list &to = !p.m.tiled ? plain : many ? wide : narrow;
        to.items[to.n++] = p;
    }
    if (plain.n > 0)
        float_products_run(d, plain, n_rows, products_tile_rows(tile_rows), tiles, max_tiles,
                           code_book);
    if (narrow.n > 0 && !expert_products_run(d, narrow, n_rows, tile_rows, tiles, code_book))
        narrow_products_run(d, narrow, n_rows, tile_rows, tiles, max_tiles, code_book);
    if (wide.n == 0) return;
#ifdef __CUDACC__
    if (device_is_hopper(d))
        return hopper_products_run(d, wide, n_rows, tiles, max_tiles, code_book);
#endif
    wide_products_run(d, wide, n_rows, tiles, max_tiles, code_book);
}

} // namespace GPU_NAMESPACE
