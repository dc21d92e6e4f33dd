/* Q2_K and Q4_K: an affine fit per group, then scales of the groups' scales, then the codes once
 * more with the scales as they are stored. */
#include "quant/quantize_blocks.h"

enum { BLOCK = 256, MAX_GROUPS = 16 };

static void pack_q2_k(const uint8_t *scales, const uint8_t *mins, const uint8_t q[256],
                      uint8_t *block) {
    for (unsigned g = 0; g < 16; g++) block[g] = (uint8_t)(scales[g] | mins[g] << 4);
    for (unsigned i = 0; i < 64; i++) {
        const uint8_t *lane = q + 128 * (i / 32) + i % 32;
        block[16 + i] = (uint8_t)(lane[0] | lane[32] << 2 | lane[64] << 4 | lane[96] << 6);
    }
}

static void pack_q4_k(const uint8_t *scales, const uint8_t *mins, const uint8_t q[256],
                      uint8_t *block) {
    uint8_t *packed = block + 4;
    for (unsigned j = 0; j < 4; j++) {
        packed[j] = (uint8_t)(scales[j] | scales[j + 4] >> 4 << 6);
        packed[j + 4] = (uint8_t)(mins[j] | mins[j + 4] >> 4 << 6);
        packed[j + 8] = (uint8_t)((scales[j + 4] & 15) | mins[j + 4] << 4);
    }
    for (unsigned i = 0; i < 128; i++) {
        const uint8_t *lane = q + 64 * (i / 32) + i % 32;
        block[16 + i] = (uint8_t)(lane[0] | lane[32] << 4);
    }
}

const ds4_k_format ds4_q2_k_format = {.n_groups = 16,
                                      .top = 3,
                                      .top_scale = 15,
                                      .sigma_factor = 1,
                                      .has_mean = false,
                                      .plain = {3, -0.5f, 0.1f, 15, false},
                                      .weighted = {3, -0.9f, 0.05f, 36, true},
                                      .n_bytes = DS4_Q2_K_BYTES,
                                      .d_at = 80,
                                      .pack = pack_q2_k};
const ds4_k_format ds4_q4_k_format = {.n_groups = 8,
                                      .top = 15,
                                      .top_scale = 63,
                                      .sigma_factor = 2,
                                      .has_mean = true,
                                      .plain = {15, -1.0f, 0.1f, 20, true},
                                      .weighted = {15, -0.9f, 0.05f, 36, true},
                                      .n_bytes = DS4_Q4_K_BYTES,
                                      .d_at = 0,
                                      .pack = pack_q4_k};

static float sum_of_squares(const float *x, unsigned n) {
    float sum = 0;
    for (unsigned i = 0; i < n; i++) sum += x[i] * x[i];
    return sum;
}

/* Scales and minima of the groups, the codes, and with an importance the groups' weights. */
static void fit_groups(const ds4_k_format *format, const float *x, const float *importance,
                       float *scales, float *negmins, float *weights, float *codes) {
    unsigned n = BLOCK / format->n_groups;
    float sigma = format->sigma_factor * sum_of_squares(x, BLOCK) / BLOCK;
    for (unsigned g = 0; g < format->n_groups; g++) {
        const float *values = x + n * g;
        float w[DS4_FIT_MAX], mean = format->has_mean ? sqrtf(sum_of_squares(values, n) / 32) : 0;
        weights[g] = 0;
        for (unsigned i = 0; i < n; i++) {
            w[i] = importance == NULL
                       ? mean + fabsf(values[i])
                       : importance[n * g + i] * sqrtf(sigma + values[i] * values[i]);
            weights[g] += w[i];
        }
        scales[g] = ds4_fit_affine(importance == NULL ? &format->plain : &format->weighted, n,
                                   values, w, codes + n * g, &negmins[g]);
    }
}

float ds4_k_scale_codes(const ds4_k_format *format, const float *scales, uint8_t *codes) {
    float most = 0;
    for (unsigned g = 0; g < format->n_groups; g++) most = scales[g] > most ? scales[g] : most;
    float inverse = most > 0 ? format->top_scale / most : 0;
    for (unsigned g = 0; g < format->n_groups; g++)
        codes[g] = (uint8_t)ds4_round_within(inverse * scales[g], 0, format->top_scale);
    return most > 0 ? most / format->top_scale : 0;
}

/* The same by a fit; `weights`: how much each group counts. */
static float weighted_scale_codes(const ds4_k_format *format, const float *scales,
                                  const float *weights, uint8_t *codes) {
    float factor = ds4_fit_positive(format->top_scale, format->n_groups, scales, weights, codes);
    for (unsigned g = 0; g < format->n_groups; g++)
        if ((float)codes[g] > format->top_scale) codes[g] = 0; /* a negative scale that wrapped */
    return factor;
}

/* d, dmin and the codes of groups with known scale codes: q holds one code per byte. */
static void code_values(const ds4_k_format *format, const float *x, const float *fitted, float d,
                        float dmin, const uint8_t *scales, const uint8_t *mins, uint8_t *q) {
    unsigned n = BLOCK / format->n_groups;
    for (unsigned g = 0; g < format->n_groups; g++) {
        float scale = d * (float)scales[g], minimum = dmin * (float)mins[g];
        for (unsigned i = n * g; i < n * (g + 1); i++)
            q[i] = scale == 0 ? (uint8_t)fitted[i]
                              : (uint8_t)ds4_round_within((x[i] + minimum) / scale, 0, format->top);
    }
}

static void quantize_block(const ds4_k_format *format, const float *x, const float *importance,
                           uint8_t *block) {
    float scales[MAX_GROUPS], negmins[MAX_GROUPS], weights[MAX_GROUPS], codes[BLOCK], d, dmin;
    uint8_t scale_codes[MAX_GROUPS], min_codes[MAX_GROUPS], q[BLOCK];
    fit_groups(format, x, importance, scales, negmins, weights, codes);
    if (importance == NULL) {
        d = ds4_k_scale_codes(format, scales, scale_codes);
        dmin = ds4_k_scale_codes(format, negmins, min_codes);
    } else {
        d = weighted_scale_codes(format, scales, weights, scale_codes);
        dmin = weighted_scale_codes(format, negmins, weights, min_codes);
    }
    ds4_store_f16(block + format->d_at, d);
    ds4_store_f16(block + format->d_at + 2, dmin);
    code_values(format, x, codes, ds4_f16_bits_to_f32(ds4_load_u16(block + format->d_at)),
                ds4_f16_bits_to_f32(ds4_load_u16(block + format->d_at + 2)), scale_codes, min_codes,
                q);
    format->pack(scale_codes, min_codes, q, block);
}

void ds4_q2_k_quantize(const float *x, const float *importance, uint8_t *target, size_t n_blocks) {
    for (size_t b = 0; b < n_blocks; b++)
        quantize_block(&ds4_q2_k_format, x + BLOCK * b,
                       importance == NULL ? NULL : importance + BLOCK * b,
                       target + DS4_Q2_K_BYTES * b);
}

void ds4_q4_k_quantize(const float *x, const float *importance, uint8_t *target, size_t n_blocks) {
    for (size_t b = 0; b < n_blocks; b++)
        quantize_block(&ds4_q4_k_format, x + BLOCK * b,
                       importance == NULL ? NULL : importance + BLOCK * b,
                       target + DS4_Q4_K_BYTES * b);
}
