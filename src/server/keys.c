#include "server/keys.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"

enum { FILE_LIMIT = 1024 * 1024 };

void ds4_keys_free(ds4_keys *keys) {
    if (keys->text.data != NULL) memset(keys->text.data, 0, keys->text.n);
    ds4_strbuf_free(&keys->text);
    *keys = (ds4_keys){0};
}

static void add(ds4_keys *keys, const char *key, size_t n) {
    ds4_strbuf_append(&keys->text, key, n);
    ds4_strbuf_putc(&keys->text, '\0');
    keys->n++;
}

ds4_status ds4_keys_set(ds4_keys *keys, const char *key, ds4_error *error) {
    ds4_keys fresh = {0};
    if (key[0] == '\0') return ds4_fail(error, DS4_INVALID_ARGUMENT, "the API key is empty");
    add(&fresh, key, strlen(key));
    if (fresh.text.failed) return ds4_fail_memory(error, strlen(key), "an API key");
    ds4_keys_free(keys);
    *keys = fresh;
    return DS4_OK;
}

static ds4_status read_file(const char *path, ds4_strbuf *text, bool *exposed, ds4_error *error) {
    char part[4096];
    size_t n;
    struct stat about;
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return ds4_fail(error, DS4_IO, "failed to read the API key file %s: %s", path,
                        strerror(errno));
    *exposed = fstat(fileno(file), &about) == 0 && (about.st_mode & (S_IROTH | S_IWOTH)) != 0;
    while ((n = fread(part, 1, sizeof part, file)) > 0 && text->n <= FILE_LIMIT)
        ds4_strbuf_append(text, part, n);
    bool failed = ferror(file) != 0;
    fclose(file);
    memset(part, 0, sizeof part);
    if (failed) return ds4_fail(error, DS4_IO, "failed to read the API key file %s", path);
    if (text->failed || text->n > FILE_LIMIT)
        return ds4_fail(error, DS4_FORMAT, "the API key file %s is larger than %d bytes", path,
                        FILE_LIMIT);
    return DS4_OK;
}

/* A key must be able to stand in a header. */
static bool is_sendable(const char *key, size_t n) {
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)key[i] <= 0x20 || key[i] == 0x7f) return false;
    return true;
}

static ds4_status parse(ds4_keys *keys, const char *path, const ds4_strbuf *text,
                        ds4_error *error) {
    unsigned line = 0;
    for (size_t at = 0, end; at < text->n; at = end + 1) {
        for (end = at; end < text->n && text->data[end] != '\n';) end++;
        size_t first = at, last = end;
        line++;
        while (first < last && strchr(" \t\r", text->data[first]) != NULL) first++;
        while (last > first && strchr(" \t\r", text->data[last - 1]) != NULL) last--;
        if (first == last || text->data[first] == '#') continue;
        if (!is_sendable(text->data + first, last - first))
            return ds4_fail(error, DS4_FORMAT,
                            "the API key file %s: the key in line %u has a space or a control "
                            "character in it",
                            path, line);
        add(keys, text->data + first, last - first);
    }
    if (keys->n == 0) return ds4_fail(error, DS4_FORMAT, "the API key file %s is empty", path);
    if (keys->text.failed) return ds4_fail_memory(error, text->n, "API keys");
    return DS4_OK;
}

ds4_status ds4_keys_read(ds4_keys *keys, const char *path, bool *exposed, ds4_error *error) {
    ds4_strbuf text = {0};
    ds4_keys fresh = {0};
    *exposed = false;
    ds4_status status = read_file(path, &text, exposed, error);
    if (status == DS4_OK) status = parse(&fresh, path, &text, error);
    if (text.data != NULL) memset(text.data, 0, text.n);
    ds4_strbuf_free(&text);
    if (status == DS4_OK) {
        ds4_keys_free(keys);
        *keys = fresh;
    } else {
        ds4_keys_free(&fresh);
    }
    return status;
}

static unsigned differs(ds4_http_text given, const char *key, size_t n) {
    unsigned different = given.n != n;
    for (size_t i = 0; i < given.n; i++)
        different |= (unsigned)((unsigned char)given.data[i] ^ (unsigned char)key[i % n]);
    return different != 0;
}

bool ds4_keys_match(const ds4_keys *keys, ds4_http_text given) {
    unsigned found = 0;
    const char *key = keys->text.data;
    for (size_t i = 0; i < keys->n; i++) {
        size_t n = strlen(key);
        found |= !differs(given, key, n);
        key += n + 1;
    }
    return found != 0;
}
