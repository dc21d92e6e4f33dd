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

/* Where prompts come from: `next` fills `prompt` (empty when it is called) and sets *more, or sets
 * *more to false at the end. */
typedef struct ds4_imatrix_source {
    ds4_status (*next)(void *context, ds4_tokens *prompt, bool *more, ds4_error *error);
    void *context;
    size_t n_prompts; /* for the progress */
} ds4_imatrix_source;

/* A dataset of rendered text as a source. */
typedef struct ds4_imatrix_text {
    const ds4_tokenizer *tokenizer;
    const char *rest; /* borrowed */
    size_t n_bytes;
} ds4_imatrix_text;
ds4_imatrix_source ds4_imatrix_text_source(ds4_imatrix_text *text);

/* Evaluates the prompts of `source`, each from an empty session, and adds to `imatrix` every weight
 * that is multiplied, the output head included. The engine's max_context must be at least that of
 * `collection`. Uses the engine's observer. INVALID_ARGUMENT when the source has no prompt. */
ds4_status ds4_imatrix_collect(ds4_engine *engine, const ds4_model *model,
                               const ds4_imatrix_source *source,
                               const ds4_imatrix_collection *collection, ds4_imatrix *imatrix,
                               ds4_imatrix_progress *done, ds4_error *error);

#endif
