/* The memory of the Responses API: found, forgotten, within its budget. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "server/response_store.h"

static bool find(ds4_response_store *store, const char *id, ds4_stored_part part, char out[64]) {
    ds4_strbuf text = {0};
    bool found = ds4_response_store_find(store, (ds4_text){id, strlen(id)}, part, &text);
    snprintf(out, 64, "%.*s", (int)text.n, text.n > 0 ? text.data : "");
    ds4_strbuf_free(&text);
    return found;
}

static void test_parts(void **state) {
    (void)state;
    char text[64];
    ds4_response_store *store = ds4_response_store_create(1 << 20);
    ds4_response_store_put(store, "resp_a", DS4_TEXT("{1},{2}"), 3, DS4_TEXT("{\"id\":1}"));
    assert_true(find(store, "resp_a", DS4_STORED_ITEMS, text));
    assert_string_equal(text, "{1},{2}");
    assert_true(find(store, "resp_a", DS4_STORED_INPUT, text));
    assert_string_equal(text, "{1}");
    assert_true(find(store, "resp_a", DS4_STORED_RESPONSE, text));
    assert_string_equal(text, "{\"id\":1}");
    assert_false(find(store, "resp_b", DS4_STORED_ITEMS, text));
    assert_true(ds4_response_store_remove(store, DS4_TEXT("resp_a")));
    assert_false(ds4_response_store_remove(store, DS4_TEXT("resp_a")));
    assert_false(find(store, "resp_a", DS4_STORED_ITEMS, text));
    ds4_response_store_destroy(store);
}

static void test_budget(void **state) {
    (void)state;
    static char big[1000];
    char id[32], text[64];
    memset(big, 'x', sizeof big);
    ds4_response_store *store = ds4_response_store_create(4000);
    for (int i = 0; i < 3; i++) {
        snprintf(id, sizeof id, "resp_%d", i);
        ds4_response_store_put(store, id, (ds4_text){big, sizeof big}, 0, DS4_TEXT("r"));
    }
    assert_true(find(store, "resp_0", DS4_STORED_RESPONSE, text)); /* used: now resp_1 is oldest */
    ds4_response_store_put(store, "resp_3", (ds4_text){big, sizeof big}, 0, DS4_TEXT("r"));
    assert_false(find(store, "resp_1", DS4_STORED_RESPONSE, text));
    assert_true(find(store, "resp_0", DS4_STORED_RESPONSE, text));
    assert_true(find(store, "resp_3", DS4_STORED_RESPONSE, text));
    static char huge[5000];
    ds4_response_store_put(store, "resp_4", (ds4_text){huge, sizeof huge}, 0, DS4_TEXT("r"));
    assert_false(find(store, "resp_4", DS4_STORED_RESPONSE, text));
    assert_true(find(store, "resp_3", DS4_STORED_RESPONSE, text));
    ds4_response_store_destroy(store);
    store = ds4_response_store_create(0);
    ds4_response_store_put(store, "resp_a", DS4_TEXT("i"), 0, DS4_TEXT("r"));
    assert_false(find(store, "resp_a", DS4_STORED_RESPONSE, text));
    ds4_response_store_destroy(store);
    ds4_response_store_destroy(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_parts), cmocka_unit_test(test_budget)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
