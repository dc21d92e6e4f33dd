/* Pieces of chosen texts, each with the rule that it shows (docs/tokenizer.md). */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "test_support.h"
#include "tokenizer/pretokenizer.h"

/* `pieces` has the expected pieces, each ended by '|' (no text here contains one). */
static const struct piece_case {
    const char *text;
    const char *pieces;
} cases[] = {
    {"", ""},
    {"hello world", "hello| world|"},
    {"  int", " | int|"},        /* the last blank belongs to the word */
    {"  1", "  |1|"},            /* a digit ends the run, so no blank is given back */
    {"12345678", "123|456|78|"}, /* digits in threes from the left */
    {"a1b22c", "a|1|b|22|c|"},   /* */
    {"\xc2\xbd\xc2\xb2\xe2\x85\xa7\xd9\xa3",
     "\xc2\xbd\xc2\xb2\xe2\x85\xa7|\xd9\xa3|"}, /* digits of any script */
    {" \xe4\xbd\xa0", " |\xe4\xbd\xa0|"},       /* so does an ideograph */
    {"  \xe4\xbd\xa0", "  |\xe4\xbd\xa0|"},     /* */
    {"\xe4\xbd\xa0"
     "a",
     "\xe4\xbd\xa0|a|"},                       /* ideographs and letters do not join */
    {"\xe3\x80\x82\n\n", "\xe3\x80\x82\n\n|"}, /* punctuation takes the line ends after it */
    {"\xe3\x81\xaf\xe3\x82\x9b", "\xe3\x81\xaf|\xe3\x82\x9b|"}, /* U+309B is a symbol */
    {"\xe3\x82\xab\xe3\x83\xbb\xe3\x82\xab",
     "\xe3\x82\xab|\xe3\x83\xbb|\xe3\x82\xab|"}, /* U+30FB separates */
    {"\x01\x02\x03", "\x01\x02\x03|"},           /* what no rule matches is one piece */
    {"\x01\x01"
     "a",
     "\x01|\x01"
     "a|"}, /* but a word takes one such character */
    {"a\xe2\x80\x8d"
     "b",
     "a|\xe2\x80\x8d"
     "b|"},
    {"1\xcc\x81", "1|\xcc\x81|"}, /* a mark without a letter is a word */
    {"e\xcc\x81t\xcc\x82", "e\xcc\x81t\xcc\x82|"},
    {"_a", "_a|"}, /* ASCII punctuation before ASCII letters */
    {"__a", "__|a|"},
    {"\">ls", "\">|ls|"},
    {">ls", ">ls|"},
    {"_\xc3\xa9", "_|\xc3\xa9|"}, /* not before others */
    {"_a\xc3\xa9", "_a|\xc3\xa9|"},
    {"it's", "it|'s|"},
    {"a  \n  b", "a|  \n| | b|"}, /* white space through its last line end */
    {"a \r\n\r\n", "a| \r\n\r\n|"},
    {"x   ", "x|   |"}, /* at the end of the text nothing is given back */
    {"x \x01", "x| |\x01|"},
    {"  \x01", " | |\x01|"}, /* a blank is given back to whatever follows in the run */
    {"\xc2\xa0\xc2\xa0"
     "a",
     "\xc2\xa0|\xc2\xa0"
     "a|"},
    {"\xe3\x80\x80\xe3\x80\x80x", "\xe3\x80\x80|\xe3\x80\x80x|"},
    {"a !?\n\nb", "a| !?\n\n|b|"},
    {"a  !", "a| | !|"},
    {"\xef\xbd\x9c>b", "\xef\xbd\x9c>|b|"}, /* U+FF5C is a symbol */
    {"\tx", "\tx|"},
    {"\nx", "\n|x|"},
    {"\xff", "\xff|"}, /* bytes that are no UTF-8 have no class */
    {"\xff\xfe"
     "a",
     "\xff|\xfe"
     "a|"},
    {"a\xe4\xbd", "a|\xe4\xbd|"},
    {"\xe4\xbd"
     "1",
     "\xe4\xbd|1|"},
    {" \xff!", " |\xff|!|"},
};

static void chosen_texts(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char pieces[256];
        size_t n_pieces = 0;
        ds4_pretokenizer p = {.text = (const uint8_t *)cases[i].text,
                              .n_bytes = strlen(cases[i].text)};
        for (size_t n; (n = ds4_pretokenizer_next(&p)) > 0;) {
            assert_true(n_pieces + n + 1 < sizeof pieces);
            memcpy(pieces + n_pieces, cases[i].text + p.position - n, n);
            n_pieces += n;
            pieces[n_pieces++] = '|';
        }
        pieces[n_pieces] = '\0';
        if (strcmp(pieces, cases[i].pieces) != 0)
            fail_msg("case %zu: '%s', expected '%s'", i, pieces, cases[i].pieces);
    }
}

static void nul_is_a_character_like_others(void **state) {
    (void)state;
    ds4_pretokenizer p = {.text = (const uint8_t *)"a\0\0b", .n_bytes = 4};
    assert_int_equal(ds4_pretokenizer_next(&p), 1);
    assert_int_equal(ds4_pretokenizer_next(&p), 1);
    assert_int_equal(ds4_pretokenizer_next(&p), 2);
    assert_int_equal(ds4_pretokenizer_next(&p), 0);
    assert_int_equal(ds4_pretokenizer_next(&p), 0);
}

static void pieces_cover_random_bytes(void **state) {
    (void)state;
    const uint64_t seed = 20261122;
    uint64_t random = seed;
    print_message("seed %llu\n", (unsigned long long)seed);
    for (int round = 0; round < 20000; round++) {
        uint8_t text[64];
        size_t n = random_below(&random, sizeof text), total = 0;
        for (size_t i = 0; i < n; i++) text[i] = (uint8_t)random_next(&random);
        ds4_pretokenizer p = {.text = text, .n_bytes = n};
        for (size_t got; (got = ds4_pretokenizer_next(&p)) > 0;) total += got;
        assert_int_equal(total, n);
    }
}

/* Long runs of one kind must not be scanned again and again: quadratic time would take minutes
 * here. */
static void time_is_linear(void **state) {
    (void)state;
    static const char *const units[] = {"a",    " ",   "\n",    "\x01",  "_",
                                        "1",    " \n", " a",    "\x01 ", "\xe4\xbd\xa0",
                                        "\xff", "  x", "\x01\n"};
    size_t n = 1 << 20;
    uint8_t *text = malloc(n);
    assert_non_null(text);
    for (size_t u = 0; u < sizeof units / sizeof units[0]; u++) {
        size_t length = strlen(units[u]), total = 0;
        for (size_t i = 0; i < n; i++) text[i] = (uint8_t)units[u][i % length];
        clock_t begin = clock();
        ds4_pretokenizer p = {.text = text, .n_bytes = n};
        for (size_t got; (got = ds4_pretokenizer_next(&p)) > 0;) total += got;
        double seconds = (double)(clock() - begin) / CLOCKS_PER_SEC;
        assert_int_equal(total, n);
        if (seconds > 5) fail_msg("unit %zu: %.1f s for 1 MiB", u, seconds);
    }
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chosen_texts),
        cmocka_unit_test(nul_is_a_character_like_others),
        cmocka_unit_test(pieces_cover_random_bytes),
        cmocka_unit_test(time_is_linear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
