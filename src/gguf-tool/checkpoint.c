#include "gguf-tool/checkpoint.h"

#include <fnmatch.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/strbuf.h"
#include "gguf-tool/gguf_source.h"
#include "gguf-tool/verify.h"

enum { TILE = 128, FP4_BLOCK = 32, NAME_BYTES = 256 };

/* While sources are looked for. */
typedef struct matching {
    ds4_safetensors *tensors;
    const ds4_checkpoint_options *options;
    ds4_findings findings;
    ds4_error first; /* the first problem, for when it stays alone */
} matching;

static void problem(matching *m, const char *message) {
    if (m->findings.n_problems == 0) ds4_fail(&m->first, DS4_FORMAT, "%s", message);
    ds4_findings_add(&m->findings, false, message);
}

/* ---- shapes ---- */

/* Whether the source's shape is [rows, columns]; leading ones may be more or fewer. */
static bool has_shape(const ds4_safetensor *source, uint64_t rows, uint64_t columns) {
    const uint64_t expected[2] = {columns, rows};
    uint32_t most = source->n_dims > 2 ? source->n_dims : 2;
    for (uint32_t i = 0; i < most; i++) {
        uint64_t have = i < source->n_dims ? source->shape[source->n_dims - 1 - i] : 1;
        if (have != (i < 2 ? expected[i] : 1)) return false;
    }
    return true;
}

static void expect_shape(matching *m, const ds4_safetensor *source, uint64_t rows, uint64_t columns,
                         bool is_vector) {
    char message[512];
    ds4_strbuf shape = {0};
    if (has_shape(source, rows, columns)) return;
    for (uint32_t i = 0; i < source->n_dims; i++)
        ds4_strbuf_printf(&shape, "%s%" PRIu64, i == 0 ? "" : ", ", source->shape[i]);
    snprintf(message, sizeof message,
             is_vector ? "tensor '%s' has the shape [%s]; config.json makes it [%" PRIu64 "]"
                       : "tensor '%s' has the shape [%s]; config.json makes it [%" PRIu64
                         ", %" PRIu64 "]",
             source->name, shape.n == 0 ? "" : shape.data, is_vector ? columns : rows, columns);
    problem(m, message);
    ds4_strbuf_free(&shape);
}

/* ---- forms ---- */

/* X.weight has X.scale. */
static void find_scale(matching *m, const ds4_safetensor *source, uint64_t rows, uint64_t columns,
                       ds4_matrix_source *found) {
    static const char ending[] = ".weight";
    char name[NAME_BYTES], message[512];
    size_t n = strlen(source->name), n_ending = strlen(ending);
    if (n > n_ending && strcmp(source->name + n - n_ending, ending) == 0) n -= n_ending;
    snprintf(name, sizeof name, "%.*s.scale", (int)n, source->name);
    ds4_safetensor *scale = ds4_safetensors_find(m->tensors, name);
    if (scale == NULL) {
        snprintf(message, sizeof message, "tensor '%s' is %s, but its '%s' is missing",
                 source->name, source->dtype_name, name);
        problem(m, message);
        return;
    }
    scale->is_used = true;
    if (scale->dtype != DS4_DTYPE_F8_E8M0 && strcmp(scale->dtype_name, "U8") != 0) {
        snprintf(message, sizeof message, "tensor '%s' is %s; scales are F8_E8M0 or U8", name,
                 scale->dtype_name);
        problem(m, message);
    }
    expect_shape(m, scale, rows, columns, false);
    found->scale_file = scale->file;
    found->scale_offset = scale->offset;
}

static void describe(matching *m, const ds4_tensor_plan *tensor, const ds4_safetensor *source,
                     ds4_matrix_source *found) {
    uint64_t rows = tensor->n_dims < 2 ? 1 : tensor->ne[1], columns = tensor->ne[0];
    bool is_vector = tensor->n_dims < 2, is_ids = tensor->part == DS4_PART_IDS;
    char message[512];
    *found = (ds4_matrix_source){.name = source->name,
                                 .file = source->file,
                                 .offset = source->offset,
                                 .form = DS4_SOURCE_BLOCKS,
                                 .allow_nan = m->options->allow_nan,
                                 .n_columns = columns,
                                 .n_rows = rows};
    if (is_ids && (source->dtype == DS4_DTYPE_I64 || source->dtype == DS4_DTYPE_I32)) {
        found->form = source->dtype == DS4_DTYPE_I64 ? DS4_SOURCE_I64 : DS4_SOURCE_BLOCKS;
        found->type = DS4_TYPE_I32;
        expect_shape(m, source, rows, columns, false);
    } else if (!is_ids && !is_vector && source->dtype == DS4_DTYPE_F8_E4M3) {
        found->form = DS4_SOURCE_FP8;
        expect_shape(m, source, rows, columns, false);
        find_scale(m, source, (rows + TILE - 1) / TILE, (columns + TILE - 1) / TILE, found);
    } else if (!is_ids && !is_vector && source->dtype == DS4_DTYPE_BYTE &&
               columns % FP4_BLOCK == 0) {
        found->form = DS4_SOURCE_FP4;
        expect_shape(m, source, rows, columns / 2, false);
        find_scale(m, source, rows, columns / FP4_BLOCK, found);
    } else if (!is_ids && (source->dtype == DS4_DTYPE_F32 || source->dtype == DS4_DTYPE_F16 ||
                           source->dtype == DS4_DTYPE_BF16)) {
        found->type = source->dtype == DS4_DTYPE_F32   ? DS4_TYPE_F32
                      : source->dtype == DS4_DTYPE_F16 ? DS4_TYPE_F16
                                                       : DS4_TYPE_BF16;
        expect_shape(m, source, rows, columns, is_vector);
    } else {
        snprintf(message, sizeof message, "tensor '%s' is stored as %s; convert reads %s there",
                 source->name, source->dtype_name,
                 is_ids      ? "I64 and I32"
                 : is_vector ? "F32, F16 and BF16"
                             : "F32, F16, BF16, F8_E4M3 with scales and, where rows are multiples "
                               "of 32, I8 or U8 pairs of FP4 with scales");
        problem(m, message);
    }
}

/* ---- names ---- */

/* The name in the checkpoint of one matrix: of routed experts with its number. */
static void name_of(const ds4_tensor_plan *tensor, size_t matrix, char name[NAME_BYTES]) {
    const char *number = strstr(tensor->source, "%u");
    if (number == NULL)
        snprintf(name, NAME_BYTES, "%s", tensor->source);
    else
        snprintf(name, NAME_BYTES, "%.*s%zu%s", (int)(number - tensor->source), tensor->source,
                 matrix, number + 2);
}

static ds4_status match_tensor(matching *m, const ds4_tensor_plan *tensor,
                               ds4_matrix_source **sources, bool *is_absent, ds4_error *error) {
    size_t n = (size_t)ds4_plan_n_matrices(tensor);
    *is_absent = false;
    *sources = calloc(n, sizeof **sources);
    if (*sources == NULL) return ds4_fail_memory(error, n * sizeof **sources, "sources");
    for (size_t matrix = 0; matrix < n; matrix++) {
        char name[NAME_BYTES], message[NAME_BYTES + 64];
        name_of(tensor, matrix, name);
        ds4_safetensor *source = ds4_safetensors_find(m->tensors, name);
        if (source != NULL) {
            source->is_used = true;
            describe(m, tensor, source, &(*sources)[matrix]);
        } else if (tensor->is_optional) {
            *is_absent = true;
        } else {
            snprintf(message, sizeof message, "the checkpoint lacks the tensor '%s'", name);
            problem(m, message);
        }
    }
    return DS4_OK;
}

static bool is_ignored(const ds4_option_list *patterns, const char *name) {
    for (size_t i = 0; patterns != NULL && i < patterns->n; i++)
        if (fnmatch(patterns->items[i], name, 0) == 0) return true;
    return strncmp(name, "mtp.", 4) == 0;
}

static void check_unknown(matching *m) {
    for (size_t i = 0; i < ds4_safetensors_count(m->tensors); i++) {
        const ds4_safetensor *tensor = ds4_safetensors_at(m->tensors, i);
        char message[512];
        if (tensor->is_used || is_ignored(m->options->ignore, tensor->name)) continue;
        snprintf(message, sizeof message,
                 "config.json does not account for the tensor '%.200s'; --ignore PATTERN leaves "
                 "such out",
                 tensor->name);
        problem(m, message);
    }
}

static ds4_status match_all(matching *m, ds4_plan *plan, ds4_checkpoint *checkpoint,
                            ds4_error *error) {
    size_t kept = 0;
    checkpoint->sources = calloc(plan->n + 1, sizeof *checkpoint->sources);
    if (checkpoint->sources == NULL)
        return ds4_fail_memory(error, plan->n * sizeof *checkpoint->sources, "sources");
    for (size_t i = 0; i < plan->n; i++) {
        bool is_absent = false;
        ds4_status status =
            match_tensor(m, &plan->tensors[i], &checkpoint->sources[kept], &is_absent, error);
        checkpoint->n = kept + 1;
        if (status != DS4_OK) return status;
        if (is_absent) {
            free(checkpoint->sources[kept]);
            checkpoint->sources[kept] = NULL;
            continue;
        }
        plan->tensors[kept++] = plan->tensors[i];
    }
    checkpoint->n = plan->n = kept;
    check_unknown(m);
    if (m->findings.n_problems == 0) return DS4_OK;
    if (m->findings.n_problems == 1) return ds4_fail(error, DS4_FORMAT, "%s", m->first.message);
    return ds4_fail(error, DS4_FORMAT, "the checkpoint has %" PRIu64 " problems",
                    m->findings.n_problems);
}

ds4_status ds4_checkpoint_open(const char *directory, const ds4_checkpoint_options *options,
                               ds4_plan *plan, ds4_checkpoint *checkpoint, ds4_error *error) {
    *checkpoint = (ds4_checkpoint){0};
    matching m = {.options = options, .findings = {.out = stderr}};
    ds4_status status = ds4_safetensors_open(directory, &checkpoint->tensors, error);
    m.tensors = checkpoint->tensors;
    if (status == DS4_OK) status = match_all(&m, plan, checkpoint, error);
    if (status != DS4_OK) ds4_checkpoint_close(checkpoint);
    return status;
}

void ds4_checkpoint_close(ds4_checkpoint *checkpoint) {
    ds4_matrix_lists_free(checkpoint->sources, checkpoint->n);
    ds4_safetensors_close(checkpoint->tensors);
    *checkpoint = (ds4_checkpoint){0};
}
