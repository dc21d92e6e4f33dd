/* The sampler against recorded vectors, against its definition written naively, and at its edges.
 */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>
#include <json-c/json.h>

#include "sample/exponential.h"
#include "sample/sampler.h"

enum { MAX_LINE = 1 << 16, N_RNG_CASES = 6, N_SAMPLE_CASES = 30 };

static uint64_t
random_next(uint64_t *state) { /* splitmix64: independent of the generator under test */
    uint64_t x = (*state += 0x9e3779b97f4a7c15u);
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static float random_unit(uint64_t *state) {
    return (float)(random_next(state) >> 40) / 16777216.0f;
}

static size_t random_below(uint64_t *state, size_t n) {
    return (size_t)(random_next(state) % n);
}

static ds4_sampler *make(size_t n_vocab, ds4_sampling_params params, uint64_t seed) {
    ds4_sampler *sampler = NULL;
    assert_int_equal(ds4_sampler_create(n_vocab, &sampler, NULL), DS4_OK);
    assert_int_equal(ds4_sampler_set_params(sampler, &params, NULL), DS4_OK);
    ds4_sampler_seed(sampler, seed);
    return sampler;
}

/* ---- recorded vectors ---- */

static struct json_object *member(struct json_object *object, const char *key) {
    struct json_object *value = NULL;
    if (!json_object_object_get_ex(object, key, &value)) fail_msg("no '%s'", key);
    return value;
}

static float number(struct json_object *value) {
    if (json_object_is_type(value, json_type_string)) {
        assert_string_equal(json_object_get_string(value), "nan");
        return NAN;
    }
    return (float)json_object_get_double(value);
}

static uint64_t hex(struct json_object *value) {
    return strtoull(json_object_get_string(value), NULL, 16);
}

static void check_rng_case(struct json_object *object) {
    struct json_object *words = member(object, "u64"), *floats = member(object, "f32");
    uint64_t seed = strtoull(json_object_get_string(member(object, "seed")), NULL, 10);
    ds4_rng rng = {seed}, same = {seed};
    assert_true(json_object_array_length(words) > 0);
    for (size_t i = 0; i < json_object_array_length(words); i++) {
        assert_true(ds4_rng_next(&rng) == hex(json_object_array_get_idx(words, i)));
        assert_true(ds4_rng_uniform(&same) == number(json_object_array_get_idx(floats, i)));
    }
}

static void check_sample_case(struct json_object *object, int line) {
    struct json_object *list = member(object, "logits"), *ids = member(object, "ids");
    size_t n_vocab = json_object_array_length(list);
    float logits[64];
    assert_true(n_vocab <= 64);
    for (size_t i = 0; i < n_vocab; i++) logits[i] = number(json_object_array_get_idx(list, i));
    ds4_sampling_params params = {
        .temperature = number(member(object, "temperature")),
        .top_k = json_object_get_int(member(object, "top_k")),
        .top_p = number(member(object, "top_p")),
        .min_p = number(member(object, "min_p")),
    };
    ds4_sampler *sampler =
        make(n_vocab, params, (uint64_t)json_object_get_int64(member(object, "seed")));
    for (size_t i = 0; i < json_object_array_length(ids); i++) {
        int32_t got = -1, expected = json_object_get_int(json_object_array_get_idx(ids, i));
        assert_int_equal(ds4_sampler_pick(sampler, logits, NULL, &got, NULL), DS4_OK);
        if (got != expected) fail_msg("line %d, draw %zu: %d, expected %d", line, i, got, expected);
    }
    assert_true(ds4_sampler_rng(sampler)->state == hex(member(object, "rng_state_after")));
    ds4_sampler_destroy(sampler);
}

static void recorded_vectors(void **state) {
    (void)state;
    FILE *file = fopen(DS4_FIXTURES "/sampling/cases.jsonl", "rb");
    char *line = malloc(MAX_LINE);
    assert_true(file != NULL && line != NULL);
    int n_lines = 0, n_rng = 0, n_sample = 0;
    while (fgets(line, MAX_LINE, file) != NULL) {
        struct json_object *object = json_tokener_parse(line);
        n_lines++;
        assert_non_null(object);
        if (strcmp(json_object_get_string(member(object, "kind")), "rng") == 0) {
            check_rng_case(object);
            n_rng++;
        } else {
            check_sample_case(object, n_lines);
            n_sample++;
        }
        json_object_put(object);
    }
    fclose(file);
    free(line);
    assert_int_equal(n_rng, N_RNG_CASES);
    assert_int_equal(n_sample, N_SAMPLE_CASES);
}

/* ---- the definition, naively ---- */

typedef struct entry {
    float logit, weight;
    int32_t id;
} entry;

static int by_logit_then_id(const void *left, const void *right) {
    const entry *a = left, *b = right;
    if (a->logit != b->logit) return a->logit > b->logit ? -1 : 1;
    return (a->id > b->id) - (a->id < b->id);
}

/* min_p, top_p and the draw over `n` entries in their order. */
static int32_t walk(const entry *entries, size_t n, float total, float p, float m, float u) {
    float sum = 0, threshold = entries[0].weight / total * m;
    size_t kept = 0, last = 0;
    for (size_t i = 0; i < n; i++) {
        if (i > 0 && entries[i].weight / total < threshold) break;
        sum += entries[i].weight;
        kept++;
        if (sum / total >= p) break;
    }
    float rest = u * sum;
    for (size_t i = 0; i < kept; i++) {
        if (entries[i].weight == 0) continue;
        last = i;
        rest -= entries[i].weight;
        if (rest <= 0) break;
    }
    return entries[last].id;
}

/* docs/sampling.md without any shortcut: sorts everything, calls the C library's exp. */
static int32_t pick_naively(const float *logits, size_t n_vocab, const ds4_sampling_params *params,
                            const uint64_t *banned, float u) {
    entry *entries = calloc(n_vocab, sizeof *entries), *sorted = calloc(n_vocab, sizeof *sorted);
    assert_true(entries != NULL && sorted != NULL);
    size_t n = 0;
    for (size_t i = 0; i < n_vocab; i++)
        if (isfinite(logits[i]) && (banned[i / 64] >> (i % 64) & 1) == 0)
            entries[n++] = (entry){.logit = logits[i], .id = (int32_t)i};
    assert_true(n > 0);
    memcpy(sorted, entries, n * sizeof *entries);
    qsort(sorted, n, sizeof *sorted, by_logit_then_id);
    float max = sorted[0].logit, total = 0;
    float p = params->top_p <= 0 || params->top_p > 1 ? 1 : params->top_p,
          m = params->min_p < 0 ? 0 : params->min_p;
    int32_t id = sorted[0].id;
    if (params->temperature <= 0) goto done;
    for (size_t i = 0; i < n; i++) {
        entries[i].weight = (float)exp((double)((entries[i].logit - max) / params->temperature));
        sorted[i].weight = (float)exp((double)((sorted[i].logit - max) / params->temperature));
    }
    if (params->top_k > 0) {
        size_t k = params->top_k < 1024 ? (size_t)params->top_k : 1024;
        if (k > n) k = n;
        for (size_t i = 0; i < k; i++) total += sorted[i].weight;
        id = walk(sorted, k, total, p, m, u);
    } else if (p < 1) {
        for (size_t i = 0; i < n; i++) total += entries[i].weight;
        id = walk(sorted, n, total, p, m, u);
    } else {
        for (size_t i = 0; i < n; i++)
            if (entries[i].weight >= m) total += entries[i].weight;
        float rest = u * total;
        for (size_t i = 0; i < n; i++) {
            if (entries[i].weight < m || entries[i].weight == 0) continue;
            id = entries[i].id;
            rest -= entries[i].weight;
            if (rest <= 0) break;
        }
    }
done:
    free(entries);
    free(sorted);
    return id;
}

static void make_logits(uint64_t *random, float *logits, size_t n, uint64_t *banned) {
    static const float odd[] = {0.0f, -0.0f, -1e30f, -INFINITY, INFINITY,
                                NAN,  5.5f,  -3.25f, FLT_MAX,   1e-40f};
    float spread = (float[]){0.01f, 3, 10, 60}[random_below(random, 4)];
    size_t n_odd = random_below(random, 3) == 0 ? 3 : 0;
    int coarse = random_below(random, 2) == 0; /* many ties */
    for (size_t i = 0; i < n; i++) {
        logits[i] =
            (random_unit(random) + random_unit(random) + random_unit(random) - 1.5f) * spread;
        if (coarse) logits[i] = rintf(logits[i]);
        if (random_below(random, 10) < n_odd)
            logits[i] = odd[random_below(random, sizeof odd / sizeof odd[0] - (n > 8 ? 2 : 0))];
    }
    for (size_t i = 0; i < (n + 63) / 64; i++)
        banned[i] = random_below(random, 2) == 0 ? 0 : random_next(random);
    logits[n / 2] = 1; /* at least one candidate */
    banned[n / 2 / 64] &= ~((uint64_t)1 << (n / 2 % 64));
}

static void equals_the_naive_definition(void **state) {
    (void)state;
    static const float temperatures[] = {0, -1, 1, 0.6f, 2, 1e-30f, 1e30f, 0.05f};
    static const int32_t top_ks[] = {0, 0, 0, 1, 2, 5, 40, 1024, 100000, -3};
    static const float top_ps[] = {1, 0.95f, 0.5f, 0.999999f, 1e-9f, 0, 2, -1};
    static const float min_ps[] = {0, 0.05f, 0.3f, 1, 1.5f, -1, 0.9999999f, 1e-30f};
    const uint64_t seed = 42042;
    uint64_t random = seed;
    print_message("seed %llu\n", (unsigned long long)seed);
    for (int round = 0; round < 40000; round++) {
        size_t n = round % 100 == 0 ? 5000 : 1 + random_below(&random, 130);
        float *logits = calloc(n, sizeof *logits);
        uint64_t *banned = calloc((n + 63) / 64, sizeof *banned);
        assert_true(logits != NULL && banned != NULL);
        make_logits(&random, logits, n, banned);
        ds4_sampling_params params = {
            temperatures[random_below(&random, 8)], top_ks[random_below(&random, 10)],
            top_ps[random_below(&random, 8)], min_ps[random_below(&random, 8)]};
        ds4_sampler *sampler = make(n, params, random_next(&random));
        for (int draw = 0; draw < 3; draw++) {
            ds4_rng copy = *ds4_sampler_rng(sampler);
            float u = ds4_rng_uniform(&copy);
            int32_t got = -1, expected = pick_naively(logits, n, &params, banned, u);
            assert_int_equal(
                ds4_sampler_pick(sampler, logits, &(ds4_token_mask){banned}, &got, NULL), DS4_OK);
            if (got != expected)
                fail_msg("round %d: n %zu t %g k %d p %g m %g u %g: %d, expected %d", round, n,
                         (double)params.temperature, params.top_k, (double)params.top_p,
                         (double)params.min_p, (double)u, got, expected);
            if (params.temperature > 0) assert_true(ds4_sampler_rng(sampler)->state == copy.state);
        }
        ds4_sampler_destroy(sampler);
        free(logits);
        free(banned);
    }
}

/* ---- edges ---- */

/* The state whose next output is 1, so that u = 0: the inverses of the generator's steps,
 * backwards. */
static uint64_t state_before_zero(void) {
    uint64_t inverse = 1, x;
    for (int i = 0; i < 6; i++)
        inverse *= 2 - 0x2545f4914f6cdd1du * inverse; /* Newton modulo 2^64 */
    x = inverse;
    uint64_t y = x;
    for (int i = 0; i < 64; i += 27) y = x ^ y >> 27;
    x = y;
    for (int i = 0; i < 64; i += 25) y = x ^ y << 25;
    x = y;
    for (int i = 0; i < 64; i += 12) y = x ^ y >> 12;
    return y;
}

static void what_underflowed_is_not_picked_at_zero(void **state) {
    (void)state;
    ds4_rng rng = {state_before_zero()};
    assert_true(ds4_rng_uniform(&rng) == 0);
    const float logits[] = {-1000, -1e30f, 2, 3, -500};
    const ds4_sampling_params params[] = {{1, 0, 1, 0}, {1, 0, 0.99f, 0}, {1, 5, 1, 0}};
    const int32_t expected[] = {2, 3, 3}; /* the first by id, the first by rank */
    for (size_t i = 0; i < 3; i++) {
        int32_t got = -1;
        ds4_sampler *sampler = make(5, params[i], state_before_zero());
        assert_int_equal(ds4_sampler_pick(sampler, logits, NULL, &got, NULL), DS4_OK);
        assert_int_equal(got, expected[i]);
        ds4_sampler_destroy(sampler);
    }
}

static void greedy_takes_the_lowest_of_equals_and_draws_nothing(void **state) {
    (void)state;
    const float logits[] = {NAN, 1, INFINITY, 7, 7, -INFINITY, 7};
    const uint64_t banned[] = {1u << 3};
    int32_t got = -1;
    ds4_sampler *sampler = make(7, (ds4_sampling_params){1, 0, 1, 0}, 42);
    assert_int_equal(ds4_sampler_pick_greedy(sampler, logits, NULL, &got, NULL), DS4_OK);
    assert_int_equal(got, 3);
    assert_int_equal(
        ds4_sampler_pick_greedy(sampler, logits, &(ds4_token_mask){banned}, &got, NULL), DS4_OK);
    assert_int_equal(got, 4);
    assert_true(ds4_sampler_rng(sampler)->state == 42);
    ds4_sampler_destroy(sampler);
}

static void nothing_to_pick_is_an_error(void **state) {
    (void)state;
    const float logits[] = {NAN, INFINITY, -INFINITY, 1};
    const uint64_t banned[] = {1u << 3};
    const ds4_sampling_params params[] = {
        {0, 0, 1, 0}, {1, 0, 1, 0}, {1, 0, 0.5f, 0}, {1, 3, 1, 0}};
    for (size_t i = 0; i < 4; i++) {
        ds4_error error = {0};
        int32_t got = -7;
        ds4_sampler *sampler = make(4, params[i], 42);
        assert_int_equal(ds4_sampler_pick(sampler, logits, &(ds4_token_mask){banned}, &got, &error),
                         DS4_INVALID_ARGUMENT);
        assert_non_null(strstr(error.message, "all 4 logits"));
        assert_int_equal(got, -7);
        assert_true(ds4_sampler_rng(sampler)->state == 42);
        ds4_sampler_destroy(sampler);
    }
}

static void bad_parameters_are_refused(void **state) {
    (void)state;
    const ds4_sampling_params bad[] = {{NAN, 0, 1, 0}, {INFINITY, 0, 1, 0},
                                       {1, 0, NAN, 0}, {1, 0, INFINITY, 0},
                                       {1, 0, 1, NAN}, {1, 0, 1, -INFINITY}};
    static const char *const names[] = {"temperature", "temperature", "top_p",
                                        "top_p",       "min_p",       "min_p"};
    ds4_sampler *sampler = make(4, (ds4_sampling_params){0.5f, 3, 0.9f, 0.1f}, 1);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        ds4_error error = {0};
        assert_int_equal(ds4_sampler_set_params(sampler, &bad[i], &error), DS4_INVALID_ARGUMENT);
        assert_non_null(strstr(error.message, names[i]));
        assert_int_equal(ds4_sampler_get_params(sampler)->top_k, 3); /* the old ones stay */
    }
    ds4_sampler_destroy(sampler);
    sampler = NULL;
    assert_int_equal(ds4_sampler_create(0, &sampler, NULL), DS4_INVALID_ARGUMENT);
    assert_null(sampler);
}

/* ---- exp ---- */

static void exponential_is_accurate(void **state) {
    (void)state;
    const uint64_t seed = 271828;
    uint64_t random = seed;
    int n_different = 0;
    print_message("seed %llu\n", (unsigned long long)seed);
    for (int i = 0; i < 1000000; i++) {
        float x = -random_unit(&random) * (i % 2 == 0 ? 104.0f : 1.0f), weight;
        double exact = exp((double)x), got = ds4_exponential((double)x);
        if (fabs(got - exact) > 2 * DBL_EPSILON * exact)
            fail_msg("exp(%a) = %a, expected %a", (double)x, got, exact);
        ds4_exponential_weights(&x, 1, 0, 1, &weight);
        n_different += weight != (float)exact;
    }
    /* float64 error can move the rounding to float32 only in about one of 2^28 cases */
    assert_int_equal(n_different, 0);
    float edges[] = {0, -0.0f, -INFINITY, -1e30f, -FLT_MAX, -104, -103}, weights[7];
    ds4_exponential_weights(edges, 7, 0, 1, weights);
    const float expected[] = {1, 1, 0, 0, 0, 0, (float)exp(-103.0)};
    for (size_t i = 0; i < 7; i++) assert_true(weights[i] == expected[i]);
    assert_true(expected[6] > 0);
    assert_true(ds4_exponential(-701) == 0 && ds4_exponential(0) == 1);
}

/* ---- logprobs ---- */

static void logprobs_are_of_the_raw_distribution(void **state) {
    (void)state;
    const float logits[] = {1, NAN, 3, 3, -INFINITY, 2, -1e30f, INFINITY};
    const int32_t order[] = {2, 3, 5, 0, 6};
    const double sum = 2 + exp(-1.0) + exp(-2.0);
    ds4_logprob top[7];
    ds4_logprobs_top(logits, 8, top, 7);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(top[i].id, order[i]);
        double expected = (double)logits[order[i]] - 3 - log(sum);
        assert_true(fabs((double)top[i].logprob - expected) <= 1e-6 * fabs(expected));
        assert_true(top[i].logprob == ds4_logprob_of(logits, 8, order[i]));
    }
    for (size_t i = 5; i < 7; i++) assert_true(top[i].id == -1 && top[i].logprob == -INFINITY);
    ds4_logprobs_top(logits, 8, top, 1);
    assert_int_equal(top[0].id, 2);
    const int32_t none[] = {1, 4, 7, -1, 8};
    for (size_t i = 0; i < 5; i++) assert_true(ds4_logprob_of(logits, 8, none[i]) == -INFINITY);
}

static int by_logprob(const void *left, const void *right) {
    const ds4_logprob *a = left, *b = right;
    if (a->logprob != b->logprob) return a->logprob > b->logprob ? -1 : 1;
    return (a->id > b->id) - (a->id < b->id);
}

static void top_logprobs_equal_a_full_sort(void **state) {
    (void)state;
    enum { N = 300 };
    uint64_t random = 5;
    for (int round = 0; round < 500; round++) {
        float logits[N];
        ds4_logprob all[N], top[40];
        double sum = 0;
        for (int i = 0; i < N; i++) {
            logits[i] = rintf(random_unit(&random) * 200) / 8; /* exact in float32, with ties */
            all[i] = (ds4_logprob){i, logits[i]};
            sum += exp((double)logits[i]);
        }
        qsort(all, N, sizeof *all, by_logprob);
        ds4_logprobs_top(logits, N, top, 40);
        for (int i = 0; i < 40; i++) {
            assert_int_equal(top[i].id, all[i].id);
            double expected = (double)all[i].logprob - log(sum);
            assert_true(fabs((double)top[i].logprob - expected) <= 1e-6 * (1 + fabs(expected)));
        }
    }
}

/* ---- speed ---- */

/* Printed; asserted only against accidents, since machines differ and sanitizers are slow. */
static void speed_at_full_vocabulary(void **state) {
    (void)state;
    enum { N = 129280, ROUNDS = 50 };
    const ds4_sampling_params params[] = {
        {0, 0, 1, 0},         {1, 0, 1, 0.05f},         {1, 0, 1, 0},   {1, 0, 0.95f, 0},
        {1, 0, 0.95f, 0.05f}, {0.6f, 40, 0.95f, 0.03f}, {1, 1024, 1, 0}};
    float *logits = malloc(N * sizeof *logits);
    uint64_t *banned = calloc(N / 64 + 1, sizeof *banned);
    assert_true(logits != NULL && banned != NULL);
    for (int flat = 0; flat < 2; flat++) {
        uint64_t random = 3;
        for (int i = 0; i < N; i++)
            logits[i] = (random_unit(&random) + random_unit(&random) + random_unit(&random)) *
                        (flat ? 0.5f : 12.0f);
        for (int i = 128000; i < N; i++) banned[i / 64] |= (uint64_t)1 << (i % 64);
        for (size_t k = 0; k < sizeof params / sizeof params[0]; k++) {
            ds4_sampler *sampler = make(N, params[k], 42);
            int32_t token = -1;
            clock_t begin = clock();
            for (int i = 0; i < ROUNDS; i++) {
                assert_int_equal(
                    ds4_sampler_pick(sampler, logits, &(ds4_token_mask){banned}, &token, NULL),
                    DS4_OK);
                assert_true(token >= 0 && token < 128000);
            }
            double ms = 1e3 * (double)(clock() - begin) / CLOCKS_PER_SEC / ROUNDS;
            print_message("%s: t %g k %d p %g m %g: %.3f ms\n", flat ? "flat" : "steep",
                          (double)params[k].temperature, params[k].top_k, (double)params[k].top_p,
                          (double)params[k].min_p, ms);
            assert_true(ms < 200);
            ds4_sampler_destroy(sampler);
        }
    }
    free(logits);
    free(banned);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recorded_vectors),
        cmocka_unit_test(equals_the_naive_definition),
        cmocka_unit_test(what_underflowed_is_not_picked_at_zero),
        cmocka_unit_test(greedy_takes_the_lowest_of_equals_and_draws_nothing),
        cmocka_unit_test(nothing_to_pick_is_an_error),
        cmocka_unit_test(bad_parameters_are_refused),
        cmocka_unit_test(exponential_is_accurate),
        cmocka_unit_test(logprobs_are_of_the_raw_distribution),
        cmocka_unit_test(top_logprobs_equal_a_full_sort),
        cmocka_unit_test(speed_at_full_vocabulary),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
