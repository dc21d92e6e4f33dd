/* One answer in the making: logits -> token -> events, until the model, a stop sequence, a tool
 * block or a limit ends it.
 *
 * Owned by one job. Its memory is allocated by ds4_generation_create except what the parser keeps
 * of the output. Threads: one at a time (created by the submitter, then used by the engine thread).
 */
#ifndef DS4_SCHED_GENERATION_H
#define DS4_SCHED_GENERATION_H

#include "chat/chat_request.h"
#include "chat/parse.h"
#include "constraint/constraint.h"
#include "constraint/vocabulary.h"
#include "sample/sampler.h"
#include "sched/draw.h"
#include "sched/steer_policy.h"

#define DS4_MAX_TOP_LOGPROBS 20u

/* How sampling values that the client did not send are chosen while the model thinks
 * (docs/sampling.md). What the client did send holds in every profile but FORCED. */
typedef enum ds4_sampling_profile {
    DS4_SAMPLING_STABLE, /* thinking: temperature 0.6, top_k 40, top_p 0.95, min_p 0.05 */
    DS4_SAMPLING_CLIENT, /* the request's defaults, thinking or not */
    DS4_SAMPLING_FORCED, /* thinking: 1, off, 1, 0.05 whatever was asked */
} ds4_sampling_profile;

ds4_sampling_request ds4_sampling_resolve(ds4_sampling_request asked, ds4_sampling_profile profile,
                                          bool thinking);

/* One sampled token of the answer, told before the events that it brings. The lists are borrowed
 * for the call. */
typedef struct ds4_sampled_token {
    int32_t id;
    ds4_text bytes;         /* may end inside a character */
    bool reasoning;         /* sampled while thinking, </think> included; else content or markup
                             */
    float logprob;          /* of the raw distribution */
    const ds4_logprob *top; /* the likeliest, best first */
    size_t n_top;
} ds4_sampled_token;

typedef void (*ds4_sampled_token_fn)(void *context, const ds4_sampled_token *token);

typedef struct ds4_generation_options {
    const ds4_model *model;
    const ds4_ban_set *bans;       /* must outlive the generation */
    ds4_sampling_request sampling; /* resolved */
    uint32_t max_tokens;           /* >= 1, already limited to what the context holds */
    ds4_parser_options parser;     /* with sink; `ids` is filled in here */
    uint32_t think_budget;         /* reasoning tokens after which </think> is forced; 0: none */
    const int32_t *prompt;         /* for the repetition penalty; read at creation */
    size_t n_prompt;
    ds4_sampled_token_fn token; /* NULL: log-probabilities are not computed; context: the sink's */
    uint32_t n_top_logprobs;    /* at most DS4_MAX_TOP_LOGPROBS */
    ds4_constraint *constraint; /* NULL: none; a reference is kept */
    const ds4_vocabulary *vocabulary; /* for the constraint; must outlive the generation */
    ds4_steering steering;            /* its direction must outlive the generation */
    ds4_steer_policy steer_policy;
} ds4_generation_options;

typedef struct ds4_generation ds4_generation;

ds4_status ds4_generation_create(const ds4_generation_options *options, ds4_generation **generation,
                                 ds4_error *error);
void ds4_generation_destroy(ds4_generation *generation);

/* What comes next. */
typedef enum ds4_next {
    DS4_NEXT_DONE,  /* the FINISH event was sent */
    DS4_NEXT_TOKEN, /* evaluate `token` under `steering` and come again with its logits */
    DS4_NEXT_AGAIN, /* take the last evaluated token back, evaluate it under `steering` and come
                       again with those logits: the first visible word is chosen under the dial, but
                       whether there is one was decided without it */
} ds4_next;

typedef struct ds4_generation_step {
    ds4_next next;
    int32_t token;
    const ds4_steering *steering; /* NULL: none; valid as long as the generation */
} ds4_generation_step;

/* Chooses the next token from `logits` [n_vocab] of the last evaluated one. */
ds4_status ds4_generation_next(ds4_generation *generation, const float *logits,
                               ds4_generation_step *step, ds4_error *error);
/* The dial of the prompt's rows; NULL: none. */
const ds4_steering *ds4_generation_prompt_steering(const ds4_generation *generation);

uint32_t ds4_generation_count(const ds4_generation *generation); /* sampled tokens without EOS */
uint32_t
ds4_generation_reasoning_count(const ds4_generation *generation); /* of these, while thinking */
uint32_t
ds4_generation_steered_count(const ds4_generation *generation); /* of these, under the dial */

/* All tokens of the answer, without one that ended the turn. Valid until the next one is chosen. */
typedef struct ds4_sampled_turn {
    const int32_t *ids;
    size_t n;
    size_t n_thought; /* the first of them, up to and with </think> */
} ds4_sampled_turn;
ds4_sampled_turn ds4_generation_sampled(const ds4_generation *generation);
ds4_finish ds4_generation_finish(const ds4_generation *generation);

#endif
