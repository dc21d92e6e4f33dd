/* Steered logits against the NumPy reference in float64 (fixtures/steering/golden.py), the edit
 * against exact numbers, and what steering must not do: change anything at scale 0, or reach
 * another request of the batch. */
#include <json-c/json.h>

#include "backend/cpu/step.h"
#include "oracle.h"

#define TINY DS4_FIXTURES "/tinyv4/"

/* ---- the edit ---- */

static void edit(ds4_steer_mode mode, float scale, const float v[4], float y[4]) {
    ds4_steer_row(ds4_vector_ops_best(), mode, scale, v, y, 4);
}

static void exact_numbers(void **state) {
    (void)state;
    static const float v[4] = {.5f, .5f, .5f, .5f}, minus[4] = {-.5f, -.5f, -.5f, -.5f};
    static const struct {
        float scale, y[4];
    } cases[] = {
        {-0.75f, {2.875f, 3.875f, 4.875f, 5.875f}},
        {1, {-1.5f, -.5f, .5f, 1.5f}},
        {2, {-4, -3, -2, -1}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        float y[4] = {1, 2, 3, 4}, z[4] = {1, 2, 3, 4};
        edit(DS4_STEER_PROJECT, cases[i].scale, v, y);
        edit(DS4_STEER_PROJECT, cases[i].scale, minus, z); /* even in the direction */
        assert_memory_equal(y, cases[i].y, sizeof y);
        assert_memory_equal(z, cases[i].y, sizeof z);
    }
    float y[4] = {2, 4, 4, 0}, z[4] = {2, 4, 4, 0}; /* |y| = 6 */
    edit(DS4_STEER_ADD, 0.5f, v, y);
    edit(DS4_STEER_ADD, -0.5f, minus, z); /* odd in the direction and in the scale */
    assert_memory_equal(y, ((float[4]){3.5f, 5.5f, 5.5f, 1.5f}), sizeof y);
    assert_memory_equal(z, y, sizeof z);
}

/* ---- models ---- */

static ds4_direction *make_direction(const ds4_model *model) {
    const ds4_model_info *info = ds4_model_get_info(model);
    float *rows = calloc((size_t)info->n_layers * info->n_embd, sizeof *rows);
    uint32_t random = 12345;
    for (uint32_t l = 0; l < info->n_layers; l++) {
        float *row = rows + (size_t)l * info->n_embd;
        double sum = 0;
        for (uint32_t i = 0; i < info->n_embd; i++) {
            random = random * 1664525u + 1013904223u;
            row[i] = (float)(int32_t)(random >> 16) - 32768.0f;
            sum += (double)row[i] * (double)row[i];
        }
        for (uint32_t i = 0; i < info->n_embd; i++)
            row[i] = l == 3 ? 0 : (float)((double)row[i] / sqrt(sum));
    }
    ds4_direction *direction;
    CHECK_OK(ds4_direction_create(rows, info->n_layers, info->n_embd, &direction, error));
    free(rows);
    return direction;
}

static double number(struct json_object *object, const char *name) {
    struct json_object *value = json_object_object_get(object, name);
    return value != NULL ? json_object_get_double(value) : 0;
}

static ds4_steering read_dial(struct json_object *dial, const ds4_direction *direction) {
    const char *mode = json_object_get_string(json_object_object_get(dial, "mode"));
    return (ds4_steering){.direction = direction,
                          .ffn = (float)number(dial, "ffn"),
                          .attn = (float)number(dial, "attn"),
                          .mode = mode != NULL ? DS4_STEER_ADD : DS4_STEER_PROJECT,
                          .first_layer = (uint32_t)number(dial, "first_layer"),
                          .n_layers = (uint32_t)number(dial, "n_layers")};
}

static float *evaluate(ds4_engine *engine, const int32_t *tokens, uint32_t n, size_t n_vocab,
                       const ds4_steering *steering) {
    float *logits = malloc(n * n_vocab * sizeof *logits);
    ds4_session *session;
    CHECK_OK(ds4_session_create(engine, n, &session, error));
    ds4_batch_item item = {.session = session,
                           .tokens = tokens,
                           .n_tokens = n,
                           .want = DS4_LOGITS_ALL,
                           .logits = logits,
                           .steering = steering};
    CHECK_OK(ds4_engine_forward(engine, &item, 1, error));
    ds4_session_destroy(session);
    return logits;
}

/* The relative error of the rows that the fixture holds: root mean squares. */
static double relative_error(const float *logits, size_t n_vocab, struct json_object *fixture,
                             struct json_object *golden) {
    size_t stride = (size_t)number(fixture, "stride");
    double error = 0, size = 0;
    for (size_t r = 0; r < json_object_array_length(golden); r++) {
        struct json_object *row = json_object_array_get_idx(golden, r);
        struct json_object *position =
            json_object_array_get_idx(json_object_object_get(fixture, "positions"), r);
        const float *mine = logits + (size_t)json_object_get_int(position) * n_vocab;
        for (size_t i = 0; i < json_object_array_length(row); i++) {
            double want = json_object_get_double(json_object_array_get_idx(row, i));
            error += (want - (double)mine[i * stride]) * (want - (double)mine[i * stride]);
            size += want * want;
        }
    }
    assert_true(size > 1);
    return sqrt(error / size);
}

static void compare_golden(const char *name, const char *model_path) {
    char path[512];
    size_t n_bytes;
    ds4_model *model;
    ds4_engine *engine;
    snprintf(path, sizeof path, "%s/steering/%s.json", DS4_FIXTURES, name);
    char *text = oracle_read(path, &n_bytes);
    struct json_object *fixture = json_tokener_parse(text);
    struct json_object *ids = json_object_object_get(fixture, "tokens"),
                       *cases = json_object_object_get(fixture, "cases");
    int32_t tokens[256];
    uint32_t n = (uint32_t)json_object_array_length(ids);
    assert_true(n > 0 && n <= 256 && json_object_array_length(cases) > 0);
    for (uint32_t i = 0; i < n; i++)
        tokens[i] = json_object_get_int(json_object_array_get_idx(ids, i));
    CHECK_OK(ds4_model_open(model_path, NULL, &model, error));
    ds4_engine_options options = {.kv_sim = DS4_KV_SIM_NONE, .max_context = 256};
    CHECK_OK(ds4_engine_create(model, &options, &engine, error));
    size_t n_vocab = ds4_model_get_info(model)->n_vocab;
    ds4_direction *direction = make_direction(model);
    float *off = evaluate(engine, tokens, n, n_vocab, NULL);
    for (size_t c = 0; c < json_object_array_length(cases); c++) {
        struct json_object *one = json_object_array_get_idx(cases, c),
                           *dial = json_object_object_get(one, "dial"),
                           *golden = json_object_object_get(one, "logits");
        ds4_steering steering = read_dial(dial, direction);
        float *logits = evaluate(engine, tokens, n, n_vocab, &steering);
        double e = relative_error(logits, n_vocab, fixture, golden);
        double effect = relative_error(off, n_vocab, fixture, golden);
        print_message("%s, %s: relative error %.2g, effect of the dial %.2g\n", name,
                      json_object_get_string(json_object_object_get(dial, "name")), e, effect);
        assert_true(e <= 1e-5);
        assert_true(c == 0 || effect > 1e-3);
        free(logits);
    }
    free(off);
    ds4_direction_close(direction);
    ds4_engine_destroy(engine);
    ds4_model_close(model);
    json_object_put(fixture);
    free(text);
}

static void golden_tinyv4(void **state) {
    (void)state;
    compare_golden("tinyv4", TINY "tiny.gguf");
}

static void golden_nano(void **state) {
    (void)state;
    compare_golden("nano", DS4_NANO);
}

/* ---- what must not happen ---- */

typedef struct fixture {
    ds4_model *model;
    ds4_engine *engine;
    ds4_direction *direction;
    int32_t *tokens;
    size_t n_vocab;
} fixture;

enum { N = 140, DIALS = 8 };

static int set_up(void **state) {
    fixture *f = calloc(1, sizeof *f);
    size_t n_bytes;
    ds4_engine_options options = {.max_context = 256, .n_threads = 2};
    f->tokens = oracle_read(TINY "tokens.i32", &n_bytes);
    CHECK_OK(ds4_model_open(TINY "tiny.gguf", NULL, &f->model, error));
    CHECK_OK(ds4_engine_create(f->model, &options, &f->engine, error));
    f->direction = make_direction(f->model);
    f->n_vocab = ds4_model_get_info(f->model)->n_vocab;
    *state = f;
    return 0;
}

static int tear_down(void **state) {
    fixture *f = *state;
    ds4_direction_close(f->direction);
    ds4_engine_destroy(f->engine);
    ds4_model_close(f->model);
    free(f->tokens);
    free(f);
    return 0;
}

static void zero_is_off(void **state) {
    const fixture *f = *state;
    float *expected = evaluate(f->engine, f->tokens, N, f->n_vocab, NULL);
    const ds4_steering zeros[] = {
        {0},
        {.direction = f->direction},
        {.direction = f->direction, .ffn = -0.0f, .attn = 0, .mode = DS4_STEER_ADD},
        {.direction = f->direction, .ffn = 5, .first_layer = 3, .n_layers = 1}, /* a zero row */
        {.ffn = 5},
    };
    for (size_t i = 0; i < sizeof zeros / sizeof zeros[0]; i++) {
        float *logits = evaluate(f->engine, f->tokens, N, f->n_vocab, &zeros[i]);
        assert_memory_equal(logits, expected, N * f->n_vocab * sizeof *logits);
        free(logits);
    }
    free(expected);
}

/* Eight sessions with eight dials share every step, with ever different numbers of tokens. */
static void company(void **state) {
    const fixture *f = *state;
    ds4_steering dials[DIALS];
    ds4_session *sessions[DIALS];
    float *logits[DIALS], *expected[DIALS];
    uint32_t done[DIALS] = {0}, random = 99;
    for (int i = 0; i < DIALS; i++) {
        dials[i] = (ds4_steering){.direction = i == 0 ? NULL : f->direction,
                                  .ffn = 0.5f * (float)i - 2.25f,
                                  .attn = i % 3 == 0 ? 0.25f : 0,
                                  .mode = i % 2 == 0 ? DS4_STEER_PROJECT : DS4_STEER_ADD,
                                  .first_layer = i == 6 ? 2 : 0};
        expected[i] = evaluate(f->engine, f->tokens, N, f->n_vocab, &dials[i]);
        logits[i] = malloc(N * f->n_vocab * sizeof(float));
        CHECK_OK(ds4_session_create(f->engine, 256, &sessions[i], error));
        for (int k = 0; k < i; k++)
            assert_memory_not_equal(expected[i], expected[k], N * f->n_vocab * sizeof(float));
    }
    for (bool more = true; more;) {
        ds4_batch_item items[DIALS];
        size_t n_items = 0;
        more = false;
        for (int i = 0; i < DIALS; i++) {
            random = random * 1664525u + 1013904223u;
            uint32_t n = (random >> 16) % 30;
            if (n > N - done[i]) n = N - done[i];
            more = more || done[i] + n < N;
            if (n == 0) continue;
            items[n_items++] = (ds4_batch_item){.session = sessions[i],
                                                .tokens = f->tokens + done[i],
                                                .n_tokens = n,
                                                .want = DS4_LOGITS_ALL,
                                                .logits = logits[i] + done[i] * f->n_vocab,
                                                .steering = &dials[i]};
            done[i] += n;
        }
        CHECK_OK(ds4_engine_forward(f->engine, items, n_items, error));
    }
    for (int i = 0; i < DIALS; i++) {
        assert_memory_equal(logits[i], expected[i], N * f->n_vocab * sizeof(float));
        free(logits[i]);
        free(expected[i]);
        ds4_session_destroy(sessions[i]);
    }
}

/* A session knows under which dial each of its tokens was evaluated, also after a detour over
 * bytes or a copy. */
static void sessions_remember(void **state) {
    const fixture *f = *state;
    ds4_steering dial = {.direction = f->direction, .ffn = -0.75f};
    ds4_session *session, *other;
    uint8_t *bytes;
    size_t n_bytes;
    CHECK_OK(ds4_session_create(f->engine, 256, &session, error));
    CHECK_OK(ds4_session_create(f->engine, 256, &other, error));
    ds4_batch_item item = {.session = session, .tokens = f->tokens, .n_tokens = 5};
    CHECK_OK(ds4_engine_forward(f->engine, &item, 1, error));
    item.steering = &dial;
    CHECK_OK(ds4_engine_forward(f->engine, &item, 1, error));
    for (int round = 0; round < 3; round++) {
        const uint64_t *dials = ds4_session_dials(round == 0 ? session : other);
        for (int i = 0; i < 10; i++)
            assert_true(dials[i] == (i < 5 ? 0 : ds4_steering_identity(&dial)));
        ds4_session_reset(other);
        if (round == 0) {
            CHECK_OK(ds4_session_save(session, &bytes, &n_bytes, error));
            CHECK_OK(ds4_session_restore(other, bytes, n_bytes, error));
            free(bytes);
        } else {
            CHECK_OK(ds4_session_copy(other, session, error));
        }
    }
    ds4_session_destroy(session);
    ds4_session_destroy(other);
}

/* What builders of directions read: the halves' outputs, of each layer the same whatever the dial
 * says there, because an edit comes behind. */
static void outputs_are_handed_out(void **state) {
    const fixture *f = *state;
    const ds4_model_info *info = ds4_model_get_info(f->model);
    size_t n = (size_t)info->n_layers * info->n_embd;
    float *plain = malloc(4 * n * sizeof *plain), *steered = malloc(4 * n * sizeof *steered);
    ds4_steering last = {.direction = f->direction, .ffn = 3, .first_layer = info->n_layers - 1};
    for (int i = 0; i < 2; i++) {
        float *target = i == 0 ? plain : steered;
        ds4_session *session;
        CHECK_OK(ds4_session_create(f->engine, 16, &session, error));
        ds4_batch_item item = {.session = session,
                               .tokens = f->tokens,
                               .n_tokens = 2,
                               .steering = i == 0 ? NULL : &last,
                               .attn_outputs = target,
                               .ffn_outputs = target + 2 * n};
        CHECK_OK(ds4_engine_forward(f->engine, &item, 1, error));
        ds4_session_destroy(session);
    }
    assert_memory_equal(plain, steered, 4 * n * sizeof *plain);
    for (size_t i = 0; i < 4 * info->n_layers; i++) {
        double sum = 0;
        for (size_t k = 0; k < info->n_embd; k++) sum += fabs((double)plain[i * info->n_embd + k]);
        assert_true(sum > 0);
    }
    free(plain);
    free(steered);
}

static void bad_dials_are_refused(void **state) {
    const fixture *f = *state;
    ds4_session *session;
    ds4_error problem = {0};
    ds4_steering dial = {.direction = f->direction, .ffn = 101};
    CHECK_OK(ds4_session_create(f->engine, 16, &session, error));
    ds4_batch_item item = {
        .session = session, .tokens = f->tokens, .n_tokens = 2, .steering = &dial};
    assert_int_equal(ds4_engine_forward(f->engine, &item, 1, &problem), DS4_INVALID_ARGUMENT);
    assert_non_null(strstr(problem.message, "-100 to 100"));
    assert_int_equal(ds4_session_length(session), 0);
    ds4_session_destroy(session);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exact_numbers),
        cmocka_unit_test(golden_tinyv4),
        cmocka_unit_test(golden_nano),
        cmocka_unit_test(zero_is_off),
        cmocka_unit_test(company),
        cmocka_unit_test(sessions_remember),
        cmocka_unit_test(outputs_are_handed_out),
        cmocka_unit_test(bad_dials_are_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
