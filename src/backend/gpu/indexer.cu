/* The indexer of ratio-4 layers: scores of every visible compressed row. */
#include "backend/gpu/kernels.h"
#include "backend/gpu/rows.h"

namespace GPU_NAMESPACE {

enum { THREADS = 256, KEYS = 64, HEADS = 16 };

DEVICE int visible_rows(const step_view &v, int row) {
    return (v.position[row] + 1) / DS4_RATIO_OVERLAP;
}

/* ---- queries: rotary embedding, Hadamard, FP4; one warp per head ---- */

struct query_arguments {
    step_view v;
    float *query, *weight;
};

KERNEL query_kernel(query_arguments a) {
    next_launch();
    previous_launch();
    const step_view &v = a.v;
    int row = block_y(), head = block_x() * (THREADS / WARP) + warp_index();
    if (head >= v.index_heads) return; /* a whole warp */
    float *q = a.query + ((size_t)row * (size_t)v.index_heads + (size_t)head) * (size_t)v.index_dim;
    const float *angles = v.angles + ((size_t)v.n_rows + (size_t)row) * (size_t)v.rope_dim;
    float x[INDEX_PARTS];
    UNROLL
    for (int j = 0; j < INDEX_PARTS; j++)
        if (j < v.index_dim / WARP) x[j] = q[lane_index() + WARP * j];
    UNROLL
    for (int j = 0; j < INDEX_PARTS; j++) {
        if (j >= v.index_dim / WARP) continue;
        int i = lane_index() + WARP * j, r = i - (v.index_dim - v.rope_dim);
        float other = warp_shuffle_xor(x[j], 1);
        if (r < 0) continue;
        float c = angles[r / 2 * 2], s = angles[r / 2 * 2 + 1];
        x[j] = r % 2 == 0 ? x[j] * c - other * s : other * s + x[j] * c;
    }
    round_index_row(v, x, nullptr);
    UNROLL
    for (int j = 0; j < INDEX_PARTS; j++)
        if (j < v.index_dim / WARP) q[lane_index() + WARP * j] = x[j];
    if (lane_index() == 0)
        a.weight[(size_t)row * (size_t)v.index_heads + (size_t)head] *=
            (float)(1.0 / sqrt((double)v.index_dim * (double)v.index_heads));
}

static bool tile_scores_suit(const step_view &v);

void index_query_run(device *d, const step_view &v, const selection &s) {
    if (tile_scores_suit(v)) return; /* blocks of scores make their own */
    query_arguments a = {v, s.query, s.weight};
    unsigned blocks = (unsigned)(v.index_heads + THREADS / WARP - 1) / (THREADS / WARP);
    launch(d, query_kernel, dim3(blocks, (unsigned)v.n_rows), THREADS, 0, a);
}

/* ---- scores ---- */

struct select_arguments {
    step_view v;
    selection s;
    int first_row; /* rows [first_row, first_row + score_rows) share the buffer */
    int tiles_per_block;
    float norm, weight_scale; /* of queries; of the heads' weights */
};

/* One block: KEYS rows against all heads of one query. Thread: one key, four heads of each HEADS.
 */
KERNEL score_kernel(select_arguments a) {
    next_launch();
    previous_launch();
    DYNAMIC_SHARED(float, keys); /* [index_dim][KEYS + 1], then queries [HEADS][index_dim] */
    SHARED float sums[HEADS / 4][KEYS];
    const step_view &v = a.v;
    int row = a.first_row + block_y(), first = block_x() * KEYS, dim = v.index_dim;
    int visible = visible_rows(v, row);
    if (visible <= v.top_k || first >= visible) return;
    const layer_state &state = state_of(v, a.s.layer, row);
    float *queries = keys + dim * (KEYS + 1);
    for (int i = thread_index(); i < KEYS * dim; i += THREADS) {
        int k = i / dim, e = i % dim;
        keys[e * (KEYS + 1) + k] =
            first + k < visible
                ? stored_index_value(
                      v, state.index_rows + (size_t)(first + k) * (size_t)v.index_row_stride, e)
                : 0.0f;
    }
    int key = thread_index() % KEYS, group = thread_index() / KEYS;
    float score = 0.0f; /* group 0 adds up */
    for (int h0 = 0; h0 < v.index_heads; h0 += HEADS) {
        block_barrier();
        for (int i = thread_index(); i < HEADS * dim; i += THREADS)
            queries[i] =
                h0 + i / dim < v.index_heads
                    ? a.s.query[((size_t)row * (size_t)v.index_heads + (size_t)h0) * (size_t)dim +
                                (size_t)i]
                    : 0.0f;
        block_barrier();
        float dot[4] = {0, 0, 0, 0};
        for (int e = 0; e < dim; e++) {
            float x = keys[e * (KEYS + 1) + key];
            UNROLL
            for (int h = 0; h < 4; h++)
                dot[h] = fmaf(queries[(4 * group + h) * dim + e], x, dot[h]);
        }
        float sum = 0.0f;
        for (int h = 0; h < 4; h++) {
            int head = h0 + 4 * group + h;
            if (head >= v.index_heads) continue;
            sum = fmaf(fmaxf(dot[h], 0.0f),
                       a.s.weight[(size_t)row * (size_t)v.index_heads + (size_t)head], sum);
        }
        sums[group][key] = sum;
        block_barrier();
        if (group == 0)
            for (int g = 0; g < HEADS / 4; g++) score += sums[g][key];
    }
    if (group == 0 && first + key < visible)
        a.s.scores[(size_t)block_y() * (size_t)a.s.score_stride + (size_t)(first + key)] = score;
}

/* The same on the matrix units, for rows of FP4, which are exact as halves, and with the queries
 * made here: cheaper than a launch of their own. A warp: 16 heads of a query, kept in registers,
 * and a quarter of the keys. */
enum {
    TILE_DIM = 128,
    TILE_HEADS = 64,
    TILE_STRIDE = 2 * TILE_DIM + 16,
    STEPS = TILE_DIM / 16,
    TILE_THREADS = 512,
    SPAN = TILE_DIM / WARP, /* elements of a head's query in a lane */
    WARP_HEADS = TILE_HEADS / (TILE_THREADS / WARP),
    PIECES = KEYS * TILE_DIM / 8 / TILE_THREADS /* of 8 codes, of each thread */
};

/* |v| at most 6: the nearest value of FP4, ties to the even code. A float has no bits left for what
 * is smaller than the step between neighbours once so much is added. */
DEVICE float nearest_fp4(float v) {
    float most = fabsf(v), shift = most < 2.0f ? 0x1.8p22f : most < 4.0f ? 0x1.8p23f : 0x1.8p24f;
    return (v + shift) - shift;
}

/* round_index_row, with SPAN neighbours in each lane. */
DEVICE void round_query(float norm, float *x) {
    UNROLL
    for (int stride = 1; stride < SPAN; stride *= 2) UNROLL
    for (int i = 0; i < SPAN; i++) {
        if (i & stride) continue;
        float a = x[i], b = x[i + stride];
        x[i] = a + b;
        x[i + stride] = a - b;
    }
    NOT_UNROLLED
    for (int mask = 1; mask < WARP; mask *= 2) {
        float sign = lane_index() & mask ? -1.0f : 1.0f;
        UNROLL
        for (int i = 0; i < SPAN; i++) x[i] = fmaf(sign, x[i], warp_shuffle_xor(x[i], mask));
    }
    float most = 6.0f * 0x1p-126f;
    UNROLL
    for (int i = 0; i < SPAN; i++) {
        x[i] *= norm;
        most = fmaxf(most, fabsf(x[i]));
    }
    UNROLL
    for (int mask = 1; mask < FP4_BLOCK / SPAN; mask *= 2)
        most = fmaxf(most, warp_shuffle_xor(most, mask));
    int k = fp4_exponent(most);
    float inverse = power_of_two(-k), scale = power_of_two(k);
    UNROLL
    for (int i = 0; i < SPAN; i++)
        x[i] = nearest_fp4(fmaxf(fminf(x[i] * inverse, 6.0f), -6.0f)) * scale;
}

/* Heads of a row's query to halves; those that there are not are zeros. All of a warp's are on
 * their way at once; instructions are few, since most of their time is that they come. */
DEVICE void make_queries(const select_arguments &a, int row, uint8_t *queries) {
    const step_view &v = a.v;
    int first = lane_index() * SPAN, plain = TILE_DIM - v.rope_dim,
        head = warp_index() * WARP_HEADS;
    float4 angles = {1, 0, 1, 0}, next[WARP_HEADS];
    UNROLL
    for (int i = 0; i < WARP_HEADS; i++) {
        const float *q = a.s.query + ((size_t)row * (size_t)v.index_heads + (size_t)(head + i)) *
                                         (size_t)TILE_DIM;
        next[i] = float4{0, 0, 0, 0};
        if (head + i < v.index_heads) next[i] = *(const float4 *)(q + first);
    }
    if (first >= plain) angles = *(const float4 *)(angles_of(v, 1, row) + first - plain);
    NOT_UNROLLED
    for (int i = 0; i < WARP_HEADS; i++) {
        float x[SPAN] = {next[0].x, next[0].y, next[0].z, next[0].w};
        UNROLL
        for (int k = 1; k < WARP_HEADS; k++) next[k - 1] = next[k];
        if (first >= plain) {
            rotate_pair(float2{angles.x, angles.y}, x);
            rotate_pair(float2{angles.z, angles.w}, x + 2);
        }
        round_query(a.norm, x);
        *(uint2 *)(queries + (head + i) * TILE_STRIDE + 2 * first) =
            uint2{floats_half2(x[0], x[1]), floats_half2(x[2], x[3])};
    }
}

/* Two codes, of a byte. E2M1 in the top bits of a half is the value x 2^-14. */
DEVICE uint32_t fp4_halves(uint32_t codes) {
    uint32_t u = (codes | codes << 12) & 0x000f000fu;
    return (u & 0x00070007u) << 9 | (u & 0x00080008u) << 12;
}

/* Keys [first, first + KEYS) as they come: 8 codes and their scale; then as halves. Those beyond
 * `visible` are zeros. */
struct key_piece {
    uint32_t codes;
    int scale;
};

DEVICE void load_keys(const step_view &v, const uint8_t *rows, int first, int visible,
                      key_piece *p) {
    UNROLL
    for (int j = 0; j < PIECES; j++) {
        int i = thread_index() + j * TILE_THREADS;
        int k = i / (TILE_DIM / 8), e = i % (TILE_DIM / 8) * 8;
        p[j] = key_piece{0, 0};
        if (first + k >= visible) continue;
        const uint8_t *stored = rows + (size_t)(first + k) * (size_t)v.index_row_stride;
        p[j].codes = *(const uint32_t *)(stored + e / 2);
        p[j].scale = stored[TILE_DIM / 2 + e / FP4_BLOCK];
    }
}

DEVICE void store_keys(const key_piece *p, uint8_t *tile) {
    UNROLL
    for (int j = 0; j < PIECES; j++) {
        int i = thread_index() + j * TILE_THREADS;
        int k = i / (TILE_DIM / 8), e = i % (TILE_DIM / 8) * 8;
        int exponent = p[j].scale - 127 + 14 + 15;
        exponent = exponent < 1 ? 1 : exponent > 30 ? 30 : exponent;
        uint32_t factor = (uint32_t)exponent * 0x04000400u, words[4];
        UNROLL
        for (int w = 0; w < 4; w++)
            words[w] = half2_multiply(fp4_halves(p[j].codes >> (8 * w)), factor);
        *(uint4 *)(tile + k * TILE_STRIDE + 2 * e) = uint4{words[0], words[1], words[2], words[3]};
    }
}

struct score_memory {
    uint8_t queries[TILE_HEADS * TILE_STRIDE], keys[KEYS * TILE_STRIDE];
    float sums[TILE_HEADS / 16][KEYS];
};

/* What 16 heads give 16 keys; dot products of 8 of these at once. */
DEVICE void score_keys(const uint32_t (*left)[4], const float *weight, int octet,
                       const uint8_t *keys, float *sums) {
    int lane = lane_index();
    float dot[4] = {0, 0, 0, 0};
    UNROLL
    for (int k = 0; k < STEPS; k += 2) {
        uint32_t b[4];
        load_tiles(b, keys + (octet * 8 + lane % 8) * TILE_STRIDE + 32 * k + lane / 8 * 16);
        multiply_tile(dot, left[k], b[0], b[1]);
        multiply_tile(dot, left[k + 1], b[2], b[3]);
    }
    UNROLL
    for (int i = 0; i < 2; i++) {
        float sum = fmaf(fmaxf(dot[2 + i], 0.0f), weight[1], fmaxf(dot[i], 0.0f) * weight[0]);
        UNROLL
        for (int mask = 4; mask < WARP; mask *= 2) sum += warp_shuffle_xor(sum, mask);
        if (lane < 4) sums[octet * 8 + lane * 2 + i] = sum;
    }
}

/* Scores of a row's keys [first, end), the first of which are on their way. */
DEVICE void score_part(const select_arguments &a, int row, const uint8_t *rows, int first, int end,
                       key_piece *p, score_memory &m) {
    const step_view &v = a.v;
    int lane = lane_index(), tile = warp_index() % 4, part = warp_index() / 4;
    float weight[2];
    UNROLL
    for (int i = 0; i < 2; i++) {
        int head = tile * 16 + lane / 4 + 8 * i;
        weight[i] = 0.0f;
        if (head < v.index_heads)
            weight[i] =
                a.s.weight[(size_t)row * (size_t)v.index_heads + (size_t)head] * a.weight_scale;
    }
    make_queries(a, row, m.queries);
    store_keys(p, m.keys);
    block_barrier();
    uint32_t left[STEPS][4];
    UNROLL
    for (int k = 0; k < STEPS; k++)
        load_tiles(left[k], m.queries + (tile * 16 + lane % 8 + lane / 8 % 2 * 8) * TILE_STRIDE +
                                32 * k + lane / 16 * 16);
    NOT_UNROLLED
    for (int key = first;; key += KEYS) {
        bool more = key + KEYS < end;
        if (more) load_keys(v, rows, key + KEYS, end, p);
        NOT_UNROLLED
        for (int j = 0; j < 2; j++) score_keys(left, weight, part * 2 + j, m.keys, m.sums[tile]);
        block_barrier();
        int k = thread_index();
        if (k < KEYS && key + k < end)
            a.s.scores[(size_t)block_y() * (size_t)a.s.score_stride + (size_t)(key + k)] =
                m.sums[0][k] + m.sums[1][k] + m.sums[2][k] + m.sums[3][k];
        if (!more) return;
        store_keys(p, m.keys);
        block_barrier();
    }
}

template <int BLOCKS>
KERNEL LAUNCH_BOUNDS(TILE_THREADS, BLOCKS) tile_score_kernel(ARGUMENTS select_arguments a) {
    SHARED_16 score_memory m;
    const step_view &v = a.v;
    next_launch();
    int row = a.first_row + block_y(), visible = visible_rows(v, row);
    int first = block_x() * a.tiles_per_block * KEYS;
    int end =
        first + a.tiles_per_block * KEYS < visible ? first + a.tiles_per_block * KEYS : visible;
    const uint8_t *rows = state_of(v, a.s.layer, row).index_rows;
    bool old = end <= v.items[v.item_of_row[row]].position / DS4_RATIO_OVERLAP;
    key_piece p[PIECES];
    if (old) load_keys(v, rows, first, end, p); /* no launch of this step writes them */
    previous_launch();
    if (visible <= v.top_k || first >= end) return;
    if (!old) load_keys(v, rows, first, end, p);
    score_part(a, row, rows, first, end, p, m);
}

static bool tile_scores_suit(const step_view &v) {
    return v.kv_sim != DS4_KV_SIM_NONE && v.index_dim == TILE_DIM && v.index_heads <= TILE_HEADS &&
           v.rope_dim % 4 == 0;
}

void index_select_run(device *d, const step_view &v, const selection &s) {
    select_arguments a = {v, s, 0, 1, 0, 0};
    a.norm = (float)(1.0 / sqrt((double)v.index_dim));
    a.weight_scale = (float)(1.0 / sqrt((double)v.index_dim * (double)v.index_heads));
    size_t shared =
        ((size_t)v.index_dim * (KEYS + 1) + (size_t)HEADS * (size_t)v.index_dim) * sizeof(float);
    int tiles = (s.most_visible + KEYS - 1) / KEYS;
    for (a.first_row = 0; a.first_row < v.n_rows; a.first_row += s.score_rows) {
        int n = v.n_rows - a.first_row < s.score_rows ? v.n_rows - a.first_row : s.score_rows;
        if (s.most_visible > v.top_k && tile_scores_suit(v)) {
            int blocks = device_processors(d) / n; /* of a row: each makes its query again */
            if (blocks < 1) blocks = 1;
            a.tiles_per_block = (tiles + blocks - 1) / blocks;
            blocks = (tiles + a.tiles_per_block - 1) / a.tiles_per_block;
            dim3 grid((unsigned)blocks, (unsigned)n);
            if (blocks * n <= device_processors(d)) /* all registers that it wants */
                launch(d, tile_score_kernel<1>, grid, TILE_THREADS, 0, a);
            else
                launch(d, tile_score_kernel<2>, grid, TILE_THREADS, 0, a);
        } else if (s.most_visible > v.top_k)
            launch(d, score_kernel, dim3((unsigned)tiles, (unsigned)n), THREADS, shared, a);
        select_run(d, v, s, a.first_row, n);
    }
}

} // namespace GPU_NAMESPACE
