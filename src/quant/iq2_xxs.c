/* IQ2_XXS: 256 elements in 66 bytes = f16 d, then 8 groups of 32 elements: u32 of four code book
 * rows (8 elements each), u32 of four 7-bit sign indices and a 4-bit scale code c. Element = d *
 * (2c + 1) * magnitude / 8 * sign. */
#include "quant/blocks.h"

/* Element i times 8 / (d * (2c + 1)): a signed magnitude. */
static int magnitude_of(const uint8_t *block, unsigned i) {
    const uint8_t *group = block + 2 + 8 * (i >> 5);
    unsigned k = i >> 3 & 3, lane = i & 7;
    int magnitude = (int)(ds4_iq2_xxs_grid[group[k]] >> (8 * lane) & 255);
    unsigned sign = ds4_load_u32(group + 4) >> (7 * k) & 127;
    return ds4_iq2_xxs_signs[sign] >> (8 * lane) & 1 ? -magnitude : magnitude;
}

static int multiplier_of(const uint8_t *block, unsigned group) {
    return 2 * (block[2 + 8 * group + 7] >> 4) + 1;
}

void ds4_iq2_xxs_decode(const uint8_t *source, float *target, size_t n) {
    for (size_t b = 0; b < n / 256; b++) {
        const uint8_t *block = source + b * DS4_IQ2_XXS_BYTES;
        float eighth = 0.125f * ds4_f16_bits_to_f32(ds4_load_u16(block));
        for (unsigned i = 0; i < 256; i++) {
            float scale = eighth * (float)multiplier_of(block, i >> 5);
            target[256 * b + i] = scale * (float)magnitude_of(block, i);
        }
    }
}

ds4_block_product ds4_iq2_xxs_block_product(const uint8_t *block, const int8_t *codes) {
    ds4_block_product p = {.scale = 0.125f * ds4_f16_bits_to_f32(ds4_load_u16(block))};
    for (unsigned i = 0; i < 256; i++)
        p.dot += multiplier_of(block, i >> 5) * magnitude_of(block, i) * codes[i];
    return p;
}
