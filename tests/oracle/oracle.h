/* What the oracle tests share: reading golden files and evaluating token sequences. */
#ifndef DS4_TESTS_ORACLE_H
#define DS4_TESTS_ORACLE_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ds4.h"

#define CHECK_OK(call)                                                                             \
    do {                                                                                           \
        ds4_error check_error = {0};                                                               \
        ds4_error *error = &check_error;                                                           \
        if ((call) != DS4_OK) fail_msg("%s: %s", #call, check_error.message);                      \
    } while (0)

static inline void *oracle_read(const char *path, size_t *n_bytes) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) fail_msg("cannot open %s", path);
    fseek(file, 0, SEEK_END);
    *n_bytes = (size_t)ftell(file);
    rewind(file);
    char *bytes = malloc(*n_bytes + 1);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, *n_bytes, file), *n_bytes);
    fclose(file);
    bytes[*n_bytes] = '\0';
    return bytes;
}

/* Evaluates tokens in pieces of `chunk`, one row of logits per token. */
static inline float *oracle_evaluate(ds4_engine *engine, const ds4_model *model,
                                     const int32_t *tokens, uint32_t n, uint32_t chunk) {
    size_t n_vocab = ds4_model_get_info(model)->n_vocab;
    float *logits = malloc(n * n_vocab * sizeof *logits);
    ds4_session *session;
    assert_non_null(logits);
    CHECK_OK(ds4_session_create(engine, n, &session, error));
    for (uint32_t at = 0; at < n; at += chunk) {
        ds4_batch_item item = {
            .session = session,
            .tokens = tokens + at,
            .n_tokens = n - at < chunk ? n - at : chunk,
            .want = DS4_LOGITS_ALL,
            .logits = logits + at * n_vocab,
        };
        CHECK_OK(ds4_engine_forward(engine, &item, 1, error));
    }
    ds4_session_destroy(session);
    return logits;
}

typedef struct oracle_difference {
    double worst;      /* NaN counts as infinite */
    uint32_t same_top; /* rows whose largest logit is the same token */
} oracle_difference;

static inline oracle_difference oracle_compare(const float *got, const float *golden,
                                               uint32_t n_rows, size_t n_vocab) {
    oracle_difference difference = {0};
    for (uint32_t r = 0; r < n_rows; r++) {
        size_t top_got = 0, top_golden = 0;
        const float *a = got + r * n_vocab, *b = golden + r * n_vocab;
        for (size_t i = 0; i < n_vocab; i++) {
            double d = fabs((double)a[i] - (double)b[i]);
            if (!(d <= difference.worst)) difference.worst = isnan(d) ? INFINITY : d;
            if (a[i] > a[top_got]) top_got = i;
            if (b[i] > b[top_golden]) top_golden = i;
        }
        difference.same_top += top_got == top_golden;
    }
    return difference;
}

#endif
