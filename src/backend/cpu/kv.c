#include "backend/cpu/kv.h"

#include <stdlib.h>

#include "backend/cpu/cpu.h"
#include "base/error.h"

/* Describes a compressor's storage; allocates nothing. ratio 0: there is none. */
static ds4_compressor_kv describe(uint32_t ratio, uint32_t row_width, size_t row_bytes) {
    if (ratio == 0) return (ds4_compressor_kv){0};
    return (ds4_compressor_kv){
        .ratio = ratio,
        .width = ds4_compressor_width(ratio, row_width),
        .n_slots = ds4_compressor_reach(ratio) + DS4_JOURNAL_TOKENS,
        .row_bytes = row_bytes,
    };
}

static void describe_layer(const ds4_hparams *hp, const ds4_row_codec *codec, uint32_t layer,
                           ds4_layer_kv *kv) {
    uint32_t ratio = hp->ratio[layer];
    kv->attention = describe(ratio, hp->head_dim, codec->row_bytes);
    kv->indexer =
        describe(ratio == DS4_RATIO_OVERLAP ? ratio : 0, hp->indexer_dim, codec->index_row_bytes);
}

static uint64_t input_bytes(const ds4_compressor_kv *c) {
    return 2 * (uint64_t)c->n_slots * c->width * sizeof(float);
}

static uint64_t row_area_bytes(const ds4_compressor_kv *c, uint32_t n_context) {
    return c->ratio == 0 ? 0 : (uint64_t)(n_context / c->ratio) * c->row_bytes;
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

static bool allocate_compressor(ds4_compressor_kv *c, uint32_t n_context) {
    if (c->ratio == 0) return true;
    c->value = ds4_cpu_allocate((size_t)c->n_slots * c->width, sizeof(float));
    c->gate = ds4_cpu_allocate((size_t)c->n_slots * c->width, sizeof(float));
    /* Not touched here: the kernel hands out these pages as the conversation grows. */
    c->rows = malloc((size_t)row_area_bytes(c, n_context) + 1);
    return c->value != NULL && c->gate != NULL && c->rows != NULL;
}

ds4_status ds4_kv_create(const ds4_hparams *hp, const ds4_row_codec *codec, uint32_t n_context,
                         ds4_kv *kv, ds4_error *error) {
    *kv = (ds4_kv){
        .n_layers = hp->n_layers,
        .n_raw_slots = hp->window + DS4_JOURNAL_TOKENS,
        .n_context = n_context,
        .width = hp->head_dim,
        .layers = calloc(hp->n_layers, sizeof *kv->layers),
    };
    bool complete = kv->layers != NULL;
    for (uint32_t l = 0; complete && l < hp->n_layers; l++) {
        ds4_layer_kv *layer = &kv->layers[l];
        describe_layer(hp, codec, l, layer);
        layer->raw = ds4_cpu_allocate((size_t)kv->n_raw_slots * kv->width, sizeof(float));
        complete = layer->raw != NULL && allocate_compressor(&layer->attention, n_context) &&
                   allocate_compressor(&layer->indexer, n_context);
    }
    if (complete) return DS4_OK;
    uint64_t fixed, rows;
    ds4_kv_bytes(hp, codec, n_context, &fixed, &rows);
    ds4_kv_free(kv);
    return ds4_fail_memory(error, (size_t)(fixed + rows), "a session's KV rows");
}

static void free_compressor(ds4_compressor_kv *c) {
    free(c->value);
    free(c->gate);
    free(c->rows);
}

void ds4_kv_free(ds4_kv *kv) {
    for (uint32_t l = 0; kv->layers != NULL && l < kv->n_layers; l++) {
        free(kv->layers[l].raw);
        free_compressor(&kv->layers[l].attention);
        free_compressor(&kv->layers[l].indexer);
    }
    free(kv->layers);
    *kv = (ds4_kv){0};
}

static ds4_status visit_inputs(const ds4_compressor_kv *c, uint32_t n_tokens, ds4_kv_visit_fn visit,
                               void *context, ds4_error *error) {
    uint32_t n_rows = n_tokens / c->ratio, overlap = ds4_compressor_reach(c->ratio) - c->ratio;
    uint32_t first = n_rows * c->ratio > overlap ? n_rows * c->ratio - overlap : 0;
    ds4_status status = DS4_OK;
    for (uint32_t p = first; p < n_tokens && status == DS4_OK; p++) {
        size_t slot = (size_t)(p % c->n_slots) * c->width;
        status = visit(context, c->value + slot, c->width * sizeof(float), error);
        if (status == DS4_OK)
            status = visit(context, c->gate + slot, c->width * sizeof(float), error);
    }
    return status;
}

static ds4_status visit_rows(const ds4_compressor_kv *c, uint32_t first, uint32_t n_tokens,
                             ds4_kv_visit_fn visit, void *context, ds4_error *error) {
    if (c->ratio == 0) return DS4_OK;
    uint32_t from = first / c->ratio, to = n_tokens / c->ratio;
    return visit(context, c->rows + (size_t)from * c->row_bytes, (size_t)(to - from) * c->row_bytes,
                 error);
}

static ds4_status visit_compressor(const ds4_compressor_kv *c, uint32_t first, uint32_t n_tokens,
                                   ds4_kv_visit_fn visit, void *context, ds4_error *error) {
    if (c->ratio == 0) return DS4_OK;
    ds4_status status = visit_inputs(c, n_tokens, visit, context, error);
    return status == DS4_OK ? visit_rows(c, first, n_tokens, visit, context, error) : status;
}

ds4_status ds4_kv_visit(const ds4_kv *kv, uint32_t window, uint32_t first, uint32_t n_tokens,
                        ds4_kv_visit_fn visit, void *context, ds4_error *error) {
    ds4_status status = DS4_OK;
    uint32_t oldest = n_tokens >= window ? n_tokens - window + 1 : 0;
    for (uint32_t l = 0; l < kv->n_layers && status == DS4_OK; l++) {
        const ds4_layer_kv *layer = &kv->layers[l];
        for (uint32_t p = oldest; p < n_tokens && status == DS4_OK; p++)
            status = visit(context, ds4_kv_raw(kv, l, p), kv->width * sizeof(float), error);
        if (status == DS4_OK)
            status = visit_compressor(&layer->attention, first, n_tokens, visit, context, error);
        if (status == DS4_OK)
            status = visit_compressor(&layer->indexer, first, n_tokens, visit, context, error);
    }
    return status;
}

ds4_status ds4_kv_visit_rows(const ds4_kv *kv, uint32_t first, uint32_t n_tokens,
                             ds4_kv_visit_fn visit, void *context, ds4_error *error) {
    ds4_status status = DS4_OK;
    for (uint32_t l = 0; l < kv->n_layers && status == DS4_OK; l++) {
        const ds4_layer_kv *layer = &kv->layers[l];
        status = visit_rows(&layer->attention, first, n_tokens, visit, context, error);
        if (status == DS4_OK)
            status = visit_rows(&layer->indexer, first, n_tokens, visit, context, error);
    }
    return status;
}

static void renew_rows(ds4_compressor_kv *c, uint32_t n_context) {
    if (c->ratio == 0) return;
    uint8_t *fresh = malloc((size_t)row_area_bytes(c, n_context) + 1);
    if (fresh == NULL) return; /* then the old area is kept */
    free(c->rows);
    c->rows = fresh;
}

void ds4_kv_release_rows(ds4_kv *kv) {
    for (uint32_t l = 0; l < kv->n_layers; l++) {
        renew_rows(&kv->layers[l].attention, kv->n_context);
        renew_rows(&kv->layers[l].indexer, kv->n_context);
    }
}
