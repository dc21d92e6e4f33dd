/* The scheduler over an engine that is a hash function: the next logits depend on the tokens of a
 * session alone. This file defines the engine's functions itself, so that steps can be counted,
 * slowed down and made to fail. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/error.h"
#include "sched/sched.h"
#include "tokenizer/tokenizer.h"

/* ---- the engine ---- */

enum { CONTEXT = 4096, POISON = 256 /* banned: never sampled */, JOURNAL = 200 };

struct ds4_model {
    ds4_model_info info;
    ds4_tokenizer *tokenizer;
};
struct ds4_engine {
    ds4_engine_options options;
};
struct ds4_session {
    int32_t tokens[CONTEXT];
    uint64_t dials[CONTEXT];
    uint32_t n, floor;
};

static atomic_uint step_microseconds;
static atomic_uint largest_step;

const ds4_model_info *ds4_model_get_info(const ds4_model *model) {
    return &model->info;
}
const ds4_tokenizer *ds4_model_get_tokenizer(const ds4_model *model) {
    return model->tokenizer;
}

enum { MOST_BATCH = 512 };

ds4_status ds4_engine_create(const ds4_model *model, const ds4_engine_options *options,
                             ds4_engine **engine, ds4_error *error) {
    (void)model, (void)error;
    *engine = calloc(1, sizeof **engine);
    (*engine)->options = *options;
    if (options->max_batch_tokens == 0) (*engine)->options.max_batch_tokens = MOST_BATCH;
    return DS4_OK;
}
void ds4_engine_destroy(ds4_engine *engine) {
    free(engine);
}
const ds4_engine_options *ds4_engine_get_options(const ds4_engine *engine) {
    return &engine->options;
}

ds4_status ds4_session_create(ds4_engine *engine, uint32_t n_context, ds4_session **session,
                              ds4_error *error) {
    (void)engine, (void)error;
    assert_true(n_context <= CONTEXT);
    *session = calloc(1, sizeof **session);
    return DS4_OK;
}
void ds4_session_destroy(ds4_session *session) {
    free(session);
}
uint32_t ds4_session_length(const ds4_session *session) {
    return session->n;
}
const int32_t *ds4_session_tokens(const ds4_session *session) {
    return session->tokens;
}
void ds4_session_reset(ds4_session *session) {
    session->n = session->floor = 0;
}
uint32_t ds4_session_rewind_floor(const ds4_session *session) {
    uint32_t reach = session->n > JOURNAL ? session->n - JOURNAL : 0;
    return reach > session->floor ? reach : session->floor;
}
ds4_status ds4_session_rewind(ds4_session *session, uint32_t n_tokens, ds4_error *error) {
    if (n_tokens < ds4_session_rewind_floor(session))
        return ds4_fail(error, DS4_UNSUPPORTED, "too far");
    session->n = n_tokens;
    return DS4_OK;
}

ds4_status ds4_engine_plan(const ds4_model *model, const ds4_engine_options *options,
                           ds4_memory_plan *plan, ds4_error *error) {
    (void)model, (void)options, (void)error;
    *plan = (ds4_memory_plan){.session_rows = 4 * CONTEXT, .session_fixed = 1000};
    return DS4_OK;
}
const uint64_t *ds4_session_dials(const ds4_session *session) {
    return session->dials;
}
uint32_t ds4_session_context(const ds4_session *session) {
    (void)session;
    return CONTEXT;
}
uint64_t ds4_session_row_bytes(const ds4_session *session, uint32_t n_tokens) {
    (void)session;
    return 4ull * n_tokens;
}
void ds4_session_release(ds4_session *session) {
    session->n = 0;
}
ds4_status ds4_session_copy(ds4_session *target, const ds4_session *source, ds4_error *error) {
    (void)error;
    *target = *source;
    return DS4_OK;
}
ds4_status ds4_session_share(ds4_session *target, const ds4_session *source, uint32_t n_tokens,
                             ds4_error *error) {
    (void)error;
    memcpy(target->tokens, source->tokens, n_tokens * sizeof *source->tokens);
    target->n = 0;
    return DS4_OK;
}
size_t ds4_session_tip_bytes(const ds4_session *session, uint32_t n_tokens) {
    (void)session;
    return 4 + n_tokens % 7;
}
ds4_status ds4_session_save_tip(const ds4_session *session, uint32_t n_tokens, uint8_t *bytes,
                                ds4_error *error) {
    if (n_tokens < ds4_session_rewind_floor(session) || n_tokens > session->n)
        return ds4_fail(error, DS4_UNSUPPORTED, "too far");
    memcpy(bytes, &n_tokens, sizeof n_tokens);
    return DS4_OK;
}
ds4_status ds4_session_restore_tip(ds4_session *session, uint32_t n_tokens, const uint8_t *bytes,
                                   size_t n_bytes, ds4_error *error) {
    (void)error;
    assert_int_equal(n_bytes, ds4_session_tip_bytes(session, n_tokens));
    assert_memory_equal(bytes, &n_tokens, sizeof n_tokens);
    session->n = session->floor = n_tokens;
    return DS4_OK;
}

/* For the store on disk, which these tests do without. */
uint32_t ds4_engine_block_tokens(const ds4_engine *engine) {
    (void)engine;
    return 256;
}
uint64_t ds4_engine_identity(const ds4_engine *engine) {
    (void)engine;
    return 1;
}
size_t ds4_session_block_bytes(const ds4_session *session) {
    (void)session;
    return 0;
}
ds4_status ds4_session_save_block(const ds4_session *session, uint32_t first, uint8_t *bytes,
                                  ds4_error *error) {
    (void)session, (void)first, (void)bytes;
    return ds4_fail(error, DS4_UNSUPPORTED, "no blocks");
}
ds4_status ds4_session_restore_block(ds4_session *session, uint32_t first, const int32_t *tokens,
                                     const uint64_t *dials, const uint8_t *bytes, size_t n_bytes,
                                     ds4_error *error) {
    (void)session, (void)first, (void)tokens, (void)dials, (void)bytes, (void)n_bytes;
    return ds4_fail(error, DS4_UNSUPPORTED, "no blocks");
}

static void fake_logits(const ds4_session *session, size_t n_vocab, float *logits) {
    uint64_t hash = 1469598103934665603u;
    for (uint32_t i = 0; i < session->n; i++)
        hash = (hash ^ (uint64_t)session->tokens[i]) * 1099511628211u;
    for (size_t i = 0; i < n_vocab; i++) {
        uint64_t x = (hash + i) * 0x9e3779b97f4a7c15u;
        x ^= x >> 29;
        logits[i] = (float)(x * 0xbf58476d1ce4e5b9u >> 40) / 16777216.0f * 4.0f;
    }
    /* Behind the 256 bytes: what is banned would always win, what ends an answer never does. */
    for (size_t i = 256; i < n_vocab; i++)
        logits[i] = i == 256 || i == 259 || i > 262 ? 50.0f : -50.0f;
}

static size_t vocabulary; /* what a row of logits holds */

float *ds4_engine_allocate_logits(ds4_engine *engine, size_t n_rows) {
    (void)engine;
    return malloc(n_rows * vocabulary * sizeof(float));
}

void ds4_engine_free_logits(ds4_engine *engine, float *logits) {
    (void)engine;
    free(logits);
}

ds4_status ds4_engine_forward(ds4_engine *engine, const ds4_batch_item *items, size_t n_items,
                              ds4_error *error) {
    uint32_t sum = 0;
    for (size_t i = 0; i < n_items; i++) {
        sum += items[i].n_tokens;
        for (uint32_t k = 0; k < items[i].n_tokens; k++)
            if (items[i].tokens[k] == POISON) return ds4_fail(error, DS4_INTERNAL, "poison");
        for (size_t k = 0; k < i; k++) assert_ptr_not_equal(items[i].session, items[k].session);
    }
    assert_true(sum > 0 && sum <= engine->options.max_batch_tokens);
    if (sum > atomic_load(&largest_step)) atomic_store(&largest_step, sum);
    unsigned pause = atomic_load(&step_microseconds);
    nanosleep(&(struct timespec){.tv_nsec = (long)pause * 1000}, NULL);
    for (size_t i = 0; i < n_items; i++) {
        ds4_session *session = items[i].session;
        assert_true(session->n + items[i].n_tokens <= CONTEXT);
        memcpy(session->tokens + session->n, items[i].tokens, items[i].n_tokens * sizeof(int32_t));
        session->n += items[i].n_tokens;
        if (items[i].want == DS4_LOGITS_LAST) fake_logits(session, vocabulary, items[i].logits);
    }
    return DS4_OK;
}

/* ---- a model with a byte vocabulary ---- */

static const char *const controls[] = {
    "<\xef\xbd\x9c"
    "begin\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>",
    "<\xef\xbd\x9c"
    "end\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>",
    "<\xef\xbd\x9cUser\xef\xbd\x9c>",
    "<\xef\xbd\x9c"
    "Assistant\xef\xbd\x9c>",
    "<think>",
    "</think>",
    "\xef\xbd\x9c"
    "DSML\xef\xbd\x9c",
};
enum { N_CONTROLS = 7 };

/* Byte -> the character that stands for it in token strings. */
static size_t byte_symbol(unsigned byte, char *out) {
    unsigned code = byte;
    if (byte <= 0x20)
        code = 0x100 + byte;
    else if (byte >= 0x7f && byte <= 0xa0)
        code = 0x121 + (byte - 0x7f);
    else if (byte == 0xad)
        code = 0x143;
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    out[0] = (char)(0xc0 | code >> 6);
    out[1] = (char)(0x80 | (code & 0x3f));
    return 2;
}

static ds4_model model;

static int make_model(void **state) {
    (void)state;
    static char symbols[256][2];
    static ds4_token_string tokens[256 + N_CONTROLS];
    for (unsigned i = 0; i < 256; i++)
        tokens[i] = (ds4_token_string){symbols[i], byte_symbol(i, symbols[i])};
    for (size_t i = 0; i < N_CONTROLS; i++)
        tokens[256 + i] = (ds4_token_string){controls[i], strlen(controls[i])};
    ds4_tokenizer_tables tables = {.tokens = tokens, .n_tokens = 256 + N_CONTROLS};
    ds4_error error = {0};
    if (ds4_tokenizer_create(&tables, 0, &model.tokenizer, &error) != DS4_OK) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    vocabulary = 256 + N_CONTROLS + 9; /* rows beyond the tokens: never to be sampled */
    model.info.n_vocab = (uint32_t)vocabulary;
    return 0;
}

static int free_model(void **state) {
    (void)state;
    ds4_tokenizer_destroy(model.tokenizer);
    return 0;
}

/* ---- clients ---- */

typedef struct client {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    char text[8192];
    size_t n;
    bool done, stalled;
    unsigned n_events;
    ds4_status status;
    ds4_sched_result result;
    ds4_sched_job *job;
} client;

static void on_event(void *context, const ds4_chat_event *event) {
    client *c = context;
    pthread_mutex_lock(&c->mutex);
    c->n_events++;
    if (event->type == DS4_EVENT_CONTENT || event->type == DS4_EVENT_REASONING) {
        size_t room = sizeof c->text - c->n, take = event->text.n < room ? event->text.n : room;
        if (take > 0) memcpy(c->text + c->n, event->text.data, take);
        c->n += take;
    }
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->mutex);
}

static bool on_stalled(void *context) {
    client *c = context;
    pthread_mutex_lock(&c->mutex);
    bool stalled = c->stalled;
    pthread_mutex_unlock(&c->mutex);
    return stalled;
}

static void on_done(void *context, const ds4_sched_result *result) {
    client *c = context;
    pthread_mutex_lock(&c->mutex);
    c->done = true;
    c->status = result->status;
    c->result = *result;
    c->result.message = NULL; /* borrowed */
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->mutex);
}

static void client_init(client *c) {
    memset(c, 0, sizeof *c);
    pthread_mutex_init(&c->mutex, NULL);
    pthread_cond_init(&c->changed, NULL);
}

static ds4_status submit(ds4_sched *sched, client *c, const int32_t *prompt, uint32_t n_prompt,
                         uint64_t seed, uint32_t max_tokens) {
    ds4_sched_request request = {
        .prompt = prompt,
        .n_prompt = n_prompt,
        .max_tokens = max_tokens,
        .sampling = {.temperature = 1, .top_p = 1, .min_p = 0, .seed = seed},
        .sink = {.event = on_event, .stalled = on_stalled, .done = on_done, .context = c},
        .label = "test",
    };
    return ds4_sched_submit(sched, &request, &c->job, NULL);
}

static void wait_done(client *c) {
    pthread_mutex_lock(&c->mutex);
    while (!c->done) pthread_cond_wait(&c->changed, &c->mutex);
    pthread_mutex_unlock(&c->mutex);
}

static unsigned events_of(client *c) {
    pthread_mutex_lock(&c->mutex);
    unsigned n = c->n_events;
    pthread_mutex_unlock(&c->mutex);
    return n;
}

static void client_free(client *c) {
    wait_done(c);
    ds4_sched_job_release(c->job);
    pthread_cond_destroy(&c->changed);
    pthread_mutex_destroy(&c->mutex);
}

static void nap(long milliseconds) {
    nanosleep(&(struct timespec){.tv_nsec = milliseconds * 1000000}, NULL);
}

static int32_t prompt[CONTEXT]; /* no poison in it */

static ds4_sched *start(uint32_t n_slots, uint32_t n_queue) {
    for (int32_t i = 0; i < CONTEXT; i++) prompt[i] = 32 + (i * 7 + i / 64) % 90;
    atomic_store(&step_microseconds, 0);
    ds4_sched_options options = {
        .engine = {.max_context = CONTEXT}, .n_slots = n_slots, .n_queue = n_queue};
    ds4_sched *sched = NULL;
    ds4_error error = {0};
    assert_int_equal(ds4_sched_create(&model, &options, &sched, &error), DS4_OK);
    return sched;
}

/* ---- tests ---- */

static void test_company_does_not_matter(void **state) {
    (void)state;
    ds4_sched *sched = start(3, 64);
    client alone;
    client_init(&alone);
    assert_int_equal(submit(sched, &alone, prompt, 700, 42, 200), DS4_OK);
    wait_done(&alone);
    assert_int_equal(alone.status, DS4_OK);
    assert_int_equal(alone.result.n_prompt, 700);
    assert_true(alone.n > 0);
    static client others[40];
    for (uint32_t i = 0; i < 40; i++) {
        client_init(&others[i]);
        bool same = i % 4 == 3;
        assert_int_equal(submit(sched, &others[i], same ? prompt : prompt + i,
                                same ? 700 : 10 + 17 * i, same ? 42 : i + 1,
                                same ? 200 : 5 + 3 * i),
                         DS4_OK);
    }
    for (uint32_t i = 0; i < 40; i++) {
        wait_done(&others[i]);
        assert_int_equal(others[i].status, DS4_OK);
        if (i % 4 == 3) {
            assert_int_equal(others[i].n, alone.n);
            assert_memory_equal(others[i].text, alone.text, alone.n);
            assert_int_equal(others[i].result.n_generated, alone.result.n_generated);
        }
        client_free(&others[i]);
    }
    client_free(&alone);
    ds4_sched_destroy(sched);
}

static void test_limits(void **state) {
    (void)state;
    ds4_sched *sched = start(1, 4);
    client c;
    client_init(&c);
    assert_int_equal(submit(sched, &c, prompt, CONTEXT, 1, 5), DS4_CONTEXT_FULL);
    assert_int_equal(submit(sched, &c, prompt, 0, 1, 5), DS4_CONTEXT_FULL);
    assert_int_equal(submit(sched, &c, prompt, CONTEXT - 1, 1, 500), DS4_OK);
    wait_done(&c);
    assert_int_equal(c.status, DS4_OK);
    assert_int_equal(c.result.finish, DS4_FINISH_LENGTH);
    assert_int_equal(c.result.n_generated, 1);
    assert_true(atomic_load(&largest_step) <= MOST_BATCH);
    client_free(&c);
    ds4_sched_destroy(sched);
}

static void test_reuses_what_a_slot_holds(void **state) {
    (void)state;
    ds4_sched *sched = start(2, 4);
    client first, second, third;
    client_init(&first), client_init(&second), client_init(&third);
    assert_int_equal(submit(sched, &first, prompt, 1000, 1, 3), DS4_OK);
    wait_done(&first);
    assert_int_equal(first.result.n_cached, 0);
    assert_int_equal(submit(sched, &second, prompt, 1500, 1, 3), DS4_OK);
    wait_done(&second);
    assert_int_equal(second.result.n_cached,
                     1000); /* the sampled tokens behind it differ: rewound */
    assert_int_equal(submit(sched, &third, prompt, 1500, 1, 3), DS4_OK);
    wait_done(&third);
    assert_int_equal(third.result.n_cached, 1499);
    assert_int_equal(third.n, second.n);
    assert_memory_equal(third.text, second.text, third.n);
    ds4_sched_status status;
    ds4_sched_get_status(sched, &status);
    assert_int_equal(status.prompt_tokens, 1000 + 500 + 1);
    assert_int_equal(status.cached_tokens, 1000 + 1499);
    client_free(&first), client_free(&second), client_free(&third);
    ds4_sched_destroy(sched);
}

static void test_full_queue(void **state) {
    (void)state;
    ds4_sched *sched = start(1, 2);
    client running, waiting[2], refused;
    client_init(&running), client_init(&refused);
    atomic_store(&step_microseconds, 2000);
    assert_int_equal(submit(sched, &running, prompt, 10, 1, 3000), DS4_OK);
    while (events_of(&running) == 0) nap(1);
    for (int i = 0; i < 2; i++) {
        client_init(&waiting[i]);
        assert_int_equal(submit(sched, &waiting[i], prompt, 10, 1, 2), DS4_OK);
    }
    assert_int_equal(submit(sched, &refused, prompt, 10, 1, 2), DS4_BUSY);
    assert_null(refused.job);
    atomic_store(&step_microseconds, 0);
    ds4_sched_cancel(running.job);
    for (int i = 0; i < 2; i++) {
        wait_done(&waiting[i]);
        assert_int_equal(waiting[i].status, DS4_OK);
        client_free(&waiting[i]);
    }
    client_free(&running);
    ds4_sched_destroy(sched);
}

static void test_cancellation(void **state) {
    (void)state;
    ds4_sched *sched = start(1, 4);
    client reading, queued, after;
    client_init(&reading), client_init(&queued), client_init(&after);
    atomic_store(&step_microseconds, 20000);
    assert_int_equal(submit(sched, &reading, prompt, 4000, 1, 5), DS4_OK);
    assert_int_equal(submit(sched, &queued, prompt + 1, 100, 1, 5), DS4_OK);
    ds4_sched_status status;
    do {
        nap(1);
        ds4_sched_get_status(sched, &status);
    } while (status.prompt_tokens == 0);
    ds4_sched_cancel(queued.job); /* leaves the queue while the other one computes */
    wait_done(&queued);
    assert_int_equal(queued.status, DS4_CANCELLED);
    ds4_sched_cancel(reading.job);
    wait_done(&reading);
    assert_int_equal(reading.status, DS4_CANCELLED);
    ds4_sched_get_status(sched, &status);
    uint64_t read = status.prompt_tokens;
    assert_true(read < 4000);
    assert_int_equal(status.jobs_cancelled, 2);
    atomic_store(&step_microseconds, 0);
    /* What was read is not lost. */
    assert_int_equal(submit(sched, &after, prompt, 4000, 1, 5), DS4_OK);
    wait_done(&after);
    assert_int_equal(after.result.n_cached, read);
    ds4_sched_cancel(after.job); /* harmless */
    client_free(&reading), client_free(&queued), client_free(&after);
    ds4_sched_destroy(sched);
}

static void test_a_stalled_reader_pauses_only_itself(void **state) {
    (void)state;
    ds4_sched *sched = start(2, 4);
    client slow, quick;
    client_init(&slow), client_init(&quick);
    slow.stalled = true;
    assert_int_equal(submit(sched, &slow, prompt, 10, 1, 500), DS4_OK);
    assert_int_equal(submit(sched, &quick, prompt + 1, 10, 1, 300), DS4_OK);
    wait_done(&quick);
    assert_int_equal(quick.status, DS4_OK);
    nap(30);
    assert_true(events_of(&slow) <= 1); /* the token behind the prompt at most */
    pthread_mutex_lock(&slow.mutex);
    assert_false(slow.done);
    slow.stalled = false;
    pthread_mutex_unlock(&slow.mutex);
    ds4_sched_job_wake(slow.job);
    wait_done(&slow);
    assert_int_equal(slow.status, DS4_OK);
    client_free(&slow), client_free(&quick);
    ds4_sched_destroy(sched);
}

static void test_only_the_request_to_blame_fails(void **state) {
    (void)state;
    ds4_sched *sched = start(2, 4);
    client good, bad;
    client_init(&good), client_init(&bad);
    atomic_store(&step_microseconds, 1000);
    int32_t poisoned[50];
    memcpy(poisoned, prompt, sizeof poisoned);
    poisoned[40] = POISON;
    assert_int_equal(submit(sched, &good, prompt, 2000, 1, 50), DS4_OK);
    assert_int_equal(submit(sched, &bad, poisoned, 50, 1, 50), DS4_OK);
    wait_done(&bad), wait_done(&good);
    assert_int_equal(bad.status, DS4_INTERNAL);
    assert_int_equal(good.status, DS4_OK);
    client_free(&good), client_free(&bad);
    ds4_sched_destroy(sched);
}

static void test_drain(void **state) {
    (void)state;
    ds4_sched *sched = start(2, 8);
    client decoding, reading, queued, late;
    client_init(&decoding), client_init(&reading), client_init(&queued), client_init(&late);
    atomic_store(&step_microseconds, 5000);
    assert_int_equal(submit(sched, &decoding, prompt, 5, 1, 4000), DS4_OK);
    while (events_of(&decoding) == 0) nap(1);
    assert_int_equal(submit(sched, &reading, prompt + 9, 4000, 1, 5), DS4_OK);
    assert_int_equal(submit(sched, &queued, prompt, 5, 1, 5), DS4_OK);
    nap(20);
    ds4_sched_drain(sched, 0.1);
    assert_int_equal(submit(sched, &late, prompt, 5, 1, 5), DS4_BUSY);
    wait_done(&queued), wait_done(&reading);
    assert_int_equal(queued.status, DS4_BUSY);
    assert_int_equal(reading.status, DS4_BUSY);
    wait_done(&decoding);
    assert_true(decoding.status == DS4_BUSY || decoding.status == DS4_OK);
    client_free(&decoding), client_free(&reading), client_free(&queued);
    ds4_sched_destroy(sched);
}

static void test_destroy_ends_everything(void **state) {
    (void)state;
    ds4_sched *sched = start(2, 16);
    static client clients[10];
    atomic_store(&step_microseconds, 1000);
    for (uint32_t i = 0; i < 10; i++) {
        client_init(&clients[i]);
        assert_int_equal(submit(sched, &clients[i], prompt + i, 1000, i + 1, 3000), DS4_OK);
    }
    nap(20);
    ds4_sched_destroy(sched);
    for (uint32_t i = 0; i < 10; i++) {
        assert_true(clients[i].done);
        ds4_sched_cancel(clients[i].job); /* the scheduler is gone: must not be touched */
        client_free(&clients[i]);
    }
}

static void test_bans(void **state) {
    (void)state;
    ds4_ban_set *bans = NULL;
    assert_int_equal(ds4_ban_set_create(&model, &bans, NULL), DS4_OK);
    const ds4_special_ids *special = ds4_tokenizer_special_ids(model.tokenizer);
    const int32_t allowed[] = {
        0, 255, special->eos, special->user, special->think, special->think_end, special->dsml};
    const int32_t banned[] = {special->bos,        special->assistant,
                              256 + N_CONTROLS,    (int32_t)vocabulary - 1,
                              (int32_t)vocabulary, -1};
    for (size_t i = 0; i < sizeof allowed / sizeof allowed[0]; i++)
        assert_false(ds4_ban_set_has(bans, allowed[i]));
    for (size_t i = 0; i < sizeof banned / sizeof banned[0]; i++)
        assert_true(ds4_ban_set_has(bans, banned[i]));
    ds4_ban_set_destroy(bans);
}

static void test_sampling_profiles(void **state) {
    (void)state;
    ds4_sampling_request open = {.temperature = 1, .top_p = 1, .min_p = 0.05f};
    ds4_sampling_request r = ds4_sampling_resolve(open, DS4_SAMPLING_STABLE, true);
    assert_true(r.temperature == 0.6f && r.top_k == 40 && r.top_p == 0.95f && r.min_p == 0.05f);
    r = ds4_sampling_resolve(open, DS4_SAMPLING_STABLE, false);
    assert_true(r.temperature == 1.0f && r.top_k == 0 && r.top_p == 1.0f);
    ds4_sampling_request asked = {
        .temperature = 0, .has_temperature = true, .top_p = 1, .top_k = 7, .has_top_k = true};
    r = ds4_sampling_resolve(asked, DS4_SAMPLING_STABLE, true);
    assert_true(r.temperature == 0.0f && r.top_k == 7 && r.top_p == 0.95f);
    r = ds4_sampling_resolve(asked, DS4_SAMPLING_FORCED, true);
    assert_true(r.temperature == 1.0f && r.top_k == 0 && r.top_p == 1.0f);
    r = ds4_sampling_resolve(asked, DS4_SAMPLING_CLIENT, true);
    assert_true(r.temperature == 0.0f && r.top_k == 7 && r.top_p == 1.0f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_company_does_not_matter),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_reuses_what_a_slot_holds),
        cmocka_unit_test(test_full_queue),
        cmocka_unit_test(test_cancellation),
        cmocka_unit_test(test_a_stalled_reader_pauses_only_itself),
        cmocka_unit_test(test_only_the_request_to_blame_fails),
        cmocka_unit_test(test_drain),
        cmocka_unit_test(test_destroy_ends_everything),
        cmocka_unit_test(test_bans),
        cmocka_unit_test(test_sampling_profiles),
    };
    return cmocka_run_group_tests(tests, make_model, free_model);
}
