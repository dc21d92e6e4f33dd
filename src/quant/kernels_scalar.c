/* The scalar kernels: the definition of every result, written for reading. All others must give the
 * same bits. */
#include <math.h>

#include "quant/activations.h"

static void scalar_decode(ds4_type type, const void *source, float *target, size_t n) {
    switch (type) {
    case DS4_TYPE_F32:
        ds4_f32_decode(source, target, n);
        break;
    case DS4_TYPE_F16:
        ds4_f16_decode(source, target, n);
        break;
    case DS4_TYPE_BF16:
        ds4_bf16_decode(source, target, n);
        break;
    case DS4_TYPE_I32:
        ds4_i32_decode(source, target, n);
        break;
    case DS4_TYPE_Q8_0:
        ds4_q8_0_decode(source, target, n);
        break;
    case DS4_TYPE_Q2_K:
        ds4_q2_k_decode(source, target, n);
        break;
    case DS4_TYPE_Q4_K:
        ds4_q4_k_decode(source, target, n);
        break;
    case DS4_TYPE_IQ2_XXS:
        ds4_iq2_xxs_decode(source, target, n);
        break;
    case DS4_TYPE_MXFP4:
        ds4_mxfp4_decode(source, target, n);
        break;
    }
}

/* The fixed tree: lanes (l, l+8), then (l, l+4), (l, l+2), (l, l+1). */
static float sum_lanes(float lanes[DS4_LANES]) {
    for (unsigned half = DS4_LANES / 2; half > 0; half /= 2)
        for (unsigned l = 0; l < half; l++) lanes[l] += lanes[l + half];
    return lanes[0];
}

/* One chunk; elements beyond n count as zero up to the next multiple of the lanes. */
static float dot_chunk(const float *w, const float *x, size_t n) {
    float lanes[DS4_LANES] = {0};
    for (size_t k = 0; k < ds4_round_up(n, DS4_LANES); k++) {
        float *lane = &lanes[k % DS4_LANES];
        *lane = fmaf(k < n ? w[k] : 0.0f, k < n ? x[k] : 0.0f, *lane);
    }
    return sum_lanes(lanes);
}

static float scalar_dot(const float *a, const float *b, size_t n) {
    float total = 0;
    for (size_t k = 0; k < n; k += DS4_CHUNK)
        total += dot_chunk(a + k, b + k, n - k < DS4_CHUNK ? n - k : DS4_CHUNK);
    return total;
}

static void matmul_float(const ds4_matmul *p, size_t row_begin, size_t row_end, float *decoded) {
    const ds4_type_info *info = ds4_type_get_info((uint32_t)p->type);
    for (size_t r = row_begin; r < row_end; r++) {
        const uint8_t *row = (const uint8_t *)p->weights + r * p->row_bytes;
        for (size_t t = 0; t < p->n_tokens; t++) p->y[t][r] = 0;
        for (size_t k = 0; k < p->n_in; k += DS4_CHUNK) {
            size_t n = p->n_in - k < DS4_CHUNK ? p->n_in - k : DS4_CHUNK;
            scalar_decode(p->type, row + k / info->block_elements * info->block_bytes, decoded, n);
            for (size_t t = 0; t < p->n_tokens; t++)
                p->y[t][r] += dot_chunk(decoded, p->x[t] + k, n);
        }
    }
}

static ds4_block_product block_product(ds4_type type, const uint8_t *block, const int8_t *codes) {
    switch (type) {
    case DS4_TYPE_Q8_0:
        return ds4_q8_0_block_product(block, codes);
    case DS4_TYPE_Q2_K:
        return ds4_q2_k_block_product(block, codes);
    case DS4_TYPE_Q4_K:
        return ds4_q4_k_block_product(block, codes);
    case DS4_TYPE_IQ2_XXS:
        return ds4_iq2_xxs_block_product(block, codes);
    case DS4_TYPE_MXFP4:
        return ds4_mxfp4_block_product(block, codes);
    case DS4_TYPE_F32:
    case DS4_TYPE_F16:
    case DS4_TYPE_I32:
    case DS4_TYPE_BF16:
        break;
    }
    return (ds4_block_product){0};
}

/* Block b of a row goes to lane b mod 16. */
static float dot_int8(const ds4_matmul *p, const uint8_t *row, const ds4_activation_row *x) {
    const ds4_type_info *info = ds4_type_get_info((uint32_t)p->type);
    float lanes[DS4_LANES] = {0};
    for (size_t b = 0; b < p->n_in / info->block_elements; b++) {
        ds4_block_product product = block_product(p->type, row + b * info->block_bytes,
                                                  x->codes + b * info->block_elements);
        float *lane = &lanes[b % DS4_LANES];
        *lane = fmaf((float)product.dot, product.scale * x->scales[b], *lane);
        *lane = fmaf((float)-product.min_dot, product.min_scale * x->scales[b], *lane);
    }
    return sum_lanes(lanes);
}

static void matmul_int8(const ds4_matmul *p, size_t row_begin, size_t row_end) {
    for (size_t t = 0; t < p->n_tokens; t++) {
        ds4_activation_row x;
        ds4_activation_row_layout(p->type, p->n_in, (void *)(uintptr_t)p->xq[t], &x);
        for (size_t r = row_begin; r < row_end; r++)
            p->y[t][r] = dot_int8(p, (const uint8_t *)p->weights + r * p->row_bytes, &x);
    }
}

static void scalar_matmul(const ds4_matmul *product, size_t row_begin, size_t row_end,
                          void *scratch) {
    if (product->xq != NULL)
        matmul_int8(product, row_begin, row_end);
    else
        matmul_float(product, row_begin, row_end, scratch);
}

static void scalar_quantize(ds4_type type, const float *source, void *target, size_t n) {
    ds4_quantize_activation_row(type, source, target, n);
}

const ds4_kernels ds4_kernels_scalar = {
    .name = "scalar",
    .decode = scalar_decode,
    .matmul = scalar_matmul,
    .quantize_activations = scalar_quantize,
    .dot = scalar_dot,
};
