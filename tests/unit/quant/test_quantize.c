/* Quantizers: the bytes of the published algorithms, equal on every instruction set; what a refit
 * promises; what is refused. */

#include "vectors.h"

#include "block_count.h"
#include "compare_quantizers.h"

static const char *const set_names[] = {"scalar", "avx2", "avx512", "neon"};
enum { N_SETS = 4 };

static ds4_quantizer *make(const char *set, bool refit) {
    ds4_quantizer *quantizer = NULL;
    const ds4_quantizer_options options = {.set = set, .refit = refit};
    ds4_error error = {0};
    if (ds4_quantizer_create(&options, &quantizer, &error) != DS4_OK) assert_null(quantizer);
    return quantizer;
}

static ds4_type type_of_name(const char *name) {
    return strcmp(name, "q8_0") == 0   ? DS4_TYPE_Q8_0
           : strcmp(name, "q2_k") == 0 ? DS4_TYPE_Q2_K
           : strcmp(name, "q4_k") == 0 ? DS4_TYPE_Q4_K
                                       : DS4_TYPE_IQ2_XXS;
}

static void test_published_bytes(void **state) {
    (void)state;
    struct json_object *cases = member(root, "quantize");
    assert_int_equal(json_object_array_length(cases), 30);
    for (int s = 0; s < N_SETS; s++) {
        ds4_quantizer *quantizer = make(set_names[s], false);
        if (quantizer == NULL) continue;
        for (size_t i = 0; i < 30; i++) {
            struct json_object *c = json_object_array_get_idx(cases, i);
            float x[256], importance[256];
            uint8_t expected[272], encoded[272];
            ds4_type type = type_of_name(text(c, "type"));
            bool is_weighted = json_object_get_boolean(member(c, "importance"));
            make_input_with_importance((unsigned)json_object_get_int(member(c, "case")), x,
                                       importance);
            if (!is_weighted && ds4_type_needs_importance(type)) {
                memset(importance, 0, sizeof importance);
                ds4_importance_add_row(x, importance, 256);
                is_weighted = true;
            }
            size_t n = bytes_of_hex(text(c, "hex"), expected, sizeof expected);
            assert_int_equal(n, ds4_type_row_bytes(type, 256));
            assert_int_equal(ds4_quantize_row(quantizer, type, x, is_weighted ? importance : NULL,
                                              encoded, 256, NULL),
                             DS4_OK);
            if (memcmp(encoded, expected, n) != 0)
                fail_msg("%s: case %d of %s, importance %d, differs", set_names[s],
                         json_object_get_int(member(c, "case")), text(c, "type"), is_weighted);
        }
        ds4_quantizer_destroy(quantizer);
    }
}

/* ---- random blocks ---- */

static void check_sets(bool refit, unsigned n_blocks) {
    ds4_quantizer *quantizers[N_SETS];
    const char *names[N_SETS];
    int n = 0;
    for (int s = 0; s < N_SETS; s++) {
        quantizers[n] = make(set_names[s], refit);
        names[n] = set_names[s];
        if (quantizers[n] != NULL) n++;
    }
    uint64_t hash = 0;
    assert_string_equal(names[0], "scalar");
    assert_true(quantizers_agree(quantizers, names, n, n_blocks, &hash));
    for (int s = 0; s < n; s++) {
        if (s > 0)
            print_message("%s equals scalar on %u blocks of each format\n", names[s], n_blocks);
        ds4_quantizer_destroy(quantizers[s]);
    }
}

static void test_sets_agree(void **state) {
    (void)state;
    check_sets(false, block_count(10000));
}

static void test_sets_agree_on_refits(void **state) {
    (void)state;
    check_sets(true, block_count(1000));
}

/* How well a block y stands for x: its error, the share of x that no multiple of y explains, and
 * y's projection on x, weighted as refits weigh (docs/quantizers.md). */
typedef struct judgement {
    double error, missed, projection;
} judgement;

static judgement judge(ds4_type type, const float *x, const float *importance,
                       const uint8_t *block) {
    float y[256];
    double sigma = 0, xx = 0, xy = 0, yy = 0;
    ds4_kernels_best()->decode(type, block, y, 256);
    for (unsigned i = 0; i < 256; i++) sigma += (double)x[i] * (double)x[i] / 256;
    if (type == DS4_TYPE_Q4_K) sigma *= 2;
    for (unsigned i = 0; i < 256; i++) {
        double a = (double)x[i], b = (double)y[i];
        double w = (importance == NULL ? 1 : (double)importance[i]);
        if (type != DS4_TYPE_Q8_0 && type != DS4_TYPE_MXFP4) w *= sqrt(sigma + a * a);
        xx += w * a * a;
        xy += w * a * b;
        yy += w * b * b;
    }
    double error = xx - 2 * xy + yy;
    if (xx == 0 || yy == 0) return (judgement){error, xx == 0 ? 0 : 1, 1};
    return (judgement){error, 1 - xy * xy / (xx * yy), xy / xx};
}

/* No block's error grows by more than its right size costs, Gaussian ones miss less by the shares
 * that docs/quantizers.md tells, and none of them is too small or too large. */
static void test_refit(void **state) {
    (void)state;
    ds4_quantizer *plain = make(NULL, false), *refit = make(NULL, true);
    for (int t = 0; t < N_BLOCK_TYPES; t++) {
        bool keeps_size = block_types[t] != DS4_TYPE_Q8_0 && block_types[t] != DS4_TYPE_MXFP4;
        for (int weighted = 0; weighted < 2; weighted++) {
            double before = 0, after = 0, off = 0, n = 0;
            for (uint32_t b = 0; b < 384; b++) { /* all kinds and sizes twice */
                float x[256], importance[256];
                uint8_t old[272], new[272];
                const float *weights = weighted ? importance : NULL;
                make_block(b, x, importance);
                const float *needed = weights;
                float squares[256] = {0};
                if (needed == NULL && ds4_type_needs_importance(block_types[t])) {
                    ds4_importance_add_row(x, squares, 256);
                    needed = squares;
                }
                assert_int_equal(ds4_quantize_row(plain, block_types[t], x, needed, old, 256, NULL),
                                 DS4_OK);
                assert_int_equal(
                    ds4_quantize_row(refit, block_types[t], x, weights, new, 256, NULL), DS4_OK);
                judgement was = judge(block_types[t], x, weights, old);
                judgement is = judge(block_types[t], x, weights, new);
                double allowed = was.error * (1 + 1e-5);
                if (keeps_size && is.missed < 1) allowed = was.error / (1 - is.missed) * (1 + 1e-3);
                if (needed == weights && is.error > allowed)
                    fail_msg("%s, block %u: a refit made %g of %g",
                             ds4_type_get_info((uint32_t)block_types[t])->name, b, is.error,
                             was.error);
                if (b % 8 < 6 || b / 8 % 24 < 8) continue; /* scales that f16 holds well */
                before += was.missed, after += is.missed;
                uint16_t d;
                memcpy(&d, new + (block_types[t] == DS4_TYPE_Q2_K ? 80 : 0), sizeof d);
                if (d < 0x0400) continue; /* no f16 in full */
                off += fabs(is.projection - 1), n++;
            }
            print_message("%-8s %s: a refit misses %.3f of what the published algorithm misses; "
                          "size within %.2g\n",
                          ds4_type_get_info((uint32_t)block_types[t])->name,
                          weighted ? "with importance" : "without", after / before, off / n);
            assert_true(after < 0.98 * before);
            if (keeps_size) assert_true(n > 10 && off < 2e-3 * n);
        }
    }
    ds4_quantizer_destroy(plain);
    ds4_quantizer_destroy(refit);
}

/* FP4 values, the official experts', survive MXFP4; whatever the power of two. */
static void test_mxfp4_is_lossless_for_fp4(void **state) {
    (void)state;
    for (int refit = 0; refit < 2; refit++) {
        ds4_quantizer *quantizer = make(NULL, refit == 1);
        for (int e = 0; e < 255; e++) {
            uint8_t block[17] = {(uint8_t)e}, encoded[17];
            float x[32], y[32];
            for (unsigned i = 0; i < 16; i++)
                block[1 + i] = (uint8_t)((i * 7 + (unsigned)e) % 256 * 17);
            ds4_kernels_best()->decode(DS4_TYPE_MXFP4, block, x, 32);
            if (e > 252) continue; /* 6 * 2^126 is no float32 */
            assert_int_equal(
                ds4_quantize_row(quantizer, DS4_TYPE_MXFP4, x, NULL, encoded, 32, NULL), DS4_OK);
            ds4_kernels_best()->decode(DS4_TYPE_MXFP4, encoded, y, 32);
            for (unsigned i = 0; i < 32; i++)
                if (!(x[i] == y[i]))
                    fail_msg("exponent %d: %a became %a", e, (double)x[i], (double)y[i]);
        }
        ds4_quantizer_destroy(quantizer);
    }
}

/* Of each column its own third and two thirds of the mean; columns that were never used count too.
 */
static void test_importance_is_levelled(void **state) {
    (void)state;
    float importance[5] = {0, 1, 2, 7, 1e-3f}, none[3] = {0}, large[2] = {3e38f, 3e38f};
    double sum = 0, wanted[5];
    for (int i = 0; i < 5; i++) sum += (double)importance[i];
    for (int i = 0; i < 5; i++) wanted[i] = ((double)importance[i] + 2 * sum / 5) / 3;
    ds4_importance_level(DS4_TYPE_Q4_K, importance, 5);
    assert_true(importance[0] == 0 && importance[3] == 7);
    ds4_importance_level(DS4_TYPE_Q2_K, importance, 5);
    for (int i = 0; i < 5; i++)
        assert_true(fabs((double)importance[i] - wanted[i]) <= 1e-7 * wanted[i]);
    ds4_importance_level(DS4_TYPE_IQ2_XXS, none, 3);
    for (int i = 0; i < 3; i++) assert_true(none[i] == 0);
    ds4_importance_level(DS4_TYPE_Q2_K, large, 2);
    assert_true(large[0] == 3e38f && large[1] == 3e38f);
}

static void test_refusals(void **state) {
    (void)state;
    ds4_quantizer *quantizer = make(NULL, false);
    ds4_error error = {0};
    float x[256] = {0}, ones[256];
    uint8_t block[1024];
    for (int i = 0; i < 256; i++) ones[i] = 1;
    for (int t = 0; t < N_BLOCK_TYPES; t++) {
        const float bad[] = {NAN, INFINITY, -INFINITY};
        for (int i = 0; i < 3; i++) {
            x[77] = bad[i];
            assert_int_equal(
                ds4_quantize_row(quantizer, block_types[t], x, ones, block, 256, &error),
                DS4_FORMAT);
            assert_non_null(strstr(error.message, "element 77"));
        }
        x[77] = 3e38f;
        x[78] = -3e38f;
        assert_int_equal(ds4_quantize_row(quantizer, block_types[t], x, ones, block, 256, &error),
                         block_types[t] == DS4_TYPE_MXFP4 ? DS4_OK : DS4_FORMAT);
        x[77] = 1e-44f; /* whatever comes of it, it is finite */
        x[78] = 0;
        assert_int_equal(ds4_quantize_row(quantizer, block_types[t], x, ones, block, 256, &error),
                         DS4_OK);
        assert_true(isfinite(judge(block_types[t], x, NULL, block).projection));
        x[77] = 0;
    }
    assert_int_equal(ds4_quantize_row(quantizer, DS4_TYPE_IQ2_XXS, x, NULL, block, 256, &error),
                     DS4_INVALID_ARGUMENT);
    assert_int_equal(ds4_quantize_row(quantizer, DS4_TYPE_Q2_K, x, NULL, block, 128, &error),
                     DS4_INVALID_ARGUMENT);
    assert_int_equal(ds4_quantize_row(quantizer, DS4_TYPE_I32, x, NULL, block, 256, &error),
                     DS4_INVALID_ARGUMENT);
    assert_false(ds4_type_can_be_quantized(2));
    ds4_quantizer_destroy(quantizer);
    assert_null(make("mmx", false));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_published_bytes),           cmocka_unit_test(test_sets_agree),
        cmocka_unit_test(test_sets_agree_on_refits),      cmocka_unit_test(test_refit),
        cmocka_unit_test(test_mxfp4_is_lossless_for_fp4), cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_importance_is_levelled),
    };
    return cmocka_run_group_tests(tests, load_vectors, free_vectors);
}
