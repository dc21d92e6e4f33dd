/* The output parser: recorded outputs, events, stops, regimes and phases. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/json_scan.h"
#include "chat/parse.h"
#include "chat_fixture.h"
#include "parse_support.h"

/* Arguments must be one JSON object; recorded ones were written with spaces. */
static void assert_same_json(const char *got, const char *wanted) {
    ds4_json_value value;
    ds4_strbuf compact = {0};
    assert_int_equal(ds4_json_scan(got, strlen(got), 256, &value, NULL), DS4_OK);
    assert_int_equal(value.type, DS4_JSON_OBJECT);
    assert_int_equal(ds4_json_scan(wanted, strlen(wanted), 256, &value, NULL), DS4_OK);
    ds4_json_minify(value, &compact);
    assert_string_equal(got, compact.data);
    ds4_strbuf_free(&compact);
}

static void check_row(struct json_object *row, const ds4_chat_result *result) {
    struct json_object *expected = member(row, "expected");
    struct json_object *calls = member(expected, "calls");
    assert_string_equal(str(&result->content), text_member(expected, "content"));
    assert_string_equal(str(&result->reasoning), text_member(expected, "reasoning"));
    assert_string_equal(ds4_finish_name(result->finish), text_member(expected, "finish"));
    assert_int_equal(result->n_calls, json_object_array_length(calls));
    for (size_t i = 0; i < result->n_calls; i++) {
        struct json_object *call = json_object_array_get_idx(calls, i);
        assert_string_equal(str(&result->calls[i].name), text_member(call, "name"));
        assert_same_json(str(&result->calls[i].arguments), text_member(call, "arguments"));
    }
}

static void test_recorded_outputs(void **state) {
    (void)state;
    fixture *f = fixture_open("dsml_cases.jsonl");
    int n = 0;
    for (struct json_object *row; (row = fixture_next(f)) != NULL; n++) {
        ds4_chat_result result = {0};
        print_message("  %s\n", text_member(row, "name"));
        parse(text_options(json_object_get_boolean(member(row, "thinking"))),
              text_member(row, "text"), DS4_FINISH_STOP, &result);
        check_row(row, &result);
        ds4_chat_result_free(&result);
    }
    assert_int_equal(n, 36);
}

/* The decode regime and the raw block after the text of each recorded output. */
static void test_recorded_regimes(void **state) {
    (void)state;
    static const char *const names[] = {"outside", "structural", "string_body", "json_structural",
                                        "json_string"};
    fixture *f = fixture_open("dsml_cases.jsonl");
    for (struct json_object *row; (row = fixture_next(f)) != NULL;) {
        ds4_parser *parser;
        ds4_parser_options options = text_options(json_object_get_boolean(member(row, "thinking")));
        const char *text = text_member(row, "text");
        print_message("  %s\n", text_member(row, "name"));
        assert_int_equal(ds4_parser_create(&options, &parser, NULL), DS4_OK);
        assert_int_equal(ds4_parser_feed(parser, text, strlen(text), NULL), DS4_OK);
        assert_string_equal(names[ds4_parser_regime(parser)], text_member(row, "regime"));

        const char *raw = text_member(row, "raw");
        if (raw[0] != '\0') {
            ds4_text block = ds4_parser_raw_block(parser), separator = ds4_parser_separator(parser);
            bool with_lines = strncmp(raw, "\n\n", 2) == 0;
            assert_int_equal(block.n, strlen(raw) - (with_lines ? 2 : 0));
            assert_memory_equal(block.data, raw + (with_lines ? 2 : 0), block.n);
            if (with_lines) assert_true(separator.n >= 2);
        }
        ds4_parser_destroy(parser);
    }
}

/* ---- events ---- */

/* Events as one line of text each. */
static void describe(void *context, const ds4_chat_event *e) {
    static const char *const names[] = {"reasoning", "content", "begin",
                                        "arguments", "end",     "finish"};
    ds4_strbuf *log = context;
    ds4_strbuf_printf(log, "%s", names[e->type]);
    if (e->type >= DS4_EVENT_TOOL_BEGIN && e->type <= DS4_EVENT_TOOL_END)
        ds4_strbuf_printf(log, " %zu", e->index);
    if (e->type == DS4_EVENT_TOOL_BEGIN)
        ds4_strbuf_printf(log, " %.*s %.*s", (int)e->id.n, e->id.data, (int)e->name.n,
                          e->name.data);
    if (e->text.n > 0) ds4_strbuf_printf(log, " [%.*s]", (int)e->text.n, e->text.data);
    if (e->type == DS4_EVENT_FINISH) {
        ds4_strbuf_printf(log, " %s%s", ds4_finish_name(e->finish), e->repaired ? " repaired" : "");
        if (e->malformed != NULL) ds4_strbuf_printf(log, " (%s)", e->malformed);
    }
    ds4_strbuf_puts(log, "\n");
}

static void number_id(void *context, size_t index, ds4_text name, char id[64]) {
    (void)context;
    snprintf(id, 64, "id%zu-%.*s", index, (int)name.n, name.data);
}

static void assert_events(ds4_parser_options options, const char *const *pieces, ds4_finish cause,
                          const char *wanted) {
    ds4_strbuf log = {0};
    ds4_parser *parser;
    options.sink = describe;
    options.sink_context = &log;
    options.make_id = number_id;
    assert_int_equal(ds4_parser_create(&options, &parser, NULL), DS4_OK);
    for (; *pieces != NULL; pieces++) {
        assert_int_equal(ds4_parser_feed(parser, *pieces, strlen(*pieces), NULL), DS4_OK);
        ds4_strbuf_puts(&log, "-\n");
    }
    assert_int_equal(ds4_parser_finish(parser, cause, NULL), DS4_OK);
    assert_string_equal(log.data, wanted);
    ds4_parser_destroy(parser);
    ds4_strbuf_free(&log);
}

static void test_events_of_a_call(void **state) {
    (void)state;
    const char *pieces[] = {"<think>why",
                            "</thi",
                            "nk>Let me see. \n",
                            "\n" OPEN,
                            INVOKE("bash"),
                            "<" D "parameter name=\"command\" string=\"true\">ls \"x",
                            "\"\n&lt;/" D,
                            "parameter>&lt;</" D "parameter>\n",
                            PARAM("n", "false", "[1,  2]"),
                            "</" D "invoke>\n" INVOKE("b") INVOKE_END CLOSE "never seen",
                            NULL};
    assert_events(
        text_options(true), pieces, DS4_FINISH_STOP,
        "reasoning [why]\n-\n-\ncontent [Let me see.]\n-\n-\n"
        "begin 0 id0-bash bash\narguments 0 [{]\n-\n"
        "arguments 0 [\"command\":\"ls \\\"x]\n-\n"
        "arguments 0 [\\\"\\n]\n-\n"
        "arguments 0 [</" D "parameter>&lt;\"]\n-\n"
        "arguments 0 [,\"n\":[1,2]]\n-\n"
        "arguments 0 [}]\nend 0\nbegin 1 id1-b b\narguments 1 [{}]\nend 1\nfinish tool_calls\n-\n");
}

static void test_broken_block_closes_its_json(void **state) {
    (void)state;
    const char *cut[] = {OPEN INVOKE("w") "<" D "parameter name=\"text\" string=\"true\">one\ntw",
                         NULL};
    assert_events(
        text_options(false), cut, DS4_FINISH_LENGTH,
        "begin 0 id0-w w\narguments 0 [{\"text\":\"one\\ntw]\n-\narguments 0 [\"}]\nend 0\n"
        "finish [" OPEN INVOKE("w") "<" D "parameter name=\"text\" string=\"true\">one\ntw] length "
                                    "(unterminated tool call)\n");
    const char *oops[] = {"x\n\n" OPEN INVOKE("w") "oops", " and more", NULL};
    assert_events(text_options(false), oops, DS4_FINISH_STOP,
                  "content [x]\nbegin 0 id0-w w\narguments 0 [{}]\nend 0\n-\n-\n"
                  "finish [\n\n" OPEN INVOKE("w") "oops and more] stop (malformed tool call)\n");
}

static void test_missing_close_tags_are_repaired(void **state) {
    (void)state;
    static const struct {
        const char *text;
        ds4_finish cause, finish;
        bool repaired;
    } cases[] = {
        {OPEN INVOKE("a") PARAM("x", "true", "1") INVOKE_END, DS4_FINISH_STOP,
         DS4_FINISH_TOOL_CALLS, true},
        {OPEN INVOKE("a") INVOKE_END "</" D "tool", DS4_FINISH_STOP, DS4_FINISH_TOOL_CALLS, true},
        {OPEN INVOKE("a") PARAM("x", "true", "1"), DS4_FINISH_STOP, DS4_FINISH_TOOL_CALLS, true},
        {OPEN INVOKE("a") PARAM("x", "true", "1") "</" D "inv", DS4_FINISH_STOP,
         DS4_FINISH_TOOL_CALLS, true},
        {OPEN INVOKE("a") INVOKE_END, DS4_FINISH_LENGTH, DS4_FINISH_TOOL_CALLS, true},
        /* More parameters might have come. */
        {OPEN INVOKE("a") PARAM("x", "true", "1"), DS4_FINISH_LENGTH, DS4_FINISH_LENGTH, false},
        {OPEN INVOKE("a") PARAM("x", "true", "1") "<" D "par", DS4_FINISH_STOP, DS4_FINISH_STOP,
         false},
        {OPEN INVOKE("a"), DS4_FINISH_STOP, DS4_FINISH_STOP, false},
        {OPEN INVOKE("a") INVOKE_END "<" D "invoke name=\"b", DS4_FINISH_STOP, DS4_FINISH_STOP,
         false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ds4_chat_result result = {0};
        print_message("  %zu\n", i);
        parse(text_options(false), cases[i].text, cases[i].cause, &result);
        assert_int_equal(result.finish, cases[i].finish);
        assert_int_equal(result.repaired, cases[i].repaired);
        assert_int_equal(result.malformed, !cases[i].repaired);
        assert_int_equal(result.n_calls, cases[i].repaired ? 1 : 0);
        assert_string_equal(str(&result.content), cases[i].repaired ? "" : cases[i].text);
        ds4_chat_result_free(&result);
    }
}

/* Tags without the control token count only at the beginning of a line and before an invoke. */
static void test_text_dialects_need_a_line_of_their_own(void **state) {
    (void)state;
    static const struct {
        const char *text, *content;
        size_t n_calls;
    } cases[] = {
        {"a\n<tool_calls>\n<invoke name=\"x\">\n</invoke>\n</tool_calls>", "a", 1},
        {"a <tool_calls>\n<invoke name=\"x\">\n</invoke>\n</tool_calls>",
         "a <tool_calls>\n<invoke name=\"x\">\n</invoke>\n</tool_calls>", 0},
        {"<tool_calls></tool_calls>", "<tool_calls></tool_calls>", 0},
        {"<tool_calls>\n<b>bold</b>\n", "<tool_calls>\n<b>bold</b>\n", 0},
        {"<tool_calls>\n<tool_calls>\n<invoke name=\"x\">\n</invoke>\n</tool_calls>",
         "<tool_calls>", 1},
        {"see <" D "tool_calls> for\n\n" OPEN INVOKE("x") INVOKE_END CLOSE,
         "see <" D "tool_calls> for", 1},
        {"<DSML\xEF\xBD\x9Ctool_calls>\n<DSML\xEF\xBD\x9Cinvoke "
         "name=\"x\">\n</DSML\xEF\xBD\x9Cinvoke>\n"
         "</DSML\xEF\xBD\x9Ctool_calls>",
         "", 1},
        /* Mixed dialects are none. */
        {OPEN "<invoke name=\"x\">\n</invoke>\n" CLOSE,
         OPEN "<invoke name=\"x\">\n</invoke>\n" CLOSE, 0},
        {"a < b <= c <", "a < b <= c <", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ds4_chat_result result = {0};
        print_message("  %zu\n", i);
        parse(text_options(false), cases[i].text, DS4_FINISH_STOP, &result);
        assert_string_equal(str(&result.content), cases[i].content);
        assert_int_equal(result.n_calls, cases[i].n_calls);
        ds4_chat_result_free(&result);
    }
}

static void test_without_tools_tags_are_text(void **state) {
    (void)state;
    const char *text = "x  \n\n" OPEN INVOKE("a") INVOKE_END CLOSE " y ";
    ds4_parser_options options = text_options(false);
    options.tools_active = false;
    ds4_chat_result result = {0};
    parse(options, text, DS4_FINISH_STOP, &result);
    assert_string_equal(str(&result.content), text);
    assert_int_equal(result.n_calls, 0);
    ds4_chat_result_free(&result);
}

/* ---- stop sequences ---- */

static void test_stops_apply_to_content_only(void **state) {
    (void)state;
    const ds4_text stops[] = {DS4_TEXT("END"), DS4_TEXT(""), DS4_TEXT("\n\n")};
    static const struct {
        const char *text, *reasoning, *content;
        size_t n_calls;
    } cases[] = {
        {"why END\n\nso</think>yes END no", "why END\n\nso", "yes ", 0},
        {"</think>a EN EEND b", "", "a EN E", 0},
        {"</think>a EN", "", "a EN", 0},
        {"</think>a\n\nb", "", "a", 0},
        /* White space before a block is no content, so no stop. */
        {"</think>a\n\n" OPEN INVOKE("f") PARAM("x", "true", "END") INVOKE_END CLOSE, "", "a", 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ds4_parser_options options = text_options(true);
        options.stops = stops;
        options.n_stops = 3;
        ds4_chat_result result = {0};
        print_message("  %zu\n", i);
        parse(options, cases[i].text, DS4_FINISH_LENGTH, &result);
        assert_string_equal(str(&result.reasoning), cases[i].reasoning);
        assert_string_equal(str(&result.content), cases[i].content);
        assert_int_equal(result.n_calls, cases[i].n_calls);
        ds4_chat_result_free(&result);
    }
}

static void test_stop_holds_back_no_more_than_it_must(void **state) {
    (void)state;
    const ds4_text stops[] = {DS4_TEXT("abab!")};
    ds4_parser_options options = {.stops = stops, .n_stops = 1};
    const char *pieces[] = {"xaba", "b", "ab", "!", "z", NULL};
    assert_events(options, pieces, DS4_FINISH_LENGTH,
                  "content [x]\n-\n-\ncontent [ab]\n-\nfinish stop\n-\n-\n");
}

/* ---- UTF-8, ids, regimes, phases ---- */

static void test_characters_leave_whole(void **state) {
    (void)state;
    const char *pieces[] = {"\xF0\x9F", "\x98\x80\xE2\x82", "A\xFF\xC3", NULL};
    assert_events((ds4_parser_options){0}, pieces, DS4_FINISH_STOP,
                  "-\ncontent [\xF0\x9F\x98\x80]\n-\ncontent [\xEF\xBF\xBD"
                  "A\xEF\xBF\xBD]\n-\n"
                  "content [\xEF\xBF\xBD]\nfinish stop\n");
}

static const ds4_control_ids some_ids = {{-1, 0, 1, 2, 3, 4, 5, 6}};

static void feed_spelled(ds4_parser *parser, int32_t id, const char *bytes) {
    assert_int_equal(ds4_parser_feed_token(parser, id, bytes, strlen(bytes), NULL), DS4_OK);
}

/* With ids at hand only real control tokens count; their spelling in ordinary tokens is data. */
static void test_ids_decide(void **state) {
    (void)state;
    ds4_chat_result result = {0};
    ds4_parser *parser;
    ds4_parser_options options = {.thinking = true,
                                  .tools_active = true,
                                  .ids = some_ids,
                                  .sink = ds4_chat_result_add,
                                  .sink_context = &result};
    assert_int_equal(ds4_parser_create(&options, &parser, NULL), DS4_OK);
    feed_spelled(parser, 4, "<think>");
    feed_spelled(parser, 9, "a</think>");
    feed_spelled(parser, 5, "</think>");
    feed_spelled(parser, 9, OPEN INVOKE("no"));
    assert_int_equal(ds4_parser_phase(parser), DS4_PHASE_ANSWER);
    feed_spelled(parser, 9, "<");
    feed_spelled(parser, 6, D);
    assert_int_equal(ds4_parser_phase(parser), DS4_PHASE_DSML);
    feed_spelled(parser, 9, "tool_calls>\n");
    assert_int_equal(ds4_parser_regime(parser), DS4_REGIME_STRUCTURAL);
    feed_spelled(parser, 9, "<");
    feed_spelled(parser, 6, D);
    feed_spelled(parser, 9, "invoke name=\"yes\">");
    feed_spelled(parser, 9, "<");
    feed_spelled(parser, 6, D);
    feed_spelled(parser, 9, "parameter name=\"p\" string=\"true\">");
    assert_int_equal(ds4_parser_regime(parser), DS4_REGIME_STRING_BODY);
    feed_spelled(parser, 9, "v</" D "parameter>");
    assert_int_equal(ds4_parser_regime(parser), DS4_REGIME_STRING_BODY);
    feed_spelled(parser, 9, "<");
    assert_int_equal(ds4_parser_regime(parser), DS4_REGIME_STRING_BODY);
    feed_spelled(parser, 9, "/");
    assert_int_equal(ds4_parser_regime(parser), DS4_REGIME_STRUCTURAL);
    feed_spelled(parser, 6, D);
    feed_spelled(parser, 9, "parameter></");
    feed_spelled(parser, 6, D);
    feed_spelled(parser, 9, "invoke></");
    feed_spelled(parser, 6, D);
    assert_false(ds4_parser_is_done(parser));
    feed_spelled(parser, 9, "tool_calls>");
    assert_true(ds4_parser_is_done(parser));
    assert_string_equal(str(&result.reasoning), "a</think>");
    assert_string_equal(str(&result.content),
                        OPEN "<" D "invoke name=\"no\">"); /* less the line end */
    assert_int_equal(result.n_calls, 1);
    assert_string_equal(str(&result.calls[0].arguments), "{\"p\":\"v</" D "parameter>\"}");
    ds4_parser_destroy(parser);
    ds4_chat_result_free(&result);
}

static void test_end_tokens_end(void **state) {
    (void)state;
    for (int32_t id = 1; id <= 2; id++) {
        ds4_parser *parser;
        ds4_strbuf log = {0};
        ds4_parser_options options = {.ids = some_ids, .sink = describe, .sink_context = &log};
        assert_int_equal(ds4_parser_create(&options, &parser, NULL), DS4_OK);
        feed_spelled(parser, 9, "hi ");
        feed_spelled(parser, id, "not shown");
        assert_true(ds4_parser_is_done(parser));
        feed_spelled(parser, 9, "ignored");
        assert_int_equal(ds4_parser_finish(parser, DS4_FINISH_LENGTH, NULL), DS4_OK);
        assert_string_equal(log.data, "content [hi ]\nfinish stop\n");
        ds4_parser_destroy(parser);
        ds4_strbuf_free(&log);
    }
}

/* As a model samples it: control tokens by id, the rest as bytes. */
static void feed_sampled(ds4_parser *parser, const char *text) {
    if (strcmp(text, "</think>") == 0) {
        feed_spelled(parser, 5, text);
        return;
    }
    for (const char *word; (word = strstr(text, D)) != NULL; text = word + strlen(D)) {
        assert_int_equal(ds4_parser_feed_token(parser, 9, text, (size_t)(word - text), NULL),
                         DS4_OK);
        feed_spelled(parser, 6, D);
    }
    feed_spelled(parser, 9, text);
}

static void test_phases(void **state) {
    (void)state;
    static const struct {
        const char *piece;
        ds4_output_phase phase;
    } steps[] = {
        {"r", DS4_PHASE_THINKING},       {"</think>", DS4_PHASE_ANSWER_START},
        {"\n ", DS4_PHASE_ANSWER_START}, {"<", DS4_PHASE_DSML},
        {"p>", DS4_PHASE_ANSWER},        {" \n\n", DS4_PHASE_ANSWER},
        {"<" D, DS4_PHASE_DSML},         {"tool_calls>", DS4_PHASE_DSML},
        {INVOKE("x"), DS4_PHASE_DSML},   {INVOKE_END, DS4_PHASE_DSML},
        {CLOSE, DS4_PHASE_DONE},
    };
    ds4_parser *parser;
    ds4_parser_options options = {.thinking = true, .tools_active = true, .ids = some_ids};
    assert_int_equal(ds4_parser_create(&options, &parser, NULL), DS4_OK);
    assert_int_equal(ds4_parser_phase(parser), DS4_PHASE_THINKING);
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        print_message("  %zu\n", i);
        feed_sampled(parser, steps[i].piece);
        assert_int_equal(ds4_parser_phase(parser), steps[i].phase);
    }
    ds4_parser_destroy(parser);
}

static void test_json_regimes(void **state) {
    (void)state;
    ds4_parser *parser;
    ds4_parser_options options = text_options(false);
    const char *head = OPEN INVOKE("x") "<" D "parameter name=\"j\" string=\"false\">{";
    assert_int_equal(ds4_parser_create(&options, &parser, NULL), DS4_OK);
    assert_int_equal(ds4_parser_feed(parser, head, strlen(head), NULL), DS4_OK);
    assert_int_equal(ds4_parser_regime(parser), DS4_REGIME_JSON_STRUCTURAL);
    assert_int_equal(ds4_parser_feed(parser, "\"a\\\"", 4, NULL), DS4_OK);
    assert_int_equal(ds4_parser_regime(parser), DS4_REGIME_JSON_STRING);
    assert_int_equal(ds4_parser_feed(parser, "\"", 1, NULL), DS4_OK);
    assert_int_equal(ds4_parser_regime(parser), DS4_REGIME_JSON_STRUCTURAL);
    /* A backslash escapes only inside quotes. */
    assert_int_equal(ds4_parser_feed(parser, "\\\"", 2, NULL), DS4_OK);
    assert_int_equal(ds4_parser_regime(parser), DS4_REGIME_JSON_STRING);
    assert_true(ds4_regime_is_greedy(DS4_REGIME_JSON_STRUCTURAL));
    assert_true(ds4_regime_is_greedy(DS4_REGIME_STRUCTURAL));
    assert_false(ds4_regime_is_greedy(DS4_REGIME_JSON_STRING));
    assert_false(ds4_regime_is_greedy(DS4_REGIME_OUTSIDE));
    ds4_parser_destroy(parser);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recorded_outputs),
        cmocka_unit_test(test_recorded_regimes),
        cmocka_unit_test(test_events_of_a_call),
        cmocka_unit_test(test_broken_block_closes_its_json),
        cmocka_unit_test(test_missing_close_tags_are_repaired),
        cmocka_unit_test(test_text_dialects_need_a_line_of_their_own),
        cmocka_unit_test(test_without_tools_tags_are_text),
        cmocka_unit_test(test_stops_apply_to_content_only),
        cmocka_unit_test(test_stop_holds_back_no_more_than_it_must),
        cmocka_unit_test(test_characters_leave_whole),
        cmocka_unit_test(test_ids_decide),
        cmocka_unit_test(test_end_tokens_end),
        cmocka_unit_test(test_phases),
        cmocka_unit_test(test_json_regimes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}