/* A session in two kinds of parts (ds4.h): blocks of compressed rows, which never change once their
 * tokens are evaluated, and the tip, which is what the next token needs besides them. */
#include <string.h>

#include "base/error.h"
#include "engine/cursor.h"
#include "engine/engine.h"

enum { LEAST_BLOCK = 256, MOST_BLOCK = 1 << 24 };

/* The least multiple of all ratios that is not small: 256 for ratios of 4 and 128. */
uint32_t ds4_engine_block_tokens(const ds4_engine *engine) {
    const ds4_hparams *hp = &engine->model->hparams;
    uint64_t multiple = 1;
    for (uint32_t l = 0; l < hp->n_layers && multiple <= MOST_BLOCK; l++) {
        uint64_t a = multiple, b = hp->ratio[l];
        if (b == 0) continue;
        while (b != 0) {
            uint64_t rest = a % b;
            a = b;
            b = rest;
        }
        multiple = multiple / a * hp->ratio[l];
    }
    /* Longer than any context: then there are no full blocks and a tip holds everything. */
    if (multiple > MOST_BLOCK) return MOST_BLOCK + 1;
    return (uint32_t)((LEAST_BLOCK + multiple - 1) / multiple * multiple);
}

static uint64_t mix(uint64_t hash, uint64_t value) {
    hash = (hash ^ value) * 0x9e3779b97f4a7c15u;
    return hash ^ hash >> 32;
}

uint64_t ds4_engine_identity(const ds4_engine *engine) {
    uint64_t hash = mix(0x647334736573u, engine->model->fingerprint);
    hash = mix(hash, (uint64_t)engine->options.kv_sim);
    hash = mix(hash, (uint64_t)engine->options.activations);
    hash = mix(hash, (uint64_t)engine->options.rope_angles);
    hash = mix(hash, (uint64_t)engine->options.backend);
    return mix(hash, DS4_NUMERICS_VERSION);
}

uint64_t ds4_session_row_bytes(const ds4_session *session, uint32_t n_tokens) {
    uint64_t fixed, rows;
    ds4_kv_bytes(&session->engine->model->hparams, &session->engine->backend->codec, n_tokens,
                 &fixed, &rows);
    return rows;
}

void ds4_session_release(ds4_session *session) {
    ds4_session_reset(session);
    ds4_kv_release_rows(&session->kv);
}

/* ---- blocks ---- */

static ds4_status check_block(const ds4_session *session, uint32_t first, uint32_t limit,
                              ds4_error *error) {
    uint32_t n = ds4_engine_block_tokens(session->engine);
    if (first % n == 0 && first <= limit && n <= limit - first) return DS4_OK;
    return ds4_fail(error, DS4_INVALID_ARGUMENT, "no block of %u tokens at %u of %u", n, first,
                    limit);
}

size_t ds4_session_block_bytes(const ds4_session *session) {
    return (size_t)ds4_session_row_bytes(session, ds4_engine_block_tokens(session->engine));
}

ds4_status ds4_session_save_block(const ds4_session *session, uint32_t first, uint8_t *bytes,
                                  ds4_error *error) {
    ds4_status status = check_block(session, first, session->n_tokens, error);
    if (status != DS4_OK) return status;
    ds4_cursor c = {.at = bytes};
    return ds4_kv_visit_rows(&session->kv, first, first + ds4_engine_block_tokens(session->engine),
                             ds4_cursor_write_rows, &c, error);
}

ds4_status ds4_session_restore_block(ds4_session *session, uint32_t first, const int32_t *tokens,
                                     const uint64_t *dials, const uint8_t *bytes, size_t n_bytes,
                                     ds4_error *error) {
    uint32_t n = ds4_engine_block_tokens(session->engine);
    ds4_status status = check_block(session, first, session->n_context, error);
    if (status == DS4_OK && session->n_tokens > first)
        status = ds4_fail(error, DS4_INVALID_ARGUMENT,
                          "a block at %u cannot be restored into a session of %u tokens", first,
                          session->n_tokens);
    if (status == DS4_OK && n_bytes != ds4_session_block_bytes(session))
        status = ds4_fail(error, DS4_FORMAT, "a block of %zu bytes instead of %zu", n_bytes,
                          ds4_session_block_bytes(session));
    if (status != DS4_OK) return status;
    memcpy(session->tokens + first, tokens, n * sizeof *tokens);
    memcpy(session->dials + first, dials, n * sizeof *dials);
    status = ds4_session_check_tokens(session, first, n, error);
    if (status != DS4_OK) return status;
    ds4_cursor c = {
        .at = (uint8_t *)bytes, .end = bytes + n_bytes, .codec = &session->engine->backend->codec};
    return ds4_kv_visit_rows(&session->kv, first, first + n, ds4_cursor_read_rows, &c, error);
}

ds4_status ds4_session_share(ds4_session *target, const ds4_session *source, uint32_t n_tokens,
                             ds4_error *error) {
    uint32_t n = n_tokens / ds4_engine_block_tokens(source->engine) *
                 ds4_engine_block_tokens(source->engine);
    if (target->engine != source->engine || target == source)
        return ds4_fail(error, DS4_INVALID_ARGUMENT, "these sessions cannot share rows");
    if (n_tokens > source->n_tokens || n_tokens > target->n_context)
        return ds4_fail(error, DS4_CONTEXT_FULL, "%u tokens of a session of %u into one of %u",
                        n_tokens, source->n_tokens, target->n_context);
    ds4_session_reset(target);
    memcpy(target->tokens, source->tokens, n_tokens * sizeof *source->tokens);
    memcpy(target->dials, source->dials, n_tokens * sizeof *source->dials);
    return ds4_kv_copy_rows(&target->kv, &source->kv, n, error);
}

/* ---- tips ---- */

static uint32_t tail_first(const ds4_session *session, uint32_t n_tokens) {
    return n_tokens - n_tokens % ds4_engine_block_tokens(session->engine);
}

size_t ds4_session_tip_bytes(const ds4_session *session, uint32_t n_tokens) {
    uint32_t first = tail_first(session, n_tokens);
    ds4_cursor c = {.counted = (n_tokens - first) * (sizeof(int32_t) + sizeof(uint64_t))};
    ds4_kv_visit(&session->kv, session->engine->model->hparams.window, first, n_tokens,
                 ds4_cursor_count_rows, &c, NULL);
    return c.counted;
}

ds4_status ds4_session_save_tip(const ds4_session *session, uint32_t n_tokens, uint8_t *bytes,
                                ds4_error *error) {
    if (n_tokens > session->n_tokens || n_tokens < session->rewind_floor)
        return ds4_fail(error, DS4_UNSUPPORTED,
                        "no tip at %u: the session has %u tokens and its journal reaches back to "
                        "%u",
                        n_tokens, session->n_tokens, session->rewind_floor);
    uint32_t first = tail_first(session, n_tokens), n = n_tokens - first;
    ds4_cursor c = {.at = bytes};
    ds4_cursor_write(&c, session->tokens + first, n * sizeof *session->tokens);
    ds4_cursor_write(&c, session->dials + first, n * sizeof *session->dials);
    return ds4_kv_visit(&session->kv, session->engine->model->hparams.window, first, n_tokens,
                        ds4_cursor_write_rows, &c, error);
}

ds4_status ds4_session_restore_tip(ds4_session *session, uint32_t n_tokens, const uint8_t *bytes,
                                   size_t n_bytes, ds4_error *error) {
    uint32_t first = tail_first(session, n_tokens);
    ds4_cursor c = {
        .at = (uint8_t *)bytes, .end = bytes + n_bytes, .codec = &session->engine->backend->codec};
    if (n_tokens == 0 || n_tokens > session->n_context)
        return ds4_fail(error, DS4_CONTEXT_FULL, "a tip of %u tokens in a session with room for %u",
                        n_tokens, session->n_context);
    if (n_bytes != ds4_session_tip_bytes(session, n_tokens))
        return ds4_fail(error, DS4_FORMAT, "a tip of %zu bytes instead of %zu", n_bytes,
                        ds4_session_tip_bytes(session, n_tokens));
    ds4_session_reset(session); /* counts as empty until all is read */
    ds4_cursor_read(&c, session->tokens + first, (n_tokens - first) * sizeof *session->tokens,
                    error);
    ds4_cursor_read(&c, session->dials + first, (n_tokens - first) * sizeof *session->dials, error);
    ds4_status status = ds4_session_check_tokens(session, first, n_tokens - first, error);
    if (status == DS4_OK)
        status = ds4_kv_visit(&session->kv, session->engine->model->hparams.window, first, n_tokens,
                              ds4_cursor_read_rows, &c, error);
    if (status == DS4_OK) session->n_tokens = session->rewind_floor = n_tokens;
    return status;
}
