#include "sample/exponential.h"

#include <stdint.h>
#include <string.h>

/* exp(x) = 2^k exp(r) with k = round(x / ln 2), so |r| <= ln 2 / 2, and the Taylor polynomial of
 * degree 13, whose first omitted term is below 5e-18 there. Without branches, so that a loop over
 * it becomes vector code. */
static inline double exponential(double x) {
    static const double rounder = 0x1.8p52; /* adding it leaves k in the low bits of the sum */
    double shifted = x * 0x1.71547652b82fep+0 + rounder;
    double k = shifted - rounder;
    double r = (x - k * 0x1.62e42fee00000p-1) -
               k * 0x1.a39ef35793c76p-33; /* ln 2 in two parts; k * the first is exact */
    double p = 1.0 / 6227020800.0;
    p = p * r + 1.0 / 479001600.0;
    p = p * r + 1.0 / 39916800.0;
    p = p * r + 1.0 / 3628800.0;
    p = p * r + 1.0 / 362880.0;
    p = p * r + 1.0 / 40320.0;
    p = p * r + 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    p = p * r + 1.0;
    p = p * r + 1.0;
    uint64_t bits;
    double power;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits << 52) + ((uint64_t)1023 << 52); /* the exponent field of 2^k */
    memcpy(&power, &bits, sizeof power);
    return p * power;
}

double ds4_exponential(double x) {
    return x < -700 ? 0 : exponential(x);
}

/* x <= 0 limited to -110: beyond -104 float32 has only 0. On the bits, because a comparison of
 * floats would keep the loop below from becoming vector code. */
static inline float limit(float x) {
    const uint32_t bits_of_110 = 0x42dc0000;
    uint32_t magnitude;
    memcpy(&magnitude, &x, sizeof magnitude);
    magnitude &= 0x7fffffff;
    magnitude = magnitude < bits_of_110 ? magnitude : bits_of_110;
    memcpy(&x, &magnitude, sizeof x);
    return -x;
}

void ds4_exponential_weights(const float *restrict values, size_t n, float max, float temperature,
                             float *restrict weights) {
    for (size_t i = 0; i < n; i++)
        weights[i] = (float)exponential((double)limit((values[i] - max) / temperature));
}
