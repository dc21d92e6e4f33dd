/* Creation, merging, control tokens and decoding with a tiny vocabulary. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "test_support.h"
#include "tiny_vocabulary.h"
#include "tokenizer/pretokenizer.h"

static tiny_vocabulary vocabulary;
static ds4_tokenizer *tokenizer;

static int make_tokenizer(void **state) {
    (void)state;
    ds4_error error = {0};
    tiny_fill(&vocabulary);
    if (ds4_tokenizer_create(&vocabulary.tables, TINY_N_TOKENS, &tokenizer, &error) == DS4_OK)
        return 0;
    print_error("%s\n", error.message);
    return -1;
}

static int free_tokenizer(void **state) {
    (void)state;
    ds4_tokenizer_destroy(tokenizer);
    return 0;
}

static int32_t id_of(const char *string) {
    int32_t id = ds4_tokenizer_find(tokenizer, string, strlen(string));
    if (id < 0) fail_msg("no token '%s'", string);
    return id;
}

static void expect_ids(const ds4_tokens *got, const int32_t *expected, size_t n) {
    assert_int_equal(got->n, n);
    for (size_t i = 0; i < n; i++) assert_int_equal(got->ids[i], expected[i]);
}

static void expect_encoding(const char *text, const int32_t *expected, size_t n) {
    ds4_tokens got = {0};
    assert_int_equal(ds4_tokenizer_encode(tokenizer, text, strlen(text), &got, NULL), DS4_OK);
    expect_ids(&got, expected, n);
    ds4_tokens_free(&got);
}

#define EXPECT_ENCODING(text, ...)                                                                 \
    expect_encoding(text, (const int32_t[]){__VA_ARGS__},                                          \
                    sizeof((const int32_t[]){__VA_ARGS__}) / sizeof(int32_t))

/* ---- creation ---- */

/* A broken copy of the tables must be refused with a sentence that contains `naming`. */
static void expect_refusal(const tiny_vocabulary *broken, size_t n_vocab, const char *naming) {
    ds4_error error = {0};
    ds4_tokenizer *made = tokenizer;
    assert_int_equal(ds4_tokenizer_create(&broken->tables, n_vocab, &made, &error), DS4_FORMAT);
    assert_null(made);
    assert_int_equal(error.status, DS4_FORMAT);
    if (strstr(error.message, naming) == NULL)
        fail_msg("'%s' does not name '%s'", error.message, naming);
}

static void set_merge(tiny_vocabulary *v, size_t rank, const char *text) {
    v->merges[rank] = (ds4_token_string){text, strlen(text)};
}

static void inconsistent_tables_are_refused(void **state) {
    (void)state;
    tiny_vocabulary *v = malloc(sizeof *v);
    assert_non_null(v);
    tiny_fill(v);
    expect_refusal(v, TINY_N_TOKENS + 1, "tokens, but the model has");
    tiny_put(v, TINY_FIRST_BYTE + 0x20, "unused");
    expect_refusal(v, 0, "no token for byte 0x20 (U+0120)");
    tiny_fill(v);
    tiny_put(v, 2, "<think>");
    expect_refusal(v, 0, "tokens 2 and 5 are the same string '<think>'");
    static const struct {
        const char *merge, *naming;
    } merges[] = {
        {"", "merge 4 '' has no space"},
        {"hello", "merge 4 'hello' has no space"},
        {" o", "is not two parts"},
        {"hell ", "is not two parts"},
        {"hell o o", "is not two parts"},
        {"hell oo", "has a part that is no token"},
        {"xyz o", "has a part that is no token"},
        {"o hell", "gives a string that is no token"},
        {"he ll", "merge 4 'he ll' occurs twice"},
        {"<think >", "gives a control token"},
    };
    for (size_t i = 0; i < sizeof merges / sizeof merges[0]; i++) {
        tiny_fill(v);
        set_merge(v, 4, merges[i].merge);
        expect_refusal(v, 0, merges[i].naming);
    }
    v->tables.n_tokens = 0;
    expect_refusal(v, 0, "no token for byte 0x00");
    free(v);
}

static void missing_control_tokens_are_named(void **state) {
    (void)state;
    assert_int_equal(ds4_tokenizer_require_chat(tokenizer, NULL), DS4_OK);
    static const size_t needed[] = {0, 1, 3, 4, 5, 6, 7}; /* all but pad and EOT */
    tiny_vocabulary *v = malloc(sizeof *v);
    assert_non_null(v);
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++) {
        ds4_error error = {0};
        ds4_tokenizer *made = NULL;
        tiny_fill(v);
        tiny_put(v, needed[i], "[PAD0]");
        assert_int_equal(ds4_tokenizer_create(&v->tables, 0, &made, &error), DS4_OK);
        assert_int_equal(ds4_tokenizer_require_chat(made, &error), DS4_UNSUPPORTED);
        assert_non_null(strstr(error.message, tiny_controls[needed[i]]));
        ds4_tokenizer_destroy(made);
    }
    free(v);
}

static void control_tokens_are_found_by_name(void **state) {
    (void)state;
    const ds4_special_ids *s = ds4_tokenizer_special_ids(tokenizer);
    const int32_t got[] = {s->bos,       s->eos,   s->pad,       s->user,
                           s->assistant, s->think, s->think_end, s->dsml};
    for (int32_t i = 0; i < 8; i++) assert_int_equal(got[i], i);
    assert_int_equal(ds4_tokenizer_n_tokens(tokenizer), TINY_N_TOKENS);
    assert_int_equal(ds4_tokenizer_find(tokenizer, "<think", 6), TINY_N_TOKENS - 2);
    assert_int_equal(ds4_tokenizer_find(tokenizer, "<thin", 5), -1);
    assert_int_equal(ds4_tokenizer_find(tokenizer, "", 0), -1);
}

static void ordinary_tokens_are_bytes_and_merges(void **state) {
    (void)state;
    for (int32_t id = -2; id < TINY_N_TOKENS + 2; id++)
        assert_int_equal(ds4_tokenizer_is_ordinary(tokenizer, id),
                         id >= TINY_FIRST_BYTE && id < TINY_N_TOKENS);
}

/* ---- merging ---- */

static void merges_follow_rank_then_position(void **state) {
    (void)state;
    EXPECT_ENCODING("hello", id_of("hello"));
    EXPECT_ENCODING(" hello", id_of(BLANK_SYMBOL "hello"));
    EXPECT_ENCODING("  hello", tiny_byte(' '), id_of(BLANK_SYMBOL "hello"));
    EXPECT_ENCODING("hell", id_of("hell"));
    EXPECT_ENCODING("abc", tiny_byte('a'), id_of("bc")); /* "b c" ranks before "a b" */
    EXPECT_ENCODING("ab", id_of("ab"));
    EXPECT_ENCODING("aaa", id_of("aaa")); /* the leftmost pair first */
    EXPECT_ENCODING("aaaa", id_of("aaaa"));
    EXPECT_ENCODING("aaaaa", id_of("aa"),
                    id_of("aaa")); /* aa aa a -> the pair that ends in a: rank before "aa aa" */
    EXPECT_ENCODING("12", id_of("12"));
    EXPECT_ENCODING("1234", id_of("123"), tiny_byte('4'));
    EXPECT_ENCODING("4123", tiny_byte('4'), id_of("12"),
                    tiny_byte('3')); /* cut in threes before merging */
    EXPECT_ENCODING("\xe4\xbd\xa0", id_of("\xc3\xa4\xc2\xbd\xc5\x82"));
    EXPECT_ENCODING("\xe4\xbd\xa1", id_of("\xc3\xa4\xc2\xbd"), tiny_byte(0xa1));
    EXPECT_ENCODING("\n\n", id_of(LINE_SYMBOL LINE_SYMBOL));
}

/* The definition, word for word: lowest rank, leftmost on ties, until no neighbours have a rank.
 * Quadratic. */
static void merge_naively(const uint8_t *piece, size_t n, ds4_tokens *out) {
    char symbols[512][64];
    assert_true(n <= 512);
    for (size_t i = 0; i < n; i++) strcpy(symbols[i], vocabulary.text[tiny_byte(piece[i])]);
    for (;;) {
        size_t best = n, best_rank = TINY_N_MERGES;
        for (size_t i = 0; i + 1 < n; i++) {
            char pair[136];
            snprintf(pair, sizeof pair, "%s %s", symbols[i], symbols[i + 1]);
            for (size_t rank = 0; rank < best_rank; rank++)
                if (strcmp(pair, tiny_merges[rank]) == 0) {
                    best = i;
                    best_rank = rank;
                }
        }
        if (best == n) break;
        char joined[128];
        snprintf(joined, sizeof joined, "%s%s", symbols[best], symbols[best + 1]);
        strcpy(symbols[best], joined);
        memmove(symbols[best + 1], symbols[best + 2], (n - best - 2) * sizeof symbols[0]);
        n--;
    }
    for (size_t i = 0; i < n; i++)
        assert_int_equal(ds4_tokens_push(out, id_of(symbols[i]), NULL), DS4_OK);
}

/* Random texts of letters that merge; word lengths on both sides of where the algorithm changes. */
static void merging_equals_the_naive_definition(void **state) {
    (void)state;
    static const char letters[] = "aaabbchelothinkaa  \n\n()<12";
    const uint64_t seed = 77;
    uint64_t random = seed;
    print_message("seed %llu\n", (unsigned long long)seed);
    for (int round = 0; round < 3000; round++) {
        uint8_t text[160];
        size_t n = random_below(&random, sizeof text),
               n_letters = 1 + random_below(&random, sizeof letters - 1);
        for (size_t i = 0; i < n; i++) text[i] = (uint8_t)letters[random_below(&random, n_letters)];
        ds4_tokens expected = {0}, got = {0};
        ds4_pretokenizer p = {.text = text, .n_bytes = n};
        for (size_t m; (m = ds4_pretokenizer_next(&p)) > 0;)
            merge_naively(text + p.position - m, m, &expected);
        assert_int_equal(ds4_tokenizer_encode(tokenizer, text, n, &got, NULL), DS4_OK);
        expect_ids(&got, expected.ids, expected.n);
        ds4_tokens_free(&expected);
        ds4_tokens_free(&got);
    }
}

static void a_megabyte_of_one_letter_is_no_problem(void **state) {
    (void)state;
    size_t n = 1 << 20;
    char *text = malloc(n);
    assert_non_null(text);
    memset(text, 'a', n);
    ds4_tokens got = {0};
    clock_t begin = clock();
    assert_int_equal(ds4_tokenizer_encode(tokenizer, text, n, &got, NULL), DS4_OK);
    double seconds = (double)(clock() - begin) / CLOCKS_PER_SEC;
    assert_int_equal(got.n, n / 4); /* aa everywhere, no lone a, then aaaa everywhere */
    for (size_t i = 0; i < got.n; i++) assert_int_equal(got.ids[i], id_of("aaaa"));
    if (seconds > 10) fail_msg("%.1f s", seconds); /* quadratic time would be hours */
    ds4_tokens_free(&got);
    free(text);
}

/* ---- control strings ---- */

static const char rendered[] = "<" BAR "begin" BLANK "of" BLANK "sentence" BAR "><" BAR "User" BAR
                               ">hello<" BAR "Assistant" BAR "></think>ab<" BAR "DSML" BAR
                               "x<think><think<" BAR "end" BLANK "of" BLANK "sentence" BAR ">";

static void rendered_text_has_control_tokens(void **state) {
    (void)state;
    const ds4_special_ids *s = ds4_tokenizer_special_ids(tokenizer);
    const int32_t expected[] = {s->bos,         s->user,     id_of("hello"),  s->assistant,
                                s->think_end,   id_of("ab"), tiny_byte('<'),  s->dsml,
                                tiny_byte('x'), s->think,    id_of("<think"), tiny_byte('<')};
    ds4_tokens got = {0};
    assert_int_equal(ds4_tokens_push(&got, 7, NULL), DS4_OK); /* what is there stays */
    assert_int_equal(
        ds4_tokenizer_encode_special(tokenizer, rendered, sizeof rendered - 1, &got, NULL), DS4_OK);
    assert_int_equal(got.ids[0], 7);
    /* "<think<" is followed by EOS: the last '<' belongs to EOS, not to the text. */
    for (size_t i = 0; i < 11; i++) assert_int_equal(got.ids[i + 1], expected[i]);
    assert_int_equal(got.ids[12], s->eos);
    assert_int_equal(got.n, 13);
    ds4_strbuf text = {0};
    ds4_tokenizer_decode(tokenizer, got.ids + 1, got.n - 1, &text);
    assert_string_equal(text.data, rendered);
    ds4_strbuf_free(&text);
    ds4_tokens_free(&got);
}

static void plain_text_has_none(void **state) {
    (void)state;
    ds4_tokens got = {0};
    assert_int_equal(ds4_tokenizer_encode(tokenizer, rendered, sizeof rendered - 1, &got, NULL),
                     DS4_OK);
    for (size_t i = 0; i < got.n; i++)
        assert_true(ds4_tokenizer_is_ordinary(tokenizer, got.ids[i]));
    ds4_strbuf text = {0};
    ds4_tokenizer_decode(tokenizer, got.ids, got.n, &text);
    assert_string_equal(text.data, rendered);
    ds4_strbuf_free(&text);
    ds4_tokens_free(&got);
}

static void only_the_seven_are_recognised(void **state) {
    (void)state;
    static const char text[] = "<" BAR BLANK "pad" BLANK BAR "><|EOT|>";
    ds4_tokens special = {0}, plain = {0};
    assert_int_equal(ds4_tokenizer_encode_special(tokenizer, text, sizeof text - 1, &special, NULL),
                     DS4_OK);
    assert_int_equal(ds4_tokenizer_encode(tokenizer, text, sizeof text - 1, &plain, NULL), DS4_OK);
    expect_ids(&special, plain.ids, plain.n);
    ds4_tokens_free(&special);
    ds4_tokens_free(&plain);
}

/* ---- bytes ---- */

static void tokens_stand_for_bytes(void **state) {
    (void)state;
    for (unsigned byte = 0; byte < 256; byte++) {
        ds4_token_string bytes = ds4_tokenizer_token_bytes(tokenizer, tiny_byte(byte));
        assert_int_equal(bytes.n, 1);
        assert_int_equal((uint8_t)bytes.data[0], byte);
    }
    for (int32_t id = 0; id < TINY_N_CONTROLS; id++) {
        ds4_token_string bytes = ds4_tokenizer_token_bytes(tokenizer, id);
        assert_int_equal(bytes.n, strlen(tiny_controls[id]));
        assert_memory_equal(bytes.data, tiny_controls[id], bytes.n);
    }
    ds4_token_string bytes = ds4_tokenizer_token_bytes(tokenizer, id_of(BLANK_SYMBOL "hello"));
    assert_int_equal(bytes.n, 6);
    assert_memory_equal(bytes.data, " hello", 6);
    assert_int_equal(ds4_tokenizer_token_bytes(tokenizer, -1).n, 0);
    assert_int_equal(ds4_tokenizer_token_bytes(tokenizer, TINY_N_TOKENS).n, 0);
}

static void random_bytes_come_back(void **state) {
    (void)state;
    const uint64_t seed = 99;
    uint64_t random = seed;
    print_message("seed %llu\n", (unsigned long long)seed);
    for (int round = 0; round < 5000; round++) {
        uint8_t text[200];
        size_t n = random_below(&random, sizeof text);
        for (size_t i = 0; i < n; i++) text[i] = (uint8_t)random_next(&random);
        ds4_tokens ids = {0};
        ds4_strbuf back = {0};
        assert_int_equal(ds4_tokenizer_encode(tokenizer, text, n, &ids, NULL), DS4_OK);
        ds4_tokenizer_decode(tokenizer, ids.ids, ids.n, &back);
        assert_int_equal(back.n, n);
        if (n > 0) assert_memory_equal(back.data, text, n);
        ds4_strbuf_free(&back);
        ds4_tokens_free(&ids);
    }
}

static void a_text_beyond_2_gib_is_refused_unread(void **state) {
    (void)state;
    ds4_error error = {0};
    ds4_tokens ids = {0};
    assert_int_equal(ds4_tokenizer_encode(tokenizer, "x", (size_t)INT32_MAX + 1, &ids, &error),
                     DS4_INVALID_ARGUMENT);
    assert_int_equal(ids.n, 0);
    ds4_tokens_free(&ids);
}

/* ---- threads ---- */

static void *encode_often(void *expected) {
    const ds4_tokens *want = expected;
    intptr_t n_wrong = 0;
    for (int i = 0; i < 200; i++) {
        ds4_tokens got = {0};
        ds4_status status =
            ds4_tokenizer_encode_special(tokenizer, rendered, sizeof rendered - 1, &got, NULL);
        if (status != DS4_OK || got.n != want->n ||
            memcmp(got.ids, want->ids, got.n * sizeof *got.ids) != 0)
            n_wrong++;
        ds4_tokens_free(&got);
    }
    return (void *)n_wrong;
}

static void threads_share_a_tokenizer(void **state) {
    (void)state;
    ds4_tokens want = {0};
    assert_int_equal(
        ds4_tokenizer_encode_special(tokenizer, rendered, sizeof rendered - 1, &want, NULL),
        DS4_OK);
    pthread_t threads[4];
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, encode_often, &want), 0);
    for (size_t i = 0; i < 4; i++) {
        void *n_wrong = NULL;
        assert_int_equal(pthread_join(threads[i], &n_wrong), 0);
        assert_null(n_wrong);
    }
    ds4_tokens_free(&want);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(inconsistent_tables_are_refused),
        cmocka_unit_test(missing_control_tokens_are_named),
        cmocka_unit_test(control_tokens_are_found_by_name),
        cmocka_unit_test(ordinary_tokens_are_bytes_and_merges),
        cmocka_unit_test(merges_follow_rank_then_position),
        cmocka_unit_test(merging_equals_the_naive_definition),
        cmocka_unit_test(a_megabyte_of_one_letter_is_no_problem),
        cmocka_unit_test(rendered_text_has_control_tokens),
        cmocka_unit_test(plain_text_has_none),
        cmocka_unit_test(only_the_seven_are_recognised),
        cmocka_unit_test(tokens_stand_for_bytes),
        cmocka_unit_test(random_bytes_come_back),
        cmocka_unit_test(a_text_beyond_2_gib_is_refused_unread),
        cmocka_unit_test(threads_share_a_tokenizer),
    };
    return cmocka_run_group_tests(tests, make_tokenizer, free_tokenizer);
}
