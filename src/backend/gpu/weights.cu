#include "backend/gpu/weights.h"

#include <stdlib.h>

extern "C" {
#include "base/threads.h"
/* Of quant/blocks.h, which is C only. */
extern const uint16_t ds4_iq2_xxs_digits[256];
}

namespace GPU_NAMESPACE {

enum { ALIGNMENT = 256, STAGE_BYTES = 64 << 20, PIECE_BYTES = 1 << 20 };

/* Walks over all weights twice: first with `base` NULL, to add up their sizes, then to fill the
 * slab. Two pinned buffers: while one is on its way, the other is filled from the file. */
struct placer {
    device *d;
    uint8_t *base;
    uint64_t at;
    ds4_threads *threads;
    uint8_t *stage[2], *device_stage;
    int turn;
    ds4_progress_fn progress;
    void *progress_context;
    uint64_t done, total;
    bool plain, split; /* see weights */
    ds4_status status;
    ds4_error *error;
};

static uint8_t *reserve(placer *p, uint64_t n_bytes) {
    uint8_t *place = p->base == nullptr ? nullptr : p->base + p->at;
    p->at += (n_bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return place;
}

struct fill_loop {
    uint8_t *to;
    const uint8_t *from;
    size_t n;
};

static void fill_piece(void *context, uint32_t thread, size_t begin, size_t end) {
    (void)thread;
    const fill_loop *loop = (const fill_loop *)context;
    size_t from = begin * PIECE_BYTES,
           to = end * PIECE_BYTES < loop->n ? end * PIECE_BYTES : loop->n;
    memcpy(loop->to + from, loop->from + from, to - from);
}

/* Copies host bytes to a pinned buffer and queues them for the device; returns false to stop. */
static bool send(placer *p, void *to, const uint8_t *from, size_t n_bytes) {
    fill_loop loop = {p->stage[p->turn], from, n_bytes};
    ds4_threads_for(p->threads, (n_bytes + PIECE_BYTES - 1) / PIECE_BYTES, 1, fill_piece, &loop);
    p->status = device_finish(p->d, p->error);
    if (p->status != DS4_OK) return false;
    device_copy_in(p->d, to, p->stage[p->turn], n_bytes);
    p->turn = !p->turn;
    p->done += n_bytes;
    if (p->progress != nullptr && !p->progress(p->progress_context, p->done, p->total))
        p->status = ds4_fail(p->error, DS4_CANCELLED, "loading was cancelled");
    return p->status == DS4_OK;
}

static void *place_bytes(placer *p, const void *bytes, size_t n_bytes) {
    if (bytes == nullptr) return nullptr;
    uint8_t *place = reserve(p, n_bytes);
    if (place == nullptr || p->status != DS4_OK) return place;
    for (size_t at = 0; at < n_bytes; at += STAGE_BYTES) {
        size_t n = n_bytes - at < STAGE_BYTES ? n_bytes - at : (size_t)STAGE_BYTES;
        if (!send(p, place + at, (const uint8_t *)bytes + at, n)) break;
    }
    return place;
}

static float *place_floats(placer *p, const float *values, size_t n) {
    return (float *)place_bytes(p, values, n * sizeof *values);
}

/* `may_tile`: activations come in whole blocks, and with the sums that Q2_K needs. */
static matrix place_matrix(placer *p, const ds4_matrix *from, bool may_tile) {
    matrix m = {};
    if (from->data == nullptr) return m;
    m.type = (int)from->type;
    m.n_in = (int)from->n_in;
    m.n_out = (int)from->n_out;
    m.n_padded = (m.n_in + 31) / 32 * 32;
    size_t n_rows = from->n_out * from->n_experts, places = n_rows;
    m.tiled = may_tile && is_tiled_type(m.type);
    p->split = p->split || m.tiled;
    p->plain = p->plain || !m.tiled;
    if (m.tiled) {
        m.side_tiles = (m.n_out + TILE - 1) / TILE;
        places = (size_t)m.side_tiles * from->n_experts;
        tiled_strides(m.type, m.n_in, &m.code_stride, &m.scale_stride);
    } else {
        repacked_strides(m.type, m.n_padded, &m.code_stride, &m.scale_stride);
    }
    m.codes = reserve(p, places * m.code_stride);
    m.scales = reserve(p, places * m.scale_stride);
    if (p->base == nullptr || p->status != DS4_OK) return m;
    if (m.tiled) { /* what pads tiles is zero */
        device_clear(p->d, (void *)m.codes, places * m.code_stride);
        if (m.scale_stride > 0) device_clear(p->d, (void *)m.scales, places * m.scale_stride);
    }
    size_t most = STAGE_BYTES / from->row_bytes;
    for (size_t row = 0; row < n_rows; row += most) {
        size_t n = n_rows - row < most ? n_rows - row : most;
        if (!send(p, p->device_stage, from->data + row * from->row_bytes, n * from->row_bytes))
            break;
        repack_run(p->d, m.type, p->device_stage, from->row_bytes, m, row, n);
    }
    return m;
}

/* Mixers are F16 in the released files; of other types they become float32. */
static mixer place_mixer(placer *p, const ds4_hc_weights *from, int n_scale) {
    const ds4_matrix *fn = &from->fn;
    size_t n = fn->n_in * fn->n_out;
    mixer m = {};
    m.n_mix = (int)fn->n_out;
    m.fn_is_half = fn->type == DS4_TYPE_F16;
    if (m.fn_is_half) {
        m.fn = place_bytes(p, fn->data, n * sizeof(uint16_t));
    } else if (p->base == nullptr) {
        reserve(p, n * sizeof(float));
    } else {
        float *values = (float *)malloc(n * sizeof *values);
        if (values == nullptr) {
            p->status = ds4_fail_memory(p->error, n * sizeof *values, "a mixer");
            return m;
        }
        for (size_t r = 0; r < fn->n_out; r++)
            ds4_kernels_best()->decode(fn->type, fn->data + r * fn->row_bytes,
                                       values + r * fn->n_in, fn->n_in);
        m.fn = place_floats(p, values, n);
        free(values);
    }
    m.scale = place_floats(p, from->scale, (size_t)n_scale);
    m.base = place_floats(p, from->base, fn->n_out);
    return m;
}

static compressor_weights place_compressor(placer *p, const ds4_compressor_weights *from,
                                           uint32_t ratio, uint32_t row_width) {
    compressor_weights w = {};
    w.kv = place_matrix(p, &from->kv, true);
    w.gate = place_matrix(p, &from->gate, true);
    w.ape = place_floats(p, from->ape, (size_t)ratio * ds4_compressor_width(ratio, row_width));
    w.norm = place_floats(p, from->norm, row_width);
    return w;
}

static void place_layer(placer *p, const ds4_hparams *hp, uint32_t layer,
                        const ds4_layer_weights *from, layer_weights *to) {
    uint32_t ratio = hp->ratio[layer];
    bool output = hp->n_heads * hp->head_dim / hp->o_groups % 32 == 0 && hp->o_lora % 32 == 0 &&
                  from->output_a.type != DS4_TYPE_Q2_K && from->output_b.type != DS4_TYPE_Q2_K;
    bool experts =
        is_tiled_type((int)from->up_experts.type) && is_tiled_type((int)from->down_experts.type);
    *to = layer_weights{};
    to->hc_attn = place_mixer(p, &from->hc_attn, 3);
    to->hc_ffn = place_mixer(p, &from->hc_ffn, 3);
    to->attn_norm = place_floats(p, from->attn_norm, hp->n_embd);
    to->q_a_norm = place_floats(p, from->q_a_norm, hp->q_lora);
    to->kv_norm = place_floats(p, from->kv_norm, hp->head_dim);
    to->sinks = place_floats(p, from->sinks, hp->n_heads);
    to->ffn_norm = place_floats(p, from->ffn_norm, hp->n_embd);
    to->q_a = place_matrix(p, &from->q_a, true);
    to->q_b = place_matrix(p, &from->q_b, true);
    to->kv = place_matrix(p, &from->kv, true);
    to->output_a = place_matrix(p, &from->output_a, output);
    to->output_b = place_matrix(p, &from->output_b, output);
    if (ratio != 0) to->compressor = place_compressor(p, &from->compressor, ratio, hp->head_dim);
    if (ratio == DS4_RATIO_OVERLAP) {
        to->indexer_compressor =
            place_compressor(p, &from->indexer_compressor, ratio, hp->indexer_dim);
        to->indexer_q_b = place_matrix(p, &from->indexer_q_b, true);
        to->indexer_proj = place_matrix(p, &from->indexer_proj, true);
    }
    to->router = place_matrix(p, &from->router, true);
    to->router_bias = place_floats(p, from->router_bias, hp->n_experts);
    to->hash_experts = (int32_t *)place_bytes(
        p, from->hash_experts, (size_t)hp->n_vocab * hp->n_experts_used * sizeof(int32_t));
    to->gate_experts = place_matrix(p, &from->gate_experts, experts);
    to->up_experts = place_matrix(p, &from->up_experts, experts);
    to->down_experts = place_matrix(p, &from->down_experts, experts);
    to->gate_shared = place_matrix(p, &from->gate_shared, true);
    to->up_shared = place_matrix(p, &from->up_shared, true);
    to->down_shared = place_matrix(p, &from->down_shared, from->down_shared.type != DS4_TYPE_Q2_K);
}

static void place_all(placer *p, const ds4_model *model, weights *w) {
    const ds4_hparams *hp = &model->hparams;
    const ds4_weights *from = &model->weights;
    const uint32_t halves[3] = {0x6c00, 0x7240, 0x7560}; /* 8, 25, 43 by 2^9 */
    uint32_t grid[(1 + IQ2_ROW) * IQ2_GRID] = {};
    for (int r = 0; r < IQ2_GRID; r++)
        for (int j = 0; j < 8; j++) {
            uint32_t digit = (uint32_t)(ds4_iq2_xxs_digits[r] >> (2 * j) & 3);
            grid[r] |= digit << (4 * j);
            grid[IQ2_GRID + IQ2_ROW * r + j / 2] |= halves[digit] << (16 * (j % 2));
        }
    w->code_book = (const uint32_t *)place_bytes(p, grid, sizeof grid);
    w->token_embedding = place_matrix(p, &from->token_embedding, false);
    p->plain = false; /* that was a table, no product */
    w->output_hc = place_mixer(p, &from->output_hc, 1);
    w->output_norm = place_floats(p, from->output_norm, hp->n_embd);
    w->output = place_matrix(p, &from->output, true);
    for (uint32_t l = 0; l < hp->n_layers && p->status == DS4_OK; l++) {
        layer_weights unused;
        place_layer(p, hp, l, &from->layers[l], w->layers == nullptr ? &unused : &w->layers[l]);
    }
}

void weights_forms(const ds4_model *model, bool *plain, bool *split) {
    placer p = {};
    weights w = {};
    place_all(&p, model, &w);
    *plain = p.plain;
    *split = p.split;
}

uint64_t weights_bytes(const ds4_model *model) {
    placer p = {};
    weights w = {};
    place_all(&p, model, &w);
    return p.at;
}

ds4_status weights_place(device *d, const ds4_model *model, uint32_t n_threads,
                         ds4_progress_fn progress, void *progress_context, weights *w,
                         ds4_error *error) {
    placer p = {};
    uint64_t n_bytes = weights_bytes(model);
    p.d = d;
    p.error = error;
    p.progress = progress;
    p.progress_context = progress_context;
    p.total = model->weights.bytes;
    *w = weights{};
    w->layers = (layer_weights *)calloc(model->hparams.n_layers, sizeof *w->layers);
    w->slab = (uint8_t *)device_allocate(d, n_bytes);
    p.base = w->slab;
    p.device_stage = (uint8_t *)device_allocate(d, STAGE_BYTES);
    for (int i = 0; i < 2; i++) p.stage[i] = (uint8_t *)device_allocate_host(d, STAGE_BYTES);
    if (w->layers == nullptr || w->slab == nullptr || p.device_stage == nullptr ||
        p.stage[0] == nullptr || p.stage[1] == nullptr)
        p.status = ds4_fail(error, DS4_NO_MEMORY,
                            "%.2f GiB of GPU memory for the weights could not be had",
                            (double)n_bytes / (double)(1u << 30));
    if (p.status == DS4_OK) p.status = ds4_threads_create(n_threads, &p.threads, error);
    if (p.status == DS4_OK) place_all(&p, model, w);
    w->plain = p.plain;
    w->split = p.split;
    if (p.status == DS4_OK)
        p.status = device_finish(d, error);
    else
        device_finish(d, nullptr);
    ds4_threads_destroy(p.threads);
    for (int i = 0; i < 2; i++) device_release_host(d, p.stage[i]);
    device_release(d, p.device_stage);
    if (p.status != DS4_OK) weights_free(d, w);
    return p.status;
}

void weights_free(device *d, weights *w) {
    device_release(d, w->slab);
    free(w->layers);
    *w = weights{};
}

} // namespace GPU_NAMESPACE
