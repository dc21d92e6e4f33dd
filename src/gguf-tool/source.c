#include "gguf-tool/source.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"

enum { CHUNK_BYTES = 256 << 10, TILE = 128, FP4_BLOCK = 32, NAN_SCALE = 255, MXFP4_BYTES = 17 };

/* ---- files ---- */

ds4_status ds4_source_file_open(const char *path, const char *name, ds4_source_file *file,
                                ds4_error *error) {
    struct stat info;
    size_t n = strlen(name) + 1;
    *file = (ds4_source_file){.fd = open(path, O_RDONLY | O_CLOEXEC)};
    if (file->fd < 0) return ds4_fail(error, DS4_IO, "cannot open '%s': %s", path, strerror(errno));
    ds4_status status = DS4_OK;
    if (fstat(file->fd, &info) != 0 || !S_ISREG(info.st_mode) || info.st_size == 0)
        status = ds4_fail(error, DS4_IO, "'%s' is not a regular file with content", path);
    if (status == DS4_OK) file->name = malloc(n);
    if (status == DS4_OK && file->name == NULL) status = ds4_fail_memory(error, n, "a file's name");
    if (status != DS4_OK || file->name == NULL) {
        ds4_source_file_close(file);
        return status;
    }
    memcpy(file->name, name, n);
    file->n_bytes = (uint64_t)info.st_size;
    file->modified = (int64_t)info.st_mtime;
    return DS4_OK;
}

void ds4_source_file_close(ds4_source_file *file) {
    if (file->fd >= 0) close(file->fd);
    free(file->name);
    *file = (ds4_source_file){.fd = -1};
}

ds4_status ds4_source_file_read(const ds4_source_file *file, uint64_t offset, void *bytes, size_t n,
                                ds4_error *error) {
    uint8_t *next = bytes;
    while (n > 0) {
        ssize_t got = pread(file->fd, next, n, (off_t)offset);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0)
            return ds4_fail(error, DS4_IO, "cannot read %s at byte %" PRIu64 ": %s", file->name,
                            offset, got < 0 ? strerror(errno) : "it has become shorter meanwhile");
        next += got;
        n -= (size_t)got;
        offset += (uint64_t)got;
    }
    return DS4_OK;
}

/* ---- buffers ---- */

/* E4M3 without infinities; 0x7F and 0xFF are NaN. */
static float fp8_value(unsigned byte) {
    unsigned exponent = byte >> 3 & 15, mantissa = byte & 7;
    float magnitude = exponent == 0 ? ldexpf((float)mantissa, -9)
                                    : ldexpf((float)(8 + mantissa), (int)exponent - 10);
    if ((byte & 0x7F) == 0x7F) magnitude = 0;
    return byte & 0x80 ? -magnitude : magnitude;
}

static float fp4_value(unsigned nibble) {
    static const float magnitudes[8] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
    float magnitude = magnitudes[nibble & 7];
    return nibble & 8 && magnitude > 0 ? -magnitude : magnitude;
}

static float scale_value(uint8_t e) {
    return ldexpf(1, (int)e - 127);
}

ds4_status ds4_source_buffer_create(uint64_t n_columns, ds4_source_buffer *buffer,
                                    ds4_error *error) {
    size_t widest = 8 * (size_t)n_columns; /* I64 */
    *buffer = (ds4_source_buffer){.n_bytes = widest > CHUNK_BYTES ? widest : CHUNK_BYTES};
    buffer->n_scales = buffer->n_bytes / 16 + 16;
    buffer->bytes = malloc(buffer->n_bytes);
    buffer->scales = malloc(buffer->n_scales);
    buffer->pairs = malloc(512 * sizeof *buffer->pairs);
    buffer->codes = malloc(256 * sizeof *buffer->codes);
    if (buffer->bytes == NULL || buffer->scales == NULL || buffer->pairs == NULL ||
        buffer->codes == NULL) {
        ds4_source_buffer_free(buffer);
        return ds4_fail_memory(error, 2 * widest, "reading buffers");
    }
    for (unsigned byte = 0; byte < 256; byte++) {
        buffer->codes[byte] = fp8_value(byte);
        buffer->pairs[2 * byte] = fp4_value(byte & 15);
        buffer->pairs[2 * byte + 1] = fp4_value(byte >> 4);
    }
    return DS4_OK;
}

void ds4_source_buffer_free(ds4_source_buffer *buffer) {
    free(buffer->bytes);
    free(buffer->scales);
    free(buffer->pairs);
    free(buffer->codes);
    *buffer = (ds4_source_buffer){0};
}

/* ---- reading ---- */

static size_t row_bytes(const ds4_matrix_source *s) {
    size_t n = (size_t)s->n_columns;
    switch (s->form) {
    case DS4_SOURCE_BLOCKS:
        return ds4_type_row_bytes(s->type, n);
    case DS4_SOURCE_FP8:
        return n;
    case DS4_SOURCE_FP4:
        return n / 2;
    case DS4_SOURCE_I64:
        return 8 * n;
    }
    return 0;
}

/* Scales that belong to one row; rows of one tile share theirs. */
static size_t scales_per_row(const ds4_matrix_source *s) {
    size_t n = (size_t)s->n_columns;
    return s->form == DS4_SOURCE_FP8   ? (n + TILE - 1) / TILE
           : s->form == DS4_SOURCE_FP4 ? n / FP4_BLOCK
                                       : 0;
}

uint64_t ds4_source_rows_at_once(const ds4_matrix_source *source, const ds4_source_buffer *buffer,
                                 uint64_t row) {
    uint64_t most = CHUNK_BYTES / row_bytes(source), left = source->n_rows - row;
    (void)buffer;
    if (source->form == DS4_SOURCE_FP8 && most > TILE - row % TILE) most = TILE - row % TILE;
    most = most > left ? left : most;
    return most > 0 ? most : 1;
}

ds4_status ds4_source_read(const ds4_matrix_source *source, uint64_t row, uint64_t n_rows,
                           ds4_source_buffer *buffer, ds4_error *error) {
    size_t bytes = row_bytes(source), scales = scales_per_row(source);
    ds4_status status = ds4_source_file_read(source->file, source->offset + row * bytes,
                                             buffer->bytes, (size_t)n_rows * bytes, error);
    if (status != DS4_OK || scales == 0) return status;
    uint64_t first = source->form == DS4_SOURCE_FP8 ? row / TILE : row;
    size_t n = source->form == DS4_SOURCE_FP8 ? scales : scales * (size_t)n_rows;
    return ds4_source_file_read(source->scale_file, source->scale_offset + first * scales,
                                buffer->scales, n, error);
}

/* ---- widening ---- */

static ds4_status fail_scale(const ds4_matrix_source *s, ds4_error *error) {
    return ds4_fail(error, DS4_FORMAT, "tensor '%s': a block's scale is NaN (E8M0 code 255)",
                    s->name);
}

static ds4_status widen_fp8(const ds4_matrix_source *s, const ds4_source_buffer *buffer, uint64_t i,
                            float *row, ds4_error *error) {
    const uint8_t *codes = buffer->bytes + i * s->n_columns;
    bool has_nan = false;
    for (uint64_t begin = 0; begin < s->n_columns; begin += TILE) {
        uint8_t e = buffer->scales[begin / TILE];
        uint64_t end = begin + TILE < s->n_columns ? begin + TILE : s->n_columns;
        float scale = scale_value(e);
        if (e == NAN_SCALE) return fail_scale(s, error);
        for (uint64_t k = begin; k < end; k++) {
            row[k] = buffer->codes[codes[k]] * scale;
            has_nan |= (codes[k] & 0x7F) == 0x7F;
        }
    }
    if (!has_nan || s->allow_nan) return DS4_OK;
    return ds4_fail(error, DS4_FORMAT,
                    "tensor '%s' holds NaN codes of FP8; --allow-nan makes them zeros", s->name);
}

static ds4_status widen_fp4(const ds4_matrix_source *s, const ds4_source_buffer *buffer, uint64_t i,
                            float *row, ds4_error *error) {
    const uint8_t *codes = buffer->bytes + i * s->n_columns / 2;
    const uint8_t *scales = buffer->scales + i * s->n_columns / FP4_BLOCK;
    for (uint64_t b = 0; b < s->n_columns / FP4_BLOCK; b++, codes += FP4_BLOCK / 2) {
        float scale = scale_value(scales[b]);
        if (scales[b] == NAN_SCALE) return fail_scale(s, error);
        for (unsigned k = 0; k < FP4_BLOCK / 2; k++) {
            row[FP4_BLOCK * b + 2 * k] = buffer->pairs[2 * codes[k]] * scale;
            row[FP4_BLOCK * b + 2 * k + 1] = buffer->pairs[2 * codes[k] + 1] * scale;
        }
    }
    return DS4_OK;
}

ds4_status ds4_source_widen(const ds4_matrix_source *source, const ds4_source_buffer *buffer,
                            uint64_t i, float *row, ds4_error *error) {
    switch (source->form) {
    case DS4_SOURCE_BLOCKS:
        ds4_kernels_best()->decode(source->type, buffer->bytes + i * row_bytes(source), row,
                                   (size_t)source->n_columns);
        return DS4_OK;
    case DS4_SOURCE_FP8:
        return widen_fp8(source, buffer, i, row, error);
    case DS4_SOURCE_FP4:
        return widen_fp4(source, buffer, i, row, error);
    case DS4_SOURCE_I64:
        break;
    }
    return ds4_fail(error, DS4_UNSUPPORTED, "tensor '%s' holds no weights", source->name);
}

ds4_status ds4_source_ids(const ds4_matrix_source *source, const ds4_source_buffer *buffer,
                          uint64_t i, uint32_t n_ids, uint8_t *target, ds4_error *error) {
    size_t width = source->form == DS4_SOURCE_I64 ? 8 : 4, n = (size_t)source->n_columns;
    const uint8_t *bytes = buffer->bytes + i * n * width;
    for (size_t k = 0; k < n; k++) {
        uint64_t id = 0;
        for (size_t j = 0; j < width; j++) id |= (uint64_t)bytes[width * k + j] << 8 * j;
        if (id >= n_ids)
            return ds4_fail(error, DS4_FORMAT,
                            "tensor '%s' names the expert %" PRIu64 "; there are 0 to %" PRIu32,
                            source->name, id, n_ids - 1);
        for (size_t j = 0; j < 4; j++) target[4 * k + j] = (uint8_t)(id >> 8 * j);
    }
    return DS4_OK;
}

bool ds4_source_can_copy(const ds4_matrix_source *source, ds4_type type) {
    if (source->form == DS4_SOURCE_FP4) return type == DS4_TYPE_MXFP4;
    bool is_float = type == DS4_TYPE_F32 || type == DS4_TYPE_F16 || type == DS4_TYPE_BF16;
    return source->form == DS4_SOURCE_BLOCKS && source->type == type && !is_float;
}

/* Neighbours share a byte in the checkpoint; elements 16 apart do in MXFP4. */
static void repack(const uint8_t *codes, uint8_t e, uint8_t *block) {
    uint8_t v[FP4_BLOCK];
    for (unsigned j = 0; j < FP4_BLOCK / 2; j++) {
        v[2 * j] = codes[j] & 15;
        v[2 * j + 1] = codes[j] >> 4;
    }
    block[0] = e;
    for (unsigned j = 0; j < FP4_BLOCK / 2; j++)
        block[1 + j] = (uint8_t)(v[j] | v[j + FP4_BLOCK / 2] << 4);
}

ds4_status ds4_source_copy(const ds4_matrix_source *source, const ds4_source_buffer *buffer,
                           uint64_t i, uint8_t *target, ds4_error *error) {
    size_t bytes = row_bytes(source);
    if (source->form == DS4_SOURCE_BLOCKS) {
        memcpy(target, buffer->bytes + i * bytes, bytes);
        return DS4_OK;
    }
    for (uint64_t b = 0; b < source->n_columns / FP4_BLOCK; b++) {
        uint8_t e = buffer->scales[i * source->n_columns / FP4_BLOCK + b];
        if (e == NAN_SCALE) return fail_scale(source, error);
        repack(buffer->bytes + i * bytes + b * FP4_BLOCK / 2, e, target + MXFP4_BYTES * b);
    }
    return DS4_OK;
}
