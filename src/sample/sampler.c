/* The chain: temperature, then which candidates, then the draw. Sums are float32 in the stated
 * order. */
#include "sample/sampler.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "sample/exponential.h"

enum { MAX_TOP_K = 1024, RADIX_BITS = 11, N_RADIX = 1 << RADIX_BITS, N_RADIX_PASSES = 3 };

static const ds4_sampling_params default_params = {
    .temperature = 1, .top_k = 0, .top_p = 1, .min_p = 0.05f};

/* A token that may win. In lists they are ordered by logit, descending, then by id, ascending. */
typedef struct candidate {
    float logit;
    int32_t id;
} candidate;

struct ds4_sampler {
    size_t n_vocab;
    ds4_sampling_params params; /* as set */
    ds4_rng rng;
    float *logits;               /* n_vocab: this pick's, -infinity for what must not win */
    float *weights;              /* n_vocab: exp((logit - max) / temperature), by id or by rank */
    uint64_t *sorted, *unsorted; /* n_vocab each: inverted sort key << 32 | id */
    candidate top[MAX_TOP_K];
};

/* ---- creation and parameters ---- */

ds4_status ds4_sampler_create(size_t n_vocab, ds4_sampler **sampler, ds4_error *error) {
    *sampler = NULL;
    if (n_vocab == 0 || n_vocab > INT32_MAX)
        return ds4_fail(error, DS4_INVALID_ARGUMENT, "a sampler for %zu tokens is not possible",
                        n_vocab);
    ds4_sampler *made = calloc(1, sizeof *made);
    if (made == NULL) return ds4_fail_memory(error, sizeof *made, "a sampler");
    made->n_vocab = n_vocab;
    made->params = default_params;
    made->logits = calloc(n_vocab, sizeof *made->logits);
    made->weights = calloc(n_vocab, sizeof *made->weights);
    made->sorted = calloc(n_vocab, sizeof *made->sorted);
    made->unsorted = calloc(n_vocab, sizeof *made->unsorted);
    if (made->logits == NULL || made->weights == NULL || made->sorted == NULL ||
        made->unsorted == NULL) {
        ds4_sampler_destroy(made);
        return ds4_fail_memory(error, n_vocab * 2 * (sizeof(float) + sizeof(uint64_t)),
                               "a sampler");
    }
    *sampler = made;
    return DS4_OK;
}

void ds4_sampler_destroy(ds4_sampler *sampler) {
    if (sampler == NULL) return;
    free(sampler->logits);
    free(sampler->weights);
    free(sampler->sorted);
    free(sampler->unsorted);
    free(sampler);
}

ds4_status ds4_sampler_set_params(ds4_sampler *sampler, const ds4_sampling_params *params,
                                  ds4_error *error) {
    const struct {
        const char *name;
        float value;
    } checks[] = {
        {"temperature", params->temperature}, {"top_p", params->top_p}, {"min_p", params->min_p}};
    for (size_t i = 0; i < sizeof checks / sizeof checks[0]; i++)
        if (!isfinite(checks[i].value))
            return ds4_fail(error, DS4_INVALID_ARGUMENT, "%s must be a finite number",
                            checks[i].name);
    sampler->params = *params;
    return DS4_OK;
}

const ds4_sampling_params *ds4_sampler_get_params(const ds4_sampler *sampler) {
    return &sampler->params;
}

void ds4_sampler_seed(ds4_sampler *sampler, uint64_t seed) {
    sampler->rng.state = seed;
}

ds4_rng *ds4_sampler_rng(ds4_sampler *sampler) {
    return &sampler->rng;
}

/* ---- candidates ---- */

static bool is_banned(const ds4_token_mask *mask, size_t id) {
    return mask != NULL && (mask->banned[id / 64] >> (id % 64) & 1) != 0;
}

/* The id of the largest finite logit that is not banned, the lowest of equals; -1 when there is
 * none. */
static int32_t find_largest(const float *logits, size_t n, const ds4_token_mask *mask) {
    float best = -INFINITY;
    int32_t id = -1;
    for (size_t i = 0; i < n; i++)
        if (logits[i] > best && logits[i] < INFINITY && !is_banned(mask, i)) {
            best = logits[i];
            id = (int32_t)i;
        }
    return id;
}

static void copy_candidates(ds4_sampler *sampler, const float *logits, const ds4_token_mask *mask) {
    for (size_t i = 0; i < sampler->n_vocab; i++)
        sampler->logits[i] = isfinite(logits[i]) ? logits[i] : -INFINITY;
    if (mask == NULL) return;
    for (size_t begin = 0; begin < sampler->n_vocab; begin += 64) {
        if (mask->banned[begin / 64] == 0) continue;
        for (size_t i = begin; i < begin + 64 && i < sampler->n_vocab; i++)
            if (is_banned(mask, i)) sampler->logits[i] = -INFINITY;
    }
}

/* ---- the draw ---- */

/* The index at which the running sum of weights passes u times their total; the last positive one
 * when rounding keeps it from ever passing. Weights of zero (what underflowed or is excluded) never
 * win, also not at u = 0. */
static size_t draw(const float *weights, size_t n, float total, float u, float min_weight) {
    float rest = u * total;
    size_t last = 0;
    for (size_t i = 0; i < n; i++) {
        if (weights[i] < min_weight || weights[i] <= 0) continue;
        last = i;
        rest -= weights[i];
        if (rest <= 0) break;
    }
    return last;
}

/* All candidates in order of id; min_p compares with the largest weight, which is 1. */
static int32_t pick_by_id(ds4_sampler *sampler, float min_p, int32_t largest) {
    float total = 0;
    for (size_t i = 0; i < sampler->n_vocab; i++)
        if (sampler->weights[i] >= min_p) total += sampler->weights[i];
    float u = ds4_rng_uniform(&sampler->rng);
    if (!(total > 0)) return largest; /* min_p above 1 */
    return (int32_t)draw(sampler->weights, sampler->n_vocab, total, u, min_p);
}

/* How many of the n descending weights stay, and their sum: before each one min_p is asked, after
 * it top_p. `total` is what probabilities are relative to. */
static size_t cut_tail(const float *weights, size_t n, float total, float top_p, float min_p,
                       float *kept_sum) {
    float threshold = weights[0] / total * min_p;
    float sum = 0;
    size_t kept = 0;
    while (kept < n) {
        if (kept > 0 && weights[kept] / total < threshold) break;
        sum += weights[kept++];
        if (sum / total >= top_p) break;
    }
    *kept_sum = sum;
    return kept;
}

/* ---- top-k ---- */

static bool is_worse(candidate a, candidate b) {
    return a.logit < b.logit || (a.logit == b.logit && a.id > b.id);
}

/* Lets `item` sink from slot i of a heap of n whose root is the worst. */
static void sink(candidate *heap, size_t n, size_t i, candidate item) {
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && is_worse(heap[child + 1], heap[child])) child++;
        if (!is_worse(heap[child], item)) break;
        heap[i] = heap[child];
    }
    heap[i] = item;
}

/* The k best candidates, best first; returns how many there are. */
static size_t select_top(ds4_sampler *sampler, size_t k) {
    candidate *top = sampler->top;
    size_t n = 0;
    for (size_t i = 0; i < sampler->n_vocab; i++) {
        candidate item = {sampler->logits[i], (int32_t)i};
        if (item.logit == -INFINITY) continue;
        if (n < k) {
            top[n++] = item;
            if (n == k)
                for (size_t slot = k / 2; slot-- > 0;) sink(top, k, slot, top[slot]);
        } else if (item.logit > top[0].logit) { /* a later equal one has the higher id: worse */
            sink(top, k, 0, item);
        }
    }
    if (n < k)
        for (size_t slot = n / 2; slot-- > 0;) sink(top, n, slot, top[slot]);
    for (size_t left = n; left-- > 1;) { /* the worst goes to the end, again and again */
        candidate worst = top[0];
        sink(top, left, 0, top[left]);
        top[left] = worst;
    }
    return n;
}

static int32_t pick_top_k(ds4_sampler *sampler, size_t k, float temperature, float top_p,
                          float min_p) {
    size_t n = select_top(sampler, k);
    float *values = sampler->logits, *weights = sampler->weights; /* the logits have been read */
    float total = 0, kept_sum;
    for (size_t i = 0; i < n; i++) values[i] = sampler->top[i].logit;
    ds4_exponential_weights(values, n, values[0], temperature, weights);
    for (size_t i = 0; i < n; i++) total += weights[i];
    size_t kept = cut_tail(weights, n, total, top_p, min_p, &kept_sum);
    return sampler->top[draw(weights, kept, kept_sum, ds4_rng_uniform(&sampler->rng), 0)].id;
}

/* ---- top-p over the whole vocabulary ---- */

/* A number that ascends when the logit descends. -0 counts as 0. */
static uint32_t descending_key(float logit) {
    uint32_t bits;
    float value = logit + 0.0f;
    memcpy(&bits, &value, sizeof bits);
    return bits >> 31 != 0 ? bits : ~bits & 0x7fffffffu;
}

/* Sorts n keys of 32 bits in the upper halves, stably: a radix sort takes the same time for flat
 * distributions, where nearly all of the vocabulary is inside the nucleus, as for steep ones. The
 * result is in sampler->sorted. */
static void sort_candidates(ds4_sampler *sampler, size_t n) {
    uint32_t counts[N_RADIX_PASSES][N_RADIX] = {{0}};
    uint64_t *from = sampler->unsorted, *to = sampler->sorted;
    for (size_t i = 0; i < n; i++)
        for (unsigned pass = 0; pass < N_RADIX_PASSES; pass++)
            counts[pass][from[i] >> (32 + pass * RADIX_BITS) & (N_RADIX - 1)]++;
    for (unsigned pass = 0; pass < N_RADIX_PASSES; pass++) {
        uint32_t next = 0;
        for (size_t digit = 0; digit < N_RADIX; digit++) {
            uint32_t count = counts[pass][digit];
            counts[pass][digit] = next;
            next += count;
        }
        for (size_t i = 0; i < n; i++)
            to[counts[pass][from[i] >> (32 + pass * RADIX_BITS) & (N_RADIX - 1)]++] = from[i];
        uint64_t *swap = from;
        from = to;
        to = swap;
    }
    sampler->sorted = from;
    sampler->unsorted = to;
}

/* What cannot be kept need not be sorted: weights of zero, and those below min_p by more than
 * cut_tail's divisions could round away. */
static int32_t pick_nucleus(ds4_sampler *sampler, float top_p, float min_p) {
    const float floor = min_p * 0.9999f;
    float total = 0, kept_sum;
    size_t n = 0;
    for (size_t i = 0; i < sampler->n_vocab; i++) {
        float weight = sampler->weights[i];
        total += weight;
        if (weight > 0 && (weight >= floor || weight == 1))
            sampler->unsorted[n++] = (uint64_t)descending_key(sampler->logits[i]) << 32 | i;
    }
    sort_candidates(sampler, n);
    float *weights = sampler->logits; /* by rank; the logits have been read */
    for (size_t i = 0; i < n; i++) weights[i] = sampler->weights[(uint32_t)sampler->sorted[i]];
    size_t kept = cut_tail(weights, n, total, top_p, min_p, &kept_sum);
    size_t rank = draw(weights, kept, kept_sum, ds4_rng_uniform(&sampler->rng), 0);
    return (int32_t)(uint32_t)sampler->sorted[rank];
}

/* ---- picking ---- */

ds4_status ds4_sampler_pick_greedy(const ds4_sampler *sampler, const float *logits,
                                   const ds4_token_mask *mask, int32_t *token, ds4_error *error) {
    int32_t largest = find_largest(logits, sampler->n_vocab, mask);
    if (largest < 0)
        return ds4_fail(error, DS4_INVALID_ARGUMENT,
                        "no token can be picked: all %zu logits are banned or not finite",
                        sampler->n_vocab);
    *token = largest;
    return DS4_OK;
}

ds4_status ds4_sampler_pick(ds4_sampler *sampler, const float *logits, const ds4_token_mask *mask,
                            int32_t *token, ds4_error *error) {
    int32_t largest = -1;
    ds4_status status = ds4_sampler_pick_greedy(sampler, logits, mask, &largest, error);
    if (status != DS4_OK) return status;
    *token = largest;
    const ds4_sampling_params *params = &sampler->params;
    if (params->temperature <= 0) return DS4_OK;
    float top_p = params->top_p <= 0 || params->top_p > 1 ? 1 : params->top_p;
    float min_p = params->min_p < 0 ? 0 : params->min_p;
    copy_candidates(sampler, logits, mask);
    if (params->top_k > 0) {
        size_t k = params->top_k < MAX_TOP_K ? (size_t)params->top_k : MAX_TOP_K;
        if (k > sampler->n_vocab) k = sampler->n_vocab;
        *token = pick_top_k(sampler, k, params->temperature, top_p, min_p);
        return DS4_OK;
    }
    ds4_exponential_weights(sampler->logits, sampler->n_vocab, logits[largest], params->temperature,
                            sampler->weights);
    *token = top_p < 1 ? pick_nucleus(sampler, top_p, min_p) : pick_by_id(sampler, min_p, largest);
    return DS4_OK;
}
