/* IQ2_XXS: sixteen groups, two blocks, at once; the nearest row among up to sixteen candidates at
 * once. */
#ifndef DS4_QUANT_QUANTIZE_SIMD_IQ2_H
#define DS4_QUANT_QUANTIZE_SIMD_IQ2_H

#include "quant/quantize_simd_fit.h"

enum { IQ2_BLOCK = 256, IQ2_GROUP = 32, IQ2_TRIALS = 6 };

typedef struct iq2_batch {
    float v[IQ2_GROUP * WIDTH], w[IQ2_GROUP * WIDTH]; /* as [value][lane] */
    /* Magnitude and root of the weight of each value four times, as [lane][value][4]: beside the
     * distances of the digits. */
    float v4[WIDTH * IQ2_GROUP * 4], r4[WIDTH * IQ2_GROUP * 4];
    float q[IQ2_GROUP * WIDTH]; /* of the rows at hand */
    uint8_t rows[WIDTH * 4], signs[WIDTH * 4];
} iq2_batch;

/* Of one group: magnitudes with an even number of minus signs, weights and roots. */
static inline void iq2_load_group(iq2_batch *s, unsigned lane, const float *x,
                                  const float *importance, float sigma) {
    float v[IQ2_GROUP], w[IQ2_GROUP], r[IQ2_GROUP];
    for (unsigned i = 0; i < IQ2_GROUP; i += WIDTH) {
        f32x16 xi = f_load(x + i);
        f32x16 wi = f_mul(f_load(importance + i), f_sqrt(f_add(f_set1(sigma), f_mul(xi, xi))));
        f_store(w + i, wi);
        f_store(r + i, f_sqrt(wi));
        f_store(v + i, f_abs(xi));
    }
    for (unsigned k = 0; k < 4; k++) {
        unsigned bits = 0, cheapest = 0;
        float least = 0;
        for (unsigned i = 8 * k, j = 0; j < 8; i++, j++) {
            float cost = w[i] * x[i] * x[i];
            bits |= (x[i] >= 0 ? 0u : 1u) << j;
            if (j == 0 || cost < least) {
                least = cost;
                cheapest = j;
            }
        }
        if (__builtin_popcount(bits) % 2 == 1) {
            v[8 * k + cheapest] = -v[8 * k + cheapest];
            bits ^= 1u << cheapest;
        }
        s->signs[4 * lane + k] = bits & 127;
    }
    for (unsigned i = 0; i < IQ2_GROUP; i++) {
        s->v[WIDTH * i + lane] = v[i];
        s->w[WIDTH * i + lane] = w[i];
        for (unsigned j = 0; j < 4; j++) {
            s->v4[4 * (IQ2_GROUP * lane + i) + j] = v[i];
            s->r4[4 * (IQ2_GROUP * lane + i) + j] = r[i];
        }
    }
}

/* The candidate at the least distance, the first of equals. */
static inline uint32_t iq2_nearest(const ds4_iq2_search *search, uint32_t begin, uint32_t end,
                                   const float *v4, const float *r4, float scale) {
    static const float factors[WIDTH] = {1, 3, 5, 0, 1, 3, 5, 0, 1, 3, 5, 0, 1, 3, 5, 0};
    float terms[32];
    f32x16 reached = f_mul(f_set1(scale), f_load(factors)), best = f_set1(INFINITY);
    f32x16 from = f_zero(); /* where in the list the best of each lane began */
    for (unsigned half = 0; half < 2; half++) {
        f32x16 d = f_sub(reached, f_load(v4 + WIDTH * half));
        f_store(terms + WIDTH * half, f_mul(f_mul(f_load(r4 + WIDTH * half), d), d));
    }
    for (uint32_t at = begin; at < end; at += WIDTH) {
        i32x16 digits = i_load_u16(search->near_digits + at);
        f32x16 distance = f_lut4(terms, digits);
        for (unsigned i = 1; i < 8; i++)
            distance = f_add(distance, f_lut4(terms + 4 * i, i_shift(digits, 2 * i)));
        m16 is_better = m_and(m_first(end - at), m_gt(best, distance));
        best = f_select(is_better, distance, best);
        from = f_select(is_better, f_set1((float)(at - begin)), from);
    }
    unsigned lanes = m_bits(m_eq(best, f_set1(f_least(best))));
    if (lanes == 0) return begin; /* no distance is a number */
    unsigned lane = (unsigned)__builtin_ctz(lanes);
    if (end - begin <= WIDTH) return begin + lane < end ? begin + lane : begin;
    float starts[WIDTH];
    uint32_t first = UINT32_MAX;
    f_store(starts, from);
    for (; lanes != 0; lanes &= lanes - 1) {
        lane = (unsigned)__builtin_ctz(lanes);
        uint32_t place = (uint32_t)starts[lane] + lane;
        first = place < first ? place : first;
    }
    return begin + first < end ? begin + first : begin;
}

/* Rows of all lanes for their values times `inverse`; the sums of fit.c's choose_rows. */
static inline void iq2_choose_rows(const ds4_iq2_search *search, iq2_batch *s, f32x16 inverse,
                                   const float *scales, unsigned wanted, f32x16 *sum_vq,
                                   f32x16 *sum_qq) {
    const f32x16 zero = f_zero(), one = f_set1(1), two = f_set1(2), half = f_set1(0.5f);
    for (unsigned k = 0; k < 4; k++) {
        float keys[WIDTH];
        f32x16 key = zero;
        for (unsigned i = 8 * k + 8; i-- > 8 * k;) {
            f32x16 scaled = f_mul(half, f_sub(f_mul(inverse, f_load(s->v + WIDTH * i)), one));
            key = f_add(f_mul(key, f_set1(3)), f_round_within(scaled, zero, two));
        }
        f_store(keys, key);
        for (unsigned lane = 0; lane < WIDTH; lane++) {
            if (!(wanted >> lane & 1)) continue;
            unsigned index = (unsigned)keys[lane], at = 4 * (IQ2_GROUP * lane + 8 * k);
            int row = search->rows[index];
            if (row < 0)
                row = search->near_rows[iq2_nearest(search, search->near_begin[index],
                                                    search->near_begin[index + 1], s->v4 + at,
                                                    s->r4 + at, scales[lane])];
            s->rows[4 * lane + k] = (uint8_t)row;
            for (unsigned i = 0; i < 8; i++)
                s->q[WIDTH * (8 * k + i) + lane] =
                    (float)(2 * (ds4_iq2_xxs_digits[row] >> 2 * i & 3) + 1);
        }
    }
    *sum_vq = *sum_qq = zero;
    for (unsigned i = 0; i < IQ2_GROUP; i++) {
        f32x16 q = f_load(s->q + WIDTH * i), w = f_load(s->w + WIDTH * i);
        *sum_vq = f_add(*sum_vq, f_mul(f_mul(w, f_load(s->v + WIDTH * i)), q));
        *sum_qq = f_add(*sum_qq, f_mul(f_mul(w, q), q));
    }
}

/* Scales of all lanes; rows and signs are left in the batch. */
static inline void iq2_fit(const ds4_iq2_search *search, iq2_batch *s, float out[WIDTH]) {
    const f32x16 zero = f_zero();
    float codes[IQ2_GROUP * WIDTH], tried[WIDTH];
    f32x16 high = f_load(s->v), best = zero, a, b;
    for (unsigned i = 1; i < IQ2_GROUP; i++) high = f_max(f_load(s->v + WIDTH * i), high);
    f32x16 scale = lane_fit_positive(4, IQ2_GROUP, s->v, s->w, codes);
    f32x16 e = f_mul(f_set1(3), scale);
    m16 is_fit = m_gt(e, zero);
    unsigned wanted = m_bits(is_fit) & ~m_bits(m_gt(f_set1(1e-15f), high));
    for (int t = -IQ2_TRIALS; t <= IQ2_TRIALS && wanted != 0; t++) {
        f32x16 inverse = f_div(f_set1(5 + (float)t * 0.1f), e);
        f_store(tried, f_div(f_set1(1), inverse));
        iq2_choose_rows(search, s, inverse, tried, wanted, &a, &b);
        m16 is_better = m_and(m_gt(b, zero), m_gt(f_mul(a, a), f_mul(best, b)));
        scale = f_select(is_better, f_div(a, b), scale);
        best = f_select(is_better, f_mul(scale, a), best);
    }
    const unsigned fitted = wanted, last = wanted & m_bits(m_gt(scale, zero));
    f_store(tried, scale);
    f_store(out, scale);
    iq2_choose_rows(search, s, f_div(f_set1(1), scale), tried, last, &a, &b);
    unsigned changed = last & m_bits(m_gt(b, zero));
    f_store(tried, f_div(a, b));
    for (unsigned lane = 0; lane < WIDTH; lane++) {
        if (changed >> lane & 1) out[lane] = tried[lane];
        if (!(fitted >> lane & 1)) out[lane] = 0;
        if (!(out[lane] < 0)) continue;
        out[lane] = -out[lane];
        for (unsigned k = 0; k < 4; k++) s->signs[4 * lane + k] ^= 127;
    }
}

/* ds4_iq2_best_row: sixteen rows at once. */
static unsigned simd_iq2_best_row(float error[8][4], float flip[8][4], bool is_odd) {
    f32x16 best = f_set1(INFINITY), from = f_zero();
    for (unsigned at = 0; at < 256; at += WIDTH) {
        i32x16 digits = i_load_u16(ds4_iq2_xxs_digits + at), high = i_shift(digits, 8);
        f32x16 low_cost = f_lut4(error[0], digits), high_cost = f_lut4(error[4], high);
        for (unsigned i = 1; i < 4; i++) {
            low_cost = f_add(low_cost, f_lut4(error[i], i_shift(digits, 2 * i)));
            high_cost = f_add(high_cost, f_lut4(error[4 + i], i_shift(high, 2 * i)));
        }
        f32x16 cost = f_add(low_cost, high_cost);
        if (is_odd) {
            f32x16 least = f_min(f_lut4(flip[0], digits), f_set1(INFINITY));
            for (unsigned i = 1; i < 8; i++)
                least = f_min(f_lut4(flip[i], i_shift(digits, 2 * i)), least);
            cost = f_add(cost, least);
        }
        m16 is_better = m_gt(best, cost);
        best = f_select(is_better, cost, best);
        from = f_select(is_better, f_set1((float)at), from);
    }
    float costs[WIDTH], starts[WIDTH], least = f_least(best);
    unsigned first = 256;
    f_store(costs, best);
    f_store(starts, from);
    for (unsigned lane = 0; lane < WIDTH; lane++) {
        unsigned row = (unsigned)starts[lane] + lane;
        if (costs[lane] == least && row < first) first = row;
    }
    return isfinite(least) && first < 256 ? first : 0;
}

static void simd_iq2_xxs(const ds4_iq2_search *search, const float *x, const float *importance,
                         uint8_t *target, size_t n_blocks) {
    iq2_batch s;
    memset(&s, 0, sizeof s);
    for (size_t at = 0; at < n_blocks; at += 2) {
        size_t n = n_blocks - at < 2 ? 1 : 2;
        float scales[WIDTH], sigma[2] = {0, 0};
        const float *second = x + (n == 2 ? IQ2_BLOCK : 0);
        for (unsigned i = 0; i < IQ2_BLOCK; i++) {
            sigma[0] += x[i] * x[i];
            sigma[1] += second[i] * second[i];
        }
        for (unsigned lane = 0; lane < 8 * n; lane++)
            iq2_load_group(&s, lane, x + IQ2_GROUP * lane, importance + IQ2_GROUP * lane,
                           sigma[lane / 8] / IQ2_BLOCK);
        iq2_fit(search, &s, scales);
        for (size_t b = 0; b < n;
             b++, x += IQ2_BLOCK, importance += IQ2_BLOCK, target += DS4_IQ2_XXS_BYTES) {
            uint32_t words[16] = {0};
            for (unsigned g = 0; g < 8; g++) {
                const unsigned lane = (unsigned)(8 * b + g);
                for (unsigned k = 0; k < 4 && scales[lane] > 0; k++) {
                    words[2 * g] |= (uint32_t)s.rows[4 * lane + k] << 8 * k;
                    words[2 * g + 1] |= (uint32_t)s.signs[4 * lane + k] << 7 * k;
                }
            }
            ds4_iq2_xxs_finish(scales + 8 * b, words, target);
        }
    }
}

#endif
