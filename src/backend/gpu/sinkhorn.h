/* The mixer's matrix, made doubly stochastic. It is needed only at the sub-layer's end and takes a
 * while though it is tiny: so it is done by one warp beside other work (prepare.cu, experts.cu). */
#ifndef DS4_BACKEND_GPU_SINKHORN_H
#define DS4_BACKEND_GPU_SINKHORN_H

#include "backend/gpu/step.h"

namespace GPU_NAMESPACE {

/* Rows softmax, then alternating column and row normalisation; ends with columns. The fast form:
 * C = 4, one entry per lane of half a warp. */
DEVICE float sinkhorn_lane(float p, int iterations, float eps) {
    float top = fmaxf(p, warp_shuffle_xor(p, 1));
    top = fmaxf(top, warp_shuffle_xor(top, 2));
    p = expf(p - top);
    float total = p + warp_shuffle_xor(p, 1);
    total += warp_shuffle_xor(total, 2);
    p = p / total + eps;
    for (int i = 0; i < iterations; i++) {
        if (i > 0) {
            total = p + warp_shuffle_xor(p, 1);
            total += warp_shuffle_xor(total, 2);
            p /= total + eps;
        }
        total = p + warp_shuffle_xor(p, 4);
        total += warp_shuffle_xor(total, 8);
        p /= total + eps;
    }
    return p;
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

/* One warp: the matrix of a row's mixer, in place. */
DEVICE void sinkhorn_row(const step_view &v, float *mix, int row) {
    int n = v.n_streams;
    float *p = mix + (size_t)row * (size_t)(n * (n + 2)) + 2 * n;
    if (n == 4) {
        float x = sinkhorn_lane(p[lane_index() % 16], v.sinkhorn_iterations, v.hc_eps);
        if (lane_index() < 16) p[lane_index()] = x;
    } else if (lane_index() == 0) {
        sinkhorn_serial(p, n, v.sinkhorn_iterations, v.hc_eps);
    }
}

} // namespace GPU_NAMESPACE

#endif
