/* ds4-gguf imatrix: what real text does to each column of each weight, collected and looked at. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "gguf-tool/score_case.h"
#include "gguf-tool/tool.h"
#include "imatrix/collect.h"

enum { MAX_DATASET_BYTES = 1 << 30 };

/* The form follows the name: ".dat" is the older one. */
static ds4_status write_file(const ds4_imatrix *imatrix, const char *path, ds4_error *error) {
    size_t n = strlen(path);
    bool is_dat = n > 4 && strcmp(path + n - 4, ".dat") == 0;
    return (is_dat ? ds4_imatrix_write_dat : ds4_imatrix_write_gguf)(imatrix, path, error);
}

/* ---- coverage ---- */

typedef struct totals {
    size_t n_matrices, n_unused, n_sparse;
} totals;

static void print_entry(const ds4_imatrix_entry *e, totals *all) {
    ds4_imatrix_coverage c = ds4_imatrix_entry_coverage(e);
    all->n_matrices += e->n_matrices;
    if (!e->has_counts) {
        printf("%-40s %8zu values, means without counts\n", e->name, e->n_columns);
        return;
    }
    if (e->n_matrices == 1) c.n_sparse = 0; /* it has nothing to lean on */
    all->n_unused += c.n_unused;
    all->n_sparse += c.n_sparse;
    printf("%-40s %4zu x %-6zu inputs %" PRIu64 " to %" PRIu64, e->name, e->n_matrices,
           e->n_columns, c.least, c.greatest);
    if (c.n_unused > 0) printf(", %zu never used", c.n_unused);
    if (c.n_sparse > 0) printf(", %zu with fewer than %.0f", c.n_sparse, DS4_IMATRIX_SMOOTHING);
    putchar('\n');
}

static void print_all(const ds4_imatrix *imatrix, const char *path) {
    totals all = {0};
    for (size_t i = 0; i < ds4_imatrix_n_entries(imatrix); i++)
        print_entry(ds4_imatrix_entry_at(imatrix, i), &all);
    printf("%s: %zu weights, %zu matrices, %u prompts of %s\n", path,
           ds4_imatrix_n_entries(imatrix), all.n_matrices, ds4_imatrix_chunks(imatrix),
           ds4_imatrix_dataset(imatrix)[0] != '\0' ? ds4_imatrix_dataset(imatrix) : "unknown text");
    if (all.n_unused + all.n_sparse > 0)
        printf("%zu matrices were never used and take their tensor's mean, %zu had fewer than %.0f "
               "inputs and lean on it\n",
               all.n_unused, all.n_sparse, DS4_IMATRIX_SMOOTHING);
}

static int show(int argc, char **argv) {
    static const ds4_program program = {.name = "ds4-gguf imatrix show",
                                        .summary = "which weights an imatrix covers, and how well",
                                        .operands = "FILE",
                                        .min_operands = 1,
                                        .max_operands = 1};
    ds4_options_parsed parsed;
    ds4_imatrix *imatrix = NULL;
    ds4_error error = {0};
    char unused;
    int exit_status = EXIT_OK;
    if (!ds4_tool_parse(&program, argc, argv, &unused, &parsed, &exit_status)) goto done;
    if (ds4_imatrix_open(parsed.operands[0], &imatrix, &error) == DS4_OK)
        print_all(imatrix, parsed.operands[0]);
    else
        exit_status = ds4_tool_failed(&program, &error);
done:
    ds4_imatrix_destroy(imatrix);
    ds4_options_free(&parsed);
    return exit_status;
}

/* ---- merge and export ---- */

typedef struct output_setting {
    const char *output;
} output_setting;

#define OPTION_OUTPUT(type)                                                                        \
    {                                                                                              \
        .names = "--output -o", .kind = DS4_OPTION_STRING, .argument = "FILE",                     \
        .offset = offsetof(type, output),                                                          \
        .help = "file to write (required); the older form when its name ends in .dat"              \
    }

/* One file is written as it is, several are added up. */
static int merge(int argc, char **argv) {
    static const ds4_option options[] = {OPTION_OUTPUT(output_setting)};
    static const ds4_program program = {
        .name = "ds4-gguf imatrix merge",
        .summary = "add up imatrix files, or write one in the other form",
        .operands = "FILE ...",
        .min_operands = 1,
        .max_operands = DS4_OPERANDS_MAX,
        .description = "Sums and counts of GGUF forms are added, so the result is that of one "
                       "collection over all texts. A .dat holds means only: it can be written but "
                       "not be added.",
        DS4_PROGRAM_OPTIONS(options)};
    output_setting chosen = {0};
    ds4_options_parsed parsed;
    ds4_imatrix *imatrix = NULL, *next = NULL;
    ds4_error error = {0};
    int exit_status = EXIT_OK;
    if (!ds4_tool_parse(&program, argc, argv, &chosen, &parsed, &exit_status)) goto done;
    if (chosen.output == NULL) {
        exit_status = ds4_tool_misused(&program, "missing --output FILE");
        goto done;
    }
    ds4_status status = ds4_imatrix_open(parsed.operands[0], &imatrix, &error);
    for (size_t i = 1; status == DS4_OK && i < parsed.n_operands; i++) {
        status = ds4_imatrix_open(parsed.operands[i], &next, &error);
        if (status == DS4_OK) status = ds4_imatrix_merge(imatrix, next, &error);
        ds4_imatrix_destroy(next);
        next = NULL;
    }
    if (status == DS4_OK) status = write_file(imatrix, chosen.output, &error);
    if (status != DS4_OK) exit_status = ds4_tool_failed(&program, &error);
done:
    ds4_imatrix_destroy(imatrix);
    ds4_options_free(&parsed);
    return exit_status;
}

/* ---- collect ---- */

typedef struct collect_settings {
    const char *output, *model, *dataset;
    int64_t context, max_prompts, max_tokens, threads, batch;
} collect_settings;

static bool report(void *context, const ds4_imatrix_progress *progress) {
    (void)context;
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r%zu of %zu prompts, %" PRIu64 " tokens%s", progress->prompts_done,
                progress->n_prompts, progress->tokens_done,
                progress->prompts_done == progress->n_prompts ? "\n" : "");
    return true;
}

/* Cases of `score` as a source: the prompt with its reference behind it. */
typedef struct case_source {
    const ds4_tokenizer *tokenizer;
    const char *rest, *end;
    uint32_t n_context;
    size_t line;
} case_source;

static ds4_status next_case(void *context, ds4_tokens *prompt, bool *more, ds4_error *error) {
    case_source *source = context;
    ds4_score_case c;
    ds4_error reason = {0};
    while (source->rest < source->end && *source->rest == '\n') source->rest++, source->line++;
    *more = source->rest < source->end;
    if (!*more) return DS4_OK;
    size_t n = 0, left = (size_t)(source->end - source->rest);
    while (n < left && source->rest[n] != '\n') n++;
    ds4_status status =
        ds4_score_case_parse(source->rest, n, source->tokenizer, source->n_context, &c, &reason);
    source->rest += n;
    if (status == DS4_OK) status = ds4_tokens_append(prompt, c.prompt.ids, c.prompt.n, &reason);
    if (status == DS4_OK) status = ds4_tokens_append(prompt, c.target.ids, c.target.n, &reason);
    ds4_score_case_free(&c);
    if (status == DS4_OK) return DS4_OK;
    return ds4_fail(error, status, "the dataset's line %zu: %.400s", source->line, reason.message);
}

static size_t count_lines(const ds4_strbuf *text) {
    size_t n = 0;
    for (size_t i = 0; i < text->n; i++)
        n += text->data[i] != '\n' && (i == 0 || text->data[i - 1] == '\n');
    return n;
}

/* Both forms of a dataset behind one source; the structs hold what it points to. */
typedef struct dataset {
    ds4_imatrix_text text;
    case_source cases;
} dataset;

static ds4_imatrix_source open_dataset(const ds4_strbuf *bytes, const ds4_tokenizer *tokenizer,
                                       uint32_t n_context, dataset *d) {
    if (bytes->n > 0 && bytes->data[strspn(bytes->data, " \r\n")] == '{') {
        d->cases = (case_source){tokenizer, bytes->data, bytes->data + bytes->n, n_context, 1};
        return (ds4_imatrix_source){
            .next = next_case, .context = &d->cases, .n_prompts = count_lines(bytes)};
    }
    d->text = (ds4_imatrix_text){tokenizer, bytes->data, bytes->n};
    return ds4_imatrix_text_source(&d->text);
}

static ds4_status run_collect(const collect_settings *s, ds4_error *error) {
    ds4_model *model = NULL;
    ds4_engine *engine = NULL;
    ds4_imatrix *imatrix = NULL;
    ds4_strbuf bytes = {0};
    dataset data;
    ds4_imatrix_source source;
    ds4_imatrix_progress done = {0};
    const ds4_engine_options options = {.n_threads = (uint32_t)s->threads,
                                        .max_batch_tokens = (uint32_t)s->batch,
                                        .max_context = (uint32_t)s->context};
    const ds4_imatrix_collection collection = {.max_context = (uint32_t)s->context,
                                               .max_prompts = (uint64_t)s->max_prompts,
                                               .max_tokens = (uint64_t)s->max_tokens,
                                               .dataset = s->dataset,
                                               .progress = report};
    ds4_status status = ds4_file_check_model(s->model, error);
    if (status == DS4_OK) status = ds4_model_open(s->model, NULL, &model, error);
    if (status == DS4_OK && ds4_model_get_tokenizer(model) == NULL)
        status = ds4_fail(error, DS4_UNSUPPORTED, "%s has no tokenizer", s->model);
    if (status == DS4_OK) status = ds4_file_read(s->dataset, MAX_DATASET_BYTES, &bytes, error);
    if (status == DS4_OK) status = ds4_engine_create(model, &options, &engine, error);
    if (status == DS4_OK) status = ds4_imatrix_create(&imatrix, error);
    if (status == DS4_OK) {
        source = open_dataset(&bytes, ds4_model_get_tokenizer(model), (uint32_t)s->context, &data);
        status = ds4_imatrix_collect(engine, model, &source, &collection, imatrix, &done, error);
    }
    if (status == DS4_OK) status = write_file(imatrix, s->output, error);
    if (status == DS4_OK) {
        print_all(imatrix, s->output);
        printf("%zu prompts, %" PRIu64 " tokens\n", done.prompts_done, done.tokens_done);
    }
    ds4_imatrix_destroy(imatrix);
    ds4_engine_destroy(engine);
    ds4_strbuf_free(&bytes);
    ds4_model_close(model);
    return status;
}

#define COLLECT_INT(field) .kind = DS4_OPTION_INT, .offset = offsetof(collect_settings, field)

static int collect(int argc, char **argv) {
    static const ds4_option options[] = {
        OPTION_OUTPUT(collect_settings),
        {.names = "--model -m",
         .kind = DS4_OPTION_STRING,
         .argument = "FILE",
         .offset = offsetof(collect_settings, model),
         .help = "model to run (required): the one to be quantised, in its best form"},
        {.names = "--dataset",
         .kind = DS4_OPTION_STRING,
         .argument = "FILE",
         .offset = offsetof(collect_settings, dataset),
         .help = "text to run (required): cases as 'ds4-gguf score' takes them, or rendered text, "
                 "prompts separated by lines that begin with '" DS4_IMATRIX_SEPARATOR "'"},
        {.names = "--ctx -c",
         COLLECT_INT(context),
         .argument = "N",
         .min = 1,
         .max = 1 << 20,
         .default_text = "32768",
         .help = "tokens of a prompt that are evaluated"},
        {.names = "--max-prompts",
         COLLECT_INT(max_prompts),
         .argument = "N",
         .min = 0,
         .max = INT32_MAX,
         .default_text = "0",
         .help = "stop after so many prompts; 0: all"},
        {.names = "--max-tokens",
         COLLECT_INT(max_tokens),
         .argument = "N",
         .min = 0,
         .max = 0x1p50,
         .default_text = "0",
         .help = "stop after the prompt that reaches so many tokens; 0: never"},
        {.names = "--batch",
         COLLECT_INT(batch),
         .argument = "N",
         .min = 1,
         .max = 1 << 16,
         .default_text = "512",
         .help = "tokens evaluated at once"},
        {.names = "--threads -t",
         COLLECT_INT(threads),
         .argument = "N",
         .min = 0,
         .max = 1024,
         .default_text = "0",
         .help = "threads to use; 0: one per core"},
    };
    static const ds4_program program = {
        .name = "ds4-gguf imatrix collect",
        .summary = "run text through a model and sum what each weight is multiplied with",
        .description =
            "For every weight the squares of its inputs are summed per column, for expert tensors "
            "per expert and for the tokens that were routed to it. scripts/make-calibration.mjs "
            "writes a dataset for coding agents.",
        DS4_PROGRAM_OPTIONS(options)};
    collect_settings chosen = {0};
    ds4_options_parsed parsed;
    ds4_error error = {0};
    int exit_status = EXIT_OK;
    if (!ds4_tool_parse(&program, argc, argv, &chosen, &parsed, &exit_status)) goto done;
    if (chosen.model == NULL || chosen.dataset == NULL || chosen.output == NULL)
        exit_status =
            ds4_tool_misused(&program, "--model FILE, --dataset FILE and --output FILE are needed");
    else if (run_collect(&chosen, &error) != DS4_OK)
        exit_status = ds4_tool_failed(&program, &error);
done:
    ds4_options_free(&parsed);
    return exit_status;
}

int ds4_tool_imatrix(int argc, char **argv) {
    static const ds4_tool_command commands[] = {
        {{"collect", "run text through a model and sum what each weight is multiplied with"},
         collect},
        {{"show", "which weights a file covers, and how well"}, show},
        {{"merge", "add up files, or write one in the other form"}, merge},
    };
    static const ds4_program program = {
        .name = "ds4-gguf imatrix",
        .summary = "importance matrices for quantising: collect, look at and combine them"};
    return ds4_tool_dispatch(&program, commands, sizeof commands / sizeof commands[0], argc, argv);
}
