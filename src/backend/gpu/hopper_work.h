/* What the blocks of hopper_products.cu work on: pieces of work, and activations that the copy
 * engine brings. */
#ifndef DS4_BACKEND_GPU_HOPPER_WORK_H
#define DS4_BACKEND_GPU_HOPPER_WORK_H

#include "backend/gpu/hopper.h"
#include "backend/gpu/tile_multiply.h"

namespace GPU_NAMESPACE {

enum {
    CLUSTER = 2,               /* blocks */
    CONSUMERS = 256,           /* threads that multiply */
    THREADS = CONSUMERS + 128, /* registers are handed out by warpgroups */
    CONSUMER_REGISTERS = 240,
    OTHER_REGISTERS = 24,
    BLOCK_TILES = 8,
    ROWS = HOPPER_ROWS,
    PLANE = ROWS * 128, /* 32 columns of all rows: 64 bytes of high halves, 64 of low ones */
    STAGES = 4,
    STAGE_BYTES = 2 * PLANE,
    TOTAL_BYTES = ROWS / 2 * CONSUMERS * 4,
    MORE_BYTES = 2 * PLANE, /* the code book, or sums of 16 columns */
    ALIGNED = 1024,
    SHARED_BYTES = STAGES * STAGE_BYTES + TOTAL_BYTES + MORE_BYTES + ALIGNED,
    BAND = 8, /* clusters that share rows at about the same time */
    WIDTHS = 4
};

/* Columns of a matrix instruction: no more than there are rows. */
ANYWHERE int columns_of(int width) {
    return width == 0 ? 64 : width == 1 ? 96 : width == 2 ? 112 : 128;
}

struct hopper_arguments {
    CUtensorMap maps[WIDTHS]; /* of the activations, in boxes of each width */
    product_list list;
    int first_work[MAX_PRODUCTS + 1];
    int n_rows;
    expert_tiles tiles;
    const uint32_t *code_book;
};

/* With a gate, one warpgroup has its tiles, the other those of the matrix itself. */
ANYWHERE int group_tiles(const product &p) {
    return p.gate.codes != nullptr ? BLOCK_TILES / 2 : (int)BLOCK_TILES;
}

/* Groups of tiles, one for each block of a cluster. */
ANYWHERE int cluster_groups(const product &p) {
    int tiles = (p.m.n_out + TILE - 1) / TILE, together = CLUSTER * group_tiles(p);
    return (tiles + together - 1) / together;
}

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

/* A piece of work of a cluster. */
struct work {
    const product *p; /* NULL: there is none */
    int group, expert, first,
        n; /* rows [first, first + n), in the order of the pairs if by expert */
};

DEVICE work work_at(const hopper_arguments &t, int at) {
    int index = 0;
    work w = {};
    if (at >= t.first_work[t.list.n]) return w;
    while (at >= t.first_work[index + 1]) index++;
    const product &p = t.list.items[index];
    int groups = cluster_groups(p), local = at - t.first_work[index];
    if (p.by_expert) {
        int tile = local / groups;
        if (tile >= *t.tiles.n_tiles) return w;
        w.group = local % groups;
        w.expert = t.tiles.expert[tile];
        w.first = t.tiles.first[tile];
        w.n = t.tiles.count[tile];
    } else {
        int row_tiles = (t.n_rows + ROWS - 1) / ROWS, band = local / (row_tiles * BAND);
        int left = groups - band * BAND, width = left < BAND ? left : (int)BAND;
        local -= band * row_tiles * BAND;
        w.group = band * BAND + local % width;
        w.first = local / width * ROWS;
        w.n = t.n_rows - w.first < ROWS ? t.n_rows - w.first : (int)ROWS;
    }
    w.p = &p;
    w.group = w.group * CLUSTER + cluster_rank();
    return w;
}

/* Several products may be in a launch, only the last of which may have less work than planned. */
DEVICE bool next_work(const hopper_arguments &t, int &at, work &w) {
    int step = (int)gridDim.x / CLUSTER;
    for (at += step; at < t.first_work[t.list.n]; at += step) {
        w = work_at(t, at);
        if (w.p != nullptr) return true;
    }
    w.p = nullptr;
    return false;
}

DEVICE int width_of(const work &w, bool even) {
    return w.n <= 64 ? 0 : even || w.n > 112 ? 3 : w.n <= 96 ? 1 : 2;
}

/* Memory of a block. */
struct places {
    uint32_t stages, more, full, empty; /* barriers: [STAGES] */
    uint64_t planes;                    /* the stages, as matrix instructions name them */
    uint8_t *table;
    float *totals; /* [ROWS / 2][CONSUMERS] */
    int *y_row;
};

/* ---- the copies ---- */

template <int TYPE> DEVICE void bring_all(const hopper_arguments &t, const places &s) {
    typedef tile_format<TYPE> F;
    work w;
    uint32_t step = 0, box = 0;
    for (int at = (int)blockIdx.x / CLUSTER - (int)gridDim.x / CLUSTER; next_work(t, at, w);) {
        const activation &x = w.p->x;
        int width = width_of(w, F::BLOCK_FACTOR), rows = columns_of(width) / CLUSTER;
        int rank = cluster_rank(), first = w.first + rank * rows;
        uint32_t offset = (uint32_t)(rank * rows * 128), bytes = (uint32_t)(rows * CLUSTER * 128);
        const CUtensorMap *map = &t.maps[width];
        int sums = (int)sums_offset(x) / 2 + x.first / MACRO * 32;
        int n = split_width(w.p->m.n_in) / 64;
        for (int i = 0; i < n; i++, step++) {
            uint32_t stage = s.stages + step % STAGES * STAGE_BYTES + offset;
            uint32_t full = s.full + step % STAGES * 8;
            bool more = F::MINIMA && i % 8 == 0; /* the sums of two macros */
            barrier_wait(s.empty + step % STAGES * 8, step / STAGES % 2 ^ 1);
            barrier_expect(full, more ? 3 * bytes : 2 * bytes);
            copy_box<CLUSTER>(stage, map, 2 * x.first + 128 * i, first, full);
            copy_box<CLUSTER>(stage + PLANE, map, 2 * x.first + 128 * i + 64, first, full);
            if (more) {
                copy_box<CLUSTER>(s.more + box % 2 * PLANE + offset, map, sums + 32 * (i / 4),
                                  first, full);
                box++;
            }
        }
    }
}

#endif

} // namespace GPU_NAMESPACE

#endif
