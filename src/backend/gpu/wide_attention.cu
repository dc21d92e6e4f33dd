/* Attention on the matrix units for many rows (tile_attention.h). What they see is made halves
 * once; then each row has a block, which brings the next tile of its visible rows while the present
 * one is multiplied. */
#include "backend/gpu/tile_attention.h"

namespace GPU_NAMESPACE {

enum {
    THREADS = 256,
    WARPS = THREADS / WARP,
    VALUE_THREADS = 512,
    VALUE_WARPS = VALUE_THREADS / WARP,
    HEADS = 64,
    STAGES = 3,
    PLACES = 1024, /* visible rows whose places are found at once */
    MANY_ROWS = 64
};

/* ---- rows as halves ---- */

/* An item's rows: from the window before its first row on, then its compressed rows. */
KERNEL LAUNCH_BOUNDS(THREADS, 1) halves_kernel(const tile_attention_arguments a) {
    const step_view &v = a.t.v;
    int slot = block_x() * WARPS + warp_index(), item = block_y(), dim = v.head_dim;
    const item_info &what = v.items[item];
    const layer_state &state = v.states[(size_t)a.t.a.layer * (size_t)v.max_items + (size_t)item];
    next_launch();
    previous_launch();
    const uint8_t *from = nullptr;
    if (slot < a.raw) {
        int offset = slot - (v.window - 1), position = what.position + offset;
        if (offset >= 0 && offset < what.n)
            from = (const uint8_t *)(a.t.a.kv + (size_t)(what.first_row + offset) * (size_t)dim);
        else if (offset < 0 && position >= 0)
            from = (const uint8_t *)(state.raw + (size_t)(position % v.raw_slots) * (size_t)dim);
    } else if (a.t.a.ratio != 0 && slot - a.raw < (what.position + what.n) / a.t.a.ratio) {
        from = state.rows + (size_t)(slot - a.raw) * (size_t)v.row_stride;
    }
    if (from == nullptr) return;
    uint8_t *to = a.t.a.halves + ((size_t)item * (size_t)a.slots + (size_t)slot) * 2 * (size_t)dim;
    for (int i = lane_index(); i < dim / 16; i += WARP) {
        row_piece p;
        load_piece(v, from, slot < a.raw, 16 * i, p);
        store_piece(p, to + 32 * i);
    }
}

DEVICE const uint8_t *halves_row(const tile_attention_arguments &a, const visible &s, int index) {
    if (index >= s.n) index = s.n - 1; /* P is 0 there, and this is a number */
    int c = index - s.n_raw, slot;
    if (index < s.n_raw)
        slot = s.first_position + index - s.item_position + a.t.v.window - 1;
    else
        slot = a.raw + (s.selected == nullptr ? c : s.selected[c]);
    return a.t.a.halves +
           ((size_t)s.item * (size_t)a.slots + (size_t)slot) * 2 * (size_t)a.t.v.head_dim;
}

/* Visible rows [key, key + COUNT) to tile[COUNT][D halves + PAD], in the background. */
template <int COUNT, int N_WARPS>
DEVICE void fetch_rows(const tile_attention_arguments &a, const visible &s, int key,
                       const uint8_t **places, uint8_t *tile) {
    enum { PASSES = MAX_HEAD_DIM / 8 / WARP };
    int chunks = a.t.v.head_dim / 8, stride = 2 * a.t.v.head_dim + PAD;
    if (key % PLACES == 0) {
        block_barrier();
        for (int i = thread_index(); i < PLACES && key + i < s.n + KEYS; i += block_threads())
            places[i] = halves_row(a, s, key + i);
        block_barrier();
    }
    uint8_t *to = tile + warp_index() * stride + 16 * lane_index();
    const uint8_t **place = places + key % PLACES + warp_index();
    UNROLL
    for (int i = 0; i < COUNT / N_WARPS; i++) UNROLL
    for (int j = 0; j < PASSES; j++)
        if (lane_index() + j * WARP < chunks)
            fetch_16(to + i * N_WARPS * stride + j * 16 * WARP,
                     place[i * N_WARPS] + 16 * (lane_index() + j * WARP));
}

/* ---- scores ---- */

/* A warp's queries: 32 heads, one chunk of lanes. */
struct query_chunk {
    uint32_t high[CHUNK_DIMS / 16][2][4], low[CHUNK_DIMS / 16][2][4];
};

DEVICE void load_chunk(const uint8_t *queries, int stride, int from, int to, query_chunk &q) {
    UNROLL
    for (int k = 0; k < CHUNK_DIMS / 16; k++) UNROLL
    for (int i = 0; i < 2; i++) {
        if (from + 16 * k >= to) continue;
        const uint8_t *left = left_place(queries + 16 * i * stride, stride) + 2 * from + 32 * k;
        load_tiles(q.high[k][i], left);
        load_tiles(q.low[k][i], left + HEADS * stride);
    }
}

/* 32 heads x 16 rows of a chunk. */
DEVICE void score_chunk(const query_chunk &q, const uint8_t *keys, int stride, int from, int to,
                        float (*sum)[2][4]) {
    int lane = lane_index();
    UNROLL
    for (int k = 0; k < CHUNK_DIMS / 16; k += 2) {
        if (from + 16 * k >= to) continue;
        uint32_t b[2][4];
        UNROLL
        for (int j = 0; j < 2; j++)
            load_tiles(b[j],
                       keys + (8 * j + lane % 8) * stride + 2 * from + 32 * k + lane / 8 * 16);
        UNROLL
        for (int i = 0; i < 2; i++) {
            UNROLL
            for (int h = 0; h < 2; h++) UNROLL
            for (int j = 0; j < 2; j++)
                multiply_tile(sum[h][j], q.high[k + i][h], b[j][2 * i], b[j][2 * i + 1]);
            UNROLL
            for (int h = 0; h < 2; h++) UNROLL
            for (int j = 0; j < 2; j++)
                multiply_tile(sum[h][j], q.low[k + i][h], b[j][2 * i], b[j][2 * i + 1]);
        }
    }
}

/* Sums of a tile, [chunk][head][SUM_STRIDE]: each thread adds up the chunks of four rows for two
 * heads, and keeps the largest. */
DEVICE void finish_scores(const tile_attention_arguments &a, const visible &s, int first_head,
                          int key, const float *sums, float scale, float *top) {
    UNROLL
    for (int i = 0; i < 2; i++) {
        int h = thread_index() / 8 + 32 * i, quad = thread_index() % 8 * 4;
        const float *at = sums + h * SUM_STRIDE + quad;
        float4 total = *(const float4 *)at;
        UNROLL
        for (int c = 1; c < CHUNKS; c++) {
            float4 more = *(const float4 *)(at + c * HEADS * SUM_STRIDE);
            total.x += more.x;
            total.y += more.y;
            total.z += more.z;
            total.w += more.w;
        }
        total = float4{total.x * scale, total.y * scale, total.z * scale, total.w * scale};
        int index = key + quad;
        if (index >= s.n) continue;
        top[i] = fmaxf(top[i], total.x);
        if (index + 1 < s.n) top[i] = fmaxf(top[i], total.y);
        if (index + 2 < s.n) top[i] = fmaxf(top[i], total.z);
        if (index + 3 < s.n) top[i] = fmaxf(top[i], total.w);
        if (first_head + h < a.t.v.n_heads)
            *(float4 *)(scores_of(a, block_x(), first_head + h) + index) = total;
    }
}

/* 64 heads of a row. Warps: chunks of lanes, then 32 heads each, whose queries stay in registers.
 */
KERNEL LAUNCH_BOUNDS(THREADS, 1) wide_scores_kernel(const tile_attention_arguments a) {
    enum { HEADS_AT_ONCE = 4, SUMS = CHUNKS * HEADS * SUM_STRIDE };
    DYNAMIC_SHARED(uint8_t, memory); /* rows; then queries, later more rows and sums */
    SHARED const uint8_t *places[PLACES];
    const attention_arguments &t = a.t;
    next_launch();
    int row = t.first_row + block_x(), first_head = block_y() * HEADS, dim = t.v.head_dim;
    int stride = 2 * dim + PAD, tile_bytes = SCORE_KEYS * stride;
    visible s = find_visible(t.v, t.a, row);
    previous_launch();
    uint8_t *queries = memory + tile_bytes;
    float *sums = (float *)(memory + STAGES * tile_bytes);
    fetch_rows<SCORE_KEYS, WARPS>(a, s, 0, places, memory);
    fetch_group();
    for (int h = warp_index() * HEADS_AT_ONCE; h < HEADS; h += WARPS * HEADS_AT_ONCE) {
        float4 x[HEADS_AT_ONCE][QUERY_QUADS];
        load_queries<HEADS_AT_ONCE>(t, row, first_head + h, x);
        store_queries<HEADS_AT_ONCE>(t, row, x, h, HEADS, queries);
    }
    block_barrier();
    int chunk = warp_index() % CHUNKS, part = warp_index() / CHUNKS * 32, from = chunk * CHUNK_DIMS;
    query_chunk q;
    load_chunk(queries + part * stride, stride, from, dim, q);
    block_barrier();
    if (SCORE_KEYS < s.n)
        fetch_rows<SCORE_KEYS, WARPS>(a, s, SCORE_KEYS, places, memory + tile_bytes);
    fetch_group();
    float scale = (float)(1.0 / sqrt((double)dim) / ACTIVATION_SCALE), top[2];
    top[0] = top[1] = -INFINITY;
    int tile = 0;
    for (int key = 0; key < s.n; key += SCORE_KEYS, tile++) {
        fetch_finished<1>();
        block_barrier();
        if (key + 2 * SCORE_KEYS < s.n)
            fetch_rows<SCORE_KEYS, WARPS>(a, s, key + 2 * SCORE_KEYS, places,
                                          memory + (tile + 2) % STAGES * tile_bytes);
        fetch_group();
        if (tile > 0)
            finish_scores(a, s, first_head, key - SCORE_KEYS, sums + (tile - 1) % 2 * SUMS, scale,
                          top);
        const uint8_t *rows = memory + tile % STAGES * tile_bytes;
        UNROLL
        for (int half = 0; half < SCORE_KEYS / 16; half++) {
            float sum[2][2][4];
            UNROLL
            for (int i = 0; i < 16; i++) sum[i / 8][i / 4 % 2][i % 4] = 0.0f;
            score_chunk(q, rows + half * 16 * stride, stride, from, dim, sum);
            UNROLL
            for (int i = 0; i < 8; i++) { /* head tile, octet, upper or lower heads */
                int h = part + i / 4 * 16 + i % 2 * 8 + lane_index() / 4, j = i / 2 % 2;
                *(float2 *)(sums + tile % 2 * SUMS + (chunk * HEADS + h) * SUM_STRIDE + half * 16 +
                            j * 8 + lane_index() % 4 * 2) =
                    float2{sum[i / 4][j][i % 2 * 2], sum[i / 4][j][i % 2 * 2 + 1]};
            }
        }
    }
    block_barrier();
    finish_scores(a, s, first_head, (tile - 1) * SCORE_KEYS, sums + (tile - 1) % 2 * SUMS, scale,
                  top);
    UNROLL
    for (int i = 0; i < 2; i++) {
        int head = first_head + thread_index() / 8 + 32 * i;
        UNROLL
        for (int mask = 1; mask < 8; mask *= 2)
            top[i] = fmaxf(top[i], warp_shuffle_xor(top[i], mask));
        if (thread_index() % 8 == 0 && head < t.v.n_heads)
            scores_of(a, block_x(), head)[a.stride - 4] = fmaxf(top[i], t.a.sinks[head]);
    }
}

/* ---- values ---- */

enum {
    WEIGHT_STRIDE = 2 * KEYS + PAD,
    WEIGHT_BYTES = 2 * HEADS * WEIGHT_STRIDE,
    HEADS_EACH = HEADS / VALUE_WARPS, /* whose P a warp makes */
    PART_DIMS = 64
};

/* The scores of a warp's heads: two of the tile's rows in each lane. */
struct head_scores {
    const float *from[HEADS_EACH];
    float top[HEADS_EACH], total[HEADS_EACH];
    float2 x[HEADS_EACH];
};

DEVICE void load_scores(head_scores &s, int key, int n) {
    int index = key + 2 * lane_index();
    UNROLL
    for (int i = 0; i < HEADS_EACH; i++)
        if (index < n) s.x[i] = *(const float2 *)(s.from[i] + index);
}

DEVICE void store_tile_weights(head_scores &s, int key, int n, uint8_t *weights) {
    UNROLL
    for (int i = 0; i < HEADS_EACH; i++) {
        uint8_t *to = weights + (warp_index() + VALUE_WARPS * i) * WEIGHT_STRIDE + 4 * lane_index();
        store_weights(s.x[i], s.top[i], key + 2 * lane_index(), n, &s.total[i], to,
                      to + HEADS * WEIGHT_STRIDE);
    }
}

/* A warp: 32 heads x `octets` x 8 lanes; sums over KEYS rows. */
DEVICE void add_values(const uint8_t *weights, const uint8_t *rows, int stride, int octets,
                       float (*sum)[PART_DIMS / 8][4]) {
    int lane = lane_index();
    UNROLL
    for (int k = 0; k < KEYS; k += 16) {
        uint32_t high[2][4], low[2][4];
        UNROLL
        for (int i = 0; i < 2; i++) {
            const uint8_t *left =
                left_place(weights + 16 * i * WEIGHT_STRIDE, WEIGHT_STRIDE) + 2 * k;
            load_tiles(high[i], left);
            load_tiles(low[i], left + HEADS * WEIGHT_STRIDE);
        }
        UNROLL
        for (int j = 0; j < PART_DIMS / 8; j += 2) {
            if (j >= octets) continue;
            uint32_t b[4]; /* 16 rows x 16 lanes */
            load_tiles_turned(b, rows + (k + lane % 16) * stride + 16 * (j + lane / 16));
            UNROLL
            for (int i = 0; i < 2; i++) {
                multiply_tile(sum[i][j], high[i], b[0], b[1]);
                multiply_tile(sum[i][j + 1], high[i], b[2], b[3]);
            }
            UNROLL
            for (int i = 0; i < 2; i++) {
                multiply_tile(sum[i][j], low[i], b[0], b[1]);
                multiply_tile(sum[i][j + 1], low[i], b[2], b[3]);
            }
        }
    }
}

/* Two neighbouring lanes of each of four octets: 32 columns, whose halves lie side by side. */
DEVICE void store_block(const attention_arguments &t, int row, int head, int first,
                        const float (*sum)[4], int upper, float factor) {
    if (head >= t.v.n_heads) return;
    int pair = lane_index() % 4 * 2, column = head * t.v.head_dim + first;
    uint32_t high[4], low[4];
    UNROLL
    for (int j = 0; j < 4; j++) {
        float2 x = finish_output(sum[j][2 * upper], sum[j][2 * upper + 1], factor,
                                 output_angle(t, row, first + 8 * j + pair));
        if (t.a.out.plain != nullptr)
            *(float2 *)(t.a.out.plain + (size_t)row * (size_t)t.a.out.n +
                        (size_t)(column + 8 * j + pair)) = x;
        split_value p = split(x.x), q = split(x.y);
        high[j] = p.high | (uint32_t)q.high << 16;
        low[j] = p.low | (uint32_t)q.low << 16;
    }
    if (t.a.out.split == nullptr) return;
    uint8_t *to = split_row(t.a.out, row) + split_offset(column + pair);
    *(uint4 *)to = uint4{high[0], high[1], high[2], high[3]};
    *(uint4 *)(to + 64) = uint4{low[0], low[1], low[2], low[3]};
}

/* 64 heads of a row, all lanes. Warps: 64 lanes, then 32 heads each. Half of them make P of the
 * next tile before their products, half after, so that the matrix units always have work. */
KERNEL LAUNCH_BOUNDS(VALUE_THREADS, 1) wide_values_kernel(const tile_attention_arguments a) {
    enum { PARTS = MAX_HEAD_DIM / PART_DIMS };
    DYNAMIC_SHARED(uint8_t, memory); /* P twice, then rows twice */
    SHARED const uint8_t *places[PLACES];
    SHARED float factors[HEADS];
    const attention_arguments &t = a.t;
    next_launch();
    int row = t.first_row + block_x(), first_head = block_y() * HEADS, dim = t.v.head_dim;
    int stride = 2 * dim + PAD, tile_bytes = KEYS * stride;
    visible s = find_visible(t.v, t.a, row);
    previous_launch();
    uint8_t *rows = memory + 2 * WEIGHT_BYTES;
    fetch_rows<KEYS, VALUE_WARPS>(a, s, 0, places, rows);
    fetch_group();
    head_scores scores;
    UNROLL
    for (int i = 0; i < HEADS_EACH; i++) {
        int head = first_head + warp_index() + VALUE_WARPS * i;
        scores.from[i] = scores_of(a, block_x(), head < t.v.n_heads ? head : t.v.n_heads - 1);
        scores.top[i] = scores.from[i][a.stride - 4];
        scores.total[i] = 0.0f;
        scores.x[i] = float2{0, 0};
    }
    load_scores(scores, 0, s.n);
    store_tile_weights(scores, 0, s.n, memory);
    load_scores(scores, KEYS, s.n);
    float sum[2][PART_DIMS / 8][4];
    UNROLL
    for (int i = 0; i < PART_DIMS / 8; i++) UNROLL
    for (int j = 0; j < 8; j++) sum[j / 4][i][j % 4] = 0.0f;
    int first = warp_index() % PARTS * PART_DIMS, part = warp_index() / PARTS * 32;
    int octets = (dim - first) / 8;
    bool early = warp_index() / 4 % 2 != 0;
    for (int key = 0, tile = 0; key < s.n; key += KEYS, tile++) {
        bool more = key + KEYS < s.n;
        uint8_t *next_weights = memory + (tile + 1) % 2 * WEIGHT_BYTES;
        fetch_finished<0>();
        block_barrier();
        if (more) {
            fetch_rows<KEYS, VALUE_WARPS>(a, s, key + KEYS, places,
                                          rows + (tile + 1) % 2 * tile_bytes);
            fetch_group();
        }
        if (more && early) store_tile_weights(scores, key + KEYS, s.n, next_weights);
        add_values(memory + tile % 2 * WEIGHT_BYTES + part * WEIGHT_STRIDE,
                   rows + tile % 2 * tile_bytes + 2 * first, stride, octets, sum);
        if (more && !early) store_tile_weights(scores, key + KEYS, s.n, next_weights);
        load_scores(scores, key + 2 * KEYS, s.n);
    }
    UNROLL
    for (int i = 0; i < HEADS_EACH; i++) {
        int h = warp_index() + VALUE_WARPS * i;
        float sink = t.a.sinks[first_head + h < t.v.n_heads ? first_head + h : t.v.n_heads - 1];
        float total = warp_sum(scores.total[i]) + quick_exp(sink - scores.top[i]);
        if (lane_index() == 0) factors[h] = output_factor(total);
    }
    block_barrier();
    UNROLL
    for (int j = 0; j < PART_DIMS / 8; j += 4) {
        if (j >= octets) continue;
        UNROLL
        for (int i = 0; i < 4; i++) {
            int h = part + 8 * i + lane_index() / 4;
            store_block(t, row, first_head + h, first + 8 * j, &sum[i / 2][j], i % 2, factors[h]);
        }
    }
}

/* Halves of all items' rows must fit. */
static int slots_of(const step_view &v, const attention &a) {
    return v.window - 1 + v.n_rows + (a.ratio == 0 ? 0 : a.reach / a.ratio);
}

bool wide_attention_suits(const step_view &v, const attention &a) {
    return v.n_rows > MANY_ROWS &&
           (size_t)v.n_items * (size_t)slots_of(v, a) * 2 * (size_t)v.head_dim <= a.halves_bytes;
}

void wide_attention_run(device *d, tile_attention_arguments t) {
    const step_view &v = t.t.v;
    int stride = 2 * v.head_dim + PAD, rest = v.n_rows;
    unsigned groups = (unsigned)((v.n_heads + HEADS - 1) / HEADS);
    size_t score_bytes = (size_t)(STAGES * SCORE_KEYS) * (size_t)stride +
                         2 * CHUNKS * HEADS * SUM_STRIDE * sizeof(float);
    size_t query_bytes = (size_t)(SCORE_KEYS + 2 * HEADS) * (size_t)stride;
    if (query_bytes > score_bytes) score_bytes = query_bytes;
    size_t value_bytes = 2 * ((size_t)WEIGHT_BYTES + (size_t)KEYS * (size_t)stride);
    t.slots = slots_of(v, t.t.a);
    t.raw = v.window - 1 + v.n_rows;
    launch(d, halves_kernel, dim3((unsigned)((t.slots + WARPS - 1) / WARPS), (unsigned)v.n_items),
           THREADS, 0, t);
    for (t.t.first_row = 0; rest > 0; t.t.first_row += t.t.a.row_tile) {
        unsigned n = (unsigned)(rest < t.t.a.row_tile ? rest : t.t.a.row_tile);
        launch(d, wide_scores_kernel, dim3(n, groups), THREADS, score_bytes, t);
        launch(d, wide_values_kernel, dim3(n, groups), VALUE_THREADS, value_bytes, t);
        rest -= t.t.a.row_tile;
    }
}

} // namespace GPU_NAMESPACE
