/* IQ2_XXS: per group of 32 a scale and four rows of the code book, found for the magnitudes 1, 3
 * and 5; decoders multiply with 1, 3.125 and 5.375 (ds4_iq2_xxs_refit knows). */
#include "quant/quantize_blocks.h"

enum { BLOCK = 256, GROUP = 32, LANES = 8, N_TRIALS = 6 };

/* One group while it is fitted. */
typedef struct group {
    float v[GROUP], w[GROUP], r[GROUP]; /* magnitudes, weights and their roots */
    uint8_t rows[4], signs[4];
} group;

/* Magnitudes and signs; an odd number of minus signs is made even where it costs least. */
static void split_signs(const float *x, group *g) {
    for (unsigned k = 0; k < 4; k++) {
        unsigned bits = 0, n_negative = 0, cheapest = 0;
        float least = 0;
        for (unsigned i = LANES * k, lane = 0; lane < LANES; i++, lane++) {
            g->v[i] = x[i] >= 0 ? x[i] : -x[i];
            if (!(x[i] >= 0)) {
                n_negative++;
                bits |= 1u << lane;
            }
            float cost = g->w[i] * x[i] * x[i];
            if (lane == 0 || cost < least) {
                least = cost;
                cheapest = lane;
            }
        }
        if (n_negative % 2 == 1) {
            g->v[LANES * k + cheapest] = -g->v[LANES * k + cheapest];
            bits ^= 1u << cheapest;
        }
        g->signs[k] = bits & 127;
    }
}

/* The row for eight digits; of several near ones the one that suits the values. */
static uint8_t nearest_row(const ds4_iq2_search *search, const float digits[LANES], const float *v,
                           const float *r, float scale) {
    unsigned key = 0;
    for (unsigned lane = LANES; lane-- > 0;) key = 3 * key + (unsigned)digits[lane];
    if (search->rows[key] >= 0) return (uint8_t)search->rows[key];
    uint32_t best = search->near_begin[key];
    float least = INFINITY;
    for (uint32_t i = search->near_begin[key]; i < search->near_begin[key + 1]; i++) {
        float distance = 0;
        for (unsigned lane = 0; lane < LANES; lane++) {
            unsigned digit = search->near_digits[i] >> 2 * lane & 3;
            float difference = scale * (float)(2 * digit + 1) - v[lane];
            distance += r[lane] * difference * difference;
        }
        if (distance < least) {
            least = distance;
            best = i;
        }
    }
    return search->near_rows[best];
}

/* Rows for the values times `inverse`; sums over w of value * magnitude and of magnitude^2. */
static void choose_rows(const ds4_iq2_search *search, const group *g, float inverse, float scale,
                        uint8_t rows[4], float *sum_vq, float *sum_qq) {
    *sum_vq = *sum_qq = 0;
    for (unsigned k = 0; k < 4; k++) {
        float digits[LANES];
        for (unsigned lane = 0; lane < LANES; lane++)
            digits[lane] = ds4_round_within(0.5f * (inverse * g->v[LANES * k + lane] - 1), 0, 2);
        rows[k] = nearest_row(search, digits, g->v + LANES * k, g->r + LANES * k, scale);
        for (unsigned lane = 0; lane < LANES; lane++) {
            float q = (float)(2 * (ds4_iq2_xxs_digits[rows[k]] >> 2 * lane & 3) + 1);
            float w = g->w[LANES * k + lane];
            *sum_vq += w * g->v[LANES * k + lane] * q;
            *sum_qq += w * q * q;
        }
    }
}

/* Scale, rows and signs of a group; scale 0: nothing in it is worth a code. */
static float fit_group(const ds4_iq2_search *search, group *g) {
    uint8_t codes[GROUP];
    float high = g->v[0], a, b, best = 0;
    for (unsigned i = 1; i < GROUP; i++) high = g->v[i] > high ? g->v[i] : high;
    if (high < 1e-15f) return 0;
    float scale = ds4_fit_positive(4, GROUP, g->v, g->w, codes);
    float e = 3 * scale;
    if (!(e > 0)) return 0;
    for (int t = -N_TRIALS; t <= N_TRIALS; t++) {
        float inverse = (5 + (float)t * 0.1f) / e;
        choose_rows(search, g, inverse, 1 / inverse, g->rows, &a, &b);
        if (b > 0 && a * a > best * b) {
            scale = a / b;
            best = scale * a;
        }
    }
    if (scale > 0) {
        choose_rows(search, g, 1 / scale, scale, g->rows, &a, &b);
        if (b > 0) scale = a / b;
    }
    if (scale < 0) {
        scale = -scale;
        for (unsigned k = 0; k < 4; k++) g->signs[k] ^= 127;
    }
    return scale;
}

void ds4_iq2_xxs_finish(const float scales[8], uint32_t words[16], uint8_t *block) {
    float most = 0;
    for (unsigned g = 0; g < 8; g++) most = scales[g] > most ? scales[g] : most;
    float d = most / 31;
    if (d == 0) {
        memset(block, 0, DS4_IQ2_XXS_BYTES);
        return;
    }
    ds4_store_f16(block, d);
    float inverse = 1 / d;
    for (unsigned g = 0; g < 8; g++) {
        float code = ds4_round_within(0.5f * (inverse * scales[g] - 1), 0, 15);
        words[2 * g + 1] |= (uint32_t)code << 28;
    }
    memcpy(block + 2, words, 64);
}

void ds4_iq2_xxs_quantize(const ds4_iq2_search *search, const float *x, const float *importance,
                          uint8_t *target, size_t n_blocks) {
    for (size_t b = 0; b < n_blocks;
         b++, x += BLOCK, importance += BLOCK, target += DS4_IQ2_XXS_BYTES) {
        uint32_t words[16] = {0};
        float scales[8], sigma = 0;
        for (unsigned i = 0; i < BLOCK; i++) sigma += x[i] * x[i];
        sigma /= BLOCK;
        for (unsigned n = 0; n < 8; n++) {
            group g;
            for (unsigned i = 0; i < GROUP; i++) {
                float value = x[GROUP * n + i];
                g.w[i] = importance[GROUP * n + i] * sqrtf(sigma + value * value);
                g.r[i] = sqrtf(g.w[i]);
            }
            split_signs(x + GROUP * n, &g);
            scales[n] = fit_group(search, &g);
            for (unsigned k = 0; k < 4 && scales[n] > 0; k++) {
                words[2 * n] |= (uint32_t)g.rows[k] << 8 * k;
                words[2 * n + 1] |= (uint32_t)g.signs[k] << 7 * k;
            }
        }
        ds4_iq2_xxs_finish(scales, words, target);
    }
}
