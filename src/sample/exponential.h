/* exp for the sampler: our own, because the traces of a seed must not depend on which C library a
 * machine has. */
#ifndef DS4_SAMPLE_EXPONENTIAL_H
#define DS4_SAMPLE_EXPONENTIAL_H

#include <stddef.h>

/* exp(x) for x <= 0 within 2 ulp of float64; 0 for x < -700. Only +, -, * in a fixed order, so that
 * every machine with IEEE arithmetic gets the same bits (compiled without contraction into fused
 * operations). */
double ds4_exponential(double x);

/* weights[i] = exp((values[i] - max) / temperature): the argument in float32, exp in float64, the
 * result rounded to float32. 0 where values[i] is -infinity. Requires values[i] <= max, max finite,
 * temperature > 0, and arrays that do not overlap. */
void ds4_exponential_weights(const float *restrict values, size_t n, float max, float temperature,
                             float *restrict weights);

#endif
