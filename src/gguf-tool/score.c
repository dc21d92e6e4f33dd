/* ds4-gguf score: how likely a model finds reference answers. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "gguf-tool/score_case.h"
#include "gguf-tool/score_table.h"
#include "gguf-tool/tool.h"

enum { MAX_CASES_BYTES = 1 << 30, CHUNK = 512 };

typedef struct settings {
    const char *model, *cases, *output, *baseline;
    int64_t context, threads;
    int activations, backend;
} settings;

typedef struct scorer {
    ds4_model *model;
    ds4_engine *engine;
    ds4_session *session;
    uint32_t n_vocab, n_context, chunk;
    float *logits; /* [chunk][n_vocab] */
} scorer;

/* -log softmax(row)[token], and whether the token has the greatest logit (of equal ones the first).
 */
static double surprise(const float *row, uint32_t n_vocab, int32_t token, bool *is_best) {
    uint32_t best = 0;
    double sum = 0;
    for (uint32_t v = 1; v < n_vocab; v++)
        if (row[v] > row[best]) best = v;
    for (uint32_t v = 0; v < n_vocab; v++) sum += exp((double)row[v] - (double)row[best]);
    *is_best = best == (uint32_t)token;
    return log(sum) - ((double)row[token] - (double)row[best]);
}

static ds4_status forward(scorer *s, const int32_t *tokens, size_t n, ds4_logit_rows want,
                          ds4_error *error) {
    const ds4_batch_item item = {.session = s->session,
                                 .tokens = tokens,
                                 .n_tokens = (uint32_t)n,
                                 .want = want,
                                 .logits = s->logits};
    return ds4_engine_forward(s->engine, &item, 1, error);
}

/* The prompt but for its last token says nothing; from there on each token is asked for the next.
 */
static ds4_status score_case(scorer *s, const ds4_score_case *c, ds4_score *score,
                             ds4_error *error) {
    size_t n_silent = c->prompt.n - 1, n_target = c->target.n;
    ds4_tokens asked = {0};
    bool prefix = true;
    ds4_session_reset(s->session);
    snprintf(score->id, sizeof score->id, "%s", c->id);
    score->weight = c->weight;
    score->prompt_tokens = c->prompt.n;
    score->target_tokens = n_target;
    if (c->prompt.n + n_target > s->n_context)
        return ds4_fail(error, DS4_CONTEXT_FULL, "%zu tokens are more than --ctx %u",
                        c->prompt.n + n_target, s->n_context);
    ds4_status status = ds4_tokens_push(&asked, c->prompt.ids[n_silent], error);
    if (status == DS4_OK) status = ds4_tokens_append(&asked, c->target.ids, n_target - 1, error);
    for (size_t at = 0; status == DS4_OK && at < n_silent; at += CHUNK)
        status = forward(s, c->prompt.ids + at, n_silent - at < CHUNK ? n_silent - at : CHUNK,
                         DS4_LOGITS_NONE, error);
    for (size_t at = 0; status == DS4_OK && at < n_target; at += s->chunk) {
        size_t n = n_target - at < s->chunk ? n_target - at : s->chunk;
        status = forward(s, asked.ids + at, n, DS4_LOGITS_ALL, error);
        for (size_t t = 0; status == DS4_OK && t < n; t++) {
            bool is_best;
            score->nll +=
                surprise(s->logits + t * s->n_vocab, s->n_vocab, c->target.ids[at + t], &is_best);
            prefix = prefix && is_best;
            score->greedy_lcp += prefix;
            if (at + t == 0) score->first_match = is_best;
        }
    }
    ds4_tokens_free(&asked);
    return status;
}

static ds4_status open_scorer(const settings *chosen, scorer *s, ds4_error *error) {
    const ds4_engine_options options = {.n_threads = (uint32_t)chosen->threads,
                                        .max_batch_tokens = CHUNK,
                                        .max_context = (uint32_t)chosen->context,
                                        .activations = (ds4_activations)chosen->activations,
                                        .backend = (ds4_backend_kind)chosen->backend};
    ds4_status status = ds4_file_check_model(chosen->model, error);
    if (status == DS4_OK) status = ds4_model_open(chosen->model, NULL, &s->model, error);
    if (status == DS4_OK && ds4_model_get_tokenizer(s->model) == NULL)
        status = ds4_fail(error, DS4_UNSUPPORTED, "%s has no tokenizer", chosen->model);
    if (status == DS4_OK) status = ds4_engine_create(s->model, &options, &s->engine, error);
    if (status != DS4_OK) return status;
    s->n_vocab = ds4_model_get_info(s->model)->n_vocab;
    s->n_context = (uint32_t)chosen->context;
    s->chunk = CHUNK / 8; /* targets are short, rows of logits long */
    s->logits = ds4_engine_allocate_logits(s->engine, s->chunk);
    if (s->logits == NULL)
        return ds4_fail_memory(error, (size_t)s->chunk * s->n_vocab * sizeof *s->logits, "logits");
    return ds4_session_create(s->engine, s->n_context, &s->session, error);
}

static void close_scorer(scorer *s) {
    ds4_session_destroy(s->session);
    if (s->engine != NULL) ds4_engine_free_logits(s->engine, s->logits);
    ds4_engine_destroy(s->engine);
    ds4_model_close(s->model);
}

static ds4_status score_line(scorer *s, const char *line, size_t n, ds4_score_table *table,
                             ds4_error *error) {
    ds4_score_case c;
    ds4_score score = {0};
    ds4_status status =
        ds4_score_case_parse(line, n, ds4_model_get_tokenizer(s->model), s->n_context, &c, error);
    if (status == DS4_OK) status = score_case(s, &c, &score, error);
    if (status == DS4_OK) status = ds4_score_table_add(table, &score, error);
    ds4_score_case_free(&c);
    return status;
}

static ds4_status score_file(scorer *s, const char *path, ds4_score_table *table,
                             ds4_error *error) {
    ds4_strbuf text = {0};
    ds4_error reason = {0};
    ds4_status status = ds4_file_read(path, MAX_CASES_BYTES, &text, error);
    const char *line = text.data, *end = line != NULL ? line + text.n : line;
    for (size_t number = 1; status == DS4_OK && line < end; number++) {
        const char *newline = memchr(line, '\n', (size_t)(end - line));
        size_t n = (size_t)((newline != NULL ? newline : end) - line);
        if (n > 0) {
            status = score_line(s, line, n, table, &reason);
            if (status != DS4_OK)
                ds4_fail(error, status, "%.150s line %zu: %.300s", path, number, reason.message);
        }
        if (isatty(STDERR_FILENO)) fprintf(stderr, "\r%zu cases", table->n);
        line += n + 1;
    }
    if (isatty(STDERR_FILENO)) fputc('\n', stderr);
    if (status == DS4_OK && table->n == 0)
        status = ds4_fail(error, DS4_FORMAT, "%s holds no case", path);
    ds4_strbuf_free(&text);
    return status;
}

static ds4_status run(const settings *chosen, ds4_error *error) {
    scorer s = {0};
    ds4_score_table table = {0}, baseline = {0};
    ds4_status status = DS4_OK;
    if (chosen->baseline != NULL) status = ds4_score_table_read(chosen->baseline, &baseline, error);
    if (status == DS4_OK) status = open_scorer(chosen, &s, error);
    if (status == DS4_OK) status = score_file(&s, chosen->cases, &table, error);
    if (status == DS4_OK && chosen->output != NULL)
        status = ds4_score_table_write(&table, chosen->output, error);
    if (status == DS4_OK) ds4_score_table_print_summary(&table, stdout);
    if (status == DS4_OK && chosen->baseline != NULL)
        status = ds4_score_table_compare(&baseline, &table, stdout, error);
    ds4_score_table_free(&table);
    ds4_score_table_free(&baseline);
    close_scorer(&s);
    return status;
}

int ds4_tool_score(int argc, char **argv) {
#define FIELD(member) .offset = offsetof(settings, member)
    static const ds4_option options[] = {
        {.names = "--model -m",
         .kind = DS4_OPTION_STRING,
         .argument = "FILE",
         FIELD(model),
         .help = "model to judge (required)"},
        {.names = "--cases",
         .kind = DS4_OPTION_STRING,
         .argument = "FILE",
         FIELD(cases),
         .help = "reference answers (required), one JSON object per line"},
        {.names = "--output -o",
         .kind = DS4_OPTION_STRING,
         .argument = "OUT.csv",
         FIELD(output),
         .help = "write one line per case"},
        {.names = "--baseline",
         .kind = DS4_OPTION_STRING,
         .argument = "OLD.csv",
         FIELD(baseline),
         .help = "compare with the scores of another model"},
        {.names = "--ctx -c",
         .kind = DS4_OPTION_INT,
         .argument = "N",
         .min = 16,
         .max = 1 << 20,
         .default_text = "8192",
         FIELD(context),
         .help = "longest case in tokens"},
        DS4_OPTION_BACKEND(offsetof(settings, backend), NULL),
        {.names = "--activations",
         .kind = DS4_OPTION_CHOICE,
         .argument = "TYPE",
         .choices = "float|int8",
         .default_text = "float",
         FIELD(activations),
         .help = "arithmetic of products with quantised weights"},
        {.names = "--threads -t",
         .kind = DS4_OPTION_INT,
         .argument = "N",
         .min = 0,
         .max = 1024,
         .default_text = "0",
         FIELD(threads),
         .help = "threads to use; 0: one per core"},
    };
#undef FIELD
    static const ds4_program program = {
        .name = "ds4-gguf score",
        .summary = "judge a model by reference answers: likelihood, first token, common prefix",
        .description =
            "A case is {\"id\", \"request\", \"reference\"}: a chat-completions body and the "
            "assistant's message that answers it; or {\"id\", \"prompt\", \"continuation\"}: two "
            "texts. \"weight\" is optional. scripts/collect-references.mjs asks a server for "
            "references.",
        DS4_PROGRAM_OPTIONS(options)};
    settings chosen = {0};
    ds4_options_parsed parsed;
    ds4_error error = {0};
    int exit_status = EXIT_OK;
    if (!ds4_tool_parse(&program, argc, argv, &chosen, &parsed, &exit_status)) goto done;
    if (chosen.model == NULL || chosen.cases == NULL)
        exit_status = ds4_tool_misused(&program, "--model FILE and --cases FILE are needed");
    else if (run(&chosen, &error) != DS4_OK)
        exit_status = ds4_tool_failed(&program, &error);
done:
    ds4_options_free(&parsed);
    return exit_status;
}
