#include "gguf-tool/plan.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

/* Dimensions by their symbols in docs/model.md. */
typedef enum dim {
    DIM_NONE,
    DIM_1,
    DIM_3,
    DIM_E,
    DIM_V,
    DIM_C,
    DIM_CE,  /* streams x E */
    DIM_MIX, /* 2C + C^2 */
    DIM_LQ,
    DIM_D,
    DIM_H,
    DIM_HD,
    DIM_GROUP, /* inputs of one output group: D H / G */
    DIM_GLO,
    DIM_RATIO,
    DIM_CW, /* width of the attention compressor */
    DIM_IW, /* width of the indexer's compressor */
    DIM_ID,
    DIM_IH,
    DIM_IHID,
    DIM_X,
    DIM_U,
    DIM_FF,
} dim;

typedef enum where { EVERY_LAYER, COMPRESSED, INDEXED, HASHED, LEARNED } where;

typedef struct rule {
    const char *name, *source;
    ds4_part part;
    ds4_fill fill;
    where layers;
    dim ne[3];
} rule;

#define VECTOR     DS4_PART_VECTOR
#define CONTROL    DS4_PART_CONTROL
#define PROJECTION DS4_PART_PROJECTION
#define MATRIX     DS4_FILL_MATRIX

static const rule global_rules[] = {
    {"token_embd.weight",
     "embed.weight",
     DS4_PART_TABLE,
     DS4_FILL_EMBEDDING,
     EVERY_LAYER,
     {DIM_E, DIM_V}},
    {"output_hc_base.weight", "hc_head_base", VECTOR, DS4_FILL_SMALL, EVERY_LAYER, {DIM_C}},
    {"output_hc_fn.weight", "hc_head_fn", CONTROL, MATRIX, EVERY_LAYER, {DIM_CE, DIM_C}},
    {"output_hc_scale.weight", "hc_head_scale", VECTOR, DS4_FILL_HC_SCALE, EVERY_LAYER, {DIM_1}},
    {"output_norm.weight", "norm.weight", VECTOR, DS4_FILL_NORM, EVERY_LAYER, {DIM_E}},
    {"output.weight", "head.weight", PROJECTION, DS4_FILL_HEAD, EVERY_LAYER, {DIM_E, DIM_V}},
};

static const rule layer_rules[] = {
    {"hc_attn_fn.weight", "hc_attn_fn", CONTROL, MATRIX, EVERY_LAYER, {DIM_CE, DIM_MIX}},
    {"hc_attn_scale.weight", "hc_attn_scale", VECTOR, DS4_FILL_HC_SCALE, EVERY_LAYER, {DIM_3}},
    {"hc_attn_base.weight", "hc_attn_base", VECTOR, DS4_FILL_HC_BASE, EVERY_LAYER, {DIM_MIX}},
    {"attn_norm.weight", "attn_norm.weight", VECTOR, DS4_FILL_NORM, EVERY_LAYER, {DIM_E}},
    {"attn_q_a.weight", "attn.wq_a.weight", PROJECTION, MATRIX, EVERY_LAYER, {DIM_E, DIM_LQ}},
    {"attn_q_a_norm.weight", "attn.q_norm.weight", VECTOR, DS4_FILL_NORM, EVERY_LAYER, {DIM_LQ}},
    {"attn_q_b.weight", "attn.wq_b.weight", PROJECTION, MATRIX, EVERY_LAYER, {DIM_LQ, DIM_HD}},
    {"attn_kv.weight", "attn.wkv.weight", PROJECTION, MATRIX, EVERY_LAYER, {DIM_E, DIM_D}},
    {"attn_kv_a_norm.weight", "attn.kv_norm.weight", VECTOR, DS4_FILL_NORM, EVERY_LAYER, {DIM_D}},
    {"attn_sinks.weight", "attn.attn_sink", VECTOR, DS4_FILL_SMALL, EVERY_LAYER, {DIM_H}},
    {"attn_output_a.weight",
     "attn.wo_a.weight",
     PROJECTION,
     MATRIX,
     EVERY_LAYER,
     {DIM_GROUP, DIM_GLO}},
    {"attn_output_b.weight", "attn.wo_b.weight", PROJECTION, MATRIX, EVERY_LAYER, {DIM_GLO, DIM_E}},
    {"attn_compressor_ape.weight",
     "attn.compressor.ape",
     CONTROL,
     DS4_FILL_POSITION,
     COMPRESSED,
     {DIM_CW, DIM_RATIO}},
    {"attn_compressor_kv.weight",
     "attn.compressor.wkv.weight",
     CONTROL,
     MATRIX,
     COMPRESSED,
     {DIM_E, DIM_CW}},
    {"attn_compressor_gate.weight",
     "attn.compressor.wgate.weight",
     CONTROL,
     MATRIX,
     COMPRESSED,
     {DIM_E, DIM_CW}},
    {"attn_compressor_norm.weight",
     "attn.compressor.norm.weight",
     VECTOR,
     DS4_FILL_NORM,
     COMPRESSED,
     {DIM_D}},
    {"indexer.attn_q_b.weight",
     "attn.indexer.wq_b.weight",
     CONTROL,
     MATRIX,
     INDEXED,
     {DIM_LQ, DIM_IHID}},
    {"indexer.proj.weight",
     "attn.indexer.weights_proj.weight",
     CONTROL,
     MATRIX,
     INDEXED,
     {DIM_E, DIM_IH}},
    {"indexer_compressor_ape.weight",
     "attn.indexer.compressor.ape",
     CONTROL,
     DS4_FILL_POSITION,
     INDEXED,
     {DIM_IW, DIM_RATIO}},
    {"indexer_compressor_kv.weight",
     "attn.indexer.compressor.wkv.weight",
     CONTROL,
     MATRIX,
     INDEXED,
     {DIM_E, DIM_IW}},
    {"indexer_compressor_gate.weight",
     "attn.indexer.compressor.wgate.weight",
     CONTROL,
     MATRIX,
     INDEXED,
     {DIM_E, DIM_IW}},
    {"indexer_compressor_norm.weight",
     "attn.indexer.compressor.norm.weight",
     VECTOR,
     DS4_FILL_NORM,
     INDEXED,
     {DIM_ID}},
    {"hc_ffn_fn.weight", "hc_ffn_fn", CONTROL, MATRIX, EVERY_LAYER, {DIM_CE, DIM_MIX}},
    {"hc_ffn_scale.weight", "hc_ffn_scale", VECTOR, DS4_FILL_HC_SCALE, EVERY_LAYER, {DIM_3}},
    {"hc_ffn_base.weight", "hc_ffn_base", VECTOR, DS4_FILL_HC_BASE, EVERY_LAYER, {DIM_MIX}},
    {"ffn_norm.weight", "ffn_norm.weight", VECTOR, DS4_FILL_NORM, EVERY_LAYER, {DIM_E}},
    {"ffn_gate_inp.weight", "ffn.gate.weight", CONTROL, MATRIX, EVERY_LAYER, {DIM_E, DIM_X}},
    {"exp_probs_b.bias", "ffn.gate.bias", VECTOR, DS4_FILL_SMALL, LEARNED, {DIM_X}},
    {"ffn_gate_tid2eid.weight",
     "ffn.gate.tid2eid",
     DS4_PART_IDS,
     DS4_FILL_IDS,
     HASHED,
     {DIM_U, DIM_V}},
    {"ffn_gate_exps.weight",
     "ffn.experts.%u.w1.weight",
     DS4_PART_GATE_UP,
     MATRIX,
     EVERY_LAYER,
     {DIM_E, DIM_FF, DIM_X}},
    {"ffn_up_exps.weight",
     "ffn.experts.%u.w3.weight",
     DS4_PART_GATE_UP,
     MATRIX,
     EVERY_LAYER,
     {DIM_E, DIM_FF, DIM_X}},
    {"ffn_down_exps.weight",
     "ffn.experts.%u.w2.weight",
     DS4_PART_DOWN,
     MATRIX,
     EVERY_LAYER,
     {DIM_FF, DIM_E, DIM_X}},
    {"ffn_gate_shexp.weight",
     "ffn.shared_experts.w1.weight",
     PROJECTION,
     MATRIX,
     EVERY_LAYER,
     {DIM_E, DIM_FF}},
    {"ffn_up_shexp.weight",
     "ffn.shared_experts.w3.weight",
     PROJECTION,
     MATRIX,
     EVERY_LAYER,
     {DIM_E, DIM_FF}},
    {"ffn_down_shexp.weight",
     "ffn.shared_experts.w2.weight",
     PROJECTION,
     MATRIX,
     EVERY_LAYER,
     {DIM_FF, DIM_E}},
};

enum {
    N_GLOBAL_RULES = sizeof global_rules / sizeof global_rules[0],
    N_LAYER_RULES = sizeof layer_rules / sizeof layer_rules[0],
    OVERLAP_RATIO = 4, /* the ratio whose windows overlap and have an indexer */
};

static uint64_t extent(const ds4_shape *s, dim d, uint64_t ratio) {
    switch (d) {
    case DIM_NONE:
        return 0;
    case DIM_1:
        return 1;
    case DIM_3:
        return 3;
    case DIM_E:
        return s->n_embd;
    case DIM_V:
        return s->n_vocab;
    case DIM_C:
        return s->n_streams;
    case DIM_CE:
        return (uint64_t)s->n_streams * s->n_embd;
    case DIM_MIX:
        return (uint64_t)s->n_streams * (s->n_streams + 2);
    case DIM_LQ:
        return s->q_lora;
    case DIM_D:
        return s->head_dim;
    case DIM_H:
        return s->n_heads;
    case DIM_HD:
        return (uint64_t)s->n_heads * s->head_dim;
    case DIM_GROUP:
        return (uint64_t)s->n_heads * s->head_dim / s->o_groups;
    case DIM_GLO:
        return (uint64_t)s->o_groups * s->o_lora;
    case DIM_RATIO:
        return ratio;
    case DIM_CW:
        return (uint64_t)s->head_dim * (ratio == OVERLAP_RATIO ? 2 : 1);
    case DIM_IW:
        return (uint64_t)s->indexer_dim * 2;
    case DIM_ID:
        return s->indexer_dim;
    case DIM_IH:
        return s->indexer_heads;
    case DIM_IHID:
        return (uint64_t)s->indexer_heads * s->indexer_dim;
    case DIM_X:
        return s->n_experts;
    case DIM_U:
        return s->n_experts_used;
    case DIM_FF:
        return s->n_ff;
    }
    return 0;
}

static bool applies(const ds4_shape *shape, where layers, uint32_t layer) {
    switch (layers) {
    case EVERY_LAYER:
        return true;
    case COMPRESSED:
        return shape->ratios[layer] != 0;
    case INDEXED:
        return shape->ratios[layer] == OVERLAP_RATIO;
    case HASHED:
        return layer < shape->n_hash_layers;
    case LEARNED:
        return layer >= shape->n_hash_layers;
    }
    return false;
}

static void apply(const ds4_shape *shape, const rule *r, uint64_t ratio, ds4_tensor_plan *tensor) {
    tensor->part = r->part;
    tensor->fill = r->fill;
    tensor->is_optional = r->layers == LEARNED;
    for (tensor->n_dims = 0; tensor->n_dims < 3 && r->ne[tensor->n_dims] != DIM_NONE;
         tensor->n_dims++) {
        tensor->ne[tensor->n_dims] = extent(shape, r->ne[tensor->n_dims], ratio);
    }
    for (uint32_t i = tensor->n_dims; i < 4; i++) tensor->ne[i] = 1;
}

ds4_status ds4_plan_create(const ds4_shape *shape, ds4_plan *plan, ds4_error *error) {
    size_t most = N_GLOBAL_RULES + (size_t)shape->n_layers * N_LAYER_RULES;
    plan->n = 0;
    plan->tensors = calloc(most, sizeof *plan->tensors);
    if (plan->tensors == NULL)
        return ds4_fail_memory(error, most * sizeof *plan->tensors, "the list of tensors");
    for (size_t i = 0; i < N_GLOBAL_RULES; i++) {
        ds4_tensor_plan *tensor = &plan->tensors[plan->n++];
        apply(shape, &global_rules[i], 0, tensor);
        snprintf(tensor->name, sizeof tensor->name, "%s", global_rules[i].name);
        snprintf(tensor->source, sizeof tensor->source, "%s", global_rules[i].source);
    }
    for (uint32_t layer = 0; layer < shape->n_layers; layer++) {
        for (size_t i = 0; i < N_LAYER_RULES; i++) {
            const rule *r = &layer_rules[i];
            if (!applies(shape, r->layers, layer)) continue;
            ds4_tensor_plan *tensor = &plan->tensors[plan->n++];
            apply(shape, r, (uint64_t)shape->ratios[layer], tensor);
            snprintf(tensor->name, sizeof tensor->name, "blk.%" PRIu32 ".%s", layer, r->name);
            snprintf(tensor->source, sizeof tensor->source, "layers.%" PRIu32 ".%s", layer,
                     r->source);
        }
    }
    return DS4_OK;
}

void ds4_plan_free(ds4_plan *plan) {
    free(plan->tensors);
    *plan = (ds4_plan){NULL, 0};
}

/* The part of a name without its "blk.N.", by the rules. */
static const rule *find_rule(const char *name) {
    unsigned layer = 0;
    int used = 0;
    bool in_layer = sscanf(name, "blk.%u.%n", &layer, &used) == 1 && used > 0;
    const rule *rules = in_layer ? layer_rules : global_rules;
    size_t n = in_layer ? N_LAYER_RULES : N_GLOBAL_RULES;
    for (size_t i = 0; i < n; i++)
        if (strcmp(rules[i].name, name + (in_layer ? used : 0)) == 0) return &rules[i];
    return NULL;
}

ds4_status ds4_plan_of_gguf(const ds4_gguf *gguf, ds4_plan *plan, ds4_error *error) {
    size_t n = (size_t)ds4_gguf_n_tensors(gguf);
    plan->n = 0;
    plan->tensors = calloc(n + 1, sizeof *plan->tensors);
    if (plan->tensors == NULL)
        return ds4_fail_memory(error, n * sizeof *plan->tensors, "the list of tensors");
    for (size_t i = 0; i < n; i++) {
        const ds4_gguf_tensor *have = ds4_gguf_tensor_at(gguf, i);
        ds4_tensor_plan *tensor = &plan->tensors[plan->n++];
        const rule *r = find_rule(have->name);
        snprintf(tensor->name, sizeof tensor->name, "%s", have->name);
        tensor->part = r == NULL ? DS4_PART_OTHER : r->part;
        tensor->n_dims = have->n_dims == 0 ? 1 : have->n_dims;
        memcpy(tensor->ne, have->ne, sizeof tensor->ne);
        tensor->type = (ds4_type)have->type;
    }
    return DS4_OK;
}

uint64_t ds4_plan_rows_per_matrix(const ds4_tensor_plan *tensor) {
    return tensor->ne[1];
}

uint64_t ds4_plan_n_matrices(const ds4_tensor_plan *tensor) {
    return tensor->ne[2] * tensor->ne[3];
}

void ds4_plan_put_tensors(const ds4_plan *plan, ds4_gguf_writer *writer) {
    for (size_t i = 0; i < plan->n; i++) {
        const ds4_tensor_plan *t = &plan->tensors[i];
        ds4_gguf_writer_add_tensor(writer, t->name, (uint32_t)t->type, t->n_dims, t->ne);
    }
}
