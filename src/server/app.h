/* What the rooms of the server share: flags, log, the model while and after it loads, the
 * scheduler.
 *
 * The event thread owns the HTTP side; a loader thread opens the model; workers parse and render
 * requests; the engine thread lives in the scheduler. */
#ifndef DS4_SERVER_APP_H
#define DS4_SERVER_APP_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/log.h"
#include "chat/tool_memory.h"
#include "sched/sched.h"
#include "server/flags.h"
#include "server/http.h"
#include "server/keys.h"
#include "server/metrics.h"
#include "server/response_store.h"

#define DS4_MODEL_ID "deepseek-v4-flash"

typedef enum ds4_app_state {
    DS4_APP_LOADING,
    DS4_APP_READY,
    DS4_APP_UNLOADED, /* nothing was asked for a while: model and engine were released */
    DS4_APP_STOPPING,
} ds4_app_state;

typedef struct ds4_workers ds4_workers;
typedef struct ds4_tool_journal ds4_tool_journal;

/* What is told about the model; outlives it. */
typedef struct ds4_app_model {
    char name[128];
    uint64_t file_bytes;
    ds4_memory_plan plan;
} ds4_app_model;

enum { DS4_APP_SESSIONS = 512 };

/* What the scheduler is doing. */
typedef struct ds4_app_usage {
    ds4_sched_status sched;
    ds4_kv_stats kv;
    ds4_kv_session_view sessions[DS4_APP_SESSIONS];
    size_t n_sessions;
} ds4_app_usage;

typedef struct ds4_app {
    const ds4_server_flags *flags;
    const ds4_log *log;
    struct ds4_trace *trace; /* NULL: nothing is traced */
    ds4_keys keys;           /* event thread */
    int random_fd;           /* /dev/urandom */
    uint32_t nonce;          /* tells the ids of this process from those of others */
    double started;          /* ds4_app_now() of the start */
    atomic_uint_fast64_t n_requests, n_connections;
    ds4_metrics metrics;
    ds4_dial dial; /* set by the loader before READY */
    ds4_http *http;
    ds4_workers *workers;
    ds4_response_store *responses;
    void (*loaded)(void *context); /* called by the loader thread at its end, whatever came of it */
    void (*wanted)(void *context); /* called by the event thread: a task was submitted */
    void *callback_context;
    int lock_fd;            /* of the instance lock, -1: not held; loader thread once it runs */
    atomic_int n_exchanges; /* requests that may still look at model or scheduler */

    ds4_tool_memory *tool_memory;   /* NULL: calls are rendered canonically */
    ds4_tool_journal *tool_journal; /* NULL: they are remembered by this process only */

    atomic_uint_fast64_t load_done, load_total; /* bytes */
    atomic_bool load_cancelled;

    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t changed;
    ds4_app_state state;
    bool load_failed, served; /* the last load failed; one before it did not */
    int load_exit_code;       /* what a failed first load ends with */
    ds4_error load_error;
    ds4_app_model about;
    ds4_app_usage past; /* what unloaded schedulers had counted */
    /* Both are set by the loader thread before READY; valid while READY, while an exchange lives,
     * and until the end of a process that stops. */
    ds4_model *model;
    ds4_sched *sched;
} ds4_app;

ds4_app_state ds4_app_get_state(ds4_app *app);
void ds4_app_set_state(ds4_app *app, ds4_app_state state);
/* No model was ever ready: nobody can be served yet. */
bool ds4_app_is_starting(ds4_app *app);
bool ds4_app_is_idle(ds4_app *app);
/* READY and idle -> UNLOADED, as one step: from now on tasks wait. False: it was not. */
bool ds4_app_begin_unload(ds4_app *app);
double ds4_app_now(void); /* seconds of a clock that only goes forward */

/* ---- loader.c ---- */

/* Thread body: opens the model, starts the scheduler and makes the app READY; the first time it
 * logs the readiness line. */
void *ds4_app_load(void *app);
/* Thread body behind ds4_app_begin_unload: releases scheduler and model. */
void *ds4_app_unload(void *app);

/* ---- usage.c ---- */

/* The state, and what belongs to it. `usage` counts from the start of the process; its gauges are
 * zero while nothing is loaded. */
ds4_app_state ds4_app_look(ds4_app *app, ds4_app_model *model, ds4_app_usage *usage);
/* With the mutex held: adds what the scheduler has counted to `past`. */
void ds4_app_remember_usage(ds4_app *app);

/* ---- routes.c ---- */

/* The callbacks of the HTTP server; context: the app. */
extern const ds4_http_handlers ds4_routes;
bool ds4_host_is_loopback(const char *host);

/* ---- api_models.c ---- */

void ds4_api_models_list(ds4_app *app, ds4_http_reply *reply);
void ds4_api_models_get(ds4_app *app, ds4_http_text id, ds4_http_reply *reply);

/* ---- api_status.c ---- */

void ds4_api_health(ds4_app *app, ds4_http_reply *reply);
void ds4_api_status(ds4_app *app, ds4_http_reply *reply);
void ds4_api_metrics(ds4_app *app, ds4_http_reply *reply);

/* ---- api_openapi.c ---- */

void ds4_api_openapi(ds4_app *app, ds4_http_reply *reply);

/* ---- api_chat.c, api_completions.c, api_anthropic.c, api_responses.c, api_compact.c ---- */

/* Parses, renders and submits one request. Workers' tasks: the app is READY. */
void ds4_api_chat(ds4_app *app, const ds4_strbuf *body, ds4_http_reply *reply);
void ds4_api_completions(ds4_app *app, const ds4_strbuf *body, ds4_http_reply *reply);
void ds4_api_messages(ds4_app *app, const ds4_strbuf *body, ds4_http_reply *reply);
void ds4_api_responses(ds4_app *app, const ds4_strbuf *body, ds4_http_reply *reply);
void ds4_api_compact(ds4_app *app, const ds4_strbuf *body, ds4_http_reply *reply);
/* path[0..n): what stands behind /v1/responses/, an id or ID/input_items. Event thread. */
void ds4_api_stored_response(ds4_app *app, const char *path, size_t n, bool remove,
                             ds4_http_reply *reply);
/* Counts the prompt's tokens; nothing is submitted. */
void ds4_api_count_tokens(ds4_app *app, const ds4_strbuf *body, ds4_http_reply *reply);

/* ---- webui.c ---- */

/* The chat page and its parts; 404 with --no-webui. */
void ds4_webui_page(ds4_app *app, ds4_http_reply *reply);
void ds4_webui_style(ds4_app *app, ds4_http_reply *reply);
void ds4_webui_script(ds4_app *app, ds4_http_reply *reply);

/* ---- workers.c ---- */

typedef void (*ds4_task_fn)(ds4_app *app, const ds4_strbuf *body, ds4_http_reply *reply);

/* Threads that prepare requests, so that neither a long prompt nor a slow load ever blocks the
 * event thread. */
ds4_status ds4_workers_create(ds4_app *app, unsigned n_threads, size_t n_waiting,
                              uint64_t waiting_bytes, ds4_workers **workers, ds4_error *error);
void ds4_workers_destroy(
    ds4_workers *workers); /* the app must be STOPPING: waiting tasks are answered 503 */
/* Both with the app's mutex held: nothing waits and nothing runs; something waits. */
bool ds4_workers_are_idle(const ds4_workers *workers);
bool ds4_workers_have_waiting(const ds4_workers *workers);
/* Answers what waits with 503. */
void ds4_workers_refuse(ds4_workers *workers, const char *message);
/* Takes the body over and keeps a reference to the reply. False: too many are waiting. Tasks wait
 * until the app is READY, in order. `light` ones, which need the tokenizer only, do not count:
 * clients send dozens at once. */
bool ds4_workers_submit(ds4_workers *workers, ds4_task_fn task, bool light, ds4_strbuf *body,
                        ds4_http_reply *reply);

/* ---- tool_journal.c ---- */

/* The turns that app->tool_memory remembers, in the file `tool-replay.log` of a directory, which is
 * made when it is missing. Those that the model's tokenizer confirms are read in. Several servers
 * may append to one file. Nothing about it is fatal: it is only said in the log. */
ds4_tool_journal *ds4_tool_journal_open(ds4_app *app, const char *directory);
void ds4_tool_journal_close(ds4_tool_journal *journal);
/* Remembers an answer that ended in calls; `journal` may be NULL. Engine thread. */
void ds4_tool_journal_add(ds4_tool_journal *journal, ds4_app *app, const ds4_chat_result *result,
                          const ds4_sampled_turn *sampled);

#endif
