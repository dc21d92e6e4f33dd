#include "engine/engine.h"

#include <stdlib.h>

#include "base/error.h"
#include "base/machine.h"
#include "engine/batch.h"

enum {
    DEFAULT_BATCH_TOKENS = 512,
    DEFAULT_CONTEXT = 32768,
    MAX_BATCH_TOKENS = 1 << 16,
    MAX_CONTEXT = 1 << 24
};

/* Fills in the defaults and refuses what no plan could make sense of. */
static ds4_status resolve_options(const ds4_model *model, const ds4_engine_options *given,
                                  ds4_engine_options *options, ds4_error *error) {
    *options = given != NULL ? *given : (ds4_engine_options){0};
    if (options->n_threads == 0) options->n_threads = ds4_threads_online_cores();
    if (options->max_batch_tokens == 0) options->max_batch_tokens = DEFAULT_BATCH_TOKENS;
    if (options->max_context == 0) options->max_context = DEFAULT_CONTEXT;
    if (options->max_sessions == 0) options->max_sessions = 1;
    if (options->kv_sim == DS4_KV_SIM_DEFAULT) options->kv_sim = model->hparams.kv_sim;
    if (options->max_batch_tokens > MAX_BATCH_TOKENS)
        return ds4_fail(error, DS4_INVALID_ARGUMENT,
                        "a batch of %u tokens; at most %d are supported", options->max_batch_tokens,
                        MAX_BATCH_TOKENS);
    if (options->max_context > MAX_CONTEXT)
        return ds4_fail(error, DS4_INVALID_ARGUMENT,
                        "a context of %u tokens; at most %d are supported", options->max_context,
                        MAX_CONTEXT);
    return ds4_hparams_check_kv_sim(&model->hparams, options->kv_sim, error);
}

static void make_plan(const ds4_model *model, const ds4_engine_options *options,
                      ds4_memory_plan *plan) {
    ds4_row_codec codec = ds4_row_codec_make(&model->hparams, options->kv_sim, NULL, NULL);
    *plan = (ds4_memory_plan){
        .weights = model->weights.bytes,
        .scratch = ds4_forward_bytes(&model->hparams, options),
        .available = ds4_machine_memory(),
    };
    ds4_kv_bytes(&model->hparams, &codec, options->max_context, &plan->session_fixed,
                 &plan->session_rows);
    plan->session_fixed += options->max_context * (sizeof(int32_t) + sizeof(uint64_t));
    plan->rows = options->max_sessions * plan->session_rows;
    if (options->row_budget != 0 && options->row_budget < plan->rows)
        plan->rows = options->row_budget;
    plan->total =
        plan->weights + plan->scratch + options->max_sessions * plan->session_fixed + plan->rows;
}

ds4_status ds4_engine_plan(const ds4_model *model, const ds4_engine_options *given,
                           ds4_memory_plan *plan, ds4_error *error) {
    ds4_engine_options options;
    ds4_status status = resolve_options(model, given, &options, error);
    if (status == DS4_OK) make_plan(model, &options, plan);
    return status;
}

static double gib(uint64_t bytes) {
    return (double)bytes / (double)(1u << 30);
}

static ds4_status check_plan(const ds4_model *model, const ds4_engine_options *options,
                             ds4_error *error) {
    ds4_memory_plan plan;
    make_plan(model, options, &plan);
    if (plan.available == 0 || plan.total <= plan.available) return DS4_OK;
    return ds4_fail(
        error, DS4_DOES_NOT_FIT,
        "%.2f GiB are needed (weights %.2f, scratch %.2f, %u session(s) of %u tokens at %.2f each, "
        "their rows %.2f in all) and this machine has %.2f GiB; use a smaller context, fewer "
        "sessions or a smaller model",
        gib(plan.total), gib(plan.weights), gib(plan.scratch), options->max_sessions,
        options->max_context, gib(plan.session_fixed), gib(plan.rows), gib(plan.available));
}

ds4_status ds4_engine_create(const ds4_model *model, const ds4_engine_options *given,
                             ds4_engine **result, ds4_error *error) {
    ds4_engine_options options;
    ds4_status status = resolve_options(model, given, &options, error);
    if (status == DS4_OK) status = check_plan(model, &options, error);
    if (status != DS4_OK) return status;
    ds4_engine *engine = calloc(1, sizeof *engine);
    if (engine == NULL) return ds4_fail_memory(error, sizeof *engine, "an engine");
    engine->model = model;
    engine->options = options;
    status = ds4_step_create(options.max_batch_tokens, &engine->step, error);
    if (status == DS4_OK)
        status = ds4_forward_create(&model->hparams, &options, &engine->forward, error);
    if (status != DS4_OK)
        ds4_engine_destroy(engine);
    else
        *result = engine;
    return status;
}

void ds4_engine_destroy(ds4_engine *engine) {
    if (engine == NULL) return;
    ds4_forward_free(&engine->forward);
    ds4_step_free(&engine->step);
    free(engine);
}

const ds4_engine_options *ds4_engine_get_options(const ds4_engine *engine) {
    return &engine->options;
}

void ds4_engine_observe(ds4_engine *engine, ds4_product_observer observe, void *context) {
    engine->forward.cpu.observe = observe;
    engine->forward.cpu.observe_context = context;
}

/* Pairs the streams whose logits are wanted with the caller's memory; returns their number. */
static uint32_t list_logit_rows(ds4_engine *engine, const ds4_batch_item *items, size_t n_items) {
    ds4_forward *f = &engine->forward;
    uint32_t n = 0;
    for (size_t i = 0; i < n_items; i++) {
        const ds4_step_item *item = &engine->step.items[i];
        uint32_t first = items[i].want == DS4_LOGITS_ALL    ? 0
                         : items[i].want == DS4_LOGITS_LAST ? item->n - 1
                                                            : item->n;
        for (uint32_t t = first; t < item->n; t++, n++) {
            f->head_row[n] = f->streams.row[item->first_row + t];
            f->logit_row[n] =
                items[i].logits + (size_t)(t - first) * engine->model->hparams.n_vocab;
        }
    }
    return n;
}

static void advance(ds4_session *session, const ds4_batch_item *item) {
    uint64_t dial = ds4_steering_identity(item->steering);
    for (uint32_t t = 0; t < item->n_tokens; t++) {
        session->tokens[session->n_tokens + t] = item->tokens[t];
        session->dials[session->n_tokens + t] = dial;
    }
    session->n_tokens += item->n_tokens;
    if (session->n_tokens > DS4_JOURNAL_TOKENS &&
        session->n_tokens - DS4_JOURNAL_TOKENS > session->rewind_floor)
        session->rewind_floor = session->n_tokens - DS4_JOURNAL_TOKENS;
}

ds4_status ds4_engine_forward(ds4_engine *engine, const ds4_batch_item *items, size_t n_items,
                              ds4_error *error) {
    for (size_t i = 0; i < n_items; i++) {
        if (items[i].session->engine != engine)
            return ds4_fail(error, DS4_INVALID_ARGUMENT, "batch item %zu belongs to another engine",
                            i);
        if (items[i].steering == NULL) continue;
        const ds4_hparams *hp = &engine->model->hparams;
        ds4_status status = ds4_steering_check(items[i].steering, hp->n_layers, hp->n_embd, error);
        if (status != DS4_OK) return status;
    }
    ds4_status status = ds4_step_compose(items, n_items, engine->options.max_batch_tokens,
                                         engine->model->hparams.n_vocab, &engine->step, error);
    if (status != DS4_OK || engine->step.n_rows == 0) return status;
    ds4_forward_run(&engine->forward, &engine->model->weights, &engine->step,
                    list_logit_rows(engine, items, n_items));
    for (size_t i = 0; i < n_items; i++) advance(items[i].session, &items[i]);
    return DS4_OK;
}
