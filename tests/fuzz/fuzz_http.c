/* A connection's bytes -> request heads and bodies.
 *
 * What must hold is checked: the pieces in which bytes arrive change nothing, neither what is
 * parsed nor what is refused; every refusal names a status that HTTP knows and a reason; parsed
 * texts lie inside the head; a body keeps its limit. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "server/http_parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const ds4_http_limits limits = {
    .head_bytes = 2048, .header_lines = 20, .uri_bytes = 256, .body_bytes = 4096};

typedef struct outcome {
    ds4_http_progress progress; /* MORE: the bytes ended first */
    int status;                 /* REFUSED */
    size_t head_bytes, consumed;
    ds4_strbuf body;
} outcome;

static void check(bool holds) {
    if (!holds) abort();
}

static void refused(outcome *o, ds4_http_refusal refusal) {
    static const int known[] = {400, 413, 414, 417, 431, 501, 505};
    bool found = false;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) found |= known[i] == refusal.status;
    check(found && refusal.reason != NULL && refusal.reason[0] != '\0');
    o->progress = DS4_HTTP_REFUSED;
    o->status = refusal.status;
}

static void check_text(ds4_http_text text, const char *bytes, size_t n) {
    if (text.data == NULL) return;
    check(text.data >= bytes && text.data + text.n <= bytes + n);
    for (size_t i = 0; i < text.n; i++)
        check((unsigned char)text.data[i] >= 0x20 || text.data[i] == '\t');
}

static void check_head(const ds4_http_head *head, const char *bytes, size_t n) {
    if (!ds4_http_text_equals(head->path, "/")) check_text(head->path, bytes, n);
    check_text(head->host, bytes, n);
    check_text(head->origin, bytes, n);
    check_text(head->content_type, bytes, n);
    check_text(head->authorization, bytes, n);
    check_text(head->api_key, bytes, n);
    check(head->path.n > 0 && head->path.n <= limits.uri_bytes);
    check(head->framing != DS4_HTTP_LENGTH || head->content_length <= limits.body_bytes);
    check(head->host.data != NULL || head->http_1_0);
}

/* As server/http.c reads a request that arrives in pieces of `piece` bytes. */
static outcome receive(const char *bytes, size_t size, size_t piece) {
    outcome o = {.progress = DS4_HTTP_MORE};
    ds4_http_refusal refusal = {0, NULL};
    ds4_http_head head;
    size_t scanned = 0, have = 0;
    while (o.progress == DS4_HTTP_MORE && have < size) {
        have = size - have < piece ? size : have + piece;
        size_t n = have < limits.head_bytes ? have : limits.head_bytes;
        o.progress = ds4_http_find_head(bytes, n, &limits, &scanned, &o.head_bytes, &refusal);
        check(scanned <= n);
    }
    if (o.progress == DS4_HTTP_REFUSED) refused(&o, refusal);
    if (o.progress != DS4_HTTP_DONE) return o;
    check(o.head_bytes <= have && o.head_bytes <= limits.head_bytes);
    memset(&head, 0, sizeof head);
    if (!ds4_http_parse_head(bytes, o.head_bytes, &limits, &head, &refusal)) {
        refused(&o, refusal);
        return o;
    }
    check_head(&head, bytes, o.head_bytes);
    if (head.framing != DS4_HTTP_CHUNKED) return o;
    ds4_http_chunked decoder = {0};
    o.progress = DS4_HTTP_MORE;
    for (size_t at = o.head_bytes; at < size && o.progress == DS4_HTTP_MORE;) {
        size_t n = size - at < piece ? size - at : piece, used = 0;
        o.progress = ds4_http_chunked_feed(&decoder, bytes + at, n, limits.body_bytes, &o.body,
                                           &used, &refusal);
        check(used <= n && (o.progress != DS4_HTTP_MORE || used == n));
        check(o.body.n <= limits.body_bytes);
        at += used;
        o.consumed = at;
    }
    if (o.progress == DS4_HTTP_REFUSED) refused(&o, refusal);
    return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const size_t pieces[] = {1, 7, 64};
    outcome whole = receive((const char *)data, size, size > 0 ? size : 1);
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
        outcome parts = receive((const char *)data, size, pieces[i]);
        check(parts.progress == whole.progress && parts.status == whole.status);
        check(parts.progress == DS4_HTTP_REFUSED || parts.head_bytes == whole.head_bytes);
        check(parts.progress == DS4_HTTP_REFUSED ||
              (parts.body.n == whole.body.n && parts.consumed == whole.consumed &&
               (whole.body.n == 0 || memcmp(parts.body.data, whole.body.data, whole.body.n) == 0)));
        ds4_strbuf_free(&parts.body);
    }
    ds4_strbuf_free(&whole.body);
    return 0;
}
