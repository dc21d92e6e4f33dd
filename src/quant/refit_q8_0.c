/* Refit of Q8_0: of the scales a little above the published one, the one whose codes lose least. */
#include "quant/quantize_blocks.h"

enum { BLOCK = 32, LANES = 8, N_TRIALS = 24 };

static float code_block(const float *x, const float *w, float d, int8_t q[BLOCK]) {
    float loss[LANES] = {0}, sum = 0, inverse = d > 0 ? 1 / d : 0;
    for (unsigned i = 0; i < BLOCK; i += LANES) {
        for (unsigned lane = 0; lane < LANES; lane++) {
            float code = ds4_round_within(x[i + lane] * inverse, -127, 127);
            float difference = x[i + lane] - d * code;
            loss[lane] += w[i + lane] * (difference * difference);
            q[i + lane] = (int8_t)code;
        }
    }
    for (unsigned lane = 0; lane < LANES; lane++) sum += loss[lane];
    return sum;
}

static float present_loss(const float *x, const float *w, const uint8_t *block) {
    float loss[LANES] = {0}, sum = 0, d = ds4_f16_bits_to_f32(ds4_load_u16(block));
    for (unsigned i = 0; i < BLOCK; i++) {
        float difference = x[i] - d * (float)(int8_t)block[2 + i];
        loss[i % LANES] += w[i] * (difference * difference);
    }
    for (unsigned lane = 0; lane < LANES; lane++) sum += loss[lane];
    return sum;
}

void ds4_q8_0_refit(const float *x, const float *importance, uint8_t *block) {
    uint16_t first = ds4_load_u16(block);
    float w[BLOCK];
    for (unsigned i = 0; i < BLOCK; i++) w[i] = importance == NULL ? 1 : importance[i];
    float least = present_loss(x, w, block);
    for (unsigned step = 0; step < N_TRIALS; step++) {
        int8_t q[BLOCK];
        uint16_t bits = (uint16_t)(first + step);
        if ((bits & 0x7C00u) == 0x7C00u) return;
        float loss = code_block(x, w, ds4_f16_bits_to_f32(bits), q);
        if (!(loss < least)) continue;
        least = loss;
        memcpy(block, &bits, sizeof bits);
        memcpy(block + 2, q, sizeof q);
    }
}
