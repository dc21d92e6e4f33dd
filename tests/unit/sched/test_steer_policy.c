/* Which rows each policy edits: the table, and whole answers token by token through the parser. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "sched/steer_policy.h"

static void policies(void **state) {
    (void)state;
    static const struct {
        ds4_output_phase before, after;
        bool speaking;
        bool edits[4]; /* final-answer, decoding, always, off */
    } rows[] = {
        {DS4_PHASE_THINKING, DS4_PHASE_THINKING, false, {0, 1, 1, 0}},
        {DS4_PHASE_THINKING, DS4_PHASE_ANSWER_START, false, {0, 1, 1, 0}}, /* </think> */
        {DS4_PHASE_ANSWER_START, DS4_PHASE_ANSWER_START, false, {0, 1, 1, 0}},
        {DS4_PHASE_ANSWER_START, DS4_PHASE_ANSWER, true, {1, 1, 1, 0}},
        {DS4_PHASE_ANSWER, DS4_PHASE_ANSWER, true, {1, 1, 1, 0}},
        {DS4_PHASE_ANSWER, DS4_PHASE_DSML, true, {0, 1, 1, 0}}, /* perhaps a tag */
        {DS4_PHASE_DSML, DS4_PHASE_DSML, true, {0, 1, 1, 0}},
        {DS4_PHASE_DSML, DS4_PHASE_ANSWER, true, {1, 1, 1, 0}}, /* it was none */
        {DS4_PHASE_DSML, DS4_PHASE_DONE, true, {0, 1, 1, 0}},
    };
    static const ds4_steer_policy order[4] = {DS4_STEER_FINAL_ANSWER, DS4_STEER_DECODING,
                                              DS4_STEER_ALWAYS, DS4_STEER_OFF};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        for (size_t p = 0; p < 4; p++)
            if (ds4_steer_policy_edits(order[p], rows[i].before, rows[i].after, rows[i].speaking) !=
                rows[i].edits[p])
                fail_msg("row %zu, policy %zu", i, p);
    for (size_t p = 0; p < 4; p++)
        assert_int_equal(ds4_steer_policy_edits_prompt(order[p]), order[p] == DS4_STEER_ALWAYS);
}

static void first_words(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        bool is_control, tools, begins;
    } rows[] = {
        {"Hello", false, true, true}, {" Hello", false, true, true}, {"\n\n", false, true, false},
        {" ", false, false, false},   {"", false, false, false},     {"<", false, true, false},
        {"\n<", false, true, false},  {"<", false, false, true},     {"<div", false, true, false},
        {"x", true, false, false},    {"\xe4", false, true, true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (ds4_steer_begins_prose(rows[i].bytes, strlen(rows[i].bytes), rows[i].is_control,
                                   rows[i].tools) != rows[i].begins)
            fail_msg("row %zu", i);
}

/* ---- whole answers ---- */

#define D        "｜DSML｜"
#define MAX_STEP 24

static const ds4_control_ids ids = {{[DS4_CONTROL_NONE] = -1,
                                     [DS4_CONTROL_BOS] = 0,
                                     [DS4_CONTROL_EOS] = 1,
                                     [DS4_CONTROL_USER] = 2,
                                     [DS4_CONTROL_ASSISTANT] = 3,
                                     [DS4_CONTROL_THINK] = 4,
                                     [DS4_CONTROL_THINK_END] = 5,
                                     [DS4_CONTROL_DSML] = 6}};

static int32_t id_of(const char *piece) {
    if (strcmp(piece, "</think>") == 0) return 5;
    return strcmp(piece, D) == 0 ? 6 : 100;
}

static void ignore(void *context, const ds4_chat_event *event) {
    (void)context;
    (void)event;
}

typedef struct answer {
    bool thinking;
    struct {
        const char *piece;
        bool edits; /* under final-answer */
    } steps[MAX_STEP];
} answer;

static void answers(void **state) {
    (void)state;
    static const answer all[] = {
        /* The worked example of docs/steering.md. */
        {true,
         {{"I", 0},
          {" look", 0},
          {"</think>", 0},
          {"\n", 0},
          {"There", 1},
          {" are", 1},
          {" 2 <", 0},
          {" 3", 1},
          {" views.", 1},
          {"\n\n", 1},
          {"<", 0},
          {D, 0},
          {"tool_calls>", 0},
          {"\n<", 0},
          {D, 0},
          {"invoke name=\"ls\">", 0},
          {"\n</", 0},
          {D, 0},
          {"invoke>", 0},
          {"\n</", 0},
          {D, 0},
          {"tool_calls>", 0}}},
        {false, {{"Yes", 1}, {".", 1}, {" </think>", 1}}},
        {false, {{"\n\n", 0}, {"<", 0}, {D, 0}, {"tool_calls>", 0}, {"\n<", 0}, {D, 0}}},
        {false, {{"<", 0}, {"p>", 1}, {"x", 1}}},
    };
    for (size_t a = 0; a < sizeof all / sizeof all[0]; a++) {
        ds4_parser *parser;
        const ds4_parser_options options = {
            .thinking = all[a].thinking, .tools_active = true, .ids = ids, .sink = ignore};
        bool speaking = false;
        assert_int_equal(ds4_parser_create(&options, &parser, NULL), DS4_OK);
        for (size_t i = 0; i < MAX_STEP && all[a].steps[i].piece != NULL; i++) {
            const char *piece = all[a].steps[i].piece;
            ds4_output_phase before = ds4_parser_phase(parser);
            assert_int_equal(
                ds4_parser_feed_token(parser, id_of(piece), piece, strlen(piece), NULL), DS4_OK);
            ds4_output_phase after = ds4_parser_phase(parser);
            speaking = speaking || after == DS4_PHASE_ANSWER;
            if (ds4_steer_policy_edits(DS4_STEER_FINAL_ANSWER, before, after, speaking) !=
                all[a].steps[i].edits)
                fail_msg("answer %zu, step %zu \"%s\"", a, i, piece);
        }
        ds4_parser_destroy(parser);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(policies),
        cmocka_unit_test(first_words),
        cmocka_unit_test(answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
