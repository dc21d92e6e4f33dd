/* The golden vectors of tests/fixtures/quant, and the generator of their inputs. */
#ifndef DS4_TESTS_QUANT_VECTORS_H
#define DS4_TESTS_QUANT_VECTORS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <json-c/json.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/blocks.h"
#include "weights.h"

static struct json_object *root;

static int load_vectors(void **state) {
    (void)state;
    root = json_object_from_file(DS4_FIXTURES "/quant/quant_vectors.json");
    return root == NULL;
}

static int free_vectors(void **state) {
    (void)state;
    json_object_put(root);
    return 0;
}

static struct json_object *member(struct json_object *object, const char *name) {
    struct json_object *value = NULL;
    if (!json_object_object_get_ex(object, name, &value)) fail_msg("no member %s", name);
    return value;
}

static const char *text(struct json_object *object, const char *name) {
    return json_object_get_string(member(object, name));
}

static inline float number(struct json_object *value) {
    return strtof(json_object_get_string(value), NULL);
}

static size_t bytes_of_hex(const char *hex, uint8_t *bytes, size_t capacity) {
    size_t n = strlen(hex) / 2;
    assert_true(n <= capacity);
    for (size_t i = 0; i < n; i++) {
        unsigned v;
        assert_int_equal(sscanf(hex + 2 * i, "%2x", &v), 1);
        bytes[i] = (uint8_t)v;
    }
    return n;
}

/* The fixture's input generator. `importance` may be NULL. */
static void make_input_with_importance(unsigned number_of_case, float x[256],
                                       float importance[256]) {
    static const float lattice[8] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
    uint32_t s = 1000 + number_of_case;
    for (unsigned i = 0; i < 256; i++) {
        float t = 0;
        for (int j = 0; j < 4; j++) t += uniform(&s);
        x[i] = (t - 2) * 0.0625f;
        float weight = uniform(&s) + 0x1p-10f;
        if (importance != NULL) importance[i] = weight;
        if (number_of_case == 1 && i % 8 > 4) x[i] = 0;
        if (number_of_case == 2) x[i] = fabsf(x[i]);
        if (number_of_case == 3) {
            s = s * 1664525u + 1013904223u;
            uint32_t k = s >> 28;
            x[i] = (k & 8 ? -1.0f : 1.0f) * lattice[k & 7] * 0x1p-7f;
        }
        if (number_of_case == 4) x[i] = i == 37 ? 0.5f : 0;
    }
}

static inline void make_input(unsigned number_of_case, float x[256]) {
    make_input_with_importance(number_of_case, x, NULL);
}

#endif
