/* The reply between producer and connection: order, back-pressure, disconnects. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "server/http_reply.h"

typedef struct record {
    int wakes, gone, resumed, released;
} record;

static void on_wake(void *context) {
    ((record *)context)->wakes++;
}

static void on_change(void *context, ds4_http_reply_change change) {
    record *r = context;
    if (change == DS4_HTTP_REPLY_GONE)
        r->gone++;
    else
        r->resumed++;
}

static void on_release(void *context) {
    ((record *)context)->released++;
}

static void test_whole_response(void **state) {
    (void)state;
    record r = {0};
    ds4_http_mailbox *mailbox = ds4_http_mailbox_create(on_wake, &r);
    ds4_http_reply *reply = ds4_http_reply_create(mailbox, 100, &r);
    ds4_http_reply_set_headers(reply, "X-A: b\r\n");
    ds4_http_reply_send(reply, 404, "X-C: d\r\n", "text/plain", "body", 4);
    ds4_http_reply_send(reply, 200, NULL, "text/plain", "again", 5); /* only the first counts */
    assert_int_equal(r.wakes, 1);
    void *owner = NULL;
    ds4_http_reply *taken = ds4_http_mailbox_take(mailbox, &owner);
    assert_ptr_equal(taken, reply);
    assert_ptr_equal(owner, &r);
    ds4_strbuf bytes = {0};
    ds4_http_reply_state answer = ds4_http_reply_fetch(reply, &bytes);
    assert_true(answer.started && answer.finished && !answer.streaming);
    const char *head =
        "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\nContent-Type: text/plain\r\nDate: ";
    assert_memory_equal(bytes.data, head, strlen(head));
    assert_non_null(strstr(bytes.data, "\r\nX-A: b\r\nX-C: d\r\nConnection: close\r\n\r\nbody"));
    assert_null(ds4_http_mailbox_take(mailbox, &owner));
    ds4_http_reply_detach(reply, true);
    ds4_http_reply_release(taken);
    ds4_http_reply_release(reply);
    ds4_strbuf_free(&bytes);
    ds4_http_mailbox_destroy(mailbox);
}

static void test_head_has_no_body(void **state) {
    (void)state;
    record r = {0};
    ds4_http_mailbox *mailbox = ds4_http_mailbox_create(on_wake, &r);
    ds4_http_reply *reply = ds4_http_reply_create(mailbox, 100, &r);
    ds4_http_reply_set_head_only(reply);
    ds4_http_reply_send(reply, 200, NULL, "text/plain", "body", 4);
    ds4_strbuf bytes = {0};
    ds4_http_reply_fetch(reply, &bytes);
    assert_non_null(strstr(bytes.data, "Content-Length: 4\r\n"));
    assert_memory_equal(bytes.data + bytes.n - 4, "\r\n\r\n", 4);
    ds4_http_reply_release(reply);
    ds4_strbuf_free(&bytes);
    ds4_http_mailbox_destroy(mailbox);
}

static void test_back_pressure(void **state) {
    (void)state;
    record r = {0};
    ds4_http_mailbox *mailbox = ds4_http_mailbox_create(on_wake, &r);
    ds4_http_reply *reply = ds4_http_reply_create(mailbox, 1000, &r);
    ds4_http_reply_watch(reply, (ds4_http_watcher){on_change, on_release, &r});
    ds4_http_reply_start_stream(reply);
    ds4_strbuf bytes = {0};
    ds4_http_reply_fetch(reply, &bytes);
    ds4_http_reply_set_unsent(reply, 0);
    char text[600] = {0};
    ds4_http_reply_write(reply, text, sizeof text);
    assert_false(ds4_http_reply_stalled(reply));
    ds4_http_reply_fetch(reply, &bytes); /* fetched, but not taken by the socket */
    assert_int_equal(bytes.n, 600);
    ds4_http_reply_write(reply, text, sizeof text);
    assert_true(ds4_http_reply_stalled(reply));
    ds4_http_reply_set_unsent(reply, 300);
    assert_true(ds4_http_reply_stalled(reply));
    ds4_http_reply_fetch(reply, &bytes);
    ds4_http_reply_set_unsent(reply, 251);
    assert_true(ds4_http_reply_stalled(reply));
    assert_int_equal(r.resumed, 0);
    ds4_http_reply_set_unsent(reply, 250);
    assert_false(ds4_http_reply_stalled(reply));
    assert_int_equal(r.resumed, 1);
    ds4_http_reply_detach(reply, false);
    assert_int_equal(r.gone, 1);
    assert_int_equal(r.released, 1);
    assert_true(ds4_http_reply_gone(reply));
    ds4_http_reply_write(reply, text, sizeof text); /* dropped */
    ds4_http_reply_finish(reply);
    ds4_http_reply_fetch(reply, &bytes);
    assert_int_equal(bytes.n, 0);
    ds4_http_reply_release(reply);
    ds4_strbuf_free(&bytes);
    ds4_http_mailbox_destroy(mailbox);
}

static void test_watching_too_late(void **state) {
    (void)state;
    record r = {0};
    ds4_http_mailbox *mailbox = ds4_http_mailbox_create(on_wake, &r);
    ds4_http_reply *reply = ds4_http_reply_create(mailbox, 1000, &r);
    ds4_http_reply_detach(reply, false);
    ds4_http_reply_watch(reply, (ds4_http_watcher){on_change, on_release, &r});
    assert_int_equal(r.gone, 1);
    assert_int_equal(r.released, 1);
    ds4_http_reply_release(reply);
    assert_int_equal(r.released, 1);
    ds4_http_mailbox_destroy(mailbox);
}

enum { PRODUCERS = 4, EVENTS = 2000 };

static void *produce(void *context) {
    ds4_http_reply *reply = context;
    ds4_http_reply_start_stream(reply);
    for (int i = 0; i < EVENTS; i++) {
        char text[16];
        int n = snprintf(text, sizeof text, "<%d>", i);
        ds4_http_reply_write(reply, text, (size_t)n);
    }
    ds4_http_reply_finish(reply);
    ds4_http_reply_release(reply);
    return NULL;
}

static void no_wake(void *context) {
    (void)context;
}

/* Several producers, one consumer: every byte arrives, in order, exactly once. */
static void test_producers_and_consumer(void **state) {
    (void)state;
    ds4_http_mailbox *mailbox = ds4_http_mailbox_create(no_wake, NULL);
    ds4_http_reply *replies[PRODUCERS];
    ds4_strbuf streams[PRODUCERS] = {{0}}, bytes = {0};
    pthread_t threads[PRODUCERS];
    int done = 0;
    for (int i = 0; i < PRODUCERS; i++) {
        replies[i] = ds4_http_reply_create(mailbox, 1u << 20, &streams[i]);
        ds4_http_reply_retain(replies[i]);
        assert_int_equal(pthread_create(&threads[i], NULL, produce, replies[i]), 0);
    }
    while (done < PRODUCERS) {
        void *owner;
        ds4_http_reply *reply = ds4_http_mailbox_take(mailbox, &owner);
        if (reply == NULL) continue;
        ds4_http_reply_state answer = ds4_http_reply_fetch(reply, &bytes);
        if (bytes.n > 0) ds4_strbuf_append(owner, bytes.data, bytes.n);
        /* The end may be seen before it is announced; then the announcement finds no owner. */
        if (answer.finished && owner != NULL) {
            done++;
            ds4_http_reply_detach(reply, true);
        }
        ds4_http_reply_release(reply);
    }
    for (int i = 0; i < PRODUCERS; i++) {
        pthread_join(threads[i], NULL);
        const char *p = strstr(streams[i].data, "\r\n\r\n") + 4;
        for (int event = 0; event < EVENTS; event++) {
            char text[16];
            int n = snprintf(text, sizeof text, "<%d>", event);
            assert_memory_equal(p, text, (size_t)n);
            p += n;
        }
        assert_ptr_equal(p, streams[i].data + streams[i].n);
        ds4_http_reply_release(replies[i]);
        ds4_strbuf_free(&streams[i]);
    }
    ds4_strbuf_free(&bytes);
    ds4_http_mailbox_destroy(mailbox);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole_response),         cmocka_unit_test(test_head_has_no_body),
        cmocka_unit_test(test_back_pressure),          cmocka_unit_test(test_watching_too_late),
        cmocka_unit_test(test_producers_and_consumer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
