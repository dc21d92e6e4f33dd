/* The scheduler: one thread owns the engine and a pool of sessions (kv/pool.h), and composes every
 * step of the engine from all live requests: one token for each that decodes, a share of the
 * prompts that are being read.
 *
 * A request becomes a job: queued, given a slot and a session (whatever saves most of the
 * prompt: kv/choose.h), read, answered. What happens to it is told to its sink on the engine
 * thread; the sink must be quick and must not call back into the scheduler except for
 * ds4_sched_cancel. The result of a seeded job depends on its own prompt and options alone, never
 * on its company (docs/architecture.md).
 *
 * All functions may be called by any thread unless they say otherwise. */
#ifndef DS4_SCHED_SCHED_H
#define DS4_SCHED_SCHED_H

#include "base/log.h"
#include "ds4.h"
#include "kv/stats.h"
#include "sched/generation.h"

typedef struct ds4_sched ds4_sched;
typedef struct ds4_sched_job ds4_sched_job;

/* The KV cache on disk (kv/store.h), and when it is written to. */
typedef struct ds4_sched_disk_options {
    const char *directory; /* NULL: none */
    uint64_t budget_bytes;
    uint32_t min_tokens;  /* shorter states are neither saved nor looked for */
    uint32_t cold_max;    /* beginnings of new prompts of at most so many tokens are saved; 0: never
                           */
    uint32_t interval;    /* a conversation is saved whenever it grew by so much; 0: never */
    uint32_t trim, align; /* where a prompt without a system part is cut for its cold save */
} ds4_sched_disk_options;

typedef struct ds4_sched_options {
    ds4_engine_options engine; /* the number of sessions is set by the scheduler */
    uint32_t n_slots;          /* requests answered at once; 0: 2 */
    uint32_t n_sessions;       /* conversations kept, as many as slots at least; 0: two more */
    uint64_t memory_budget;    /* bytes for the sessions' rows and anchors together; 0: rows of as
                                  many full contexts as there are slots, and some anchors */
    ds4_sched_disk_options disk;
    uint32_t n_queue;                          /* requests waiting beyond these; 0: 16 */
    const ds4_log *log;                        /* may be NULL; must outlive the scheduler */
    const struct ds4_sched_observer *observer; /* copied; may be NULL */
} ds4_sched_options;

/* How a job ended; passed to the sink's `done`. Borrowed for the call. */
typedef struct ds4_sched_result {
    ds4_status status;   /* OK: a FINISH event was sent. CANCELLED; BUSY: the scheduler is shutting
                            down; or a failure */
    const char *message; /* a sentence when status is not OK */
    ds4_finish finish;
    uint32_t n_prompt, n_cached; /* tokens of the prompt; of these, found in a session */
    uint32_t n_generated;        /* sampled, without EOS, with thinking and tool markup */
    uint32_t n_reasoning;        /* of these, while thinking */
    uint32_t n_steered;          /* of these, evaluated under the dial */
    ds4_kv_source kv_source;     /* where the reused part came from, */
    ds4_kv_miss kv_miss;         /* why it is not longer, */
    uint32_t kv_common;          /* the position of the first difference to the session that agrees
                                    longest, */
    uint32_t kv_longest;         /* and the tokens of that session */
    double queue_seconds, prefill_seconds, decode_seconds;
    ds4_sampled_turn sampled; /* the answer's tokens */
} ds4_sched_result;

/* For measurements; called on the engine thread without any lock held, and must be quick. */
typedef struct ds4_sched_observer {
    /* A token was sampled: seconds since the job's submission when it is the job's `first`, since
     * its token before otherwise. */
    void (*token)(void *context, bool first, double seconds);
    void (*ended)(void *context, const ds4_sched_result *result); /* before the sink's `done` */
    void *context;
} ds4_sched_observer;

/* Called on the engine thread, `event` and `done` without any lock held. `done` is the last call,
 * made exactly once for every job that was submitted. */
typedef struct ds4_sched_sink {
    void (*started)(void *context, uint32_t n_cached); /* the job got a slot; may be NULL */
    void (*event)(void *context, const ds4_chat_event *event);
    ds4_sampled_token_fn token; /* every token with its log-probability; may be NULL */
    bool (*stalled)(
        void *context); /* true: produce nothing until ds4_sched_job_wake; may be NULL */
    void (*done)(void *context, const ds4_sched_result *result);
    void *context;
} ds4_sched_sink;

typedef struct ds4_sched_request {
    const int32_t *prompt;         /* copied */
    uint32_t n_prompt;             /* >= 1 and less than the engine's max_context */
    uint32_t max_tokens;           /* >= 1; limited to what the context holds behind the prompt */
    ds4_sampling_request sampling; /* resolved; seed 0: taken from the clock and a counter */
    ds4_parser_options parser;     /* sink and ids are set by the scheduler */
    uint32_t think_budget;         /* reasoning tokens before </think> is forced; 0: none */
    uint32_t n_top_logprobs;       /* for the sink's `token` */
    ds4_constraint *constraint;    /* NULL: none; a reference is kept */
    ds4_steering steering;         /* the dial; its direction must outlive the job */
    ds4_steer_policy steer_policy;
    ds4_sched_sink sink;
    const char *label; /* for the log: "chat"; static storage */
    const char *id;    /* of the request, for the log; copied; may be NULL */
} ds4_sched_request;

/* What /health and tests look at. */
typedef struct ds4_sched_status {
    uint32_t n_slots, n_busy, n_queued, n_queue;
    uint64_t jobs_submitted, jobs_done, jobs_cancelled, jobs_failed;
    uint64_t steps, prompt_tokens, generated_tokens; /* evaluated or sampled since the start */
    uint64_t cached_tokens; /* prompt tokens that were not evaluated again */
} ds4_sched_status;

/* The engine options that ds4_sched_create will use: for the memory plan. */
ds4_status ds4_sched_engine_options(const ds4_model *model, const ds4_sched_options *options,
                                    ds4_engine_options *engine, ds4_error *error);

/* Creates the engine and all sessions and starts the thread. `model` must have a tokenizer and
 * outlive the scheduler. */
ds4_status ds4_sched_create(const ds4_model *model, const ds4_sched_options *options,
                            ds4_sched **sched, ds4_error *error);
/* Ends what is still running (jobs end with BUSY) and joins the thread. All job references must be
 * released first or be released later by their holders; the scheduler must not be used any more. */
void ds4_sched_destroy(ds4_sched *sched);

/* Queues a job. BUSY: the queue is full, or no jobs are accepted any more (draining). On success
 * *job is a reference for ds4_sched_cancel that the caller releases; the sink may be called before
 * this function returns. */
ds4_status ds4_sched_submit(ds4_sched *sched, const ds4_sched_request *request, ds4_sched_job **job,
                            ds4_error *error);
/* The job ends with CANCELLED: at once when it is queued, after the step that is being computed
 * otherwise. What was evaluated stays in its session. Harmless after the job's end. */
void ds4_sched_cancel(ds4_sched_job *job);
/* The job's sink is no longer stalled. Harmless after the job's end. */
void ds4_sched_job_wake(ds4_sched_job *job);
void ds4_sched_job_release(ds4_sched_job *job);

/* No more jobs: queued ones and those whose prompt is being read end with BUSY, those that decode
 * may go on for `seconds`. */
void ds4_sched_drain(ds4_sched *sched, double seconds);

void ds4_sched_get_status(ds4_sched *sched, ds4_sched_status *status);
/* Prefix reuse, sessions and the disk store; at most half a second old. */
void ds4_sched_get_kv(ds4_sched *sched, ds4_kv_stats *stats);
/* Fills in up to n of them; returns how many there are. */
size_t ds4_sched_list_sessions(ds4_sched *sched, ds4_kv_session_view *sessions, size_t n);

#endif
