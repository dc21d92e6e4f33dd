/* Collecting an importance matrix: text goes through the engine, and what each weight is multiplied
 * with is summed. */
#ifndef DS4_IMATRIX_COLLECT_H
#define DS4_IMATRIX_COLLECT_H

#include "imatrix/imatrix.h"

/* A dataset is rendered text (control tokens spelled out), cut into prompts by lines that begin
 * with this; the rest of such a line is a comment. Without any it is one prompt. */
#define DS4_IMATRIX_SEPARATOR "===== DS4_IMATRIX_PROMPT"

typedef struct ds4_imatrix_progress {
    size_t n_prompts, prompts_done;
    uint64_t tokens_done;
} ds4_imatrix_progress;

typedef struct ds4_imatrix_collection {
    uint32_t max_context; /* tokens of a prompt that are evaluated; the rest is cut off */
    uint64_t max_prompts; /* 0: all */
    uint64_t max_tokens;  /* stop after the prompt that reaches this; 0: never */
    const char *dataset;  /* name to remember */
    /* After each prompt; false cancels (status CANCELLED, what was collected stays). May be NULL.
     */
    bool (*progress)(void *context, const ds4_imatrix_progress *progress);
    void *progress_context;
} ds4_imatrix_collection;

/* The number of prompts in `text`. */
size_t ds4_imatrix_count_prompts(const char *text, size_t n_bytes);

/* Evaluates the prompts of `text`, each from an empty session, and adds to `imatrix` every weight
 * that is multiplied, the output head included. The engine's max_context must be at least
 * max_context. Uses the engine's observer. */
ds4_status ds4_imatrix_collect(ds4_engine *engine, const ds4_model *model, const char *text,
                               size_t n_bytes, const ds4_imatrix_collection *collection,
                               ds4_imatrix *imatrix, ds4_imatrix_progress *done, ds4_error *error);

#endif
