/* Which history messages are repeated as they were sampled, and records on disk. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "chat/tool_memory.h"

static const int32_t ids[] = {11, 12, 13, 14, 15};

static ds4_tool_turn turn_of(const ds4_tool_call *calls, size_t n) {
    return (ds4_tool_turn){.reasoning = DS4_TEXT("hm"),
                           .content = DS4_TEXT("I look."),
                           .calls = calls,
                           .n_calls = n,
                           .ids = ids,
                           .n_ids = 5,
                           .n_thought = 2,
                           .text = DS4_TEXT("hm</think>I look.\n\n<block>"),
                           .n_thought_text = 10};
}

static bool finds(ds4_tool_memory *memory, const ds4_chat_message *message, bool thought,
                  size_t n_ids, const char *text) {
    ds4_tokens found = {0};
    ds4_strbuf bytes = {0};
    bool with_thought = false;
    bool is = ds4_tool_memory_find(memory, message, thought, &found, &bytes, &with_thought);
    if (is) {
        assert_int_equal(found.n, n_ids);
        assert_memory_equal(found.ids, ids + 5 - n_ids, n_ids * sizeof *ids);
        assert_string_equal(bytes.data, text);
        assert_int_equal(with_thought, n_ids == 5);
    } else {
        assert_int_equal(found.n, 0);
    }
    ds4_tokens_free(&found);
    ds4_strbuf_free(&bytes);
    return is;
}

static void repeats_only_what_is_the_same(void **state) {
    (void)state;
    ds4_tool_memory *memory;
    assert_int_equal(ds4_tool_memory_create(100, 0, &memory, NULL), DS4_OK);
    ds4_tool_call calls[2] = {
        {DS4_TEXT("call_a"), DS4_TEXT("read"), DS4_TEXT("{\"path\": \"x\", \"n\": 1}")},
        {DS4_TEXT("call_b"), DS4_TEXT("list"), DS4_TEXT("{}")}};
    ds4_tool_turn turn = turn_of(calls, 2);
    assert_true(ds4_tool_memory_put(memory, &turn));
    ds4_tool_call sent[2] = {calls[0], calls[1]};
    ds4_chat_message message = {.role = DS4_ROLE_ASSISTANT,
                                .content = DS4_TEXT("I look."),
                                .reasoning = DS4_TEXT("hm"),
                                .calls = sent,
                                .n_calls = 2};
    assert_true(finds(memory, &message, true, 5, "hm</think>I look.\n\n<block>"));
    assert_true(finds(memory, &message, false, 3, "I look.\n\n<block>"));
    message.reasoning = DS4_TEXT(""); /* a client that keeps no reasoning */
    assert_true(finds(memory, &message, true, 3, "I look.\n\n<block>"));
    sent[0].arguments = DS4_TEXT("{\"n\":1,\"path\":\"x\"}"); /* written anew, the same value */
    assert_true(finds(memory, &message, false, 3, "I look.\n\n<block>"));
    static const ds4_text others[] = {DS4_TEXT("{\"n\":2,\"path\":\"x\"}"),
                                      DS4_TEXT("{\"path\":\"x\"}"), DS4_TEXT("[REDACTED]"),
                                      DS4_TEXT("")};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        sent[0].arguments = others[i];
        assert_false(finds(memory, &message, false, 0, ""));
    }
    sent[0] = calls[0];
    sent[0].name = DS4_TEXT("write");
    assert_false(finds(memory, &message, false, 0, ""));
    sent[0] = calls[1];
    sent[1] = calls[0]; /* another order */
    assert_false(finds(memory, &message, false, 0, ""));
    sent[0] = calls[0];
    message.n_calls = 1;
    assert_false(finds(memory, &message, false, 0, ""));
    message.n_calls = 2;
    sent[1] = calls[1];
    message.content = DS4_TEXT("I looked.");
    assert_false(finds(memory, &message, false, 0, ""));
    ds4_tool_memory_destroy(memory);
}

static void forgets_the_oldest(void **state) {
    (void)state;
    ds4_tool_memory *memory;
    assert_int_equal(ds4_tool_memory_create(300, 0, &memory, NULL), DS4_OK);
    for (int round = 0; round < 2000; round++) {
        char id[32];
        int length = snprintf(id, sizeof id, "call_%d", round % 1500);
        ds4_tool_call call = {{id, (size_t)length}, DS4_TEXT("read"), DS4_TEXT("{}")};
        ds4_tool_turn turn = turn_of(&call, 1);
        assert_true(ds4_tool_memory_put(memory, &turn));
        assert_true(ds4_tool_memory_count(memory) <= 300);
    }
    for (int i = 0; i < 1500; i++) {
        char id[32];
        int length = snprintf(id, sizeof id, "call_%d", i);
        ds4_tool_call call = {{id, (size_t)length}, DS4_TEXT("read"), DS4_TEXT("{}")};
        ds4_chat_message message = {.content = DS4_TEXT("I look."), .calls = &call, .n_calls = 1};
        assert_int_equal(finds(memory, &message, false, 3, "I look.\n\n<block>"),
                         i >= 200 && i < 500);
    }
    ds4_tool_turn nothing = turn_of(NULL, 0);
    assert_false(ds4_tool_memory_put(memory, &nothing));
    ds4_tool_memory_destroy(memory);
}

static void records_are_whole_or_nothing(void **state) {
    (void)state;
    ds4_tool_call call = {DS4_TEXT("call_a"), DS4_TEXT("read"), DS4_TEXT("{\"path\":\"\\u0000\"}")};
    ds4_tool_turn turn = turn_of(&call, 1), back;
    ds4_strbuf record = {0};
    size_t n_record;
    ds4_tool_turn_encode(&turn, &record);
    ds4_strbuf_puts(&record, "tail");
    assert_int_equal(ds4_tool_turn_decode(record.data, record.n, &back, &n_record, NULL), DS4_OK);
    assert_int_equal(n_record, record.n - 4);
    assert_int_equal(back.n_ids, 5);
    assert_memory_equal(back.ids, ids, sizeof ids);
    assert_string_equal(back.calls[0].arguments.data, call.arguments.data);
    assert_string_equal(back.text.data, turn.text.data);
    free((void *)back.calls);
    for (size_t n = 0; n < record.n - 4; n++)
        assert_int_equal(ds4_tool_turn_decode(record.data, n, &back, &n_record, NULL), DS4_FORMAT);
    for (size_t i = 0; i < record.n - 4; i++) {
        record.data[i] ^= 0x20;
        assert_int_equal(ds4_tool_turn_decode(record.data, record.n, &back, &n_record, NULL),
                         DS4_FORMAT);
        record.data[i] ^= 0x20;
    }
    ds4_strbuf_free(&record);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(repeats_only_what_is_the_same),
        cmocka_unit_test(forgets_the_oldest),
        cmocka_unit_test(records_are_whole_or_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
