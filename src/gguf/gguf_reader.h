/* Reading GGUF files (versions 2 and 3, little-endian): metadata by key, tensors by name, payloads
 * as mapped memory.
 *
 * Opening validates everything that the container promises (docs/gguf.md lists the checks), so
 * later calls cannot run out of the file; what the keys and tensors mean is the model room's
 * business. A file is hostile until proven otherwise: every length is compared with what remains
 * before it is used, allocations are bounded by a small multiple of the file's size.
 *
 * Ownership: strings, values and tensors handed out belong to the ds4_gguf and live as long as it
 * does. Threads: after opening, everything is read-only and may be used by any number of threads.
 *
 * Errors: DS4_IO when the file cannot be opened, mapped or has changed; DS4_FORMAT for everything
 * wrong inside it, in one sentence with the byte offset, key or tensor name.
 */
#ifndef DS4_GGUF_GGUF_READER_H
#define DS4_GGUF_GGUF_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ds4.h"
#include "quant/quant.h"

typedef struct ds4_gguf ds4_gguf;

/* Bytes inside the file: not NUL-terminated. Keys and names are valid UTF-8 without NUL; values may
 * be any bytes. */
typedef struct ds4_gguf_string {
    const char *data;
    size_t n;
} ds4_gguf_string;

/* Types of metadata values, by their numbers in the file. */
typedef enum ds4_gguf_value_type {
    DS4_GGUF_U8 = 0,
    DS4_GGUF_I8 = 1,
    DS4_GGUF_U16 = 2,
    DS4_GGUF_I16 = 3,
    DS4_GGUF_U32 = 4,
    DS4_GGUF_I32 = 5,
    DS4_GGUF_F32 = 6,
    DS4_GGUF_BOOL = 7,
    DS4_GGUF_STRING = 8,
    DS4_GGUF_ARRAY = 9,
    DS4_GGUF_U64 = 10,
    DS4_GGUF_I64 = 11,
    DS4_GGUF_F64 = 12,
} ds4_gguf_value_type;

/* One metadata value: a scalar, or an array of scalars (arrays of arrays are rejected when
 * opening). */
typedef struct ds4_gguf_value {
    ds4_gguf_string key;
    ds4_gguf_value_type type; /* of the scalar, or of the array's elements; never DS4_GGUF_ARRAY */
    bool is_array;
    uint64_t count;      /* elements; 1 for a scalar */
    const uint8_t *data; /* the elements as stored: little-endian, unaligned */
    size_t n_bytes;
} ds4_gguf_value;

typedef struct ds4_gguf_tensor {
    char name[64];   /* NUL-terminated, 1..63 bytes */
    uint32_t type;   /* a known type id: ds4_type_get_info(type) is not NULL; may be one we cannot
                        compute with */
    uint32_t n_dims; /* 0..4; 0 is how some writers store a scalar */
    uint64_t ne[4];  /* elements per dimension, fastest first, all >= 1; 1 beyond n_dims */
    uint64_t n_elements;
    uint64_t row_bytes;   /* one row of ne[0] elements */
    uint64_t n_bytes;     /* the payload without padding: rows are contiguous */
    uint64_t file_offset; /* of the payload, from the beginning of the file */
    const void *data;     /* the payload; aligned to general.alignment when the file was mapped */
} ds4_gguf_tensor;

/* ---- opening ---- */

/* Told about each problem and warning while a file is examined. Warnings do not make opening fail.
 */
typedef void (*ds4_gguf_report_fn)(void *context, bool is_warning, const char *message);

typedef struct ds4_gguf_options {
    /* With a reporter, examination goes on after a problem where it can (so that all problems are
     * named) and opening still fails at the end, with the first problem in `error`. Without one it
     * stops at the first. */
    ds4_gguf_report_fn report;
    void *report_context;
} ds4_gguf_options;

/* Maps the file read-only and validates it. `options` may be NULL. */
ds4_status ds4_gguf_open(const char *path, const ds4_gguf_options *options, ds4_gguf **gguf,
                         ds4_error *error);
/* The same over bytes in memory, which must outlive the result. */
ds4_status ds4_gguf_open_memory(const void *bytes, size_t n_bytes, const ds4_gguf_options *options,
                                ds4_gguf **gguf, ds4_error *error);
void ds4_gguf_close(ds4_gguf *gguf);

/* Whether the file on disk still has the size and modification time it had when it was mapped. A
 * file that was cut short raises SIGBUS when its missing pages are touched: long-lived callers ask
 * from time to time and stop first. DS4_IO when it changed; always DS4_OK for a file opened from
 * memory. */
ds4_status ds4_gguf_verify_unchanged(const ds4_gguf *gguf, ds4_error *error);

uint32_t ds4_gguf_version(const ds4_gguf *gguf);
uint32_t ds4_gguf_alignment(const ds4_gguf *gguf);
uint64_t ds4_gguf_file_bytes(const ds4_gguf *gguf);
uint64_t ds4_gguf_data_start(const ds4_gguf *gguf); /* file offset of the first payload */

/* ---- metadata ---- */

uint64_t ds4_gguf_n_values(const ds4_gguf *gguf);
/* In file order; `index` < ds4_gguf_n_values. */
const ds4_gguf_value *ds4_gguf_value_at(const ds4_gguf *gguf, uint64_t index);
/* NULL when the file has no such key. */
const ds4_gguf_value *ds4_gguf_find_value(const ds4_gguf *gguf, const char *key);

/* Required scalars by key. Any integer or float type is accepted when its value converts without
 * loss; a bool may be stored as bool or as the integers 0 and 1. DS4_FORMAT naming the key when it
 * is missing, is an array, has a foreign type or does not convert. For optional keys, ask
 * ds4_gguf_find_value first. */
ds4_status ds4_gguf_get_u64(const ds4_gguf *gguf, const char *key, uint64_t *value,
                            ds4_error *error);
ds4_status ds4_gguf_get_u32(const ds4_gguf *gguf, const char *key, uint32_t *value,
                            ds4_error *error);
ds4_status ds4_gguf_get_f64(const ds4_gguf *gguf, const char *key, double *value, ds4_error *error);
ds4_status ds4_gguf_get_bool(const ds4_gguf *gguf, const char *key, bool *value, ds4_error *error);
ds4_status ds4_gguf_get_string(const ds4_gguf *gguf, const char *key, ds4_gguf_string *value,
                               ds4_error *error);

/* Required arrays by key. The first: elements are integers or floats (not bools, not strings); read
 * them with ds4_gguf_value_u64/i64/f64. The second: elements are strings; read them with a
 * ds4_gguf_string_cursor. */
ds4_status ds4_gguf_get_number_array(const ds4_gguf *gguf, const char *key,
                                     const ds4_gguf_value **value, ds4_error *error);
ds4_status ds4_gguf_get_string_array(const ds4_gguf *gguf, const char *key,
                                     const ds4_gguf_value **value, ds4_error *error);

/* Element `index` (0 for a scalar) as the wanted type; false when it is out of range, of a foreign
 * type, or does not convert without loss. Constant time. */
bool ds4_gguf_value_u64(const ds4_gguf_value *value, uint64_t index, uint64_t *result);
bool ds4_gguf_value_i64(const ds4_gguf_value *value, uint64_t index, int64_t *result);
bool ds4_gguf_value_f64(const ds4_gguf_value *value, uint64_t index, double *result);
bool ds4_gguf_value_bool(const ds4_gguf_value *value, uint64_t index, bool *result);

/* Walks the strings of a value (a string scalar counts as one string):
 *     ds4_gguf_string_cursor cursor = ds4_gguf_strings(value);
 *     for (ds4_gguf_string s; ds4_gguf_next_string(&cursor, &s);) ...
 * A value that holds no strings yields none. */
typedef struct ds4_gguf_string_cursor {
    const uint8_t *next;
    uint64_t n_left;
} ds4_gguf_string_cursor;
ds4_gguf_string_cursor ds4_gguf_strings(const ds4_gguf_value *value);
bool ds4_gguf_next_string(ds4_gguf_string_cursor *cursor, ds4_gguf_string *string);

/* "u32", "string", ...; "unknown" for a number outside the enumeration. */
const char *ds4_gguf_value_type_name(ds4_gguf_value_type type);

/* ---- tensors ---- */

uint64_t ds4_gguf_n_tensors(const ds4_gguf *gguf);
/* In file order; `index` < ds4_gguf_n_tensors. */
const ds4_gguf_tensor *ds4_gguf_tensor_at(const ds4_gguf *gguf, uint64_t index);
/* NULL when the file has no such tensor. */
const ds4_gguf_tensor *ds4_gguf_find_tensor(const ds4_gguf *gguf, const char *name);

#endif
