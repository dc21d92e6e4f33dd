#include "sched/generation.h"

#include <stdlib.h>

#include "base/error.h"
#include "chat/control.h"
#include "sched/guide.h"
#include "tokenizer/tokenizer.h"

struct ds4_generation {
    const ds4_tokenizer *tokenizer;
    ds4_draw *draw;
    ds4_parser *parser;
    ds4_guide *guide; /* NULL: nothing is asked of the answer */
    ds4_chat_event_fn sink;
    void *sink_context;
    int32_t end_ids[2];
    uint32_t max_tokens, count, reasoning_count;
    ds4_finish finish;
    ds4_tokens sampled; /* without one that ends the turn */
    size_t n_thought;   /* of these, up to and with </think> */
    size_t n_vocab;
    int32_t think_end;
    uint32_t think_budget;
    ds4_sampled_token_fn token;
    uint32_t n_top;
    ds4_steering steering;
    ds4_steer_policy policy; /* OFF when the dial does nothing */
    bool tools_active;
    bool speaking;        /* a visible token was chosen */
    ds4_rng before_again; /* the random state of its first draw */
    bool again;           /* the next logits are those of the last token under the dial */
    int32_t undial_token; /* then: what was chosen without it */
    uint32_t steered_count;
};

ds4_sampling_request ds4_sampling_resolve(ds4_sampling_request asked, ds4_sampling_profile profile,
                                          bool thinking) {
    if (!thinking || profile == DS4_SAMPLING_CLIENT) return asked;
    bool forced = profile == DS4_SAMPLING_FORCED;
    if (forced || !asked.has_temperature) asked.temperature = forced ? 1.0f : 0.6f;
    if (forced || !asked.has_top_k) asked.top_k = forced ? 0 : 40;
    if (forced || !asked.has_top_p) asked.top_p = forced ? 1.0f : 0.95f;
    if (forced || !asked.has_min_p) asked.min_p = 0.05f;
    return asked;
}

static void on_event(void *context, const ds4_chat_event *event) {
    ds4_generation *generation = context;
    if (event->type == DS4_EVENT_FINISH) generation->finish = event->finish;
    generation->sink(generation->sink_context, event);
}

/* The same numbers under the sampler's name for them. */
static ds4_token_bias *copy_biases(const ds4_sampling_request *sampling) {
    ds4_token_bias *biases = calloc(sampling->n_biases + 1, sizeof *biases);
    for (size_t i = 0; biases != NULL && i < sampling->n_biases; i++)
        biases[i] = (ds4_token_bias){sampling->biases[i].id, sampling->biases[i].bias};
    return biases;
}

ds4_status ds4_generation_create(const ds4_generation_options *options, ds4_generation **out,
                                 ds4_error *error) {
    ds4_generation *generation = calloc(1, sizeof *generation);
    if (generation == NULL) return ds4_fail_memory(error, sizeof *generation, "an answer");
    generation->tokenizer = ds4_model_get_tokenizer(options->model);
    const ds4_special_ids *special = ds4_tokenizer_special_ids(generation->tokenizer);
    generation->end_ids[0] = special->eos;
    generation->end_ids[1] = special->user;
    generation->max_tokens = options->max_tokens;
    generation->sink = options->parser.sink;
    generation->sink_context = options->parser.sink_context;
    generation->n_vocab = ds4_model_get_info(options->model)->n_vocab;
    generation->think_budget = options->think_budget;
    generation->token = options->token;
    generation->n_top = options->n_top_logprobs < DS4_MAX_TOP_LOGPROBS ? options->n_top_logprobs
                                                                       : DS4_MAX_TOP_LOGPROBS;
    generation->steering = options->steering;
    bool dialled = ds4_steering_identity(&generation->steering) != 0;
    generation->policy = dialled ? options->steer_policy : DS4_STEER_OFF;
    generation->tools_active = options->parser.tools_active;
    ds4_token_bias *biases = copy_biases(&options->sampling);
    if (biases == NULL) {
        ds4_generation_destroy(generation);
        return ds4_fail_memory(error, options->sampling.n_biases * sizeof *biases, "biases");
    }
    ds4_draw_params draw = {.temperature = options->sampling.temperature,
                            .top_p = options->sampling.top_p,
                            .min_p = options->sampling.min_p,
                            .top_k = options->sampling.top_k,
                            .seed = options->sampling.seed,
                            .edit = {.presence = options->sampling.presence_penalty,
                                     .frequency = options->sampling.frequency_penalty,
                                     .repetition = options->sampling.repetition_penalty,
                                     .biases = biases,
                                     .n_biases = options->sampling.n_biases}};
    ds4_parser_options parser = options->parser;
    parser.ids = ds4_control_ids_of(generation->tokenizer);
    generation->think_end = parser.ids.id[DS4_CONTROL_THINK_END];
    parser.sink = on_event;
    parser.sink_context = generation;
    ds4_status status = ds4_draw_create(options->bans, &draw, &generation->draw, error);
    free(biases);
    if (status == DS4_OK) status = ds4_parser_create(&parser, &generation->parser, error);
    if (status == DS4_OK && options->constraint != NULL)
        status = ds4_guide_create(options->constraint, options->vocabulary, options->bans,
                                  &parser.ids, &generation->guide, error);
    if (status != DS4_OK) {
        ds4_generation_destroy(generation);
        return status;
    }
    ds4_draw_add_prompt(generation->draw, options->prompt, options->n_prompt);
    *out = generation;
    return DS4_OK;
}

void ds4_generation_destroy(ds4_generation *generation) {
    if (generation == NULL) return;
    ds4_guide_destroy(generation->guide);
    ds4_parser_destroy(generation->parser);
    ds4_draw_destroy(generation->draw);
    ds4_tokens_free(&generation->sampled);
    free(generation);
}

static bool is_end(const ds4_generation *generation, int32_t id) {
    return id == generation->end_ids[0] || id == generation->end_ids[1];
}

static void tell_token(const ds4_generation *generation, const float *logits, int32_t id,
                       ds4_token_string bytes, bool thinking) {
    if (is_end(generation, id)) return;
    ds4_logprob top[DS4_MAX_TOP_LOGPROBS];
    ds4_logprobs_top(logits, generation->n_vocab, top, generation->n_top);
    ds4_sampled_token token = {
        .id = id,
        .bytes = {bytes.data, bytes.n},
        .reasoning = thinking,
        .logprob = ds4_logprob_of(logits, generation->n_vocab, id),
        .top = top,
        .n_top = generation->n_top,
    };
    generation->token(generation->sink_context, &token);
}

static bool begins_prose(const ds4_generation *generation, int32_t id) {
    ds4_token_string bytes = ds4_tokenizer_token_bytes(generation->tokenizer, id);
    return ds4_steer_begins_prose(bytes.data, bytes.n,
                                  !ds4_tokenizer_is_ordinary(generation->tokenizer, id),
                                  generation->tools_active);
}

static ds4_status draw(ds4_generation *generation, const float *logits, bool greedy, int32_t *id,
                       ds4_error *error) {
    const uint64_t *banned =
        generation->guide == NULL ? NULL : ds4_guide_banned(generation->guide, generation->parser);
    return ds4_draw_token(generation->draw, logits, banned, greedy, id, error);
}

/* The first visible token under the dial: drawn from those that are visible, by drawing until one
 * comes, beginning with the random number that was drawn without the dial, so that the dial alone
 * makes the difference. A distribution that hardly has any is not asked for ever: then it stays
 * with what was chosen without the dial. */
static ds4_status draw_first_word(ds4_generation *generation, const float *logits, int32_t *id,
                                  ds4_error *error) {
    enum { TRIES = 16 };
    *ds4_draw_rng(generation->draw) = generation->before_again;
    ds4_status status = DS4_OK;
    for (int i = 0; status == DS4_OK && i < TRIES; i++) {
        status = draw(generation, logits, false, id, error);
        if (status == DS4_OK && begins_prose(generation, *id)) return DS4_OK;
    }
    *id = generation->undial_token;
    return status;
}

/* *again: the token is not to be taken yet, see DS4_NEXT_AGAIN. */
static ds4_status choose(ds4_generation *generation, const float *logits, ds4_output_phase phase,
                         int32_t *id, bool *again, ds4_error *error) {
    *again = false;
    if (phase == DS4_PHASE_THINKING && generation->think_budget > 0 && generation->think_end >= 0 &&
        generation->reasoning_count >= generation->think_budget) {
        *id = generation->think_end;
        return DS4_OK;
    }
    if (generation->again) {
        generation->again = false;
        return draw_first_word(generation, logits, id, error);
    }
    bool greedy = ds4_regime_is_greedy(ds4_parser_regime(generation->parser));
    const ds4_rng before = *ds4_draw_rng(generation->draw);
    ds4_status status = draw(generation, logits, greedy, id, error);
    if (status == DS4_OK && generation->policy == DS4_STEER_FINAL_ANSWER && !generation->speaking &&
        phase == DS4_PHASE_ANSWER_START && begins_prose(generation, *id)) {
        generation->again = *again = generation->speaking = true;
        generation->undial_token = *id;
        generation->before_again = before;
    }
    return status;
}

ds4_status ds4_generation_next(ds4_generation *generation, const float *logits,
                               ds4_generation_step *step, ds4_error *error) {
    ds4_parser *parser = generation->parser;
    ds4_output_phase phase = ds4_parser_phase(parser);
    bool thinking = phase == DS4_PHASE_THINKING, again;
    int32_t id;
    *step = (ds4_generation_step){.next = DS4_NEXT_DONE};
    ds4_status status = choose(generation, logits, phase, &id, &again, error);
    if (status != DS4_OK) return status;
    if (again) {
        *step = (ds4_generation_step){DS4_NEXT_AGAIN, -1, &generation->steering};
        return DS4_OK;
    }
    ds4_draw_accept(generation->draw, id);
    if (!is_end(generation, id)) {
        generation->count++;
        generation->reasoning_count += thinking;
        status = ds4_tokens_push(&generation->sampled, id, error);
        if (status != DS4_OK) return status;
        if (thinking) generation->n_thought = generation->sampled.n;
    }
    ds4_token_string bytes = ds4_tokenizer_token_bytes(generation->tokenizer, id);
    if (generation->token != NULL) tell_token(generation, logits, id, bytes, thinking);
    if (generation->guide != NULL && !thinking)
        ds4_guide_accept(generation->guide, parser, id, bytes.data, bytes.n);
    status = ds4_parser_feed_token(parser, id, bytes.data, bytes.n, error);
    if (status != DS4_OK) return status;
    if (ds4_parser_is_done(parser)) return DS4_OK;
    if (ds4_parser_has_failed(parser)) return ds4_parser_finish(parser, DS4_FINISH_STOP, error);
    if (generation->guide != NULL && ds4_guide_is_complete(generation->guide))
        return ds4_parser_finish(parser, DS4_FINISH_STOP, error);
    if (generation->count >= generation->max_tokens)
        return ds4_parser_finish(parser, DS4_FINISH_LENGTH, error);
    ds4_output_phase after = ds4_parser_phase(parser);
    if (after == DS4_PHASE_ANSWER) generation->speaking = true;
    bool edits = ds4_steer_policy_edits(generation->policy, phase, after, generation->speaking);
    generation->steered_count += edits;
    *step = (ds4_generation_step){DS4_NEXT_TOKEN, id, edits ? &generation->steering : NULL};
    return DS4_OK;
}

const ds4_steering *ds4_generation_prompt_steering(const ds4_generation *generation) {
    return ds4_steer_policy_edits_prompt(generation->policy) ? &generation->steering : NULL;
}

uint32_t ds4_generation_steered_count(const ds4_generation *generation) {
    return generation->steered_count;
}

uint32_t ds4_generation_count(const ds4_generation *generation) {
    return generation->count;
}
uint32_t ds4_generation_reasoning_count(const ds4_generation *generation) {
    return generation->reasoning_count;
}
ds4_sampled_turn ds4_generation_sampled(const ds4_generation *generation) {
    return (ds4_sampled_turn){generation->sampled.ids, generation->sampled.n,
                              generation->n_thought};
}
ds4_finish ds4_generation_finish(const ds4_generation *generation) {
    return generation->finish;
}
