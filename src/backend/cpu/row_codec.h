/* How KV rows are rounded and stored (docs/numerics.md, "Stored rows").
 *
 * full: attention rows are FP8 E4M3 with one power-of-two exponent per 64 lanes, rotary lanes F16;
 * indexer rows are Hadamard-transformed FP4 E2M1 with one exponent per 32 lanes. Codes are stored
 * as they are: lossless. fp4:  only the indexer rows are rounded (and packed); attention rows stay
 * float32. none: everything stays float32.
 */
#ifndef DS4_BACKEND_CPU_ROW_CODEC_H
#define DS4_BACKEND_CPU_ROW_CODEC_H

#include "backend/cpu/vector_ops.h"
#include "model/hparams.h"
#include "quant/quant.h"

typedef struct ds4_row_codec {
    const ds4_vector_ops *ops;
    const ds4_kernels *kernels;
    ds4_kv_sim kv_sim;
    uint32_t width, rope_dim; /* attention row: head_dim, of which the last rope_dim rotate */
    uint32_t index_width;
    size_t row_bytes, index_row_bytes;   /* stored sizes */
    size_t row_stride, index_row_stride; /* distance of stored rows: the same, or a backend's own */
} ds4_row_codec;

ds4_row_codec ds4_row_codec_make(const ds4_hparams *hparams, ds4_kv_sim kv_sim,
                                 const ds4_vector_ops *ops, const ds4_kernels *kernels);

/* Rounds an attention row in place to what storing and reading it back would give. */
void ds4_row_round(const ds4_row_codec *codec, float *row);
void ds4_row_encode(const ds4_row_codec *codec, const float *row, uint8_t *stored);
void ds4_row_decode(const ds4_row_codec *codec, const uint8_t *stored, float *row);

/* Indexer queries and rows share one treatment: Hadamard, then FP4 (nothing with `none`). */
void ds4_index_row_round(const ds4_row_codec *codec, float *row);
void ds4_index_row_encode(const ds4_row_codec *codec, float *row,
                          uint8_t *stored); /* overwrites row */
void ds4_index_row_decode(const ds4_row_codec *codec, const uint8_t *stored, float *row);

/* Whether `n` stored rows, one after the other, stand for finite numbers only, of the size that
 * encoding can give. */
bool ds4_rows_are_finite(const ds4_row_codec *codec, const uint8_t *stored, size_t n);
bool ds4_index_rows_are_finite(const ds4_row_codec *codec, const uint8_t *stored, size_t n);
bool ds4_floats_are_finite(const uint8_t *floats, size_t n);

/* The primitives, exposed for their tests. Codes of one block of 64 (or 32) lanes; returns the
 * scale's exponent k. */
int ds4_fp8_encode_block(const float *x, uint8_t *codes);
int ds4_fp4_encode_block(const float *x, uint8_t *nibbles);

#endif
