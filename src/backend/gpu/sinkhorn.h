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

/* Factors of four lines, and 1 / factor: dividing a line by its sum + eps makes that the sum of its
 * first values, times the factors across it, + eps times what it was. */
struct line_factors {
    float4 inverse, factor;
};

DEVICE float line_sum(float4 line, float4 across, float before) {
    return fmaf(line.x, across.x, fmaf(line.y, across.y, before)) +
           fmaf(line.z, across.z, line.w * across.w);
}

DEVICE void normalise(float4 a, float4 b, float4 c, float4 d, float4 across, float eps,
                      line_factors *f) {
    f->inverse =
        float4{line_sum(a, across, eps * f->inverse.x), line_sum(b, across, eps * f->inverse.y),
               line_sum(c, across, eps * f->inverse.z), line_sum(d, across, eps * f->inverse.w)};
    f->factor = float4{reciprocal(f->inverse.x), reciprocal(f->inverse.y), reciprocal(f->inverse.z),
                       reciprocal(f->inverse.w)};
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
    warp_barrier();
    if (lane_index() < 16) entries[lane_index()] = p;
    warp_barrier();
    const float4 *row = (const float4 *)entries;
    float4 a = row[0], b = row[1], g = row[2], h = row[3], one = {1, 1, 1, 1};
    float4 x = {a.x, b.x, g.x, h.x}, y = {a.y, b.y, g.y, h.y}, z = {a.z, b.z, g.z, h.z};
    float4 w = {a.w, b.w, g.w, h.w};
    line_factors rows = {one, one}, columns = {one, one};
    NOT_UNROLLED
    for (int i = 0; i < iterations; i++) {
        if (i > 0) normalise(a, b, g, h, columns.factor, eps, &rows);
        normalise(x, y, z, w, rows.factor, eps, &columns);
    }
    return p * component(rows.factor, r) * component(columns.factor, c);
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

/* One warp: the matrix of a row's mixer, in place. Waits for the launch before, rehearsing
 * (hyper.cu) when it is one of few rows. */
DEVICE void sinkhorn_row(const step_view &v, float *mix, int row) {
    enum { FEW_ROWS = 16 };
    SHARED_16 float entries[16];
    int n = v.n_streams;
    float *p = mix + (size_t)row * (size_t)(n * (n + 2)) + 2 * n;
    NOT_UNROLLED
    for (int dry = n == 4 && v.n_rows <= FEW_ROWS; dry >= 0; dry--) {
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
