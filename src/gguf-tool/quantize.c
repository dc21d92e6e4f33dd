/* ds4-gguf quantize: a GGUF file with other types. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "gguf-tool/gguf_source.h"
#include "gguf-tool/tool.h"
#include "gguf-tool/transcode_options.h"
#include "gguf-tool/verify.h"

typedef struct settings {
    ds4_transcode_settings common;
    bool allow_requantize;
} settings;

static const ds4_option options[] = {
    DS4_TRANSCODE_OPTIONS(settings, common),
    {.names = "--allow-requantize",
     .kind = DS4_OPTION_FLAG,
     .offset = offsetof(settings, allow_requantize),
     .help = "also change the type of tensors that are quantised below 8 bits already, which adds "
             "the errors of both"},
};

static const ds4_program program = {
    .name = "ds4-gguf quantize",
    .summary = "the same model with other types",
    .operands = "IN.gguf [OUT.gguf]",
    .description = "Metadata and the order of tensors stay as they are in IN.gguf; tensors whose "
                   "type does not "
                   "change are copied byte by byte. Recipes are those of ds4-gguf convert.\n\n"
                   "Interrupted, the same command goes on with the first unfinished tensor.",
    DS4_PROGRAM_OPTIONS(options),
    .min_operands = 1,
    .max_operands = 2, /* the second: the same as --output */
};

typedef struct quantization {
    const settings *settings;
    const char *input;
    ds4_gguf_source source;
    ds4_plan plan;
    ds4_matrix_source **matrices;
} quantization;

static ds4_status find_matrices(quantization *q, ds4_error *error) {
    q->matrices = calloc(q->plan.n + 1, sizeof *q->matrices);
    if (q->matrices == NULL)
        return ds4_fail_memory(error, q->plan.n * sizeof *q->matrices, "sources");
    for (size_t i = 0; i < q->plan.n; i++) {
        ds4_status status = ds4_gguf_source_matrices(
            &q->source, ds4_gguf_tensor_at(q->source.gguf, i), &q->matrices[i], error);
        if (status != DS4_OK) return status;
    }
    return DS4_OK;
}

/* Types that lose nothing worth mentioning to float. */
static bool is_fine_source(uint32_t type) {
    return type == DS4_TYPE_F32 || type == DS4_TYPE_F16 || type == DS4_TYPE_BF16 ||
           type == DS4_TYPE_Q8_0 || type == DS4_TYPE_MXFP4;
}

static ds4_status check_changes(const quantization *q, ds4_error *error) {
    ds4_findings findings = {.out = stderr};
    for (size_t i = 0; i < q->plan.n; i++) {
        const ds4_tensor_plan *tensor = &q->plan.tensors[i];
        const ds4_gguf_tensor *have = ds4_gguf_tensor_at(q->source.gguf, i);
        const ds4_type_info *was = ds4_type_get_info(have->type);
        char message[256];
        if ((uint32_t)tensor->type == have->type) continue;
        if (!was->computable)
            snprintf(message, sizeof message, "tensor '%s' is %s, which cannot be decoded here",
                     have->name, was->name);
        else if (!is_fine_source(have->type) && !q->settings->allow_requantize)
            snprintf(message, sizeof message,
                     "tensor '%s' is %s already: quantising it once more adds errors; "
                     "--allow-requantize permits it",
                     have->name, was->name);
        else
            continue;
        ds4_findings_add(&findings, false, message);
    }
    if (findings.n_problems == 0) return DS4_OK;
    return ds4_fail(error, DS4_FORMAT, "%" PRIu64 " tensors cannot become what the recipe wants",
                    findings.n_problems);
}

/* ---- metadata ---- */

/* In place of the old values: the file is as if it had been converted with this recipe. */
static void declare(const quantization *q, const ds4_transcode *transcode,
                    ds4_gguf_writer *writer) {
    static const char file_type[] = "general.file_type", alignment[] = "general.alignment",
                      stale[] = "quantize.";
    for (uint64_t i = 0; i < ds4_gguf_n_values(q->source.gguf); i++) {
        const ds4_gguf_value *value = ds4_gguf_value_at(q->source.gguf, i);
        if (ds4_gguf_key_is(value, file_type))
            ds4_gguf_writer_put_u32(writer, file_type,
                                    ds4_recipe_at(q->settings->common.recipe)->file_type);
        else if (!ds4_gguf_key_begins(value, stale) && !ds4_gguf_key_is(value, alignment))
            ds4_gguf_writer_put_value(writer, value);
    }
    ds4_transcode_put_metadata(transcode, writer);
}

/* ---- the command ---- */

static ds4_status write_file(quantization *q, ds4_error *error) {
    ds4_gguf_writer *writer = NULL;
    ds4_transcode *transcode = NULL;
    const ds4_transcode_options chosen = ds4_transcode_options_of(&q->settings->common);
    ds4_status status =
        ds4_transcode_create(&chosen, &q->plan, q->matrices, ds4_gguf_source_experts(&q->source),
                             ds4_gguf_source_identity(&q->source), &transcode, error);
    if (status == DS4_OK)
        status = ds4_gguf_writer_create(chosen.output, DS4_GGUF_PAGE_ALIGNMENT, &writer, error);
    if (status == DS4_OK) {
        declare(q, transcode, writer);
        status = ds4_transcode_write(transcode, writer, error);
    }
    ds4_gguf_writer_destroy(writer);
    ds4_transcode_destroy(transcode);
    return status;
}

static ds4_status quantize(quantization *q, ds4_error *error) {
    ds4_status status = ds4_gguf_source_open(q->input, &q->source, error);
    if (status == DS4_OK) status = ds4_plan_of_gguf(q->source.gguf, &q->plan, error);
    if (status == DS4_OK) status = find_matrices(q, error);
    if (status == DS4_OK) {
        ds4_recipe_apply(ds4_recipe_at(q->settings->common.recipe), &q->plan);
        status = ds4_recipe_override(&q->settings->common.types, &q->plan, error);
    }
    if (status == DS4_OK) status = check_changes(q, error);
    if (status == DS4_OK && q->settings->common.dry_run)
        ds4_recipe_print(&q->plan);
    else if (status == DS4_OK)
        status = write_file(q, error);
    return status;
}

static int run(const settings *s, const ds4_options_parsed *parsed) {
    quantization q = {.settings = s, .input = parsed->operands[0]};
    ds4_error error = {0};
    const char *output = s->common.output;
    if (output == NULL && !s->common.dry_run)
        return ds4_tool_misused(&program, "missing -o OUT.gguf");
    if (ds4_options_origin(&program, parsed, "--recipe") == DS4_ORIGIN_NONE)
        return ds4_tool_misused(&program, "missing --recipe");
    if (output != NULL && strcmp(q.input, output) == 0)
        return ds4_tool_misused(&program, "IN.gguf and OUT.gguf are the same file");
    ds4_status status = quantize(&q, &error);
    ds4_matrix_lists_free(q.matrices, q.plan.n);
    ds4_plan_free(&q.plan);
    ds4_gguf_source_close(&q.source);
    return status == DS4_OK ? EXIT_OK : ds4_tool_failed(&program, &error);
}

int ds4_tool_quantize(int argc, char **argv) {
    settings s = {0};
    ds4_options_parsed parsed;
    int exit_status = EXIT_OK;
    if (ds4_tool_parse(&program, argc, argv, &s, &parsed, &exit_status)) {
        if (parsed.n_operands == 2 && s.common.output != NULL)
            exit_status = ds4_tool_misused(&program, "OUT.gguf is given twice");
        if (parsed.n_operands == 2) s.common.output = parsed.operands[1];
        if (exit_status == EXIT_OK) exit_status = run(&s, &parsed);
    }
    ds4_options_free(&parsed);
    return exit_status;
}
