/* Typed access to metadata: whatever number type a writer chose, the wanted one comes out, or
 * nothing. */
#include <inttypes.h>
#include <string.h>

#include "base/error.h"
#include "gguf/gguf_internal.h"

static const double two_to_63 = 9223372036854775808.0;
static const double two_to_64 = 18446744073709551616.0;

/* A stored number, widened without loss. */
typedef struct number {
    enum { NUMBER_NONE, NUMBER_UNSIGNED, NUMBER_SIGNED, NUMBER_FLOAT } kind;
    uint64_t u;
    int64_t i;
    double f;
} number;

static number load_number(const ds4_gguf_value *value, uint64_t index) {
    number none = {NUMBER_NONE, 0, 0, 0};
    if (index >= value->count || value->type == DS4_GGUF_STRING) return none;
    const uint8_t *at = value->data + index * ds4_gguf_scalar_bytes(value->type);
    uint32_t u32;
    uint64_t u64;
    float f32;
    double f64;
    switch (value->type) {
    case DS4_GGUF_U8:
        return (number){NUMBER_UNSIGNED, at[0], 0, 0};
    case DS4_GGUF_I8:
        return (number){NUMBER_SIGNED, 0, at[0] < 128 ? at[0] : at[0] - 256, 0};
    case DS4_GGUF_U16:
        return (number){NUMBER_UNSIGNED, (uint64_t)(at[0] | at[1] << 8), 0, 0};
    case DS4_GGUF_I16:
        return (number){NUMBER_SIGNED, 0, (int16_t)(at[0] | at[1] << 8), 0};
    case DS4_GGUF_U32:
        return (number){NUMBER_UNSIGNED, ds4_gguf_load_u32(at), 0, 0};
    case DS4_GGUF_I32:
        return (number){NUMBER_SIGNED, 0, (int32_t)ds4_gguf_load_u32(at), 0};
    case DS4_GGUF_U64:
        return (number){NUMBER_UNSIGNED, ds4_gguf_load_u64(at), 0, 0};
    case DS4_GGUF_I64:
        return (number){NUMBER_SIGNED, 0, (int64_t)ds4_gguf_load_u64(at), 0};
    case DS4_GGUF_F32:
        u32 = ds4_gguf_load_u32(at);
        memcpy(&f32, &u32, sizeof f32);
        return (number){NUMBER_FLOAT, 0, 0, (double)f32};
    case DS4_GGUF_F64:
        u64 = ds4_gguf_load_u64(at);
        memcpy(&f64, &u64, sizeof f64);
        return (number){NUMBER_FLOAT, 0, 0, f64};
    case DS4_GGUF_BOOL:
    case DS4_GGUF_STRING:
    case DS4_GGUF_ARRAY:
        break;
    }
    return none;
}

bool ds4_gguf_value_u64(const ds4_gguf_value *value, uint64_t index, uint64_t *result) {
    number x = load_number(value, index);
    switch (x.kind) {
    case NUMBER_UNSIGNED:
        *result = x.u;
        return true;
    case NUMBER_SIGNED:
        *result = (uint64_t)x.i;
        return x.i >= 0;
    case NUMBER_FLOAT:
        if (!(x.f >= 0 && x.f < two_to_64)) return false;
        *result = (uint64_t)x.f;
        return (double)*result == x.f;
    case NUMBER_NONE:
        break;
    }
    return false;
}

bool ds4_gguf_value_i64(const ds4_gguf_value *value, uint64_t index, int64_t *result) {
    number x = load_number(value, index);
    switch (x.kind) {
    case NUMBER_UNSIGNED:
        *result = (int64_t)x.u;
        return x.u <= INT64_MAX;
    case NUMBER_SIGNED:
        *result = x.i;
        return true;
    case NUMBER_FLOAT:
        if (!(x.f >= -two_to_63 && x.f < two_to_63)) return false;
        *result = (int64_t)x.f;
        return (double)*result == x.f;
    case NUMBER_NONE:
        break;
    }
    return false;
}

bool ds4_gguf_value_f64(const ds4_gguf_value *value, uint64_t index, double *result) {
    number x = load_number(value, index);
    switch (x.kind) {
    case NUMBER_UNSIGNED:
        *result = (double)x.u;
        return *result < two_to_64 && (uint64_t)*result == x.u;
    case NUMBER_SIGNED:
        *result = (double)x.i;
        return *result < two_to_63 && (int64_t)*result == x.i;
    case NUMBER_FLOAT:
        *result = x.f;
        return true;
    case NUMBER_NONE:
        break;
    }
    return false;
}

bool ds4_gguf_value_bool(const ds4_gguf_value *value, uint64_t index, bool *result) {
    uint64_t u;
    if (value->type == DS4_GGUF_BOOL) {
        if (index >= value->count) return false;
        *result = value->data[index] != 0;
        return true;
    }
    if (value->type == DS4_GGUF_F32 || value->type == DS4_GGUF_F64) return false;
    if (!ds4_gguf_value_u64(value, index, &u) || u > 1) return false;
    *result = u == 1;
    return true;
}

ds4_gguf_string_cursor ds4_gguf_strings(const ds4_gguf_value *value) {
    return (ds4_gguf_string_cursor){value->data, value->type == DS4_GGUF_STRING ? value->count : 0};
}

bool ds4_gguf_next_string(ds4_gguf_string_cursor *cursor, ds4_gguf_string *string) {
    if (cursor->n_left == 0) return false;
    string->n =
        (size_t)ds4_gguf_load_u64(cursor->next); /* lengths were checked when the file was opened */
    string->data = (const char *)cursor->next + 8;
    cursor->next += 8 + string->n;
    cursor->n_left--;
    return true;
}

const char *ds4_gguf_value_type_name(ds4_gguf_value_type type) {
    static const char *const names[] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                        "bool", "string", "array", "u64", "i64", "f64"};
    return (size_t)type < sizeof names / sizeof names[0] ? names[type] : "unknown";
}

static ds4_status find_scalar(const ds4_gguf *gguf, const char *key, const ds4_gguf_value **value,
                              ds4_error *error) {
    *value = ds4_gguf_find_value(gguf, key);
    if (*value == NULL) return ds4_fail(error, DS4_FORMAT, "metadata key '%s' is missing", key);
    if ((*value)->is_array) {
        return ds4_fail(error, DS4_FORMAT, "metadata '%s' is an array where one value is expected",
                        key);
    }
    return DS4_OK;
}

static ds4_status fail_conversion(const ds4_gguf_value *value, const char *key, const char *wanted,
                                  ds4_error *error) {
    return ds4_fail(error, DS4_FORMAT, "metadata '%s' (a %s) is not %s", key,
                    ds4_gguf_value_type_name(value->type), wanted);
}

ds4_status ds4_gguf_get_u64(const ds4_gguf *gguf, const char *key, uint64_t *result,
                            ds4_error *error) {
    const ds4_gguf_value *value;
    ds4_status status = find_scalar(gguf, key, &value, error);
    if (status != DS4_OK) return status;
    if (ds4_gguf_value_u64(value, 0, result)) return DS4_OK;
    return fail_conversion(value, key, "a whole number from 0 to 2^64 - 1", error);
}

ds4_status ds4_gguf_get_u32(const ds4_gguf *gguf, const char *key, uint32_t *result,
                            ds4_error *error) {
    const ds4_gguf_value *value;
    uint64_t wide;
    ds4_status status = find_scalar(gguf, key, &value, error);
    if (status != DS4_OK) return status;
    if (!ds4_gguf_value_u64(value, 0, &wide) || wide > UINT32_MAX) {
        return fail_conversion(value, key, "a whole number from 0 to 2^32 - 1", error);
    }
    *result = (uint32_t)wide;
    return DS4_OK;
}

ds4_status ds4_gguf_get_f64(const ds4_gguf *gguf, const char *key, double *result,
                            ds4_error *error) {
    const ds4_gguf_value *value;
    ds4_status status = find_scalar(gguf, key, &value, error);
    if (status != DS4_OK) return status;
    if (ds4_gguf_value_f64(value, 0, result)) return DS4_OK;
    return fail_conversion(value, key, "a number that a double can hold", error);
}

ds4_status ds4_gguf_get_bool(const ds4_gguf *gguf, const char *key, bool *result,
                             ds4_error *error) {
    const ds4_gguf_value *value;
    ds4_status status = find_scalar(gguf, key, &value, error);
    if (status != DS4_OK) return status;
    if (ds4_gguf_value_bool(value, 0, result)) return DS4_OK;
    return fail_conversion(value, key, "a bool, 0 or 1", error);
}

ds4_status ds4_gguf_get_string(const ds4_gguf *gguf, const char *key, ds4_gguf_string *result,
                               ds4_error *error) {
    const ds4_gguf_value *value;
    ds4_status status = find_scalar(gguf, key, &value, error);
    if (status != DS4_OK) return status;
    ds4_gguf_string_cursor cursor = ds4_gguf_strings(value);
    if (ds4_gguf_next_string(&cursor, result)) return DS4_OK;
    return fail_conversion(value, key, "a string", error);
}

static ds4_status get_array(const ds4_gguf *gguf, const char *key, bool of_strings,
                            const ds4_gguf_value **value, ds4_error *error) {
    *value = ds4_gguf_find_value(gguf, key);
    if (*value == NULL) return ds4_fail(error, DS4_FORMAT, "metadata key '%s' is missing", key);
    bool fits = of_strings ? (*value)->type == DS4_GGUF_STRING
                           : (*value)->type != DS4_GGUF_STRING && (*value)->type != DS4_GGUF_BOOL;
    if ((*value)->is_array && fits) return DS4_OK;
    return ds4_fail(error, DS4_FORMAT, "metadata '%s' is %s%s where an array of %s is expected",
                    key, (*value)->is_array ? "an array of " : "a ",
                    ds4_gguf_value_type_name((*value)->type), of_strings ? "strings" : "numbers");
}

ds4_status ds4_gguf_get_number_array(const ds4_gguf *gguf, const char *key,
                                     const ds4_gguf_value **value, ds4_error *error) {
    return get_array(gguf, key, false, value, error);
}

ds4_status ds4_gguf_get_string_array(const ds4_gguf *gguf, const char *key,
                                     const ds4_gguf_value **value, ds4_error *error) {
    return get_array(gguf, key, true, value, error);
}
