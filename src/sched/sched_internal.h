/* The inside of the scheduler: one struct, and who may touch what of it. Files: job.c (jobs and the
 * queue), admit.c (a session for the next job), step.c (one step of the engine), sched.c (thread
 * and life). */
#ifndef DS4_SCHED_INTERNAL_H
#define DS4_SCHED_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "kv/pool.h"
#include "kv/store.h"
#include "sched/plan.h"
#include "sched/sched.h"

typedef enum ds4_job_phase {
    DS4_JOB_QUEUED,
    DS4_JOB_LOADING, /* has a lane; its session is being looked for on disk */
    DS4_JOB_READING,
    DS4_JOB_DECODING,
} ds4_job_phase;

enum { DS4_JOB_ANCHORS = 4 };

struct ds4_sched_job {
    ds4_sched *sched;
    atomic_int references;
    atomic_bool cancelled, ended;
    ds4_sched_job *next; /* in the queue */
    int32_t *prompt;
    uint32_t n_prompt;
    uint32_t n_reserve; /* tokens that its session may grow to */
    bool exact;         /* only equal tokens are reused: the request has a seed */
    ds4_generation *generation;
    ds4_sched_sink sink;
    const char *label;
    char id[40];
    ds4_job_phase phase;
    size_t lane;
    ds4_kv_lease lease;
    uint32_t n_cached, n_read;         /* prompt tokens reused; reused or evaluated */
    uint32_t anchors[DS4_JOB_ANCHORS]; /* prompt lengths to keep, ascending */
    uint32_t n_anchors, next_anchor;
    uint32_t cold_at;             /* the one that is saved to disk as well; 0: none */
    ds4_kv_load *load;            /* while LOADING */
    int32_t token;                /* the sampled token to evaluate next */
    const ds4_steering *steering; /* its dial; while the prompt is read, that of the prompt */
    double submitted, started, read, sampled; /* when; sampled: the last token */
};

/* Where a running job's next logits go. */
typedef struct ds4_lane {
    ds4_sched_job *job; /* NULL: free */
    float *logits;      /* [n_vocab] */
} ds4_lane;

struct ds4_sched {
    const ds4_model *model;
    const ds4_log *log;
    ds4_sched_observer observer;
    ds4_engine *engine;
    uint32_t step_tokens; /* most of one step: what the engine takes at once */
    ds4_ban_set *bans;
    ds4_vocabulary *vocabulary; /* for constraints */
    uint32_t n_slots, n_queue, n_context;

    /* Engine thread. */
    ds4_kv_pool *pool;
    ds4_kv_store *store; /* NULL: nothing is kept on disk */
    ds4_sched_disk_options disk;
    uint64_t row_budget;
    bool blocked;             /* the queue's first job waits for memory */
    ds4_lane *lanes;          /* [n_slots] */
    ds4_step_wish *wishes;    /* [n_slots] */
    ds4_batch_item *items;    /* [n_slots] */
    size_t *item_lanes;       /* [n_slots]: which lane an item belongs to */
    double tokens_per_second; /* prefill, running mean; 0: unknown */
    double published;         /* when sessions and memory were last shown to other threads */

    pthread_t thread;
    bool thread_runs;
    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t changed;
    ds4_sched_job *first, *last;
    bool draining, stopping;
    double drain_deadline;
    uint64_t seed_counter;
    ds4_sched_status status;
    ds4_kv_stats kv;
    ds4_kv_session_view *sessions; /* [kv.n_sessions] */
};

double ds4_sched_now(void);

/* ---- job.c, engine thread ---- */

/* The one place where a job ends. No lock held. */
void ds4_job_end(ds4_sched_job *job, ds4_status status, const char *message);
/* Takes the next job out of the queue: any when `all`, else only cancelled ones. */
ds4_sched_job *ds4_job_take(ds4_sched *sched, bool all);

/* ---- admit.c, engine thread ---- */

/* Gives the next job of the queue a lane and a session. False: none waits, or none can be served
 * now. */
bool ds4_sched_admit(ds4_sched *sched);
/* Goes on with jobs whose answer from disk has come. */
void ds4_sched_finish_loads(ds4_sched *sched);
bool ds4_sched_has_loaded(const ds4_sched *sched);
/* Shows sessions and memory to other threads, at once or when the last time is a while ago. */
void ds4_sched_publish(ds4_sched *sched, bool at_once);

/* ---- persist.c, engine thread; nothing happens without a store ---- */

ds4_status ds4_persist_open(ds4_sched *sched, ds4_error *error);
/* Asks the disk for more of the prompt than the pool has. False: it is not worth asking. */
bool ds4_persist_ask(ds4_sched *sched, ds4_sched_job *job, const ds4_kv_prompt *prompt,
                     const ds4_kv_choice *choice);
/* Where a new prompt's stable beginning ends; 0: it is not to be saved. */
uint32_t ds4_persist_cold_length(const ds4_sched *sched, const ds4_sched_job *job);
void ds4_persist_save(ds4_sched *sched, size_t id, uint32_t n_tokens, ds4_kv_save reason);
/* After the job's session grew. */
void ds4_persist_grown(ds4_sched *sched, const ds4_sched_job *job);
/* Saves all sessions and closes the store. */
void ds4_persist_close(ds4_sched *sched);

/* ---- step.c, engine thread ---- */

/* With the lock held (a reader that catches up between the question and the wait would be missed
 * otherwise). Returns the tokens of the next step; *reading: how many of them belong to prompts. */
uint32_t ds4_sched_plan(ds4_sched *sched, uint32_t *reading);
void ds4_sched_step(ds4_sched *sched, uint32_t reading);

#endif
