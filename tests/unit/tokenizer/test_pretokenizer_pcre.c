/* The hand-written scanner against the regular expressions that define it, run by PCRE2 on random
 * texts. The alphabet holds only characters whose class no Unicode version has changed, and not
 * U+180E, which PCRE2 alone counts as white space. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <string.h>

#include "test_support.h"
#include "tokenizer/pretokenizer.h"

enum { MAX_BYTES = 256, N_SPLITS = 3 };

static const char *const expressions[N_SPLITS] = {
    "\\p{N}{1,3}",
    "[\\x{4e00}-\\x{9fa5}\\x{3040}-\\x{309f}\\x{30a0}-\\x{30ff}]+",
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+"
    "|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
    "| ?[\\p{P}\\p{S}]+[\\r\\n]*"
    "|\\s*[\\r\\n]+"
    "|\\s+(?!\\S)"
    "|\\s+",
};

static const uint32_t alphabet[] = {
    ' ',     ' ',     ' ',     ' ',     '\n',    '\n',     '\r',   '\t',   'a',    'b',     'Z',
    'z',     '1',     '2',     '0',     '_',     '>',      '"',    '\'',   '!',    '{',     '}',
    '$',     '+',     '^',     '`',     '|',     '~',      '\\',   '[',    ']',    '-',     '@',
    0x0b,    0x0c,    0x00,    0x01,    0x1b,    0x1c,     0x1f,   0x7f,   0x85,   0xa0,    0xa3,
    0xaa,    0xad,    0xb2,    0xb7,    0xbd,    0xbf,     0xd7,   0xdf,   0xe9,   0x2b0,   0x2c2,
    0x300,   0x301,   0x3a9,   0x416,   0x483,   0x5d0,    0x5b0,  0x627,  0x64b,  0x660,   0x663,
    0x6d4,   0x905,   0x903,   0x93f,   0x966,   0xe01,    0xe31,  0x1680, 0x1100, 0x2003,  0x2009,
    0x200b,  0x200d,  0x2013,  0x201c,  0x2026,  0x2028,   0x2029, 0x202f, 0x205f, 0x20ac,  0x20dd,
    0x2167,  0x2190,  0x2460,  0x2581,  0x3000,  0x3001,   0x3002, 0x3007, 0x3042, 0x3099,  0x309b,
    0x309f,  0x30a0,  0x30a2,  0x30fb,  0x30fc,  0x30ff,   0x3105, 0x3400, 0x4e00, 0x4f60,  0x9fa5,
    0xac00,  0xe000,  0xfe0f,  0xfeff,  0xff01,  0xff11,   0xff5c, 0xfffd, 0xfdd0, 0x1d400, 0x1d7ce,
    0x1f600, 0x1f3fb, 0x20000, 0xe0100, 0xf0000, 0x10ffff,
};

static pcre2_code *splits[N_SPLITS];
static pcre2_match_data *match_data;

static int compile_all(void **state) {
    (void)state;
    for (size_t i = 0; i < N_SPLITS; i++) {
        int code;
        PCRE2_SIZE offset;
        splits[i] = pcre2_compile((PCRE2_SPTR)expressions[i], PCRE2_ZERO_TERMINATED,
                                  PCRE2_UTF | PCRE2_UCP, &code, &offset, NULL);
        if (splits[i] == NULL) return -1;
    }
    match_data = pcre2_match_data_create(8, NULL);
    return match_data == NULL;
}

static int free_all(void **state) {
    (void)state;
    for (size_t i = 0; i < N_SPLITS; i++) pcre2_code_free(splits[i]);
    pcre2_match_data_free(match_data);
    return 0;
}

/* Appends the ends of the pieces of text[begin..end) after splits `level` and later. */
static void split(const uint8_t *text, size_t begin, size_t end, size_t level, size_t *ends,
                  size_t *n_ends) {
    if (begin == end) return;
    if (level == N_SPLITS) {
        ends[(*n_ends)++] = end;
        return;
    }
    size_t at = begin;
    while (at < end && pcre2_match(splits[level], text + begin, end - begin, at - begin, 0,
                                   match_data, NULL) > 0) {
        /* Copied: the inner splits use the same match data. */
        size_t from = begin + pcre2_get_ovector_pointer(match_data)[0];
        size_t to = begin + pcre2_get_ovector_pointer(match_data)[1];
        split(text, at, from, level + 1, ends, n_ends);
        split(text, from, to, level + 1, ends, n_ends);
        at = to;
    }
    split(text, at, end, level + 1, ends, n_ends);
}

static void compare(const uint8_t *text, size_t n) {
    size_t expected[MAX_BYTES], n_expected = 0, i = 0;
    split(text, 0, n, 0, expected, &n_expected);
    ds4_pretokenizer p = {.text = text, .n_bytes = n};
    while (ds4_pretokenizer_next(&p) > 0) {
        if (i >= n_expected || expected[i] != p.position) {
            for (size_t k = 0; k < n; k++) print_error("%02x ", text[k]);
            fail_msg("piece %zu ends at %zu, expected %zu", i, p.position,
                     i < n_expected ? expected[i] : n);
        }
        i++;
    }
    assert_int_equal(i, n_expected);
}

static void random_texts(void **state) {
    (void)state;
    const size_t n_alphabet = sizeof alphabet / sizeof alphabet[0];
    const uint64_t seed = 420042;
    uint64_t random = seed;
    print_message("seed %llu\n", (unsigned long long)seed);
    for (int round = 0; round < 100000; round++) {
        uint8_t text[MAX_BYTES];
        size_t n = 0, n_characters = 1 + random_below(&random, 24);
        /* Every second text draws from few characters, so that they meet often. */
        size_t first = random_below(&random, n_alphabet - 5),
               span = round % 2 == 0 ? 5 : n_alphabet - first;
        for (size_t i = 0; i < n_characters; i++) {
            size_t pick = random_below(&random, 3) == 0 ? random_below(&random, 28)
                                                        : first + random_below(&random, span);
            n += put_utf8(text + n, alphabet[pick]);
        }
        compare(text, n);
    }
}

/* All texts of up to three characters of the alphabet. */
static void short_texts(void **state) {
    (void)state;
    const size_t n_alphabet = sizeof alphabet / sizeof alphabet[0];
    for (size_t a = 0; a < n_alphabet; a++)
        for (size_t b = 0; b < n_alphabet; b++) {
            uint8_t text[MAX_BYTES];
            size_t n = put_utf8(text, alphabet[a]);
            n += put_utf8(text + n, alphabet[b]);
            compare(text, n);
            for (size_t c = 0; c < n_alphabet; c++)
                compare(text, n + put_utf8(text + n, alphabet[c]));
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(random_texts),
                                       cmocka_unit_test(short_texts)};
    return cmocka_run_group_tests(tests, compile_all, free_all);
}
