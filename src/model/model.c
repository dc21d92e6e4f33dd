#include "model/model.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/error.h"
#include "tokenizer/tokenizer_gguf.h"

enum { SAMPLE_BYTES = 4096 };
static const uint64_t WARM_STEP = 64u << 20;

/* Names the model for saved sessions: metadata, tensor directory, and the ends of each payload. */
static uint64_t compute_fingerprint(const ds4_gguf *gguf) {
    XXH64_hash_t hash = 0;
    for (uint64_t i = 0; i < ds4_gguf_n_values(gguf); i++) {
        const ds4_gguf_value *value = ds4_gguf_value_at(gguf, i);
        hash = XXH64(value->key.data, value->key.n, hash);
        hash = XXH64(value->data, value->n_bytes, hash);
    }
    for (uint64_t i = 0; i < ds4_gguf_n_tensors(gguf); i++) {
        const ds4_gguf_tensor *tensor = ds4_gguf_tensor_at(gguf, i);
        size_t n = tensor->n_bytes < SAMPLE_BYTES ? tensor->n_bytes : SAMPLE_BYTES;
        hash = XXH64(tensor->name, strlen(tensor->name), hash);
        hash = XXH64(tensor->ne, sizeof tensor->ne, hash ^ tensor->type);
        hash = XXH64(tensor->data, n, hash);
        hash = XXH64((const uint8_t *)tensor->data + (tensor->n_bytes - n), n, hash);
    }
    return hash;
}

static char *copy_name(const ds4_gguf *gguf, const char *path) {
    const char *slash = strrchr(path, '/'), *base = slash != NULL ? slash + 1 : path;
    ds4_gguf_string text = {.data = base, .n = strlen(base)};
    if (ds4_gguf_find_value(gguf, "general.name") != NULL)
        ds4_gguf_get_string(gguf, "general.name", &text, NULL);
    char *name = malloc(text.n + 1);
    if (name == NULL) return NULL;
    memcpy(name, text.data, text.n);
    name[text.n] = '\0';
    return name;
}

/* Touches one byte of every page in order; the kernel's read-ahead does the rest. */
static ds4_status warm_weights(const ds4_model *model, const ds4_model_options *options,
                               ds4_error *error) {
    uint64_t done = 0, total = 0;
    volatile uint8_t sink = 0;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (uint64_t i = 0; i < ds4_gguf_n_tensors(model->gguf); i++)
        total += ds4_gguf_tensor_at(model->gguf, i)->n_bytes;
    for (uint64_t i = 0; i < ds4_gguf_n_tensors(model->gguf); i++) {
        const ds4_gguf_tensor *tensor = ds4_gguf_tensor_at(model->gguf, i);
        for (uint64_t from = 0; from < tensor->n_bytes; from += WARM_STEP) {
            uint64_t to = tensor->n_bytes - from > WARM_STEP ? from + WARM_STEP : tensor->n_bytes;
            for (uint64_t at = from; at < to; at += page)
                sink = ((const uint8_t *)tensor->data)[at];
            done += to - from;
            if (options->progress != NULL &&
                !options->progress(options->progress_context, done, total))
                return ds4_fail(error, DS4_CANCELLED, "loading %s was cancelled", model->path);
        }
    }
    (void)sink;
    return DS4_OK;
}

static ds4_status fill_info(ds4_model *model, ds4_error *error) {
    const ds4_hparams *hp = &model->hparams;
    model->info = (ds4_model_info){
        .name = copy_name(model->gguf, model->path),
        .path = model->path,
        .n_layers = hp->n_layers,
        .n_embd = hp->n_embd,
        .n_vocab = hp->n_vocab,
        .context_length = hp->context_length,
        .file_bytes = ds4_gguf_file_bytes(model->gguf),
        .weight_bytes = model->weights.bytes,
        .weight_bytes_per_token = model->weights.bytes_per_token,
        .flops_per_token = model->weights.flops_per_token,
        .default_kv_sim = hp->kv_sim,
        .fingerprint = model->fingerprint,
    };
    return model->info.name != NULL ? DS4_OK : ds4_fail_memory(error, 0, "the model's name");
}

ds4_status ds4_model_open(const char *path, const ds4_model_options *options, ds4_model **result,
                          ds4_error *error) {
    ds4_error inner = {0};
    ds4_model *model = calloc(1, sizeof *model);
    if (model == NULL) return ds4_fail_memory(error, sizeof *model, "a model");
    ds4_status status = DS4_OK;
    model->path = malloc(strlen(path) + 1);
    if (model->path == NULL) {
        status = ds4_fail_memory(error, strlen(path) + 1, "a path");
        goto done;
    }
    strcpy(model->path, path);
    if ((status = ds4_gguf_open(path, NULL, &model->gguf, error)) != DS4_OK) goto done;
    status = ds4_hparams_read(model->gguf, &model->hparams, &inner);
    if (status == DS4_OK)
        status = ds4_weights_bind(model->gguf, &model->hparams, &model->weights, &inner);
    if (status == DS4_OK && ds4_gguf_find_value(model->gguf, "tokenizer.ggml.tokens") != NULL)
        status = ds4_tokenizer_create_from_gguf(model->gguf, model->hparams.n_vocab,
                                                &model->tokenizer, &inner);
    if (status != DS4_OK) {
        ds4_fail(error, status, "%s: %s", path, inner.message);
        goto done;
    }
    model->fingerprint = compute_fingerprint(model->gguf);
    if ((status = fill_info(model, error)) != DS4_OK) goto done;
    if (options != NULL && options->warm) status = warm_weights(model, options, error);
done:
    if (status != DS4_OK)
        ds4_model_close(model);
    else
        *result = model;
    return status;
}

void ds4_model_close(ds4_model *model) {
    if (model == NULL) return;
    ds4_tokenizer_destroy(model->tokenizer);
    ds4_weights_free(&model->weights);
    ds4_hparams_free(&model->hparams);
    ds4_gguf_close(model->gguf);
    free((char *)model->info.name);
    free(model->path);
    free(model);
}

const ds4_model_info *ds4_model_get_info(const ds4_model *model) {
    return &model->info;
}

const ds4_tokenizer *ds4_model_get_tokenizer(const ds4_model *model) {
    return model->tokenizer;
}
