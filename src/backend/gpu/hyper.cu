/* Hyper-connections: what happens between sub-layers. For four streams, the usual number, x needs
 * no sum over its own columns: its sum of squares follows from the products of the streams with
 * each other, which are summed beside the mixer's. (Streams are sums of the same outputs with
 * positive weights, and so is x: they do not cancel more than x itself does.) */
#include "backend/gpu/kernels.h"

namespace GPU_NAMESPACE {

enum { THREADS = 256, SLICE = WARP /* columns of a block that mixes */ };

/* ---- hyper-connections ---- */

struct mix_arguments {
    step_view v;
    float *streams;
    const float *mix;
    sub_layer_output y;
    mixer next;
    float *partial; /* [row][slice][n_mix + 1], of four streams [HYPER_SUMS] */
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

/* Steps of warp_sum for 2 N values: a lane keeps those half of them that its bit of MASK names, and
 * gives the others away. */
template <int N, int MASK> DEVICE void fold_sums(float *sums) {
    bool upper = (lane_index() & MASK) != 0;
    UNROLL
    for (int i = 0; i < N; i++) {
        float given = upper ? sums[i] : sums[i + N], kept = upper ? sums[i + N] : sums[i];
        sums[i] = kept + warp_shuffle_xor(given, MASK);
    }
}

/* The same for one value: of all lanes that differ in the bits from MASK down. */
template <int MASK> DEVICE float lanes_sum(float v) {
    UNROLL
    for (int mask = MASK; mask > 0; mask /= 2) v += warp_shuffle_xor(v, mask);
    return v;
}

/* Four streams and at most MIXES outputs: the mixer's weights need nothing of the step and are
 * loaded first. Sums of a slice: MIXES outputs, then the products of two streams, then nothing.
 * Sum o of a warp: warp + 8 k; two are left for two of the warps. */
enum { STREAMS = 4, OUTPUTS = 3, WARPS = THREADS / WARP, MIXES = OUTPUTS * WARPS };
static_assert(MIXES + STREAMS * (STREAMS + 1) / 2 <= HYPER_SUMS, "sums of a slice");

/* The streams of product g: of each with itself, then of each with those after it. */
DEVICE int first_stream(int g) {
    return (int)(0x2110003210u >> (4 * g) & 15);
}
DEVICE int second_stream(int g) {
    return (int)(0x3323213210u >> (4 * g) & 15);
}

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

/* A lane's part of an output. */
DEVICE float mixer_part(const float *weights, const float *x) {
    float sum = weights[0] * x[0];
    UNROLL
    for (int i = 1; i < STREAMS; i++) sum = fmaf(weights[i], x[i], sum);
    return sum;
}

DEVICE float stream_product(const float (*streams)[SLICE], int g) {
    return streams[first_stream(g)][lane_index()] * streams[second_stream(g)][lane_index()];
}

/* What stream c becomes: of the last output y and of the four old ones. */
struct stream_factors {
    float y, old[STREAMS];
};

DEVICE stream_factors factors_of(const float *mix, int c) {
    stream_factors f;
    f.y = mix[STREAMS + c];
    UNROLL
    for (int j = 0; j < STREAMS; j++) f.old[j] = mix[2 * STREAMS + j * STREAMS + c];
    return f;
}

DEVICE float mixed_of_4(const stream_factors &f, float y, const float (*old_streams)[SLICE]) {
    float x = f.y * y;
    UNROLL
    for (int j = 0; j < STREAMS; j++) x = fmaf(f.old[j], old_streams[j][lane_index()], x);
    return x;
}

template <int HALF> KERNEL LAUNCH_BOUNDS(THREADS, 4) hyper_mix_4_kernel(mix_arguments a) {
    SHARED float old_streams[STREAMS][SLICE], new_streams[STREAMS][SLICE];
    const step_view &v = a.v;
    int lane = lane_index(), warp = warp_index(), n = v.n_embd;
    int row = block_y(), column = block_x() * SLICE + lane;
    bool mine = warp < STREAMS && column < n, mixing = mine && a.y.first != nullptr;
    float *stream = a.streams + ((size_t)row * STREAMS + (size_t)warp) * (size_t)n + column;
    float weights[OUTPUTS][STREAMS], y = 0.0f, x = 0.0f;
    stream_factors factors = {};
    next_launch();
    load_mixer<HALF>(a, column, weights);
    previous_launch();
    if (mine) x = *stream;
    if (mixing) {
        factors = factors_of(a.mix + (size_t)row * (STREAMS * (STREAMS + 2)), warp);
        y = column_output(a, row, column);
    }
    if (warp < STREAMS) old_streams[warp][lane] = x;
    block_barrier();
    if (mixing) *stream = x = mixed_of_4(factors, y, old_streams);
    if (warp < STREAMS) new_streams[warp][lane] = x;
    block_barrier();
    float all[STREAMS], sum[OUTPUTS + 1];
    UNROLL
    for (int i = 0; i < STREAMS; i++) all[i] = new_streams[i][lane];
    UNROLL
    for (int k = 0; k < OUTPUTS; k++) sum[k] = mixer_part(weights[k], all);
    sum[OUTPUTS] = stream_product(new_streams, warp);
    float other = stream_product(new_streams, WARPS + warp % 2);
    fold_sums<2, 16>(sum);
    fold_sums<1, 8>(sum);
    sum[0] = lanes_sum<4>(sum[0]);
    other = warp_sum(other);
    float *partial = a.partial + ((size_t)row * (size_t)HYPER_SLICES(n) + (size_t)block_x()) *
                                     (size_t)HYPER_SUMS;
    if (lane % 8 == 0) partial[warp + (lane / 16 * 2 + lane / 8 % 2) * WARPS] = sum[0];
    if (lane == 1 && warp < 2) partial[(OUTPUTS + 1) * WARPS + warp] = other;
}

/* For many rows, MANY at once, the same sums: a warp finds what the last sub-layer handed back for
 * one row, then the new streams of four, then its outputs of all; 32 sums over the lanes are folded
 * together. */
enum { MANY = WARPS, TURNS = MANY * STREAMS / WARPS };

template <int HALF> KERNEL LAUNCH_BOUNDS(THREADS, 3) hyper_mix_many_kernel(mix_arguments a) {
    enum { MIX = STREAMS * (STREAMS + 2) };
    SHARED float old_streams[MANY][STREAMS][SLICE], new_streams[MANY][STREAMS][SLICE];
    SHARED float outputs[MANY][SLICE], mixes[MANY][MIX];
    SHARED_16 float sums[MANY][HYPER_SUMS];
    const step_view &v = a.v;
    int lane = lane_index(), warp = warp_index(), n = v.n_embd;
    int column = block_x() * SLICE + lane, c = warp % STREAMS, t = thread_index();
    bool inside = column < n, mixing = a.y.first != nullptr;
    float weights[OUTPUTS][STREAMS];
    next_launch();
    if (t < MANY * 2) sums[t / 2][WARP + 2 + t % 2] = 0.0f; /* nothing */
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
                x[i] = mixed_of_4(factors_of(mixes[r], c), outputs[r][lane], old_streams[r]);
                a.streams[((size_t)(row + r) * STREAMS + (size_t)c) * (size_t)n + (size_t)column] =
                    x[i];
            }
            new_streams[r][c][lane] = x[i];
        }
        block_barrier();
        float sum[MANY * (OUTPUTS + 1)], other[2];
        UNROLL
        for (int r = 0; r < MANY; r++) {
            float all[STREAMS];
            UNROLL
            for (int i = 0; i < STREAMS; i++) all[i] = new_streams[r][i][lane];
            UNROLL
            for (int k = 0; k < OUTPUTS; k++)
                sum[r * (OUTPUTS + 1) + k] = mixer_part(weights[k], all);
            sum[r * (OUTPUTS + 1) + OUTPUTS] = stream_product(new_streams[r], warp);
        }
        UNROLL
        for (int i = 0; i < 2; i++) other[i] = stream_product(new_streams[warp], WARPS + i);
        fold_sums<16, 16>(sum);
        fold_sums<8, 8>(sum);
        fold_sums<4, 4>(sum);
        fold_sums<2, 2>(sum);
        fold_sums<1, 1>(sum);
        fold_sums<1, 16>(other);
        other[0] = lanes_sum<8>(other[0]);
        sums[lane / (OUTPUTS + 1)][warp + lane % (OUTPUTS + 1) * WARPS] = sum[0];
        if (lane % 16 == 0) sums[warp][WARP + lane / 16] = other[0];
        block_barrier();
        int r = t / (HYPER_SUMS / 4), quad = t % (HYPER_SUMS / 4);
        if (r < MANY && row + r < end)
            ((float4 *)
                 a.partial)[((size_t)(row + r) * (size_t)HYPER_SLICES(n) + (size_t)block_x()) *
                                (HYPER_SUMS / 4) +
                            (size_t)quad] = ((const float4 *)sums[r])[quad];
    }
}

static bool has_4_streams(const step_view &v, const mixer &m) {
    return v.n_streams == STREAMS && m.n_mix <= MIXES;
}

template <int HALF> static void hyper_mix(device *d, const mix_arguments &from) {
    enum { MANY_ROWS = 256, PER_BLOCK = 32 };
    mix_arguments a = from;
    int n = a.v.n_rows;
    unsigned slices = (unsigned)HYPER_SLICES(a.v.n_embd);
    a.rows_per_block = PER_BLOCK;
    if (!has_4_streams(a.v, a.next))
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

/* ---- the next sub-layer's input ---- */

struct finish_arguments {
    step_view v;
    const float *streams, *partial;
    mixer m;
    const float *norm_weight;
    float *mix;
    activation x;
    const int *rows;
    int only_pre;
    int quads;    /* of columns, that a block does */
    int rehearse; /* see hyper_finish_4_kernel */
};

DEVICE float sigmoid(float x) {
    return reciprocal(1.0f + expf(-x));
}

/* pre, post or an entry of the matrix (before sinkhorn.h): of output o, already times 1 / RMS. */
DEVICE float mixer_value(const step_view &v, int o, float output, float scale, float base) {
    float z = fmaf(output, scale, base), s = sigmoid(z);
    return o < v.n_streams ? s + v.hc_eps : o < 2 * v.n_streams ? 2.0f * s : z;
}

DEVICE int mixer_kind(const step_view &v, int o) { /* which scale output o has */
    return o < v.n_streams ? 0 : o < 2 * v.n_streams ? 1 : 2;
}

DEVICE float4 weighted(float4 sum, float w, float4 x) {
    return float4{fmaf(w, x.x, sum.x), fmaf(w, x.y, sum.y), fmaf(w, x.z, sum.z),
                  fmaf(w, x.w, sum.w)};
}

DEVICE float4 scaled(float4 x, float scale, float4 w) {
    return float4{x.x * scale * w.x, x.y * scale * w.y, x.z * scale * w.z, x.w * scale * w.w};
}

/* Any number of streams; one block per row. */
KERNEL hyper_finish_kernel(finish_arguments a) {
    SHARED float m[MAX_MIX + 1], scratch[WARP + 1];
    const step_view &v = a.v;
    next_launch();
    previous_launch();
    int row = a.rows != nullptr ? a.rows[block_x()] : block_x(), c_count = v.n_streams;
    int n_quads = v.n_embd / 4, n_mix = a.m.n_mix, slices = HYPER_SLICES(v.n_embd);
    const float4 *streams =
        (const float4 *)(a.streams + (size_t)row * (size_t)(c_count * v.n_embd));
    const float *partial = a.partial + (size_t)row * (size_t)slices * (size_t)(n_mix + 1);
    for (int o = warp_index(); o <= n_mix; o += THREADS / WARP) {
        float sum = 0.0f;
        for (int i = lane_index(); i < slices; i += WARP) sum += partial[i * (n_mix + 1) + o];
        sum = warp_sum(sum);
        if (lane_index() == 0) m[o] = sum;
    }
    block_barrier();
    float rms = inverse_root(m[n_mix] / (float)(c_count * v.n_embd) + v.rms_eps);
    block_barrier();
    for (int o = thread_index(); o < n_mix; o += THREADS) {
        m[o] = mixer_value(v, o, m[o] * rms, a.m.scale[mixer_kind(v, o)], a.m.base[o]);
        if (!a.only_pre) a.mix[(size_t)row * (size_t)n_mix + (size_t)o] = m[o];
    }
    block_barrier();
    float squares = 0.0f, scale = 0.0f;
    for (int pass = 0; pass < 2; pass++) {
        for (int quad = thread_index(); quad - lane_index() < n_quads; quad += THREADS) {
            bool inside = quad < n_quads;
            float4 x = {0, 0, 0, 0}, w = x;
            for (int c = 0; c < c_count && inside; c++)
                x = weighted(x, m[c], streams[c * n_quads + quad]);
            squares = fmaf(x.x, x.x, fmaf(x.y, x.y, fmaf(x.z, x.z, fmaf(x.w, x.w, squares))));
            if (pass == 0) continue;
            if (inside) w = ((const float4 *)a.norm_weight)[quad];
            store_quad(a.x, block_x(), quad, scaled(x, scale, w), inside);
        }
        if (pass == 0)
            scale = inverse_root(block_sum(squares, scratch) / (float)v.n_embd + v.rms_eps);
    }
}

/* Four streams. A thread adds up the sums of every GROUPS-th slice for four outputs, each warp then
 * the groups. */
enum { GROUPS = 16, SUM_QUADS = HYPER_SUMS / 4, SLICES_AT_ONCE = 8 };

DEVICE float4 add_slices(const float *partial, int slices) {
    float4 sum = {0, 0, 0, 0};
    int i = thread_index(), group = i < GROUPS * SUM_QUADS ? i / SUM_QUADS : 0x40000000;
    const float4 *from = (const float4 *)partial + i;
    NOT_UNROLLED
    do {
        float4 part[SLICES_AT_ONCE];
        UNROLL
        for (int k = 0; k < SLICES_AT_ONCE; k++) {
            part[k] = float4{0, 0, 0, 0};
            if (group + k * GROUPS < slices) part[k] = from[k * GROUPS * SUM_QUADS];
        }
        UNROLL
        for (int k = 0; k < SLICES_AT_ONCE; k++)
            sum =
                float4{sum.x + part[k].x, sum.y + part[k].y, sum.z + part[k].z, sum.w + part[k].w};
        group += SLICES_AT_ONCE * GROUPS;
        from += SLICES_AT_ONCE * GROUPS * SUM_QUADS;
    } while (group < slices);
    return sum;
}

/* Sum o is in lane o, those from 32 on in `other`: the product of two streams that a lane has. */
struct product_lane {
    int first, second;
    float times; /* that it counts */
};

DEVICE product_lane product_of_lane() {
    int lane = lane_index(), g = lane >= MIXES ? lane - MIXES : lane + WARP - MIXES;
    bool has = lane >= MIXES || lane < HYPER_SUMS - WARP - 2;
    if (!has) g = 0;
    return product_lane{first_stream(g), second_stream(g), !has ? 0.0f : g < STREAMS ? 1.0f : 2.0f};
}

/* The mixer's input is all streams. */
DEVICE float mixer_squares(float total) {
    float sum = total + warp_shuffle_xor(total, 1);
    sum += warp_shuffle_xor(sum, 2);
    return warp_shuffle(sum, MIXES);
}

DEVICE float mixed_squares(const product_lane &p, float total, float other, float value) {
    float product = lane_index() >= MIXES ? total : other;
    float x = warp_shuffle(value, p.first), y = warp_shuffle(value, p.second);
    return fmaxf(warp_sum(p.times > 0.0f ? p.times * x * y * product : 0.0f), 0.0f);
}

/* Quads of columns of a thread: of the streams, and their weights. */
template <int QUADS> struct stream_columns { float4 x[QUADS][STREAMS]; };

template <int QUADS>
DEVICE void load_columns(const float4 *streams, int n_quads, int first, int end,
                         stream_columns<QUADS> &s) {
    UNROLL
    for (int j = 0; j < QUADS; j++) UNROLL
    for (int c = 0; c < STREAMS; c++) {
        int quad = first + thread_index() + THREADS * j;
        s.x[j][c] = float4{0, 0, 0, 0};
        if (quad < end) s.x[j][c] = streams[c * n_quads + quad];
    }
}

DEVICE float4 load_weight(const finish_arguments &a, int quad, int end) {
    return quad < end ? ((const float4 *)a.norm_weight)[quad] : float4{0, 0, 0, 0};
}

/* Some columns of a row. Instructions come from memory too when a step needs them first: while the
 * block waits for the launch before, it does everything once with nothing, and stores it nowhere.
 */
template <int QUADS, int BLOCKS>
KERNEL LAUNCH_BOUNDS(THREADS, BLOCKS) hyper_finish_4_kernel(finish_arguments a) {
    enum { NOWHERE = 4 * MACRO + 64 };
    SHARED_16 float sums[GROUPS * HYPER_SUMS];
    SHARED_16 uint8_t nowhere[2 * NOWHERE];
    const step_view &v = a.v;
    next_launch();
    int row = a.rows != nullptr ? a.rows[block_y()] : block_y(), slices = HYPER_SLICES(v.n_embd);
    int lane = lane_index(), t = thread_index(), o = lane < a.m.n_mix ? lane : 0;
    int n_quads = v.n_embd / 4, begin = block_x() * a.quads;
    int end = begin + a.quads < n_quads ? begin + a.quads : n_quads;
    float scale = a.m.scale[mixer_kind(v, o)], base = a.m.base[o], each = 1.0f / (float)v.n_embd;
    product_lane product = product_of_lane();
    const float4 *streams =
        (const float4 *)(a.streams + (size_t)row * (size_t)(STREAMS * v.n_embd));
    const float *partial = a.partial + (size_t)row * (size_t)slices * HYPER_SUMS;
    float4 weight[QUADS];
    UNROLL
    for (int j = 0; j < QUADS; j++) weight[j] = load_weight(a, begin + t + THREADS * j, end);
    NOT_UNROLLED
    for (int dry = a.rehearse; dry >= 0; dry--) {
        activation to = a.x;
        if (dry) {
            to.plain = a.x.plain == nullptr ? nullptr : (float *)(nowhere + NOWHERE);
            to.split = a.x.split == nullptr ? nullptr : nowhere;
            to.width = 0;
        } else {
            block_barrier();
            previous_launch();
        }
        stream_columns<QUADS> s;
        float4 sum = add_slices(partial, dry ? 0 : slices);
        load_columns<QUADS>(streams, n_quads, begin, dry ? 0 : end, s);
        if (t < GROUPS * SUM_QUADS) ((float4 *)sums)[t] = sum;
        block_barrier();
        float total = 0.0f, other = 0.0f;
        UNROLL_8
        for (int g = 0; g < GROUPS; g++) {
            total += sums[g * HYPER_SUMS + lane];
            other += sums[g * HYPER_SUMS + WARP + lane % 4];
        }
        float rms = inverse_root(fmaf(mixer_squares(total), each / STREAMS, v.rms_eps));
        float value = mixer_value(v, o, total * rms, scale, base);
        float squares = mixed_squares(product, total, other, value), pre[STREAMS];
        float inverse = inverse_root(fmaf(squares, each, v.rms_eps));
        UNROLL
        for (int c = 0; c < STREAMS; c++) pre[c] = warp_shuffle(value, c);
        if (!dry && !a.only_pre && begin == 0 && t < a.m.n_mix)
            a.mix[(size_t)row * (size_t)a.m.n_mix + (size_t)t] = value;
        NOT_UNROLLED
        for (int first = begin; first < end; first += THREADS * QUADS) {
            if (first > begin) load_columns<QUADS>(streams, n_quads, first, end, s);
            UNROLL
            for (int j = 0; j < QUADS; j++) {
                int quad = first + t + THREADS * j;
                float4 x = {0, 0, 0, 0};
                float4 w = first > begin ? load_weight(a, quad, end) : weight[j];
                UNROLL
                for (int c = 0; c < STREAMS; c++) x = weighted(x, pre[c], s.x[j][c]);
                store_quad(to, dry ? 0 : block_y(), dry ? lane : quad, scaled(x, inverse, w),
                           dry ? t < WARP : quad < end);
            }
        }
    }
}

void hyper_finish_run(device *d, const step_view &v, const float *streams, const float *partial,
                      const mixer &m, const float *norm_weight, float *mix, const activation &x,
                      int n, const int *rows, int only_pre) {
    enum { MOST_PARTS = 16, SOME_BLOCKS = 128 };
    finish_arguments a = {v, streams, partial, m, norm_weight, mix, x, rows, only_pre, 0, 0};
    if (!has_4_streams(v, m)) {
        launch(d, hyper_finish_kernel, dim3((unsigned)n), THREADS, 0, a);
        return;
    }
    int n_quads = v.n_embd / 4, parts = SOME_BLOCKS / n;
    if (parts > MOST_PARTS) parts = MOST_PARTS;
    if (parts < 1) parts = 1;
    a.quads = (n_quads + parts - 1) / parts;
    parts = (n_quads + a.quads - 1) / a.quads;
    a.rehearse = parts > 1;
    dim3 grid((unsigned)parts, (unsigned)n);
    if (a.quads <= THREADS)
        launch(d, hyper_finish_4_kernel<1, 2>, grid, THREADS, 0, a);
    else
        launch(d, hyper_finish_4_kernel<4, 2>, grid, THREADS, 0, a);
}

} // namespace GPU_NAMESPACE
