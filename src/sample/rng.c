#include "sample/sampler.h"

uint64_t ds4_rng_next(ds4_rng *rng) {
    uint64_t x = rng->state;
    if (x == 0) x = 0x9e3779b97f4a7c15u; /* zero is the generator's fixed point */
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    rng->state = x;
    return x * 0x2545f4914f6cdd1du;
}

float ds4_rng_uniform(ds4_rng *rng) {
    return (float)(ds4_rng_next(rng) >> 40) / 16777216.0f;
}
