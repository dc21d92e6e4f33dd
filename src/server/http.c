#include "server/http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <event2/util.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"

enum {
    BACKLOG = 1024,                /* a burst waits here; the kernel would retry after a second */
    LINGER_SECONDS = 1,            /* after the response: time for the client to close first */
    DISCARD_LIMIT = 64 * 1024,     /* bytes after the request that are read and dropped */
    OVERFLOW_CONNECTIONS = 64,     /* above max_connections, just to be told 503 */
    ACCEPT_PAUSE_MS = 200,         /* after a failed accept (out of descriptors) */
    SOCKET_SEND_BYTES = 32 * 1024, /* the kernel would let megabytes of an unread answer pile up */
};

typedef enum connection_state { READING_HEAD, READING_BODY, ANSWERING, LINGERING } connection_state;

typedef struct connection {
    ds4_http *http;
    struct connection *previous, *next;
    struct bufferevent *socket;
    struct event *timer; /* deadline while reading and lingering, keepalive while answering */
    struct event *peek;  /* watches for the client's end of the connection after the request */
    connection_state state;
    size_t scanned;
    ds4_strbuf head_bytes; /* what `head` points into */
    ds4_http_head head;
    ds4_http_chunked chunked;
    ds4_strbuf body;
    ds4_http_reply *reply;
    ds4_http_reply_state answer;
    size_t discarded;
    bool has_head; /* `head` was read */
    double accepted;
} connection;

struct ds4_http {
    ds4_http_options options;
    ds4_http_handlers handlers;
    struct event_base *base;
    struct evconnlistener *listener;
    struct event *wake, *accept_again;
    ds4_http_mailbox *mailbox;
    ds4_strbuf fetched;
    connection *connections;
    size_t n_connections, n_lingering;
    uint64_t body_bytes;
    uint16_t port;
};

static double now_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void tell_end(const connection *c, bool complete) {
    const ds4_http *http = c->http;
    if (http->handlers.ended == NULL || (!c->has_head && !c->answer.started)) return;
    ds4_http_summary summary = {.head = c->has_head ? &c->head : NULL,
                                .reply = c->reply,
                                .status = c->answer.status,
                                .complete = complete,
                                .seconds = now_seconds() - c->accepted};
    http->handlers.ended(http->handlers.context, &summary);
}

static void start_timer(connection *c, unsigned seconds) {
    struct timeval delay = {.tv_sec = (time_t)seconds};
    evtimer_add(c->timer, &delay);
}

static void connection_free(connection *c, bool complete) {
    ds4_http *http = c->http;
    if (c->previous != NULL)
        c->previous->next = c->next;
    else
        http->connections = c->next;
    if (c->next != NULL) c->next->previous = c->previous;
    http->n_connections--;
    if (c->state == LINGERING)
        http->n_lingering--;
    else
        tell_end(c, complete);
    http->body_bytes -= c->body.n;
    if (c->timer != NULL) event_free(c->timer);
    if (c->peek != NULL) event_free(c->peek);
    if (c->socket != NULL) bufferevent_free(c->socket);
    if (c->reply != NULL) {
        ds4_http_reply_detach(c->reply, complete);
        ds4_http_reply_release(c->reply);
    }
    ds4_strbuf_free(&c->head_bytes);
    ds4_strbuf_free(&c->body);
    free(c);
}

/* ---- answering ---- */

/* The response is out: half-close, then wait a moment for the client's end, so that unread request
 * bytes do not make the kernel reset the connection before the client has read its answer. */
static void linger(connection *c) {
    shutdown(bufferevent_getfd(c->socket), SHUT_WR);
    tell_end(c, true);
    c->state = LINGERING;
    c->http->n_lingering++;
    ds4_http_reply_detach(c->reply, true);
    start_timer(c, LINGER_SECONDS);
}

static void deliver(connection *c) {
    ds4_http *http = c->http;
    if (c->state == LINGERING) return;
    c->answer = ds4_http_reply_fetch(c->reply, &http->fetched);
    struct evbuffer *output = bufferevent_get_output(c->socket);
    if (http->fetched.failed ||
        (http->fetched.n > 0 && evbuffer_add(output, http->fetched.data, http->fetched.n) != 0)) {
        ds4_strbuf_free(&http->fetched);
        connection_free(c, false);
        return;
    }
    if (http->fetched.n > 0) start_timer(c, http->options.keepalive_seconds);
    if (evbuffer_get_length(output) == 0 && c->answer.finished) linger(c);
}

static void on_wake(evutil_socket_t fd, short what, void *context) {
    (void)fd, (void)what;
    ds4_http *http = context;
    ds4_http_reply *reply;
    void *owner;
    while ((reply = ds4_http_mailbox_take(http->mailbox, &owner)) != NULL) {
        if (owner != NULL) deliver(owner);
        ds4_http_reply_release(reply);
    }
}

static void wake(void *context) {
    event_active(((ds4_http *)context)->wake, EV_READ, 0);
}

static void begin_answering(connection *c) {
    c->state = ANSWERING;
    bufferevent_disable(c->socket, EV_READ);
    struct evbuffer *input = bufferevent_get_input(c->socket);
    evbuffer_drain(input, evbuffer_get_length(input));
    event_add(c->peek, NULL);
    start_timer(c, c->http->options.keepalive_seconds);
}

static void refuse(connection *c, int status, const char *reason) {
    begin_answering(c);
    c->http->handlers.refuse(c->http->handlers.context, (ds4_http_refusal){status, reason},
                             c->reply);
}

static void on_written(struct bufferevent *socket, void *context) {
    connection *c = context;
    if (c->state != ANSWERING) return;
    size_t waiting = evbuffer_get_length(bufferevent_get_output(socket));
    ds4_http_reply_set_unsent(c->reply, waiting);
    if (waiting == 0 && c->answer.finished) linger(c);
}

/* The client wrote more, or closed. Nothing that it sends after its request is wanted. */
static void on_peek(evutil_socket_t fd, short what, void *context) {
    (void)what;
    connection *c = context;
    char scrap[4096];
    ssize_t n = recv(fd, scrap, sizeof scrap, MSG_PEEK);
    if (n > 0) {
        n = recv(fd, scrap, sizeof scrap, 0);
        if (n > 0) c->discarded += (size_t)n;
        if (c->discarded <= DISCARD_LIMIT) return;
        event_del(c->peek);
        if (c->state == LINGERING) connection_free(c, true);
        return;
    }
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) return;
    if (c->state == LINGERING) {
        connection_free(c, true);
    } else if (n == 0 && c->answer.finished) {
        event_del(c->peek); /* a half-closed client still gets the response that is on its way */
    } else {
        connection_free(c, false);
    }
}

/* ---- reading ---- */

static void handle(connection *c) {
    ds4_http *http = c->http;
    begin_answering(c);
    http->body_bytes -= c->body.n;
    http->handlers.handle(http->handlers.context, &c->head, &c->body, c->reply);
    ds4_strbuf_free(&c->body);
}

/* False: the body cannot be kept; refused. */
static bool keep_body_within_memory(connection *c, size_t before) {
    ds4_http *http = c->http;
    http->body_bytes += c->body.n - before;
    if (!c->body.failed && http->body_bytes <= http->options.body_memory) return true;
    http->body_bytes -= c->body.n;
    ds4_strbuf_free(&c->body);
    refuse(c, 503, "too many large requests at once; try again later");
    return false;
}

static void read_body(connection *c) {
    struct evbuffer *input = bufferevent_get_input(c->socket);
    for (;;) {
        size_t n = evbuffer_get_contiguous_space(input), used = n, before = c->body.n;
        ds4_http_progress progress = DS4_HTTP_MORE;
        if (c->head.framing == DS4_HTTP_LENGTH) {
            uint64_t missing = c->head.content_length - c->body.n;
            if (used > missing) used = (size_t)missing;
            if (used > 0) ds4_strbuf_append(&c->body, evbuffer_pullup(input, (ev_ssize_t)n), used);
            if (used == missing) progress = DS4_HTTP_DONE;
        } else if (n > 0) {
            ds4_http_refusal refusal = {0, NULL};
            const char *bytes = (const char *)evbuffer_pullup(input, (ev_ssize_t)n);
            progress =
                ds4_http_chunked_feed(&c->chunked, bytes, n, c->http->options.limits.body_bytes,
                                      &c->body, &used, &refusal);
            if (progress == DS4_HTTP_REFUSED) {
                c->http->body_bytes += c->body.n - before;
                refuse(c, refusal.status, refusal.reason);
                return;
            }
        }
        evbuffer_drain(input, used);
        if (!keep_body_within_memory(c, before)) return;
        if (progress == DS4_HTTP_DONE) {
            handle(c);
            return;
        }
        if (evbuffer_get_length(input) == 0) return;
    }
}

static void begin_body(connection *c) {
    const ds4_http_options *options = &c->http->options;
    c->state = READING_BODY;
    uint64_t length = c->head.framing == DS4_HTTP_LENGTH ? c->head.content_length : 0;
    start_timer(c, options->body_seconds + (unsigned)(length >> 20));
    struct evbuffer *input = bufferevent_get_input(c->socket);
    if (c->head.expect_continue && !c->head.http_1_0 && evbuffer_get_length(input) == 0)
        bufferevent_write(c->socket, "HTTP/1.1 100 Continue\r\n\r\n", 25);
    read_body(c);
}

static void read_head(connection *c) {
    ds4_http *http = c->http;
    const ds4_http_limits *limits = &http->options.limits;
    struct evbuffer *input = bufferevent_get_input(c->socket);
    size_t n = evbuffer_get_length(input), head_bytes = 0;
    if (n > limits->head_bytes) n = limits->head_bytes;
    const char *bytes = (const char *)evbuffer_pullup(input, (ev_ssize_t)n);
    if (n == 0 || bytes == NULL) return;
    ds4_http_refusal refusal = {0, NULL};
    ds4_http_progress progress =
        ds4_http_find_head(bytes, n, limits, &c->scanned, &head_bytes, &refusal);
    if (progress == DS4_HTTP_MORE) return;
    if (progress == DS4_HTTP_REFUSED) {
        refuse(c, refusal.status, refusal.reason);
        return;
    }
    ds4_strbuf_append(&c->head_bytes, bytes, head_bytes);
    evbuffer_drain(input, head_bytes);
    if (c->head_bytes.failed) {
        connection_free(c, false);
        return;
    }
    if (!ds4_http_parse_head(c->head_bytes.data, head_bytes, limits, &c->head, &refusal)) {
        refuse(c, refusal.status, refusal.reason);
        return;
    }
    c->has_head = true;
    if (c->head.method == DS4_HTTP_HEAD) ds4_http_reply_set_head_only(c->reply);
    if (!http->handlers.admit(http->handlers.context, &c->head, c->reply)) {
        begin_answering(c);
    } else if (c->head.framing == DS4_HTTP_NO_BODY) {
        handle(c);
    } else {
        begin_body(c);
    }
}

static void on_read(struct bufferevent *socket, void *context) {
    (void)socket;
    connection *c = context;
    if (c->state == READING_HEAD)
        read_head(c);
    else if (c->state == READING_BODY)
        read_body(c);
}

/* End of file while reading, a socket error, or a write without progress for too long. */
static void on_socket_event(struct bufferevent *socket, short what, void *context) {
    (void)socket, (void)what;
    connection *c = context;
    connection_free(c, c->state == LINGERING);
}

static void on_timer(evutil_socket_t fd, short what, void *context) {
    (void)fd, (void)what;
    connection *c = context;
    switch (c->state) {
    case READING_HEAD:
        if (c->scanned > 0)
            refuse(c, 408, "the request header did not arrive in time");
        else
            connection_free(c, false);
        break;
    case READING_BODY:
        refuse(c, 408, "the request body did not arrive in time");
        break;
    case ANSWERING:
        if (c->answer.streaming && !c->answer.finished &&
            evbuffer_get_length(bufferevent_get_output(c->socket)) == 0) {
            const char *text = ds4_http_reply_keepalive(c->reply);
            bufferevent_write(c->socket, text, strlen(text));
        }
        start_timer(c, c->http->options.keepalive_seconds);
        break;
    case LINGERING:
        connection_free(c, true);
        break;
    }
}

/* ---- accepting ---- */

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *address,
                      int address_bytes, void *context) {
    (void)listener, (void)address, (void)address_bytes;
    ds4_http *http = context;
    size_t active = http->n_connections - http->n_lingering;
    connection *c = NULL;
    if (active < http->options.max_connections + OVERFLOW_CONNECTIONS) c = calloc(1, sizeof *c);
    if (c == NULL) {
        evutil_closesocket(fd);
        return;
    }
    int one = 1; /* tokens are small; Nagle would hold them back */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    int send_bytes = SOCKET_SEND_BYTES;
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &send_bytes, sizeof send_bytes);
    c->http = http;
    c->accepted = now_seconds();
    c->next = http->connections;
    if (c->next != NULL) c->next->previous = c;
    http->connections = c;
    http->n_connections++;
    c->socket = bufferevent_socket_new(http->base, fd, BEV_OPT_CLOSE_ON_FREE);
    c->timer = evtimer_new(http->base, on_timer, c);
    c->peek = event_new(http->base, fd, EV_READ | EV_PERSIST, on_peek, c);
    c->reply = ds4_http_reply_create(http->mailbox, http->options.output_limit, c);
    if (c->socket == NULL || c->timer == NULL || c->peek == NULL || c->reply == NULL) {
        if (c->socket == NULL) evutil_closesocket(fd);
        connection_free(c, false);
        return;
    }
    if (http->handlers.begun != NULL) http->handlers.begun(http->handlers.context, c->reply);
    bufferevent_setcb(c->socket, on_read, on_written, on_socket_event, c);
    bufferevent_setwatermark(c->socket, EV_WRITE, http->options.output_limit / 4, 0);
    struct timeval stuck = {.tv_sec = (time_t)http->options.write_seconds};
    bufferevent_set_timeouts(c->socket, NULL, &stuck);
    bufferevent_enable(c->socket, EV_READ | EV_WRITE);
    if (active >= http->options.max_connections)
        refuse(c, 503, "too many connections");
    else
        start_timer(c, http->options.head_seconds);
}

/* Out of descriptors, usually: accepting at once again would only spin. */
static void on_accept_error(struct evconnlistener *listener, void *context) {
    ds4_http *http = context;
    struct timeval pause = {.tv_usec = ACCEPT_PAUSE_MS * 1000};
    evconnlistener_disable(listener);
    evtimer_add(http->accept_again, &pause);
}

static void on_accept_again(evutil_socket_t fd, short what, void *context) {
    (void)fd, (void)what;
    ds4_http *http = context;
    if (http->listener != NULL) evconnlistener_enable(http->listener);
}

static bool parse_host(const char *host, uint16_t port, struct sockaddr_storage *address,
                       socklen_t *n) {
    struct sockaddr_in *v4 = (struct sockaddr_in *)address;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)address;
    memset(address, 0, sizeof *address);
    if (strcmp(host, "localhost") == 0) host = "127.0.0.1";
    if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(port);
        *n = sizeof *v4;
        return true;
    }
    if (inet_pton(AF_INET6, host, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(port);
        *n = sizeof *v6;
        return true;
    }
    return false;
}

static ds4_status listen_on(const ds4_http_options *options, int *listening, uint16_t *port,
                            ds4_error *error) {
    struct sockaddr_storage address;
    socklen_t n = 0;
    int fd = -1, one = 1;
    if (!parse_host(options->host, options->port, &address, &n)) {
        errno = EINVAL;
        goto failed;
    }
    fd = socket(address.ss_family, SOCK_STREAM, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
        bind(fd, (struct sockaddr *)&address, n) != 0 || listen(fd, BACKLOG) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &n) != 0 ||
        evutil_make_socket_nonblocking(fd) != 0 || evutil_make_socket_closeonexec(fd) != 0)
        goto failed;
    *port = ntohs(address.ss_family == AF_INET ? ((struct sockaddr_in *)&address)->sin_port
                                               : ((struct sockaddr_in6 *)&address)->sin6_port);
    *listening = fd;
    return DS4_OK;
failed:;
    int reason = errno;
    if (fd >= 0) close(fd);
    return ds4_fail(error, DS4_IO, "failed to listen on %s:%u: %s", options->host,
                    (unsigned)options->port, strerror(reason));
}

ds4_status ds4_http_create(struct event_base *base, const ds4_http_options *options,
                           const ds4_http_handlers *handlers, ds4_http **out, ds4_error *error) {
    int fd = -1;
    ds4_status status = DS4_OK;
    ds4_http *http = calloc(1, sizeof *http);
    if (http == NULL) return ds4_fail_memory(error, sizeof *http, "the HTTP server");
    http->options = *options;
    http->handlers = *handlers;
    http->base = base;
    status = listen_on(options, &fd, &http->port, error);
    if (status != DS4_OK) goto done;
    http->mailbox = ds4_http_mailbox_create(wake, http);
    http->wake = event_new(base, -1, EV_PERSIST, on_wake, http);
    http->accept_again = evtimer_new(base, on_accept_again, http);
    http->listener = evconnlistener_new(base, on_accept, http,
                                        LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, fd);
    if (http->mailbox == NULL || http->wake == NULL || http->accept_again == NULL ||
        http->listener == NULL) {
        status = ds4_fail_memory(error, 0, "the HTTP server");
        goto done;
    }
    fd = -1;
    evconnlistener_set_error_cb(http->listener, on_accept_error);
    *out = http;
    http = NULL;
done:
    if (fd >= 0) close(fd);
    if (http != NULL) ds4_http_destroy(http);
    return status;
}

void ds4_http_destroy(ds4_http *http) {
    if (http == NULL) return;
    ds4_http_stop_listening(http);
    while (http->connections != NULL) connection_free(http->connections, false);
    ds4_http_mailbox_destroy(http->mailbox);
    if (http->wake != NULL) event_free(http->wake);
    if (http->accept_again != NULL) event_free(http->accept_again);
    ds4_strbuf_free(&http->fetched);
    free(http);
}

uint16_t ds4_http_port(const ds4_http *http) {
    return http->port;
}

void ds4_http_stop_listening(ds4_http *http) {
    if (http->listener != NULL) evconnlistener_free(http->listener);
    http->listener = NULL;
}

size_t ds4_http_connection_count(const ds4_http *http) {
    return http->n_connections - http->n_lingering;
}
