/* The official checkpoint: which of its tensors each tensor of a plan is made from. */
#ifndef DS4_GGUF_TOOL_CHECKPOINT_H
#define DS4_GGUF_TOOL_CHECKPOINT_H

#include "base/options.h"
#include "gguf-tool/plan.h"
#include "gguf-tool/safetensors.h"

typedef struct ds4_checkpoint {
    ds4_safetensors *tensors;
    ds4_matrix_source **sources; /* [tensor of the plan][matrix] */
    size_t n;
} ds4_checkpoint;

typedef struct ds4_checkpoint_options {
    bool allow_nan;                /* NaN codes of FP8 become zeros */
    const ds4_option_list *ignore; /* patterns of tensors that the model does not need, or NULL */
} ds4_checkpoint_options;

/* Opens the directory's shards and finds every matrix of the plan, with its scales. Optional
 * tensors that are absent leave the plan. Every tensor that is missing, has an unsuitable dtype or
 * shape, lacks its scales or is unknown is named on standard error; then FORMAT tells how many
 * there were. Tensors of the draft block ("mtp.") are another file's business. */
ds4_status ds4_checkpoint_open(const char *directory, const ds4_checkpoint_options *options,
                               ds4_plan *plan, ds4_checkpoint *checkpoint, ds4_error *error);
void ds4_checkpoint_close(ds4_checkpoint *checkpoint);

#endif
