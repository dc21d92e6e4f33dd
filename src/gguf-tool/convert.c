/* ds4-gguf convert: a safetensors checkpoint in the original naming becomes a GGUF file. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/strbuf.h"
#include "gguf-tool/json_file.h"
#include "gguf-tool/plan.h"
#include "gguf-tool/safetensors.h"
#include "gguf-tool/tool.h"
#include "gguf-tool/vocabulary.h"

typedef struct settings {
    const char *output;
    int type;
    const char *tensor_types;
    bool no_tokenizer;
    int64_t threads;
} settings;

static const ds4_option options[] = {
    {.names = "--output -o",
     .kind = DS4_OPTION_STRING,
     .argument = "OUT.gguf",
     .offset = offsetof(settings, output),
     .help = "file to write (required)"},
    {.names = "--type",
     .kind = DS4_OPTION_CHOICE,
     .argument = "TYPE",
     .choices = "f32|f16|bf16|q8_0",
     .default_text = "bf16",
     .offset = offsetof(settings, type),
     .help = "how matrices are stored"},
    {.names = "--tensor-type",
     .kind = DS4_OPTION_STRING,
     .argument = "PATTERN=TYPE,...",
     .offset = offsetof(settings, tensor_types),
     .help = "other types for the matrices whose GGUF names match, as in token_embd*=q8_0"},
    {.names = "--no-tokenizer",
     .kind = DS4_OPTION_FLAG,
     .offset = offsetof(settings, no_tokenizer),
     .help = "the checkpoint has no tokenizer.json: write none"},
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
    .name = "ds4-gguf convert",
    .summary = "safetensors checkpoint to GGUF",
    .operands = "HF_DIR",
    .description = "HF_DIR holds config.json, model.safetensors (or its shards and their index) "
                   "and tokenizer.json, with the "
                   "original tensor names. Matrices may be F32, F16 or BF16.\n\n"
                   "Vectors are stored as F32 and expert tables as I32. With q8_0, the small "
                   "matrices that steer the model "
                   "(embedding, hyper-connections, router, compressor, indexer) are stored as F16.",
    DS4_PROGRAM_OPTIONS(options),
    .min_operands = 1,
    .max_operands = 1,
};

static const struct {
    ds4_recipe recipe;
    uint32_t file_type;
} targets[] = {
    {{DS4_TYPE_F32, DS4_TYPE_F32, DS4_TYPE_F32, DS4_TYPE_F32, DS4_TYPE_F32}, 0},
    {{DS4_TYPE_F16, DS4_TYPE_F16, DS4_TYPE_F16, DS4_TYPE_F16, DS4_TYPE_F16}, 1},
    {{DS4_TYPE_BF16, DS4_TYPE_BF16, DS4_TYPE_BF16, DS4_TYPE_BF16, DS4_TYPE_BF16}, 32},
    {{DS4_TYPE_F16, DS4_TYPE_F16, DS4_TYPE_Q8_0, DS4_TYPE_Q8_0, DS4_TYPE_Q8_0}, 7},
};

/* What the producing threads need: for each tensor of the plan its matrices, one after the other.
 */
typedef struct conversion {
    ds4_plan plan;
    ds4_shape shape;
    ds4_safetensors *checkpoint;
    ds4_safetensor ***sources; /* [tensor][matrix] */
} conversion;

/* ---- matching ---- */

/* Whether the source's shape, read backwards, is ne[0..n_dims-1] (trailing ones of ne may be left
 * out). */
static bool same_shape(const ds4_safetensor *source, const uint64_t *ne, uint32_t n_dims) {
    uint32_t most = source->n_dims > n_dims ? source->n_dims : n_dims;
    for (uint32_t i = 0; i < most; i++) {
        uint64_t have = i < source->n_dims ? source->shape[source->n_dims - 1 - i] : 1;
        if (have != (i < n_dims ? ne[i] : 1)) return false;
    }
    return true;
}

static ds4_status check_source(const ds4_tensor_plan *tensor, const ds4_safetensor *source,
                               ds4_error *error) {
    ds4_strbuf shape = {0};
    uint32_t n_dims = tensor->n_dims < 2 ? tensor->n_dims : 2;
    bool is_ids = tensor->part == DS4_PART_IDS;
    bool fits = is_ids ? source->dtype == DS4_DTYPE_I64 || source->dtype == DS4_DTYPE_I32
                       : source->dtype == DS4_DTYPE_F32 || source->dtype == DS4_DTYPE_F16 ||
                             source->dtype == DS4_DTYPE_BF16;
    if (!fits) {
        return ds4_fail(error, DS4_UNSUPPORTED, "tensor '%s' is stored as %s; convert reads %s",
                        source->name, source->dtype_name,
                        is_ids ? "I64 and I32 there" : "F32, F16 and BF16");
    }
    if (same_shape(source, tensor->ne, n_dims)) return DS4_OK;
    for (uint32_t i = 0; i < source->n_dims; i++) {
        ds4_strbuf_printf(&shape, "%s%" PRIu64, i == 0 ? "" : ", ", source->shape[i]);
    }
    ds4_status status =
        ds4_fail(error, DS4_FORMAT,
                 "tensor '%s' has the shape [%s]; config.json makes it %s%" PRIu64 " x %" PRIu64,
                 source->name, shape.n == 0 ? "" : shape.data, n_dims == 2 ? "" : "a vector, ",
                 n_dims == 2 ? tensor->ne[1] : 1, tensor->ne[0]);
    ds4_strbuf_free(&shape);
    return status;
}

static ds4_status match_tensor(conversion *c, size_t index, bool *is_absent, ds4_error *error) {
    const ds4_tensor_plan *tensor = &c->plan.tensors[index];
    size_t n = (size_t)tensor->ne[2];
    *is_absent = false;
    c->sources[index] = calloc(n, sizeof **c->sources);
    if (c->sources[index] == NULL)
        return ds4_fail_memory(error, n * sizeof **c->sources, "the list of sources");
    for (size_t matrix = 0; matrix < n; matrix++) {
        ds4_strbuf name = {0};
        const char *number = strstr(tensor->source, "%u");
        if (number == NULL)
            ds4_strbuf_puts(&name, tensor->source);
        else {
            ds4_strbuf_append(&name, tensor->source, (size_t)(number - tensor->source));
            ds4_strbuf_printf(&name, "%zu%s", matrix, number + 2);
        }
        ds4_safetensor *source =
            name.failed ? NULL : ds4_safetensors_find(c->checkpoint, name.data);
        ds4_status status = DS4_OK;
        if (source != NULL) {
            source->is_used = true;
            c->sources[index][matrix] = source;
            status = check_source(tensor, source, error);
        } else if (tensor->is_optional) {
            *is_absent = true;
        } else {
            status = ds4_fail(error, DS4_FORMAT, "the checkpoint lacks the tensor '%s'",
                              name.failed ? "?" : name.data);
        }
        ds4_strbuf_free(&name);
        if (status != DS4_OK) return status;
    }
    return DS4_OK;
}

/* Finds every source, drops optional tensors that are absent, refuses checkpoints with tensors we
 * know nothing of. */
static ds4_status match_all(conversion *c, ds4_error *error) {
    size_t kept = 0, n_unknown = 0;
    const char *unknown = NULL;
    c->sources = calloc(c->plan.n, sizeof *c->sources);
    if (c->sources == NULL)
        return ds4_fail_memory(error, c->plan.n * sizeof *c->sources, "the list of sources");
    for (size_t i = 0; i < c->plan.n; i++) {
        bool is_absent = false;
        ds4_status status = match_tensor(c, i, &is_absent, error);
        if (status != DS4_OK) return status;
        ds4_safetensor **sources = c->sources[i];
        c->sources[i] = NULL;
        if (is_absent) {
            free(sources);
            continue;
        }
        c->plan.tensors[kept] = c->plan.tensors[i];
        c->sources[kept++] = sources;
    }
    c->plan.n = kept;
    for (size_t i = 0; i < ds4_safetensors_count(c->checkpoint); i++) {
        const ds4_safetensor *tensor = ds4_safetensors_at(c->checkpoint, i);
        if (tensor->is_used || strncmp(tensor->name, "mtp.", 4) == 0)
            continue; /* the draft block is another file */
        if (n_unknown++ == 0) unknown = tensor->name;
    }
    if (n_unknown == 0) return DS4_OK;
    return ds4_fail(
        error, DS4_FORMAT,
        "the checkpoint has %zu tensors that config.json does not account for, first '%s'",
        n_unknown, unknown);
}

/* ---- payloads ---- */

static void widen_row(const ds4_safetensor *source, uint64_t first, size_t n, float *target) {
    if (source->dtype == DS4_DTYPE_F32) {
        memcpy(target, source->data + 4 * first, 4 * n);
        return;
    }
    const uint8_t *bytes = source->data + 2 * first;
    for (size_t i = 0; i < n; i++) {
        uint16_t bits = (uint16_t)(bytes[2 * i] | bytes[2 * i + 1] << 8);
        target[i] = source->dtype == DS4_DTYPE_BF16 ? ds4_bf16_to_f32(bits) : ds4_f16_to_f32(bits);
    }
}

/* Expert ids, each below the number of experts. */
static ds4_status copy_ids(const ds4_safetensor *source, uint64_t first, size_t n,
                           uint32_t n_experts, uint8_t *target, ds4_error *error) {
    size_t width = source->dtype == DS4_DTYPE_I64 ? 8 : 4;
    for (size_t i = 0; i < n; i++) {
        const uint8_t *bytes = source->data + (first + i) * width;
        uint64_t id = 0;
        for (size_t k = 0; k < width; k++) id |= (uint64_t)bytes[k] << 8 * k;
        if (id >= n_experts) {
            return ds4_fail(error, DS4_FORMAT,
                            "tensor '%s': element %" PRIu64 " is no expert from 0 to %" PRIu32,
                            source->name, first + i, n_experts - 1);
        }
        for (size_t k = 0; k < 4; k++) target[4 * i + k] = (uint8_t)(id >> 8 * k);
    }
    return DS4_OK;
}

static ds4_status produce(void *context, size_t index, uint64_t row_begin, uint64_t row_end,
                          float *scratch, uint8_t *target, ds4_error *error) {
    const conversion *c = context;
    const ds4_tensor_plan *tensor = &c->plan.tensors[index];
    size_t n = (size_t)tensor->ne[0], row_bytes = ds4_type_row_bytes(tensor->type, n);
    for (uint64_t row = row_begin; row < row_end; row++, target += row_bytes) {
        const ds4_safetensor *source = c->sources[index][row / tensor->ne[1]];
        uint64_t first = row % tensor->ne[1] * n;
        ds4_error why = {0};
        ds4_status status;
        if (tensor->part == DS4_PART_IDS) {
            status = copy_ids(source, first, n, c->shape.n_experts, target, error);
            if (status != DS4_OK) return status;
            continue;
        }
        widen_row(source, first, n, scratch);
        status = ds4_encode_row(tensor->type, scratch, target, n, &why);
        if (status != DS4_OK) {
            return ds4_fail(error, status, "tensor '%s', row %" PRIu64 ": %s", source->name,
                            row % tensor->ne[1], why.message);
        }
    }
    return DS4_OK;
}

/* ---- the command ---- */

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
    return status;
}

/* The last part of a path, for general.name; trailing slashes do not count. */
static void base_name(const char *path, ds4_strbuf *name) {
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/') end--;
    size_t begin = end;
    while (begin > 0 && path[begin - 1] != '/') begin--;
    ds4_strbuf_append(name, path + begin, end - begin);
}

static ds4_status write_file(conversion *c, const settings *s, const char *directory,
                             const ds4_vocabulary *vocabulary, ds4_error *error) {
    ds4_gguf_writer *writer = NULL;
    ds4_strbuf name = {0};
    ds4_status status = ds4_gguf_writer_create(s->output, DS4_GGUF_PAGE_ALIGNMENT, &writer, error);
    if (status != DS4_OK) goto done;
    base_name(directory, &name);
    if (name.failed) {
        status = ds4_fail_memory(error, name.n, "a name");
        goto done;
    }
    ds4_shape_put_metadata(&c->shape, name.data, targets[s->type].file_type, writer);
    if (vocabulary->n_tokens > 0) ds4_vocabulary_put_metadata(vocabulary, writer);
    ds4_plan_put_tensors(&c->plan, writer);
    status = ds4_gguf_writer_begin(writer, error);
    if (status != DS4_OK) goto done;
    const ds4_stream stream = {writer, &c->plan, (uint32_t)s->threads, produce, c, NULL};
    status = ds4_stream_payloads(&stream, error);
    if (status == DS4_OK) status = ds4_gguf_writer_finish(writer, error);
    if (status == DS4_OK) {
        char size[64];
        printf("%s: %zu tensors, %s\n", s->output, c->plan.n,
               ds4_tool_size(ds4_gguf_writer_file_bytes(writer), size));
    }
done:
    ds4_gguf_writer_destroy(writer);
    ds4_strbuf_free(&name);
    return status;
}

static ds4_status convert(const settings *s, const char *directory, ds4_error *error) {
    conversion c = {0};
    ds4_vocabulary vocabulary = {0};
    ds4_status status = read_config(directory, &c.shape, error);
    if (status == DS4_OK && !s->no_tokenizer) {
        status = read_tokenizer(directory, c.shape.n_vocab, &vocabulary, error);
    }
    if (status == DS4_OK) status = ds4_safetensors_open(directory, &c.checkpoint, error);
    if (status == DS4_OK) status = ds4_plan_create(&c.shape, &c.plan, error);
    size_t n_planned = c.plan.n;
    if (status == DS4_OK) status = match_all(&c, error);
    if (status == DS4_OK) {
        ds4_plan_set_types(&c.plan, &targets[s->type].recipe);
        status = ds4_plan_override_types(&c.plan, s->tensor_types, error);
    }
    if (status == DS4_OK) {
        status = write_file(&c, s, directory, &vocabulary, error);
    }
    for (size_t i = 0; c.sources != NULL && i < n_planned; i++) free(c.sources[i]);
    free(c.sources);
    ds4_plan_free(&c.plan);
    ds4_safetensors_close(c.checkpoint);
    ds4_vocabulary_free(&vocabulary);
    return status;
}

int ds4_tool_convert(int argc, char **argv) {
    settings s = {0};
    ds4_options_parsed parsed;
    ds4_error error = {0};
    int exit_status = EXIT_OK;
    if (ds4_tool_parse(&program, argc, argv, &s, &parsed, &exit_status)) {
        if (s.output == NULL)
            exit_status = ds4_tool_misused(&program, "missing -o OUT.gguf");
        else if (convert(&s, parsed.operands[0], &error) != DS4_OK)
            exit_status = ds4_tool_failed(&program, &error);
    }
    ds4_options_free(&parsed);
    return exit_status;
}
