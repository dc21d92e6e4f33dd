/* Plain arrays: F32, F16, BF16, I32, and the scalar conversions between them. */
#include "quant/blocks.h"

float ds4_f16_to_f32(uint16_t bits) {
    return ds4_f16_bits_to_f32(bits);
}

uint16_t ds4_f32_to_f16(float value) {
    uint32_t bits = ds4_f32_to_bits(value);
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000u);
    uint32_t magnitude = bits & 0x7FFFFFFFu;
    if (magnitude > 0x7F800000u) return sign | 0x7E00u;
    if (magnitude >= 0x477FF000u) return sign | 0x7C00u; /* 65520 and more round to infinity */
    if (magnitude < 0x38800000u) {
        /* Below 2^-14 the result is a count of 2^-24. Adding 0.5 puts that unit at the last bit of
         * the sum, so the addition itself rounds to nearest even. */
        float sum = ds4_bits_to_f32(magnitude) + 0.5f;
        return (uint16_t)(sign | (uint16_t)(ds4_f32_to_bits(sum) - 0x3F000000u));
    }
    uint32_t odd = magnitude >> 13 & 1u;
    return (uint16_t)(sign | (uint16_t)((magnitude - 0x38000000u + 0xFFFu + odd) >> 13));
}

float ds4_bf16_to_f32(uint16_t bits) {
    return ds4_bits_to_f32((uint32_t)bits << 16);
}

uint16_t ds4_f32_to_bf16(float value) {
    uint32_t bits = ds4_f32_to_bits(value);
    if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return (uint16_t)(bits >> 16 | 0x40u);
    return (uint16_t)((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16);
}

void ds4_f32_decode(const uint8_t *source, float *target, size_t n) {
    if (n > 0) memcpy(target, source, n * sizeof *target);
}

void ds4_f16_decode(const uint8_t *source, float *target, size_t n) {
    for (size_t i = 0; i < n; i++) target[i] = ds4_f16_bits_to_f32(ds4_load_u16(source + 2 * i));
}

void ds4_bf16_decode(const uint8_t *source, float *target, size_t n) {
    for (size_t i = 0; i < n; i++) target[i] = ds4_bf16_to_f32(ds4_load_u16(source + 2 * i));
}

void ds4_i32_decode(const uint8_t *source, float *target, size_t n) {
    for (size_t i = 0; i < n; i++) {
        int32_t v;
        memcpy(&v, source + 4 * i, sizeof v);
        target[i] = (float)v;
    }
}
