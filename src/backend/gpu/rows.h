/* Device code for rows: rotary embedding, and the roundings of stored rows with the very codes that
 * backend/cpu/row_codec.c writes. */
#ifndef DS4_BACKEND_GPU_ROWS_H
#define DS4_BACKEND_GPU_ROWS_H

#include "backend/gpu/step.h"

namespace GPU_NAMESPACE {

enum { FP8_BLOCK = DS4_FP8_BLOCK, FP4_BLOCK = DS4_FP4_BLOCK };

/* ceil(log2(x / 448)) and ceil(log2(x / 6)) of positive normal numbers, as the CPU has them: 448
 * = 1.75 * 2^8, 6 = 1.5 * 2^2, and a larger fraction carries. */
DEVICE int fp8_exponent(float x) {
    return (int)((float_bits(x) + 0x1fffffu) >> 23) - 127 - 8;
}
DEVICE int fp4_exponent(float x) {
    return (int)((float_bits(x) + 0x3fffffu) >> 23) - 127 - 2;
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

/* cos and sin of pair i at a position; kind 0: plain layers, 1: compressed ones. Slow: kernels have
 * tables (angles_of). */
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

/* Of a row: at its position, for plain layers (kind 0) and compressed ones (1), and where the
 * window that it is in begins (2: ratio-4 layers, 3: others). */
enum { ANGLE_KINDS = 4 };

DEVICE const float *angles_of(const step_view &v, int kind, int row) {
    return v.angles + ((size_t)kind * (size_t)v.n_rows + (size_t)row) * (size_t)v.rope_dim;
}

DEVICE void rotate_pair(float2 angle, float *lanes) {
    float a = lanes[0], b = lanes[1];
    lanes[0] = a * angle.x - b * angle.y;
    lanes[1] = a * angle.y + b * angle.x;
}

/* A row in shared memory, by all threads of the block, after a barrier: rotary embedding of its
 * last lanes by `angles` (cosine, sine), then rounding as the CPU's codec does. `stored`, when set,
 * gets the codes, the `values` that are set get the row. */
DEVICE void finish_row(const step_view &v, const float *row, const float *angles, uint8_t *stored,
                       float *values, float *more_values) {
    int plain = v.head_dim - v.rope_dim, warps = block_threads() / WARP, lane = lane_index();
    bool rounded = v.kv_sim == DS4_KV_SIM_FULL;
    for (int i = lane; i < v.rope_dim && warp_index() == warps - 1; i += WARP) {
        float c = angles[i / 2 * 2], s = angles[i / 2 * 2 + 1];
        float x = row[plain + i], other = row[plain + (i ^ 1)];
        x = i % 2 == 0 ? x * c - other * s : other * s + x * c;
        uint16_t half = float_to_half_bits(x);
        if (rounded) x = half_bits_to_float(half);
        if (values != nullptr) values[plain + i] = x;
        if (more_values != nullptr) more_values[plain + i] = x;
        if (stored == nullptr) continue;
        if (rounded)
            ((uint16_t *)stored)[i] = half;
        else
            ((float *)stored)[plain + i] = x;
    }
    for (int b = warp_index(); b * FP8_BLOCK < plain; b += warps) {
        float x[2], most = 1e-4f;
        UNROLL
        for (int j = 0; j < 2; j++) {
            int i = b * FP8_BLOCK + j * WARP + lane;
            x[j] = i < plain ? row[i] : 0.0f;
            most = fmaxf(most, fabsf(x[j]));
        }
        int k = fp8_exponent(warp_max(most));
        NOT_UNROLLED
        for (int j = 0; j < 2; j++) {
            int i = b * FP8_BLOCK + j * WARP + lane;
            if (i >= plain) continue;
            float y = j == 0 ? x[0] : x[1];
            if (rounded) {
                uint32_t code = fp8_code(y, k);
                y = fp8_value(code, power_of_two(k));
                if (stored != nullptr) stored[2 * v.rope_dim + i] = (uint8_t)code;
            } else if (stored != nullptr) {
                ((float *)stored)[i] = y;
            }
            if (values != nullptr) values[i] = y;
            if (more_values != nullptr) more_values[i] = y;
        }
        if (rounded && stored != nullptr && lane == 0)
            stored[2 * v.rope_dim + plain + b] = (uint8_t)(k + 127);
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
        int k = fp4_exponent(most);
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
