/* Attention on the matrix units, over rows whose values are exact as halves (simulated FP8). A
 * query row's 64 heads are the rows of the products: scores S = Q K', then values O = P V. Two
 * launches: the first writes all scores, the second takes the maximum and the sum of each head, and
 * multiplies P = exp(S - maximum) with the rows in their order. A decoding step spreads one row
 * over many blocks, a chunk of a prompt gives each row a block: the sums are the same. Queries and
 * P are split in two halves (activations.h). */
#include "backend/gpu/activations.h"
#include "backend/gpu/visible.h"

namespace GPU_NAMESPACE {

enum { THREADS = 256, KEYS = 64 /* rows at once */, PAD = 16 /* bytes that keep rows apart */ };

/* `scores` of a row: [heads][stride]. */
struct tile_attention_arguments {
    attention_arguments t;
    int stride, tiles_per_block;
};

DEVICE uint32_t power_half2(int e) { /* 2^e, -14 .. 15 */
    e = e < -14 ? -14 : e > 15 ? 15 : e;
    return (uint32_t)(e + 15) * 0x04000400u;
}

/* Four FP8 codes times 2^(k + 8 - 8): the code's bits in a half are its value by 2^-8. */
DEVICE uint2 codes_halves(uint32_t codes, uint32_t factor) {
    uint32_t low = byte_mix(codes, 0, 0x1404), high = byte_mix(codes, 0, 0x3424);
    low = (low & 0x80008000u) | (low & 0x7f007f00u) >> 1;
    high = (high & 0x80008000u) | (high & 0x7f007f00u) >> 1;
    return uint2{half2_multiply(low, factor), half2_multiply(high, factor)};
}

/* 16 lanes of a row as it is stored, not yet halves. */
struct row_piece {
    uint4 words[4]; /* raw: 16 floats; codes: words[0] and a scale; rotary lanes: 16 halves */
    int kind;       /* 0 nothing, 1 raw, 2 codes, 3 rotary */
    int exponent;
};

DEVICE void load_piece(const step_view &v, const uint8_t *row, bool raw, int first, row_piece &p) {
    int plain = v.head_dim - v.rope_dim;
    p.kind = row == nullptr ? 0 : raw ? 1 : first < plain ? 2 : 3;
    if (p.kind == 1) {
        UNROLL
        for (int i = 0; i < 4; i++) p.words[i] = ((const uint4 *)row)[first / 4 + i];
    } else if (p.kind == 2) {
        const uint8_t *codes = row + 2 * v.rope_dim;
        p.words[0] = *(const uint4 *)(codes + first);
        p.exponent = (int)codes[plain + first / FP8_BLOCK] - 127;
    } else if (p.kind == 3) {
        p.words[0] = *(const uint4 *)(row + 2 * (first - plain));
        p.words[1] = *(const uint4 *)(row + 2 * (first - plain) + 16);
    }
}

DEVICE uint32_t two_halves(uint32_t a, uint32_t b) {
    return float_to_half_bits(bits_float(a)) | (uint32_t)float_to_half_bits(bits_float(b)) << 16;
}

/* To 16 halves in shared memory. */
DEVICE void store_piece(const row_piece &p, uint8_t *to) {
    uint4 out[2] = {{0, 0, 0, 0}, {0, 0, 0, 0}};
    if (p.kind == 1) {
        UNROLL
        for (int i = 0; i < 2; i++) {
            const uint4 &a = p.words[2 * i], &b = p.words[2 * i + 1];
            out[i] = uint4{two_halves(a.x, a.y), two_halves(a.z, a.w), two_halves(b.x, b.y),
                           two_halves(b.z, b.w)};
        }
    } else if (p.kind == 2) {
        uint32_t factor = power_half2(p.exponent + 8);
        uint2 a = codes_halves(p.words[0].x, factor), b = codes_halves(p.words[0].y, factor);
        uint2 c = codes_halves(p.words[0].z, factor), d = codes_halves(p.words[0].w, factor);
        out[0] = uint4{a.x, a.y, b.x, b.y};
        out[1] = uint4{c.x, c.y, d.x, d.y};
    } else if (p.kind == 3) {
        out[0] = p.words[0];
        out[1] = p.words[1];
    }
    ((uint4 *)to)[0] = out[0];
    ((uint4 *)to)[1] = out[1];
}

/* Where visible rows are: PLACES at a time, found once. */
enum { PLACES = 1024 };

DEVICE void find_places(const attention_arguments &t, int row, const visible &s, int begin, int key,
                        int end, const uint8_t **places) {
    if (key % PLACES != 0 && key != begin) return;
    for (int i = key + thread_index(); i < key + PLACES - key % PLACES && i < end;
         i += block_threads())
        places[i % PLACES] = visible_row(t, row, s, i);
    block_barrier();
}

/* Lanes [first, first + n) of visible rows [key, key + KEYS) to tile[KEYS][n halves + PAD]. Rows
 * that are not there are zeros. */
DEVICE void load_rows(const attention_arguments &t, const visible &s, const uint8_t *const *places,
                      int key, int first, int n, uint8_t *tile) {
    int pieces = n / 16, stride = 2 * n + PAD;
    enum { AT_ONCE = 4 };
    for (int i0 = thread_index(); i0 < KEYS * pieces; i0 += AT_ONCE * block_threads()) {
        row_piece p[AT_ONCE];
        UNROLL
        for (int k = 0; k < AT_ONCE; k++) {
            int i = i0 + k * block_threads(), index = key + i / pieces;
            bool there = i < KEYS * pieces && index < s.n;
            load_piece(t.v, there ? places[index % PLACES] : nullptr, index < s.n_raw,
                       first + i % pieces * 16, p[k]);
        }
        UNROLL
        for (int k = 0; k < AT_ONCE; k++) {
            int i = i0 + k * block_threads();
            if (i < KEYS * pieces) store_piece(p[k], tile + i / pieces * stride + i % pieces * 32);
        }
    }
}

/* Heads [first, first + n) of the row's query, with unit RMS and rotary embedding, split, to
 * queries[high, low][n][D halves + PAD]. A warp per head, AT_ONCE heads on their way. */
DEVICE void load_queries(const attention_arguments &t, int row, int first, int n,
                         uint8_t *queries) {
    enum { AT_ONCE = 2, QUADS = MAX_HEAD_DIM / 4 / WARP };
    const step_view &v = t.v;
    int dim = v.head_dim, plain = dim - v.rope_dim, stride = 2 * dim + PAD;
    const float *angles =
        v.angles + ((size_t)(t.a.ratio != 0) * (size_t)v.n_rows + (size_t)row) * (size_t)v.rope_dim;
    for (int h0 = warp_index() * AT_ONCE; h0 < n; h0 += block_threads() / WARP * AT_ONCE) {
        float4 x[AT_ONCE][QUADS];
        UNROLL
        for (int i = 0; i < AT_ONCE; i++) UNROLL
        for (int j = 0; j < QUADS; j++) {
            int quad = lane_index() + WARP * j, head = first + h0 + i;
            x[i][j] = float4{0, 0, 0, 0};
            if (head < v.n_heads && 4 * quad < dim)
                x[i][j] =
                    ((const float4 *)(t.a.q + ((size_t)row * (size_t)v.n_heads + (size_t)head) *
                                                  (size_t)dim))[quad];
        }
        UNROLL
        for (int i = 0; i < AT_ONCE; i++) {
            float squares = 0.0f;
            UNROLL
            for (int j = 0; j < QUADS; j++) {
                squares = fmaf(x[i][j].x, x[i][j].x, squares);
                squares = fmaf(x[i][j].y, x[i][j].y, squares);
                squares = fmaf(x[i][j].z, x[i][j].z, squares);
                squares = fmaf(x[i][j].w, x[i][j].w, squares);
            }
            float scale = 1.0f / sqrtf(warp_sum(squares) / (float)dim + v.rms_eps);
            UNROLL
            for (int j = 0; j < QUADS; j++) {
                int d = 4 * (lane_index() + WARP * j);
                if (d >= dim) continue;
                float y[4] = {x[i][j].x * scale, x[i][j].y * scale, x[i][j].z * scale,
                              x[i][j].w * scale};
                if (d >= plain) {
                    const float *angle = angles + d - plain;
                    rotate_pair(float2{angle[0], angle[1]}, y);
                    rotate_pair(float2{angle[2], angle[3]}, y + 2);
                }
                split_value a = split(y[0]), b = split(y[1]), c = split(y[2]), e = split(y[3]);
                uint8_t *to = queries + (h0 + i) * stride + 2 * d;
                *(uint2 *)to =
                    uint2{a.high | (uint32_t)b.high << 16, c.high | (uint32_t)e.high << 16};
                *(uint2 *)(to + n * stride) =
                    uint2{a.low | (uint32_t)b.low << 16, c.low | (uint32_t)e.low << 16};
            }
        }
    }
}

/* Where load_tiles begins for the left factor: 16 rows, 16 columns. */
DEVICE const uint8_t *left_place(const uint8_t *rows, int stride) {
    int lane = lane_index();
    return rows + (lane % 8 + lane / 8 % 2 * 8) * stride + lane / 16 * 16;
}

/* ---- scores ---- */

/* A warp's scores: 16 heads, OCTETS x 8 rows. */
template <int OCTETS>
DEVICE void score_octets(const uint8_t *queries, int low_offset, int q_stride, const uint8_t *keys,
                         int k_stride, int dim, float (*sum)[4]) {
    int lane = lane_index();
    const uint8_t *left = left_place(queries, q_stride);
    for (int k = 0; k < dim; k += 32) {
        uint32_t high[2][4], low[2][4], b[OCTETS][4];
        UNROLL
        for (int i = 0; i < 2; i++) {
            load_tiles(high[i], left + 2 * k + 32 * i);
            load_tiles(low[i], left + low_offset + 2 * k + 32 * i);
        }
        UNROLL
        for (int j = 0; j < OCTETS; j++)
            load_tiles(b[j], keys + (8 * j + lane % 8) * k_stride + 2 * k + lane / 8 * 16);
        UNROLL
        for (int i = 0; i < 2; i++) {
            UNROLL
            for (int j = 0; j < OCTETS; j++)
                multiply_tile(sum[j], high[i], b[j][2 * i], b[j][2 * i + 1]);
            UNROLL
            for (int j = 0; j < OCTETS; j++)
                multiply_tile(sum[j], low[i], b[j][2 * i], b[j][2 * i + 1]);
        }
    }
}

/* HEAD_TILES x 16 heads of a row against tiles_per_block x KEYS of its rows. */
template <int HEAD_TILES>
KERNEL LAUNCH_BOUNDS(THREADS, 1) scores_kernel(const tile_attention_arguments a) {
    enum { OCTETS = HEAD_TILES == 4 ? 4 : 1, HEADS = 16 * HEAD_TILES };
    DYNAMIC_SHARED(uint8_t, memory); /* queries, then rows */
    SHARED const uint8_t *places[PLACES];
    next_launch();
    previous_launch();
    const attention_arguments &t = a.t;
    int local = block_z(), row = t.first_row + local, dim = t.v.head_dim, stride = 2 * dim + PAD;
    int first_head = block_y() * HEADS;
    visible s = find_visible(t.v, t.a, row);
    int first = block_x() * a.tiles_per_block * KEYS;
    int end = first + a.tiles_per_block * KEYS < s.n ? first + a.tiles_per_block * KEYS : s.n;
    if (first >= end) return;
    uint8_t *keys = memory + 2 * HEADS * stride;
    load_queries(t, row, first_head, HEADS, memory);
    int tile = warp_index() % HEAD_TILES, octet = warp_index() / HEAD_TILES * OCTETS;
    float scale = (float)(1.0 / sqrt((double)dim) / ACTIVATION_SCALE);
    for (int key = first; key < end; key += KEYS) {
        block_barrier();
        find_places(t, row, s, first, key, end, places);
        load_rows(t, s, places, key, 0, dim, keys);
        block_barrier();
        float sum[OCTETS][4];
        UNROLL
        for (int j = 0; j < OCTETS; j++) sum[j][0] = sum[j][1] = sum[j][2] = sum[j][3] = 0.0f;
        score_octets<OCTETS>(memory + tile * 16 * stride, HEADS * stride, stride,
                             keys + octet * 8 * stride, stride, dim, sum);
        UNROLL
        for (int j = 0; j < OCTETS; j++) UNROLL
        for (int i = 0; i < 4; i++) {
            int head = first_head + tile * 16 + lane_index() / 4 + i / 2 * 8;
            int index = key + (octet + j) * 8 + lane_index() % 4 * 2 + i % 2;
            if (head < t.v.n_heads && index < s.n)
                t.a.partial[((size_t)local * (size_t)t.v.n_heads + (size_t)head) *
                                (size_t)a.stride +
                            (size_t)index] = sum[j][i] * scale;
        }
    }
}

/* ---- values ---- */

/* Maximum and sum of each head, one warp per head. */
DEVICE void head_totals(const tile_attention_arguments &a, const visible &s, int first_head, int n,
                        float *tops, float *totals) {
    const attention_arguments &t = a.t;
    for (int h = warp_index(); h < n; h += block_threads() / WARP) {
        int head = first_head + h < t.v.n_heads ? first_head + h : t.v.n_heads - 1;
        const float *scores =
            t.a.partial +
            ((size_t)block_z() * (size_t)t.v.n_heads + (size_t)head) * (size_t)a.stride;
        enum { AT_ONCE = 32 };
        float sink = t.a.sinks[head], top = sink, total = 0.0f, x[AT_ONCE];
        for (int i0 = 0; i0 < s.n; i0 += AT_ONCE * WARP) {
            UNROLL
            for (int k = 0; k < AT_ONCE; k++) {
                int i = i0 + k * WARP + lane_index();
                x[k] = i < s.n ? scores[i] : -INFINITY;
            }
            UNROLL
            for (int k = 0; k < AT_ONCE; k++) top = fmaxf(top, x[k]);
        }
        top = warp_max(top);
        if (s.n > AT_ONCE * WARP) {
            for (int i = lane_index(); i < s.n; i += WARP) total += expf(scores[i] - top);
        } else {
            UNROLL
            for (int k = 0; k < AT_ONCE; k++)
                if (k * WARP < s.n) total += expf(x[k] - top);
        }
        total = warp_sum(total) + expf(sink - top);
        if (lane_index() == 0) {
            tops[h] = top;
            totals[h] = total;
        }
    }
}

/* P of KEYS rows, split: to[high, low][n][KEYS halves + PAD]. */
DEVICE void load_weights(const tile_attention_arguments &a, const visible &s, int first_head, int n,
                         int key, const float *tops, uint8_t *to) {
    enum { STRIDE = 2 * KEYS + PAD };
    const attention_arguments &t = a.t;
    UNROLL_8
    for (int i = thread_index(); i < n * KEYS / 2; i += block_threads()) {
        int h = i / (KEYS / 2), k = i % (KEYS / 2) * 2;
        int head = first_head + h < t.v.n_heads ? first_head + h : t.v.n_heads - 1;
        const float *scores =
            t.a.partial +
            ((size_t)block_z() * (size_t)t.v.n_heads + (size_t)head) * (size_t)a.stride + key + k;
        float p0 = key + k < s.n ? expf(scores[0] - tops[h]) : 0.0f;
        float p1 = key + k + 1 < s.n ? expf(scores[1] - tops[h]) : 0.0f;
        split_value x = split(p0), y = split(p1);
        uint8_t *at = to + h * STRIDE + 2 * k;
        *(uint32_t *)at = x.high | (uint32_t)y.high << 16;
        *(uint32_t *)(at + n * STRIDE) = x.low | (uint32_t)y.low << 16;
    }
}

/* A warp: 16 heads x OCTETS x 8 lanes; sums over KEYS rows. */
template <int OCTETS>
DEVICE void value_octets(const uint8_t *weights, int low_offset, const uint8_t *rows, int stride,
                         int n_octets, float (*sum)[4]) {
    enum { STRIDE = 2 * KEYS + PAD };
    const uint8_t *left = left_place(weights, STRIDE);
    UNROLL
    for (int k = 0; k < KEYS; k += 32) {
        uint32_t high[2][4], low[2][4];
        UNROLL
        for (int i = 0; i < 2; i++) {
            load_tiles(high[i], left + 2 * k + 32 * i);
            load_tiles(low[i], left + low_offset + 2 * k + 32 * i);
        }
        UNROLL
        for (int j = 0; j < OCTETS; j++) {
            if (j >= n_octets) continue;
            uint32_t b[4];
            load_tiles_turned(b, rows + (k + lane_index()) * stride + 16 * j);
            UNROLL
            for (int i = 0; i < 2; i++) {
                multiply_tile(sum[j], high[i], b[2 * i], b[2 * i + 1]);
                multiply_tile(sum[j], low[i], b[2 * i], b[2 * i + 1]);
            }
        }
    }
}

/* Two neighbouring lanes of a head: divided, rotated back, stored. */
DEVICE void store_output(const attention_arguments &t, int row, int head, int d, float x0, float x1,
                         float total) {
    const step_view &v = t.v;
    int plain = v.head_dim - v.rope_dim;
    if (head >= v.n_heads) return;
    float x[2] = {x0 * (1.0f / ACTIVATION_SCALE) / total, x1 * (1.0f / ACTIVATION_SCALE) / total};
    if (d >= plain) {
        const float *angles =
            v.angles +
            ((size_t)(t.a.ratio != 0) * (size_t)v.n_rows + (size_t)row) * (size_t)v.rope_dim +
            (d - plain);
        rotate_pair(float2{angles[0], -angles[1]}, x);
    }
    int column = head * v.head_dim + d;
    if (t.a.out.plain != nullptr) {
        t.a.out.plain[(size_t)row * (size_t)t.a.out.n + (size_t)column] = x[0];
        t.a.out.plain[(size_t)row * (size_t)t.a.out.n + (size_t)column + 1] = x[1];
    }
    if (t.a.out.split != nullptr) store_split_pair(split_row(t.a.out, row), column, x[0], x[1]);
}

/* HEAD_TILES x 16 heads, `DIMS` lanes of the row. Warps: tiles of heads, then parts of the lanes.
 */
template <int HEAD_TILES, int DIMS, int VALUE_THREADS>
KERNEL LAUNCH_BOUNDS(VALUE_THREADS, 1) values_kernel(const tile_attention_arguments a) {
    enum {
        HEADS = 16 * HEAD_TILES,
        PARTS = VALUE_THREADS / WARP / HEAD_TILES,
        OCTETS = DIMS / PARTS / 8,
        STRIDE = 2 * KEYS + PAD
    };
    DYNAMIC_SHARED(uint8_t, memory); /* P, then rows */
    SHARED const uint8_t *places[PLACES];
    SHARED float tops[HEADS], totals[HEADS];
    next_launch();
    previous_launch();
    const attention_arguments &t = a.t;
    int row = t.first_row + block_z(), first_head = block_y() * HEADS, first = block_x() * DIMS;
    int dims = t.v.head_dim - first < DIMS ? t.v.head_dim - first : (int)DIMS;
    int tile = warp_index() % HEAD_TILES, part = warp_index() / HEAD_TILES;
    visible s = find_visible(t.v, t.a, row);
    head_totals(a, s, first_head, HEADS, tops, totals);
    block_barrier();
    uint8_t *rows = memory + 2 * HEADS * STRIDE;
    float sum[OCTETS][4];
    UNROLL
    for (int j = 0; j < OCTETS; j++) sum[j][0] = sum[j][1] = sum[j][2] = sum[j][3] = 0.0f;
    int octets = dims / 8 - part * OCTETS;
    for (int key = 0; key < s.n; key += KEYS) {
        find_places(t, row, s, 0, key, s.n, places);
        load_weights(a, s, first_head, HEADS, key, tops, memory);
        load_rows(t, s, places, key, first, dims, rows);
        block_barrier();
        value_octets<OCTETS>(memory + tile * 16 * STRIDE, HEADS * STRIDE, rows + part * OCTETS * 16,
                             2 * dims + PAD, octets, sum);
        block_barrier();
    }
    UNROLL
    for (int j = 0; j < OCTETS; j++) {
        if (j >= octets) continue;
        int h = tile * 16 + lane_index() / 4;
        int d = first + (part * OCTETS + j) * 8 + lane_index() % 4 * 2;
        store_output(t, row, first_head + h, d, sum[j][0], sum[j][1], totals[h]);
        store_output(t, row, first_head + h + 8, d, sum[j][2], sum[j][3], totals[h + 8]);
    }
}

bool tile_attention_suits(const step_view &v) {
    return v.kv_sim == DS4_KV_SIM_FULL && v.head_dim % 32 == 0 && v.rope_dim % 16 == 0 &&
           (v.head_dim - v.rope_dim) % 16 == 0;
}

static int score_stride(int most_rows) {
    return (most_rows + KEYS - 1) / KEYS * KEYS;
}

size_t tile_attention_floats(const step_view &v, int most_rows) {
    return (size_t)v.n_heads * (size_t)score_stride(most_rows);
}

void tile_attention_run(device *d, const step_view &v, const attention &a) {
    enum {
        WIDE_HEADS = 64,
        NARROW_HEADS = 16,
        NARROW_DIMS = 64,
        WIDE_DIMS = MAX_HEAD_DIM,
        MANY_ROWS = 64
    };
    tile_attention_arguments t = {{v, a, 0, 0}, score_stride(a.most_rows), 0};
    bool many = v.n_rows > MANY_ROWS;
    int stride = 2 * v.head_dim + PAD, tiles = t.stride / KEYS;
    int heads = many ? WIDE_HEADS : NARROW_HEADS;
    unsigned groups = (unsigned)((v.n_heads + heads - 1) / heads);
    int dims = many ? (int)WIDE_DIMS : (int)NARROW_DIMS;
    unsigned parts = (unsigned)((v.head_dim + dims - 1) / dims);
    if (dims > v.head_dim) dims = v.head_dim;
    size_t score_bytes = (size_t)(2 * heads + KEYS) * (size_t)stride;
    size_t value_bytes =
        (size_t)(2 * heads) * (2 * KEYS + PAD) + (size_t)KEYS * (size_t)(2 * dims + PAD);
    t.tiles_per_block = many ? tiles : 1;
    for (t.t.first_row = 0; t.t.first_row < v.n_rows; t.t.first_row += a.row_tile) {
        int left = v.n_rows - t.t.first_row;
        unsigned n = (unsigned)(left < a.row_tile ? left : a.row_tile);
        if (many) {
            launch(d, scores_kernel<4>, dim3(1, groups, n), THREADS, score_bytes, t);
            launch(d, values_kernel<4, WIDE_DIMS, 2 * THREADS>, dim3(parts, groups, n), 2 * THREADS,
                   value_bytes, t);
        } else {
            launch(d, scores_kernel<1>, dim3((unsigned)tiles, groups, n), THREADS, score_bytes, t);
            launch(d, values_kernel<1, NARROW_DIMS, THREADS>, dim3(parts, groups, n), THREADS,
                   value_bytes, t);
        }
    }
}

} // namespace GPU_NAMESPACE
