/* Streaming detokenisation: known sequences, and properties over random bytes and ids. */
#include <stdlib.h>
#include <string.h>

#include "test_support.h"
#include "tiny_vocabulary.h"
#include "tokenizer/detokenizer.h"

#define FFFD "\xef\xbf\xbd"

/* From the Unicode Standard 3.9 (tables 3-8 to 3-11) and beyond. */
static const struct {
    const char *bytes, *text;
} known[] = {
    {"abc", "abc"},
    {"\xe4\xbd\xa0\xf0\x9f\x98\x80\xc3\xa9", "\xe4\xbd\xa0\xf0\x9f\x98\x80\xc3\xa9"},
    {"\xc0\xaf\xe0\x80\xbf\xf0\x81\x82"
     "A",
     FFFD FFFD FFFD FFFD FFFD FFFD FFFD FFFD "A"},
    {"\xed\xa0\x80\xed\xbf\xbf\xed\xaf"
     "A",
     FFFD FFFD FFFD FFFD FFFD FFFD FFFD FFFD "A"},
    {"\xf4\x91\x92\x93\xff"
     "A\x80\xbf"
     "B",
     FFFD FFFD FFFD FFFD FFFD "A" FFFD FFFD "B"},
    {"\xe1\x80\xe2\xf0\x91\x92\xf1\xbf"
     "A",
     FFFD FFFD FFFD FFFD "A"},
    {"\xe4\xbd", FFFD},
    {"\xf0\x9f\x98\xe4\xbd\xa0", FFFD "\xe4\xbd\xa0"},
    {"\xf0", FFFD},
    {"\xf0\xf0\xf0", FFFD FFFD FFFD},
};

static void known_sequences(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        ds4_detokenizer d;
        ds4_strbuf out = {0};
        ds4_detokenizer_init(&d, NULL);
        ds4_detokenizer_push_bytes(&d, known[i].bytes, strlen(known[i].bytes), &out);
        ds4_detokenizer_finish(&d, &out);
        assert_string_equal(out.data, known[i].text);
        ds4_strbuf_free(&out);
    }
}

static void nothing_is_said_too_early_or_too_late(void **state) {
    (void)state;
    static const struct {
        uint8_t byte;
        size_t n_out; /* bytes out after this one */
    } steps[] = {{0xf0, 0}, {0x9f, 0}, {0x98, 0},  {0x80, 4},  {'a', 5},   {0xe4, 5},
                 {0xbd, 5}, {'b', 9},  {0xff, 12}, {0xc3, 12}, {0xc3, 15}, {0xa9, 17}};
    ds4_detokenizer d;
    ds4_strbuf out = {0};
    ds4_detokenizer_init(&d, NULL);
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        ds4_detokenizer_push_bytes(&d, &steps[i].byte, 1, &out);
        assert_int_equal(out.n, steps[i].n_out);
    }
    ds4_detokenizer_finish(&d, &out);
    assert_int_equal(out.n, 17);
    ds4_strbuf_free(&out);
}

/* Strict validity, written apart from the code under test: by ranges of whole code points. */
static int is_valid_utf8(const uint8_t *s, size_t n) {
    for (size_t i = 0; i < n;) {
        size_t length = s[i] < 0x80    ? 1
                        : s[i] >= 0xf0 ? 4
                        : s[i] >= 0xe0 ? 3
                        : s[i] >= 0xc0 ? 2
                                       : 0;
        if (length == 0 || i + length > n) return 0;
        uint32_t c = length == 1 ? s[i] : s[i] & (0xffu >> (length + 1));
        for (size_t k = 1; k < length; k++) {
            if (s[i + k] >> 6 != 2) return 0;
            c = c << 6 | (s[i + k] & 0x3fu);
        }
        uint8_t again[4];
        if (c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff) || put_utf8(again, c) != length) return 0;
        i += length;
    }
    return 1;
}

static void random_bytes_become_valid_text_however_cut(void **state) {
    (void)state;
    static const uint8_t nasty[] = {0x00, 'a',  0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0,
                                    0xbf, 0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe4, 0xed,
                                    0xef, 0xf0, 0xf3, 0xf4, 0xf5, 0xff};
    const uint64_t seed = 4711;
    uint64_t random = seed;
    print_message("seed %llu\n", (unsigned long long)seed);
    for (int round = 0; round < 100000; round++) {
        uint8_t bytes[24];
        size_t n = random_below(&random, sizeof bytes);
        for (size_t i = 0; i < n; i++) bytes[i] = nasty[random_below(&random, sizeof nasty)];
        ds4_detokenizer d;
        ds4_strbuf whole = {0}, cut = {0};
        ds4_detokenizer_init(&d, NULL);
        ds4_detokenizer_push_bytes(&d, bytes, n, &whole);
        ds4_detokenizer_finish(&d, &whole);
        for (size_t i = 0; i < n;) {
            size_t step = 1 + random_below(&random, n - i);
            ds4_detokenizer_push_bytes(&d, bytes + i, step, &cut);
            i += step;
            assert_true(is_valid_utf8((const uint8_t *)cut.data, cut.n)); /* also in between */
        }
        ds4_detokenizer_finish(&d, &cut);
        assert_int_equal(cut.n, whole.n);
        if (n > 0) assert_memory_equal(cut.data, whole.data, whole.n);
        if (is_valid_utf8(bytes, n)) {
            assert_int_equal(whole.n, n);
            if (n > 0) assert_memory_equal(whole.data, bytes, n);
        }
        assert_true(is_valid_utf8((const uint8_t *)whole.data, whole.n));
        ds4_strbuf_free(&whole);
        ds4_strbuf_free(&cut);
    }
}

static void random_ids_equal_their_bytes(void **state) {
    (void)state;
    tiny_vocabulary *v = malloc(sizeof *v);
    ds4_tokenizer *tokenizer = NULL;
    assert_non_null(v);
    tiny_fill(v);
    assert_int_equal(ds4_tokenizer_create(&v->tables, 0, &tokenizer, NULL), DS4_OK);
    const uint64_t seed = 1147;
    uint64_t random = seed;
    print_message("seed %llu\n", (unsigned long long)seed);
    for (int round = 0; round < 5000; round++) {
        int32_t ids[40]; /* some out of range */
        size_t n = random_below(&random, 40);
        for (size_t i = 0; i < n; i++)
            ids[i] = (int32_t)random_below(&random, TINY_N_TOKENS + 4) - 2;
        ds4_detokenizer d;
        ds4_strbuf bytes = {0}, whole = {0}, streamed = {0};
        ds4_tokenizer_decode(tokenizer, ids, n, &bytes);
        ds4_detokenizer_init(&d, tokenizer);
        ds4_detokenizer_push_bytes(&d, bytes.data, bytes.n, &whole);
        ds4_detokenizer_finish(&d, &whole);
        for (size_t i = 0; i < n; i++) {
            ds4_detokenizer_push(&d, ids[i], &streamed);
            assert_true(is_valid_utf8((const uint8_t *)streamed.data, streamed.n));
        }
        ds4_detokenizer_finish(&d, &streamed);
        assert_int_equal(streamed.n, whole.n);
        if (whole.n > 0) assert_memory_equal(streamed.data, whole.data, whole.n);
        ds4_strbuf_free(&bytes);
        ds4_strbuf_free(&whole);
        ds4_strbuf_free(&streamed);
    }
    ds4_tokenizer_destroy(tokenizer);
    free(v);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_sequences),
        cmocka_unit_test(nothing_is_said_too_early_or_too_late),
        cmocka_unit_test(random_bytes_become_valid_text_however_cut),
        cmocka_unit_test(random_ids_equal_their_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
