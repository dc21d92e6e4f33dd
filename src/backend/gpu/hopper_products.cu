/* Products of many rows with Hopper's matrix instructions (wgmma, sm_90a): what wide_products.cu
 * does on any GPU, with the same sums in the same order. (The instruction gives the bits of
 * mma.sync: docs/gpu.md.)
 *
 * A block stays on its multiprocessor and takes one piece of work after the other: 8 tiles, 128
 * weight rows, by up to 128 activation rows. One warp has the copy engine bring the activations, 64
 * columns at a time, into a ring of stages, also those of the next piece. Two warpgroups own 4
 * tiles each: a warp turns the next weights of its tile into registers while the matrix unit
 * multiplies the ones before; they wait for stages, not for each other. The blocks of a cluster
 * multiply different weights by the same activations: each brings a part of them to all. */
#include "backend/gpu/hopper_work.h"

namespace GPU_NAMESPACE {

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

/* ---- the sums ---- */

template <int TYPE> struct hopper {
    typedef tile_format<TYPE> F;
    typedef typename F::half_data half_data;

    const hopper_arguments *t;
    places at;
    const uint8_t *table;
    uint32_t step, box; /* as bring_all counts them */
    int n_halves;
    uint32_t macro_step, next_step;          /* to the tile's next macro */
    const uint8_t *codes, *scales;           /* of the warp's tile */
    const uint8_t *next_codes, *next_scales; /* in the next piece of work */

    DEVICE uint32_t find_weights(const work &w, const uint8_t **codes, const uint8_t **scales) {
        const product &p = *w.p;
        bool pair = p.gate.codes != nullptr;
        int n_tiles = (p.m.n_out + TILE - 1) / TILE;
        const matrix &m = pair && warp_index() >= 4 ? p.gate : p.m;
        int tile = w.group * group_tiles(p) + (pair ? warp_index() % 4 : warp_index());
        if (tile >= n_tiles) tile = n_tiles - 1; /* more than there are: not stored */
        macro_place at = place_of(m, w.expert, tile, 0);
        *codes = at.codes;
        *scales = at.scales;
        return at.code_step;
    }

    DEVICE void load_next(const hopper &s, int half, half_data &next) {
        bool last = half + 1 == s.n_halves;
        int from = last ? 0 : half + 1;
        const uint8_t *codes = last ? s.next_codes : s.codes;
        const uint8_t *scales = last ? s.next_scales : s.scales;
        if (F::MACRO_FACTOR) {
            codes += (uint32_t)(from / 2) * s.macro_step;
            scales = codes + F::CODE_BYTES;
            from &= 1;
        }
        F::template load<0>(next, codes, scales, from, from & 1);
    }

    DEVICE void await_stage(const hopper &s, uint32_t step) {
        barrier_wait(s.at.full + step % STAGES * 8, step / STAGES % 2);
    }
    /* This warp needs the stage of a step no more. */
    DEVICE void leave_stage(const hopper &s, uint32_t step) {
        if (lane_index() < CLUSTER) barrier_arrive(s.at.empty + step % STAGES * 8, lane_index());
    }

    template <int REGISTERS> DEVICE void add_sums(float *sum, const float *part, float2 factor) {
        UNROLL
        for (int j = 0; j < REGISTERS; j += 4) add_scaled(sum + j, part + j, factor);
    }

    /* minus dmin times minima times sums of 16 columns */
    template <int N>
    DEVICE void add_minima(const hopper &s, int macro, const half_data &d, float *acc,
                           float *part) {
        uint32_t a[4],
            at = s.at.more + (s.box + (uint32_t)macro / 2) % 2 * PLANE + (uint32_t)macro % 2 * 64;
        F::minima(d, a);
        group_fence();
        multiply_group<N>(part, a, plane_place(at), 0);
        multiply_group<N>(part, a, plane_place(at + 32), 1);
        group_commit();
        group_wait<0, N / 2>(part);
        add_sums<N / 2>(acc, part, F::minimum_factor(d));
    }

    /* The four products of a block of 32 columns and columns [first, first + COLUMNS) of the sum.
     */
    template <int COLUMNS>
    DEVICE void multiply_block(const hopper &s, uint32_t step, int b, int first, uint32_t (*a)[4],
                               float *sum, bool add) {
        uint32_t plane =
            s.at.stages + step % STAGES * STAGE_BYTES + (uint32_t)(b % 2 * PLANE + first * 128);
        group_fence();
        UNROLL
        for (int k = 0; k < 2; k++) {
            uint32_t at = plane + 32 * (uint32_t)k;
            multiply_group<COLUMNS>(sum, a[k], plane_place(at), k > 0 || add);
            multiply_group<COLUMNS>(sum, a[k], plane_place(at + 64), 1);
        }
        group_commit();
    }

    /* What block b of a half needs no more takes the same of another half. */
    DEVICE void refill(half_data &d, const uint8_t *codes, const uint8_t *scales, int half, int b) {
        d.codes[b] = stream_load((const uint4 *)codes + (half * 4 + b) * WARP + lane_index());
        if (b == 3) d.scales = stream_load((const uint32_t *)scales + half * WARP + lane_index());
    }

    /* Blocks have factors: the sum is done in two parts, so that one is added up while the matrix
     * unit works on the other. A macro. */
    template <int N>
    DEVICE void multiply_blocks(hopper &s, int macro, half_data &d, float *acc, float *part,
                                float *part1) {
        enum { COLUMNS = N / 2, REGISTERS = N / 4, BLOCKS = MACRO / 32 };
        uint32_t a[2][2][4];
        float2 last = {0.0f, 0.0f};
        UNROLL
        for (int b = 0; b < BLOCKS; b++) {
            uint32_t step = s.step + (uint32_t)b / 2;
            int half = 2 * macro + b / 4;
            bool end = half + 1 == s.n_halves;
            F::block(d, b % 4, s.table, a[b % 2]);
            float2 factor = F::block_factor(d, b % 4);
            refill(d, end ? s.next_codes : s.codes, end ? s.next_scales : s.scales,
                   end ? 0 : half + 1, b % 4);
            if (b % 2 == 0) await_stage(s, step);
            multiply_block<COLUMNS>(s, step, b, 0, a[b % 2], part, false);
            if (b > 0) group_wait<1, REGISTERS>(part1);
            if (b > 0 && b % 2 == 0) leave_stage(s, step - 1);
            if (b > 0) add_sums<REGISTERS>(acc + REGISTERS, part1, last);
            multiply_block<COLUMNS>(s, step, b, COLUMNS, a[b % 2], part1, false);
            group_wait<1, REGISTERS>(part);
            add_sums<REGISTERS>(acc, part, factor);
            last = factor;
        }
        group_wait<0, REGISTERS>(part1);
        s.step += BLOCKS / 2;
        leave_stage(s, s.step - 1);
        add_sums<REGISTERS>(acc + REGISTERS, part1, last);
    }

    template <int N> DEVICE void run_blocks(hopper &s, half_data &now, float *acc) {
        enum { REGISTERS = N / 4 };
        int n_macros = s.n_halves / 2;
        for (int chunk = 0; chunk < n_macros; chunk += CHUNK_MACROS) {
            float part[REGISTERS], part1[REGISTERS];
            UNROLL
            for (int i = 0; i < REGISTERS; i++) part[i] = part1[i] = 0.0f;
            int end = chunk + CHUNK_MACROS < n_macros ? chunk + CHUNK_MACROS : n_macros;
            for (int macro = chunk; macro < end; macro++)
                multiply_blocks<N>(s, macro, now, acc, part, part1);
            keep_totals<N>(s, acc, chunk == 0, end == n_macros);
        }
    }

    /* What is loaded is multiplied as it is: nothing is left to do meanwhile. */
    template <int N> DEVICE void run_plain(hopper &s, half_data &now, float *acc) {
        for (int chunk = 0; chunk < s.n_halves; chunk += HALVES) {
            int end = chunk + HALVES < s.n_halves ? chunk + HALVES : s.n_halves;
            for (int half = chunk; half < end; half++) {
                uint32_t a[4][2][4];
                UNROLL
                for (int b = 0; b < 4; b++) F::block(now, b, s.table, a[b]);
                load_next(s, half, now);
                UNROLL
                for (int b = 0; b < 4; b++) {
                    uint32_t step = s.step + (uint32_t)b / 2;
                    if (b % 2 == 0) await_stage(s, step);
                    multiply_block<N>(s, step, b, 0, a[b], acc, b > 0 || half > chunk);
                }
                group_wait<0, N / 2>(acc);
                leave_stage(s, s.step);
                leave_stage(s, s.step + 1);
                s.step += 2;
            }
            keep_totals<N>(s, acc, chunk == 0, end == s.n_halves);
        }
    }

    /* Half a macro (first: the first half), which has a factor. */
    template <int N>
    DEVICE void multiply_half(hopper &s, int half, bool first, const half_data &d, float *sum,
                              uint32_t (*a)[2][4]) {
        UNROLL
        for (int b = 0; b < 4; b++) {
            uint32_t step = s.step + (uint32_t)b / 2;
            if (b > 0 || !first) group_wait<1, N / 2>(sum); /* a[b % 2] is free */
            if (b == 3 || (b == 1 && !first)) leave_stage(s, step - 1);
            F::block(d, b, s.table, a[b % 2]);
            if (b % 2 == 0) await_stage(s, step);
            multiply_block<N>(s, step, b, 0, a[b % 2], sum, b > 0 || !first);
        }
        s.step += 2;
    }

    template <int N> DEVICE void run_macros(hopper &s, half_data &now, float *acc) {
        float part[N / 2];
        uint32_t a[2][2][4];
        half_data next;
        UNROLL
        for (int i = 0; i < N / 2; i++) part[i] = 0.0f;
        for (int half = 0; half < s.n_halves; half += 2) {
            load_next(s, half, next);
            multiply_half<N>(s, half, true, now, part, a);
            now = next;
            load_next(s, half + 1, next);
            multiply_half<N>(s, half + 1, false, now, part, a);
            group_wait<0, N / 2>(part);
            leave_stage(s, s.step - 1);
            add_sums<N / 2>(acc, part, F::macro_factor(now));
            if constexpr (F::MINIMA) add_minima<N>(s, half / 2, now, acc, part);
            now = next;
        }
    }

    /* Sums of chunks; the last stay in registers. */
    template <int N> DEVICE void keep_totals(const hopper &s, float *acc, bool first, bool last) {
        float *totals = s.at.totals + thread_index();
        UNROLL
        for (int i = 0; i < N / 2; i++) {
            float sum = (first ? 0.0f : totals[i * CONSUMERS]) + acc[i];
            if (!last) totals[i * CONSUMERS] = sum;
            acc[i] = last ? sum : 0.0f;
        }
    }

    /* ---- results ---- */

    /* Outputs o = 16 k + g and o + 8 of a row, from the lanes of all g. */
    DEVICE void store_two(const product &p, int row, int o, float y0, float y1, bool there) {
        bool in0 = there && o < p.m.n_out, in1 = there && o + 8 < p.m.n_out;
        if (p.y.plain != nullptr) {
            float *to = p.y.plain + (size_t)row * (size_t)p.y.n + (size_t)(p.y.first + o);
            if (in0) to[0] = y0;
            if (in1) to[8] = y1;
        }
        if (p.y.split == nullptr) return;
        float sum0 = in0 ? y0 : 0.0f, sum1 = in1 ? y1 : 0.0f;
        UNROLL
        for (int mask = 4; mask < WARP; mask *= 2) {
            sum0 += warp_shuffle_xor(sum0, mask);
            sum1 += warp_shuffle_xor(sum1, mask);
        }
        uint8_t *to = split_row(p.y, row);
        store_half_pair(to, p.y.first + o, y0, in0);
        store_half_pair(to, p.y.first + o + 8, y1, in1);
        if (in0 && o % TILE == 0) store_sum(p.y, to, (p.y.first + o) / TILE, sum0 + sum1);
    }

    /* Two neighbours' values: the even one's lane stores both high halves, the other the low ones.
     */
    DEVICE void store_half_pair(uint8_t *row, int column, float y, bool inside) {
        split_value v = split(inside ? y : 0.0f);
        uint32_t mine = v.high | (uint32_t)v.low << 16;
        uint32_t other = (uint32_t)warp_shuffle((int)mine, lane_index() ^ 4);
        bool odd = column % 2 == 1;
        uint32_t word = odd ? byte_mix(other, mine, 0x7632) : byte_mix(mine, other, 0x5410);
        if (inside) *(uint32_t *)(row + split_offset(column & ~1) + (odd ? 64 : 0)) = word;
    }

    template <int N> DEVICE void write(const hopper &s, const work &w, const float *sum) {
        const product &p = *w.p;
        int t = lane_index() % 4, g = lane_index() / 4;
        if (p.gate.codes == nullptr) {
            int o = (w.group * BLOCK_TILES + warp_index()) * TILE + g;
            UNROLL
            for (int i = 0; i < N / 2; i += 4) UNROLL
            for (int k = 0; k < 2; k++) {
                int r = 2 * i + 2 * t + k;
                store_two(p, s.at.y_row[r], o, sum[i + k] * (1.0f / ACTIVATION_SCALE),
                          sum[i + 2 + k] * (1.0f / ACTIVATION_SCALE), r < w.n);
            }
            return;
        }
        float *totals = s.at.totals;
        UNROLL
        for (int i = 0; i < N / 2; i++) totals[i * CONSUMERS + thread_index()] = sum[i];
        part_barrier(1, CONSUMERS);
        const float *ups = totals + thread_index() % (CONSUMERS / 2), *gates = ups + CONSUMERS / 2;
        int o = (w.group * (BLOCK_TILES / 2) + warp_index() % 4) * TILE + g;
        int first = warp_index() / 4 * (N / 4); /* a warpgroup has half of the rows */
        for (int i = first; i < first + N / 4; i += 4) UNROLL
        for (int k = 0; k < 2; k++) {
            int r = 2 * i + 2 * t + k;
            bool there = r < w.n;
            float weight = there && p.by_expert ? s.t->tiles.weight[s.at.y_row[ROWS + r]] : 1.0f;
            float y[2];
            UNROLL
            for (int h = 0; h < 2; h++) {
                int place = (i + k + 2 * h) * CONSUMERS;
                y[h] = gated(ups[place] * (1.0f / ACTIVATION_SCALE),
                             gates[place] * (1.0f / ACTIVATION_SCALE), p.clamp, weight);
            }
            store_two(p, s.at.y_row[r], o, y[0], y[1], there);
        }
    }

    /* Where the rows' results go: y_row[ROWS], then the pairs. */
    DEVICE void find_results(const hopper &s, const work &w) {
        int r = thread_index();
        if (r < ROWS) {
            int row = w.first + (r < w.n ? r : 0),
                pair = w.p->by_expert ? s.t->tiles.pairs[row] : row;
            s.at.y_row[r] = w.p->by_expert && !w.p->y_sorted ? pair : row;
            s.at.y_row[ROWS + r] = pair;
        }
        part_barrier(1, CONSUMERS);
    }

    template <int N> DEVICE void run(hopper &s, const work &w, half_data &now) {
        float acc[N / 2];
        UNROLL
        for (int i = 0; i < N / 2; i++) acc[i] = 0.0f;
        if constexpr (F::BLOCK_FACTOR)
            run_blocks<N>(s, now, acc);
        else if constexpr (F::MACRO_FACTOR)
            run_macros<N>(s, now, acc);
        else
            run_plain<N>(s, now, acc);
        find_results(s, w);
        write<N>(s, w, acc);
        part_barrier(1, CONSUMERS); /* before totals and rows of the next */
    }

    DEVICE void run_all(hopper &s) {
        work w;
        half_data now;
        s.step = s.box = 0;
        int at = (int)blockIdx.x / CLUSTER - (int)gridDim.x / CLUSTER;
        if (!next_work(*s.t, at, w)) return;
        s.next_step = find_weights(w, &s.next_codes, &s.next_scales);
        F::template load<0>(now, s.next_codes, s.next_scales, 0, 0);
        while (w.p != nullptr) {
            work next;
            int next_at = at;
            s.n_halves = split_width(w.p->m.n_in) / HALF;
            s.codes = s.next_codes;
            s.scales = s.next_scales;
            s.macro_step = s.next_step;
            if (next_work(*s.t, next_at, next))
                s.next_step = find_weights(next, &s.next_codes, &s.next_scales);
            switch (width_of(w, F::BLOCK_FACTOR)) {
            case 0:
                run<64>(s, w, now);
                break;
            case 1:
                run<F::BLOCK_FACTOR ? 64 : 96>(s, w, now);
                break;
            case 2:
                run<F::BLOCK_FACTOR ? 64 : 112>(s, w, now);
                break;
            default:
                run<128>(s, w, now);
            }
            s.box += (uint32_t)(s.n_halves / 2 + 1) / 2;
            next_work(*s.t, at, w); /* again: registers are dearer */
        }
    }
};

#endif

/* One kernel per format: their needs of registers differ. */
template <int TYPE> KERNEL LAUNCH_BOUNDS(THREADS, 1) hopper_kernel(ARGUMENTS hopper_arguments t) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
    DYNAMIC_SHARED(uint8_t, dynamic);
    SHARED int y_row[2 * ROWS];
    SHARED uint64_t barriers[2 * STAGES];
    uint8_t *memory = dynamic + (-shared_place(dynamic) & (ALIGNED - 1));
    places s;
    s.stages = shared_place(memory);
    s.planes = plane_place(s.stages);
    s.table = memory + STAGES * STAGE_BYTES;
    s.more = shared_place(s.table);
    s.totals = (float *)(s.table + MORE_BYTES);
    s.full = shared_place(barriers);
    s.empty = s.full + STAGES * 8;
    s.y_row = y_row;
    next_launch();
    if (TYPE == DS4_TYPE_IQ2_XXS) fill_iq2_table((uint32_t *)s.table, t.code_book);
    if (thread_index() == 0) {
        for (int i = 0; i < STAGES; i++) {
            barrier_create(s.full + 8 * (uint32_t)i, 1);
            barrier_create(s.empty + 8 * (uint32_t)i, CLUSTER * CONSUMERS / WARP);
        }
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    }
    cluster_barrier();
    previous_launch();
    if (thread_index() >= CONSUMERS) {
        give_registers<OTHER_REGISTERS>();
        if (thread_index() == CONSUMERS) bring_all<TYPE>(t, s);
        warp_barrier();
    } else {
        take_registers<CONSUMER_REGISTERS>();
        hopper<TYPE> h;
        h.t = &t;
        h.at = s;
        h.table = lane_table((const uint32_t *)s.table);
        hopper<TYPE>::run_all(h);
    }
    cluster_barrier(); /* the others may still signal here */
#endif
}

/* ---- launches ---- */

/* Rows in the order of the pairs, so that the copy engine finds an expert's rows side by side. */
struct sort_arguments {
    const uint8_t *from;
    uint8_t *to;
    const int *pairs;
    uint32_t row_bytes;
    int divisor;
};

KERNEL sort_kernel(sort_arguments a) {
    next_launch();
    previous_launch();
    const uint4 *from =
        (const uint4 *)(a.from + (size_t)(a.pairs[block_x()] / a.divisor) * a.row_bytes);
    uint4 *to = (uint4 *)(a.to + (size_t)block_x() * a.row_bytes);
    for (uint32_t i = (uint32_t)thread_index(); i < a.row_bytes / 16;
         i += (uint32_t)block_threads())
        to[i] = from[i];
}

static product with_sorted_rows(device *d, const product &from, const expert_tiles &tiles) {
    product p = from;
    if (!p.by_expert || p.x_sorted) return p;
    sort_arguments a = {p.x.split, tiles.sorted, tiles.pairs, p.x.row_bytes, p.x_divisor};
    launch(d, sort_kernel, dim3((unsigned)tiles.n_pairs), 256, 0, a);
    p.x.split = tiles.sorted;
    p.x_sorted = 1;
    return p;
}

typedef CUresult (*encode_function)(CUtensorMap *, CUtensorMapDataType, cuuint32_t, void *,
                                    const cuuint64_t *, const cuuint64_t *, const cuuint32_t *,
                                    const cuuint32_t *, CUtensorMapInterleave, CUtensorMapSwizzle,
                                    CUtensorMapL2promotion, CUtensorMapFloatOOBfill);

/* Boxes of 32 columns, high and low halves, and of as many rows as a block of a cluster brings. */
static void make_maps(device *d, const activation &x, int n_rows, CUtensorMap *maps) {
    void *entry = nullptr;
    cudaDriverEntryPointQueryResult found;
    device_note(d,
                cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &entry, 12000,
                                                 cudaEnableDefault, &found),
                "a question");
    if (entry == nullptr) return device_note(d, cudaErrorNotSupported, "a tensor map");
    for (int i = 0; i < WIDTHS; i++) {
        cuuint64_t size[2] = {x.row_bytes / 2, (cuuint64_t)n_rows}, stride[1] = {x.row_bytes};
        cuuint32_t box[2] = {64, (cuuint32_t)(columns_of(i) / CLUSTER)}, step[2] = {1, 1};
        CUresult result = ((encode_function)entry)(
            &maps[i], CU_TENSOR_MAP_DATA_TYPE_FLOAT16, 2, x.split, size, stride, box, step,
            CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
            CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
        if (result != CUDA_SUCCESS) device_note(d, cudaErrorInvalidValue, "a tensor map");
    }
}

/* As many clusters as run at once, none more than there is work. */
template <int TYPE> static void launch_clusters(device *d, const hopper_arguments &t, int n_work) {
    void (*kernel)(const hopper_arguments) = hopper_kernel<TYPE>;
    cudaLaunchAttribute attributes[2] = {};
    attributes[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[0].val.programmaticStreamSerializationAllowed = 1;
    attributes[1].id = cudaLaunchAttributeClusterDimension;
    attributes[1].val.clusterDim = {CLUSTER, 1, 1};
    cudaLaunchConfig_t how = {};
    how.gridDim = dim3((unsigned)(device_processors(d) / CLUSTER * CLUSTER));
    how.blockDim = dim3(THREADS);
    how.dynamicSmemBytes = SHARED_BYTES;
    how.stream = device_stream(d);
    how.attrs = attributes;
    how.numAttrs = 2;
    device_note(d,
                cudaFuncSetAttribute((const void *)kernel,
                                     cudaFuncAttributeMaxDynamicSharedMemorySize, SHARED_BYTES),
                "shared memory");
    int clusters = 0;
    device_note(d, cudaOccupancyMaxActiveClusters(&clusters, (const void *)kernel, &how),
                "a question");
    if (clusters > n_work) clusters = n_work;
    if (clusters < 1) clusters = 1;
    how.gridDim = dim3((unsigned)(clusters * CLUSTER));
    device_note(d, cudaLaunchKernelEx(&how, kernel, t), "a launch");
}

/* The products of one format, of the same activations as the first of them that is not `done`. */
template <int TYPE>
static void run_format(device *d, const product_list &list, bool *done, int n_rows,
                       const expert_tiles &tiles, int max_tiles, const uint32_t *code_book) {
    hopper_arguments t = {};
    int n_work = 0, row_tiles = (n_rows + ROWS - 1) / ROWS;
    const uint8_t *x = nullptr;
    t.n_rows = n_rows;
    t.tiles = tiles;
    t.code_book = code_book;
    for (int i = 0; i < list.n; i++) {
        const product &p = list.items[i];
        if (p.m.type != TYPE || done[i] || (x != nullptr && x != p.x.split)) continue;
        if (t.list.n > 0 && p.by_expert != t.list.items[0].by_expert) continue;
        x = p.x.split;
        done[i] = true;
        t.first_work[t.list.n] = n_work;
        t.list.items[t.list.n++] = with_sorted_rows(d, p, tiles);
        n_work += cluster_groups(p) * (p.by_expert ? max_tiles : row_tiles);
    }
    t.first_work[t.list.n] = n_work;
    if (t.list.n == 0) return;
    const product &p = t.list.items[0];
    make_maps(d, p.x, p.by_expert ? tiles.n_pairs : n_rows, t.maps);
    launch_clusters<TYPE>(d, t, n_work);
    run_format<TYPE>(d, list, done, n_rows, tiles, max_tiles, code_book);
}

void hopper_products_run(device *d, const product_list &list, int n_rows, const expert_tiles &tiles,
                         int max_tiles, const uint32_t *code_book) {
    bool done[MAX_PRODUCTS] = {};
    run_format<DS4_TYPE_Q8_0>(d, list, done, n_rows, tiles, max_tiles, code_book);
    run_format<DS4_TYPE_F16>(d, list, done, n_rows, tiles, max_tiles, code_book);
    run_format<DS4_TYPE_IQ2_XXS>(d, list, done, n_rows, tiles, max_tiles, code_book);
    run_format<DS4_TYPE_Q2_K>(d, list, done, n_rows, tiles, max_tiles, code_book);
}

} // namespace GPU_NAMESPACE
