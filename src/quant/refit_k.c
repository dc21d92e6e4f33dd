/* Refits of Q2_K and Q4_K: coordinate descent on the weighted squared error of what the decoder
 * gives back, over d and dmin as they are stored, the groups' scale codes and the value codes; then
 * the block gets its size back (ds4_refit_gain). */
#include "quant/quantize_blocks.h"

enum { BLOCK = 256, MAX_GROUPS = 16, LANES = 8, N_ROUNDS = 4 };

typedef struct k_state {
    uint16_t d, dmin; /* f16 */
    uint8_t scales[MAX_GROUPS], mins[MAX_GROUPS], q[BLOCK];
} k_state;

typedef struct k_refit {
    unsigned n_groups, n; /* n: values of a group */
    float top;
    int top_scale;
    const float *x;
    float w[BLOCK];
} k_refit;

/* Codes for one group with the scale and minimum that the decoder will use; the error they leave.
 * Lanes keep the sum's order independent of the compiler. */
static float code_group(const k_refit *r, unsigned group, float scale, float minimum, uint8_t *q) {
    const float *x = r->x + r->n * group, *w = r->w + r->n * group;
    float loss[LANES] = {0}, sum = 0, inverse = scale > 0 ? 1 / scale : 0;
    for (unsigned i = 0; i < r->n; i += LANES) {
        for (unsigned lane = 0; lane < LANES; lane++) {
            float code = ds4_round_within((x[i + lane] + minimum) * inverse, 0, r->top);
            float difference = x[i + lane] - (scale * code - minimum);
            loss[lane] += w[i + lane] * (difference * difference);
            q[i + lane] = (uint8_t)(int)code;
        }
    }
    for (unsigned lane = 0; lane < LANES; lane++) sum += loss[lane];
    return sum;
}

/* Tries the scale codes around the present ones; returns the block's error. */
static float choose_codes(const k_refit *r, k_state *s) {
    float d = ds4_f16_bits_to_f32(s->d), dmin = ds4_f16_bits_to_f32(s->dmin), total = 0;
    for (unsigned g = 0; g < r->n_groups; g++) {
        uint8_t trial[DS4_FIT_MAX];
        int scale = s->scales[g], minimum = s->mins[g];
        float best = INFINITY;
        for (int dm = -1; dm <= 1; dm++) {
            for (int ds = -1; ds <= 1; ds++) {
                int new_scale = scale + ds, new_min = minimum + dm;
                if (new_scale < 0 || new_scale > r->top_scale || new_min < 0 ||
                    new_min > r->top_scale)
                    continue;
                float loss = code_group(r, g, d * (float)new_scale, dmin * (float)new_min, trial);
                if (!(loss < best)) continue;
                best = loss;
                s->scales[g] = (uint8_t)new_scale;
                s->mins[g] = (uint8_t)new_min;
                memcpy(s->q + r->n * g, trial, r->n);
            }
        }
        total += best;
    }
    return total;
}

/* d and dmin by least squares for the present codes. */
static void solve_scales(const k_refit *r, k_state *s) {
    double aa = 0, ab = 0, bb = 0, ax = 0, bx = 0;
    for (unsigned i = 0; i < BLOCK; i++) {
        unsigned group = i / r->n;
        double a = (double)s->scales[group] * s->q[i], b = -(double)s->mins[group];
        double w = (double)r->w[i], x = (double)r->x[i];
        aa += w * a * a, ab += w * a * b, bb += w * b * b;
        ax += w * a * x, bx += w * b * x;
    }
    double determinant = aa * bb - ab * ab, d = 0, dmin = 0;
    if (determinant > 1e-12 * aa * bb) {
        d = (ax * bb - bx * ab) / determinant;
        dmin = (bx * aa - ax * ab) / determinant;
    }
    if (!(dmin > 0)) {
        dmin = 0;
        d = aa > 0 ? ax / aa : 0;
    }
    if (!(d > 0)) return;
    s->d = ds4_f32_to_f16((float)d);
    s->dmin = ds4_f32_to_f16((float)dmin);
}

static bool is_finite_f16(uint16_t bits) {
    return (bits & 0x7C00u) != 0x7C00u;
}

static float present_loss(const k_refit *r, const k_state *s) {
    float d = ds4_f16_bits_to_f32(s->d), dmin = ds4_f16_bits_to_f32(s->dmin), total = 0;
    for (unsigned i = 0; i < BLOCK; i++) {
        unsigned g = i / r->n;
        float difference =
            r->x[i] - (d * (float)s->scales[g] * (float)s->q[i] - dmin * (float)s->mins[g]);
        total += r->w[i] * (difference * difference);
    }
    return total;
}

static void descend(const k_refit *r, k_state *best) {
    float least = present_loss(r, best);
    k_state s = *best;
    for (int round = 0; round < N_ROUNDS; round++) {
        if (round > 0) solve_scales(r, &s);
        if (!is_finite_f16(s.d) || !is_finite_f16(s.dmin)) return;
        (void)choose_codes(r, &s);
        float loss = present_loss(r, &s);
        if (!(loss < least)) {
            if (round > 1) return;
            continue;
        }
        least = loss;
        *best = s;
    }
}

static void refit(k_refit *r, const ds4_k_format *format, const float *importance, k_state *s) {
    float y[BLOCK];
    ds4_refit_weights(format->sigma_factor, r->x, importance, r->w);
    descend(r, s);
    float d = ds4_f16_bits_to_f32(s->d), dmin = ds4_f16_bits_to_f32(s->dmin);
    for (unsigned i = 0; i < BLOCK; i++) {
        unsigned g = i / r->n;
        y[i] = d * (float)s->scales[g] * (float)s->q[i] - dmin * (float)s->mins[g];
    }
    float gain = ds4_refit_gain(r->x, y, r->w);
    uint16_t new_d = ds4_refit_enlarge(s->d, gain), new_min = ds4_refit_enlarge(s->dmin, gain);
    if (new_d == s->d || (new_min == s->dmin && dmin > 0)) return; /* both or none */
    s->d = new_d;
    s->dmin = new_min;
}

void ds4_q2_k_refit(const float *x, const float *importance, uint8_t *block) {
    k_refit r = {.n_groups = 16, .n = 16, .top = 3, .top_scale = 15, .x = x};
    k_state s = {.d = ds4_load_u16(block + 80), .dmin = ds4_load_u16(block + 82)};
    for (unsigned g = 0; g < 16; g++) {
        s.scales[g] = block[g] & 15;
        s.mins[g] = block[g] >> 4;
    }
    for (unsigned i = 0; i < BLOCK; i++)
        s.q[i] = block[16 + 32 * (i >> 7) + (i & 31)] >> (2 * (i >> 5 & 3)) & 3;
    refit(&r, &ds4_q2_k_format, importance, &s);
    ds4_q2_k_format.pack(s.scales, s.mins, s.q, block);
    memcpy(block + 80, &s.d, sizeof s.d);
    memcpy(block + 82, &s.dmin, sizeof s.dmin);
}

void ds4_q4_k_refit(const float *x, const float *importance, uint8_t *block) {
    k_refit r = {.n_groups = 8, .n = 32, .top = 15, .top_scale = 63, .x = x};
    k_state s = {.d = ds4_load_u16(block), .dmin = ds4_load_u16(block + 2)};
    for (unsigned g = 0; g < 8; g++) ds4_q4_k_scale_min(block + 4, g, &s.scales[g], &s.mins[g]);
    for (unsigned i = 0; i < BLOCK; i++)
        s.q[i] = block[16 + 32 * (i >> 6) + (i & 31)] >> (4 * (i >> 5 & 1)) & 15;
    refit(&r, &ds4_q4_k_format, importance, &s);
    ds4_q4_k_format.pack(s.scales, s.mins, s.q, block);
    memcpy(block, &s.d, sizeof s.d);
    memcpy(block + 2, &s.dmin, sizeof s.dmin);
}
