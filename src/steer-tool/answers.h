/* Requests answered under dials, several at a time, by the scheduler that the server uses: the same
 * request, seed and dial give the same answer here and there. For programs: one thread. */
#ifndef DS4_STEER_TOOL_ANSWERS_H
#define DS4_STEER_TOOL_ANSWERS_H

#include "sched/sched.h"
#include "steer-tool/items.h"

typedef struct ds4_answer {
    ds4_chat_result message;
    uint32_t n_generated, n_steered;
} ds4_answer;

/* One thing to do: borrowed until its answer was handed over. */
typedef struct ds4_answer_task {
    const ds4_asked *asked;
    ds4_steering steering;
    ds4_steer_policy policy;
} ds4_answer_task;

typedef struct ds4_answers_options {
    uint32_t n_threads, n_context, n_slots, max_tokens; /* for requests that do not say */
    ds4_backend_kind backend;
    ds4_activations activations;
} ds4_answers_options;

typedef struct ds4_answers ds4_answers;

ds4_status ds4_answers_create(const ds4_model *model, const ds4_answers_options *options,
                              ds4_answers **answers, ds4_error *error);
void ds4_answers_destroy(ds4_answers *answers); /* NULL is fine */

/* Asks for `next(context, i, &task)`, i = 0 to n - 1, and hands the answers over in that order. */
typedef void (*ds4_answer_next_fn)(void *context, size_t i, ds4_answer_task *task);
typedef void (*ds4_answer_done_fn)(void *context, size_t i, const ds4_answer *answer);
ds4_status ds4_answers_run(ds4_answers *answers, size_t n, ds4_answer_next_fn next,
                           ds4_answer_done_fn done, void *context, ds4_error *error);

#endif
