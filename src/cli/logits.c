/* ds4 logits: the numbers that are compared with those of other implementations. The form of the
 * file is a contract with the tools that do so. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/json_scan.h"
#include "cli/cli.h"
#include "cli/options_shared.h"

enum { MAX_TOKENS_FILE = 1 << 28, DEFAULT_CHUNK = 512, MAX_LOGITS_BYTES = 1 << 28 };

/* A JSON array of integers below n_vocab. */
static ds4_status read_ids(const char *path, uint32_t n_vocab, ds4_tokens *ids, ds4_error *error) {
    ds4_strbuf text = {0};
    ds4_json_value document, element;
    ds4_error reason = {0};
    ds4_status status = ds4_file_read(path, MAX_TOKENS_FILE, &text, error);
    if (status != DS4_OK) goto done;
    status = ds4_json_scan(text.data != NULL ? text.data : "", text.n, 2, &document, &reason);
    if (status != DS4_OK || document.type != DS4_JSON_ARRAY) {
        status = ds4_fail(error, DS4_FORMAT, "%.200s is not a JSON array of token ids%s%.200s",
                          path, reason.message[0] != '\0' ? ": " : "", reason.message);
        goto done;
    }
    ds4_json_cursor cursor = ds4_json_enter(document);
    while (status == DS4_OK && ds4_json_next_element(&cursor, &element)) {
        uint64_t id = 0;
        if (element.type != DS4_JSON_NUMBER || !ds4_json_uint64(element, &id) || id >= n_vocab)
            status = ds4_fail(
                error, DS4_FORMAT, "%.200s: element %zu is %.*s, expected an id from 0 to %u", path,
                ids->n, element.n < 40 ? (int)element.n : 40, element.text, n_vocab - 1);
        else
            status = ds4_tokens_push(ids, (int32_t)id, error);
    }
    if (status == DS4_OK && ids->n >= INT32_MAX)
        status = ds4_fail(error, DS4_INVALID_ARGUMENT, "%.200s has too many ids", path);
done:
    ds4_strbuf_free(&text);
    return status;
}

/* Little-endian whatever the machine. `bytes` has room for n floats. */
static bool write_floats(FILE *file, const float *values, size_t n, uint8_t *bytes) {
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof bits);
        for (size_t b = 0; b < 4; b++) bytes[4 * i + b] = (uint8_t)(bits >> (8 * b));
    }
    return fwrite(bytes, 4, n, file) == n;
}

static ds4_status evaluate(ds4_engine *engine, const ds4_tokens *ids, uint32_t chunk,
                           uint32_t n_vocab, FILE *file, ds4_error *error) {
    ds4_session *session = NULL;
    float *logits = malloc((size_t)chunk * n_vocab * sizeof *logits);
    uint8_t *bytes = malloc((size_t)n_vocab * 4);
    ds4_status status = logits == NULL || bytes == NULL
                            ? ds4_fail_memory(error, (size_t)chunk * n_vocab * 4, "the logits")
                            : ds4_session_create(engine, (uint32_t)ids->n, &session, error);
    for (size_t done = 0; status == DS4_OK && done < ids->n;) {
        size_t left = ids->n - done;
        uint32_t n = left < chunk ? (uint32_t)left : chunk;
        ds4_batch_item item = {.session = session,
                               .tokens = ids->ids + done,
                               .n_tokens = n,
                               .want = DS4_LOGITS_ALL,
                               .logits = logits};
        status = ds4_engine_forward(engine, &item, 1, error);
        for (uint32_t row = 0; status == DS4_OK && row < n; row++)
            if (!write_floats(file, logits + (size_t)row * n_vocab, n_vocab, bytes))
                status = ds4_fail(error, DS4_IO, "cannot write the logits: %s", strerror(errno));
        done += n;
    }
    ds4_session_destroy(session);
    free(bytes);
    free(logits);
    return status;
}

static ds4_status run(const cli_settings *settings, const ds4_model *model, ds4_error *error) {
    uint32_t n_vocab = ds4_model_get_info(model)->n_vocab;
    ds4_tokens ids = {0};
    ds4_engine *engine = NULL;
    FILE *file = NULL;
    ds4_status status = read_ids(settings->tokens_file, n_vocab, &ids, error);
    if (status != DS4_OK) goto done;

    uint64_t chunk = (uint64_t)settings->chunk;
    if (chunk == 0) {
        chunk = MAX_LOGITS_BYTES / sizeof(float) / n_vocab;
        if (chunk > DEFAULT_CHUNK) chunk = DEFAULT_CHUNK;
    }
    if (chunk > ids.n) chunk = ids.n;
    if (chunk == 0) chunk = 1;
    ds4_engine_options options = {.n_threads = (uint32_t)settings->n_threads,
                                  .max_batch_tokens = (uint32_t)chunk,
                                  .max_context = ids.n > 0 ? (uint32_t)ids.n : 1,
                                  .kv_sim = (ds4_kv_sim)settings->kv_sim,
                                  .backend = (ds4_backend_kind)settings->backend,
                                  .activations = (ds4_activations)settings->activations};
    status = ds4_engine_create(model, &options, &engine, error);
    if (status != DS4_OK) goto done;
    file = fopen(settings->out_file, "wb");
    if (file == NULL) {
        status = ds4_fail(error, DS4_IO, "cannot create %.300s: %s", settings->out_file,
                          strerror(errno));
        goto done;
    }
    if (ids.n > 0) status = evaluate(engine, &ids, (uint32_t)chunk, n_vocab, file, error);
    if (fclose(file) != 0 && status == DS4_OK)
        status =
            ds4_fail(error, DS4_IO, "cannot write %.300s: %s", settings->out_file, strerror(errno));
    if (status != DS4_OK) remove(settings->out_file);
done:
    ds4_engine_destroy(engine);
    ds4_tokens_free(&ids);
    return status;
}

int cli_logits(int argc, char *const *argv) {
    static const ds4_option options[] = {
        CLI_OPTION_MODEL,
        {.group = "Data",
         .names = "--tokens",
         .kind = DS4_OPTION_STRING,
         .argument = "FILE",
         CLI_FIELD(tokens_file),
         .help = "JSON array of token ids"},
        {.names = "--out -o",
         .kind = DS4_OPTION_STRING,
         .argument = "FILE",
         CLI_FIELD(out_file),
         .help = "gets one little-endian float32 row of vocab_size per token, row i after token i"},
        {.names = "--chunk",
         .kind = DS4_OPTION_INT,
         .argument = "N",
         .min = 1,
         .max = 1 << 20,
         CLI_FIELD(chunk),
         .help = "tokens per forward call, as many as the engine takes when not given"},
        CLI_OPTION_THREADS,
        DS4_OPTION_BACKEND(offsetof(cli_settings, backend), "backend"),
        CLI_OPTION_KV_SIM,
        CLI_OPTION_ACTIVATIONS("float"),
    };
    static const ds4_program program = {
        .name = "ds4 logits",
        .summary = "evaluate a list of tokens and write the logits after each of them",
        DS4_PROGRAM_OPTIONS(options)};
    cli_settings settings = {0};
    ds4_options_parsed parsed;
    ds4_error error = {0};
    ds4_model *model = NULL;
    int exit_status = CLI_OK;
    if (!cli_parse(&program, argc, argv, &settings, &parsed, &exit_status)) return exit_status;

    if (settings.tokens_file == NULL || settings.out_file == NULL) {
        fputs("ds4 logits: --tokens FILE and --out FILE are needed\n", stderr);
        exit_status = CLI_USAGE;
    } else if (cli_open_model(&settings, &model, &error) != DS4_OK) {
        exit_status = cli_report_model(&error);
    } else if (run(&settings, model, &error) != DS4_OK) {
        exit_status = cli_report(&error);
    }
    ds4_model_close(model);
    ds4_options_free(&parsed);
    return exit_status;
}
