/* Prompts as ids, with the model's real vocabulary when it is at hand: environment variable
 * DS4_TEST_TOKENIZER_JSON, or build/v4/tokenizer.json of the source tree; otherwise skipped. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "chat/render.h"
#include "chat/request_parse.h"
#include "chat_fixture.h"
#include "tokenizer/tokenizer.h"

static struct json_object *read_vocabulary(void) {
    const char *path = getenv("DS4_TEST_TOKENIZER_JSON");
    if (path == NULL) path = DS4_FIXTURES "/../../build/v4/tokenizer.json";
    struct json_object *root = json_object_from_file(path);
    if (root == NULL)
        print_message("SKIP: no vocabulary at %s (make the V4 tokenizer first)\n", path);
    return root;
}

static void put_token(ds4_token_string *tokens, size_t n, int64_t id, const char *string) {
    assert_true(id >= 0 && (size_t)id < n);
    tokens[id] = (ds4_token_string){string, strlen(string)};
}

static ds4_tokenizer *make_tokenizer(struct json_object *root) {
    struct json_object *model = member(root, "model");
    struct json_object *vocab = member(model, "vocab"), *merges = member(model, "merges");
    struct json_object *added = member(root, "added_tokens");
    size_t n = 129280;
    ds4_token_string *tokens = calloc(n, sizeof *tokens);
    size_t n_merges = json_object_array_length(merges);
    ds4_token_string *merge_strings = calloc(n_merges, sizeof *merge_strings);
    assert_non_null(tokens);
    assert_non_null(merge_strings);
    json_object_object_foreach(vocab, name, id)
        put_token(tokens, n, json_object_get_int64(id), name);
    for (size_t i = 0; i < json_object_array_length(added); i++) {
        struct json_object *token = json_object_array_get_idx(added, i);
        put_token(tokens, n, json_object_get_int64(member(token, "id")),
                  text_member(token, "content"));
    }
    for (size_t i = 0; i < n_merges; i++) {
        const char *merge = json_object_get_string(json_object_array_get_idx(merges, i));
        merge_strings[i] = (ds4_token_string){merge, strlen(merge)};
    }
    ds4_tokenizer_tables tables = {tokens, n, merge_strings, n_merges};
    ds4_tokenizer *tokenizer = NULL;
    ds4_error error = {0};
    ds4_status status = ds4_tokenizer_create(&tables, n, &tokenizer, &error);
    if (status != DS4_OK) print_message("%s\n", error.message);
    assert_int_equal(status, DS4_OK);
    free(tokens);
    free(merge_strings);
    return tokenizer;
}

static void check_row(struct json_object *row, const ds4_tokenizer *tokenizer) {
    const char *body = text_member(row, "body");
    ds4_request_options parsing = {.for_generation = false};
    ds4_chat_request request;
    assert_int_equal(ds4_openai_request_parse(body, strlen(body), &parsing, &request, NULL),
                     DS4_OK);
    ds4_render_options options = {.n_context = (uint32_t)json_object_get_int(member(row, "ctx"))};
    ds4_prompt prompt = {0};
    ds4_tokens ids = {0};
    assert_int_equal(ds4_render(&request, &options, &prompt, NULL), DS4_OK);
    assert_int_equal(ds4_prompt_tokenize(&prompt, tokenizer, &ids, NULL), DS4_OK);
    struct json_object *wanted = member(row, "ids_protected");
    assert_int_equal(ids.n, json_object_array_length(wanted));
    for (size_t i = 0; i < ids.n; i++)
        assert_int_equal(ids.ids[i], json_object_get_int(json_object_array_get_idx(wanted, i)));
    ds4_tokens_free(&ids);
    ds4_prompt_free(&prompt);
    ds4_chat_request_free(&request);
}

static void test_recorded_ids(void **state) {
    (void)state;
    struct json_object *root = read_vocabulary();
    if (root == NULL) {
        skip();
        return;
    }
    ds4_tokenizer *tokenizer = make_tokenizer(root);
    fixture *f = fixture_open("chat_cases.jsonl");
    int n = 0;
    for (struct json_object *row; (row = fixture_next(f)) != NULL;) {
        if (member(row, "ids_protected") == NULL) continue;
        print_message("  %s\n", text_member(row, "name"));
        check_row(row, tokenizer);
        n++;
    }
    assert_int_equal(n, 58);

    ds4_control_ids ids = ds4_control_ids_of(tokenizer);
    assert_int_equal(ds4_control_of_id(&ids, 128825), DS4_CONTROL_DSML);
    assert_int_equal(ds4_control_of_id(&ids, 128804), DS4_CONTROL_ASSISTANT);
    assert_int_equal(ds4_control_of_id(&ids, 1000), DS4_CONTROL_NONE);
    static const int32_t banned[] = {0, 2, 128000, 128802, 128804, 128820, 128823, 128826, 129279};
    static const int32_t allowed[] = {1, 3, 1000, 127999, 128803, 128821, 128822, 128825};
    for (size_t i = 0; i < sizeof banned / sizeof banned[0]; i++)
        assert_true(ds4_control_is_banned(tokenizer, banned[i]));
    for (size_t i = 0; i < sizeof allowed / sizeof allowed[0]; i++)
        assert_false(ds4_control_is_banned(tokenizer, allowed[i]));
    ds4_tokenizer_destroy(tokenizer);
    json_object_put(root);
}

/* A vocabulary without control tokens: the one that is missing is named. */
static void test_missing_control_is_named(void **state) {
    (void)state;
    static char strings[256][3];
    ds4_token_string tokens[256];
    unsigned next = 0x100;
    for (unsigned b = 0; b < 256; b++) {
        bool itself = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
        unsigned code = itself ? b : next++;
        size_t n = code < 0x80 ? 1 : 2;
        strings[b][0] = (char)(n == 1 ? code : 0xC0 | code >> 6);
        strings[b][1] = (char)(0x80 | (code & 0x3F));
        tokens[b] = (ds4_token_string){strings[b], n};
    }
    ds4_tokenizer_tables tables = {tokens, 256, NULL, 0};
    ds4_tokenizer *tokenizer = NULL;
    ds4_error error = {0};
    assert_int_equal(ds4_tokenizer_create(&tables, 256, &tokenizer, &error), DS4_OK);
    ds4_chat_request request;
    ds4_chat_request_init(&request);
    ds4_render_options options = {.n_context = 1000};
    ds4_prompt prompt = {0};
    ds4_tokens ids = {0};
    assert_int_equal(ds4_render(&request, &options, &prompt, NULL), DS4_OK);
    assert_int_equal(ds4_prompt_tokenize(&prompt, tokenizer, &ids, &error), DS4_FORMAT);
    assert_non_null(strstr(error.message, "begin"));
    ds4_prompt_free(&prompt);
    ds4_tokens_free(&ids);
    ds4_tokenizer_destroy(tokenizer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recorded_ids),
        cmocka_unit_test(test_missing_control_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
