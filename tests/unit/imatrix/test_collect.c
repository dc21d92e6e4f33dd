/* Collecting on ds4-nano: every input is counted where it went, and shared inputs agree. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <json-c/json.h>

#include "imatrix/collect.h"

static const char TEXT[] =
    "===== DS4_IMATRIX_PROMPT 1 talk\n"
    "<｜begin▁of▁sentence｜><｜User｜>hello, who are you?<｜Assistant｜></think>I am a small "
    "model.\n"
    "===== DS4_IMATRIX_PROMPT 2 sums\n\n"
    "<｜begin▁of▁sentence｜><｜User｜>what is 17 plus 25?<｜Assistant｜></think>42\n\n"
    "===== DS4_IMATRIX_PROMPT empty\n   \n";

enum { LAYERS = 6, EXPERTS = 5, USED = 2, CONTEXT = 64 };

typedef struct fixture {
    ds4_model *model;
    ds4_engine *engine;
} fixture;

static void setup(fixture *f, uint32_t batch) {
    const ds4_engine_options options = {
        .n_threads = 2, .max_batch_tokens = batch, .max_context = CONTEXT};
    assert_int_equal(ds4_model_open(DS4_NANO, NULL, &f->model, NULL), DS4_OK);
    assert_int_equal(ds4_engine_create(f->model, &options, &f->engine, NULL), DS4_OK);
}

static void teardown(fixture *f) {
    ds4_engine_destroy(f->engine);
    ds4_model_close(f->model);
}

static ds4_imatrix_text source_text(const fixture *f, const char *text, size_t n) {
    return (ds4_imatrix_text){
        .tokenizer = ds4_model_get_tokenizer(f->model), .rest = text, .n_bytes = n};
}

static ds4_imatrix *collect(uint32_t batch, uint64_t max_prompts, ds4_imatrix_progress *done) {
    fixture f;
    ds4_imatrix *imatrix;
    ds4_error error = {0};
    const ds4_imatrix_collection collection = {.max_context = CONTEXT, .max_prompts = max_prompts};
    setup(&f, batch);
    ds4_imatrix_text text = source_text(&f, TEXT, sizeof TEXT - 1);
    const ds4_imatrix_source source = ds4_imatrix_text_source(&text);
    assert_int_equal(source.n_prompts, 2);
    assert_int_equal(ds4_imatrix_create(&imatrix, NULL), DS4_OK);
    if (ds4_imatrix_collect(f.engine, f.model, &source, &collection, imatrix, done, &error) !=
        DS4_OK)
        fail_msg("%s", error.message);
    teardown(&f);
    return imatrix;
}

static const ds4_imatrix_entry *layer_entry(const ds4_imatrix *imatrix, int layer,
                                            const char *what) {
    char name[64];
    snprintf(name, sizeof name, "blk.%d.%s.weight", layer, what);
    const ds4_imatrix_entry *entry = ds4_imatrix_find(imatrix, name);
    if (entry == NULL) fail_msg("%s was not collected", name);
    return entry;
}

static void every_input_is_counted(void **state) {
    (void)state;
    ds4_imatrix_progress done;
    ds4_imatrix *imatrix = collect(16, 0, &done);
    assert_int_equal(done.prompts_done, 2);
    assert_true(done.tokens_done > 30 && done.tokens_done < 2 * CONTEXT);
    for (int l = 0; l < LAYERS; l++) {
        const ds4_imatrix_entry *q = layer_entry(imatrix, l, "attn_q_a"),
                                *kv = layer_entry(imatrix, l, "attn_kv"),
                                *gate = layer_entry(imatrix, l, "ffn_gate_exps"),
                                *up = layer_entry(imatrix, l, "ffn_up_exps"),
                                *down = layer_entry(imatrix, l, "ffn_down_exps"),
                                *shared = layer_entry(imatrix, l, "ffn_gate_shexp");
        assert_int_equal(q->counts[0], done.tokens_done);
        /* q and kv read the same rows, and so do gate and up of an expert. */
        assert_memory_equal(q->sums, kv->sums, q->n_columns * sizeof *q->sums);
        assert_memory_equal(gate->sums, up->sums, EXPERTS * gate->n_columns * sizeof *gate->sums);
        assert_int_equal(gate->n_matrices, EXPERTS);
        assert_int_equal(ds4_imatrix_entry_coverage(gate).total, USED * done.tokens_done);
        assert_memory_equal(gate->counts, down->counts, EXPERTS * sizeof *gate->counts);
        /* Each token went to USED experts and once to the shared one: the squares add up. */
        for (size_t c = 0; c < shared->n_columns; c++) {
            double routed = 0;
            for (size_t e = 0; e < EXPERTS; e++) routed += gate->sums[e * gate->n_columns + c];
            assert_true(fabs(routed - USED * shared->sums[c]) <= 1e-9 * routed);
        }
    }
    assert_int_equal(ds4_imatrix_find(imatrix, "output.weight")->counts[0], done.tokens_done);
    ds4_imatrix_destroy(imatrix);
}

/* Sums are formed token by token in float64: how the text is cut into calls does not show. */
static void chunks_do_not_matter(void **state) {
    (void)state;
    ds4_imatrix_progress done;
    ds4_imatrix *a = collect(3, 0, &done), *b = collect(64, 0, &done);
    assert_int_equal(ds4_imatrix_n_entries(a), ds4_imatrix_n_entries(b));
    for (size_t i = 0; i < ds4_imatrix_n_entries(a); i++) {
        const ds4_imatrix_entry *x = ds4_imatrix_entry_at(a, i), *y = ds4_imatrix_find(b, x->name);
        assert_non_null(y);
        assert_memory_equal(x->counts, y->counts, x->n_matrices * sizeof *x->counts);
        /* Grouped products come group by group, so only the order of their sums differs. */
        for (size_t k = 0; k < x->n_columns * x->n_matrices; k++)
            assert_true(fabs(x->sums[k] - y->sums[k]) <= 1e-12 * x->sums[k]);
    }
    ds4_imatrix_destroy(a);
    ds4_imatrix_destroy(b);
}

/* ---- against the float64 reference (tests/fixtures/imatrix/golden.py) ---- */

static double number(json_object *object, const char *key) {
    return json_object_get_double(json_object_object_get(object, key));
}

static void expect_near(const char *weight, double is, double wanted) {
    if (fabs(is - wanted) > 1e-4 * wanted)
        fail_msg("%s: %.9g, the reference has %.9g", weight, is, wanted);
}

static void compare(const ds4_imatrix *imatrix, json_object *sum) {
    const char *weight = json_object_get_string(json_object_object_get(sum, "weight"));
    size_t matrix = (size_t)number(sum, "matrix"), step = (size_t)number(sum, "step");
    const ds4_imatrix_entry *entry = ds4_imatrix_find(imatrix, weight);
    json_object *columns = json_object_object_get(sum, "columns");
    double total = 0;
    if (entry == NULL) fail_msg("%s was not collected", weight);
    const double *sums = entry->sums + matrix * entry->n_columns;
    for (size_t c = 0; c < entry->n_columns; c++) total += sums[c];
    assert_int_equal(entry->counts[matrix], (int64_t)number(sum, "count"));
    /* The mixers multiply the streams before their norm, the reference after it: the same product
     * of other inputs. They are never quantised to few bits. */
    if (strstr(weight, "hc_") != NULL) return;
    expect_near(weight, total, number(sum, "total"));
    for (size_t i = 0; i < json_object_array_length(columns); i++)
        expect_near(weight, sums[i * step],
                    json_object_get_double(json_object_array_get_idx(columns, i)));
}

static ds4_status next_once(void *context, ds4_tokens *prompt, bool *more, ds4_error *error) {
    json_object **tokens = context;
    *more = *tokens != NULL;
    for (size_t i = 0; *more && i < json_object_array_length(*tokens); i++)
        ds4_tokens_push(prompt, json_object_get_int(json_object_array_get_idx(*tokens, i)), error);
    *tokens = NULL;
    return DS4_OK;
}

static void sums_are_those_of_the_reference(void **state) {
    (void)state;
    fixture f;
    ds4_imatrix *imatrix;
    ds4_imatrix_progress done;
    json_object *golden = json_object_from_file(DS4_FIXTURES "/imatrix/nano.json");
    assert_non_null(golden);
    json_object *tokens = json_object_object_get(golden, "tokens"),
                *sums = json_object_object_get(golden, "sums");
    const ds4_imatrix_source source = {.next = next_once, .context = &tokens, .n_prompts = 1};
    const ds4_imatrix_collection collection = {.max_context = CONTEXT};
    setup(&f, 16);
    assert_int_equal(ds4_imatrix_create(&imatrix, NULL), DS4_OK);
    assert_int_equal(
        ds4_imatrix_collect(f.engine, f.model, &source, &collection, imatrix, &done, NULL), DS4_OK);
    assert_true(json_object_array_length(sums) > 160);
    for (size_t i = 0; i < json_object_array_length(sums); i++)
        compare(imatrix, json_object_array_get_idx(sums, i));
    ds4_imatrix_destroy(imatrix);
    teardown(&f);
    json_object_put(golden);
}

static void limits(void **state) {
    (void)state;
    ds4_imatrix_progress done;
    ds4_imatrix_destroy(collect(64, 1, &done));
    assert_int_equal(done.prompts_done, 1);
    ds4_imatrix_text one = {.rest = "one prompt", .n_bytes = 10},
                     none = {.rest = " \n ", .n_bytes = 3};
    assert_int_equal(ds4_imatrix_text_source(&one).n_prompts, 1);
    assert_int_equal(ds4_imatrix_text_source(&none).n_prompts, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_input_is_counted),
        cmocka_unit_test(chunks_do_not_matter),
        cmocka_unit_test(sums_are_those_of_the_reference),
        cmocka_unit_test(limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
