/* Grammars by themselves: the rules that all share, schemas by the documents that they let pass,
 * complaints that name the keyword, and calls that always come to their closing tag. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "constraint/constraint.h"
#include "constraint/matcher_internal.h"
#include "constraint/schema.h"

static bool matches(const ds4_grammar *grammar, const char *text, size_t n) {
    ds4_matcher *matcher;
    assert_int_equal(ds4_matcher_create(grammar, NULL, &matcher, NULL), DS4_OK);
    bool fits = ds4_matcher_accept(matcher, text, n) && ds4_matcher_may_end(matcher);
    ds4_matcher_destroy(matcher);
    return fits;
}

/* ---- the rules that every grammar begins with ---- */

/* Good and bad texts end at the first NULL. */
static const struct {
    const char *name;
    const uint32_t *rule;
    const char *good[12], *bad[14];
} rules[] = {
    {"string",
     &ds4_grammar_prelude.string,
     {"\"", "a\"", "\\n\\u00e9\"", "\xC3\xA9\"", "\xF0\x9F\x98\x80\"", "\\ud83d\\ude00\""},
     {"", "a", "a\"b", "\n\"", "\\x\"", "\\ud83d\"", "\\ude00\"", "\xFF\"", "\xC0\x80\"",
      "\xED\xA0\x80\"", "\\u12\""}},
    {"raw",
     &ds4_grammar_prelude.raw,
     {"<", "a\n\"b\"<", "1 < 2<", "\xE4\xBD\xA0<"},
     {"", "a", "\xFF<", "\xE4\xBD<"}},
    {"space",
     &ds4_grammar_prelude.space,
     {"", " ", "\n", "\n    ", "\n\t\t", "\n                        "},
     {"  ", "\t", "\r\n", "\n\n", "\n                         "}},
    {"number",
     &ds4_grammar_prelude.number,
     {"0", "-0", "12", "-1.5", "0.25", "1e9", "2E-12", "1.5e+99", "9999999999999999999"},
     {"", "-", "01", "1.", ".5", "+1", "1e", "1e100", "0x1", "NaN", "99999999999999999999",
      "0.123456789012345678"}},
    {"integer",
     &ds4_grammar_prelude.integer,
     {"0", "7", "-7", "1234567890123456789"},
     {"", "-", "-0", "00", "1.0", "1e1", "123456789012345678901"}},
    {"value",
     &ds4_grammar_prelude.value,
     {"null", "true", "false", "0", "\"\"", "[]", "{}", "[1, [2], {\"a\": null}]",
      "{\"a\":{\"b\":[true,false]}}", "[\n  1,\n  2\n]"},
     {"", "nul", "True", "[1,]", "[,]", "{\"a\"}", "{a:1}", "{\"a\":1,}", "[1 2]", "[1]]"}},
    {"object",
     &ds4_grammar_prelude.object,
     {"{}", "{ }", "{\"a\":1}", "{\"a\": [1, {}], \"b\": \"}\"}"},
     {"", "[]", "{", "{}}", "{\"a\":}", " {}"}},
};

static void shared_rules_are_where_the_table_says(void **state) {
    (void)state;
    ds4_grammar *grammar = ds4_grammar_create();
    assert_non_null(grammar);
    assert_int_equal(grammar->n_nodes, ds4_grammar_prelude.end);
    ds4_grammar_destroy(grammar);
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        grammar = ds4_grammar_create();
        uint32_t root = ds4_grammar_call(grammar, *rules[i].rule, ds4_grammar_return(grammar));
        assert_int_equal(ds4_grammar_finish(grammar, root, NULL), DS4_OK);
        for (const char *const *text = rules[i].good; *text != NULL; text++)
            if (!matches(grammar, *text, strlen(*text)))
                fail_msg("%s: %s is refused", rules[i].name, *text);
        for (const char *const *text = rules[i].bad; *text != NULL; text++)
            if (matches(grammar, *text, strlen(*text)))
                fail_msg("%s: %s is accepted", rules[i].name, *text);
        ds4_grammar_destroy(grammar);
    }
}

/* ---- schemas ---- */

static const struct {
    const char *schema;
    const char *good[8], *bad[10];
} schemas[] = {
    {"true", {"1", "[null]"}, {"", "tru"}},
    {"{\"type\":\"object\",\"required\":[\"a\"],\"additionalProperties\":false,"
     "\"properties\":{\"a\":{\"type\":\"integer\"},\"b\":{\"type\":\"boolean\"}}}",
     {"{\"a\":1}", "{\"a\":1,\"b\":true}", "{ \"a\": 0 }"},
     {"{\"b\":true,\"a\":1}", "{}", "{\"b\":true}", "{\"a\":1.5}", "{\"a\":1,\"c\":2}",
      "{\"a\":1,\"a\":1}", "[1]"}},
    {"{\"type\":\"string\",\"minLength\":2,\"maxLength\":3}",
     {"\"ab\"", "\"abc\"", "\"\\u00e9\\n\"", "\"\xF0\x9F\x98\x80\xC3\xA9z\""},
     {"\"a\"", "\"abcd\"", "\"\"", "1"}},
    {"{\"type\":\"string\",\"pattern\":\"^[0-9]{5}$\"}",
     {"\"01234\""},
     {"\"1234\"", "\"123456\"", "\"1234a\""}},
    {"{\"type\":\"string\",\"format\":\"date\"}",
     {"\"2026-11-26\""},
     {"\"2026-1-26\"", "\"26.11.2026\"", "\"2026-13-01\""}},
    {"{\"type\":\"integer\",\"minimum\":-3,\"exclusiveMaximum\":12}",
     {"-3", "0", "9", "11"},
     {"-4", "12", "100", "1.0"}},
    {"{\"enum\":[1,\"two\",null,{\"a\":[]}]}",
     {"1", "\"two\"", "null", "{\"a\":[]}"},
     {"2", "\"tw\"", "{}", "\"one\""}},
    {"{\"type\":\"array\",\"items\":{\"enum\":[\"a\",\"b\"]},\"minItems\":1,\"maxItems\":2}",
     {"[\"a\"]", "[\"b\",\"b\"]"},
     {"[]", "[\"c\"]", "[\"a\",\"a\",\"a\"]"}},
    {"{\"anyOf\":[{\"type\":\"null\"},{\"type\":\"array\",\"prefixItems\":[{\"const\":1}],"
     "\"items\":false}]}",
     {"null", "[1]", "[]"},
     {"[2]", "[1,1]", "1"}},
    {"{\"$ref\":\"#/$defs/tree\",\"$defs\":{\"tree\":{\"type\":\"object\",\"properties\":"
     "{\"left\":{\"$ref\":\"#/$defs/tree\"}},\"additionalProperties\":false}}}",
     {"{}", "{\"left\":{}}", "{\"left\":{\"left\":{}}}"},
     {"{\"left\":1}", "{\"right\":{}}"}},
    /* Keywords twice: the last counts, whatever the first has left behind. */
    {"{\"type\":\"object\",\"properties\":{\"a\":{},\"b\":{},\"c\":{}},\"required\":[\"a\"],"
     "\"required\":[\"d\"],\"properties\":{\"d\":{\"type\":\"null\"}},"
     "\"additionalProperties\":false}",
     {"{\"d\":null}"},
     {"{}", "{\"a\":1,\"d\":null}", "{\"d\":1}", "{\"a\":1}"}},
    {"{\"allOf\":[{\"type\":\"integer\",\"minimum\":2},{\"maximum\":3}]}", {"2", "3"}, {"1", "4"}},
};

static ds4_text text_of(const char *s) {
    return (ds4_text){s, strlen(s)};
}

static void schemas_accept_what_fits_and_nothing_else(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof schemas / sizeof schemas[0]; i++) {
        ds4_grammar *grammar;
        char path[DS4_SCHEMA_PATH_BYTES];
        ds4_error error = {0};
        if (ds4_grammar_of_schema(text_of(schemas[i].schema), DS4_TEXT("s"), &grammar, path,
                                  &error) != DS4_OK)
            fail_msg("%s: %s", schemas[i].schema, error.message);
        for (const char *const *text = schemas[i].good; *text != NULL; text++)
            if (!matches(grammar, *text, strlen(*text)))
                fail_msg("%s refuses %s", schemas[i].schema, *text);
        for (const char *const *text = schemas[i].bad; *text != NULL; text++)
            if (matches(grammar, *text, strlen(*text)))
                fail_msg("%s accepts %s", schemas[i].schema, *text);
        ds4_grammar_destroy(grammar);
    }
}

static void what_is_not_supported_is_named(void **state) {
    (void)state;
    static const struct {
        const char *schema;
        ds4_status status;
        const char *path, *word; /* where it stands, and a word of the message */
    } cases[] = {
        {"{\"not\":{}}", DS4_UNSUPPORTED, "s.not", "not"},
        {"{\"type\":\"array\",\"uniqueItems\":true}", DS4_UNSUPPORTED, "s.uniqueItems",
         "uniqueItems"},
        {"{\"properties\":{\"a\":{\"items\":{\"multipleOf\":2}}},\"type\":\"object\"}",
         DS4_UNSUPPORTED, "s.properties.a.items.multipleOf", "multipleOf"},
        {"{\"$ref\":\"#/$defs/gone\"}", DS4_FORMAT, "s.$ref", "gone"},
        {"{\"type\":\"strin\"}", DS4_FORMAT, "s.type", "name of a JSON type"},
        {"[]", DS4_FORMAT, "s", "object"},
        {"{\"type\":\"string\",\"minLength\":3,\"maxLength\":2}", DS4_FORMAT, "s", ""},
        {"{\"type\":\"object\",\"required\":[\"x\"],\"properties\":{\"x\":{\"$ref\":\"#\"}}}",
         DS4_FORMAT, "s", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ds4_grammar *grammar = NULL;
        char path[DS4_SCHEMA_PATH_BYTES] = "";
        ds4_error error = {0};
        ds4_status status =
            ds4_grammar_of_schema(text_of(cases[i].schema), DS4_TEXT("s"), &grammar, path, &error);
        if (status != cases[i].status || strcmp(path, cases[i].path) != 0 ||
            strstr(error.message, cases[i].word) == NULL || error.message[0] == '\0')
            fail_msg("%s: status %d at %s: %s", cases[i].schema, (int)status, path, error.message);
        ds4_grammar_destroy(grammar);
    }
}

/* ---- calls ---- */

static uint64_t next_random(uint64_t *state) { /* splitmix64 */
    uint64_t x = (*state += 0x9e3779b97f4a7c15u);
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

/* A random symbol that may come next: a byte, or 256 for the DSML word. -1: none. */
static int some_symbol(ds4_matcher *m, uint64_t *state) {
    static ds4_config out[DS4_SET_LIMIT];
    int fitting[257], n = 0;
    size_t n_frames = m->n_frames;
    for (int i = 0; i <= 256; i++) {
        ds4_set_builder set;
        ds4_set_begin(m, &set, out, DS4_SET_LIMIT);
        ds4_set_step(m, m->set, m->n_set,
                     i < 256 ? (uint16_t)i : DS4_SYMBOL_OF_CONTROL(DS4_CONTROL_DSML), &set);
        ds4_frames_truncate(m, n_frames);
        if (set.n > 0 || set.done) fitting[n++] = i;
    }
    return n == 0 ? -1 : fitting[next_random(state) % (uint64_t)n];
}

/* Behind the opening of a block, whatever is drawn from what may follow: it never gets stuck, and
 * texts of limited length and one call make an end certain. */
static void an_opened_call_always_closes(void **state) {
    (void)state;
    static const char parameters[] =
        "{\"type\":\"object\",\"required\":[\"city\",\"nights\"],\"properties\":{"
        "\"city\":{\"type\":\"string\",\"maxLength\":6},"
        "\"nights\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":30},"
        "\"room\":{\"enum\":[\"single\",\"double\",2,null]},"
        "\"guests\":{\"type\":\"array\",\"maxItems\":2,\"items\":{\"type\":\"object\","
        "\"additionalProperties\":false,\"required\":[\"vip\"],\"properties\":{"
        "\"vip\":{\"type\":\"boolean\"}}}}}}";
    ds4_chat_tool tools[] = {
        {.name = DS4_TEXT("book"), .schema = DS4_TEXT("{}"), .parameters = text_of(parameters)},
        {.name = DS4_TEXT("a&\"b"),
         .schema = DS4_TEXT("{}"),
         .parameters = DS4_TEXT("{\"type\":\"object\",\"additionalProperties\":false}")},
    };
    ds4_chat_request request;
    ds4_chat_request_init(&request);
    request.tools = tools;
    request.n_tools = 2;
    request.one_call = true;
    ds4_constraint *constraint;
    char path[DS4_CONSTRAINT_PATH_BYTES] = "";
    assert_int_equal(ds4_constraint_create(&request, true, &constraint, path, NULL), DS4_OK);
    assert_false(ds4_constraint_from_start(constraint));
    assert_string_equal(ds4_constraint_note(constraint), "");
    int n_booked = 0;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        ds4_matcher *m;
        char text[4096];
        size_t n = 0;
        uint64_t random = seed;
        assert_int_equal(ds4_matcher_create(ds4_constraint_grammar(constraint), NULL, &m, NULL),
                         DS4_OK);
        while (!ds4_matcher_must_end(m)) {
            int symbol = some_symbol(m, &random);
            if (symbol < 0 || n + 16 > sizeof text) fail_msg("seed %d: stuck at %zu", (int)seed, n);
            if (symbol < 256) {
                text[n] = (char)symbol;
                assert_true(ds4_matcher_accept(m, text + n, 1));
                if (symbol == 0) text[n] = ' '; /* it ends what we look into */
                n++;
            } else {
                assert_true(ds4_matcher_accept_control(m, DS4_CONTROL_DSML));
                text[n++] = '#'; /* the word, for what follows */
            }
        }
        text[n] = '\0';
        ds4_matcher_destroy(m);
        assert_memory_equal(text, "tool_calls>\n<#invoke name=\"", 27);
        const char *close = "</#invoke>\n</#tool_calls>";
        assert_string_equal(text + n - strlen(close), close);
        if (strncmp(text + 27, "book\">\n", 7) == 0) {
            n_booked++;
            assert_non_null(strstr(text, "<#parameter name=\"city\" string=\"true\">"));
            assert_non_null(strstr(text, "<#parameter name=\"nights\" string=\"false\">"));
        } else {
            assert_memory_equal(text + 27, "a&amp;&quot;b\">\n", 16);
        }
    }
    assert_true(n_booked > 5 && n_booked < 40);
    ds4_constraint_release(constraint);
}

static void forced_calls_and_what_cannot_be_enforced(void **state) {
    (void)state;
    ds4_chat_tool tool = {.name = DS4_TEXT("f"),
                          .schema = DS4_TEXT("{}"),
                          .parameters = DS4_TEXT("{\"type\":\"object\",\"properties\":{"
                                                 "\"a\":{\"not\":{}}}}")};
    ds4_chat_request request;
    ds4_chat_request_init(&request);
    ds4_constraint *constraint;
    char path[DS4_CONSTRAINT_PATH_BYTES] = "";
    ds4_error error = {0};
    assert_int_equal(ds4_constraint_create(&request, true, &constraint, path, &error), DS4_OK);
    assert_null(constraint); /* nothing is asked for */
    request.tool_choice = DS4_TOOL_CHOICE_REQUIRED;
    assert_int_equal(ds4_constraint_create(&request, true, &constraint, path, &error), DS4_FORMAT);
    assert_string_equal(path, "tool_choice");
    request.tools = &tool;
    request.n_tools = 1;
    assert_int_equal(ds4_constraint_create(&request, true, &constraint, path, &error), DS4_OK);
    assert_true(ds4_constraint_from_start(constraint));
    assert_non_null(strstr(ds4_constraint_note(constraint), "not enforced"));
    ds4_constraint_release(ds4_constraint_retain(constraint));
    ds4_constraint_release(constraint);
    request.tool_choice = DS4_TOOL_CHOICE_NAMED;
    request.tool_choice_name = (ds4_text)DS4_TEXT("gone");
    assert_int_equal(ds4_constraint_create(&request, true, &constraint, path, &error), DS4_FORMAT);
    assert_non_null(strstr(error.message, "gone"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shared_rules_are_where_the_table_says),
        cmocka_unit_test(schemas_accept_what_fits_and_nothing_else),
        cmocka_unit_test(what_is_not_supported_is_named),
        cmocka_unit_test(an_opened_call_always_closes),
        cmocka_unit_test(forced_calls_and_what_cannot_be_enforced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
