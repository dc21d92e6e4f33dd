/* The buffers of the forward pass, and the pass itself: all rows of a step go through a layer
 * before the next. */
#include <stdlib.h>
#include <string.h>

#include "backend/cpu/step.h"
#include "base/error.h"

enum { SCORE_BYTES = 32 << 20, KEY_TILE = 64, ROW_TILE = 32, HISTOGRAM_BYTES = 8192 };

/* ---- sizes ---- */

static uint32_t widest_compressor(const ds4_hparams *hp) {
    uint32_t width = 1;
    for (uint32_t l = 0; l < hp->n_layers; l++) {
        uint32_t w = ds4_compressor_width(hp->ratio[l], hp->head_dim);
        if (hp->ratio[l] != 0 && w > width) width = w;
    }
    return width;
}

static uint32_t longest_reach(const ds4_hparams *hp) {
    uint32_t reach = 1;
    for (uint32_t l = 0; l < hp->n_layers; l++) {
        uint32_t r = ds4_compressor_reach(hp->ratio[l]);
        if (r > reach) reach = r;
    }
    return reach;
}

/* Most rows one query can attend to in any layer. */
static size_t most_visible(const ds4_hparams *hp, uint32_t max_context) {
    size_t most = 0;
    for (uint32_t l = 0; l < hp->n_layers; l++) {
        if (hp->ratio[l] == 0) continue;
        size_t n = max_context / hp->ratio[l];
        if (hp->ratio[l] == DS4_RATIO_OVERLAP && n > hp->indexer_top_k) n = hp->indexer_top_k;
        if (n > most) most = n;
    }
    return most + hp->window;
}

static size_t larger(size_t a, size_t b) {
    return a > b ? a : b;
}

/* The largest of what compressor.c, indexer.c, attention.c and experts.c lay out in a thread's
 * scratch. */
static size_t scratch_bytes(const ds4_hparams *hp, uint32_t max_context) {
    size_t f = sizeof(float), p = sizeof(void *), reach = longest_reach(hp);
    size_t compress = (larger(hp->head_dim, hp->indexer_dim) + hp->rope_dim) * f + 2 * reach * p;
    size_t score = ((size_t)hp->indexer_dim + hp->indexer_heads) * KEY_TILE * f +
                   2 * (size_t)hp->indexer_heads * p;
    size_t attend = (size_t)hp->head_dim * ROW_TILE * f + 2 * (size_t)hp->n_heads * p +
                    hp->n_heads * (1 + most_visible(hp, max_context)) * f;
    size_t combine = hp->n_embd * f;
    return larger(larger(compress, score), larger(larger(attend, combine), HISTOGRAM_BYTES));
}

static bool has_indexer(const ds4_hparams *hp) {
    for (uint32_t l = 0; l < hp->n_layers; l++)
        if (hp->ratio[l] == DS4_RATIO_OVERLAP) return true;
    return false;
}

static uint32_t score_rows(const ds4_hparams *hp, uint32_t max_context, uint32_t max_rows) {
    size_t row_bytes = max_context / DS4_RATIO_OVERLAP * sizeof(float);
    if (!has_indexer(hp) || row_bytes == 0) return max_rows;
    size_t n = SCORE_BYTES / row_bytes;
    return n < 1 ? 1 : n > max_rows ? max_rows : (uint32_t)n;
}

/* One line per row buffer: where it is, how many rows per step row, how wide, whether products read
 * it. */
typedef struct buffer_spec {
    ds4_rows *rows;
    size_t per_row, width;
    bool is_input;
} buffer_spec;

enum { MAX_SPECS = 32 };

static size_t list_buffers(const ds4_hparams *hp, ds4_forward *f, buffer_spec *spec) {
    size_t n = 0, used = hp->n_experts_used, embd = hp->n_embd;
    bool indexer = has_indexer(hp);
    spec[n++] = (buffer_spec){&f->streams, 1, hp->n_streams * embd, false};
    spec[n++] = (buffer_spec){&f->mix, 1, ds4_mix_width(hp), false};
    spec[n++] = (buffer_spec){&f->x, 1, embd, true};
    spec[n++] = (buffer_spec){&f->y, 1, embd, false};
    spec[n++] = (buffer_spec){&f->q_lora, 1, hp->q_lora, true};
    spec[n++] = (buffer_spec){&f->q, 1, (size_t)hp->n_heads * hp->head_dim, false};
    spec[n++] = (buffer_spec){&f->kv, 1, hp->head_dim, false};
    spec[n++] = (buffer_spec){&f->low, 1, (size_t)hp->o_groups * hp->o_lora, true};
    spec[n++] = (buffer_spec){&f->comp_value, 1, widest_compressor(hp), false};
    spec[n++] = (buffer_spec){&f->comp_gate, 1, widest_compressor(hp), false};
    if (indexer) {
        spec[n++] = (buffer_spec){&f->index_value, 1, 2 * (size_t)hp->indexer_dim, false};
        spec[n++] = (buffer_spec){&f->index_gate, 1, 2 * (size_t)hp->indexer_dim, false};
        spec[n++] =
            (buffer_spec){&f->index_q, 1, (size_t)hp->indexer_heads * hp->indexer_dim, false};
        spec[n++] = (buffer_spec){&f->index_w, 1, hp->indexer_heads, false};
    }
    spec[n++] = (buffer_spec){&f->router, 1, hp->n_experts, false};
    spec[n++] = (buffer_spec){&f->gate, used, hp->n_ff, true};
    spec[n++] = (buffer_spec){&f->up, used, hp->n_ff, false};
    spec[n++] = (buffer_spec){&f->down, used, embd, false};
    spec[n++] = (buffer_spec){&f->gate_shared, 1, hp->n_ff, true};
    spec[n++] = (buffer_spec){&f->up_shared, 1, hp->n_ff, false};
    return n;
}

uint64_t ds4_forward_bytes(const ds4_hparams *hp, const ds4_engine_options *options) {
    ds4_forward unused;
    buffer_spec spec[MAX_SPECS];
    uint32_t max_rows = options->max_batch_tokens;
    uint64_t bytes = ds4_cpu_bytes(options->n_threads, scratch_bytes(hp, options->max_context));
    size_t n = list_buffers(hp, &unused, spec);
    for (size_t i = 0; i < n; i++)
        bytes += ds4_rows_bytes(options->activations, max_rows * spec[i].per_row, spec[i].width,
                                spec[i].is_input);
    if (has_indexer(hp)) {
        bytes += (uint64_t)score_rows(hp, options->max_context, max_rows) *
                 (options->max_context / DS4_RATIO_OVERLAP) * sizeof(float);
        bytes += (uint64_t)max_rows * hp->indexer_top_k * sizeof(uint32_t);
    }
    return bytes;
}

/* ---- creation ---- */

/* Smaller tables; false when one could not be had. */
static bool allocate_tables(ds4_forward *f) {
    const ds4_hparams *hp = f->hp;
    size_t n = f->max_rows, pairs = n * hp->n_experts_used, groups = n * hp->o_groups;
    bool complete = true;
#define TABLE(member, count)                                                                       \
    complete = (f->member = calloc((count), sizeof *f->member)) != NULL && complete
    TABLE(angles[0], n * hp->rope_dim);
    TABLE(angles[1], n * hp->rope_dim);
    if (has_indexer(hp)) {
        TABLE(index_scores, (size_t)f->score_rows * (f->max_context / DS4_RATIO_OVERLAP) + 1);
        TABLE(selected, n * hp->indexer_top_k);
    }
    TABLE(n_selected, n);
    TABLE(group_x, groups);
    TABLE(group_y, groups);
    TABLE(expert, pairs);
    TABLE(expert_weight, pairs);
    TABLE(gather_x, pairs);
    TABLE(gather_gate, pairs);
    TABLE(gather_up, pairs);
    TABLE(gather_down, pairs);
    for (int kind = 0; kind < DS4_INT8_KINDS && f->cpu.activations == DS4_ACTIVATIONS_INT8;
         kind++) {
        if (f->heads.int8[kind] != NULL) TABLE(group_int8[kind], groups);
        TABLE(gather_x_int8[kind], pairs);
        TABLE(gather_gate_int8[kind], pairs);
    }
    TABLE(expert_first, (size_t)hp->n_experts + 1);
    TABLE(products, 2 * (size_t)hp->n_experts + hp->o_groups + 16);
    TABLE(head_row, n);
    TABLE(logit_row, n);
#undef TABLE
    return complete;
}

/* heads row t * G + g holds group g of token t; the grouped products want all tokens of one group
 * in a row. */
static void fill_group_tables(ds4_forward *f) {
    uint32_t groups = f->hp->o_groups;
    for (uint32_t g = 0; g < groups; g++) {
        for (uint32_t t = 0; t < f->max_rows; t++) {
            size_t to = (size_t)g * f->max_rows + t, from = (size_t)t * groups + g;
            f->group_x[to] = f->heads.row[from];
            f->group_y[to] = f->low.row[t] + (size_t)g * f->hp->o_lora;
            for (int kind = 0; kind < DS4_INT8_KINDS; kind++)
                if (f->group_int8[kind] != NULL)
                    f->group_int8[kind][to] = f->heads.int8[kind][from];
        }
    }
}

ds4_status ds4_forward_create(const ds4_hparams *hp, const ds4_engine_options *options,
                              ds4_forward *f, ds4_error *error) {
    *f = (ds4_forward){
        .hp = hp, .max_rows = options->max_batch_tokens, .max_context = options->max_context};
    f->score_rows = score_rows(hp, f->max_context, f->max_rows);
    size_t scratch = scratch_bytes(hp, f->max_context);
    ds4_status status =
        ds4_cpu_create(options->n_threads, options->activations, scratch, &f->cpu, error);
    if (status != DS4_OK) return status;
    f->codec = ds4_row_codec_make(hp, options->kv_sim, f->cpu.ops, f->cpu.kernels);
    for (int compressed = 0; compressed < 2 && status == DS4_OK; compressed++)
        status =
            ds4_rope_create(hp, compressed != 0, options->rope_angles, &f->rope[compressed], error);
    buffer_spec spec[MAX_SPECS];
    size_t n_specs = list_buffers(hp, f, spec);
    for (size_t i = 0; i < n_specs && status == DS4_OK; i++)
        status = ds4_rows_create(&f->cpu, f->max_rows * spec[i].per_row, spec[i].width,
                                 spec[i].is_input, spec[i].rows, error);
    if (status == DS4_OK)
        status = ds4_rows_view(&f->cpu, f->q.data, (size_t)f->max_rows * hp->o_groups,
                               (size_t)hp->n_heads / hp->o_groups * hp->head_dim, true, &f->heads,
                               error);
    if (status == DS4_OK && !allocate_tables(f))
        status = ds4_fail_memory(error, 0, "the forward pass's tables");
    if (status == DS4_OK)
        fill_group_tables(f);
    else
        ds4_forward_free(f);
    return status;
}

void ds4_forward_free(ds4_forward *f) {
    if (f->hp == NULL) return;
    buffer_spec spec[MAX_SPECS];
    size_t n_specs = list_buffers(f->hp, f, spec);
    for (size_t i = 0; i < n_specs; i++) ds4_rows_free(spec[i].rows);
    ds4_rows_free(&f->heads);
    for (int i = 0; i < 2; i++) {
        ds4_rope_free(&f->rope[i]);
        free(f->angles[i]);
    }
    for (int kind = 0; kind < DS4_INT8_KINDS; kind++) {
        free(f->group_int8[kind]);
        free(f->gather_x_int8[kind]);
        free(f->gather_gate_int8[kind]);
    }
    free(f->index_scores);
    free(f->selected);
    free(f->n_selected);
    free(f->group_x);
    free(f->group_y);
    free(f->expert);
    free(f->expert_weight);
    free(f->gather_x);
    free(f->gather_gate);
    free(f->gather_up);
    free(f->gather_down);
    free(f->expert_first);
    free(f->products);
    free(f->head_row);
    free(f->logit_row);
    ds4_cpu_free(&f->cpu);
    *f = (ds4_forward){0};
}

/* ---- the pass ---- */

typedef struct embed_loop {
    ds4_forward *f;
    const ds4_step *step;
    const ds4_matrix *embedding;
} embed_loop;

static void embed_piece(void *context, uint32_t thread, size_t begin, size_t end) {
    (void)thread;
    const embed_loop *loop = context;
    ds4_forward *f = loop->f;
    size_t width = f->hp->n_embd;
    for (size_t r = begin; r < end; r++) {
        float *streams = f->streams.row[r];
        const uint8_t *row =
            loop->embedding->data + (size_t)loop->step->token[r] * loop->embedding->row_bytes;
        f->cpu.kernels->decode(loop->embedding->type, row, streams, width);
        for (uint32_t c = 1; c < f->hp->n_streams; c++)
            memcpy(streams + c * width, streams, width * sizeof *streams);
        for (int i = 0; i < 2; i++)
            ds4_rope_angles(&f->rope[i], loop->step->position[r],
                            f->angles[i] + r * f->hp->rope_dim);
    }
}

void ds4_forward_run(ds4_forward *f, const ds4_weights *weights, const ds4_step *step,
                     uint32_t n_logit_rows) {
    embed_loop loop = {.f = f, .step = step, .embedding = &weights->token_embedding};
    ds4_threads_for(f->cpu.threads, step->n_rows, 4, embed_piece, &loop);
    for (uint32_t l = 0; l < f->hp->n_layers; l++) {
        const ds4_layer_weights *layer = &weights->layers[l];
        ds4_forward_hc_pre(f, step, &layer->hc_attn, layer->attn_norm);
        ds4_forward_attention(f, step, layer, l);
        ds4_forward_steer(f, step, DS4_STEER_ATTN, l);
        ds4_forward_hc_post(f, step);
        ds4_forward_hc_pre(f, step, &layer->hc_ffn, layer->ffn_norm);
        ds4_forward_experts(f, step, layer, l);
        ds4_forward_steer(f, step, DS4_STEER_FFN, l);
        ds4_forward_hc_post(f, step);
    }
    if (n_logit_rows > 0) ds4_forward_head(f, weights, n_logit_rows);
}
