/* The block formats against golden vectors (tests/fixtures/quant): decoding bit for bit on every
 * instruction set of the machine, conversions, the Q8_0 encoder, activation rounding and one-block
 * integer products. */
#include "vectors.h"

static const char *const set_names[] = {"scalar", "avx2", "avx512", "neon"};
enum { N_SETS = 4 };

static void assert_same_float(float a, float b) {
    if (a == 0 && b == 0) return; /* the vectors write zero without a sign */
    if (ds4_f32_to_bits(a) != ds4_f32_to_bits(b)) fail_msg("%a is not %a", (double)a, (double)b);
}

static void check_blocks(const char *name, ds4_type type, size_t n_expected) {
    struct json_object *cases = member(member(root, "blocks"), name);
    assert_int_equal(json_object_array_length(cases), n_expected);
    for (size_t i = 0; i < n_expected; i++) {
        struct json_object *c = json_object_array_get_idx(cases, i), *values = member(c, "values");
        uint8_t block[320];
        float decoded[256];
        size_t n = json_object_array_length(values);
        assert_int_equal(bytes_of_hex(text(c, "hex"), block, sizeof block),
                         ds4_type_row_bytes(type, n));
        for (int s = 0; s < N_SETS; s++) {
            const ds4_kernels *set = ds4_kernels_by_name(set_names[s]);
            if (set == NULL) continue;
            memset(decoded, 0xFF, sizeof decoded);
            set->decode(type, block, decoded, n);
            for (size_t k = 0; k < n; k++)
                assert_same_float(decoded[k], number(json_object_array_get_idx(values, k)));
        }
    }
}

static void test_decode(void **state) {
    (void)state;
    check_blocks("q8_0", DS4_TYPE_Q8_0, 4);
    check_blocks("q2_k", DS4_TYPE_Q2_K, 4);
    check_blocks("q4_k", DS4_TYPE_Q4_K, 3);
    check_blocks("iq2_xxs", DS4_TYPE_IQ2_XXS, 7);
    check_blocks("mxfp4", DS4_TYPE_MXFP4, 3);
}

static void test_conversions(void **state) {
    (void)state;
    json_object_object_foreach(member(root, "f16_to_f32"), half, value) {
        assert_same_float(ds4_f16_to_f32((uint16_t)strtoul(half, NULL, 16)), number(value));
    }
    struct json_object *table = member(root, "f32_to_f16");
    for (size_t i = 0; i < json_object_array_length(table); i++) {
        struct json_object *pair = json_object_array_get_idx(table, i);
        uint16_t bits = ds4_f32_to_f16(number(json_object_array_get_idx(pair, 0)));
        assert_int_equal(
            bits, strtoul(json_object_get_string(json_object_array_get_idx(pair, 1)), NULL, 16));
    }
    table = member(root, "f32_to_bf16");
    for (size_t i = 0; i < json_object_array_length(table); i++) {
        struct json_object *pair = json_object_array_get_idx(table, i);
        uint16_t bits = ds4_f32_to_bf16(number(json_object_array_get_idx(pair, 0)));
        assert_int_equal(
            bits, strtoul(json_object_get_string(json_object_array_get_idx(pair, 1)), NULL, 16));
    }
    assert_true(ds4_e8m0_to_f32(0) == 0x1p-127f);
    assert_true(ds4_e8m0_to_f32(1) == 0x1p-126f);
    assert_true(ds4_e8m0_to_f32(120) == 0x1p-7f);
    assert_true(ds4_e8m0_to_f32(254) == 0x1p127f);
}

/* Every half survives the round trip; between neighbours the nearer one wins, ties go to even. */
static void test_half_round_trip(void **state) {
    (void)state;
    for (uint32_t h = 0; h < 0x10000; h++) {
        float value = ds4_f16_to_f32((uint16_t)h);
        if (isnan(value)) {
            assert_int_equal(ds4_f32_to_f16(value), (h & 0x8000) | 0x7E00);
            continue;
        }
        assert_int_equal(ds4_f32_to_f16(value), h);
        if ((h & 0x7FFF) >= 0x7BFF) continue;
        float next = ds4_f16_to_f32((uint16_t)(h + 1)), middle = (value + next) / 2;
        assert_int_equal(ds4_f32_to_f16(middle), h & 1 ? h + 1 : h);
        assert_int_equal(ds4_f32_to_f16(nextafterf(middle, value)), h);
        assert_int_equal(ds4_f32_to_f16(nextafterf(middle, next)), h + 1);
    }
    assert_int_equal(ds4_f32_to_bf16(ds4_bits_to_f32(0x7F800001u)), 0x7FC0);
    assert_int_equal(ds4_f32_to_bf16(ds4_bits_to_f32(0xFFC00000u)), 0xFFC0);
    for (uint32_t h = 0; h < 0x10000; h++)
        if (!isnan(ds4_bf16_to_f32((uint16_t)h)))
            assert_int_equal(ds4_f32_to_bf16(ds4_bf16_to_f32((uint16_t)h)), h);
}

static void test_encode_limits(void **state) {
    (void)state;
    ds4_error error = {0};
    float x[64] = {0};
    uint8_t bytes[256];
    x[40] = INFINITY;
    const ds4_type types[] = {DS4_TYPE_F32, DS4_TYPE_F16, DS4_TYPE_BF16, DS4_TYPE_Q8_0};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(ds4_encode_row(types[i], x, bytes, 64, &error), DS4_FORMAT);
        assert_non_null(strstr(error.message, "element 40"));
    }
    x[40] = NAN;
    for (int i = 0; i < 4; i++)
        assert_int_equal(ds4_encode_row(types[i], x, bytes, 64, &error), DS4_FORMAT);
    x[40] = 65520; /* finite, but the nearest half is infinity */
    assert_int_equal(ds4_encode_row(DS4_TYPE_F16, x, bytes, 64, &error), DS4_FORMAT);
    x[40] = 65519;
    assert_int_equal(ds4_encode_row(DS4_TYPE_F16, x, bytes, 64, &error), DS4_OK);
    x[40] = 3.4e38f;
    assert_int_equal(ds4_encode_row(DS4_TYPE_BF16, x, bytes, 64, &error), DS4_FORMAT);
    assert_int_equal(ds4_encode_row(DS4_TYPE_Q8_0, x, bytes, 64, &error), DS4_FORMAT);
    assert_int_equal(ds4_encode_row(DS4_TYPE_F32, x, bytes, 64, &error), DS4_OK);
    assert_memory_equal(bytes, x, 256);
    x[40] = 1e-44f; /* the reciprocal of the scale overflows: an all-zero block */
    assert_int_equal(ds4_encode_row(DS4_TYPE_Q8_0, x, bytes, 64, &error), DS4_OK);
    for (int i = 0; i < 68; i++) assert_int_equal(bytes[i], 0);
    assert_int_equal(ds4_encode_row(DS4_TYPE_Q8_0, x, bytes, 33, &error), DS4_INVALID_ARGUMENT);
    assert_int_equal(ds4_encode_row(DS4_TYPE_Q2_K, x, bytes, 0, &error), DS4_UNSUPPORTED);
    assert_int_equal(ds4_encode_row((ds4_type)4, x, bytes, 0, &error), DS4_INVALID_ARGUMENT);
}

/* One block of weights times one block of activations: the vectors add without fused steps, so up
 * to one rounding of each of the two terms may differ. */
static void check_dot(struct json_object *c, const ds4_kernels *set, const char *name,
                      ds4_type type, bool importance) {
    float x[256], y = 0;
    uint8_t weights[1024];
    _Alignas(64) uint8_t prepared[1024];
    const char *hex = NULL;
    struct json_object *cases = member(root, "quantize");
    for (size_t i = 0; i < json_object_array_length(cases); i++) {
        struct json_object *q = json_object_array_get_idx(cases, i);
        if (json_object_get_int(member(q, "case")) ==
                json_object_get_int(member(c, "weights_case")) &&
            strcmp(text(q, "type"), name) == 0 &&
            json_object_get_boolean(member(q, "importance")) == importance)
            hex = text(q, "hex");
    }
    assert_non_null(hex);
    bytes_of_hex(hex, weights, sizeof weights);
    make_input((unsigned)json_object_get_int(member(c, "act_case")), x);
    assert_true(ds4_activation_row_bytes(type, 256) <= sizeof prepared);
    set->quantize_activations(type, x, prepared, 256);
    const void *xq = prepared;
    float *out = &y;
    ds4_matmul product = {.type = type,
                          .weights = weights,
                          .row_bytes = ds4_type_row_bytes(type, 256),
                          .n_in = 256,
                          .n_tokens = 1,
                          .xq = &xq,
                          .y = &out};
    set->matmul(&product, 0, 1, NULL);
    float expected = number(member(c, name)), sum_of_terms = 0;
    ds4_activation_row row;
    ds4_activation_row_layout(type, 256, prepared, &row);
    float decoded[256];
    set->decode(type, weights, decoded, 256);
    for (int i = 0; i < 256; i++)
        sum_of_terms +=
            fabsf(decoded[i] * (float)row.codes[i] * row.scales[i * (type == DS4_TYPE_Q8_0) / 32]);
    if (fabsf(y - expected) > 1e-6f * sum_of_terms)
        fail_msg("%s %s: %a, expected %a", set->name, name, (double)y, (double)expected);
}

static void check_activations(struct json_object *c, const ds4_kernels *set) {
    float x[256];
    uint8_t expected[320];
    _Alignas(64) uint8_t prepared[1024];
    ds4_activation_row row;
    make_input((unsigned)json_object_get_int(member(c, "act_case")), x);
    set->quantize_activations(DS4_TYPE_Q2_K, x, prepared, 256);
    ds4_activation_row_layout(DS4_TYPE_Q2_K, 256, prepared, &row);
    assert_int_equal(bytes_of_hex(text(c, "act_q8_k"), expected, sizeof expected), 292);
    assert_memory_equal(row.scales, expected, 4);
    assert_memory_equal(row.codes, expected + 4, 256);
    assert_memory_equal(row.sums16, expected + 260, 32);
    set->quantize_activations(DS4_TYPE_Q8_0, x, prepared, 256);
    ds4_activation_row_layout(DS4_TYPE_Q8_0, 256, prepared, &row);
    assert_int_equal(bytes_of_hex(text(c, "act_q8_0_codes"), expected, sizeof expected), 256);
    assert_memory_equal(row.codes, expected, 256);
    for (size_t b = 0; b < 8; b++)
        assert_same_float(row.scales[b],
                          number(json_object_array_get_idx(member(c, "act_q8_0_scales"), b)));
}

static void test_dots(void **state) {
    (void)state;
    struct json_object *cases = member(member(root, "dot"), "cases");
    assert_int_equal(json_object_array_length(cases), 3);
    for (size_t i = 0; i < 3; i++) {
        struct json_object *c = json_object_array_get_idx(cases, i);
        for (int s = 0; s < N_SETS; s++) {
            const ds4_kernels *set = ds4_kernels_by_name(set_names[s]);
            if (set == NULL) continue;
            check_activations(c, set);
            check_dot(c, set, "q8_0", DS4_TYPE_Q8_0, false);
            check_dot(c, set, "q2_k", DS4_TYPE_Q2_K, true);
            check_dot(c, set, "q4_k", DS4_TYPE_Q4_K, true);
            check_dot(c, set, "iq2_xxs", DS4_TYPE_IQ2_XXS, true);
        }
    }
}

static void test_activation_extremes(void **state) {
    (void)state;
    float x[256];
    _Alignas(64) uint8_t prepared[1024];
    ds4_activation_row row;
    const ds4_type types[] = {DS4_TYPE_Q8_0, DS4_TYPE_Q4_K};
    for (int i = 0; i < 2; i++) {
        ds4_activation_row_layout(types[i], 256, prepared, &row);
        for (int k = 0; k < 256; k++) x[k] = 0;
        x[3] = NAN;
        ds4_kernels_best()->quantize_activations(types[i], x, prepared, 256);
        assert_true(isnan(row.scales[0]));
        x[3] = -INFINITY;
        ds4_kernels_best()->quantize_activations(types[i], x, prepared, 256);
        assert_true(isnan(row.scales[0]));
        x[3] = 0x1p-140f; /* its reciprocal is infinite */
        ds4_kernels_best()->quantize_activations(types[i], x, prepared, 256);
        assert_true(row.scales[0] == 0 && row.codes[3] == 0);
        x[3] = 3.4e38f, x[4] = -3.4e38f;
        ds4_kernels_best()->quantize_activations(types[i], x, prepared, 256);
        assert_int_equal(row.codes[3], types[i] == DS4_TYPE_Q8_0 ? 127 : -127);
        assert_int_equal(row.codes[4], -row.codes[3]);
        assert_true(isfinite(row.scales[0]));
    }
}

/* The code book against the published list of digits, and its derived tables against each other. */
static void test_iq2_xxs_tables(void **state) {
    (void)state;
    static const unsigned magnitude[3] = {8, 25, 43};
    FILE *file = fopen(DS4_FIXTURES "/quant/iq2xxs_grid.txt", "r");
    assert_non_null(file);
    for (int row = 0; row < 256; row++) {
        char line[16];
        assert_non_null(fgets(line, sizeof line, file));
        for (int lane = 0; lane < 8; lane++) {
            unsigned digit = (unsigned)(line[lane] - '0');
            assert_true(digit < 3);
            assert_int_equal(ds4_iq2_xxs_grid[row] >> (8 * lane) & 255, magnitude[digit]);
            assert_int_equal(ds4_iq2_xxs_digits[row] >> (2 * lane) & 3, digit);
        }
    }
    fclose(file);
    for (int t = 0; t < 128; t++) {
        unsigned minus = 0;
        for (int lane = 0; lane < 8; lane++) {
            unsigned byte = (unsigned)(ds4_iq2_xxs_signs[t] >> (8 * lane) & 255);
            assert_true(byte == 0 || byte == 255);
            if (lane < 7) assert_int_equal(byte & 1, t >> lane & 1);
            minus += byte & 1;
        }
        assert_int_equal(minus % 2, 0);
    }
}

static void test_types(void **state) {
    (void)state;
    assert_null(ds4_type_get_info(4));
    assert_null(ds4_type_get_info(36));
    assert_null(ds4_type_get_info(42));
    assert_null(ds4_type_get_info(UINT32_MAX));
    assert_string_equal(ds4_type_get_info(16)->name, "IQ2_XXS");
    assert_int_equal(ds4_type_get_info(19)->block_bytes, 50);
    assert_false(ds4_type_get_info(15)->computable);
    assert_int_equal(ds4_type_row_bytes(DS4_TYPE_Q2_K, 4096), 16 * 84);
    assert_true(ds4_type_takes_int8(DS4_TYPE_MXFP4));
    assert_false(ds4_type_takes_int8(DS4_TYPE_BF16));
    assert_int_equal(ds4_activation_row_bytes(DS4_TYPE_F16, 4096), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decode),
        cmocka_unit_test(test_conversions),
        cmocka_unit_test(test_half_round_trip),
        cmocka_unit_test(test_encode_limits),
        cmocka_unit_test(test_dots),
        cmocka_unit_test(test_activation_extremes),
        cmocka_unit_test(test_iq2_xxs_tables),
        cmocka_unit_test(test_types),
    };
    return cmocka_run_group_tests(tests, load_vectors, free_vectors);
}
