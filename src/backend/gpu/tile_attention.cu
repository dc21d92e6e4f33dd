/* Attention on the matrix units for few rows (tile_attention.h): one row is spread over many
 * blocks, and all that a block reads is on its way at once. */
#include "backend/gpu/tile_attention.h"

namespace GPU_NAMESPACE {

enum {
    THREADS = 512,
    HEADS = THREADS / WARP, /* a warp makes the query and P of one */
    /* visible rows at once: of one row a window and the selected ones; of several rows, whose
     * blocks fill the device, fewer, but more lanes */
    ONE_DIMS = 32,
    ONE_ROWS = 640,
    WINDOW_ROWS = 192, /* where there are no more: less memory, fewer registers */
    SOME_DIMS = 128,
    SOME_ROWS = 64
};

/* AT_ONCE pieces of 16 lanes for each thread: lanes [first, first + n) of visible rows
 * [key, key + count). */
template <int AT_ONCE>
DEVICE void load_pieces(const step_view &v, const visible &s, int key, int count, int first, int n,
                        row_piece *p) {
    int pieces = n / 16;
    const uint8_t *rows[AT_ONCE];
    UNROLL
    for (int k = 0; k < AT_ONCE; k++) {
        int i = thread_index() + k * THREADS, index = key + i / pieces;
        rows[k] = i < count * pieces && index < s.n ? visible_row(v, s, index) : nullptr;
    }
    UNROLL
    for (int k = 0; k < AT_ONCE; k++) {
        int i = thread_index() + k * THREADS;
        load_piece(v, rows[k], key + i / pieces < s.n_raw, first + i % pieces * 16, p[k]);
    }
}

/* To tile[count][n halves + PAD]; rows that are not there are zeros. */
template <int AT_ONCE>
DEVICE void store_pieces(const row_piece *p, int count, int n, uint8_t *tile) {
    int pieces = n / 16, stride = 2 * n + PAD;
    UNROLL
    for (int k = 0; k < AT_ONCE; k++) {
        int i = thread_index() + k * THREADS;
        if (i < count * pieces) store_piece(p[k], tile + i / pieces * stride + i % pieces * 32);
    }
}

/* ---- scores ---- */

/* One chunk of a warp's scores: 16 heads, 8 rows. */
DEVICE void score_chunk(const uint8_t *queries, const uint8_t *keys, int stride, int from, int to,
                        float *sum) {
    int lane = lane_index();
    const uint8_t *left = left_place(queries, stride);
    UNROLL
    for (int s = 0; s < CHUNK_DIMS; s += 32) {
        int k = from + s;
        if (k >= to) break;
        uint32_t high[2][4], low[2][4], b[4];
        load_tiles(b, keys + lane % 8 * stride + 2 * k + lane / 8 * 16);
        UNROLL
        for (int i = 0; i < 2; i++) {
            load_tiles(high[i], left + 2 * k + 32 * i);
            load_tiles(low[i], left + HEADS * stride + 2 * k + 32 * i);
        }
        UNROLL
        for (int i = 0; i < 2; i++) {
            multiply_tile(sum, high[i], b[2 * i], b[2 * i + 1]);
            multiply_tile(sum, low[i], b[2 * i], b[2 * i + 1]);
        }
    }
}

/* 16 heads of a row against tiles of SCORE_KEYS of its rows. Warps: chunks of lanes, then 8 rows
 * each. */
KERNEL LAUNCH_BOUNDS(THREADS, 1) scores_kernel(const tile_attention_arguments a) {
    enum { AT_ONCE = SCORE_KEYS * MAX_HEAD_DIM / 16 / THREADS };
    DYNAMIC_SHARED(uint8_t, memory); /* queries, then rows */
    SHARED_16 float sums[CHUNKS][HEADS][SUM_STRIDE];
    const attention_arguments &t = a.t;
    next_launch();
    int local = block_z(), row = t.first_row + local, dim = t.v.head_dim, stride = 2 * dim + PAD;
    int first_head = block_y() * HEADS, first = block_x() * a.tiles * SCORE_KEYS;
    visible s = find_visible(t.v, t.a, row);
    int end = first + a.tiles * SCORE_KEYS < s.n ? first + a.tiles * SCORE_KEYS : s.n;
    previous_launch();
    if (first >= s.n) return;
    uint8_t *keys = memory + 2 * HEADS * stride;
    row_piece p[AT_ONCE];
    {
        float4 x[1][QUERY_QUADS];
        load_queries<1>(t, row, first_head + warp_index(), x);
        load_pieces<AT_ONCE>(t.v, s, first, SCORE_KEYS, 0, dim, p);
        store_queries<1>(t, row, x, warp_index(), HEADS, memory);
    }
    int chunk = warp_index() % CHUNKS, part = warp_index() / CHUNKS * 8;
    int h = thread_index() / SCORE_KEYS, k = thread_index() % SCORE_KEYS;
    float scale = (float)(1.0 / sqrt((double)dim) / ACTIVATION_SCALE);
    for (int key = first; key < end; key += SCORE_KEYS) {
        store_pieces<AT_ONCE>(p, SCORE_KEYS, dim, keys);
        block_barrier();
        if (key + SCORE_KEYS < end)
            load_pieces<AT_ONCE>(t.v, s, key + SCORE_KEYS, SCORE_KEYS, 0, dim, p);
        float sum[4] = {0, 0, 0, 0};
        score_chunk(memory, keys + part * stride, stride, chunk * CHUNK_DIMS, dim, sum);
        UNROLL
        for (int i = 0; i < 2; i++)
            *(float2 *)&sums[chunk][lane_index() / 4 + 8 * i][part + lane_index() % 4 * 2] =
                float2{sum[2 * i], sum[2 * i + 1]};
        block_barrier();
        float total = sums[0][h][k];
        UNROLL
        for (int c = 1; c < CHUNKS; c++) total += sums[c][h][k];
        if (first_head + h < t.v.n_heads && key + k < s.n)
            scores_of(a, local, first_head + h)[key + k] = total * scale;
    }
}

/* ---- values ---- */

/* A head's scores of rows [key, end): two of every KEYS in each lane. */
template <int TILES> DEVICE void load_scores(const float *scores, int key, int end, float2 *x) {
    UNROLL
    for (int j = 0; j < TILES; j++) {
        int i = key + j * KEYS + 2 * lane_index();
        x[j] = i < end ? *(const float2 *)(scores + i) : float2{-INFINITY, -INFINITY};
        if (i + 1 >= end) x[j].y = -INFINITY;
    }
}

/* 16 heads x 8 lanes of a warp: sums over n rows, a multiple of KEYS. */
DEVICE void add_values(const uint8_t *weights, int weight_stride, const uint8_t *rows, int stride,
                       int n, float *sum) {
    const uint8_t *left = left_place(weights, weight_stride);
    for (int from = 0; from < n; from += 2 * KEYS) {
        UNROLL
        for (int step = 0; step < 2 * KEYS; step += 32) {
            int k = from + step;
            if (k >= n) break;
            uint32_t high[2][4], low[2][4], b[4];
            load_tiles_turned(b, rows + (k + lane_index()) * stride);
            UNROLL
            for (int i = 0; i < 2; i++) {
                load_tiles(high[i], left + 2 * k + 32 * i);
                load_tiles(low[i], left + HEADS * weight_stride + 2 * k + 32 * i);
            }
            UNROLL
            for (int i = 0; i < 2; i++) {
                multiply_tile(sum, high[i], b[2 * i], b[2 * i + 1]);
                multiply_tile(sum, low[i], b[2 * i], b[2 * i + 1]);
            }
        }
    }
}

DEVICE void store_output(const attention_arguments &t, int row, int head, int d, float2 x) {
    if (head >= t.v.n_heads) return;
    int column = head * t.v.head_dim + d;
    if (t.a.out.plain != nullptr)
        *(float2 *)(t.a.out.plain + (size_t)row * (size_t)t.a.out.n + (size_t)column) = x;
    if (t.a.out.split != nullptr) store_split_pair(split_row(t.a.out, row), column, x.x, x.y);
}

/* 16 heads, DIMS lanes of the row; ROWS visible rows at once. BLOCKS: on a multiprocessor. */
template <int DIMS, int ROWS, int BLOCKS>
KERNEL LAUNCH_BOUNDS(THREADS, BLOCKS) values_kernel(const tile_attention_arguments a) {
    enum {
        AT_ONCE = (ROWS * DIMS / 16 + THREADS - 1) / THREADS,
        TILES = ROWS / KEYS,
        STRIDE = 2 * DIMS + PAD,
        WEIGHT_STRIDE = 2 * ROWS + PAD
    };
    DYNAMIC_SHARED(uint8_t, memory); /* P, then rows */
    SHARED float factors[HEADS];
    const attention_arguments &t = a.t;
    next_launch();
    int row = t.first_row + block_z(), first = block_x() * DIMS;
    int dims = t.v.head_dim - first < DIMS ? t.v.head_dim - first : (int)DIMS;
    int first_head = block_y() * HEADS, mine = warp_index(), octet = warp_index();
    int head = first_head + mine < t.v.n_heads ? first_head + mine : t.v.n_heads - 1;
    uint8_t *rows = memory + 2 * HEADS * WEIGHT_STRIDE;
    visible s = find_visible(t.v, t.a, row);
    float sink = t.a.sinks[head], top = sink, total = 0.0f, sum[4] = {0, 0, 0, 0};
    previous_launch();
    const float *scores = scores_of(a, block_z(), head);
    for (int key = 0; key < s.n; key += ROWS) {
        int end = key + ROWS < s.n ? key + ROWS : s.n;
        int padded = (end - key + KEYS - 1) / KEYS * KEYS;
        row_piece p[AT_ONCE];
        float2 x[TILES];
        load_scores<TILES>(scores, key, end, x);
        load_pieces<AT_ONCE>(t.v, s, key, padded, first, dims, p);
        if (key == 0) {
            UNROLL_8
            for (int more = ROWS + lane_index(); more < s.n; more += WARP)
                top = fmaxf(top, scores[more]);
            UNROLL
            for (int j = 0; j < TILES; j++) top = fmaxf(top, fmaxf(x[j].x, x[j].y));
            top = warp_max(top);
        } else {
            block_barrier();
        }
        uint8_t *to = memory + mine * WEIGHT_STRIDE + 4 * lane_index();
        NOT_UNROLLED
        for (int j = 0; j < padded / KEYS; j++) { /* few instructions: they must come, too */
            store_weights(x[0], top, key + j * KEYS + 2 * lane_index(), end, &total, to,
                          to + HEADS * WEIGHT_STRIDE);
            UNROLL
            for (int i = 1; i < TILES; i++) x[i - 1] = x[i];
            to += 2 * KEYS;
        }
        store_pieces<AT_ONCE>(p, padded, dims, rows);
        block_barrier();
        if (octet < dims / 8)
            add_values(memory, WEIGHT_STRIDE, rows + 16 * octet, 2 * dims + PAD, padded, sum);
    }
    int d = first + octet * 8 + lane_index() % 4 * 2;
    float2 angle = octet < dims / 8 ? output_angle(t, row, d) : float2{1, 0};
    total = warp_sum(total) + quick_exp(sink - top);
    if (lane_index() == 0) factors[mine] = output_factor(total);
    block_barrier();
    if (octet >= dims / 8) return;
    int h = lane_index() / 4;
    store_output(t, row, first_head + h, d, finish_output(sum[0], sum[1], factors[h], angle));
    store_output(t, row, first_head + h + 8, d,
                 finish_output(sum[2], sum[3], factors[h + 8], angle));
}

template <int DIMS, int ROWS, int BLOCKS>
static void run_values(device *d, const tile_attention_arguments &t, int groups, unsigned n) {
    size_t bytes = (size_t)(2 * HEADS) * (2 * ROWS + PAD) + (size_t)ROWS * (2 * DIMS + PAD);
    unsigned slices = (unsigned)((t.t.v.head_dim + DIMS - 1) / DIMS);
    launch(d, values_kernel<DIMS, ROWS, BLOCKS>, dim3(slices, (unsigned)groups, n), THREADS, bytes,
           t);
}

bool tile_attention_suits(const step_view &v) {
    return v.kv_sim == DS4_KV_SIM_FULL && v.head_dim % 32 == 0 && v.rope_dim % 16 == 0 &&
           (v.head_dim - v.rope_dim) % 16 == 0;
}

static int score_stride(int most_rows) {
    return (most_rows + KEYS - 1) / KEYS * KEYS + 4;
}

size_t tile_attention_floats(int n_heads, int most_rows) {
    return (size_t)n_heads * (size_t)score_stride(most_rows);
}

/* Registers in memory cost more than a second block to a multiprocessor hides: values of several
 * rows have two, since they need few, the others have one. */
void tile_attention_run(device *d, const step_view &v, const attention &a) {
    enum { FEW = 4 };
    tile_attention_arguments t = {{v, a, 0, 0}, score_stride(a.most_rows), 0, 0, 0};
    if (wide_attention_suits(v, a)) {
        wide_attention_run(d, t);
        return;
    }
    bool few = v.n_rows <= FEW;
    int tiles = (a.most_rows + SCORE_KEYS - 1) / SCORE_KEYS;
    int groups = (v.n_heads + HEADS - 1) / HEADS;
    int rows = v.n_rows < a.row_tile ? v.n_rows : a.row_tile;
    int parts = few ? tiles : device_processors(d) / (groups * rows);
    if (parts < 1) parts = 1;
    t.tiles = (tiles + parts - 1) / parts;
    parts = (tiles + t.tiles - 1) / t.tiles;
    size_t score_bytes = (size_t)(2 * HEADS + SCORE_KEYS) * (size_t)(2 * v.head_dim + PAD);
    for (t.t.first_row = 0; t.t.first_row < v.n_rows; t.t.first_row += a.row_tile) {
        int left = v.n_rows - t.t.first_row;
        unsigned n = (unsigned)(left < a.row_tile ? left : a.row_tile);
        launch(d, scores_kernel, dim3((unsigned)parts, (unsigned)groups, n), THREADS, score_bytes,
               t);
        if (few && t.stride - 4 <= WINDOW_ROWS)
            run_values<ONE_DIMS, WINDOW_ROWS, 1>(d, t, groups, n);
        else if (few)
            run_values<ONE_DIMS, ONE_ROWS, 1>(d, t, groups, n);
        else
            run_values<SOME_DIMS, SOME_ROWS, 2>(d, t, groups, n);
    }
}

} // namespace GPU_NAMESPACE
