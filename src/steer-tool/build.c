/* ds4-steer build: a direction and its sidecar from contrast pairs. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/json_scan.h"
#include "steer-tool/capture.h"
#include "steer-tool/steer.h"
#include "steer-tool/sweep_table.h"
#include "steering/sidecar.h"

typedef struct settings {
    const char *model, *output, *pairs, *layers, *note, *recommend_mode, *measured;
    ds4_pair_texts texts;
    int64_t threads, sessions, answer_tokens;
    int component;
    bool pair_normalize, keep_common, force;
    double recommend_ffn, recommend_attn;
} settings;

typedef struct result {
    float *target, *contrast; /* activations */
    float *vectors;           /* [n_layers][n_embd] */
    ds4_separability *layers;
    uint32_t n_layers, n_embd, first, last;
    size_t n_pairs;
    uint64_t sources, fingerprint;
} result;

static void free_result(result *r) {
    free(r->target);
    free(r->contrast);
    free(r->vectors);
    free(r->layers);
}

static ds4_status choose_layers(const char *text, result *r, ds4_error *error) {
    r->first = 0;
    r->last = r->n_layers - 1;
    if (text == NULL) return DS4_OK;
    char rest = '\0';
    int n = sscanf(text, "%5u-%5u%c", &r->first, &r->last, &rest);
    if (n == 2 && r->first <= r->last && r->last < r->n_layers) return DS4_OK;
    return ds4_fail(error, DS4_INVALID_ARGUMENT, "--layers %.40s: expected a range within 0-%u",
                    text, r->n_layers - 1);
}

static ds4_status make_vectors(const settings *s, result *r, ds4_error *error) {
    const ds4_contrast contrast = {.target = r->target,
                                   .contrast = r->contrast,
                                   .n_pairs = r->n_pairs,
                                   .n_layers = r->n_layers,
                                   .n_embd = r->n_embd};
    const ds4_contrast_options options = {.pair_normalize = s->pair_normalize,
                                          .keep_common = s->keep_common};
    double *scratch = malloc(2 * (size_t)r->n_embd * sizeof *scratch);
    r->vectors = calloc((size_t)r->n_layers * r->n_embd, sizeof *r->vectors);
    r->layers = calloc(r->n_layers, sizeof *r->layers);
    if (scratch == NULL || r->vectors == NULL || r->layers == NULL) {
        free(scratch);
        return ds4_fail_memory(error, (size_t)r->n_layers * r->n_embd * sizeof(float),
                               "a direction");
    }
    ds4_status status = DS4_OK;
    for (uint32_t l = 0; status == DS4_OK && l < r->n_layers; l++) {
        float *d = r->vectors + (size_t)l * r->n_embd;
        ds4_contrast_direction(&contrast, &options, l, NULL, scratch, d);
        status = ds4_contrast_judge(&contrast, &options, l, d, &r->layers[l], error);
        if (l < r->first || l > r->last) memset(d, 0, r->n_embd * sizeof *d);
    }
    free(scratch);
    return status;
}

/* ---- files ---- */

static ds4_status write_bytes(const char *path, const void *bytes, size_t n, ds4_error *error) {
    ds4_strbuf temporary = {0};
    ds4_strbuf_printf(&temporary, "%s.tmp", path);
    if (temporary.failed) return ds4_fail_memory(error, 0, "a path");
    FILE *file = fopen(temporary.data, "wb");
    bool good = file != NULL && fwrite(bytes, 1, n, file) == n;
    if (file != NULL) good = fclose(file) == 0 && good;
    good = good && rename(temporary.data, path) == 0;
    ds4_status status =
        good ? DS4_OK : ds4_fail(error, DS4_IO, "cannot write %.300s: %s", path, strerror(errno));
    if (!good) remove(temporary.data);
    ds4_strbuf_free(&temporary);
    return status;
}

static ds4_status write_vectors(const char *path, const result *r, ds4_error *error) {
    size_t n = (size_t)r->n_layers * r->n_embd;
    uint8_t *bytes = malloc(4 * n);
    if (bytes == NULL) return ds4_fail_memory(error, 4 * n, "a direction");
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &r->vectors[i], sizeof bits);
        for (size_t b = 0; b < 4; b++) bytes[4 * i + b] = (uint8_t)(bits >> (8 * b));
    }
    ds4_status status = write_bytes(path, bytes, 4 * n, error);
    free(bytes);
    return status;
}

static void put_string(ds4_strbuf *out, const char *key, const char *text, const char *end) {
    ds4_strbuf_printf(out, "\"%s\": \"", key);
    if (text != NULL) ds4_json_escape(text, strlen(text), out);
    ds4_strbuf_printf(out, "\"%s", end);
}

static const char *base_name(const char *path) {
    const char *slash = path != NULL ? strrchr(path, '/') : NULL;
    return slash != NULL ? slash + 1 : path;
}

/* The keys that other tools know, then ours. */
static void write_v1(const settings *s, const result *r, ds4_strbuf *out) {
    const ds4_pair_texts *t = &s->texts;
    bool jsonl = s->pairs != NULL;
    ds4_strbuf_puts(out, "{\n  \"format\": \"ds4-directional-steering-v1\",\n");
    ds4_strbuf_printf(out, "  \"shape\": [%u, %u],\n  ", r->n_layers, r->n_embd);
    put_string(out, "component", s->component == 0 ? "ffn_out" : "attn_out", ",\n  ");
    put_string(out, "system", t->system, ",\n");
    ds4_strbuf_printf(out,
                      "  \"thinking\": %s,\n  \"pair_normalize\": %s,\n"
                      "  \"orthogonalize_control_mean\": %s,\n  ",
                      t->thinking ? "true" : "false", s->pair_normalize ? "true" : "false",
                      s->keep_common ? "false" : "true");
    put_string(out, "good_file", base_name(jsonl ? s->pairs : t->target), ",\n  ");
    put_string(out, "bad_file", base_name(jsonl ? s->pairs : t->contrast), ",\n  ");
    put_string(out, "good_prefix_en", t->target_prefix[0], ",\n  ");
    put_string(out, "good_prefix_zh", t->target_prefix[1], ",\n  ");
    put_string(out, "bad_prefix_en", t->contrast_prefix[0], ",\n  ");
    put_string(out, "bad_prefix_zh", t->contrast_prefix[1], ",\n  ");
    put_string(out, "model", base_name(s->model), ",\n  ");
    put_string(out, "note", s->note, ",\n");
}

static void write_layers(const result *r, ds4_strbuf *out) {
    ds4_strbuf_puts(out, "    \"layers\": [");
    for (uint32_t l = 0; l < r->n_layers; l++) {
        const ds4_separability *q = &r->layers[l];
        ds4_strbuf_printf(out,
                          "%s\n      {\"difference\": %.6g, \"relative\": %.6g, \"effect\": %.6g, "
                          "\"accuracy\": %.6g, \"stability\": %.6g}",
                          l == 0 ? "" : ",", q->difference, q->relative, q->effect, q->accuracy,
                          q->stability);
    }
    ds4_strbuf_puts(out, "\n    ]");
}

/* What the sweep says of the recommended dial, beside no steering: shares per group. */
static ds4_status write_measured(const settings *s, const ds4_sweep_table *sweep, ds4_strbuf *out,
                                 ds4_error *error) {
    ds4_steer_mode mode = strcmp(s->recommend_mode, "add") == 0 ? DS4_STEER_ADD : DS4_STEER_PROJECT;
    size_t n = 0;
    for (size_t i = 0; i < sweep->n; i++) {
        const ds4_sweep_row *row = &sweep->rows[i], *plain = NULL;
        if (row->mode != mode || (float)row->ffn != (float)s->recommend_ffn ||
            (float)row->attn != (float)s->recommend_attn || row->n_items == 0)
            continue;
        for (size_t k = 0; k < sweep->n && plain == NULL; k++)
            if (sweep->rows[k].mode == mode && sweep->rows[k].ffn == 0 &&
                sweep->rows[k].attn == 0 && strcmp(sweep->rows[k].group, row->group) == 0)
                plain = &sweep->rows[k];
        if (plain == NULL || plain->n_items != row->n_items) continue;
        ds4_strbuf_puts(out, n++ == 0 ? "    \"measured\": [" : ",");
        ds4_strbuf_puts(out, "\n      {");
        put_string(out, "group", row->group, ", ");
        ds4_strbuf_printf(out,
                          "\"items\": %" PRIu64 ", \"plain\": %.4g, \"steered\": %.4g, "
                          "\"repetitive\": %" PRIu64 ", \"broken\": %" PRIu64 "}",
                          row->n_items, (double)plain->n_check / (double)plain->n_items,
                          (double)row->n_check / (double)row->n_items, row->n_repetitive,
                          row->n_broken);
    }
    if (n == 0)
        return ds4_fail(error, DS4_INVALID_ARGUMENT,
                        "%.300s has no rows of the recommended dial and of no steering",
                        s->measured);
    ds4_strbuf_puts(out, "\n    ],\n");
    return DS4_OK;
}

static ds4_status write_sidecar(const settings *s, const result *r, const ds4_model *model,
                                const ds4_sweep_table *sweep, ds4_error *error) {
    ds4_status status = DS4_OK;
    const ds4_model_info *info = ds4_model_get_info(model);
    ds4_strbuf path = {0}, out = {0};
    ds4_sidecar_path(s->output, &path);
    write_v1(s, r, &out);
    ds4_strbuf_puts(&out, "  \"ds4x\": {\n    \"schema\": 1,\n    ");
    put_string(&out, "model", info->name, ",\n");
    ds4_strbuf_printf(&out,
                      "    \"model_fingerprint\": \"%016" PRIx64 "\",\n"
                      "    \"direction_fingerprint\": \"%016" PRIx64 "\",\n"
                      "    \"sources_xxh3\": \"%016" PRIx64 "\",\n    \"pairs\": %zu,\n",
                      info->fingerprint, r->fingerprint, r->sources, r->n_pairs);
    if (s->recommend_ffn != 0 || s->recommend_attn != 0)
        ds4_strbuf_printf(&out,
                          "    \"recommended\": {\"ffn\": %.6g, \"attn\": %.6g, \"mode\": \"%s\", "
                          "\"policy\": \"final-answer\", \"first_layer\": %u, \"n_layers\": %u},\n",
                          s->recommend_ffn, s->recommend_attn, s->recommend_mode, r->first,
                          r->last - r->first + 1);
    if (s->measured != NULL) status = write_measured(s, sweep, &out, error);
    write_layers(r, &out);
    ds4_strbuf_puts(&out, "\n  }\n}\n");
    if (status == DS4_OK)
        status = out.failed || path.failed ? ds4_fail_memory(error, out.n, "a sidecar")
                                           : write_bytes(path.data, out.data, out.n, error);
    ds4_strbuf_free(&path);
    ds4_strbuf_free(&out);
    return status;
}

/* ---- the report ---- */

static void print_report(const settings *s, const result *r) {
    printf("%zu pairs; held-out accuracy is that of five folds\n"
           "layer  difference  relative  effect  accuracy  stability\n",
           r->n_pairs);
    for (uint32_t l = 0; l < r->n_layers; l++) {
        const ds4_separability *q = &r->layers[l];
        printf("%5u  %10.4g  %8.3f  %6.2f  %7.1f%%  %9.3f%s\n", l, q->difference, q->relative,
               q->effect, 100 * q->accuracy, q->stability,
               l < r->first || l > r->last ? "  (left out)" : "");
    }
    printf("%s\n", s->output);
}

static ds4_status run(const settings *s, ds4_error *error) {
    ds4_model *model = NULL;
    ds4_pairs pairs = {0};
    ds4_direction *direction = NULL;
    ds4_sweep_table sweep = {0};
    result r = {0};
    const ds4_capture_options capture = {.attention = s->component == 1,
                                         .n_threads = (uint32_t)s->threads,
                                         .n_sessions = (uint32_t)s->sessions};
    ds4_status status = ds4_tool_check_output(s->output, s->force, error);
    if (status == DS4_OK && s->measured != NULL)
        status = ds4_sweep_table_read(s->measured, &sweep, error);
    if (status == DS4_OK) status = ds4_steer_open_model(s->model, &model, error);
    if (status != DS4_OK) goto done;
    const ds4_tokenizer *tokenizer = ds4_model_get_tokenizer(model);
    r.n_layers = ds4_model_get_info(model)->n_layers;
    r.n_embd = ds4_model_get_info(model)->n_embd;
    status = choose_layers(s->layers, &r, error);
    if (status == DS4_OK && s->pairs != NULL)
        status =
            ds4_pairs_read_jsonl(s->pairs, tokenizer, (uint32_t)s->answer_tokens, &pairs, error);
    else if (status == DS4_OK)
        status = ds4_pairs_read_texts(&s->texts, tokenizer, &pairs, error);
    if (status != DS4_OK) goto done;
    r.n_pairs = pairs.n;
    r.sources = pairs.sources;
    if (pairs.n < 2) {
        status = ds4_fail(error, DS4_INVALID_ARGUMENT, "one pair makes no direction");
        goto done;
    }
    status = ds4_capture_pairs(model, &pairs, &capture, &r.target, &r.contrast, error);
    if (status == DS4_OK) status = make_vectors(s, &r, error);
    if (status == DS4_OK)
        status = ds4_direction_create(r.vectors, r.n_layers, r.n_embd, &direction, error);
    if (status != DS4_OK) goto done;
    r.fingerprint = ds4_direction_get_info(direction)->fingerprint;
    status = write_vectors(s->output, &r, error);
    if (status == DS4_OK) status = write_sidecar(s, &r, model, &sweep, error);
    if (status == DS4_OK) print_report(s, &r);
done:
    ds4_direction_close(direction);
    free_result(&r);
    ds4_sweep_table_free(&sweep);
    ds4_pairs_free(&pairs);
    ds4_model_close(model);
    return status;
}

#define AT(member) .offset = offsetof(settings, member)
#define TEXT_OPTION(option_names, word, member, text)                                              \
    { .names = option_names, .kind = DS4_OPTION_STRING, .argument = word, AT(member), .help = text }
#define FLAG_OPTION(option_names, member, text)                                                    \
    { .names = option_names, .kind = DS4_OPTION_FLAG, AT(member), .help = text }

static const ds4_option options[] = {
    STEER_OPTION_MODEL(settings),
    TEXT_OPTION("--out -o", "NAME.f32", output, "direction to write (required), NAME.json with it"),
    TEXT_OPTION("--pairs", "FILE.jsonl", pairs,
                "pairs of requests: {\"target\", \"contrast\"}, with \"target_answer\" and "
                "\"contrast_answer\" where activations of answers are wanted"),
    TEXT_OPTION("--good", "FILE", texts.target, "instead: prompts of the target, one per line"),
    TEXT_OPTION("--bad", "FILE", texts.contrast, "prompts of the contrast, paired by line"),
    TEXT_OPTION("--good-prefix-en", "TEXT", texts.target_prefix[0], "goes before English lines"),
    TEXT_OPTION("--good-prefix-zh", "TEXT", texts.target_prefix[1], "goes before Chinese lines"),
    TEXT_OPTION("--bad-prefix-en", "TEXT", texts.contrast_prefix[0], "goes before English lines"),
    TEXT_OPTION("--bad-prefix-zh", "TEXT", texts.contrast_prefix[1], "goes before Chinese lines"),
    {.names = "--system",
     .kind = DS4_OPTION_STRING,
     .argument = "TEXT",
     .default_text = "You are a helpful assistant.",
     AT(texts.system),
     .help = "system message of text prompts; empty for none"},
    FLAG_OPTION("--think", texts.thinking, "text prompts end in <think>"),
    {.names = "--component",
     .kind = DS4_OPTION_CHOICE,
     .argument = "NAME",
     .choices = "ffn_out|attn_out",
     .default_text = "ffn_out",
     AT(component),
     .help = "which outputs are captured"},
    {.names = "--answer-tokens",
     .kind = DS4_OPTION_INT,
     .argument = "N",
     .min = 0,
     .max = 512,
     .default_text = "16",
     AT(answer_tokens),
     .help = "mean over so many tokens of given answers; 0: the prompt's last token"},
    TEXT_OPTION("--layers", "A-B", layers, "only these layers; the others are zero"),
    FLAG_OPTION("--pair-normalize", pair_normalize, "every pair counts alike"),
    FLAG_OPTION("--no-orthogonalize", keep_common,
                "keep what the direction shares with the contrast's mean"),
    {.names = "--recommend-ffn",
     .kind = DS4_OPTION_FLOAT,
     .argument = "F",
     .min = -100,
     .max = 100,
     .default_text = "0",
     AT(recommend_ffn),
     .help = "scale that the sidecar recommends (from a sweep)"},
    {.names = "--recommend-attn",
     .kind = DS4_OPTION_FLOAT,
     .argument = "F",
     .min = -100,
     .max = 100,
     .default_text = "0",
     AT(recommend_attn),
     .help = "the same for attention outputs"},
    {.names = "--recommend-mode",
     .kind = DS4_OPTION_STRING,
     .argument = "MODE",
     .default_text = "project",
     AT(recommend_mode),
     .help = "project or add"},
    TEXT_OPTION("--measured", "FILE.csv", measured,
                "a sweep of this direction: what it found of the recommended dial goes into the "
                "sidecar"),
    TEXT_OPTION("--note", "TEXT", note, "goes into the sidecar"),
    {.names = "--batch",
     .kind = DS4_OPTION_INT,
     .argument = "N",
     .min = 1,
     .max = 64,
     .default_text = "8",
     AT(sessions),
     .help = "prompts evaluated at once"},
    STEER_OPTION_THREADS(settings),
    FLAG_OPTION("--force", force, "replace an existing direction"),
};

int ds4_steer_build(int argc, char **argv) {
    static const ds4_program program = {
        .name = "ds4-steer build",
        .summary = "a direction from contrast pairs: difference of means per layer",
        .description =
            "Every pair is two prompts that differ in what the direction shall mean. Per layer the "
            "means of both sides are subtracted, the part along the contrast's mean is taken out, "
            "and the rest is made a unit vector (docs/steering.md).",
        DS4_PROGRAM_OPTIONS(options)};
    settings chosen = {0};
    ds4_options_parsed parsed;
    ds4_error error = {0};
    int exit_status = EXIT_OK;
    if (!ds4_tool_parse(&program, argc, argv, &chosen, &parsed, &exit_status)) goto done;
    bool texts = chosen.texts.target != NULL && chosen.texts.contrast != NULL;
    bool mode =
        strcmp(chosen.recommend_mode, "project") == 0 || strcmp(chosen.recommend_mode, "add") == 0;
    if (chosen.output == NULL || (chosen.pairs == NULL) != texts)
        exit_status = ds4_tool_misused(&program, "--out NAME.f32 and either --pairs FILE.jsonl or "
                                                 "--good FILE and --bad FILE are needed");
    else if (!mode)
        exit_status = ds4_tool_misused(&program, "--recommend-mode: project or add");
    else if (run(&chosen, &error) != DS4_OK)
        exit_status = ds4_tool_failed(&program, &error);
done:
    ds4_options_free(&parsed);
    return exit_status;
}
