/* What comes before the first layer, embedding and rotary angles, and after a sub-layer: steering.
 */
#include "backend/gpu/kernels.h"
#include "backend/gpu/rows.h"

namespace GPU_NAMESPACE {

enum { THREADS = 256 };

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
    const step_view &v = a.v;
    int pairs = v.rope_dim / 2, row = block_x();
    for (int i = thread_index(); i < ANGLE_KINDS * pairs; i += block_threads()) {
        int kind = i / pairs, position = v.position[row];
        if (kind > 1) position -= position % v.window_ratio[kind - 2];
        float2 angle = rope_angle(v, kind > 0, i % pairs, position);
        float *to = a.angles +
                    ((size_t)kind * (size_t)v.n_rows + (size_t)row) * (size_t)v.rope_dim +
                    2 * (i % pairs);
        to[0] = angle.x;
        to[1] = angle.y;
    }
}

void angles_run(device *d, const step_view &v, float *angles) {
    angles_arguments a = {v, angles};
    launch(d, angles_kernel, dim3((unsigned)v.n_rows), 128, 0, a);
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
