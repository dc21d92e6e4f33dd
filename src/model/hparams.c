#include "model/hparams.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/strbuf.h"

/* Larger values are no model but a damaged or hostile file. The tensors must exist anyway, so this
 * only keeps products of dimensions far from overflow. */
enum {
    MAX_LAYERS = 4096,
    MAX_DIM = 1 << 20,
    MAX_ROW_DIM = 4096,
    MAX_STREAMS = 64,
    MAX_ITERATIONS = 1000
};

typedef struct reader {
    const ds4_gguf *gguf;
    ds4_strbuf problems; /* one sentence after the other */
    unsigned n_problems;
} reader;

#define PROBLEM(r, ...)                                                                            \
    ((r)->n_problems++ ? ds4_strbuf_puts(&(r)->problems, "; ") : (void)0,                          \
     ds4_strbuf_printf(&(r)->problems, __VA_ARGS__))

static void full_key(const char *key, char *buffer, size_t n) {
    strcpy(buffer, "deepseek4.");
    strncat(buffer, key, n - strlen(buffer) - 1);
}

static bool has_key(const reader *r, const char *key) {
    char full[128];
    full_key(key, full, sizeof full);
    return ds4_gguf_find_value(r->gguf, full) != NULL;
}

static uint64_t read_u64(reader *r, const char *key, uint64_t least, uint64_t most) {
    char full[128];
    ds4_error error = {0};
    uint64_t value = least;
    full_key(key, full, sizeof full);
    if (ds4_gguf_get_u64(r->gguf, full, &value, &error) != DS4_OK) {
        PROBLEM(r, "%s", error.message);
        return least;
    }
    if (value < least || value > most) {
        PROBLEM(r, "%s is %llu, expected %llu to %llu", full, (unsigned long long)value,
                (unsigned long long)least, (unsigned long long)most);
        return least;
    }
    return value;
}

static uint32_t read_dim(reader *r, const char *key, uint32_t most) {
    return (uint32_t)read_u64(r, key, 1, most);
}

static float read_float(reader *r, const char *key, double least, double most) {
    char full[128];
    ds4_error error = {0};
    double value = least;
    full_key(key, full, sizeof full);
    if (ds4_gguf_get_f64(r->gguf, full, &value, &error) != DS4_OK) {
        PROBLEM(r, "%s", error.message);
        return (float)least;
    }
    if (!(value >= least && value <= most)) {
        PROBLEM(r, "%s is %g, expected %g to %g", full, value, least, most);
        return (float)least;
    }
    return (float)value;
}

static void expect_u64(reader *r, const char *key, uint64_t expected) {
    char full[128];
    ds4_error error = {0};
    uint64_t value = 0;
    full_key(key, full, sizeof full);
    if (ds4_gguf_get_u64(r->gguf, full, &value, &error) != DS4_OK)
        PROBLEM(r, "%s", error.message);
    else if (value != expected)
        PROBLEM(r, "%s is %llu; only %llu is defined", full, (unsigned long long)value,
                (unsigned long long)expected);
}

static void check_architecture(reader *r) {
    ds4_gguf_string name;
    ds4_error error = {0};
    if (ds4_gguf_get_string(r->gguf, "general.architecture", &name, &error) != DS4_OK)
        PROBLEM(r, "%s", error.message);
    else if (name.n != 9 || memcmp(name.data, "deepseek4", 9) != 0)
        PROBLEM(r, "general.architecture is \"%.*s\"; this engine runs \"deepseek4\" models only",
                (int)(name.n < 64 ? name.n : 64), name.data);
}

static void read_shape(reader *r, ds4_hparams *hp) {
    hp->n_layers = read_dim(r, "block_count", MAX_LAYERS);
    hp->n_embd = read_dim(r, "embedding_length", MAX_DIM);
    hp->n_vocab = read_dim(r, "vocab_size", INT32_MAX);
    hp->n_heads = read_dim(r, "attention.head_count", MAX_DIM);
    expect_u64(r, "attention.head_count_kv", 1);
    hp->head_dim = read_dim(r, "attention.key_length", MAX_ROW_DIM);
    expect_u64(r, "attention.value_length", hp->head_dim);
    hp->rope_dim = read_dim(r, "rope.dimension_count", MAX_ROW_DIM);
    hp->q_lora = read_dim(r, "attention.q_lora_rank", MAX_DIM);
    hp->o_lora = read_dim(r, "attention.output_lora_rank", MAX_DIM);
    hp->o_groups = read_dim(r, "attention.output_group_count", MAX_DIM);
    hp->n_experts = read_dim(r, "expert_count", MAX_DIM);
    hp->n_experts_used = read_dim(r, "expert_used_count", MAX_DIM);
    hp->n_ff = read_dim(r, "expert_feed_forward_length", MAX_DIM);
    expect_u64(r, "expert_shared_count", 1);
    hp->n_hash_layers = (uint32_t)read_u64(r, "hash_layer_count", 0, hp->n_layers);
    hp->window = read_dim(r, "attention.sliding_window", MAX_DIM);
    hp->indexer_heads = read_dim(r, "attention.indexer.head_count", MAX_DIM);
    hp->indexer_dim = read_dim(r, "attention.indexer.key_length", MAX_ROW_DIM);
    hp->indexer_top_k = read_dim(r, "attention.indexer.top_k", MAX_DIM);
    hp->n_streams = read_dim(r, "hyper_connection.count", MAX_STREAMS);
    hp->sinkhorn_iterations = read_dim(r, "hyper_connection.sinkhorn_iterations", MAX_ITERATIONS);
    if (has_key(r, "expert_group_count")) expect_u64(r, "expert_group_count", 0);
    if (has_key(r, "expert_group_used_count")) expect_u64(r, "expert_group_used_count", 0);
    /* 4 is the square root of softplus; older writers do not store it. */
    if (has_key(r, "expert_gating_func")) expect_u64(r, "expert_gating_func", 4);
    if (has_key(r, "context_length"))
        hp->context_length = read_u64(r, "context_length", 0, UINT64_MAX);
}

static void read_constants(reader *r, ds4_hparams *hp) {
    bool norm = false;
    ds4_error error = {0};
    hp->hc_eps = read_float(r, "hyper_connection.epsilon", 0.0, 1.0);
    hp->rms_eps = read_float(r, "attention.layer_norm_rms_epsilon", 0.0, 1.0);
    hp->rope_base = read_float(r, "rope.freq_base", 1.0, 1e30);
    hp->compress_rope_base = read_float(r, "attention.compress_rope_freq_base", 1.0 + 1e-6, 1e30);
    hp->rope_factor = read_float(r, "rope.scaling.factor", 0.0, 1e6);
    hp->rope_original_context = read_u64(r, "rope.scaling.original_context_length", 1, UINT64_MAX);
    hp->yarn_beta_fast = read_float(r, "rope.scaling.yarn_beta_fast", 1e-6, 1e9);
    hp->yarn_beta_slow = read_float(r, "rope.scaling.yarn_beta_slow", 1e-6, 1e9);
    hp->expert_weights_scale = read_float(r, "expert_weights_scale", 0.0, 1e6);
    if (ds4_gguf_get_bool(r->gguf, "deepseek4.expert_weights_norm", &norm, &error) != DS4_OK)
        PROBLEM(r, "%s", error.message);
    else if (!norm)
        PROBLEM(r, "deepseek4.expert_weights_norm is false; only true is defined");
}

/* A scalar for all layers, or an array of at least L elements (later ones belong to draft layers).
 */
static void read_clamp(reader *r, const char *key, const ds4_hparams *hp, float *clamp) {
    char full[128];
    full_key(key, full, sizeof full);
    const ds4_gguf_value *value = ds4_gguf_find_value(r->gguf, full);
    if (value == NULL) {
        PROBLEM(r, "missing metadata key %s", full);
        return;
    }
    if (value->is_array && value->count < hp->n_layers) {
        PROBLEM(r, "%s has %llu elements for %u layers", full, (unsigned long long)value->count,
                hp->n_layers);
        return;
    }
    for (uint32_t l = 0; l < hp->n_layers; l++) {
        double element;
        if (!ds4_gguf_value_f64(value, value->is_array ? l : 0, &element) || !isfinite(element)) {
            PROBLEM(r, "%s: element %u is not a finite number", full, l);
            return;
        }
        clamp[l] = (float)element;
    }
}

static void read_ratios(reader *r, const ds4_hparams *hp) {
    const ds4_gguf_value *value;
    ds4_error error = {0};
    if (ds4_gguf_get_number_array(r->gguf, "deepseek4.attention.compress_ratios", &value, &error) !=
        DS4_OK) {
        PROBLEM(r, "%s", error.message);
        return;
    }
    if (value->count < hp->n_layers) {
        PROBLEM(r, "deepseek4.attention.compress_ratios has %llu elements for %u layers",
                (unsigned long long)value->count, hp->n_layers);
        return;
    }
    for (uint32_t l = 0; l < hp->n_layers; l++) {
        uint64_t ratio;
        if (!ds4_gguf_value_u64(value, l, &ratio) || ratio > MAX_ROW_DIM) {
            PROBLEM(r,
                    "deepseek4.attention.compress_ratios: element %u is not a ratio from 0 to %d",
                    l, MAX_ROW_DIM);
            return;
        }
        hp->ratio[l] = (uint32_t)ratio;
    }
}

static void read_kv_sim(reader *r, ds4_hparams *hp) {
    hp->kv_sim = DS4_KV_SIM_FULL;
    if (ds4_gguf_find_value(r->gguf, "ds4.simulated_quantization") == NULL) return;
    ds4_gguf_string text;
    ds4_error error = {0};
    if (ds4_gguf_get_string(r->gguf, "ds4.simulated_quantization", &text, &error) != DS4_OK)
        PROBLEM(r, "%s", error.message);
    else if (text.n == 4 && memcmp(text.data, "none", 4) == 0)
        hp->kv_sim = DS4_KV_SIM_NONE;
    else if (text.n == 3 && memcmp(text.data, "fp4", 3) == 0)
        hp->kv_sim = DS4_KV_SIM_FP4;
    else if (text.n != 4 || memcmp(text.data, "full", 4) != 0)
        PROBLEM(r, "ds4.simulated_quantization must be full, fp4 or none");
}

static void check_consistency(reader *r, const ds4_hparams *hp) {
    if (hp->rope_dim >= hp->head_dim || hp->rope_dim % 2 != 0)
        PROBLEM(r, "rope.dimension_count %u must be even and below the head width %u", hp->rope_dim,
                hp->head_dim);
    if (hp->rope_dim > hp->indexer_dim)
        PROBLEM(r, "rope.dimension_count %u exceeds the indexer head width %u", hp->rope_dim,
                hp->indexer_dim);
    if (hp->n_heads % hp->o_groups != 0)
        PROBLEM(r, "%u attention heads cannot be split in %u output groups", hp->n_heads,
                hp->o_groups);
    if (hp->n_experts_used > hp->n_experts)
        PROBLEM(r, "%u experts are used of only %u", hp->n_experts_used, hp->n_experts);
}

ds4_status ds4_hparams_read(const ds4_gguf *gguf, ds4_hparams *hp, ds4_error *error) {
    reader r = {.gguf = gguf};
    *hp = (ds4_hparams){0};
    check_architecture(&r);
    if (r.n_problems == 0) {
        read_shape(&r, hp);
        read_constants(&r, hp);
        read_kv_sim(&r, hp);
        hp->ratio = calloc(hp->n_layers, sizeof *hp->ratio);
        hp->swiglu_clamp = calloc(hp->n_layers, sizeof *hp->swiglu_clamp);
        hp->swiglu_clamp_shared = calloc(hp->n_layers, sizeof *hp->swiglu_clamp_shared);
        if (hp->ratio == NULL || hp->swiglu_clamp == NULL || hp->swiglu_clamp_shared == NULL) {
            PROBLEM(&r, "out of memory");
        } else {
            read_ratios(&r, hp);
            read_clamp(&r, "swiglu_clamp_exp", hp, hp->swiglu_clamp);
            read_clamp(
                &r, has_key(&r, "swiglu_clamp_shexp") ? "swiglu_clamp_shexp" : "swiglu_clamp_exp",
                hp, hp->swiglu_clamp_shared);
            check_consistency(&r, hp);
        }
    }
    ds4_status status = DS4_OK;
    if (r.n_problems > 0) {
        ds4_hparams_free(hp);
        status = ds4_fail(error, DS4_FORMAT, "%s",
                          r.problems.data != NULL ? r.problems.data : "out of memory");
    }
    ds4_strbuf_free(&r.problems);
    return status;
}

void ds4_hparams_free(ds4_hparams *hp) {
    free(hp->ratio);
    free(hp->swiglu_clamp);
    free(hp->swiglu_clamp_shared);
    *hp = (ds4_hparams){0};
}

ds4_status ds4_hparams_check_kv_sim(const ds4_hparams *hp, ds4_kv_sim kv_sim, ds4_error *error) {
    uint32_t plain = hp->head_dim - hp->rope_dim, id = hp->indexer_dim;
    if (kv_sim == DS4_KV_SIM_FULL && plain % DS4_FP8_BLOCK != 0)
        return ds4_fail(error, DS4_UNSUPPORTED,
                        "the simulated FP8 rounding needs head width minus rotary width (%u - %u) "
                        "to be a multiple "
                        "of %d; run this model with --kv-sim none",
                        hp->head_dim, hp->rope_dim, DS4_FP8_BLOCK);
    if (kv_sim != DS4_KV_SIM_NONE && ((id & (id - 1)) != 0 || id % DS4_FP4_BLOCK != 0))
        return ds4_fail(error, DS4_UNSUPPORTED,
                        "the simulated FP4 rounding needs an indexer width that is a power of two "
                        "and a multiple of "
                        "%d, not %u; run this model with --kv-sim none",
                        DS4_FP4_BLOCK, id);
    return DS4_OK;
}
