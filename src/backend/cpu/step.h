/* What the CPU operations of a layer share: the context and the buffers of activation rows. Row r
 * of every buffer belongs to row r of the step unless said otherwise. */
#ifndef DS4_BACKEND_CPU_STEP_H
#define DS4_BACKEND_CPU_STEP_H

#include "backend/cpu/cpu.h"
#include "backend/cpu/rope.h"
#include "backend/step.h"

/* What every operation of the forward pass needs to know, and the activation buffers. */
typedef struct ds4_forward {
    ds4_cpu cpu;
    const ds4_hparams *hp;
    ds4_row_codec codec;
    ds4_rope rope[2]; /* plain, compressed */
    float *angles[2]; /* [max_rows][rope_dim] (cos, sin) of each row's position, per rope */
    uint32_t max_rows, max_context;

    ds4_rows streams; /* [max_rows] C*E: the residual state X */
    ds4_rows mix;     /* [max_rows] hyper-connection mixer: pre (C), post (C), P (C*C) */
    ds4_rows x;       /* [max_rows] E: normalised sub-layer input */
    ds4_rows y;       /* [max_rows] E: sub-layer output */
    ds4_rows q_lora;  /* [max_rows] LQ */
    ds4_rows q;       /* [max_rows] H*D; after attention the heads' outputs */
    ds4_rows
        heads;    /* the same memory as q seen as [max_rows * G] D*H/G; owns only its row tables */
    ds4_rows kv;  /* [max_rows] D: this step's raw rows */
    ds4_rows low; /* [max_rows] G*LO */
    ds4_rows comp_value, comp_gate;   /* [max_rows] widest compressor */
    ds4_rows index_value, index_gate; /* [max_rows] 2*ID */
    ds4_rows index_q;                 /* [max_rows] IH*ID */
    ds4_rows index_w;                 /* [max_rows] IH */
    float *index_scores;              /* [score_rows][max_context / 4] */
    uint32_t score_rows;
    uint32_t *selected; /* [max_rows][IK]; n_selected[r] rows of it, ascending */
    uint32_t *n_selected;
    float **group_x, **group_y; /* [G][max_rows] row tables of the grouped output projection */
    void **group_int8[DS4_INT8_KINDS];

    ds4_rows router;                 /* [max_rows] X */
    uint32_t *expert;                /* [max_rows][U] chosen experts */
    float *expert_weight;            /* [max_rows][U] */
    ds4_rows gate, up;               /* [max_rows * U] FF, slot-major: row r * U + u */
    ds4_rows down;                   /* [max_rows * U] E */
    ds4_rows gate_shared, up_shared; /* [max_rows] FF */
    float **gather_x, **gather_gate, **gather_up,
        **gather_down; /* [max_rows * U] pointers grouped by expert */
    void **gather_x_int8[DS4_INT8_KINDS], **gather_gate_int8[DS4_INT8_KINDS];
    uint32_t *expert_first; /* [X + 1] where an expert's group begins */
    ds4_product *products;  /* [2 * X + 16] */
    float **head_row,
        **logit_row; /* [max_rows] streams whose logits are wanted, and where they go */
} ds4_forward;

static inline const float *ds4_forward_angles(const ds4_forward *f, uint32_t layer, uint32_t row) {
    return f->angles[f->hp->ratio[layer] != 0] + (size_t)row * f->hp->rope_dim;
}

/* forward.c: buffers for steps of at most max_rows tokens. Bytes of a forward with the same
 * arguments can be asked for without creating it. */
ds4_status ds4_forward_create(const ds4_hparams *hparams, const ds4_engine_options *options,
                              ds4_forward *forward, ds4_error *error);
void ds4_forward_free(ds4_forward *forward);
uint64_t ds4_forward_bytes(const ds4_hparams *hparams, const ds4_engine_options *options);
/* Evaluates a valid step (tokens in range, room in every session) and appends to the sessions' KV.
 * Row i of head_row / logit_row, i < n_logit_rows, was chosen by the caller. */
void ds4_forward_run(ds4_forward *forward, const ds4_weights *weights, const ds4_step *step,
                     uint32_t n_logit_rows);

/* hyper.c: sub-layer input x = norm(sum of streams weighted by `pre`), and the mixer for the way
 * back. */
void ds4_forward_hc_pre(ds4_forward *f, const ds4_step *step, const ds4_hc_weights *weights,
                        const float *norm);
/* streams = mixer applied to the streams and the sub-layer output y. */
void ds4_forward_hc_post(ds4_forward *f, const ds4_step *step);
/* logit_row[i] = logits of streams head_row[i], i < n. */
void ds4_forward_head(ds4_forward *f, const ds4_weights *weights, uint32_t n);

/* attention.c: x -> y, appending the step's rows to the sessions' KV. */
void ds4_forward_attention(ds4_forward *f, const ds4_step *step, const ds4_layer_weights *weights,
                           uint32_t layer);
/* compressor.c: completes the compressed rows whose windows close in this step, and keeps the
 * inputs. */
void ds4_forward_compress(ds4_forward *f, const ds4_step *step, const ds4_layer_weights *weights,
                          uint32_t layer);
/* indexer.c: fills selected / n_selected for a layer with ratio 4; rows that see everything get all
 * rows. */
void ds4_forward_select(ds4_forward *f, const ds4_step *step, uint32_t layer);
/* steer.c: one edit, y [n] along v [n] (ds4_steer_mode). */
void ds4_steer_row(const ds4_vector_ops *ops, ds4_steer_mode mode, float scale, const float *v,
                   float *y, size_t n);
/* steer.c: hands out y where an item asks for it, then edits it as the items' dials say. */
void ds4_forward_steer(ds4_forward *f, const ds4_step *step, ds4_steer_site site, uint32_t layer);
/* experts.c: x -> y */
void ds4_forward_experts(ds4_forward *f, const ds4_step *step, const ds4_layer_weights *weights,
                         uint32_t layer);

/* The rows of one step that a query at `position` sees of a compressor: those completed by its own
 * token included. */
static inline uint32_t ds4_visible_rows(uint32_t position, uint32_t ratio) {
    return (position + 1) / ratio;
}

#endif
