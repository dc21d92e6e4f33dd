/* The loader: metadata written by our own writer, read back, and refused when it is not what it
 * should be. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gguf/gguf_writer.h"
#include "test_support.h"
#include "tiny_vocabulary.h"
#include "tokenizer/tokenizer_gguf.h"

static const char TOKENS[] = "tokenizer.ggml.tokens";
static const char MERGES[] = "tokenizer.ggml.merges";
static tiny_vocabulary vocabulary;

/* What a file is made of; NULL and false leave the key out. */
typedef struct file_parts {
    const char *model;
    bool tokens, merges, numbers_for_merges;
} file_parts;

static void put_strings(ds4_gguf_writer *writer, const char *key, const ds4_token_string *strings,
                        size_t n) {
    ds4_gguf_string *list = calloc(n, sizeof *list);
    assert_non_null(list);
    for (size_t i = 0; i < n; i++) list[i] = (ds4_gguf_string){strings[i].data, strings[i].n};
    ds4_gguf_writer_put_string_array(writer, key, list, n);
    free(list);
}

/* Writes such a file, loads the tokenizer, closes the file, and gives the status. */
static ds4_status load(const file_parts *parts, size_t n_vocab, ds4_tokenizer **tokenizer,
                       ds4_error *error) {
    char path[] = "/tmp/ds4-test-tokenizer-XXXXXX";
    int descriptor = mkstemp(path);
    assert_true(descriptor >= 0);
    close(descriptor);
    ds4_gguf_writer *writer = NULL;
    ds4_gguf *gguf = NULL;
    assert_int_equal(ds4_gguf_writer_create(path, 32, &writer, error), DS4_OK);
    ds4_gguf_writer_put_string(writer, "general.architecture", "deepseek4", 9);
    if (parts->model != NULL)
        ds4_gguf_writer_put_string(writer, "tokenizer.ggml.model", parts->model,
                                   strlen(parts->model));
    if (parts->tokens) put_strings(writer, TOKENS, vocabulary.tokens, TINY_N_TOKENS);
    if (parts->merges) put_strings(writer, MERGES, vocabulary.merges, TINY_N_MERGES);
    if (parts->numbers_for_merges)
        ds4_gguf_writer_put_i32_array(writer, MERGES, (const int32_t[]){1, 2}, 2);
    const uint64_t shape[] = {4};
    const float values[4] = {0};
    ds4_gguf_writer_add_tensor(writer, "x", DS4_TYPE_F32, 1, shape);
    if (ds4_gguf_writer_begin(writer, error) != DS4_OK ||
        ds4_gguf_writer_write(writer, values, sizeof values, error) != DS4_OK ||
        ds4_gguf_writer_finish(writer, error) != DS4_OK ||
        ds4_gguf_open(path, NULL, &gguf, error) != DS4_OK)
        fail_msg("%s", error->message);
    ds4_gguf_writer_destroy(writer);
    ds4_status status = ds4_tokenizer_create_from_gguf(gguf, n_vocab, tokenizer, error);
    ds4_gguf_close(gguf);
    unlink(path);
    return status;
}

static int fill(void **state) {
    (void)state;
    tiny_fill(&vocabulary);
    return 0;
}

static void a_good_file_gives_the_same_tokenizer(void **state) {
    (void)state;
    const file_parts parts[] = {{"gpt2", true, true, false}, {NULL, true, true, false}};
    for (size_t i = 0; i < 2; i++) {
        ds4_error error = {0};
        ds4_tokenizer *loaded = NULL, *made = NULL;
        ds4_tokens got = {0}, expected = {0};
        static const char text[] = "hello hello aaaa think\n\n\xe4\xbd\xa0 123";
        if (load(&parts[i], TINY_N_TOKENS, &loaded, &error) != DS4_OK)
            fail_msg("%s", error.message);
        assert_non_null(loaded);
        assert_int_equal(ds4_tokenizer_create(&vocabulary.tables, 0, &made, &error), DS4_OK);
        assert_int_equal(ds4_tokenizer_encode(loaded, text, sizeof text - 1, &got, &error), DS4_OK);
        assert_int_equal(ds4_tokenizer_encode(made, text, sizeof text - 1, &expected, &error),
                         DS4_OK);
        assert_int_equal(got.n, expected.n);
        assert_memory_equal(got.ids, expected.ids, got.n * sizeof *got.ids);
        assert_int_equal(ds4_tokenizer_require_chat(loaded, &error), DS4_OK);
        ds4_tokens_free(&got);
        ds4_tokens_free(&expected);
        ds4_tokenizer_destroy(loaded);
        ds4_tokenizer_destroy(made);
    }
}

static void a_file_without_tokens_has_no_tokenizer(void **state) {
    (void)state;
    ds4_error error = {0};
    ds4_tokenizer *tokenizer = NULL;
    assert_int_equal(load(&(file_parts){.model = "none"}, TINY_N_TOKENS, &tokenizer, &error),
                     DS4_OK);
    assert_null(tokenizer);
}

static void bad_files_are_refused(void **state) {
    (void)state;
    static const struct {
        file_parts parts;
        size_t n_vocab;
        ds4_status status;
        const char *naming;
    } cases[] = {
        {{"llama", true, true, false}, 0, DS4_UNSUPPORTED, "'llama'"},
        {{"gpt2", true, false, false}, 0, DS4_FORMAT, "tokenizer.ggml.merges"},
        {{"gpt2", true, false, true}, 0, DS4_FORMAT, "tokenizer.ggml.merges"},
        {{"gpt2", true, true, false}, TINY_N_TOKENS - 1, DS4_FORMAT, "the model has"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ds4_error error = {0};
        ds4_tokenizer *tokenizer = NULL;
        assert_int_equal(load(&cases[i].parts, cases[i].n_vocab, &tokenizer, &error),
                         cases[i].status);
        assert_null(tokenizer);
        if (strstr(error.message, cases[i].naming) == NULL)
            fail_msg("case %zu: %s", i, error.message);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_file_gives_the_same_tokenizer),
        cmocka_unit_test(a_file_without_tokens_has_no_tokenizer),
        cmocka_unit_test(bad_files_are_refused),
    };
    return cmocka_run_group_tests(tests, fill, NULL);
}
