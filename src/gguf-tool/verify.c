/* ds4-gguf verify: the container, then the model that it claims to hold, then, with --deep, every
 * payload byte. */
#include "gguf-tool/verify.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/error.h"
#include "gguf-tool/source.h"
#include "gguf-tool/tool.h"
#include "model/hparams.h"
#include "model/weights.h"

typedef struct settings {
    bool deep, hash;
    int64_t threads;
} settings;

static const ds4_option options[] = {
    {.names = "--deep",
     .kind = DS4_OPTION_FLAG,
     .offset = offsetof(settings, deep),
     .help = "read every payload: values finite, ids in range, token table and merges sound"},
    {.names = "--hash",
     .kind = DS4_OPTION_FLAG,
     .offset = offsetof(settings, hash),
     .help = "print the XXH64 of every payload and of the file (as xxhsum -H1 does), to compare "
             "files on different machines"},
    {.names = "--threads -t",
     .kind = DS4_OPTION_INT,
     .argument = "N",
     .min = 0,
     .max = 1024,
     .default_text = "0",
     .offset = offsetof(settings, threads),
     .help = "threads to use with --deep; 0: one per core"},
};

static const ds4_program program = {
    .name = "ds4-gguf verify",
    .summary = "whether a GGUF file is sound; names every problem",
    .operands = "FILE",
    .description = "Exit status: 0 sound (warnings allowed), 1 problems were found or the file "
                   "cannot be read.",
    DS4_PROGRAM_OPTIONS(options),
    .min_operands = 1,
    .max_operands = 1,
};

void ds4_findings_add(ds4_findings *findings, bool is_warning, const char *message) {
    uint64_t n = is_warning ? ++findings->n_warnings : ++findings->n_problems;
    FILE *out = findings->out == NULL ? stdout : findings->out;
    if (n <= DS4_FINDINGS_SHOWN)
        fprintf(out, "%s: %s\n", is_warning ? "warning" : "problem", message);
    if (n == DS4_FINDINGS_SHOWN + 1)
        fprintf(out, "%s: more of them, not shown\n", is_warning ? "warning" : "problem");
}

static void collect(void *context, bool is_warning, const char *message) {
    ds4_findings_add(context, is_warning, message);
}

/* What the engine would say when it loads the file. */
static ds4_status verify_model(const ds4_gguf *gguf, ds4_findings *findings) {
    static const char ours[] = "deepseek4";
    ds4_gguf_string architecture;
    ds4_hparams hparams = {0};
    ds4_weights weights = {0};
    ds4_error error = {0};
    ds4_status status = ds4_gguf_get_string(gguf, "general.architecture", &architecture, &error);
    if (status == DS4_OK &&
        (architecture.n != strlen(ours) || memcmp(architecture.data, ours, architecture.n) != 0)) {
        ds4_findings_add(findings, true,
                         "general.architecture is not deepseek4: only the container was checked");
        return DS4_OK;
    }
    if (status == DS4_OK) status = ds4_hparams_read(gguf, &hparams, &error);
    if (status == DS4_OK) {
        status = ds4_weights_bind(gguf, &hparams, &weights, &error);
        ds4_weights_free(&weights);
        ds4_hparams_free(&hparams);
    }
    if (status != DS4_OK) ds4_findings_add(findings, false, error.message);
    return status;
}

static ds4_status print_hashes(const ds4_gguf *gguf, const char *path, ds4_error *error) {
    enum { CHUNK = 1 << 20 };
    ds4_source_file file = {.fd = -1};
    XXH64_state_t *state = XXH64_createState();
    uint8_t *bytes = malloc(CHUNK);
    ds4_status status = state == NULL || bytes == NULL
                            ? ds4_fail_memory(error, CHUNK, "hashing")
                            : ds4_source_file_open(path, path, &file, error);
    for (uint64_t i = 0; status == DS4_OK && i < ds4_gguf_n_tensors(gguf); i++) {
        const ds4_gguf_tensor *tensor = ds4_gguf_tensor_at(gguf, i);
        printf("%016" PRIx64 "  %s\n", (uint64_t)XXH64(tensor->data, (size_t)tensor->n_bytes, 0),
               tensor->name);
        status = ds4_gguf_verify_unchanged(gguf, error);
    }
    if (status == DS4_OK) XXH64_reset(state, 0);
    for (uint64_t at = 0; status == DS4_OK && at < file.n_bytes; at += CHUNK) {
        uint64_t left = file.n_bytes - at;
        size_t n = left < CHUNK ? (size_t)left : CHUNK;
        status = ds4_source_file_read(&file, at, bytes, n, error);
        if (status == DS4_OK) XXH64_update(state, bytes, n);
    }
    if (status == DS4_OK) printf("%016" PRIx64 "  %s\n", (uint64_t)XXH64_digest(state), path);
    XXH64_freeState(state);
    free(bytes);
    if (file.name != NULL) ds4_source_file_close(&file);
    return status;
}

static int verify(const settings *s, const char *path) {
    ds4_findings findings = {0};
    ds4_gguf_options examine = {collect, &findings};
    ds4_error error = {0};
    ds4_gguf *gguf = NULL;
    ds4_status status = ds4_gguf_open(path, &examine, &gguf, &error);
    if (status == DS4_OK) {
        verify_model(gguf, &findings);
        if (s->deep) status = ds4_verify_deep(gguf, (uint32_t)s->threads, &findings, &error);
        if (status == DS4_OK && s->hash) status = print_hashes(gguf, path, &error);
    }
    if (status == DS4_OK) status = ds4_gguf_verify_unchanged(gguf, &error);
    ds4_gguf_close(gguf);
    if (status != DS4_OK && findings.n_problems == 0) return ds4_tool_failed(&program, &error);
    printf("%s: %s, %" PRIu64 " problems, %" PRIu64 " warnings\n", path,
           findings.n_problems == 0 ? "sound" : "not sound", findings.n_problems,
           findings.n_warnings);
    return findings.n_problems == 0 ? EXIT_OK : EXIT_FAILED;
}

int ds4_tool_verify(int argc, char **argv) {
    settings s = {0};
    ds4_options_parsed parsed;
    int exit_status = EXIT_OK;
    if (ds4_tool_parse(&program, argc, argv, &s, &parsed, &exit_status))
        exit_status = verify(&s, parsed.operands[0]);
    ds4_options_free(&parsed);
    return exit_status;
}
