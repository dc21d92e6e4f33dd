/* The output parser under random input: every way of cutting a text, markup that is nearly right,
 * and what the renderer writes read back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/json_scan.h"
#include "chat/parse.h"
#include "chat/render.h"
#include "chat_fixture.h"
#include "parse_support.h"

static void assert_same_result(const ds4_chat_result *a, const ds4_chat_result *b) {
    assert_string_equal(str(&a->content), str(&b->content));
    assert_string_equal(str(&a->reasoning), str(&b->reasoning));
    assert_int_equal(a->finish, b->finish);
    assert_int_equal(a->malformed, b->malformed);
    assert_int_equal(a->repaired, b->repaired);
    assert_int_equal(a->n_calls, b->n_calls);
    for (size_t i = 0; i < a->n_calls; i++) {
        assert_string_equal(str(&a->calls[i].name), str(&b->calls[i].name));
        assert_string_equal(str(&a->calls[i].arguments), str(&b->calls[i].arguments));
    }
}

static void parse_in_pieces(ds4_parser_options options, const char *text, size_t n,
                            uint64_t *random, size_t longest, ds4_chat_result *result) {
    ds4_parser *parser;
    options.sink = ds4_chat_result_add;
    options.sink_context = result;
    assert_int_equal(ds4_parser_create(&options, &parser, NULL), DS4_OK);
    for (size_t i = 0; i < n;) {
        size_t piece = 1 + (size_t)(next_random(random) % longest);
        if (piece > n - i) piece = n - i;
        assert_int_equal(ds4_parser_feed(parser, text + i, piece, NULL), DS4_OK);
        i += piece;
    }
    assert_int_equal(ds4_parser_finish(parser, DS4_FINISH_STOP, NULL), DS4_OK);
    assert_true(ds4_parser_is_done(parser));
    ds4_parser_destroy(parser);
}

static void test_any_cut_gives_the_same_message(void **state) {
    (void)state;
    uint64_t random = 20261122;
    print_message("  seed %llu\n", (unsigned long long)random);
    const ds4_text stops[] = {DS4_TEXT("trailing"), DS4_TEXT("a</think>b")};
    fixture *f = fixture_open("dsml_cases.jsonl");
    for (struct json_object *row; (row = fixture_next(f)) != NULL;) {
        const char *text = text_member(row, "text");
        for (int variant = 0; variant < 8; variant++) {
            ds4_parser_options options = text_options((variant & 1) != 0);
            options.tools_active = (variant & 2) != 0;
            options.stops = stops;
            options.n_stops = (variant & 4) != 0 ? 2 : 0;
            ds4_chat_result whole = {0};
            parse(options, text, DS4_FINISH_STOP, &whole);
            for (size_t longest = 1; longest < 40; longest = longest * 2 + 1) {
                ds4_chat_result pieces = {0};
                parse_in_pieces(options, text, strlen(text), &random, longest, &pieces);
                assert_same_result(&whole, &pieces);
                ds4_chat_result_free(&pieces);
            }
            ds4_chat_result_free(&whole);
        }
    }
}

/* Markup put together at random: nearly right blocks of all dialects. */
static void random_markup(uint64_t *random, ds4_strbuf *out) {
    static const char *const pieces[] = {
        "<think>",
        "</think>",
        OPEN,
        OPEN,
        CLOSE,
        INVOKE("a"),
        INVOKE("b&gt;"),
        INVOKE_END,
        INVOKE_END,
        PARAM("x", "true", "1 &lt;/" D "parameter> \xC3"),
        PARAM("y", "false", "{\"k\": [1, 2]}"),
        PARAM("z", "false", "no json \xE2\x82"),
        "<" D "parameter name=\"n\">\n",
        "<" D "parameter name=\"m\">v",
        "<" D "parameter name=\"x\" string=\"true\">",
        "<" D "parameter string=\"false\" name=\"q\">",
        "</" D "parameter>\n",
        "\n<tool_calls>\n",
        "<invoke name=\"p\">",
        "</invoke>",
        "</tool_calls>",
        "<parameter name=\"u\" string=\"true\">",
        "</parameter>",
        " text ",
        "\n\n",
        "<",
        "&amp;",
        "\"\\",
        "END",
        "\xF0\x9F\x98\x80",
        "\xFF",
        "<" D,
        "</" D,
        "<" D "invoke>",
        "<" D "invoke name=\"",
        "\">",
    };
    size_t n = next_random(random) % 14;
    if (next_random(random) % 2 != 0) ds4_strbuf_puts(out, "r</think>" OPEN INVOKE("f"));
    for (size_t i = 0; i < n; i++)
        ds4_strbuf_puts(out, pieces[next_random(random) % (sizeof pieces / sizeof pieces[0])]);
    if (out->n == 0) ds4_strbuf_puts(out, "x");
}

/* Every announced call gets arguments that are one JSON object, even in blocks that break. */
typedef struct call_checker {
    ds4_chat_result result;
    ds4_strbuf fragments;
    size_t n_calls;
} call_checker;

static void check_call_event(void *context, const ds4_chat_event *event) {
    call_checker *checker = context;
    ds4_chat_result_add(&checker->result, event);
    if (event->type == DS4_EVENT_TOOL_ARGUMENTS)
        ds4_strbuf_append(&checker->fragments, event->text.data, event->text.n);
    if (event->type != DS4_EVENT_TOOL_END) return;
    ds4_json_value value;
    assert_int_equal(
        ds4_json_scan(checker->fragments.data, checker->fragments.n, 256, &value, NULL), DS4_OK);
    assert_int_equal(value.type, DS4_JSON_OBJECT);
    assert_int_equal(event->index, checker->n_calls);
    checker->n_calls++;
    ds4_strbuf_clear(&checker->fragments);
}

static void test_random_markup_any_cut(void **state) {
    (void)state;
    uint64_t random = 77;
    size_t n_calls = 0, n_broken = 0;
    print_message("  seed %llu\n", (unsigned long long)random);
    for (int round = 0; round < 4000; round++) {
        ds4_strbuf text = {0};
        call_checker checker = {0};
        ds4_chat_result pieces = {0};
        const ds4_text stop = DS4_TEXT("END");
        ds4_parser_options options = text_options(next_random(&random) % 2 != 0);
        options.tools_active = next_random(&random) % 8 != 0;
        options.stops = &stop;
        options.n_stops = next_random(&random) % 2;
        random_markup(&random, &text);
        parse_in_pieces(options, text.data, text.n, &random,
                        1 + (size_t)(next_random(&random) % 50), &pieces);

        ds4_parser *parser;
        options.sink = check_call_event;
        options.sink_context = &checker;
        assert_int_equal(ds4_parser_create(&options, &parser, NULL), DS4_OK);
        assert_int_equal(ds4_parser_feed(parser, text.data, text.n, NULL), DS4_OK);
        assert_int_equal(ds4_parser_finish(parser, DS4_FINISH_STOP, NULL), DS4_OK);
        ds4_parser_destroy(parser);
        assert_same_result(&checker.result, &pieces);
        assert_int_equal(checker.fragments.n, 0);
        n_calls += checker.n_calls;
        n_broken += checker.result.malformed ? 1 : 0;
        ds4_chat_result_free(&checker.result);
        ds4_chat_result_free(&pieces);
        ds4_strbuf_free(&checker.fragments);
        ds4_strbuf_free(&text);
    }
    print_message("  %zu calls, %zu broken blocks\n", n_calls, n_broken);
    assert_true(n_calls > 500 && n_broken > 300);
}

/* What the renderer writes, the parser reads back: acceptance for random JSON arguments. */
static void random_json(uint64_t *random, int depth, ds4_strbuf *out) {
    static const char *const scalars[] = {"1",
                                          "-2.50e+3",
                                          "true",
                                          "null",
                                          "\"\"",
                                          "\"a \\\"q\\\" \\n\"",
                                          "\"</" D "parameter>\"",
                                          "\"&lt;/" D "parameter>&amp;\"",
                                          "\"\\u00e9\xC3\xA9\"",
                                          "\"<think></think>" D "\""};
    uint64_t kind = next_random(random) % (depth > 0 ? 4 : 2);
    if (kind < 2) {
        ds4_strbuf_puts(out, scalars[next_random(random) % (sizeof scalars / sizeof scalars[0])]);
        return;
    }
    ds4_strbuf_puts(out, kind == 2 ? "[ " : "{ ");
    size_t n = next_random(random) % 4;
    for (size_t i = 0; i < n; i++) {
        if (i > 0) ds4_strbuf_puts(out, " , ");
        if (kind == 3) ds4_strbuf_printf(out, "\"k\\\"<%zu>&\" : ", i);
        random_json(random, depth - 1, out);
    }
    ds4_strbuf_puts(out, kind == 2 ? "]" : "}");
}

/* Both sides as JSON values: the same members, strings compared decoded. */
static void assert_equal_json(ds4_json_value a, ds4_json_value b) {
    assert_int_equal(a.type, b.type);
    ds4_strbuf left = {0}, right = {0};
    ds4_json_cursor ca = ds4_json_enter(a), cb = ds4_json_enter(b);
    ds4_json_value ka, kb, va, vb;
    if (a.type == DS4_JSON_STRING) {
        ds4_json_string_decode(a, &left);
        ds4_json_string_decode(b, &right);
    } else if (a.type == DS4_JSON_OBJECT) {
        while (ds4_json_next_member(&ca, &ka, &va)) {
            assert_true(ds4_json_next_member(&cb, &kb, &vb));
            assert_equal_json(ka, kb);
            assert_equal_json(va, vb);
        }
        assert_false(ds4_json_next_member(&cb, &kb, &vb));
    } else if (a.type == DS4_JSON_ARRAY) {
        while (ds4_json_next_element(&ca, &va)) {
            assert_true(ds4_json_next_element(&cb, &vb));
            assert_equal_json(va, vb);
        }
        assert_false(ds4_json_next_element(&cb, &vb));
    } else {
        ds4_json_minify(a, &left);
        ds4_json_minify(b, &right);
    }
    assert_string_equal(str(&left), str(&right));
    ds4_strbuf_free(&left);
    ds4_strbuf_free(&right);
}

static void test_rendered_calls_parse_back(void **state) {
    (void)state;
    uint64_t random = 991;
    print_message("  seed %llu\n", (unsigned long long)random);
    for (int round = 0; round < 500; round++) {
        ds4_strbuf arguments = {0};
        ds4_strbuf_puts(&arguments, "{");
        size_t n = next_random(&random) % 4;
        for (size_t i = 0; i < n; i++) {
            ds4_strbuf_printf(&arguments, "%s\"p <\\\"%zu\\\">&amp;\" : ", i > 0 ? "," : "", i);
            random_json(&random, 3, &arguments);
        }
        ds4_strbuf_puts(&arguments, " }");
        const ds4_tool_call call = {.name = DS4_TEXT("t<\"&>"),
                                    .arguments = {arguments.data, arguments.n}};
        const ds4_chat_message message = {.role = DS4_ROLE_ASSISTANT, .calls = &call, .n_calls = 1};
        ds4_chat_request request;
        ds4_chat_request_init(&request);
        request.messages = &message;
        request.n_messages = 1;
        ds4_prompt prompt = {0};
        ds4_render_options options = {.layout = DS4_TEMPLATE_DS4};
        assert_int_equal(ds4_render(&request, &options, &prompt, NULL), DS4_OK);

        /* As sampled: the template's words by id, data as bytes. */
        ds4_chat_result result = {0};
        ds4_parser *parser;
        ds4_parser_options parsing = {.tools_active = true,
                                      .ids = {{-1, 0, 1, 2, 3, 4, 5, 6}},
                                      .sink = ds4_chat_result_add,
                                      .sink_context = &result};
        assert_int_equal(ds4_parser_create(&parsing, &parser, NULL), DS4_OK);
        for (size_t i = 1; i < prompt.n_segments; i++) {
            const ds4_segment *segment = &prompt.segments[i];
            int32_t id = segment->control == DS4_CONTROL_NONE ? 9 : (int32_t)segment->control - 1;
            assert_int_equal(ds4_parser_feed_token(parser, id, prompt.text.data + segment->begin,
                                                   segment->end - segment->begin, NULL),
                             DS4_OK);
        }
        assert_true(ds4_parser_is_done(parser));
        assert_int_equal(result.n_calls, 1);
        assert_string_equal(str(&result.calls[0].name), "t<\"&>");
        ds4_json_value sent, got;
        assert_int_equal(ds4_json_scan(arguments.data, arguments.n, 256, &sent, NULL), DS4_OK);
        assert_int_equal(ds4_json_scan(str(&result.calls[0].arguments), result.calls[0].arguments.n,
                                       256, &got, NULL),
                         DS4_OK);
        assert_equal_json(sent, got);
        ds4_parser_destroy(parser);
        ds4_chat_result_free(&result);
        ds4_prompt_free(&prompt);
        ds4_strbuf_free(&arguments);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_cut_gives_the_same_message),
        cmocka_unit_test(test_random_markup_any_cut),
        cmocka_unit_test(test_rendered_calls_parse_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
