/* ds4-gguf split and merge: a file as several parts, PREFIX-00001-of-00003.gguf and so on. The
 * first part holds all metadata; every part says which one it is. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/strbuf.h"
#include "gguf-tool/gguf_source.h"
#include "gguf-tool/tool.h"
#include "gguf-tool/transcode.h"

enum { MAX_PARTS = 1000 };

typedef struct settings {
    const char *output;
    double max_gb;
    bool force;
} settings;

static const ds4_option split_options[] = {
    {.names = "--max-size",
     .kind = DS4_OPTION_FLOAT,
     .argument = "GB",
     .min = 0.001,
     .max = 1e6,
     .default_text = "40",
     .offset = offsetof(settings, max_gb),
     .help = "largest part in GB (1e9 bytes); a tensor is never cut"},
    {.names = "--force -f",
     .kind = DS4_OPTION_FLAG,
     .offset = offsetof(settings, force),
     .help = "replace parts that exist"},
};

static const ds4_program split_program = {
    .name = "ds4-gguf split",
    .summary = "one file as several smaller ones",
    .operands = "IN.gguf OUT_PREFIX",
    .description =
        "Writes OUT_PREFIX-00001-of-0000N.gguf and so on; ds4-gguf merge makes one file of "
        "them again. Other programs of this family read such parts directly; ds4 does not.",
    DS4_PROGRAM_OPTIONS(split_options),
    .min_operands = 2,
    .max_operands = 2,
};

static const ds4_option merge_options[] = {
    {.names = "--output -o",
     .kind = DS4_OPTION_STRING,
     .argument = "OUT.gguf",
     .offset = offsetof(settings, output),
     .help = "file to write (required)"},
    {.names = "--force -f",
     .kind = DS4_OPTION_FLAG,
     .offset = offsetof(settings, force),
     .help = "replace OUT.gguf when it exists"},
};

static const ds4_program merge_program = {
    .name = "ds4-gguf merge",
    .summary = "the parts of a split file as one again",
    .operands = "PREFIX-00001-of-0000N.gguf",
    .description = "The other parts are found beside the first one.",
    DS4_PROGRAM_OPTIONS(merge_options),
    .min_operands = 1,
    .max_operands = 1,
};

static void part_name(ds4_strbuf *name, const char *prefix, size_t n_prefix, unsigned number,
                      unsigned count) {
    ds4_strbuf_clear(name);
    ds4_strbuf_append(name, prefix, n_prefix);
    ds4_strbuf_printf(name, "-%05u-of-%05u.gguf", number, count);
}

/* One file out of tensors whose matrices are known. */
static ds4_status write_part(const ds4_transcode_options *options, const ds4_plan *plan,
                             ds4_matrix_source *const *matrices, uint64_t origin,
                             void (*declare)(void *context, ds4_gguf_writer *writer), void *context,
                             ds4_error *error) {
    ds4_gguf_writer *writer = NULL;
    ds4_transcode *transcode = NULL;
    ds4_status status =
        ds4_transcode_create(options, plan, matrices, UINT32_MAX, origin, &transcode, error);
    if (status == DS4_OK)
        status = ds4_gguf_writer_create(options->output, DS4_GGUF_PAGE_ALIGNMENT, &writer, error);
    if (status == DS4_OK) {
        declare(context, writer);
        status = ds4_transcode_write(transcode, writer, error);
    }
    ds4_gguf_writer_destroy(writer);
    ds4_transcode_destroy(transcode);
    return status;
}

/* ---- split ---- */

typedef struct splitting {
    ds4_gguf_source source;
    ds4_plan plan;
    ds4_matrix_source **matrices;
    size_t begins[MAX_PARTS + 1]; /* first tensor of each part */
    unsigned n_parts, part;
} splitting;

static ds4_status cut(splitting *s, double max_bytes, ds4_error *error) {
    uint64_t n_bytes = 0;
    s->n_parts = 1;
    for (size_t i = 0; i < s->plan.n; i++) {
        uint64_t n = ds4_gguf_tensor_at(s->source.gguf, i)->n_bytes;
        if (n_bytes > 0 && (double)(n_bytes + n) > max_bytes) {
            if (s->n_parts == MAX_PARTS)
                return ds4_fail(error, DS4_INVALID_ARGUMENT, "this would make more than %d parts",
                                MAX_PARTS);
            s->begins[s->n_parts++] = i;
            n_bytes = 0;
        }
        n_bytes += n;
    }
    s->begins[s->n_parts] = s->plan.n;
    return DS4_OK;
}

static void put_small(ds4_gguf_writer *writer, const char *key, ds4_gguf_value_type type,
                      uint32_t number) {
    uint8_t bytes[4];
    for (int i = 0; i < 4; i++) bytes[i] = (uint8_t)(number >> 8 * i);
    const ds4_gguf_value value = {.key = {key, strlen(key)},
                                  .type = type,
                                  .count = 1,
                                  .data = bytes,
                                  .n_bytes = type == DS4_GGUF_U16 ? 2 : 4};
    ds4_gguf_writer_put_value(writer, &value);
}

static void declare_part(void *context, ds4_gguf_writer *writer) {
    const splitting *s = context;
    for (uint64_t i = 0; s->part == 0 && i < ds4_gguf_n_values(s->source.gguf); i++) {
        const ds4_gguf_value *value = ds4_gguf_value_at(s->source.gguf, i);
        if (!ds4_gguf_key_is(value, "general.alignment") && !ds4_gguf_key_begins(value, "split."))
            ds4_gguf_writer_put_value(writer, value);
    }
    put_small(writer, "split.no", DS4_GGUF_U16, s->part);
    put_small(writer, "split.count", DS4_GGUF_U16, s->n_parts);
    put_small(writer, "split.tensors.count", DS4_GGUF_I32, (uint32_t)s->plan.n);
}

static ds4_status write_parts(splitting *s, const settings *chosen, const char *prefix,
                              ds4_error *error) {
    ds4_strbuf name = {0};
    ds4_status status = DS4_OK;
    for (s->part = 0; status == DS4_OK && s->part < s->n_parts; s->part++) {
        size_t first = s->begins[s->part];
        const ds4_plan part = {s->plan.tensors + first, s->begins[s->part + 1] - first};
        part_name(&name, prefix, strlen(prefix), s->part + 1, s->n_parts);
        const ds4_transcode_options options = {.output = name.data, .force = chosen->force};
        status = name.failed
                     ? ds4_fail_memory(error, name.n, "a name")
                     : write_part(&options, &part, s->matrices + first,
                                  ds4_gguf_source_identity(&s->source), declare_part, s, error);
    }
    ds4_strbuf_free(&name);
    return status;
}

static ds4_status split(const settings *chosen, const char *input, const char *prefix,
                        ds4_error *error) {
    splitting s = {0};
    ds4_status status = ds4_gguf_source_open(input, &s.source, error);
    if (status == DS4_OK) status = ds4_plan_of_gguf(s.source.gguf, &s.plan, error);
    if (status == DS4_OK) status = cut(&s, chosen->max_gb * 1e9, error);
    if (status == DS4_OK) {
        s.matrices = calloc(s.plan.n + 1, sizeof *s.matrices);
        if (s.matrices == NULL)
            status = ds4_fail_memory(error, s.plan.n * sizeof *s.matrices, "sources");
    }
    for (size_t i = 0; status == DS4_OK && i < s.plan.n; i++)
        status = ds4_gguf_source_matrices(&s.source, ds4_gguf_tensor_at(s.source.gguf, i),
                                          &s.matrices[i], error);
    if (status == DS4_OK) status = write_parts(&s, chosen, prefix, error);
    ds4_matrix_lists_free(s.matrices, s.plan.n);
    ds4_plan_free(&s.plan);
    ds4_gguf_source_close(&s.source);
    return status;
}

int ds4_tool_split(int argc, char **argv) {
    settings s = {0};
    ds4_options_parsed parsed;
    ds4_error error = {0};
    int exit_status = EXIT_OK;
    if (ds4_tool_parse(&split_program, argc, argv, &s, &parsed, &exit_status) &&
        split(&s, parsed.operands[0], parsed.operands[1], &error) != DS4_OK)
        exit_status = ds4_tool_failed(&split_program, &error);
    ds4_options_free(&parsed);
    return exit_status;
}

/* ---- merge ---- */

typedef struct merging {
    ds4_gguf_source *parts;
    unsigned n_parts;
    ds4_plan plan;
    ds4_matrix_source **matrices;
} merging;

/* Where "-00001-of-0000N.gguf" begins; 0 when the name does not end so. */
static size_t prefix_of(const char *path, unsigned *count) {
    static const size_t n_ending = sizeof "-00001-of-00001.gguf" - 1;
    size_t n = strlen(path);
    unsigned number = 0;
    int used = 0;
    if (n <= n_ending ||
        sscanf(path + n - n_ending, "-%5u-of-%5u.gguf%n", &number, count, &used) != 2 ||
        (size_t)used != n_ending || number != 1 || *count < 1 || *count > MAX_PARTS)
        return 0;
    return n - n_ending;
}

static ds4_status check_part(const merging *m, unsigned part, const char *name, ds4_error *error) {
    uint32_t number = 0, count = 0;
    ds4_status status = ds4_gguf_get_u32(m->parts[part].gguf, "split.no", &number, error);
    if (status == DS4_OK)
        status = ds4_gguf_get_u32(m->parts[part].gguf, "split.count", &count, error);
    if (status != DS4_OK || (number == part && count == m->n_parts)) return status;
    return ds4_fail(error, DS4_FORMAT, "%s says that it is part %" PRIu32 " of %" PRIu32, name,
                    number + 1, count);
}

static ds4_status open_parts(merging *m, const char *first, ds4_error *error) {
    ds4_strbuf name = {0};
    size_t n_prefix = prefix_of(first, &m->n_parts);
    if (n_prefix == 0)
        return ds4_fail(error, DS4_INVALID_ARGUMENT,
                        "'%s' does not end in -00001-of-0000N.gguf: name the first part", first);
    m->parts = calloc(m->n_parts, sizeof *m->parts);
    if (m->parts == NULL) return ds4_fail_memory(error, m->n_parts * sizeof *m->parts, "parts");
    ds4_status status = DS4_OK;
    for (unsigned i = 0; status == DS4_OK && i < m->n_parts; i++) {
        part_name(&name, first, n_prefix, i + 1, m->n_parts);
        status = name.failed ? ds4_fail_memory(error, name.n, "a name")
                             : ds4_gguf_source_open(name.data, &m->parts[i], error);
        if (status == DS4_OK) status = check_part(m, i, name.data, error);
    }
    ds4_strbuf_free(&name);
    return status;
}

/* The plans of all parts behind each other. */
static ds4_status join(merging *m, ds4_error *error) {
    size_t n = 0;
    uint32_t promised = 0;
    for (unsigned i = 0; i < m->n_parts; i++) n += (size_t)ds4_gguf_n_tensors(m->parts[i].gguf);
    if (ds4_gguf_get_u32(m->parts[0].gguf, "split.tensors.count", &promised, NULL) == DS4_OK &&
        promised != n)
        return ds4_fail(error, DS4_FORMAT, "the parts hold %zu tensors of %" PRIu32, n, promised);
    m->plan.tensors = calloc(n + 1, sizeof *m->plan.tensors);
    m->matrices = calloc(n + 1, sizeof *m->matrices);
    if (m->plan.tensors == NULL || m->matrices == NULL)
        return ds4_fail_memory(error, n * sizeof *m->plan.tensors, "the list of tensors");
    for (unsigned i = 0; i < m->n_parts; i++) {
        ds4_plan part = {0};
        ds4_status status = ds4_plan_of_gguf(m->parts[i].gguf, &part, error);
        for (size_t t = 0; status == DS4_OK && t < part.n; t++) {
            status = ds4_gguf_source_matrices(&m->parts[i], ds4_gguf_tensor_at(m->parts[i].gguf, t),
                                              &m->matrices[m->plan.n], error);
            m->plan.tensors[m->plan.n++] = part.tensors[t];
        }
        ds4_plan_free(&part);
        if (status != DS4_OK) return status;
    }
    return DS4_OK;
}

static void declare_whole(void *context, ds4_gguf_writer *writer) {
    const merging *m = context;
    for (uint64_t i = 0; i < ds4_gguf_n_values(m->parts[0].gguf); i++) {
        const ds4_gguf_value *value = ds4_gguf_value_at(m->parts[0].gguf, i);
        if (!ds4_gguf_key_is(value, "general.alignment") && !ds4_gguf_key_begins(value, "split."))
            ds4_gguf_writer_put_value(writer, value);
    }
}

static ds4_status merge(const settings *chosen, const char *first, ds4_error *error) {
    merging m = {0};
    uint64_t origin = 0;
    ds4_status status = open_parts(&m, first, error);
    if (status == DS4_OK) status = join(&m, error);
    if (status == DS4_OK) {
        const ds4_transcode_options options = {.output = chosen->output, .force = chosen->force};
        for (unsigned i = 0; i < m.n_parts; i++)
            origin = origin * 31 + ds4_gguf_source_identity(&m.parts[i]);
        status = write_part(&options, &m.plan, m.matrices, origin, declare_whole, &m, error);
    }
    ds4_matrix_lists_free(m.matrices, m.plan.n);
    ds4_plan_free(&m.plan);
    for (unsigned i = 0; m.parts != NULL && i < m.n_parts; i++) ds4_gguf_source_close(&m.parts[i]);
    free(m.parts);
    return status;
}

int ds4_tool_merge(int argc, char **argv) {
    settings s = {0};
    ds4_options_parsed parsed;
    ds4_error error = {0};
    int exit_status = EXIT_OK;
    if (ds4_tool_parse(&merge_program, argc, argv, &s, &parsed, &exit_status)) {
        if (s.output == NULL)
            exit_status = ds4_tool_misused(&merge_program, "missing -o OUT.gguf");
        else if (merge(&s, parsed.operands[0], &error) != DS4_OK)
            exit_status = ds4_tool_failed(&merge_program, &error);
    }
    ds4_options_free(&parsed);
    return exit_status;
}
