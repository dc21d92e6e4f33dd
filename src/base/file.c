#include "base/file.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"

ds4_status ds4_file_read(const char *path, size_t max_bytes, ds4_strbuf *bytes, ds4_error *error) {
    bool standard_input = strcmp(path, "-") == 0;
    const char *name = standard_input ? "standard input" : path;
    ds4_status status = DS4_OK;
    size_t start = bytes->n;
    FILE *file = standard_input ? stdin : fopen(path, "rb");
    if (file == NULL) return ds4_fail(error, DS4_IO, "cannot open %s: %s", name, strerror(errno));
    for (;;) {
        char block[16384];
        errno = 0;
        size_t n = fread(block, 1, sizeof block, file);
        ds4_strbuf_append(bytes, block, n);
        if (bytes->n - start > max_bytes) {
            status = ds4_fail(error, DS4_INVALID_ARGUMENT, "%s is longer than %zu bytes", name,
                              max_bytes);
            break;
        }
        if (n == sizeof block) continue;
        if (ferror(file))
            status = ds4_fail(error, DS4_IO, "cannot read %s: %s", name, strerror(errno));
        break;
    }
    if (status == DS4_OK && bytes->failed) status = ds4_fail_memory(error, bytes->n, name);
    if (!standard_input) fclose(file);
    return status;
}

static ds4_status missing_model(const char *path, ds4_error *error) {
    struct stat info;
    char other[4096], target[256];
    ssize_t n = readlink(path, target, sizeof target - 1);
    if (n > 0) {
        target[n] = '\0';
        return ds4_fail(error, DS4_IO,
                        "no model at %s: the link points to %s, which does not exist", path,
                        target);
    }
    snprintf(other, sizeof other, "%s.part", path);
    if (stat(other, &info) == 0)
        return ds4_fail(error, DS4_IO,
                        "no model at %s, but an unfinished download of %.1f GB in %s.part; resume "
                        "the download",
                        path, (double)info.st_size / 1e9, path);
    return ds4_fail(error, DS4_IO,
                    "no model at %.200s: pass -m FILE or set DS4_MODEL to a DeepSeek V4 Flash GGUF "
                    "(about 87 GB), or run `make demo` for a tiny one that only talks gibberish",
                    path);
}

ds4_status ds4_file_check_model(const char *path, ds4_error *error) {
    struct stat info;
    if (stat(path, &info) != 0) {
        if (errno == ENOENT || errno == ENOTDIR) return missing_model(path, error);
        return ds4_fail(error, DS4_IO, "cannot open model %s: %s", path, strerror(errno));
    }
    if (S_ISDIR(info.st_mode))
        return ds4_fail(error, DS4_IO, "%s is a directory, not a GGUF file", path);
    if (!S_ISREG(info.st_mode)) return ds4_fail(error, DS4_IO, "%s is not a regular file", path);
    if (access(path, R_OK) != 0)
        return ds4_fail(error, DS4_IO, "cannot read model %s: %s", path, strerror(errno));
    return DS4_OK;
}
