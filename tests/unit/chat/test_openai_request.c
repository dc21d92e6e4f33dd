/* Chat-completions bodies: what is read, and what is refused with which field. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/strbuf.h"
#include "chat/request_parse.h"
#include "chat_fixture.h"

#define HI "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"

static ds4_status parse(const char *body, ds4_chat_request *request, ds4_request_error *failure) {
    ds4_request_options options = {.for_generation = true};
    *failure = (ds4_request_error){0};
    return ds4_openai_request_parse(body, strlen(body), &options, request, failure);
}

static void accept(const char *body, ds4_chat_request *request) {
    ds4_request_error failure;
    ds4_status status = parse(body, request, &failure);
    if (status != DS4_OK) print_message("  %s: %s\n", body, failure.message);
    assert_int_equal(status, DS4_OK);
}

static void test_every_field(void **state) {
    (void)state;
    ds4_chat_request r;
    accept("{\"model\":\"m\",\"messages\":[{\"role\":\"developer\",\"content\":\"s\"},"
           "{\"role\":\"user\",\"content\":[\"a\",{\"type\":\"text\",\"text\":\"b\\u0000\"},{"
           "\"text\":\"c\"}]},"
           "{\"role\":\"assistant\",\"content\":null,\"reasoning_content\":\"why\",\"tool_calls\":["
           "{\"id\":\"c1\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{"
           "\\\"x\\\":1}\"}},"
           "{\"id\":\"c2\",\"function\":{\"name\":\"g\",\"arguments\":{ \"y\" : 2 }}}]},"
           "{\"role\":\"tool\",\"tool_call_id\":\"c1\",\"content\":\"ok\"}],"
           "\"tools\":[{\"type\":\"function\",\"function\":{\"name\" : \"f\"}},{\"name\":\"g\"}],"
           "\"tool_choice\":\"auto\",\"max_tokens\":7,\"temperature\":0,\"top_p\":0.5,\"top_k\":-1,"
           "\"min_p\":0.25,"
           "\"seed\":18446744073709551615,\"stop\":[\"x\",\"\",\"y\"],\"stream\":true,"
           "\"stream_options\":{\"include_usage\":true},\"reasoning_effort\":\"max\",\"n\":1,"
           "\"logprobs\":false,"
           "\"frequency_penalty\":0,\"logit_bias\":{},\"response_format\":{\"type\":\"text\"},"
           "\"user\":\"u\"}",
           &r);
    assert_true(ds4_text_equals(r.model, "m"));
    assert_int_equal(r.n_messages, 4);
    assert_int_equal(r.messages[0].role, DS4_ROLE_SYSTEM);
    assert_int_equal(r.messages[1].content.n, 4);
    assert_memory_equal(r.messages[1].content.data, "ab\0c", 4);
    assert_true(ds4_text_equals(r.messages[2].reasoning, "why"));
    assert_int_equal(r.messages[2].n_calls, 2);
    assert_true(ds4_text_equals(r.messages[2].calls[0].id, "c1"));
    assert_true(ds4_text_equals(r.messages[2].calls[0].arguments, "{\"x\":1}"));
    assert_true(ds4_text_equals(r.messages[2].calls[1].name, "g"));
    assert_true(ds4_text_equals(r.messages[2].calls[1].arguments, "{ \"y\" : 2 }"));
    assert_int_equal(r.messages[3].role, DS4_ROLE_TOOL);
    assert_true(ds4_text_equals(r.messages[3].tool_call_id, "c1"));
    assert_int_equal(r.n_tools, 2);
    assert_true(ds4_text_equals(r.tools[0].schema, "{\"name\" : \"f\"}"));
    assert_true(ds4_text_equals(r.tools[1].name, "g"));
    assert_int_equal(r.max_tokens, 7);
    assert_true(r.sampling.temperature == 0.0f && r.sampling.has_temperature);
    assert_true(r.sampling.top_p == 0.5f && r.sampling.min_p == 0.25f && r.sampling.top_k == 0);
    assert_true(r.sampling.has_top_p && r.sampling.has_min_p && r.sampling.has_top_k);
    assert_true(r.sampling.seed == UINT64_MAX);
    assert_int_equal(r.n_stops, 2);
    assert_true(ds4_text_equals(r.stops[1], "y"));
    assert_true(r.stream && r.stream_usage);
    assert_int_equal(r.think.effort, DS4_EFFORT_MAX);
    ds4_chat_request_free(&r);
}

static void test_null_is_absent(void **state) {
    (void)state;
    ds4_chat_request r;
    accept(
        "{" HI ",\"model\":null,\"tools\":null,\"tool_choice\":null,\"max_tokens\":null,"
        "\"temperature\":null,"
        "\"top_p\":null,\"top_k\":null,\"min_p\":null,\"seed\":null,\"stop\":null,\"stream\":null,"
        "\"stream_options\":null,\"thinking\":null,\"think\":null,\"reasoning_effort\":null,\"n\":"
        "null,"
        "\"logprobs\":null,\"response_format\":null,\"chat_template_kwargs\":null}",
        &r);
    assert_true(ds4_text_equals(r.model, "deepseek-v4-flash"));
    assert_true(r.sampling.temperature == 1.0f && !r.sampling.has_temperature);
    assert_int_equal(r.max_tokens, 0);
    assert_false(r.think.disabled);
    ds4_chat_request_free(&r);
}

static void test_thinking_controls(void **state) {
    (void)state;
    static const struct {
        const char *fields;
        bool disabled;
    } cases[] = {
        {"", false},
        {",\"thinking\":{\"type\":\"disabled\"}", true},
        {",\"thinking\":{\"type\":\"adaptive\"}", false},
        {",\"thinking\":false", true},
        {",\"thinking\":false,\"think\":true", false},
        {",\"think\":true,\"thinking\":false", true},
        {",\"enable_thinking\":false", true},
        {",\"chat_template_kwargs\":{\"enable_thinking\":false}", true},
        {",\"model\":\"deepseek-chat\"", true},
        {",\"model\":\"deepseek-reasoner\"", false},
        {",\"model\":\"deepseek-chat\",\"think\":true", false},
        {",\"model\":\"deepseek-chat\",\"thinking\":null", true},
        {",\"model\":\"deepseek-chat\",\"reasoning_effort\":\"high\"", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char body[512];
        ds4_chat_request r;
        snprintf(body, sizeof body, "{" HI "%s}", cases[i].fields);
        print_message("  %s\n", body);
        accept(body, &r);
        assert_int_equal(r.think.disabled, cases[i].disabled);
        ds4_chat_request_free(&r);
    }
}

static void test_numbers(void **state) {
    (void)state;
    ds4_chat_request r;
    accept("{" HI ",\"max_tokens\":3,\"max_completion_tokens\":1e99,\"seed\":41.9}", &r);
    assert_int_equal(r.max_tokens, INT32_MAX);
    assert_true(r.sampling.seed == 41);
    ds4_chat_request_free(&r);
    accept("{" HI ",\"max_tokens\":2.0,\"seed\":-5}", &r);
    assert_int_equal(r.max_tokens, 2);
    assert_true(r.sampling.seed == 0);
    ds4_chat_request_free(&r);
}

static void test_refusals(void **state) {
    (void)state;
    static const struct {
        const char *body, *param;
    } cases[] = {
        {"", ""},
        {"[]", ""},
        {"null", ""},
        {"\"x\"", ""},
        {"{" HI "} x", ""},
        {"{" HI ",}", ""},
        {"\xEF\xBB\xBF{" HI "}", ""},
        {"{\"messages\":[{\"content\":\"\\q\"}]}", ""},
        {"{\"messages\":[{\"content\":\"\xFF\"}]}", ""},
        {"{\"model\":\"x\"}", "messages"},
        {"{\"messages\":null}", "messages"},
        {"{\"messages\":{}}", "messages"},
        {"{\"messages\":[]}", "messages"},
        {"{\"messages\":[\"hi\"]}", "messages[0]"},
        {"{\"messages\":[{\"role\":\"wizard\",\"content\":\"x\"}]}", "messages[0].role"},
        {"{\"messages\":[{\"role\":\"user\",\"role\":1,\"content\":\"x\"}]}", "messages[0].role"},
        {"{\"messages\":[{\"content\":\"a\",\"content\":[{\"text\":1}]}]}",
         "messages[0].content[0].text"},
        {"{\"messages\":[{\"content\":5}]}", "messages[0].content"},
        {"{\"messages\":[{\"content\":{\"text\":\"x\"}}]}", "messages[0].content"},
        {"{\"messages\":[{\"content\":[\"a\",{\"type\":\"image_url\",\"image_url\":{}}]}]}",
         "messages[0].content[1]"},
        {"{\"messages\":[{\"content\":[3]}]}", "messages[0].content[0]"},
        {"{\"messages\":[{\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"b\"}]}",
         "messages"},
        {"{\"messages\":[{\"role\":\"system\",\"content\":\"a\"}]}", "messages"},
        {"{\"messages\":[{\"role\":\"assistant\",\"tool_calls\":1},{\"content\":\"a\"}]}",
         "messages[0].tool_calls"},
        {"{\"messages\":[{\"role\":\"assistant\",\"tool_calls\":[{\"function\":{\"name\":1,"
         "\"arguments\":\"\"}}]}]}",
         "messages[0].tool_calls[0].function.name"},
        {"{\"messages\":[{\"content\":\"a\",\"tool_calls\":[{}]}]}", "messages[0].tool_calls"},
        {"{\"messages\":[{\"role\":\"tool\",\"content\":\"a\",\"tool_call_id\":4}]}",
         "messages[0].tool_call_id"},
        {"{" HI ",\"model\":1}", "model"},
        {"{" HI ",\"model\":{}}", "model"},
        {"{" HI ",\"max_tokens\":\"5\"}", "max_tokens"},
        {"{" HI ",\"max_tokens\":-5}", "max_tokens"},
        {"{" HI ",\"max_tokens\":0}", "max_tokens"},
        {"{" HI ",\"max_tokens\":1.9}", "max_tokens"},
        {"{" HI ",\"max_completion_tokens\":0}", "max_completion_tokens"},
        {"{" HI ",\"temperature\":-1}", "temperature"},
        {"{" HI ",\"temperature\":3}", "temperature"},
        {"{" HI ",\"temperature\":\"1\"}", "temperature"},
        {"{" HI ",\"temperature\":NaN}", ""},
        {"{" HI ",\"top_p\":0}", "top_p"},
        {"{" HI ",\"top_p\":2}", "top_p"},
        {"{" HI ",\"top_k\":-2}", "top_k"},
        {"{" HI ",\"top_k\":1.5}", "top_k"},
        {"{" HI ",\"min_p\":2}", "min_p"},
        {"{" HI ",\"seed\":\"42\"}", "seed"},
        {"{" HI ",\"seed\":18446744073709551616}", "seed"},
        {"{" HI ",\"seed\":1e300}", "seed"},
        {"{" HI ",\"stream\":\"true\"}", "stream"},
        {"{" HI ",\"stream_options\":[]}", "stream_options"},
        {"{" HI ",\"stream_options\":{\"include_usage\":1}}", "stream_options.include_usage"},
        {"{" HI ",\"stop\":5}", "stop"},
        {"{" HI ",\"stop\":[\"a\",5]}", "stop[1]"},
        {"{" HI ",\"stop\":[\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\","
         "\"\",\"\",\"\"]}",
         "stop"},
        {"{" HI ",\"n\":3}", "n"},
        {"{" HI ",\"logprobs\":1}", "logprobs"},
        {"{" HI ",\"top_logprobs\":2}", "top_logprobs"},
        {"{" HI ",\"logprobs\":true,\"top_logprobs\":21}", "top_logprobs"},
        {"{" HI ",\"presence_penalty\":2.5}", "presence_penalty"},
        {"{" HI ",\"frequency_penalty\":\"1\"}", "frequency_penalty"},
        {"{" HI ",\"repetition_penalty\":0}", "repetition_penalty"},
        {"{" HI ",\"logit_bias\":[]}", "logit_bias"},
        {"{" HI ",\"logit_bias\":{\"x\":1}}", "logit_bias"},
        {"{" HI ",\"logit_bias\":{\"-1\":1}}", "logit_bias"},
        {"{" HI ",\"logit_bias\":{\"99999999999\":1}}", "logit_bias"},
        {"{" HI ",\"logit_bias\":{\"5\":101}}", "logit_bias.5"},
        {"{" HI ",\"best_of\":2}", "best_of"},
        {"{" HI ",\"guided_regex\":\"a*\"}", "guided_regex"},
        {"{" HI ",\"ignore_eos\":true}", "ignore_eos"},
        {"{" HI ",\"modalities\":[\"text\",\"audio\"]}", "modalities"},
        {"{" HI ",\"parallel_tool_calls\":1}", "parallel_tool_calls"},
        {"{" HI ",\"thinking\":{\"budget_tokens\":0}}", "thinking.budget_tokens"},
        {"{" HI ",\"response_format\":{\"type\":\"yaml\"}}", "response_format.type"},
        {"{" HI ",\"response_format\":{\"type\":\"json_schema\"}}", "response_format.json_schema"},
        {"{" HI ",\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{}}}",
         "response_format.json_schema.schema"},
        {"{" HI ",\"functions\":[]}", "functions"},
        {"{" HI ",\"reasoning_effort\":\"ultra\"}", "reasoning_effort"},
        {"{" HI ",\"reasoning_effort\":5}", "reasoning_effort"},
        {"{" HI ",\"thinking\":\"enabled\"}", "thinking"},
        {"{" HI ",\"think\":1}", "think"},
        {"{" HI ",\"tools\":{}}", "tools"},
        {"{" HI ",\"tools\":[1]}", "tools[0]"},
        {"{" HI ",\"tools\":[{\"type\":\"function\",\"function\":{}}]}", "tools[0].function.name"},
        {"{" HI ",\"tools\":[{\"type\":\"web_search\"}]}", "tools[0].name"},
        {"{" HI ",\"tools\":[{\"name\":\"a\"},{\"name\":\"a\"}]}", "tools[1]"},
        {"{" HI ",\"tools\":[{\"name\":\"\"}]}", "tools[0].name"},
        {"{" HI ",\"tool_choice\":\"sometimes\"}", "tool_choice"},
        {"{" HI ",\"tool_choice\":{}}", "tool_choice"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ds4_chat_request r;
        ds4_request_error failure;
        print_message("  %s\n", cases[i].body);
        assert_int_not_equal(parse(cases[i].body, &r, &failure), DS4_OK);
        assert_int_equal(failure.status, 400);
        assert_string_equal(failure.type, "invalid_request_error");
        assert_string_equal(failure.param, cases[i].param);
        assert_true(failure.message[0] != '\0');
        assert_null(r.memory);
    }
}

static void test_sampling_extras(void **state) {
    (void)state;
    ds4_chat_request r;
    accept("{" HI ",\"presence_penalty\":-2,\"frequency_penalty\":0.5,\"repetition_penalty\":1.25,"
           "\"logit_bias\":{\"7\":-100,\"9\":1.5},\"logprobs\":true,\"top_logprobs\":3,"
           "\"parallel_tool_calls\":false,\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":9},"
           "\"store\":true,\"audio\":null,\"guided_json\":{}}",
           &r);
    assert_true(r.sampling.presence_penalty == -2 && r.sampling.frequency_penalty == 0.5f);
    assert_true(r.sampling.repetition_penalty == 1.25f);
    assert_int_equal(r.sampling.n_biases, 2);
    assert_int_equal(r.sampling.biases[0].id, 7);
    assert_true(r.sampling.biases[1].bias == 1.5f);
    assert_true(r.logprobs && r.n_top_logprobs == 3 && r.one_call);
    assert_int_equal(r.think.budget, 9);
    assert_true(ds4_text_equals(r.ignored, "store"));
    ds4_chat_request_free(&r);
}

static void test_completions(void **state) {
    (void)state;
    static const struct {
        const char *body, *param;
    } bad[] = {
        {"{}", "prompt"},
        {"{\"prompt\":5}", "prompt"},
        {"{\"prompt\":[]}", "prompt"},
        {"{\"prompt\":[1,2]}", "prompt"},
        {"{\"prompt\":[[1,2]]}", "prompt"},
        {"{\"prompt\":\"a\",\"echo\":true}", "echo"},
        {"{\"prompt\":\"a\",\"suffix\":\"b\"}", "suffix"},
        {"{\"prompt\":\"a\",\"logprobs\":21}", "logprobs"},
        {"{\"prompt\":\"a\",\"n\":2}", "n"},
        {"{\"prompt\":\"a\",\"raw\":1}", "raw"},
    };
    ds4_request_options options = {.for_generation = true};
    ds4_request_error failure = {0};
    ds4_chat_request r;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        print_message("  %s\n", bad[i].body);
        assert_int_not_equal(
            ds4_completion_request_parse(bad[i].body, strlen(bad[i].body), &options, &r, &failure),
            DS4_OK);
        assert_string_equal(failure.param, bad[i].param);
    }
    const char *body = "{\"prompt\":[\"one\",\"two\"],\"logprobs\":0,\"user\":\"u\"}";
    assert_int_equal(ds4_completion_request_parse(body, strlen(body), &options, &r, &failure),
                     DS4_OK);
    assert_int_equal(r.n_messages, 2);
    assert_int_equal(r.messages[0].role, DS4_ROLE_SYSTEM);
    assert_true(ds4_text_equals(r.messages[1].content, "one"));
    assert_true(r.logprobs && r.n_top_logprobs == 0);
    assert_true(ds4_text_equals(r.ignored, "prompt[1...], user"));
    ds4_chat_request_free(&r);
    body = "{\"prompt\":\"one\",\"raw\":true}";
    assert_int_equal(ds4_completion_request_parse(body, strlen(body), &options, &r, &failure),
                     DS4_OK);
    assert_int_equal(r.n_messages, 1);
    assert_true(r.raw && r.think.disabled);
    ds4_chat_request_free(&r);
}

static char *repeat(const char *head, const char *piece, size_t n, const char *tail) {
    ds4_strbuf text = {0};
    ds4_strbuf_puts(&text, head);
    for (size_t i = 0; i < n; i++) ds4_strbuf_puts(&text, piece);
    ds4_strbuf_puts(&text, tail);
    return ds4_strbuf_take(&text);
}

static void test_limits(void **state) {
    (void)state;
    struct {
        char *good, *bad;
    } cases[] = {
        {repeat("{" HI ",\"x\":", "[", 255, ""), repeat("{" HI ",\"x\":", "[", 256, "")},
        {repeat("{\"messages\":[", "{},", 19999, "{}]}"),
         repeat("{\"messages\":[", "{},", 20000, "{}]}")},
        {repeat("{" HI ",\"stop\":\"", "s", 256, "\"}"),
         repeat("{" HI ",\"stop\":\"", "s", 257, "\"}")},
        {repeat("{" HI ",\"model\":\"", "s", 256, "\"}"),
         repeat("{" HI ",\"model\":\"", "s", 257, "\"}")},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (i == 0) { /* close what was opened */
            char *good = repeat(cases[0].good, "]", 255, "}"),
                 *bad = repeat(cases[0].bad, "]", 256, "}");
            free(cases[0].good);
            free(cases[0].bad);
            cases[0].good = good;
            cases[0].bad = bad;
        }
        ds4_chat_request r;
        ds4_request_error failure;
        accept(cases[i].good, &r);
        ds4_chat_request_free(&r);
        assert_int_not_equal(parse(cases[i].bad, &r, &failure), DS4_OK);
        assert_int_equal(failure.status, 400);
        free(cases[i].good);
        free(cases[i].bad);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_field),       cmocka_unit_test(test_null_is_absent),
        cmocka_unit_test(test_thinking_controls), cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_refusals),          cmocka_unit_test(test_limits),
        cmocka_unit_test(test_sampling_extras),   cmocka_unit_test(test_completions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
