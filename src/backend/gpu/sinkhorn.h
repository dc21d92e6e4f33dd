/* The mixer's matrix, made doubly stochastic. It is needed only at the sub-layer's end and takes a
 * while though it is tiny: so it is done by one warp beside other work (prepare.cu, experts.cu). */
#ifndef DS4_BACKEND_GPU_SINKHORN_H
#define DS4_BACKEND_GPU_SINKHORN_H

#include "backend/gpu/step.h"

namespace GPU_NAMESPACE {

/* Softmax of rows of four, one entry per lane. */
DEVICE float softmax_lane(float p, float eps) {
    float top = fmaxf(p, warp_shuffle_xor(p, 1));
    top = fmaxf(top, warp_shuffle_xor(top, 2));
    p = expf(p - top);
    float total = p + warp_shuffle_xor(p, 1);
    total += warp_shuffle_xor(total, 2);
    return fmaf(p, reciprocal(total), eps);
}

DEVICE float dot_4(float4 a, float4 b) {
    return fmaf(a.x, b.x, a.y * b.y) + fmaf(a.z, b.z, a.w * b.w);
}

/* x / (x sum + eps): what multiplies a line of sum `sum` so far, and from now on. */
DEVICE float line_factor(float x, float sum, float eps) {
    return x * reciprocal(fmaf(x, sum, eps));
}

DEVICE float component(float4 x, int i) {
    return i < 2 ? (i == 0 ? x.x : x.y) : i == 2 ? x.z : x.w;
}

/* Alternating column and row normalisation; ends with columns. An entry is its first value times a
 * factor of its row and one of its column: only those change, and each lane computes all of them.
 * `entries`: shared memory. */
DEVICE float sinkhorn_4(float p, int iterations, float eps, float *entries) {
    int r = lane_index() / 4 % 4, c = lane_index() % 4;
    p = softmax_lane(p, eps);
    if (lane_index() < 16) entries[lane_index()] = p;
    warp_barrier();
    const float4 *row = (const float4 *)entries;
    float4 a = row[0], b = row[1], g = row[2], h = row[3];
    float4 of_row = {1, 1, 1, 1}, of_column = of_row;
    NOT_UNROLLED
    for (int i = 0; i < iterations; i++) {
        if (i > 0)
            of_row = float4{line_factor(of_row.x, dot_4(a, of_column), eps),
                            line_factor(of_row.y, dot_4(b, of_column), eps),
                            line_factor(of_row.z, dot_4(g, of_column), eps),
                            line_factor(of_row.w, dot_4(h, of_column), eps)};
        of_column = float4{line_factor(of_column.x, dot_4(float4{a.x, b.x, g.x, h.x}, of_row), eps),
                           line_factor(of_column.y, dot_4(float4{a.y, b.y, g.y, h.y}, of_row), eps),
                           line_factor(of_column.z, dot_4(float4{a.z, b.z, g.z, h.z}, of_row), eps),
                           line_factor(of_column.w, dot_4(float4{a.w, b.w, g.w, h.w}, of_row), eps)};
    }
    return p * component(of_row, r) * component(of_column, c);
}

DEVICE void sinkhorn_serial(float *p, int n, int iterations, float eps) {
    for (int r = 0; r < n; r++) {
        float top = p[r * n], total = 0.0f;
        for (int k = 1; k < n; k++) top = fmaxf(top, p[r * n + k]);
        for (int k = 0; k < n; k++) total += p[r * n + k] = expf(p[r * n + k] - top);
        for (int k = 0; k < n; k++) p[r * n + k] = p[r * n + k] / total + eps;
    }
    for (int i = 0; i < iterations; i++) {
        for (int r = 0; i > 0 && r < n; r++) {
            float total = 0.0f;
            for (int k = 0; k < n; k++) total += p[r * n + k];
            for (int k = 0; k < n; k++) p[r * n + k] /= total + eps;
        }
        for (int k = 0; k < n; k++) {
            float total = 0.0f;
            for (int r = 0; r < n; r++) total += p[r * n + k];
            for (int r = 0; r < n; r++) p[r * n + k] /= total + eps;
        }
    }
}

/* One warp: the matrix of a row's mixer, in place. It must call previous_launch() here; `rehearse`:
 * do everything once before (hyper.cu). */
DEVICE void sinkhorn_row(const step_view &v, float *mix, int row, bool rehearse) {
    SHARED_16 float entries[16];
    int n = v.n_streams;
    float *p = mix + (size_t)row * (size_t)(n * (n + 2)) + 2 * n;
    NOT_UNROLLED
    for (int dry = rehearse && n == 4; dry >= 0; dry--) {
        if (!dry) previous_launch();
        if (n == 4) {
            float x = dry ? 0.0f : p[lane_index() % 16];
            x = sinkhorn_4(x, dry ? 2 : v.sinkhorn_iterations, v.hc_eps, entries);
            if (lane_index() < 16 && !dry) p[lane_index()] = x;
        } else if (lane_index() == 0) {
            sinkhorn_serial(p, n, v.sinkhorn_iterations, v.hc_eps);
        }
    }
}

} // namespace GPU_NAMESPACE

#endif
