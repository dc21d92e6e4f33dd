/* Device code for rows: rotary embedding, and the roundings of stored rows with the very codes that
 * backend/cpu/row_codec.c writes. */
#ifndef DS4_BACKEND_GPU_ROWS_H
#define DS4_BACKEND_GPU_ROWS_H

#include "backend/gpu/step.h"

namespace GPU_NAMESPACE {

enum { FP8_BLOCK = DS4_FP8_BLOCK, FP4_BLOCK = DS4_FP4_BLOCK };

/* ceil(log2(x)) for a positive normal x. */
DEVICE int ceil_log2(float x) {
    uint32_t bits = float_bits(x);
    return (int)(bits >> 23) - 127 + ((bits & 0x7FFFFFu) != 0);
}

DEVICE float power_of_two(int e) { /* -126 .. 127 */
    return bits_float((uint32_t)(e + 127) << 23);
}

/* Nearest code of a small float format, ties to the even code; 0 <= v <= its largest value. */
DEVICE uint32_t nearest_code(float v, int mantissa, int bias) {
    if (v < power_of_two(1 - bias)) return (uint32_t)rintf(v * power_of_two(bias + mantissa - 1));
    int drop = 23 - mantissa;
    uint32_t bits = float_bits(v);
    bits += (1u << (drop - 1)) - 1 + (bits >> drop & 1u);
    return (bits >> drop) - ((uint32_t)(127 - bias) << mantissa);
}

DEVICE uint32_t fp8_code(float x, int k) {
    float v = fabsf(x) * power_of_two(-k);
    return nearest_code(fminf(v, 448.0f), 3, 7) | (float_bits(x) >> 24 & 128u);
}

DEVICE float fp8_value(uint32_t code, float scale) {
    return bits_float((code & 127u) << 20 | (code & 128u) << 24) * 0x1p120f * scale;
}

DEVICE uint32_t fp4_code(float x, float inverse) {
    return nearest_code(fminf(fabsf(x) * inverse, 6.0f), 1, 1) | (float_bits(x) >> 28 & 8u);
}

DEVICE float fp4_value(uint32_t code, float scale) {
    return bits_float((code & 7u) << 22 | (code & 8u) << 28) * 0x1p126f * scale;
}

/* cos and sin of pair i at a position; kind 0: plain layers, 1: compressed ones. */
DEVICE float2 rope_angle(const step_view &v, int kind, int i, int position) {
    const double two_pi = 6.283185307179586;
    double angle;
    if (v.rope_float32) {
        float running = (float)position;
        for (int k = 0; k < i; k++) running *= v.rope_ratio[kind];
        angle = (double)(running * v.slowdown[kind * (v.rope_dim / 2) + i]);
    } else {
        angle = (double)position * v.frequency[kind * (v.rope_dim / 2) + i];
    }
    angle = fmod(angle, two_pi);
    return float2{(float)cos(angle), (float)sin(angle)};
}

DEVICE void rotate_pair(float2 angle, float *lanes) {
    float a = lanes[0], b = lanes[1];
    lanes[0] = a * angle.x - b * angle.y;
    lanes[1] = a * angle.y + b * angle.x;
}

/* Rounds a row in shared memory as the CPU's codec does, by all threads of the block; `stored`,
 * when set, gets the codes. */
DEVICE void round_row(const step_view &v, float *row, uint8_t *stored) {
    int plain = v.head_dim - v.rope_dim;
    block_barrier();
    if (v.kv_sim != DS4_KV_SIM_FULL) {
        for (int i = thread_index(); i < v.head_dim && stored != nullptr; i += block_threads())
            ((float *)stored)[i] = row[i];
        return;
    }
    for (int i = thread_index(); i < v.rope_dim; i += block_threads()) {
        uint16_t half = float_to_half_bits(row[plain + i]);
        row[plain + i] = half_bits_to_float(half);
        if (stored != nullptr) ((uint16_t *)stored)[i] = half;
    }
    for (int b = warp_index(); b < plain / FP8_BLOCK; b += block_threads() / WARP) {
        float *block = row + b * FP8_BLOCK;
        float x0 = block[lane_index()], x1 = block[lane_index() + WARP];
        float most = warp_max(fmaxf(fmaxf(fabsf(x0), fabsf(x1)), 1e-4f));
        int k = ceil_log2(most / 448.0f);
        uint32_t c0 = fp8_code(x0, k), c1 = fp8_code(x1, k);
        block[lane_index()] = fp8_value(c0, power_of_two(k));
        block[lane_index() + WARP] = fp8_value(c1, power_of_two(k));
        if (stored == nullptr) continue;
        uint8_t *codes = stored + 2 * v.rope_dim;
        codes[b * FP8_BLOCK + lane_index()] = (uint8_t)c0;
        codes[b * FP8_BLOCK + lane_index() + WARP] = (uint8_t)c1;
        if (lane_index() == 0) codes[plain + b] = (uint8_t)(k + 127);
    }
}

/* Element i of a stored attention row. */
DEVICE float stored_value(const step_view &v, const uint8_t *stored, int i) {
    if (v.kv_sim != DS4_KV_SIM_FULL) return ((const float *)stored)[i];
    int plain = v.head_dim - v.rope_dim;
    if (i >= plain) return half_bits_to_float(((const uint16_t *)stored)[i - plain]);
    const uint8_t *codes = stored + 2 * v.rope_dim;
    return fp8_value(codes[i], power_of_two((int)codes[plain + i / FP8_BLOCK] - 127));
}

/* 2^e for any exponent of a float, also where it is no normal number. */
DEVICE float any_power_of_two(int e) {
    return power_of_two(e / 2) * power_of_two(e - e / 2);
}

/* Indexer rows and queries: the Hadamard transform in natural order, then FP4. One warp; lane l
 * holds elements l + 32 j, j < index_dim / 32, of INDEX_PARTS. `stored` may be NULL. (Loops have
 * fixed bounds, so that x stays in registers.) */
enum { INDEX_PARTS = MAX_INDEX_DIM / WARP };

DEVICE void round_index_row(const step_view &v, float *x, uint8_t *stored) {
    int n = v.index_dim / WARP;
    if (v.kv_sim == DS4_KV_SIM_NONE) {
        UNROLL
        for (int j = 0; j < INDEX_PARTS; j++)
            if (j < n && stored != nullptr) ((float *)stored)[lane_index() + WARP * j] = x[j];
        return;
    }
    UNROLL
    for (int stride = 1; stride < WARP; stride *= 2) {
        UNROLL
        for (int j = 0; j < INDEX_PARTS; j++) {
            if (j >= n) continue;
            float other = warp_shuffle_xor(x[j], stride);
            x[j] = lane_index() & stride ? other - x[j] : x[j] + other;
        }
    }
    UNROLL
    for (int stride = 1; stride < INDEX_PARTS; stride *= 2) {
        UNROLL
        for (int j = 0; j < INDEX_PARTS; j++) {
            if (j & stride || j + stride >= n) continue;
            float a = x[j], b = x[j + stride];
            x[j] = a + b;
            x[j + stride] = a - b;
        }
    }
    float norm = (float)(1.0 / sqrt((double)v.index_dim));
    UNROLL
    for (int j = 0; j < INDEX_PARTS; j++) {
        if (j >= n) continue;
        x[j] *= norm;
        float most = warp_max(fmaxf(fabsf(x[j]), 6.0f * 0x1p-126f));
        int k = ceil_log2(most / 6.0f);
        uint32_t code = fp4_code(x[j], any_power_of_two(-k));
        x[j] = fp4_value(code, any_power_of_two(k));
        int neighbour = warp_shuffle((int)code, lane_index() ^ 1);
        if (stored == nullptr) continue;
        if (lane_index() % 2 == 0)
            stored[(WARP * j + lane_index()) / 2] = (uint8_t)(code | (uint32_t)neighbour << 4);
        if (lane_index() == 0) stored[v.index_dim / 2 + j] = (uint8_t)(k + 127);
    }
}

DEVICE float stored_index_value(const step_view &v, const uint8_t *stored, int i) {
    if (v.kv_sim == DS4_KV_SIM_NONE) return ((const float *)stored)[i];
    uint32_t code = (uint32_t)stored[i / 2] >> (4 * (i & 1)) & 15u;
    return fp4_value(code, ldexpf(1.0f, (int)stored[v.index_dim / 2 + i / FP4_BLOCK] - 127));
}

} // namespace GPU_NAMESPACE

#endif
