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

/* Tiles of rows whose weights lie apart: those of experts. */
DEVICE int weight_tiles(const narrow_arguments &t, const product &p) {
    return !p.by_expert ? 1 : t.counts_tiles ? *t.tiles.n_tiles : t.max_tiles;
}

/* Slots [first, last) of a product are this block's: those that begin in its share of the cost. */
DEVICE bool find_share(const narrow_arguments &t, int i, int *first, int *last) {
    uint32_t blocks = (uint32_t)blocks_x(), block = (uint32_t)block_x();
    if (t.counts_tiles) { /* then there is no other product */
        uint32_t n = (uint32_t)(weight_tiles(t, t.list.items[i]) * t.plan[i].slots);
        *first = (int)((uint64_t)n * block / blocks);
        *last = (int)((uint64_t)n * (block + 1) / blocks);
        return *first < *last;
    }
    uint32_t total = t.begin[t.list.n], cost = t.plan[i].cost, base = t.begin[i];
    uint32_t share = total / blocks, more = total % blocks; /* the first blocks have one more */
    uint32_t begin = share * block + (block < more ? block : more);
    uint32_t end = begin + share + (block < more ? 1 : 0);
    if (begin >= t.begin[i + 1] || end <= base) return false;
    if (end > t.begin[i + 1]) end = t.begin[i + 1];
    *first = (int)(begin > base ? (begin - base + cost - 1) / cost : 0);
    *last = (int)((end - base + cost - 1) / cost);
    return *first < *last;
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
    g.state = &state;
    if (t.late_next && t.counts_tiles) wait_for_router(&state);
    for (int i = 0; i < t.list.n; i++) {
        const product &p = t.list.items[i];
        int first, last, slots = t.plan[i].slots;
        if (!find_share(t, i, &first, &last)) continue;
        g.p = &p;
        g.plan = &t.plan[i];
        int row_tiles = p.by_expert ? 1 : (t.n_rows + ROWS - 1) / ROWS;
        g.once = row_tiles == 1;
        while (first < last) {
            int tile = p.by_expert ? first / slots : 0;
            int upto = (tile + 1) * slots < last ? (tile + 1) * slots : last;
            g.first = first - tile * slots;
            g.n = upto - first;
            for (int k = 0; k < row_tiles; k++) {
                if (t.late_next && !state.waited) wait_for_router(&state);
                find_rows(t.tiles, t.n_rows, p, p.by_expert ? tile : k, ROWS, rows);
                block_barrier(); /* the rows are known to all */
                run_segment<FORMATS>(g);
            }
            first = upto;
        }
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
    int slots = count_slots(&t), bytes = 0;
    block_plan b = choose_blocks(&t, d, &bytes);
    dim3 grid((unsigned)(slots < b.blocks ? slots : b.blocks));
    void (*kernel)(const narrow_arguments) = narrow_kernel<15>;
    if (formats == HAS_Q8_0) kernel = narrow_kernel<HAS_Q8_0>;
    if (formats == (HAS_Q8_0 | HAS_F16)) kernel = narrow_kernel<HAS_Q8_0 | HAS_F16>;
    if (formats == HAS_IQ2_XXS) kernel = narrow_kernel<HAS_IQ2_XXS>;
    if (formats == HAS_Q2_K) kernel = narrow_kernel<HAS_Q2_K>;
    if (formats == (HAS_Q2_K | HAS_Q8_0)) kernel = narrow_kernel<HAS_Q2_K | HAS_Q8_0>;
    launch(d, kernel, grid, b.warps * WARP, (size_t)bytes, t);
}

} // namespace GPU_NAMESPACE
