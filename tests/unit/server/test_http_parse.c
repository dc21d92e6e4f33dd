/* Request heads and chunked bodies: what is accepted, and with which status the rest is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "server/http_parse.h"

static const ds4_http_limits limits = {
    .head_bytes = 4096, .header_lines = 10, .uri_bytes = 64, .body_bytes = 1000};

/* Finds and parses a head given `step` bytes at a time. 200: accepted. */
static int parse_in_steps(const char *text, size_t step, ds4_http_head *head) {
    size_t n = strlen(text), scanned = 0, head_bytes = 0;
    ds4_http_refusal refusal = {0, NULL};
    for (size_t have = step < n ? step : n;; have = have + step < n ? have + step : n) {
        switch (ds4_http_find_head(text, have, &limits, &scanned, &head_bytes, &refusal)) {
        case DS4_HTTP_REFUSED:
            return refusal.status;
        case DS4_HTTP_MORE:
            if (have == n) return 0;
            continue;
        case DS4_HTTP_DONE:
            break;
        }
        if (!ds4_http_parse_head(text, head_bytes, &limits, head, &refusal)) return refusal.status;
        return 200;
    }
}

static int parse(const char *text, ds4_http_head *head) {
    int whole = parse_in_steps(text, strlen(text), head);
    ds4_http_head other;
    for (size_t step = 1; step < 7; step++)
        assert_int_equal(parse_in_steps(text, step, &other), whole);
    return whole;
}

static void test_accepts(void **state) {
    (void)state;
    ds4_http_head head;
    assert_int_equal(parse("GET /v1/models?limit=10 HTTP/1.1\r\nHost: a\r\n\r\n", &head), 200);
    assert_int_equal(head.method, DS4_HTTP_GET);
    assert_true(ds4_http_text_equals(head.path, "/v1/models"));
    assert_int_equal(head.framing, DS4_HTTP_NO_BODY);
    assert_false(head.http_1_0);
    assert_int_equal(parse("POST http://h:1/x?y HTTP/1.0\r\ncontent-LENGTH:  12 \r\n"
                           "X-API-Key:k\r\nauthorization: Bearer  a\r\n\r\n",
                           &head),
                     200);
    assert_true(head.http_1_0);
    assert_true(ds4_http_text_equals(head.path, "/x"));
    assert_int_equal(head.framing, DS4_HTTP_LENGTH);
    assert_int_equal(head.content_length, 12);
    assert_true(ds4_http_text_equals(head.api_key, "k"));
    assert_true(ds4_http_text_equals(head.authorization, "Bearer  a"));
    assert_int_equal(parse("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n"
                           "Expect: 100-Continue\r\nOrigin: http://o\r\n\r\n",
                           &head),
                     200);
    assert_int_equal(head.framing, DS4_HTTP_CHUNKED);
    assert_true(head.expect_continue);
    assert_true(ds4_http_text_equals(head.origin, "http://o"));
    assert_int_equal(
        parse("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
              &head),
        200);
    assert_int_equal(parse("GET http://h HTTP/1.1\r\nHost: h\r\n\r\n", &head), 200);
    assert_true(ds4_http_text_equals(head.path, "/"));
    assert_int_equal(parse("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", &head), 200);
}

static void test_refuses(void **state) {
    (void)state;
    static const struct {
        int status;
        const char *text;
    } cases[] = {
        {0, "GET / HTTP/1.1\r\nHost: a\r\n"}, /* incomplete */
        {400, "GET / HTTP/1.1\nHost: a\n\n"},
        {400, "GET /\r\n\r\n"},
        {400, " / HTTP/1.1\r\nHost: a\r\n\r\n"},
        {400, "GET  HTTP/1.1\r\nHost: a\r\n\r\n"},
        {400, "GET / HTTP/1.1 x\r\nHost: a\r\n\r\n"},
        {400, "GET / HTTP/11\r\nHost: a\r\n\r\n"},
        {400, "GET x HTTP/1.1\r\nHost: a\r\n\r\n"},
        {400, "GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n"},
        {505, "GET / HTTP/2.0\r\nHost: a\r\n\r\n"},
        {505, "GET / HTTP/0.9\r\nHost: a\r\n\r\n"},
        {501, "FROB / HTTP/1.1\r\nHost: a\r\n\r\n"},
        {400, "GE(T / HTTP/1.1\r\nHost: a\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: a\r\nnocolon\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: a\r\nA : b\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: a\r\n folded: b\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: a\r\nA: b\x01\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n"},
        {400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n"},
        {400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: abc\r\n\r\n"},
        {400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 60x\r\n\r\n"},
        {400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +60\r\n\r\n"},
        {400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x3c\r\n\r\n"},
        {400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n"},
        {400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n"},
        {413, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n"},
        {413, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551616\r\n\r\n"},
        {501, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n"},
        {501, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"},
        {400,
         "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n"},
        {400, "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"},
        {417, "POST / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\n\r\n"},
        {431, "GET / HTTP/1.1\r\nHost: "
              "a\r\n1:\r\n2:\r\n3:\r\n4:\r\n5:\r\n6:\r\n7:\r\n8:\r\n9:\r\na:\r\n\r\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ds4_http_head head;
        int status = parse(cases[i].text, &head);
        if (status != cases[i].status)
            fail_msg("%d instead of %d: %s", status, cases[i].status, cases[i].text);
    }
}

static void test_refuses_what_is_too_long(void **state) {
    (void)state;
    static char text[8192];
    ds4_http_head head;
    memset(text, 'a', sizeof text - 1);
    memcpy(text, "GET /", 5);
    assert_int_equal(parse(text, &head), 414);
    text[200] = '\0';
    assert_int_equal(parse(text, &head), 414);
    snprintf(text, sizeof text, "GET /%.70s HTTP/1.1\r\nHost: a\r\n\r\n",
             "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
    assert_int_equal(parse(text, &head), 414);
    int n = snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: a\r\nX: ");
    memset(text + n, 'a', 4096);
    text[n + 4096] = '\0';
    assert_int_equal(parse(text, &head), 431);
}

/* Decodes in pieces of `step` bytes: 200 done, 0 more wanted, else the refusal. */
static int decode(const char *text, size_t step, ds4_strbuf *body, size_t *used) {
    ds4_http_chunked decoder = {0};
    ds4_http_refusal refusal = {0, NULL};
    size_t n = strlen(text);
    ds4_strbuf_clear(body);
    *used = 0;
    while (*used < n) {
        size_t take = n - *used < step ? n - *used : step, consumed = 0;
        ds4_http_progress progress =
            ds4_http_chunked_feed(&decoder, text + *used, take, 100, body, &consumed, &refusal);
        *used += consumed;
        if (progress == DS4_HTTP_REFUSED) return refusal.status;
        if (progress == DS4_HTTP_DONE) return 200;
    }
    return 0;
}

static void test_chunked(void **state) {
    (void)state;
    static const struct {
        int status;
        const char *text, *body;
    } cases[] = {
        {200, "3\r\nabc\r\n0\r\n\r\n", "abc"},
        {200, "3;x=y\r\nabc\r\n00a\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\nREST", "abc0123456789"},
        {200, "0\r\n\r\n", ""},
        {0, "3\r\nabc\r\n", "abc"},
        {0, "3\r\nab", "ab"},
        {400, "zz\r\n", ""},
        {400, "\r\n", ""},
        {400, "-1\r\n", ""},
        {400, "3\r\nabcd\r\n", "abc"},
        {400, "3\r\nabc\n0\r\n\r\n", "abc"},
        {400, "1000000000000000\r\n", ""},
        {413, "65\r\n", ""},
        {413, "3\r\nabc\r\n64\r\n", "abc"},
    };
    ds4_strbuf body = {0};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (size_t step = 1; step < 40; step++) {
            size_t used;
            int status = decode(cases[i].text, step, &body, &used);
            if (status != cases[i].status)
                fail_msg("%d instead of %d: %s", status, cases[i].status, cases[i].text);
            assert_int_equal(body.n, strlen(cases[i].body));
            if (body.n > 0) assert_memory_equal(body.data, cases[i].body, body.n);
            if (status == 200 && strstr(cases[i].text, "REST") != NULL)
                assert_string_equal(cases[i].text + used, "REST");
        }
    ds4_strbuf_free(&body);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepts),
        cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_refuses_what_is_too_long),
        cmocka_unit_test(test_chunked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
