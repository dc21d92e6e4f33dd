/* HTTP/1.1 request heads and chunked bodies: bytes in, structures out, no sockets.
 *
 * Strict where leniency is dangerous (RFC 9112): bare LF, control characters, space before a colon,
 * conflicting lengths and length together with chunked are errors. Each failure names the HTTP
 * status of the answer. libevent's own HTTP server is not used: it takes two different
 * Content-Length headers, "+3", a header name that ends in a space and control characters in values
 * for good, and answers what it does refuse with HTML pages that cannot be replaced.
 *
 * Pure functions; any thread. A parsed head points into the caller's bytes. */
#ifndef DS4_SERVER_HTTP_PARSE_H
#define DS4_SERVER_HTTP_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/strbuf.h"

typedef struct ds4_http_limits {
    size_t head_bytes; /* request line and headers together */
    size_t header_lines;
    size_t uri_bytes;
    uint64_t body_bytes;
} ds4_http_limits;

typedef struct ds4_http_text {
    const char *data; /* not NUL-terminated; NULL when the header is absent */
    size_t n;
} ds4_http_text;

typedef enum ds4_http_method {
    DS4_HTTP_GET,
    DS4_HTTP_HEAD,
    DS4_HTTP_POST,
    DS4_HTTP_OPTIONS,
    DS4_HTTP_DELETE,
    DS4_HTTP_OTHER, /* PUT, PATCH, TRACE, CONNECT: known, never served */
} ds4_http_method;

typedef enum ds4_http_framing {
    DS4_HTTP_NO_BODY,
    DS4_HTTP_LENGTH,
    DS4_HTTP_CHUNKED
} ds4_http_framing;

typedef struct ds4_http_head {
    ds4_http_method method;
    ds4_http_text path; /* without the query; absolute-form targets are reduced to their path */
    bool http_1_0;
    bool expect_continue;
    ds4_http_framing framing;
    uint64_t content_length;
    ds4_http_text host, origin, content_type, authorization, api_key;
} ds4_http_head;

/* Why a request was refused: the status of the answer and its one-sentence reason (static storage).
 */
typedef struct ds4_http_refusal {
    int status;
    const char *reason;
} ds4_http_refusal;

typedef enum ds4_http_progress { DS4_HTTP_MORE, DS4_HTTP_DONE, DS4_HTTP_REFUSED } ds4_http_progress;

/* Looks for the end of the head in bytes[0..n). `*scanned` (start with 0) remembers how far earlier
 * calls came, so that a head that arrives byte by byte is scanned once. DONE: *head_bytes counts
 * the blank line too. Refuses what is already too long or malformed while it arrives: 400, 414,
 * 431. */
ds4_http_progress ds4_http_find_head(const char *bytes, size_t n, const ds4_http_limits *limits,
                                     size_t *scanned, size_t *head_bytes,
                                     ds4_http_refusal *refusal);

/* Parses a complete head (with its blank line). False: see *refusal (400, 413, 414, 417, 431, 501,
 * 505). */
bool ds4_http_parse_head(const char *bytes, size_t n, const ds4_http_limits *limits,
                         ds4_http_head *head, ds4_http_refusal *refusal);

/* An incremental decoder of chunked bodies. Zero-initialise. */
typedef struct ds4_http_chunked {
    int state;
    unsigned digits;    /* of the current chunk-size line */
    uint64_t remaining; /* bytes of the current chunk still to come */
    size_t line_bytes;  /* of the current extension or trailer line */
    size_t trailer_bytes;
} ds4_http_chunked;

/* Consumes a part of bytes[0..n) (*consumed tells how many), appending decoded bytes to `body`,
 * which never grows beyond `body_limit`. MORE: everything was consumed. DONE: the final chunk and
 * trailers ended at *consumed. */
ds4_http_progress ds4_http_chunked_feed(ds4_http_chunked *decoder, const char *bytes, size_t n,
                                        uint64_t body_limit, ds4_strbuf *body, size_t *consumed,
                                        ds4_http_refusal *refusal);

bool ds4_http_text_equals(ds4_http_text text, const char *other);        /* byte for byte */
bool ds4_http_text_equals_nocase(ds4_http_text text, const char *other); /* ASCII case folded */

#endif
