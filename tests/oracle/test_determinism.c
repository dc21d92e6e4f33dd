/* The same tokens give the same logits, bit for bit: however they are cut into calls, with any
 * number of threads, in company or alone, after saving and restoring, after rewinding and
 * replaying. */
#include "oracle.h"

#define TINY DS4_FIXTURES "/tinyv4/"

/* Under a sanitizer, which costs a factor of ten and more, every path is still taken but fewer
 * times: the steps below meet each of its conditions. */
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
enum { SLOW = 1 };
#else
enum { SLOW = 0 };
#endif

/* Most of this file asks nothing of the threads that the first tests have not asked, and takes
 * minutes under the thread sanitizer. */
#ifdef __SANITIZE_THREAD__
enum { ONLY_THREADS = 1 };
#else
enum { ONLY_THREADS = 0 };
#endif

typedef struct fixture {
    ds4_model *model;
    int32_t *tokens;
    uint32_t n;
    size_t n_vocab;
} fixture;

static const ds4_engine_options FULL = {
    .kv_sim = DS4_KV_SIM_FULL, .max_context = 512, .n_threads = 2};

static int set_up(void **state) {
    fixture *f = calloc(1, sizeof *f);
    size_t n_bytes;
    f->tokens = oracle_read(TINY "tokens.i32", &n_bytes);
    f->n = (uint32_t)(n_bytes / sizeof *f->tokens);
    if (ds4_model_open(TINY "tiny.gguf", NULL, &f->model, NULL) != DS4_OK) return -1;
    f->n_vocab = ds4_model_get_info(f->model)->n_vocab;
    *state = f;
    return 0;
}

static int tear_down(void **state) {
    fixture *f = *state;
    ds4_model_close(f->model);
    free(f->tokens);
    free(f);
    return 0;
}

static ds4_engine *make_engine(const fixture *f, ds4_engine_options options) {
    ds4_engine *engine;
    CHECK_OK(ds4_engine_create(f->model, &options, &engine, error));
    return engine;
}

static float *reference(const fixture *f, ds4_engine_options options) {
    ds4_engine *engine = make_engine(f, options);
    float *logits = oracle_evaluate(engine, f->model, f->tokens, f->n, f->n);
    ds4_engine_destroy(engine);
    return logits;
}

static void feed(ds4_engine *engine, ds4_session *session, const fixture *f, uint32_t from,
                 uint32_t to, float *last) {
    ds4_batch_item item = {
        .session = session,
        .tokens = f->tokens + from,
        .n_tokens = to - from,
        .want = DS4_LOGITS_LAST,
        .logits = last,
    };
    CHECK_OK(ds4_engine_forward(engine, &item, 1, error));
}

static void chunks_and_threads(void **state) {
    const fixture *f = *state;
    static const uint32_t chunks[] = {1, 7, 64, 420};
    size_t first_chunk = SLOW ? 2 : 0;
    const ds4_kv_sim sims[] = {DS4_KV_SIM_FULL, DS4_KV_SIM_FP4, DS4_KV_SIM_NONE};
    for (size_t s = 0; s < (SLOW ? 1 : 3); s++) {
        for (int activations = 0; activations < 2; activations++) {
            ds4_engine_options options = FULL;
            options.kv_sim = sims[s];
            options.activations = (ds4_activations)activations;
            float *expected = reference(f, options);
            for (uint32_t threads = 1; threads <= (SLOW ? 2 : 3); threads++) {
                options.n_threads = threads;
                ds4_engine *engine = make_engine(f, options);
                for (size_t c = first_chunk; c < sizeof chunks / sizeof chunks[0]; c++) {
                    /* How rows are stored has nothing to do with threads: a part will do. */
                    if (s > 0 && (threads == 2 || c % 2 != threads / 2)) continue;
                    float *logits = oracle_evaluate(engine, f->model, f->tokens, f->n, chunks[c]);
                    assert_memory_equal(logits, expected, f->n * f->n_vocab * sizeof *logits);
                    free(logits);
                }
                ds4_engine_destroy(engine);
            }
            free(expected);
        }
    }
}

/* Four sessions share each step with ever different numbers of tokens; each must get what it gets
 * alone. */
static void company(void **state) {
    const fixture *f = *state;
    float *expected = reference(f, FULL);
    ds4_engine *engine = make_engine(f, FULL);
    ds4_session *sessions[4];
    float *logits[4];
    uint32_t length[4] = {f->n, 300, 17, 129}, done[4] = {0};
    uint32_t random = 12345;
    for (int i = 0; i < 4; i++) {
        CHECK_OK(ds4_session_create(engine, 512, &sessions[i], error));
        logits[i] = malloc(length[i] * f->n_vocab * sizeof(float));
    }
    for (bool more = true; more;) {
        ds4_batch_item items[4];
        size_t n_items = 0;
        more = false;
        for (int i = 0; i < 4; i++) {
            random = random * 1664525u + 1013904223u;
            uint32_t n = (random >> 16) % 40;
            if (n > length[i] - done[i]) n = length[i] - done[i];
            more = more || done[i] + n < length[i];
            if (n == 0) continue;
            items[n_items++] = (ds4_batch_item){
                .session = sessions[i],
                .tokens = f->tokens + done[i],
                .n_tokens = n,
                .want = DS4_LOGITS_ALL,
                .logits = logits[i] + done[i] * f->n_vocab,
            };
            done[i] += n;
        }
        CHECK_OK(ds4_engine_forward(engine, items, n_items, error));
    }
    for (int i = 0; i < 4; i++) {
        assert_memory_equal(logits[i], expected, length[i] * f->n_vocab * sizeof(float));
        ds4_session_destroy(sessions[i]);
        free(logits[i]);
    }
    ds4_engine_destroy(engine);
    free(expected);
}

static void save_and_restore(void **state) {
    if (ONLY_THREADS) skip();
    const fixture *f = *state;
    float *expected = reference(f, FULL), *last = malloc(f->n_vocab * sizeof *last);
    ds4_engine *engine = make_engine(f, FULL);
    static const uint32_t cuts[] = {0, 1, 3, 4, 15, 16, 127, 128, 129, 130, 255, 256, 257, 400};
    for (size_t c = 0; c < sizeof cuts / sizeof cuts[0]; c += SLOW ? 6 : 1) {
        ds4_session *live, *restored;
        uint8_t *bytes, *again;
        size_t n_bytes, n_again;
        CHECK_OK(ds4_session_create(engine, 512, &live, error));
        CHECK_OK(ds4_session_create(engine, 500, &restored, error));
        if (cuts[c] > 0) feed(engine, live, f, 0, cuts[c], last);
        feed(engine, restored, f, 5, 300, last); /* old content must not shine through */
        CHECK_OK(ds4_session_save(live, &bytes, &n_bytes, error));
        CHECK_OK(ds4_session_restore(restored, bytes, n_bytes, error));
        assert_int_equal(ds4_session_length(restored), cuts[c]);
        CHECK_OK(ds4_session_save(restored, &again, &n_again, error));
        assert_int_equal(n_bytes, n_again);
        assert_memory_equal(bytes, again, n_bytes);
        feed(engine, restored, f, cuts[c], f->n, last);
        assert_memory_equal(last, expected + (f->n - 1) * f->n_vocab, f->n_vocab * sizeof *last);
        /* Damage is noticed, and leaves an empty session that works. */
        assert_int_equal(ds4_session_restore(restored, bytes, n_bytes - 1, NULL), DS4_FORMAT);
        assert_int_equal(ds4_session_length(restored), 0);
        bytes[9] ^= 1;
        assert_int_equal(ds4_session_restore(restored, bytes, n_bytes, NULL), DS4_FORMAT);
        free(bytes);
        free(again);
        ds4_session_destroy(live);
        ds4_session_destroy(restored);
    }
    ds4_engine_destroy(engine);
    free(expected);
    free(last);
}

/* Blocks and tips: restored into a session that held something else, shared with a second one, and
 * taken back in place far behind the journal. */
static void parts(void **state) {
    if (ONLY_THREADS) skip();
    const fixture *f = *state;
    float *expected = reference(f, FULL), *last = malloc(f->n_vocab * sizeof *last);
    ds4_engine *engine = make_engine(f, FULL);
    const uint32_t block = ds4_engine_block_tokens(engine);
    assert_int_equal(block, 256);
    const float *final = expected + (f->n - 1) * f->n_vocab;
    static const uint32_t cuts[] = {1, 6, 131, 255, 256, 257, 300, 390};
    for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i += SLOW ? 5 : 1) {
        uint32_t cut = cuts[i];
        ds4_session *live, *other;
        CHECK_OK(ds4_session_create(engine, 500, &live, error));
        CHECK_OK(ds4_session_create(engine, 500, &other, error));
        feed(engine, live, f, 0, cut, last);
        size_t n_tip = ds4_session_tip_bytes(live, cut), n_block = ds4_session_block_bytes(live);
        uint8_t *tip = malloc(n_tip), *rows = malloc(n_block);
        /* Also from a little further on. */
        if (i % 2 == 1) feed(engine, live, f, cut, cut + 20, last);
        CHECK_OK(ds4_session_save_tip(live, cut, tip, error));
        feed(engine, live, f, ds4_session_length(live), f->n, last);
        assert_int_equal(ds4_session_save_tip(live, cut, tip, NULL),
                         f->n - cut > 128 ? DS4_UNSUPPORTED : DS4_OK);

        feed(engine, other, f, 5, 300, last); /* old content must not shine through */
        CHECK_OK(ds4_session_share(other, live, cut, error));
        assert_int_equal(ds4_session_length(other), 0);
        CHECK_OK(ds4_session_restore_tip(other, cut, tip, n_tip, error));
        assert_int_equal(ds4_session_length(other), cut);
        feed(engine, other, f, cut, f->n, last);
        assert_memory_equal(last, final, f->n_vocab * sizeof *last);

        feed(engine, other, f, 0, 1, last);
        ds4_session_release(other);
        feed(engine, other, f, 7, 290, last);
        ds4_session_reset(other);
        if (cut >= block) {
            CHECK_OK(ds4_session_save_block(live, 0, rows, error));
            CHECK_OK(ds4_session_restore_block(other, 0, ds4_session_tokens(live),
                                               ds4_session_dials(live), rows, n_block, error));
            assert_int_equal(ds4_session_restore_block(other, 0, ds4_session_tokens(live),
                                                       ds4_session_dials(live), rows, n_block - 1,
                                                       NULL),
                             DS4_FORMAT);
        }
        CHECK_OK(ds4_session_restore_tip(other, cut, tip, n_tip, error));
        feed(engine, other, f, cut, f->n, last);
        assert_memory_equal(last, final, f->n_vocab * sizeof *last);

        CHECK_OK(ds4_session_restore_tip(live, cut, tip, n_tip, error)); /* in place */
        feed(engine, live, f, cut, f->n, last);
        assert_memory_equal(last, final, f->n_vocab * sizeof *last);
        assert_int_equal(ds4_session_restore_tip(live, cut, tip, n_tip - 1, NULL), DS4_FORMAT);
        free(tip);
        free(rows);
        ds4_session_destroy(live);
        ds4_session_destroy(other);
    }
    ds4_engine_destroy(engine);
    free(expected);
    free(last);
}

static void rewind_and_replay(void **state) {
    if (ONLY_THREADS) skip();
    const fixture *f = *state;
    float *expected = reference(f, FULL), *last = malloc(f->n_vocab * sizeof *last);
    ds4_engine_options options = FULL;
    options.n_threads = 1; /* thousands of tiny steps: threads would only wait for each other */
    ds4_engine *engine = make_engine(f, options);
    ds4_session *session, *copy;
    CHECK_OK(ds4_session_create(engine, 512, &session, error));
    CHECK_OK(ds4_session_create(engine, 512, &copy, error));
    static const uint32_t ends[] = {120, 259, 420};
    for (size_t e = 0; e < sizeof ends / sizeof ends[0]; e++) {
        for (uint32_t back = 1; back <= 100; back += SLOW ? 41 : 1) {
            uint32_t from = ends[e] - back;
            if (ds4_session_length(session) < ends[e])
                feed(engine, session, f, ds4_session_length(session), ends[e], last);
            CHECK_OK(ds4_session_rewind(session, from, error));
            /* A detour with other tokens must leave no trace either. */
            if (back % 3 == 0 && back > 4) {
                feed(engine, session, f, 0, back / 2, last);
                CHECK_OK(ds4_session_rewind(session, from, error));
            }
            if (back % 7 == 0) {
                CHECK_OK(ds4_session_copy(copy, session, error));
                feed(engine, copy, f, from, ends[e], last);
                assert_memory_equal(last, expected + (ends[e] - 1) * f->n_vocab,
                                    f->n_vocab * sizeof *last);
            }
            feed(engine, session, f, from, ends[e], last);
            assert_memory_equal(last, expected + (ends[e] - 1) * f->n_vocab,
                                f->n_vocab * sizeof *last);
        }
    }
    uint32_t floor = ds4_session_rewind_floor(session);
    assert_true(floor > 0 && floor <= 320);
    assert_int_equal(ds4_session_rewind(session, floor - 1, NULL), DS4_UNSUPPORTED);
    assert_int_equal(ds4_session_length(session), 420);
    CHECK_OK(ds4_session_rewind(session, 0, error));
    feed(engine, session, f, 0, 420, last);
    assert_memory_equal(last, expected + 419 * f->n_vocab, f->n_vocab * sizeof *last);
    ds4_session_destroy(session);
    ds4_session_destroy(copy);
    ds4_engine_destroy(engine);
    free(expected);
    free(last);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chunks_and_threads), cmocka_unit_test(company),
        cmocka_unit_test(save_and_restore),   cmocka_unit_test(parts),
        cmocka_unit_test(rewind_and_replay),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
