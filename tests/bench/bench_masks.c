/* What structured output costs per token with the real vocabulary: the time of each mask while a
 * document is written, beside one draw of the sampler. One thread.
 *   usage: bench_masks [build/v4/tokenizer.json] */
#include <time.h>

#include "../unit/tokenizer/v4_vocabulary.h"
#include "constraint/matcher.h"
#include "constraint/schema.h"
#include "sample/sampler.h"

enum { ROUNDS = 5, MAX_SAMPLES = 100000, N_DRAWS = 50 };

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t); /* other work on the machine does not count */
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static const struct {
    const char *name, *schema, *document;
} cases[] = {
    {"any object", "{\"type\":\"object\"}",
     "{\"name\": \"a longer text with some words in it\", \"list\": [1, 2.5, -3e4, true, null], "
     "\"nested\": {\"deep\": {\"er\": [\"x\", \"y\"]}}}"},
    {"extraction",
     "{\"type\":\"object\",\"properties\":{\"invoice_number\":{\"type\":\"string\"},\"date\":{"
     "\"type\":\"string\",\"format\":\"date\"},\"total\":{\"type\":\"number\",\"minimum\":0},"
     "\"currency\":{\"enum\":[\"EUR\",\"USD\",\"CHF\"]},\"lines\":{\"type\":\"array\",\"items\":{"
     "\"type\":\"object\",\"properties\":{\"description\":{\"type\":\"string\"},\"quantity\":{"
     "\"type\":\"integer\",\"minimum\":1,\"maximum\":999},\"price\":{\"type\":\"number\"}},"
     "\"required\":[\"description\",\"quantity\",\"price\"]}}},\"required\":[\"invoice_number\","
     "\"date\",\"total\",\"currency\",\"lines\"]}",
     "{\"invoice_number\": \"2026-0042\", \"date\": \"2026-11-25\", \"total\": 1234.50, "
     "\"currency\": \"CHF\", \"lines\": [{\"description\": \"Consulting, two days on site\", "
     "\"quantity\": 2, \"price\": 600}, {\"description\": \"Travel\", \"quantity\": 1, \"price\": "
     "34.5}]}"},
    {"text with limits",
     "{\"type\":\"object\",\"properties\":{\"summary\":{\"type\":\"string\",\"minLength\":20,"
     "\"maxLength\":200}},\"required\":[\"summary\"]}",
     "{\"summary\": \"Masks are computed by walking a trie of the vocabulary together with the "
     "automaton of the schema, so that each token costs little.\"}"},
    {"pattern over all text",
     "{\"type\":\"object\",\"properties\":{\"line\":{\"type\":\"string\",\"pattern\":\"^[^\\n]*TODO"
     "[^\\n]*$\"}},\"required\":[\"line\"]}",
     "{\"line\": \"a line of text that says TODO somewhere and then goes on for a while\"}"},
    {"alternatives",
     "{\"anyOf\":[{\"type\":\"object\",\"properties\":{\"op\":{\"const\":\"add\"},\"a\":{\"type\":"
     "\"number\"},\"b\":{\"type\":\"number\"}},\"required\":[\"op\",\"a\",\"b\"]},{\"type\":"
     "\"object\",\"properties\":{\"op\":{\"const\":\"say\"},\"text\":{\"type\":\"string\"}},"
     "\"required\":[\"op\",\"text\"]},{\"type\":\"array\",\"items\":{\"$ref\":\"#\"}}]}",
     "[{\"op\": \"add\", \"a\": 1, \"b\": 2.5}, {\"op\": \"say\", \"text\": \"hello to all\"}]"},
};

static void run_case(size_t i, const ds4_tokenizer *tokenizer, const ds4_vocabulary *vocabulary) {
    ds4_error error = {0};
    char path[DS4_SCHEMA_PATH_BYTES];
    ds4_grammar *grammar = NULL;
    ds4_tokens ids = {0};
    static double times[MAX_SAMPLES];
    size_t n = 0, n_words = ds4_vocabulary_n_words(vocabulary);
    uint64_t *mask = malloc(n_words * sizeof *mask);
    double begin = now();
    if (ds4_grammar_of_schema((ds4_text){cases[i].schema, strlen(cases[i].schema)},
                              DS4_TEXT("schema"), &grammar, path, &error) != DS4_OK) {
        fprintf(stderr, "%s\n", error.message);
        exit(1);
    }
    double compiled = now() - begin;
    ds4_tokenizer_encode(tokenizer, cases[i].document, strlen(cases[i].document), &ids, NULL);
    for (int round = 0; round < ROUNDS; round++) { /* each round a new answer: nothing is warm */
        ds4_matcher *m = NULL;
        if (mask == NULL || ds4_matcher_create(grammar, vocabulary, &m, NULL) != DS4_OK) exit(1);
        for (size_t t = 0; t < ids.n; t++) {
            begin = now();
            ds4_matcher_mask(m, mask);
            times[n++] = now() - begin;
            ds4_token_string bytes = ds4_tokenizer_token_bytes(tokenizer, ids.ids[t]);
            bool allowed = (mask[ids.ids[t] / 64] >> (ids.ids[t] % 64) & 1) != 0;
            if (!allowed || !ds4_matcher_accept(m, bytes.data, bytes.n)) {
                fprintf(stderr, "%s: token %zu is refused\n", cases[i].name, t);
                exit(1);
            }
        }
        ds4_matcher_destroy(m);
    }
    qsort(times, n, sizeof *times, compare);
    double sum = 0;
    for (size_t t = 0; t < n; t++) sum += times[t];
    printf("%-22s %8zu %10.3f %10.3f %10.3f %10.3f %10.3f\n", cases[i].name, ids.n, compiled * 1e3,
           times[n / 2] * 1e3, sum / (double)n * 1e3, times[n * 99 / 100] * 1e3,
           times[n - 1] * 1e3);
    ds4_tokens_free(&ids);
    ds4_grammar_destroy(grammar);
    free(mask);
}

static double time_of_draw(void) {
    static float logits[N_VOCAB];
    ds4_sampler *sampler = NULL;
    ds4_sampling_params params = {.temperature = 1, .top_p = 1, .min_p = 0.05f};
    uint64_t state = 1;
    for (size_t i = 0; i < N_VOCAB; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        logits[i] = (float)(state >> 40) / 1e6f;
    }
    if (ds4_sampler_create(N_VOCAB, &sampler, NULL) != DS4_OK) exit(1);
    ds4_sampler_set_params(sampler, &params, NULL);
    ds4_sampler_seed(sampler, 42);
    double begin = now();
    int32_t id = 0;
    for (int i = 0; i < N_DRAWS; i++) ds4_sampler_pick(sampler, logits, NULL, &id, NULL);
    double seconds = (now() - begin) / N_DRAWS;
    ds4_sampler_destroy(sampler);
    return seconds;
}

int main(int argc, char **argv) {
    const char *path = argc > 1 ? argv[1] : DS4_FIXTURES "/../../build/v4/tokenizer.json";
    struct json_object *root = json_object_from_file(path);
    ds4_tokenizer *tokenizer = NULL;
    ds4_vocabulary *vocabulary = NULL;
    ds4_error error = {0};
    if (root == NULL || create_v4_tokenizer(root, &tokenizer, &error) != DS4_OK) {
        fprintf(stderr, "bench_masks: no vocabulary at %s (scripts/make-v4-tokenizer.mjs)\n", path);
        return 1;
    }
    json_object_put(root);
    double begin = now();
    if (ds4_vocabulary_create(tokenizer, &vocabulary, &error) != DS4_OK) {
        fprintf(stderr, "bench_masks: %s\n", error.message);
        return 1;
    }
    printf("vocabulary of %d tokens: %.1f ms once per model; one draw of the sampler: %.3f ms\n",
           N_VOCAB, (now() - begin) * 1e3, time_of_draw() * 1e3);
    printf("%-22s %8s %10s %10s %10s %10s %10s\n", "schema", "tokens", "compile ms", "median ms",
           "mean ms", "p99 ms", "worst ms");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) run_case(i, tokenizer, vocabulary);
    ds4_vocabulary_destroy(vocabulary);
    ds4_tokenizer_destroy(tokenizer);
    return 0;
}
