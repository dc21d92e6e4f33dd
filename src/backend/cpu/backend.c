/* The CPU as a backend of the engine: ds4_forward behind the interface. */
#include <stdlib.h>

#include "backend/backend.h"
#include "backend/cpu/step.h"
#include "base/error.h"
#include "base/machine.h"

typedef struct cpu_backend {
    ds4_backend base;
    const ds4_model *model;
    ds4_forward forward;
} cpu_backend;

static ds4_status check(ds4_error *error) {
    (void)error;
    return DS4_OK;
}

static ds4_status resolve(ds4_engine_options *options, ds4_error *error) {
    (void)error;
    if (options->n_threads == 0) options->n_threads = ds4_threads_online_cores();
    return DS4_OK;
}

static ds4_status plan_memory(const ds4_model *model, const ds4_engine_options *options,
                              ds4_memory_plan *plan, ds4_error *error) {
    (void)error;
    ds4_row_codec codec = ds4_row_codec_make(&model->hparams, options->kv_sim, NULL, NULL);
    plan->weights = model->weights.bytes;
    plan->scratch = ds4_forward_bytes(&model->hparams, options);
    plan->available = ds4_machine_memory();
    ds4_kv_bytes(&model->hparams, &codec, options->max_context, &plan->session_fixed,
                 &plan->session_rows);
    plan->session_fixed += options->max_context * (sizeof(int32_t) + sizeof(uint64_t));
    return DS4_OK;
}

static ds4_status create(const ds4_model *model, const ds4_engine_options *options,
                         ds4_backend **result, ds4_error *error) {
    cpu_backend *backend = calloc(1, sizeof *backend);
    if (backend == NULL) return ds4_fail_memory(error, sizeof *backend, "the CPU backend");
    backend->model = model;
    ds4_status status = ds4_forward_create(&model->hparams, options, &backend->forward, error);
    if (status != DS4_OK) {
        free(backend);
        return status;
    }
    backend->base = (ds4_backend){
        .type = &ds4_backend_cpu,
        .codec = backend->forward.codec,
        .memory = ds4_kv_host_memory(),
    };
    *result = &backend->base;
    return DS4_OK;
}

static void destroy(ds4_backend *base) {
    cpu_backend *backend = (cpu_backend *)base;
    ds4_forward_free(&backend->forward);
    free(backend);
}

static ds4_status run(ds4_backend *base, const ds4_step *step, const ds4_logit_request *wanted,
                      uint32_t n_wanted, ds4_error *error) {
    (void)error;
    cpu_backend *backend = (cpu_backend *)base;
    ds4_forward *f = &backend->forward;
    for (uint32_t i = 0; i < n_wanted; i++) {
        f->head_row[i] = f->streams.row[wanted[i].row];
        f->logit_row[i] = wanted[i].logits;
    }
    ds4_forward_run(f, &backend->model->weights, step, n_wanted);
    return DS4_OK;
}

static void observe(ds4_backend *base, ds4_product_observer observer, void *context) {
    cpu_backend *backend = (cpu_backend *)base;
    backend->forward.cpu.observe = observer;
    backend->forward.cpu.observe_context = context;
}

const ds4_backend_type ds4_backend_cpu = {
    .name = "cpu",
    .check = check,
    .resolve = resolve,
    .plan = plan_memory,
    .create = create,
    .destroy = destroy,
    .run = run,
    .observe = observe,
};
