/* Directions and dials: what is refused, in which words, and what tells two dials apart. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "steering/direction.h"

#define TINY DS4_FIXTURES "/tinyv4/tiny.gguf"

enum { LAYERS = 6, WIDTH = 256 }; /* of that model */

static void expect(ds4_status status, ds4_status wanted, const ds4_error *error,
                   const char *words) {
    if (status != wanted || strstr(error->message, words) == NULL)
        fail_msg("status %d, \"%s\"; expected %d and \"%s\"", (int)status, error->message,
                 (int)wanted, words);
}

static ds4_status open_bytes(const ds4_model *model, const void *bytes, size_t n,
                             ds4_direction **direction, ds4_error *error) {
    char path[] = "/tmp/ds4-direction-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, n), (ssize_t)n);
    close(fd);
    ds4_status status = ds4_direction_open(path, model, direction, error);
    unlink(path);
    return status;
}

static void files(void **state) {
    (void)state;
    ds4_model *model = NULL;
    ds4_direction *direction = NULL;
    ds4_error error = {0};
    static float v[LAYERS * WIDTH];
    assert_int_equal(ds4_model_open(TINY, NULL, &model, &error), DS4_OK);
    expect(open_bytes(model, v, sizeof v, &direction, &error), DS4_FORMAT, &error,
           "zero in every layer");
    for (int i = 0; i < LAYERS * WIDTH; i++) v[i] = 1.0f / 16;
    memset(v + 2 * WIDTH, 0, WIDTH * sizeof *v);
    expect(open_bytes(model, v, sizeof v - 4, &direction, &error), DS4_FORMAT, &error,
           "has 6140 bytes; a direction for this model has 6 layers x 256 float32 = 6144 bytes");
    expect(open_bytes(model, "", 0, &direction, &error), DS4_FORMAT, &error, "has 0 bytes");
    v[3 * WIDTH + 7] = NAN;
    expect(open_bytes(model, v, sizeof v, &direction, &error), DS4_FORMAT, &error,
           "element 7 of layer 3 is not a finite number");
    v[3 * WIDTH + 7] = -INFINITY;
    expect(open_bytes(model, v, sizeof v, &direction, &error), DS4_FORMAT, &error, "layer 3");
    expect(ds4_direction_open("/nonexistent/x.f32", model, &direction, &error), DS4_IO, &error,
           "/nonexistent/x.f32");

    v[3 * WIDTH + 7] = 1.0f / 16;
    assert_int_equal(open_bytes(model, v, sizeof v, &direction, &error), DS4_OK);
    const ds4_direction_info *info = ds4_direction_get_info(direction);
    assert_int_equal(info->n_steered, LAYERS - 1);
    assert_true(info->least_norm == 1 && info->greatest_norm == 1);
    assert_null(ds4_direction_row(direction, 2));
    assert_memory_equal(ds4_direction_row(direction, 3), v + 3 * WIDTH, WIDTH * sizeof *v);
    ds4_direction_close(direction);
    ds4_model_close(model);
}

static void dials(void **state) {
    (void)state;
    float v[4] = {1, 0, 0, 1};
    ds4_direction *direction;
    ds4_error error = {0};
    assert_int_equal(ds4_direction_create(v, 2, 2, &direction, NULL), DS4_OK);
    ds4_steering dial = {.direction = direction, .ffn = -0.75f};
    assert_int_equal(ds4_steering_check(&dial, 2, 2, &error), DS4_OK);
    expect(ds4_steering_check(&dial, 3, 2, &error), DS4_INVALID_ARGUMENT, &error,
           "the direction has 2 layers of 2; the model 3 of 2");
    const float bad[] = {NAN, INFINITY, 100.5f, -101};
    for (int i = 0; i < 4; i++) {
        ds4_steering wrong = {.direction = direction, .attn = bad[i]};
        expect(ds4_steering_check(&wrong, 2, 2, &error), DS4_INVALID_ARGUMENT, &error,
               "from -100 to 100");
    }
    ds4_steering range = dial;
    range.first_layer = 2;
    expect(ds4_steering_check(&range, 2, 2, &error), DS4_INVALID_ARGUMENT, &error, "layer 2");
    range = (ds4_steering){.direction = direction, .ffn = 1, .first_layer = 1, .n_layers = 2};
    expect(ds4_steering_check(&range, 2, 2, &error), DS4_INVALID_ARGUMENT, &error, "2 layers");

    range.n_layers = 1;
    assert_true(ds4_steering_scale(&range, DS4_STEER_FFN, 0) == 0);
    assert_true(ds4_steering_scale(&range, DS4_STEER_FFN, 1) == 1);
    assert_true(ds4_steering_scale(&range, DS4_STEER_ATTN, 1) == 0);
    assert_true(ds4_steering_scale(NULL, DS4_STEER_FFN, 0) == 0);
    ds4_direction_close(direction);
}

/* Each of these states must be told from every other. */
static void identities(void **state) {
    (void)state;
    float v[4] = {1, 0, 0, 1}, w[4] = {1, 0, 1, 0};
    ds4_direction *a, *b, *same;
    assert_int_equal(ds4_direction_create(v, 2, 2, &a, NULL), DS4_OK);
    assert_int_equal(ds4_direction_create(w, 2, 2, &b, NULL), DS4_OK);
    assert_int_equal(ds4_direction_create(v, 2, 2, &same, NULL), DS4_OK);
    const ds4_steering states[] = {
        {0},
        {.direction = a, .ffn = 1},
        {.direction = a, .ffn = -1},
        {.direction = a, .attn = 1},
        {.direction = a, .ffn = 1, .attn = 1},
        {.direction = a, .ffn = 1, .mode = DS4_STEER_ADD},
        {.direction = a, .ffn = 1, .first_layer = 1},
        {.direction = a, .ffn = 1, .n_layers = 1},
        {.direction = b, .ffn = 1},
    };
    size_t n = sizeof states / sizeof states[0];
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++)
            assert_int_equal(ds4_steering_identity(&states[i]) == ds4_steering_identity(&states[j]),
                             i == j);
    assert_int_equal(ds4_steering_identity(NULL), 0);
    assert_int_equal(ds4_steering_identity(&states[0]), 0);
    assert_int_equal(ds4_steering_identity(&(ds4_steering){.direction = a, .ffn = -0.0f}), 0);
    assert_int_equal(ds4_steering_identity(&(ds4_steering){.ffn = 1}), 0);
    assert_int_equal(ds4_steering_identity(&(ds4_steering){.direction = same, .ffn = 1}),
                     ds4_steering_identity(&states[1]));
    assert_int_equal(
        ds4_steering_identity(&(ds4_steering){.direction = a, .ffn = 1, .attn = -0.0f}),
        ds4_steering_identity(&states[1]));
    ds4_direction_close(a);
    ds4_direction_close(b);
    ds4_direction_close(same);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files),
        cmocka_unit_test(dials),
        cmocka_unit_test(identities),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
