/* Q4_K: 256 elements in 144 bytes = f16 d, f16 dmin, 12 bytes of packed 6-bit scales and minima
 * (one pair per 32 elements), 128 bytes of 4-bit codes. Element = d * scale * code - dmin *
 * minimum. */
#include "quant/blocks.h"

static unsigned code_of(const uint8_t *block, unsigned i) {
    unsigned byte = block[16 + 32 * (i >> 6) + (i & 31)];
    return byte >> (4 * (i >> 5 & 1)) & 15u;
}

void ds4_q4_k_decode(const uint8_t *source, float *target, size_t n) {
    for (size_t b = 0; b < n / 256; b++) {
        const uint8_t *block = source + b * DS4_Q4_K_BYTES;
        float d = ds4_f16_bits_to_f32(ds4_load_u16(block));
        float dmin = ds4_f16_bits_to_f32(ds4_load_u16(block + 2));
        for (unsigned i = 0; i < 256; i++) {
            uint8_t scale, min;
            ds4_q4_k_scale_min(block + 4, i >> 5, &scale, &min);
            /* Both products are exact; only the subtraction rounds. */
            float scaled = d * (float)scale * (float)code_of(block, i);
            target[256 * b + i] = scaled - dmin * (float)min;
        }
    }
}

ds4_block_product ds4_q4_k_block_product(const uint8_t *block, const int8_t *codes) {
    ds4_block_product p = {.scale = ds4_f16_bits_to_f32(ds4_load_u16(block)),
                           .min_scale = ds4_f16_bits_to_f32(ds4_load_u16(block + 2))};
    for (unsigned i = 0; i < 256; i++) {
        uint8_t scale, min;
        ds4_q4_k_scale_min(block + 4, i >> 5, &scale, &min);
        p.dot += scale * (int)code_of(block, i) * codes[i];
        p.min_dot += min * codes[i];
    }
    return p;
}
