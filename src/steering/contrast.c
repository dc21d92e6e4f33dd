#include "steering/contrast.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

enum { FOLDS = 5 };

static const float *row_of(const ds4_contrast *c, const float *side, size_t pair, uint32_t layer) {
    return side + (pair * c->n_layers + layer) * c->n_embd;
}

static bool is_used(const bool *use, size_t pair) {
    return use == NULL || use[pair];
}

static void make_unit(double *v, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += v[i] * v[i];
    if (sum == 0) return;
    double scale = 1 / sqrt(sum);
    for (size_t i = 0; i < n; i++) v[i] *= scale;
}

static void add_mean(const ds4_contrast *c, const float *side, uint32_t layer, const bool *use,
                     double sign, double *mean) {
    size_t n = 0;
    for (size_t p = 0; p < c->n_pairs; p++) n += is_used(use, p);
    for (size_t p = 0; p < c->n_pairs; p++) {
        if (!is_used(use, p)) continue;
        const float *row = row_of(c, side, p, layer);
        for (uint32_t i = 0; i < c->n_embd; i++) mean[i] += sign * (double)row[i] / (double)n;
    }
}

static void add_pair_differences(const ds4_contrast *c, uint32_t layer, const bool *use,
                                 double *sum, double *scratch) {
    for (size_t p = 0; p < c->n_pairs; p++) {
        if (!is_used(use, p)) continue;
        const float *g = row_of(c, c->target, p, layer), *b = row_of(c, c->contrast, p, layer);
        for (uint32_t i = 0; i < c->n_embd; i++) scratch[i] = (double)g[i] - (double)b[i];
        make_unit(scratch, c->n_embd);
        for (uint32_t i = 0; i < c->n_embd; i++) sum[i] += scratch[i];
    }
}

void ds4_contrast_direction(const ds4_contrast *c, const ds4_contrast_options *options,
                            uint32_t layer, const bool *use, double *scratch, float *d) {
    size_t n = c->n_embd;
    double *v[2] = {scratch, scratch + n}, along = 0;
    memset(v[0], 0, n * sizeof(double));
    memset(v[1], 0, n * sizeof(double));
    if (options->pair_normalize) {
        add_pair_differences(c, layer, use, v[0], v[1]);
    } else {
        add_mean(c, c->target, layer, use, 1, v[0]);
        add_mean(c, c->contrast, layer, use, -1, v[0]);
    }
    make_unit(v[0], n);
    if (!options->keep_common) {
        memset(v[1], 0, n * sizeof(double));
        add_mean(c, c->contrast, layer, use, 1, v[1]);
        make_unit(v[1], n);
        for (size_t i = 0; i < n; i++) along += v[0][i] * v[1][i];
        for (size_t i = 0; i < n; i++) v[0][i] -= along * v[1][i];
        make_unit(v[0], n);
    }
    for (size_t i = 0; i < n; i++) d[i] = (float)v[0][i];
}

/* ---- separability ---- */

static double project(const float *row, const float *d, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)row[i] * (double)d[i];
    return sum;
}

typedef struct moments {
    double mean, variance;
} moments;

static moments side_moments(const ds4_contrast *c, const float *side, uint32_t layer,
                            const float *d, const bool *use) {
    double sum = 0, squares = 0;
    size_t n = 0;
    for (size_t p = 0; p < c->n_pairs; p++) {
        if (!is_used(use, p)) continue;
        double x = project(row_of(c, side, p, layer), d, c->n_embd);
        sum += x;
        squares += x * x;
        n++;
    }
    double mean = n > 0 ? sum / (double)n : 0;
    return (moments){mean, n > 1 ? fmax(0, squares / (double)n - mean * mean) : 0};
}

/* Pairs of the fold, judged by the direction of all others: above the midpoint is the target. */
static size_t judge_fold(const ds4_contrast *c, const ds4_contrast_options *options, uint32_t layer,
                         size_t fold, bool *use, double *scratch, float *d) {
    size_t right = 0;
    for (size_t p = 0; p < c->n_pairs; p++) use[p] = p % FOLDS != fold;
    ds4_contrast_direction(c, options, layer, use, scratch, d);
    double middle = (side_moments(c, c->target, layer, d, use).mean +
                     side_moments(c, c->contrast, layer, d, use).mean) /
                    2;
    for (size_t p = fold; p < c->n_pairs; p += FOLDS) {
        right += project(row_of(c, c->target, p, layer), d, c->n_embd) > middle;
        right += project(row_of(c, c->contrast, p, layer), d, c->n_embd) < middle;
    }
    return right;
}

static double mean_norm(const ds4_contrast *c, uint32_t layer) {
    double sum = 0;
    for (size_t p = 0; p < c->n_pairs; p++) {
        const float *g = row_of(c, c->target, p, layer), *b = row_of(c, c->contrast, p, layer);
        sum += sqrt(project(g, g, c->n_embd)) + sqrt(project(b, b, c->n_embd));
    }
    return sum / (double)(2 * c->n_pairs);
}

ds4_status ds4_contrast_judge(const ds4_contrast *c, const ds4_contrast_options *options,
                              uint32_t layer, const float *d, ds4_separability *result,
                              ds4_error *error) {
    size_t n = c->n_embd, right = 0;
    bool *use = calloc(c->n_pairs, sizeof *use);
    float *other = malloc(2 * n * sizeof *other);
    double *difference = calloc(3 * n, sizeof *difference);
    ds4_status status = DS4_OK;
    *result = (ds4_separability){0};
    if (use == NULL || other == NULL || difference == NULL) {
        status = ds4_fail_memory(error, 2 * n * sizeof *other, "a judgement of a layer");
        goto done;
    }
    double *scratch = difference + n;
    add_mean(c, c->target, layer, NULL, 1, difference);
    add_mean(c, c->contrast, layer, NULL, -1, difference);
    for (size_t i = 0; i < n; i++) result->difference += difference[i] * difference[i];
    result->difference = sqrt(result->difference);
    double norm = mean_norm(c, layer);
    result->relative = norm > 0 ? result->difference / norm : 0;
    moments g = side_moments(c, c->target, layer, d, NULL),
            b = side_moments(c, c->contrast, layer, d, NULL);
    double spread = sqrt((g.variance + b.variance) / 2);
    result->effect = spread > 0 ? (g.mean - b.mean) / spread : 0;
    for (size_t fold = 0; fold < FOLDS; fold++)
        right += judge_fold(c, options, layer, fold, use, scratch, other);
    result->accuracy = (double)right / (double)(2 * c->n_pairs);
    for (size_t parity = 0; parity < 2; parity++) {
        for (size_t p = 0; p < c->n_pairs; p++) use[p] = p % 2 == parity;
        ds4_contrast_direction(c, options, layer, use, scratch, other + parity * n);
    }
    result->stability = ds4_cosine(other, other + n, n);
done:
    free(difference);
    free(other);
    free(use);
    return status;
}

double ds4_cosine(const float *a, const float *b, size_t n) {
    double aa = project(a, a, n), bb = project(b, b, n);
    return aa > 0 && bb > 0 ? project(a, b, n) / sqrt(aa * bb) : 0;
}
