/* One step of the engine as every backend sees it: rows of tokens, each belonging to a session. */
#ifndef DS4_BACKEND_STEP_H
#define DS4_BACKEND_STEP_H

#include "backend/cpu/kv.h"
#include "steering/direction.h"

/* A session's consecutive tokens in this step: rows first_row .. first_row + n - 1, positions from
 * `position` on. */
typedef struct ds4_step_item {
    ds4_kv *kv;
    uint32_t position, n, first_row;
    const ds4_steering *steering; /* of all its rows; NULL: none */
    float *outputs[2]; /* [n][n_layers][n_embd] by ds4_steer_site, or NULL: see ds4_batch_item */
} ds4_step_item;

typedef struct ds4_step {
    uint32_t n_rows, n_items;
    ds4_step_item *items;
    uint32_t *item_of_row;
    uint32_t *position; /* [n_rows] */
    int32_t *token;     /* [n_rows] */
} ds4_step;

/* A row of the step whose logits are wanted, and the caller's memory for them (n_vocab floats). */
typedef struct ds4_logit_request {
    uint32_t row;
    float *logits;
} ds4_logit_request;

#endif
