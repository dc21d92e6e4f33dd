/* What the halves of the layers say about the prompts of pairs, several sessions at a time. */
#ifndef DS4_STEER_TOOL_CAPTURE_H
#define DS4_STEER_TOOL_CAPTURE_H

#include "steer-tool/pairs.h"
#include "steering/contrast.h"

typedef struct ds4_capture_options {
    bool attention;     /* outputs of attention instead of feed-forward */
    uint32_t n_threads; /* 0: one per core */
    uint32_t n_sessions;
    ds4_backend_kind backend;
} ds4_capture_options;

/* Per side the mean over its positions: target and contrast [n_pairs][n_layers][n_embd], malloc'ed;
 * free both. */
ds4_status ds4_capture_pairs(const ds4_model *model, const ds4_pairs *pairs,
                             const ds4_capture_options *options, float **target, float **contrast,
                             ds4_error *error);

#endif
