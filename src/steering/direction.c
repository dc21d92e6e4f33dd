#include "steering/direction.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/error.h"
#include "base/file.h"

enum { MAX_FILE_BYTES = 256 * 1024 * 1024 };
static const float largest_scale = 100;

struct ds4_direction {
    ds4_direction_info info;
    float *vectors; /* [n_layers][n_embd] */
    bool *is_zero;  /* [n_layers] */
};

/* ---- creation ---- */

/* Norms, zero rows and the fingerprint; refuses what is not finite or steers nothing. */
static ds4_status measure(ds4_direction *d, ds4_error *error) {
    ds4_direction_info *info = &d->info;
    info->least_norm = INFINITY;
    for (uint32_t layer = 0; layer < info->n_layers; layer++) {
        const float *row = d->vectors + (size_t)layer * info->n_embd;
        double sum = 0;
        for (uint32_t i = 0; i < info->n_embd; i++) {
            if (!isfinite(row[i]))
                return ds4_fail(error, DS4_FORMAT,
                                "the direction's element %u of layer %u is not a finite number", i,
                                layer);
            sum += (double)row[i] * (double)row[i];
        }
        d->is_zero[layer] = sum == 0;
        if (sum == 0) continue;
        float norm = (float)sqrt(sum);
        info->n_steered++;
        if (norm < info->least_norm) info->least_norm = norm;
        if (norm > info->greatest_norm) info->greatest_norm = norm;
    }
    if (info->n_steered == 0)
        return ds4_fail(error, DS4_FORMAT,
                        "the direction is zero in every layer: it steers nothing");
    info->fingerprint =
        XXH3_64bits(d->vectors, (size_t)info->n_layers * info->n_embd * sizeof *d->vectors);
    return DS4_OK;
}

ds4_status ds4_direction_create(const float *vectors, uint32_t n_layers, uint32_t n_embd,
                                ds4_direction **result, ds4_error *error) {
    size_t n = (size_t)n_layers * n_embd;
    ds4_status status = DS4_OK;
    ds4_direction *d = calloc(1, sizeof *d);
    if (d == NULL) return ds4_fail_memory(error, sizeof *d, "a direction");
    d->info.n_layers = n_layers;
    d->info.n_embd = n_embd;
    d->vectors = malloc(n * sizeof *d->vectors);
    d->is_zero = calloc(n_layers, sizeof *d->is_zero);
    if (d->vectors == NULL || d->is_zero == NULL) {
        status = ds4_fail_memory(error, n * sizeof *d->vectors, "a direction");
        goto done;
    }
    memcpy(d->vectors, vectors, n * sizeof *d->vectors);
    status = measure(d, error);
done:
    if (status == DS4_OK)
        *result = d;
    else
        ds4_direction_close(d);
    return status;
}

/* Little-endian float32, whatever this machine's byte order. */
static void decode_floats(const uint8_t *bytes, size_t n, float *values) {
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = (uint32_t)bytes[4 * i] | (uint32_t)bytes[4 * i + 1] << 8 |
                        (uint32_t)bytes[4 * i + 2] << 16 | (uint32_t)bytes[4 * i + 3] << 24;
        memcpy(&values[i], &bits, sizeof bits);
    }
}

ds4_status ds4_direction_decode(const void *bytes, size_t n_bytes, uint32_t n_layers,
                                uint32_t n_embd, const char *what, ds4_direction **direction,
                                ds4_error *error) {
    size_t n = (size_t)n_layers * n_embd;
    ds4_error why = {0};
    if (n_bytes != n * sizeof(float))
        return ds4_fail(error, DS4_FORMAT,
                        "%.300s has %zu bytes; a direction for this model has %" PRIu32
                        " layers x %" PRIu32 " float32 = %zu bytes",
                        what, n_bytes, n_layers, n_embd, n * sizeof(float));
    float *vectors = malloc(n_bytes);
    if (vectors == NULL) return ds4_fail_memory(error, n_bytes, "a direction");
    decode_floats(bytes, n, vectors);
    ds4_status status = ds4_direction_create(vectors, n_layers, n_embd, direction, &why);
    if (status != DS4_OK) ds4_fail(error, status, "%.300s: %s", what, why.message);
    free(vectors);
    return status;
}

ds4_status ds4_direction_open(const char *path, const ds4_model *model, ds4_direction **direction,
                              ds4_error *error) {
    const ds4_model_info *shape = ds4_model_get_info(model);
    ds4_strbuf bytes = {0};
    ds4_status status = ds4_file_read(path, MAX_FILE_BYTES, &bytes, error);
    if (status == DS4_OK)
        status = ds4_direction_decode(bytes.data, bytes.n, shape->n_layers, shape->n_embd, path,
                                      direction, error);
    ds4_strbuf_free(&bytes);
    return status;
}

void ds4_direction_close(ds4_direction *d) {
    if (d == NULL) return;
    free(d->vectors);
    free(d->is_zero);
    free(d);
}

const ds4_direction_info *ds4_direction_get_info(const ds4_direction *d) {
    return &d->info;
}

const float *ds4_direction_row(const ds4_direction *d, uint32_t layer) {
    return d->is_zero[layer] ? NULL : d->vectors + (size_t)layer * d->info.n_embd;
}

/* ---- the dial ---- */

static bool is_scale(float scale) {
    return isfinite(scale) && fabsf(scale) <= largest_scale;
}

ds4_status ds4_steering_check(const ds4_steering *s, uint32_t n_layers, uint32_t n_embd,
                              ds4_error *error) {
    if (!is_scale(s->ffn) || !is_scale(s->attn))
        return ds4_fail(error, DS4_INVALID_ARGUMENT,
                        "steering scales must be numbers from -%g to %g", (double)largest_scale,
                        (double)largest_scale);
    if (s->mode != DS4_STEER_PROJECT && s->mode != DS4_STEER_ADD)
        return ds4_fail(error, DS4_INVALID_ARGUMENT, "unknown steering mode %d", (int)s->mode);
    if (s->first_layer >= n_layers || s->n_layers > n_layers - s->first_layer)
        return ds4_fail(error, DS4_INVALID_ARGUMENT,
                        "steering of %" PRIu32 " layers from layer %" PRIu32
                        " on; the model has %" PRIu32,
                        s->n_layers, s->first_layer, n_layers);
    if (s->direction == NULL) return DS4_OK;
    const ds4_direction_info *info = &s->direction->info;
    if (info->n_layers == n_layers && info->n_embd == n_embd) return DS4_OK;
    return ds4_fail(error, DS4_INVALID_ARGUMENT,
                    "the direction has %" PRIu32 " layers of %" PRIu32 "; the model %" PRIu32
                    " of %" PRIu32,
                    info->n_layers, info->n_embd, n_layers, n_embd);
}

float ds4_steering_scale(const ds4_steering *s, ds4_steer_site site, uint32_t layer) {
    if (s == NULL || s->direction == NULL || layer < s->first_layer) return 0;
    if (s->n_layers != 0 && layer - s->first_layer >= s->n_layers) return 0;
    return site == DS4_STEER_FFN ? s->ffn : s->attn;
}

uint64_t ds4_steering_identity(const ds4_steering *s) {
    if (s == NULL || s->direction == NULL || (s->ffn == 0 && s->attn == 0)) return 0;
    struct {
        uint64_t direction;
        float ffn, attn;
        uint32_t mode, first_layer, n_layers, unused;
    } key = {.direction = s->direction->info.fingerprint,
             .ffn = s->ffn + 0.0f, /* -0 is 0 */
             .attn = s->attn + 0.0f,
             .mode = (uint32_t)s->mode,
             .first_layer = s->first_layer,
             .n_layers = s->n_layers};
    uint64_t identity = XXH3_64bits(&key, sizeof key);
    return identity != 0 ? identity : 1;
}
