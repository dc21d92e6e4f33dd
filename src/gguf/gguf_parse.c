/* From bytes to the parsed container: header, metadata, tensor directory. The input is hostile:
 * every length is compared with what remains (`n > size - position`, never `position + n > size`),
 * every count with the smallest size its records can have, before anything is allocated or read. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "gguf/gguf_internal.h"

enum {
    MIN_VALUE_RECORD = 8 + 4 + 1,      /* key length, type, a one-byte value */
    MIN_TENSOR_RECORD = 8 + 4 + 4 + 8, /* name length, n_dims, type, offset */
};

/* A position in the file. `failed` stays set once something did not fit. */
typedef struct cursor {
    const uint8_t *bytes;
    uint64_t n_bytes;
    uint64_t position;
    ds4_gguf_examiner *examiner;
    bool failed;
} cursor;

static uint64_t remaining(const cursor *c) {
    return c->n_bytes - c->position;
}

/* The next n bytes, or NULL when the file ends before. */
static const uint8_t *take(cursor *c, uint64_t n, const char *what) {
    if (c->failed) return NULL;
    if (n > remaining(c)) {
        ds4_gguf_problem(c->examiner,
                         "%s at byte %" PRIu64 " needs %" PRIu64 " bytes, but only %" PRIu64
                         " remain: the file is truncated or damaged",
                         what, c->position, n, remaining(c));
        c->failed = true;
        return NULL;
    }
    const uint8_t *bytes = c->bytes + c->position;
    c->position += n;
    return bytes;
}

static uint32_t take_u32(cursor *c, const char *what) {
    const uint8_t *bytes = take(c, 4, what);
    return bytes != NULL ? ds4_gguf_load_u32(bytes) : 0;
}

static uint64_t take_u64(cursor *c, const char *what) {
    const uint8_t *bytes = take(c, 8, what);
    return bytes != NULL ? ds4_gguf_load_u64(bytes) : 0;
}

static ds4_gguf_string take_string(cursor *c, uint64_t max_bytes, const char *what) {
    ds4_gguf_string string = {NULL, 0};
    uint64_t at = c->position;
    uint64_t n = take_u64(c, what);
    if (c->failed) return string;
    if (n > max_bytes) {
        ds4_gguf_problem(c->examiner,
                         "%s at byte %" PRIu64 " claims %" PRIu64 " bytes; at most %" PRIu64
                         " are allowed",
                         what, at, n, max_bytes);
        c->failed = true;
        return string;
    }
    string.data = (const char *)take(c, n, what);
    string.n = (size_t)n;
    return string;
}

static void fail_value(cursor *c, const ds4_gguf_value *value, const char *why, uint64_t number) {
    char shown[GGUF_SHOWN_BYTES];
    ds4_gguf_problem(c->examiner, "metadata '%s', value at byte %" PRIu64 ": %s %" PRIu64,
                     ds4_gguf_show(value->key.data, value->key.n, shown), c->position, why, number);
    c->failed = true;
}

/* Everything of a value after its type numbers: `count` elements of `type`. */
static void take_elements(cursor *c, ds4_gguf_value *value) {
    uint64_t begin = c->position;
    size_t scalar = ds4_gguf_scalar_bytes(value->type);
    if (value->type == DS4_GGUF_STRING) {
        if (value->count > remaining(c) / 8) {
            fail_value(c, value, "too few bytes remain for its string count of", value->count);
            return;
        }
        for (uint64_t i = 0; i < value->count && !c->failed; i++) {
            take_string(c, GGUF_MAX_STRING_BYTES, "metadata string");
        }
    } else {
        if (value->count > remaining(c) / scalar) {
            fail_value(c, value, "too few bytes remain for its element count of", value->count);
            return;
        }
        take(c, value->count * scalar, "metadata value");
    }
    if (c->failed) return;
    value->data = c->bytes + begin;
    value->n_bytes = (size_t)(c->position - begin);
    for (uint64_t i = 0; value->type == DS4_GGUF_BOOL && i < value->count; i++) {
        if (value->data[i] > 1) {
            fail_value(c, value, "a bool is neither 0 nor 1 but", value->data[i]);
            return;
        }
    }
}

static void take_value(cursor *c, ds4_gguf_value *value) {
    uint64_t at = c->position;
    value->key = take_string(c, GGUF_MAX_KEY_BYTES, "metadata key");
    if (c->failed) return;
    if (value->key.n == 0 || !ds4_gguf_is_utf8_name(value->key.data, value->key.n)) {
        ds4_gguf_problem(c->examiner,
                         "metadata key at byte %" PRIu64 " is empty or not valid UTF-8 without NUL",
                         at);
        c->failed = true;
        return;
    }
    uint32_t type = take_u32(c, "metadata type");
    value->count = 1;
    value->is_array = !c->failed && type == DS4_GGUF_ARRAY;
    if (value->is_array) {
        type = take_u32(c, "array element type");
        value->count = take_u64(c, "array count");
    }
    if (c->failed) return;
    if (type == DS4_GGUF_ARRAY) {
        fail_value(c, value, "arrays of arrays are not allowed; element type", type);
        return;
    }
    if (type != DS4_GGUF_STRING && ds4_gguf_scalar_bytes(type) == 0) {
        fail_value(c, value, "unknown value type", type);
        return;
    }
    if (value->count > GGUF_MAX_ARRAY_COUNT) {
        fail_value(c, value, "more array elements than the 16777216 allowed:", value->count);
        return;
    }
    value->type = (ds4_gguf_value_type)type;
    take_elements(c, value);
}

/* Sorts the names of the values or tensors (`what` says which) and reports duplicates. */
static void index_names(cursor *c, ds4_gguf_name *names, uint64_t n, const char *what) {
    ds4_gguf_sort_names(names, n);
    for (uint64_t i = 1; i < n && !c->failed; i++) {
        const ds4_gguf_name *a = &names[i - 1], *b = &names[i];
        char shown[GGUF_SHOWN_BYTES];
        if (a->n != b->n || memcmp(a->data, b->data, a->n) != 0) continue;
        c->failed = !ds4_gguf_problem(
            c->examiner, "duplicate %s '%s' (entries %" PRIu64 " and %" PRIu64 ")", what,
            ds4_gguf_show(a->data, a->n, shown), a->index, b->index);
    }
}

static ds4_status parse_values(ds4_gguf *gguf, cursor *c) {
    size_t n = (size_t)gguf->n_values;
    gguf->values = calloc(n + 1, sizeof *gguf->values);
    gguf->value_names = calloc(n + 1, sizeof *gguf->value_names);
    if (gguf->values == NULL || gguf->value_names == NULL) {
        return ds4_fail_memory(c->examiner->error, n * sizeof *gguf->values, "GGUF metadata");
    }
    for (size_t i = 0; i < n; i++) {
        ds4_gguf_value *value = &gguf->values[i];
        take_value(c, value);
        if (c->failed) {
            gguf->n_values = i; /* what was read so far is sound */
            return DS4_FORMAT;
        }
        gguf->value_names[i] = (ds4_gguf_name){value->key.data, value->key.n, i};
    }
    index_names(c, gguf->value_names, n, "metadata key");
    return c->failed ? DS4_FORMAT : DS4_OK;
}

static ds4_status find_alignment(ds4_gguf *gguf, cursor *c) {
    const ds4_gguf_value *value = ds4_gguf_find_value(gguf, "general.alignment");
    gguf->alignment = GGUF_DEFAULT_ALIGNMENT;
    if (value == NULL) return DS4_OK;
    if (value->is_array || value->type != DS4_GGUF_U32) {
        ds4_gguf_problem(c->examiner, "general.alignment must be a u32, not %s%s",
                         value->is_array ? "an array of " : "",
                         ds4_gguf_value_type_name(value->type));
        return DS4_FORMAT;
    }
    uint32_t alignment = ds4_gguf_load_u32(value->data);
    if (alignment < GGUF_MIN_ALIGNMENT || alignment > GGUF_MAX_ALIGNMENT ||
        (alignment & (alignment - 1)) != 0) {
        ds4_gguf_problem(c->examiner,
                         "general.alignment is %" PRIu32
                         "; it must be a power of two from %d to %d",
                         alignment, GGUF_MIN_ALIGNMENT, GGUF_MAX_ALIGNMENT);
        return DS4_FORMAT;
    }
    if (alignment < GGUF_DEFAULT_ALIGNMENT) {
        ds4_gguf_warn(c->examiner, "general.alignment is only %" PRIu32, alignment);
    }
    gguf->alignment = alignment;
    return DS4_OK;
}

/* Shape and type of one tensor; its place in the file is checked later. An unsound tensor keeps
 * n_bytes == 0. */
static void size_tensor(cursor *c, ds4_gguf_tensor *tensor, uint64_t at) {
    const ds4_type_info *info = ds4_type_get_info(tensor->type);
    char shown[GGUF_SHOWN_BYTES];
    ds4_gguf_show(tensor->name, strlen(tensor->name), shown);
    if (info == NULL) {
        c->failed = !ds4_gguf_problem(
            c->examiner, "tensor '%s' (byte %" PRIu64 ") has the %s type id %" PRIu32, shown, at,
            tensor->type >= 97 ? "unsupported private" : "unknown or retired", tensor->type);
        return;
    }
    uint64_t n_elements = 1;
    for (uint32_t i = 0; i < tensor->n_dims; i++) {
        if (tensor->ne[i] == 0) {
            c->failed = !ds4_gguf_problem(
                c->examiner, "tensor '%s' (byte %" PRIu64 "): dimension %" PRIu32 " is zero", shown,
                at, i);
            return;
        }
        if (n_elements > UINT64_MAX / tensor->ne[i]) {
            c->failed = !ds4_gguf_problem(
                c->examiner, "tensor '%s' (byte %" PRIu64 "): its dimensions overflow 64 bits",
                shown, at);
            return;
        }
        n_elements *= tensor->ne[i];
    }
    if (tensor->ne[0] % info->block_elements != 0) {
        c->failed = !ds4_gguf_problem(c->examiner,
                                      "tensor '%s' (byte %" PRIu64 "): rows of %" PRIu64
                                      " elements are not whole %s blocks of %" PRIu32,
                                      shown, at, tensor->ne[0], info->name, info->block_elements);
        return;
    }
    if (n_elements / info->block_elements > UINT64_MAX / info->block_bytes) {
        c->failed = !ds4_gguf_problem(
            c->examiner, "tensor '%s' (byte %" PRIu64 "): its size overflows 64 bits", shown, at);
        return;
    }
    tensor->n_elements = n_elements;
    tensor->row_bytes = tensor->ne[0] / info->block_elements * info->block_bytes;
    tensor->n_bytes = n_elements / info->block_elements * info->block_bytes;
}

static void take_tensor(cursor *c, ds4_gguf_tensor *tensor) {
    uint64_t at = c->position;
    ds4_gguf_string name = take_string(c, GGUF_MAX_KEY_BYTES, "tensor name");
    if (c->failed) return;
    if (name.n == 0 || name.n > GGUF_MAX_NAME_BYTES || !ds4_gguf_is_utf8_name(name.data, name.n)) {
        ds4_gguf_problem(c->examiner,
                         "tensor name at byte %" PRIu64
                         " is not 1 to %d bytes of valid UTF-8 without NUL"
                         " (its length is %zu)",
                         at, GGUF_MAX_NAME_BYTES, name.n);
        c->failed = true;
        return;
    }
    memcpy(tensor->name, name.data, name.n);
    tensor->n_dims = take_u32(c, "tensor dimension count");
    if (!c->failed && tensor->n_dims > GGUF_MAX_DIMS) {
        char shown[GGUF_SHOWN_BYTES];
        ds4_gguf_problem(
            c->examiner,
            "tensor '%s' (byte %" PRIu64 ") claims %" PRIu32 " dimensions; at most %d exist",
            ds4_gguf_show(name.data, name.n, shown), at, tensor->n_dims, GGUF_MAX_DIMS);
        c->failed = true;
    }
    for (uint32_t i = 0; i < GGUF_MAX_DIMS; i++) {
        tensor->ne[i] = !c->failed && i < tensor->n_dims ? take_u64(c, "tensor dimension") : 1;
    }
    tensor->type = take_u32(c, "tensor type");
    tensor->file_offset = take_u64(c, "tensor offset"); /* relative until check_payloads */
    if (!c->failed) size_tensor(c, tensor, at);
}

static ds4_status parse_tensors(ds4_gguf *gguf, cursor *c) {
    size_t n = (size_t)gguf->n_tensors;
    gguf->tensors = calloc(n + 1, sizeof *gguf->tensors);
    gguf->tensor_names = calloc(n + 1, sizeof *gguf->tensor_names);
    if (gguf->tensors == NULL || gguf->tensor_names == NULL) {
        return ds4_fail_memory(c->examiner->error, n * sizeof *gguf->tensors,
                               "the GGUF tensor directory");
    }
    for (size_t i = 0; i < n; i++) {
        ds4_gguf_tensor *tensor = &gguf->tensors[i];
        take_tensor(c, tensor);
        if (c->failed) {
            gguf->n_tensors = i;
            return DS4_FORMAT;
        }
        gguf->tensor_names[i] = (ds4_gguf_name){tensor->name, strlen(tensor->name), i};
    }
    index_names(c, gguf->tensor_names, n, "tensor name");
    return c->failed ? DS4_FORMAT : DS4_OK;
}

static ds4_status parse_header(ds4_gguf *gguf, cursor *c) {
    if (c->n_bytes < GGUF_HEADER_BYTES) {
        ds4_gguf_problem(c->examiner,
                         "the file has %" PRIu64 " bytes; a GGUF header alone needs %d", c->n_bytes,
                         GGUF_HEADER_BYTES);
        return DS4_FORMAT;
    }
    const uint8_t *magic = take(c, 4, "magic");
    if (memcmp(magic, "GGUF", 4) != 0) {
        ds4_gguf_problem(
            c->examiner,
            "not a GGUF file: it begins with the bytes %02x %02x %02x %02x instead of \"GGUF\"",
            magic[0], magic[1], magic[2], magic[3]);
        return DS4_FORMAT;
    }
    gguf->version = take_u32(c, "version");
    if ((gguf->version & 0xFFFF) == 0 && gguf->version != 0) {
        ds4_gguf_problem(c->examiner,
                         "the version at byte 4 is byte-swapped (0x%08" PRIx32
                         "): this is a big-endian GGUF file, which is not supported",
                         gguf->version);
        return DS4_FORMAT;
    }
    if (gguf->version != 2 && gguf->version != 3) {
        ds4_gguf_problem(c->examiner,
                         "GGUF version %" PRIu32
                         " at byte 4 is not supported; versions 2 and 3 are",
                         gguf->version);
        return DS4_FORMAT;
    }
    uint64_t n_tensors = take_u64(c, "tensor count");
    uint64_t n_values = take_u64(c, "metadata count");
    if (n_tensors > GGUF_MAX_TENSORS || n_tensors > remaining(c) / MIN_TENSOR_RECORD) {
        ds4_gguf_problem(c->examiner,
                         "the tensor count at byte 8 is %" PRIu64 ", more than the file can hold",
                         n_tensors);
        return DS4_FORMAT;
    }
    if (n_values > remaining(c) / MIN_VALUE_RECORD) {
        ds4_gguf_problem(
            c->examiner,
            "the metadata count at byte 16 is %" PRIu64 ", more than the file can hold", n_values);
        return DS4_FORMAT;
    }
    gguf->n_tensors = n_tensors;
    gguf->n_values = n_values;
    return DS4_OK;
}

ds4_status ds4_gguf_parse(ds4_gguf *gguf, ds4_gguf_examiner *examiner) {
    cursor c = {gguf->bytes, gguf->n_bytes, 0, examiner, false};
    ds4_status status = parse_header(gguf, &c);
    if (status == DS4_OK) status = parse_values(gguf, &c);
    if (status == DS4_OK) status = find_alignment(gguf, &c);
    if (status == DS4_OK) status = parse_tensors(gguf, &c);
    if (status != DS4_OK) return status;
    gguf->data_start = ds4_gguf_round_up(c.position, gguf->alignment);
    return DS4_OK;
}
