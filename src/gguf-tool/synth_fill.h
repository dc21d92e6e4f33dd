/* Random weights that make a model behave: activations keep their size from layer to layer, logits
 * spread by about 2.
 *
 * Every row is a function of seed, tensor name and row number alone, so files do not depend on
 * thread count and any part can be made again by itself. Any thread. */
#ifndef DS4_GGUF_TOOL_SYNTH_FILL_H
#define DS4_GGUF_TOOL_SYNTH_FILL_H

#include "gguf-tool/plan.h"

/* The random stream of one tensor. */
uint64_t ds4_synth_key(uint64_t seed, const char *name);

/* Row `row` of the tensor, as stored in its type (F32, F16, Q8_0, IQ2_XXS, Q2_K or I32), at
 * `target`. */
void ds4_synth_row(const ds4_tensor_plan *tensor, const ds4_shape *shape, uint64_t key,
                   uint64_t row, uint8_t *target);

#endif
