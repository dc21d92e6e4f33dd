/* Converted checkpoints: every tensor of the source is in the file under its other name, with equal
 * values. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "temporary.h"

#include "gguf-tool/json_file.h"
#include "gguf-tool/safetensors.h"
#include "gguf-tool/tool.h"
#include "gguf/gguf_reader.h"

static int convert(const char *directory, const char *type, const char *output) {
    char *argv[] = {
        "convert", (char *)(uintptr_t)directory, "--recipe",       (char *)(uintptr_t)type,
        "-o",      (char *)(uintptr_t)output,    "--no-tokenizer", "--force",
        NULL};
    return ds4_tool_convert(8, argv);
}

/* The names of one layer: in the checkpoint, in the file. Written down once more, apart from the
 * program's table. */
static const char *const names[][2] = {
    {"attn.attn_sink", "attn_sinks.weight"},
    {"attn.wq_a.weight", "attn_q_a.weight"},
    {"attn.wq_b.weight", "attn_q_b.weight"},
    {"attn.q_norm.weight", "attn_q_a_norm.weight"},
    {"attn.wkv.weight", "attn_kv.weight"},
    {"attn.kv_norm.weight", "attn_kv_a_norm.weight"},
    {"attn.wo_a.weight", "attn_output_a.weight"},
    {"attn.wo_b.weight", "attn_output_b.weight"},
    {"attn.compressor.ape", "attn_compressor_ape.weight"},
    {"attn.compressor.wkv.weight", "attn_compressor_kv.weight"},
    {"attn.compressor.wgate.weight", "attn_compressor_gate.weight"},
    {"attn.compressor.norm.weight", "attn_compressor_norm.weight"},
    {"attn.indexer.wq_b.weight", "indexer.attn_q_b.weight"},
    {"attn.indexer.weights_proj.weight", "indexer.proj.weight"},
    {"attn.indexer.compressor.ape", "indexer_compressor_ape.weight"},
    {"attn.indexer.compressor.wkv.weight", "indexer_compressor_kv.weight"},
    {"attn.indexer.compressor.wgate.weight", "indexer_compressor_gate.weight"},
    {"attn.indexer.compressor.norm.weight", "indexer_compressor_norm.weight"},
    {"attn_norm.weight", "attn_norm.weight"},
    {"ffn_norm.weight", "ffn_norm.weight"},
    {"hc_attn_base", "hc_attn_base.weight"},
    {"hc_attn_fn", "hc_attn_fn.weight"},
    {"hc_attn_scale", "hc_attn_scale.weight"},
    {"hc_ffn_base", "hc_ffn_base.weight"},
    {"hc_ffn_fn", "hc_ffn_fn.weight"},
    {"hc_ffn_scale", "hc_ffn_scale.weight"},
    {"ffn.gate.weight", "ffn_gate_inp.weight"},
    {"ffn.gate.bias", "exp_probs_b.bias"},
    {"ffn.gate.tid2eid", "ffn_gate_tid2eid.weight"},
    {"ffn.shared_experts.w1.weight", "ffn_gate_shexp.weight"},
    {"ffn.shared_experts.w2.weight", "ffn_down_shexp.weight"},
    {"ffn.shared_experts.w3.weight", "ffn_up_shexp.weight"},
    {"embed.weight", "token_embd.weight"},
    {"norm.weight", "output_norm.weight"},
    {"head.weight", "output.weight"},
    {"hc_head_base", "output_hc_base.weight"},
    {"hc_head_fn", "output_hc_fn.weight"},
    {"hc_head_scale", "output_hc_scale.weight"},
};

/* The file's name for a source tensor; of a routed expert also its number. */
static void name_in_file(const char *source, char name[64], size_t *expert) {
    unsigned layer = 0, e = 0, w = 0;
    int used = 0;
    const char *rest = source;
    *expert = 0;
    bool in_layer = sscanf(source, "layers.%u.%n", &layer, &used) == 1 && used > 0;
    if (in_layer) rest += used;
    if (sscanf(rest, "ffn.experts.%u.w%u.weight", &e, &w) == 2) {
        snprintf(name, 64, "blk.%u.ffn_%s_exps.weight", layer,
                 w == 1   ? "gate"
                 : w == 2 ? "down"
                          : "up");
        *expert = e;
        return;
    }
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(names[i][0], rest) != 0) continue;
        if (in_layer)
            snprintf(name, 64, "blk.%u.%s", layer, names[i][1]);
        else
            snprintf(name, 64, "%s", names[i][1]);
        return;
    }
    fail_msg("unexpected source tensor %s", source);
}

/* One element of the source as the file must hold it. */
static void expect_element(const ds4_safetensor *source, const uint8_t *data, uint64_t i,
                           const ds4_gguf_tensor *tensor, uint64_t at) {
    const uint8_t *have = (const uint8_t *)tensor->data;
    if (source->dtype == DS4_DTYPE_I64) {
        assert_int_equal(tensor->type, DS4_TYPE_I32);
        assert_memory_equal(have + 4 * at, data + 8 * i, 4);
        return;
    }
    uint8_t wide[4] = {0};
    if (source->dtype == DS4_DTYPE_F32)
        memcpy(wide, data + 4 * i, 4);
    else
        memcpy(wide + 2, data + 2 * i, 2);
    if (tensor->type == DS4_TYPE_F32) {
        if (memcmp(have + 4 * at, wide, 4) != 0)
            fail_msg("%s: element %zu differs", source->name, (size_t)i);
    } else {
        assert_int_equal(tensor->type, DS4_TYPE_BF16);
        if (memcmp(have + 2 * at, wide + 2, 2) != 0)
            fail_msg("%s: element %zu differs", source->name, (size_t)i);
    }
}

static void compare_checkpoint(const char *directory, const char *type) {
    const char *output = in_temporary("converted.gguf");
    ds4_error error = {0};
    ds4_safetensors *source = NULL;
    ds4_gguf *gguf = NULL;
    uint64_t n_elements = 0, n_in_file = 0;
    assert_int_equal(convert(directory, type, output), EXIT_OK);
    assert_int_equal(ds4_safetensors_open(directory, &source, &error), DS4_OK);
    if (ds4_gguf_open(output, NULL, &gguf, &error) != DS4_OK) fail_msg("%s", error.message);
    assert_int_equal(ds4_gguf_alignment(gguf), 4096);
    for (size_t i = 0; i < ds4_safetensors_count(source); i++) {
        const ds4_safetensor *tensor = ds4_safetensors_at(source, i);
        char name[64];
        size_t expert;
        name_in_file(tensor->name, name, &expert);
        const ds4_gguf_tensor *target = ds4_gguf_find_tensor(gguf, name);
        if (target == NULL) fail_msg("%s became no %s", tensor->name, name);
        for (uint32_t d = 0; d < tensor->n_dims; d++) {
            assert_int_equal(tensor->shape[tensor->n_dims - 1 - d], target->ne[d]);
        }
        if (tensor->n_dims == 1) assert_int_equal(target->type, DS4_TYPE_F32);
        uint8_t *data = malloc(tensor->n_bytes);
        assert_non_null(data);
        assert_int_equal(ds4_source_file_read(tensor->file, tensor->offset, data,
                                              (size_t)tensor->n_bytes, &error),
                         DS4_OK);
        for (uint64_t e = 0; e < tensor->n_elements; e++) {
            expect_element(tensor, data, e, target, expert * tensor->n_elements + e);
        }
        free(data);
        n_elements += tensor->n_elements;
    }
    for (uint64_t i = 0; i < ds4_gguf_n_tensors(gguf); i++)
        n_in_file += ds4_gguf_tensor_at(gguf, i)->n_elements;
    assert_int_equal(n_elements, n_in_file); /* nothing was invented */
    ds4_gguf_close(gguf);
    ds4_safetensors_close(source);
}

static void test_values_survive(void **state) {
    (void)state;
    compare_checkpoint(DS4_FIXTURES "/oracle/hf-a", "f32");
    compare_checkpoint(DS4_FIXTURES "/oracle/hf-a", "bf16");
    compare_checkpoint(DS4_FIXTURES "/oracle/hf-b", "f32");
    compare_checkpoint(DS4_FIXTURES "/oracle/hf-b", "bf16");
}

static void expect_u32(const ds4_gguf *gguf, const char *key, uint32_t expected) {
    uint32_t value = 0;
    ds4_error error = {0};
    if (ds4_gguf_get_u32(gguf, key, &value, &error) != DS4_OK) fail_msg("%s", error.message);
    if (value != expected) fail_msg("%s is %u instead of %u", key, value, expected);
}

static void expect_f32(const ds4_gguf *gguf, const char *key, float expected) {
    double value = 0;
    ds4_error error = {0};
    if (ds4_gguf_get_f64(gguf, key, &value, &error) != DS4_OK) fail_msg("%s", error.message);
    if ((float)value != expected) fail_msg("%s is %g", key, value);
}

static void test_metadata(void **state) {
    (void)state;
    static const struct {
        const char *key;
        uint32_t value;
    } integers[] = {
        {"deepseek4.block_count", 7},
        {"deepseek4.context_length", 1048576},
        {"deepseek4.embedding_length", 128},
        {"deepseek4.vocab_size", 512},
        {"deepseek4.attention.head_count", 4},
        {"deepseek4.attention.head_count_kv", 1},
        {"deepseek4.attention.key_length", 64},
        {"deepseek4.attention.value_length", 64},
        {"deepseek4.rope.dimension_count", 16},
        {"deepseek4.attention.q_lora_rank", 64},
        {"deepseek4.attention.output_lora_rank", 32},
        {"deepseek4.attention.output_group_count", 2},
        {"deepseek4.expert_count", 8},
        {"deepseek4.expert_used_count", 3},
        {"deepseek4.expert_feed_forward_length", 64},
        {"deepseek4.expert_shared_count", 1},
        {"deepseek4.expert_gating_func", 4},
        {"deepseek4.hash_layer_count", 3},
        {"deepseek4.attention.sliding_window", 32},
        {"deepseek4.attention.indexer.head_count", 4},
        {"deepseek4.attention.indexer.key_length", 32},
        {"deepseek4.attention.indexer.top_k", 16},
        {"deepseek4.hyper_connection.count", 4},
        {"deepseek4.hyper_connection.sinkhorn_iterations", 20},
        {"deepseek4.rope.scaling.original_context_length", 65536},
    };
    static const uint64_t ratios[] = {0, 0, 4, 128, 4, 128, 4};
    const char *output = in_temporary("metadata.gguf");
    ds4_error error = {0};
    ds4_gguf *gguf = NULL;
    ds4_gguf_string text;
    bool flag = false;
    const ds4_gguf_value *value;
    assert_int_equal(convert(DS4_FIXTURES "/oracle/hf-a", "q8_0", output), EXIT_OK);
    assert_int_equal(ds4_gguf_open(output, NULL, &gguf, &error), DS4_OK);
    for (size_t i = 0; i < sizeof integers / sizeof integers[0]; i++) {
        expect_u32(gguf, integers[i].key, integers[i].value);
        assert_int_equal(ds4_gguf_find_value(gguf, integers[i].key)->type, DS4_GGUF_U32);
    }
    expect_f32(gguf, "deepseek4.rope.freq_base", 10000.0f);
    expect_f32(gguf, "deepseek4.attention.compress_rope_freq_base", 160000.0f);
    expect_f32(gguf, "deepseek4.rope.scaling.factor", 16.0f);
    expect_f32(gguf, "deepseek4.rope.scaling.yarn_beta_fast", 32.0f);
    expect_f32(gguf, "deepseek4.rope.scaling.yarn_beta_slow", 1.0f);
    expect_f32(gguf, "deepseek4.expert_weights_scale", 1.5f);
    expect_f32(gguf, "deepseek4.attention.layer_norm_rms_epsilon", 1e-6f);
    expect_f32(gguf, "deepseek4.hyper_connection.epsilon", 1e-6f);
    assert_int_equal(ds4_gguf_get_bool(gguf, "deepseek4.expert_weights_norm", &flag, &error),
                     DS4_OK);
    assert_true(flag);
    assert_int_equal(ds4_gguf_get_string(gguf, "general.architecture", &text, &error), DS4_OK);
    assert_int_equal(text.n, 9);
    assert_memory_equal(text.data, "deepseek4", 9);
    assert_int_equal(ds4_gguf_get_string(gguf, "general.name", &text, &error), DS4_OK);
    assert_int_equal(text.n, 4);
    assert_memory_equal(text.data, "hf-a", 4);
    assert_int_equal(
        ds4_gguf_get_number_array(gguf, "deepseek4.attention.compress_ratios", &value, &error),
        DS4_OK);
    assert_int_equal(value->count, 7);
    for (uint64_t i = 0; i < 7; i++) {
        uint64_t ratio = 1;
        assert_true(ds4_gguf_value_u64(value, i, &ratio));
        assert_int_equal(ratio, ratios[i]);
    }
    assert_int_equal(ds4_gguf_get_number_array(gguf, "deepseek4.swiglu_clamp_exp", &value, &error),
                     DS4_OK);
    assert_int_equal(value->count, 7);
    assert_null(ds4_gguf_find_value(gguf, "tokenizer.ggml.tokens"));
    /* The types of --recipe q8. */
    assert_int_equal(ds4_gguf_find_tensor(gguf, "blk.0.attn_q_a.weight")->type, DS4_TYPE_Q8_0);
    assert_int_equal(ds4_gguf_find_tensor(gguf, "blk.0.ffn_gate_exps.weight")->type, DS4_TYPE_Q8_0);
    assert_int_equal(ds4_gguf_find_tensor(gguf, "output.weight")->type, DS4_TYPE_Q8_0);
    assert_int_equal(ds4_gguf_find_tensor(gguf, "token_embd.weight")->type, DS4_TYPE_F16);
    assert_int_equal(ds4_gguf_find_tensor(gguf, "blk.0.hc_attn_fn.weight")->type, DS4_TYPE_F16);
    assert_int_equal(ds4_gguf_find_tensor(gguf, "blk.0.hc_attn_base.weight")->type, DS4_TYPE_F32);
    assert_int_equal(ds4_gguf_find_tensor(gguf, "blk.0.ffn_gate_tid2eid.weight")->type,
                     DS4_TYPE_I32);
    ds4_gguf_close(gguf);
}

/* ---- refusals ---- */

static void test_wrong_usage(void **state) {
    (void)state;
    char *no_output[] = {"convert", ".", NULL};
    char *no_directory[] = {"convert", "-o", "x", NULL};
    char *unknown[] = {"convert", ".", "-o", "x", "--typ", "f32", NULL};
    char *bad_type[] = {"convert", ".", "-o", "x", "--recipe", "q4_k", NULL};
    char *no_type[] = {"convert", ".", "-o", "x", NULL};
    char *no_value[] = {"convert", ".", "-o", NULL};
    char *help[] = {"convert", "--help", NULL};
    assert_int_equal(ds4_tool_convert(2, no_output), EXIT_USAGE);
    assert_int_equal(ds4_tool_convert(3, no_directory), EXIT_USAGE);
    assert_int_equal(ds4_tool_convert(6, unknown), EXIT_USAGE);
    assert_int_equal(ds4_tool_convert(6, bad_type), EXIT_USAGE);
    assert_int_equal(ds4_tool_convert(4, no_type), EXIT_USAGE);
    assert_int_equal(ds4_tool_convert(3, no_value), EXIT_USAGE);
    assert_int_equal(ds4_tool_convert(2, help), EXIT_OK);
}

/* The checkpoint hf-b with another config.json; its tensors by a link. */
static void write_changed_config(const char *from, const char *to) {
    size_t n;
    char *config = (char *)read_bytes(DS4_FIXTURES "/oracle/hf-b/config.json", &n);
    config[n] = '\0';
    char *place = strstr(config, from);
    assert_non_null(place);
    char *changed = malloc(n + strlen(to) + 1);
    assert_non_null(changed);
    memcpy(changed, config, (size_t)(place - config));
    strcpy(changed + (place - config), to);
    strcat(changed, place + strlen(from));
    write_text(in_temporary("config.json"), changed);
    free(config);
    free(changed);
}

static void expect_config_refused(const char *from, const char *to) {
    write_changed_config(from, to);
    const char *output = in_temporary("refused.gguf");
    if (convert(temporary, "f32", output) != EXIT_FAILED) fail_msg("'%s' was accepted", to);
    assert_int_not_equal(access(output, F_OK), 0);
    assert_int_not_equal(access(in_temporary("refused.gguf.tmp"), F_OK), 0);
}

/* A model that was trained without simulated rounding says so, and the file repeats it. */
static void expect_simulation_kept(void) {
    ds4_gguf *gguf;
    ds4_gguf_string text;
    char output[384];
    snprintf(output, sizeof output, "%s", in_temporary("simulation.gguf"));
    write_changed_config("\"hidden_size\": 256",
                         "\"ds4_simulated_quantization\": \"none\", \"hidden_size\": 256");
    assert_int_equal(convert(temporary, "f32", output), EXIT_OK);
    assert_int_equal(ds4_gguf_open(output, NULL, &gguf, NULL), DS4_OK);
    assert_int_equal(ds4_gguf_get_string(gguf, "ds4.simulated_quantization", &text, NULL), DS4_OK);
    assert_int_equal(text.n, 4);
    assert_memory_equal(text.data, "none", 4);
    ds4_gguf_close(gguf);
    unlink(output);
}

static void test_bad_checkpoints(void **state) {
    (void)state;
    char output[384];
    snprintf(output, sizeof output, "%s", in_temporary("refused.gguf"));
    assert_int_equal(convert("/nonexistent", "f32", output), EXIT_FAILED);
    assert_int_equal(
        symlink(DS4_FIXTURES "/oracle/hf-b/model.safetensors", in_temporary("model.safetensors")),
        0);
    assert_int_equal(convert(temporary, "f32", output), EXIT_FAILED); /* no config.json */
    expect_config_refused("\"hidden_size\": 256", "\"hidden_size\": 512");
    expect_config_refused("\"hidden_size\": 256", "\"hidden_size\": \"256\"");
    expect_config_refused("\"hidden_size\": 256,", "");
    expect_config_refused("\"num_hidden_layers\": 3",
                          "\"num_hidden_layers\": 2"); /* tensors nobody asked for */
    expect_config_refused("\"num_hidden_layers\": 3",
                          "\"num_hidden_layers\": 4"); /* tensors that are not there */
    expect_config_refused("\"num_hidden_layers\": 3", "\"num_hidden_layers\": 0");
    expect_config_refused("\"n_routed_experts\": 4", "\"n_routed_experts\": 3");
    expect_config_refused("\"sqrtsoftplus\"", "\"softmax\"");
    expect_config_refused("\"n_shared_experts\": 1", "\"n_shared_experts\": 2");
    expect_config_refused("\"o_groups\": 2", "\"o_groups\": 3");
    expect_config_refused("{", "");
    expect_config_refused("{", "{\"ds4_simulated_quantization\": \"some\",");
    expect_simulation_kept();
    /* Without --no-tokenizer there must be one. */
    char *argv[] = {"convert", DS4_FIXTURES "/oracle/hf-b", "-o", output, "--recipe", "f32", NULL};
    assert_int_equal(ds4_tool_convert(6, argv), EXIT_FAILED);
    assert_int_not_equal(access(output, F_OK), 0);
}

static int convert_with_rules(const char *rules, const char *output) {
    char *argv[] = {"convert",
                    DS4_FIXTURES "/oracle/hf-a",
                    "-o",
                    (char *)(uintptr_t)output,
                    "--no-tokenizer",
                    "--recipe",
                    "q8_0",
                    "--type",
                    (char *)(uintptr_t)rules,
                    "--type",
                    "output.weight=f32",
                    "--force",
                    NULL};
    return ds4_tool_convert(12, argv);
}

static void test_types_by_name(void **state) {
    (void)state;
    const char *output = in_temporary("types.gguf");
    ds4_error error = {0};
    ds4_gguf *gguf = NULL;
    assert_int_equal(
        convert_with_rules("blk.*.ffn_*_exps.*=bf16,blk.0.*=f32,token_embd*=Q8_0", output), 0);
    assert_int_equal(ds4_gguf_open(output, NULL, &gguf, &error), DS4_OK);
    static const struct {
        const char *name;
        ds4_type type;
    } expected[] = {{"token_embd.weight", DS4_TYPE_Q8_0},
                    {"blk.0.ffn_up_exps.weight", DS4_TYPE_F32}, /* the last rule decides */
                    {"blk.1.ffn_up_exps.weight", DS4_TYPE_BF16},
                    {"blk.0.attn_norm.weight", DS4_TYPE_F32},
                    {"blk.1.attn_norm.weight", DS4_TYPE_F32}, /* vectors stay */
                    {"blk.1.attn_kv.weight", DS4_TYPE_Q8_0},
                    {"output.weight", DS4_TYPE_F32}};
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        const ds4_gguf_tensor *tensor = ds4_gguf_find_tensor(gguf, expected[i].name);
        assert_non_null(tensor);
        assert_int_equal(tensor->type, expected[i].type);
    }
    ds4_gguf_close(gguf);
    static const char *const bad[] = {
        "token_embd", "=f16", "token_embd*=q3_x", "nothing*=f16", "*norm*=f16", "token_embd*=", ""};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_not_equal(convert_with_rules(bad[i], output), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values_survive),  cmocka_unit_test(test_metadata),
        cmocka_unit_test(test_types_by_name),   cmocka_unit_test(test_wrong_usage),
        cmocka_unit_test(test_bad_checkpoints),
    };
    return cmocka_run_group_tests(tests, make_temporary, remove_temporary);
}
