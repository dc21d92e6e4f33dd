#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "bench/bench.h"

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_BAD_MODEL = 3, EXIT_NO_RESOURCES = 4 };

#define FIELD(field) .offset = offsetof(bench_settings, field)
#define LATER(option_names, value, text)                                                           \
    { .names = option_names, .argument = value, .later = true, .help = text }
#define COUNT(group_name, option_names, default_value, field, text)                                \
    {                                                                                              \
        .group = group_name, .names = option_names, .kind = DS4_OPTION_INT, .argument = "N",       \
        .min = 1, .max = INT32_MAX, .default_text = default_value, FIELD(field), .help = text      \
    }

static const ds4_option options[] = {
    {.group = "Model",
     .names = "--model -m",
     .kind = DS4_OPTION_STRING,
     .argument = "FILE",
     .default_text = "ds4flash.gguf",
     .environment = "DS4_MODEL",
     .config_key = "model",
     FIELD(model),
     .help = "GGUF file of the model"},
    {.names = "--warm-weights",
     .kind = DS4_OPTION_FLAG,
     FIELD(warm),
     .help = "read all weights before measuring"},
    {.group = "Prompt, exactly one of",
     .names = "--prompt-file",
     .kind = DS4_OPTION_STRING,
     .argument = "FILE",
     FIELD(prompt_file),
     .help = "text of at least --ctx-max tokens"},
    {.names = "--chat-prompt-file",
     .kind = DS4_OPTION_STRING,
     .argument = "FILE",
     FIELD(chat_prompt_file),
     .help = "text that becomes one user message, answered without thinking"},
    {.names = "--synthetic-prompt",
     .kind = DS4_OPTION_FLAG,
     FIELD(synthetic),
     .help = "random token ids; also for models without a tokenizer"},
    {.names = "--seed",
     .kind = DS4_OPTION_UINT64,
     .argument = "N",
     .default_text = "42",
     FIELD(seed),
     .help = "seed of the synthetic prompt"},
    {.names = "--system -sys",
     .kind = DS4_OPTION_STRING,
     .argument = "TEXT",
     .default_text = "You are a helpful assistant.",
     FIELD(system),
     .help = "system message of the chat prompt; empty for none"},
    COUNT("Measurement", "--ctx-start", "2048", ctx_start, "first context size"),
    COUNT(NULL, "--ctx-max", "32768", ctx_max, "last context size"),
    {.names = "--ctx-alloc",
     .kind = DS4_OPTION_INT,
     .argument = "N",
     .min = 1,
     .max = INT32_MAX,
     FIELD(ctx_alloc),
     .help = "context to allocate; ctx-max + tokens + 1 when not given"},
    COUNT(NULL, "--step-incr", "2048", step_incr, "distance between context sizes"),
    {.names = "--step-mul",
     .kind = DS4_OPTION_FLOAT,
     .argument = "F",
     .min = 1,
     .max = 1000,
     .default_text = "1",
     FIELD(step_mul),
     .help = "factor between context sizes, instead of --step-incr when above 1"},
    COUNT(NULL, "--gen-tokens --tokens -n", "128", gen_tokens, "tokens to decode at each size"),
    {.names = "--repeat",
     .kind = DS4_OPTION_INT,
     .argument = "N",
     .min = 1,
     .max = 1000,
     .default_text = "1",
     FIELD(repeat),
     .help = "measurements per size; the median is reported, with min and max"},
    {.names = "--no-roof",
     .kind = DS4_OPTION_FLAG,
     FIELD(no_roof),
     .help = "do not measure the memory bandwidth of this machine first"},
    {.names = "--steering",
     .kind = DS4_OPTION_FLAG,
     FIELD(steering),
     .help = "also what steering both halves of all layers adds to a decode step: each token is "
             "evaluated with and without, in turns"},
    {.group = "Report",
     .names = "--csv",
     .kind = DS4_OPTION_STRING,
     .argument = "FILE",
     FIELD(csv_file),
     .help = "where the report goes instead of standard output"},
    {.names = "--json",
     .kind = DS4_OPTION_FLAG,
     FIELD(json),
     .help = "report as one JSON object instead of CSV"},
    {.group = "Machine",
     .names = "--threads -t",
     .kind = DS4_OPTION_INT,
     .argument = "N",
     .min = 1,
     .max = 1024,
     .environment = "DS4_THREADS",
     .config_key = "threads",
     FIELD(n_threads),
     .help = "threads to compute with, one per core when not given"},
    DS4_OPTIONS_BACKEND(offsetof(bench_settings, backend), NULL),
    {.names = "--kv-sim",
     .kind = DS4_OPTION_CHOICE,
     .argument = "MODE",
     .choices = "default|full|fp4|none",
     .default_text = "default",
     FIELD(kv_sim),
     .help = "simulated quantisation of KV rows; default is what the model file asks for"},
    {.names = "--activations",
     .kind = DS4_OPTION_CHOICE,
     .argument = "TYPE",
     .choices = "float|int8",
     .default_text = "int8",
     FIELD(activations),
     .help = "arithmetic of products with quantised weights"},
    LATER("--metal", NULL, "Metal backend"),
    LATER("--mt -mt --mpp", "MODE", "tensor cores policy"),
    LATER("--quality", NULL, "exact GPU kernels"),
    LATER("--dump-frontier-logits-dir", "DIR", "logits at each context size"),
};

const ds4_program bench_program = {
    .name = "ds4-bench",
    .summary = "measure prefill and decode speed at growing context sizes",
    .description =
        "At each context size the interval from the previous one is evaluated (prefill), the "
        "session is saved, tokens are decoded greedily, and the session is restored.\n\nBeside the "
        "speeds stand what they amount to: bytes of weights read per second while decoding, as a "
        "fraction of the memory bandwidth measured at the start, and floating-point operations "
        "per second of prefill.",
    DS4_PROGRAM_OPTIONS(options),
    .reads_config = true};

static int report_error(const ds4_error *error, int otherwise) {
    fprintf(stderr, "ds4-bench: %s\n", error->message);
    bool resources = error->status == DS4_NO_MEMORY || error->status == DS4_DOES_NOT_FIT;
    return resources ? EXIT_NO_RESOURCES : otherwise;
}

static int print_document(ds4_options_action action) {
    ds4_strbuf text = {0};
    ds4_options_document(&bench_program, action, 0, &text);
    bool written = !text.failed && fwrite(text.data, 1, text.n, stdout) == text.n;
    ds4_strbuf_free(&text);
    return written && fflush(stdout) == 0 ? EXIT_OK : EXIT_FAILED;
}

/* What must hold between options. */
static ds4_status check_settings(bench_settings *settings, ds4_error *error) {
    int n_prompts = (settings->prompt_file != NULL) + (settings->chat_prompt_file != NULL) +
                    (settings->synthetic ? 1 : 0);
    int64_t needed = settings->ctx_max + settings->gen_tokens + 1;
    if (n_prompts != 1)
        return ds4_fail(error, DS4_INVALID_ARGUMENT,
                        "specify exactly one of --prompt-file or --chat-prompt-file "
                        "(or --synthetic-prompt)");
    if (settings->ctx_start > settings->ctx_max)
        return ds4_fail(error, DS4_INVALID_ARGUMENT, "--ctx-start %lld is above --ctx-max %lld",
                        (long long)settings->ctx_start, (long long)settings->ctx_max);
    if (settings->ctx_alloc == 0) settings->ctx_alloc = needed;
    if (settings->ctx_alloc < needed || needed > INT32_MAX)
        return ds4_fail(error, DS4_INVALID_ARGUMENT,
                        "--ctx-alloc must be at least ctx-max + tokens + 1 = %lld and at most %d",
                        (long long)needed, INT32_MAX);
    return DS4_OK;
}

/* The prompt is tokenised from the mapped file before any weight is read, so that a prompt that is
 * too short costs nothing. */
static ds4_status open_model(const bench_settings *settings, const ds4_strbuf *text,
                             ds4_model **model, ds4_tokens *prompt, ds4_error *error) {
    ds4_model_options warm = {.warm = true};
    ds4_status status = ds4_model_open(settings->model, NULL, model, error);
    if (status == DS4_OK) status = bench_tokenize_prompt(settings, *model, text, prompt, error);
    if (status != DS4_OK || !settings->warm) return status;
    ds4_model_close(*model);
    *model = NULL;
    return ds4_model_open(settings->model, &warm, model, error);
}

static ds4_status measure(const bench_settings *settings, const ds4_model *model,
                          const ds4_tokens *prompt, FILE *file, ds4_error *error) {
    bench_run *run = NULL;
    bench_report report = {.file = file,
                           .json = settings->json,
                           .settings = settings,
                           .info = ds4_model_get_info(model)};
    ds4_status status = bench_run_create(settings, model, prompt, &run, error);
    if (status != DS4_OK) return status;
    report.n_threads = bench_run_threads(run);
    report.backend = bench_run_backend(run) == DS4_BACKEND_CPU ? "cpu" : "cuda";
    if (!settings->no_roof) status = bench_run_measure_roof(run, &report.roof_gb_per_second, error);
    if (status == DS4_OK) bench_report_begin(&report);
    int64_t frontier = settings->ctx_start, last = 0;
    while (status == DS4_OK && last < settings->ctx_max) {
        bench_row row;
        status = bench_run_frontier(run, frontier, &row, error);
        if (status == DS4_OK) bench_report_row(&report, &row);
        last = frontier;
        frontier = bench_next_frontier(settings, frontier);
    }
    if (status == DS4_OK) status = bench_report_end(&report, error);
    bench_run_destroy(run);
    return status;
}

static int run(const bench_settings *settings) {
    ds4_error error = {0};
    ds4_strbuf text = {0};
    ds4_tokens prompt = {0};
    ds4_model *model = NULL;
    FILE *file = stdout;
    int exit_status = EXIT_OK;
    ds4_status status = bench_read_prompt(settings, &text, &error);
    if (status == DS4_OK) status = ds4_file_check_model(settings->model, &error);
    if (status != DS4_OK) {
        exit_status = report_error(&error, EXIT_FAILED);
        goto done;
    }
    if (open_model(settings, &text, &model, &prompt, &error) != DS4_OK) {
        exit_status = report_error(&error, model == NULL ? EXIT_BAD_MODEL : EXIT_FAILED);
        goto done;
    }
    if (settings->csv_file != NULL) file = fopen(settings->csv_file, "w");
    if (file == NULL)
        status = ds4_fail(&error, DS4_IO, "cannot create %.300s: %s", settings->csv_file,
                          strerror(errno));
    else
        status = measure(settings, model, &prompt, file, &error);
    if (file != NULL && file != stdout && fclose(file) != 0 && status == DS4_OK)
        status = ds4_fail(&error, DS4_IO, "cannot write %.300s: %s", settings->csv_file,
                          strerror(errno));
    if (status != DS4_OK) exit_status = report_error(&error, EXIT_FAILED);
done:
    ds4_model_close(model);
    ds4_tokens_free(&prompt);
    ds4_strbuf_free(&text);
    return exit_status;
}

int main(int argc, char **argv) {
    bench_settings settings = {0};
    ds4_options_parsed parsed;
    ds4_error error = {0};
    int exit_status;
    ds4_status status = ds4_options_parse(&bench_program, argc, argv, &settings, &parsed, &error);
    if (status == DS4_OK && parsed.action != DS4_OPTIONS_RUN) {
        exit_status = print_document(parsed.action);
    } else {
        if (status == DS4_OK) status = check_settings(&settings, &error);
        if (status == DS4_OK) {
            exit_status = run(&settings);
        } else {
            fprintf(stderr, "ds4-bench: %s\nds4-bench: try --help\n", error.message);
            exit_status = EXIT_USAGE;
        }
    }
    ds4_options_free(&parsed);
    return exit_status;
}
