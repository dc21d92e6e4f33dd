/* Golden logits of the float64 Transformers implementation (fixtures/oracle): checkpoints in the
 * official layout, converted by ds4-gguf to F32 and to BF16 before this test runs
 * (tests/CMakeLists.txt). */
#include <json-c/json.h>

#include "oracle.h"

static ds4_backend_kind backend; /* the CPU, or what the first argument names */

static void compare_sequence(ds4_engine *engine, const ds4_model *model,
                             struct json_object *sequence, const char *golden) {
    struct json_object *ids = json_object_object_get(sequence, "tokens");
    uint32_t n = (uint32_t)json_object_array_length(ids);
    uint32_t first =
        (uint32_t)json_object_get_int(json_object_object_get(sequence, "first_position"));
    uint32_t n_rows = (uint32_t)json_object_get_int(json_object_object_get(sequence, "rows"));
    size_t offset = (size_t)json_object_get_int64(json_object_object_get(sequence, "offset_bytes"));
    size_t n_vocab = ds4_model_get_info(model)->n_vocab;
    int32_t *tokens = malloc(n * sizeof *tokens);
    assert_non_null(tokens);
    for (uint32_t i = 0; i < n; i++)
        tokens[i] = json_object_get_int(json_object_array_get_idx(ids, i));
    float *logits = oracle_evaluate(engine, model, tokens, n, 256);
    oracle_difference d = oracle_compare(
        logits + first * n_vocab, (const float *)(const void *)(golden + offset), n_rows, n_vocab);
    print_message("%s: %u rows, max |difference| %.3g, top-1 %u\n",
                  json_object_get_string(json_object_object_get(sequence, "name")), n_rows, d.worst,
                  d.same_top);
    assert_true(d.worst <= 5e-4);
    assert_int_equal(d.same_top, n_rows);
    free(logits);
    free(tokens);
}

static void compare_checkpoint(const char *name, const char *type) {
    char path[512];
    size_t n_bytes, n_golden;
    ds4_model *model;
    ds4_engine *engine;
    snprintf(path, sizeof path, "%s/oracle/%s/logits.f32", DS4_FIXTURES, name);
    char *golden = oracle_read(path, &n_golden);
    snprintf(path, sizeof path, "%s/oracle/%s/logits.json", DS4_FIXTURES, name);
    char *text = oracle_read(path, &n_bytes);
    struct json_object *index = json_tokener_parse(text);
    assert_non_null(index);
    snprintf(path, sizeof path, "%s/%s-%s.gguf", DS4_CONVERTED, name, type);
    CHECK_OK(ds4_model_open(path, NULL, &model, error));
    ds4_engine_options options = {
        .kv_sim = DS4_KV_SIM_NONE, .max_context = 1024, .backend = backend};
    CHECK_OK(ds4_engine_create(model, &options, &engine, error));
    struct json_object *sequences = json_object_object_get(index, "sequences");
    assert_true(json_object_array_length(sequences) > 0);
    for (size_t i = 0; i < json_object_array_length(sequences); i++)
        compare_sequence(engine, model, json_object_array_get_idx(sequences, i), golden);
    ds4_engine_destroy(engine);
    ds4_model_close(model);
    json_object_put(index);
    free(text);
    free(golden);
}

static void hf_a(void **state) {
    (void)state;
    compare_checkpoint("hf-a", "f32");
    compare_checkpoint("hf-a", "bf16");
}

static void hf_b(void **state) {
    (void)state;
    compare_checkpoint("hf-b", "f32");
    compare_checkpoint("hf-b", "bf16");
}

/* FP8 and FP4 weights; the golden numbers are of a NumPy implementation (official.py). */
static void official(void **state) {
    (void)state;
    compare_checkpoint("official", "f32");
    compare_checkpoint("official", "mxfp4");
}

/* 48 lanes cannot be cut into FP8 blocks of 64: asking for the simulation is an error, not a silent
 * no-op. */
static void impossible_simulation_is_refused(void **state) {
    (void)state;
    ds4_model *model;
    ds4_engine *engine = NULL;
    ds4_error problem = {0};
    CHECK_OK(ds4_model_open(DS4_CONVERTED "/hf-a-f32.gguf", NULL, &model, error));
    ds4_engine_options options = {.kv_sim = DS4_KV_SIM_FULL};
    assert_int_equal(ds4_engine_create(model, &options, &engine, &problem), DS4_UNSUPPORTED);
    assert_non_null(strstr(problem.message, "--kv-sim none"));
    ds4_model_close(model);
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "cuda") == 0) backend = DS4_BACKEND_CUDA;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hf_a),
        cmocka_unit_test(hf_b),
        cmocka_unit_test(official),
        cmocka_unit_test(impossible_simulation_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
