/* A sound container that holds no model of ours: every problem is named, in one message. The files
 * are ds4-nano with a few bytes of its directory or metadata changed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "model/weights.h"

static ds4_strbuf nano;
static size_t directory_end; /* where the zeros before the payloads begin */
static uint8_t *bytes;       /* what a test changes */

/* Where `name` stands as a string with its length before it. */
static uint8_t *find(const char *name) {
    size_t n = strlen(name);
    for (size_t i = 8; i + n < nano.n; i++) {
        if (memcmp(bytes + i, name, n) == 0 && bytes[i - 8] == n &&
            memcmp(bytes + i - 7, "\0\0\0\0\0\0\0", 7) == 0)
            return bytes + i;
    }
    fail_msg("%s is not in the model", name);
    return NULL;
}

/* The parts of a tensor's record: u32 n_dims, then u64 dims, then u32 type. */
static uint8_t *dims_of(const char *tensor) {
    return find(tensor) + strlen(tensor) + 4;
}
static uint8_t *type_of(const char *tensor) {
    uint8_t *dims = dims_of(tensor);
    return dims + 8 * dims[-4];
}

static void rename_it(const char *name) {
    find(name)[0] ^= 1;
}

/* Takes the one dimension of a tensor away; what follows moves up. */
static void make_scalar(const char *tensor) {
    uint8_t *dims = dims_of(tensor);
    assert_int_equal(dims[-4], 1);
    dims[-4] = 0;
    memmove(dims, dims + 8, (size_t)(bytes + directory_end - dims) - 8);
    memset(bytes + directory_end - 8, 0, 8);
}

static ds4_status load(ds4_error *error) {
    ds4_gguf *gguf = NULL;
    ds4_hparams hparams;
    ds4_weights weights;
    if (ds4_gguf_open_memory(bytes, nano.n, NULL, &gguf, error) != DS4_OK)
        fail_msg("the container: %s", error->message);
    ds4_status status = ds4_hparams_read(gguf, &hparams, error);
    if (status == DS4_OK) {
        status = ds4_weights_bind(gguf, &hparams, &weights, error);
        if (status == DS4_OK) ds4_weights_free(&weights);
        ds4_hparams_free(&hparams);
    }
    ds4_gguf_close(gguf);
    return status;
}

static void refused_with(const char *first, const char *second) {
    ds4_error error = {0};
    assert_int_equal(load(&error), DS4_FORMAT);
    if (strstr(error.message, first) == NULL) fail_msg("'%s' lacks '%s'", error.message, first);
    if (second != NULL && strstr(error.message, second) == NULL)
        fail_msg("'%s' lacks '%s'", error.message, second);
}

static int copy(void **state) {
    (void)state;
    memcpy(bytes, nano.data, nano.n);
    return 0;
}

static void test_scalars_where_one_element_is_expected(void **state) {
    (void)state;
    ds4_error error = {0};
    make_scalar("output_hc_scale.weight");
    if (load(&error) != DS4_OK) fail_msg("%s", error.message);
    make_scalar("output_norm.weight");
    refused_with("tensor output_norm.weight is [1, 1, 1], expected [256, 1, 1]", NULL);
}

static void test_missing_tensors(void **state) {
    (void)state;
    rename_it("blk.3.attn_q_a.weight");
    rename_it("blk.5.ffn_down_exps.weight");
    refused_with("missing tensor blk.3.attn_q_a.weight",
                 "missing tensor blk.5.ffn_down_exps.weight");
    rename_it("token_embd.weight");
    for (char layer = '0'; layer < '6'; layer++) {
        char name[] = "blk.0.attn_kv.weight";
        name[4] = layer;
        rename_it(name);
    }
    refused_with("missing tensor token_embd.weight", "; and 3 more problems");
}

static void test_wrong_dimensions(void **state) {
    (void)state;
    uint8_t *dims = dims_of("blk.2.ffn_gate_inp.weight"); /* [256, 5] */
    dims[0] = 5, dims[1] = 0;
    dims[8] = 0, dims[9] = 1;
    refused_with("tensor blk.2.ffn_gate_inp.weight is [5, 256, 1], expected [256, 5, 1]", NULL);
}

static void test_wrong_types(void **state) {
    (void)state;
    type_of("output_norm.weight")[0] = 26; /* I32 */
    type_of("blk.0.ffn_gate_tid2eid.weight")[0] = 0;
    refused_with("tensor output_norm.weight has type I32", "blk.0.ffn_gate_tid2eid.weight");
}

static void test_impossible_expert(void **state) {
    (void)state;
    ds4_gguf *gguf = NULL;
    ds4_error error = {0};
    assert_int_equal(ds4_gguf_open_memory(bytes, nano.n, NULL, &gguf, &error), DS4_OK);
    bytes[ds4_gguf_find_tensor(gguf, "blk.0.ffn_gate_tid2eid.weight")->file_offset + 8] = 5;
    ds4_gguf_close(gguf);
    refused_with("names expert 5 for token 1, but there are 5 experts", NULL);
}

static void test_metadata(void **state) {
    (void)state;
    static const char used[] = "deepseek4.expert_used_count";
    rename_it("deepseek4.attention.sliding_window");
    rename_it("deepseek4.swiglu_clamp_exp");
    refused_with("metadata key 'deepseek4.attention.sliding_window' is missing",
                 "missing metadata key deepseek4.swiglu_clamp_exp");
    find(used)[strlen(used) + 4] = 0;
    refused_with("deepseek4.expert_used_count is 0", "sliding_window");
    rename_it("general.architecture");
    refused_with("metadata key 'general.architecture' is missing", NULL);
}

static int read_nano(void **state) {
    (void)state;
    ds4_gguf *gguf = NULL;
    ds4_error error = {0};
    if (ds4_file_read(DS4_NANO, 1 << 26, &nano, &error) != DS4_OK) return 1;
    if (ds4_gguf_open_memory(nano.data, nano.n, NULL, &gguf, &error) != DS4_OK) return 1;
    directory_end = (size_t)ds4_gguf_data_start(gguf);
    ds4_gguf_close(gguf);
    bytes = malloc(nano.n);
    return bytes == NULL;
}

static int drop_nano(void **state) {
    (void)state;
    free(bytes);
    ds4_strbuf_free(&nano);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_scalars_where_one_element_is_expected, copy),
        cmocka_unit_test_setup(test_missing_tensors, copy),
        cmocka_unit_test_setup(test_wrong_dimensions, copy),
        cmocka_unit_test_setup(test_wrong_types, copy),
        cmocka_unit_test_setup(test_impossible_expert, copy),
        cmocka_unit_test_setup(test_metadata, copy),
    };
    return cmocka_run_group_tests(tests, read_nano, drop_nano);
}
