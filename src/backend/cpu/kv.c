#include "backend/cpu/kv.h"

#include <stdlib.h>
#include <string.h>

#include "backend/cpu/cpu.h"
#include "base/error.h"

/* Describes a compressor's storage; allocates nothing. ratio 0: there is none. */
static ds4_compressor_kv describe(uint32_t ratio, uint32_t row_width, size_t row_bytes,
                                  size_t row_stride) {
    if (ratio == 0) return (ds4_compressor_kv){0};
    return (ds4_compressor_kv){
        .ratio = ratio,
        .width = ds4_compressor_width(ratio, row_width),
        .n_slots = ds4_compressor_reach(ratio) + DS4_JOURNAL_TOKENS,
        .row_bytes = row_bytes,
        .row_stride = row_stride,
    };
}

static void describe_layer(const ds4_hparams *hp, const ds4_row_codec *codec, uint32_t layer,
                           ds4_layer_kv *kv) {
    uint32_t ratio = hp->ratio[layer];
    kv->attention = describe(ratio, hp->head_dim, codec->row_bytes, codec->row_stride);
    kv->indexer = describe(ratio == DS4_RATIO_OVERLAP ? ratio : 0, hp->indexer_dim,
                           codec->index_row_bytes, codec->index_row_stride);
}

static uint64_t input_bytes(const ds4_compressor_kv *c) {
    return 2 * (uint64_t)c->n_slots * c->width * sizeof(float);
}

static uint64_t row_area_bytes(const ds4_compressor_kv *c, uint32_t n_context) {
    return c->ratio == 0 ? 0 : (uint64_t)(n_context / c->ratio) * c->row_stride;
}

void ds4_kv_bytes(const ds4_hparams *hp, const ds4_row_codec *codec, uint32_t n_context,
                  uint64_t *fixed, uint64_t *rows) {
    *fixed = *rows = 0;
    for (uint32_t l = 0; l < hp->n_layers; l++) {
        ds4_layer_kv kv;
        describe_layer(hp, codec, l, &kv);
        *fixed += (uint64_t)(hp->window + DS4_JOURNAL_TOKENS) * hp->head_dim * sizeof(float);
        *fixed += input_bytes(&kv.attention) + input_bytes(&kv.indexer);
        *rows += row_area_bytes(&kv.attention, n_context) + row_area_bytes(&kv.indexer, n_context);
    }
}

static void *allocate_host(void *context, size_t n_bytes) {
    (void)context;
    /* Not touched here: the kernel hands out these pages as the conversation grows. */
    return aligned_alloc(64, (n_bytes + 63) / 64 * 64);
}

static void release_host(void *context, void *bytes) {
    (void)context;
    free(bytes);
}

static ds4_status copy_host(void *context, ds4_copy_way way, void *to, size_t to_stride,
                            const void *from, size_t from_stride, size_t width, size_t n,
                            ds4_error *error) {
    (void)context;
    (void)way;
    (void)error;
    if (to_stride == width && from_stride == width) {
        width *= n;
        n = n > 0;
    }
    for (size_t i = 0; i < n && width > 0; i++)
        memcpy((uint8_t *)to + i * to_stride, (const uint8_t *)from + i * from_stride, width);
    return DS4_OK;
}

ds4_kv_memory ds4_kv_host_memory(void) {
    return (ds4_kv_memory){
        .allocate = allocate_host, .release = release_host, .copy = copy_host, .grows = true};
}

static void *allocate_floats(const ds4_kv *kv, size_t n) {
    return kv->memory.allocate(kv->memory.context, n * sizeof(float));
}

static bool allocate_compressor(const ds4_kv *kv, ds4_compressor_kv *c) {
    if (c->ratio == 0) return true;
    c->value = allocate_floats(kv, (size_t)c->n_slots * c->width);
    c->gate = allocate_floats(kv, (size_t)c->n_slots * c->width);
    c->rows = kv->memory.allocate(kv->memory.context, (size_t)row_area_bytes(c, kv->n_context) + 1);
    return c->value != NULL && c->gate != NULL && c->rows != NULL;
}

ds4_status ds4_kv_create(const ds4_hparams *hp, const ds4_row_codec *codec, uint32_t n_context,
                         ds4_kv_memory memory, ds4_kv *kv, ds4_error *error) {
    *kv = (ds4_kv){
        .n_layers = hp->n_layers,
        .n_raw_slots = hp->window + DS4_JOURNAL_TOKENS,
        .n_context = n_context,
        .width = hp->head_dim,
        .layers = calloc(hp->n_layers, sizeof *kv->layers),
        .memory = memory,
    };
    bool complete = kv->layers != NULL;
    for (uint32_t l = 0; complete && l < hp->n_layers; l++) {
        ds4_layer_kv *layer = &kv->layers[l];
        describe_layer(hp, codec, l, layer);
        layer->raw = allocate_floats(kv, (size_t)kv->n_raw_slots * kv->width);
        complete = layer->raw != NULL && allocate_compressor(kv, &layer->attention) &&
                   allocate_compressor(kv, &layer->indexer);
    }
    if (complete) return DS4_OK;
    uint64_t fixed, rows;
    ds4_kv_bytes(hp, codec, n_context, &fixed, &rows);
    ds4_kv_free(kv);
    return ds4_fail_memory(error, (size_t)(fixed + rows), "a session's KV rows");
}

static void release(const ds4_kv *kv, void *bytes) {
    if (bytes != NULL) kv->memory.release(kv->memory.context, bytes);
}

static void free_compressor(const ds4_kv *kv, ds4_compressor_kv *c) {
    release(kv, c->value);
    release(kv, c->gate);
    release(kv, c->rows);
}

void ds4_kv_free(ds4_kv *kv) {
    for (uint32_t l = 0; kv->layers != NULL && l < kv->n_layers; l++) {
        release(kv, kv->layers[l].raw);
        free_compressor(kv, &kv->layers[l].attention);
        free_compressor(kv, &kv->layers[l].indexer);
    }
    free(kv->layers);
    *kv = (ds4_kv){0};
}

/* ---- copying ---- */

static ds4_status copy_within(const ds4_kv *kv, void *to, const void *from, size_t n_bytes,
                              ds4_error *error) {
    return kv->memory.copy(kv->memory.context, DS4_COPY_WITHIN, to, n_bytes, from, n_bytes, n_bytes,
                           n_bytes > 0, error);
}

static ds4_status copy_rows(const ds4_kv *kv, ds4_compressor_kv *to, const ds4_compressor_kv *from,
                            uint32_t n_tokens, ds4_error *error) {
    if (from->ratio == 0) return DS4_OK;
    return copy_within(kv, to->rows, from->rows,
                       (size_t)(n_tokens / from->ratio) * from->row_stride, error);
}

ds4_status ds4_kv_copy_rows(ds4_kv *target, const ds4_kv *source, uint32_t n_tokens,
                            ds4_error *error) {
    ds4_status status = DS4_OK;
    for (uint32_t l = 0; l < source->n_layers && status == DS4_OK; l++) {
        const ds4_layer_kv *from = &source->layers[l];
        ds4_layer_kv *to = &target->layers[l];
        status = copy_rows(source, &to->attention, &from->attention, n_tokens, error);
        if (status == DS4_OK)
            status = copy_rows(source, &to->indexer, &from->indexer, n_tokens, error);
    }
    return status;
}

static ds4_status copy_inputs(const ds4_kv *kv, ds4_compressor_kv *to,
                              const ds4_compressor_kv *from, ds4_error *error) {
    if (from->ratio == 0) return DS4_OK;
    size_t n_bytes = (size_t)from->n_slots * from->width * sizeof(float);
    ds4_status status = copy_within(kv, to->value, from->value, n_bytes, error);
    if (status == DS4_OK) status = copy_within(kv, to->gate, from->gate, n_bytes, error);
    return status;
}

ds4_status ds4_kv_copy(ds4_kv *target, const ds4_kv *source, uint32_t n_tokens, ds4_error *error) {
    size_t raw = (size_t)source->n_raw_slots * source->width * sizeof(float);
    ds4_status status = ds4_kv_copy_rows(target, source, n_tokens, error);
    for (uint32_t l = 0; l < source->n_layers && status == DS4_OK; l++) {
        const ds4_layer_kv *from = &source->layers[l];
        ds4_layer_kv *to = &target->layers[l];
        status = copy_within(source, to->raw, from->raw, raw, error);
        if (status == DS4_OK) status = copy_inputs(source, &to->attention, &from->attention, error);
        if (status == DS4_OK) status = copy_inputs(source, &to->indexer, &from->indexer, error);
    }
    return status;
}

/* ---- visiting ---- */

typedef struct walk {
    const ds4_kv *kv;
    ds4_kv_visit_fn visit;
    void *context;
    ds4_error *error;
} walk;

static ds4_status visit_piece(const walk *w, ds4_kv_content content, void *rows, size_t width,
                              size_t stride, size_t n) {
    ds4_kv_piece piece = {&w->kv->memory, content, rows, width, stride, n};
    return w->visit(w->context, &piece, w->error);
}

/* Rows of positions first .. last-1 in a ring: at most two runs. */
static ds4_status visit_ring(const walk *w, float *ring, uint32_t n_slots, uint32_t width,
                             uint32_t first, uint32_t last) {
    size_t row = width * sizeof(float);
    ds4_status status = DS4_OK;
    while (first < last && status == DS4_OK) {
        uint32_t slot = first % n_slots, n = last - first;
        if (n > n_slots - slot) n = n_slots - slot;
        status = visit_piece(w, DS4_KV_FLOATS, ring + (size_t)slot * width, row, row, n);
        first += n;
    }
    return status;
}

static ds4_status visit_inputs(const walk *w, const ds4_compressor_kv *c, uint32_t n_tokens) {
    uint32_t n_rows = n_tokens / c->ratio, overlap = ds4_compressor_reach(c->ratio) - c->ratio;
    uint32_t first = n_rows * c->ratio > overlap ? n_rows * c->ratio - overlap : 0;
    ds4_status status = visit_ring(w, c->value, c->n_slots, c->width, first, n_tokens);
    return status == DS4_OK ? visit_ring(w, c->gate, c->n_slots, c->width, first, n_tokens)
                            : status;
}

static ds4_status visit_rows(const walk *w, const ds4_compressor_kv *c, ds4_kv_content content,
                             uint32_t first, uint32_t n_tokens) {
    if (c->ratio == 0) return DS4_OK;
    uint32_t from = first / c->ratio, to = n_tokens / c->ratio;
    return visit_piece(w, content, c->rows + (size_t)from * c->row_stride, c->row_bytes,
                       c->row_stride, to - from);
}

static ds4_status visit_compressor(const walk *w, const ds4_compressor_kv *c,
                                   ds4_kv_content content, uint32_t first, uint32_t n_tokens) {
    if (c->ratio == 0) return DS4_OK;
    ds4_status status = visit_inputs(w, c, n_tokens);
    return status == DS4_OK ? visit_rows(w, c, content, first, n_tokens) : status;
}

ds4_status ds4_kv_visit(const ds4_kv *kv, uint32_t window, uint32_t first, uint32_t n_tokens,
                        ds4_kv_visit_fn visit, void *context, ds4_error *error) {
    walk w = {kv, visit, context, error};
    ds4_status status = DS4_OK;
    uint32_t oldest = n_tokens >= window ? n_tokens - window + 1 : 0;
    for (uint32_t l = 0; l < kv->n_layers && status == DS4_OK; l++) {
        const ds4_layer_kv *layer = &kv->layers[l];
        status = visit_ring(&w, layer->raw, kv->n_raw_slots, kv->width, oldest, n_tokens);
        if (status == DS4_OK)
            status =
                visit_compressor(&w, &layer->attention, DS4_KV_ATTENTION_ROWS, first, n_tokens);
        if (status == DS4_OK)
            status = visit_compressor(&w, &layer->indexer, DS4_KV_INDEXER_ROWS, first, n_tokens);
    }
    return status;
}

ds4_status ds4_kv_visit_rows(const ds4_kv *kv, uint32_t first, uint32_t n_tokens,
                             ds4_kv_visit_fn visit, void *context, ds4_error *error) {
    walk w = {kv, visit, context, error};
    ds4_status status = DS4_OK;
    for (uint32_t l = 0; l < kv->n_layers && status == DS4_OK; l++) {
        const ds4_layer_kv *layer = &kv->layers[l];
        status = visit_rows(&w, &layer->attention, DS4_KV_ATTENTION_ROWS, first, n_tokens);
        if (status == DS4_OK)
            status = visit_rows(&w, &layer->indexer, DS4_KV_INDEXER_ROWS, first, n_tokens);
    }
    return status;
}

static void renew_rows(const ds4_kv *kv, ds4_compressor_kv *c) {
    if (c->ratio == 0) return;
    uint8_t *fresh =
        kv->memory.allocate(kv->memory.context, (size_t)row_area_bytes(c, kv->n_context) + 1);
    if (fresh == NULL) return; /* then the old area is kept */
    release(kv, c->rows);
    c->rows = fresh;
}

void ds4_kv_release_rows(ds4_kv *kv) {
    for (uint32_t l = 0; kv->memory.grows && l < kv->n_layers; l++) {
        renew_rows(kv, &kv->layers[l].attention);
        renew_rows(kv, &kv->layers[l].indexer);
    }
}
