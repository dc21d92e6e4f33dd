#include "gguf-tool/shape.h"

#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "base/error.h"

#define ARCHITECTURE "deepseek4"

/* One number: its name in config.json (dots enter objects), its key in GGUF, its place in
 * ds4_shape. */
typedef struct field {
    const char *config, *key;
    size_t offset;
    uint32_t min;
} field;

#define FIELD(config, key, member, min)                                                            \
    { config, ARCHITECTURE "." key, offsetof(ds4_shape, member), min }

static const field integers[] = {
    FIELD("num_hidden_layers", "block_count", n_layers, 1),
    FIELD("max_position_embeddings", "context_length", context_length, 1),
    FIELD("hidden_size", "embedding_length", n_embd, 1),
    FIELD("vocab_size", "vocab_size", n_vocab, 1),
    FIELD("num_attention_heads", "attention.head_count", n_heads, 1),
    FIELD("head_dim", "attention.key_length", head_dim, 1),
    FIELD("qk_rope_head_dim", "rope.dimension_count", rope_dim, 1),
    FIELD("q_lora_rank", "attention.q_lora_rank", q_lora, 1),
    FIELD("o_lora_rank", "attention.output_lora_rank", o_lora, 1),
    FIELD("o_groups", "attention.output_group_count", o_groups, 1),
    FIELD("n_routed_experts", "expert_count", n_experts, 1),
    FIELD("num_experts_per_tok", "expert_used_count", n_experts_used, 1),
    FIELD("moe_intermediate_size", "expert_feed_forward_length", n_ff, 1),
    FIELD("num_hash_layers", "hash_layer_count", n_hash_layers, 0),
    FIELD("sliding_window", "attention.sliding_window", window, 1),
    FIELD("index_n_heads", "attention.indexer.head_count", indexer_heads, 1),
    FIELD("index_head_dim", "attention.indexer.key_length", indexer_dim, 1),
    FIELD("index_topk", "attention.indexer.top_k", indexer_top_k, 1),
    FIELD("hc_mult", "hyper_connection.count", n_streams, 1),
    FIELD("hc_sinkhorn_iters", "hyper_connection.sinkhorn_iterations", sinkhorn_iterations, 1),
    FIELD("rope_scaling.original_max_position_embeddings", "rope.scaling.original_context_length",
          rope_original_context, 1),
};

static const field floats[] = {
    FIELD("rms_norm_eps", "attention.layer_norm_rms_epsilon", rms_eps, 0),
    FIELD("hc_eps", "hyper_connection.epsilon", hc_eps, 0),
    FIELD("rope_theta", "rope.freq_base", rope_base, 0),
    FIELD("compress_rope_theta", "attention.compress_rope_freq_base", compress_rope_base, 0),
    FIELD("rope_scaling.factor", "rope.scaling.factor", rope_factor, 0),
    FIELD("rope_scaling.beta_fast", "rope.scaling.yarn_beta_fast", yarn_beta_fast, 0),
    FIELD("rope_scaling.beta_slow", "rope.scaling.yarn_beta_slow", yarn_beta_slow, 0),
    FIELD("routed_scaling_factor", "expert_weights_scale", expert_weights_scale, 0),
};

/* Written once more under its own key, or under each layer: not a plain scalar. */
static const field clamp = {"swiglu_limit", ARCHITECTURE ".swiglu_clamp_exp",
                            offsetof(ds4_shape, swiglu_clamp), 0};

static uint32_t *integer_of(ds4_shape *shape, const field *f) {
    return (uint32_t *)(void *)((char *)shape + f->offset);
}
static float *float_of(ds4_shape *shape, const field *f) {
    return (float *)(void *)((char *)shape + f->offset);
}

/* ---- config.json ---- */

static const json_object *find(const json_object *config, const char *path) {
    const char *dot = strchr(path, '.');
    json_object *member = NULL;
    char outer[64];
    if (dot == NULL) return json_object_object_get_ex(config, path, &member) ? member : NULL;
    memcpy(outer, path, (size_t)(dot - path));
    outer[dot - path] = '\0';
    if (!json_object_object_get_ex(config, outer, &member) ||
        !json_object_is_type(member, json_type_object))
        return NULL;
    return find(member, dot + 1);
}

static ds4_status read_integer(const json_object *config, const field *f, uint32_t *value,
                               ds4_error *error) {
    const json_object *member = find(config, f->config);
    if (member == NULL)
        return ds4_fail(error, DS4_FORMAT, "config.json: '%s' is missing", f->config);
    int64_t n = json_object_is_type(member, json_type_int) ? json_object_get_int64(member) : -1;
    if (n < (int64_t)f->min || n > UINT32_MAX) {
        return ds4_fail(error, DS4_FORMAT, "config.json: '%s' is not a whole number >= %" PRIu32,
                        f->config, f->min);
    }
    *value = (uint32_t)n;
    return DS4_OK;
}

static ds4_status read_float(const json_object *config, const field *f, float *value,
                             ds4_error *error) {
    const json_object *member = find(config, f->config);
    if (member == NULL)
        return ds4_fail(error, DS4_FORMAT, "config.json: '%s' is missing", f->config);
    bool is_number =
        json_object_is_type(member, json_type_int) || json_object_is_type(member, json_type_double);
    *value = is_number ? (float)json_object_get_double(member) : NAN;
    if (isfinite(*value) && *value >= 0) return DS4_OK;
    return ds4_fail(error, DS4_FORMAT, "config.json: '%s' is not a number >= 0", f->config);
}

static ds4_status read_ratios(const json_object *config, ds4_shape *shape, ds4_error *error) {
    json_object *ratios = NULL;
    if (!json_object_object_get_ex(config, "compress_ratios", &ratios) ||
        !json_object_is_type(ratios, json_type_array) ||
        json_object_array_length(ratios) < shape->n_layers) {
        return ds4_fail(error, DS4_FORMAT,
                        "config.json: 'compress_ratios' is not an array of at least %" PRIu32
                        " numbers",
                        shape->n_layers);
    }
    for (uint32_t i = 0; i < shape->n_layers; i++) {
        const json_object *ratio = json_object_array_get_idx(ratios, i);
        int64_t n = json_object_is_type(ratio, json_type_int) ? json_object_get_int64(ratio) : -1;
        if (n < 0 || n > 65536) {
            return ds4_fail(error, DS4_FORMAT,
                            "config.json: compress_ratios[%" PRIu32 "] is not from 0 to 65536", i);
        }
        shape->ratios[i] = (int32_t)n;
    }
    return DS4_OK;
}

/* Members that have only one meaning which we can express: wrong when present with another value.
 */
static ds4_status check_fixed(const json_object *config, ds4_error *error) {
    static const struct {
        const char *name, *value;
    } fixed[] = {
        {"num_key_value_heads", "1"},       {"n_shared_experts", "1"},
        {"norm_topk_prob", "true"},         {"scoring_func", "sqrtsoftplus"},
        {"tie_word_embeddings", "false"},   {"rope_scaling.type", "yarn"},
        {"rope_scaling.rope_type", "yarn"},
    };
    for (size_t i = 0; i < sizeof fixed / sizeof fixed[0]; i++) {
        const json_object *member = find(config, fixed[i].name);
        if (member == NULL) continue;
        const char *text = json_object_get_string((json_object *)(uintptr_t)member);
        if (text == NULL || strcmp(text, fixed[i].value) != 0) {
            return ds4_fail(error, DS4_UNSUPPORTED,
                            "config.json: '%s' is %.40s; only %s is defined", fixed[i].name,
                            text == NULL ? "null" : text, fixed[i].value);
        }
    }
    return DS4_OK;
}

static const struct {
    const char *name;
    ds4_kv_sim kv_sim;
} simulations[] = {{"full", DS4_KV_SIM_FULL}, {"fp4", DS4_KV_SIM_FP4}, {"none", DS4_KV_SIM_NONE}};

/* Our own optional member: models that were trained without simulated rounding say so. */
static ds4_status read_simulation(const json_object *config, ds4_shape *shape, ds4_error *error) {
    const json_object *member = find(config, "ds4_simulated_quantization");
    shape->kv_sim = DS4_KV_SIM_DEFAULT;
    if (member == NULL) return DS4_OK;
    const char *text = json_object_get_string((json_object *)member);
    for (size_t i = 0; i < sizeof simulations / sizeof simulations[0]; i++)
        if (text != NULL && strcmp(text, simulations[i].name) == 0)
            shape->kv_sim = simulations[i].kv_sim;
    if (shape->kv_sim != DS4_KV_SIM_DEFAULT) return DS4_OK;
    return ds4_fail(error, DS4_FORMAT,
                    "config.json: 'ds4_simulated_quantization' is not full, fp4 or none");
}

ds4_status ds4_shape_read_config(const json_object *config, ds4_shape *shape, ds4_error *error) {
    ds4_status status = DS4_OK;
    memset(shape, 0, sizeof *shape);
    for (size_t i = 0; i < sizeof integers / sizeof integers[0] && status == DS4_OK; i++) {
        status = read_integer(config, &integers[i], integer_of(shape, &integers[i]), error);
    }
    for (size_t i = 0; i < sizeof floats / sizeof floats[0] && status == DS4_OK; i++) {
        status = read_float(config, &floats[i], float_of(shape, &floats[i]), error);
    }
    if (status == DS4_OK) status = read_float(config, &clamp, &shape->swiglu_clamp, error);
    if (status == DS4_OK && shape->n_layers > DS4_SHAPE_MAX_LAYERS) {
        status = ds4_fail(error, DS4_UNSUPPORTED, "config.json: more than %d layers",
                          DS4_SHAPE_MAX_LAYERS);
    }
    if (status == DS4_OK) status = read_ratios(config, shape, error);
    if (status == DS4_OK && (uint64_t)shape->n_heads * shape->head_dim % shape->o_groups != 0) {
        status = ds4_fail(error, DS4_FORMAT,
                          "config.json: the heads do not divide into 'o_groups' groups");
    }
    if (status == DS4_OK) status = read_simulation(config, shape, error);
    if (status == DS4_OK) status = check_fixed(config, error);
    return status;
}

/* ---- presets ---- */

void ds4_shape_flash(ds4_shape *shape) {
    *shape = (ds4_shape){
        .n_layers = 43,
        .n_embd = 4096,
        .n_vocab = 129280,
        .n_heads = 64,
        .head_dim = 512,
        .rope_dim = 64,
        .q_lora = 1024,
        .o_lora = 1024,
        .o_groups = 8,
        .n_experts = 256,
        .n_experts_used = 6,
        .n_ff = 2048,
        .n_hash_layers = 3,
        .window = 128,
        .indexer_heads = 64,
        .indexer_dim = 128,
        .indexer_top_k = 512,
        .n_streams = 4,
        .sinkhorn_iterations = 20,
        .context_length = 1048576,
        .rope_original_context = 65536,
        .hc_eps = 1e-6f,
        .rms_eps = 1e-6f,
        .rope_base = 10000,
        .compress_rope_base = 160000,
        .rope_factor = 16,
        .yarn_beta_fast = 32,
        .yarn_beta_slow = 1,
        .expert_weights_scale = 1.5f,
        .swiglu_clamp = 10,
    };
    for (uint32_t i = 2; i < shape->n_layers; i++) shape->ratios[i] = i % 2 == 0 ? 4 : 128;
}

void ds4_shape_small(ds4_shape *shape) {
    ds4_shape_flash(shape);
    shape->n_layers =
        4; /* the first four: ratios 0, 0, 4, 128; three with hash routing, one without */
    shape->n_experts = 32;
}

void ds4_shape_tiny(ds4_shape *shape) {
    static const int32_t ratios[] = {0, 0, 4, 128, 4, 128};
    ds4_shape_flash(shape);
    shape->n_layers = 6;
    shape->n_embd = 256;
    shape->n_vocab = 320;
    shape->n_heads = 8;
    shape->head_dim = 160;
    shape->rope_dim = 32;
    shape->q_lora = 96;
    shape->o_lora = 64;
    shape->o_groups = 4;
    shape->n_experts = 8;
    shape->n_experts_used = 3;
    shape->n_ff = 256;
    shape->n_hash_layers = 2;
    shape->window = 16;
    shape->indexer_heads = 4;
    shape->indexer_top_k = 8;
    memcpy(shape->ratios, ratios, sizeof ratios);
}

/* ---- GGUF metadata ---- */

void ds4_shape_put_metadata(const ds4_shape *shape, const char *name, uint32_t file_type,
                            ds4_gguf_writer *writer) {
    ds4_shape values = *shape;
    float clamps[DS4_SHAPE_MAX_LAYERS];
    for (uint32_t i = 0; i < shape->n_layers; i++) clamps[i] = shape->swiglu_clamp;
    ds4_gguf_writer_put_string(writer, "general.architecture", ARCHITECTURE, strlen(ARCHITECTURE));
    ds4_gguf_writer_put_string(writer, "general.name", name, strlen(name));
    ds4_gguf_writer_put_string(writer, "general.type", "model", 5);
    ds4_gguf_writer_put_u32(writer, "general.file_type", file_type);
    ds4_gguf_writer_put_u32(writer, "general.quantization_version", 2);
    for (size_t i = 0; i < sizeof integers / sizeof integers[0]; i++) {
        ds4_gguf_writer_put_u32(writer, integers[i].key, *integer_of(&values, &integers[i]));
    }
    ds4_gguf_writer_put_u32(writer, ARCHITECTURE ".attention.head_count_kv", 1);
    ds4_gguf_writer_put_u32(writer, ARCHITECTURE ".attention.value_length", shape->head_dim);
    ds4_gguf_writer_put_u32(writer, ARCHITECTURE ".expert_shared_count", 1);
    ds4_gguf_writer_put_u32(writer, ARCHITECTURE ".expert_gating_func", 4); /* sqrt(softplus) */
    ds4_gguf_writer_put_bool(writer, ARCHITECTURE ".expert_weights_norm", true);
    ds4_gguf_writer_put_string(writer, ARCHITECTURE ".rope.scaling.type", "yarn", 4);
    for (size_t i = 0; i < sizeof floats / sizeof floats[0]; i++) {
        ds4_gguf_writer_put_f32(writer, floats[i].key, *float_of(&values, &floats[i]));
    }
    ds4_gguf_writer_put_i32_array(writer, ARCHITECTURE ".attention.compress_ratios", shape->ratios,
                                  shape->n_layers);
    ds4_gguf_writer_put_f32_array(writer, clamp.key, clamps, shape->n_layers);
    ds4_gguf_writer_put_f32_array(writer, ARCHITECTURE ".swiglu_clamp_shexp", clamps,
                                  shape->n_layers);
    for (size_t i = 0; i < sizeof simulations / sizeof simulations[0]; i++) {
        if (simulations[i].kv_sim != shape->kv_sim) continue;
        ds4_gguf_writer_put_string(writer, "ds4.simulated_quantization", simulations[i].name,
                                   strlen(simulations[i].name));
    }
}
