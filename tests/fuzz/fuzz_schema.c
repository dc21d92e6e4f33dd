/* Schemas of all kinds into grammars, and texts against them: whatever comes, nothing crashes or
 * runs away, and in a grammar that was built every text that fits so far goes on or may end. The
 * first four bytes seed the texts.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "constraint/constraint.h"
#include "constraint/matcher_internal.h"
#include "constraint/schema.h"

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) abort();                                                                 \
    } while (0)

enum { STEPS = 150 };

static uint64_t next(uint64_t *state) { /* splitmix64 */
    uint64_t x = (*state += 0x9e3779b97f4a7c15u);
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

/* Takes the first acceptable byte from a random one on; false when there is none. */
static bool take_some_byte(ds4_matcher *m, uint64_t *state) {
    static ds4_config out[DS4_SET_LIMIT];
    unsigned first = (unsigned)(next(state) & 0xFF);
    size_t n_frames = m->n_frames;
    for (unsigned i = 0; i < 256; i++) {
        char byte = (char)(unsigned char)(first + i);
        ds4_set_builder set;
        ds4_set_begin(m, &set, out, DS4_SET_LIMIT);
        ds4_set_step(m, m->set, m->n_set, (unsigned char)byte, &set);
        ds4_frames_truncate(m, n_frames);
        bool fits = set.n > 0 || set.done;
        if (!fits) continue;
        CHECK(ds4_matcher_accept(m, &byte, 1));
        return true;
    }
    return false;
}

static void walk(const ds4_grammar *grammar, uint64_t state) {
    ds4_matcher *m = NULL;
    CHECK(ds4_matcher_create(grammar, NULL, &m, NULL) == DS4_OK);
    for (int i = 0; i < STEPS && !ds4_matcher_must_end(m); i++)
        CHECK(take_some_byte(m, &state) || ds4_matcher_may_end(m));
    ds4_matcher_destroy(m);
}

static void as_tool(const char *text, size_t n) {
    ds4_chat_request request;
    ds4_chat_request_init(&request);
    ds4_chat_tool tool = {.name = DS4_TEXT("f"), .schema = DS4_TEXT("{}"), .parameters = {text, n}};
    request.tools = &tool;
    request.n_tools = 1;
    ds4_constraint *constraint = NULL;
    char path[DS4_CONSTRAINT_PATH_BYTES] = "";
    ds4_error error = {0};
    CHECK(ds4_constraint_create(&request, true, &constraint, path, &error) == DS4_OK);
    ds4_matcher *m = NULL;
    CHECK(ds4_matcher_create(ds4_constraint_grammar(constraint), NULL, &m, NULL) == DS4_OK);
    CHECK(ds4_matcher_accept(m, "tool_calls>\n<", 13));
    CHECK(ds4_matcher_accept_control(m, DS4_CONTROL_DSML));
    CHECK(ds4_matcher_accept(m, "invoke name=\"f\">\n", 17));
    ds4_matcher_destroy(m);
    ds4_constraint_release(constraint);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 4) return 0;
    uint32_t seed;
    memcpy(&seed, data, 4);
    char *text = malloc(size - 4 + 1); /* exactly as long as it is, so that reading on is noticed */
    CHECK(text != NULL);
    memcpy(text, data + 4, size - 4);
    ds4_grammar *grammar = NULL;
    char path[DS4_SCHEMA_PATH_BYTES] = "";
    ds4_error error = {0};
    ds4_status status = ds4_grammar_of_schema((ds4_text){text, size - 4}, DS4_TEXT("schema"),
                                              &grammar, path, &error);
    if (status == DS4_OK) {
        walk(grammar, seed);
    } else {
        CHECK(error.message[0] != '\0' && strncmp(path, "schema", 6) == 0);
    }
    ds4_grammar_destroy(grammar);
    as_tool(text, size - 4);
    free(text);
    return 0;
}
