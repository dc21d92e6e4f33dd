#include "gguf/gguf_writer.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/error.h"
#include "base/strbuf.h"
#include "gguf/gguf_internal.h"

/* One declared tensor. */
typedef struct entry {
    char name[GGUF_MAX_NAME_BYTES + 1];
    uint32_t type, n_dims;
    uint64_t ne[GGUF_MAX_DIMS];
    uint64_t n_bytes;
    uint64_t offset; /* relative to data_start */
    _Atomic uint64_t written;
} entry;

struct ds4_gguf_writer {
    char *path, *temporary;
    uint32_t alignment;
    enum { DECLARING, WRITING, FINISHED } state;
    ds4_status mistake; /* the first one made while declaring */
    ds4_error why;

    ds4_strbuf values; /* metadata records as they will be in the file */
    uint64_t n_values;
    ds4_strbuf keys;          /* all keys, back to back */
    ds4_gguf_name *key_names; /* data is NULL until begin: `keys` may still move; index is the place
                                 in `keys` */
    size_t key_capacity;

    entry *entries;
    uint64_t n_entries, entry_capacity;
    uint64_t end; /* of the last declared payload, padded, relative to data_start */

    int fd;
    bool keep;
    uint64_t data_start;
    uint64_t current, position; /* where ds4_gguf_writer_write continues */
};

ds4_status ds4_gguf_writer_create(const char *path, uint32_t alignment, ds4_gguf_writer **writer,
                                  ds4_error *error) {
    *writer = NULL;
    if (alignment < GGUF_MIN_ALIGNMENT || alignment > GGUF_MAX_ALIGNMENT ||
        (alignment & (alignment - 1)) != 0) {
        return ds4_fail(error, DS4_INVALID_ARGUMENT,
                        "alignment %" PRIu32 " is not a power of two from %d to %d", alignment,
                        GGUF_MIN_ALIGNMENT, GGUF_MAX_ALIGNMENT);
    }
    ds4_gguf_writer *w = calloc(1, sizeof *w);
    if (w == NULL) return ds4_fail_memory(error, sizeof *w, "a GGUF writer");
    size_t n = strlen(path);
    w->fd = -1;
    w->alignment = alignment;
    w->path = malloc(n + 1);
    w->temporary = malloc(n + 5);
    if (w->path == NULL || w->temporary == NULL) {
        ds4_gguf_writer_destroy(w);
        return ds4_fail_memory(error, 2 * n, "a path");
    }
    memcpy(w->path, path, n + 1);
    memcpy(w->temporary, path, n);
    memcpy(w->temporary + n, ".tmp", 5);
    *writer = w;
    return DS4_OK;
}

void ds4_gguf_writer_destroy(ds4_gguf_writer *writer) {
    if (writer == NULL) return;
    if (writer->fd >= 0) close(writer->fd);
    if (writer->state == WRITING && !writer->keep) unlink(writer->temporary);
    ds4_strbuf_free(&writer->values);
    ds4_strbuf_free(&writer->keys);
    free(writer->key_names);
    free(writer->entries);
    free(writer->path);
    free(writer->temporary);
    free(writer);
}

/* ---- declarations ---- */

static void put_u32(ds4_strbuf *buffer, uint32_t value) {
    for (int i = 0; i < 4; i++) ds4_strbuf_putc(buffer, (char)(uint8_t)(value >> 8 * i));
}

static void put_u64(ds4_strbuf *buffer, uint64_t value) {
    put_u32(buffer, (uint32_t)value);
    put_u32(buffer, (uint32_t)(value >> 32));
}

static void put_text(ds4_strbuf *buffer, const char *text, size_t n) {
    put_u64(buffer, n);
    ds4_strbuf_append(buffer, text, n);
}

static uint32_t float_bits(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static bool is_declaring(ds4_gguf_writer *w) {
    if (w->mistake == DS4_OK && w->state != DECLARING) {
        w->mistake = ds4_fail(&w->why, DS4_INVALID_ARGUMENT,
                              "a GGUF declaration came after the payloads began");
    }
    return w->mistake == DS4_OK;
}

/* The record's key and type; false when it must not be written. */
static bool put_key(ds4_gguf_writer *w, const char *key, size_t n, uint32_t type) {
    if (!is_declaring(w)) return false;
    char shown[GGUF_SHOWN_BYTES];
    if (n == 0 || n > GGUF_MAX_KEY_BYTES || !ds4_gguf_is_utf8_name(key, n)) {
        w->mistake = ds4_fail(&w->why, DS4_INVALID_ARGUMENT,
                              "metadata key '%s' is not 1 to %d bytes of UTF-8",
                              ds4_gguf_show(key, n, shown), GGUF_MAX_KEY_BYTES);
        return false;
    }
    if (w->n_values == w->key_capacity) {
        size_t capacity = w->key_capacity == 0 ? 64 : 2 * w->key_capacity;
        ds4_gguf_name *grown = realloc(w->key_names, capacity * sizeof *grown);
        if (grown == NULL) {
            w->mistake = ds4_fail_memory(&w->why, capacity * sizeof *grown, "GGUF metadata");
            return false;
        }
        w->key_names = grown;
        w->key_capacity = capacity;
    }
    w->key_names[w->n_values++] = (ds4_gguf_name){NULL, n, w->keys.n};
    ds4_strbuf_append(&w->keys, key, n);
    put_text(&w->values, key, n);
    put_u32(&w->values, type);
    return true;
}

static bool put_array(ds4_gguf_writer *w, const char *key, uint32_t type, size_t n) {
    if (n > GGUF_MAX_ARRAY_COUNT && is_declaring(w)) {
        w->mistake = ds4_fail(&w->why, DS4_INVALID_ARGUMENT,
                              "metadata '%s' has more than %d elements", key, GGUF_MAX_ARRAY_COUNT);
    }
    if (!put_key(w, key, strlen(key), DS4_GGUF_ARRAY)) return false;
    put_u32(&w->values, type);
    put_u64(&w->values, n);
    return true;
}

void ds4_gguf_writer_put_u32(ds4_gguf_writer *writer, const char *key, uint32_t value) {
    if (put_key(writer, key, strlen(key), DS4_GGUF_U32)) put_u32(&writer->values, value);
}

void ds4_gguf_writer_put_u64(ds4_gguf_writer *writer, const char *key, uint64_t value) {
    if (put_key(writer, key, strlen(key), DS4_GGUF_U64)) put_u64(&writer->values, value);
}

void ds4_gguf_writer_put_f32(ds4_gguf_writer *writer, const char *key, float value) {
    if (put_key(writer, key, strlen(key), DS4_GGUF_F32))
        put_u32(&writer->values, float_bits(value));
}

void ds4_gguf_writer_put_bool(ds4_gguf_writer *writer, const char *key, bool value) {
    if (put_key(writer, key, strlen(key), DS4_GGUF_BOOL)) ds4_strbuf_putc(&writer->values, value);
}

void ds4_gguf_writer_put_string(ds4_gguf_writer *writer, const char *key, const char *text,
                                size_t n) {
    if (n > GGUF_MAX_STRING_BYTES && is_declaring(writer)) {
        writer->mistake = ds4_fail(&writer->why, DS4_INVALID_ARGUMENT,
                                   "metadata '%s' is longer than 64 MiB", key);
    }
    if (put_key(writer, key, strlen(key), DS4_GGUF_STRING)) put_text(&writer->values, text, n);
}

void ds4_gguf_writer_put_i32_array(ds4_gguf_writer *writer, const char *key, const int32_t *values,
                                   size_t n) {
    if (!put_array(writer, key, DS4_GGUF_I32, n)) return;
    for (size_t i = 0; i < n; i++) put_u32(&writer->values, (uint32_t)values[i]);
}

void ds4_gguf_writer_put_f32_array(ds4_gguf_writer *writer, const char *key, const float *values,
                                   size_t n) {
    if (!put_array(writer, key, DS4_GGUF_F32, n)) return;
    for (size_t i = 0; i < n; i++) put_u32(&writer->values, float_bits(values[i]));
}

void ds4_gguf_writer_put_string_array(ds4_gguf_writer *writer, const char *key,
                                      const ds4_gguf_string *strings, size_t n) {
    if (!put_array(writer, key, DS4_GGUF_STRING, n)) return;
    for (size_t i = 0; i < n; i++) put_text(&writer->values, strings[i].data, strings[i].n);
}

void ds4_gguf_writer_put_value(ds4_gguf_writer *writer, const ds4_gguf_value *value) {
    uint32_t type = value->is_array ? DS4_GGUF_ARRAY : (uint32_t)value->type;
    if (!put_key(writer, value->key.data, value->key.n, type)) return;
    if (value->is_array) {
        put_u32(&writer->values, (uint32_t)value->type);
        put_u64(&writer->values, value->count);
    }
    ds4_strbuf_append(&writer->values, value->data, value->n_bytes);
}

/* Payload bytes of a tensor; 0 when shape and type do not go together. */
static uint64_t payload_bytes(uint32_t type, uint32_t n_dims, const uint64_t *ne) {
    const ds4_type_info *info = ds4_type_get_info(type);
    uint64_t n = 1;
    if (info == NULL || n_dims < 1 || n_dims > GGUF_MAX_DIMS || ne[0] % info->block_elements != 0)
        return 0;
    for (uint32_t i = 0; i < n_dims; i++) {
        if (ne[i] == 0 || n > UINT64_MAX / 8 / ne[i]) return 0; /* 8: the widest element */
        n *= ne[i];
    }
    return n / info->block_elements * info->block_bytes;
}

void ds4_gguf_writer_add_tensor(ds4_gguf_writer *writer, const char *name, uint32_t type,
                                uint32_t n_dims, const uint64_t *ne) {
    ds4_gguf_writer *w = writer;
    char shown[GGUF_SHOWN_BYTES];
    size_t n_name = strlen(name);
    if (!is_declaring(w)) return;
    uint64_t n_bytes = payload_bytes(type, n_dims, ne);
    ds4_gguf_show(name, n_name, shown);
    if (n_name == 0 || n_name > GGUF_MAX_NAME_BYTES || !ds4_gguf_is_utf8_name(name, n_name)) {
        w->mistake =
            ds4_fail(&w->why, DS4_INVALID_ARGUMENT,
                     "tensor name '%s' is not 1 to %d bytes of UTF-8", shown, GGUF_MAX_NAME_BYTES);
        return;
    }
    if (n_bytes == 0 || n_bytes > INT64_MAX - w->end - 2 * GGUF_MAX_ALIGNMENT ||
        w->n_entries >= GGUF_MAX_TENSORS) {
        w->mistake = ds4_fail(
            &w->why, DS4_INVALID_ARGUMENT,
            "tensor '%s': its shape does not fit type id %" PRIu32 " or is too large", shown, type);
        return;
    }
    if (w->n_entries == w->entry_capacity) {
        uint64_t capacity = w->entry_capacity == 0 ? 256 : 2 * w->entry_capacity;
        entry *grown = realloc(w->entries, (size_t)capacity * sizeof *grown);
        if (grown == NULL) {
            w->mistake = ds4_fail_memory(&w->why, (size_t)capacity * sizeof *grown,
                                         "the GGUF tensor directory");
            return;
        }
        w->entries = grown;
        w->entry_capacity = capacity;
    }
    entry *e = &w->entries[w->n_entries++];
    *e = (entry){.type = type, .n_dims = n_dims, .n_bytes = n_bytes, .offset = w->end};
    memcpy(e->name, name, n_name);
    memcpy(e->ne, ne, n_dims * sizeof *ne);
    w->end = ds4_gguf_round_up(w->end + n_bytes, w->alignment);
}

uint64_t ds4_gguf_writer_tensor_bytes(const ds4_gguf_writer *writer, uint64_t index) {
    return writer->entries[index].n_bytes;
}

uint64_t ds4_gguf_writer_file_bytes(const ds4_gguf_writer *writer) {
    return writer->data_start + writer->end;
}

/* ---- beginning ---- */

static ds4_status check_unique(ds4_gguf_name *names, uint64_t n, const char *what,
                               ds4_error *error) {
    char shown[GGUF_SHOWN_BYTES];
    ds4_gguf_sort_names(names, n);
    for (uint64_t i = 1; i < n; i++) {
        if (names[i].n == names[i - 1].n &&
            memcmp(names[i].data, names[i - 1].data, names[i].n) == 0) {
            return ds4_fail(error, DS4_INVALID_ARGUMENT, "duplicate %s '%s'", what,
                            ds4_gguf_show(names[i].data, names[i].n, shown));
        }
    }
    return DS4_OK;
}

static ds4_status check_declarations(ds4_gguf_writer *w, ds4_error *error) {
    if (w->mistake != DS4_OK) return ds4_fail(error, w->mistake, "%s", w->why.message);
    if (w->values.failed || w->keys.failed)
        return ds4_fail_memory(error, w->values.n, "GGUF metadata");
    for (uint64_t i = 0; i < w->n_values; i++)
        w->key_names[i].data = w->keys.data + w->key_names[i].index;
    ds4_status status = check_unique(w->key_names, w->n_values, "metadata key", error);
    if (status != DS4_OK) return status;
    ds4_gguf_name *names = calloc((size_t)w->n_entries + 1, sizeof *names);
    if (names == NULL)
        return ds4_fail_memory(error, (size_t)w->n_entries * sizeof *names, "tensor names");
    for (uint64_t i = 0; i < w->n_entries; i++) {
        names[i] = (ds4_gguf_name){w->entries[i].name, strlen(w->entries[i].name), i};
    }
    status = check_unique(names, w->n_entries, "tensor name", error);
    free(names);
    return status;
}

static void put_directory(const ds4_gguf_writer *w, ds4_strbuf *head) {
    ds4_strbuf_append(head, "GGUF", 4);
    put_u32(head, 3);
    put_u64(head, w->n_entries);
    put_u64(head, w->n_values);
    ds4_strbuf_append(head, w->values.data, w->values.n);
    for (uint64_t i = 0; i < w->n_entries; i++) {
        const entry *e = &w->entries[i];
        put_text(head, e->name, strlen(e->name));
        put_u32(head, e->n_dims);
        for (uint32_t d = 0; d < e->n_dims; d++) put_u64(head, e->ne[d]);
        put_u32(head, e->type);
        put_u64(head, e->offset);
    }
}

/* All n bytes at a place of the file. May be called by several threads. */
static ds4_status write_all(const ds4_gguf_writer *w, const void *bytes, size_t n, uint64_t at,
                            ds4_error *error) {
    const char *next = bytes;
    while (n > 0) {
        ssize_t got = pwrite(w->fd, next, n, (off_t)at);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) {
            int code = got < 0 ? errno : ENOSPC;
            return ds4_fail(error, DS4_IO,
                            "cannot write '%s' at byte %" PRIu64 " of %" PRIu64 ": %s",
                            w->temporary, at, w->data_start + w->end,
                            code == ENOSPC ? "the disk is full" : strerror(code));
        }
        next += got;
        n -= (size_t)got;
        at += (uint64_t)got;
    }
    return DS4_OK;
}

/* Two processes must not fill one file. The lock goes with the process. */
static ds4_status open_temporary(ds4_gguf_writer *w, ds4_error *error) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    w->fd = open(w->temporary, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (w->fd < 0)
        return ds4_fail(error, DS4_IO, "cannot create '%s': %s", w->temporary, strerror(errno));
    if (fcntl(w->fd, F_SETLK, &lock) != 0 && (errno == EACCES || errno == EAGAIN))
        return ds4_fail(error, DS4_IO, "another process is writing '%s'", w->temporary);
    return DS4_OK;
}

/* The free space suffices for what the file does not occupy yet. */
static ds4_status check_space(const ds4_gguf_writer *w, ds4_error *error) {
    struct statvfs disk;
    struct stat file;
    uint64_t wanted = w->data_start + w->end;
    if (fstatvfs(w->fd, &disk) != 0 || disk.f_blocks == 0 || fstat(w->fd, &file) != 0)
        return DS4_OK;
    uint64_t free_bytes = (uint64_t)disk.f_bavail * disk.f_frsize;
    uint64_t has = 512 * (uint64_t)file.st_blocks;
    if (has >= wanted || free_bytes >= wanted - has) return DS4_OK;
    return ds4_fail(error, DS4_IO,
                    "'%s' needs %" PRIu64 " bytes%s, but its disk has only %" PRIu64 " free",
                    w->path, wanted - has, has > 0 ? " more" : "", free_bytes);
}

static ds4_status create_file(ds4_gguf_writer *w, const ds4_strbuf *head, ds4_error *error) {
    uint64_t wanted = w->data_start + w->end;
    w->state = WRITING; /* from here on the temporary file is ours to remove */
    if (ftruncate(w->fd, 0) != 0)
        return ds4_fail(error, DS4_IO, "cannot empty '%s': %s", w->temporary, strerror(errno));
    ds4_status status = check_space(w, error);
    if (status != DS4_OK) return status;
    /* Gives the file its length at once: what is never written, the padding, reads as zeros. */
    if (ftruncate(w->fd, (off_t)wanted) != 0) {
        return ds4_fail(error, DS4_IO, "cannot make '%s' %" PRIu64 " bytes long: %s", w->temporary,
                        wanted, strerror(errno));
    }
    return write_all(w, head->data, head->n, 0, error);
}

static ds4_status read_all(const ds4_gguf_writer *w, void *bytes, size_t n, uint64_t at,
                           ds4_error *error) {
    char *next = bytes;
    while (n > 0) {
        ssize_t got = pread(w->fd, next, n, (off_t)at);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0)
            return ds4_fail(error, DS4_IO, "cannot read '%s' at byte %" PRIu64 ": %s", w->temporary,
                            at, got < 0 ? strerror(errno) : "it ends there");
        next += got;
        n -= (size_t)got;
        at += (uint64_t)got;
    }
    return DS4_OK;
}

/* Whether the file is as long as ours will be and begins with the same directory. */
static bool is_ours(const ds4_gguf_writer *w, const ds4_strbuf *head) {
    struct stat file;
    if (fstat(w->fd, &file) != 0 || (uint64_t)file.st_size != w->data_start + w->end) return false;
    char *bytes = malloc(head->n);
    bool is_same = bytes != NULL && read_all(w, bytes, head->n, 0, NULL) == DS4_OK &&
                   memcmp(bytes, head->data, head->n) == 0;
    free(bytes);
    return is_same;
}

static ds4_status begin(ds4_gguf_writer *w, bool *resumed, ds4_error *error) {
    ds4_strbuf head = {0};
    if (w->state != DECLARING || w->fd >= 0) {
        return ds4_fail(error, DS4_INVALID_ARGUMENT, "this GGUF writer has already begun");
    }
    ds4_gguf_writer_put_u32(w, "general.alignment", w->alignment);
    ds4_status status = check_declarations(w, error);
    if (status != DS4_OK) return status;
    put_directory(w, &head);
    if (head.failed) {
        status = ds4_fail_memory(error, head.n, "the GGUF directory");
        goto done;
    }
    w->data_start = ds4_gguf_round_up(head.n, w->alignment);
    status = open_temporary(w, error);
    if (status != DS4_OK) goto done;
    if (resumed != NULL) {
        *resumed = is_ours(w, &head);
        if (*resumed) {
            w->state = WRITING;
            w->keep = true; /* what others began is not lost by our failing */
            status = check_space(w, error);
            goto done;
        }
    }
    status = create_file(w, &head, error);
done:
    ds4_strbuf_free(&head);
    return status;
}

ds4_status ds4_gguf_writer_begin(ds4_gguf_writer *writer, ds4_error *error) {
    return begin(writer, NULL, error);
}

ds4_status ds4_gguf_writer_resume(ds4_gguf_writer *writer, bool *resumed, ds4_error *error) {
    return begin(writer, resumed, error);
}

void ds4_gguf_writer_keep(ds4_gguf_writer *writer, bool keep) {
    writer->keep = keep;
}

const char *ds4_gguf_writer_temporary(const ds4_gguf_writer *writer) {
    return writer->temporary;
}

/* ---- payloads ---- */

ds4_status ds4_gguf_writer_write_at(ds4_gguf_writer *writer, uint64_t tensor, uint64_t offset,
                                    const void *bytes, size_t n, ds4_error *error) {
    if (writer->state != WRITING || tensor >= writer->n_entries) {
        return ds4_fail(error, DS4_INVALID_ARGUMENT,
                        "no such GGUF payload is being written: %" PRIu64, tensor);
    }
    entry *e = &writer->entries[tensor];
    if (offset > e->n_bytes || n > e->n_bytes - offset) {
        return ds4_fail(error, DS4_INVALID_ARGUMENT,
                        "tensor '%s' has %" PRIu64 " bytes; %zu at %" PRIu64 " lie beyond", e->name,
                        e->n_bytes, n, offset);
    }
    ds4_status status = write_all(writer, bytes, n, writer->data_start + e->offset + offset, error);
    if (status == DS4_OK) atomic_fetch_add(&e->written, n);
    return status;
}

void ds4_gguf_writer_mark_written(ds4_gguf_writer *writer, uint64_t tensor) {
    entry *e = &writer->entries[tensor];
    atomic_store(&e->written, e->n_bytes);
}

ds4_status ds4_gguf_writer_read_at(const ds4_gguf_writer *writer, uint64_t tensor, uint64_t offset,
                                   void *bytes, size_t n, ds4_error *error) {
    const entry *e = tensor < writer->n_entries ? &writer->entries[tensor] : NULL;
    if (writer->state != WRITING || e == NULL || offset > e->n_bytes || n > e->n_bytes - offset) {
        return ds4_fail(error, DS4_INVALID_ARGUMENT, "no such GGUF payload bytes: tensor %" PRIu64,
                        tensor);
    }
    return read_all(writer, bytes, n, writer->data_start + e->offset + offset, error);
}

ds4_status ds4_gguf_writer_write(ds4_gguf_writer *writer, const void *bytes, size_t n,
                                 ds4_error *error) {
    const char *next = bytes;
    while (n > 0) {
        if (writer->current >= writer->n_entries) {
            return ds4_fail(error, DS4_INVALID_ARGUMENT,
                            "%zu bytes come after the last GGUF payload", n);
        }
        uint64_t left = writer->entries[writer->current].n_bytes - writer->position;
        size_t piece = n < left ? n : (size_t)left;
        ds4_status status =
            ds4_gguf_writer_write_at(writer, writer->current, writer->position, next, piece, error);
        if (status != DS4_OK) return status;
        next += piece;
        n -= piece;
        writer->position += piece;
        if (piece == left) {
            writer->current++;
            writer->position = 0;
        }
    }
    return DS4_OK;
}

/* Makes the new name survive a power cut too. Not every file system can; the file itself is safe by
 * then. */
static void sync_directory(const char *path) {
    const char *slash = strrchr(path, '/');
    size_t n = slash == NULL ? 1 : slash == path ? 1 : (size_t)(slash - path);
    char *directory = malloc(n + 1);
    if (directory == NULL) return;
    memcpy(directory, slash == NULL ? "." : path, n);
    directory[n] = '\0';
    int fd = open(directory, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
    free(directory);
}

ds4_status ds4_gguf_writer_finish(ds4_gguf_writer *writer, ds4_error *error) {
    ds4_gguf_writer *w = writer;
    if (w->state != WRITING)
        return ds4_fail(error, DS4_INVALID_ARGUMENT, "this GGUF writer is not writing");
    for (uint64_t i = 0; i < w->n_entries; i++) {
        uint64_t written = atomic_load(&w->entries[i].written);
        if (written != w->entries[i].n_bytes) {
            return ds4_fail(error, DS4_INVALID_ARGUMENT,
                            "tensor '%s' got %" PRIu64 " of its %" PRIu64 " bytes",
                            w->entries[i].name, written, w->entries[i].n_bytes);
        }
    }
    if (fsync(w->fd) != 0) {
        return ds4_fail(error, DS4_IO, "cannot flush '%s' to the disk: %s", w->temporary,
                        strerror(errno));
    }
    int closed = close(w->fd);
    w->fd = -1;
    if (closed != 0)
        return ds4_fail(error, DS4_IO, "cannot close '%s': %s", w->temporary, strerror(errno));
    if (rename(w->temporary, w->path) != 0) {
        return ds4_fail(error, DS4_IO, "cannot rename '%s' to '%s': %s", w->temporary, w->path,
                        strerror(errno));
    }
    w->state = FINISHED;
    sync_directory(w->path);
    return DS4_OK;
}
