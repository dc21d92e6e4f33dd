/* The answer to one HTTP request, written by any thread and carried to the socket by the event
 * thread.
 *
 * A reply is shared: the connection holds one reference, whoever answers holds another. The
 * producer either sends one whole response or starts an event stream, writes to it and finishes it.
 * Bytes wait in memory until the event thread fetches them; a producer that sees
 * ds4_http_reply_stalled() stops producing until its watcher says RESUMED. Every function but those
 * marked "event thread" may be called by any thread. After the client has gone all writes are
 * dropped. */
#ifndef DS4_SERVER_HTTP_REPLY_H
#define DS4_SERVER_HTTP_REPLY_H

#include <stdbool.h>
#include <stddef.h>

#include "base/strbuf.h"

typedef struct ds4_http_reply ds4_http_reply;

typedef enum ds4_http_reply_change {
    DS4_HTTP_REPLY_GONE, /* the client closed, or reads too slowly, before the end of the response
                          */
    DS4_HTTP_REPLY_RESUMED, /* a stalled stream may go on */
} ds4_http_reply_change;

/* Told about changes on the event thread (GONE also by ds4_http_reply_watch itself when it is too
 * late). `release` is called once, when nothing will be told any more. */
typedef struct ds4_http_watcher {
    void (*changed)(void *context, ds4_http_reply_change change);
    void (*release)(void *context);
    void *context;
} ds4_http_watcher;

ds4_http_reply *ds4_http_reply_retain(ds4_http_reply *reply);
void ds4_http_reply_release(ds4_http_reply *reply);

/* At most one watcher per reply. */
void ds4_http_reply_watch(ds4_http_reply *reply, ds4_http_watcher watcher);

/* A whole response. `headers`: further complete header lines ("Allow: GET\r\n") or NULL.
 * `content_type` NULL: no body and no Content-Type. A HEAD request gets the head alone. Only the
 * first response of a reply counts. */
void ds4_http_reply_send(ds4_http_reply *reply, int status, const char *headers,
                         const char *content_type, const char *body, size_t n);

/* Sends the head of a text/event-stream response; keepalive comments start now. */
void ds4_http_reply_start_stream(ds4_http_reply *reply);
void ds4_http_reply_write(ds4_http_reply *reply, const char *bytes, size_t n);
void ds4_http_reply_finish(ds4_http_reply *reply);

/* What keeps a silent stream alive, instead of a comment; static storage. */
void ds4_http_reply_set_keepalive(ds4_http_reply *reply, const char *text);
const char *ds4_http_reply_keepalive(const ds4_http_reply *reply);
/* A number that the routes attach, such as the shape of error bodies; 0 at first. */
void ds4_http_reply_set_tag(ds4_http_reply *reply, int tag);
int ds4_http_reply_tag(const ds4_http_reply *reply);

bool ds4_http_reply_gone(const ds4_http_reply *reply);
/* More bytes wait for the client than the output limit allows. */
bool ds4_http_reply_stalled(const ds4_http_reply *reply);

/* Tells the request apart in logs and in the x-request-id header; lives as long as the reply. */
const char *ds4_http_reply_id(const ds4_http_reply *reply);

const char *ds4_http_status_text(int status);

/* ---- the connection's side (event thread) ---- */

/* Where replies with something to fetch are announced. */
typedef struct ds4_http_mailbox ds4_http_mailbox;

/* `wake` is called by any thread when the mailbox was empty before. */
ds4_http_mailbox *ds4_http_mailbox_create(void (*wake)(void *context), void *context);
void ds4_http_mailbox_destroy(ds4_http_mailbox *mailbox);
/* The next announced reply with its `owner` (NULL after detach), or NULL; the caller releases the
 * reference. */
ds4_http_reply *ds4_http_mailbox_take(ds4_http_mailbox *mailbox, void **owner);

/* NULL when out of memory. `owner` is handed back by ds4_http_mailbox_take. */
ds4_http_reply *ds4_http_reply_create(ds4_http_mailbox *mailbox, size_t output_limit, void *owner);
void ds4_http_reply_set_head_only(ds4_http_reply *reply); /* the request was HEAD */
/* At most 39 bytes; before anything is answered. */
void ds4_http_reply_set_id(ds4_http_reply *reply, const char *id);
/* Header lines for every response of this request (CORS); copied. */
void ds4_http_reply_set_headers(ds4_http_reply *reply, const char *lines);

typedef struct ds4_http_reply_state {
    bool started, streaming, finished;
    int status; /* 0 before it started */
} ds4_http_reply_state;

/* Moves the waiting bytes into `bytes` (cleared first). */
ds4_http_reply_state ds4_http_reply_fetch(ds4_http_reply *reply, ds4_strbuf *bytes);
/* How many fetched bytes the socket has not taken yet; tells the watcher RESUMED when there is room
 * again. */
void ds4_http_reply_set_unsent(ds4_http_reply *reply, size_t n);
/* The connection is over: GONE for the watcher unless the response was complete, then its release.
 */
void ds4_http_reply_detach(ds4_http_reply *reply, bool complete);

#endif
