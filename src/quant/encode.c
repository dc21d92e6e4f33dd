/* Encoding float32 rows. A value that the target cannot hold is an error, never an infinity in the
 * file. */
#include <math.h>

#include "base/error.h"
#include "quant/quantize_blocks.h"

static ds4_status fail_range(size_t i, float value, const char *format, ds4_error *error) {
    return ds4_fail(error, DS4_FORMAT, "element %zu is %g, which %s cannot hold", i, (double)value,
                    format);
}

static ds4_status encode_f32(const float *source, uint8_t *target, size_t n, ds4_error *error) {
    for (size_t i = 0; i < n; i++)
        if (!isfinite(source[i])) return fail_range(i, source[i], "F32", error);
    if (n > 0) memcpy(target, source, n * sizeof *source);
    return DS4_OK;
}

static ds4_status encode_16(ds4_type type, const float *source, uint8_t *target, size_t n,
                            ds4_error *error) {
    bool is_f16 = type == DS4_TYPE_F16;
    uint16_t infinity = is_f16 ? 0x7C00u : 0x7F80u;
    for (size_t i = 0; i < n; i++) {
        uint16_t bits = is_f16 ? ds4_f32_to_f16(source[i]) : ds4_f32_to_bf16(source[i]);
        if ((bits & 0x7FFFu) >= infinity)
            return fail_range(i, source[i], is_f16 ? "F16" : "BF16", error);
        memcpy(target + 2 * i, &bits, sizeof bits);
    }
    return DS4_OK;
}

static ds4_status encode_q8_0(const float *source, uint8_t *target, size_t n, ds4_error *error) {
    for (size_t i = 0; i < n; i++)
        if (!isfinite(source[i])) return fail_range(i, source[i], "Q8_0", error);
    ds4_q8_0_quantize(source, target, n / 32);
    for (size_t b = 0; b < n / 32; b++)
        if ((ds4_load_u16(target + DS4_Q8_0_BYTES * b) & 0x7C00u) == 0x7C00u)
            return fail_range(32 * b, source[32 * b], "Q8_0", error);
    return DS4_OK;
}

ds4_status ds4_encode_row(ds4_type type, const float *source, void *target, size_t n,
                          ds4_error *error) {
    const ds4_type_info *info = ds4_type_get_info((uint32_t)type);
    if (info == NULL || n % info->block_elements != 0)
        return ds4_fail(error, DS4_INVALID_ARGUMENT, "%zu elements are no whole blocks of type %u",
                        n, (unsigned)type);
    switch (type) {
    case DS4_TYPE_F32:
        return encode_f32(source, target, n, error);
    case DS4_TYPE_F16:
    case DS4_TYPE_BF16:
        return encode_16(type, source, target, n, error);
    case DS4_TYPE_Q8_0:
        return encode_q8_0(source, target, n, error);
    case DS4_TYPE_Q2_K:
    case DS4_TYPE_Q4_K:
    case DS4_TYPE_IQ2_XXS:
    case DS4_TYPE_I32:
    case DS4_TYPE_MXFP4:
        break;
    }
    return ds4_fail(error, DS4_UNSUPPORTED, "encoding to %s is not supported", info->name);
}
