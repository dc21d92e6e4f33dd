/* GGUF files as sources of tensors: opened twice, mapped for the directory and read for payloads.
 */
#ifndef DS4_GGUF_TOOL_GGUF_SOURCE_H
#define DS4_GGUF_TOOL_GGUF_SOURCE_H

#include "gguf-tool/plan.h"
#include "gguf-tool/source.h"

typedef struct ds4_gguf_source {
    ds4_gguf *gguf;
    ds4_source_file file;
} ds4_gguf_source;

/* Also for a failed opening, ds4_gguf_source_close is allowed. */
ds4_status ds4_gguf_source_open(const char *path, ds4_gguf_source *source, ds4_error *error);
void ds4_gguf_source_close(ds4_gguf_source *source);
/* A hash of name, size and time. */
uint64_t ds4_gguf_source_identity(const ds4_gguf_source *source);

/* The matrices of a tensor of this file, as an array that the caller frees. */
ds4_status ds4_gguf_source_matrices(const ds4_gguf_source *source, const ds4_gguf_tensor *tensor,
                                    ds4_matrix_source **matrices, ds4_error *error);
/* A list of n such arrays, and what they hold. NULL is allowed. */
void ds4_matrix_lists_free(ds4_matrix_source **lists, size_t n);

/* deepseek4.expert_count; no limit when the file does not say. */
uint32_t ds4_gguf_source_experts(const ds4_gguf_source *source);

/* Whether a key is that name, or begins with it. */
bool ds4_gguf_key_is(const ds4_gguf_value *value, const char *name);
bool ds4_gguf_key_begins(const ds4_gguf_value *value, const char *prefix);

#endif
