/* Random weights, of every kind that a quantizer may meet. */
#ifndef DS4_TESTS_QUANT_WEIGHTS_H
#define DS4_TESTS_QUANT_WEIGHTS_H

#include <math.h>
#include <stdint.h>
#include <string.h>

static inline float uniform(uint32_t *s) {
    *s = *s * 1664525u + 1013904223u;
    return (float)(*s >> 8) * 0x1p-24f;
}

static inline float gauss(uint32_t *s) {
    float sum = -2;
    for (int i = 0; i < 4; i++) sum += uniform(s);
    return sum;
}

/* Every kind of data that weights can be, by the number of the block. */
static inline void make_block(uint32_t number, float x[256], float importance[256]) {
    static const float lattice[8] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
    uint32_t s = 77777u + number * 2654435761u;
    float size = ldexpf(1, (int)(number / 8 % 24) - 16);
    for (unsigned i = 0; i < 256; i++) {
        float v = gauss(&s);
        importance[i] = number % 5 == 0 && uniform(&s) < 0.3f ? 0 : uniform(&s) * 8;
        switch (number % 8) {
        case 0: /* sparse */
            v = uniform(&s) < 0.7f ? 0 : v;
            break;
        case 1: /* one sign */
            v = -fabsf(v);
            break;
        case 2: /* FP4 */
            v = (v < 0 ? -1.0f : 1.0f) * lattice[(unsigned)(uniform(&s) * 8)];
            break;
        case 3: /* few large ones */
            v = v * v * v * v * v;
            break;
        case 4: /* constant groups */
            v = (float)(i / 32) - 4;
            break;
        case 5: /* groups of very different size */
            v = ldexpf(v, -(int)(i / 16));
            break;
        default:
            break;
        }
        x[i] = v * size;
    }
    if (number % 97 == 0) memset(x, 0, 256 * sizeof *x);
}

#endif
