/* From a caller's batch to the step that the backend runs: pure bookkeeping, tested with sessions
 * built by hand. */
#ifndef DS4_ENGINE_BATCH_H
#define DS4_ENGINE_BATCH_H

#include "engine/engine.h"

/* Memory for steps of at most max_rows tokens. */
ds4_status ds4_step_create(uint32_t max_rows, ds4_step *step, ds4_error *error);
void ds4_step_free(ds4_step *step);

/* Checks the whole batch and lays it out, items in order. On error the step's content is undefined
 * and no session has moved. Errors: INVALID_ARGUMENT (empty item, token outside the vocabulary, too
 * many tokens, a session twice), CONTEXT_FULL. */
ds4_status ds4_step_compose(const ds4_batch_item *items, size_t n_items, uint32_t max_rows,
                            uint32_t n_vocab, ds4_step *step, ds4_error *error);

#endif
