/* Quantizers: float32 rows to blocks, with or without an importance per column.
 *
 * Q8_0, Q2_K, Q4_K and IQ2_XXS follow the published algorithms step by step (docs/quantizers.md):
 * the same input gives the same bytes as other tools of this family, on every instruction set.
 * With `refit` the result of that algorithm is the start of a search that uses the values the
 * decoder really produces and the scales as they are stored; the weighted squared error of a block
 * never grows by it. The files are of the same formats.
 *
 * A ds4_quantizer is read-only after its creation: any number of threads may use one. */
#ifndef DS4_QUANT_QUANTIZE_H
#define DS4_QUANT_QUANTIZE_H

#include <stdbool.h>

#include "quant/quant.h"

typedef struct ds4_quantizer ds4_quantizer;

typedef struct ds4_quantizer_options {
    bool refit;
    const char *set; /* instruction set by name, for tests; NULL: the best of this CPU */
} ds4_quantizer_options;

/* `options` may be NULL. INVALID_ARGUMENT for a set that this machine lacks. */
ds4_status ds4_quantizer_create(const ds4_quantizer_options *options, ds4_quantizer **quantizer,
                                ds4_error *error);
void ds4_quantizer_destroy(ds4_quantizer *quantizer);

/* Whether ds4_quantize_row can write this type: all that we compute with. */
bool ds4_type_can_be_quantized(uint32_t type);
/* Whether the published algorithm can use, and whether it must have, an importance; a refit can
 * always use one and never needs one. */
bool ds4_type_uses_importance(ds4_type type);
bool ds4_type_needs_importance(ds4_type type);

/* n values, whole blocks of `type`. `importance`: n finite numbers >= 0, how much an error in each
 * column matters, or NULL; types that use none disregard it. FORMAT when a value is not finite or
 * does not fit the type. */
ds4_status ds4_quantize_row(const ds4_quantizer *quantizer, ds4_type type, const float *source,
                            const float *importance, void *target, size_t n, ds4_error *error);

/* The importance of types that need one when nothing was measured: per column the sum of the
 * squares of one matrix. Call for its rows in order; `importance` starts at zero. */
void ds4_importance_add_row(const float *row, float *importance, size_t n);

/* What a refit to two bits takes for `importance`: each column's own leans on the mean of all,
 * (own + DS4_IMPORTANCE_LEVELLING * mean) / (1 + DS4_IMPORTANCE_LEVELLING). Of other types it stays
 * as it is. */
#define DS4_IMPORTANCE_LEVELLING 2.0
void ds4_importance_level(ds4_type type, float *importance, size_t n);

#endif
