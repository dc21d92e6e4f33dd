/* ds4-gguf compare: what differs between two files, tensor by tensor. */
#include <fnmatch.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "base/error.h"
#include "base/threads.h"
#include "gguf-tool/difference.h"
#include "gguf-tool/tool.h"

typedef struct settings {
    const char *tensors;
    bool all, json;
    int64_t threads;
} settings;

static const ds4_option options[] = {
    {.names = "--tensors",
     .kind = DS4_OPTION_STRING,
     .argument = "PATTERN",
     .default_text = "*",
     .offset = offsetof(settings, tensors),
     .help = "only tensors whose names match"},
    {.names = "--all",
     .kind = DS4_OPTION_FLAG,
     .offset = offsetof(settings, all),
     .help = "list equal tensors too"},
    {.names = "--json",
     .kind = DS4_OPTION_FLAG,
     .offset = offsetof(settings, json),
     .help = "print one JSON object"},
    {.names = "--threads -t",
     .kind = DS4_OPTION_INT,
     .argument = "N",
     .min = 0,
     .max = 1024,
     .default_text = "0",
     .offset = offsetof(settings, threads),
     .help = "threads to use; 0: one per core"},
};

static const ds4_program program = {
    .name = "ds4-gguf compare",
    .summary = "what differs between two files: bytes, blocks, values",
    .operands = "A.gguf B.gguf",
    .description =
        "Per tensor: whether the bytes are equal; when both have one type, how many blocks differ; "
        "the "
        "largest difference of a value, the root mean square of all, also beside the root mean "
        "square of A's values, and the cosine between A's and B's values, which does not see "
        "whether one is a multiple of the other. Types may differ. Metadata keys that differ are "
        "named.\n\n"
        "Exit status: 0 equal, 1 something differs or a file cannot be read.",
    DS4_PROGRAM_OPTIONS(options),
    .min_operands = 2,
    .max_operands = 2,
};

typedef struct report {
    const settings *settings;
    ds4_gguf *a, *b;
    ds4_threads *threads;
    json_object *tensors, *keys; /* with --json */
    uint64_t n_equal, n_different, n_only, n_keys;
} report;

/* ---- metadata ---- */

static void say_key(report *r, const ds4_gguf_value *value, const char *what) {
    r->n_keys++;
    if (r->settings->json)
        json_object_array_add(r->keys,
                              json_object_new_string_len(value->key.data, (int)value->key.n));
    else
        printf("key %.*s: %s\n", (int)value->key.n, value->key.data, what);
}

static const ds4_gguf_value *find_key(const ds4_gguf *gguf, const ds4_gguf_value *like) {
    for (uint64_t i = 0; i < ds4_gguf_n_values(gguf); i++) {
        const ds4_gguf_value *value = ds4_gguf_value_at(gguf, i);
        if (value->key.n == like->key.n &&
            memcmp(value->key.data, like->key.data, like->key.n) == 0)
            return value;
    }
    return NULL;
}

static void compare_keys(report *r) {
    for (uint64_t i = 0; i < ds4_gguf_n_values(r->a); i++) {
        const ds4_gguf_value *a = ds4_gguf_value_at(r->a, i), *b = find_key(r->b, a);
        if (b == NULL)
            say_key(r, a, "only in A");
        else if (a->type != b->type || a->is_array != b->is_array || a->n_bytes != b->n_bytes ||
                 memcmp(a->data, b->data, a->n_bytes) != 0)
            say_key(r, a, "differs");
    }
    for (uint64_t i = 0; i < ds4_gguf_n_values(r->b); i++) {
        const ds4_gguf_value *b = ds4_gguf_value_at(r->b, i);
        if (find_key(r->a, b) == NULL) say_key(r, b, "only in B");
    }
}

/* ---- tensors ---- */

/* 1 of two that are zero, 0 of one. Equal bytes were not decoded. */
static double cosine_of(const ds4_difference *d) {
    double lengths = sqrt(d->reference_squares) * sqrt(d->squares);
    if (d->is_equal || (d->reference_squares == 0 && d->squares == 0)) return 1;
    double cosine = d->products / lengths;
    return isfinite(cosine) ? cosine : 0;
}

static void say_difference(report *r, const ds4_gguf_tensor *a, const ds4_gguf_tensor *b,
                           const ds4_difference *d) {
    const char *type_a = ds4_type_get_info(a->type)->name,
               *type_b = ds4_type_get_info(b->type)->name;
    double rms = sqrt(d->sum_of_squares / (double)a->n_elements);
    double size = sqrt(d->reference_squares / (double)a->n_elements);
    if (r->settings->json) {
        json_object *entry = json_object_new_object();
        json_object_object_add(entry, "name", json_object_new_string(a->name));
        json_object_object_add(entry, "types", json_object_new_array_ext(2));
        json_object *types = json_object_object_get(entry, "types");
        json_object_array_add(types, json_object_new_string(type_a));
        json_object_array_add(types, json_object_new_string(type_b));
        json_object_object_add(entry, "equal", json_object_new_boolean(d->is_equal));
        json_object_object_add(entry, "blocks", json_object_new_uint64(d->n_blocks));
        json_object_object_add(entry, "differing_blocks", json_object_new_uint64(d->n_differing));
        json_object_object_add(entry, "max", json_object_new_double(d->largest));
        json_object_object_add(entry, "rms", json_object_new_double(rms));
        json_object_object_add(entry, "relative_rms",
                               json_object_new_double(size > 0 ? rms / size : 0));
        json_object_object_add(entry, "cosine", json_object_new_double(cosine_of(d)));
        json_object_array_add(r->tensors, entry);
        return;
    }
    if (d->is_equal && !r->settings->all) return;
    if (r->n_equal + r->n_different == 1 || (!r->settings->all && r->n_different == 1))
        printf("%-36s %-16s %20s %10s %10s %9s %9s\n", "tensor", "types", "blocks that differ",
               "max", "rms", "relative", "cosine");
    char types[32], blocks[48] = "";
    snprintf(types, sizeof types, a->type == b->type ? "%s" : "%s, %s", type_a, type_b);
    if (d->is_equal)
        snprintf(blocks, sizeof blocks, "equal");
    else if (d->n_blocks > 0)
        snprintf(blocks, sizeof blocks, "%" PRIu64 " of %" PRIu64, d->n_differing, d->n_blocks);
    printf("%-36s %-16s %20s %10.3g %10.3g %8.3f%% %9.6f\n", a->name, types, blocks, d->largest,
           rms, size > 0 ? 100 * rms / size : 0.0, cosine_of(d));
}

static bool same_shape(const ds4_gguf_tensor *a, const ds4_gguf_tensor *b) {
    return memcmp(a->ne, b->ne, sizeof a->ne) == 0;
}

static void say_only(report *r, const char *name, const char *what) {
    r->n_only++;
    if (r->settings->json) {
        json_object *entry = json_object_new_object();
        json_object_object_add(entry, "name", json_object_new_string(name));
        json_object_object_add(entry, "problem", json_object_new_string(what));
        json_object_array_add(r->tensors, entry);
    } else {
        printf("%-36s %s\n", name, what);
    }
}

static ds4_status compare_tensors(report *r, ds4_error *error) {
    ds4_status status = DS4_OK;
    for (uint64_t i = 0; status == DS4_OK && i < ds4_gguf_n_tensors(r->a); i++) {
        const ds4_gguf_tensor *a = ds4_gguf_tensor_at(r->a, i);
        const ds4_gguf_tensor *b = ds4_gguf_find_tensor(r->b, a->name);
        ds4_difference d;
        if (fnmatch(r->settings->tensors, a->name, 0) != 0) continue;
        if (b == NULL)
            say_only(r, a->name, "only in A");
        else if (!same_shape(a, b))
            say_only(r, a->name, "has another shape in B");
        else if (a->type != b->type && !(ds4_type_get_info(a->type)->computable &&
                                         ds4_type_get_info(b->type)->computable))
            say_only(r, a->name, "has other types, which cannot be decoded here");
        else {
            status = ds4_difference_of(a, b, r->threads, &d, error);
            if (status != DS4_OK) return status;
            if (d.is_equal) r->n_equal++;
            if (!d.is_equal) r->n_different++;
            say_difference(r, a, b, &d);
        }
        status = ds4_gguf_verify_unchanged(r->a, error);
        if (status == DS4_OK) status = ds4_gguf_verify_unchanged(r->b, error);
    }
    for (uint64_t i = 0; status == DS4_OK && i < ds4_gguf_n_tensors(r->b); i++) {
        const ds4_gguf_tensor *b = ds4_gguf_tensor_at(r->b, i);
        if (fnmatch(r->settings->tensors, b->name, 0) == 0 &&
            ds4_gguf_find_tensor(r->a, b->name) == NULL)
            say_only(r, b->name, "only in B");
    }
    return status;
}

static void finish_json(report *r) {
    json_object *all = json_object_new_object();
    json_object_object_add(all, "equal_tensors", json_object_new_uint64(r->n_equal));
    json_object_object_add(all, "different_tensors",
                           json_object_new_uint64(r->n_different + r->n_only));
    json_object_object_add(all, "keys", r->keys);
    json_object_object_add(all, "tensors", r->tensors);
    puts(json_object_to_json_string_ext(all, JSON_C_TO_STRING_PRETTY));
    json_object_put(all);
}

static int compare(const settings *s, const char *path_a, const char *path_b) {
    report r = {.settings = s};
    ds4_error error = {0};
    if (s->json) {
        r.tensors = json_object_new_array();
        r.keys = json_object_new_array();
    }
    ds4_status status = ds4_gguf_open(path_a, NULL, &r.a, &error);
    if (status == DS4_OK) status = ds4_gguf_open(path_b, NULL, &r.b, &error);
    if (status == DS4_OK) status = ds4_threads_create((uint32_t)s->threads, &r.threads, &error);
    if (status == DS4_OK) compare_keys(&r);
    if (status == DS4_OK) status = compare_tensors(&r, &error);
    if (status == DS4_OK && s->json) {
        finish_json(&r);
    } else {
        json_object_put(r.tensors);
        json_object_put(r.keys);
    }
    if (status == DS4_OK && !s->json)
        printf("%" PRIu64 " tensors equal, %" PRIu64 " different, %" PRIu64
               " without counterpart; %" PRIu64 " keys differ\n",
               r.n_equal, r.n_different, r.n_only, r.n_keys);
    ds4_threads_destroy(r.threads);
    ds4_gguf_close(r.a);
    ds4_gguf_close(r.b);
    if (status != DS4_OK) return ds4_tool_failed(&program, &error);
    return r.n_different + r.n_only + r.n_keys == 0 ? EXIT_OK : EXIT_FAILED;
}

int ds4_tool_compare(int argc, char **argv) {
    settings s = {0};
    ds4_options_parsed parsed;
    int exit_status = EXIT_OK;
    if (ds4_tool_parse(&program, argc, argv, &s, &parsed, &exit_status))
        exit_status = compare(&s, parsed.operands[0], parsed.operands[1]);
    ds4_options_free(&parsed);
    return exit_status;
}
