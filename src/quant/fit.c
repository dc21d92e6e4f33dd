/* Least-squares fits of scales to small groups of values (docs/quantizers.md). Sums run over the
 * values in order, each operation rounded by itself: the bytes of a quantised file depend on it. */
#include "quant/quantize_blocks.h"

/* sum w * |scale * code + minimum - x|^p */
static float affine_loss(const ds4_affine_fit *fit, unsigned n, const float *x, const float *w,
                         const float *codes, float scale, float minimum) {
    float sum = 0;
    for (unsigned i = 0; i < n; i++) {
        float difference = scale * codes[i] + minimum - x[i];
        sum += w[i] * (fit->is_squared ? difference * difference : fabsf(difference));
    }
    return sum;
}

float ds4_fit_affine(const ds4_affine_fit *fit, unsigned n, const float *x, const float *w,
                     float *codes, float *negmin) {
    float low = x[0], high = x[0], sum_w = w[0], sum_x = w[0] * x[0];
    for (unsigned i = 1; i < n; i++) {
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
        sum_w += w[i];
        sum_x += w[i] * x[i];
    }
    low = low > 0 ? 0 : low;
    if (high == low) {
        for (unsigned i = 0; i < n; i++) codes[i] = 0;
        *negmin = -low;
        return 0;
    }
    float inverse = fit->top / (high - low), scale = 1 / inverse, minimum = low;
    for (unsigned i = 0; i < n; i++)
        codes[i] = ds4_round_within(inverse * (x[i] - low), 0, fit->top);
    float best = affine_loss(fit, n, x, w, codes, scale, low);
    for (int s = 0; s <= fit->n_trials; s++) {
        float trial[DS4_FIT_MAX], a = 0, b = 0, c = 0;
        /* `minimum` is the best one so far, not the first: part of the published algorithm. */
        inverse = (fit->first + fit->step * (float)s + fit->top) / (high - minimum);
        for (unsigned i = 0; i < n; i++) {
            trial[i] = ds4_round_within(inverse * (x[i] - minimum), 0, fit->top);
            a += w[i] * trial[i];
            b += w[i] * trial[i] * trial[i];
            c += w[i] * trial[i] * x[i];
        }
        float determinant = sum_w * b - a * a;
        if (!(determinant > 0)) continue;
        float trial_scale = (sum_w * c - sum_x * a) / determinant;
        float trial_minimum = (b * sum_x - a * c) / determinant;
        if (trial_minimum > 0) {
            trial_minimum = 0;
            trial_scale = c / b;
        }
        float loss = affine_loss(fit, n, x, w, trial, trial_scale, trial_minimum);
        if (loss < best) {
            best = loss;
            scale = trial_scale;
            minimum = trial_minimum;
            memcpy(codes, trial, n * sizeof *codes);
        }
    }
    *negmin = -minimum;
    return scale;
}

/* Codes live in a byte: a negative one wraps, as in the published algorithm. */
static float wrapped(float code) {
    return (float)(uint8_t)(int32_t)code;
}

/* min(top, nearest integer), without a lower limit but that of the rounding itself. */
static float rounded_below(float v, float top) {
    return ds4_round_within(v, -4194303.0f, top);
}

/* The inverse scale among (0.1 k + top) / high that loses least. */
static float best_inverse(float top, float high, unsigned n, const float *x, const float *w) {
    float inverse = top / high, scale = 1 / inverse, best = 0;
    for (unsigned i = 0; i < n; i++) {
        float difference =
            x[i] - scale * wrapped(ds4_round_within(inverse * x[i], -4194303.0f, 4194303.0f));
        best += w[i] * (difference * difference);
    }
    for (int k = -4; k <= 4; k++) {
        if (k == 0) continue;
        float trial = (0.1f * (float)k + top) / high, loss = 0;
        scale = 1 / trial;
        for (unsigned i = 0; i < n; i++) {
            float difference = x[i] - scale * rounded_below(trial * x[i], top);
            loss += w[i] * (difference * difference);
        }
        if (loss < best) {
            best = loss;
            inverse = trial;
        }
    }
    return inverse;
}

float ds4_fit_positive(float top, unsigned n, const float *x, const float *w, uint8_t *codes) {
    float high = 0, sum_xl = 0, sum_ll = 0;
    for (unsigned i = 0; i < n; i++) high = x[i] > high ? x[i] : high;
    if (high < 1e-15f) {
        memset(codes, 0, n);
        return 0;
    }
    float inverse = best_inverse(top, high, n, x, w);
    for (unsigned i = 0; i < n; i++) {
        float code = rounded_below(inverse * x[i], top);
        sum_xl += w[i] * x[i] * code;
        sum_ll += w[i] * code * code;
        codes[i] = (uint8_t)(int32_t)code;
    }
    bool is_changed = true;
    for (int pass = 0; pass < 5 && is_changed; pass++) {
        is_changed = false;
        for (unsigned i = 0; i < n; i++) {
            float old = (float)codes[i];
            float a = sum_xl - w[i] * x[i] * old, b = sum_ll - w[i] * old * old;
            if (!(a > 0 && b > 0)) continue;
            float code = rounded_below(x[i] * b / a, top);
            if (code == old) continue;
            a += w[i] * x[i] * code;
            b += w[i] * code * code;
            if (a * a * sum_ll > sum_xl * sum_xl * b) {
                codes[i] = (uint8_t)(int32_t)code;
                sum_xl = a;
                sum_ll = b;
                is_changed = true;
            }
        }
    }
    return sum_ll > 0 ? sum_xl / sum_ll : 0;
}

/* ---- refits ---- */

enum { BLOCK = 256, LANES = 8 };

void ds4_refit_weights(float sigma_factor, const float *x, const float *importance, float *w) {
    float sum[LANES] = {0}, sigma = 0;
    for (unsigned i = 0; i < BLOCK; i++) sum[i % LANES] += x[i] * x[i];
    for (unsigned lane = 0; lane < LANES; lane++) sigma += sum[lane];
    sigma = sigma_factor * sigma / BLOCK;
    for (unsigned i = 0; i < BLOCK; i++)
        w[i] = (importance == NULL ? 1 : importance[i]) * sqrtf(sigma + x[i] * x[i]);
}

float ds4_refit_gain(const float *x, const float *y, const float *w) {
    double xx[LANES] = {0}, xy[LANES] = {0}, sum_xx = 0, sum_xy = 0;
    for (unsigned i = 0; i < BLOCK; i++) {
        double wx = (double)w[i] * (double)x[i];
        xx[i % LANES] += wx * (double)x[i];
        xy[i % LANES] += wx * (double)y[i];
    }
    for (unsigned lane = 0; lane < LANES; lane++) sum_xx += xx[lane], sum_xy += xy[lane];
    double gain = sum_xx / sum_xy;
    return gain > 0.5 && gain < 2 ? (float)gain : 1;
}

uint16_t ds4_refit_enlarge(uint16_t scale, float gain) {
    const uint16_t least_normal = 0x0400, infinity = 0x7C00;
    uint16_t larger = ds4_f32_to_f16(ds4_f16_bits_to_f32(scale) * gain);
    return scale >= least_normal && larger < infinity ? larger : scale;
}
