/* ds4-gguf splice: a file with some tensors of another one. */
#include <ctype.h>
#include <fnmatch.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/strbuf.h"
#include "gguf-tool/gguf_source.h"
#include "gguf-tool/recipe.h"
#include "gguf-tool/tool.h"
#include "gguf-tool/transcode.h"
#include "gguf-tool/verify.h"

typedef struct settings {
    const char *output, *layers;
    ds4_option_list take;
    bool force, dry_run;
} settings;

static const ds4_option options[] = {
    {.names = "--output -o",
     .kind = DS4_OPTION_STRING,
     .argument = "OUT.gguf",
     .offset = offsetof(settings, output),
     .help = "file to write (required)"},
    {.names = "--force -f",
     .kind = DS4_OPTION_FLAG,
     .offset = offsetof(settings, force),
     .help = "replace OUT.gguf when it exists"},
    {.names = "--take",
     .kind = DS4_OPTION_LIST,
     .argument = "PATTERN",
     .offset = offsetof(settings, take),
     .help = "take the donor's tensors whose names match; may be repeated"},
    {.names = "--layers",
     .kind = DS4_OPTION_STRING,
     .argument = "LIST",
     .offset = offsetof(settings, layers),
     .help = "take the donor's routed experts of these layers, as in 0-2,37-42"},
    {.names = "--dry-run",
     .kind = DS4_OPTION_FLAG,
     .offset = offsetof(settings, dry_run),
     .help = "check everything, print what would be taken, write nothing"},
};

static const ds4_program program = {
    .name = "ds4-gguf splice",
    .summary = "a file with some tensors of another",
    .operands = "BASE.gguf DONOR.gguf",
    .description =
        "Both files must hold the same model. Metadata and all other tensors are those of "
        "BASE.gguf; the keys ds4.splice.donor and ds4.splice.tensors tell what was taken. A file "
        "with "
        "the last layers' experts at 4 bits and the others' at 2: splice q2.gguf q4.gguf --layers "
        "37-42 -o mixed.gguf.",
    DS4_PROGRAM_OPTIONS(options),
    .min_operands = 2,
    .max_operands = 2,
};

enum { MAX_LAYERS = 1024 };

typedef struct splice {
    const settings *settings;
    ds4_gguf_source base, donor;
    ds4_plan plan; /* of the base, with the donor's types */
    ds4_matrix_source **matrices;
    ds4_gguf_string *taken; /* names */
    size_t n_taken;
    bool layers[MAX_LAYERS];
} splice;

/* ---- which tensors ---- */

static ds4_status parse_layers(splice *s, ds4_error *error) {
    const char *text = s->settings->layers;
    while (text != NULL && *text != '\0') {
        char *end = NULL;
        unsigned long first = isdigit((unsigned char)*text) ? strtoul(text, &end, 10) : MAX_LAYERS;
        unsigned long last = first;
        if (end != NULL && *end == '-' && isdigit((unsigned char)end[1]))
            last = strtoul(end + 1, &end, 10);
        if (end == NULL || first > last || last >= MAX_LAYERS || (*end != ',' && *end != '\0') ||
            (*end == ',' && end[1] == '\0'))
            return ds4_fail(error, DS4_INVALID_ARGUMENT,
                            "--layers: '%s' is no list of layers such as 0-2,37-42", text);
        for (unsigned long i = first; i <= last; i++) s->layers[i] = true;
        text = *end == ',' ? end + 1 : end;
    }
    return DS4_OK;
}

static bool is_wanted(const splice *s, const char *name) {
    unsigned layer = 0;
    int used = 0;
    for (size_t i = 0; i < s->settings->take.n; i++)
        if (fnmatch(s->settings->take.items[i], name, 0) == 0) return true;
    if (sscanf(name, "blk.%u.ffn_%n", &layer, &used) != 1 || used == 0 || layer >= MAX_LAYERS ||
        !s->layers[layer])
        return false;
    return strcmp(name + used, "gate_exps.weight") == 0 ||
           strcmp(name + used, "up_exps.weight") == 0 ||
           strcmp(name + used, "down_exps.weight") == 0;
}

static ds4_status choose(splice *s, ds4_error *error) {
    ds4_findings findings = {.out = stderr};
    char message[256];
    s->matrices = calloc(s->plan.n + 1, sizeof *s->matrices);
    s->taken = calloc(s->plan.n + 1, sizeof *s->taken);
    if (s->matrices == NULL || s->taken == NULL)
        return ds4_fail_memory(error, s->plan.n * sizeof *s->taken, "the list of tensors");
    for (size_t i = 0; i < s->plan.n; i++) {
        const ds4_gguf_tensor *mine = ds4_gguf_tensor_at(s->base.gguf, i), *from = mine;
        const ds4_gguf_source *source = &s->base;
        if (is_wanted(s, mine->name)) {
            from = ds4_gguf_find_tensor(s->donor.gguf, mine->name);
            source = &s->donor;
            if (from == NULL || memcmp(from->ne, mine->ne, sizeof mine->ne) != 0) {
                snprintf(message, sizeof message, "the donor's '%s' %s", mine->name,
                         from == NULL ? "does not exist" : "has another shape");
                ds4_findings_add(&findings, false, message);
                continue;
            }
            s->taken[s->n_taken++] = (ds4_gguf_string){mine->name, strlen(mine->name)};
            s->plan.tensors[i].type = (ds4_type)from->type;
        }
        ds4_status status = ds4_gguf_source_matrices(source, from, &s->matrices[i], error);
        if (status != DS4_OK) return status;
    }
    if (findings.n_problems > 0)
        return ds4_fail(error, DS4_FORMAT, "%" PRIu64 " tensors cannot be taken from the donor",
                        findings.n_problems);
    if (s->n_taken == 0)
        return ds4_fail(error, DS4_INVALID_ARGUMENT, "no tensor of the base is to be replaced");
    return DS4_OK;
}

/* ---- the file ---- */

static void declare(const splice *s, const char *donor, ds4_gguf_writer *writer) {
    const char *slash = strrchr(donor, '/'); /* paths are nobody's business */
    const char *name = slash == NULL ? donor : slash + 1;
    for (uint64_t i = 0; i < ds4_gguf_n_values(s->base.gguf); i++) {
        const ds4_gguf_value *value = ds4_gguf_value_at(s->base.gguf, i);
        if (!ds4_gguf_key_is(value, "general.alignment") &&
            !ds4_gguf_key_begins(value, "ds4.splice."))
            ds4_gguf_writer_put_value(writer, value);
    }
    ds4_gguf_writer_put_string(writer, "ds4.splice.donor", name, strlen(name));
    ds4_gguf_writer_put_string_array(writer, "ds4.splice.tensors", s->taken, s->n_taken);
}

static ds4_status write_file(splice *s, const char *donor, ds4_error *error) {
    ds4_gguf_writer *writer = NULL;
    ds4_transcode *transcode = NULL;
    const ds4_transcode_options chosen = {.output = s->settings->output,
                                          .force = s->settings->force};
    uint64_t origin = ds4_gguf_source_identity(&s->base) * 31 + ds4_gguf_source_identity(&s->donor);
    ds4_status status =
        ds4_transcode_create(&chosen, &s->plan, s->matrices, ds4_gguf_source_experts(&s->base),
                             origin, &transcode, error);
    if (status == DS4_OK)
        status = ds4_gguf_writer_create(chosen.output, DS4_GGUF_PAGE_ALIGNMENT, &writer, error);
    if (status == DS4_OK) {
        declare(s, donor, writer);
        status = ds4_transcode_write(transcode, writer, error);
    }
    ds4_gguf_writer_destroy(writer);
    ds4_transcode_destroy(transcode);
    return status;
}

static int run(const settings *chosen, const char *base, const char *donor) {
    splice s = {.settings = chosen};
    ds4_error error = {0};
    ds4_status status = parse_layers(&s, &error);
    if (status == DS4_OK) status = ds4_gguf_source_open(base, &s.base, &error);
    if (status == DS4_OK) status = ds4_gguf_source_open(donor, &s.donor, &error);
    if (status == DS4_OK) status = ds4_plan_of_gguf(s.base.gguf, &s.plan, &error);
    if (status == DS4_OK) status = choose(&s, &error);
    if (status == DS4_OK) {
        printf("%zu of %zu tensors from %s\n", s.n_taken, s.plan.n, donor);
        if (chosen->dry_run)
            ds4_recipe_print(&s.plan);
        else
            status = write_file(&s, donor, &error);
    }
    ds4_matrix_lists_free(s.matrices, s.plan.n);
    free(s.taken);
    ds4_plan_free(&s.plan);
    ds4_gguf_source_close(&s.base);
    ds4_gguf_source_close(&s.donor);
    if (status == DS4_OK) return EXIT_OK;
    return status == DS4_INVALID_ARGUMENT ? ds4_tool_misused(&program, error.message)
                                          : ds4_tool_failed(&program, &error);
}

int ds4_tool_splice(int argc, char **argv) {
    settings s = {0};
    ds4_options_parsed parsed;
    int exit_status = EXIT_OK;
    if (ds4_tool_parse(&program, argc, argv, &s, &parsed, &exit_status)) {
        if (s.output == NULL && !s.dry_run)
            exit_status = ds4_tool_misused(&program, "missing -o OUT.gguf");
        else if (s.take.n == 0 && s.layers == NULL)
            exit_status = ds4_tool_misused(&program, "missing --take or --layers");
        else
            exit_status = run(&s, parsed.operands[0], parsed.operands[1]);
    }
    ds4_options_free(&parsed);
    return exit_status;
}
