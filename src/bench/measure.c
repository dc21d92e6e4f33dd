#include <math.h>
#include <stdlib.h>

#include "base/error.h"
#include "bench/bench.h"
#include "tokenizer/tokenizer.h"

struct bench_run {
    const bench_settings *settings;
    const ds4_tokens *prompt;
    ds4_engine *engine;
    ds4_session *session;
    float *logits;
    uint32_t n_vocab, max_batch;
    int32_t eos;              /* -1: none */
    ds4_direction *direction; /* of random unit vectors; NULL: the cost is not asked for */
    uint8_t *snapshot;        /* the state at `frontier`; NULL at 0 */
    size_t n_snapshot;
    int64_t frontier;
    double *prefill_tps, *gen_tps; /* [repeat] */
    double *step_ms;               /* [repeat x gen_tokens] */
};

int64_t bench_next_frontier(const bench_settings *settings, int64_t current) {
    int64_t next = current + settings->step_incr;
    if (settings->step_mul > 1) {
        double scaled = ceil((double)current * settings->step_mul);
        next = scaled < (double)settings->ctx_max ? (int64_t)scaled : settings->ctx_max;
        if (next <= current) next = current + 1;
    }
    return next < settings->ctx_max ? next : settings->ctx_max;
}

/* What the vectors are is no matter for the time; both sites of all layers are edited. */
static ds4_status make_direction(bench_run *run, const ds4_model_info *info, ds4_error *error) {
    size_t n = info->n_embd;
    float *rows = malloc(info->n_layers * n * sizeof *rows);
    if (rows == NULL)
        return ds4_fail_memory(error, info->n_layers * n * sizeof *rows, "a direction");
    uint32_t state = 12345;
    for (size_t l = 0; l < info->n_layers; l++) {
        double sum = 0;
        for (size_t i = 0; i < n; i++) {
            state = state * 1664525u + 1013904223u;
            rows[l * n + i] = (float)(state >> 8) / (float)(1 << 23) - 1;
            sum += (double)rows[l * n + i] * (double)rows[l * n + i];
        }
        for (size_t i = 0; i < n; i++) rows[l * n + i] /= (float)sqrt(sum);
    }
    ds4_status status =
        ds4_direction_create(rows, info->n_layers, info->n_embd, &run->direction, error);
    free(rows);
    return status;
}

ds4_status bench_run_create(const bench_settings *settings, const ds4_model *model,
                            const ds4_tokens *prompt, bench_run **result, ds4_error *error) {
    const ds4_tokenizer *tokenizer = ds4_model_get_tokenizer(model);
    ds4_engine_options options = {.n_threads = (uint32_t)settings->n_threads,
                                  .max_context = (uint32_t)settings->ctx_alloc,
                                  .kv_sim = (ds4_kv_sim)settings->kv_sim,
                                  .backend = (ds4_backend_kind)settings->backend,
                                  .activations = (ds4_activations)settings->activations};
    size_t repeat = (size_t)settings->repeat, n_steps = repeat * (size_t)settings->gen_tokens;
    bench_run *run = calloc(1, sizeof *run);
    if (run == NULL) return ds4_fail_memory(error, sizeof *run, "the benchmark");
    run->settings = settings;
    run->prompt = prompt;
    run->n_vocab = ds4_model_get_info(model)->n_vocab;
    run->eos = tokenizer != NULL ? ds4_tokenizer_special_ids(tokenizer)->eos : -1;
    run->prefill_tps = calloc(repeat, sizeof(double));
    run->gen_tps = calloc(repeat, sizeof(double));
    run->step_ms = calloc(n_steps, sizeof(double));
    ds4_status status = run->prefill_tps == NULL || run->gen_tps == NULL || run->step_ms == NULL
                            ? ds4_fail_memory(error, n_steps * sizeof(double), "the measurements")
                            : ds4_engine_create(model, &options, &run->engine, error);
    if (status == DS4_OK) {
        run->logits = ds4_engine_allocate_logits(run->engine, 1);
        if (run->logits == NULL)
            status = ds4_fail_memory(error, (size_t)run->n_vocab * sizeof(float), "logits");
    }
    if (status == DS4_OK) {
        run->max_batch = ds4_engine_get_options(run->engine)->max_batch_tokens;
        status =
            ds4_session_create(run->engine, (uint32_t)settings->ctx_alloc, &run->session, error);
    }
    if (status == DS4_OK && settings->steering)
        status = make_direction(run, ds4_model_get_info(model), error);
    if (status != DS4_OK) {
        bench_run_destroy(run);
        return status;
    }
    *result = run;
    return DS4_OK;
}

void bench_run_destroy(bench_run *run) {
    if (run == NULL) return;
    ds4_session_destroy(run->session);
    if (run->engine != NULL) ds4_engine_free_logits(run->engine, run->logits);
    ds4_engine_destroy(run->engine);
    ds4_direction_close(run->direction);
    free(run->snapshot);
    free(run->step_ms);
    free(run->gen_tps);
    free(run->prefill_tps);
    free(run);
}

ds4_backend_kind bench_run_backend(const bench_run *run) {
    return ds4_engine_get_options(run->engine)->backend;
}

ds4_status bench_run_measure_roof(bench_run *run, double *gb_per_second, ds4_error *error) {
    if (bench_run_backend(run) == DS4_BACKEND_CPU)
        return bench_read_bandwidth(bench_run_threads(run), gb_per_second, error);
    return ds4_engine_measure_copy(run->engine, gb_per_second, error);
}

uint32_t bench_run_threads(const bench_run *run) {
    return ds4_engine_get_options(run->engine)->n_threads;
}

static ds4_status evaluate(bench_run *run, const int32_t *tokens, uint32_t n, ds4_error *error) {
    ds4_status status = DS4_OK;
    for (uint32_t done = 0; done < n && status == DS4_OK;) {
        uint32_t piece = n - done < run->max_batch ? n - done : run->max_batch;
        ds4_batch_item item = {.session = run->session,
                               .tokens = tokens + done,
                               .n_tokens = piece,
                               .want = done + piece == n ? DS4_LOGITS_LAST : DS4_LOGITS_NONE,
                               .logits = run->logits};
        status = ds4_engine_forward(run->engine, &item, 1, error);
        done += piece;
    }
    return status;
}

/* The likeliest token but the end of the text, so that the run has its length. */
static int32_t pick_greedy(const bench_run *run) {
    enum { LANES = 16 }; /* a maximum that compilers do many lanes of at once */
    float most[LANES], top = -INFINITY, *eos = NULL, kept = 0;
    if (run->eos >= 0 && (uint32_t)run->eos < run->n_vocab) {
        eos = &run->logits[run->eos];
        kept = *eos;
        *eos = -INFINITY;
    }
    for (int k = 0; k < LANES; k++) most[k] = -INFINITY;
    uint32_t id = 0;
    for (; id + LANES <= run->n_vocab; id += LANES)
        for (int k = 0; k < LANES; k++)
            most[k] =
                run->logits[id + (uint32_t)k] > most[k] ? run->logits[id + (uint32_t)k] : most[k];
    for (int k = 0; k < LANES; k++) top = most[k] > top ? most[k] : top;
    for (; id < run->n_vocab; id++) top = run->logits[id] > top ? run->logits[id] : top;
    for (id = 0; id + 1 < run->n_vocab && !(run->logits[id] >= top);) id++;
    if (eos != NULL) *eos = kept;
    return (int32_t)id;
}

/* Back to the snapshot, or to nothing. */
static ds4_status go_back(bench_run *run, ds4_error *error) {
    if (run->snapshot != NULL)
        return ds4_session_restore(run->session, run->snapshot, run->n_snapshot, error);
    ds4_session_reset(run->session);
    return DS4_OK;
}

static ds4_status time_prefill(bench_run *run, int64_t frontier, size_t round, ds4_error *error) {
    uint32_t n = (uint32_t)(frontier - run->frontier);
    ds4_status status = go_back(run, error);
    if (status != DS4_OK) return status;
    double start = bench_seconds();
    status = evaluate(run, run->prompt->ids + run->frontier, n, error);
    run->prefill_tps[round] = n / (bench_seconds() - start);
    return status;
}

static ds4_status time_decode(bench_run *run, size_t round, ds4_error *error) {
    size_t n = (size_t)run->settings->gen_tokens;
    double begin = bench_seconds(), last = begin;
    ds4_status status = DS4_OK;
    for (size_t i = 0; i < n && status == DS4_OK; i++) {
        int32_t token = pick_greedy(run);
        status = evaluate(run, &token, 1, error);
        double now = bench_seconds();
        run->step_ms[round * n + i] = (now - last) * 1e3;
        last = now;
    }
    run->gen_tps[round] = (double)n / (last - begin);
    return status;
}

/* One token under a dial, or none. */
static ds4_status time_token(bench_run *run, int32_t token, const ds4_steering *steering,
                             double *seconds, ds4_error *error) {
    ds4_batch_item item = {.session = run->session,
                           .tokens = &token,
                           .n_tokens = 1,
                           .want = DS4_LOGITS_LAST,
                           .logits = run->logits,
                           .steering = steering};
    double begin = bench_seconds();
    ds4_status status = ds4_engine_forward(run->engine, &item, 1, error);
    *seconds = bench_seconds() - begin;
    return status;
}

static int compare_numbers(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static bench_spread spread_of(double *values, size_t n) {
    qsort(values, n, sizeof *values, compare_numbers);
    double median = n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
    return (bench_spread){.median = median, .min = values[0], .max = values[n - 1]};
}

/* Each token is evaluated both ways, the other one first every second time: whatever else the
 * machine does falls on both alike. The dial is so small that it hardly moves the text. The ratios
 * go where the times of the steps were. */
static ds4_status measure_steering(bench_run *run, double *cost, ds4_error *error) {
    const ds4_steering dial = {.direction = run->direction, .ffn = -0.01f, .attn = -0.01f};
    size_t n = (size_t)run->settings->repeat * (size_t)run->settings->gen_tokens, done = 0;
    size_t per_round = (size_t)run->settings->gen_tokens;
    ds4_status status = DS4_OK;
    for (size_t i = 0; i < n && status == DS4_OK; i++) {
        double seconds[2] = {1, 1};
        bool first = i % per_round == 0;
        if (first) status = go_back(run, error);
        int32_t token = first ? run->prompt->ids[0] : pick_greedy(run);
        uint32_t before = ds4_session_length(run->session);
        for (size_t k = 0; k < 2 && status == DS4_OK; k++) {
            size_t steered = (i + k) % 2;
            if (k == 1) status = ds4_session_rewind(run->session, before, error);
            if (status == DS4_OK)
                status = time_token(run, token, steered ? &dial : NULL, &seconds[steered], error);
        }
        run->step_ms[done++] = seconds[1] / seconds[0];
    }
    if (status == DS4_OK) *cost = spread_of(run->step_ms, done).median - 1;
    return status;
}

ds4_status bench_run_frontier(bench_run *run, int64_t frontier, bench_row *row, ds4_error *error) {
    size_t repeat = (size_t)run->settings->repeat;
    size_t n_steps = repeat * (size_t)run->settings->gen_tokens;
    uint8_t *snapshot = NULL;
    size_t n_snapshot = 0;
    ds4_status status = DS4_OK;
    for (size_t round = 0; round < repeat && status == DS4_OK; round++) {
        status = time_prefill(run, frontier, round, error);
        if (status == DS4_OK && snapshot == NULL)
            status = ds4_session_save(run->session, &snapshot, &n_snapshot, error);
        if (status == DS4_OK) status = time_decode(run, round, error);
    }
    if (status != DS4_OK) {
        free(snapshot);
        return status;
    }
    *row = (bench_row){.ctx_tokens = frontier,
                       .prefill_tokens = frontier - run->frontier,
                       .gen_tokens = run->settings->gen_tokens,
                       .prefill_tps = spread_of(run->prefill_tps, repeat),
                       .gen_tps = spread_of(run->gen_tps, repeat),
                       .kvcache_bytes = n_snapshot};
    qsort(run->step_ms, n_steps, sizeof *run->step_ms, compare_numbers);
    row->gen_p99_ms = run->step_ms[(n_steps * 99 + 99) / 100 - 1];
    free(run->snapshot);
    run->snapshot = snapshot;
    run->n_snapshot = n_snapshot;
    run->frontier = frontier;
    return run->direction != NULL ? measure_steering(run, &row->steering_cost, error) : DS4_OK;
}
