#include "backend/cpu/row_codec.h"

#include <math.h>
#include <string.h>

enum { EXPONENT_BIAS = 127, MAX_ROW = 4096 };

static uint32_t float_bits(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* ceil(log2(x)) for a positive normal x. */
static int ceil_log2(float x) {
    uint32_t bits = float_bits(x);
    return (int)(bits >> 23) - 127 + ((bits & 0x7FFFFFu) != 0);
}

static float power_of_two(int exponent) {
    return ldexpf(1.0f, exponent);
}

static float largest_magnitude(const float *x, size_t n, float at_least) {
    float largest = at_least;
    for (size_t i = 0; i < n; i++) largest = fabsf(x[i]) > largest ? fabsf(x[i]) : largest;
    return largest;
}

/* Nearest code of a small float format with `mantissa` bits and exponent bias `bias`, ties to the
 * even code. 0 <= v <= the format's largest value. */
static uint8_t nearest_code(float v, unsigned mantissa, unsigned bias) {
    float smallest_normal = power_of_two(1 - (int)bias);
    if (v < smallest_normal) return (uint8_t)rintf(v * power_of_two((int)(bias + mantissa) - 1));
    unsigned drop = 23 - mantissa;
    uint32_t bits = float_bits(v);
    bits += (1u << (drop - 1)) - 1 + (bits >> drop & 1u);
    return (uint8_t)((bits >> drop) - ((127u - bias) << mantissa));
}

int ds4_fp8_encode_block(const float *x, uint8_t *codes) {
    int k = ceil_log2(largest_magnitude(x, DS4_FP8_BLOCK, 1e-4f) / 448.0f);
    float inverse = power_of_two(-k);
    for (size_t i = 0; i < DS4_FP8_BLOCK; i++) {
        float v = fabsf(x[i]) * inverse;
        uint8_t code = nearest_code(v < 448.0f ? v : 448.0f, 3, 7);
        codes[i] = (uint8_t)(code | (signbit(x[i]) ? 128u : 0u));
    }
    return k;
}

int ds4_fp4_encode_block(const float *x, uint8_t *nibbles) {
    int k = ceil_log2(largest_magnitude(x, DS4_FP4_BLOCK, 6.0f * 0x1p-126f) / 6.0f);
    float inverse = power_of_two(-k);
    memset(nibbles, 0, DS4_FP4_BLOCK / 2);
    for (size_t i = 0; i < DS4_FP4_BLOCK; i++) {
        float v = fabsf(x[i]) * inverse;
        unsigned code = nearest_code(v < 6.0f ? v : 6.0f, 1, 1) | (signbit(x[i]) ? 8u : 0u);
        nibbles[i / 2] = (uint8_t)(nibbles[i / 2] | code << (4 * (i & 1)));
    }
    return k;
}

ds4_row_codec ds4_row_codec_make(const ds4_hparams *hp, ds4_kv_sim kv_sim,
                                 const ds4_vector_ops *ops, const ds4_kernels *kernels) {
    ds4_row_codec codec = {
        .ops = ops,
        .kernels = kernels,
        .kv_sim = kv_sim,
        .width = hp->head_dim,
        .rope_dim = hp->rope_dim,
        .index_width = hp->indexer_dim,
    };
    uint32_t plain = hp->head_dim - hp->rope_dim;
    codec.row_bytes = kv_sim == DS4_KV_SIM_FULL
                          ? plain + plain / DS4_FP8_BLOCK + 2 * (size_t)hp->rope_dim
                          : hp->head_dim * sizeof(float);
    codec.index_row_bytes = kv_sim == DS4_KV_SIM_NONE
                                ? hp->indexer_dim * sizeof(float)
                                : hp->indexer_dim / 2 + hp->indexer_dim / DS4_FP4_BLOCK;
    codec.row_stride = codec.row_bytes;
    codec.index_row_stride = codec.index_row_bytes;
    return codec;
}

/* Stored row: the rotary lanes as F16, then codes, then one exponent byte per block: the wider the
 * load a part is read with, the earlier it comes. */
void ds4_row_encode(const ds4_row_codec *codec, const float *row, uint8_t *stored) {
    if (codec->kv_sim != DS4_KV_SIM_FULL) {
        memcpy(stored, row, codec->row_bytes);
        return;
    }
    uint32_t plain = codec->width - codec->rope_dim, n_blocks = plain / DS4_FP8_BLOCK;
    uint8_t *codes = stored + 2 * (size_t)codec->rope_dim;
    for (uint32_t i = 0; i < codec->rope_dim; i++) {
        uint16_t half = ds4_f32_to_f16(row[plain + i]);
        memcpy(stored + 2 * (size_t)i, &half, sizeof half);
    }
    for (uint32_t b = 0; b < n_blocks; b++) {
        int k = ds4_fp8_encode_block(row + b * DS4_FP8_BLOCK, codes + b * DS4_FP8_BLOCK);
        codes[plain + b] = (uint8_t)(k + EXPONENT_BIAS);
    }
}

void ds4_row_decode(const ds4_row_codec *codec, const uint8_t *stored, float *row) {
    if (codec->kv_sim != DS4_KV_SIM_FULL) {
        memcpy(row, stored, codec->row_bytes);
        return;
    }
    uint32_t plain = codec->width - codec->rope_dim, n_blocks = plain / DS4_FP8_BLOCK;
    const uint8_t *codes = stored + 2 * (size_t)codec->rope_dim;
    for (uint32_t b = 0; b < n_blocks; b++) {
        float scale = power_of_two((int)codes[plain + b] - EXPONENT_BIAS);
        codec->ops->decode_fp8(codes + b * DS4_FP8_BLOCK, scale, row + b * DS4_FP8_BLOCK,
                               DS4_FP8_BLOCK);
    }
    codec->kernels->decode(DS4_TYPE_F16, stored, row + plain, codec->rope_dim);
}

void ds4_row_round(const ds4_row_codec *codec, float *row) {
    if (codec->kv_sim != DS4_KV_SIM_FULL) return;
    uint8_t stored[MAX_ROW * 2];
    ds4_row_encode(codec, row, stored);
    ds4_row_decode(codec, stored, row);
}

void ds4_index_row_encode(const ds4_row_codec *codec, float *row, uint8_t *stored) {
    if (codec->kv_sim == DS4_KV_SIM_NONE) {
        memcpy(stored, row, codec->index_row_bytes);
        return;
    }
    codec->ops->hadamard(row, codec->index_width);
    uint32_t n_blocks = codec->index_width / DS4_FP4_BLOCK;
    uint8_t *exponents = stored + codec->index_width / 2;
    for (uint32_t b = 0; b < n_blocks; b++) {
        int k = ds4_fp4_encode_block(row + b * DS4_FP4_BLOCK, stored + b * DS4_FP4_BLOCK / 2);
        exponents[b] = (uint8_t)(k + EXPONENT_BIAS);
    }
}

void ds4_index_row_decode(const ds4_row_codec *codec, const uint8_t *stored, float *row) {
    if (codec->kv_sim == DS4_KV_SIM_NONE) {
        memcpy(row, stored, codec->index_row_bytes);
        return;
    }
    const uint8_t *exponents = stored + codec->index_width / 2;
    for (uint32_t b = 0; b < codec->index_width / DS4_FP4_BLOCK; b++) {
        float scale = power_of_two((int)exponents[b] - EXPONENT_BIAS);
        codec->ops->decode_fp4(stored + b * DS4_FP4_BLOCK / 2, scale, row + b * DS4_FP4_BLOCK,
                               DS4_FP4_BLOCK);
    }
}

void ds4_index_row_round(const ds4_row_codec *codec, float *row) {
    if (codec->kv_sim == DS4_KV_SIM_NONE) return;
    uint8_t stored[MAX_ROW * 2];
    ds4_index_row_encode(codec, row, stored);
    ds4_index_row_decode(codec, stored, row);
}

/* ---- what may come from a file ---- */

/* The loops have no early end, so that they are vectorised. */
bool ds4_floats_are_finite(const uint8_t *floats, size_t n) {
    uint32_t bad = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, floats + i * sizeof bits, sizeof bits);
        bad |= (bits & 0x7F800000u) == 0x7F800000u;
    }
    return bad == 0;
}

static bool halves_are_finite(const uint8_t *halves, size_t n) {
    unsigned bad = 0;
    for (size_t i = 0; i < n; i++) {
        uint16_t bits;
        memcpy(&bits, halves + i * sizeof bits, sizeof bits);
        bad |= (bits & 0x7C00u) == 0x7C00u;
    }
    return bad == 0;
}

/* Block exponents such that the largest code times the scale is still a float. */
static bool exponents_are_finite(const uint8_t *exponents, size_t n, uint8_t most) {
    unsigned bad = 0;
    for (size_t i = 0; i < n; i++) bad |= exponents[i] > most;
    return bad == 0;
}

bool ds4_rows_are_finite(const ds4_row_codec *codec, const uint8_t *stored, size_t n) {
    enum { LARGEST_EXPONENT = 254 - 8 /* 448 < 2^9 */, NO_NUMBER = 0x7F };
    if (codec->kv_sim != DS4_KV_SIM_FULL)
        return ds4_floats_are_finite(stored, n * codec->row_bytes / sizeof(float));
    uint32_t plain = codec->width - codec->rope_dim;
    bool finite = true;
    for (size_t r = 0; r < n && finite; r++) {
        const uint8_t *codes = stored + r * codec->row_bytes + 2 * (size_t)codec->rope_dim;
        unsigned bad = 0;
        for (uint32_t i = 0; i < plain; i++) bad |= (codes[i] & NO_NUMBER) == NO_NUMBER;
        finite = bad == 0 &&
                 halves_are_finite(codes - 2 * (size_t)codec->rope_dim, codec->rope_dim) &&
                 exponents_are_finite(codes + plain, plain / DS4_FP8_BLOCK, LARGEST_EXPONENT);
    }
    return finite;
}

bool ds4_index_rows_are_finite(const ds4_row_codec *codec, const uint8_t *stored, size_t n) {
    enum { LARGEST_EXPONENT = 254 - 2 /* 6 < 2^3 */ };
    if (codec->kv_sim == DS4_KV_SIM_NONE)
        return ds4_floats_are_finite(stored, n * codec->index_row_bytes / sizeof(float));
    bool finite = true;
    for (size_t r = 0; r < n && finite; r++)
        finite = exponents_are_finite(stored + r * codec->index_row_bytes + codec->index_width / 2,
                                      codec->index_width / DS4_FP4_BLOCK, LARGEST_EXPONENT);
    return finite;
}
