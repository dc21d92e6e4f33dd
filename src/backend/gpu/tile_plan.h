/* How a launch of tile_products.cu is cut: into slots, units, passes and blocks, and what a block
 * has of shared memory. Found once on the host, so that a launch begins with few instructions. */
#ifndef DS4_BACKEND_GPU_TILE_PLAN_H
#define DS4_BACKEND_GPU_TILE_PLAN_H

#include "backend/gpu/tile_sums.h"

namespace GPU_NAMESPACE {

enum {
    MOST_WARPS = 16,
    ROWS = 8,
    MACRO_BYTES = 4 * MACRO,      /* of an activation row */
    MACRO_ROW = MACRO_BYTES + 64, /* so that rows are apart in the banks (tile_macros.h) */
    ZEROS = 4 * MACRO             /* bytes that lanes without a row read */
};

/* How a product is cut. A `slot` is one tile, with that of its gate. A block does `group` slots in
 * a turn; where its rows do not fit into shared memory, a turn has some of the columns (a pass) and
 * there are more turns. */
struct product_plan {
    int macros, units; /* of a tile */
    int unit_macros;
    int slots, group;
    int pass_units, passes;
    int slot_tiles, record_bytes;
    int staged; /* all columns of a pass lie in shared memory (tile_chunks.h), not one macro for
                   each warp (tile_macros.h) */
    int cost;   /* of a slot */
    int first_block, tile_blocks; /* its blocks: so many for each tile of rows of an expert */
};

struct narrow_arguments {
    product_list list;
    product_plan plan[MAX_PRODUCTS];
    int n_rows, most_rows;       /* most_rows: of a tile, for which there is shared memory */
    int max_tiles, counts_tiles; /* counts_tiles: the router says how many there are */
    int late_next;               /* see product: rows_known */
    int ring_bytes, staged_bytes, sum_bytes;
    expert_tiles tiles;
    const uint32_t *code_book; /* NULL: no matrix of this launch needs it */
};

static_assert(sizeof(narrow_arguments) <= 4096, "what a launch can hand over on every device");

/* Bytes of a staged row: its columns of a pass; 16 more keep rows apart in the banks. */
ANYWHERE int staged_bytes(const product_plan &plan) {
    int macros = plan.pass_units * plan.unit_macros;
    if (macros > plan.macros) macros = plan.macros;
    return macros * MACRO_BYTES + 16;
}

static int larger(int a, int b) {
    return a > b ? a : b;
}

/* Of a format. */
struct step_sizes {
    int ring, macro_bytes, unit_macros;
    int (*record_floats)(int n_rows);
};

template <int TYPE> static step_sizes sizes_of_format() {
    typedef step_format<TYPE> S;
    typedef tile_format<TYPE> F;
    return step_sizes{S::DEPTH * S::TILES * S::BYTES, F::CODE_BYTES + F::SCALE_BYTES,
                      F::MACRO_FACTOR ? 1 : (int)CHUNK_MACROS, S::record_floats};
}

static step_sizes sizes_of(int type) {
    return type == DS4_TYPE_Q8_0      ? sizes_of_format<DS4_TYPE_Q8_0>()
           : type == DS4_TYPE_F16     ? sizes_of_format<DS4_TYPE_F16>()
           : type == DS4_TYPE_IQ2_XXS ? sizes_of_format<DS4_TYPE_IQ2_XXS>()
                                      : sizes_of_format<DS4_TYPE_Q2_K>();
}

/* What a launch has: blocks of so many warps, and what a block may have of shared memory. */
struct block_plan {
    int blocks, warps, bytes;
};

/* As many columns in a pass as there is `room` for beside two records of a slot. */
static void plan_passes(int most_rows, int room, product_plan *plan) {
    int tiles = plan->slot_tiles;
    int each = most_rows * plan->unit_macros * MACRO_BYTES + 2 * tiles * plan->record_bytes;
    int most = (room - most_rows * (16 + tiles * TILE * (int)sizeof(float))) / each;
    if (!plan->staged) most = plan->units;
    if (most < 1) most = 1; /* more than there is room for: plan_block says so */
    plan->passes = (plan->units + most - 1) / most;
    plan->pass_units = (plan->units + plan->passes - 1) / plan->passes;
}

/* Shared memory: rings, zeros, perhaps the code book; rows; what is left is for the records of the
 * slots of a turn, twice. Returns the bytes of a block. */
static int plan_block(narrow_arguments *t, const block_plan &b) {
    enum { MOST = 64 * 1024 };
    int used = ZEROS + (t->code_book != nullptr ? IQ2_TABLE * (int)sizeof(uint32_t) : 0);
    t->ring_bytes = t->staged_bytes = t->sum_bytes = 0;
    for (int i = 0; i < t->list.n; i++)
        t->ring_bytes = larger(t->ring_bytes, b.warps * sizes_of(t->list.items[i].m.type).ring);
    used += t->ring_bytes;
    for (int i = 0; i < t->list.n; i++) {
        product_plan *plan = &t->plan[i];
        plan_passes(t->most_rows, b.bytes - used, plan);
        t->staged_bytes =
            larger(t->staged_bytes,
                   t->most_rows * (plan->staged ? staged_bytes(*plan) : b.warps * (int)MACRO_ROW));
    }
    used += t->staged_bytes;
    int left = b.bytes - used < MOST ? b.bytes - used : (int)MOST, totals = 0;
    for (int i = 0; i < t->list.n; i++) {
        product_plan *plan = &t->plan[i];
        int records = plan->slot_tiles * plan->pass_units * plan->record_bytes;
        int total =
            plan->passes == 1 ? 0 : plan->slot_tiles * t->most_rows * TILE * (int)sizeof(float);
        plan->group = larger(1, left / (2 * records + total));
        t->sum_bytes = larger(t->sum_bytes, plan->group * records);
        totals = larger(totals, plan->group * total);
    }
    return used + 2 * t->sum_bytes + totals;
}

static void cut_products(narrow_arguments *t) {
    for (int i = 0; i < t->list.n; i++) {
        const product &p = t->list.items[i];
        product_plan *plan = &t->plan[i];
        step_sizes sizes = sizes_of(p.m.type);
        plan->slot_tiles = p.gate.codes != nullptr ? 2 : 1;
        plan->slots = (p.m.n_out + TILE - 1) / TILE;
        plan->macros = split_width(p.m.n_in) / MACRO;
        plan->unit_macros = sizes.unit_macros;
        plan->units = (plan->macros + plan->unit_macros - 1) / plan->unit_macros;
        plan->staged = plan->unit_macros > 1;
        plan->record_bytes = (int)sizeof(float) * sizes.record_floats(t->most_rows);
        plan->cost = plan->macros * sizes.macro_bytes / 32 * plan->slot_tiles;
        if (by_macros(p.m.type)) plan->cost = plan->cost * 5 / 2; /* their decoding takes longer */
    }
}

/* Blocks for all products when each does slots of at most `most` cost; of one product and one
 * expert, so that it begins only once. */
static int share_blocks(narrow_arguments *t, int most) {
    int n = 0;
    for (int i = 0; i < t->list.n; i++) {
        product_plan *plan = &t->plan[i];
        int each = larger(1, most / plan->cost);
        plan->first_block = n;
        plan->tile_blocks = (plan->slots + each - 1) / each;
        n += plan->tile_blocks * (t->list.items[i].by_expert ? t->max_tiles : 1);
    }
    return n;
}

/* Returns how many blocks a launch of at most `blocks` has. With counts_tiles, blocks share what
 * the router has counted. */
static int assign_blocks(narrow_arguments *t, int blocks) {
    if (t->counts_tiles) return blocks;
    double total = 0;
    for (int i = 0; i < t->list.n; i++)
        total += (double)t->plan[i].slots * t->plan[i].cost *
                 (t->list.items[i].by_expert ? t->max_tiles : 1);
    int most = (int)(total / blocks) + 1, n = share_blocks(t, most), pieces = 0;
    for (int i = 0; i < t->list.n; i++) pieces += t->list.items[i].by_expert ? t->max_tiles : 1;
    while (n > blocks && n > pieces) n = share_blocks(t, most += most / 64 + 1);
    return n;
}

static bool has_passes(const narrow_arguments &t) {
    for (int i = 0; i < t.list.n; i++)
        if (t.plan[i].passes > 1) return true;
    return false;
}

/* Two blocks to a multiprocessor, or a large one, if all columns of the rows fit into each; the
 * large one for weights with factors of macros (tile_macros.h). Else one with few rings: the
 * more columns a pass has, the more warps have a unit. The last is for devices with little shared
 * memory. */
static block_plan choose_blocks(narrow_arguments *t, device *d, int *bytes) {
    enum {
        RESERVED = 3072, /* what the kernel declares, and more */
        N_PLANS = 4,
        LARGE = 1,
        WITH_PASSES = 2 /* from this one on */
    };
    int n = device_processors(d), most = device_shared_bytes(d) - RESERVED;
    const block_plan plans[N_PLANS] = {{2 * n, MOST_WARPS / 2, most / 2 - 1024},
                                       {n, MOST_WARPS, most},
                                       {n, MOST_WARPS / 2, most},
                                       {n, MOST_WARPS / 4, most}};
    block_plan b = {};
    for (int i = t->plan[0].staged ? 0 : (int)LARGE; i < N_PLANS; i++) {
        b = plans[i];
        *bytes = plan_block(t, b);
        if (*bytes <= b.bytes && (i >= WITH_PASSES || !has_passes(*t))) break;
    }
    return b;
}

} // namespace GPU_NAMESPACE

#endif
