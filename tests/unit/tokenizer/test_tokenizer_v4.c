/* The real vocabulary: ids of the reference tokenizer for the 815 texts of the fixture. The
 * vocabulary is not part of the repository; scripts/make-v4-tokenizer.mjs builds
 * build/v4/tokenizer.json. DS4_TEST_TOKENIZER_JSON names another place. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <json-c/json.h>

#include "test_support.h"
#include "tokenizer/detokenizer.h"
#include "tokenizer/tokenizer.h"
#include "v4_vocabulary.h"

enum { N_CASES = 815, MAX_LINE = 1 << 20 };

static ds4_tokenizer *tokenizer; /* NULL when there is no vocabulary */

static int load(void **state) {
    (void)state;
    const char *path = getenv("DS4_TEST_TOKENIZER_JSON");
    if (path == NULL) path = DS4_FIXTURES "/../../build/v4/tokenizer.json";
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        print_message(
            "SKIP: no V4 vocabulary at %s (node scripts/make-v4-tokenizer.mjs makes it)\n", path);
        return 0;
    }
    fclose(file);
    struct json_object *root = json_object_from_file(path);
    ds4_error error = {0};
    if (root == NULL || create_v4_tokenizer(root, &tokenizer, &error) != DS4_OK) {
        print_error("%s: %s\n", path, root == NULL ? json_util_get_last_err() : error.message);
        return -1;
    }
    json_object_put(root);
    return 0;
}

static int unload(void **state) {
    (void)state;
    ds4_tokenizer_destroy(tokenizer);
    return 0;
}

static void skip_without_vocabulary(void) {
    if (tokenizer == NULL) skip();
}

static void print_ids(const char *what, const int32_t *ids, size_t n) {
    print_error("%s:", what);
    for (size_t i = 0; i < n && i < 40; i++) print_error(" %d", ids[i]);
    print_error("\n");
}

/* Whether one line of the file holds; says why not. */
static int check_case(struct json_object *object, int line) {
    ds4_token_string text = string_of(member(object, "text"));
    struct json_object *list = member(object, "ids");
    ds4_tokens expected = {0}, got = {0};
    ds4_strbuf back = {0};
    for (size_t i = 0; i < json_object_array_length(list); i++)
        assert_int_equal(ds4_tokens_push(&expected,
                                         json_object_get_int(json_object_array_get_idx(list, i)),
                                         NULL),
                         DS4_OK);
    assert_int_equal(ds4_tokenizer_encode(tokenizer, text.data, text.n, &got, NULL), DS4_OK);
    int same = got.n == expected.n &&
               (got.n == 0 || memcmp(got.ids, expected.ids, got.n * sizeof *got.ids) == 0);
    if (!same) {
        print_error("line %d (%s)\n", line, json_object_get_string(member(object, "group")));
        print_ids("expected", expected.ids, expected.n);
        print_ids("got", got.ids, got.n);
    }
    ds4_tokenizer_decode(tokenizer, expected.ids, expected.n, &back);
    int decoded = back.n == text.n && (text.n == 0 || memcmp(back.data, text.data, text.n) == 0);
    if (!decoded) print_error("line %d: decodes to other bytes\n", line);
    ds4_tokens_free(&expected);
    ds4_tokens_free(&got);
    ds4_strbuf_free(&back);
    return same && decoded;
}

static void ids_equal_the_reference(void **state) {
    (void)state;
    skip_without_vocabulary();
    FILE *file = fopen(DS4_FIXTURES "/tokenizer/tokenizer_cases.jsonl", "rb");
    char *line = malloc(MAX_LINE);
    assert_true(file != NULL && line != NULL);
    int n = 0, n_wrong = 0;
    while (fgets(line, MAX_LINE, file) != NULL) {
        struct json_object *object = json_tokener_parse(line);
        assert_non_null(object);
        n++;
        if (!check_case(object, n)) n_wrong++;
        json_object_put(object);
    }
    fclose(file);
    free(line);
    print_message("%d cases, %d wrong\n", n, n_wrong);
    assert_int_equal(n, N_CASES);
    assert_int_equal(n_wrong, 0);
}

static void control_tokens_have_their_ids(void **state) {
    (void)state;
    skip_without_vocabulary();
    const ds4_special_ids *s = ds4_tokenizer_special_ids(tokenizer);
    assert_int_equal(ds4_tokenizer_require_chat(tokenizer, NULL), DS4_OK);
    assert_int_equal(s->bos, 0);
    assert_int_equal(s->eos, 1);
    assert_int_equal(s->pad, 2);
    assert_int_equal(s->user, 128803);
    assert_int_equal(s->assistant, 128804);
    assert_int_equal(s->think, 128821);
    assert_int_equal(s->think_end, 128822);
    assert_int_equal(s->dsml, 128825);
}

/* A merge makes each ordinary token but the byte symbols; what is added starts after them. */
static void ordinary_tokens_end_where_added_ones_begin(void **state) {
    (void)state;
    skip_without_vocabulary();
    for (int32_t id = 0; id < N_VOCAB; id++)
        if (ds4_tokenizer_is_ordinary(tokenizer, id) != (id > 2 && id < 128000))
            fail_msg("id %d", id);
}

static void rendered_markers(void **state) {
    (void)state;
    skip_without_vocabulary();
    static const char text[] = "<\xef\xbd\x9c"
                               "DSML\xef\xbd\x9ctool_calls></think>";
    static const int32_t expected[] = {30, 128825, 72461, 4941, 12548, 32, 128822};
    ds4_tokens got = {0};
    assert_int_equal(ds4_tokenizer_encode_special(tokenizer, text, sizeof text - 1, &got, NULL),
                     DS4_OK);
    assert_int_equal(got.n, sizeof expected / sizeof expected[0]);
    for (size_t i = 0; i < got.n; i++) assert_int_equal(got.ids[i], expected[i]);
    ds4_tokens_free(&got);
}

/* Printed, not asserted tightly: machines differ. Quadratic behaviour would exceed the limits a
 * thousandfold. */
static void speed(void **state) {
    (void)state;
    skip_without_vocabulary();
    static const char prose[] = "The quick brown fox jumps over the lazy dog, and then\n    if (x "
                                "== 42) return y[i] + 1;\n";
    size_t n = 4 << 20;
    char *text = malloc(n);
    assert_non_null(text);
    for (int kind = 0; kind < 2; kind++) {
        size_t n_bytes = kind == 0 ? n : 1 << 20;
        for (size_t i = 0; i < n_bytes; i++)
            text[i] = kind == 0 ? prose[i % (sizeof prose - 1)] : 'a';
        ds4_tokens got = {0};
        clock_t begin = clock();
        assert_int_equal(ds4_tokenizer_encode(tokenizer, text, n_bytes, &got, NULL), DS4_OK);
        double seconds = (double)(clock() - begin) / CLOCKS_PER_SEC;
        print_message("%s: %.1f MB/s, %zu tokens\n",
                      kind == 0 ? "prose and code" : "1 MiB of one letter",
                      (double)n_bytes / 1e6 / seconds, got.n);
        assert_true(seconds < 30);
        ds4_tokens_free(&got);
    }
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_equal_the_reference),
        cmocka_unit_test(control_tokens_have_their_ids),
        cmocka_unit_test(ordinary_tokens_end_where_added_ones_begin),
        cmocka_unit_test(rendered_markers),
        cmocka_unit_test(speed),
    };
    return cmocka_run_group_tests(tests, load, unload);
}
