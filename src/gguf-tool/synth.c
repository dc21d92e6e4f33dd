/* ds4-gguf synth: a valid model with random weights, as large as wanted, out of a seed. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "gguf-tool/recipe.h"
#include "gguf-tool/stream.h"
#include "gguf-tool/synth_fill.h"
#include "gguf-tool/tool.h"
#include "gguf-tool/vocabulary.h"

typedef struct settings {
    const char *output, *tokenizer;
    int preset;
    uint64_t seed;
    int64_t threads, layers;
} settings;

static const ds4_option options[] = {
    {.names = "--output -o",
     .kind = DS4_OPTION_STRING,
     .argument = "OUT.gguf",
     .offset = offsetof(settings, output),
     .help = "file to write (required)"},
    {.names = "--preset",
     .kind = DS4_OPTION_CHOICE,
     .argument = "NAME",
     .choices = "tiny|small|flash",
     .default_text = "tiny",
     .offset = offsetof(settings, preset),
     .help = "shape of the model"},
    {.names = "--layers",
     .kind = DS4_OPTION_INT,
     .argument = "N",
     .min = 1,
     .max = 1024,
     .offset = offsetof(settings, layers),
     .help = "only the first N layers of the preset"},
    {.names = "--seed",
     .kind = DS4_OPTION_UINT64,
     .argument = "N",
     .default_text = "42",
     .offset = offsetof(settings, seed),
     .help = "the same seed gives the same bytes"},
    {.names = "--tokenizer",
     .kind = DS4_OPTION_STRING,
     .argument = "FILE",
     .offset = offsetof(settings, tokenizer),
     .help = "tokenizer.json to embed; without it, bytes and a few merges"},
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
    .name = "ds4-gguf synth",
    .summary = "valid model with seeded random weights",
    .description = "Its answers are gibberish; shapes, types and sizes are those of real models, "
                   "for tests and measurements "
                   "without a download.\n\n"
                   "tiny: a few MB, all kinds of layers. With --tokenizer, its vocabulary grows to "
                   "that of the file. "
                   "small: the width of V4 Flash with 4 layers and 32 experts, about 3.2 GB. "
                   "flash: the shape and the types of the released 2-bit file, 86.7 GB.",
    DS4_PROGRAM_OPTIONS(options),
};

static const struct {
    const char *name;
    void (*set_shape)(ds4_shape *shape);
    uint32_t alignment;
} presets[] = {
    {"tiny", ds4_shape_tiny, 32},
    {"small", ds4_shape_small, DS4_GGUF_PAGE_ALIGNMENT},
    {"flash", ds4_shape_flash, DS4_GGUF_PAGE_ALIGNMENT},
};

enum { V4_VOCABULARY = 129280, RELEASED = 0 /* the recipe of the released 2-bit file */ };

typedef struct synthesis {
    ds4_shape shape;
    ds4_plan plan;
    uint64_t *keys; /* per tensor */
} synthesis;

static ds4_status produce(void *context, uint32_t thread, size_t index, uint64_t row_begin,
                          uint64_t row_end, uint8_t *target, ds4_error *error) {
    const synthesis *s = context;
    const ds4_tensor_plan *tensor = &s->plan.tensors[index];
    size_t row_bytes = ds4_type_row_bytes(tensor->type, (size_t)tensor->ne[0]);
    (void)thread;
    (void)error;
    for (uint64_t row = row_begin; row < row_end; row++, target += row_bytes) {
        ds4_synth_row(tensor, &s->shape, s->keys[index], row, target);
    }
    return DS4_OK;
}

static void declare(const synthesis *s, const settings *chosen, const ds4_vocabulary *vocabulary,
                    ds4_gguf_writer *writer) {
    char name[96];
    snprintf(name, sizeof name, "DeepSeek V4 Flash, synthetic %s, seed %" PRIu64,
             presets[chosen->preset].name, chosen->seed);
    ds4_shape_put_metadata(&s->shape, name, ds4_recipe_at(RELEASED)->file_type, writer);
    ds4_gguf_writer_put_u64(writer, "ds4.synth.seed", chosen->seed);
    ds4_vocabulary_put_metadata(vocabulary, writer);
    ds4_plan_put_tensors(&s->plan, writer);
}

static ds4_status write_file(synthesis *s, const settings *chosen, const ds4_vocabulary *vocabulary,
                             ds4_error *error) {
    ds4_gguf_writer *writer = NULL;
    ds4_progress *progress = NULL;
    ds4_status status =
        ds4_gguf_writer_create(chosen->output, presets[chosen->preset].alignment, &writer, error);
    if (status != DS4_OK) return status;
    declare(s, chosen, vocabulary, writer);
    status = ds4_gguf_writer_begin(writer, error);
    if (status == DS4_OK)
        status = ds4_progress_create(ds4_gguf_writer_file_bytes(writer), &progress, error);
    const ds4_stream stream = {.writer = writer,
                               .plan = &s->plan,
                               .n_threads = (uint32_t)chosen->threads,
                               .context = s,
                               .produce = produce,
                               .progress = progress};
    if (status == DS4_OK) status = ds4_stream_payloads(&stream, error);
    ds4_progress_destroy(progress);
    if (status == DS4_OK) status = ds4_gguf_writer_finish(writer, error);
    if (status == DS4_OK) {
        char size[64];
        printf("%s: %zu tensors, %s\n", chosen->output, s->plan.n,
               ds4_tool_size(ds4_gguf_writer_file_bytes(writer), size));
    }
    ds4_gguf_writer_destroy(writer);
    return status;
}

static ds4_status synthesise(const settings *chosen, ds4_error *error) {
    synthesis s = {0};
    ds4_vocabulary vocabulary = {0};
    presets[chosen->preset].set_shape(&s.shape);
    if (chosen->layers > 0 && chosen->layers < (int64_t)s.shape.n_layers)
        s.shape.n_layers = (uint32_t)chosen->layers;
    if (chosen->tokenizer != NULL && s.shape.n_vocab < V4_VOCABULARY)
        s.shape.n_vocab = V4_VOCABULARY;
    ds4_status status =
        chosen->tokenizer != NULL
            ? ds4_vocabulary_read(chosen->tokenizer, s.shape.n_vocab, &vocabulary, error)
            : ds4_vocabulary_of_bytes(s.shape.n_vocab, &vocabulary, error);
    if (status == DS4_OK) status = ds4_plan_create(&s.shape, &s.plan, error);
    if (status != DS4_OK) goto done;
    ds4_recipe_apply(ds4_recipe_at(RELEASED), &s.plan);
    s.keys = calloc(s.plan.n, sizeof *s.keys);
    if (s.keys == NULL) {
        status = ds4_fail_memory(error, s.plan.n * sizeof *s.keys, "random streams");
        goto done;
    }
    for (size_t i = 0; i < s.plan.n; i++)
        s.keys[i] = ds4_synth_key(chosen->seed, s.plan.tensors[i].name);
    status = write_file(&s, chosen, &vocabulary, error);
done:
    free(s.keys);
    ds4_plan_free(&s.plan);
    ds4_vocabulary_free(&vocabulary);
    return status;
}

int ds4_tool_synth(int argc, char **argv) {
    settings chosen = {0};
    ds4_options_parsed parsed;
    ds4_error error = {0};
    int exit_status = EXIT_OK;
    if (ds4_tool_parse(&program, argc, argv, &chosen, &parsed, &exit_status)) {
        if (chosen.output == NULL)
            exit_status = ds4_tool_misused(&program, "missing -o OUT.gguf");
        else if (synthesise(&chosen, &error) != DS4_OK)
            exit_status = ds4_tool_failed(&program, &error);
    }
    ds4_options_free(&parsed);
    return exit_status;
}
