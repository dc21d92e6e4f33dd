/* Which session serves a prompt: tables over views that are made by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../tokenizer/tiny_vocabulary.h"
#include "kv/choose.h"

enum { N = 4096, DIAL = 7 };

static int32_t counting[N], branch[N]; /* 0, 1, 2, ...; the same for 100 tokens, then others */
static uint64_t undialled[N], dialled[N];
static ds4_tokenizer *tokenizer;
static uint32_t scratch[N + 1];

static int set_up(void **state) {
    static tiny_vocabulary v;
    tiny_fill(&v);
    (void)state;
    for (int32_t i = 0; i < N; i++) {
        counting[i] = i;
        branch[i] = i < 100 ? i : N + i;
        dialled[i] = i < 300 ? 0 : DIAL;
    }
    return ds4_tokenizer_create(&v.tables, 0, &tokenizer, NULL) == DS4_OK ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    ds4_tokenizer_destroy(tokenizer);
    return 0;
}

static ds4_kv_view view(const int32_t *tokens, uint32_t n, uint32_t floor, double idle) {
    return (ds4_kv_view){.tokens = tokens,
                         .dials = undialled,
                         .n_tokens = n,
                         .n_prompt = n,
                         .rewind_floor = floor,
                         .idle_seconds = idle};
}

static ds4_kv_choice choose(const ds4_kv_view *views, size_t n, const int32_t *tokens,
                            uint32_t n_tokens) {
    ds4_kv_prompt prompt = {.tokens = tokens, .n = n_tokens};
    ds4_kv_choice choice;
    assert_true(ds4_kv_choose(views, n, &prompt, scratch, &choice));
    assert_false(views[choice.target].busy);
    assert_true(choice.n_read < n_tokens);
    return choice;
}

#define EXPECT(choice, target_, source_, held, miss_)                                              \
    do {                                                                                           \
        assert_int_equal((choice).target, target_);                                                \
        assert_int_equal((choice).source, DS4_KV_SOURCE_##source_);                                \
        assert_int_equal((choice).n_held, held);                                                   \
        assert_int_equal((choice).n_read, held);                                                   \
        assert_int_equal((choice).miss, DS4_KV_MISS_##miss_);                                      \
    } while (0)

static void continues_the_longest(void **state) {
    (void)state;
    ds4_kv_view views[3] = {view(counting, 50, 50, 1), view(counting, 500, 500, 9),
                            view(NULL, 0, 0, 99)};
    EXPECT(choose(views, 3, counting, 600), 1, LIVE, 500, NONE);
    views[1].busy = true; /* its rows can still be copied */
    ds4_kv_choice choice = choose(views, 3, counting, 600);
    EXPECT(choice, 2, CLONED, 500, NONE);
    assert_int_equal(choice.from, 1);
    views[0].busy = views[2].busy = true;
    ds4_kv_prompt prompt = {.tokens = counting, .n = 600};
    assert_false(ds4_kv_choose(views, 3, &prompt, scratch, &choice));
}

static void evaluates_the_last_token_again(void **state) {
    (void)state;
    ds4_kv_view one = view(counting, 500, 450, 0);
    EXPECT(choose(&one, 1, counting, 500), 0, REWOUND, 499, NONE);
    EXPECT(choose(&one, 1, counting, 470), 0, REWOUND, 469, NONE);
    EXPECT(choose(&one, 1, counting, 450), 0, NONE, 0, JOURNAL); /* 449 is behind the floor */
    const uint32_t anchors[] = {30, 449, 200};
    one.anchors = anchors;
    one.n_anchors = 3;
    EXPECT(choose(&one, 1, counting, 450), 0, ANCHOR, 449, NONE);
    EXPECT(choose(&one, 1, counting, 449), 0, ANCHOR, 200, JOURNAL);
    EXPECT(choose(&one, 1, branch, 449), 0, ANCHOR, 30, JOURNAL);
}

static void does_not_cut_a_long_conversation(void **state) {
    (void)state;
    const uint32_t anchors[] = {100};
    ds4_kv_view views[3] = {view(counting, 3000, 2900, 10), view(NULL, 0, 0, 99),
                            view(branch + 200, 50, 0, 2)};
    views[0].anchors = anchors;
    views[0].n_anchors = 1;
    /* A second conversation with the same beginning is cloned, into the emptiest place. */
    EXPECT(choose(views, 3, branch, 800), 1, CLONED, 100, TOKENS);
    views[1] = view(branch + 900, 900, 0, 5);
    EXPECT(choose(views, 3, branch, 800), 2, CLONED, 100, TOKENS);
    /* Long unused ones are worth less. */
    views[1].idle_seconds = 36000;
    EXPECT(choose(views, 3, branch, 800), 1, CLONED, 100, TOKENS);
    /* A title request with a prompt of its own does not take the long one. */
    EXPECT(choose(views, 3, branch + 2000, 40), 1, NONE, 0, TOKENS);
    views[1].busy = views[2].busy = true;
    EXPECT(choose(views, 3, branch + 2000, 40), 0, NONE, 0, TOKENS);
}

static void gives_up_what_was_only_sampled(void **state) {
    (void)state;
    /* 500 tokens were a prompt, 300 the answer: the same prompt takes the session back in place
     * although an empty one is there. */
    const uint32_t anchors[] = {499};
    ds4_kv_view views[2] = {view(counting, 800, 700, 0), view(NULL, 0, 0, 99)};
    views[0].n_prompt = 500;
    views[0].anchors = anchors;
    views[0].n_anchors = 1;
    EXPECT(choose(views, 2, counting, 500), 0, ANCHOR, 499, NONE);
    views[0].n_prompt = 600; /* but not when others were told the rest */
    EXPECT(choose(views, 2, counting, 500), 1, CLONED, 499, NONE);
}

static void tells_tokens_from_dials(void **state) {
    (void)state;
    ds4_kv_view one = view(counting, 500, 0, 0);
    one.dials = dialled;
    ds4_kv_choice choice = choose(&one, 1, counting, 600);
    EXPECT(choice, 0, REWOUND, 300, STEERING);
    assert_int_equal(choice.n_common, 300);
    choice = choose(&one, 1, branch, 600);
    EXPECT(choice, 0, REWOUND, 100, TOKENS);
    assert_int_equal(choice.n_common, 100);
    assert_int_equal(choice.n_longest, 500);
    ds4_kv_view empty = view(NULL, 0, 0, 0);
    EXPECT(choose(&empty, 1, branch, 600), 0, NONE, 0, COLD);
}

/* ---- two spellings ---- */

typedef struct spelling {
    int32_t ids[256];
    uint64_t dials[256];
    uint32_t n;
} spelling;

static void spell(spelling *s, const char *text) {
    for (; *text != '\0'; text++) s->ids[s->n++] = TINY_FIRST_BYTE + (uint8_t)*text;
}

static void encode(spelling *s, const char *text) {
    ds4_tokens ids = {0};
    assert_int_equal(ds4_tokenizer_encode(tokenizer, text, strlen(text), &ids, NULL), DS4_OK);
    memcpy(s->ids + s->n, ids.ids, ids.n * sizeof *ids.ids);
    s->n += (uint32_t)ids.n;
    ds4_tokens_free(&ids);
}

static void control(spelling *s, int32_t id) {
    s->ids[s->n++] = id;
}

static void compares_by_bytes_where_asked(void **state) {
    (void)state;
    const ds4_special_ids *special = ds4_tokenizer_special_ids(tokenizer);
    spelling held = {0}, prompt = {0};
    control(&held, special->user);
    control(&prompt, special->user);
    encode(&held, "abc abc abc abc hello hello, 12 12 (think)");
    encode(&prompt, "abc abc abc abc hello hello, 12 12 (think)");
    uint32_t same = held.n;
    spell(&held, "hello"); /* five tokens in the session, one in the prompt */
    encode(&prompt, "hello");
    control(&held, special->eos);
    control(&prompt, special->eos);
    uint32_t n_held = held.n, n_prompt = prompt.n;
    assert_true(n_held > n_prompt);
    encode(&prompt, " abc thinking");
    ds4_kv_view one = view(held.ids, held.n, 0, 0);
    one.dials = undialled;
    ds4_kv_choice choice;
    ds4_kv_prompt asked = {.tokens = prompt.ids, .n = prompt.n, .tokenizer = tokenizer};
    assert_true(ds4_kv_choose(&one, 1, &asked, scratch, &choice));
    assert_int_equal(choice.source, DS4_KV_SOURCE_LIVE);
    assert_int_equal(choice.n_held, n_held);
    assert_int_equal(choice.n_read, n_prompt);
    assert_int_equal(choice.n_common, same);
    assert_int_equal(choice.miss, DS4_KV_MISS_NONE);
    asked.tokenizer = NULL; /* equal tokens only */
    assert_true(ds4_kv_choose(&one, 1, &asked, scratch, &choice));
    assert_int_equal(choice.n_read, same >= 16 ? same : 0);
    /* Another text, a control token that is only spelled, a boundary inside the prompt's token. */
    asked.tokenizer = tokenizer;
    held.ids[same + 4]++;
    assert_true(ds4_kv_choose(&one, 1, &asked, scratch, &choice));
    assert_true(choice.n_read <= same);
    held.ids[same + 4]--;
    held.ids[n_held - 1] = TINY_FIRST_BYTE + '<';
    assert_true(ds4_kv_choose(&one, 1, &asked, scratch, &choice));
    assert_int_equal(choice.n_held, n_held - 1);
    one.n_tokens = same + 3; /* "hel": no common boundary behind `same` */
    assert_true(ds4_kv_choose(&one, 1, &asked, scratch, &choice));
    assert_int_equal(choice.n_held, same >= 16 ? same : 0);
}

/* Whatever is chosen: the text of what is kept and of the rest is the prompt's text. */
static void says_the_same_text(void **state) {
    (void)state;
    static const char *const pieces[] = {"a",     "ab", "hello", " hello", "bc",
                                         "think", "1",  "23",    "<"};
    unsigned seed = 20261125;
    print_message("seed %u\n", seed);
    for (int round = 0; round < 2000; round++) {
        spelling held = {0}, prompt = {0};
        ds4_strbuf text = {0};
        for (int part = 0; part < 12; part++) {
            seed = seed * 1664525u + 1013904223u;
            const char *piece = pieces[(seed >> 16) % (sizeof pieces / sizeof pieces[0])];
            seed = seed * 1664525u + 1013904223u;
            if (seed >> 30 == 0)
                spell(&held, piece);
            else
                encode(&held, piece);
            ds4_strbuf_puts(&text, seed >> 24 == 1 ? "x" : piece);
        }
        encode(&prompt, text.data);
        uint32_t floor = (seed >> 8) % (held.n + 1);
        uint32_t anchors[] = {floor / 2, floor / 3};
        ds4_kv_view one = view(held.ids, held.n, floor, 0);
        one.anchors = anchors;
        one.n_anchors = 2;
        ds4_kv_choice choice;
        ds4_kv_prompt asked = {.tokens = prompt.ids, .n = prompt.n, .tokenizer = tokenizer};
        assert_true(ds4_kv_choose(&one, 1, &asked, scratch, &choice));
        ds4_strbuf said = {0};
        ds4_tokenizer_decode(tokenizer, held.ids, choice.n_held, &said);
        ds4_tokenizer_decode(tokenizer, prompt.ids + choice.n_read, prompt.n - choice.n_read,
                             &said);
        assert_string_equal(said.data, text.data);
        assert_true(choice.n_held == 0 || choice.n_held >= floor || choice.n_held == anchors[0] ||
                    choice.n_held == anchors[1]);
        ds4_strbuf_free(&said);
        ds4_strbuf_free(&text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(continues_the_longest),
        cmocka_unit_test(evaluates_the_last_token_again),
        cmocka_unit_test(does_not_cut_a_long_conversation),
        cmocka_unit_test(gives_up_what_was_only_sampled),
        cmocka_unit_test(tells_tokens_from_dials),
        cmocka_unit_test(compares_by_bytes_where_asked),
        cmocka_unit_test(says_the_same_text),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
