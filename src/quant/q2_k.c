/* Q2_K: 256 elements in 84 bytes = 16 scale bytes (low nibble scale, high nibble minimum, one per
 * 16 elements), 64 bytes of 2-bit codes, f16 d, f16 dmin. Element = d * scale * code - dmin *
 * minimum. */
#include "quant/blocks.h"

static unsigned code_of(const uint8_t *block, unsigned i) {
    unsigned byte = block[16 + 32 * (i >> 7) + (i & 31)];
    return byte >> (2 * (i >> 5 & 3)) & 3u;
}

void ds4_q2_k_decode(const uint8_t *source, float *target, size_t n) {
    for (size_t b = 0; b < n / 256; b++) {
        const uint8_t *block = source + b * DS4_Q2_K_BYTES;
        float d = ds4_f16_bits_to_f32(ds4_load_u16(block + 80));
        float dmin = ds4_f16_bits_to_f32(ds4_load_u16(block + 82));
        for (unsigned i = 0; i < 256; i++) {
            uint8_t s = block[i >> 4];
            /* Both products are exact; only the subtraction rounds. */
            float scaled = d * (float)(s & 15) * (float)code_of(block, i);
            target[256 * b + i] = scaled - dmin * (float)(s >> 4);
        }
    }
}

ds4_block_product ds4_q2_k_block_product(const uint8_t *block, const int8_t *codes) {
    ds4_block_product p = {.scale = ds4_f16_bits_to_f32(ds4_load_u16(block + 80)),
                           .min_scale = ds4_f16_bits_to_f32(ds4_load_u16(block + 82))};
    for (unsigned i = 0; i < 256; i++) {
        uint8_t s = block[i >> 4];
        p.dot += (s & 15) * (int)code_of(block, i) * codes[i];
        p.min_dot += (s >> 4) * codes[i];
    }
    return p;
}
