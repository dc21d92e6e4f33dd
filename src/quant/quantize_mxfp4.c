/* MXFP4: one power of two for 32 values, which become 0, 0.5, 1, 1.5, 2, 3, 4 or 6 times it. */
#include "quant/quantize_blocks.h"

enum { BLOCK = 32, LARGEST_EXPONENT = 254 };

static const float magnitudes[8] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};

/* The nearest magnitude's code; in the middle the even one, as the format's standard rounds. */
static uint8_t encode(float x, float inverse) {
    float v = fabsf(x) * inverse;
    uint8_t code = 0;
    while (code < 7) {
        float middle = (magnitudes[code] + magnitudes[code + 1]) / 2;
        if (v < middle || (v == middle && code % 2 == 0)) break;
        code++;
    }
    return x < 0 && code != 0 ? code | 8 : code;
}

/* 2^(127 - e), exact; e is 0..254. */
static float inverse_of(int e) {
    return ldexpf(1, 127 - e);
}

static float loss_of(const float *x, const float *importance, int e) {
    float sum = 0, scale = ds4_e8m0_to_f32((uint8_t)e), inverse = inverse_of(e);
    for (unsigned i = 0; i < BLOCK; i++) {
        float difference = fabsf(x[i]) - scale * magnitudes[encode(x[i], inverse) & 7];
        sum += (importance == NULL ? 1 : importance[i]) * (difference * difference);
    }
    return sum;
}

static int choose_exponent(const float *x, const float *importance, bool refit) {
    float most = 0;
    int exponent = 0;
    for (unsigned i = 0; i < BLOCK; i++) most = fabsf(x[i]) > most ? fabsf(x[i]) : most;
    if (most == 0) return 0;
    (void)frexpf(most, &exponent); /* most is in [2^(exponent-1), 2^exponent): its code is 4 or 6 */
    int e = exponent - 1 - 2 + 127;
    e = e < 0 ? 0 : e > LARGEST_EXPONENT ? LARGEST_EXPONENT : e;
    if (!refit) return e;
    int best = e;
    float least = loss_of(x, importance, e);
    for (int trial = e - 1; trial <= e + 1; trial += 2) {
        if (trial < 0 || trial > LARGEST_EXPONENT) continue;
        float loss = loss_of(x, importance, trial);
        if (loss < least) {
            least = loss;
            best = trial;
        }
    }
    return best;
}

void ds4_mxfp4_quantize(const float *x, const float *importance, bool refit, uint8_t *target,
                        size_t n_blocks) {
    for (size_t b = 0; b < n_blocks; b++, x += BLOCK, target += DS4_MXFP4_BYTES) {
        int e = choose_exponent(x, importance == NULL ? NULL : importance + BLOCK * b, refit);
        float inverse = inverse_of(e);
        target[0] = (uint8_t)e;
        for (unsigned i = 0; i < 16; i++)
            target[1 + i] = (uint8_t)(encode(x[i], inverse) | encode(x[i + 16], inverse) << 4);
    }
}
