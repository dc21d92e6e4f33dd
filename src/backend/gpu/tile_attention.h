/* What the two files of attention on the matrix units share: rows as halves, queries, sums and
 * results. Rows whose values are exact as halves (simulated FP8); a query row's 64 heads are the
 * rows of the products: scores S = Q K', then values O = P V, each in a launch of its own. Queries
 * and P are split in two halves (activations.h).
 *
 * The order of the sums: a score is the sum of chunks of 128 lanes, chunks in order, each in steps
 * of 16 lanes, high part, then low part. P = exp(S - maximum of the head); the sum of P adds up, in
 * each lane of a warp, two neighbouring rows of every 64, then the lanes. Values take rows in steps
 * of 16, high part, then low part. */
#ifndef DS4_BACKEND_GPU_TILE_ATTENTION_H
#define DS4_BACKEND_GPU_TILE_ATTENTION_H

#include "backend/gpu/activations.h"
#include "backend/gpu/visible.h"

namespace GPU_NAMESPACE {

enum {
    KEYS = 64, /* rows are padded to so many, with P = 0 */
    PAD = 16,  /* bytes that keep rows apart */
    CHUNK_DIMS = 128,
    CHUNKS = MAX_HEAD_DIM / CHUNK_DIMS,
    SCORE_KEYS = 32,            /* rows of a tile of scores */
    SUM_STRIDE = SCORE_KEYS + 8 /* floats: no two heads in the same banks */
};

/* `scores` of a row: [heads][stride]; the last four of a head's have its maximum. */
struct tile_attention_arguments {
    attention_arguments t;
    int stride;
    int tiles;      /* of few rows: tiles of scores that a block does */
    int slots, raw; /* of many: rows kept as halves for an item; of these, uncompressed ones */
};

DEVICE float *scores_of(const tile_attention_arguments &a, int local, int head) {
    return a.t.a.partial +
           ((size_t)local * (size_t)a.t.v.n_heads + (size_t)head) * (size_t)a.stride;
}

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

DEVICE uint32_t bits_half2(uint32_t a, uint32_t b) {
    return floats_half2(bits_float(a), bits_float(b));
}

/* To 16 halves in shared memory. */
DEVICE void store_piece(const row_piece &p, uint8_t *to) {
    uint4 out[2] = {{0, 0, 0, 0}, {0, 0, 0, 0}};
    if (p.kind == 1) {
        UNROLL
        for (int i = 0; i < 2; i++) {
            const uint4 &a = p.words[2 * i], &b = p.words[2 * i + 1];
            out[i] = uint4{bits_half2(a.x, a.y), bits_half2(a.z, a.w), bits_half2(b.x, b.y),
                           bits_half2(b.z, b.w)};
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

/* Heads of the row's query as they come, a warp per head, AT_ONCE heads on their way. */
enum { QUERY_QUADS = MAX_HEAD_DIM / 4 / WARP };

template <int AT_ONCE>
DEVICE void load_queries(const attention_arguments &t, int row, int first,
                         float4 (*x)[QUERY_QUADS]) {
    const step_view &v = t.v;
    UNROLL
    for (int i = 0; i < AT_ONCE; i++) UNROLL
    for (int j = 0; j < QUERY_QUADS; j++) {
        int quad = lane_index() + WARP * j, head = first + i;
        x[i][j] = float4{0, 0, 0, 0};
        if (head < v.n_heads && 4 * quad < v.head_dim)
            x[i][j] = ((const float4 *)(t.a.q + ((size_t)row * (size_t)v.n_heads + (size_t)head) *
                                                    (size_t)v.head_dim))[quad];
    }
}

/* With unit RMS and rotary embedding, split, to heads `at` and on of
 * queries[high, low][n][D halves + PAD]. */
template <int AT_ONCE>
DEVICE void store_queries(const attention_arguments &t, int row, const float4 (*x)[QUERY_QUADS],
                          int at, int n, uint8_t *queries) {
    const step_view &v = t.v;
    int dim = v.head_dim, plain = dim - v.rope_dim, stride = 2 * dim + PAD;
    float4 angles[QUERY_QUADS];
    UNROLL
    for (int j = 0; j < QUERY_QUADS; j++) { /* on their way early */
        int d = 4 * (lane_index() + WARP * j);
        angles[j] = float4{1, 0, 1, 0};
        if (d >= plain && d < dim)
            angles[j] = *(const float4 *)(angles_of(v, t.a.ratio != 0, row) + d - plain);
    }
    UNROLL
    for (int i = 0; i < AT_ONCE; i++) {
        float squares = 0.0f;
        UNROLL
        for (int j = 0; j < QUERY_QUADS; j++) {
            squares = fmaf(x[i][j].x, x[i][j].x, squares);
            squares = fmaf(x[i][j].y, x[i][j].y, squares);
            squares = fmaf(x[i][j].z, x[i][j].z, squares);
            squares = fmaf(x[i][j].w, x[i][j].w, squares);
        }
        float scale = 1.0f / sqrtf(warp_sum(squares) / (float)dim + v.rms_eps);
        UNROLL
        for (int j = 0; j < QUERY_QUADS; j++) {
            int d = 4 * (lane_index() + WARP * j);
            if (d >= dim) continue;
            float y[4] = {x[i][j].x * scale, x[i][j].y * scale, x[i][j].z * scale,
                          x[i][j].w * scale};
            if (d >= plain) {
                rotate_pair(float2{angles[j].x, angles[j].y}, y);
                rotate_pair(float2{angles[j].z, angles[j].w}, y + 2);
            }
            uint2 high, low; /* no query is larger than sqrt(2 D) */
            split_small_pair(y[0], y[1], &high.x, &low.x);
            split_small_pair(y[2], y[3], &high.y, &low.y);
            uint8_t *to = queries + (at + i) * stride + 2 * d;
            *(uint2 *)to = high;
            *(uint2 *)(to + n * stride) = low;
        }
    }
}

/* Where load_tiles begins for the left factor: 16 rows, 16 columns. */
DEVICE const uint8_t *left_place(const uint8_t *rows, int stride) {
    int lane = lane_index();
    return rows + (lane % 8 + lane / 8 % 2 * 8) * stride + lane / 16 * 16;
}

/* P of two neighbouring rows, split, to the high and the low part; added to the head's sum. */
DEVICE void store_weights(float2 score, float top, int key, int n, float *total, uint8_t *high,
                          uint8_t *low) {
    float p0 = key < n ? quick_exp(score.x - top) : 0.0f;
    float p1 = key + 1 < n ? quick_exp(score.y - top) : 0.0f;
    *total += p0;
    *total += p1;
    split_small_pair(p0, p1, (uint32_t *)high, (uint32_t *)low);
}

/* What a head's sums are multiplied with. */
DEVICE float output_factor(float total) {
    return 1.0f / ACTIVATION_SCALE / total;
}

/* What rotates lanes d and d + 1 of a head back: cosine, sine. */
DEVICE float2 output_angle(const attention_arguments &t, int row, int d) {
    int plain = t.v.head_dim - t.v.rope_dim;
    if (d < plain || d >= t.v.head_dim) return float2{1, 0};
    float2 angle = *(const float2 *)(angles_of(t.v, t.a.ratio != 0, row) + d - plain);
    return float2{angle.x, -angle.y};
}

/* Two neighbouring lanes of a head: divided, rotated back. */
DEVICE float2 finish_output(float x0, float x1, float factor, float2 angle) {
    float x[2] = {x0 * factor, x1 * factor};
    rotate_pair(angle, x);
    return float2{x[0], x[1]};
}

/* wide_attention.cu: for many rows, whose visible rows are made halves once, when the place for
 * them suffices. */
bool wide_attention_suits(const step_view &v, const attention &a);
void wide_attention_run(device *d, tile_attention_arguments t);

} // namespace GPU_NAMESPACE

#endif
