/* Reading safetensors checkpoints: one model.safetensors, or shards named by
 * model.safetensors.index.json.
 *
 * Layout of a file: u64 little-endian header length, a JSON object {"name": {"dtype", "shape",
 * "data_offsets"}, ...}, then the payloads, which the offsets count from. Payloads stay in their
 * files. The input is hostile: everything is checked before use. After opening, read-only: any
 * thread.
 */
#ifndef DS4_GGUF_TOOL_SAFETENSORS_H
#define DS4_GGUF_TOOL_SAFETENSORS_H

#include "gguf-tool/source.h"

typedef enum ds4_dtype {
    DS4_DTYPE_F32,
    DS4_DTYPE_F16,
    DS4_DTYPE_BF16,
    DS4_DTYPE_I64,
    DS4_DTYPE_I32,
    DS4_DTYPE_F8_E4M3,
    DS4_DTYPE_BYTE, /* I8 and U8: pairs of FP4 codes, or scales */
    DS4_DTYPE_F8_E8M0,
    DS4_DTYPE_OTHER, /* known and sized, but nothing here reads it */
} ds4_dtype;

enum { DS4_SAFETENSOR_MAX_DIMS = 8 };

typedef struct ds4_safetensor {
    const char *name;       /* without a leading "model." */
    const char *dtype_name; /* as in the file */
    ds4_dtype dtype;
    uint32_t n_dims;
    uint64_t shape[DS4_SAFETENSOR_MAX_DIMS]; /* slowest first, as in the file */
    uint64_t n_elements;
    const ds4_source_file *file;
    uint64_t offset, n_bytes; /* of the payload in the file: little-endian, row-major */
    bool is_used;             /* for the caller's bookkeeping */
} ds4_safetensor;

typedef struct ds4_safetensors ds4_safetensors;

ds4_status ds4_safetensors_open(const char *directory, ds4_safetensors **tensors, ds4_error *error);
void ds4_safetensors_close(ds4_safetensors *tensors);

size_t ds4_safetensors_count(const ds4_safetensors *tensors);
ds4_safetensor *ds4_safetensors_at(ds4_safetensors *tensors, size_t index); /* sorted by name */
ds4_safetensor *ds4_safetensors_find(ds4_safetensors *tensors, const char *name);

/* A hash of the shards' names, sizes and times: whether an interrupted conversion may go on. */
uint64_t ds4_safetensors_identity(const ds4_safetensors *tensors);

#endif
