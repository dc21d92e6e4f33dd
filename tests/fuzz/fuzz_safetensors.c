/* Any bytes as a safetensors file: refused with a message, or every payload byte that it promises
 * can be read and every tensor is found under its name. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gguf-tool/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The reader wants a directory; in memory where the system has such a file system. */
static const char *directory(void) {
    static char path[64];
    if (path[0] != '\0') return path;
    strcpy(path,
           access("/dev/shm", W_OK) == 0 ? "/dev/shm/ds4-fuzz-XXXXXX" : "/tmp/ds4-fuzz-XXXXXX");
    if (mkdtemp(path) == NULL) abort();
    return path;
}

static const char *file_name(void) {
    static char path[96];
    snprintf(path, sizeof path, "%s/model.safetensors", directory());
    return path;
}

static void clean_up(void) {
    unlink(file_name());
    rmdir(directory());
}

static void check_tensor(ds4_safetensors *all, ds4_safetensor *tensor) {
    uint8_t bytes[256];
    if (ds4_safetensors_find(all, tensor->name) != tensor) abort();
    if (tensor->offset > tensor->file->n_bytes ||
        tensor->n_bytes > tensor->file->n_bytes - tensor->offset)
        abort();
    for (uint64_t at = 0; at < tensor->n_bytes; at += sizeof bytes) {
        uint64_t left = tensor->n_bytes - at;
        if (ds4_source_file_read(tensor->file, tensor->offset + at, bytes,
                                 left < sizeof bytes ? (size_t)left : sizeof bytes, NULL) != DS4_OK)
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static bool is_registered;
    ds4_safetensors *all = NULL;
    ds4_error error = {0};
    if (!is_registered) {
        atexit(clean_up);
        is_registered = true;
    }
    FILE *file = fopen(file_name(), "wb");
    if (file == NULL || fwrite(data, 1, size, file) != size || fclose(file) != 0) abort();
    if (ds4_safetensors_open(directory(), &all, &error) != DS4_OK) {
        if (all != NULL || error.message[0] == '\0') abort();
        return 0;
    }
    for (size_t i = 0; i < ds4_safetensors_count(all); i++)
        check_tensor(all, ds4_safetensors_at(all, i));
    ds4_safetensors_close(all);
    return 0;
}
