/* The store on disk with the real engine and the small model: what comes back continues with the
 * same bits, what is damaged never comes back, and nothing that the disk does is fatal. */
#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "kv/format.h"
#include "kv/store.h"

enum { CONTEXT = 2048, N_VOCAB = 8192, SHORT = 260, LONG = 516, MORE = 772 };

/* What one thread alone does is nothing to the thread sanitizer, and slow: some of it will do. */
#ifdef __SANITIZE_THREAD__
enum { EVERY = 7, PER_CONVERSATION = 120 };
#else
enum { EVERY = 1, PER_CONVERSATION = SHORT };
#endif

static ds4_model *model;
static ds4_engine *engine;
static int32_t tokens[CONTEXT];
static char directory[256];
/* Sessions that evaluated SHORT, LONG and MORE of the tokens as they are at first: evaluating is
 * what takes time, under a sanitizer above all. */
static ds4_session *evaluated[3];

#define OK(call)                                                                                   \
    do {                                                                                           \
        ds4_error error_ = {0}, *error = &error_;                                                  \
        ds4_status status_ = (call);                                                               \
        if (status_ != DS4_OK) fail_msg("%s: %s", #call, error_.message);                          \
    } while (0)

static void feed(ds4_session *session, uint32_t n, float *logits);
static ds4_session *copy_of(const ds4_session *source);

static int set_up(void **state) {
    (void)state;
    ds4_engine_options options = {.n_threads = 2, .max_context = CONTEXT};
    OK(ds4_model_open(DS4_NANO, NULL, &model, error));
    OK(ds4_engine_create(model, &options, &engine, error));
    for (size_t i = 0; i < CONTEXT; i++) tokens[i] = (int32_t)(10 + i * i * 31 % 5000);
    signal(SIGXFSZ, SIG_IGN);
    const uint32_t lengths[] = {SHORT, LONG, MORE};
    for (int i = 0; i < 3; i++) {
        if (i == 0)
            OK(ds4_session_create(engine, CONTEXT, &evaluated[i], error));
        else
            evaluated[i] = copy_of(evaluated[i - 1]);
        feed(evaluated[i], lengths[i], NULL);
    }
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    for (int i = 0; i < 3; i++) ds4_session_destroy(evaluated[i]);
    ds4_engine_destroy(engine);
    ds4_model_close(model);
    return 0;
}

/* ---- the directory ---- */

static void for_each_file(const char *path, void (*visit)(const char *path, const char *name)) {
    DIR *d = opendir(path);
    assert_non_null(d);
    for (struct dirent *entry; (entry = readdir(d)) != NULL;)
        if (entry->d_name[0] != '.') visit(path, entry->d_name);
    closedir(d);
}

static void remove_one(const char *path, const char *name) {
    char whole[1024];
    snprintf(whole, sizeof whole, "%s/%s", path, name);
    struct stat info;
    assert_int_equal(lstat(whole, &info), 0);
    if (S_ISDIR(info.st_mode)) {
        for_each_file(whole, remove_one);
        rmdir(whole);
    } else {
        unlink(whole);
    }
}

static int n_counted;
static void count_one(const char *path, const char *name) {
    (void)path, (void)name;
    n_counted++;
}

static int count_files(const char *path) {
    n_counted = 0;
    for_each_file(path, count_one);
    return n_counted;
}

static int new_directory(void **state) {
    (void)state;
    const char *parent = getenv("TMPDIR");
    snprintf(directory, sizeof directory, "%s/ds4-kv-XXXXXX", parent != NULL ? parent : "/tmp");
    return mkdtemp(directory) != NULL ? 0 : -1;
}

static int drop_directory(void **state) {
    (void)state;
    for_each_file(directory, remove_one);
    return rmdir(directory);
}

static char found_name[512];
static const char *wanted_suffix;
static void match_one(const char *path, const char *name) {
    if (strcmp(name + strlen(name) - 4, wanted_suffix) == 0)
        snprintf(found_name, sizeof found_name, "%s/%s", path, name);
}

/* The path of some file with this suffix. */
static const char *find_file(const char *suffix) {
    found_name[0] = '\0';
    wanted_suffix = suffix;
    for_each_file(directory, match_one);
    assert_true(found_name[0] != '\0');
    return found_name;
}

static uint8_t *read_whole(const char *path, size_t *n) {
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    *n = (size_t)ftell(f);
    rewind(f);
    uint8_t *bytes = malloc(*n + 1);
    assert_int_equal(fread(bytes, 1, *n, f), *n);
    fclose(f);
    return bytes;
}

static void write_whole(const char *path, const uint8_t *bytes, size_t n) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    fclose(f);
}

/* ---- stores and sessions ---- */

static ds4_kv_store *open_store(uint64_t budget) {
    ds4_kv_store *store;
    ds4_kv_store_options options = {
        .directory = directory, .budget_bytes = budget, .min_tokens = 100};
    OK(ds4_kv_store_open(engine, &options, &store, error));
    return store;
}

static ds4_session *new_session(void) {
    ds4_session *session;
    OK(ds4_session_create(engine, CONTEXT, &session, error));
    return session;
}

/* Evaluates tokens up to `n`; the last logits. */
static void feed(ds4_session *session, uint32_t n, float *logits) {
    while (ds4_session_length(session) < n) {
        uint32_t at = ds4_session_length(session), count = n - at < 400 ? n - at : 400;
        ds4_batch_item item = {.session = session,
                               .tokens = tokens + at,
                               .n_tokens = count,
                               .want = logits != NULL && at + count == n ? DS4_LOGITS_LAST
                                                                         : DS4_LOGITS_NONE,
                               .logits = logits};
        OK(ds4_engine_forward(engine, &item, 1, error));
    }
}

static void ignore(void *context) {
    (void)context;
}

static ds4_kv_load *wait_for(ds4_kv_store *store, uint32_t n, uint64_t dial, uint32_t more_than) {
    ds4_kv_load *load = ds4_kv_store_load(store, tokens, n, dial, more_than, ignore, NULL);
    assert_non_null(load);
    while (!ds4_kv_load_is_ready(load)) nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    return load;
}

static ds4_session *copy_of(const ds4_session *source) {
    ds4_session *session = new_session();
    OK(ds4_session_copy(session, source, error));
    return session;
}

/* A session of its own that evaluated the first n tokens. */
static ds4_session *session_at(uint32_t n) {
    for (int i = 2; i >= 0; i--) {
        uint32_t length = ds4_session_length(evaluated[i]);
        if (length > n ||
            memcmp(ds4_session_tokens(evaluated[i]), tokens, length * sizeof *tokens) != 0)
            continue;
        ds4_session *session = copy_of(evaluated[i]);
        feed(session, n, NULL);
        return session;
    }
    ds4_session *session = new_session();
    feed(session, n, NULL);
    return session;
}

/* What a session that evaluated `found` tokens, and nothing else, says to the next one; remembered
 * for the tokens as they are at first. */
static void expect_logits(uint32_t found, const ds4_session *same, float *logits) {
    static float known[3][N_VOCAB];
    static bool is_known[3];
    for (int i = 0; i < 3; i++) {
        if (ds4_session_length(evaluated[i]) != found ||
            memcmp(ds4_session_tokens(evaluated[i]), tokens, found * sizeof *tokens) != 0)
            continue;
        if (!is_known[i]) {
            ds4_session *session = copy_of(evaluated[i]);
            feed(session, found + 1, known[i]);
            ds4_session_destroy(session);
            is_known[i] = true;
        }
        memcpy(logits, known[i], sizeof known[i]);
        return;
    }
    bool fits = same != NULL && ds4_session_length(same) == found;
    ds4_session *session = fits ? copy_of(same) : session_at(found);
    feed(session, found + 1, logits);
    ds4_session_destroy(session);
}

/* What a prompt of n tokens finds. When it finds something, the session that is made of it must go
 * on as one that evaluated everything (`same`, where the caller has one). The token behind sees
 * all that was restored: the window and, with so few rows, every compressed one. */
static uint32_t look_up_beside(ds4_kv_store *store, uint32_t n, const ds4_session *same) {
    static float got[N_VOCAB], expected[N_VOCAB];
    ds4_kv_load *load = wait_for(store, n, 0, 0);
    uint32_t found = ds4_kv_load_length(load);
    if (found > 0) {
        assert_true(found < n);
        ds4_session *session = new_session();
        OK(ds4_kv_load_restore(load, session, error));
        assert_int_equal(ds4_session_length(session), found);
        feed(session, found + 1, got);
        expect_logits(found, same, expected);
        assert_memory_equal(got, expected, sizeof got);
        ds4_session_destroy(session);
    }
    ds4_kv_load_free(load);
    return found;
}

static uint32_t look_up(ds4_kv_store *store, uint32_t n) {
    return look_up_beside(store, n, NULL);
}

static void save_at(ds4_kv_store *store, uint32_t n) {
    ds4_session *session = session_at(n);
    assert_true(ds4_kv_store_save(store, session, n, DS4_KV_SAVE_EVICT));
    ds4_kv_store_flush(store);
    ds4_session_destroy(session);
}

static ds4_kv_disk_stats stats_of(ds4_kv_store *store) {
    ds4_kv_disk_stats stats;
    ds4_kv_store_get_stats(store, &stats);
    return stats;
}

/* ---- the tests ---- */

static void survives_and_grows_by_appending(void **state) {
    (void)state;
    ds4_kv_store *store = open_store(1u << 30);
    ds4_session *session = session_at(LONG);
    assert_false(ds4_kv_store_save(store, session, 99, DS4_KV_SAVE_COLD)); /* too short */
    assert_true(ds4_kv_store_save(store, session, LONG, DS4_KV_SAVE_COLD));
    ds4_kv_store_flush(store);
    uint64_t first = stats_of(store).saved_bytes;
    assert_int_equal(stats_of(store).n_blocks, LONG / 256);
    assert_int_equal(stats_of(store).n_tips, 1);
    assert_true(ds4_kv_store_save(store, session, LONG, DS4_KV_SAVE_COLD)); /* there already */
    ds4_kv_store_flush(store);
    assert_int_equal(stats_of(store).saved_bytes, first);
    ds4_session_destroy(session);
    session = session_at(MORE);
    assert_true(ds4_kv_store_save(store, session, MORE, DS4_KV_SAVE_CONTINUED));
    ds4_kv_store_flush(store);
    ds4_kv_disk_stats stats = stats_of(store);
    assert_int_equal(stats.n_blocks, MORE / 256);
    assert_int_equal(stats.n_tips, 2);
    assert_int_equal(stats.saves[DS4_KV_SAVE_CONTINUED], 1);
    ds4_session_destroy(session);
    assert_int_equal(look_up(store, MORE + 5), MORE);
    ds4_kv_store_close(store);

    struct stat info;
    assert_int_equal(stat(directory, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0700);
    assert_int_equal(stat(find_file(".blk"), &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);

    store = open_store(1u << 30); /* another process, as it were */
    assert_int_equal(look_up(store, MORE + 1), MORE);
    assert_int_equal(look_up(store, MORE), LONG); /* its last token must be evaluated */
    assert_int_equal(look_up(store, LONG), 0);
    tokens[600]++; /* a conversation that parts there */
    assert_int_equal(look_up(store, MORE + 1), LONG);
    tokens[600]--;
    tokens[3]++;
    assert_int_equal(look_up(store, MORE + 1), 0);
    tokens[3]--;
    ds4_kv_load *load = wait_for(store, MORE + 1, 77, 0); /* under another dial */
    assert_int_equal(ds4_kv_load_length(load), 0);
    ds4_kv_load_free(load);
    load = wait_for(store, MORE + 1, 0, MORE - 1);
    assert_int_equal(ds4_kv_load_length(load), MORE);
    ds4_kv_load_free(load);
    load = ds4_kv_store_load(store, tokens, MORE + 1, 0, 0, ignore, NULL);
    ds4_kv_load_free(load); /* nobody waits for it any more */
    assert_int_equal(stats_of(store).quarantined, 0);
    ds4_kv_store_close(store);
}

/* Every kind of cut and flip in a tip and in a block: found out, moved aside, and the next best is
 * served instead. */
static void damage_is_never_served(void **state) {
    (void)state;
    ds4_kv_store *store = open_store(1u << 30);
    save_at(store, SHORT);
    save_at(store, LONG);
    ds4_kv_store_close(store);
    char quarantine[300];
    snprintf(quarantine, sizeof quarantine, "%s/quarantine", directory);
    int n_moved = 0;
    const char *const suffixes[] = {".tip", ".blk"};
    for (int kind = 0; kind < 2; kind++) {
        char path[512];
        size_t n;
        snprintf(path, sizeof path, "%s", find_file(suffixes[kind]));
        uint8_t *bytes = read_whole(path, &n), *copy = malloc(n + 8);
        const size_t cuts[] = {0, 1, 4, 55, 95, 96, 97, 96 + 1024, n / 2, n - 8, n - 1, n + 7};
        const size_t flips[] = {0,  4,  6,  8,  16, 20, 24,  40,    56,
                                64, 72, 80, 88, 95, 96, 200, n / 2, n - 1};
        size_t n_cuts = sizeof cuts / sizeof cuts[0], n_flips = sizeof flips / sizeof flips[0];
        for (size_t i = 0; i < n_cuts + n_flips; i += EVERY) {
            memcpy(copy, bytes, n);
            memset(copy + n, 0, 8);
            if (i >= n_cuts) copy[flips[i - n_cuts]] ^= 0x10;
            write_whole(path, copy, i < n_cuts ? cuts[i] : n);
            /* Noticed when the store opens, or, with i odd, when it has known the file before. */
            if (i % 2 == 1) write_whole(path, bytes, n);
            store = open_store(1u << 30);
            if (i % 2 == 1) write_whole(path, copy, i < n_cuts ? cuts[i] : n);
            uint32_t found = look_up(store, LONG + 1);
            assert_true(found == 0 || found == SHORT || found == LONG);
            found = look_up(store, SHORT + 1);
            assert_true(found == 0 || found == SHORT);
            bool unknown_version = i >= n_cuts && flips[i - n_cuts] == 4;
            if (unknown_version) {
                assert_int_equal(access(path, F_OK), 0); /* a newer program may know it */
            } else {
                n_moved++;
                assert_int_equal(stats_of(store).quarantined, 1);
                assert_int_equal(access(path, F_OK), -1);
            }
            ds4_kv_store_close(store);
            write_whole(path, bytes, n);
        }
        free(bytes);
        free(copy);
    }
    assert_true(n_moved > 50 / EVERY);
    assert_true(count_files(quarantine) >= 2);
    store = open_store(1u << 30);
    assert_int_equal(look_up(store, LONG + 1), LONG);
    ds4_kv_store_close(store);
}

/* What a forger writes keeps its checksum: only what the bytes mean can give it away. */
static void forge(const char *path, size_t at, const void *bytes, size_t n_bytes) {
    size_t n;
    uint8_t *file = read_whole(path, &n), *payload = file + DS4_KV_HEADER_BYTES;
    ds4_kv_header header;
    OK(ds4_kv_header_decode(file, n, n, &header, error));
    assert_true(at + n_bytes <= header.n_payload);
    memcpy(payload + at, bytes, n_bytes);
    header.payload_hash = ds4_kv_payload_hash(payload, n - DS4_KV_HEADER_BYTES);
    ds4_kv_header_encode(&header, file);
    write_whole(path, file, n);
    free(file);
}

static void forged_numbers_are_refused(void **state) {
    (void)state;
    static const uint8_t ones[8] = {255, 255, 255, 255,
                                    255, 255, 255, 255}; /* no number anywhere */
    const int32_t no_token = N_VOCAB;
    const uint32_t n_tail = SHORT % 256;
    const size_t per_token = sizeof(int32_t) + sizeof(uint64_t);
    const struct {
        const char *suffix;
        size_t at;
        const void *bytes;
        size_t n;
    } cases[] = {
        {".blk", 256 * per_token, ones, sizeof ones},    /* a stored row */
        {".tip", n_tail * per_token, ones, sizeof ones}, /* a raw row */
        {".tip", 0, &no_token, sizeof no_token},
        {".tip", 0, &tokens[0], sizeof tokens[0]}, /* a token, but not the prompt's */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ds4_kv_store *store = open_store(1u << 30);
        save_at(store, SHORT);
        ds4_kv_store_close(store);
        char path[512];
        snprintf(path, sizeof path, "%s", find_file(cases[i].suffix));
        forge(path, cases[i].at, cases[i].bytes, cases[i].n);
        store = open_store(1u << 30);
        ds4_kv_load *load = wait_for(store, SHORT + 1, 0, 0);
        assert_int_equal(ds4_kv_load_length(load), SHORT); /* the checksum holds */
        ds4_session *session = new_session();
        assert_int_equal(ds4_kv_load_restore(load, session, NULL), DS4_FORMAT);
        assert_int_equal(ds4_session_length(session), 0);
        ds4_session_destroy(session);
        ds4_kv_load_free(load);
        assert_int_equal(access(path, F_OK), -1);
        assert_int_equal(stats_of(store).quarantined, 1);
        assert_int_equal(look_up(store, SHORT + 1), 0);
        ds4_kv_store_close(store);
    }
}

/* A block's name is the hash of its tokens: others do not get in under it, whatever its checksum.
 */
static void a_block_is_what_its_name_says(void **state) {
    (void)state;
    const int32_t wrong[] = {tokens[7] + 1, N_VOCAB, -1, INT32_MAX};
    const size_t seventh = 256 * sizeof(uint64_t) + 7 * sizeof(int32_t);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        ds4_kv_store *store = open_store(1u << 30);
        save_at(store, SHORT);
        char path[512];
        snprintf(path, sizeof path, "%s", find_file(".blk"));
        forge(path, seventh, &wrong[i], sizeof wrong[i]);
        assert_int_equal(look_up(store, SHORT + 1), 0);
        assert_int_equal(access(path, F_OK), -1);
        assert_int_equal(stats_of(store).quarantined, 1);
        ds4_kv_store_close(store);
    }
}

/* Headers whose checksum is right and which say what cannot be, or what is not ours. */
static void forged_headers_are_refused(void **state) {
    (void)state;
    ds4_kv_store *store = open_store(1u << 30);
    save_at(store, SHORT);
    ds4_kv_store_close(store);
    char path[512];
    size_t n;
    snprintf(path, sizeof path, "%s", find_file(".tip"));
    uint8_t *bytes = read_whole(path, &n);
    for (int i = 0; i < 7; i++) {
        ds4_kv_header header;
        OK(ds4_kv_header_decode(bytes, n, n, &header, error));
        if (i == 0) header.n_tokens = 0;
        if (i == 1) header.n_tokens = UINT32_MAX;
        if (i == 2) header.file.n_tail = header.n_tokens + 1;
        if (i == 3) header.block_tokens = 0;
        if (i == 4) header.block_tokens = 128;
        if (i == 5) header.identity ^= 1; /* a model of other quantisation, say */
        if (i == 6) header.file.kind = (ds4_kv_kind)3;
        uint8_t forged[DS4_KV_HEADER_BYTES], *copy = malloc(n);
        memcpy(copy, bytes, n);
        ds4_kv_header_encode(&header, forged);
        memcpy(copy, forged, sizeof forged);
        write_whole(path, copy, n);
        free(copy);
        store = open_store(1u << 30);
        assert_int_equal(look_up(store, SHORT + 1), 0);
        ds4_kv_store_close(store);
        write_whole(path, bytes, n);
    }
    free(bytes);
    store = open_store(1u << 30);
    assert_int_equal(look_up(store, SHORT + 1), SHORT);
    ds4_kv_store_close(store);
}

/* A length that would overflow every sum it enters. */
static void absurd_lengths_are_refused(void **state) {
    (void)state;
    ds4_kv_store *store = open_store(1u << 30);
    save_at(store, SHORT);
    ds4_kv_store_close(store);
    const uint64_t lengths[] = {UINT64_MAX, UINT64_MAX - DS4_KV_HEADER_BYTES + 1, 1ull << 63};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        char path[512];
        size_t n;
        ds4_kv_header header;
        snprintf(path, sizeof path, "%s", find_file(".tip"));
        uint8_t *bytes = read_whole(path, &n);
        OK(ds4_kv_header_decode(bytes, n, n, &header, error));
        header.n_payload = lengths[i];
        ds4_kv_header_encode(&header, bytes);
        write_whole(path, bytes, n);
        store = open_store(1u << 30);
        assert_int_equal(look_up(store, SHORT + 1), 0);
        assert_int_equal(stats_of(store).quarantined, 1);
        assert_int_equal(access(path, F_OK), -1);
        save_at(store, SHORT);
        ds4_kv_store_close(store);
        free(bytes);
    }
}

/* Only root can make such a file. */
static void files_of_other_users_are_not_read(void **state) {
    (void)state;
    if (geteuid() != 0) skip();
    ds4_kv_store *store = open_store(1u << 30);
    save_at(store, SHORT);
    ds4_kv_store_close(store);
    assert_int_equal(chown(find_file(".tip"), 12345, (gid_t)-1), 0);
    store = open_store(1u << 30);
    assert_int_equal(look_up(store, SHORT + 1), 0);
    ds4_kv_store_close(store);
}

static void foreign_things_are_left_alone(void **state) {
    (void)state;
    char path[600], name[DS4_KV_NAME_BYTES];
    snprintf(path, sizeof path, "%s/notes.txt", directory);
    write_whole(path, (const uint8_t *)"mine", 4);
    ds4_kv_file file = {.kind = DS4_KV_BLOCK, .key = {1, 2}};
    ds4_kv_file_name(&file, name);
    snprintf(path, sizeof path, "%s/%s", directory, name);
    assert_int_equal(mkfifo(path, 0600), 0); /* would block who opens it */
    file.key.low = 5;
    ds4_kv_file_name(&file, name);
    snprintf(path, sizeof path, "%s/%s", directory, name);
    assert_int_equal(symlink("/etc/passwd", path), 0);
    file.key.low = 6;
    ds4_kv_file_name(&file, name);
    snprintf(path, sizeof path, "%s/%s", directory, name);
    assert_int_equal(mkdir(path, 0700), 0);
    ds4_kv_store *store = open_store(1u << 30);
    save_at(store, SHORT);
    assert_int_equal(look_up(store, SHORT + 1), SHORT);
    assert_int_equal(stats_of(store).n_blocks, 1);
    ds4_kv_store_close(store);
    snprintf(path, sizeof path, "%s/notes.txt", directory);
    assert_int_equal(access(path, F_OK), 0);
    assert_int_equal(access("/etc/passwd", F_OK), 0);
}

/* Two servers: one sees what the other writes, and bears what the other removes. */
static void shares_a_directory(void **state) {
    (void)state;
    ds4_kv_store *a = open_store(1u << 30), *b = open_store(1u << 30);
    assert_int_equal(look_up(b, LONG + 1), 0);
    save_at(a, LONG);
    assert_int_equal(look_up(b, LONG + 1), LONG);
    save_at(b, SHORT);
    assert_int_equal(look_up(a, SHORT + 1), SHORT);
    char path[512];
    snprintf(path, sizeof path, "%s", find_file(".blk"));
    unlink(path);
    uint32_t found = look_up(a, LONG + 1);
    assert_true(found == 0 || found == SHORT);
    assert_int_equal(stats_of(a).quarantined, 0);
    save_at(a, LONG); /* heals */
    assert_int_equal(look_up(b, LONG + 1), LONG);
    ds4_kv_store_close(a);
    ds4_kv_store_close(b);
}

/* A process that is killed while it writes leaves whole files or none. */
static void a_writer_may_die(void **state) {
    (void)state;
#ifdef __SANITIZE_THREAD__
    skip(); /* threads of a forked process are beyond it */
#endif
    for (int round = 0; round < 6; round++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            /* Threads of the parent's engine are not there: a new one. */
            ds4_engine *own;
            ds4_session *session;
            ds4_kv_store *store;
            ds4_engine_options options = {.n_threads = 1, .max_context = CONTEXT};
            ds4_kv_store_options disk = {
                .directory = directory, .budget_bytes = 1u << 30, .min_tokens = 100};
            if (ds4_engine_create(model, &options, &own, NULL) != DS4_OK) _exit(3);
            if (ds4_session_create(own, CONTEXT, &session, NULL) != DS4_OK) _exit(3);
            if (ds4_kv_store_open(own, &disk, &store, NULL) != DS4_OK) _exit(3);
            for (uint32_t n = 300 + (uint32_t)round * 7;; n += 50) {
                for (uint32_t at = ds4_session_length(session); at < n && n < CONTEXT; at += 10) {
                    ds4_batch_item item = {
                        .session = session, .tokens = tokens + at, .n_tokens = 10};
                    if (n - at < 10) item.n_tokens = n - at;
                    if (ds4_engine_forward(own, &item, 1, NULL) != DS4_OK) _exit(3);
                }
                ds4_kv_store_save(store, session, ds4_session_length(session), DS4_KV_SAVE_EVICT);
            }
        }
        nanosleep(&(struct timespec){.tv_nsec = 150000000 + round * 31000000}, NULL);
        kill(child, SIGKILL);
        int status;
        waitpid(child, &status, 0);
        assert_true(WIFSIGNALED(status));
        ds4_kv_store *store = open_store(1u << 30);
        look_up(store, CONTEXT - 10);
        assert_int_equal(stats_of(store).quarantined, 0);
        ds4_kv_store_close(store);
    }
}

static void a_full_disk_is_borne(void **state) {
    (void)state;
    struct rlimit old, small = {.rlim_cur = 100000};
    getrlimit(RLIMIT_FSIZE, &old);
    small.rlim_max = old.rlim_max;
    ds4_kv_store *store = open_store(1u << 30);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    save_at(store, LONG); /* blocks fit, the tip does not */
    setrlimit(RLIMIT_FSIZE, &old);
    ds4_kv_disk_stats stats = stats_of(store);
    assert_int_equal(stats.save_failures, 1);
    assert_int_equal(stats.n_tips, 0);
    assert_int_equal(count_files(directory), (int)stats.n_blocks); /* nothing half is left */
    assert_int_equal(look_up(store, LONG + 1), 0);
    ds4_session *session = session_at(LONG);
    assert_false(ds4_kv_store_save(store, session, LONG, DS4_KV_SAVE_EVICT)); /* pauses */
    assert_int_equal(stats_of(store).saves_skipped, 1);
    ds4_kv_store_close(store);
    store = open_store(1u << 30);
    assert_true(ds4_kv_store_save(store, session, LONG, DS4_KV_SAVE_EVICT));
    ds4_kv_store_flush(store);
    assert_int_equal(look_up(store, LONG + 1), LONG);
    ds4_session_destroy(session);
    ds4_kv_store_close(store);
}

static void keeps_its_budget(void **state) {
    (void)state;
    ds4_kv_store *store = open_store(1u << 30);
    save_at(store, PER_CONVERSATION);
    uint64_t one = stats_of(store).used_bytes;
    ds4_kv_store_close(store);
    store = open_store(2 * one + one / 2);
    for (int i = 0; i < 4; i++) {
        tokens[0] = 100 + i; /* four conversations */
        ds4_session *session = session_at(PER_CONVERSATION);
        assert_true(ds4_kv_store_save(store, session, PER_CONVERSATION, DS4_KV_SAVE_EVICT));
        ds4_kv_store_flush(store);
        ds4_kv_disk_stats stats = stats_of(store);
        /* Blocks whose tip fell stay for a minute; tips do not. */
        assert_true(stats.n_tips <= 2);
        /* What was just saved is there. */
        assert_int_equal(look_up_beside(store, PER_CONVERSATION + 1, session), PER_CONVERSATION);
        ds4_session_destroy(session);
    }
    assert_true(stats_of(store).evicted >= 2);
    tokens[0] = 10;
    ds4_kv_store_close(store);
    ds4_error error = {0};
    ds4_kv_store_options options = {.directory = "/proc/nothing/here", .budget_bytes = 1};
    assert_int_equal(ds4_kv_store_open(engine, &options, &store, &error), DS4_IO);
    assert_non_null(strstr(error.message, "/proc/nothing/here"));
}

static void nothing_is_lost_when_the_directory_vanishes(void **state) {
    (void)state;
    ds4_kv_store *store = open_store(1u << 30);
    save_at(store, LONG);
    for_each_file(directory, remove_one);
    rmdir(directory);
    ds4_session *session = session_at(MORE);
    ds4_kv_store_save(store, session, MORE, DS4_KV_SAVE_EVICT);
    ds4_kv_store_flush(store);
    ds4_session_destroy(session);
    assert_int_equal(stats_of(store).save_failures, 1);
    assert_int_equal(look_up(store, LONG + 1), 0);
    ds4_kv_store_close(store);
    assert_int_equal(mkdir(directory, 0700), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, new_directory, drop_directory)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(survives_and_grows_by_appending),
        TEST(damage_is_never_served),
        TEST(forged_numbers_are_refused),
        TEST(a_block_is_what_its_name_says),
        TEST(forged_headers_are_refused),
        TEST(absurd_lengths_are_refused),
        TEST(files_of_other_users_are_not_read),
        TEST(foreign_things_are_left_alone),
        TEST(shares_a_directory),
        TEST(a_writer_may_die),
        TEST(a_full_disk_is_borne),
        TEST(keeps_its_budget),
        TEST(nothing_is_lost_when_the_directory_vanishes),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
