/* Who contributes how many tokens to the next step, as pure functions. Any thread; nothing is
 * allocated. */
#ifndef DS4_SCHED_PLAN_H
#define DS4_SCHED_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What one live request could do in the next step. */
typedef struct ds4_step_wish {
    uint32_t prompt_left; /* prompt tokens not yet evaluated; 0: it is decoding (wants exactly one
                             token) */
    bool paused;          /* its reader is behind: nothing this time */
    uint32_t n_tokens;    /* out: its share */
} ds4_step_wish;

/* Every decoding request gets its token; `prefill_tokens` more are shared equally among the
 * prompts, what a short one does not need goes to the others (earlier ones first). The sum never
 * exceeds `max_tokens`. Returns it. */
uint32_t ds4_plan_step(ds4_step_wish *wishes, size_t n, uint32_t max_tokens,
                       uint32_t prefill_tokens);

/* How many prompt tokens a step should evaluate so that it takes about `target_seconds` at the
 * measured `tokens_per_second` (0: not known yet), between `least` and `most`. Any cut gives the
 * same result, so this only trades throughput for the time until a cancellation or another request
 * is heard. */
uint32_t ds4_prefill_tokens(double tokens_per_second, double target_seconds, uint32_t least,
                            uint32_t most);

#endif
