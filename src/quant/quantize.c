/* Rows: what may be quantised to what, and the checks before and after. */
#include "quant/quantize.h"

#include <stdlib.h>

#include "base/error.h"
#include "quant/quantize_blocks.h"

struct ds4_quantizer {
    const ds4_block_quantizers *blocks;
    ds4_iq2_search *search;
    bool refit;
};

static const ds4_block_quantizers *const built_in[] = {
#if defined(__x86_64__)
    &ds4_block_quantizers_avx512,
    &ds4_block_quantizers_avx2,
#elif defined(__aarch64__)
    &ds4_block_quantizers_neon,
#endif
    &ds4_block_quantizers_scalar,
};

/* The quantizers that go with a set of kernels, which knows what the CPU can do. */
static const ds4_block_quantizers *find_set(const char *name) {
    const ds4_kernels *kernels = name == NULL ? ds4_kernels_best() : ds4_kernels_by_name(name);
    for (size_t i = 0; kernels != NULL && i < sizeof built_in / sizeof built_in[0]; i++)
        if (strcmp(built_in[i]->name, kernels->name) == 0) return built_in[i];
    return name == NULL ? &ds4_block_quantizers_scalar : NULL;
}

ds4_status ds4_quantizer_create(const ds4_quantizer_options *options, ds4_quantizer **quantizer,
                                ds4_error *error) {
    static const ds4_quantizer_options defaults;
    if (options == NULL) options = &defaults;
    *quantizer = NULL;
    ds4_quantizer *q = calloc(1, sizeof *q);
    if (q == NULL) return ds4_fail_memory(error, sizeof *q, "a quantizer");
    q->refit = options->refit;
    q->blocks = find_set(options->set);
    ds4_status status = q->blocks == NULL
                            ? ds4_fail(error, DS4_INVALID_ARGUMENT,
                                       "this machine has no quantizers '%s'", options->set)
                            : ds4_iq2_search_create(&q->search, error);
    if (status != DS4_OK) {
        ds4_quantizer_destroy(q);
        return status;
    }
    *quantizer = q;
    return DS4_OK;
}

void ds4_quantizer_destroy(ds4_quantizer *quantizer) {
    if (quantizer == NULL) return;
    ds4_iq2_search_destroy(quantizer->search);
    free(quantizer);
}

bool ds4_type_can_be_quantized(uint32_t type) {
    const ds4_type_info *info = ds4_type_get_info(type);
    return info != NULL && info->computable && type != DS4_TYPE_I32;
}

bool ds4_type_uses_importance(ds4_type type) {
    return type == DS4_TYPE_Q2_K || type == DS4_TYPE_Q4_K || type == DS4_TYPE_IQ2_XXS;
}

bool ds4_type_needs_importance(ds4_type type) {
    return type == DS4_TYPE_IQ2_XXS;
}

void ds4_importance_add_row(const float *row, float *importance, size_t n) {
    for (size_t i = 0; i < n; i++) importance[i] += row[i] * row[i];
}

void ds4_importance_level(ds4_type type, float *importance, size_t n) {
    double sum = 0;
    if (type != DS4_TYPE_Q2_K && type != DS4_TYPE_IQ2_XXS) return;
    for (size_t i = 0; i < n; i++) sum += (double)importance[i];
    double mean = sum / (double)n;
    for (size_t i = 0; i < n; i++)
        importance[i] = (float)(((double)importance[i] + DS4_IMPORTANCE_LEVELLING * mean) /
                                (1 + DS4_IMPORTANCE_LEVELLING));
}

/* Far beyond what any f16 scale reaches, far below where the fits' sums would overflow. */
static const float largest_value = 1e8f;

static ds4_status check_values(ds4_type type, const float *x, size_t n, ds4_error *error) {
    const char *name = ds4_type_get_info((uint32_t)type)->name;
    uint32_t largest = 0,
             limit = ds4_f32_to_bits(type == DS4_TYPE_MXFP4 ? INFINITY : largest_value);
    for (size_t i = 0; i < n; i++) {
        uint32_t magnitude = ds4_f32_to_bits(x[i]) & 0x7FFFFFFFu;
        largest = magnitude > largest ? magnitude : largest;
    }
    if (largest < limit) return DS4_OK;
    for (size_t i = 0; i < n; i++)
        if ((ds4_f32_to_bits(x[i]) & 0x7FFFFFFFu) >= limit)
            return ds4_fail(error, DS4_FORMAT, "element %zu is %g, which %s cannot hold", i,
                            (double)x[i], name);
    return DS4_OK;
}

/* Scales beyond the range of f16 have become infinite. */
static ds4_status check_scales(ds4_type type, const uint8_t *blocks, size_t n_blocks,
                               ds4_error *error) {
    const ds4_type_info *info = ds4_type_get_info((uint32_t)type);
    size_t first = type == DS4_TYPE_Q2_K ? 80 : 0;
    size_t n_scales = type == DS4_TYPE_Q2_K || type == DS4_TYPE_Q4_K ? 2 : 1;
    for (size_t b = 0; b < n_blocks; b++) {
        for (size_t i = 0; i < n_scales; i++) {
            uint16_t bits = ds4_load_u16(blocks + b * info->block_bytes + first + 2 * i);
            if ((bits & 0x7C00u) == 0x7C00u)
                return ds4_fail(
                    error, DS4_FORMAT, "the %u elements from %zu on are too large for %s",
                    (unsigned)info->block_elements, b * info->block_elements, info->name);
        }
    }
    return DS4_OK;
}

typedef void (*refit_fn)(const float *x, const float *importance, uint8_t *block);

static refit_fn refit_of(ds4_type type) {
    switch (type) {
    case DS4_TYPE_Q8_0:
        return ds4_q8_0_refit;
    case DS4_TYPE_Q2_K:
        return ds4_q2_k_refit;
    case DS4_TYPE_Q4_K:
        return ds4_q4_k_refit;
    case DS4_TYPE_IQ2_XXS: /* needs more than the block: see ds4_quantize_row */
    case DS4_TYPE_F32:
    case DS4_TYPE_F16:
    case DS4_TYPE_BF16:
    case DS4_TYPE_I32:
    case DS4_TYPE_MXFP4:
        break;
    }
    return NULL;
}

static void refit_blocks(const ds4_quantizer *q, ds4_type type, const float *source,
                         const float *importance, uint8_t *target, size_t n_blocks) {
    const ds4_type_info *info = ds4_type_get_info((uint32_t)type);
    refit_fn refit = refit_of(type);
    for (size_t b = 0; b < n_blocks; b++, target += info->block_bytes) {
        const float *x = source + b * info->block_elements;
        const float *own = importance == NULL ? NULL : importance + b * info->block_elements;
        if (refit == NULL)
            ds4_iq2_xxs_refit(q->blocks->iq2_best_row, x, own, target);
        else
            refit(x, own, target);
    }
}

/* A refit minimises the plain error when nothing was measured: equal importances then. */
static void quantize_iq2_xxs(const ds4_quantizer *q, const float *source, const float *importance,
                             uint8_t *target, size_t n_blocks) {
    float ones[256];
    if (importance != NULL) {
        q->blocks->iq2_xxs(q->search, source, importance, target, n_blocks);
        return;
    }
    for (unsigned i = 0; i < 256; i++) ones[i] = 1;
    for (size_t b = 0; b < n_blocks; b++)
        q->blocks->iq2_xxs(q->search, source + 256 * b, ones, target + DS4_IQ2_XXS_BYTES * b, 1);
}

ds4_status ds4_quantize_row(const ds4_quantizer *quantizer, ds4_type type, const float *source,
                            const float *importance, void *target, size_t n, ds4_error *error) {
    const ds4_type_info *info = ds4_type_get_info((uint32_t)type);
    if (!ds4_type_can_be_quantized((uint32_t)type) || n % info->block_elements != 0 ||
        (importance == NULL && ds4_type_needs_importance(type) && !quantizer->refit))
        return ds4_fail(error, DS4_INVALID_ARGUMENT,
                        "%zu elements cannot become type %u: no whole blocks, no importance, or no "
                        "such type",
                        n, (unsigned)type);
    if (type == DS4_TYPE_F32 || type == DS4_TYPE_F16 || type == DS4_TYPE_BF16)
        return ds4_encode_row(type, source, target, n, error);
    ds4_status status = check_values(type, source, n, error);
    if (status != DS4_OK) return status;
    size_t n_blocks = n / info->block_elements;
    switch (type) {
    case DS4_TYPE_Q8_0:
        quantizer->blocks->q8_0(source, target, n_blocks);
        break;
    case DS4_TYPE_Q2_K:
        quantizer->blocks->q2_k(source, importance, target, n_blocks);
        break;
    case DS4_TYPE_Q4_K:
        quantizer->blocks->q4_k(source, importance, target, n_blocks);
        break;
    case DS4_TYPE_IQ2_XXS:
        quantize_iq2_xxs(quantizer, source, importance, target, n_blocks);
        break;
    case DS4_TYPE_MXFP4:
        ds4_mxfp4_quantize(source, importance, quantizer->refit, target, n_blocks);
        return DS4_OK;
    case DS4_TYPE_F32:
    case DS4_TYPE_F16:
    case DS4_TYPE_BF16:
    case DS4_TYPE_I32:
        break;
    }
    status = check_scales(type, target, n_blocks, error);
    if (status != DS4_OK || !quantizer->refit) return status;
    refit_blocks(quantizer, type, source, importance, target, n_blocks);
    return DS4_OK;
}

const ds4_block_quantizers ds4_block_quantizers_scalar = {
    .name = "scalar",
    .q8_0 = ds4_q8_0_quantize,
    .q2_k = ds4_q2_k_quantize,
    .q4_k = ds4_q4_k_quantize,
    .iq2_xxs = ds4_iq2_xxs_quantize,
    .iq2_best_row = ds4_iq2_best_row,
};
