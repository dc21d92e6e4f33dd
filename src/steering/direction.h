/* Directions for steering: one vector per layer, and the dial that a request sets on them. What the
 * numbers mean is in docs/steering.md; the edit itself is backend/cpu/steer.c. Immutable after
 * creation; any thread. */
#ifndef DS4_STEERING_DIRECTION_H
#define DS4_STEERING_DIRECTION_H

#include "ds4.h"

/* The bytes of a direction file; `what` names them in messages. FORMAT as ds4_direction_open. */
ds4_status ds4_direction_decode(const void *bytes, size_t n_bytes, uint32_t n_layers,
                                uint32_t n_embd, const char *what, ds4_direction **direction,
                                ds4_error *error);

/* Row `layer` of the direction, n_embd floats; NULL when that layer's vector is zero, which means
 * that the layer is not steered. */
const float *ds4_direction_row(const ds4_direction *direction, uint32_t layer);

/* Fails with INVALID_ARGUMENT unless the dial can be used with a model of this shape: finite scales
 * from -100 to 100, a layer range inside the model, a direction of this shape. A dial without
 * direction is valid and does nothing. */
ds4_status ds4_steering_check(const ds4_steering *steering, uint32_t n_layers, uint32_t n_embd,
                              ds4_error *error);

/* The scale of a site in a layer; 0 when nothing is to be done there. */
typedef enum ds4_steer_site { DS4_STEER_ATTN, DS4_STEER_FFN } ds4_steer_site;
float ds4_steering_scale(const ds4_steering *steering, ds4_steer_site site, uint32_t layer);

#endif
