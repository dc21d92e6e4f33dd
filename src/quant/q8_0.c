/* Q8_0: 32 elements in 34 bytes = f16 d, int8 q[32]. Element = d * q. */
#include "quant/blocks.h"

void ds4_q8_0_decode(const uint8_t *source, float *target, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const uint8_t *block = source + i / 32 * DS4_Q8_0_BYTES;
        target[i] = ds4_f16_bits_to_f32(ds4_load_u16(block)) * (float)(int8_t)block[2 + i % 32];
    }
}

ds4_block_product ds4_q8_0_block_product(const uint8_t *block, const int8_t *codes) {
    ds4_block_product p = {.scale = ds4_f16_bits_to_f32(ds4_load_u16(block))};
    for (unsigned i = 0; i < 32; i++) p.dot += (int8_t)block[2 + i] * codes[i];
    return p;
}
