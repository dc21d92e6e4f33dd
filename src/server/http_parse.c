#include "server/http_parse.h"

#include <string.h>

static const size_t chunk_line_limit = 1024;
static const size_t trailer_limit = 8192;

static bool refuse(ds4_http_refusal *refusal, int status, const char *reason) {
    refusal->status = status;
    refusal->reason = reason;
    return false;
}

static char lower(char c) {
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

bool ds4_http_text_equals(ds4_http_text text, const char *other) {
    return text.data != NULL && text.n == strlen(other) && memcmp(text.data, other, text.n) == 0;
}

bool ds4_http_text_equals_nocase(ds4_http_text text, const char *other) {
    if (text.data == NULL || text.n != strlen(other)) return false;
    for (size_t i = 0; i < text.n; i++)
        if (lower(text.data[i]) != lower(other[i])) return false;
    return true;
}

/* RFC 9110 token characters: what a method or a header name may consist of. */
static bool is_token_char(char c) {
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')) return true;
    return c != 0 && strchr("!#$%&'*+-.^_`|~", c) != NULL;
}

static bool is_control(char c) {
    return ((unsigned char)c < 0x20 && c != '\t') || c == 0x7f;
}

ds4_http_progress ds4_http_find_head(const char *bytes, size_t n, const ds4_http_limits *limits,
                                     size_t *scanned, size_t *head_bytes,
                                     ds4_http_refusal *refusal) {
    size_t end = n < limits->head_bytes ? n : limits->head_bytes;
    /* The longest request line is METHOD SP URI SP VERSION; 32 bytes cover all but the URI. */
    size_t line_limit = limits->uri_bytes + 32;
    for (size_t i = *scanned; i < end; i++) {
        char c = bytes[i];
        if (i == line_limit && memchr(bytes, '\n', line_limit) == NULL) {
            refuse(refusal, 414, "the request target is too long");
            return DS4_HTTP_REFUSED;
        }
        if (c == '\n') {
            if (i == 0 || bytes[i - 1] != '\r') {
                refuse(refusal, 400, "header lines must end in CR LF");
                return DS4_HTTP_REFUSED;
            }
            if (i >= 3 && bytes[i - 2] == '\n') {
                *scanned = *head_bytes = i + 1;
                return DS4_HTTP_DONE;
            }
        } else if (i > 0 && bytes[i - 1] == '\r') {
            refuse(refusal, 400, "a CR without LF in the header");
            return DS4_HTTP_REFUSED;
        } else if (c != '\r' && is_control(c)) {
            refuse(refusal, 400, "a control character in the header");
            return DS4_HTTP_REFUSED;
        }
    }
    *scanned = end;
    if (n >= limits->head_bytes) {
        refuse(refusal, 431, "the request header is too large");
        return DS4_HTTP_REFUSED;
    }
    return DS4_HTTP_MORE;
}

static ds4_http_method method_of(ds4_http_text name, bool *known) {
    static const struct {
        const char *name;
        ds4_http_method method;
    } methods[] = {
        {"GET", DS4_HTTP_GET},         {"HEAD", DS4_HTTP_HEAD},     {"POST", DS4_HTTP_POST},
        {"OPTIONS", DS4_HTTP_OPTIONS}, {"PUT", DS4_HTTP_OTHER},     {"DELETE", DS4_HTTP_DELETE},
        {"PATCH", DS4_HTTP_OTHER},     {"CONNECT", DS4_HTTP_OTHER}, {"TRACE", DS4_HTTP_OTHER},
    };
    *known = true;
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++)
        if (ds4_http_text_equals(name, methods[i].name)) return methods[i].method;
    *known = false;
    return DS4_HTTP_OTHER;
}

/* `http://host/path?query` and `/path?query` -> `/path`; `*` stays (OPTIONS). */
static bool parse_target(ds4_http_text target, ds4_http_head *head, ds4_http_refusal *refusal) {
    for (size_t i = 0; i < target.n; i++)
        if ((unsigned char)target.data[i] <= 0x20 || (unsigned char)target.data[i] >= 0x7f)
            return refuse(refusal, 400,
                          "a byte in the request target that must be percent-encoded");
    if (target.n > 7 && memcmp(target.data, "http://", 7) == 0) {
        static const char root[] = "/";
        size_t authority = 7;
        while (authority < target.n && strchr("/?", target.data[authority]) == NULL) authority++;
        if (authority == target.n || target.data[authority] == '?')
            target = (ds4_http_text){root, 1};
        else
            target = (ds4_http_text){target.data + authority, target.n - authority};
    }
    if (target.n == 0 || (target.data[0] != '/' && !ds4_http_text_equals(target, "*")))
        return refuse(refusal, 400, "the request target must start with '/'");
    const char *query = memchr(target.data, '?', target.n);
    if (query != NULL) target.n = (size_t)(query - target.data);
    head->path = target;
    return true;
}

static bool parse_request_line(ds4_http_text line, const ds4_http_limits *limits,
                               ds4_http_head *head, ds4_http_refusal *refusal) {
    const char *end = line.data + line.n;
    const char *space = memchr(line.data, ' ', line.n);
    if (space == NULL || space == line.data)
        return refuse(refusal, 400, "the request line must be METHOD TARGET VERSION");
    ds4_http_text method = {line.data, (size_t)(space - line.data)};
    for (size_t i = 0; i < method.n; i++)
        if (!is_token_char(method.data[i]))
            return refuse(refusal, 400, "the request method is not a token");
    const char *target = space + 1;
    space = memchr(target, ' ', (size_t)(end - target));
    if (space == NULL || space == target)
        return refuse(refusal, 400, "the request line must be METHOD TARGET VERSION");
    ds4_http_text uri = {target, (size_t)(space - target)};
    ds4_http_text version = {space + 1, (size_t)(end - space - 1)};
    if (uri.n > limits->uri_bytes) return refuse(refusal, 414, "the request target is too long");
    if (version.n != 8 || memcmp(version.data, "HTTP/", 5) != 0 || version.data[6] != '.' ||
        version.data[5] < '0' || version.data[5] > '9' || version.data[7] < '0' ||
        version.data[7] > '9')
        return refuse(refusal, 400, "the request line must end in an HTTP version");
    if (version.data[5] != '1' || (version.data[7] != '0' && version.data[7] != '1'))
        return refuse(refusal, 505, "only HTTP/1.1 and HTTP/1.0 are spoken here");
    head->http_1_0 = version.data[7] == '0';
    bool known;
    head->method = method_of(method, &known);
    if (!known) return refuse(refusal, 501, "unknown request method");
    return parse_target(uri, head, refusal);
}

/* What is collected over all header lines and judged at the end. */
typedef struct head_state {
    bool has_length, has_encoding;
} head_state;

static bool parse_length(ds4_http_text value, ds4_http_head *head, head_state *state,
                         ds4_http_refusal *refusal) {
    uint64_t length = 0;
    if (value.n == 0) return refuse(refusal, 400, "Content-Length must be a decimal number");
    for (size_t i = 0; i < value.n; i++) {
        if (value.data[i] < '0' || value.data[i] > '9')
            return refuse(refusal, 400, "Content-Length must be a decimal number");
        unsigned digit = (unsigned)(value.data[i] - '0');
        if (length > (UINT64_MAX - digit) / 10)
            return refuse(refusal, 413, "the request body is too large");
        length = length * 10 + digit;
    }
    if (state->has_length && head->content_length != length)
        return refuse(refusal, 400, "two different Content-Length headers");
    state->has_length = true;
    head->content_length = length;
    return true;
}

/* A header that may be given once: a second one with another value could be read differently by
 * someone in between. */
static bool set_once(ds4_http_text *field, ds4_http_text value, ds4_http_refusal *refusal,
                     const char *reason) {
    if (field->data != NULL &&
        (field->n != value.n || memcmp(field->data, value.data, value.n) != 0))
        return refuse(refusal, 400, reason);
    *field = value;
    return true;
}

static bool parse_header(ds4_http_text name, ds4_http_text value, ds4_http_head *head,
                         head_state *state, ds4_http_refusal *refusal) {
    if (ds4_http_text_equals_nocase(name, "content-length"))
        return parse_length(value, head, state, refusal);
    if (ds4_http_text_equals_nocase(name, "transfer-encoding")) {
        if (state->has_encoding || !ds4_http_text_equals_nocase(value, "chunked"))
            return refuse(refusal, 501, "the only transfer encoding understood is chunked");
        state->has_encoding = true;
        return true;
    }
    if (ds4_http_text_equals_nocase(name, "expect")) {
        if (!ds4_http_text_equals_nocase(value, "100-continue"))
            return refuse(refusal, 417, "the only expectation understood is 100-continue");
        head->expect_continue = true;
        return true;
    }
    if (ds4_http_text_equals_nocase(name, "host"))
        return set_once(&head->host, value, refusal, "two different Host headers");
    if (ds4_http_text_equals_nocase(name, "origin"))
        return set_once(&head->origin, value, refusal, "two different Origin headers");
    if (ds4_http_text_equals_nocase(name, "content-type"))
        return set_once(&head->content_type, value, refusal, "two different Content-Type headers");
    if (ds4_http_text_equals_nocase(name, "authorization"))
        return set_once(&head->authorization, value, refusal, "two Authorization headers");
    if (ds4_http_text_equals_nocase(name, "x-api-key"))
        return set_once(&head->api_key, value, refusal, "two x-api-key headers");
    return true;
}

static bool parse_header_line(ds4_http_text line, ds4_http_head *head, head_state *state,
                              ds4_http_refusal *refusal) {
    const char *colon = memchr(line.data, ':', line.n);
    if (colon == NULL || colon == line.data)
        return refuse(refusal, 400, "a header line without a name and a colon");
    ds4_http_text name = {line.data, (size_t)(colon - line.data)};
    for (size_t i = 0; i < name.n; i++)
        if (!is_token_char(name.data[i]))
            return refuse(refusal, 400, "a header name with an invalid character");
    ds4_http_text value = {colon + 1, (size_t)(line.data + line.n - colon - 1)};
    while (value.n > 0 && (value.data[0] == ' ' || value.data[0] == '\t')) value.data++, value.n--;
    while (value.n > 0 && (value.data[value.n - 1] == ' ' || value.data[value.n - 1] == '\t'))
        value.n--;
    for (size_t i = 0; i < value.n; i++)
        if (is_control(value.data[i]))
            return refuse(refusal, 400, "a control character in the header");
    return parse_header(name, value, head, state, refusal);
}

bool ds4_http_parse_head(const char *bytes, size_t n, const ds4_http_limits *limits,
                         ds4_http_head *head, ds4_http_refusal *refusal) {
    memset(head, 0, sizeof *head);
    head_state state = {0};
    size_t start = 0, lines = 0;
    for (;;) {
        const char *newline = start < n ? memchr(bytes + start, '\n', n - start) : NULL;
        if (newline == NULL || newline == bytes || newline[-1] != '\r')
            return refuse(refusal, 400, "header lines must end in CR LF");
        ds4_http_text line = {bytes + start, (size_t)(newline - 1 - (bytes + start))};
        start = (size_t)(newline + 1 - bytes);
        if (lines == 0) {
            if (!parse_request_line(line, limits, head, refusal)) return false;
        } else if (line.n == 0) {
            break;
        } else if (lines > limits->header_lines) {
            return refuse(refusal, 431, "too many header lines");
        } else if (!parse_header_line(line, head, &state, refusal)) {
            return false;
        }
        lines++;
    }
    if (state.has_length && state.has_encoding)
        return refuse(refusal, 400, "Content-Length together with Transfer-Encoding");
    if (state.has_encoding && head->http_1_0)
        return refuse(refusal, 400, "Transfer-Encoding in an HTTP/1.0 request");
    if (head->host.data == NULL && !head->http_1_0)
        return refuse(refusal, 400, "an HTTP/1.1 request needs a Host header");
    if (state.has_encoding) head->framing = DS4_HTTP_CHUNKED;
    if (state.has_length) head->framing = DS4_HTTP_LENGTH;
    if (state.has_length && head->content_length > limits->body_bytes)
        return refuse(refusal, 413, "the request body is too large");
    return true;
}

/* ---- chunked bodies ---- */

enum {
    CHUNK_SIZE,      /* hex digits */
    CHUNK_EXTENSION, /* up to LF, ignored */
    CHUNK_DATA,
    CHUNK_DATA_END, /* the CR LF after the data */
    CHUNK_TRAILER,  /* lines up to an empty one, ignored */
};

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    c = lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool feed_size(ds4_http_chunked *decoder, char c, uint64_t room, ds4_http_refusal *refusal) {
    int digit = hex_digit(c);
    if (digit >= 0) {
        if (++decoder->digits > 15) return refuse(refusal, 400, "a chunk size out of range");
        decoder->remaining = decoder->remaining * 16 + (uint64_t)digit;
        return true;
    }
    if (decoder->digits == 0 || (c != '\r' && c != ';' && c != ' ' && c != '\t'))
        return refuse(refusal, 400, "a malformed chunk size");
    if (decoder->remaining > room) return refuse(refusal, 413, "the request body is too large");
    decoder->state = CHUNK_EXTENSION;
    decoder->line_bytes = c == '\r';
    return true;
}

/* Feeds one byte that is not chunk data. *done: the whole body has ended. */
static bool feed_byte(ds4_http_chunked *decoder, char c, uint64_t room, bool *done,
                      ds4_http_refusal *refusal) {
    switch (decoder->state) {
    case CHUNK_SIZE:
        return feed_size(decoder, c, room, refusal);
    case CHUNK_EXTENSION:
        if (c != '\n') {
            if (++decoder->line_bytes > chunk_line_limit)
                return refuse(refusal, 400, "a chunk extension that is too long");
            return true;
        }
        decoder->state = decoder->remaining > 0 ? CHUNK_DATA : CHUNK_TRAILER;
        decoder->line_bytes = 0;
        return true;
    case CHUNK_DATA_END:
        if (decoder->line_bytes == 0 && c == '\r') {
            decoder->line_bytes = 1;
            return true;
        }
        if (decoder->line_bytes != 1 || c != '\n')
            return refuse(refusal, 400, "chunk data must end in CR LF");
        decoder->state = CHUNK_SIZE;
        decoder->digits = 0;
        decoder->remaining = 0;
        return true;
    default: /* CHUNK_TRAILER */
        if (++decoder->trailer_bytes > trailer_limit)
            return refuse(refusal, 431, "the trailer of the chunked body is too large");
        if (c == '\n') {
            *done = decoder->line_bytes == 0;
            decoder->line_bytes = 0;
        } else if (c != '\r') {
            decoder->line_bytes++;
        }
        return true;
    }
}

ds4_http_progress ds4_http_chunked_feed(ds4_http_chunked *decoder, const char *bytes, size_t n,
                                        uint64_t body_limit, ds4_strbuf *body, size_t *consumed,
                                        ds4_http_refusal *refusal) {
    size_t i = 0;
    bool done = false;
    while (i < n && !done) {
        if (decoder->state == CHUNK_DATA) {
            size_t take = n - i;
            if (take > decoder->remaining) take = (size_t)decoder->remaining;
            ds4_strbuf_append(body, bytes + i, take);
            i += take;
            decoder->remaining -= take;
            if (decoder->remaining == 0) decoder->state = CHUNK_DATA_END;
            decoder->line_bytes = 0;
        } else if (!feed_byte(decoder, bytes[i++], body_limit - body->n, &done, refusal)) {
            *consumed = i;
            return DS4_HTTP_REFUSED;
        }
    }
    *consumed = i;
    return done ? DS4_HTTP_DONE : DS4_HTTP_MORE;
}
