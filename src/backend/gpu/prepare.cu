/* Between the projections and attention: norms, rotary embedding, new raw rows, and the compressed
 * rows whose windows close. */
#include "backend/gpu/kernels.h"
#include "backend/gpu/rows.h"
#include "backend/gpu/sinkhorn.h"

namespace GPU_NAMESPACE {

enum { THREADS = 512 };
static_assert(THREADS >= (int)MAX_HEAD_DIM && THREADS >= (int)MAX_INDEX_DIM, "a thread per lane");

struct prepare_arguments {
    step_view v;
    attention_inputs in;
};

/* In all of this: weights, and what is known of the step, are read before the launch before ends.
 */

/* 1 / RMS of n numbers from the squares that each thread has. */
DEVICE float rms_scale(float squares, int n, float eps, float *scratch) {
    return inverse_root(fmaf(block_sum(squares, scratch), 1.0f / (float)n, eps));
}

DEVICE float4 load_quad(const float *x, int quad, int n_quads) {
    return quad < n_quads ? ((const float4 *)x)[quad] : float4{0, 0, 0, 0};
}

DEVICE float add_squares(float sum, float4 x) {
    return fmaf(x.x, x.x, fmaf(x.y, x.y, fmaf(x.z, x.z, fmaf(x.w, x.w, sum))));
}

/* A thread's first quad stays in its registers. */
DEVICE void prepare_query(const prepare_arguments &a, int row, float *scratch) {
    int n_quads = a.in.q_lora_dim / 4, t = thread_index();
    const float *q = a.in.q_lora + (size_t)row * (size_t)a.in.q_lora_dim;
    float4 w = load_quad(a.in.q_lora_norm, t, n_quads);
    previous_launch();
    float4 x = load_quad(q, t, n_quads);
    float squares = add_squares(0.0f, x);
    NOT_UNROLLED
    for (int quad = t + THREADS; quad < n_quads; quad += THREADS)
        squares = add_squares(squares, load_quad(q, quad, n_quads));
    float scale = rms_scale(squares, a.in.q_lora_dim, a.v.rms_eps, scratch);
    NOT_UNROLLED
    for (int quad = t; quad - lane_index() < n_quads; quad += THREADS) {
        if (quad != t) {
            x = load_quad(q, quad, n_quads);
            w = load_quad(a.in.q_lora_norm, quad, n_quads);
        }
        store_quad(
            a.in.q_low, row, quad,
            float4{x.x * scale * w.x, x.y * scale * w.y, x.z * scale * w.z, x.w * scale * w.w},
            quad < n_quads);
    }
}

DEVICE void prepare_raw(const prepare_arguments &a, int row, float *work, float *scratch) {
    const step_view &v = a.v;
    int i = thread_index();
    bool inside = i < v.head_dim;
    float *kv = a.in.kv + (size_t)row * (size_t)v.head_dim;
    const layer_state &state = state_of(v, a.in.layer, row);
    float *ring = state.raw + (size_t)(v.position[row] % v.raw_slots) * (size_t)v.head_dim;
    float w = inside ? a.in.kv_norm[i] : 0.0f;
    previous_launch();
    float x = inside ? kv[i] : 0.0f;
    float scale = rms_scale(x * x, v.head_dim, v.rms_eps, scratch);
    if (inside) work[i] = x * scale * w;
    block_barrier();
    finish_row(v, work, angles_of(v, a.in.ratio != 0, row), nullptr, kv,
               a.in.keep ? ring : nullptr);
}

/* One compressor of a layer. */
struct compressor {
    const float *value, *gate, *ape, *norm; /* this step's inputs */
    float *ring_value, *ring_gate;
    int ratio, width, row_width, n_slots;
};

DEVICE compressor compressor_of(const prepare_arguments &a, int row, int indexer) {
    const layer_state &state = state_of(a.v, a.in.layer, row);
    int overlap = a.in.ratio == DS4_RATIO_OVERLAP;
    compressor c;
    c.ratio = a.in.ratio;
    c.n_slots = (overlap ? 2 * c.ratio : c.ratio) + a.v.journal;
    c.row_width = indexer ? a.v.index_dim : a.v.head_dim;
    c.width = overlap ? 2 * c.row_width : c.row_width;
    c.value = indexer ? a.in.index_value : a.in.comp_value;
    c.gate = indexer ? a.in.index_gate : a.in.comp_gate;
    c.ape = indexer ? a.in.index_ape : a.in.comp_ape;
    c.norm = indexer ? a.in.index_norm : a.in.comp_norm;
    c.ring_value = indexer ? state.index_value : state.value;
    c.ring_gate = indexer ? state.index_gate : state.gate;
    return c;
}

/* Where a window's inputs lie: of this step's rows if they are among them, else in the session's
 * ring. With overlap: the window before gives its first half of lanes, this window its second half.
 */
enum { CANDIDATES = 128 /* at once */ };

struct candidate {
    const float *value, *gate;
    const float *ape; /* NULL: the gate has it */
};

DEVICE candidate find_candidate(const compressor &c, const item_info &item, int index, int k) {
    bool overlap = c.ratio == DS4_RATIO_OVERLAP;
    int p = (overlap && index > 0 ? index - 1 : index) * c.ratio + k;
    int half = overlap && p >= index * c.ratio ? c.row_width : 0;
    candidate s;
    if (p >= item.position) {
        size_t at = (size_t)(item.first_row + p - item.position) * (size_t)c.width + (size_t)half;
        s.value = c.value + at;
        s.gate = c.gate + at;
        s.ape = c.ape + p % c.ratio * c.width + half;
    } else {
        size_t at = (size_t)(p % c.n_slots) * (size_t)c.width + (size_t)half;
        s.value = c.ring_value + at;
        s.gate = c.ring_gate + at;
        s.ape = nullptr;
    }
    return s;
}

/* Softmax of the gates, applied to the values, so far. */
struct pool {
    float top, weight, total;
};

/* Per lane; a few candidates are on their way together. */
DEVICE void pool_lane(const candidate *from, int n, int d, pool *sum) {
    enum { AT_ONCE = 8 };
    NOT_UNROLLED
    for (int k0 = 0; k0 < n; k0 += AT_ONCE) {
        float value[AT_ONCE], gate[AT_ONCE], ape[AT_ONCE], top = sum->top;
        UNROLL
        for (int k = 0; k < AT_ONCE; k++) {
            value[k] = ape[k] = 0.0f;
            gate[k] = -INFINITY;
            if (k0 + k >= n) continue;
            const candidate &s = from[k0 + k];
            value[k] = s.value[d];
            gate[k] = s.gate[d];
            if (s.ape != nullptr) ape[k] = s.ape[d];
        }
        UNROLL
        for (int k = 0; k < AT_ONCE; k++) top = fmaxf(top, gate[k] += ape[k]);
        float factor = expf(sum->top - top);
        sum->top = top;
        sum->weight *= factor;
        sum->total *= factor;
        UNROLL
        for (int k = 0; k < AT_ONCE; k++) {
            float e = expf(gate[k] - top);
            sum->weight += e;
            sum->total = fmaf(e, value[k], sum->total);
        }
    }
}

/* For a third ratio, of which there are no tables. */
DEVICE const float *make_angles(const step_view &v, int position, float *angles) {
    for (int i = thread_index(); i < v.rope_dim / 2; i += THREADS) {
        float2 angle = rope_angle(v, 1, i, position);
        angles[2 * i] = angle.x;
        angles[2 * i + 1] = angle.y;
    }
    return angles;
}

/* One warp. */
DEVICE void finish_index_row(const step_view &v, const float *row, const float *angles,
                             uint8_t *stored) {
    float x[INDEX_PARTS];
    UNROLL
    for (int j = 0; j < INDEX_PARTS; j++) {
        int i = lane_index() + WARP * j, r = i - (v.index_dim - v.rope_dim);
        x[j] = 0.0f;
        if (i >= v.index_dim) continue;
        x[j] = row[i];
        if (r < 0) continue;
        float c = angles[r / 2 * 2], s = angles[r / 2 * 2 + 1], other = row[i ^ 1];
        x[j] = r % 2 == 0 ? x[j] * c - other * s : other * s + x[j] * c;
    }
    round_index_row(v, x, stored);
}

DEVICE void close_window(const prepare_arguments &a, const compressor &c, int row, int indexer,
                         float *work, float *scratch) {
    SHARED candidate from[CANDIDATES];
    SHARED float made[MAX_HEAD_DIM];
    const step_view &v = a.v;
    const layer_state &state = state_of(v, a.in.layer, row);
    const item_info &item = v.items[v.item_of_row[row]];
    int index = v.position[row] / c.ratio, d = thread_index();
    int n = c.ratio == DS4_RATIO_OVERLAP && index > 0 ? 2 * c.ratio : c.ratio;
    bool inside = d < c.row_width;
    float norm = inside ? c.norm[d] : 0.0f;
    pool sum = {-INFINITY, 0.0f, 0.0f};
    NOT_UNROLLED
    for (int k0 = 0; k0 < n; k0 += CANDIDATES) {
        int count = n - k0 < CANDIDATES ? n - k0 : (int)CANDIDATES;
        if (k0 > 0) block_barrier();
        if (d < count) from[d] = find_candidate(c, item, index, k0 + d);
        block_barrier();
        if (k0 == 0) previous_launch();
        if (inside) pool_lane(from, count, d, &sum);
    }
    float x = inside ? sum.total * reciprocal(sum.weight) : 0.0f;
    float scale = rms_scale(x * x, c.row_width, v.rms_eps, scratch);
    x *= scale * norm;
    int kind = c.ratio == v.window_ratio[0] ? 2 : 3;
    const float *angles = angles_of(v, kind, row);
    if (c.ratio != v.window_ratio[kind - 2]) angles = make_angles(v, index * c.ratio, made);
    if (inside) work[d] = x;
    block_barrier();
    if (!indexer)
        finish_row(v, work, angles, state.rows + (size_t)index * (size_t)v.row_stride, nullptr,
                   nullptr);
    else if (warp_index() == 0)
        finish_index_row(v, work, angles,
                         state.index_rows + (size_t)index * (size_t)v.index_row_stride);
}

/* To the ring; waits for the launch before unless close_window has. */
DEVICE void keep_input(const compressor &c, int position, int row, bool waited) {
    size_t slot = (size_t)(position % c.n_slots) * (size_t)c.width;
    const float *value = c.value + (size_t)row * (size_t)c.width;
    const float *gate = c.gate + (size_t)row * (size_t)c.width;
    const float *ape = c.ape + position % c.ratio * c.width;
    int n_quads = c.width / 4, quad = thread_index();
    float4 more = load_quad(ape, quad, n_quads);
    if (!waited) previous_launch();
    NOT_UNROLLED
    for (; quad < n_quads; quad += THREADS) {
        float4 x = load_quad(gate, quad, n_quads);
        if (quad != thread_index()) more = load_quad(ape, quad, n_quads);
        ((float4 *)(c.ring_value + slot))[quad] = load_quad(value, quad, n_quads);
        ((float4 *)(c.ring_gate + slot))[quad] =
            float4{x.x + more.x, x.y + more.y, x.z + more.z, x.w + more.w};
    }
}

/* block_x: what is done (0 query, 1 raw row, 2 the mixer's matrix, 3 compressor, 4 the indexer's);
 * block_y: row */
KERNEL LAUNCH_BOUNDS(THREADS, 2) prepare_kernel(ARGUMENTS prepare_arguments a) {
    next_launch();
    SHARED float work[MAX_HEAD_DIM], scratch[WARP];
    int row = block_y(), task = block_x();
    if (task == 0) {
        prepare_query(a, row, scratch);
    } else if (task == 1) {
        prepare_raw(a, row, work, scratch);
    } else if (task == 2) {
        if (warp_index() == 0)
            sinkhorn_row(a.v, a.in.mix, row);
        else
            previous_launch();
    } else {
        compressor c = compressor_of(a, row, task == 4);
        int position = a.v.position[row];
        bool closes = (position + 1) % c.ratio == 0;
        if (closes) close_window(a, c, row, task == 4, work, scratch);
        if (a.in.keep)
            keep_input(c, position, row, closes);
        else if (!closes)
            previous_launch();
    }
}

void prepare_run(device *d, const step_view &v, const attention_inputs &in) {
    prepare_arguments a = {v, in};
    unsigned tasks = in.comp_ape == nullptr ? 3 : in.index_ape == nullptr ? 4 : 5;
    launch(d, prepare_kernel, dim3(tasks, (unsigned)v.n_rows), THREADS, 0, a);
}

/* The same tasks, only what the rings get: of an item, the last rows that they have slots for. */
KERNEL keep_kernel(prepare_arguments a) {
    next_launch();
    previous_launch();
    int row = block_y(), task = block_x();
    const item_info &item = a.v.items[a.v.item_of_row[row]];
    int left = item.first_row + item.n - row; /* rows of the item from this one on */
    if (task == 0) {
        if (left > a.v.raw_slots) return;
        const layer_state &state = state_of(a.v, a.in.layer, row);
        float *ring =
            state.raw + (size_t)(a.v.position[row] % a.v.raw_slots) * (size_t)a.v.head_dim;
        for (int i = thread_index(); i < a.v.head_dim; i += THREADS)
            ring[i] = a.in.kv[(size_t)row * (size_t)a.v.head_dim + (size_t)i];
    } else {
        compressor c = compressor_of(a, row, task == 2);
        if (left <= c.n_slots) keep_input(c, a.v.position[row], row, true);
    }
}

void keep_run(device *d, const step_view &v, const attention_inputs &in) {
    prepare_arguments a = {v, in};
    unsigned tasks = in.comp_ape == nullptr ? 1 : in.index_ape == nullptr ? 2 : 3;
    launch(d, keep_kernel, dim3(tasks, (unsigned)v.n_rows), THREADS, 0, a);
}

} // namespace GPU_NAMESPACE
