/* Products of many rows with Hopper's matrix instructions (wgmma, sm_90a): what wide_products.cu
 * does on any GPU, with the same sums in the same order. (The instruction gives the bits of
 * mma.sync: docs/gpu.md.) A block multiplies 8 tiles, 128 weight rows, by up to 128 activation
 * rows. Its two warpgroups own 4 tiles each: a warp turns the next weights of its tile into
 * registers while the matrix unit multiplies the ones before. Activations come to shared memory in
 * the background, two stages of 128 columns. */
#include "backend/gpu/tile_multiply.h"

namespace GPU_NAMESPACE {

enum { THREADS = 256, BLOCK_TILES = 8, ROWS = HOPPER_ROWS, STAGES = 2, ALIGNED = 1024 };

typedef row_tile_of<ROWS> hopper_rows;

struct hopper_arguments {
    product_list list;
    int first_block[MAX_PRODUCTS + 1];
    int n_rows;
    expert_tiles tiles;
    const uint32_t *code_book;
};

/* With a gate, one warpgroup has its tiles, the other those of the matrix itself. */
ANYWHERE int group_tiles(const product &p) {
    return p.gate.codes != nullptr ? BLOCK_TILES / 2 : (int)BLOCK_TILES;
}

ANYWHERE int hopper_groups(const product &p) {
    return ((p.m.n_out + TILE - 1) / TILE + group_tiles(p) - 1) / group_tiles(p);
}

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

#define SUM_4(d, i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])

/* d (64 x N) = a b, or d += a b when `add`: b is 16 columns of a plane. */
template <int N> DEVICE void multiply_group(float *d, const uint32_t *a, uint64_t b, int add);
template <>
__device__ __forceinline__ void multiply_group<32>(float *d, const uint32_t *a, uint64_t b,
                                                   int add) {
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %21, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n32k16.f32.f16.f16 "
                 "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15}, "
                 "{%16,%17,%18,%19}, %20, p, 1, 1, 0;\n}\n"
                 : SUM_4(d, 0), SUM_4(d, 4), SUM_4(d, 8), SUM_4(d, 12)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add));
}
template <>
__device__ __forceinline__ void multiply_group<64>(float *d, const uint32_t *a, uint64_t b,
                                                   int add) {
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %37, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 "
                 "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,"
                 "%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31}, "
                 "{%32,%33,%34,%35}, %36, p, 1, 1, 0;\n}\n"
                 : SUM_4(d, 0), SUM_4(d, 4), SUM_4(d, 8), SUM_4(d, 12), SUM_4(d, 16), SUM_4(d, 20),
                   SUM_4(d, 24), SUM_4(d, 28)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add));
}
template <>
__device__ __forceinline__ void multiply_group<96>(float *d, const uint32_t *a, uint64_t b,
                                                   int add) {
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %53, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n96k16.f32.f16.f16 "
                 "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,"
                 "%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,%32,%33,%34,%35,%36,%37,"
                 "%38,%39,%40,%41,%42,%43,%44,%45,%46,%47}, "
                 "{%48,%49,%50,%51}, %52, p, 1, 1, 0;\n}\n"
                 : SUM_4(d, 0), SUM_4(d, 4), SUM_4(d, 8), SUM_4(d, 12), SUM_4(d, 16), SUM_4(d, 20),
                   SUM_4(d, 24), SUM_4(d, 28), SUM_4(d, 32), SUM_4(d, 36), SUM_4(d, 40),
                   SUM_4(d, 44)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add));
}
template <>
__device__ __forceinline__ void multiply_group<112>(float *d, const uint32_t *a, uint64_t b,
                                                    int add) {
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %61, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n112k16.f32.f16.f16 "
                 "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,"
                 "%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,%32,%33,%34,%35,%36,%37,"
                 "%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55}, "
                 "{%56,%57,%58,%59}, %60, p, 1, 1, 0;\n}\n"
                 : SUM_4(d, 0), SUM_4(d, 4), SUM_4(d, 8), SUM_4(d, 12), SUM_4(d, 16), SUM_4(d, 20),
                   SUM_4(d, 24), SUM_4(d, 28), SUM_4(d, 32), SUM_4(d, 36), SUM_4(d, 40),
                   SUM_4(d, 44), SUM_4(d, 48), SUM_4(d, 52)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add));
}
template <>
__device__ __forceinline__ void multiply_group<128>(float *d, const uint32_t *a, uint64_t b,
                                                    int add) {
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %69, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16 "
                 "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,"
                 "%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,%32,%33,%34,%35,%36,%37,"
                 "%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,"
                 "%56,%57,%58,%59,%60,%61,%62,%63}, "
                 "{%64,%65,%66,%67}, %68, p, 1, 1, 0;\n}\n"
                 : SUM_4(d, 0), SUM_4(d, 4), SUM_4(d, 8), SUM_4(d, 12), SUM_4(d, 16), SUM_4(d, 20),
                   SUM_4(d, 24), SUM_4(d, 28), SUM_4(d, 32), SUM_4(d, 36), SUM_4(d, 40),
                   SUM_4(d, 44), SUM_4(d, 48), SUM_4(d, 52), SUM_4(d, 56), SUM_4(d, 60)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add));
}
DEVICE void group_fence() {
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
DEVICE void group_commit() {
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
/* All but the last N groups are done; d was written by one of them. */
template <int N, int SUMS> DEVICE void group_wait(float *d) {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory");
    UNROLL
    for (int i = 0; i < SUMS; i++) asm volatile("" : "+f"(d[i])::"memory");
}
/* 128-byte rows, eight of them a swizzled unit of 1024 bytes. */
DEVICE uint64_t plane_place(uint32_t at) {
    return (uint64_t)(at >> 4 & 0x3fff) | (uint64_t)1 << 16 | (uint64_t)(1024 >> 4) << 32 |
           (uint64_t)1 << 62;
}

template <int TYPE, int N> struct hopper {
    typedef tile_format<TYPE> F;
    typedef typename F::half_data half_data;
    enum {
        SUMS = N / 2,                               /* registers of a 64 x N sum */
        APART = F::BLOCK_FACTOR || F::MACRO_FACTOR, /* sums of a block or macro have a factor */
        PLANE = N * 128,     /* 64 columns of all rows, high or low halves, swizzled */
        X_BYTES = 4 * PLANE, /* 128 columns */
        STAGE_BYTES = X_BYTES + (F::MINIMA ? PLANE : 0),
        BYTES = STAGES * STAGE_BYTES + SUMS * THREADS * 4
    };
    const product *p;
    const hopper_rows *rows;
    const uint32_t *table;
    uint8_t *memory;
    float *totals; /* [SUMS][THREADS] */
    int group, n_halves;
    const uint8_t *codes, *scales; /* of the warp's tile */
    const uint8_t *from;           /* x: this thread's 16 bytes of each row */
    uint32_t row_offset[N / 8], to;

    DEVICE void open(hopper &s) {
        const product &p = *s.p;
        bool pair = p.gate.codes != nullptr;
        int n_tiles = (p.m.n_out + TILE - 1) / TILE;
        const matrix &m = pair && warp_index() >= 4 ? p.gate : p.m;
        int tile = s.group * group_tiles(p) + (pair ? warp_index() % 4 : warp_index());
        if (tile >= n_tiles) tile = n_tiles - 1; /* more than there are: not stored */
        size_t place = (size_t)s.rows->expert * (size_t)n_tiles + (size_t)tile;
        s.codes = m.codes + place * m.code_stride;
        s.scales = m.scales + place * m.scale_stride;
        int piece = lane_index(), block = piece / 8, low = piece / 4 % 2, row = warp_index();
        s.from = p.x.split + 4 * p.x.first + 16 * piece;
        s.to = (uint32_t)((block / 2 * 2 + low) * PLANE + row * 128 +
                          (((block % 2 * 4 + piece % 4) ^ row) << 4));
        UNROLL
        for (int k = 0; k < N / 8; k++)
            s.row_offset[k] =
                row + 8 * k < s.rows->n ? (uint32_t)s.rows->x_row[row + 8 * k] * p.x.row_bytes : 0;
    }

    DEVICE void fetch_half(const hopper &s, int half) {
        uint8_t *stage = s.memory + half % STAGES * STAGE_BYTES;
        UNROLL
        for (int k = 0; k < N / 8; k++)
            if (warp_index() + 8 * k < s.rows->n)
                fetch_16(stage + s.to + k * 1024, s.from + s.row_offset[k] + half * 4 * HALF);
        if (!F::MINIMA || half % 2 == 0) return;
        const product &p = *s.p;
        for (int i = thread_index(); i < s.rows->n * 4; i += THREADS) {
            int r = i / 4, piece = i % 4;
            fetch_16(stage + X_BYTES + r * 128 + ((piece ^ (r & 7)) << 4),
                     split_row(p.x, s.rows->x_row[r]) + sums_offset(p.x) +
                         (p.x.first / MACRO + half / 2) * 64 + piece * 16);
        }
    }

    template <int REGISTERS> DEVICE void add_sums(float *sum, const float *part, float2 factor) {
        UNROLL
        for (int j = 0; j < REGISTERS; j += 4) add_scaled(sum + j, part + j, factor);
    }

    /* minus dmin times minima times sums of 16 columns */
    DEVICE void add_minima(const uint8_t *stage, const half_data &d, float *acc, float *part) {
        uint32_t a[4], at = (uint32_t)__cvta_generic_to_shared(stage + X_BYTES);
        F::minima(d, a);
        group_fence();
        multiply_group<N>(part, a, plane_place(at), 0);
        multiply_group<N>(part, a, plane_place(at + 32), 1);
        group_commit();
        group_wait<0, SUMS>(part);
        add_sums<SUMS>(acc, part, F::minimum_factor(d));
    }

    /* The four products of a block of 32 columns and columns [first, first + COLUMNS) of the sum.
     */
    template <int COLUMNS>
    DEVICE void multiply_block(uint32_t stage, int b, int first, uint32_t (*a)[4], float *sum,
                               bool add) {
        uint32_t plane = stage + (uint32_t)(b / 2 * 2 * PLANE + b % 2 * 64 + first * 128);
        group_fence();
        UNROLL
        for (int step = 0; step < 2; step++) {
            uint32_t at = plane + 32 * (uint32_t)step;
            multiply_group<COLUMNS>(sum, a[step], plane_place(at), step > 0 || add);
            multiply_group<COLUMNS>(sum, a[step], plane_place(at + PLANE), 1);
        }
        group_commit();
    }

    /* Once the half before is done with everywhere, its stage takes the next one. */
    DEVICE void fetch_next(const hopper &s, int half, half_data &next) {
        block_barrier();
        if (half + 1 < s.n_halves) fetch_half(s, half + 1);
        fetch_group();
        if (TYPE != DS4_TYPE_F16) load_next(s, half, next);
    }
    DEVICE void load_next(const hopper &s, int half, half_data &next) {
        F::template load<0>(next, s.codes, s.scales, half + 1 < s.n_halves ? half + 1 : half);
    }

    /* Blocks have factors: the sum is done in two parts, so that one is added up while the matrix
     * unit works on the other. */
    DEVICE void multiply_blocks(const hopper &s, int half, const half_data &d, half_data &next,
                                float *acc) {
        enum { COLUMNS = N / 2, REGISTERS = SUMS / 2 };
        float part[REGISTERS], part1[REGISTERS];
        float2 last = {0.0f, 0.0f};
        uint32_t a[2][2][4], stage = stage_of(s, half);
        UNROLL
        for (int b = 0; b < 4; b++) {
            F::block(d, b, half, s.table, a[b % 2]);
            float2 factor = F::block_factor(d, b);
            multiply_block<COLUMNS>(stage, b, 0, a[b % 2], part, false);
            if (b > 0) group_wait<1, REGISTERS>(part1);
            if (b > 0) add_sums<REGISTERS>(acc + REGISTERS, part1, last);
            multiply_block<COLUMNS>(stage, b, COLUMNS, a[b % 2], part1, false);
            if (b == 0) fetch_next(s, half, next);
            group_wait<1, REGISTERS>(part);
            add_sums<REGISTERS>(acc, part, factor);
            last = factor;
        }
        group_wait<0, REGISTERS>(part1);
        add_sums<REGISTERS>(acc + REGISTERS, part1, last);
    }

    /* Macros have factors, or nothing has. */
    DEVICE void multiply_macros(const hopper &s, int half, const half_data &d, half_data &next,
                                float *acc, float *part) {
        float *sum = F::MACRO_FACTOR ? part : acc;
        uint32_t a[2][2][4], stage = stage_of(s, half);
        if (TYPE == DS4_TYPE_F16)
            load_next(s, half, next); /* what is loaded is multiplied as it is */
        bool fresh = F::MACRO_FACTOR ? half % 2 == 0 : half % HALVES == 0;
        UNROLL
        for (int b = 0; b < 4; b++) {
            if (b > 1) group_wait<1, SUMS>(sum); /* a[b % 2] is free */
            F::block(d, b, half, s.table, a[b % 2]);
            multiply_block<N>(stage, b, 0, a[b % 2], sum, b > 0 || !fresh);
            if (b == 0) fetch_next(s, half, next);
        }
        group_wait<0, SUMS>(sum);
        if (!F::MACRO_FACTOR || half % 2 == 0) return;
        if (F::MACRO_FACTOR) add_sums<SUMS>(acc, part, F::macro_factor(d));
        if (F::MINIMA) add_minima(s.memory + half % STAGES * STAGE_BYTES, d, acc, part);
    }

    DEVICE uint32_t stage_of(const hopper &s, int half) {
        return (uint32_t)__cvta_generic_to_shared(s.memory + half % STAGES * STAGE_BYTES);
    }

    DEVICE void keep_totals(const hopper &s, float *acc, bool first) {
        UNROLL
        for (int i = 0; i < SUMS; i++) {
            float *total = s.totals + i * THREADS + thread_index();
            *total = (first ? 0.0f : *total) + acc[i];
            acc[i] = 0.0f;
        }
    }

    DEVICE void run(hopper &s) {
        float acc[SUMS], part[SUMS];
        half_data now, next;
        UNROLL
        for (int i = 0; i < SUMS; i++) acc[i] = part[i] = 0.0f;
        F::template load<0>(now, s.codes, s.scales, 0);
        fetch_half(s, 0);
        fetch_group();
        for (int half = 0; half < s.n_halves; half++) {
            fetch_finished<0>();
            asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
            block_barrier(); /* this half has come */
            if constexpr (F::BLOCK_FACTOR)
                multiply_blocks(s, half, now, next, acc);
            else
                multiply_macros(s, half, now, next, acc, part);
            if ((half + 1) % HALVES == 0 || half + 1 == s.n_halves)
                keep_totals(s, acc, half < HALVES);
            now = next;
        }
        block_barrier();
    }

    /* By way of shared memory, so that 16 lanes hold a row's outputs of a tile. */
    DEVICE void write(const hopper &s) {
        enum { STRIDE = BLOCK_TILES * TILE + 1 };
        const product &p = *s.p;
        bool pair = p.gate.codes != nullptr;
        int outputs = group_tiles(p) * TILE;
        float *sums = (float *)s.memory;
        UNROLL
        for (int i = 0; i < SUMS; i++) {
            int r = i / 4 * 8 + lane_index() % 4 * 2 + i % 2;
            int o = warp_index() * TILE + lane_index() / 4 + i / 2 % 2 * 8;
            sums[r * STRIDE + o] =
                s.totals[i * THREADS + thread_index()] * (1.0f / ACTIVATION_SCALE);
        }
        block_barrier();
        for (int i = thread_index(); i < s.rows->n * outputs; i += THREADS) {
            int r = i / outputs, o = i % outputs;
            const float *from = sums + r * STRIDE + o;
            float y = from[0];
            if (pair) y = gated(y, from[BLOCK_TILES / 2 * TILE], p.clamp, s.rows->weight[r]);
            store_product(p, s.rows->y_row[r], s.group * outputs + o, y, true);
        }
    }
};

template <int TYPE, int N>
DEVICE void hopper_columns(const product &p, const hopper_rows &rows, const uint32_t *table,
                           uint8_t *memory, int group) {
    hopper<TYPE, N> s;
    s.p = &p;
    s.rows = &rows;
    s.table = table;
    s.memory = memory;
    s.totals = (float *)(memory + STAGES * hopper<TYPE, N>::STAGE_BYTES);
    s.group = group;
    s.n_halves = split_width(p.m.n_in) / HALF;
    hopper<TYPE, N>::open(s);
    hopper<TYPE, N>::run(s);
    hopper<TYPE, N>::write(s);
}

/* No more columns than there are rows. */
template <int TYPE>
DEVICE void hopper_format(const product &p, const hopper_rows &rows, const uint32_t *table,
                          uint8_t *memory, int group) {
    enum {
        EVEN = tile_format<TYPE>::BLOCK_FACTOR
    }; /* only sums that have halves of the same kind */
    if (rows.n <= 64)
        hopper_columns<TYPE, 64>(p, rows, table, memory, group);
    else if (!EVEN && rows.n <= 96)
        hopper_columns<TYPE, EVEN ? 64 : 96>(p, rows, table, memory, group);
    else if (!EVEN && rows.n <= 112)
        hopper_columns<TYPE, EVEN ? 64 : 112>(p, rows, table, memory, group);
    else
        hopper_columns<TYPE, 128>(p, rows, table, memory, group);
}

#else
template <int TYPE>
DEVICE void hopper_format(const product &, const hopper_rows &, const uint32_t *, uint8_t *, int) {}
#endif

/* One kernel per format: their needs of registers differ. */
template <int TYPE> KERNEL LAUNCH_BOUNDS(THREADS, 1) hopper_kernel(ARGUMENTS hopper_arguments t) {
    DYNAMIC_SHARED(uint8_t, dynamic);
    SHARED hopper_rows rows;
    SHARED_16 uint32_t table[TYPE == DS4_TYPE_IQ2_XXS ? (int)IQ2_TABLE : 4];
    uint8_t *memory = (uint8_t *)(((uintptr_t)dynamic + ALIGNED - 1) / ALIGNED * ALIGNED);
    int index = 0;
    while (index + 1 < t.list.n && block_x() >= t.first_block[index + 1]) index++;
    const product &p = t.list.items[index];
    next_launch();
    if (TYPE == DS4_TYPE_IQ2_XXS) fill_iq2_table(table, t.code_book);
    previous_launch();
    int groups = hopper_groups(p), local = block_x() - t.first_block[index];
    int row_tiles = (t.n_rows + ROWS - 1) / ROWS;
    int tile = p.by_expert ? local / groups : local % row_tiles;
    int group = p.by_expert ? local % groups : local / row_tiles;
    if (!find_rows(t.tiles, t.n_rows, p, tile, ROWS, rows)) return;
    block_barrier();
    hopper_format<TYPE>(p, rows, table, memory, group);
}

template <int TYPE>
static void run_format(device *d, const product_list &list, int n_rows, const expert_tiles &tiles,
                       int max_tiles, const uint32_t *code_book) {
    hopper_arguments t = {};
    int n_blocks = 0, row_tiles = (n_rows + ROWS - 1) / ROWS;
    enum { PLANE = ROWS * 128, TOTALS = ROWS / 2 * THREADS * 4 };
    size_t bytes = STAGES * (4 * PLANE + (TYPE == DS4_TYPE_Q2_K ? PLANE : 0)) + TOTALS + ALIGNED;
    t.n_rows = n_rows;
    t.tiles = tiles;
    t.code_book = code_book;
    for (int i = 0; i < list.n; i++) {
        const product &p = list.items[i];
        if (p.m.type != TYPE) continue;
        t.first_block[t.list.n] = n_blocks;
        t.list.items[t.list.n++] = p;
        n_blocks += hopper_groups(p) * (p.by_expert ? max_tiles : row_tiles);
    }
    t.first_block[t.list.n] = n_blocks;
    if (t.list.n > 0) launch(d, hopper_kernel<TYPE>, dim3((unsigned)n_blocks), THREADS, bytes, t);
}

void hopper_products_run(device *d, const product_list &list, int n_rows, const expert_tiles &tiles,
                         int max_tiles, const uint32_t *code_book) {
    run_format<DS4_TYPE_Q8_0>(d, list, n_rows, tiles, max_tiles, code_book);
    run_format<DS4_TYPE_F16>(d, list, n_rows, tiles, max_tiles, code_book);
    run_format<DS4_TYPE_IQ2_XXS>(d, list, n_rows, tiles, max_tiles, code_book);
    run_format<DS4_TYPE_Q2_K>(d, list, n_rows, tiles, max_tiles, code_book);
}

} // namespace GPU_NAMESPACE
