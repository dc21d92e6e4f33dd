/* What became of each prompt's prefix, and what the pool and the disk store hold: for /metrics,
 * /v1/status, logs and tests. Plain values, copied out by the scheduler. */
#ifndef DS4_KV_STATS_H
#define DS4_KV_STATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where the reused part of a prompt came from. */
#define DS4_KV_SOURCE_LIST(X)                                                                      \
    X(NONE, "none")       /* nothing was reused */                                                 \
    X(LIVE, "live")       /* a session was continued at its end */                                 \
    X(REWOUND, "rewound") /* a session was taken back in place */                                  \
    X(ANCHOR, "anchor")   /* a session was taken back in place to a kept tip */                    \
    X(CLONED, "cloned")   /* copied from a session that goes on existing */                        \
    X(DISK, "disk")

/* Why not more was reused. */
#define DS4_KV_MISS_LIST(X)                                                                        \
    X(NONE, "none") /* a session was continued, or all but the last token is there */              \
    X(COLD, "no-live-checkpoint")    /* no session holds anything */                               \
    X(TOKENS, "token-mismatch")      /* the longest common prefix was reused, it ends early */     \
    X(STEERING, "steering-mismatch") /* the tokens agree there, the dial does not */               \
    X(JOURNAL, "rewind-too-far")     /* more is common than can be returned to */

typedef enum ds4_kv_source {
#define DS4_KV_ENUM(name, text) DS4_KV_SOURCE_##name,
    DS4_KV_SOURCE_LIST(DS4_KV_ENUM)
#undef DS4_KV_ENUM
        DS4_KV_SOURCE_COUNT
} ds4_kv_source;

typedef enum ds4_kv_miss {
#define DS4_KV_ENUM(name, text) DS4_KV_MISS_##name,
    DS4_KV_MISS_LIST(DS4_KV_ENUM)
#undef DS4_KV_ENUM
        DS4_KV_MISS_COUNT
} ds4_kv_miss;

/* Why a state was written to disk. */
#define DS4_KV_SAVE_LIST(X)                                                                        \
    X(COLD, "cold")           /* a new prompt's stable beginning */                                \
    X(CONTINUED, "continued") /* a conversation grew by another interval */                        \
    X(EVICT, "evict")         /* its session is needed for something else */                       \
    X(SHUTDOWN, "shutdown")

typedef enum ds4_kv_save {
#define DS4_KV_ENUM(name, text) DS4_KV_SAVE_##name,
    DS4_KV_SAVE_LIST(DS4_KV_ENUM)
#undef DS4_KV_ENUM
        DS4_KV_SAVE_COUNT
} ds4_kv_save;

const char *ds4_kv_source_name(ds4_kv_source source);
const char *ds4_kv_miss_name(ds4_kv_miss miss);
const char *ds4_kv_save_name(ds4_kv_save save);

typedef struct ds4_kv_disk_stats {
    bool enabled;
    uint64_t used_bytes, budget_bytes;
    uint64_t n_blocks, n_tips; /* files */
    uint64_t hits, misses;     /* prompts that did / did not find a longer prefix there */
    uint64_t loaded_bytes, loaded_tokens;
    uint64_t saved_bytes;
    uint64_t saves[DS4_KV_SAVE_COUNT];
    uint64_t saves_skipped;                       /* the writer was behind, or saving is paused */
    uint64_t save_failures, quarantined, evicted; /* quarantined, evicted: files */
} ds4_kv_disk_stats;

typedef struct ds4_kv_stats {
    uint64_t prompts[DS4_KV_SOURCE_COUNT]; /* prompts by where their prefix came from */
    uint64_t tokens[DS4_KV_SOURCE_COUNT];  /* and the tokens reused in them */
    uint64_t misses[DS4_KV_MISS_COUNT];    /* prompts by why not more was reused */
    uint32_t n_sessions, n_live;           /* in the pool; of these, not empty */
    uint32_t n_anchors;
    uint64_t row_bytes, anchor_bytes; /* taken by sessions' rows and by anchors */
    uint64_t budget_bytes;            /* for both together */
    uint64_t released;                /* idle sessions emptied to keep the budget */
    ds4_kv_disk_stats disk;
} ds4_kv_stats;

typedef struct ds4_kv_session_view {
    uint32_t id, n_tokens, n_context, n_anchors;
    bool busy;
    double idle_seconds; /* 0 while busy */
} ds4_kv_session_view;

#endif
