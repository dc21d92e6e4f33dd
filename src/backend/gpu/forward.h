/* The forward pass on a device: buffers for steps of up to max_rows rows, and the launches of a
 * step. */
#ifndef DS4_BACKEND_GPU_FORWARD_H
#define DS4_BACKEND_GPU_FORWARD_H

#include "backend/gpu/weights.h"

namespace GPU_NAMESPACE {

/* Steps of up to so many rows are replayed from graphs. */
enum { SMALL_ROWS = 64 };
struct small_step {
    int item_of_row[SMALL_ROWS], position[SMALL_ROWS], token[SMALL_ROWS], wanted[SMALL_ROWS];
    item_info items[SMALL_ROWS];
};

/* Buffers on the device; [rows] means max_rows. */
struct buffers {
    /* what a step is, copied in before it runs */
    int *item_of_row, *position, *token;
    item_info *items;
    layer_state *states;
    int *wanted;       /* rows whose logits are wanted */
    small_step *small; /* the same of steps of few rows, which one copy brings */
    steer_row *steer;  /* [2][L][rows] */
    /* activations */
    float *angles, *streams, *mix, *partial, *y, *q_lora, *q, *kv;
    activation x, q_low, heads, low, mid, mid_shared;
    uint8_t *sorted; /* split rows of pairs; mostly where the heads were */
    float *comp_value, *comp_gate, *index_value, *index_gate, *index_query, *index_weight;
    float *scores;
    int *selected;
    float *attention_partial, *attention_ml;
    float *router, *down, *logits, *total;
    int *expert;
    float *expert_weight;
    int *n_tiles, *tile_expert, *tile_first, *tile_count, *pairs, *expert_count;
    /* fixed tables */
    double *frequency;
    float *slowdown;
};

struct sizes {
    int max_rows, max_context, max_items, logit_rows;
    int score_rows, score_stride, comp_width;
    bool plain, split;       /* forms of activations, see weights.h */
    size_t attention_floats; /* of attention_partial */
    size_t down_floats;
};

/* What the launches of a step depend on, besides the contents of the step buffers. */
struct step_shape {
    int n_rows, n_items, n_wanted;
    int reach;       /* at least the largest position + 1 */
    int short_items; /* every item has at most `journal` rows */
    int steered;
};

struct forward {
    device *d;
    const ds4_hparams *hp;
    const weights *w;
    ds4_row_codec codec;
    buffers b;
    sizes s;
    uint8_t *slab;
    step_view view; /* n_rows and n_items are those of the step */
};

sizes forward_sizes(const ds4_model *model, const ds4_engine_options *options);
uint64_t forward_bytes(const ds4_hparams *hp, const sizes &s);
ds4_status forward_create(device *d, const ds4_model *model, const ds4_engine_options *options,
                          const ds4_row_codec *codec, const weights *w, forward *f,
                          ds4_error *error);
void forward_free(forward *f);
/* Queues a step whose description is in the step buffers; logits of the wanted rows go to
 * b.logits, at most logit_rows of them: call forward_logits for more. */
void forward_run(forward *f, const step_shape &shape);
/* Queues the logits of wanted rows [first, first + n). */
void forward_logits(forward *f, const step_shape &shape, int first, int n);

} // namespace GPU_NAMESPACE

#endif
