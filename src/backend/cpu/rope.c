#include "backend/cpu/rope.h"

#include <math.h>
#include <stdlib.h>

#include "base/error.h"

static const double PI = 3.14159265358979323846;

/* The pair index at which `beta` full turns fit into the original context. */
static double correction_index(const ds4_hparams *hp, double beta) {
    double base = (double)hp->compress_rope_base;
    return (double)hp->rope_dim * log((double)hp->rope_original_context / (beta * 2.0 * PI)) /
           (2.0 * log(base));
}

/* YaRN: low pairs (high frequencies) stay, high pairs are slowed by the factor, a ramp in between.
 */
static void interpolate(const ds4_hparams *hp, ds4_rope *rope) {
    double factor = (double)hp->rope_factor;
    if (factor <= 0.0) return;
    double low = floor(correction_index(hp, (double)hp->yarn_beta_fast));
    double high = ceil(correction_index(hp, (double)hp->yarn_beta_slow));
    if (low < 0.0) low = 0.0;
    if (high > (double)hp->rope_dim - 1.0) high = (double)hp->rope_dim - 1.0;
    double width = high - low > 0.001 ? high - low : 0.001;
    for (uint32_t i = 0; i < rope->n_pairs; i++) {
        double ramp = ((double)i - low) / width;
        double keep = 1.0 - (ramp < 0.0 ? 0.0 : ramp > 1.0 ? 1.0 : ramp);
        if (factor <= 1.0) keep = 0.0;
        rope->slowdown[i] = (1.0 - keep) / factor + keep;
    }
}

ds4_status ds4_rope_create(const ds4_hparams *hp, bool compressed, ds4_rope_angles_kind kind,
                           ds4_rope *rope, ds4_error *error) {
    double base = (double)(compressed ? hp->compress_rope_base : hp->rope_base);
    *rope = (ds4_rope){.kind = kind, .n_pairs = hp->rope_dim / 2};
    rope->ratio = (float)pow(base, -2.0 / (double)hp->rope_dim);
    rope->slowdown = malloc(rope->n_pairs * sizeof *rope->slowdown);
    rope->frequency = malloc(rope->n_pairs * sizeof *rope->frequency);
    if (rope->slowdown == NULL || rope->frequency == NULL) {
        ds4_rope_free(rope);
        return ds4_fail_memory(error, rope->n_pairs * sizeof(double), "RoPE frequencies");
    }
    for (uint32_t i = 0; i < rope->n_pairs; i++) rope->slowdown[i] = 1.0;
    if (compressed) interpolate(hp, rope);
    for (uint32_t i = 0; i < rope->n_pairs; i++)
        rope->frequency[i] = pow(base, -2.0 * (double)i / (double)hp->rope_dim) * rope->slowdown[i];
    return DS4_OK;
}

void ds4_rope_free(ds4_rope *rope) {
    free(rope->slowdown);
    free(rope->frequency);
    *rope = (ds4_rope){0};
}

void ds4_rope_angles(const ds4_rope *rope, uint32_t position, float *cos_sin) {
    float running = (float)position;
    for (uint32_t i = 0; i < rope->n_pairs; i++, running *= rope->ratio) {
        double angle = rope->kind == DS4_ROPE_ANGLES_FLOAT32
                           ? (double)(running * (float)rope->slowdown[i])
                           : (double)position * rope->frequency[i];
        angle = fmod(angle, 2.0 * PI);
        cos_sin[2 * i] = (float)cos(angle);
        cos_sin[2 * i + 1] = (float)sin(angle);
    }
}

void ds4_rope_rotate(const float *cos_sin, uint32_t n_pairs, bool inverse, float *lanes) {
    for (uint32_t i = 0; i < n_pairs; i++) {
        float c = cos_sin[2 * i], s = inverse ? -cos_sin[2 * i + 1] : cos_sin[2 * i + 1];
        float a = lanes[2 * i], b = lanes[2 * i + 1];
        lanes[2 * i] = a * c - b * s;
        lanes[2 * i + 1] = a * s + b * c;
    }
}
