/* The fits of fit.c for sixteen groups at once; values, weights and codes lie as [value][lane]. */
#ifndef DS4_QUANT_QUANTIZE_SIMD_FIT_H
#define DS4_QUANT_QUANTIZE_SIMD_FIT_H

#include "quant/lanes.h"

enum { WIDTH = 16 };

static inline f32x16 lane_affine_loss(const ds4_affine_fit *fit, unsigned n, const float *x,
                                      const float *w, const float *codes, f32x16 scale,
                                      f32x16 minimum) {
    f32x16 sum = f_zero();
    for (unsigned i = 0; i < n; i++) {
        f32x16 d =
            f_sub(f_add(f_mul(scale, f_load(codes + WIDTH * i)), minimum), f_load(x + WIDTH * i));
        sum = f_add(sum, f_mul(f_load(w + WIDTH * i), fit->is_squared ? f_mul(d, d) : f_abs(d)));
    }
    return sum;
}

/* Scales and minima of the best trial so far, per lane. */
typedef struct lane_affine {
    f32x16 scale, minimum, best;
} lane_affine;

/* One trial of all lanes; those it betters take it over. */
static inline void lane_affine_trial(const ds4_affine_fit *fit, float offset, unsigned n,
                                     const float *x, const float *w, f32x16 high, f32x16 sum_w,
                                     f32x16 sum_x, lane_affine *state, float *codes) {
    const f32x16 zero = f_zero(), top = f_set1(fit->top);
    float trial[DS4_FIT_MAX * WIDTH];
    f32x16 inverse = f_div(f_set1(offset), f_sub(high, state->minimum));
    f32x16 a = zero, b = zero, c = zero;
    for (unsigned i = 0; i < n; i++) {
        f32x16 xi = f_load(x + WIDTH * i);
        f32x16 code = f_round_within(f_mul(inverse, f_sub(xi, state->minimum)), zero, top);
        f32x16 weighted = f_mul(f_load(w + WIDTH * i), code);
        f_store(trial + WIDTH * i, code);
        a = f_add(a, weighted);
        b = f_add(b, f_mul(weighted, code));
        c = f_add(c, f_mul(weighted, xi));
    }
    f32x16 determinant = f_sub(f_mul(sum_w, b), f_mul(a, a));
    f32x16 scale = f_div(f_sub(f_mul(sum_w, c), f_mul(sum_x, a)), determinant);
    f32x16 minimum = f_div(f_sub(f_mul(b, sum_x), f_mul(a, c)), determinant);
    m16 is_positive = m_gt(minimum, zero);
    minimum = f_select(is_positive, zero, minimum);
    scale = f_select(is_positive, f_div(c, b), scale);
    f32x16 loss = lane_affine_loss(fit, n, x, w, trial, scale, minimum);
    m16 is_better = m_and(m_gt(determinant, zero), m_gt(state->best, loss));
    if (!m_any(is_better)) return;
    state->best = f_select(is_better, loss, state->best);
    state->scale = f_select(is_better, scale, state->scale);
    state->minimum = f_select(is_better, minimum, state->minimum);
    for (unsigned i = 0; i < n; i++)
        f_store(codes + WIDTH * i,
                f_select(is_better, f_load(trial + WIDTH * i), f_load(codes + WIDTH * i)));
}

/* ds4_fit_affine: scales and negmins [lane], also the sums of weights [lane]. */
static inline void lane_fit_affine(const ds4_affine_fit *fit, unsigned n, const float *x,
                                   const float *w, float *codes, float *scales, float *negmins,
                                   float *weights) {
    const f32x16 zero = f_zero(), top = f_set1(fit->top);
    f32x16 low = f_load(x), high = low, sum_w = f_load(w), sum_x = f_mul(sum_w, low);
    for (unsigned i = 1; i < n; i++) {
        f32x16 xi = f_load(x + WIDTH * i), wi = f_load(w + WIDTH * i);
        low = f_min(xi, low);
        high = f_max(xi, high);
        sum_w = f_add(sum_w, wi);
        sum_x = f_add(sum_x, f_mul(wi, xi));
    }
    low = f_select(m_gt(low, zero), zero, low);
    m16 is_flat = m_eq(high, low);
    f32x16 inverse = f_div(top, f_sub(high, low));
    lane_affine state = {.scale = f_div(f_set1(1), inverse), .minimum = low};
    for (unsigned i = 0; i < n; i++)
        f_store(codes + WIDTH * i,
                f_round_within(f_mul(inverse, f_sub(f_load(x + WIDTH * i), low)), zero, top));
    state.best = lane_affine_loss(fit, n, x, w, codes, state.scale, low);
    for (int s = 0; s <= fit->n_trials; s++)
        lane_affine_trial(fit, fit->first + fit->step * (float)s + fit->top, n, x, w, high, sum_w,
                          sum_x, &state, codes);
    if (m_any(is_flat))
        for (unsigned i = 0; i < n; i++)
            f_store(codes + WIDTH * i, f_select(is_flat, zero, f_load(codes + WIDTH * i)));
    f_store(scales, f_select(is_flat, zero, state.scale));
    f_store(negmins, f_flip(f_select(is_flat, low, state.minimum)));
    f_store(weights, sum_w);
}

static inline f32x16 lane_round_below(f32x16 v, f32x16 top) {
    return f_round_within(v, f_set1(-4194303.0f), top);
}

static inline f32x16 lane_best_inverse(float top, f32x16 high, unsigned n, const float *x,
                                       const float *w) {
    const f32x16 one = f_set1(1), tops = f_set1(top);
    f32x16 inverse = f_div(tops, high), first = inverse, scale = f_div(one, inverse);
    f32x16 best = f_zero();
    for (unsigned i = 0; i < n; i++) {
        f32x16 xi = f_load(x + WIDTH * i);
        f32x16 code = f_wrap8(lane_round_below(f_mul(first, xi), f_set1(4194303.0f)));
        f32x16 d = f_sub(xi, f_mul(scale, code));
        best = f_add(best, f_mul(f_load(w + WIDTH * i), f_mul(d, d)));
    }
    for (int k = -4; k <= 4; k++) {
        if (k == 0) continue;
        f32x16 trial = f_div(f_set1(0.1f * (float)k + top), high), loss = f_zero();
        scale = f_div(one, trial);
        for (unsigned i = 0; i < n; i++) {
            f32x16 xi = f_load(x + WIDTH * i);
            f32x16 d = f_sub(xi, f_mul(scale, lane_round_below(f_mul(trial, xi), tops)));
            loss = f_add(loss, f_mul(f_load(w + WIDTH * i), f_mul(d, d)));
        }
        m16 is_better = m_gt(best, loss);
        best = f_select(is_better, loss, best);
        inverse = f_select(is_better, trial, inverse);
    }
    return inverse;
}

/* ds4_fit_positive: codes as [value][lane] bytes in floats; returns the scales. */
static inline f32x16 lane_fit_positive(float top, unsigned n, const float *x, const float *w,
                                       float *codes) {
    const f32x16 zero = f_zero(), tops = f_set1(top);
    f32x16 high = zero, sum_xl = zero, sum_ll = zero;
    for (unsigned i = 0; i < n; i++) high = f_max(f_load(x + WIDTH * i), high);
    m16 is_nothing = m_gt(f_set1(1e-15f), high);
    f32x16 inverse = lane_best_inverse(top, high, n, x, w);
    for (unsigned i = 0; i < n; i++) {
        f32x16 xi = f_load(x + WIDTH * i), wi = f_load(w + WIDTH * i);
        f32x16 code = lane_round_below(f_mul(inverse, xi), tops);
        sum_xl = f_add(sum_xl, f_mul(f_mul(wi, xi), code));
        sum_ll = f_add(sum_ll, f_mul(f_mul(wi, code), code));
        f_store(codes + WIDTH * i, f_wrap8(code));
    }
    bool is_changed = true;
    for (int pass = 0; pass < 5 && is_changed; pass++) {
        is_changed = false;
        for (unsigned i = 0; i < n; i++) {
            f32x16 xi = f_load(x + WIDTH * i), wi = f_load(w + WIDTH * i);
            f32x16 old = f_load(codes + WIDTH * i), wx = f_mul(wi, xi);
            f32x16 a = f_sub(sum_xl, f_mul(wx, old));
            f32x16 b = f_sub(sum_ll, f_mul(f_mul(wi, old), old));
            m16 is_open = m_and(m_gt(a, zero), m_gt(b, zero));
            f32x16 code = lane_round_below(f_div(f_mul(xi, b), a), tops);
            f32x16 grown_a = f_add(a, f_mul(wx, code));
            f32x16 grown_b = f_add(b, f_mul(f_mul(wi, code), code));
            m16 is_better =
                m_gt(f_mul(f_mul(grown_a, grown_a), sum_ll), f_mul(f_mul(sum_xl, sum_xl), grown_b));
            /* An equal code is no change. */
            m16 is_taken = m_and(m_and(is_open, is_better), m_gt(f_abs(f_sub(code, old)), zero));
            if (!m_any(is_taken)) continue;
            is_changed = true;
            f_store(codes + WIDTH * i, f_select(is_taken, f_wrap8(code), old));
            sum_xl = f_select(is_taken, grown_a, sum_xl);
            sum_ll = f_select(is_taken, grown_b, sum_ll);
        }
    }
    if (m_any(is_nothing))
        for (unsigned i = 0; i < n; i++)
            f_store(codes + WIDTH * i, f_select(is_nothing, zero, f_load(codes + WIDTH * i)));
    f32x16 scale = f_select(m_gt(sum_ll, zero), f_div(sum_xl, sum_ll), zero);
    return f_select(is_nothing, zero, scale);
}

#endif
