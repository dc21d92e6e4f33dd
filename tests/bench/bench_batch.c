/* Decoding several sessions in one step: tokens per second in all, and whether each session says
 * what it says alone, bit for bit.
 *
 *     bench_batch MODEL [sessions [context [steps [backend]]]] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ds4.h"

static ds4_error error_object, *error = &error_object;

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void must(ds4_status status) {
    if (status == DS4_OK) return;
    fprintf(stderr, "bench_batch: %s\n", error->message);
    exit(1);
}

static int32_t *prompt_of(uint32_t session, uint32_t n, uint32_t n_vocab) {
    int32_t *tokens = malloc(n * sizeof *tokens);
    uint32_t random = 1000 + session;
    for (uint32_t i = 0; i < n && tokens != NULL; i++) {
        random = random * 1664525u + 1013904223u;
        tokens[i] = (int32_t)((random >> 8) % n_vocab);
    }
    return tokens;
}

static void read_prompt(ds4_engine *engine, ds4_session *session, const int32_t *tokens, uint32_t n,
                        float *logits) {
    uint32_t most = ds4_engine_get_options(engine)->max_batch_tokens;
    for (uint32_t at = 0; at < n; at += most) {
        uint32_t piece = n - at < most ? n - at : most;
        ds4_batch_item item = {.session = session,
                               .tokens = tokens + at,
                               .n_tokens = piece,
                               .want = at + piece == n ? DS4_LOGITS_LAST : DS4_LOGITS_NONE,
                               .logits = logits};
        must(ds4_engine_forward(engine, &item, 1, error));
    }
}

int main(int argc, char **argv) {
    if (argc < 2) return 2;
    uint32_t n = argc > 2 ? (uint32_t)atoi(argv[2]) : 16;
    uint32_t context = argc > 3 ? (uint32_t)atoi(argv[3]) : 2048;
    uint32_t steps = argc > 4 ? (uint32_t)atoi(argv[4]) : 64;
    ds4_engine_options options = {
        .max_context = context + steps + 1,
        .max_sessions = n + 1,
        .backend = argc > 5 && strcmp(argv[5], "cpu") == 0 ? DS4_BACKEND_CPU : DS4_BACKEND_AUTO};
    ds4_model *model;
    ds4_engine *engine;
    must(ds4_model_open(argv[1], NULL, &model, error));
    must(ds4_engine_create(model, &options, &engine, error));
    size_t vocab = ds4_model_get_info(model)->n_vocab;
    ds4_session **sessions = calloc(n + 1, sizeof(ds4_session *));
    ds4_batch_item *items = calloc(n, sizeof *items);
    int32_t *next = calloc(n, sizeof *next);
    float *logits = ds4_engine_allocate_logits(engine, n + 1), *alone = logits + n * vocab;
    if (sessions == NULL || items == NULL || next == NULL || logits == NULL) return 1;
    for (uint32_t s = 0; s <= n; s++)
        must(ds4_session_create(engine, options.max_context, &sessions[s], error));
    for (uint32_t s = 0; s < n; s++) {
        int32_t *tokens = prompt_of(s, context, (uint32_t)vocab);
        read_prompt(engine, sessions[s], tokens, context, logits + s * vocab);
        if (s == n / 2) read_prompt(engine, sessions[n], tokens, context, alone);
        free(tokens);
        items[s] = (ds4_batch_item){.session = sessions[s],
                                    .tokens = &next[s],
                                    .n_tokens = 1,
                                    .want = DS4_LOGITS_LAST,
                                    .logits = logits + s * vocab};
    }
    ds4_batch_item single = items[n / 2];
    single.session = sessions[n];
    single.logits = alone;
    uint32_t same = 0;
    double spent = 0;
    for (uint32_t i = 0; i < steps; i++) {
        for (uint32_t s = 0; s < n; s++) next[s] = (int32_t)((i * 7919 + s * 104729) % vocab);
        double start = seconds();
        must(ds4_engine_forward(engine, items, n, error));
        spent += i > 0 ? seconds() - start : 0; /* the first records the launches */
        must(ds4_engine_forward(engine, &single, 1, error));
        same += memcmp(alone, logits + n / 2 * vocab, vocab * sizeof *alone) == 0;
    }
    printf(
        "%u sessions at %u: %.1f tokens/s in all, %.2f ms a step; the same bits as alone in %u of "
        "%u steps\n",
        n, context, (double)n * (steps - 1) / spent, spent / (steps - 1) * 1e3, same, steps);
    for (uint32_t s = 0; s <= n; s++) ds4_session_destroy(sessions[s]);
    ds4_engine_free_logits(engine, logits);
    ds4_engine_destroy(engine);
    ds4_model_close(model);
    free(next);
    free(items);
    free(sessions);
    return same == steps ? 0 : 1;
}
