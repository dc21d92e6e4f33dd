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

void index_query_run(device *d, const step_view &v, const selection &s) {
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

/* The same on the matrix units, for rows of FP4, which are exact as halves. A warp: 16 heads of a
 * query, kept in registers, and half of the keys. */
enum { TILE_DIM = 128, TILE_HEADS = 64, TILE_STRIDE = 2 * TILE_DIM + 16, STEPS = TILE_DIM / 16 };

DEVICE uint32_t fp4_half(uint32_t code) { /* E2M1 in the top bits of a half is the value x 2^-14 */
    return (code & 7u) << 9 | (code & 8u) << 12;
}

DEVICE uint32_t two_halves(float a, float b) {
    return float_to_half_bits(a) | (uint32_t)float_to_half_bits(b) << 16;
}

/* Keys [first, first + KEYS) as halves; those beyond `visible` are zeros. */
DEVICE void load_keys(const step_view &v, const layer_state &state, int first, int visible,
                      uint8_t *tile) {
    for (int i = thread_index(); i < KEYS * TILE_DIM / 8; i += THREADS) {
        int k = i / (TILE_DIM / 8), e = i % (TILE_DIM / 8) * 8;
        uint4 out = {0, 0, 0, 0};
        if (first + k < visible) {
            const uint8_t *stored =
                state.index_rows + (size_t)(first + k) * (size_t)v.index_row_stride;
            uint32_t codes = *(const uint32_t *)(stored + e / 2);
            int exponent = (int)stored[TILE_DIM / 2 + e / FP4_BLOCK] - 127 + 14 + 15;
            exponent = exponent < 1 ? 1 : exponent > 30 ? 30 : exponent;
            uint32_t factor = (uint32_t)exponent * 0x04000400u;
            uint32_t words[4];
            UNROLL
            for (int j = 0; j < 4; j++)
                words[j] = half2_multiply(fp4_half(codes >> (8 * j) & 15) |
                                              fp4_half(codes >> (8 * j + 4) & 15) << 16,
                                          factor);
            out = uint4{words[0], words[1], words[2], words[3]};
        }
        *(uint4 *)(tile + k * TILE_STRIDE + 2 * e) = out;
    }
}

KERNEL LAUNCH_BOUNDS(THREADS, 2) tile_score_kernel(select_arguments a) {
    SHARED_16 uint8_t memory[TILE_HEADS * TILE_STRIDE]; /* queries, later keys */
    SHARED float sums[4][KEYS];
    next_launch();
    previous_launch();
    const step_view &v = a.v;
    int row = a.first_row + block_y(), visible = visible_rows(v, row), lane = lane_index();
    int first = block_x() * a.tiles_per_block * KEYS;
    int end =
        first + a.tiles_per_block * KEYS < visible ? first + a.tiles_per_block * KEYS : visible;
    if (visible <= v.top_k || first >= end) return;
    const layer_state &state = state_of(v, a.s.layer, row);
    const float *query = a.s.query + (size_t)row * (size_t)v.index_heads * (size_t)TILE_DIM;
    for (int i = thread_index(); i < TILE_HEADS * TILE_DIM / 2; i += THREADS) {
        int h = i / (TILE_DIM / 2), e = i % (TILE_DIM / 2) * 2;
        uint32_t word = 0;
        if (h < v.index_heads)
            word = two_halves(query[h * TILE_DIM + e], query[h * TILE_DIM + e + 1]);
        *(uint32_t *)(memory + h * TILE_STRIDE + 2 * e) = word;
    }
    block_barrier();
    int tile = warp_index() % 4, part = warp_index() / 4;
    uint32_t left[STEPS][4];
    float weight[2];
    UNROLL
    for (int k = 0; k < STEPS; k++)
        load_tiles(left[k], memory + (tile * 16 + lane % 8 + lane / 8 % 2 * 8) * TILE_STRIDE +
                                32 * k + lane / 16 * 16);
    UNROLL
    for (int i = 0; i < 2; i++) {
        int head = tile * 16 + lane / 4 + 8 * i;
        weight[i] = head < v.index_heads
                        ? a.s.weight[(size_t)row * (size_t)v.index_heads + (size_t)head]
                        : 0.0f;
    }
    for (int key = first; key < end; key += KEYS) {
        block_barrier();
        load_keys(v, state, key, visible, memory);
        block_barrier();
        UNROLL
        for (int j = 0; j < 4; j++) {
            int octet = part * 4 + j;
            float dot[4] = {0, 0, 0, 0};
            UNROLL
            for (int k = 0; k < STEPS; k += 2) {
                uint32_t b[4];
                load_tiles(b,
                           memory + (octet * 8 + lane % 8) * TILE_STRIDE + 32 * k + lane / 8 * 16);
                multiply_tile(dot, left[k], b[0], b[1]);
                multiply_tile(dot, left[k + 1], b[2], b[3]);
            }
            UNROLL
            for (int i = 0; i < 2; i++) {
                float sum =
                    fmaf(fmaxf(dot[2 + i], 0.0f), weight[1], fmaxf(dot[i], 0.0f) * weight[0]);
                UNROLL
                for (int mask = 4; mask < WARP; mask *= 2) sum += warp_shuffle_xor(sum, mask);
                if (lane < 4) sums[tile][octet * 8 + lane * 2 + i] = sum;
            }
        }
        block_barrier();
        int k = thread_index();
        if (k < KEYS && key + k < visible)
            a.s.scores[(size_t)block_y() * (size_t)a.s.score_stride + (size_t)(key + k)] =
                sums[0][k] + sums[1][k] + sums[2][k] + sums[3][k];
    }
}

static bool tile_scores_suit(const step_view &v) {
    return v.kv_sim != DS4_KV_SIM_NONE && v.index_dim == TILE_DIM && v.index_heads <= TILE_HEADS;
}

/* ---- the best ---- */

/* Unsigned keys in the order of the floats. */
DEVICE uint32_t sort_key(float score) {
    uint32_t bits = float_bits(score + 0.0f); /* -0 ranks as 0 */
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

/* The key of the k-th best and how many with that key belong to the best, by three rounds of
 * counting. */
DEVICE uint32_t threshold_key(const float *scores, int n, int k, uint32_t *histogram,
                              uint32_t *state, uint32_t *n_equal) {
    uint32_t prefix = 0, mask = 0, wanted = (uint32_t)k;
    for (int shift = 32 - RADIX_BITS;; shift = shift > RADIX_BITS ? shift - RADIX_BITS : 0) {
        for (int i = thread_index(); i < RADIX; i += block_threads()) histogram[i] = 0;
        block_barrier();
        for (int j = thread_index(); j < n; j += block_threads()) {
            uint32_t key = sort_key(scores[j]);
            if ((key & mask) == prefix) atomic_add(&histogram[key >> shift & (RADIX - 1)], 1);
        }
        block_barrier();
        if (warp_index() ==
            0) { /* lane l sums a 32nd, from the top; then one lane walks its part */
            enum { PART = RADIX / WARP };
            uint32_t sum = 0, above = 0;
            int top = RADIX - 1 - lane_index() * PART;
            for (int i = 0; i < PART; i++) sum += histogram[top - i];
            for (int l = 0; l < WARP; l++) {
                uint32_t other = (uint32_t)warp_shuffle((int)sum, l);
                if (l < lane_index()) above += other;
            }
            if (above < wanted && above + sum >= wanted) {
                uint32_t rest = wanted - above;
                int digit = top;
                while (histogram[digit] < rest) rest -= histogram[digit--];
                state[0] = (uint32_t)digit;
                state[1] = rest;
            }
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

enum { SELECT_THREADS = 1024 };

/* One block per row: rows are written ascending; ties go to the lower row. */
KERNEL LAUNCH_BOUNDS(SELECT_THREADS, 1) select_kernel(select_arguments a) {
    next_launch();
    previous_launch();
    SHARED uint32_t histogram[RADIX], state[2];
    SHARED int above_of[SELECT_THREADS], equal_of[SELECT_THREADS];
    const step_view &v = a.v;
    int row = a.first_row + block_x(), visible = visible_rows(v, row);
    int *selected = a.s.selected + (size_t)row * (size_t)v.top_k;
    if (visible <= v.top_k) {
        for (int i = thread_index(); i < visible; i += block_threads()) selected[i] = i;
        return;
    }
    const float *scores = a.s.scores + (size_t)block_x() * (size_t)a.s.score_stride;
    uint32_t n_equal;
    uint32_t threshold = threshold_key(scores, visible, v.top_k, histogram, state, &n_equal);
    int per = (visible + block_threads() - 1) / block_threads();
    int from = thread_index() * per, to = from + per < visible ? from + per : visible;
    int above = 0, equal = 0;
    for (int j = from; j < to; j++) {
        uint32_t key = sort_key(scores[j]);
        above += key > threshold;
        equal += key == threshold;
    }
    above_of[thread_index()] = above;
    equal_of[thread_index()] = equal;
    block_barrier();
    for (int stride = 1; stride < block_threads(); stride *= 2) { /* inclusive sums */
        int add_above = thread_index() >= stride ? above_of[thread_index() - stride] : 0;
        int add_equal = thread_index() >= stride ? equal_of[thread_index() - stride] : 0;
        block_barrier();
        above_of[thread_index()] += add_above;
        equal_of[thread_index()] += add_equal;
        block_barrier();
    }
    int n_above = above_of[thread_index()] - above, n_same = equal_of[thread_index()] - equal;
    for (int j = from; j < to; j++) {
        uint32_t key = sort_key(scores[j]);
        int place = n_above + (n_same < (int)n_equal ? n_same : (int)n_equal);
        if (key > threshold) {
            selected[place] = j;
            n_above++;
        } else if (key == threshold) {
            if (n_same < (int)n_equal) selected[place] = j;
            n_same++;
        }
    }
}

void index_select_run(device *d, const step_view &v, const selection &s) {
    enum { MANY_ROWS = 64 };
    select_arguments a = {v, s, 0, 1};
    size_t shared =
        ((size_t)v.index_dim * (KEYS + 1) + (size_t)HEADS * (size_t)v.index_dim) * sizeof(float);
    unsigned tiles = (unsigned)(s.most_visible + KEYS - 1) / KEYS;
    for (a.first_row = 0; a.first_row < v.n_rows; a.first_row += s.score_rows) {
        int n = v.n_rows - a.first_row < s.score_rows ? v.n_rows - a.first_row : s.score_rows;
        if (s.most_visible > v.top_k && tile_scores_suit(v)) {
            a.tiles_per_block = v.n_rows > MANY_ROWS ? (int)tiles : 1;
            launch(d, tile_score_kernel,
                   dim3((tiles + (unsigned)a.tiles_per_block - 1) / (unsigned)a.tiles_per_block,
                        (unsigned)n),
                   THREADS, 0, a);
        } else if (s.most_visible > v.top_k)
            launch(d, score_kernel, dim3(tiles, (unsigned)n), THREADS, shared, a);
        launch(d, select_kernel, dim3((unsigned)n), SELECT_THREADS, 0, a);
    }
}

} // namespace GPU_NAMESPACE
