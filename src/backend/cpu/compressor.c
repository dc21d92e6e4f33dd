/* Compressed rows: every `ratio` tokens one row is pooled from their inputs (docs/model.md,
 * "Compressor"). */
#include <string.h>

#include "backend/cpu/step.h"

typedef struct compress_loop {
    ds4_forward *f;
    const ds4_step_item *item;
    bool is_indexer;
    ds4_compressor_kv *kv;
    const ds4_compressor_weights *weights;
    const ds4_rows *value, *gate;  /* this step's inputs */
    uint32_t row_width, first_row; /* first compressed row that closes in this step */
} compress_loop;

/* Inputs of a position: of this step's rows if it is among them, else from the session's ring. */
static const float *input_at(const compress_loop *loop, const ds4_rows *fresh, const float *ring,
                             uint32_t position) {
    if (position >= loop->item->position)
        return fresh->row[loop->item->first_row + (position - loop->item->position)];
    return ring + (size_t)(position % loop->kv->n_slots) * loop->kv->width;
}

/* With overlap: the window before gives its first half of lanes, this window its second half. */
static void pool_row(const compress_loop *loop, uint32_t row, float *pooled, const float **value,
                     const float **gate) {
    uint32_t ratio = loop->kv->ratio, n = 0;
    bool overlap = ratio == DS4_RATIO_OVERLAP;
    uint32_t first = overlap && row > 0 ? (row - 1) * ratio : row * ratio;
    for (uint32_t p = first; p < (row + 1) * ratio; p++, n++) {
        uint32_t half = overlap && p >= row * ratio ? loop->row_width : 0;
        value[n] = input_at(loop, loop->value, loop->kv->value, p) + half;
        gate[n] = input_at(loop, loop->gate, loop->kv->gate, p) + half;
    }
    loop->f->cpu.ops->pool(value, gate, n, pooled, loop->row_width);
}

static void compress_piece(void *context, uint32_t thread, size_t begin, size_t end) {
    const compress_loop *loop = context;
    ds4_forward *f = loop->f;
    uint32_t rope_dim = f->hp->rope_dim, reach = ds4_compressor_reach(loop->kv->ratio);
    float *pooled = (float *)(void *)f->cpu.scratch[thread];
    float *angles = pooled + loop->row_width;
    const float **value = (const float **)(void *)(angles + rope_dim), **gate = value + reach;
    for (size_t i = begin; i < end; i++) {
        uint32_t row = loop->first_row + (uint32_t)i;
        pool_row(loop, row, pooled, value, gate);
        float scale = f->cpu.ops->rms_scale(pooled, loop->row_width, f->hp->rms_eps);
        f->cpu.ops->scale(pooled, scale, loop->weights->norm, pooled, loop->row_width);
        ds4_rope_angles(&f->rope[1], row * loop->kv->ratio, angles);
        ds4_rope_rotate(angles, rope_dim / 2, false, pooled + loop->row_width - rope_dim);
        uint8_t *stored = loop->kv->rows + (size_t)row * loop->kv->row_stride;
        if (loop->is_indexer)
            ds4_index_row_encode(&f->codec, pooled, stored);
        else
            ds4_row_encode(&f->codec, pooled, stored);
    }
}

/* Keeps the last inputs of the step in the ring, once the rows that needed older slots are done. */
static void keep_inputs(const compress_loop *loop) {
    const ds4_step_item *item = loop->item;
    ds4_compressor_kv *kv = loop->kv;
    uint32_t skip = item->n > kv->n_slots ? item->n - kv->n_slots : 0;
    for (uint32_t i = skip; i < item->n; i++) {
        size_t slot = (size_t)((item->position + i) % kv->n_slots) * kv->width;
        memcpy(kv->value + slot, loop->value->row[item->first_row + i], kv->width * sizeof(float));
        memcpy(kv->gate + slot, loop->gate->row[item->first_row + i], kv->width * sizeof(float));
    }
}

static void compress_item(compress_loop *loop) {
    const ds4_step_item *item = loop->item;
    uint32_t ratio = loop->kv->ratio;
    for (uint32_t i = 0; i < item->n; i++) {
        const float *ape =
            loop->weights->ape + (size_t)((item->position + i) % ratio) * loop->kv->width;
        loop->f->cpu.ops->axpy(1.0f, ape, loop->gate->row[item->first_row + i], loop->kv->width);
    }
    loop->first_row = item->position / ratio;
    uint32_t n_rows = (item->position + item->n) / ratio - loop->first_row;
    ds4_threads_for(loop->f->cpu.threads, n_rows, 1, compress_piece, loop);
    keep_inputs(loop);
}

void ds4_forward_compress(ds4_forward *f, const ds4_step *step, const ds4_layer_weights *weights,
                          uint32_t layer) {
    for (uint32_t i = 0; i < step->n_items; i++) {
        ds4_layer_kv *kv = &step->items[i].kv->layers[layer];
        compress_loop loop = {
            .f = f,
            .item = &step->items[i],
            .kv = &kv->attention,
            .weights = &weights->compressor,
            .value = &f->comp_value,
            .gate = &f->comp_gate,
            .row_width = f->hp->head_dim,
        };
        compress_item(&loop);
        if (kv->indexer.ratio == 0) continue;
        loop.is_indexer = true;
        loop.kv = &kv->indexer;
        loop.weights = &weights->indexer_compressor;
        loop.value = &f->index_value;
        loop.gate = &f->index_gate;
        loop.row_width = f->hp->indexer_dim;
        compress_item(&loop);
    }
}
