#include "gguf-tool/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/strbuf.h"

enum { MAX_BYTES = 64 << 20 };

typedef struct finished {
    uint64_t tensor, hash;
} finished;

struct ds4_journal {
    char *path;
    int fd;
    finished *found;
    size_t n_found;
};

/* Complete lines of this run; a NULL header means there was none. */
static ds4_status read_lines(ds4_journal *j, const char *header, ds4_error *error) {
    ds4_strbuf text = {0};
    ds4_status status = ds4_file_read(j->path, MAX_BYTES, &text, error);
    if (status != DS4_OK) goto done;
    size_t n_header = strlen(header);
    if (text.n < n_header || memcmp(text.data, header, n_header) != 0) goto done;
    size_t n_lines = 0;
    for (size_t i = n_header; i < text.n; i++) n_lines += text.data[i] == '\n';
    j->found = calloc(n_lines + 1, sizeof *j->found);
    if (j->found == NULL) {
        status = ds4_fail_memory(error, n_lines * sizeof *j->found, "a journal");
        goto done;
    }
    for (char *line = text.data + n_header, *end; (end = strchr(line, '\n')) != NULL;
         line = end + 1) {
        finished *f = &j->found[j->n_found];
        int used = 0;
        *end = '\0';
        if (sscanf(line, "%" SCNu64 " %" SCNx64 "%n", &f->tensor, &f->hash, &used) == 2 &&
            line + used == end)
            j->n_found++;
    }
done:
    ds4_strbuf_free(&text);
    return status;
}

static ds4_status append(ds4_journal *j, const char *line, ds4_error *error) {
    size_t n = strlen(line);
    ssize_t got = write(j->fd, line, n);
    if (got == (ssize_t)n) return DS4_OK;
    return ds4_fail(error, DS4_IO, "cannot write '%s': %s", j->path,
                    got < 0 ? strerror(errno) : "the disk is full");
}

static ds4_status begin(ds4_journal *j, const char *header, bool is_fresh, ds4_error *error) {
    if (!is_fresh && access(j->path, F_OK) == 0) {
        ds4_status status = read_lines(j, header, error);
        if (status != DS4_OK) return status;
    }
    /* Written anew: a line that was cut off must not stay in the middle. */
    j->fd = open(j->path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0666);
    if (j->fd < 0)
        return ds4_fail(error, DS4_IO, "cannot create '%s': %s", j->path, strerror(errno));
    ds4_status status = append(j, header, error);
    for (size_t i = 0; status == DS4_OK && i < j->n_found; i++)
        status = ds4_journal_add(j, (size_t)j->found[i].tensor, j->found[i].hash, error);
    return status;
}

ds4_status ds4_journal_open(const char *path, uint64_t run, bool is_fresh, ds4_journal **journal,
                            size_t *n_found, ds4_error *error) {
    char header[64];
    size_t n = strlen(path) + 1;
    *journal = NULL;
    ds4_journal *j = calloc(1, sizeof *j);
    if (j == NULL || (j->path = malloc(n)) == NULL) {
        free(j);
        return ds4_fail_memory(error, n, "a journal");
    }
    memcpy(j->path, path, n);
    j->fd = -1;
    snprintf(header, sizeof header, "ds4-gguf journal 1 %016" PRIx64 "\n", run);
    ds4_status status = begin(j, header, is_fresh, error);
    if (status != DS4_OK) {
        ds4_journal_close(j);
        return status;
    }
    *n_found = j->n_found;
    *journal = j;
    return DS4_OK;
}

void ds4_journal_close(ds4_journal *journal) {
    if (journal == NULL) return;
    if (journal->fd >= 0) close(journal->fd);
    free(journal->path);
    free(journal->found);
    free(journal);
}

void ds4_journal_remove(ds4_journal *journal) {
    unlink(journal->path);
}

bool ds4_journal_find(const ds4_journal *journal, size_t tensor, uint64_t *hash) {
    for (size_t i = 0; i < journal->n_found; i++) {
        if (journal->found[i].tensor != tensor) continue;
        *hash = journal->found[i].hash;
        return true;
    }
    return false;
}

ds4_status ds4_journal_add(ds4_journal *journal, size_t tensor, uint64_t hash, ds4_error *error) {
    char line[64];
    snprintf(line, sizeof line, "%zu %016" PRIx64 "\n", tensor, hash);
    return append(journal, line, error);
}
