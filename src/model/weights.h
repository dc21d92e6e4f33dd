/* Named weights of a model, bound to the tensors of its GGUF file and checked for shape and type.
 * Matrices stay in the file mapping; vectors are decoded to float32 once. */
#ifndef DS4_MODEL_WEIGHTS_H
#define DS4_MODEL_WEIGHTS_H

#include "model/hparams.h"
#include "quant/quant.h"

/* n_out rows of n_in values; of expert tensors there are n_experts such matrices back to back. */
typedef struct ds4_matrix {
    const char *name; /* of the tensor, owned by its GGUF */
    ds4_type type;
    const uint8_t *data; /* in the file mapping */
    size_t n_in, n_out, n_experts;
    size_t row_bytes;
} ds4_matrix;

typedef struct ds4_hc_weights { /* one hyper-connection mixer */
    ds4_matrix fn;              /* C*E -> mix width (or C for the output head) */
    float *scale, *base;
} ds4_hc_weights;

typedef struct ds4_compressor_weights {
    ds4_matrix kv, gate; /* E -> width */
    float *ape;          /* [ratio][width] */
    float *norm;         /* [row width] */
} ds4_compressor_weights;

typedef struct ds4_layer_weights {
    ds4_hc_weights hc_attn, hc_ffn;
    float *attn_norm, *q_a_norm, *kv_norm, *sinks;
    ds4_matrix q_a, q_b, kv, output_a, output_b;
    ds4_compressor_weights compressor;         /* ratio > 0 */
    ds4_compressor_weights indexer_compressor; /* ratio 4 */
    ds4_matrix indexer_q_b, indexer_proj;      /* ratio 4 */
    float *ffn_norm;
    ds4_matrix router;
    float *router_bias; /* [X]; NULL when absent */
    const int32_t
        *hash_experts; /* [V][U] on hash layers, else NULL; in the file mapping, values checked */
    ds4_matrix gate_experts, up_experts, down_experts;
    ds4_matrix gate_shared, up_shared, down_shared;
} ds4_layer_weights;

typedef struct ds4_weights {
    ds4_matrix token_embedding; /* [V] rows of E */
    ds4_hc_weights output_hc;
    float *output_norm;
    ds4_matrix output;
    ds4_layer_weights *layers; /* [L] */
    uint64_t bytes, bytes_per_token, flops_per_token;
    void *owned; /* list of decoded vectors */
} ds4_weights;

/* On failure the message lists the missing or misshapen tensors (as many as fit). Free with
 * ds4_weights_free; `gguf` must outlive the weights. */
ds4_status ds4_weights_bind(const ds4_gguf *gguf, const ds4_hparams *hparams, ds4_weights *weights,
                            ds4_error *error);
void ds4_weights_free(ds4_weights *weights);

#endif
