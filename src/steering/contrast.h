/* From captured activations to a direction: difference of means, orthogonalised against what both
 * sides share. All sums in double, in the order of the pairs. Any thread.
 *
 * Per layer, over pairs (g_i, b_i) of a target and a contrast activation:
 *     d = unit(mean(g) - mean(b)),   u = unit(mean(b)),   d = unit(d - (d.u) u)
 * so that the contrast's mean has no component along d: scales of a projection then act on what is
 * like the target. unit(0) = 0. */
#ifndef DS4_STEERING_CONTRAST_H
#define DS4_STEERING_CONTRAST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ds4.h"

/* Activations of n_pairs pairs: target and contrast are each [n_pairs][n_layers][n_embd], borrowed.
 */
typedef struct ds4_contrast {
    const float *target, *contrast;
    size_t n_pairs;
    uint32_t n_layers, n_embd;
} ds4_contrast;

typedef struct ds4_contrast_options {
    bool pair_normalize; /* mean of unit(g_i - b_i) instead of the difference of means */
    bool keep_common;    /* without the orthogonalisation */
} ds4_contrast_options;

/* The direction of one layer from the pairs whose `use` is true (NULL: all), to d [n_embd];
 * `scratch` [2 * n_embd]. */
void ds4_contrast_direction(const ds4_contrast *contrast, const ds4_contrast_options *options,
                            uint32_t layer, const bool *use, double *scratch, float *d);

/* How well a layer's activations tell the two sides apart. */
typedef struct ds4_separability {
    double difference; /* |mean(g) - mean(b)| */
    double relative;   /* the same over the mean norm of all activations */
    double effect;     /* Cohen's d of the projections on the layer's direction */
    double accuracy;   /* held out: five folds, each judged by the direction and the midpoint of the
                          rest */
    double stability;  /* cosine of the directions of the even and the odd pairs */
} ds4_separability;

/* `d`: the layer's direction. */
ds4_status ds4_contrast_judge(const ds4_contrast *contrast, const ds4_contrast_options *options,
                              uint32_t layer, const float *d, ds4_separability *result,
                              ds4_error *error);

/* Cosine of two vectors; 0 when one is zero. */
double ds4_cosine(const float *a, const float *b, size_t n);

#endif
