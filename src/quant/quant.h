/* Block formats: how weights are stored, decoded, encoded and multiplied with activations.
 *
 * Every kernel exists once per instruction set (scalar, AVX2, AVX-512, NEON) and all of them give
 * the same bits: the reduction order of a dot product is part of its definition (docs/numerics.md),
 * not an accident of the machine. Nothing here allocates; all functions may be called from any
 * thread.
 */
#ifndef DS4_QUANT_QUANT_H
#define DS4_QUANT_QUANT_H

#include <stddef.h>
#include <stdint.h>

#include "ds4.h"

/* GGUF tensor type ids of the formats we compute with. Others can be sized (ds4_type_get_info) but
 * not read. */
typedef enum ds4_type {
    DS4_TYPE_F32 = 0,
    DS4_TYPE_F16 = 1,
    DS4_TYPE_Q8_0 = 8,
    DS4_TYPE_Q2_K = 10,
    DS4_TYPE_Q4_K = 12,
    DS4_TYPE_IQ2_XXS = 16,
    DS4_TYPE_I32 = 26,
    DS4_TYPE_BF16 = 30,
    DS4_TYPE_MXFP4 = 39,
} ds4_type;

typedef struct ds4_type_info {
    const char *name;
    uint32_t block_elements;
    uint32_t block_bytes;
    bool computable; /* decode and matmul exist */
} ds4_type_info;

/* NULL for an unknown, retired or private id. */
const ds4_type_info *ds4_type_get_info(uint32_t id);
/* Bytes of a row of n elements; n must be a multiple of the block. */
size_t ds4_type_row_bytes(ds4_type type, size_t n);

/* IEEE conversions; round to nearest even, subnormals kept, NaN stays NaN. */
float ds4_f16_to_f32(uint16_t bits);
uint16_t ds4_f32_to_f16(float value);
float ds4_bf16_to_f32(uint16_t bits);
uint16_t ds4_f32_to_bf16(float value);

/* Encodes n float32 values as F32, F16, BF16 or Q8_0. FORMAT when a value is not finite.
 */
ds4_status ds4_encode_row(ds4_type type, const float *source, void *target, size_t n,
                          ds4_error *error);

/* A product of weight rows with activation rows: y[t][r] = <weights row r, x[t]>.
 * Rows are addressed one by one so that the tokens of one expert need not be copied together. */
typedef struct ds4_matmul {
    ds4_type type;
    const void *weights; /* row r begins at weights + r * row_bytes */
    size_t row_bytes;
    size_t n_in; /* elements of a row; a multiple of the type's block */
    size_t n_tokens;
    const float *const *x; /* n_tokens pointers to n_in floats (float activations) */
    const void *const *xq; /* or n_tokens pointers to prepared int8 rows; used when not NULL */
    float *const *y;       /* n_tokens pointers; element r of row t is written to y[t][r] */
} ds4_matmul;

typedef struct ds4_kernels {
    const char *name; /* "scalar", "avx2", "avx512", "neon" */

    /* n weights of any computable type (and I32) to float32; n a multiple of the block. */
    void (*decode)(ds4_type type, const void *source, float *target, size_t n);

    /* Rows row_begin..row_end-1 of the product. `scratch` is private to the calling thread:
     * ds4_matmul_scratch_bytes(), 64-byte aligned. */
    void (*matmul)(const ds4_matmul *product, size_t row_begin, size_t row_end, void *scratch);

    /* Rounds one activation row to int8 for products with weights of `type` (docs/numerics.md);
     * target: ds4_activation_row_bytes(type, n) bytes, 64-byte aligned. */
    void (*quantize_activations)(ds4_type type, const float *source, void *target, size_t n);

    /* <a, b> in the same fixed order as matmul with F32 weights. */
    float (*dot)(const float *a, const float *b, size_t n);
} ds4_kernels;

/* Whether int8 activations make sense for this type (quantised ones do; F32, F16, BF16 stay float).
 */
bool ds4_type_takes_int8(ds4_type type);
size_t ds4_activation_row_bytes(ds4_type type, size_t n);
size_t ds4_matmul_scratch_bytes(void);

/* The best kernels for the running CPU; environment-free. */
const ds4_kernels *ds4_kernels_best(void);
/* By name, for tests and comparisons; NULL when not built in or the CPU lacks it. */
const ds4_kernels *ds4_kernels_by_name(const char *name);

#endif
