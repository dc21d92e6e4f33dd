/* The GPU's kernels against the CPU backend, on the emulator or, in a build that has it and on a
 * machine with one, on the GPU itself: the same oracles, kernels and host code. */
#include "oracle.h"

#define TINY DS4_FIXTURES "/tinyv4/"

#if defined(__SANITIZE_ADDRESS__)
enum { SLOW = 1 };
#else
enum { SLOW = 0 };
#endif

typedef struct fixture {
    ds4_model *model;
    int32_t *tokens;
    uint32_t n;
    size_t n_vocab;
} fixture;

static ds4_backend_kind backend; /* what is tested */

static ds4_engine *make_engine(const ds4_model *model, ds4_engine_options options) {
    ds4_engine *engine;
    CHECK_OK(ds4_engine_create(model, &options, &engine, error));
    return engine;
}

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

static void compare(const fixture *f, ds4_kv_sim kv_sim, uint32_t n, uint32_t chunk,
                    double tolerance, double top_share) {
    ds4_engine_options options = {.kv_sim = kv_sim, .max_context = 512, .max_batch_tokens = 256};
    ds4_engine *engine = make_engine(f->model, options);
    float *expected = oracle_evaluate(engine, f->model, f->tokens, n, 256);
    ds4_engine_destroy(engine);
    options.backend = backend;
    engine = make_engine(f->model, options);
    float *logits = oracle_evaluate(engine, f->model, f->tokens, n, chunk);
    ds4_engine_destroy(engine);
    oracle_difference d = oracle_compare(logits, expected, n, f->n_vocab);
    print_message("kv_sim %d, chunks of %u: %u rows, max |difference| %.3g, top-1 %u\n",
                  (int)kv_sim, chunk, n, d.worst, d.same_top);
    assert_true(d.worst <= tolerance);
    assert_true((double)d.same_top >= top_share * n);
    free(expected);
    free(logits);
}

static bool on_gpu(void) {
    return backend == DS4_BACKEND_CUDA;
}

/* 130 rows: past the first row of ratio 128, and far past the indexer's top 8. */
static void exact_rows(void **state) {
    compare(*state, DS4_KV_SIM_NONE, on_gpu() ? 420 : SLOW ? 36 : 130, 130, 2e-3, 0.995);
}

static void exact_steps(void **state) {
    if (on_gpu()) compare(*state, DS4_KV_SIM_NONE, 420, 16, 2e-3, 0.995);
    compare(*state, DS4_KV_SIM_NONE, on_gpu() ? 40 : 2, 1, 2e-3, 1.0);
}

static void rounded_rows(void **state) {
    compare(*state, DS4_KV_SIM_FP4, SLOW ? 8 : 16, 16, 2e-3, 0.995);
}

/* Evaluates n tokens; *rows: the session's raw rows and compressor inputs, all of them floats as
 * long as no window has closed. */
static float *evaluate_and_save(ds4_engine *engine, const fixture *f, const int32_t *tokens,
                                uint32_t n, float **rows, size_t *n_rows) {
    enum { HEADER = 32 }; /* then n tokens and as many dials */
    float *logits = malloc((size_t)n * f->n_vocab * sizeof *logits);
    uint8_t *bytes = NULL;
    size_t n_bytes = 0, before = HEADER + n * (sizeof(int32_t) + sizeof(uint64_t));
    ds4_session *session;
    assert_non_null(logits);
    CHECK_OK(ds4_session_create(engine, n, &session, error));
    ds4_batch_item item = {.session = session,
                           .tokens = tokens,
                           .n_tokens = n,
                           .want = DS4_LOGITS_ALL,
                           .logits = logits};
    CHECK_OK(ds4_engine_forward(engine, &item, 1, error));
    CHECK_OK(ds4_session_save(session, &bytes, &n_bytes, error));
    ds4_session_destroy(session);
    assert_true(n_bytes > before && (n_bytes - before) % sizeof(float) == 0);
    *n_rows = (n_bytes - before) / sizeof(float);
    *rows = malloc(n_bytes - before);
    assert_non_null(*rows);
    memcpy(*rows, bytes + before, n_bytes - before);
    free(bytes);
    return logits;
}

/* Lanes that are other than rounding sums otherwise could make them, in the order of layers. The
 * first of them has no other cause: it must be one step of a code of three bits (or of a half). */
static size_t count_flips(const float *a, const float *b, size_t n) {
    size_t n_flips = 0;
    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)a[i] - (double)b[i]), size = fabs((double)a[i]);
        if (d <= 1e-4 * size + 1e-5) continue;
        if (n_flips++ == 0 && d > 0.126 * fmax(size, fabs((double)b[i])) + 2e-3)
            fail_msg("lane %zu of the saved rows is %g, of the CPU's %g", i, (double)b[i],
                     (double)a[i]);
    }
    return n_flips;
}

/* Where a sum ends beside the border of two FP8 codes, its last bits decide which of them is
 * stored, and a random model makes something of it. Without such a flip rows are as near as without
 * rounding. */
static void fp8_rows(void **state) {
    const fixture *f = *state;
    enum { ROWS = 3 /* no window has closed then */ };
    uint32_t n_sequences = on_gpu() ? 120 : SLOW ? 3 : 8;
    uint32_t n_flipped = 0, n_top = 0;
    double worst = 0, worst_flipped = 0;
    ds4_engine_options options = {.max_context = 16, .max_batch_tokens = 16};
    ds4_engine *cpu = make_engine(f->model, options);
    options.backend = backend;
    ds4_engine *gpu = make_engine(f->model, options);
    for (uint32_t s = 0; s < n_sequences; s++) {
        float *rows, *gpu_rows;
        size_t n, n_gpu;
        const int32_t *tokens = f->tokens + ROWS * s;
        float *expected = evaluate_and_save(cpu, f, tokens, ROWS, &rows, &n);
        float *logits = evaluate_and_save(gpu, f, tokens, ROWS, &gpu_rows, &n_gpu);
        assert_int_equal(n, n_gpu);
        oracle_difference d = oracle_compare(logits, expected, ROWS, f->n_vocab);
        bool flipped = count_flips(rows, gpu_rows, n) > 0;
        n_flipped += flipped;
        n_top += d.same_top;
        if (flipped)
            worst_flipped = fmax(worst_flipped, d.worst);
        else
            worst = fmax(worst, d.worst);
        free(expected);
        free(logits);
        free(rows);
        free(gpu_rows);
    }
    print_message("FP8 rows: %u of %u sequences have other codes; max |difference| there %.3g, "
                  "in the others %.3g; top-1 %u\n",
                  n_flipped, n_sequences, worst_flipped, worst, n_top);
    assert_true(n_flipped < n_sequences && worst <= 2e-4);
    assert_true(n_top * 100 >= n_sequences * ROWS * 95);
    ds4_engine_destroy(cpu);
    ds4_engine_destroy(gpu);
}

/* Longer sequences, whose compressed rows are codes too: flips add up, most rows have none. */
static void fp8_windows(void **state) {
    const fixture *f = *state;
    enum { ROWS = 8 };
    uint32_t n_sequences = on_gpu() ? 40 : SLOW ? 4 : 6, n_close = 0, n_top = 0;
    ds4_engine_options options = {.max_context = 16, .max_batch_tokens = 16};
    ds4_engine *cpu = make_engine(f->model, options);
    options.backend = backend;
    ds4_engine *gpu = make_engine(f->model, options);
    for (uint32_t s = 0; s < n_sequences; s++) {
        float *expected = oracle_evaluate(cpu, f->model, f->tokens + ROWS * s, ROWS, ROWS);
        float *logits = oracle_evaluate(gpu, f->model, f->tokens + ROWS * s, ROWS, ROWS);
        for (uint32_t r = 0; r < ROWS; r++) {
            oracle_difference d =
                oracle_compare(logits + r * f->n_vocab, expected + r * f->n_vocab, 1, f->n_vocab);
            n_close += d.worst <= 2e-3;
            n_top += d.same_top;
        }
        free(expected);
        free(logits);
    }
    print_message("FP8 rows, with closed windows: %u of %u within 2e-3, top-1 %u\n", n_close,
                  n_sequences * ROWS, n_top);
    assert_true(n_close * 10 >= n_sequences * ROWS * 6);
    assert_true(n_top * 100 >= n_sequences * ROWS * 95);
    ds4_engine_destroy(cpu);
    ds4_engine_destroy(gpu);
}

static const ds4_engine_options FULL = {
    .kv_sim = DS4_KV_SIM_FULL, .max_context = 512, .max_batch_tokens = 64};

static ds4_batch_item item_of(const fixture *f, ds4_session *session, uint32_t from, uint32_t to,
                              float *logits) {
    return (ds4_batch_item){
        .session = session,
        .tokens = f->tokens + from,
        .n_tokens = to - from,
        .want = DS4_LOGITS_LAST,
        .logits = logits,
    };
}

static void feed(ds4_engine *engine, const fixture *f, ds4_session *session, uint32_t from,
                 uint32_t to, float *logits) {
    ds4_batch_item item = item_of(f, session, from, to, logits);
    CHECK_OK(ds4_engine_forward(engine, &item, 1, error));
}

static float *make_row(const fixture *f) {
    float *row = malloc(f->n_vocab * sizeof *row);
    assert_non_null(row);
    return row;
}

static ds4_session *make_session(ds4_engine *engine) {
    ds4_session *session;
    CHECK_OK(ds4_session_create(engine, 256, &session, error));
    return session;
}

/* The same session alone, among others, in other cuts, saved, copied and rewound: the same bits. */
static void same_bits(void **state) {
    const fixture *f = *state;
    ds4_engine_options options = FULL;
    options.backend = backend;
    ds4_engine *engine = make_engine(f->model, options);
    ds4_session *alone = make_session(engine), *a = make_session(engine), *b = make_session(engine);
    float *expected = make_row(f), *last = make_row(f), *other = make_row(f);
    size_t row = f->n_vocab * sizeof *expected;
    uint32_t end = 37;
    feed(engine, f, alone, 0, 20, expected);
    feed(engine, f, alone, 20, end, expected);

    uint32_t cuts[] = {0, 1, 3, 19, 20, 34, 36, 37};
    for (size_t i = 0; i + 1 < sizeof cuts / sizeof cuts[0]; i++) {
        ds4_batch_item items[2] = {item_of(f, b, 2 * (uint32_t)i, 2 * (uint32_t)i + 2, other),
                                   item_of(f, a, cuts[i], cuts[i + 1], last)};
        CHECK_OK(ds4_engine_forward(engine, items, 2, error));
    }
    assert_memory_equal(last, expected, row);

    uint8_t *bytes, *again;
    size_t n_bytes, n_again;
    CHECK_OK(ds4_session_save(alone, &bytes, &n_bytes, error));
    CHECK_OK(ds4_session_save(a, &again, &n_again, error));
    assert_int_equal(n_bytes, n_again);
    assert_memory_equal(bytes, again, n_bytes);
    CHECK_OK(ds4_session_restore(b, bytes, n_bytes, error));
    feed(engine, f, a, end, end + 3, expected);
    feed(engine, f, b, end, end + 3, last);
    assert_memory_equal(last, expected, row);
    CHECK_OK(ds4_session_rewind(a, end - 6, error));
    CHECK_OK(ds4_session_copy(b, a, error));
    feed(engine, f, b, end - 6, end + 3, last);
    assert_memory_equal(last, expected, row);
    free(bytes);
    free(again);
    free(expected);
    free(last);
    free(other);
    ds4_session_destroy(alone);
    ds4_session_destroy(a);
    ds4_session_destroy(b);
    ds4_engine_destroy(engine);
}

/* Many rows at once take other kernels than few: the same bits all the same. */
static void many_rows(void **state) {
    const fixture *f = *state;
    uint32_t n = on_gpu() ? 300 : SLOW ? 0 : 65, few = on_gpu() ? 10 : 60;
    if (n == 0) skip(); /* minutes under the address sanitizer; exact_rows has run the kernels */
    ds4_engine_options options = {
        .kv_sim = DS4_KV_SIM_FULL, .max_context = 512, .max_batch_tokens = 512, .backend = backend};
    ds4_engine *engine = make_engine(f->model, options);
    ds4_session *a, *b;
    CHECK_OK(ds4_session_create(engine, 512, &a, error));
    CHECK_OK(ds4_session_create(engine, 512, &b, error));
    float *expected = make_row(f), *last = make_row(f);
    feed(engine, f, a, 0, n, expected);
    for (uint32_t at = 0; at < n; at += few)
        feed(engine, f, b, at, at + few < n ? at + few : n, last);
    assert_memory_equal(last, expected, f->n_vocab * sizeof *last);
    uint8_t *bytes, *again;
    size_t n_bytes, n_again;
    CHECK_OK(ds4_session_save(a, &bytes, &n_bytes, error));
    CHECK_OK(ds4_session_save(b, &again, &n_again, error));
    assert_int_equal(n_bytes, n_again);
    assert_memory_equal(bytes, again, n_bytes);
    free(bytes);
    free(again);
    free(expected);
    free(last);
    ds4_session_destroy(a);
    ds4_session_destroy(b);
    ds4_engine_destroy(engine);
}

static void evaluate_steered(const fixture *f, ds4_backend_kind kind, const ds4_steering *dial,
                             float *last) {
    ds4_engine_options options = {
        .kv_sim = DS4_KV_SIM_NONE, .max_context = 64, .max_batch_tokens = 16, .backend = kind};
    ds4_engine *engine = make_engine(f->model, options);
    ds4_session *session;
    CHECK_OK(ds4_session_create(engine, 64, &session, error));
    ds4_batch_item item = item_of(f, session, 0, 6, last);
    item.steering = dial;
    CHECK_OK(ds4_engine_forward(engine, &item, 1, error));
    if (kind != DS4_BACKEND_CPU) {
        float *outputs = calloc(6 * f->n_vocab * 64, sizeof *outputs);
        item.ffn_outputs = outputs;
        assert_int_equal(ds4_engine_forward(engine, &item, 1, NULL), DS4_UNSUPPORTED);
        free(outputs);
        assert_int_equal(ds4_engine_observe(engine, NULL, NULL, NULL), DS4_UNSUPPORTED);
    }
    ds4_session_destroy(session);
    ds4_engine_destroy(engine);
}

static void steered_rows(void **state) {
    const fixture *f = *state;
    const ds4_model_info *info = ds4_model_get_info(f->model);
    size_t n = (size_t)info->n_layers * info->n_embd;
    float *vectors = malloc(n * sizeof *vectors), *expected = make_row(f), *plain = make_row(f),
          *last = make_row(f);
    uint32_t random = 7;
    for (size_t i = 0; i < n; i++) {
        random = random * 1664525u + 1013904223u;
        vectors[i] = (float)((double)(random >> 8) / (1 << 24) - 0.5) / 8;
    }
    ds4_direction *direction;
    CHECK_OK(ds4_direction_create(vectors, info->n_layers, info->n_embd, &direction, error));
    for (int mode = 0; mode < 2; mode++) {
        ds4_steering dial = {.direction = direction,
                             .ffn = 0.7f,
                             .attn = -0.4f,
                             .mode = (ds4_steer_mode)mode,
                             .first_layer = 1};
        evaluate_steered(f, DS4_BACKEND_CPU, NULL, plain);
        evaluate_steered(f, DS4_BACKEND_CPU, &dial, expected);
        evaluate_steered(f, backend, &dial, last);
        assert_true(oracle_compare(expected, plain, 1, f->n_vocab).worst > 0.1);
        assert_true(oracle_compare(last, expected, 1, f->n_vocab).worst <= 2e-3);
    }
    ds4_direction_close(direction);
    free(vectors);
    free(expected);
    free(plain);
    free(last);
}

static void random_tokens(int32_t *tokens, uint32_t n, uint32_t *random) {
    for (uint32_t i = 0; i < n; i++) {
        *random = *random * 1664525u + 1013904223u;
        tokens[i] = (int32_t)((*random >> 8) % 8000);
    }
    tokens[0] = 0;
}

static void nano_rows(void **state) {
    (void)state;
    int32_t tokens[200];
    uint32_t random = 5, n = on_gpu() ? 200 : SLOW ? 3 : 12;
    fixture f = {.tokens = tokens, .n = n};
    random_tokens(tokens, n, &random);
    CHECK_OK(ds4_model_open(DS4_NANO, NULL, &f.model, error));
    f.n_vocab = ds4_model_get_info(f.model)->n_vocab;
    compare(&f, DS4_KV_SIM_NONE, n, 10, 2e-3, 0.995);
    ds4_model_close(f.model);
}

/* What ds4-nano says: the same first tokens, greedily, as on the CPU. */
static uint32_t greedy(const ds4_model *model, ds4_backend_kind kind, const int32_t *prompt,
                       uint32_t n_prompt, int32_t *answer, uint32_t n_answer) {
    ds4_engine_options options = {.max_context = 512, .max_batch_tokens = 128, .backend = kind};
    ds4_engine *engine = make_engine(model, options);
    ds4_session *session;
    size_t n_vocab = ds4_model_get_info(model)->n_vocab;
    float *logits = malloc(n_vocab * sizeof *logits);
    CHECK_OK(ds4_session_create(engine, 512, &session, error));
    ds4_batch_item item = {.session = session,
                           .tokens = prompt,
                           .n_tokens = n_prompt,
                           .want = DS4_LOGITS_LAST,
                           .logits = logits};
    for (uint32_t i = 0; i < n_answer; i++) {
        CHECK_OK(ds4_engine_forward(engine, &item, 1, error));
        size_t top = 0;
        for (size_t k = 1; k < n_vocab; k++)
            if (logits[k] > logits[top]) top = k;
        answer[i] = (int32_t)top;
        item.tokens = &answer[i];
        item.n_tokens = 1;
    }
    free(logits);
    ds4_session_destroy(session);
    ds4_engine_destroy(engine);
    return n_answer;
}

/* On a GPU 100 prompts and 256 tokens; the emulator gets a taste. */
static void nano_traces(void **state) {
    (void)state;
    ds4_model *model;
    uint32_t n_prompts = on_gpu() ? 100 : 1, n_answer = on_gpu() ? 256 : 2, n_same = 0, random = 99;
    CHECK_OK(ds4_model_open(DS4_NANO, NULL, &model, error));
    for (uint32_t p = 0; p < n_prompts; p++) {
        int32_t prompt[12], expected[256], got[256];
        random_tokens(prompt, 12, &random);
        greedy(model, DS4_BACKEND_CPU, prompt, 12, expected, n_answer);
        greedy(model, backend, prompt, 12, got, n_answer);
        n_same += memcmp(expected, got, n_answer * sizeof *got) == 0;
    }
    print_message("ds4-nano: %u of %u greedy traces of %u tokens are the same\n", n_same, n_prompts,
                  n_answer);
    assert_true(n_same * 100 >= n_prompts * 95);
    ds4_model_close(model);
}

static void copy_rate(void **state) {
    const fixture *f = *state;
    ds4_engine_options options = {.max_context = 64, .max_batch_tokens = 16};
    for (int i = 0; i < 2; i++) {
        double rate = -1;
        options.backend = i ? backend : DS4_BACKEND_CPU;
        ds4_engine *engine = make_engine(f->model, options);
        ds4_status expected = i ? DS4_OK : DS4_UNSUPPORTED;
        assert_int_equal(ds4_engine_measure_copy(engine, &rate, NULL), expected);
        if (i) assert_true(on_gpu() ? rate > 100 : rate == 0);
        ds4_engine_destroy(engine);
    }
}

/* test_gpu [emulated|cuda [NAMES|!NAMES]]: only, or all but, the tests of such names ("*_rows"). */
int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exact_rows),   cmocka_unit_test(exact_steps),
        cmocka_unit_test(rounded_rows), cmocka_unit_test(fp8_rows),
        cmocka_unit_test(fp8_windows),  cmocka_unit_test(same_bits),
        cmocka_unit_test(many_rows),    cmocka_unit_test(steered_rows),
        cmocka_unit_test(nano_rows),    cmocka_unit_test(nano_traces),
        cmocka_unit_test(copy_rate),
    };
    backend = argc > 1 && strcmp(argv[1], "cuda") == 0 ? DS4_BACKEND_CUDA : DS4_BACKEND_EMULATED;
    if (argc > 2 && argv[2][0] == '!')
        cmocka_set_skip_filter(argv[2] + 1);
    else if (argc > 2)
        cmocka_set_test_filter(argv[2]);
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
