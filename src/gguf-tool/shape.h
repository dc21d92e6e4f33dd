/* The numbers that define a deepseek4 model, as the programs that make files need them. Symbols in
 * brackets are those of docs/model.md. Any thread. */
#ifndef DS4_GGUF_TOOL_SHAPE_H
#define DS4_GGUF_TOOL_SHAPE_H

#include <json-c/json.h>

#include "gguf/gguf_writer.h"

enum { DS4_SHAPE_MAX_LAYERS = 512 };

typedef struct ds4_shape {
    uint32_t n_layers;            /* [L] */
    uint32_t n_embd;              /* [E] */
    uint32_t n_vocab;             /* [V] */
    uint32_t n_heads;             /* [H] */
    uint32_t head_dim;            /* [D] */
    uint32_t rope_dim;            /* [R] */
    uint32_t q_lora;              /* [LQ] */
    uint32_t o_lora;              /* [LO] */
    uint32_t o_groups;            /* [G] */
    uint32_t n_experts;           /* [X] */
    uint32_t n_experts_used;      /* [U] */
    uint32_t n_ff;                /* [FF] */
    uint32_t n_hash_layers;       /* [NH] */
    uint32_t window;              /* [W] */
    uint32_t indexer_heads;       /* [IH] */
    uint32_t indexer_dim;         /* [ID] */
    uint32_t indexer_top_k;       /* [IK] */
    uint32_t n_streams;           /* [C] */
    uint32_t sinkhorn_iterations; /* [T] */
    uint32_t context_length, rope_original_context;
    ds4_kv_sim kv_sim; /* what the weights were trained with; DEFAULT: not stated, so `full` */
    float hc_eps, rms_eps, rope_base, compress_rope_base, rope_factor, yarn_beta_fast,
        yarn_beta_slow;
    float expert_weights_scale, swiglu_clamp;
    int32_t ratios[DS4_SHAPE_MAX_LAYERS]; /* first L entries */
} ds4_shape;

/* Shape of an original checkpoint's config.json. FORMAT naming the member that is missing or
 * impossible. */
ds4_status ds4_shape_read_config(const json_object *config, ds4_shape *shape, ds4_error *error);

/* V4 Flash itself; the other presets are this with smaller numbers. */
void ds4_shape_flash(ds4_shape *shape);
void ds4_shape_small(ds4_shape *shape); /* full width, the first 4 layers, 32 experts */
void ds4_shape_tiny(ds4_shape *shape);  /* a few MB */

/* Declares general.* and deepseek4.* (docs/gguf.md). `file_type` is the informative
 * general.file_type. */
void ds4_shape_put_metadata(const ds4_shape *shape, const char *name, uint32_t file_type,
                            ds4_gguf_writer *writer);

#endif
