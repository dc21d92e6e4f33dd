#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kv/disk.h"
#include "server/app.h"
#include "tokenizer/tokenizer.h"

static const char NAME[] = "tool-replay.log";
enum { MOST_BYTES = 64 << 20 /* of the file; then it begins anew with its latter half */ };

struct ds4_tool_journal {
    const ds4_log *log;
    int fd; /* -1: it could not be opened */
    uint64_t n_bytes;
};

/* Its bytes are what the tokens say: a record of another vocabulary is not. */
static bool is_of_this_vocabulary(const ds4_tokenizer *tokenizer, const ds4_tool_turn *turn) {
    ds4_strbuf text = {0};
    bool same = true;
    for (size_t i = 0; i < turn->n_ids && same; i++)
        same = turn->ids[i] >= 0 && (size_t)turn->ids[i] < ds4_tokenizer_n_tokens(tokenizer);
    if (same) ds4_tokenizer_decode(tokenizer, turn->ids, turn->n_ids, &text);
    same = same && !text.failed && text.n == turn->text.n &&
           memcmp(text.data, turn->text.data, text.n) == 0;
    ds4_strbuf_free(&text);
    return same;
}

/* Damaged places are skipped up to the next record. */
static size_t read_records(ds4_app *app, const char *bytes, size_t n, size_t *n_damaged) {
    const ds4_tokenizer *tokenizer = ds4_model_get_tokenizer(app->model);
    size_t n_read = 0;
    bool damaged = false;
    for (size_t at = 0; at < n;) {
        ds4_tool_turn turn;
        size_t n_record;
        if (ds4_tool_turn_decode(bytes + at, n - at, &turn, &n_record, NULL) != DS4_OK) {
            *n_damaged += !damaged;
            damaged = true;
            const char *next = memchr(bytes + at + 1, 'D', n - at - 1);
            if (next == NULL) break;
            at = (size_t)(next - bytes);
            continue;
        }
        damaged = false;
        if (is_of_this_vocabulary(tokenizer, &turn))
            n_read += ds4_tool_memory_put(app->tool_memory, &turn);
        free((void *)turn.calls);
        at += n_record;
    }
    return n_read;
}

ds4_tool_journal *ds4_tool_journal_open(ds4_app *app, const char *directory) {
    ds4_tool_journal *journal = calloc(1, sizeof *journal);
    ds4_kv_disk *disk = NULL;
    uint8_t *bytes = NULL;
    size_t n = 0, n_damaged = 0;
    uint64_t n_file = 0;
    bool missing = false;
    ds4_error error = {0};
    if (journal == NULL) return NULL;
    journal->log = app->log;
    journal->fd = -1;
    if (ds4_kv_disk_open(directory, app->log, &disk, &error) != DS4_OK) goto done;
    ds4_status status =
        ds4_kv_disk_read(disk, NAME, SIZE_MAX, &bytes, &n, &n_file, &missing, &error);
    if (status != DS4_OK && !missing) goto done;
    size_t n_read = status == DS4_OK ? read_records(app, (char *)bytes, n, &n_damaged) : 0;
    if (n_damaged > 0)
        ds4_log_write(app->log, DS4_LOG_WARNING, "KV cache: %zu damaged places of %s were skipped",
                      n_damaged, NAME);
    if (n_read > 0)
        ds4_log_write(app->log, DS4_LOG_TOOL, "%zu turns with tool calls are remembered", n_read);
    if (n > MOST_BYTES) {
        const ds4_kv_part half = {bytes + n / 2, n - n / 2};
        if (ds4_kv_disk_write(disk, NAME, &half, 1, &error) != DS4_OK) goto done;
        n = half.n;
    }
    char path[4096];
    if (snprintf(path, sizeof path, "%s/%s", directory, NAME) < (int)sizeof path)
        journal->fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    journal->n_bytes = n;
    if (journal->fd < 0)
        ds4_log_write(app->log, DS4_LOG_WARNING, "KV cache: cannot write %s: %s", NAME,
                      strerror(errno));
done:
    if (error.status != DS4_OK && !missing)
        ds4_log_write(app->log, DS4_LOG_WARNING, "KV cache: tool calls are not kept: %s",
                      error.message);
    free(bytes);
    ds4_kv_disk_close(disk);
    return journal;
}

void ds4_tool_journal_close(ds4_tool_journal *journal) {
    if (journal == NULL) return;
    if (journal->fd >= 0) close(journal->fd);
    free(journal);
}

/* In one write, so that records of several servers do not mix. A disk that is full costs the
 * record. */
static void append(ds4_tool_journal *journal, const ds4_tool_turn *turn) {
    ds4_strbuf record = {0};
    if (journal == NULL || journal->fd < 0 || journal->n_bytes > 2ull * MOST_BYTES) return;
    ds4_tool_turn_encode(turn, &record);
    if (!record.failed) {
        ssize_t written = write(journal->fd, record.data, record.n);
        if (written > 0) journal->n_bytes += (uint64_t)written;
        if (written != (ssize_t)record.n)
            ds4_log_write(journal->log, DS4_LOG_WARNING, "KV cache: cannot write %s: %s", NAME,
                          strerror(errno));
    }
    ds4_strbuf_free(&record);
}

void ds4_tool_journal_add(ds4_tool_journal *journal, ds4_app *app, const ds4_chat_result *result,
                          const ds4_sampled_turn *sampled) {
    const ds4_tokenizer *tokenizer = ds4_model_get_tokenizer(app->model);
    ds4_strbuf text = {0};
    if (app->tool_memory == NULL || result->n_calls == 0 || result->repaired || sampled->n == 0)
        return;
    ds4_tool_call *calls = calloc(result->n_calls, sizeof *calls);
    ds4_tokenizer_decode(tokenizer, sampled->ids, sampled->n_thought, &text);
    size_t n_thought_text = text.n;
    ds4_tokenizer_decode(tokenizer, sampled->ids + sampled->n_thought,
                         sampled->n - sampled->n_thought, &text);
    for (size_t i = 0; calls != NULL && i < result->n_calls; i++) {
        const ds4_result_call *call = &result->calls[i];
        calls[i] = (ds4_tool_call){.id = {call->id, strlen(call->id)},
                                   .name = {call->name.data, call->name.n},
                                   .arguments = {call->arguments.data, call->arguments.n}};
    }
    ds4_tool_turn turn = {.reasoning = {result->reasoning.data, result->reasoning.n},
                          .content = {result->content.data, result->content.n},
                          .calls = calls,
                          .n_calls = result->n_calls,
                          .ids = sampled->ids,
                          .n_ids = sampled->n,
                          .n_thought = sampled->n_thought,
                          .text = {text.data, text.n},
                          .n_thought_text = n_thought_text};
    if (calls != NULL && !text.failed && ds4_tool_memory_put(app->tool_memory, &turn))
        append(journal, &turn);
    free(calls);
    ds4_strbuf_free(&text);
}
