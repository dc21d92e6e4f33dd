/* Random documents that a schema's grammar lets pass, for a validator that we did not write
 * (tests/oracle/schema.test.mjs). Reads one JSON object a line:
 *   {"schema": ..., "walks": 5, "seed": 1, "brute": 20, "documents": ["..."]}
 * and answers each with one line: {"error", "path"} when the schema is refused, otherwise
 * {"walks": [texts], "accepted": [whether each document matches]}. A walk takes random tokens of
 * the mask, then the shortest way to an end. In `brute` of its steps, on average, the mask is
 * compared with trying every token.
 *   usage: schema_probe MODEL.gguf */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "constraint/matcher_internal.h"
#include "constraint/schema.h"
#include "gguf/gguf_reader.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/tokenizer_gguf.h"

enum { MAX_STEPS = 60 };

static uint64_t random_state;

static uint64_t random_next(void) { /* splitmix64 */
    uint64_t x = (random_state += 0x9e3779b97f4a7c15u);
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static void die(const char *why) {
    fprintf(stderr, "schema_probe: %s\n", why);
    exit(1);
}

/* ---- the shortest way to an end ---- */

static double *distances; /* by node: bytes until its rule returns */

static double distance_of(const ds4_grammar *g, const ds4_grammar_node *n) {
    double least = n->kind == DS4_NODE_RETURN ? 0 : 1e9;
    if (n->kind == DS4_NODE_CALL) return distances[n->callee] + n->min + distances[n->next];
    for (uint32_t i = 0; i < n->n_edges; i++) {
        double d = 1 + distances[g->edges[n->edge + i].target];
        if (d < least) least = d;
    }
    for (uint32_t i = 0; i < n->n_free; i++) {
        double d = distances[g->targets[n->free + i]];
        if (d < least) least = d;
    }
    return least;
}

static void measure(const ds4_grammar *g) {
    distances = realloc(distances, g->n_nodes * sizeof *distances);
    for (size_t i = 0; i < g->n_nodes; i++) distances[i] = 1e9;
    for (bool changed = true; changed;) {
        changed = false;
        for (size_t i = g->n_nodes; i-- > 0;) {
            double d = distance_of(g, &g->nodes[i]);
            changed = changed || d < distances[i];
            if (d < distances[i]) distances[i] = d;
        }
    }
}

static double distance_of_config(const ds4_matcher *m, ds4_config c) {
    double d = distances[c.node];
    if (m->frames[c.frame].min > c.count) d += m->frames[c.frame].min - c.count;
    for (uint32_t f = c.frame; f != 0; f = m->frames[f].parent)
        d += distances[m->frames[f].next_node];
    return d;
}

/* The byte behind which the end is nearest; -1: none. */
static int nearest_byte(ds4_matcher *m) {
    static ds4_config out[DS4_SET_LIMIT];
    double least = 1e9;
    int best = -1;
    size_t n_frames = m->n_frames;
    for (int byte = 0; byte < 256; byte++) {
        ds4_set_builder set;
        ds4_set_begin(m, &set, out, DS4_SET_LIMIT);
        ds4_set_step(m, m->set, m->n_set, (uint16_t)byte, &set);
        double d = set.done ? 0 : 1e9;
        for (size_t i = 0; i < set.n; i++) {
            double other = distance_of_config(m, out[i]);
            if (other < d) d = other;
        }
        if (d < least) {
            least = d;
            best = byte;
        }
        ds4_frames_truncate(m, n_frames);
    }
    return best;
}

/* ---- masks by trying ---- */

static bool token_fits(ds4_matcher *m, ds4_token_string bytes) {
    static ds4_config sets[2][DS4_SET_LIMIT];
    size_t n_frames = m->n_frames;
    const ds4_config *from = m->set;
    ds4_set_builder set = {.n = m->n_set};
    for (size_t i = 0; i < bytes.n; i++) {
        size_t n = set.n;
        ds4_set_begin(m, &set, sets[i % 2], DS4_SET_LIMIT);
        ds4_set_step(m, from, n, (unsigned char)bytes.data[i], &set);
        from = sets[i % 2];
        if (set.n == 0 && !(set.done && i + 1 == bytes.n)) {
            ds4_frames_truncate(m, n_frames);
            return false;
        }
    }
    ds4_frames_truncate(m, n_frames);
    return set.n > 0 || set.done;
}

static void check_mask(ds4_matcher *m, const ds4_tokenizer *tokenizer, const uint64_t *mask) {
    ds4_control_ids controls = ds4_control_ids_of(tokenizer);
    for (size_t id = 0; id < ds4_tokenizer_n_tokens(tokenizer); id++) {
        ds4_token_string bytes = ds4_tokenizer_token_bytes(tokenizer, (int32_t)id);
        bool ordinary = !ds4_control_is_banned(tokenizer, (int32_t)id) &&
                        ds4_control_of_id(&controls, (int32_t)id) == DS4_CONTROL_NONE &&
                        bytes.n > 0;
        bool wanted = ordinary ? token_fits(m, bytes)
                               : (int32_t)id == controls.id[DS4_CONTROL_EOS] && m->done;
        if (wanted == ((mask[id / 64] >> (id % 64) & 1) != 0)) continue;
        fprintf(stderr, "token %zu '%.*s' should%s be allowed\n", id, (int)bytes.n, bytes.data,
                wanted ? "" : " not");
        die("a mask differs from trying every token");
    }
}

/* ---- walks ---- */

static int32_t random_token(const uint64_t *mask, size_t n_words) {
    size_t n = 0;
    for (size_t w = 0; w < n_words; w++) n += (size_t)__builtin_popcountll(mask[w]);
    if (n == 0) die("a mask is empty");
    size_t pick = (size_t)(random_next() % n);
    for (size_t w = 0; w < n_words; w++) {
        size_t here = (size_t)__builtin_popcountll(mask[w]);
        if (pick >= here) {
            pick -= here;
            continue;
        }
        uint64_t word = mask[w];
        while (pick-- > 0) word &= word - 1;
        return (int32_t)(w * 64 + (size_t)__builtin_ctzll(word));
    }
    return -1;
}

static void walk(ds4_matcher *m, const ds4_tokenizer *tokenizer, unsigned brute, ds4_strbuf *out) {
    size_t n_words = ds4_vocabulary_n_words(m->vocabulary);
    uint64_t *mask = malloc(n_words * sizeof *mask);
    int32_t eos = ds4_tokenizer_special_ids(tokenizer)->eos;
    size_t steps = (size_t)(random_next() % MAX_STEPS);
    ds4_matcher_reset(m);
    for (size_t i = 0; i < steps; i++) {
        ds4_matcher_mask(m, mask);
        if (random_next() % MAX_STEPS < brute) check_mask(m, tokenizer, mask);
        int32_t id = random_token(mask, n_words);
        /* Text goes on for ever when every token is as likely; close strings now and then. */
        if (random_next() % 4 == 0) {
            char byte = (char)nearest_byte(m);
            if (m->done) break;
            if (!ds4_matcher_accept(m, &byte, 1)) die("the nearest byte is refused");
            ds4_strbuf_putc(out, byte);
            continue;
        }
        if (id == eos) break;
        ds4_token_string bytes = ds4_tokenizer_token_bytes(tokenizer, id);
        if (!ds4_matcher_accept(m, bytes.data, bytes.n)) die("a token of the mask is refused");
        ds4_strbuf_append(out, bytes.data, bytes.n);
    }
    for (size_t i = 0; !m->done; i++) {
        int byte = nearest_byte(m);
        char c = (char)byte;
        if (byte < 0 || i > 100000) die("no way to an end");
        if (!ds4_matcher_accept(m, &c, 1)) die("the nearest byte is refused");
        ds4_strbuf_putc(out, c);
    }
    free(mask);
}

/* ---- lines ---- */

static int int_member(struct json_object *line, const char *name) {
    struct json_object *value = NULL;
    return json_object_object_get_ex(line, name, &value) ? json_object_get_int(value) : 0;
}

static struct json_object *run(const ds4_grammar *grammar, const ds4_vocabulary *vocabulary,
                               const ds4_tokenizer *tokenizer, struct json_object *line) {
    ds4_matcher *m = NULL;
    struct json_object *answer = json_object_new_object(), *walks = json_object_new_array();
    struct json_object *accepted = json_object_new_array(), *documents = NULL;
    if (ds4_matcher_create(grammar, vocabulary, &m, NULL) != DS4_OK) die("no memory");
    measure(grammar);
    for (int i = 0; i < int_member(line, "walks"); i++) {
        ds4_strbuf text = {0};
        walk(m, tokenizer, (unsigned)int_member(line, "brute"), &text);
        json_object_array_add(walks, json_object_new_string_len(text.data, (int)text.n));
        ds4_strbuf_free(&text);
    }
    json_object_object_get_ex(line, "documents", &documents);
    for (size_t i = 0; documents != NULL && i < json_object_array_length(documents); i++) {
        struct json_object *document = json_object_array_get_idx(documents, i);
        ds4_matcher_reset(m);
        bool fits = ds4_matcher_accept(m, json_object_get_string(document),
                                       (size_t)json_object_get_string_len(document));
        json_object_array_add(accepted, json_object_new_boolean(fits && ds4_matcher_may_end(m)));
    }
    json_object_object_add(answer, "walks", walks);
    json_object_object_add(answer, "accepted", accepted);
    json_object_object_add(answer, "nodes", json_object_new_int64((int64_t)grammar->n_nodes));
    ds4_matcher_destroy(m);
    return answer;
}

int main(int argc, char **argv) {
    ds4_error error = {0};
    ds4_gguf *gguf = NULL;
    ds4_tokenizer *tokenizer = NULL;
    ds4_vocabulary *vocabulary = NULL;
    if (argc != 2) die("usage: schema_probe MODEL.gguf");
    if (ds4_gguf_open(argv[1], NULL, &gguf, &error) != DS4_OK ||
        ds4_tokenizer_create_from_gguf(gguf, 0, &tokenizer, &error) != DS4_OK ||
        ds4_vocabulary_create(tokenizer, &vocabulary, &error) != DS4_OK)
        die(error.message);
    char *text = NULL;
    size_t capacity = 0;
    ssize_t n;
    while ((n = getline(&text, &capacity, stdin)) > 0) {
        struct json_object *line = json_tokener_parse(text), *answer = NULL, *schema = NULL;
        if (line == NULL || !json_object_object_get_ex(line, "schema", &schema)) die("a bad line");
        random_state = (uint64_t)int_member(line, "seed");
        const char *spelled = json_object_to_json_string_ext(schema, JSON_C_TO_STRING_PLAIN);
        char path[DS4_SCHEMA_PATH_BYTES] = "";
        ds4_grammar *grammar = NULL;
        if (ds4_grammar_of_schema((ds4_text){spelled, strlen(spelled)}, DS4_TEXT("schema"),
                                  &grammar, path, &error) == DS4_OK) {
            answer = run(grammar, vocabulary, tokenizer, line);
        } else {
            answer = json_object_new_object();
            json_object_object_add(answer, "error", json_object_new_string(error.message));
            json_object_object_add(answer, "path", json_object_new_string(path));
        }
        puts(json_object_to_json_string_ext(answer, JSON_C_TO_STRING_PLAIN));
        fflush(stdout);
        json_object_put(answer);
        json_object_put(line);
        ds4_grammar_destroy(grammar);
    }
    free(text);
    free(distances);
    ds4_vocabulary_destroy(vocabulary);
    ds4_tokenizer_destroy(tokenizer);
    ds4_gguf_close(gguf);
    return 0;
}
