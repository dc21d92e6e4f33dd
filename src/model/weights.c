#include "model/weights.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/strbuf.h"

enum { MAX_NAME = 64, MAX_REPORTED = 6 };

/* Decoded vectors, chained so that they can be freed together. */
typedef struct owned_vector {
    struct owned_vector *next;
    float values[];
} owned_vector;

typedef struct binder {
    const ds4_gguf *gguf;
    const ds4_hparams *hp;
    ds4_weights *weights;
    const ds4_kernels *kernels;
    ds4_strbuf problems;
    unsigned n_problems;
} binder;

#define PROBLEM(b, ...)                                                                            \
    do {                                                                                           \
        if ((b)->n_problems++ < MAX_REPORTED) {                                                    \
            if ((b)->n_problems > 1) ds4_strbuf_puts(&(b)->problems, "; ");                        \
            ds4_strbuf_printf(&(b)->problems, __VA_ARGS__);                                        \
        }                                                                                          \
    } while (0)

/* Names that other writers use for the same tensor. */
static const struct {
    const char *ours, *alias;
} ALIASES[] = {
    {"output_hc_", "hc_head_"},
    {"attn_kv.", "attn_kv_latent."},
    {"attn_compressor_", "attn_compress_"},
    {"indexer_compressor_", "indexer.compress_"},
    {"exp_probs_b.bias", "exp_probs_b.weight"},
};

static const ds4_gguf_tensor *find(const binder *b, const char *name) {
    const ds4_gguf_tensor *tensor = ds4_gguf_find_tensor(b->gguf, name);
    for (size_t i = 0; tensor == NULL && i < sizeof ALIASES / sizeof ALIASES[0]; i++) {
        const char *at = strstr(name, ALIASES[i].ours);
        if (at == NULL) continue;
        char other[2 * MAX_NAME];
        snprintf(other, sizeof other, "%.*s%s%s", (int)(at - name), name, ALIASES[i].alias,
                 at + strlen(ALIASES[i].ours));
        tensor = ds4_gguf_find_tensor(b->gguf, other);
    }
    return tensor;
}

/* Checks dims against the wanted ones; 0 ends the list, 1-element tensors may be stored without
 * dimensions. */
static bool check_shape(binder *b, const ds4_gguf_tensor *tensor, const char *name,
                        const size_t want[3]) {
    uint64_t expect[4] = {1, 1, 1, 1};
    for (int i = 0; i < 3 && want[i] != 0; i++) expect[i] = want[i];
    if (memcmp(expect, tensor->ne, sizeof expect) == 0) return true;
    PROBLEM(b, "tensor %s is [%llu, %llu, %llu], expected [%llu, %llu, %llu]", name,
            (unsigned long long)tensor->ne[0], (unsigned long long)tensor->ne[1],
            (unsigned long long)tensor->ne[2], (unsigned long long)expect[0],
            (unsigned long long)expect[1], (unsigned long long)expect[2]);
    return false;
}

static bool is_plain_float(uint32_t type) {
    return type == DS4_TYPE_F32 || type == DS4_TYPE_F16 || type == DS4_TYPE_BF16;
}

static const ds4_gguf_tensor *require(binder *b, const char *name, const size_t want[3]) {
    const ds4_gguf_tensor *tensor = find(b, name);
    if (tensor == NULL) {
        PROBLEM(b, "missing tensor %s", name);
        return NULL;
    }
    const ds4_type_info *info = ds4_type_get_info(tensor->type);
    if (!info->computable) {
        PROBLEM(b, "tensor %s has type %s, which this engine cannot compute with", name,
                info->name);
        return NULL;
    }
    return check_shape(b, tensor, name, want) ? tensor : NULL;
}

static void bind_matrix(binder *b, const char *name, size_t n_in, size_t n_out, size_t n_experts,
                        ds4_matrix *m) {
    const ds4_gguf_tensor *tensor = require(b, name, (const size_t[3]){n_in, n_out, n_experts});
    if (tensor == NULL) return;
    *m = (ds4_matrix){
        .name = tensor->name,
        .type = (ds4_type)tensor->type,
        .data = tensor->data,
        .n_in = n_in,
        .n_out = n_out,
        .n_experts = n_experts == 0 ? 1 : n_experts,
        .row_bytes = tensor->row_bytes,
    };
    b->weights->bytes += tensor->n_bytes;
}

static float *decode_vector(binder *b, const ds4_gguf_tensor *tensor, const char *name) {
    size_t n = tensor->n_elements;
    owned_vector *vector = malloc(sizeof *vector + n * sizeof(float));
    if (vector == NULL) {
        PROBLEM(b, "out of memory for tensor %s", name);
        return NULL;
    }
    vector->next = b->weights->owned;
    b->weights->owned = vector;
    for (uint64_t r = 0; r < n / tensor->ne[0]; r++)
        b->kernels->decode((ds4_type)tensor->type,
                           (const uint8_t *)tensor->data + r * tensor->row_bytes,
                           vector->values + r * tensor->ne[0], tensor->ne[0]);
    b->weights->bytes += tensor->n_bytes;
    return vector->values;
}

/* n_rows rows of n values, decoded to float32. Small control tensors: plain floats only, unless a
 * table of rows. */
static float *bind_vector(binder *b, const char *name, size_t n, size_t n_rows) {
    const ds4_gguf_tensor *tensor = require(b, name, (const size_t[3]){n, n_rows, 0});
    if (tensor == NULL) return NULL;
    if (n_rows == 0 && !is_plain_float(tensor->type)) {
        PROBLEM(b, "tensor %s has type %s; vectors must be F32, F16 or BF16", name,
                ds4_type_get_info(tensor->type)->name);
        return NULL;
    }
    return decode_vector(b, tensor, name);
}

static const int32_t *bind_hash_experts(binder *b, const char *name) {
    const ds4_hparams *hp = b->hp;
    const ds4_gguf_tensor *tensor = find(b, name);
    if (tensor == NULL) {
        PROBLEM(b, "missing tensor %s", name);
        return NULL;
    }
    if (!check_shape(b, tensor, name, (const size_t[3]){hp->n_experts_used, hp->n_vocab, 0}))
        return NULL;
    if (tensor->type != DS4_TYPE_I32) {
        PROBLEM(b, "tensor %s has type %s, expected I32", name,
                ds4_type_get_info(tensor->type)->name);
        return NULL;
    }
    const int32_t *experts = tensor->data;
    for (uint64_t i = 0; i < tensor->n_elements; i++) {
        if (experts[i] >= 0 && (uint32_t)experts[i] < hp->n_experts) continue;
        PROBLEM(b, "tensor %s names expert %d for token %llu, but there are %u experts", name,
                (int)experts[i], (unsigned long long)(i / hp->n_experts_used), hp->n_experts);
        return NULL;
    }
    b->weights->bytes += tensor->n_bytes;
    return experts;
}

typedef struct layer_name {
    char text[MAX_NAME];
} layer_name;

static layer_name in_layer(uint32_t layer, const char *stem) {
    layer_name name;
    snprintf(name.text, sizeof name.text, "blk.%u.%s", layer, stem);
    return name;
}

static void bind_compressor(binder *b, uint32_t layer, const char *prefix, uint32_t row_width,
                            ds4_compressor_weights *w) {
    uint32_t ratio = b->hp->ratio[layer], width = ds4_compressor_width(ratio, row_width);
    char name[MAX_NAME];
#define COMPRESSOR_NAME(suffix)                                                                    \
    (snprintf(name, sizeof name, "blk.%u.%s_%s.weight", layer, prefix, suffix), name)
    bind_matrix(b, COMPRESSOR_NAME("kv"), b->hp->n_embd, width, 0, &w->kv);
    bind_matrix(b, COMPRESSOR_NAME("gate"), b->hp->n_embd, width, 0, &w->gate);
    w->ape = bind_vector(b, COMPRESSOR_NAME("ape"), width, ratio);
    w->norm = bind_vector(b, COMPRESSOR_NAME("norm"), row_width, 0);
#undef COMPRESSOR_NAME
}

static void bind_hc(binder *b, const char *prefix, size_t width, size_t n_scales,
                    ds4_hc_weights *w) {
    char name[MAX_NAME];
    snprintf(name, sizeof name, "%s_fn.weight", prefix);
    bind_matrix(b, name, (size_t)b->hp->n_streams * b->hp->n_embd, width, 0, &w->fn);
    snprintf(name, sizeof name, "%s_scale.weight", prefix);
    w->scale = bind_vector(b, name, n_scales, 0);
    snprintf(name, sizeof name, "%s_base.weight", prefix);
    w->base = bind_vector(b, name, width, 0);
}

static void bind_attention(binder *b, uint32_t l, ds4_layer_weights *w) {
    const ds4_hparams *hp = b->hp;
    size_t heads = (size_t)hp->n_heads * hp->head_dim, low = (size_t)hp->o_groups * hp->o_lora;
    w->attn_norm = bind_vector(b, in_layer(l, "attn_norm.weight").text, hp->n_embd, 0);
    bind_matrix(b, in_layer(l, "attn_q_a.weight").text, hp->n_embd, hp->q_lora, 0, &w->q_a);
    w->q_a_norm = bind_vector(b, in_layer(l, "attn_q_a_norm.weight").text, hp->q_lora, 0);
    bind_matrix(b, in_layer(l, "attn_q_b.weight").text, hp->q_lora, heads, 0, &w->q_b);
    bind_matrix(b, in_layer(l, "attn_kv.weight").text, hp->n_embd, hp->head_dim, 0, &w->kv);
    w->kv_norm = bind_vector(b, in_layer(l, "attn_kv_a_norm.weight").text, hp->head_dim, 0);
    w->sinks = bind_vector(b, in_layer(l, "attn_sinks.weight").text, hp->n_heads, 0);
    bind_matrix(b, in_layer(l, "attn_output_a.weight").text, heads / hp->o_groups, low, 0,
                &w->output_a);
    bind_matrix(b, in_layer(l, "attn_output_b.weight").text, low, hp->n_embd, 0, &w->output_b);
    if (hp->ratio[l] != 0) bind_compressor(b, l, "attn_compressor", hp->head_dim, &w->compressor);
    if (hp->ratio[l] == DS4_RATIO_OVERLAP) {
        size_t width = (size_t)hp->indexer_heads * hp->indexer_dim;
        bind_matrix(b, in_layer(l, "indexer.attn_q_b.weight").text, hp->q_lora, width, 0,
                    &w->indexer_q_b);
        bind_matrix(b, in_layer(l, "indexer.proj.weight").text, hp->n_embd, hp->indexer_heads, 0,
                    &w->indexer_proj);
        bind_compressor(b, l, "indexer_compressor", hp->indexer_dim, &w->indexer_compressor);
    }
}

static void bind_experts(binder *b, uint32_t l, ds4_layer_weights *w) {
    const ds4_hparams *hp = b->hp;
    w->ffn_norm = bind_vector(b, in_layer(l, "ffn_norm.weight").text, hp->n_embd, 0);
    bind_matrix(b, in_layer(l, "ffn_gate_inp.weight").text, hp->n_embd, hp->n_experts, 0,
                &w->router);
    if (l < hp->n_hash_layers)
        w->hash_experts = bind_hash_experts(b, in_layer(l, "ffn_gate_tid2eid.weight").text);
    else if (find(b, in_layer(l, "exp_probs_b.bias").text) != NULL)
        w->router_bias = bind_vector(b, in_layer(l, "exp_probs_b.bias").text, hp->n_experts, 0);
    bind_matrix(b, in_layer(l, "ffn_gate_exps.weight").text, hp->n_embd, hp->n_ff, hp->n_experts,
                &w->gate_experts);
    bind_matrix(b, in_layer(l, "ffn_up_exps.weight").text, hp->n_embd, hp->n_ff, hp->n_experts,
                &w->up_experts);
    bind_matrix(b, in_layer(l, "ffn_down_exps.weight").text, hp->n_ff, hp->n_embd, hp->n_experts,
                &w->down_experts);
    bind_matrix(b, in_layer(l, "ffn_gate_shexp.weight").text, hp->n_embd, hp->n_ff, 0,
                &w->gate_shared);
    bind_matrix(b, in_layer(l, "ffn_up_shexp.weight").text, hp->n_embd, hp->n_ff, 0, &w->up_shared);
    bind_matrix(b, in_layer(l, "ffn_down_shexp.weight").text, hp->n_ff, hp->n_embd, 0,
                &w->down_shared);
}

/* What one decoded token reads and multiplies: every bound matrix once, of expert tensors only the
 * used share. */
static void count_matrix(ds4_weights *w, const ds4_matrix *m, uint32_t n_used) {
    uint64_t rows = (uint64_t)m->n_out * n_used;
    w->bytes_per_token += rows * m->row_bytes;
    w->flops_per_token += 2 * rows * m->n_in;
}

static void count_layer(ds4_weights *w, const ds4_layer_weights *l, const ds4_hparams *hp) {
    const ds4_matrix *dense[] = {
        &l->hc_attn.fn,
        &l->hc_ffn.fn,
        &l->q_a,
        &l->q_b,
        &l->kv,
        &l->output_a,
        &l->output_b,
        &l->compressor.kv,
        &l->compressor.gate,
        &l->indexer_compressor.kv,
        &l->indexer_compressor.gate,
        &l->indexer_q_b,
        &l->indexer_proj,
        &l->router,
        &l->gate_shared,
        &l->up_shared,
        &l->down_shared,
    };
    for (size_t i = 0; i < sizeof dense / sizeof dense[0]; i++)
        if (dense[i]->data != NULL) count_matrix(w, dense[i], 1);
    count_matrix(w, &l->gate_experts, hp->n_experts_used);
    count_matrix(w, &l->up_experts, hp->n_experts_used);
    count_matrix(w, &l->down_experts, hp->n_experts_used);
}

ds4_status ds4_weights_bind(const ds4_gguf *gguf, const ds4_hparams *hp, ds4_weights *w,
                            ds4_error *error) {
    *w = (ds4_weights){.layers = calloc(hp->n_layers, sizeof *w->layers)};
    if (w->layers == NULL)
        return ds4_fail_memory(error, hp->n_layers * sizeof *w->layers, "layer weights");
    binder b = {.gguf = gguf, .hp = hp, .weights = w, .kernels = ds4_kernels_best()};
    bind_matrix(&b, "token_embd.weight", hp->n_embd, hp->n_vocab, 0, &w->token_embedding);
    bind_hc(&b, "output_hc", hp->n_streams, 1, &w->output_hc);
    w->output_norm = bind_vector(&b, "output_norm.weight", hp->n_embd, 0);
    bind_matrix(&b, "output.weight", hp->n_embd, hp->n_vocab, 0, &w->output);
    for (uint32_t l = 0; l < hp->n_layers; l++) {
        bind_hc(&b, in_layer(l, "hc_attn").text, ds4_mix_width(hp), 3, &w->layers[l].hc_attn);
        bind_hc(&b, in_layer(l, "hc_ffn").text, ds4_mix_width(hp), 3, &w->layers[l].hc_ffn);
        bind_attention(&b, l, &w->layers[l]);
        bind_experts(&b, l, &w->layers[l]);
    }
    ds4_status status = DS4_OK;
    if (b.n_problems > 0) {
        if (b.n_problems > MAX_REPORTED)
            ds4_strbuf_printf(&b.problems, "; and %u more problems", b.n_problems - MAX_REPORTED);
        status = ds4_fail(error, DS4_FORMAT, "%s",
                          b.problems.data != NULL ? b.problems.data : "out of memory");
        ds4_weights_free(w);
    } else {
        for (uint32_t l = 0; l < hp->n_layers; l++) count_layer(w, &w->layers[l], hp);
        count_matrix(w, &w->output, 1);
        w->bytes_per_token += w->token_embedding.row_bytes;
    }
    ds4_strbuf_free(&b.problems);
    return status;
}

void ds4_weights_free(ds4_weights *w) {
    for (owned_vector *v = w->owned; v != NULL;) {
        owned_vector *next = v->next;
        free(v);
        v = next;
    }
    free(w->layers);
    *w = (ds4_weights){0};
}
