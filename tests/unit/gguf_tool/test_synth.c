/* Synthetic models: the same bytes from the same seed, shapes and sizes of the real ones, weights
 * of the size meant. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "temporary.h"

#include "gguf-tool/recipe.h"
#include "gguf-tool/synth_fill.h"
#include "gguf-tool/tool.h"
#include "gguf-tool/vocabulary.h"

static int synth(const char *output, const char *seed, const char *threads) {
    char *argv[] = {"synth",
                    "-o",
                    (char *)(uintptr_t)output,
                    "--seed",
                    (char *)(uintptr_t)seed,
                    "-t",
                    (char *)(uintptr_t)threads,
                    NULL};
    return ds4_tool_synth(7, argv);
}

static bool same_file(const char *a, const char *b) {
    size_t n_a, n_b;
    uint8_t *x = read_bytes(a, &n_a), *y = read_bytes(b, &n_b);
    bool same = n_a == n_b && memcmp(x, y, n_a) == 0;
    free(x);
    free(y);
    return same;
}

static void test_deterministic(void **state) {
    (void)state;
    assert_int_equal(synth(in_temporary("a.gguf"), "7", "1"), EXIT_OK);
    assert_int_equal(synth(in_temporary("b.gguf"), "7", "3"), EXIT_OK);
    assert_int_equal(synth(in_temporary("c.gguf"), "8", "1"), EXIT_OK);
    assert_true(same_file(in_temporary("a.gguf"), in_temporary("b.gguf")));
    assert_false(same_file(in_temporary("a.gguf"), in_temporary("c.gguf")));
    char *deep[] = {"verify", "--deep", (char *)(uintptr_t)in_temporary("a.gguf"), NULL};
    assert_int_equal(ds4_tool_verify(3, deep), EXIT_OK);
    char *json[] = {"inspect", (char *)(uintptr_t)in_temporary("a.gguf"), NULL};
    assert_int_equal(ds4_tool_inspect(2, json), EXIT_OK);
}

/* Sizes of the recipes at full shape; of the released 2-bit file also the types of its tensors. */
static void test_full_size(void **state) {
    (void)state;
    static const uint64_t payload_bytes[] = {86714775900u, 164628167004u, 303140862300u,
                                             155971123548u};
    for (int recipe = 0; recipe < 4; recipe++) {
        ds4_shape shape;
        ds4_plan plan;
        uint64_t n_bytes = 0, n_by_type[64] = {0};
        ds4_shape_flash(&shape);
        assert_int_equal(ds4_plan_create(&shape, &plan, NULL), DS4_OK);
        ds4_recipe_apply(ds4_recipe_at(recipe), &plan);
        for (size_t i = 0; i < plan.n; i++) {
            const ds4_tensor_plan *t = &plan.tensors[i];
            n_bytes += ds4_type_row_bytes(t->type, (size_t)t->ne[0]) * t->ne[1] * t->ne[2];
            n_by_type[t->type]++;
        }
        assert_int_equal(plan.n, 1328);
        assert_int_equal(n_bytes, payload_bytes[recipe]);
        assert_int_equal(n_by_type[DS4_TYPE_F16], 359);
        assert_int_equal(n_by_type[DS4_TYPE_F32], 492);
        assert_int_equal(n_by_type[DS4_TYPE_I32], 3);
        if (recipe == 0) {
            assert_int_equal(n_by_type[DS4_TYPE_Q8_0], 345);
            assert_int_equal(n_by_type[DS4_TYPE_IQ2_XXS], 86);
            assert_int_equal(n_by_type[DS4_TYPE_Q2_K], 43);
        }
        ds4_plan_free(&plan);
    }
}

/* Root mean square near what the fill promises, mean near zero, for each type that matrices are
 * stored in. */
static void test_sizes_of_weights(void **state) {
    (void)state;
    static const ds4_type types[] = {DS4_TYPE_F32, DS4_TYPE_F16, DS4_TYPE_Q8_0, DS4_TYPE_IQ2_XXS,
                                     DS4_TYPE_Q2_K};
    enum { N = 4096, ROWS = 64 };
    static float row[N];
    static uint8_t bytes[4 * N];
    ds4_shape shape;
    ds4_shape_flash(&shape);
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        ds4_tensor_plan tensor = {.name = "m",
                                  .fill = DS4_FILL_MATRIX,
                                  .n_dims = 2,
                                  .ne = {N, ROWS, 1},
                                  .type = types[i]};
        double sum = 0, squares = 0;
        for (uint64_t r = 0; r < ROWS; r++) {
            ds4_synth_row(&tensor, &shape, ds4_synth_key(1, "m"), r, bytes);
            ds4_kernels_by_name("scalar")->decode(types[i], bytes, row, N);
            for (size_t k = 0; k < N; k++) {
                sum += (double)row[k];
                squares += (double)row[k] * (double)row[k];
            }
        }
        double rms = sqrt(squares / (N * ROWS)), mean = sum / (N * ROWS), meant = 1.0 / 64;
        if (fabs(rms - meant) > 0.02 * meant)
            fail_msg("type %d: rms %g instead of %g", types[i], rms, meant);
        if (fabs(mean) > 0.01 * meant) fail_msg("type %d: mean %g", types[i], mean);
    }
}

static void test_ids_are_distinct(void **state) {
    (void)state;
    ds4_shape shape;
    uint8_t bytes[24];
    uint32_t seen = 0;
    ds4_shape_flash(&shape);
    shape.n_experts = 7;
    ds4_tensor_plan tensor = {
        .name = "t", .fill = DS4_FILL_IDS, .n_dims = 2, .ne = {6, 500, 1}, .type = DS4_TYPE_I32};
    for (uint64_t row = 0; row < 500; row++) {
        uint32_t in_row = 0;
        ds4_synth_row(&tensor, &shape, 5, row, bytes);
        for (size_t i = 0; i < 6; i++) {
            assert_true(bytes[4 * i] < 7 && bytes[4 * i + 1] == 0 && bytes[4 * i + 3] == 0);
            assert_int_equal(in_row & 1u << bytes[4 * i], 0);
            in_row |= 1u << bytes[4 * i];
        }
        seen |= in_row;
    }
    assert_int_equal(seen, 127);
}

static bool holds(const ds4_vocabulary *v, const char *text, int32_t type) {
    for (uint32_t i = 0; i < v->n_tokens; i++) {
        if (v->tokens[i].n == strlen(text) &&
            memcmp(v->tokens[i].data, text, v->tokens[i].n) == 0) {
            return v->types[i] == type;
        }
    }
    return false;
}

static void test_byte_vocabulary(void **state) {
    (void)state;
    static const char *const control[] = {
        "<\xEF\xBD\x9C"
        "begin\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C>",
        "<\xEF\xBD\x9C"
        "end\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C>",
        "<\xEF\xBD\x9C\xE2\x96\x81pad\xE2\x96\x81\xEF\xBD\x9C>",
        "<\xEF\xBD\x9CUser\xEF\xBD\x9C>",
        "<\xEF\xBD\x9C"
        "Assistant\xEF\xBD\x9C>",
    };
    ds4_vocabulary v = {0};
    assert_int_equal(ds4_vocabulary_of_bytes(299, &v, NULL), DS4_INVALID_ARGUMENT);
    assert_int_equal(ds4_vocabulary_of_bytes(320, &v, NULL), DS4_OK);
    for (size_t i = 0; i < 5; i++) assert_true(holds(&v, control[i], 3));
    assert_true(holds(&v, "<think>", 4) && holds(&v, "</think>", 4));
    assert_true(holds(&v,
                      "\xEF\xBD\x9C"
                      "DSML\xEF\xBD\x9C",
                      4));
    assert_true(holds(&v, "a", 1) && holds(&v, "~", 1) && holds(&v, "[PAD319]", 5));
    assert_true(holds(&v, "\xC4\xA0", 1) && holds(&v, "\xC4\x8A", 1)); /* space, newline */
    assert_true(holds(&v, "\xC4\x80", 1));                             /* byte 00 = U+0100 */
    assert_true(holds(&v, "\xC4\xA1", 1));                             /* byte 7F = U+0121 */
    assert_true(holds(&v, "\xC5\x82", 1));                             /* byte A0 = U+0142 */
    assert_true(holds(&v, "\xC5\x83", 1));                             /* byte AD = U+0143 */
    assert_true(holds(&v, "\xC3\xBF", 1));                             /* byte FF */
    assert_int_equal(v.bos, 0);
    assert_int_equal(v.eos, 1);
    assert_int_equal(v.pad, 2);
    /* Every merge joins two tokens into a third. */
    for (size_t i = 0; i < v.n_merges; i++) {
        char left[32] = {0}, right[32] = {0}, joined[64];
        const char *space = strchr(v.merges[i].data, ' ');
        memcpy(left, v.merges[i].data, (size_t)(space - v.merges[i].data));
        memcpy(right, space + 1, v.merges[i].n - (size_t)(space + 1 - v.merges[i].data));
        snprintf(joined, sizeof joined, "%s%s", left, right);
        assert_true(holds(&v, left, 1) && holds(&v, right, 1) && holds(&v, joined, 1));
    }
    /* No two tokens are alike. */
    for (uint32_t i = 0; i < v.n_tokens; i++) {
        for (uint32_t k = 0; k < i; k++) {
            assert_false(v.tokens[i].n == v.tokens[k].n &&
                         memcmp(v.tokens[i].data, v.tokens[k].data, v.tokens[i].n) == 0);
        }
    }
    ds4_vocabulary_free(&v);
}

static void test_tokenizer_file(void **state) {
    (void)state;
    static const struct {
        const char *text, *says;
    } bad[] = {
        {"{}", "not a BPE tokenizer"},
        {"{\"model\":{\"vocab\":{\"a\":9},\"merges\":[]}}", "has the id 9"},
        {"{\"model\":{\"vocab\":{\"a\":-1},\"merges\":[]}}", "has the id -1"},
        {"{\"model\":{\"vocab\":{\"a\":1,\"b\":1},\"merges\":[]}}", "id 1 is both"},
        {"{\"model\":{\"vocab\":{\"a\":1},\"merges\":[\"ab\"]}}", "merges[0]"},
        {"{\"model\":{\"vocab\":{\"a\":1},\"merges\":[[\"a\"]]}}", "merges[0]"},
        {"{\"model\":{\"vocab\":{\"a\":1},\"merges\":[]},\"added_tokens\":[{\"id\":2}]}",
         "added_tokens[0]"},
        {"{\"model\":{\"vocab\":{\"a\":1},\"merges\":[]},\"added_tokens\":[{\"id\":1,\"content\":"
         "\"x\"}]}",
         "both"},
        {"{\"model\":", "cut off"},
    };
    const char *path = in_temporary("tokenizer.json");
    ds4_vocabulary v = {0};
    ds4_error error = {0};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        write_text(path, bad[i].text);
        assert_int_equal(ds4_vocabulary_read(path, 5, &v, &error), DS4_FORMAT);
        if (strstr(error.message, bad[i].says) == NULL)
            fail_msg("'%s' does not say '%s'", error.message, bad[i].says);
    }
    write_text(
        path,
        "{\"model\":{\"vocab\":{\"a\":1,\"b\":3,\"ab\":2},\"merges\":[\"a b\",[\"a b\",\"c\"]]},"
        "\"added_tokens\":[{\"id\":0,\"content\":\"<|x|>\",\"special\":false},"
        "{\"id\":5,\"content\":\"y\",\"special\":false},{\"id\":1,\"content\":\"a\",\"special\":"
        "true}]}");
    if (ds4_vocabulary_read(path, 7, &v, &error) != DS4_OK) fail_msg("%s", error.message);
    assert_true(holds(&v, "<|x|>", 3) && holds(&v, "a", 3) && holds(&v, "ab", 1) &&
                holds(&v, "b", 1));
    assert_true(holds(&v, "[PAD4]", 5) && holds(&v, "y", 4) && holds(&v, "[PAD6]", 5));
    assert_int_equal(v.n_merges, 2);
    assert_int_equal(v.merges[1].n, 6);
    assert_memory_equal(v.merges[1].data,
                        "a\xC4\xA0"
                        "b c",
                        6);
    assert_int_equal(v.bos, -1);
    ds4_vocabulary_free(&v);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_deterministic),    cmocka_unit_test(test_full_size),
        cmocka_unit_test(test_sizes_of_weights), cmocka_unit_test(test_ids_are_distinct),
        cmocka_unit_test(test_byte_vocabulary),  cmocka_unit_test(test_tokenizer_file),
    };
    return cmocka_run_group_tests(tests, make_temporary, remove_temporary);
}
