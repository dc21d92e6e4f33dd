/* The shape and constants of a deepseek4 model, read from GGUF metadata. Nothing of a particular
 * checkpoint is assumed: every consistent shape works. Symbols in brackets are those of
 * docs/model.md. */
#ifndef DS4_MODEL_HPARAMS_H
#define DS4_MODEL_HPARAMS_H

#include "ds4.h"
#include "gguf/gguf_reader.h"

/* Compression ratio with overlapping windows and an indexer; every other ratio > 0 has neither. */
enum { DS4_RATIO_OVERLAP = 4 };
/* Lanes that share one exponent in the FP8 rows and in the FP4 rows. */
enum { DS4_FP8_BLOCK = 64, DS4_FP4_BLOCK = 32 };

typedef struct ds4_hparams {
    uint32_t n_layers;            /* [L] */
    uint32_t n_embd;              /* [E] */
    uint32_t n_vocab;             /* [V] */
    uint32_t n_heads;             /* [H] */
    uint32_t head_dim;            /* [D] width of a query head and of a KV row */
    uint32_t rope_dim;            /* [R] last lanes of a head that are rotated */
    uint32_t q_lora;              /* [LQ] */
    uint32_t o_lora;              /* [LO] per group */
    uint32_t o_groups;            /* [G] */
    uint32_t n_experts;           /* [X] */
    uint32_t n_experts_used;      /* [U] */
    uint32_t n_ff;                /* [FF] hidden width of an expert, routed or shared */
    uint32_t n_hash_layers;       /* [NH] */
    uint32_t window;              /* [W] raw rows a token sees, itself included */
    uint32_t indexer_heads;       /* [IH] */
    uint32_t indexer_dim;         /* [ID] */
    uint32_t indexer_top_k;       /* [IK] */
    uint32_t n_streams;           /* [C] hyper-connection streams */
    uint32_t sinkhorn_iterations; /* [T] */
    float hc_eps, rms_eps;
    float rope_base;          /* layers with ratio 0 */
    float compress_rope_base; /* layers with ratio > 0 */
    float rope_factor;        /* YaRN, layers with ratio > 0 */
    float yarn_beta_fast, yarn_beta_slow;
    uint64_t rope_original_context;
    float expert_weights_scale;
    uint64_t context_length;    /* 0 when the file does not say */
    ds4_kv_sim kv_sim;          /* default of this file; never DS4_KV_SIM_DEFAULT */
    uint32_t *ratio;            /* [L] 0: window only */
    float *swiglu_clamp;        /* [L] routed experts; <= 1e-6 means no clamp */
    float *swiglu_clamp_shared; /* [L] */
} ds4_hparams;

/* Reads and checks everything; on failure the message lists each missing or impossible value.
 * On success free with ds4_hparams_free. */
ds4_status ds4_hparams_read(const ds4_gguf *gguf, ds4_hparams *hparams, ds4_error *error);
void ds4_hparams_free(ds4_hparams *hparams);

/* Whether this shape can be simulated at all: FP8 needs head_dim - rope_dim to be a multiple of 64.
 */
ds4_status ds4_hparams_check_kv_sim(const ds4_hparams *hparams, ds4_kv_sim kv_sim,
                                    ds4_error *error);

/* Width of a compressor's inputs in one layer: two halves when windows overlap. */
static inline uint32_t ds4_compressor_width(uint32_t ratio, uint32_t row_width) {
    return ratio == DS4_RATIO_OVERLAP ? 2 * row_width : row_width;
}
/* Tokens whose compressor inputs the next row may still need: the open window, and with overlap the
 * one before. */
static inline uint32_t ds4_compressor_reach(uint32_t ratio) {
    return ratio == DS4_RATIO_OVERLAP ? 2 * ratio : ratio;
}
static inline uint32_t ds4_mix_width(const ds4_hparams *hp) {
    return hp->n_streams * (hp->n_streams + 2);
}

#endif
