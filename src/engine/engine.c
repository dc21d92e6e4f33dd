#include "engine/engine.h"

#include <stdlib.h>

#include "base/error.h"
#include "engine/batch.h"

enum {
    DEFAULT_BATCH_TOKENS = 512,
    DEFAULT_CONTEXT = 32768,
    MAX_BATCH_TOKENS = 1 << 16,
    MAX_CONTEXT = 1 << 24
};

#ifdef DS4_HAVE_CUDA
extern const ds4_backend_type ds4_backend_cuda;
#endif
#ifdef DS4_HAVE_EMULATOR
extern const ds4_backend_type ds4_backend_emulated;
#endif

/* NULL when this build has no such backend. */
static const ds4_backend_type *backend_type(ds4_backend_kind kind) {
    switch (kind) {
    case DS4_BACKEND_CPU:
        return &ds4_backend_cpu;
#ifdef DS4_HAVE_CUDA
    case DS4_BACKEND_CUDA:
        return &ds4_backend_cuda;
#endif
#ifdef DS4_HAVE_EMULATOR
    case DS4_BACKEND_EMULATED:
        return &ds4_backend_emulated;
#endif
    default:
        return NULL;
    }
}

static ds4_status make_plan(const ds4_model *model, const ds4_engine_options *options,
                            ds4_memory_plan *plan, ds4_error *error) {
    const ds4_backend_type *type = backend_type(options->backend);
    *plan = (ds4_memory_plan){.backend = type->name};
    ds4_status status = type->plan(model, options, plan, error);
    plan->rows = options->max_sessions * plan->session_rows;
    /* A GPU's memory is taken whole when a session is created, the host's as rows fill it. */
    if (options->backend == DS4_BACKEND_CPU && options->row_budget != 0)
        plan->rows = options->row_budget;
    plan->total =
        plan->weights + plan->scratch + options->max_sessions * plan->session_fixed + plan->rows;
    return status;
}

/* A GPU's default batch takes gigabytes of scratch: where they are not there, a smaller one serves,
 * though more slowly. */
static ds4_status resolve_for(const ds4_backend_type *type, const ds4_model *model,
                              ds4_engine_options *options, ds4_error *error) {
    bool by_default = options->max_batch_tokens == 0;
    ds4_memory_plan plan;
    ds4_status status = type->resolve(options, error);
    if (status != DS4_OK || !by_default || options->max_batch_tokens <= DEFAULT_BATCH_TOKENS)
        return status;
    if (make_plan(model, options, &plan, NULL) == DS4_OK && plan.available != 0 &&
        plan.total > plan.available)
        options->max_batch_tokens = DEFAULT_BATCH_TOKENS;
    return DS4_OK;
}

/* With `auto`: whether a GPU is there and holds the plan. */
static bool gpu_suits(const ds4_model *model, const ds4_engine_options *given) {
    const ds4_backend_type *type = backend_type(DS4_BACKEND_CUDA);
    ds4_engine_options options = *given;
    ds4_memory_plan plan;
    options.backend = DS4_BACKEND_CUDA;
    return type != NULL && type->check(NULL) == DS4_OK &&
           resolve_for(type, model, &options, NULL) == DS4_OK &&
           make_plan(model, &options, &plan, NULL) == DS4_OK && plan.total <= plan.available;
}

static ds4_status resolve_backend(const ds4_model *model, ds4_engine_options *options,
                                  ds4_error *error) {
    if (options->backend == DS4_BACKEND_AUTO)
        options->backend = gpu_suits(model, options) ? DS4_BACKEND_CUDA : DS4_BACKEND_CPU;
    const ds4_backend_type *type = backend_type(options->backend);
    if (type == NULL)
        return ds4_fail(error, DS4_UNSUPPORTED,
                        "this build cannot compute on a GPU; build the preset `cuda` "
                        "(docs/gpu.md) or use --backend cpu");
    ds4_status status = type->check(error);
    if (status == DS4_OK) status = resolve_for(type, model, options, error);
    return status;
}

/* Fills in the defaults and refuses what no plan could make sense of. */
static ds4_status resolve_options(const ds4_model *model, const ds4_engine_options *given,
                                  ds4_engine_options *options, ds4_error *error) {
    *options = given != NULL ? *given : (ds4_engine_options){0};
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
    ds4_status status = ds4_hparams_check_kv_sim(&model->hparams, options->kv_sim, error);
    if (status == DS4_OK) status = resolve_backend(model, options, error);
    if (options->max_batch_tokens == 0) options->max_batch_tokens = DEFAULT_BATCH_TOKENS;
    return status;
}

ds4_status ds4_engine_plan(const ds4_model *model, const ds4_engine_options *given,
                           ds4_memory_plan *plan, ds4_error *error) {
    ds4_engine_options options;
    ds4_status status = resolve_options(model, given, &options, error);
    if (status == DS4_OK) status = make_plan(model, &options, plan, error);
    return status;
}

static double gib(uint64_t bytes) {
    return (double)bytes / (double)(1u << 30);
}

static ds4_status check_plan(const ds4_model *model, const ds4_engine_options *options,
                             ds4_error *error) {
    ds4_memory_plan plan;
    ds4_status status = make_plan(model, options, &plan, error);
    if (status != DS4_OK) return status;
    if (plan.available == 0 || plan.total <= plan.available) return DS4_OK;
    return ds4_fail(
        error, DS4_DOES_NOT_FIT,
        "%.2f GiB are needed (weights %.2f, scratch %.2f, %u session(s) of %u tokens at %.2f each, "
        "their rows %.2f in all) and this %s has %.2f GiB; use a smaller context, fewer sessions "
        "or a smaller model",
        gib(plan.total), gib(plan.weights), gib(plan.scratch), options->max_sessions,
        options->max_context, gib(plan.session_fixed), gib(plan.rows),
        options->backend == DS4_BACKEND_CPU ? "machine" : "GPU", gib(plan.available));
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
    if (status == DS4_OK) {
        engine->wanted = calloc(options.max_batch_tokens, sizeof *engine->wanted);
        if (engine->wanted == NULL)
            status = ds4_fail_memory(error, options.max_batch_tokens * sizeof *engine->wanted,
                                     "an engine");
    }
    if (status == DS4_OK)
        status = backend_type(options.backend)->create(model, &options, &engine->backend, error);
    if (status != DS4_OK)
        ds4_engine_destroy(engine);
    else
        *result = engine;
    return status;
}

void ds4_engine_destroy(ds4_engine *engine) {
    if (engine == NULL) return;
    if (engine->backend != NULL) engine->backend->type->destroy(engine->backend);
    ds4_step_free(&engine->step);
    free(engine->wanted);
    free(engine);
}

float *ds4_engine_allocate_logits(ds4_engine *engine, size_t n_rows) {
    ds4_backend *backend = engine->backend;
    size_t n_bytes = n_rows * engine->model->hparams.n_vocab * sizeof(float);
    return backend->type->allocate_host != NULL ? backend->type->allocate_host(backend, n_bytes)
                                                : malloc(n_bytes);
}

void ds4_engine_free_logits(ds4_engine *engine, float *logits) {
    if (logits == NULL) return;
    if (engine->backend->type->release_host != NULL)
        engine->backend->type->release_host(engine->backend, logits);
    else
        free(logits);
}

const ds4_engine_options *ds4_engine_get_options(const ds4_engine *engine) {
    return &engine->options;
}

ds4_status ds4_engine_observe(ds4_engine *engine, ds4_product_observer observe, void *context,
                              ds4_error *error) {
    ds4_backend *backend = engine->backend;
    if (backend->type->observe == NULL)
        return ds4_fail(error, DS4_UNSUPPORTED,
                        "products can be observed on the CPU only; use --backend cpu");
    backend->type->observe(backend, observe, context);
    return DS4_OK;
}

ds4_status ds4_engine_measure_copy(ds4_engine *engine, double *gb_per_second, ds4_error *error) {
    ds4_backend *backend = engine->backend;
    if (backend->type->measure_copy == NULL)
        return ds4_fail(error, DS4_UNSUPPORTED, "copies of a GPU's memory are measured on a GPU");
    return backend->type->measure_copy(backend, gb_per_second, error);
}

/* Lists the rows whose logits are wanted with the caller's memory for them; returns their number.
 */
static uint32_t list_wanted(ds4_engine *engine, const ds4_batch_item *items, size_t n_items) {
    uint32_t n = 0;
    for (size_t i = 0; i < n_items; i++) {
        const ds4_step_item *item = &engine->step.items[i];
        uint32_t first = items[i].want == DS4_LOGITS_ALL    ? 0
                         : items[i].want == DS4_LOGITS_LAST ? item->n - 1
                                                            : item->n;
        for (uint32_t t = first; t < item->n; t++, n++) {
            engine->wanted[n] = (ds4_logit_request){
                .row = item->first_row + t,
                .logits = items[i].logits + (size_t)(t - first) * engine->model->hparams.n_vocab,
            };
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
    status = engine->backend->type->run(engine->backend, &engine->step, engine->wanted,
                                        list_wanted(engine, items, n_items), error);
    if (status != DS4_OK) return status;
    for (size_t i = 0; i < n_items; i++) advance(items[i].session, &items[i]);
    return DS4_OK;
}
