/* Between the projections and attention: norms, rotary embedding, new raw rows, and the compressed
 * rows whose windows close. */
#include "backend/gpu/kernels.h"
#include "backend/gpu/rows.h"
#include "backend/gpu/sinkhorn.h"

namespace GPU_NAMESPACE {

enum { THREADS = 256 };

struct prepare_arguments {
    step_view v;
    attention_inputs in;
};

DEVICE float rms_scale(const float *x, int n, float eps, float *scratch) {
    float squares = 0.0f;
    UNROLL_8
    for (int i = thread_index(); i < n; i += THREADS) squares = fmaf(x[i], x[i], squares);
    return 1.0f / sqrtf(block_sum(squares, scratch) / (float)n + eps);
}

DEVICE void prepare_query(const prepare_arguments &a, int row, float *scratch) {
    int n_quads = a.in.q_lora_dim / 4;
    const float *q = a.in.q_lora + (size_t)row * (size_t)a.in.q_lora_dim;
    float scale = rms_scale(q, a.in.q_lora_dim, a.v.rms_eps, scratch);
    for (int quad = thread_index(); quad - lane_index() < n_quads; quad += THREADS) {
        bool inside = quad < n_quads;
        float4 x = {0, 0, 0, 0}, w = x;
        if (inside) x = ((const float4 *)q)[quad], w = ((const float4 *)a.in.q_lora_norm)[quad];
        store_quad(
            a.in.q_low, row, quad,
            float4{x.x * scale * w.x, x.y * scale * w.y, x.z * scale * w.z, x.w * scale * w.w},
            inside);
    }
}

DEVICE void prepare_raw(const prepare_arguments &a, int row, float *work, float *scratch) {
    const step_view &v = a.v;
    float *kv = a.in.kv + (size_t)row * (size_t)v.head_dim;
    float scale = rms_scale(kv, v.head_dim, v.rms_eps, scratch);
    for (int i = thread_index(); i < v.head_dim; i += THREADS)
        work[i] = kv[i] * scale * a.in.kv_norm[i];
    block_barrier();
    int plain = v.head_dim - v.rope_dim, kind = a.in.ratio != 0;
    const float *angles =
        v.angles + ((size_t)kind * (size_t)v.n_rows + (size_t)row) * (size_t)v.rope_dim;
    for (int i = thread_index(); i < v.rope_dim / 2; i += THREADS)
        rotate_pair(float2{angles[2 * i], angles[2 * i + 1]}, work + plain + 2 * i);
    round_row(v, work, nullptr);
    block_barrier();
    const layer_state &state = state_of(v, a.in.layer, row);
    float *ring = state.raw + (size_t)(v.position[row] % v.raw_slots) * (size_t)v.head_dim;
    for (int i = thread_index(); i < v.head_dim; i += THREADS) {
        kv[i] = work[i];
        if (a.in.keep) ring[i] = work[i];
    }
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

/* Input lane of a position: of this step's rows if it is among them, else from the session's ring.
 */
DEVICE void input_at(const compressor &c, const item_info &item, int position, int lane,
                     float *value, float *gate) {
    if (position >= item.position) {
        size_t at =
            (size_t)(item.first_row + position - item.position) * (size_t)c.width + (size_t)lane;
        *value = c.value[at];
        *gate = c.gate[at] + c.ape[position % c.ratio * c.width + lane];
    } else {
        size_t at = (size_t)(position % c.n_slots) * (size_t)c.width + (size_t)lane;
        *value = c.ring_value[at];
        *gate = c.ring_gate[at];
    }
}

/* Per lane: softmax of the gates over the candidates, applied to the values. */
DEVICE float pool_lane(const compressor &c, const item_info &item, int index, int d) {
    bool overlap = c.ratio == DS4_RATIO_OVERLAP;
    int first = overlap && index > 0 ? (index - 1) * c.ratio : index * c.ratio;
    float value, gate, top = -INFINITY, weight = 0.0f, total = 0.0f;
    UNROLL_8
    for (int p = first; p < (index + 1) * c.ratio; p++) {
        int lane = overlap && p >= index * c.ratio ? c.row_width + d : d;
        input_at(c, item, p, lane, &value, &gate);
        top = fmaxf(top, gate);
    }
    UNROLL_8
    for (int p = first; p < (index + 1) * c.ratio; p++) {
        int lane = overlap && p >= index * c.ratio ? c.row_width + d : d;
        input_at(c, item, p, lane, &value, &gate);
        float e = expf(gate - top);
        weight += e;
        total = fmaf(e, value, total);
    }
    return total / weight;
}

DEVICE void close_window(const prepare_arguments &a, const compressor &c, const item_info &item,
                         int row, int indexer, float *work, float *scratch) {
    const step_view &v = a.v;
    int index = a.v.position[row] / c.ratio;
    for (int d = thread_index(); d < c.row_width; d += THREADS)
        work[d] = pool_lane(c, item, index, d);
    block_barrier();
    float scale = rms_scale(work, c.row_width, v.rms_eps, scratch);
    for (int d = thread_index(); d < c.row_width; d += THREADS)
        work[d] = work[d] * scale * c.norm[d];
    block_barrier();
    for (int i = thread_index(); i < v.rope_dim / 2; i += THREADS)
        rotate_pair(rope_angle(v, 1, i, index * c.ratio), work + c.row_width - v.rope_dim + 2 * i);
    block_barrier();
    const layer_state &state = state_of(v, a.in.layer, row);
    if (!indexer) {
        round_row(v, work, state.rows + (size_t)index * (size_t)v.row_stride);
    } else if (warp_index() == 0) {
        float x[MAX_INDEX_DIM / WARP];
        for (int j = 0; j < v.index_dim / WARP; j++) x[j] = work[lane_index() + WARP * j];
        round_index_row(v, x, state.index_rows + (size_t)index * (size_t)v.index_row_stride);
    }
}

DEVICE void keep_input(const prepare_arguments &a, const compressor &c, int row) {
    int position = a.v.position[row];
    size_t slot = (size_t)(position % c.n_slots) * (size_t)c.width;
    for (int i = thread_index(); i < c.width; i += THREADS) {
        size_t at = (size_t)row * (size_t)c.width + (size_t)i;
        c.ring_value[slot + (size_t)i] = c.value[at];
        c.ring_gate[slot + (size_t)i] = c.gate[at] + c.ape[position % c.ratio * c.width + i];
    }
}

/* block_x: what is done (0 query, 1 raw row, 2 the mixer's matrix, 3 compressor, 4 the indexer's);
 * block_y: row */
KERNEL prepare_kernel(prepare_arguments a) {
    next_launch();
    previous_launch();
    SHARED float work[MAX_HEAD_DIM], scratch[WARP + 1];
    int row = block_y(), task = block_x();
    if (task == 0) {
        prepare_query(a, row, scratch);
    } else if (task == 1) {
        prepare_raw(a, row, work, scratch);
    } else if (task == 2) {
        if (warp_index() == 0) sinkhorn_row(a.v, a.in.mix, row);
    } else {
        compressor c = compressor_of(a, row, task == 4);
        if ((a.v.position[row] + 1) % c.ratio == 0)
            close_window(a, c, a.v.items[a.v.item_of_row[row]], row, task == 4, work, scratch);
        if (a.in.keep) keep_input(a, c, row);
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
        if (left <= c.n_slots) keep_input(a, c, row);
    }
}

void keep_run(device *d, const step_view &v, const attention_inputs &in) {
    prepare_arguments a = {v, in};
    unsigned tasks = in.comp_ape == nullptr ? 1 : in.index_ape == nullptr ? 2 : 3;
    launch(d, keep_kernel, dim3(tasks, (unsigned)v.n_rows), THREADS, 0, a);
}

} // namespace GPU_NAMESPACE
