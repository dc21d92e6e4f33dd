/* A directory that a group of tests fills and that goes away with it. */
#ifndef DS4_TESTS_TEMPORARY_H
#define DS4_TESTS_TEMPORARY_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char temporary[64];

static inline int make_temporary(void **state) {
    (void)state;
    strcpy(temporary, "/tmp/ds4-gguf-tool-XXXXXX");
    return mkdtemp(temporary) == NULL;
}

static inline const char *in_temporary(const char *name) {
    static char paths[8][384]; /* the last few stay valid */
    static unsigned next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", temporary, name);
    return path;
}

static inline int remove_temporary(void **state) {
    (void)state;
    DIR *directory = opendir(temporary);
    if (directory == NULL) return 1;
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        if (entry->d_name[0] != '.') unlink(in_temporary(entry->d_name));
    }
    closedir(directory);
    return rmdir(temporary);
}

static inline void write_bytes(const char *path, const void *bytes, size_t n) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    assert_int_equal(fclose(file), 0);
}

static inline void write_text(const char *path, const char *text) {
    write_bytes(path, text, strlen(text));
}

static inline uint8_t *read_bytes(const char *path, size_t *n) {
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    *n = (size_t)ftell(file);
    rewind(file);
    uint8_t *bytes = malloc(*n + 1);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, *n, file), *n);
    fclose(file);
    return bytes;
}

#endif
