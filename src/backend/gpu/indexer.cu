/* The indexer of ratio-4 layers: scores of every visible compressed row, and the best of them. */
#include "backend/gpu/kernels.h"
#include "backend/gpu/rows.h"

namespace GPU_NAMESPACE {

enum { THREADS = 256, KEYS = 64, HEADS = 16, RADIX_BITS = 11, RADIX = 1 << RADIX_BITS };

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
    LANES = 8,               /* of a head's query */
    SPAN = TILE_DIM / LANES, /* its elements in a lane */
    HEADS_AT_ONCE = WARP / LANES,
    PIECES = KEYS * TILE_DIM / 8 / TILE_THREADS /* of 8 codes, of each thread */
};

/* |v| at most 6: the nearest value of FP4, ties to the even code. A float has no bits left for what
 * is smaller than the step between neighbours once so much is added. */
DEVICE float nearest_fp4(float v) {
    float most = fabsf(v), shift = most < 2.0f ? 0x1.8p22f : most < 4.0f ? 0x1.8p23f : 0x1.8p24f;
    return (v + shift) - shift;
}

/* round_index_row, with SPAN neighbours in each of LANES lanes. */
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
    for (int mask = 1; mask < LANES; mask *= 2) {
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
    most = fmaxf(most, warp_shuffle_xor(most, 1)); /* two lanes have a block */
    int k = fp4_exponent(most);
    float inverse = power_of_two(-k), scale = power_of_two(k);
    UNROLL
    for (int i = 0; i < SPAN; i++)
        x[i] = nearest_fp4(fmaxf(fminf(x[i] * inverse, 6.0f), -6.0f)) * scale;
}

/* Heads of a row's query to halves; those that there are not are zeros. */
DEVICE void make_queries(const select_arguments &a, int row, uint8_t *queries) {
    const step_view &v = a.v;
    int first = lane_index() % LANES * SPAN, plain = TILE_DIM - v.rope_dim;
    const float *angles = v.angles + ((size_t)v.n_rows + (size_t)row) * (size_t)v.rope_dim;
    NOT_UNROLLED
    for (int h0 = warp_index() * HEADS_AT_ONCE; h0 < TILE_HEADS;
         h0 += TILE_THREADS / WARP * HEADS_AT_ONCE) {
        int head = h0 + lane_index() / LANES;
        const float *q =
            a.s.query + ((size_t)row * (size_t)v.index_heads + (size_t)head) * (size_t)TILE_DIM;
        float x[SPAN];
        UNROLL
        for (int i = 0; i < SPAN; i += 4) {
            float4 quad = {0, 0, 0, 0};
            if (head < v.index_heads) quad = *(const float4 *)(q + first + i);
            x[i] = quad.x, x[i + 1] = quad.y, x[i + 2] = quad.z, x[i + 3] = quad.w;
        }
        UNROLL
        for (int i = 0; i < SPAN; i += 2)
            if (first + i >= plain)
                rotate_pair(*(const float2 *)(angles + first + i - plain), x + i);
        round_query(a.norm, x);
        uint32_t words[SPAN / 2];
        UNROLL
        for (int i = 0; i < SPAN / 2; i++) words[i] = floats_half2(x[2 * i], x[2 * i + 1]);
        uint4 *to = (uint4 *)(queries + head * TILE_STRIDE + 2 * first);
        to[0] = uint4{words[0], words[1], words[2], words[3]};
        to[1] = uint4{words[4], words[5], words[6], words[7]};
    }
}

DEVICE uint32_t fp4_half(uint32_t code) { /* E2M1 in the top bits of a half is the value x 2^-14 */
    return (code & 7u) << 9 | (code & 8u) << 12;
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
            words[w] = half2_multiply(fp4_half(p[j].codes >> (8 * w) & 15) |
                                          fp4_half(p[j].codes >> (8 * w + 4) & 15) << 16,
                                      factor);
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

/* Scores of a row's keys [first, end). */
DEVICE void score_part(const select_arguments &a, int row, const uint8_t *rows, int first, int end,
                       score_memory &m) {
    const step_view &v = a.v;
    int lane = lane_index(), tile = warp_index() % 4, part = warp_index() / 4;
    key_piece p[PIECES];
    load_keys(v, rows, first, end, p);
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

KERNEL LAUNCH_BOUNDS(TILE_THREADS, 2) tile_score_kernel(ARGUMENTS select_arguments a) {
    SHARED_16 score_memory m;
    const step_view &v = a.v;
    next_launch();
    int row = a.first_row + block_y(), visible = visible_rows(v, row);
    int first = block_x() * a.tiles_per_block * KEYS;
    int end =
        first + a.tiles_per_block * KEYS < visible ? first + a.tiles_per_block * KEYS : visible;
    const uint8_t *rows = state_of(v, a.s.layer, row).index_rows;
    previous_launch();
    if (visible <= v.top_k || first >= end) return;
    score_part(a, row, rows, first, end, m);
}

static bool tile_scores_suit(const step_view &v) {
    return v.kv_sim != DS4_KV_SIM_NONE && v.index_dim == TILE_DIM && v.index_heads <= TILE_HEADS &&
           v.rope_dim % 4 == 0;
}

/* ---- the best ---- */

/* Unsigned keys in the order of the floats. */
DEVICE uint32_t sort_key(float score) {
    uint32_t bits = float_bits(score + 0.0f); /* -0 ranks as 0 */
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

enum { SELECT_THREADS = 1024, SELECT_WARPS = SELECT_THREADS / WARP, KEPT = 16 };

/* A warp's part of a row's keys, [first, first + 32 per), 32 side by side: in registers when they
 * are few. */
struct warp_keys {
    const float *scores;
    int first, per, n;
    uint32_t kept[KEPT];
};

DEVICE uint32_t key_at(const warp_keys &keys, int index) {
    return index < keys.n ? sort_key(keys.scores[index]) : 0;
}

DEVICE void load_warp_keys(const float *scores, int n, warp_keys &keys) {
    keys.scores = scores;
    keys.per = (n + SELECT_THREADS - 1) / SELECT_THREADS;
    keys.first = warp_index() * WARP * keys.per;
    keys.n = n;
    UNROLL
    for (int k = 0; k < KEPT; k++)
        if (k < keys.per) keys.kept[k] = key_at(keys, keys.first + k * WARP + lane_index());
}

/* visit(index, key) for each of them, by all lanes together; index may be beyond the last. */
template <typename F> DEVICE void each_key(const warp_keys &keys, F visit) {
    int index = keys.first + lane_index();
    if (keys.per > KEPT) {
        for (int k = 0; k < keys.per; k++) visit(index + k * WARP, key_at(keys, index + k * WARP));
        return;
    }
    UNROLL
    for (int k = 0; k < KEPT; k++)
        if (k < keys.per) visit(index + k * WARP, keys.kept[k]);
}

/* Sum of the lanes before this one; *total: of all. */
DEVICE uint32_t lanes_before(uint32_t v, uint32_t *total) {
    int sum = (int)v;
    UNROLL
    for (int stride = 1; stride < WARP; stride *= 2) {
        int other = warp_shuffle(sum, (lane_index() - stride) & (WARP - 1));
        if (lane_index() >= stride) sum += other;
    }
    *total = (uint32_t)warp_shuffle(sum, WARP - 1);
    return (uint32_t)sum - v;
}

/* The key of the k-th best and how many with that key belong to the best, by three rounds of
 * counting. A thread has two digits, the largest first. */
DEVICE uint32_t threshold_key(const warp_keys &keys, int k, uint32_t *histogram, uint32_t *of_warp,
                              uint32_t *state, uint32_t *n_equal) {
    uint32_t prefix = 0, mask = 0, wanted = (uint32_t)k;
    int top = RADIX - 1 - 2 * thread_index();
    for (int shift = 32 - RADIX_BITS;; shift = shift > RADIX_BITS ? shift - RADIX_BITS : 0) {
        histogram[top] = histogram[top - 1] = 0;
        block_barrier();
        each_key(keys, [&](int index, uint32_t key) {
            if (index < keys.n && (key & mask) == prefix)
                atomic_add(&histogram[key >> shift & (RADIX - 1)], 1);
        });
        block_barrier();
        uint32_t sum = histogram[top] + histogram[top - 1], all, unused;
        uint32_t above = lanes_before(sum, &all);
        if (lane_index() == 0) of_warp[warp_index()] = all;
        block_barrier();
        uint32_t warps_above = lanes_before(of_warp[lane_index()], &unused);
        above += (uint32_t)warp_shuffle((int)warps_above, warp_index());
        if (above < wanted && above + sum >= wanted) {
            uint32_t rest = wanted - above;
            bool second = histogram[top] < rest;
            state[0] = (uint32_t)(second ? top - 1 : top);
            state[1] = second ? rest - histogram[top] : rest;
        }
        block_barrier();
        uint32_t digit_mask = (uint32_t)(RADIX - 1) << shift;
        prefix = (prefix & ~digit_mask) | state[0] << shift;
        wanted = state[1];
        mask |= digit_mask;
        if (shift == 0) break;
    }
    *n_equal = wanted;
    return prefix;
}

/* One block per row: rows are written ascending; ties go to the lower row. */
KERNEL LAUNCH_BOUNDS(SELECT_THREADS, 1) select_kernel(select_arguments a) {
    SHARED uint32_t histogram[RADIX], state[2], of_warp[SELECT_WARPS], equal_of[SELECT_WARPS];
    const step_view &v = a.v;
    next_launch();
    int row = a.first_row + block_x(), visible = visible_rows(v, row);
    previous_launch();
    int *selected = a.s.selected + (size_t)row * (size_t)v.top_k;
    if (visible <= v.top_k) {
        for (int i = thread_index(); i < visible; i += block_threads()) selected[i] = i;
        return;
    }
    warp_keys keys;
    load_warp_keys(a.s.scores + (size_t)block_x() * (size_t)a.s.score_stride, visible, keys);
    uint32_t n_equal, unused, above = 0, equal = 0;
    uint32_t threshold = threshold_key(keys, v.top_k, histogram, of_warp, state, &n_equal);
    each_key(keys, [&](int index, uint32_t key) {
        above += (uint32_t)count_bits(warp_ballot(index < keys.n && key > threshold));
        equal += (uint32_t)count_bits(warp_ballot(index < keys.n && key == threshold));
    });
    if (lane_index() == 0) {
        of_warp[warp_index()] = above;
        equal_of[warp_index()] = equal;
    }
    block_barrier();
    above = lanes_before(of_warp[lane_index()], &unused);
    equal = lanes_before(equal_of[lane_index()], &unused);
    above = (uint32_t)warp_shuffle((int)above, warp_index());
    equal = (uint32_t)warp_shuffle((int)equal, warp_index());
    uint32_t below = (1u << lane_index()) - 1;
    each_key(keys, [&](int index, uint32_t key) {
        uint32_t better = warp_ballot(index < keys.n && key > threshold);
        uint32_t same = warp_ballot(index < keys.n && key == threshold);
        uint32_t n_same = equal + (uint32_t)count_bits(same & below);
        uint32_t place =
            above + (uint32_t)count_bits(better & below) + (n_same < n_equal ? n_same : n_equal);
        bool taken = better >> lane_index() & 1 || (same >> lane_index() & 1 && n_same < n_equal);
        if (taken) selected[place] = index;
        above += (uint32_t)count_bits(better);
        equal += (uint32_t)count_bits(same);
    });
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
            launch(d, tile_score_kernel, dim3((unsigned)blocks, (unsigned)n), TILE_THREADS, 0, a);
        } else if (s.most_visible > v.top_k)
            launch(d, score_kernel, dim3((unsigned)tiles, (unsigned)n), THREADS, shared, a);
        launch(d, select_kernel, dim3((unsigned)n), SELECT_THREADS, 0, a);
    }
}

} // namespace GPU_NAMESPACE
