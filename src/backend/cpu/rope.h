/* Rotary position embedding over the last lanes of a row, adjacent pairs (docs/model.md, "RoPE").
 * Angles are formed in double from position x frequency and only the cosine and sine are rounded to
 * float32. The alternative, `float32`, multiplies position by the ratio of neighbouring frequencies
 * again and again in float32, as other engines of this family do: worse with growing positions, but
 * needed to compare traces with theirs. */
#ifndef DS4_BACKEND_CPU_ROPE_H
#define DS4_BACKEND_CPU_ROPE_H

#include "model/hparams.h"

/* The frequencies of one kind of layer: plain (ratio 0), or compressed with YaRN interpolation. */
typedef struct ds4_rope {
    ds4_rope_angles_kind kind;
    uint32_t n_pairs;
    float ratio;       /* of neighbouring frequencies before interpolation, for the float32 kind */
    double *slowdown;  /* [n_pairs] interpolated frequency / original frequency */
    double *frequency; /* [n_pairs] radians per position, interpolated */
} ds4_rope;

ds4_status ds4_rope_create(const ds4_hparams *hparams, bool compressed, ds4_rope_angles_kind kind,
                           ds4_rope *rope, ds4_error *error);
void ds4_rope_free(ds4_rope *rope);

/* cos_sin: n_pairs (cosine, sine) couples for one position. */
void ds4_rope_angles(const ds4_rope *rope, uint32_t position, float *cos_sin);
/* Rotates `lanes` (2 * n_pairs values) forward, or back when `inverse`. */
void ds4_rope_rotate(const float *cos_sin, uint32_t n_pairs, bool inverse, float *lanes);

#endif
