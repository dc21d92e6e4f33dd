#include "gguf/gguf_reader.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "gguf/gguf_internal.h"

static struct timespec modified_time(const struct stat *info) {
#ifdef __APPLE__
    return info->st_mtimespec;
#else
    return info->st_mtim;
#endif
}

/* Parses and checks gguf->bytes. */
static ds4_status examine(ds4_gguf *gguf, const ds4_gguf_options *options, ds4_error *error) {
    ds4_gguf_examiner examiner = {options, error, DS4_OK};
    ds4_status status = ds4_gguf_parse(gguf, &examiner);
    if (status == DS4_OK) status = ds4_gguf_check_payloads(gguf, &examiner);
    return status == DS4_OK ? examiner.first : status;
}

ds4_status ds4_gguf_open_memory(const void *bytes, size_t n_bytes, const ds4_gguf_options *options,
                                ds4_gguf **gguf, ds4_error *error) {
    *gguf = NULL;
    ds4_gguf *opened = calloc(1, sizeof *opened);
    if (opened == NULL) return ds4_fail_memory(error, sizeof *opened, "a GGUF file");
    opened->bytes = bytes;
    opened->n_bytes = n_bytes;
    opened->fd = -1;
    ds4_status status = examine(opened, options, error);
    if (status != DS4_OK) {
        ds4_gguf_close(opened);
        return status;
    }
    *gguf = opened;
    return DS4_OK;
}

/* Puts the file's bytes, size and time into `gguf`. */
static ds4_status map_file(ds4_gguf *gguf, const char *path, ds4_error *error) {
    struct stat info;
    gguf->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (gguf->fd < 0) return ds4_fail(error, DS4_IO, "cannot open '%s': %s", path, strerror(errno));
    if (fstat(gguf->fd, &info) != 0) {
        return ds4_fail(error, DS4_IO, "cannot examine '%s': %s", path, strerror(errno));
    }
    if (!S_ISREG(info.st_mode)) return ds4_fail(error, DS4_IO, "'%s' is not a regular file", path);
    if (info.st_size < GGUF_HEADER_BYTES) {
        return ds4_fail(error, DS4_FORMAT,
                        "'%s' has %" PRIu64 " bytes; a GGUF header alone needs %d", path,
                        (uint64_t)info.st_size, GGUF_HEADER_BYTES);
    }
    if ((uint64_t)info.st_size > SIZE_MAX) {
        return ds4_fail(error, DS4_IO, "'%s' is too large to be mapped on this machine", path);
    }
    gguf->n_bytes = (uint64_t)info.st_size;
    gguf->modified = modified_time(&info);
    void *bytes = mmap(NULL, (size_t)gguf->n_bytes, PROT_READ, MAP_SHARED, gguf->fd, 0);
    if (bytes == MAP_FAILED) {
        return ds4_fail(error, DS4_IO, "cannot map '%s' (%" PRIu64 " bytes): %s", path,
                        gguf->n_bytes, strerror(errno));
    }
    gguf->bytes = bytes;
    gguf->is_mapped = true;
    /* Cut short between fstat and mmap? Then touching the missing pages would kill the process. */
    return ds4_gguf_verify_unchanged(gguf, error);
}

ds4_status ds4_gguf_open(const char *path, const ds4_gguf_options *options, ds4_gguf **gguf,
                         ds4_error *error) {
    *gguf = NULL;
    ds4_gguf *opened = calloc(1, sizeof *opened);
    if (opened == NULL) return ds4_fail_memory(error, sizeof *opened, "a GGUF file");
    opened->fd = -1;
    ds4_status status = map_file(opened, path, error);
    if (status == DS4_OK) status = examine(opened, options, error);
    if (status != DS4_OK) {
        ds4_gguf_close(opened);
        return status;
    }
    *gguf = opened;
    return DS4_OK;
}

void ds4_gguf_close(ds4_gguf *gguf) {
    if (gguf == NULL) return;
    if (gguf->is_mapped) munmap((void *)(uintptr_t)gguf->bytes, (size_t)gguf->n_bytes);
    if (gguf->fd >= 0) close(gguf->fd);
    free(gguf->values);
    free(gguf->value_names);
    free(gguf->tensors);
    free(gguf->tensor_names);
    free(gguf);
}

ds4_status ds4_gguf_verify_unchanged(const ds4_gguf *gguf, ds4_error *error) {
    struct stat info;
    if (gguf->fd < 0) return DS4_OK;
    if (fstat(gguf->fd, &info) != 0) {
        return ds4_fail(error, DS4_IO, "cannot examine the model file: %s", strerror(errno));
    }
    struct timespec now = modified_time(&info);
    if ((uint64_t)info.st_size != gguf->n_bytes) {
        return ds4_fail(error, DS4_IO,
                        "the model file changed on disk: it had %" PRIu64
                        " bytes when it was opened and has %" PRIu64 " now",
                        gguf->n_bytes, (uint64_t)info.st_size);
    }
    if (now.tv_sec != gguf->modified.tv_sec || now.tv_nsec != gguf->modified.tv_nsec) {
        return ds4_fail(error, DS4_IO, "the model file changed on disk since it was opened");
    }
    return DS4_OK;
}

uint32_t ds4_gguf_version(const ds4_gguf *gguf) {
    return gguf->version;
}
uint32_t ds4_gguf_alignment(const ds4_gguf *gguf) {
    return gguf->alignment;
}
uint64_t ds4_gguf_file_bytes(const ds4_gguf *gguf) {
    return gguf->n_bytes;
}
uint64_t ds4_gguf_data_start(const ds4_gguf *gguf) {
    return gguf->data_start;
}
uint64_t ds4_gguf_n_values(const ds4_gguf *gguf) {
    return gguf->n_values;
}
uint64_t ds4_gguf_n_tensors(const ds4_gguf *gguf) {
    return gguf->n_tensors;
}

const ds4_gguf_value *ds4_gguf_value_at(const ds4_gguf *gguf, uint64_t index) {
    return &gguf->values[index];
}

const ds4_gguf_tensor *ds4_gguf_tensor_at(const ds4_gguf *gguf, uint64_t index) {
    return &gguf->tensors[index];
}

const ds4_gguf_value *ds4_gguf_find_value(const ds4_gguf *gguf, const char *key) {
    uint64_t index = ds4_gguf_find_name(gguf->value_names, gguf->n_values, key);
    return index != UINT64_MAX ? &gguf->values[index] : NULL;
}

const ds4_gguf_tensor *ds4_gguf_find_tensor(const ds4_gguf *gguf, const char *name) {
    uint64_t index = ds4_gguf_find_name(gguf->tensor_names, gguf->n_tensors, name);
    return index != UINT64_MAX ? &gguf->tensors[index] : NULL;
}
