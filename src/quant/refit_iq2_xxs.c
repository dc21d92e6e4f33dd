/* Refit of IQ2_XXS: with the magnitudes that decoders use (8, 25 and 43 eighths) and the scale as
 * it is stored, every row of the code book is tried for every eight values; then scale codes and
 * the block's scale follow by least squares. Repeated while it helps; then the block gets its size
 * back (ds4_refit_gain). */
#include "quant/quantize_blocks.h"

enum { BLOCK = 256, GROUP = 32, LANES = 8, HALF = 4, N_ROUNDS = 3 };

static const float magnitudes[4] = {1, 3.125f, 5.375f, 0};

typedef struct iq2_state {
    uint16_t d; /* f16 */
    uint8_t codes[8], rows[32], signs[32];
} iq2_state;

void ds4_iq2_row_costs(const float *x, const float *w, float scale, float error[8][4],
                       float flip[8][4]) {
    for (unsigned lane = 0; lane < LANES; lane++) {
        float v = fabsf(x[lane]);
        for (unsigned digit = 0; digit < 4; digit++) {
            float magnitude = scale * magnitudes[digit], difference = v - magnitude;
            error[lane][digit] = w[lane] * (difference * difference);
            flip[lane][digit] = 4 * w[lane] * v * magnitude;
        }
    }
}

/* What a row costs: the errors of its halves; when a sign must change, the cheapest change too. */
static float row_cost(float error[8][4], float flip[8][4], unsigned row, bool is_odd) {
    unsigned digits = ds4_iq2_xxs_digits[row];
    float halves[2], least = INFINITY;
    for (unsigned half = 0; half < 2; half++) {
        halves[half] = error[HALF * half][digits >> 8 * half & 3];
        for (unsigned lane = HALF * half + 1; lane < HALF * (half + 1); lane++)
            halves[half] += error[lane][digits >> 2 * lane & 3];
    }
    for (unsigned lane = 0; lane < LANES && is_odd; lane++) {
        float cost = flip[lane][digits >> 2 * lane & 3];
        least = cost < least ? cost : least;
    }
    return is_odd ? halves[0] + halves[1] + least : halves[0] + halves[1];
}

unsigned ds4_iq2_best_row(float error[8][4], float flip[8][4], bool is_odd) {
    unsigned best = 0;
    float least = INFINITY;
    for (unsigned row = 0; row < 256; row++) {
        float cost = row_cost(error, flip, row, is_odd);
        if (!(cost < least)) continue;
        least = cost;
        best = row;
    }
    return best;
}

/* The best row and signs for eight values at a scale. */
static void choose_row(ds4_iq2_best_row_fn best_row, const float *x, const float *w, float scale,
                       uint8_t *row_chosen, uint8_t *signs) {
    float error[8][4], flip[8][4];
    unsigned negative = 0, cheapest = 0;
    ds4_iq2_row_costs(x, w, scale, error, flip);
    for (unsigned lane = 0; lane < LANES; lane++) negative |= (x[lane] < 0 ? 1u : 0u) << lane;
    bool is_odd = __builtin_popcount(negative) % 2 == 1;
    unsigned row = best_row(error, flip, is_odd), digits = ds4_iq2_xxs_digits[row];
    for (unsigned lane = 1; lane < LANES; lane++)
        if (flip[lane][digits >> 2 * lane & 3] < flip[cheapest][digits >> 2 * cheapest & 3])
            cheapest = lane;
    if (is_odd) negative ^= 1u << cheapest;
    *row_chosen = (uint8_t)row;
    *signs = negative & 127;
}

/* What the decoder multiplies the scales with, signs included. */
static void factors_of(const iq2_state *s, float factors[BLOCK]) {
    for (unsigned k = 0; k < BLOCK / LANES; k++) {
        unsigned digits = ds4_iq2_xxs_digits[s->rows[k]], signs = s->signs[k];
        signs |= (unsigned)(__builtin_popcount(signs) & 1) << 7;
        for (unsigned lane = 0; lane < LANES; lane++) {
            float magnitude = magnitudes[digits >> 2 * lane & 3];
            factors[LANES * k + lane] = signs >> lane & 1 ? -magnitude : magnitude;
        }
    }
}

static float loss_of(const iq2_state *s, const float *factors, const float *x, const float *w) {
    float loss[LANES] = {0}, sum = 0, d = ds4_f16_bits_to_f32(s->d);
    for (unsigned i = 0; i < BLOCK; i += LANES) {
        unsigned group = i / GROUP;
        float scale = d * (float)(2 * s->codes[group] + 1);
        for (unsigned lane = 0; lane < LANES; lane++) {
            float difference = x[i + lane] - scale * factors[i + lane];
            loss[lane] += w[i + lane] * (difference * difference);
        }
    }
    for (unsigned lane = 0; lane < LANES; lane++) sum += loss[lane];
    return sum;
}

/* Scale codes for the rows, then the block's scale for both. */
static void solve_scales(iq2_state *s, const float *factors, const float *x, const float *w) {
    float d = ds4_f16_bits_to_f32(s->d);
    double numerator = 0, denominator = 0;
    for (unsigned g = 0; g < 8; g++) {
        double xm[LANES] = {0}, mm[LANES] = {0}, sum_xm = 0, sum_mm = 0;
        for (unsigned i = GROUP * g; i < GROUP * (g + 1); i++) {
            double m = (double)factors[i], wm = (double)w[i] * m;
            xm[i % LANES] += wm * (double)x[i];
            mm[i % LANES] += wm * m;
        }
        for (unsigned lane = 0; lane < LANES; lane++) sum_xm += xm[lane], sum_mm += mm[lane];
        if (sum_mm > 0) {
            float ideal = (float)(sum_xm / sum_mm) / d;
            s->codes[g] = (uint8_t)ds4_round_within(0.5f * (ideal - 1), 0, 15);
        }
        double code = 2 * s->codes[g] + 1;
        numerator += code * sum_xm;
        denominator += code * code * sum_mm;
    }
    if (numerator > 0 && denominator > 0) {
        uint16_t bits = ds4_f32_to_f16((float)(numerator / denominator));
        if (bits != 0 && (bits & 0x7C00u) != 0x7C00u) s->d = bits;
    }
}

static void restore_size(iq2_state *s, const float *x, const float *w) {
    float y[BLOCK], d = ds4_f16_bits_to_f32(s->d);
    factors_of(s, y);
    for (unsigned i = 0; i < BLOCK; i++) {
        unsigned group = i / GROUP;
        y[i] *= d * (float)(2 * s->codes[group] + 1);
    }
    s->d = ds4_refit_enlarge(s->d, ds4_refit_gain(x, y, w));
}

void ds4_iq2_xxs_refit(ds4_iq2_best_row_fn best_row, const float *x, const float *importance,
                       uint8_t *block) {
    iq2_state best = {.d = ds4_load_u16(block)};
    float w[BLOCK], factors[BLOCK];
    if (best.d == 0) return;
    ds4_refit_weights(1, x, importance, w);
    for (unsigned g = 0; g < 8; g++) {
        uint32_t word = ds4_load_u32(block + 6 + 8 * g);
        best.codes[g] = (uint8_t)(word >> 28);
        for (unsigned k = 0; k < 4; k++) {
            best.rows[4 * g + k] = block[2 + 8 * g + k];
            best.signs[4 * g + k] = word >> 7 * k & 127;
        }
    }
    factors_of(&best, factors);
    float least = loss_of(&best, factors, x, w);
    iq2_state s = best;
    for (int round = 0; round < N_ROUNDS; round++) {
        solve_scales(&s, factors, x, w);
        float d = ds4_f16_bits_to_f32(s.d);
        for (unsigned k = 0; k < 32; k++) {
            unsigned group = k / 4;
            choose_row(best_row, x + LANES * k, w + LANES * k, d * (float)(2 * s.codes[group] + 1),
                       &s.rows[k], &s.signs[k]);
        }
        factors_of(&s, factors);
        float loss = loss_of(&s, factors, x, w);
        if (!(loss < least)) break;
        least = loss;
        best = s;
    }
    restore_size(&best, x, w);
    memcpy(block, &best.d, sizeof best.d);
    for (unsigned g = 0; g < 8; g++) {
        uint32_t word = (uint32_t)best.codes[g] << 28;
        for (unsigned k = 0; k < 4; k++) {
            block[2 + 8 * g + k] = best.rows[4 * g + k];
            word |= (uint32_t)best.signs[4 * g + k] << 7 * k;
        }
        memcpy(block + 6 + 8 * g, &word, sizeof word);
    }
}
