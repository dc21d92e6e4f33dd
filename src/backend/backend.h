/* What the engine asks of a place to compute: a memory plan, weights and scratch, memory for the
 * sessions' KV rows, and the forward pass. One backend belongs to one engine and, like it, to one
 * thread at a time. */
#ifndef DS4_BACKEND_BACKEND_H
#define DS4_BACKEND_BACKEND_H

#include "backend/step.h"
#include "model/model.h"

typedef struct ds4_backend ds4_backend;

typedef struct ds4_backend_type {
    const char *name;
    /* Whether such a backend could be created on this machine at all; when not, says why. */
    ds4_status (*check)(ds4_error *error);
    /* Adjusts options that the backend decides itself, and refuses what it cannot do. */
    ds4_status (*resolve)(ds4_engine_options *options, ds4_error *error);
    /* Fills in weights, scratch, host, session_fixed, session_rows and available. */
    ds4_status (*plan)(const ds4_model *model, const ds4_engine_options *options,
                       ds4_memory_plan *plan, ds4_error *error);
    /* Options are resolved. The model outlives the backend. */
    ds4_status (*create)(const ds4_model *model, const ds4_engine_options *options,
                         ds4_backend **backend, ds4_error *error);
    void (*destroy)(ds4_backend *backend);
    /* Evaluates a valid step (tokens in range, room in every session), appends to the sessions' KV
     * and writes the wanted logits. */
    ds4_status (*run)(ds4_backend *backend, const ds4_step *step, const ds4_logit_request *wanted,
                      uint32_t n_wanted, ds4_error *error);
    /* See ds4_engine_observe; NULL when the backend cannot. */
    void (*observe)(ds4_backend *backend, ds4_product_observer observe, void *context);
    /* See ds4_engine_measure_copy; NULL when the backend cannot. */
    ds4_status (*measure_copy)(ds4_backend *backend, double *gb_per_second, ds4_error *error);
    /* Host memory that `run` writes without a copy in between; both NULL when any is as good. */
    void *(*allocate_host)(ds4_backend *backend, size_t n_bytes);
    void (*release_host)(ds4_backend *backend, void *memory);
} ds4_backend_type;

struct ds4_backend { /* the first member of every backend */
    const ds4_backend_type *type;
    ds4_row_codec codec;
    ds4_kv_memory memory; /* where sessions of this backend keep their KV */
};

extern const ds4_backend_type ds4_backend_cpu;

#endif
