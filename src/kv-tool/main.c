/* ds4-kv: what is in a KV cache directory, whether it is sound, and making it smaller. Safe beside
 * running servers: files appear and vanish whole. */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "base/options.h"
#include "kv/disk.h"
#include "kv/index.h"
#include "kv/stats.h"

enum { EXIT_USAGE = 2, GRACE_SECONDS = 60, DAY_SECONDS = 86400 };

typedef struct kv_flags {
    bool repair, quarantine;
    int64_t space_mb, days;
} kv_flags;

#define AT(field) .offset = offsetof(kv_flags, field)

static const ds4_option options[] = {
    {.names = "--repair",
     .kind = DS4_OPTION_FLAG,
     AT(repair),
     .help = "verify: move damaged files to the folder quarantine"},
    {.names = "--space-mb",
     .kind = DS4_OPTION_INT,
     .argument = "N",
     .min = 0,
     .max = 1 << 30,
     AT(space_mb),
     .default_text = "1073741824",
     .help = "prune: delete the least valuable states until no more than N MiB are left"},
    {.names = "--days",
     .kind = DS4_OPTION_INT,
     .argument = "N",
     .min = 0,
     .max = 36500,
     AT(days),
     .default_text = "36500",
     .help = "prune: delete states that nobody used for N days"},
    {.names = "--quarantine",
     .kind = DS4_OPTION_FLAG,
     AT(quarantine),
     .help = "prune: delete what was moved to the folder quarantine"},
};

static const ds4_program program = {
    .name = "ds4-kv",
    .summary =
        "list, verify or prune a directory of saved conversations (ds4-server --kv-disk-dir)",
    .description =
        "Commands: list, what is there; verify, whether every file is what it says and every "
        "conversation is whole; prune, make it smaller. Exit status: 0 done, 1 failed or damage "
        "found, 2 wrong usage.",
    .operands = "COMMAND DIR",
    .min_operands = 2,
    .max_operands = 2,
    DS4_PROGRAM_OPTIONS(options),
};

typedef struct tool {
    const kv_flags *flags;
    ds4_kv_disk *disk;
    ds4_kv_index index;
    size_t n_bad, n_foreign;
    bool whole_files; /* read and check payloads too */
} tool;

/* ---- reading ---- */

static ds4_status check(const tool *t, const ds4_kv_file *named, const char *name,
                        ds4_kv_header *header, bool *missing, ds4_error *error) {
    uint8_t *bytes = NULL;
    size_t n;
    uint64_t n_file;
    size_t most = t->whole_files ? SIZE_MAX : DS4_KV_HEADER_BYTES;
    ds4_status status = ds4_kv_disk_read(t->disk, name, most, &bytes, &n, &n_file, missing, error);
    if (status == DS4_OK) status = ds4_kv_header_decode(bytes, n, n_file, header, error);
    if (status == DS4_OK &&
        (header->file.kind != named->kind || !ds4_kv_key_equal(header->file.key, named->key)))
        status = ds4_fail(error, DS4_FORMAT, "it is another file than its name says");
    if (status == DS4_OK && t->whole_files &&
        header->payload_hash !=
            ds4_kv_payload_hash(bytes + DS4_KV_HEADER_BYTES, n - DS4_KV_HEADER_BYTES))
        status = ds4_fail(error, DS4_FORMAT, "the checksum is wrong");
    free(bytes);
    return status;
}

static void on_found(void *context, const char *name) {
    tool *t = context;
    ds4_kv_file file;
    ds4_kv_header header;
    ds4_error error = {0};
    uint64_t n_bytes, used;
    bool missing = false;
    if (!ds4_kv_file_parse_name(name, &file)) {
        bool known = name[0] == '.' || strcmp(name, "quarantine") == 0 ||
                     strcmp(name, "tool-replay.log") == 0;
        t->n_foreign += !known;
        return;
    }
    ds4_status status = check(t, &file, name, &header, &missing, &error);
    if (missing || status == DS4_UNSUPPORTED) return; /* gone, or of a newer program */
    if (status != DS4_OK) {
        t->n_bad++;
        if (t->flags->repair && t->whole_files)
            ds4_kv_disk_quarantine(t->disk, name, error.message);
        printf("%s: %s%s\n", name, error.message,
               t->flags->repair && t->whole_files ? " (moved to quarantine)" : "");
        return;
    }
    if (!ds4_kv_disk_stat(t->disk, name, &n_bytes, &used)) return;
    ds4_kv_item item = {.file = header.file,
                        .n_tokens = header.n_tokens,
                        .block_tokens = header.block_tokens,
                        .n_bytes = n_bytes,
                        .used = used};
    item.hits = header.reason; /* shown by list; a tool knows no hits */
    ds4_kv_index_put(&t->index, &item);
}

/* Bytes of the blocks that a tip needs; false: one is missing. */
static bool chain_bytes(const tool *t, const ds4_kv_item *tip, uint64_t *bytes) {
    ds4_kv_key key = tip->file.parent;
    *bytes = 0;
    for (uint32_t left = tip->n_tokens - tip->file.n_tail; left > 0; left -= tip->block_tokens) {
        const ds4_kv_item *block = ds4_kv_index_find_block(&t->index, key);
        if (block == NULL || block->n_tokens != left || left < tip->block_tokens) return false;
        *bytes += block->n_bytes;
        key = block->file.parent;
    }
    return true;
}

/* ---- commands ---- */

static int by_use(const void *a, const void *b) {
    const ds4_kv_item *left = a, *right = b;
    return (left->used < right->used) - (left->used > right->used);
}

static int list(tool *t) {
    ds4_kv_item *tips = malloc((t->index.n + 1) * sizeof *tips);
    size_t n = 0, n_blocks = 0;
    if (tips == NULL) return EXIT_FAILURE;
    for (size_t i = 0; i < t->index.n; i++) {
        if (t->index.items[i].file.kind == DS4_KV_TIP)
            tips[n++] = t->index.items[i];
        else
            n_blocks++;
    }
    qsort(tips, n, sizeof *tips, by_use);
    if (n > 0) printf("%10s %12s %-10s %-17s %s\n", "tokens", "KiB", "saved", "last used", "state");
    for (size_t i = 0; i < n; i++) {
        char when[32] = "?", name[DS4_KV_NAME_BYTES];
        time_t used = (time_t)tips[i].used;
        struct tm local;
        uint64_t bytes;
        bool whole = chain_bytes(t, &tips[i], &bytes);
        if (localtime_r(&used, &local) != NULL)
            strftime(when, sizeof when, "%Y-%m-%d %H:%M", &local);
        ds4_kv_file_name(&tips[i].file, name);
        printf("%10u %12llu %-10s %-17s %.8s%s\n", tips[i].n_tokens,
               (unsigned long long)(bytes + tips[i].n_bytes) / 1024,
               ds4_kv_save_name((ds4_kv_save)tips[i].hits), when, name + 42,
               whole ? "" : " (incomplete)");
    }
    printf("%zu states in %zu blocks, %.1f MiB (a block that several states share counts for each "
           "above, once here)\n",
           n, n_blocks, (double)t->index.n_bytes / (1 << 20));
    if (t->n_foreign > 0) printf("%zu other files, left alone\n", t->n_foreign);
    free(tips);
    return EXIT_SUCCESS;
}

static int verify(const tool *t) {
    size_t n_tips = 0, n_broken = 0;
    for (size_t i = 0; i < t->index.n; i++) {
        const ds4_kv_item *item = &t->index.items[i];
        uint64_t bytes;
        if (item->file.kind != DS4_KV_TIP) continue;
        n_tips++;
        n_broken += !chain_bytes(t, item, &bytes);
    }
    printf("%zu files are sound, %zu damaged; %zu states, %zu of them incomplete\n", t->index.n,
           t->n_bad, n_tips, n_broken);
    return t->n_bad > 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

static void drop(tool *t, ds4_kv_file file) {
    char name[DS4_KV_NAME_BYTES];
    ds4_kv_file_name(&file, name);
    ds4_kv_disk_remove(t->disk, name);
    ds4_kv_index_give_up(&t->index, &file);
}

static void remove_found(void *folder, const char *name) {
    ds4_kv_disk_remove(folder, name);
}

static void drop_quarantine(const char *directory) {
    char path[4096];
    ds4_kv_disk *folder;
    if (snprintf(path, sizeof path, "%s/quarantine", directory) >= (int)sizeof path ||
        access(path, F_OK) != 0 || ds4_kv_disk_open(path, NULL, &folder, NULL) != DS4_OK)
        return;
    ds4_kv_disk_list(folder, remove_found, folder, NULL);
    ds4_kv_disk_close(folder);
}

static int prune(tool *t, const char *directory) {
    uint64_t now = (uint64_t)time(NULL), before = t->index.n_bytes, n = 0;
    uint64_t budget = (uint64_t)t->flags->space_mb << 20, keep = (uint64_t)t->flags->days;
    for (size_t i = 0; i < t->index.n; i++) t->index.items[i].hits = 0;
    for (size_t i = t->index.n; i-- > 0;) {
        const ds4_kv_item *item = &t->index.items[i];
        if (item->file.kind != DS4_KV_TIP || item->used + keep * DAY_SECONDS > now) continue;
        drop(t, item->file);
        n++;
    }
    for (;;) {
        const ds4_kv_item *victim = ds4_kv_index_victim(&t->index, now, GRACE_SECONDS, NULL);
        bool useless = victim != NULL && victim->file.kind == DS4_KV_BLOCK;
        if (victim == NULL || (!useless && t->index.n_bytes <= budget)) break;
        drop(t, victim->file);
        n++;
    }
    if (t->flags->quarantine) drop_quarantine(directory);
    printf("%llu files deleted, %.1f of %.1f MiB left\n", (unsigned long long)n,
           (double)t->index.n_bytes / (1 << 20), (double)before / (1 << 20));
    return EXIT_SUCCESS;
}

static int run(const kv_flags *flags, const char *command, const char *directory) {
    tool t = {.flags = flags, .whole_files = strcmp(command, "verify") == 0};
    ds4_error error = {0};
    int code = EXIT_FAILURE;
    ds4_status status = access(directory, F_OK) == 0
                            ? ds4_kv_disk_open(directory, NULL, &t.disk, &error)
                            : ds4_fail(&error, DS4_IO, "there is no directory %s", directory);
    if (status == DS4_OK) status = ds4_kv_disk_list(t.disk, on_found, &t, &error);
    if (status != DS4_OK)
        fprintf(stderr, "ds4-kv: %s\n", error.message);
    else if (t.whole_files)
        code = verify(&t);
    else if (strcmp(command, "list") == 0)
        code = list(&t);
    else
        code = prune(&t, directory);
    ds4_kv_index_free(&t.index);
    ds4_kv_disk_close(t.disk);
    return fflush(stdout) == 0 ? code : EXIT_FAILURE;
}

int main(int argc, char **argv) {
    kv_flags flags = {0};
    ds4_options_parsed parsed = {0};
    ds4_error error = {0};
    int code = EXIT_SUCCESS;
    ds4_status status = ds4_options_parse(&program, argc, argv, &flags, &parsed, &error);
    const char *command = parsed.n_operands > 0 ? parsed.operands[0] : "";
    if (status == DS4_OK && parsed.action == DS4_OPTIONS_RUN && strcmp(command, "list") != 0 &&
        strcmp(command, "verify") != 0 && strcmp(command, "prune") != 0)
        status = ds4_fail(&error, DS4_INVALID_ARGUMENT,
                          "unknown command: %s (list, verify or prune)", command);
    if (status != DS4_OK) {
        fprintf(stderr, "ds4-kv: %s\nTry 'ds4-kv --help'.\n", error.message);
        code = EXIT_USAGE;
    } else if (parsed.action != DS4_OPTIONS_RUN) {
        ds4_strbuf text = {0};
        ds4_options_document(&program, parsed.action, 0, &text);
        bool printed = !text.failed && fwrite(text.data, 1, text.n, stdout) == text.n;
        code = printed && fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
        ds4_strbuf_free(&text);
    } else {
        code = run(&flags, command, parsed.operands[1]);
    }
    ds4_options_free(&parsed);
    return code;
}
