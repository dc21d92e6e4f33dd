/* Writing GGUF version 3 files: first declare all metadata and tensors, then stream the payloads.
 *
 * The bytes go to PATH.tmp, which becomes PATH (fsync, rename) only in ds4_gguf_writer_finish: a
 * failed or abandoned write leaves nothing under the final name. Layout: directory order is payload
 * order, no gaps, each payload padded with zeros to the alignment, the last one included.
 *
 * Declarations (the put_ and add_ functions) return nothing: the first mistake is remembered and
 * reported by ds4_gguf_writer_begin. Threads: one at a time, except ds4_gguf_writer_write_at.
 */
#ifndef DS4_GGUF_GGUF_WRITER_H
#define DS4_GGUF_GGUF_WRITER_H

#include "gguf/gguf_reader.h"

typedef struct ds4_gguf_writer ds4_gguf_writer;

/* Page-aligned payloads can be mapped, advised and read directly one by one; the cost is a few KiB
 * per tensor. */
#define DS4_GGUF_PAGE_ALIGNMENT 4096u

/* `alignment`: a power of two, 4..2^20; it becomes the key general.alignment. Nothing is created on
 * disk yet. */
ds4_status ds4_gguf_writer_create(const char *path, uint32_t alignment, ds4_gguf_writer **writer,
                                  ds4_error *error);
/* Frees; removes the temporary file when the writer was not finished. NULL is allowed. */
void ds4_gguf_writer_destroy(ds4_gguf_writer *writer);

/* ---- declarations ---- */

/* Keys must be unique, 1..65535 bytes of UTF-8. `general.alignment` is written by the writer
 * itself. */
void ds4_gguf_writer_put_u32(ds4_gguf_writer *writer, const char *key, uint32_t value);
void ds4_gguf_writer_put_u64(ds4_gguf_writer *writer, const char *key, uint64_t value);
void ds4_gguf_writer_put_f32(ds4_gguf_writer *writer, const char *key, float value);
void ds4_gguf_writer_put_bool(ds4_gguf_writer *writer, const char *key, bool value);
void ds4_gguf_writer_put_string(ds4_gguf_writer *writer, const char *key, const char *text,
                                size_t n);
void ds4_gguf_writer_put_i32_array(ds4_gguf_writer *writer, const char *key, const int32_t *values,
                                   size_t n);
void ds4_gguf_writer_put_f32_array(ds4_gguf_writer *writer, const char *key, const float *values,
                                   size_t n);
void ds4_gguf_writer_put_string_array(ds4_gguf_writer *writer, const char *key,
                                      const ds4_gguf_string *strings, size_t n);
/* Copies a value of another file as it is stored there. */
void ds4_gguf_writer_put_value(ds4_gguf_writer *writer, const ds4_gguf_value *value);

/* Name: unique, 1..63 bytes. `ne`: n_dims (1..4) numbers >= 1, fastest first; ne[0] a multiple of
 * the type's block. */
void ds4_gguf_writer_add_tensor(ds4_gguf_writer *writer, const char *name, uint32_t type,
                                uint32_t n_dims, const uint64_t *ne);

/* Payload bytes, without padding, of the tensor declared as number `index`. */
uint64_t ds4_gguf_writer_tensor_bytes(const ds4_gguf_writer *writer, uint64_t index);

/* ---- payloads ---- */

/* Reports the first mistake of the declarations; checks the free space; creates the temporary file
 * and writes the directory. DS4_IO naming the numbers when the disk is too small. */
ds4_status ds4_gguf_writer_begin(ds4_gguf_writer *writer, ds4_error *error);
/* Like ds4_gguf_writer_begin, but goes on with the temporary file that an interrupted writer of the
 * same declarations left: *resumed tells whether there was one. Its payloads are as they were; the
 * caller knows which of them are whole and says so with ds4_gguf_writer_mark_written. */
ds4_status ds4_gguf_writer_resume(ds4_gguf_writer *writer, bool *resumed, ds4_error *error);
/* The whole payload of a tensor is in the file already. */
void ds4_gguf_writer_mark_written(ds4_gguf_writer *writer, uint64_t tensor);
/* n payload bytes of one tensor as they are in the file. Any thread. */
ds4_status ds4_gguf_writer_read_at(const ds4_gguf_writer *writer, uint64_t tensor, uint64_t offset,
                                   void *bytes, size_t n, ds4_error *error);
/* Whether ds4_gguf_writer_destroy leaves an unfinished temporary file for a later resume. */
void ds4_gguf_writer_keep(ds4_gguf_writer *writer, bool keep);
/* PATH.tmp */
const char *ds4_gguf_writer_temporary(const ds4_gguf_writer *writer);

/* The size that the finished file will have; known after begin. */
uint64_t ds4_gguf_writer_file_bytes(const ds4_gguf_writer *writer);

/* The next n payload bytes, tensor after tensor in the order of declaration; a call may end
 * anywhere, also beyond the end of a tensor. */
ds4_status ds4_gguf_writer_write(ds4_gguf_writer *writer, const void *bytes, size_t n,
                                 ds4_error *error);
/* n payload bytes of one tensor from `offset` within it. Several threads may call this at once with
 * ranges that do not overlap; do not mix it with ds4_gguf_writer_write. */
ds4_status ds4_gguf_writer_write_at(ds4_gguf_writer *writer, uint64_t tensor, uint64_t offset,
                                    const void *bytes, size_t n, ds4_error *error);

/* Checks that as many bytes as declared were written, flushes to the disk and gives the file its
 * name. */
ds4_status ds4_gguf_writer_finish(ds4_gguf_writer *writer, ds4_error *error);

#endif
