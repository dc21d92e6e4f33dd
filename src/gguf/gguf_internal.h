/* What the files of this room share: the parsed container, the byte cursor, the reporter of
 * problems. */
#ifndef DS4_GGUF_GGUF_INTERNAL_H
#define DS4_GGUF_GGUF_INTERNAL_H

#include <time.h>

#include "gguf/gguf_reader.h"

enum {
    GGUF_MAX_KEY_BYTES = 65535,
    GGUF_MAX_NAME_BYTES = 63,
    GGUF_MAX_DIMS = 4,
    GGUF_MAX_STRING_BYTES = 64 << 20,
    GGUF_MAX_ARRAY_COUNT = 16 << 20,
    GGUF_MAX_TENSORS = 1 << 20,
    GGUF_MIN_ALIGNMENT = 4,
    GGUF_MAX_ALIGNMENT = 1 << 20,
    GGUF_DEFAULT_ALIGNMENT = 32,
    GGUF_HEADER_BYTES = 24,
    GGUF_SHOWN_BYTES = 72, /* longest piece of a name that a message quotes, with its end mark */
};

/* Sorted names: duplicates become neighbours, lookups are binary searches, and no choice of names
 * is slow. */
typedef struct ds4_gguf_name {
    const char *data;
    size_t n;
    uint64_t index;
} ds4_gguf_name;

struct ds4_gguf {
    const uint8_t *bytes;
    uint64_t n_bytes;
    bool is_mapped;
    int fd; /* kept open to ask for size and time later; -1 for memory */
    struct timespec modified;

    uint32_t version;
    uint32_t alignment;
    uint64_t data_start;
    uint64_t n_values;
    ds4_gguf_value *values;
    ds4_gguf_name *value_names;
    uint64_t n_tensors;
    ds4_gguf_tensor *tensors;
    ds4_gguf_name *tensor_names;
};

/* Collects what is wrong with a file: the first problem goes to `error`, all go to the caller's
 * reporter. */
typedef struct ds4_gguf_examiner {
    const ds4_gguf_options *options; /* may be NULL */
    ds4_error *error;
    ds4_status first; /* DS4_OK until a problem was found */
} ds4_gguf_examiner;

/* Records a problem. True when examination should go on where it can, false to stop now. */
bool ds4_gguf_problem(ds4_gguf_examiner *examiner, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void ds4_gguf_warn(ds4_gguf_examiner *examiner, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* A name made fit for a message: control bytes become '?', a long one is cut. */
const char *ds4_gguf_show(const char *data, size_t n, char shown[GGUF_SHOWN_BYTES]);

/* The next multiple of the alignment; n is far below 2^64. */
static inline uint64_t ds4_gguf_round_up(uint64_t n, uint64_t alignment) {
    return (n + alignment - 1) / alignment * alignment;
}

bool ds4_gguf_is_utf8_name(const char *data, size_t n); /* valid UTF-8 without NUL */
size_t ds4_gguf_scalar_bytes(uint32_t type); /* 0 for strings, arrays and unknown types */
uint32_t ds4_gguf_load_u32(const uint8_t *bytes);
uint64_t ds4_gguf_load_u64(const uint8_t *bytes);

void ds4_gguf_sort_names(ds4_gguf_name *names, uint64_t n);
/* The index stored with the name, or UINT64_MAX. */
uint64_t ds4_gguf_find_name(const ds4_gguf_name *names, uint64_t n, const char *name);

/* Reads header, metadata and tensor directory; then checks the payloads' places. Each returns
 * DS4_OK when it could go to its end, even if problems were recorded in the examiner; otherwise why
 * it had to stop. */
ds4_status ds4_gguf_parse(ds4_gguf *gguf, ds4_gguf_examiner *examiner);
ds4_status ds4_gguf_check_payloads(ds4_gguf *gguf, ds4_gguf_examiner *examiner);

#endif
