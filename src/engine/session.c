#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "engine/engine.h"

ds4_status ds4_session_create(ds4_engine *engine, uint32_t n_context, ds4_session **result,
                              ds4_error *error) {
    if (n_context == 0 || n_context > engine->options.max_context)
        return ds4_fail(error, DS4_INVALID_ARGUMENT,
                        "a session of %u tokens; this engine was planned for 1 to %u", n_context,
                        engine->options.max_context);
    ds4_session *session = calloc(1, sizeof *session);
    if (session == NULL) return ds4_fail_memory(error, sizeof *session, "a session");
    session->engine = engine;
    session->n_context = n_context;
    session->tokens = malloc(n_context * sizeof *session->tokens);
    session->dials = malloc(n_context * sizeof *session->dials);
    ds4_status status = session->tokens != NULL && session->dials != NULL
                            ? DS4_OK
                            : ds4_fail_memory(error, n_context * 12ull, "a session");
    if (status == DS4_OK)
        status = ds4_kv_create(&engine->model->hparams, &engine->backend->codec, n_context,
                               engine->backend->memory, &session->kv, error);
    if (status != DS4_OK)
        ds4_session_destroy(session);
    else
        *result = session;
    return status;
}

void ds4_session_destroy(ds4_session *session) {
    if (session == NULL) return;
    ds4_kv_free(&session->kv);
    free(session->tokens);
    free(session->dials);
    free(session);
}

uint32_t ds4_session_length(const ds4_session *session) {
    return session->n_tokens;
}

uint32_t ds4_session_context(const ds4_session *session) {
    return session->n_context;
}

const int32_t *ds4_session_tokens(const ds4_session *session) {
    return session->tokens;
}

const uint64_t *ds4_session_dials(const ds4_session *session) {
    return session->dials;
}

void ds4_session_reset(ds4_session *session) {
    session->n_tokens = session->rewind_floor = 0;
}

uint32_t ds4_session_rewind_floor(const ds4_session *session) {
    return session->rewind_floor;
}

/* Rows behind the new end stay where they are: rings are addressed by position and compressed rows
 * by index, so the next tokens overwrite exactly what they replace. */
ds4_status ds4_session_rewind(ds4_session *session, uint32_t n_tokens, ds4_error *error) {
    if (n_tokens > session->n_tokens)
        return ds4_fail(error, DS4_INVALID_ARGUMENT,
                        "cannot rewind to %u tokens: the session has %u", n_tokens,
                        session->n_tokens);
    if (n_tokens == 0) {
        ds4_session_reset(session);
        return DS4_OK;
    }
    if (n_tokens < session->rewind_floor)
        return ds4_fail(error, DS4_UNSUPPORTED,
                        "cannot rewind from %u to %u tokens: the journal reaches back to %u",
                        session->n_tokens, n_tokens, session->rewind_floor);
    session->n_tokens = n_tokens;
    return DS4_OK;
}

ds4_status ds4_session_check_tokens(const ds4_session *session, uint32_t first, uint32_t n,
                                    ds4_error *error) {
    for (uint32_t i = first; i < first + n; i++) {
        if (session->tokens[i] < 0 ||
            (uint32_t)session->tokens[i] >= session->engine->model->hparams.n_vocab)
            return ds4_fail(error, DS4_FORMAT,
                            "the saved session holds a token outside the vocabulary");
    }
    return DS4_OK;
}

ds4_status ds4_session_copy(ds4_session *target, const ds4_session *source, ds4_error *error) {
    if (target->engine != source->engine)
        return ds4_fail(error, DS4_INVALID_ARGUMENT,
                        "sessions of different engines cannot be copied");
    if (source->n_tokens > target->n_context)
        return ds4_fail(error, DS4_CONTEXT_FULL, "%u tokens do not fit a session of %u",
                        source->n_tokens, target->n_context);
    ds4_status status = ds4_kv_copy(&target->kv, &source->kv, source->n_tokens, error);
    if (status != DS4_OK) {
        ds4_session_reset(target);
        return status;
    }
    memcpy(target->tokens, source->tokens, source->n_tokens * sizeof *source->tokens);
    memcpy(target->dials, source->dials, source->n_tokens * sizeof *source->dials);
    target->n_tokens = source->n_tokens;
    target->rewind_floor = source->rewind_floor;
    return DS4_OK;
}
