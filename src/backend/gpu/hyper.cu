/* Embedding, rotary angles, hyper-connections and steering: what happens between sub-layers. */
#include "backend/gpu/kernels.h"
#include "backend/gpu/rows.h"

namespace GPU_NAMESPACE {

enum { THREADS = 256, SLICE = WARP /* columns of a block of hyper_mix */ };

/* ---- embedding ---- */

struct embed_arguments {
    step_view v;
    matrix table;
    float *streams;
    const uint32_t *iq2;
};

template <int TYPE> DEVICE void embed_row(const embed_arguments &a, int row, const uint32_t *iq2) {
    typedef format<TYPE> F;
    const matrix &m = a.table;
    size_t token = (size_t)a.v.token[row];
    const uint8_t *codes = m.codes + token * m.code_stride;
    const uint8_t *scales = m.scales + token * m.scale_stride;
    float *streams = a.streams + (size_t)row * (size_t)(a.v.n_streams * a.v.n_embd);
    for (int unit = thread_index(); unit < m.n_padded / F::UNIT; unit += block_threads()) {
        unit_data u;
        F::load(u, codes, scales, unit);
        float scale = F::SCALED ? F::scale(u) : 1.0f;
        for (int q = 0; q < F::UNIT / 4; q++) {
            float4 w = F::quad(u, q, iq2);
            float x[4] = {w.x * scale, w.y * scale, w.z * scale, w.w * scale};
            for (int i = 0; i < 4; i++) {
                int k = F::first(unit, q) + i;
                for (int c = 0; c < a.v.n_streams && k < a.v.n_embd; c++)
                    streams[c * a.v.n_embd + k] = x[i];
            }
        }
    }
}

KERNEL embed_kernel(embed_arguments a) {
    next_launch();
    previous_launch();
    SHARED uint32_t grid[IQ2_GRID * WARP];
    if (a.table.type == DS4_TYPE_IQ2_XXS)
        for (int i = thread_index(); i < IQ2_GRID * WARP; i += block_threads())
            grid[i] = a.iq2[i / WARP];
    block_barrier();
    switch (a.table.type) {
    case DS4_TYPE_F32:
        embed_row<DS4_TYPE_F32>(a, block_x(), nullptr);
        break;
    case DS4_TYPE_F16:
        embed_row<DS4_TYPE_F16>(a, block_x(), nullptr);
        break;
    case DS4_TYPE_BF16:
        embed_row<DS4_TYPE_BF16>(a, block_x(), nullptr);
        break;
    case DS4_TYPE_Q8_0:
        embed_row<DS4_TYPE_Q8_0>(a, block_x(), nullptr);
        break;
    case DS4_TYPE_Q2_K:
        embed_row<DS4_TYPE_Q2_K>(a, block_x(), nullptr);
        break;
    case DS4_TYPE_Q4_K:
        embed_row<DS4_TYPE_Q4_K>(a, block_x(), nullptr);
        break;
    case DS4_TYPE_IQ2_XXS:
        embed_row<DS4_TYPE_IQ2_XXS>(a, block_x(), grid);
        break;
    case DS4_TYPE_MXFP4:
        embed_row<DS4_TYPE_MXFP4>(a, block_x(), nullptr);
        break;
    default:
        break;
    }
}

void embed_run(device *d, const step_view &v, const matrix &table, const uint32_t *iq2,
               float *streams) {
    embed_arguments a = {v, table, streams, iq2};
    launch(d, embed_kernel, dim3((unsigned)v.n_rows), 128, 0, a);
}

struct angles_arguments {
    step_view v;
    float *angles;
};

KERNEL angles_kernel(angles_arguments a) {
    next_launch();
    previous_launch();
    int pairs = a.v.rope_dim / 2, row = block_x();
    for (int i = thread_index(); i < 2 * pairs; i += block_threads()) {
        int kind = i / pairs;
        float2 angle = rope_angle(a.v, kind, i % pairs, a.v.position[row]);
        float *to = a.angles +
                    ((size_t)kind * (size_t)a.v.n_rows + (size_t)row) * (size_t)(2 * pairs) +
                    2 * (i % pairs);
        to[0] = angle.x;
        to[1] = angle.y;
    }
}

void angles_run(device *d, const step_view &v, float *angles) {
    angles_arguments a = {v, angles};
    launch(d, angles_kernel, dim3((unsigned)v.n_rows), 64, 0, a);
}

/* ---- hyper-connections ---- */

struct mix_arguments {
    step_view v;
    float *streams;
    const float *mix;
    sub_layer_output y;
    mixer next;
    float *partial; /* [row][slice][n_mix + 1] */
    int rows_per_block;
};

template <int HALF> DEVICE float mixer_weight(const void *fn, size_t at) {
    return HALF ? half_bits_to_float(((const uint16_t *)fn)[at]) : ((const float *)fn)[at];
}

/* y of a column: what the last sub-layer handed back. All loads are issued before the first sum. */
DEVICE float column_output(const mix_arguments &a, int row, int column) {
    enum { AT_ONCE = 8 };
    const step_view &v = a.v;
    const float *more =
        a.y.more + (size_t)row * (size_t)a.y.n_more * (size_t)v.n_embd + (size_t)column;
    float first = a.y.first[(size_t)row * (size_t)v.n_embd + (size_t)column], y = 0.0f;
    for (int i0 = 0; i0 < a.y.n_more; i0 += AT_ONCE) {
        float part[AT_ONCE];
        UNROLL
        for (int i = 0; i < AT_ONCE; i++)
            part[i] = i0 + i < a.y.n_more ? more[(size_t)(i0 + i) * (size_t)v.n_embd] : 0.0f;
        UNROLL
        for (int i = 0; i < AT_ONCE; i++)
            if (i0 + i < a.y.n_more) y = i0 + i == 0 ? part[i] : y + part[i];
    }
    return first + y;
}

/* What a stream's column becomes: the last output, and the old streams, mixed. */
DEVICE float mixed_column(const step_view &v, const float *mix, int c, float y,
                          const float (*old_streams)[SLICE], int lane) {
    float x = mix[v.n_streams + c] * y;
    UNROLL_8
    for (int j = 0; j < v.n_streams; j++)
        x = fmaf(mix[2 * v.n_streams + j * v.n_streams + c], old_streams[j][lane], x);
    return x;
}

/* One block: SLICE columns of all streams of a row. */
template <int HALF> KERNEL hyper_mix_kernel(mix_arguments a) {
    SHARED float old_streams[MAX_STREAMS][SLICE], new_streams[MAX_STREAMS][SLICE];
    const step_view &v = a.v;
    int row = block_y(), c_count = v.n_streams, n_mix = a.next.n_mix, lane = lane_index();
    int column = block_x() * SLICE + lane, warp = warp_index();
    bool inside = column < v.n_embd;
    size_t width = (size_t)(c_count * v.n_embd);
    float *streams = a.streams + (size_t)row * width;
    next_launch();
    previous_launch();
    float y =
        a.y.first != nullptr && inside && warp < c_count ? column_output(a, row, column) : 0.0f;
    if (warp < c_count) old_streams[warp][lane] = inside ? streams[warp * v.n_embd + column] : 0.0f;
    block_barrier();
    if (warp < c_count) {
        float x = old_streams[warp][lane];
        if (a.y.first != nullptr && inside) {
            x = mixed_column(v, a.mix + (size_t)row * (size_t)(c_count * (c_count + 2)), warp, y,
                             old_streams, lane);
            streams[warp * v.n_embd + column] = x;
        }
        new_streams[warp][lane] = x;
    }
    block_barrier();
    float *partial =
        a.partial +
        ((size_t)row * (size_t)HYPER_SLICES(v.n_embd) + (size_t)block_x()) * (size_t)(n_mix + 1);
    for (int o = warp; o <= n_mix; o += THREADS / WARP) {
        float sum = 0.0f;
        for (int c = 0; c < c_count && inside; c++) {
            float x = new_streams[c][lane], w = x;
            if (o < n_mix)
                w = mixer_weight<HALF>(a.next.fn,
                                       (size_t)o * width + (size_t)(c * v.n_embd + column));
            sum = fmaf(w, x, sum);
        }
        sum = warp_sum(sum);
        if (lane == 0) partial[o] = sum;
    }
}

/* The usual shape, four streams and at most 32 outputs: the mixer's weights need nothing of the
 * step and are loaded first. Output o of a warp: warp + 8 k. */
enum { STREAMS = 4, OUTPUTS = 4, WARPS = THREADS / WARP };

template <int HALF>
DEVICE void load_mixer(const mix_arguments &a, int column, float (*weights)[STREAMS]) {
    int n = a.v.n_embd;
    UNROLL
    for (int k = 0; k < OUTPUTS; k++) UNROLL
    for (int i = 0; i < STREAMS; i++) {
        int o = warp_index() + k * WARPS;
        weights[k][i] = o < a.next.n_mix && column < n
                            ? mixer_weight<HALF>(a.next.fn, (size_t)o * (size_t)(STREAMS * n) +
                                                                (size_t)(i * n + column))
                            : 0.0f;
    }
}

/* A lane's part of output o of a warp: o == n_mix is the sum of squares. */
DEVICE float mixer_part(const float *weights, const float *x, bool squares, bool inside) {
    float sum = 0.0f;
    UNROLL
    for (int i = 0; i < STREAMS; i++)
        if (inside) sum = fmaf(squares ? x[i] : weights[i], x[i], sum);
    return sum;
}

/* A stream's column from the four old ones; `mix` of the row. */
DEVICE float mixed_of_4(const float *mix, int c, float y, const float (*old_streams)[SLICE]) {
    float x = mix[STREAMS + c] * y;
    UNROLL
    for (int j = 0; j < STREAMS; j++)
        x = fmaf(mix[2 * STREAMS + j * STREAMS + c], old_streams[j][lane_index()], x);
    return x;
}

template <int HALF> KERNEL LAUNCH_BOUNDS(THREADS, 4) hyper_mix_4_kernel(mix_arguments a) {
    SHARED float old_streams[STREAMS][SLICE], new_streams[STREAMS][SLICE];
    const step_view &v = a.v;
    int n_mix = a.next.n_mix, lane = lane_index(), warp = warp_index(), n = v.n_embd;
    int row = block_y(), column = block_x() * SLICE + lane;
    bool inside = column < n, mine = warp < STREAMS && inside;
    float *stream = a.streams + ((size_t)row * STREAMS + (size_t)warp) * (size_t)n + column;
    float weights[OUTPUTS][STREAMS], y = 0.0f;
    next_launch();
    load_mixer<HALF>(a, column, weights);
    previous_launch();
    float x = mine ? *stream : 0.0f;
    if (mine && a.y.first != nullptr) y = column_output(a, row, column);
    if (warp < STREAMS) old_streams[warp][lane] = x;
    block_barrier();
    if (mine && a.y.first != nullptr) {
        x = mixed_of_4(a.mix + (size_t)row * (STREAMS * (STREAMS + 2)), warp, y, old_streams);
        *stream = x;
    }
    if (warp < STREAMS) new_streams[warp][lane] = x;
    block_barrier();
    float *partial = a.partial + ((size_t)row * (size_t)HYPER_SLICES(n) + (size_t)block_x()) *
                                     (size_t)(n_mix + 1);
    float all[STREAMS], sum[OUTPUTS];
    UNROLL
    for (int i = 0; i < STREAMS; i++) all[i] = new_streams[i][lane];
    UNROLL
    for (int k = 0; k < OUTPUTS; k++)
        sum[k] = mixer_part(weights[k], all, warp + k * WARPS == n_mix, inside);
    UNROLL
    for (int k = 0; k < OUTPUTS; k++) {
        int o = warp + k * WARPS;
        sum[k] = warp_sum(sum[k]);
        if (lane == 0 && o <= n_mix) partial[o] = sum[k];
    }
}

/* One step of warp_sum for 2 N values: a lane keeps those half of them that its bit of the number
 * names, and gives the others away. */
template <int N> DEVICE void fold_sums(float *sums) {
    bool upper = (lane_index() & N) != 0;
    UNROLL
    for (int i = 0; i < N; i++) {
        float given = upper ? sums[i] : sums[i + N], kept = upper ? sums[i + N] : sums[i];
        sums[i] = kept + warp_shuffle_xor(given, N);
    }
}

/* For many rows, MANY at once, the same sums: a warp finds what the last sub-layer handed back for
 * one row, then the new streams of four, then its outputs of all; 32 sums over the lanes are folded
 * together. */
enum { MANY = WARPS, TURNS = MANY * STREAMS / WARPS };

template <int HALF> KERNEL LAUNCH_BOUNDS(THREADS, 3) hyper_mix_many_kernel(mix_arguments a) {
    enum { MIX = STREAMS * (STREAMS + 2) };
    SHARED float old_streams[MANY][STREAMS][SLICE], new_streams[MANY][STREAMS][SLICE];
    SHARED float outputs[MANY][SLICE], sums[MANY][WARP], mixes[MANY][MIX];
    const step_view &v = a.v;
    int n_mix = a.next.n_mix, lane = lane_index(), warp = warp_index(), n = v.n_embd;
    int column = block_x() * SLICE + lane, c = warp % STREAMS, t = thread_index();
    bool inside = column < n, mixing = a.y.first != nullptr;
    float weights[OUTPUTS][STREAMS];
    next_launch();
    load_mixer<HALF>(a, column, weights);
    previous_launch();
    int end = (block_y() + 1) * a.rows_per_block;
    if (end > v.n_rows) end = v.n_rows;
    for (int row = block_y() * a.rows_per_block; row < end; row += MANY) {
        float x[TURNS];
        UNROLL
        for (int i = 0; i < TURNS; i++) {
            int r = row + warp / STREAMS + i * (WARPS / STREAMS);
            x[i] = r < end && inside
                       ? a.streams[((size_t)r * STREAMS + (size_t)c) * (size_t)n + (size_t)column]
                       : 0.0f;
        }
        if (mixing && t < MANY * MIX && row + t / MIX < end)
            mixes[t / MIX][t % MIX] = a.mix[(size_t)row * MIX + (size_t)t];
        if (mixing && row + warp < end && inside)
            outputs[warp][lane] = column_output(a, row + warp, column);
        UNROLL
        for (int i = 0; i < TURNS; i++)
            old_streams[warp / STREAMS + i * (WARPS / STREAMS)][c][lane] = x[i];
        block_barrier();
        UNROLL
        for (int i = 0; i < TURNS; i++) {
            int r = warp / STREAMS + i * (WARPS / STREAMS);
            if (mixing && row + r < end && inside) {
                x[i] = mixed_of_4(mixes[r], c, outputs[r][lane], old_streams[r]);
                a.streams[((size_t)(row + r) * STREAMS + (size_t)c) * (size_t)n + (size_t)column] =
                    x[i];
            }
            new_streams[r][c][lane] = x[i];
        }
        block_barrier();
        float sum[MANY * OUTPUTS];
        UNROLL
        for (int r = 0; r < MANY; r++) {
            float all[STREAMS];
            UNROLL
            for (int i = 0; i < STREAMS; i++) all[i] = new_streams[r][i][lane];
            UNROLL
            for (int k = 0; k < OUTPUTS; k++)
                sum[r * OUTPUTS + k] =
                    mixer_part(weights[k], all, warp + k * WARPS == n_mix, inside);
        }
        fold_sums<16>(sum);
        fold_sums<8>(sum);
        fold_sums<4>(sum);
        fold_sums<2>(sum);
        fold_sums<1>(sum);
        sums[lane / OUTPUTS][warp + lane % OUTPUTS * WARPS] = sum[0];
        block_barrier();
        for (int r = warp; r < MANY && row + r < end; r += WARPS)
            if (lane <= n_mix)
                a.partial[((size_t)(row + r) * (size_t)HYPER_SLICES(n) + (size_t)block_x()) *
                              (size_t)(n_mix + 1) +
                          (size_t)lane] = sums[r][lane];
    }
}

template <int HALF> static void hyper_mix(device *d, const mix_arguments &from) {
    enum { MANY_ROWS = 256, PER_BLOCK = 32 };
    mix_arguments a = from;
    int n = a.v.n_rows;
    unsigned slices = (unsigned)HYPER_SLICES(a.v.n_embd);
    a.rows_per_block = PER_BLOCK;
    if (a.v.n_streams != STREAMS || a.next.n_mix >= WARP)
        launch(d, hyper_mix_kernel<HALF>, dim3(slices, (unsigned)n), THREADS, 0, a);
    else if (n >= MANY_ROWS)
        launch(d, hyper_mix_many_kernel<HALF>,
               dim3(slices, (unsigned)((n + PER_BLOCK - 1) / PER_BLOCK)), THREADS, 0, a);
    else
        launch(d, hyper_mix_4_kernel<HALF>, dim3(slices, (unsigned)n), THREADS, 0, a);
}

void hyper_mix_run(device *d, const step_view &v, float *streams, const float *mix,
                   const sub_layer_output &y, const mixer &next, float *partial) {
    mix_arguments a = {v, streams, mix, y, next, partial, 1};
    if (next.fn_is_half)
        hyper_mix<1>(d, a);
    else
        hyper_mix<0>(d, a);
}

struct finish_arguments {
    step_view v;
    const float *streams, *partial;
    mixer m;
    const float *norm_weight;
    float *mix;
    activation x;
    const int *rows;
    int only_pre;
};

DEVICE float sigmoid(float x) {
    return 1.0f / (1.0f + expf(-x));
}

enum { FINISH_THREADS = 512 };

DEVICE float4 weighted(float4 sum, float w, float4 x) {
    return float4{fmaf(w, x.x, sum.x), fmaf(w, x.y, sum.y), fmaf(w, x.z, sum.z),
                  fmaf(w, x.w, sum.w)};
}

/* Totals of the partial products, then pre, post and the matrix before Sinkhorn, in m. */
DEVICE void finish_mixer(const finish_arguments &a, int row, float *m) {
    const step_view &v = a.v;
    int c_count = v.n_streams, n_mix = a.m.n_mix, slices = HYPER_SLICES(v.n_embd);
    const float *partial = a.partial + (size_t)row * (size_t)slices * (size_t)(n_mix + 1);
    enum { AT_ONCE = 4, OUTPUTS = 2, WARPS = FINISH_THREADS / WARP };
    for (int o0 = warp_index(); o0 <= n_mix; o0 += OUTPUTS * WARPS) {
        float sum[OUTPUTS] = {};
        for (int first = lane_index(); first < slices; first += AT_ONCE * WARP) {
            float part[OUTPUTS][AT_ONCE];
            UNROLL
            for (int j = 0; j < OUTPUTS; j++) UNROLL
            for (int k = 0; k < AT_ONCE; k++) {
                int slice = first + k * WARP, o = o0 + j * WARPS;
                part[j][k] = slice < slices && o <= n_mix ? partial[slice * (n_mix + 1) + o] : 0.0f;
            }
            UNROLL
            for (int j = 0; j < OUTPUTS; j++) UNROLL
            for (int k = 0; k < AT_ONCE; k++) sum[j] += part[j][k];
        }
        UNROLL
        for (int j = 0; j < OUTPUTS; j++) {
            int o = o0 + j * WARPS;
            sum[j] = warp_sum(sum[j]);
            if (lane_index() == 0 && o <= n_mix) m[o] = sum[j];
        }
    }
    block_barrier();
    float rms = 1.0f / sqrtf(m[n_mix] / (float)(c_count * v.n_embd) + v.rms_eps);
    block_barrier();
    for (int o = thread_index(); o < n_mix; o += FINISH_THREADS) {
        int kind = o < c_count ? 0 : o < 2 * c_count ? 1 : 2;
        float z = m[o] * rms * a.m.scale[kind] + a.m.base[o];
        m[o] = kind == 0 ? sigmoid(z) + v.hc_eps : kind == 1 ? 2.0f * sigmoid(z) : z;
    }
    block_barrier();
}

KERNEL LAUNCH_BOUNDS(FINISH_THREADS, 1) hyper_finish_kernel(finish_arguments a) {
    next_launch();
    previous_launch();
    SHARED float m[MAX_MIX + 1], scratch[WARP + 1];
    /* Quads of columns of a thread; those and the streams whose loads are issued early. */
    enum { QUADS = 8, EARLY = 2, STREAMS = 4 };
    const step_view &v = a.v;
    int row = a.rows != nullptr ? a.rows[block_x()] : block_x(), c_count = v.n_streams;
    int n_quads = v.n_embd / 4;
    const float *streams = a.streams + (size_t)row * (size_t)(c_count * v.n_embd);
    float squares = 0.0f;
    float4 early[EARLY][STREAMS], norm[EARLY], sum[QUADS];
    UNROLL
    for (int j = 0; j < EARLY; j++) {
        int quad = thread_index() + FINISH_THREADS * j;
        norm[j] = float4{0, 0, 0, 0};
        if (quad >= n_quads) continue;
        norm[j] = ((const float4 *)a.norm_weight)[quad];
        UNROLL
        for (int c = 0; c < STREAMS; c++)
            if (c < c_count) early[j][c] = ((const float4 *)(streams + c * v.n_embd))[quad];
    }
    finish_mixer(a, row, m);
    UNROLL
    for (int j = 0; j < QUADS; j++) {
        int quad = thread_index() + FINISH_THREADS * j;
        sum[j] = float4{0, 0, 0, 0};
        if (quad >= n_quads) continue;
        UNROLL
        for (int c = 0; c < STREAMS; c++)
            if (c < c_count)
                sum[j] = weighted(sum[j], m[c],
                                  j < EARLY ? early[j % EARLY][c]
                                            : ((const float4 *)(streams + c * v.n_embd))[quad]);
        for (int c = STREAMS; c < c_count; c++)
            sum[j] = weighted(sum[j], m[c], ((const float4 *)(streams + c * v.n_embd))[quad]);
        squares = fmaf(sum[j].x, sum[j].x, squares);
        squares = fmaf(sum[j].y, sum[j].y, squares);
        squares = fmaf(sum[j].z, sum[j].z, squares);
        squares = fmaf(sum[j].w, sum[j].w, squares);
    }
    float scale = 1.0f / sqrtf(block_sum(squares, scratch) / (float)v.n_embd + v.rms_eps);
    UNROLL
    for (int j = 0; j < QUADS; j++) {
        int quad = thread_index() + FINISH_THREADS * j;
        if (quad - lane_index() >= n_quads) continue;
        bool inside = quad < n_quads;
        float4 w = j < EARLY || !inside ? norm[j % EARLY] : ((const float4 *)a.norm_weight)[quad];
        store_quad(a.x, block_x(), quad,
                   float4{sum[j].x * scale * w.x, sum[j].y * scale * w.y, sum[j].z * scale * w.z,
                          sum[j].w * scale * w.w},
                   inside);
    }
    if (a.only_pre) return;
    for (int o = thread_index(); o < a.m.n_mix; o += FINISH_THREADS)
        a.mix[(size_t)row * (size_t)a.m.n_mix + (size_t)o] = m[o];
}

void hyper_finish_run(device *d, const step_view &v, const float *streams, const float *partial,
                      const mixer &m, const float *norm_weight, float *mix, const activation &x,
                      int n, const int *rows, int only_pre) {
    finish_arguments a = {v, streams, partial, m, norm_weight, mix, x, rows, only_pre};
    launch(d, hyper_finish_kernel, dim3((unsigned)n), FINISH_THREADS, 0, a);
}

/* ---- steering ---- */

struct steer_arguments {
    step_view v;
    sub_layer_output y;
    const steer_row *rows;
    float *total;
};

KERNEL steer_kernel(steer_arguments a) {
    next_launch();
    previous_launch();
    SHARED float scratch[WARP + 1];
    int row = block_x(), n = a.v.n_embd;
    const steer_row &s = a.rows[row];
    float *y = a.total + (size_t)row * (size_t)n, sum = 0.0f;
    for (int i = thread_index(); i < n; i += THREADS) {
        float more = 0.0f;
        for (int k = 0; k < a.y.n_more; k++) {
            float part =
                a.y.more[((size_t)row * (size_t)a.y.n_more + (size_t)k) * (size_t)n + (size_t)i];
            more = k == 0 ? part : more + part;
        }
        y[i] = a.y.first[(size_t)row * (size_t)n + (size_t)i] + more;
        if (s.direction != nullptr)
            sum = fmaf(s.mode == DS4_STEER_PROJECT ? s.direction[i] : y[i], y[i], sum);
    }
    sum = block_sum(sum, scratch);
    if (s.direction == nullptr) return;
    float amount = s.mode == DS4_STEER_PROJECT ? -s.scale * sum : s.scale * sqrtf(sum);
    for (int i = thread_index(); i < n; i += THREADS) y[i] = fmaf(amount, s.direction[i], y[i]);
}

void steer_run(device *d, const step_view &v, const sub_layer_output &y, const steer_row *rows,
               float *total) {
    steer_arguments a = {v, y, rows, total};
    launch(d, steer_kernel, dim3((unsigned)v.n_rows), THREADS, 0, a);
}

} // namespace GPU_NAMESPACE
