/* The inside of engines and sessions. An engine owns scratch memory and threads for one model; a
 * session owns its KV state and its tokens. Both belong to one thread at a time. */
#ifndef DS4_ENGINE_ENGINE_H
#define DS4_ENGINE_ENGINE_H

#include "backend/backend.h"

struct ds4_engine {
    const ds4_model *model;
    ds4_engine_options options; /* defaults filled in */
    ds4_backend *backend;
    ds4_step step;             /* reused by every call */
    ds4_logit_request *wanted; /* [max_batch_tokens] likewise */
};

struct ds4_session {
    ds4_engine *engine;
    ds4_kv kv;
    uint32_t n_context;
    uint32_t n_tokens;
    uint32_t rewind_floor; /* the rings still hold everything needed from here on */
    int32_t *tokens;       /* [n_context] */
    uint64_t *dials;       /* [n_context] ds4_steering_identity of what each was evaluated under */
};

/* Goes into the identity of saved state: to be raised when a change of the arithmetic changes
 * results or the layout of rows. */
enum { DS4_NUMERICS_VERSION = 3 };

/* FORMAT unless the n tokens from `first` on are all of the vocabulary. */
ds4_status ds4_session_check_tokens(const ds4_session *session, uint32_t first, uint32_t n,
                                    ds4_error *error);

#endif
