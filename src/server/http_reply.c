#include "server/http_reply.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct ds4_http_mailbox {
    pthread_mutex_t mutex;
    ds4_http_reply *first, *last;
    void (*wake)(void *context);
    void *context;
};

struct ds4_http_reply {
    pthread_mutex_t mutex; /* guards everything below; taken before no other lock */
    unsigned references;
    ds4_http_mailbox *mailbox;
    ds4_http_reply
        *next; /* in the mailbox, guarded by the mailbox's mutex together with `announced` */
    bool announced;
    void *owner;
    ds4_strbuf bytes;
    ds4_strbuf headers;
    size_t output_limit, unsent;
    char id[40];
    int status;
    bool head_only, started, streaming, finished, gone, stalled;
    bool watched;
    ds4_http_watcher watcher;
    const char *keepalive;
    int tag;
};

/* ---- mailbox ---- */

ds4_http_mailbox *ds4_http_mailbox_create(void (*wake)(void *context), void *context) {
    ds4_http_mailbox *mailbox = calloc(1, sizeof *mailbox);
    if (mailbox == NULL) return NULL;
    if (pthread_mutex_init(&mailbox->mutex, NULL) != 0) {
        free(mailbox);
        return NULL;
    }
    mailbox->wake = wake;
    mailbox->context = context;
    return mailbox;
}

void ds4_http_mailbox_destroy(ds4_http_mailbox *mailbox) {
    if (mailbox == NULL) return;
    void *owner;
    ds4_http_reply *reply;
    while ((reply = ds4_http_mailbox_take(mailbox, &owner)) != NULL) ds4_http_reply_release(reply);
    pthread_mutex_destroy(&mailbox->mutex);
    free(mailbox);
}

/* Called without the reply's lock. The mailbox holds a reference of its own. */
static void announce(ds4_http_reply *reply) {
    ds4_http_mailbox *mailbox = reply->mailbox;
    pthread_mutex_lock(&mailbox->mutex);
    bool was_empty = mailbox->first == NULL;
    bool added = !reply->announced;
    if (added) {
        ds4_http_reply_retain(reply);
        reply->announced = true;
        reply->next = NULL;
        if (mailbox->last != NULL)
            mailbox->last->next = reply;
        else
            mailbox->first = reply;
        mailbox->last = reply;
    }
    pthread_mutex_unlock(&mailbox->mutex);
    if (added && was_empty) mailbox->wake(mailbox->context);
}

ds4_http_reply *ds4_http_mailbox_take(ds4_http_mailbox *mailbox, void **owner) {
    pthread_mutex_lock(&mailbox->mutex);
    ds4_http_reply *reply = mailbox->first;
    if (reply != NULL) {
        mailbox->first = reply->next;
        if (mailbox->first == NULL) mailbox->last = NULL;
        reply->announced = false;
    }
    pthread_mutex_unlock(&mailbox->mutex);
    if (reply == NULL) return NULL;
    pthread_mutex_lock(&reply->mutex);
    *owner = reply->owner;
    pthread_mutex_unlock(&reply->mutex);
    return reply;
}

/* ---- life ---- */

ds4_http_reply *ds4_http_reply_create(ds4_http_mailbox *mailbox, size_t output_limit, void *owner) {
    ds4_http_reply *reply = calloc(1, sizeof *reply);
    if (reply == NULL) return NULL;
    if (pthread_mutex_init(&reply->mutex, NULL) != 0) {
        free(reply);
        return NULL;
    }
    reply->references = 1;
    reply->mailbox = mailbox;
    reply->output_limit = output_limit;
    reply->owner = owner;
    reply->keepalive = ": keepalive\n\n";
    return reply;
}

ds4_http_reply *ds4_http_reply_retain(ds4_http_reply *reply) {
    pthread_mutex_lock(&reply->mutex);
    reply->references++;
    pthread_mutex_unlock(&reply->mutex);
    return reply;
}

void ds4_http_reply_release(ds4_http_reply *reply) {
    if (reply == NULL) return;
    pthread_mutex_lock(&reply->mutex);
    bool last = --reply->references == 0;
    pthread_mutex_unlock(&reply->mutex);
    if (!last) return;
    if (reply->watched) reply->watcher.release(reply->watcher.context);
    pthread_mutex_destroy(&reply->mutex);
    ds4_strbuf_free(&reply->bytes);
    ds4_strbuf_free(&reply->headers);
    free(reply);
}

void ds4_http_reply_watch(ds4_http_reply *reply, ds4_http_watcher watcher) {
    pthread_mutex_lock(&reply->mutex);
    bool gone = reply->gone;
    if (!gone) {
        reply->watched = true;
        reply->watcher = watcher;
    }
    pthread_mutex_unlock(&reply->mutex);
    if (gone) {
        watcher.changed(watcher.context, DS4_HTTP_REPLY_GONE);
        watcher.release(watcher.context);
    }
}

void ds4_http_reply_set_head_only(ds4_http_reply *reply) {
    reply->head_only = true;
}

void ds4_http_reply_set_id(ds4_http_reply *reply, const char *id) {
    snprintf(reply->id, sizeof reply->id, "%s", id);
}

const char *ds4_http_reply_id(const ds4_http_reply *reply) {
    return reply->id;
}

void ds4_http_reply_set_headers(ds4_http_reply *reply, const char *lines) {
    ds4_strbuf_clear(&reply->headers);
    ds4_strbuf_puts(&reply->headers, lines);
}

/* ---- producing ---- */

const char *ds4_http_status_text(int status) {
    switch (status) {
    case 200:
        return "OK";
    case 204:
        return "No Content";
    case 400:
        return "Bad Request";
    case 401:
        return "Unauthorized";
    case 403:
        return "Forbidden";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 409:
        return "Conflict";
    case 408:
        return "Request Timeout";
    case 411:
        return "Length Required";
    case 413:
        return "Content Too Large";
    case 414:
        return "URI Too Long";
    case 415:
        return "Unsupported Media Type";
    case 417:
        return "Expectation Failed";
    case 421:
        return "Misdirected Request";
    case 429:
        return "Too Many Requests";
    case 431:
        return "Request Header Fields Too Large";
    case 500:
        return "Internal Server Error";
    case 501:
        return "Not Implemented";
    case 503:
        return "Service Unavailable";
    case 529:
        return "Overloaded";
    case 505:
        return "HTTP Version Not Supported";
    default:
        return "Error";
    }
}

static void append_date(ds4_strbuf *head) {
    /* Not strftime: its day and month names follow the locale. */
    static const char days[] = "SunMonTueWedThuFriSat";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    struct tm utc;
    time_t now = time(NULL);
    if (gmtime_r(&now, &utc) == NULL) return;
    ds4_strbuf_printf(head, "Date: %.3s, %02d %.3s %d %02d:%02d:%02d GMT\r\n",
                      days + 3 * utc.tm_wday, utc.tm_mday, months + 3 * utc.tm_mon,
                      utc.tm_year + 1900, utc.tm_hour, utc.tm_min, utc.tm_sec);
}

/* With the lock held. */
static void append_head_end(ds4_http_reply *reply, int status, const char *headers) {
    reply->status = status;
    append_date(&reply->bytes);
    if (reply->id[0] != '\0') ds4_strbuf_printf(&reply->bytes, "x-request-id: %s\r\n", reply->id);
    if (reply->headers.n > 0)
        ds4_strbuf_append(&reply->bytes, reply->headers.data, reply->headers.n);
    if (headers != NULL) ds4_strbuf_puts(&reply->bytes, headers);
    ds4_strbuf_puts(&reply->bytes, "Connection: close\r\n\r\n");
    reply->started = true;
}

void ds4_http_reply_send(ds4_http_reply *reply, int status, const char *headers,
                         const char *content_type, const char *body, size_t n) {
    pthread_mutex_lock(&reply->mutex);
    bool first = !reply->started && !reply->gone;
    if (first) {
        ds4_strbuf_printf(&reply->bytes, "HTTP/1.1 %d %s\r\nContent-Length: %zu\r\n", status,
                          ds4_http_status_text(status), content_type != NULL ? n : 0);
        if (content_type != NULL)
            ds4_strbuf_printf(&reply->bytes, "Content-Type: %s\r\n", content_type);
        append_head_end(reply, status, headers);
        if (content_type != NULL && !reply->head_only) ds4_strbuf_append(&reply->bytes, body, n);
        reply->finished = true;
    }
    pthread_mutex_unlock(&reply->mutex);
    if (first) announce(reply);
}

void ds4_http_reply_start_stream(ds4_http_reply *reply) {
    pthread_mutex_lock(&reply->mutex);
    bool first = !reply->started && !reply->gone;
    if (first) {
        ds4_strbuf_puts(&reply->bytes, "HTTP/1.1 200 OK\r\n"
                                       "Content-Type: text/event-stream\r\n"
                                       "Cache-Control: no-cache\r\n"
                                       "X-Accel-Buffering: no\r\n");
        append_head_end(reply, 200, NULL);
        reply->streaming = true;
    }
    pthread_mutex_unlock(&reply->mutex);
    if (first) announce(reply);
}

void ds4_http_reply_write(ds4_http_reply *reply, const char *bytes, size_t n) {
    pthread_mutex_lock(&reply->mutex);
    bool accepted = reply->streaming && !reply->finished && !reply->gone && n > 0;
    if (accepted) {
        ds4_strbuf_append(&reply->bytes, bytes, n);
        if (reply->bytes.n + reply->unsent > reply->output_limit) reply->stalled = true;
    }
    pthread_mutex_unlock(&reply->mutex);
    if (accepted) announce(reply);
}

void ds4_http_reply_finish(ds4_http_reply *reply) {
    pthread_mutex_lock(&reply->mutex);
    bool first = reply->streaming && !reply->finished && !reply->gone;
    reply->finished = true;
    pthread_mutex_unlock(&reply->mutex);
    if (first) announce(reply);
}

void ds4_http_reply_set_keepalive(ds4_http_reply *reply, const char *text) {
    pthread_mutex_lock(&reply->mutex);
    reply->keepalive = text;
    pthread_mutex_unlock(&reply->mutex);
}
const char *ds4_http_reply_keepalive(const ds4_http_reply *reply) {
    pthread_mutex_t *mutex = (pthread_mutex_t *)&reply->mutex;
    pthread_mutex_lock(mutex);
    const char *text = reply->keepalive;
    pthread_mutex_unlock(mutex);
    return text;
}

void ds4_http_reply_set_tag(ds4_http_reply *reply, int tag) {
    pthread_mutex_lock(&reply->mutex);
    reply->tag = tag;
    pthread_mutex_unlock(&reply->mutex);
}
int ds4_http_reply_tag(const ds4_http_reply *reply) {
    pthread_mutex_t *mutex = (pthread_mutex_t *)&reply->mutex;
    pthread_mutex_lock(mutex);
    int tag = reply->tag;
    pthread_mutex_unlock(mutex);
    return tag;
}

static bool read_flag(const ds4_http_reply *reply, const bool *flag) {
    pthread_mutex_t *mutex = (pthread_mutex_t *)&reply->mutex;
    pthread_mutex_lock(mutex);
    bool value = *flag;
    pthread_mutex_unlock(mutex);
    return value;
}
bool ds4_http_reply_gone(const ds4_http_reply *reply) {
    return read_flag(reply, &reply->gone);
}
bool ds4_http_reply_stalled(const ds4_http_reply *reply) {
    return read_flag(reply, &reply->stalled);
}

/* ---- fetching ---- */

ds4_http_reply_state ds4_http_reply_fetch(ds4_http_reply *reply, ds4_strbuf *bytes) {
    ds4_strbuf_clear(bytes);
    pthread_mutex_lock(&reply->mutex);
    ds4_strbuf swapped = *bytes; /* the two buffers trade places: no copy, both keep their memory */
    *bytes = reply->bytes;
    reply->bytes = swapped;
    reply->unsent += bytes->n;
    ds4_http_reply_state state = {reply->started, reply->streaming, reply->finished, reply->status};
    pthread_mutex_unlock(&reply->mutex);
    return state;
}

void ds4_http_reply_set_unsent(ds4_http_reply *reply, size_t n) {
    pthread_mutex_lock(&reply->mutex);
    reply->unsent = n;
    bool resumed = reply->stalled && reply->bytes.n + n <= reply->output_limit / 4;
    if (resumed) reply->stalled = false;
    bool tell = resumed && reply->watched;
    ds4_http_watcher watcher = reply->watcher;
    pthread_mutex_unlock(&reply->mutex);
    /* Only this thread detaches, so the watcher cannot have been released in between. */
    if (tell) watcher.changed(watcher.context, DS4_HTTP_REPLY_RESUMED);
}

void ds4_http_reply_detach(ds4_http_reply *reply, bool complete) {
    pthread_mutex_lock(&reply->mutex);
    reply->owner = NULL;
    reply->gone = true;
    reply->stalled = false;
    bool watched = reply->watched;
    ds4_http_watcher watcher = reply->watcher;
    reply->watched = false;
    pthread_mutex_unlock(&reply->mutex);
    if (!watched) return;
    if (!complete) watcher.changed(watcher.context, DS4_HTTP_REPLY_GONE);
    watcher.release(watcher.context);
}
