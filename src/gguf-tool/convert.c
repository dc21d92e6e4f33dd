/* ds4-gguf convert: a checkpoint in the official layout becomes a GGUF file. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/error.h"
#include "base/strbuf.h"
#include "gguf-tool/checkpoint.h"
#include "gguf-tool/json_file.h"
#include "gguf-tool/recipe.h"
#include "gguf-tool/tool.h"
#include "gguf-tool/transcode.h"
#include "gguf-tool/transcode_options.h"
#include "gguf-tool/vocabulary.h"

typedef struct settings {
    ds4_transcode_settings common;
    const char *label;
    ds4_option_list ignore;
    bool no_tokenizer, allow_nan;
} settings;

static const ds4_option options[] = {
    DS4_TRANSCODE_OPTIONS(settings, common),
    {.names = "--label",
     .kind = DS4_OPTION_STRING,
     .argument = "TEXT",
     .offset = offsetof(settings, label),
     .help = "which checkpoint this is, for general.version: \"0731\"; without it, the digits at "
             "the end of the directory's name"},
    {.names = "--no-tokenizer",
     .kind = DS4_OPTION_FLAG,
     .offset = offsetof(settings, no_tokenizer),
     .help = "the checkpoint has no tokenizer.json: write none"},
    {.names = "--ignore",
     .kind = DS4_OPTION_LIST,
     .argument = "PATTERN",
     .offset = offsetof(settings, ignore),
     .help = "leave out tensors of the checkpoint that the model does not know; may be repeated"},
    {.names = "--allow-nan",
     .kind = DS4_OPTION_FLAG,
     .offset = offsetof(settings, allow_nan),
     .help = "NaN codes in FP8 weights become zeros instead of an error"},
};

static const ds4_program program = {
    .name = "ds4-gguf convert",
    .summary = "official safetensors checkpoint to GGUF",
    .operands = "HF_DIR",
    .description =
        "HF_DIR holds config.json, model.safetensors (or its shards and their index), "
        "tokenizer.json and tokenizer_config.json, with the original tensor names. Matrices may be "
        "F32, F16, BF16, FP8 (E4M3 with a scale for every 128 x 128) or FP4 (with a scale for "
        "every 32 of a row).\n\n"
        "Vectors are stored as F32 and expert tables as I32 whatever the recipe; the recipes q2, "
        "q4, q8 and mxfp4 name the type of the routed experts, keep attention, shared experts and "
        "output at Q8_0 and the small matrices that steer the model (embedding, hyper-connections, "
        "router, compressor, indexer) at F16. A matrix whose rows are no whole blocks becomes "
        "F16.\n\n"
        "Interrupted, the same command goes on with the first unfinished tensor. Memory: a few MB "
        "per thread, whatever the model's size.",
    DS4_PROGRAM_OPTIONS(options),
    .min_operands = 1,
    .max_operands = 1,
};

typedef struct conversion {
    const settings *settings;
    const char *directory;
    ds4_shape shape;
    ds4_plan plan;
    ds4_checkpoint checkpoint;
    ds4_vocabulary vocabulary;
} conversion;

static ds4_status read_config(const char *directory, ds4_shape *shape, ds4_error *error) {
    json_object *config = NULL;
    ds4_status status = ds4_json_read_optional(directory, "config.json", &config, error);
    if (status == DS4_OK && config == NULL) {
        status = ds4_fail(error, DS4_IO, "'%s' holds no config.json", directory);
    }
    if (status == DS4_OK) status = ds4_shape_read_config(config, shape, error);
    json_object_put(config);
    return status;
}

static ds4_status read_tokenizer(const char *directory, uint32_t n_tokens,
                                 ds4_vocabulary *vocabulary, ds4_error *error) {
    ds4_strbuf path = {0};
    ds4_error why = {0};
    ds4_strbuf_printf(&path, "%s/tokenizer.json", directory);
    ds4_status status = path.failed ? ds4_fail_memory(&why, path.n, "a path")
                                    : ds4_vocabulary_read(path.data, n_tokens, vocabulary, &why);
    if (status == DS4_IO)
        ds4_fail(error, status, "%s; give --no-tokenizer when there is none", why.message);
    else if (status != DS4_OK)
        ds4_fail(error, status, "%s", why.message);
    ds4_strbuf_free(&path);
    return status == DS4_OK ? ds4_vocabulary_read_config(directory, vocabulary, error) : status;
}

/* The last part of a path, for general.name; trailing slashes do not count. */
static void base_name(const char *path, ds4_strbuf *name) {
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/') end--;
    size_t begin = end;
    while (begin > 0 && path[begin - 1] != '/') begin--;
    ds4_strbuf_append(name, path + begin, end - begin);
}

/* "0731" of "DeepSeek-V4-Flash-0731"; NULL when the name does not end so. */
static const char *label_of(const char *name) {
    const char *dash = strrchr(name, '-');
    if (dash == NULL || strlen(dash + 1) < 4 || dash[1 + strspn(dash + 1, "0123456789")] != '\0')
        return NULL;
    return dash + 1;
}

static void declare(const conversion *c, const char *name, const ds4_transcode *transcode,
                    ds4_gguf_writer *writer) {
    const char *label = c->settings->label != NULL ? c->settings->label : label_of(name);
    ds4_shape_put_metadata(&c->shape, name, ds4_recipe_at(c->settings->common.recipe)->file_type,
                           writer);
    if (label != NULL) ds4_gguf_writer_put_string(writer, "general.version", label, strlen(label));
    if (c->vocabulary.n_tokens > 0) ds4_vocabulary_put_metadata(&c->vocabulary, writer);
    ds4_transcode_put_metadata(transcode, writer);
}

static ds4_status write_file(conversion *c, ds4_error *error) {
    ds4_gguf_writer *writer = NULL;
    ds4_transcode *transcode = NULL;
    ds4_strbuf name = {0};
    uint64_t origin = ds4_safetensors_identity(c->checkpoint.tensors);
    origin = XXH64(&c->settings->allow_nan, sizeof c->settings->allow_nan, origin);
    const ds4_transcode_options chosen = ds4_transcode_options_of(&c->settings->common);
    ds4_status status = ds4_transcode_create(&chosen, &c->plan, c->checkpoint.sources,
                                             c->shape.n_experts, origin, &transcode, error);
    if (status == DS4_OK)
        status = ds4_gguf_writer_create(chosen.output, DS4_GGUF_PAGE_ALIGNMENT, &writer, error);
    if (status != DS4_OK) goto done;
    base_name(c->directory, &name);
    if (name.failed) {
        status = ds4_fail_memory(error, name.n, "a name");
        goto done;
    }
    declare(c, name.data, transcode, writer);
    status = ds4_transcode_write(transcode, writer, error);
done:
    ds4_gguf_writer_destroy(writer);
    ds4_transcode_destroy(transcode);
    ds4_strbuf_free(&name);
    return status;
}

static ds4_status convert(const settings *s, const char *directory, ds4_error *error) {
    conversion c = {.settings = s, .directory = directory};
    const ds4_checkpoint_options chosen = {.allow_nan = s->allow_nan, .ignore = &s->ignore};
    ds4_status status = read_config(directory, &c.shape, error);
    if (status == DS4_OK && !s->no_tokenizer)
        status = read_tokenizer(directory, c.shape.n_vocab, &c.vocabulary, error);
    if (status == DS4_OK) status = ds4_plan_create(&c.shape, &c.plan, error);
    if (status == DS4_OK)
        status = ds4_checkpoint_open(directory, &chosen, &c.plan, &c.checkpoint, error);
    if (status == DS4_OK) {
        ds4_recipe_apply(ds4_recipe_at(s->common.recipe), &c.plan);
        status = ds4_recipe_override(&s->common.types, &c.plan, error);
    }
    if (status == DS4_OK && s->common.dry_run)
        ds4_recipe_print(&c.plan);
    else if (status == DS4_OK)
        status = write_file(&c, error);
    ds4_checkpoint_close(&c.checkpoint);
    ds4_plan_free(&c.plan);
    ds4_vocabulary_free(&c.vocabulary);
    return status;
}

int ds4_tool_convert(int argc, char **argv) {
    settings s = {0};
    ds4_options_parsed parsed;
    ds4_error error = {0};
    int exit_status = EXIT_OK;
    if (ds4_tool_parse(&program, argc, argv, &s, &parsed, &exit_status)) {
        if (s.common.output == NULL && !s.common.dry_run)
            exit_status = ds4_tool_misused(&program, "missing -o OUT.gguf");
        else if (ds4_options_origin(&program, &parsed, "--recipe") == DS4_ORIGIN_NONE)
            exit_status = ds4_tool_misused(&program, "missing --recipe");
        else if (convert(&s, parsed.operands[0], &error) != DS4_OK)
            exit_status = ds4_tool_failed(&program, &error);
    }
    ds4_options_free(&parsed);
    return exit_status;
}
