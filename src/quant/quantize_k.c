/* Q2_K and Q4_K: an affine fit per group, then scales of the groups' scales, then the codes once
 * more with the scales as they are stored. */
#include "quant/quantize_blocks.h"

enum { BLOCK = 256, MAX_GROUPS = 16 };

/* What tells the two formats apart. */
typedef struct k_format {
    unsigned n_groups;
    float top, top_scale; /* largest code, largest scale of a group */
    float sigma_factor;   /* with an importance: w = importance * sqrt(factor * mean + x^2) */
    ds4_affine_fit plain, weighted;
} k_format;

static const k_format q2_k = {.n_groups = 16,
                              .top = 3,
                              .top_scale = 15,
                              .sigma_factor = 1,
                              .plain = {3, -0.5f, 0.1f, 15, false},
                              .weighted = {3, -0.9f, 0.05f, 36, true}};
static const k_format q4_k = {.n_groups = 8,
                              .top = 15,
                              .top_scale = 63,
                              .sigma_factor = 2,
                              .plain = {15, -1.0f, 0.1f, 20, true},
                              .weighted = {15, -0.9f, 0.05f, 36, true}};

static float sum_of_squares(const float *x, unsigned n) {
    float sum = 0;
    for (unsigned i = 0; i < n; i++) sum += x[i] * x[i];
    return sum;
}

/* Scales and minima of the groups, the codes, and with an importance the groups' weights. */
static void fit_groups(const k_format *format, const float *x, const float *importance,
                       float *scales, float *negmins, float *weights, float *codes) {
    unsigned n = BLOCK / format->n_groups;
    float sigma = format->sigma_factor * sum_of_squares(x, BLOCK) / BLOCK;
    for (unsigned g = 0; g < format->n_groups; g++) {
        const float *values = x + n * g;
        float w[DS4_FIT_MAX], mean = format == &q4_k ? sqrtf(sum_of_squares(values, n) / 32) : 0;
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

/* Codes 0..top_scale for the groups' scales (or minima), and their common factor. */
static float scale_codes(const k_format *format, const float *scales, const float *weights,
                         uint8_t *codes) {
    float most = 0;
    if (weights != NULL) {
        float factor =
            ds4_fit_positive(format->top_scale, format->n_groups, scales, weights, codes);
        for (unsigned g = 0; g < format->n_groups; g++)
            if (codes[g] > format->top_scale) codes[g] = 0; /* a negative scale that wrapped */
        return factor;
    }
    for (unsigned g = 0; g < format->n_groups; g++) most = scales[g] > most ? scales[g] : most;
    float inverse = most > 0 ? format->top_scale / most : 0;
    for (unsigned g = 0; g < format->n_groups; g++)
        codes[g] = (uint8_t)ds4_round_within(inverse * scales[g], 0, format->top_scale);
    return most > 0 ? most / format->top_scale : 0;
}

/* d, dmin and the codes of groups with known scale codes: q holds one code per byte. */
static void code_values(const k_format *format, const float *x, const float *fitted, float d,
                        float dmin, const uint8_t *scales, const uint8_t *mins, uint8_t *q) {
    unsigned n = BLOCK / format->n_groups;
    for (unsigned g = 0; g < format->n_groups; g++) {
        float scale = d * (float)scales[g], minimum = dmin * (float)mins[g];
        for (unsigned i = n * g; i < n * (g + 1); i++)
            q[i] = scale == 0 ? (uint8_t)fitted[i]
                              : (uint8_t)ds4_round_within((x[i] + minimum) / scale, 0, format->top);
    }
}

static void finish(const k_format *format, const float *x, const float *scales,
                   const float *negmins, const float *weights, const float *codes, uint8_t *d_bits,
                   uint8_t *dmin_bits, uint8_t *scale_bytes, uint8_t *min_bytes, uint8_t *q) {
    ds4_store_f16(d_bits, scale_codes(format, scales, weights, scale_bytes));
    ds4_store_f16(dmin_bits, scale_codes(format, negmins, weights, min_bytes));
    code_values(format, x, codes, ds4_f16_bits_to_f32(ds4_load_u16(d_bits)),
                ds4_f16_bits_to_f32(ds4_load_u16(dmin_bits)), scale_bytes, min_bytes, q);
}

void ds4_q2_k_finish(const float *x, const float *scales, const float *negmins,
                     const float *weights, const float *codes, uint8_t *block) {
    uint8_t scale_bytes[MAX_GROUPS], min_bytes[MAX_GROUPS], q[BLOCK];
    finish(&q2_k, x, scales, negmins, weights, codes, block + 80, block + 82, scale_bytes,
           min_bytes, q);
    ds4_q2_k_pack(scale_bytes, min_bytes, q, block);
}

void ds4_q4_k_finish(const float *x, const float *scales, const float *negmins,
                     const float *weights, const float *codes, uint8_t *block) {
    uint8_t scale_bytes[MAX_GROUPS], min_bytes[MAX_GROUPS], q[BLOCK];
    finish(&q4_k, x, scales, negmins, weights, codes, block, block + 2, scale_bytes, min_bytes, q);
    ds4_q4_k_pack(scale_bytes, min_bytes, q, block);
}

void ds4_q2_k_pack(const uint8_t scales[16], const uint8_t mins[16], const uint8_t q[256],
                   uint8_t *block) {
    for (unsigned g = 0; g < 16; g++) block[g] = (uint8_t)(scales[g] | mins[g] << 4);
    for (unsigned i = 0; i < 64; i++) {
        const uint8_t *lane = q + 128 * (i / 32) + i % 32;
        block[16 + i] = (uint8_t)(lane[0] | lane[32] << 2 | lane[64] << 4 | lane[96] << 6);
    }
}

void ds4_q4_k_pack(const uint8_t scales[8], const uint8_t mins[8], const uint8_t q[256],
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

void ds4_q2_k_quantize(const float *x, const float *importance, uint8_t *target, size_t n_blocks) {
    float scales[MAX_GROUPS], negmins[MAX_GROUPS], weights[MAX_GROUPS], codes[BLOCK];
    for (size_t b = 0; b < n_blocks; b++, x += BLOCK, target += DS4_Q2_K_BYTES) {
        const float *own = importance == NULL ? NULL : importance + BLOCK * b;
        fit_groups(&q2_k, x, own, scales, negmins, weights, codes);
        ds4_q2_k_finish(x, scales, negmins, own == NULL ? NULL : weights, codes, target);
    }
}

void ds4_q4_k_quantize(const float *x, const float *importance, uint8_t *target, size_t n_blocks) {
    float scales[MAX_GROUPS], negmins[MAX_GROUPS], weights[MAX_GROUPS], codes[BLOCK];
    for (size_t b = 0; b < n_blocks; b++, x += BLOCK, target += DS4_Q4_K_BYTES) {
        const float *own = importance == NULL ? NULL : importance + BLOCK * b;
        fit_groups(&q4_k, x, own, scales, negmins, weights, codes);
        ds4_q4_k_finish(x, scales, negmins, own == NULL ? NULL : weights, codes, target);
    }
}
