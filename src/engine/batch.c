#include "engine/batch.h"

#include <stdlib.h>

#include "base/error.h"

ds4_status ds4_step_create(uint32_t max_rows, ds4_step *step, ds4_error *error) {
    *step = (ds4_step){
        .items = calloc(max_rows, sizeof *step->items),
        .item_of_row = calloc(max_rows, sizeof *step->item_of_row),
        .position = calloc(max_rows, sizeof *step->position),
        .token = calloc(max_rows, sizeof *step->token),
    };
    if (step->items != NULL && step->item_of_row != NULL && step->position != NULL &&
        step->token != NULL)
        return DS4_OK;
    ds4_step_free(step);
    return ds4_fail_memory(error, max_rows * sizeof *step->items, "a step");
}

void ds4_step_free(ds4_step *step) {
    free(step->items);
    free(step->item_of_row);
    free(step->position);
    free(step->token);
    *step = (ds4_step){0};
}

static ds4_status check_item(const ds4_batch_item *items, size_t index, uint32_t n_rows,
                             uint32_t max_rows, uint32_t n_vocab, ds4_error *error) {
    const ds4_batch_item *item = &items[index];
    const ds4_session *session = item->session;
    if (item->n_tokens == 0)
        return ds4_fail(error, DS4_INVALID_ARGUMENT, "batch item %zu has no tokens", index);
    if (item->n_tokens > max_rows - n_rows)
        return ds4_fail(error, DS4_INVALID_ARGUMENT, "the batch has more than %u tokens", max_rows);
    if (item->want != DS4_LOGITS_NONE && item->logits == NULL)
        return ds4_fail(error, DS4_INVALID_ARGUMENT,
                        "batch item %zu wants logits but gives no memory for them", index);
    if (item->n_tokens > session->n_context - session->n_tokens)
        return ds4_fail(error, DS4_CONTEXT_FULL,
                        "%u more tokens after %u exceed the session's context of %u",
                        item->n_tokens, session->n_tokens, session->n_context);
    for (uint32_t t = 0; t < item->n_tokens; t++) {
        if (item->tokens[t] >= 0 && (uint32_t)item->tokens[t] < n_vocab) continue;
        return ds4_fail(error, DS4_INVALID_ARGUMENT,
                        "token %u of batch item %zu is %d; the vocabulary has %u", t, index,
                        (int)item->tokens[t], n_vocab);
    }
    for (size_t i = 0; i < index; i++) {
        if (items[i].session == session)
            return ds4_fail(error, DS4_INVALID_ARGUMENT,
                            "batch items %zu and %zu are the same session", i, index);
    }
    return DS4_OK;
}

ds4_status ds4_step_compose(const ds4_batch_item *items, size_t n_items, uint32_t max_rows,
                            uint32_t n_vocab, ds4_step *step, ds4_error *error) {
    step->n_rows = step->n_items = 0;
    for (size_t i = 0; i < n_items; i++) {
        const ds4_batch_item *item = &items[i];
        ds4_status status = check_item(items, i, step->n_rows, max_rows, n_vocab, error);
        if (status != DS4_OK) return status;
        step->items[step->n_items] = (ds4_step_item){
            .kv = &item->session->kv,
            .position = item->session->n_tokens,
            .n = item->n_tokens,
            .first_row = step->n_rows,
            .steering = item->steering,
            .outputs = {[DS4_STEER_ATTN] = item->attn_outputs, [DS4_STEER_FFN] = item->ffn_outputs},
        };
        for (uint32_t t = 0; t < item->n_tokens; t++, step->n_rows++) {
            step->item_of_row[step->n_rows] = step->n_items;
            step->position[step->n_rows] = item->session->n_tokens + t;
            step->token[step->n_rows] = item->tokens[t];
        }
        step->n_items++;
    }
    return DS4_OK;
}
