/* The live sessions: which conversation each holds, at which lengths it can be taken up again, and
 * how much memory all of them take.
 *
 * Anchors are tips (ds4.h) kept at lengths worth coming back to: where a system prompt ends, where
 * the last turn begins, where a prompt ends. An anchor of a session stays exact as long as the
 * session holds the tokens before it, because rows are only appended. So a session can be taken
 * back to an anchor in place, and a second session can be cloned from there even while the first
 * is busy.
 *
 * Rows and anchors share one budget of bytes. When it is exceeded the least valuable idle session
 * is emptied; anchors go first. Belongs to the engine's thread. */
#ifndef DS4_KV_POOL_H
#define DS4_KV_POOL_H

#include "ds4.h"
#include "kv/choose.h"

typedef struct ds4_kv_pool ds4_kv_pool;

enum { DS4_KV_ANCHORS = 4 /* kept per session */ };

/* `engine` must outlive the pool; budget_bytes 0: as much as the sessions can take. */
ds4_status ds4_kv_pool_create(ds4_engine *engine, uint32_t n_sessions, uint64_t budget_bytes,
                              ds4_kv_pool **pool, ds4_error *error);
void ds4_kv_pool_destroy(ds4_kv_pool *pool);

/* What a request was given. */
typedef struct ds4_kv_lease {
    size_t id;            /* of the session */
    ds4_session *session; /* holds exactly n_held tokens */
    ds4_kv_choice choice;
} ds4_kv_lease;

/* Chooses and prepares a session for a prompt and marks it busy. `now` in seconds, any origin.
 * False: all are busy. */
bool ds4_kv_pool_take(ds4_kv_pool *pool, const ds4_kv_prompt *prompt, double now,
                      ds4_kv_lease *lease);
/* The request is over; of the session's tokens the first n_prompt were read as a prompt. */
void ds4_kv_pool_give_back(ds4_kv_pool *pool, size_t id, uint32_t n_prompt, double now);

/* What ds4_kv_pool_take would choose, without doing it. */
bool ds4_kv_pool_look(ds4_kv_pool *pool, const ds4_kv_prompt *prompt, double now,
                      ds4_kv_choice *choice);
/* Empties the idle session that is worth least and marks it busy: something else will be restored
 * there. False: all are busy. */
bool ds4_kv_pool_seize(ds4_kv_pool *pool, double now, size_t *id);

/* Called before a session loses what it holds behind its first n_kept tokens. */
typedef void (*ds4_kv_loss_fn)(void *context, size_t id, uint32_t n_kept);
void ds4_kv_pool_on_loss(ds4_kv_pool *pool, ds4_kv_loss_fn loss, void *context);
/* Of a session's tokens, how many are known to be saved elsewhere: a note of its user, which the
 * pool keeps true when sessions are cut and cloned. */
uint32_t ds4_kv_pool_stored(const ds4_kv_pool *pool, size_t id);
void ds4_kv_pool_set_stored(ds4_kv_pool *pool, size_t id, uint32_t n_tokens);

/* Keeps the tip of a busy session at n_tokens, which its journal must still reach. The oldest of
 * the session's other anchors gives way, but not the lowest one: that is where conversations with
 * the same beginning part. A failure for want of memory only costs the anchor. */
void ds4_kv_pool_anchor(ds4_kv_pool *pool, size_t id, uint32_t n_tokens);

/* The session's k-th anchor: where it is, and its tip. False: there are no more. */
bool ds4_kv_pool_get_anchor(const ds4_kv_pool *pool, size_t id, uint32_t k, uint32_t *n_tokens,
                            const uint8_t **tip, size_t *n_tip);

ds4_session *ds4_kv_pool_session(const ds4_kv_pool *pool, size_t id);
size_t ds4_kv_pool_count(const ds4_kv_pool *pool);
bool ds4_kv_pool_is_busy(const ds4_kv_pool *pool, size_t id);
/* Gives memory back until the budget holds. */
void ds4_kv_pool_trim(ds4_kv_pool *pool, double now);

/* Fills in what the pool knows: not `disk`. */
void ds4_kv_pool_get_stats(const ds4_kv_pool *pool, ds4_kv_stats *stats);
ds4_kv_session_view ds4_kv_pool_view(const ds4_kv_pool *pool, size_t id, double now);

#endif
