/* The HTTP/1.1 server: sockets, deadlines, limits, disconnects and slow readers. One event thread,
 * no routes.
 *
 * Every connection carries one request and is closed after its response (Connection: close). A
 * request passes two callbacks, both on the event thread: `admit` after the head (authority, route,
 * method), `handle` after the body. What the parser itself refuses goes to `refuse`, so that every
 * answer has the body its API wants. While a request is being answered the socket is watched: a
 * client that closes its end is noticed at once (ds4_http_reply_watch).
 *
 * All functions belong to the thread that runs the event loop. */
#ifndef DS4_SERVER_HTTP_H
#define DS4_SERVER_HTTP_H

#include "ds4.h"
#include "server/http_parse.h"
#include "server/http_reply.h"

struct event_base;
typedef struct ds4_http ds4_http;

typedef struct ds4_http_options {
    const char *host; /* dotted IPv4, IPv6 or "localhost" */
    uint16_t port;    /* 0: any free one */
    ds4_http_limits limits;
    size_t max_connections; /* more are answered 503 at once */
    uint64_t body_memory;   /* bytes of unfinished bodies held by all connections together */
    unsigned head_seconds;  /* total time for a head */
    unsigned body_seconds;  /* total time for a body, plus one second per MiB of it */
    unsigned write_seconds; /* without progress of a response: the client is given up */
    unsigned
        keepalive_seconds; /* a comment line is written into a stream that was silent so long */
    size_t output_limit; /* bytes waiting for a client beyond which its stream counts as stalled */
} ds4_http_options;

/* What became of a request. Borrowed for the call. */
typedef struct ds4_http_summary {
    const ds4_http_head *head; /* NULL: there was no head that could be read */
    const ds4_http_reply *reply;
    int status;     /* of the answer; 0: none was sent */
    bool complete;  /* the whole answer was handed to the kernel */
    double seconds; /* since the connection was accepted */
} ds4_http_summary;

typedef struct ds4_http_handlers {
    /* A connection was accepted: `reply` may be given its id. May be NULL. */
    void (*begun)(void *context, ds4_http_reply *reply);
    /* True: go on and read the body. False: `reply` was answered. */
    bool (*admit)(void *context, const ds4_http_head *head, ds4_http_reply *reply);
    /* `body` may be taken over (ds4_strbuf_take or a struct copy followed by zeroing). */
    void (*handle)(void *context, const ds4_http_head *head, ds4_strbuf *body,
                   ds4_http_reply *reply);
    void (*refuse)(void *context, ds4_http_refusal refusal, ds4_http_reply *reply);
    /* Once for every connection that asked for something. May be NULL. */
    void (*ended)(void *context, const ds4_http_summary *summary);
    void *context;
} ds4_http_handlers;

/* Binds and listens. IO with "failed to listen on H:P: reason" when that is impossible. */
ds4_status ds4_http_create(struct event_base *base, const ds4_http_options *options,
                           const ds4_http_handlers *handlers, ds4_http **http, ds4_error *error);
void ds4_http_destroy(ds4_http *http); /* drops all connections */
uint16_t ds4_http_port(const ds4_http *http);
void ds4_http_stop_listening(ds4_http *http);
size_t ds4_http_connection_count(const ds4_http *http);

#endif
