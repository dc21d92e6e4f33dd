/* Products on the matrix units for few rows (decoding): every weight is read once for up to eight
 * activation rows. Each block takes an equal share of the launch's bytes, whole tiles (tiles.h),
 * and its warps equal shares of those: a warp multiplies its units one after the other, while the
 * steps after the present one are on their way to its ring in shared memory; the first are asked
 * for before the launch that makes the activations has ended. A tile's units may lie in different
 * warps: their sums meet in shared memory and are added in order. wide_products.cu does the same
 * sums for many rows, in the same order: the bits of a row depend on neither. */
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

template <int FORMATS> DEVICE void run_segment(const segment &g) {
    int type = g.p->m.type;
    if ((FORMATS & HAS_Q8_0) && type == DS4_TYPE_Q8_0) chunk_work<DS4_TYPE_Q8_0>::run(g);
    if ((FORMATS & HAS_F16) && type == DS4_TYPE_F16) chunk_work<DS4_TYPE_F16>::run(g);
    if ((FORMATS & HAS_IQ2_XXS) && type == DS4_TYPE_IQ2_XXS) macro_work<DS4_TYPE_IQ2_XXS>::run(g);
    if ((FORMATS & HAS_Q2_K) && type == DS4_TYPE_Q2_K) macro_work<DS4_TYPE_Q2_K>::run(g);
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

template <int FORMATS>
KERNEL LAUNCH_BOUNDS(MOST_WARPS *WARP, 1) narrow_kernel(ARGUMENTS narrow_arguments t) {
    DYNAMIC_SHARED(uint8_t, memory); /* ring, rows, zeros, sums, totals, code book */
    SHARED row_tile rows;
    SHARED uint64_t signals[MOST_WARPS * MOST_DEPTH];
    block_state state = {};
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
    g.most_rows = t.most_rows;
    g.state = &state;
    if (thread_index() == 0) rows.n = 0;
    block_barrier();
    if (t.late_next && t.counts_tiles) wait_for_router(&state);
    slot_range share = find_share(t);
    const product &p = t.list.items[share.product];
    g.p = &p;
    g.plan = &t.plan[share.product];
    int slots = g.plan->slots, row_tiles = p.by_expert ? 1 : (t.n_rows + ROWS - 1) / ROWS;
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
            if (!early) find_rows(t.tiles, t.n_rows, p, p.by_expert ? tile : k, ROWS, rows);
            block_barrier(); /* the rows are known to all */
            run_segment<FORMATS>(g);
        }
        if (!early) share.first = upto;
        early = false;
    }
    if (!state.waited) previous_launch();
}

void narrow_products_run(device *d, const product_list &list, int n_rows, int tile_rows,
                         const expert_tiles &tiles, int max_tiles, const uint32_t *code_book) {
    narrow_arguments t = {};
    t.list = list;
    t.n_rows = n_rows;
    t.tiles = tiles;
    t.max_tiles = max_tiles;
    int dense_rows = n_rows < ROWS ? n_rows : (int)ROWS, formats = 0;
    for (int i = 0; i < list.n; i++) {
        const product &p = list.items[i];
        t.most_rows =
            larger(t.most_rows, p.by_expert && tile_rows < dense_rows ? tile_rows : dense_rows);
        if (p.by_expert && n_rows > 1) t.counts_tiles = 1;
        if (p.by_expert && !p.rows_known) t.late_next = 1;
        if (p.m.type == DS4_TYPE_IQ2_XXS) t.code_book = code_book;
        formats |= format_bit(p.m.type);
    }
    int bytes = 0;
    cut_products(&t);
    block_plan b = choose_blocks(&t, d, &bytes);
    dim3 grid((unsigned)assign_blocks(&t, b.blocks));
    void (*kernel)(const narrow_arguments) = narrow_kernel<15>;
    if (formats == HAS_Q8_0) kernel = narrow_kernel<HAS_Q8_0>;
    if (formats == (HAS_Q8_0 | HAS_F16)) kernel = narrow_kernel<HAS_Q8_0 | HAS_F16>;
    if (formats == HAS_IQ2_XXS) kernel = narrow_kernel<HAS_IQ2_XXS>;
    if (formats == HAS_Q2_K) kernel = narrow_kernel<HAS_Q2_K>;
    if (formats == (HAS_Q2_K | HAS_Q8_0)) kernel = narrow_kernel<HAS_Q2_K | HAS_Q8_0>;
    launch(d, kernel, grid, b.warps * WARP, (size_t)bytes, t);
}

} // namespace GPU_NAMESPACE
