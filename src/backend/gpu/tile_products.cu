/* Products on the matrix units for few rows (decoding): every weight is read once for up to sixteen
 * activation rows (eight where macros have factors). Each block takes an equal share of the
 * launch's bytes, whole tiles (tiles.h), and its warps equal shares of those: a warp multiplies its
 * units one after the other, while the steps after the present one are on their way to its ring in
 * shared memory; the first are asked for before the launch that makes the activations has ended. A
 * tile's units may lie in different warps: their sums meet in shared memory and are added in order.
 * wide_products.cu does the same sums for many rows, in the same order: the bits of a row depend on
 * neither. */
#include "backend/gpu/tile_chunks.h"
#include "backend/gpu/tile_macros.h"

namespace GPU_NAMESPACE {

/* FORMATS: a bit for each that a launch has: others need no code and no registers. */
enum { HAS_Q8_0 = 1, HAS_F16 = 2, HAS_IQ2_XXS = 4, HAS_Q2_K = 8 };

static int format_bit(int type) {
    return type == DS4_TYPE_Q8_0      ? HAS_Q8_0
           : type == DS4_TYPE_F16     ? HAS_F16
           : type == DS4_TYPE_IQ2_XXS ? HAS_IQ2_XXS
                                      : HAS_Q2_K;
}

/* The parts of a block's shared memory: perhaps the code book, rings, rows, sums, totals. */
struct block_memory {
    uint8_t *ring, *staged;
    uint32_t *table;
    float *sums, *totals;
    int sum_floats; /* from a buffer of sums to the other */
};

DEVICE block_memory divide_memory(const narrow_arguments &t, uint8_t *memory) {
    block_memory m;
    m.table = (uint32_t *)memory; /* macro_work expects it here */
    m.ring = (uint8_t *)(m.table + (t.code_book != nullptr ? (int)IQ2_TABLE : 0));
    m.staged = m.ring + t.ring_bytes;
    m.sums = (float *)(m.staged + t.staged_bytes);
    m.sum_floats = t.sum_step / (int)sizeof(float);
    m.totals = m.sums + (t.sum_bytes + t.sum_step) / (int)sizeof(float);
    return m;
}

DEVICE chunk_job job_of(const narrow_arguments &t, const block_memory &m, uint64_t *signals,
                        block_state *state) {
    chunk_job g = {};
    g.n_rows = t.n_rows;
    g.ring = m.ring;
    g.staged = m.staged;
    g.signals = signals;
    g.warp_ring = t.warp_ring;
    g.warp_bits = t.warp_bits;
    g.windows = t.windows;
    g.window_bytes = t.windows > 1 ? t.staged_bytes / 2 : 0;
    g.sums = m.sums;
    g.totals = m.totals;
    g.sum_floats = m.sum_floats;
    g.state = state;
    return g;
}

/* Weights that all rows of the launch meet. */
template <int FORMATS, int GROUPS>
KERNEL LAUNCH_BOUNDS(MOST_WARPS *WARP, 1) dense_kernel(ARGUMENTS narrow_arguments t) {
    DYNAMIC_SHARED(uint8_t, memory);
    SHARED uint64_t signals[MOST_WARPS * MOST_DEPTH];
    block_state state = {};
    next_launch();
    chunk_job g = job_of(t, divide_memory(t, memory), signals, &state);
    int i = t.list.n - 1, block = block_x();
    NOT_UNROLLED
    while (block < t.plan[i].first_block) i--;
    g.p = &t.list.items[i];
    g.plan = &t.plan[i];
    g.first = (block - g.plan->first_block) * g.plan->each;
    g.end = smaller(g.first + g.plan->each, g.plan->slots);
    if ((FORMATS & HAS_Q8_0) && (FORMATS == HAS_Q8_0 || g.p->m.type == DS4_TYPE_Q8_0))
        chunk_work<DS4_TYPE_Q8_0, GROUPS, 0>::run(g);
    else
        chunk_work<DS4_TYPE_F16, GROUPS, 0>::run(g);
}

/* Slots of a product, those of an expert's first tile of rows first, and so on. */
struct slot_range {
    int product, first, last;
};

DEVICE slot_range find_share(const narrow_arguments &t) {
    int i = t.list.n - 1, blocks = blocks_x(), block = block_x();
    if (t.counts_tiles) { /* then there is no other product */
        int n = *t.tiles.n_tiles * t.plan[0].slots;
        return slot_range{0, (int)((int64_t)n * block / blocks),
                          (int)((int64_t)n * (block + 1) / blocks)};
    }
    while (i > 0 && block < t.plan[i].first_block) i--;
    const product_plan &plan = t.plan[i];
    block -= plan.first_block;
    int tile = block / plan.tile_blocks, begin = tile * plan.slots;
    block -= tile * plan.tile_blocks;
    return slot_range{i, begin + plan.slots * block / plan.tile_blocks,
                      begin + plan.slots * (block + 1) / plan.tile_blocks};
}

DEVICE void wait_for_router(block_state *state) {
    previous_launch();
    next_launch();
    state->waited = true;
}

template <int FORMATS> DEVICE void run_segment(const segment &g, const chunk_job &from) {
    int type = g.p->m.type;
    if ((FORMATS & HAS_IQ2_XXS) && type == DS4_TYPE_IQ2_XXS) macro_work<DS4_TYPE_IQ2_XXS>::run(g);
    if ((FORMATS & HAS_Q2_K) && type == DS4_TYPE_Q2_K) macro_work<DS4_TYPE_Q2_K>::run(g);
    if ((FORMATS & (HAS_Q8_0 | HAS_F16)) == 0 || by_macros(type)) return;
    chunk_job job = from;
    job.p = g.p;
    job.plan = g.plan;
    job.first = g.first;
    job.end = g.first + g.n;
    job.rows = g.rows;
    job.n_rows = g.rows->n;
    if ((FORMATS & HAS_Q8_0) && type == DS4_TYPE_Q8_0) chunk_work<DS4_TYPE_Q8_0, 1, 1>::run(job);
    if ((FORMATS & HAS_F16) && type == DS4_TYPE_F16) chunk_work<DS4_TYPE_F16, 1, 1>::run(job);
    block_barrier(); /* before rows and sums of the next */
}

/* Rows that meet different experts, or weights whose macros have factors. */
template <int FORMATS>
KERNEL LAUNCH_BOUNDS(MOST_WARPS *WARP, 1) narrow_kernel(ARGUMENTS narrow_arguments t) {
    DYNAMIC_SHARED(uint8_t, memory);
    SHARED row_tile rows;
    SHARED uint64_t signals[MOST_WARPS * MOST_DEPTH];
    block_state state = {};
    if (!t.late_next) next_launch();
    block_memory parts = divide_memory(t, memory);
    chunk_job job = job_of(t, parts, signals, &state);
    segment g = {};
    g.rows = &rows;
    g.ring = parts.ring;
    g.signals = signals;
    g.staged = parts.staged;
    if (t.code_book != nullptr) fill_iq2_table(parts.table, t.code_book);
    g.sums = parts.sums;
    g.sum_floats = parts.sum_floats;
    g.most_rows = t.macro_rows;
    g.state = &state;
    if (thread_index() == 0) rows.n = 0;
    block_barrier();
    if (t.late_next && t.counts_tiles) wait_for_router(&state);
    slot_range share = find_share(t);
    const product &p = t.list.items[share.product];
    g.p = &p;
    g.plan = &t.plan[share.product];
    int slots = g.plan->slots;
    int row_tiles = p.by_expert ? 1 : (t.n_rows + NARROW_ROWS - 1) / NARROW_ROWS;
    g.once = row_tiles == 1;
    /* Before the router has named experts there is nothing to copy, but a dry step to be done. */
    bool early = t.late_next && !state.waited;
    NOT_UNROLLED
    while (early || share.first < share.last) {
        int tile = p.by_expert ? share.first / slots : 0;
        int upto = (tile + 1) * slots < share.last ? (tile + 1) * slots : share.last;
        g.first = share.first - tile * slots;
        g.n = early ? 0 : upto - share.first;
        NOT_UNROLLED
        for (int k = 0; k < row_tiles; k++) {
            if (t.late_next && !early && !state.waited) wait_for_router(&state);
            if (!early) find_rows(t.tiles, t.n_rows, p, p.by_expert ? tile : k, NARROW_ROWS, rows);
            block_barrier(); /* the rows are known to all */
            run_segment<FORMATS>(g, job);
        }
        if (!early) share.first = upto;
        early = false;
    }
    if (!state.waited) previous_launch();
}

static void run_dense(device *d, narrow_arguments *t, int formats) {
    int bytes = 0, blocks = 0;
    t->groups = t->n_rows > NARROW_ROWS ? 2 : 1;
    t->chunk_rows = smaller(t->n_rows, DENSE_ROWS);
    cut_products(t);
    block_plan b = choose_blocks(t, d, &bytes, &blocks);
    void (*kernel)(const narrow_arguments) = nullptr;
    if (formats == HAS_Q8_0)
        kernel = t->groups > 1 ? dense_kernel<HAS_Q8_0, 2> : dense_kernel<HAS_Q8_0, 1>;
    else
        kernel = t->groups > 1 ? dense_kernel<HAS_Q8_0 | HAS_F16, 2>
                               : dense_kernel<HAS_Q8_0 | HAS_F16, 1>;
    launch(d, kernel, dim3((unsigned)blocks), b.warps * WARP, (size_t)bytes, *t);
}

static void run_listed(device *d, narrow_arguments *t, int formats, int tile_rows) {
    int bytes = 0, blocks = 0, rows = smaller(t->n_rows, NARROW_ROWS);
    t->groups = 1;
    for (int i = 0; i < t->list.n; i++) {
        const product &p = t->list.items[i];
        int *most = has_chunks(*t, i) ? &t->chunk_rows : &t->macro_rows;
        *most = larger(*most, p.by_expert ? smaller(rows, tile_rows) : rows);
        if (p.by_expert && t->n_rows > 1) t->counts_tiles = 1;
        if (p.by_expert && !p.rows_known) t->late_next = 1;
    }
    cut_products(t);
    block_plan b = choose_blocks(t, d, &bytes, &blocks);
    void (*kernel)(const narrow_arguments) = narrow_kernel<15>;
    if (formats == HAS_IQ2_XXS) kernel = narrow_kernel<HAS_IQ2_XXS>;
    if (formats == HAS_Q2_K) kernel = narrow_kernel<HAS_Q2_K>;
    if (formats == (HAS_Q2_K | HAS_Q8_0)) kernel = narrow_kernel<HAS_Q2_K | HAS_Q8_0>;
    launch(d, kernel, dim3((unsigned)blocks), b.warps * WARP, (size_t)bytes, *t);
}

void narrow_products_run(device *d, const product_list &list, int n_rows, int tile_rows,
                         const expert_tiles &tiles, int max_tiles, const uint32_t *code_book) {
    narrow_arguments dense = {}, listed = {};
    int dense_formats = 0, listed_formats = 0;
    bool all_dense = true;
    for (int i = 0; i < list.n; i++)
        if (list.items[i].by_expert || by_macros(list.items[i].m.type)) all_dense = false;
    for (int i = 0; i < list.n; i++) {
        const product &p = list.items[i];
        bool apart = n_rows > NARROW_ROWS && !p.by_expert && !by_macros(p.m.type);
        narrow_arguments *t = all_dense || apart ? &dense : &listed;
        (all_dense || apart ? dense_formats : listed_formats) |= format_bit(p.m.type);
        if (p.m.type == DS4_TYPE_IQ2_XXS) t->code_book = code_book;
        t->list.items[t->list.n++] = p;
    }
    dense.n_rows = listed.n_rows = n_rows;
    dense.tiles = listed.tiles = tiles;
    dense.max_tiles = listed.max_tiles = max_tiles;
    if (dense.list.n > 0) run_dense(d, &dense, dense_formats);
    if (listed.list.n > 0) run_listed(d, &listed, listed_formats, tile_rows);
}

} // namespace GPU_NAMESPACE
