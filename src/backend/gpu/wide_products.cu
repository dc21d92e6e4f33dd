/* Products on the matrix units for many rows (prefill): a block multiplies 128 weight rows by up to
 * 64 activation rows. Weights (as they are stored) and activations come to shared memory in the
 * background, 128 columns at a time, while the ones before are multiplied; weights become halves in
 * registers. The sums are those of tile_products.cu, in the same order. */
#include "backend/gpu/tile_multiply.h"

namespace GPU_NAMESPACE {

enum {
    THREADS = 256,
    BLOCK_TILES = 8,
    ROWS = WIDE_ROWS,
    STAGES = 2,
    WARP_TILES = 2,       /* a warp: two tiles ... */
    WARP_ROWS = ROWS / 2, /* ... and half of the rows */
    OCTETS = WARP_ROWS / 8,
    X_BYTES = ROWS * HALF * 4, /* [2 of 64 columns][high, low][row][128 bytes, swizzled] */
    SUM_STRIDE = 80,
    SUM_BYTES = ROWS * SUM_STRIDE,
    SCALE_SPACE = 320
};

typedef row_tile_of<ROWS> wide_rows;

struct wide_arguments {
    product_list list;
    int first_block[MAX_PRODUCTS + 1];
    int n_rows;
    expert_tiles tiles;
    const uint32_t *code_book;
};

/* Weight tiles of a block: with a gate, half as many of each matrix, in turn. */
ANYWHERE int block_tiles(const product &p) {
    return p.gate.codes != nullptr ? BLOCK_TILES / 2 : (int)BLOCK_TILES;
}

ANYWHERE int wide_groups(const product &p) {
    return ((p.m.n_out + TILE - 1) / TILE + block_tiles(p) - 1) / block_tiles(p);
}

/* 16 bytes of a row's 128: so that eight rows read at once lie in different banks. */
DEVICE int swizzled(int row, int piece) {
    return row * 128 + ((piece ^ (row & 7)) << 4);
}

template <int TYPE> struct wide {
    typedef tile_format<TYPE> F;
    typedef typename F::half_data half_data;
    enum {
        CODES = F::CODE_BYTES / 2, /* of a tile and half */
        SCALES = F::BLOCK_FACTOR ? F::SCALE_BYTES / 2 : (int)F::SCALE_BYTES,
        TILE_SPACE = CODES + SCALES,
        STAGE_BYTES = X_BYTES + BLOCK_TILES * TILE_SPACE + (F::MINIMA ? SUM_BYTES : 0)
    };
    const product *p;
    const wide_rows *rows;
    const uint8_t *table;
    uint8_t *memory;
    int group, n_halves, n_tiles;
    float acc[WARP_TILES][OCTETS][4], part[WARP_TILES][OCTETS][4], total[WARP_TILES][OCTETS][4];

    /* Tile i of the block: which matrix and where in it. */
    DEVICE const matrix &matrix_of(const wide &s, int i) {
        return s.p->gate.codes != nullptr && i % 2 == 1 ? s.p->gate : s.p->m;
    }
    DEVICE int tile_of(const wide &s, int i) {
        int tile = s.group * block_tiles(*s.p) + (s.p->gate.codes != nullptr ? i / 2 : i);
        return tile < s.n_tiles ? tile : s.n_tiles - 1; /* more than there are: not stored */
    }

    /* One half (128 columns) of everything. */
    DEVICE void fetch_half(const wide &s, int half) {
        const product &p = *s.p;
        uint8_t *stage = s.memory + half % STAGES * STAGE_BYTES;
        for (int i = thread_index(); i < s.rows->n * 32; i += THREADS) {
            int r = i / 32, piece = i % 32, block = piece / 8, low = piece / 4 % 2;
            const uint8_t *from =
                split_row(p.x, s.rows->x_row[r]) + 4 * p.x.first + half * 4 * HALF + 16 * piece;
            fetch_16(stage + (block / 2 * 2 + low) * ROWS * 128 +
                         swizzled(r, block % 2 * 4 + piece % 4),
                     from);
        }
        uint8_t *weights = stage + X_BYTES;
        for (int i = thread_index(); i < BLOCK_TILES * (TILE_SPACE / 16); i += THREADS) {
            int k = i / (TILE_SPACE / 16), piece = i % (TILE_SPACE / 16);
            const matrix &m = matrix_of(s, k);
            macro_place at = place_of(m, s.rows->expert, tile_of(s, k), half / 2);
            const uint8_t *from = piece < CODES / 16
                                      ? at.codes + half % 2 * CODES + 16 * piece
                                      : at.scales + (F::BLOCK_FACTOR ? half % 2 * SCALES : 0) +
                                            16 * (piece - CODES / 16);
            fetch_16(weights + k * TILE_SPACE + 16 * piece, from);
        }
        if (F::MINIMA && half % 2 == 1) {
            uint8_t *sums = weights + BLOCK_TILES * TILE_SPACE;
            for (int i = thread_index(); i < s.rows->n * 4; i += THREADS)
                fetch_16(sums + i / 4 * SUM_STRIDE + i % 4 * 16,
                         split_row(p.x, s.rows->x_row[i / 4]) + sums_offset(p.x) +
                             (p.x.first / MACRO + half / 2) * 64 + i % 4 * 16);
        }
    }

    DEVICE void clear(float (*sum)[OCTETS][4]) {
        UNROLL
        for (int k = 0; k < WARP_TILES; k++) UNROLL
        for (int j = 0; j < OCTETS; j++) clear_4(sum[k][j]);
    }

    DEVICE void add_part(wide &s, int k, float2 factor) {
        float(*sum)[4] = F::MACRO_FACTOR ? s.total[k] : s.acc[k];
        UNROLL
        for (int j = 0; j < OCTETS; j++) add_scaled(sum[j], s.part[k][j], factor);
    }

    /* A block of 32 columns: `x` is where its high halves are. */
    DEVICE void multiply_block(wide &s, const uint8_t *x, int piece, uint32_t (*a)[2][4]) {
        float(*sum)[OCTETS][4] = F::BLOCK_FACTOR || F::MACRO_FACTOR ? s.part : s.acc;
        int lane = lane_index(), first = warp_index() % 2 * WARP_ROWS;
        UNROLL
        for (int j = 0; j < OCTETS; j++) {
            uint32_t high[4], low[4];
            int at = swizzled(first + 8 * j + lane % 8, piece + lane / 8);
            load_tiles(high, x + at);
            load_tiles(low, x + ROWS * 128 + at);
            UNROLL
            for (int k = 0; k < 2; k++) {
                UNROLL
                for (int i = 0; i < WARP_TILES; i++)
                    multiply_tile(sum[i][j], a[i][k], high[2 * k], high[2 * k + 1]);
                UNROLL
                for (int i = 0; i < WARP_TILES; i++)
                    multiply_tile(sum[i][j], a[i][k], low[2 * k], low[2 * k + 1]);
            }
        }
    }

    DEVICE void add_minima(wide &s, const uint8_t *sums, const half_data *data) {
        int lane = lane_index(), first = warp_index() % 2 * WARP_ROWS;
        uint32_t a[WARP_TILES][4];
        clear(s.part);
        UNROLL
        for (int i = 0; i < WARP_TILES; i++) F::minima(data[i], a[i]);
        UNROLL
        for (int j = 0; j < OCTETS; j++) {
            uint32_t x[4];
            load_tiles(x, sums + (first + 8 * j + lane % 8) * SUM_STRIDE + lane / 8 * 16);
            UNROLL
            for (int i = 0; i < WARP_TILES; i++) {
                multiply_tile(s.part[i][j], a[i], x[0], x[1]);
                multiply_tile(s.part[i][j], a[i], x[2], x[3]);
            }
        }
        UNROLL
        for (int i = 0; i < WARP_TILES; i++) add_part(s, i, F::minimum_factor(data[i]));
    }

    DEVICE void multiply_half(wide &s, int half) {
        const uint8_t *stage = s.memory + half % STAGES * STAGE_BYTES, *weights = stage + X_BYTES;
        half_data data[WARP_TILES];
        UNROLL
        for (int i = 0; i < WARP_TILES; i++) {
            const uint8_t *at = weights + (warp_index() / 2 * WARP_TILES + i) * TILE_SPACE;
            F::template load<1>(data[i], at, at + CODES, 0, half & 1);
        }
        if (F::MACRO_FACTOR && half % 2 == 0) clear(s.part);
        UNROLL
        for (int b = 0; b < 4; b++) {
            uint32_t a[WARP_TILES][2][4];
            UNROLL
            for (int i = 0; i < WARP_TILES; i++) F::block(data[i], b, s.table, a[i]);
            if (F::BLOCK_FACTOR) clear(s.part);
            multiply_block(s, stage + b / 2 * 2 * ROWS * 128, b % 2 * 4, a);
            UNROLL
            for (int i = 0; i < WARP_TILES && F::BLOCK_FACTOR; i++)
                add_part(s, i, F::block_factor(data[i], b));
        }
        if (F::MACRO_FACTOR && half % 2 == 1) {
            UNROLL
            for (int i = 0; i < WARP_TILES; i++) add_part(s, i, F::macro_factor(data[i]));
            if (F::MINIMA) add_minima(s, weights + BLOCK_TILES * TILE_SPACE, data);
        }
    }

    DEVICE void run(wide &s) {
        clear(s.total);
        clear(s.acc);
        for (int i = 0; i < STAGES - 1; i++) {
            if (i < s.n_halves) fetch_half(s, i);
            fetch_group();
        }
        for (int half = 0; half < s.n_halves; half++) {
            if (half + STAGES - 1 < s.n_halves) fetch_half(s, half + STAGES - 1);
            fetch_group();
            fetch_finished<STAGES - 1>();
            block_barrier();
            multiply_half(s, half);
            if (!F::MACRO_FACTOR && ((half + 1) % HALVES == 0 || half + 1 == s.n_halves)) {
                UNROLL
                for (int k = 0; k < WARP_TILES; k++) UNROLL
                for (int j = 0; j < OCTETS; j++) UNROLL
                for (int i = 0; i < 4; i++) s.total[k][j][i] += s.acc[k][j][i];
                clear(s.acc);
            }
            block_barrier(); /* before the stage is filled again */
        }
    }

    /* By way of shared memory, so that 16 lanes hold a row's outputs of a tile: [row][128 + 1]. */
    DEVICE void write(wide &s) {
        enum { OUTPUTS = BLOCK_TILES * TILE, STRIDE = OUTPUTS + 1 };
        const product &p = *s.p;
        float *sums = (float *)s.memory;
        bool pair = p.gate.codes != nullptr;
        int first_tile = warp_index() / 2 * WARP_TILES, first_row = warp_index() % 2 * WARP_ROWS;
        UNROLL
        for (int k = 0; k < WARP_TILES; k++) UNROLL
        for (int j = 0; j < OCTETS; j++) UNROLL
        for (int i = 0; i < 4; i++)
            sums[(first_row + 8 * j + lane_index() % 4 * 2 + i % 2) * STRIDE +
                 (first_tile + k) * TILE + lane_index() / 4 + i / 2 * 8] =
                s.total[k][j][i] * (1.0f / ACTIVATION_SCALE);
        block_barrier();
        int outputs = block_tiles(p) * TILE;
        for (int i = thread_index(); i < s.rows->n * outputs; i += THREADS) {
            int r = i / outputs, o = i % outputs, unit = o / TILE;
            const float *from = sums + r * STRIDE + (pair ? 2 * unit : unit) * TILE + o % TILE;
            float y = from[0];
            if (pair) y = gated(y, from[TILE], p.clamp, s.rows->weight[r]);
            store_product(p, s.rows->y_row[r], s.group * outputs + o, y, true);
        }
    }
};

template <int TYPE>
DEVICE void wide_format(const product &p, const wide_rows &rows, const uint32_t *table,
                        uint8_t *memory, int group) {
    wide<TYPE> s;
    s.p = &p;
    s.rows = &rows;
    s.table = lane_table(table);
    s.memory = memory;
    s.group = group;
    s.n_halves = split_width(p.m.n_in) / HALF;
    s.n_tiles = (p.m.n_out + TILE - 1) / TILE;
    wide<TYPE>::run(s);
    wide<TYPE>::write(s);
}

KERNEL LAUNCH_BOUNDS(THREADS, 1) wide_kernel(ARGUMENTS wide_arguments t) {
    DYNAMIC_SHARED(uint8_t, memory);
    SHARED wide_rows rows;
    SHARED_16 uint32_t table[IQ2_TABLE];
    int index = 0;
    while (index + 1 < t.list.n && block_x() >= t.first_block[index + 1]) index++;
    const product &p = t.list.items[index];
    next_launch();
    if (p.m.type == DS4_TYPE_IQ2_XXS) fill_iq2_table(table, t.code_book);
    previous_launch();
    int groups = wide_groups(p), local = block_x() - t.first_block[index];
    int row_tiles = (t.n_rows + ROWS - 1) / ROWS;
    int tile = p.by_expert ? local / groups : local % row_tiles;
    int group = p.by_expert ? local % groups : local / row_tiles;
    if (!find_rows(t.tiles, t.n_rows, p, tile, ROWS, rows)) return;
    block_barrier();
    switch (p.m.type) {
    case DS4_TYPE_Q8_0:
        wide_format<DS4_TYPE_Q8_0>(p, rows, table, memory, group);
        break;
    case DS4_TYPE_F16:
        wide_format<DS4_TYPE_F16>(p, rows, table, memory, group);
        break;
    case DS4_TYPE_IQ2_XXS:
        wide_format<DS4_TYPE_IQ2_XXS>(p, rows, table, memory, group);
        break;
    case DS4_TYPE_Q2_K:
        wide_format<DS4_TYPE_Q2_K>(p, rows, table, memory, group);
        break;
    default:
        break;
    }
}

static size_t stage_bytes(int type) {
    switch (type) {
    case DS4_TYPE_Q8_0:
        return wide<DS4_TYPE_Q8_0>::STAGE_BYTES;
    case DS4_TYPE_F16:
        return wide<DS4_TYPE_F16>::STAGE_BYTES;
    case DS4_TYPE_IQ2_XXS:
        return wide<DS4_TYPE_IQ2_XXS>::STAGE_BYTES;
    default:
        return wide<DS4_TYPE_Q2_K>::STAGE_BYTES;
    }
}

void wide_products_run(device *d, const product_list &list, int n_rows, const expert_tiles &tiles,
                       int max_tiles, const uint32_t *code_book) {
    wide_arguments t = {};
    int n_blocks = 0, row_tiles = (n_rows + ROWS - 1) / ROWS;
    size_t bytes = (size_t)ROWS * (BLOCK_TILES * TILE + 1) * sizeof(float);
    t.list = list;
    t.n_rows = n_rows;
    t.tiles = tiles;
    t.code_book = code_book;
    for (int i = 0; i < list.n; i++) {
        const product &p = list.items[i];
        t.first_block[i] = n_blocks;
        n_blocks += wide_groups(p) * (p.by_expert ? max_tiles : row_tiles);
        if (STAGES * stage_bytes(p.m.type) > bytes) bytes = STAGES * stage_bytes(p.m.type);
    }
    t.first_block[list.n] = n_blocks;
    launch(d, wide_kernel, dim3((unsigned)n_blocks), THREADS, bytes, t);
}

} // namespace GPU_NAMESPACE
