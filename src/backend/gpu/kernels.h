/* The operations of a layer as launches; each comes from the .cu file named above it. Formulas are
 * those of docs/model.md and of backend/cpu. */
#ifndef DS4_BACKEND_GPU_KERNELS_H
#define DS4_BACKEND_GPU_KERNELS_H

#include "backend/gpu/step.h"

namespace GPU_NAMESPACE {

/* repack.cu: n_rows rows of GGUF blocks to codes and scales, zeros up to n_padded. */
void repack_run(device *d, int type, const uint8_t *source, size_t row_bytes, const matrix &m,
                size_t first_row, size_t n_rows);
/* Bytes per row, or per tile of 16 rows, of the two arrays. */
void tiled_strides(int type, int n_in, uint32_t *code_stride, uint32_t *scale_stride);
void repacked_strides(int type, int n_padded, uint32_t *code_stride, uint32_t *scale_stride);

/* embed.cu */
void embed_run(device *d, const step_view &v, const matrix &table, const uint32_t *iq2,
               float *streams);
void angles_run(device *d, const step_view &v, float *angles);

/* hyper.cu */
struct mixer {
    const void *fn; /* [n_mix][C*E], float or half */
    int fn_is_half;
    const float *scale, *base;
    int n_mix;
};
/* What a sub-layer hands back: y = first + sum of `n_more` rows per row. */
struct sub_layer_output {
    const float *first; /* NULL: there was no sub-layer yet */
    const float *more;  /* [n_rows * n_more][E] */
    int n_more;
};
/* Mixes the last sub-layer's output into the streams (with the mixer in `mix`), and begins the next
 * mixer's product: partial sums per slice of columns. */
#define HYPER_SLICES(n_embd) (((n_embd) + WARP - 1) / WARP)
enum { HYPER_SUMS = 36 /* of a slice of four streams; n_mix + 1 of any other number */ };
void hyper_mix_run(device *d, const step_view &v, float *streams, const float *mix,
                   const sub_layer_output &y, const mixer &next, float *partial);
/* Finishes it: mix = pre, post, P of the rows; x = norm(sum of pre_c stream_c) * norm_weight.
 * rows: which streams (NULL: 0 .. n-1). */
void hyper_finish_run(device *d, const step_view &v, const float *streams, const float *partial,
                      const mixer &m, const float *norm_weight, float *mix, const activation &x,
                      int n, const int *rows, int only_pre);
/* embed.cu: y[row] = sum, then the steering edit of each row (backend/cpu/steer.c). */
struct steer_row {
    float scale;
    int mode;
    const float *direction; /* NULL: none */
};
void steer_run(device *d, const step_view &v, const sub_layer_output &y, const steer_row *rows,
               float *total);

/* prepare.cu */
struct attention_inputs {
    float *q_lora; /* [rows][q_lora_dim] */
    int q_lora_dim;
    activation q_low; /* normalised */
    const float *q_lora_norm, *kv_norm;
    float *kv;                             /* [rows][head_dim], becomes the raw rows */
    const float *comp_value, *comp_gate;   /* [rows][comp_width] */
    const float *index_value, *index_gate; /* [rows][2 * index_dim] */
    const float *comp_ape, *comp_norm;     /* NULL when the layer has no compressor */
    const float *index_ape, *index_norm;   /* NULL when it has no indexer */
    float *mix; /* mixers of the rows; their matrices are finished here */
    int layer, ratio, comp_width;
    int keep; /* write the rings too; only in steps whose items have at most `journal` rows */
};
void prepare_run(device *d, const step_view &v, const attention_inputs &in);
/* Writes the rings after a step of longer items. */
void keep_run(device *d, const step_view &v, const attention_inputs &in);

/* indexer.cu */
struct selection {
    float *query;  /* [rows][IH*ID] in place */
    float *weight; /* [rows][IH] raw */
    float *scores; /* [score_rows][score_stride] */
    int score_stride, score_rows;
    int *selected; /* [rows][top_k] */
    int layer;
    int most_visible; /* of any row: size of the launch */
};
void index_query_run(device *d, const step_view &v, const selection &s);
void index_select_run(device *d, const step_view &v, const selection &s);
/* select.cu: the best of n rows from first_row on, which share the scores' buffer */
void select_run(device *d, const step_view &v, const selection &s, int first_row, int n);

/* attention.cu */
struct attention {
    const float *q;  /* [rows][H*D] raw projections */
    const float *kv; /* [rows][D] this step's raw rows */
    const float *sinks;
    const int *selected; /* NULL: all compressed rows */
    float *partial;      /* [row_tile][splits][H][D] */
    float *partial_ml;   /* [row_tile][splits][H][2] */
    activation out;      /* [rows][H*D] */
    uint8_t *halves;     /* room for visible rows as halves: steps of many rows */
    size_t halves_bytes;
    int layer, ratio;
    int reach;     /* at least the largest position + 1 */
    int most_rows; /* any row sees at most */
    int row_tile;  /* rows that the partial buffers hold */
};
int attention_splits(int most_rows);
void attention_run(device *d, const step_view &v, const attention &a);
/* tile_attention.cu, wide_attention.cu: the same on the matrix units, for some shapes; `partial`
 * holds the scores of row_tile rows, [row][H][tile_attention_floats / H]. */
bool tile_attention_suits(const step_view &v);
size_t tile_attention_floats(int n_heads, int most_rows);
void tile_attention_run(device *d, const step_view &v, const attention &a);

/* experts.cu */
struct routing {
    float *score; /* [rows][X] router products in place */
    const float *bias;
    const int32_t *hash; /* [V][U] or NULL */
    int n_experts, n_used;
    float scale;
    int *expert;   /* [rows * U] */
    float *weight; /* [rows * U] */
    /* groups */
    int *n_tiles, *tile_expert, *tile_first, *tile_count, *pairs;
    int *count; /* [X] */
    int tile_rows;
    float *mix; /* as in attention_inputs */
};
void route_run(device *d, const step_view &v, const routing &r);
int most_expert_tiles(int n_pairs, int n_experts, int tile_rows);

/* head: gathers rows of logits to be wanted are plain products. */

} // namespace GPU_NAMESPACE

#endif
