/* Attention in float32, for rows that are not stored as codes (tile_attention.cu takes those): each
 * block scores a split of the visible rows for eight heads
 * and sums their values; a second launch puts the splits together, with the sink. Splits lie at
 * fixed places, so the result does not depend on the step's other rows. */
#include "backend/gpu/kernels.h"
#include "backend/gpu/visible.h"

namespace GPU_NAMESPACE {

enum {
    THREADS = 256,
    WARPS = THREADS / WARP,
    HEADS = WARPS,
    SPLIT = WARP,
    LANES = MAX_HEAD_DIM / THREADS
};

/* The queries of the block's heads: unit RMS, rotary embedding. One warp per head. */
DEVICE void load_queries(const attention_arguments &t, int row, int first_head, float *queries) {
    const step_view &v = t.v;
    int head = first_head + warp_index(), dim = v.head_dim, plain = dim - v.rope_dim;
    float *q = queries + warp_index() * dim, squares = 0.0f;
    const float *from = t.a.q + ((size_t)row * (size_t)v.n_heads + (size_t)head) * (size_t)dim;
    UNROLL_8
    for (int i = lane_index(); i < dim; i += WARP) {
        float x = head < v.n_heads ? from[i] : 0.0f;
        q[i] = x;
        squares = fmaf(x, x, squares);
    }
    float scale = 1.0f / sqrtf(warp_sum(squares) / (float)dim + v.rms_eps);
    for (int i = lane_index(); i < dim; i += WARP) q[i] *= scale;
    warp_barrier();
    const float *angles =
        v.angles + ((size_t)(t.a.ratio != 0) * (size_t)v.n_rows + (size_t)row) * (size_t)v.rope_dim;
    for (int i = lane_index(); i < v.rope_dim / 2; i += WARP)
        rotate_pair(float2{angles[2 * i], angles[2 * i + 1]}, q + plain + 2 * i);
}

/* Where the rows of a split are. */
struct split_rows {
    const uint8_t *row[SPLIT];
    int packed_from; /* rows from this one on are codes */
};

DEVICE void find_rows(const attention_arguments &t, const visible &s, int first, int n,
                      split_rows *rows) {
    int i = thread_index();
    if (i < n) rows->row[i] = visible_row(t.v, s, first + i);
    if (i == 0) {
        int raw_rows = s.n_raw - first < 0 ? 0 : s.n_raw - first;
        rows->packed_from = t.v.kv_sim == DS4_KV_SIM_FULL ? raw_rows : (int)SPLIT;
    }
}

DEVICE float4 halves_float4(uint2 h) {
    return float4{half_bits_to_float((uint16_t)h.x), half_bits_to_float((uint16_t)(h.x >> 16)),
                  half_bits_to_float((uint16_t)h.y), half_bits_to_float((uint16_t)(h.y >> 16))};
}

/* Quad `quad` of a row. */
DEVICE float4 load_quad(const step_view &v, const uint8_t *row, bool packed, int quad) {
    int plain = v.head_dim - v.rope_dim;
    if (!packed) return ((const float4 *)row)[quad];
    if (4 * quad >= plain) return halves_float4(((const uint2 *)row)[quad - plain / 4]);
    const uint8_t *codes = row + 2 * v.rope_dim;
    uint32_t four = ((const uint32_t *)codes)[quad];
    float scale = power_of_two((int)codes[plain + 4 * quad / FP8_BLOCK] - 127);
    return float4{fp8_value(four & 255, scale), fp8_value(four >> 8 & 255, scale),
                  fp8_value(four >> 16 & 255, scale), fp8_value(four >> 24, scale)};
}

/* All rows of the split to shared memory; rows behind the last are zeros. */
DEVICE void load_tile(const step_view &v, const split_rows &rows, int n, float *tile) {
    int n_quads = v.head_dim / 4, stride = v.head_dim + 4;
    UNROLL_8
    for (int i = thread_index(); i < SPLIT * n_quads; i += THREADS) {
        int r = i / n_quads, quad = i % n_quads;
        float4 x = {0, 0, 0, 0};
        if (r < n) x = load_quad(v, rows.row[r], r >= rows.packed_from, quad);
        *(float4 *)(tile + r * stride + 4 * quad) = x;
    }
}

/* Lane = visible row; the warps share out the dimensions. */
DEVICE void score_rows(const step_view &v, const float *tile, const float *queries, float *parts) {
    int stride = v.head_dim + 4;
    float sum[HEADS];
    UNROLL
    for (int h = 0; h < HEADS; h++) sum[h] = 0.0f;
    for (int quad = warp_index(); quad < v.head_dim / 4; quad += WARPS) {
        float4 k = *(const float4 *)(tile + lane_index() * stride + 4 * quad);
        UNROLL
        for (int h = 0; h < HEADS; h++) {
            float4 q = *(const float4 *)(queries + h * v.head_dim + 4 * quad);
            sum[h] = fmaf(k.x, q.x, fmaf(k.y, q.y, fmaf(k.z, q.z, fmaf(k.w, q.w, sum[h]))));
        }
    }
    UNROLL
    for (int h = 0; h < HEADS; h++)
        parts[(warp_index() * HEADS + h) * SPLIT + lane_index()] = sum[h];
}

KERNEL LAUNCH_BOUNDS(THREADS, 2) attend_kernel(attention_arguments t) {
    next_launch();
    previous_launch();
    DYNAMIC_SHARED(float, tile); /* [SPLIT][D + 4], queries [HEADS][D], parts, weights */
    SHARED split_rows rows;
    const step_view &v = t.v;
    int row = t.first_row + block_z(), first_head = block_x() * HEADS, split = block_y();
    visible s = find_visible(v, t.a, row);
    int first = split * SPLIT, n = s.n - first < SPLIT ? s.n - first : SPLIT;
    if (n <= 0) return;
    int stride = v.head_dim + 4;
    float *queries = tile + SPLIT * stride, *parts = queries + HEADS * v.head_dim;
    float *weights = parts + WARPS * HEADS * SPLIT; /* [HEADS][SPLIT] */
    find_rows(t, s, first, n, &rows);
    load_queries(t, row, first_head, queries);
    block_barrier();
    load_tile(v, rows, n, tile);
    block_barrier();
    score_rows(v, tile, queries, parts);
    block_barrier();
    int head = first_head + warp_index();
    float score = 0.0f;
    for (int w = 0; w < WARPS; w++)
        score += parts[(w * HEADS + warp_index()) * SPLIT + lane_index()];
    score *= (float)(1.0 / sqrt((double)v.head_dim));
    float top = warp_max(lane_index() < n ? score : -INFINITY);
    float weight = lane_index() < n ? expf(score - top) : 0.0f;
    float total = warp_sum(weight);
    weights[warp_index() * SPLIT + lane_index()] = weight;
    size_t at = ((size_t)block_z() * (size_t)t.splits + (size_t)split) * (size_t)v.n_heads;
    if (lane_index() == 0 && head < v.n_heads) {
        t.a.partial_ml[(at + (size_t)head) * 2] = top;
        t.a.partial_ml[(at + (size_t)head) * 2 + 1] = total;
    }
    block_barrier();
    float sum[HEADS][LANES];
    UNROLL
    for (int h = 0; h < HEADS; h++) UNROLL
    for (int j = 0; j < LANES; j++) sum[h][j] = 0.0f;
    for (int i = 0; i < n; i++) {
        UNROLL
        for (int j = 0; j < LANES; j++) {
            int d = thread_index() + THREADS * j;
            float x = d < v.head_dim ? tile[i * stride + d] : 0.0f;
            UNROLL
            for (int h = 0; h < HEADS; h++) sum[h][j] = fmaf(weights[h * SPLIT + i], x, sum[h][j]);
        }
    }
    UNROLL
    for (int h = 0; h < HEADS; h++) UNROLL
    for (int j = 0; j < LANES; j++) {
        int d = thread_index() + THREADS * j;
        if (d < v.head_dim && first_head + h < v.n_heads)
            t.a.partial[(at + (size_t)(first_head + h)) * (size_t)v.head_dim + (size_t)d] =
                sum[h][j];
    }
}

enum { MERGE_THREADS = 128, MERGE_SPLITS = MERGE_THREADS };

/* One block per head and row: splits in order, then the inverse rotation. */
KERNEL merge_kernel(attention_arguments t) {
    next_launch();
    previous_launch();
    SHARED_16 float out[MAX_HEAD_DIM];
    SHARED float factors[MERGE_SPLITS], totals[MERGE_SPLITS], tops[WARP];
    const step_view &v = t.v;
    int row = t.first_row + block_y(), head = block_x(), dim = v.head_dim;
    int n = (find_visible(v, t.a, row).n + SPLIT - 1) / SPLIT;
    size_t first = (size_t)block_y() * (size_t)t.splits * (size_t)v.n_heads + (size_t)head;
    float sink = t.a.sinks[head], top = sink;
    for (int s = thread_index(); s < n; s += MERGE_THREADS)
        top = fmaxf(top, t.a.partial_ml[(first + (size_t)(s * v.n_heads)) * 2]);
    top = warp_max(top);
    if (lane_index() == 0) tops[warp_index()] = top;
    block_barrier();
    for (int w = 0; w < MERGE_THREADS / WARP; w++) top = fmaxf(top, tops[w]);
    float total = expf(sink - top), sum[MAX_HEAD_DIM / MERGE_THREADS];
    UNROLL
    for (int j = 0; j < MAX_HEAD_DIM / MERGE_THREADS; j++) sum[j] = 0.0f;
    for (int s0 = 0; s0 < n; s0 += MERGE_SPLITS) {
        int count = n - s0 < MERGE_SPLITS ? n - s0 : (int)MERGE_SPLITS, mine = thread_index();
        block_barrier();
        if (mine < count) {
            size_t at = first + (size_t)((s0 + mine) * v.n_heads);
            factors[mine] = expf(t.a.partial_ml[at * 2] - top);
            totals[mine] = t.a.partial_ml[at * 2 + 1];
        }
        block_barrier();
        UNROLL_8
        for (int s = 0; s < count; s++) {
            size_t at = first + (size_t)((s0 + s) * v.n_heads);
            total = fmaf(factors[s], totals[s], total);
            UNROLL
            for (int j = 0; j < MAX_HEAD_DIM / MERGE_THREADS; j++) {
                int d = thread_index() + MERGE_THREADS * j;
                if (d < dim)
                    sum[j] = fmaf(factors[s], t.a.partial[at * (size_t)dim + (size_t)d], sum[j]);
            }
        }
    }
    UNROLL
    for (int j = 0; j < MAX_HEAD_DIM / MERGE_THREADS; j++) {
        int d = thread_index() + MERGE_THREADS * j;
        if (d < dim) out[d] = sum[j] / total;
    }
    block_barrier();
    const float *angles =
        v.angles + ((size_t)(t.a.ratio != 0) * (size_t)v.n_rows + (size_t)row) * (size_t)v.rope_dim;
    for (int i = thread_index(); i < v.rope_dim / 2; i += MERGE_THREADS)
        rotate_pair(float2{angles[2 * i], -angles[2 * i + 1]}, out + dim - v.rope_dim + 2 * i);
    block_barrier();
    for (int quad = thread_index(); quad - lane_index() < dim / 4; quad += MERGE_THREADS)
        store_quad(t.a.out, row, head * dim / 4 + quad, ((const float4 *)out)[quad],
                   quad < dim / 4);
}

int attention_splits(int most_rows) {
    return (most_rows + SPLIT - 1) / SPLIT;
}

void attention_run(device *d, const step_view &v, const attention &a) {
    attention_arguments t = {v, a, 0, attention_splits(a.most_rows)};
    size_t shared = ((size_t)SPLIT * (size_t)(v.head_dim + 4) + (size_t)HEADS * (size_t)v.head_dim +
                     (size_t)(WARPS + 1) * HEADS * SPLIT) *
                    sizeof(float);
    unsigned heads = (unsigned)(v.n_heads + HEADS - 1) / HEADS;
    for (t.first_row = 0; t.first_row < v.n_rows; t.first_row += a.row_tile) {
        int n = v.n_rows - t.first_row < a.row_tile ? v.n_rows - t.first_row : a.row_tile;
        launch(d, attend_kernel, dim3(heads, (unsigned)t.splits, (unsigned)n), THREADS, shared, t);
        launch(d, merge_kernel, dim3((unsigned)v.n_heads, (unsigned)n), MERGE_THREADS, 0, t);
    }
}

} // namespace GPU_NAMESPACE
