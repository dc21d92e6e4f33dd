/* How a launch of tile_products.cu is cut: into slots, units, passes and blocks, and what a block
 * has of shared memory. Found once on the host, so that a launch begins with few instructions. */
#ifndef DS4_BACKEND_GPU_TILE_PLAN_H
#define DS4_BACKEND_GPU_TILE_PLAN_H

#include "backend/gpu/tile_sums.h"

namespace GPU_NAMESPACE {

enum {
    MOST_WARPS = 16,
    DENSE_ROWS = 16,  /* that are multiplied at once by weights which all rows meet, as chunks;
                         NARROW_ROWS by others */
    LEAST_DEPTH = 2,  /* of a ring in tile_chunks.h */
    MOST_RING = 8704, /* bytes of it where there is room: more would come before the rows do */
    EARLY = 4352,     /* bytes that are asked for before the rows are */
    MACRO_BYTES = 4 * MACRO, /* of an activation row */
    HALF_BYTES = 4 * HALF
};

/* How a product is cut. A `slot` is one tile, with that of its gate. A block does `group` slots in
 * a turn. Where its rows do not fit into shared memory, the turn goes through windows of each
 * chunk's columns; where there are more chunks than warps, a turn has some of them (a pass) and
 * there are more turns. */
struct product_plan {
    int macros, units;      /* of a tile */
    int slots, each, group; /* each: of a block, at most */
    int pass_units, passes;
    int slot_tiles, record_bytes;
    int stage_rows; /* in tile_chunks.h: rows whose columns a block's warps ask for at once */
    int cost;       /* of a slot */
    int first_block, tile_blocks; /* its blocks: so many for each tile of rows of an expert */
};

struct narrow_arguments {
    product_list list;
    product_plan plan[MAX_PRODUCTS];
    int n_rows;
    int chunk_rows, macro_rows;  /* most at once, for which there is shared memory */
    int groups;                  /* of eight rows in tile_chunks.h */
    int warps, warp_bits;        /* of a block, and their logarithm */
    int windows;                 /* that a chunk's columns are cut into: 1, 2, 4 or 8 */
    int max_tiles, counts_tiles; /* counts_tiles: the router says how many there are */
    int late_next;               /* see product: rows_known */
    int warp_ring, ring_bytes, staged_bytes, sum_bytes;
    int sum_step; /* bytes from a buffer of records to the other */
    expert_tiles tiles;
    const uint32_t *code_book; /* NULL: no matrix of this launch needs it */
};

static_assert(sizeof(narrow_arguments) <= 4096, "what a launch can hand over on every device");

/* How far a block has come in its launch. */
struct block_state {
    bool waited; /* for the launch before */
    bool warm;   /* its code has been run */
};

/* Bytes of a staged row: its columns of a pass and window; 16 more keep rows apart in the banks. */
ANYWHERE int staged_bytes(const product_plan &plan, int windows) {
    int halves = plan.pass_units * (int)HALVES / windows;
    if (windows == 1 && halves > 2 * plan.macros) halves = 2 * plan.macros;
    return halves * HALF_BYTES + 16;
}

ANYWHERE int larger(int a, int b) {
    return a > b ? a : b;
}

ANYWHERE int smaller(int a, int b) {
    return a < b ? a : b;
}

/* Of a format. ring: of a warp, at least; place: what a ring grows by. */
struct step_sizes {
    int ring, place, half_steps, macro_bytes;
    int (*record_floats)(int n_rows);
};

template <int TYPE, int GROUPS> static step_sizes sizes_of_format() {
    typedef step_format<TYPE> S;
    typedef tile_format<TYPE> F;
    typedef chunk_step<TYPE, GROUPS> C;
    int bytes = F::CODE_BYTES + F::SCALE_BYTES;
    if (F::MACRO_FACTOR)
        return step_sizes{S::DEPTH * S::TILES * S::BYTES, 0, 1, bytes, S::record_floats};
    return step_sizes{LEAST_DEPTH * C::BYTES, C::BYTES, C::HALF_STEPS, bytes, S::record_floats};
}

static step_sizes sizes_of(int type, int groups) {
    if (type == DS4_TYPE_IQ2_XXS) return sizes_of_format<DS4_TYPE_IQ2_XXS, 1>();
    if (type == DS4_TYPE_Q2_K) return sizes_of_format<DS4_TYPE_Q2_K, 1>();
    if (type == DS4_TYPE_F16) return sizes_of_format<DS4_TYPE_F16, 1>();
    return groups > 1 ? sizes_of_format<DS4_TYPE_Q8_0, 2>() : sizes_of_format<DS4_TYPE_Q8_0, 1>();
}

/* What a launch has: blocks of so many warps, and what a block may have of shared memory. */
struct block_plan {
    int blocks, warps, bytes;
};

/* How a block's memory may be used: windows, and how many units a pass has at most. */
struct memory_plan {
    int windows, most_units;
};

static bool has_chunks(const narrow_arguments &t, int i) {
    return !by_macros(t.list.items[i].m.type);
}

static void plan_passes(const memory_plan &m, narrow_arguments *t, int i) {
    product_plan *plan = &t->plan[i];
    int most = has_chunks(*t, i) ? m.most_units : plan->units;
    if (has_chunks(*t, i) && m.windows > 1) most = smaller(most, t->warps / plan->slot_tiles);
    most = smaller(most, plan->units);
    plan->passes = (plan->units + most - 1) / most;
    plan->pass_units = (plan->units + plan->passes - 1) / plan->passes;
    plan->stage_rows = larger(1, t->warps / plan->pass_units);
}

static int rows_bytes(const narrow_arguments &t, int i) {
    if (!has_chunks(t, i)) return t.warps * t.macro_rows * (int)MACRO_ROW;
    return (t.windows > 1 ? 2 : 1) * t.chunk_rows * staged_bytes(t.plan[i], t.windows);
}

/* Whether a block's turns keep their records apart: without a barrier before they are stored, if
 * there is more than one turn. */
static bool needs_two_buffers(const narrow_arguments &t, int i, int group) {
    const product_plan &plan = t.plan[i];
    if (!has_chunks(t, i)) return true;
    return t.windows == 1 && plan.passes == 1 && group < plan.each;
}

/* Slots of a turn; `left`: bytes for records. Turns are about equal. */
static int plan_group(const narrow_arguments &t, int i, int left) {
    const product_plan &plan = t.plan[i];
    int records = plan.slot_tiles * plan.pass_units * plan.record_bytes, turns = 1;
    int total = plan.passes == 1 ? 0 : plan.slot_tiles * t.chunk_rows * TILE * (int)sizeof(float);
    for (;; turns++) {
        int group = (plan.each + turns - 1) / turns;
        int bytes = group * ((needs_two_buffers(t, i, group) ? 2 : 1) * records + total);
        bool crowded = has_chunks(t, i) && t.windows > 1 &&
                       group * plan.slot_tiles * plan.pass_units > t.warps;
        if (group == 1 || (bytes <= left && !crowded)) return group;
    }
}

/* Shared memory: rings, perhaps the code book; rows; records of the slots of a turn, once or twice;
 * what is left makes rings longer. Returns the bytes of a block. */
static int plan_block(narrow_arguments *t, const block_plan &b, const memory_plan &m) {
    enum { MOST = 64 * 1024, TOO_MUCH = 1 << 30 };
    int used = t->code_book != nullptr ? IQ2_TABLE * (int)sizeof(uint32_t) : 0;
    int totals = 0, longest = 0;
    bool two = false;
    t->warp_ring = t->staged_bytes = t->sum_bytes = 0;
    t->windows = m.windows;
    t->warps = b.warps;
    for (t->warp_bits = 0; 1 << t->warp_bits < b.warps; t->warp_bits++) {
    }
    for (int i = 0; i < t->list.n; i++) {
        step_sizes sizes = sizes_of(t->list.items[i].m.type, t->groups);
        if (m.windows * sizes.half_steps > HALVES) return TOO_MUCH;
        t->warp_ring = larger(t->warp_ring, sizes.ring);
        longest =
            larger(longest, smaller(MOST_DEPTH, MOST_RING / larger(1, sizes.place)) * sizes.place);
        plan_passes(m, t, i);
        t->staged_bytes = larger(t->staged_bytes, rows_bytes(*t, i));
    }
    used += t->staged_bytes + b.warps * t->warp_ring;
    int left = smaller(b.bytes - used, MOST);
    for (int i = 0; i < t->list.n; i++) {
        product_plan *plan = &t->plan[i];
        int tiles = plan->slot_tiles, total = tiles * t->chunk_rows * TILE * (int)sizeof(float);
        plan->group = plan_group(*t, i, left);
        t->sum_bytes =
            larger(t->sum_bytes, plan->group * tiles * plan->pass_units * plan->record_bytes);
        if (plan->passes > 1) totals = larger(totals, plan->group * total);
        two = two || needs_two_buffers(*t, i, plan->group);
    }
    t->sum_step = two ? t->sum_bytes : 0;
    used += t->sum_bytes + t->sum_step + totals;
    int more = (b.bytes - used) / b.warps / 128 * 128;
    if (more > 0 && t->warp_ring < longest) {
        more = smaller(more, longest - t->warp_ring);
        t->warp_ring += more;
        used += more * b.warps;
    }
    t->ring_bytes = b.warps * t->warp_ring;
    return used;
}

static void cut_products(narrow_arguments *t) {
    for (int i = 0; i < t->list.n; i++) {
        const product &p = t->list.items[i];
        product_plan *plan = &t->plan[i];
        step_sizes sizes = sizes_of(p.m.type, t->groups);
        int unit = has_chunks(*t, i) ? CHUNK_MACROS : 1;
        plan->slot_tiles = p.gate.codes != nullptr ? 2 : 1;
        plan->slots = (p.m.n_out + TILE - 1) / TILE;
        plan->macros = split_width(p.m.n_in) / MACRO;
        plan->units = (plan->macros + unit - 1) / unit;
        plan->record_bytes = (int)sizeof(float) *
                             sizes.record_floats(has_chunks(*t, i) ? t->chunk_rows : t->macro_rows);
        plan->cost = plan->macros * sizes.macro_bytes / 32 * plan->slot_tiles;
        /* Decoding takes longer than bytes. */
        if (by_macros(p.m.type)) plan->cost = plan->cost * 5 / 2;
        if (p.m.type == DS4_TYPE_F16) plan->cost /= 2;
    }
}

/* Blocks for all products when each does slots of at most `most` cost; of one product and one
 * expert, so that it begins only once. */
static int share_blocks(narrow_arguments *t, int most) {
    int n = 0;
    for (int i = 0; i < t->list.n; i++) {
        product_plan *plan = &t->plan[i];
        plan->each = larger(1, most / plan->cost);
        plan->first_block = n;
        plan->tile_blocks = (plan->slots + plan->each - 1) / plan->each;
        plan->each = (plan->slots + plan->tile_blocks - 1) / plan->tile_blocks;
        n += plan->tile_blocks * (t->list.items[i].by_expert ? t->max_tiles : 1);
    }
    return n;
}

/* Returns how many blocks a launch of at most `blocks` has. With counts_tiles, blocks share what
 * the router has counted. */
static int assign_blocks(narrow_arguments *t, int blocks) {
    for (int i = 0; i < t->list.n; i++) t->plan[i].each = t->plan[i].slots;
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

/* Two blocks to a multiprocessor, or a large one: for weights with factors of macros
 * (tile_macros.h), and for more than eight rows, which then come to fewer blocks. Those with fewer
 * warps are for rows of many columns and for devices with little shared memory. *blocks: of the
 * launch. */
static block_plan choose_blocks(narrow_arguments *t, device *d, int *bytes, int *blocks) {
    enum {
        RESERVED = 3584, /* what the kernel declares, and more */
        N_SHAPES = 4,
        LARGE = 1,
        N_MEMORY = 6,
        ALL = 1 << 20
    };
    int n = device_processors(d), most = device_shared_bytes(d) - RESERVED;
    const block_plan shapes[N_SHAPES] = {{2 * n, MOST_WARPS / 2, most / 2 - 1024},
                                         {n, MOST_WARPS, most},
                                         {n, MOST_WARPS / 2, most},
                                         {n, MOST_WARPS / 4, most}};
    const memory_plan memory[N_MEMORY] = {{1, ALL}, {2, ALL}, {4, ALL}, {8, ALL}, {8, 4}, {8, 1}};
    block_plan b = {};
    bool large = !has_chunks(*t, 0) || t->groups > 1;
    for (int i = large ? (int)LARGE : 0; i < N_SHAPES; i++) {
        b = shapes[i];
        *blocks = assign_blocks(t, b.blocks);
        for (int k = 0; k < N_MEMORY; k++) {
            *bytes = plan_block(t, b, memory[k]);
            if (*bytes <= b.bytes) return b;
        }
    }
    return b;
}

} // namespace GPU_NAMESPACE

#endif
