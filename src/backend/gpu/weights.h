/* A model's weights on the device: placed once, repacked on the way (repack.cu). */
#ifndef DS4_BACKEND_GPU_WEIGHTS_H
#define DS4_BACKEND_GPU_WEIGHTS_H

#include "backend/gpu/kernels.h"

extern "C" {
#include "model/model.h"
}

namespace GPU_NAMESPACE {

struct compressor_weights {
    matrix kv, gate;
    float *ape, *norm;
};

struct layer_weights {
    mixer hc_attn, hc_ffn;
    float *attn_norm, *q_a_norm, *kv_norm, *sinks, *ffn_norm;
    matrix q_a, q_b, kv, output_a, output_b;
    compressor_weights compressor, indexer_compressor;
    matrix indexer_q_b, indexer_proj;
    matrix router;
    float *router_bias;
    int32_t *hash_experts;
    matrix gate_experts, up_experts, down_experts;
    matrix gate_shared, up_shared, down_shared;
};

struct weights {
    uint8_t *slab;
    matrix token_embedding, output;
    mixer output_hc;
    float *output_norm;
    const uint32_t *code_book; /* of IQ2_XXS: rows of digits (formats.h), of tiles.h */
    bool plain, split;     /* in what form activations are read: by matrices that are (not) tiled */
    layer_weights *layers; /* [L], host memory */
};

uint64_t weights_bytes(const ds4_model *model);
/* In what forms its matrices read activations. */
void weights_forms(const ds4_model *model, bool *plain, bool *split);
ds4_status weights_place(device *d, const ds4_model *model, uint32_t n_threads,
                         ds4_progress_fn progress, void *progress_context, weights *w,
                         ds4_error *error);
void weights_free(device *d, weights *w);

} // namespace GPU_NAMESPACE

#endif
