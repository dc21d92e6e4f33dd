/* MXFP4: 32 elements in 17 bytes = E8M0 exponent byte, 16 bytes of FP4 (E2M1) nibbles: element i is
 * the low nibble of byte i, element i + 16 its high nibble. Element = 2^(e-127) * value. */
#include "quant/blocks.h"

const int8_t ds4_fp4_doubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

static int doubled_of(const uint8_t *block, unsigned i) {
    return ds4_fp4_doubled[block[1 + (i & 15)] >> (4 * (i >> 4)) & 15];
}

/* Codes are doubled to be integers, so the scale is halved; 2^-128 is still an exact (subnormal)
 * float. */
static float half_scale(const uint8_t *block) {
    return 0.5f * ds4_e8m0_to_f32(block[0]);
}

void ds4_mxfp4_decode(const uint8_t *source, float *target, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const uint8_t *block = source + i / 32 * DS4_MXFP4_BYTES;
        target[i] = half_scale(block) * (float)doubled_of(block, (unsigned)(i % 32));
    }
}

ds4_block_product ds4_mxfp4_block_product(const uint8_t *block, const int8_t *codes) {
    ds4_block_product p = {.scale = half_scale(block)};
    for (unsigned i = 0; i < 32; i++) p.dot += doubled_of(block, i) * codes[i];
    return p;
}
