/* Matrices where they come from: bytes at a place of a file, in one of the forms of the official
 * checkpoint or of GGUF, read and widened to float32 a few rows at a time. Nothing is mapped, so
 * memory does not grow with the model and a file that shrinks is an error, not a crash. Any thread.
 */
#ifndef DS4_GGUF_TOOL_SOURCE_H
#define DS4_GGUF_TOOL_SOURCE_H

#include "ds4.h"
#include "quant/quant.h"

typedef struct ds4_source_file {
    char *name; /* for messages */
    int fd;
    uint64_t n_bytes;
    int64_t modified; /* seconds */
} ds4_source_file;

ds4_status ds4_source_file_open(const char *path, const char *name, ds4_source_file *file,
                                ds4_error *error);
void ds4_source_file_close(ds4_source_file *file);
/* All n bytes. IO when the file ends before them. */
ds4_status ds4_source_file_read(const ds4_source_file *file, uint64_t offset, void *bytes, size_t n,
                                ds4_error *error);

typedef enum ds4_source_form {
    DS4_SOURCE_BLOCKS, /* rows of a GGUF type */
    DS4_SOURCE_FP8,    /* E4M3 codes; an E8M0 scale for every tile of 128 x 128 */
    DS4_SOURCE_FP4,    /* two E2M1 codes a byte, low nibble first; an E8M0 scale for 32 of a row */
    DS4_SOURCE_I64,
} ds4_source_form;

typedef struct ds4_matrix_source {
    const char *name; /* for messages */
    const ds4_source_file *file, *scale_file;
    uint64_t offset, scale_offset;
    ds4_source_form form;
    ds4_type type;  /* BLOCKS */
    bool allow_nan; /* FP8: NaN codes become 0 */
    uint64_t n_columns, n_rows;
} ds4_matrix_source;

/* Room for reading, private to a thread. */
typedef struct ds4_source_buffer {
    uint8_t *bytes, *scales;
    float *pairs; /* [256][2] FP4 values of a byte */
    float *codes; /* [256] FP8 values */
    size_t n_bytes, n_scales;
} ds4_source_buffer;

/* For matrices of up to n_columns columns. */
ds4_status ds4_source_buffer_create(uint64_t n_columns, ds4_source_buffer *buffer,
                                    ds4_error *error);
void ds4_source_buffer_free(ds4_source_buffer *buffer);

/* How many rows from `row` on one call of ds4_source_read may take, at least 1. */
uint64_t ds4_source_rows_at_once(const ds4_matrix_source *source, const ds4_source_buffer *buffer,
                                 uint64_t row);
/* Reads rows [row, row + n_rows) into the buffer. */
ds4_status ds4_source_read(const ds4_matrix_source *source, uint64_t row, uint64_t n_rows,
                           ds4_source_buffer *buffer, ds4_error *error);
/* Row `i` of those that were read, as n_columns floats. FORMAT for a NaN code or scale. */
ds4_status ds4_source_widen(const ds4_matrix_source *source, const ds4_source_buffer *buffer,
                            uint64_t i, float *row, ds4_error *error);
/* The same as I32 numbers, each below n_ids. */
ds4_status ds4_source_ids(const ds4_matrix_source *source, const ds4_source_buffer *buffer,
                          uint64_t i, uint32_t n_ids, uint8_t *target, ds4_error *error);
/* The bytes of a row that was read, of a source of blocks; those of FP4 as MXFP4 blocks, without
 * any loss. False when this source cannot give `type` so, and for plain floats, whose values want
 * checking. */
bool ds4_source_can_copy(const ds4_matrix_source *source, ds4_type type);
ds4_status ds4_source_copy(const ds4_matrix_source *source, const ds4_source_buffer *buffer,
                           uint64_t i, uint8_t *target, ds4_error *error);

#endif
