#include "kv/pool.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"

typedef struct anchor {
    uint8_t *bytes;
    size_t n_bytes;
    uint64_t used; /* a counter: larger is later */
} anchor;

typedef struct entry {
    ds4_session *session;
    bool busy;
    double used_at; /* when it was last given back */
    uint32_t n_prompt, n_stored;
    uint32_t n_anchors;
    uint32_t at[DS4_KV_ANCHORS]; /* lengths, beside `anchors` because the views want them so */
    anchor anchors[DS4_KV_ANCHORS];
} entry;

struct ds4_kv_pool {
    size_t n;
    entry *entries;
    ds4_kv_view *views;
    uint32_t *scratch; /* [context + 1] */
    uint64_t budget, anchor_bytes, use_counter, released;
    uint32_t n_anchors;
    ds4_kv_loss_fn loss;
    void *loss_context;
};

ds4_status ds4_kv_pool_create(ds4_engine *engine, uint32_t n_sessions, uint64_t budget_bytes,
                              ds4_kv_pool **out, ds4_error *error) {
    uint32_t n_context = ds4_engine_get_options(engine)->max_context;
    ds4_status status = DS4_OK;
    ds4_kv_pool *pool = calloc(1, sizeof *pool);
    if (pool == NULL) return ds4_fail_memory(error, sizeof *pool, "the session pool");
    pool->n = n_sessions;
    pool->budget = budget_bytes;
    pool->entries = calloc(n_sessions, sizeof *pool->entries);
    pool->views = calloc(n_sessions, sizeof *pool->views);
    pool->scratch = malloc((n_context + 1ull) * sizeof *pool->scratch);
    if (pool->entries == NULL || pool->views == NULL || pool->scratch == NULL)
        status = ds4_fail_memory(error, n_sessions * sizeof *pool->entries, "the session pool");
    for (size_t i = 0; i < n_sessions && status == DS4_OK; i++)
        status = ds4_session_create(engine, n_context, &pool->entries[i].session, error);
    if (status != DS4_OK)
        ds4_kv_pool_destroy(pool);
    else
        *out = pool;
    return status;
}

static void drop_anchor(ds4_kv_pool *pool, entry *e, uint32_t k) {
    pool->anchor_bytes -= e->anchors[k].n_bytes;
    pool->n_anchors--;
    free(e->anchors[k].bytes);
    e->n_anchors--;
    e->anchors[k] = e->anchors[e->n_anchors];
    e->at[k] = e->at[e->n_anchors];
}

/* Anchors behind the length: their rows will be overwritten. */
static void drop_anchors_behind(ds4_kv_pool *pool, entry *e, uint32_t n_tokens) {
    for (uint32_t k = e->n_anchors; k-- > 0;)
        if (e->at[k] > n_tokens || n_tokens == 0) drop_anchor(pool, e, k);
}

void ds4_kv_pool_destroy(ds4_kv_pool *pool) {
    if (pool == NULL) return;
    for (size_t i = 0; pool->entries != NULL && i < pool->n; i++) {
        drop_anchors_behind(pool, &pool->entries[i], 0);
        ds4_session_destroy(pool->entries[i].session);
    }
    free(pool->entries);
    free(pool->views);
    free(pool->scratch);
    free(pool);
}

/* ---- choosing and preparing ---- */

static double idle_seconds(const entry *e, double now) {
    return e->busy || now < e->used_at ? 0 : now - e->used_at;
}

static void look_at_all(ds4_kv_pool *pool, double now) {
    for (size_t i = 0; i < pool->n; i++) {
        const entry *e = &pool->entries[i];
        uint32_t n = ds4_session_length(e->session);
        pool->views[i] = (ds4_kv_view){
            .busy = e->busy,
            .tokens = ds4_session_tokens(e->session),
            .dials = ds4_session_dials(e->session),
            .n_tokens = n,
            .n_prompt = e->busy || e->n_prompt > n ? n : e->n_prompt,
            .rewind_floor = ds4_session_rewind_floor(e->session),
            .anchors = e->at,
            .n_anchors = e->n_anchors,
            .idle_seconds = idle_seconds(e, now),
        };
    }
}

bool ds4_kv_pool_look(ds4_kv_pool *pool, const ds4_kv_prompt *prompt, double now,
                      ds4_kv_choice *choice) {
    look_at_all(pool, now);
    return ds4_kv_choose(pool->views, pool->n, prompt, pool->scratch, choice);
}

static uint32_t find_anchor(const entry *e, uint32_t n_tokens) {
    uint32_t k = 0;
    while (k < e->n_anchors && e->at[k] != n_tokens) k++;
    return k;
}

/* The session `to` becomes the first n tokens of `from` (itself, or another one). */
static ds4_status bring_back(ds4_kv_pool *pool, entry *to, entry *from, uint32_t n) {
    uint32_t k = find_anchor(from, n);
    bool by_journal =
        n == ds4_session_length(from->session) || n >= ds4_session_rewind_floor(from->session);
    ds4_status status = DS4_OK;
    if (by_journal) {
        if (to != from) status = ds4_session_copy(to->session, from->session, NULL);
        if (status == DS4_OK && n < ds4_session_length(to->session))
            status = ds4_session_rewind(to->session, n, NULL);
        return status;
    }
    if (k == from->n_anchors) return DS4_INTERNAL;
    anchor *a = &from->anchors[k];
    a->used = ++pool->use_counter;
    if (to != from) status = ds4_session_share(to->session, from->session, n, NULL);
    if (status == DS4_OK)
        status = ds4_session_restore_tip(to->session, n, a->bytes, a->n_bytes, NULL);
    return status;
}

/* A clone can be taken back to the same places as its source. */
static void copy_anchors(ds4_kv_pool *pool, entry *to, const entry *from, uint32_t n_tokens) {
    for (uint32_t k = 0; k < from->n_anchors; k++) {
        if (from->at[k] > n_tokens) continue;
        uint8_t *bytes = malloc(from->anchors[k].n_bytes);
        if (bytes == NULL) return;
        memcpy(bytes, from->anchors[k].bytes, from->anchors[k].n_bytes);
        to->at[to->n_anchors] = from->at[k];
        to->anchors[to->n_anchors] = from->anchors[k];
        to->anchors[to->n_anchors++].bytes = bytes;
        pool->anchor_bytes += from->anchors[k].n_bytes;
        pool->n_anchors++;
    }
}

void ds4_kv_pool_on_loss(ds4_kv_pool *pool, ds4_kv_loss_fn loss, void *context) {
    pool->loss = loss;
    pool->loss_context = context;
}

/* Before the session is cut to its first n_kept tokens. */
static void announce_loss(ds4_kv_pool *pool, entry *e, uint32_t n_kept) {
    if (pool->loss != NULL && n_kept < ds4_session_length(e->session))
        pool->loss(pool->loss_context, (size_t)(e - pool->entries), n_kept);
    if (e->n_stored > n_kept) e->n_stored = n_kept;
}

bool ds4_kv_pool_take(ds4_kv_pool *pool, const ds4_kv_prompt *prompt, double now,
                      ds4_kv_lease *lease) {
    ds4_kv_choice *choice = &lease->choice;
    if (!ds4_kv_pool_look(pool, prompt, now, choice)) return false;
    entry *to = &pool->entries[choice->target], *from = &pool->entries[choice->from];
    lease->id = choice->target;
    lease->session = to->session;
    to->busy = true;
    announce_loss(pool, to, to == from ? choice->n_held : 0);
    if (choice->source == DS4_KV_SOURCE_CLONED) {
        drop_anchors_behind(pool, to, 0);
        to->n_stored = from->n_stored < choice->n_held ? from->n_stored : choice->n_held;
    }
    if (choice->n_held == 0 || bring_back(pool, to, from, choice->n_held) != DS4_OK) {
        choice->source = DS4_KV_SOURCE_NONE;
        choice->n_held = choice->n_read = 0;
        ds4_session_reset(to->session);
    }
    drop_anchors_behind(pool, to, choice->n_held);
    if (choice->source == DS4_KV_SOURCE_CLONED) copy_anchors(pool, to, from, choice->n_held);
    return true;
}

void ds4_kv_pool_give_back(ds4_kv_pool *pool, size_t id, uint32_t n_prompt, double now) {
    entry *e = &pool->entries[id];
    e->busy = false;
    e->used_at = now;
    e->n_prompt = n_prompt;
}

/* ---- anchors and memory ---- */

static uint32_t least_used_anchor(const entry *e) {
    uint32_t lowest = 0, found = e->n_anchors;
    for (uint32_t k = 1; k < e->n_anchors; k++)
        if (e->at[k] < e->at[lowest]) lowest = k;
    for (uint32_t k = 0; k < e->n_anchors; k++) {
        if (k == lowest) continue;
        if (found == e->n_anchors || e->anchors[k].used < e->anchors[found].used) found = k;
    }
    return found;
}

void ds4_kv_pool_anchor(ds4_kv_pool *pool, size_t id, uint32_t n_tokens) {
    entry *e = &pool->entries[id];
    if (n_tokens == 0 || find_anchor(e, n_tokens) < e->n_anchors) return;
    size_t n_bytes = ds4_session_tip_bytes(e->session, n_tokens);
    uint8_t *bytes = malloc(n_bytes);
    if (bytes == NULL) return;
    if (ds4_session_save_tip(e->session, n_tokens, bytes, NULL) != DS4_OK) {
        free(bytes);
        return;
    }
    if (e->n_anchors == DS4_KV_ANCHORS) drop_anchor(pool, e, least_used_anchor(e));
    e->at[e->n_anchors] = n_tokens;
    e->anchors[e->n_anchors++] = (anchor){bytes, n_bytes, ++pool->use_counter};
    pool->anchor_bytes += n_bytes;
    pool->n_anchors++;
}

bool ds4_kv_pool_get_anchor(const ds4_kv_pool *pool, size_t id, uint32_t k, uint32_t *n_tokens,
                            const uint8_t **tip, size_t *n_tip) {
    const entry *e = &pool->entries[id];
    if (k >= e->n_anchors) return false;
    *n_tokens = e->at[k];
    *tip = e->anchors[k].bytes;
    *n_tip = e->anchors[k].n_bytes;
    return true;
}

static uint64_t row_bytes(const ds4_kv_pool *pool) {
    uint64_t sum = 0;
    for (size_t i = 0; i < pool->n; i++) {
        const ds4_session *s = pool->entries[i].session;
        sum += ds4_session_row_bytes(s, ds4_session_length(s));
    }
    return sum;
}

/* The idle session with something to give that is worth least; pool->n when there is none. */
static size_t next_to_empty(ds4_kv_pool *pool, double now) {
    size_t found = pool->n;
    look_at_all(pool, now);
    for (size_t i = 0; i < pool->n; i++) {
        if (pool->views[i].busy || pool->views[i].n_tokens == 0) continue;
        if (found == pool->n ||
            ds4_kv_view_worth(&pool->views[i]) < ds4_kv_view_worth(&pool->views[found]))
            found = i;
    }
    return found;
}

void ds4_kv_pool_trim(ds4_kv_pool *pool, double now) {
    while (pool->budget != 0 && row_bytes(pool) + pool->anchor_bytes > pool->budget) {
        size_t i = next_to_empty(pool, now);
        if (i == pool->n) return; /* all that is left is busy */
        announce_loss(pool, &pool->entries[i], 0);
        ds4_session_release(pool->entries[i].session);
        drop_anchors_behind(pool, &pool->entries[i], 0);
        pool->released++;
    }
}

bool ds4_kv_pool_seize(ds4_kv_pool *pool, double now, size_t *id) {
    size_t found = pool->n;
    look_at_all(pool, now);
    for (size_t i = 0; i < pool->n; i++) {
        if (pool->views[i].busy) continue;
        if (found == pool->n ||
            ds4_kv_view_worth(&pool->views[i]) < ds4_kv_view_worth(&pool->views[found]))
            found = i;
    }
    if (found == pool->n) return false;
    entry *e = &pool->entries[found];
    announce_loss(pool, e, 0);
    e->busy = true;
    ds4_session_reset(e->session);
    drop_anchors_behind(pool, e, 0);
    *id = found;
    return true;
}

uint32_t ds4_kv_pool_stored(const ds4_kv_pool *pool, size_t id) {
    return pool->entries[id].n_stored;
}

void ds4_kv_pool_set_stored(ds4_kv_pool *pool, size_t id, uint32_t n_tokens) {
    pool->entries[id].n_stored = n_tokens;
}

/* ---- looking ---- */

ds4_session *ds4_kv_pool_session(const ds4_kv_pool *pool, size_t id) {
    return pool->entries[id].session;
}

size_t ds4_kv_pool_count(const ds4_kv_pool *pool) {
    return pool->n;
}

bool ds4_kv_pool_is_busy(const ds4_kv_pool *pool, size_t id) {
    return pool->entries[id].busy;
}

void ds4_kv_pool_get_stats(const ds4_kv_pool *pool, ds4_kv_stats *stats) {
    stats->n_sessions = (uint32_t)pool->n;
    stats->n_live = 0;
    for (size_t i = 0; i < pool->n; i++)
        stats->n_live += ds4_session_length(pool->entries[i].session) > 0;
    stats->n_anchors = pool->n_anchors;
    stats->row_bytes = row_bytes(pool);
    stats->anchor_bytes = pool->anchor_bytes;
    stats->budget_bytes = pool->budget;
    stats->released = pool->released;
}

ds4_kv_session_view ds4_kv_pool_view(const ds4_kv_pool *pool, size_t id, double now) {
    const entry *e = &pool->entries[id];
    uint32_t n_tokens = ds4_session_length(e->session);
    return (ds4_kv_session_view){
        .id = (uint32_t)id,
        .n_tokens = n_tokens,
        .n_context = ds4_session_context(e->session),
        .n_anchors = e->n_anchors,
        .busy = e->busy,
        .idle_seconds = n_tokens == 0 ? 0 : idle_seconds(e, now), /* empty: there is no since */
    };
}
