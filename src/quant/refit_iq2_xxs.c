/* Refit of IQ2_XXS: with the magnitudes that decoders use (8, 25 and 43 eighths) and the scale as
 * it is stored, every row of the code book is tried for every eight values; then scale codes and
 * the block's scale follow by least squares. Repeated while it helps. */
#include "quant/quantize_blocks.h"

enum { BLOCK = 256, GROUP = 32, LANES = 8, HALF = 4, N_HALVES = 256, N_ROUNDS = 3 };

static const float magnitudes[4] = {1, 3.125f, 5.375f, 0};

typedef struct iq2_state {
    uint16_t d; /* f16 */
    uint8_t codes[8], rows[32], signs[32];
} iq2_state;

/* What a half row of four digits (two bits each) costs: its error, and the dearest-to-avoid, that
 * is cheapest, change of one sign. */
typedef struct half_costs {
    float error[N_HALVES], flip[N_HALVES];
    uint8_t lane[N_HALVES];
} half_costs;

static void cost_half(const float *x, const float *w, float scale, half_costs *costs) {
    float error[HALF][4], flip[HALF][4];
    for (unsigned lane = 0; lane < HALF; lane++) {
        float v = fabsf(x[lane]);
        for (unsigned digit = 0; digit < 3; digit++) {
            float magnitude = scale * magnitudes[digit], difference = v - magnitude;
            error[lane][digit] = w[lane] * (difference * difference);
            flip[lane][digit] = 4 * w[lane] * v * magnitude;
        }
    }
    for (unsigned half = 0; half < N_HALVES; half++) {
        unsigned cheapest = 0;
        float sum = 0, least = INFINITY;
        if ((half & half >> 1 & 0x55) != 0) continue; /* a digit 3: no row has it */
        for (unsigned lane = 0; lane < HALF; lane++) {
            unsigned digit = half >> 2 * lane & 3;
            sum += error[lane][digit];
            if (flip[lane][digit] < least) {
                least = flip[lane][digit];
                cheapest = lane;
            }
        }
        costs->error[half] = sum;
        costs->flip[half] = least;
        costs->lane[half] = (uint8_t)cheapest;
    }
}

/* The best row and signs for eight values at a scale. */
static void choose_row(const float *x, const float *w, float scale, uint8_t *row_chosen,
                       uint8_t *signs) {
    half_costs low, high;
    unsigned negative = 0, best = 0;
    float least = INFINITY;
    cost_half(x, w, scale, &low);
    cost_half(x + HALF, w + HALF, scale, &high);
    for (unsigned lane = 0; lane < LANES; lane++) negative |= (x[lane] < 0 ? 1u : 0u) << lane;
    bool is_odd = __builtin_popcount(negative) % 2 == 1;
    for (unsigned row = 0; row < 256; row++) {
        unsigned a = ds4_iq2_xxs_digits[row] & 255, b = ds4_iq2_xxs_digits[row] >> 8;
        float loss = low.error[a] + high.error[b];
        if (is_odd) loss += low.flip[a] < high.flip[b] ? low.flip[a] : high.flip[b];
        if (loss < least) {
            least = loss;
            best = row;
        }
    }
    if (is_odd) {
        unsigned a = ds4_iq2_xxs_digits[best] & 255, b = ds4_iq2_xxs_digits[best] >> 8;
        unsigned lane = low.flip[a] < high.flip[b] ? low.lane[a] : HALF + high.lane[b];
        negative ^= 1u << lane;
    }
    *row_chosen = (uint8_t)best;
    *signs = negative & 127;
}

/* What the decoder multiplies the scale with, sign included. */
static float factor_of(const iq2_state *s, unsigned i) {
    unsigned k = i / LANES, lane = i % LANES, signs = s->signs[k];
    signs |= (unsigned)(__builtin_popcount(signs) & 1) << 7;
    float magnitude = magnitudes[ds4_iq2_xxs_digits[s->rows[k]] >> 2 * lane & 3];
    return signs >> lane & 1 ? -magnitude : magnitude;
}

static float loss_of(const iq2_state *s, const float *x, const float *w) {
    float loss[LANES] = {0}, sum = 0, d = ds4_f16_bits_to_f32(s->d);
    for (unsigned i = 0; i < BLOCK; i++) {
        float difference = x[i] - d * (float)(2 * s->codes[i / GROUP] + 1) * factor_of(s, i);
        loss[i % LANES] += w[i] * (difference * difference);
    }
    for (unsigned lane = 0; lane < LANES; lane++) sum += loss[lane];
    return sum;
}

/* Scale codes for the rows, then the block's scale for both. */
static void solve_scales(iq2_state *s, const float *x, const float *w) {
    float d = ds4_f16_bits_to_f32(s->d);
    double numerator = 0, denominator = 0;
    for (unsigned g = 0; g < 8; g++) {
        double xm = 0, mm = 0;
        for (unsigned i = GROUP * g; i < GROUP * (g + 1); i++) {
            double m = (double)factor_of(s, i);
            xm += (double)w[i] * m * (double)x[i];
            mm += (double)w[i] * m * m;
        }
        if (mm > 0) {
            float ideal = (float)(xm / mm) / d;
            s->codes[g] = (uint8_t)ds4_round_within(0.5f * (ideal - 1), 0, 15);
        }
        double code = 2 * s->codes[g] + 1;
        numerator += code * xm;
        denominator += code * code * mm;
    }
    if (numerator > 0 && denominator > 0) {
        uint16_t bits = ds4_f32_to_f16((float)(numerator / denominator));
        if (bits != 0 && (bits & 0x7C00u) != 0x7C00u) s->d = bits;
    }
}

void ds4_iq2_xxs_refit(const float *x, const float *importance, uint8_t *block) {
    iq2_state best = {.d = ds4_load_u16(block)};
    float w[BLOCK];
    if (best.d == 0) return;
    for (unsigned i = 0; i < BLOCK; i++) w[i] = importance == NULL ? 1 : importance[i];
    for (unsigned g = 0; g < 8; g++) {
        uint32_t word = ds4_load_u32(block + 6 + 8 * g);
        best.codes[g] = (uint8_t)(word >> 28);
        for (unsigned k = 0; k < 4; k++) {
            best.rows[4 * g + k] = block[2 + 8 * g + k];
            best.signs[4 * g + k] = word >> 7 * k & 127;
        }
    }
    float least = loss_of(&best, x, w);
    iq2_state s = best;
    for (int round = 0; round < N_ROUNDS; round++) {
        solve_scales(&s, x, w);
        float d = ds4_f16_bits_to_f32(s.d);
        for (unsigned k = 0; k < 32; k++)
            choose_row(x + LANES * k, w + LANES * k, d * (float)(2 * s.codes[k / 4] + 1),
                       &s.rows[k], &s.signs[k]);
        float loss = loss_of(&s, x, w);
        if (!(loss < least)) break;
        least = loss;
        best = s;
    }
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
