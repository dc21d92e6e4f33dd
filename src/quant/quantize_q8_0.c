/* Q8_0: the largest magnitude becomes 127. */
#include "quant/quantize_blocks.h"

/* The codes use the scale before its rounding to f16: so do all writers of this format. */
void ds4_q8_0_quantize(const float *x, uint8_t *target, size_t n_blocks) {
    for (size_t b = 0; b < n_blocks; b++, x += 32, target += DS4_Q8_0_BYTES) {
        float most = 0;
        for (unsigned i = 0; i < 32; i++) most = fabsf(x[i]) > most ? fabsf(x[i]) : most;
        float d = most / 127.0f;
        float inverse = d != 0 ? 1.0f / d : 0.0f;
        if (!isfinite(inverse)) inverse = 0; /* such a d is 0 in f16 anyway */
        ds4_store_f16(target, d);
        for (unsigned i = 0; i < 32; i++) target[2 + i] = (uint8_t)(int8_t)roundf(x[i] * inverse);
    }
}
