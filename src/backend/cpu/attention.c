/* Attention over the raw window and the compressed rows, and the projections around it
 * (docs/model.md, "Attention"). */
#include <math.h>
#include <string.h>

#include "backend/cpu/step.h"

enum { TILE_ROWS = 32 };

typedef struct attention_loop {
    ds4_forward *f;
    const ds4_step *step;
    const ds4_layer_weights *weights;
    uint32_t layer;
    uint32_t head_group, n_groups; /* heads per piece of work, and pieces per row */
} attention_loop;

/* ---- queries and the new raw rows ---- */

static void rotate_piece(void *context, uint32_t thread, size_t begin, size_t end) {
    (void)thread;
    const attention_loop *loop = context;
    ds4_forward *f = loop->f;
    const ds4_hparams *hp = f->hp;
    uint32_t plain = hp->head_dim - hp->rope_dim, n_pairs = hp->rope_dim / 2;
    for (size_t r = begin; r < end; r++) {
        const float *angles = ds4_forward_angles(f, loop->layer, (uint32_t)r);
        for (uint32_t h = 0; h < hp->n_heads; h++) {
            float *q = f->q.row[r] + (size_t)h * hp->head_dim;
            f->cpu.ops->scale(q, f->cpu.ops->rms_scale(q, hp->head_dim, hp->rms_eps), NULL, q,
                              hp->head_dim);
            ds4_rope_rotate(angles, n_pairs, false, q + plain);
        }
        float *kv = f->kv.row[r];
        float scale = f->cpu.ops->rms_scale(kv, hp->head_dim, hp->rms_eps);
        f->cpu.ops->scale(kv, scale, loop->weights->kv_norm, kv, hp->head_dim);
        ds4_rope_rotate(angles, n_pairs, false, kv + plain);
        ds4_row_round(&f->codec, kv);
    }
}

static void normalise_q_lora(void *context, uint32_t thread, size_t begin, size_t end) {
    (void)thread;
    const attention_loop *loop = context;
    ds4_forward *f = loop->f;
    for (size_t r = begin; r < end; r++) {
        float *q = f->q_lora.row[r];
        float scale = f->cpu.ops->rms_scale(q, f->q_lora.width, f->hp->rms_eps);
        f->cpu.ops->scale(q, scale, loop->weights->q_a_norm, q, f->q_lora.width);
    }
}

static void rotate_index_queries(void *context, uint32_t thread, size_t begin, size_t end) {
    (void)thread;
    const attention_loop *loop = context;
    ds4_forward *f = loop->f;
    const ds4_hparams *hp = f->hp;
    float scale = (float)(1.0 / sqrt((double)hp->indexer_dim * (double)hp->indexer_heads));
    for (size_t r = begin; r < end; r++) {
        const float *angles = ds4_forward_angles(f, loop->layer, (uint32_t)r);
        for (uint32_t h = 0; h < hp->indexer_heads; h++) {
            float *q = f->index_q.row[r] + (size_t)h * hp->indexer_dim;
            ds4_rope_rotate(angles, hp->rope_dim / 2, false, q + hp->indexer_dim - hp->rope_dim);
            ds4_index_row_round(&f->codec, q);
        }
        f->cpu.ops->scale(f->index_w.row[r], scale, NULL, f->index_w.row[r], hp->indexer_heads);
    }
}

/* Everything that reads x goes in one list: the weights are streamed once, with one barrier. */
static void project(ds4_forward *f, const ds4_step *step, const attention_loop *loop) {
    const ds4_layer_weights *w = loop->weights;
    uint32_t n = step->n_rows, ratio = f->hp->ratio[loop->layer];
    ds4_row_list x = ds4_rows_from(&f->x, 0);
    ds4_product *p = f->products;
    size_t n_products = 0;
    p[n_products++] = ds4_product_make(&f->cpu, &w->q_a, 0, x, n, f->q_lora.row);
    p[n_products++] = ds4_product_make(&f->cpu, &w->kv, 0, x, n, f->kv.row);
    if (ratio != 0) {
        p[n_products++] = ds4_product_make(&f->cpu, &w->compressor.kv, 0, x, n, f->comp_value.row);
        p[n_products++] = ds4_product_make(&f->cpu, &w->compressor.gate, 0, x, n, f->comp_gate.row);
    }
    if (ratio == DS4_RATIO_OVERLAP) {
        p[n_products++] =
            ds4_product_make(&f->cpu, &w->indexer_compressor.kv, 0, x, n, f->index_value.row);
        p[n_products++] =
            ds4_product_make(&f->cpu, &w->indexer_compressor.gate, 0, x, n, f->index_gate.row);
        p[n_products++] = ds4_product_make(&f->cpu, &w->indexer_proj, 0, x, n, f->index_w.row);
    }
    ds4_rows_prepare(&f->cpu, &f->x, 0, n, p, n_products);
    ds4_products_run(&f->cpu, p, n_products);
    ds4_threads_for(f->cpu.threads, n, 1, normalise_q_lora, (void *)loop);

    x = ds4_rows_from(&f->q_lora, 0);
    n_products = 0;
    p[n_products++] = ds4_product_make(&f->cpu, &w->q_b, 0, x, n, f->q.row);
    if (ratio == DS4_RATIO_OVERLAP)
        p[n_products++] = ds4_product_make(&f->cpu, &w->indexer_q_b, 0, x, n, f->index_q.row);
    ds4_rows_prepare(&f->cpu, &f->q_lora, 0, n, p, n_products);
    ds4_products_run(&f->cpu, p, n_products);
    ds4_threads_for(f->cpu.threads, n, 1, rotate_piece, (void *)loop);
    if (ratio == DS4_RATIO_OVERLAP)
        ds4_threads_for(f->cpu.threads, n, 1, rotate_index_queries, (void *)loop);
}

/* ---- the core ---- */

/* The rows one query sees, in the order of summation: raw window ascending, then compressed
 * ascending. */
typedef struct visible {
    const ds4_step_item *item;
    const ds4_kv *kv;
    const ds4_compressor_kv *compressed;
    const uint32_t *selected; /* NULL: compressed rows 0 .. n_compressed - 1 */
    uint32_t first_position, n_raw, n_compressed;
} visible;

static visible find_visible(const attention_loop *loop, uint32_t row) {
    const ds4_forward *f = loop->f;
    const ds4_hparams *hp = f->hp;
    uint32_t position = loop->step->position[row], ratio = hp->ratio[loop->layer];
    const ds4_step_item *item = &loop->step->items[loop->step->item_of_row[row]];
    visible v = {
        .item = item, .kv = item->kv, .compressed = &item->kv->layers[loop->layer].attention};
    v.first_position = position + 1 > hp->window ? position + 1 - hp->window : 0;
    v.n_raw = position + 1 - v.first_position;
    if (ratio == DS4_RATIO_OVERLAP) {
        v.selected = f->selected + (size_t)row * hp->indexer_top_k;
        v.n_compressed = f->n_selected[row];
    } else if (ratio != 0) {
        v.n_compressed = ds4_visible_rows(position, ratio);
    }
    return v;
}

/* Copies or decodes visible rows first .. first+n-1 to `tile`. */
static void load_tile(const attention_loop *loop, const visible *v, uint32_t first, uint32_t n,
                      float *tile) {
    const ds4_forward *f = loop->f;
    uint32_t width = f->hp->head_dim;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t index = first + i;
        float *row = tile + (size_t)i * width;
        if (index < v->n_raw) {
            uint32_t position = v->first_position + index;
            const float *raw = position >= v->item->position
                                   ? f->kv.row[v->item->first_row + (position - v->item->position)]
                                   : ds4_kv_raw(v->kv, loop->layer, position);
            memcpy(row, raw, width * sizeof *row);
        } else {
            uint32_t c = index - v->n_raw;
            if (v->selected != NULL) c = v->selected[c];
            ds4_row_decode(&f->codec, v->compressed->rows + (size_t)c * v->compressed->row_stride,
                           row);
        }
    }
}

/* Scores of `n_heads` heads against all visible rows; then softmax with the head's sink; then the
 * weighted rows replace the query. Rows are decoded twice rather than kept: a tile stays in the
 * cache, all rows would not. */
static void attend(const attention_loop *loop, uint32_t thread, uint32_t row, uint32_t head,
                   uint32_t n_heads) {
    ds4_forward *f = loop->f;
    const ds4_hparams *hp = f->hp;
    visible v = find_visible(loop, row);
    uint32_t n_rows = v.n_raw + v.n_compressed, width = hp->head_dim;
    float *tile = (float *)(void *)f->cpu.scratch[thread];
    const float **x = (const float **)(void *)(tile + (size_t)TILE_ROWS * width);
    float **y = (float **)(x + n_heads), *denominator = (float *)(void *)(y + n_heads);
    float *scores = denominator + n_heads;
    float *q = f->q.row[row] + (size_t)head * width;
    float scale = (float)(1.0 / sqrt((double)width));
    for (uint32_t h = 0; h < n_heads; h++) x[h] = q + (size_t)h * width;
    for (uint32_t first = 0; first < n_rows; first += TILE_ROWS) {
        uint32_t n = n_rows - first < TILE_ROWS ? n_rows - first : TILE_ROWS;
        load_tile(loop, &v, first, n, tile);
        for (uint32_t h = 0; h < n_heads; h++) y[h] = scores + (size_t)h * n_rows + first;
        ds4_matmul matmul = {
            .type = DS4_TYPE_F32,
            .weights = tile,
            .row_bytes = width * sizeof(float),
            .n_in = width,
            .n_tokens = n_heads,
            .x = x,
            .y = y,
        };
        f->cpu.kernels->matmul(&matmul, 0, n, f->cpu.matmul_scratch[thread]);
    }
    for (uint32_t h = 0; h < n_heads; h++) {
        float *s = scores + (size_t)h * n_rows, sink = loop->weights->sinks[head + h];
        f->cpu.ops->scale(s, scale, NULL, s, n_rows);
        float top = f->cpu.ops->max(s, n_rows);
        if (sink > top) top = sink;
        f->cpu.ops->exp_minus(s, top, n_rows);
        f->cpu.ops->exp_minus(&sink, top, 1);
        denominator[h] = sink + f->cpu.ops->sum(s, n_rows);
    }
    memset(q, 0, (size_t)n_heads * width * sizeof *q);
    for (uint32_t first = 0; first < n_rows; first += TILE_ROWS) {
        uint32_t n = n_rows - first < TILE_ROWS ? n_rows - first : TILE_ROWS;
        load_tile(loop, &v, first, n, tile);
        f->cpu.ops->weighted_rows(scores + first, n_rows, n_heads, tile, n, q, width, width);
    }
    const float *angles = ds4_forward_angles(f, loop->layer, row);
    for (uint32_t h = 0; h < n_heads; h++) {
        float *o = q + (size_t)h * width;
        f->cpu.ops->scale(o, 1.0f / denominator[h], NULL, o, width);
        ds4_rope_rotate(angles, hp->rope_dim / 2, true, o + width - hp->rope_dim);
    }
}

static void attend_piece(void *context, uint32_t thread, size_t begin, size_t end) {
    const attention_loop *loop = context;
    for (size_t i = begin; i < end; i++) {
        uint32_t row = (uint32_t)(i / loop->n_groups),
                 head = (uint32_t)(i % loop->n_groups) * loop->head_group;
        uint32_t left = loop->f->hp->n_heads - head;
        attend(loop, thread, row, head, left < loop->head_group ? left : loop->head_group);
    }
}

static void keep_raw_rows(ds4_forward *f, const ds4_step *step, uint32_t layer) {
    for (uint32_t i = 0; i < step->n_items; i++) {
        const ds4_step_item *item = &step->items[i];
        uint32_t skip = item->n > item->kv->n_raw_slots ? item->n - item->kv->n_raw_slots : 0;
        for (uint32_t t = skip; t < item->n; t++)
            memcpy(ds4_kv_raw(item->kv, layer, item->position + t), f->kv.row[item->first_row + t],
                   f->hp->head_dim * sizeof(float));
    }
}

/* ---- output ---- */

/* Group g of the heads meets only its own rows of output_a. */
static void project_output(ds4_forward *f, const ds4_step *step, const ds4_layer_weights *w) {
    const ds4_hparams *hp = f->hp;
    uint32_t n = step->n_rows;
    for (uint32_t g = 0; g < hp->o_groups; g++) {
        ds4_row_list x = {.row = f->group_x + (size_t)g * f->max_rows};
        for (int kind = 0; kind < DS4_INT8_KINDS; kind++)
            if (f->group_int8[kind] != NULL)
                x.int8[kind] = f->group_int8[kind] + (size_t)g * f->max_rows;
        float **y = f->group_y + (size_t)g * f->max_rows;
        ds4_product whole = ds4_product_make(&f->cpu, &w->output_a, 0, x, n, y);
        f->products[g] = ds4_product_rows(whole, (size_t)g * hp->o_lora, hp->o_lora);
    }
    ds4_rows_prepare(&f->cpu, &f->heads, 0, (size_t)n * hp->o_groups, f->products, hp->o_groups);
    ds4_products_run(&f->cpu, f->products, hp->o_groups);

    ds4_product out =
        ds4_product_make(&f->cpu, &w->output_b, 0, ds4_rows_from(&f->low, 0), n, f->y.row);
    ds4_rows_prepare(&f->cpu, &f->low, 0, n, &out, 1);
    ds4_products_run(&f->cpu, &out, 1);
}

void ds4_forward_attention(ds4_forward *f, const ds4_step *step, const ds4_layer_weights *weights,
                           uint32_t layer) {
    uint32_t n_heads = f->hp->n_heads, n_threads = f->cpu.n_threads;
    attention_loop loop = {
        .f = f, .step = step, .weights = weights, .layer = layer, .head_group = n_heads};
    project(f, step, &loop);
    if (f->hp->ratio[layer] != 0) ds4_forward_compress(f, step, weights, layer);
    if (f->hp->ratio[layer] == DS4_RATIO_OVERLAP) ds4_forward_select(f, step, layer);
    /* With few rows the heads are shared out instead; a head's result is the same either way. */
    if (step->n_rows < 2 * n_threads) loop.head_group = (n_heads + n_threads - 1) / n_threads;
    loop.n_groups = (n_heads + loop.head_group - 1) / loop.head_group;
    ds4_threads_for(f->cpu.threads, (size_t)step->n_rows * loop.n_groups, 1, attend_piece, &loop);
    keep_raw_rows(f, step, layer);
    project_output(f, step, weights);
}
