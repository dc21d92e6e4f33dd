/* From matrices where they come from to a GGUF file: what convert and quantize share. */
#ifndef DS4_GGUF_TOOL_TRANSCODE_H
#define DS4_GGUF_TOOL_TRANSCODE_H

#include "gguf-tool/source.h"
#include "gguf-tool/stream.h"
#include "imatrix/imatrix.h"
#include "quant/quantize.h"

typedef struct ds4_transcode_options {
    const char *output;
    const char *imatrix; /* file, or NULL */
    bool imatrix_strict; /* a matrix that would use an importance must have one */
    bool refit;
    bool restart; /* forget what an interrupted run left */
    bool force;   /* replace a file of the final name */
    uint32_t n_threads;
} ds4_transcode_options;

typedef struct ds4_transcode ds4_transcode;

/* `plan` has its types; sources[i] are the matrices of its tensor i, in order. `origin` tells runs
 * apart (names, sizes, times of the source files). All stay the caller's. Reads the importance
 * matrix and looks up every tensor in it. */
ds4_status ds4_transcode_create(const ds4_transcode_options *options, const ds4_plan *plan,
                                ds4_matrix_source *const *sources, uint32_t n_experts,
                                uint64_t origin, ds4_transcode **transcode, ds4_error *error);
void ds4_transcode_destroy(ds4_transcode *transcode);

/* Declares quantize.* of the importance matrix. */
void ds4_transcode_put_metadata(const ds4_transcode *transcode, ds4_gguf_writer *writer);

/* Writes the file whose metadata was declared: tensors, payloads, final name. Goes on where an
 * interrupted run of the same command stopped, and says so. */
ds4_status ds4_transcode_write(ds4_transcode *transcode, ds4_gguf_writer *writer, ds4_error *error);

#endif
