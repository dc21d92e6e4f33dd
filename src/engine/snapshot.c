/* A session as bytes: a header that says for what it is valid, the tokens and their dials,
 * then the live rows in the order of ds4_kv_visit. Little-endian like every machine this engine
 * runs on. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "engine/cursor.h"
#include "engine/engine.h"

typedef struct snapshot_header {
    char magic[8];
    uint64_t fingerprint; /* of the model */
    uint32_t kv_sim, activations;
    uint32_t rope_angles, n_tokens;
} snapshot_header;

static const char MAGIC[8] = {'D', 'S', '4', 'S', 'E', 'S', 'S', '3'};

static snapshot_header make_header(const ds4_session *session) {
    snapshot_header header = {
        .fingerprint = session->engine->model->fingerprint,
        .kv_sim = (uint32_t)session->engine->options.kv_sim,
        .activations = (uint32_t)session->engine->options.activations,
        .rope_angles = (uint32_t)session->engine->options.rope_angles,
        .n_tokens = session->n_tokens,
    };
    memcpy(header.magic, MAGIC, sizeof MAGIC);
    return header;
}

ds4_status ds4_session_save(const ds4_session *session, uint8_t **bytes, size_t *n_bytes,
                            ds4_error *error) {
    uint32_t window = session->engine->model->hparams.window;
    snapshot_header header = make_header(session);
    size_t token_bytes = session->n_tokens * sizeof *session->tokens;
    size_t dial_bytes = session->n_tokens * sizeof *session->dials;
    ds4_cursor c = {.counted = sizeof header + token_bytes + dial_bytes};
    ds4_kv_visit(&session->kv, window, 0, session->n_tokens, ds4_cursor_count_rows, &c, error);
    c.at = malloc(c.counted);
    if (c.at == NULL) return ds4_fail_memory(error, c.counted, "a saved session");
    *bytes = c.at;
    *n_bytes = c.counted;
    ds4_cursor_write(&c, &header, sizeof header);
    ds4_cursor_write(&c, session->tokens, token_bytes);
    ds4_cursor_write(&c, session->dials, dial_bytes);
    return ds4_kv_visit(&session->kv, window, 0, session->n_tokens, ds4_cursor_write_rows, &c,
                        error);
}

static ds4_status check_header(const ds4_session *session, const snapshot_header *header,
                               ds4_error *error) {
    snapshot_header mine = make_header(session);
    if (memcmp(header->magic, MAGIC, sizeof MAGIC) != 0)
        return ds4_fail(error, DS4_FORMAT, "these bytes are not a saved session");
    if (header->fingerprint != mine.fingerprint)
        return ds4_fail(error, DS4_FORMAT, "the saved session belongs to another model");
    if (header->kv_sim != mine.kv_sim || header->activations != mine.activations ||
        header->rope_angles != mine.rope_angles)
        return ds4_fail(error, DS4_FORMAT, "the saved session was computed with other numerics");
    if (header->n_tokens > session->n_context)
        return ds4_fail(error, DS4_CONTEXT_FULL,
                        "the saved session has %u tokens, this one has room for %u",
                        header->n_tokens, session->n_context);
    return DS4_OK;
}

/* Until everything is read the session counts as empty, so a failure leaves it usable. */
ds4_status ds4_session_restore(ds4_session *session, const uint8_t *bytes, size_t n_bytes,
                               ds4_error *error) {
    snapshot_header header;
    ds4_cursor c = {
        .at = (uint8_t *)bytes, .end = bytes + n_bytes, .codec = &session->engine->backend->codec};
    uint32_t window = session->engine->model->hparams.window;
    ds4_session_reset(session);
    ds4_status status = ds4_cursor_read(&c, &header, sizeof header, error);
    if (status == DS4_OK) status = check_header(session, &header, error);
    if (status == DS4_OK)
        status =
            ds4_cursor_read(&c, session->tokens, header.n_tokens * sizeof *session->tokens, error);
    if (status == DS4_OK) status = ds4_session_check_tokens(session, 0, header.n_tokens, error);
    if (status == DS4_OK)
        status =
            ds4_cursor_read(&c, session->dials, header.n_tokens * sizeof *session->dials, error);
    if (status == DS4_OK)
        status =
            ds4_kv_visit(&session->kv, window, 0, header.n_tokens, ds4_cursor_read_rows, &c, error);
    if (status == DS4_OK && c.at != c.end)
        status = ds4_fail(error, DS4_FORMAT, "%zu bytes follow the saved session",
                          (size_t)(c.end - c.at));
    if (status == DS4_OK) session->n_tokens = session->rewind_floor = header.n_tokens;
    return status;
}
