/* One request for generation, from its body to its last byte, in whatever protocol: an exchange
 * parses, renders, submits and watches; a ds4_protocol says how the events are written.
 *
 * A worker makes the exchange, the scheduler's engine thread feeds it with events, the event thread
 * may cancel it. Two parties hold a reference: the scheduler's sink until `done`, the reply's
 * watcher until the connection is over. */
#ifndef DS4_SERVER_EXCHANGE_H
#define DS4_SERVER_EXCHANGE_H

#include "chat/render.h"
#include "chat/request_parse.h"
#include "chat/tool_id.h"
#include "server/api_error.h"
#include "server/app.h"
#include "server/logprobs_out.h"
#include "server/trace.h"

/* What differs between protocols. Writers append to `out`, which is sent afterwards. begin is
 * called with the exchange's lock held, the others by the engine thread without. Whatever they
 * return nothing for is optional (NULL). */
typedef struct ds4_protocol {
    const char *label;        /* for the log; static */
    const char *id_prefix;    /* "chatcmpl-" */
    const char *prompt_param; /* the field that an overflow blames */
    const char *keepalive;    /* what a silent stream sends; NULL: a comment */
    ds4_tool_id_protocol tool_ids;
    ds4_request_parse_fn *parse;
    bool any_turn;       /* of the parser's options */
    bool spare_thoughts; /* what was thought before is left out when the prompt does not fit with it
                          */
    bool one_text;       /* reasoning and content are one channel (for log-probabilities) */
    size_t state_bytes;  /* of the protocol's own state, zeroed */
    void (*free_state)(void *state);
    /* Behind the parsed request, before it is rendered: may change it. False: answered. */
    bool (*prepare)(ds4_exchange *x);
    /* Behind the rendered prompt: may change how the output is read. */
    void (*rendered)(ds4_exchange *x);
    /* The stream's first events. */
    void (*begin)(ds4_exchange *x, ds4_strbuf *out);
    /* The session is chosen: how much of the prompt is there already is known. */
    void (*started)(ds4_exchange *x, ds4_strbuf *out);
    /* One event of a stream. FINISH comes too; the end is written by `end`. */
    void (*event)(ds4_exchange *x, const ds4_chat_event *event, ds4_strbuf *out);
    /* The stream's last events. */
    void (*end)(ds4_exchange *x, const ds4_sched_result *result, ds4_strbuf *out);
    /* In place of the end: an error behind the head. */
    void (*fail)(ds4_exchange *x, const ds4_api_error *error, ds4_strbuf *out);
    /* The answer in one piece: a JSON body. */
    void (*whole)(ds4_exchange *x, const ds4_sched_result *result, ds4_strbuf *out);
} ds4_protocol;

typedef char ds4_tool_id[64];

struct ds4_exchange {
    atomic_int references;
    const ds4_protocol *protocol;
    void *state; /* the protocol's */
    ds4_app *app;
    ds4_http_reply *reply;
    ds4_chat_request request;
    ds4_constraint *constraint; /* NULL: the answer is free */
    ds4_prompt prompt;
    ds4_tokens ids;
    ds4_tool_id_source id_source;
    ds4_steering steering;
    ds4_steer_policy steer_policy;
    char id[48];
    long long created; /* seconds since 1970 */

    pthread_mutex_t mutex; /* guards `job`, `gone`, `opened` */
    ds4_sched_job *job;
    bool gone, opened;

    /* Engine thread only. */
    ds4_chat_result result; /* the whole message, also of a stream */
    uint32_t n_prompt;
    uint32_t n_cached; /* known from `started` on */
    ds4_logprobs_out logprobs;
    ds4_tool_id *tool_ids; /* those given out in this message */
    size_t n_tool_ids;
    ds4_strbuf scratch;
    ds4_trace_record trace; /* empty without --trace */
    bool traced;            /* it was written */
};

/* A worker's task: the app is READY. Answers `reply` sooner or later. */
void ds4_exchange_run(const ds4_protocol *protocol, ds4_app *app, const ds4_strbuf *body,
                      ds4_http_reply *reply);
/* Parses and renders only: the number of tokens, or false when `reply` was answered. */
bool ds4_exchange_count(const ds4_protocol *protocol, ds4_app *app, const ds4_strbuf *body,
                        ds4_http_reply *reply, size_t *n_tokens);

/* Answers an error in the shape of the exchange's protocol. */
void ds4_exchange_refuse(ds4_exchange *x, const ds4_api_error *error);

/* 24 hexadecimal digits behind `prefix`: from the system's random numbers. */
void ds4_exchange_random_id(const ds4_exchange *x, const char *prefix, char *id, size_t n);

/* The OpenAI usage object of chat and completions. */
void ds4_usage_json(const ds4_sched_result *result, ds4_strbuf *out);

#endif
