#include "gguf-tool/score_table.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"

enum { MAX_BYTES = 1 << 28, DRAWS = 2000 };

static const char HEADER[] =
    "id,prompt_tokens,target_tokens,nll,avg_nll,first_match,greedy_lcp,weight";

ds4_status ds4_score_table_add(ds4_score_table *table, const ds4_score *row, ds4_error *error) {
    if (table->n == table->capacity) {
        size_t capacity = table->capacity == 0 ? 128 : 2 * table->capacity;
        ds4_score *grown = realloc(table->rows, capacity * sizeof *grown);
        if (grown == NULL) return ds4_fail_memory(error, capacity * sizeof *grown, "the scores");
        table->rows = grown;
        table->capacity = capacity;
    }
    table->rows[table->n++] = *row;
    return DS4_OK;
}

void ds4_score_table_free(ds4_score_table *table) {
    free(table->rows);
    *table = (ds4_score_table){0};
}

/* ---- CSV ---- */

ds4_status ds4_score_table_write(const ds4_score_table *table, const char *path, ds4_error *error) {
    char temporary[4096];
    if (snprintf(temporary, sizeof temporary, "%s.tmp", path) >= (int)sizeof temporary)
        return ds4_fail(error, DS4_INVALID_ARGUMENT, "the path %.80s... is too long", path);
    FILE *file = fopen(temporary, "w");
    if (file == NULL)
        return ds4_fail(error, DS4_IO, "cannot create %.300s: %s", temporary, strerror(errno));
    fprintf(file, "%s\n", HEADER);
    for (size_t i = 0; i < table->n; i++) {
        const ds4_score *r = &table->rows[i];
        fprintf(file, "%s,%" PRIu64 ",%" PRIu64 ",%.17g,%.9g,%d,%" PRIu64 ",%.9g\n", r->id,
                r->prompt_tokens, r->target_tokens, r->nll, r->nll / (double)r->target_tokens,
                r->first_match, r->greedy_lcp, r->weight);
    }
    bool good = ferror(file) == 0;
    good = fclose(file) == 0 && good;
    if (good && rename(temporary, path) == 0) return DS4_OK;
    ds4_status status = ds4_fail(error, DS4_IO, "cannot write %.300s: %s", path, strerror(errno));
    remove(temporary);
    return status;
}

static bool read_row(const char *line, ds4_score *row) {
    int first = 0;
    double average;
    size_t n_id = strcspn(line, ",");
    *row = (ds4_score){0};
    if (n_id == 0 || n_id >= sizeof row->id || line[n_id] != ',') return false;
    memcpy(row->id, line, n_id);
    int n = sscanf(line + n_id + 1, "%" SCNu64 ",%" SCNu64 ",%lf,%lf,%d,%" SCNu64 ",%lf",
                   &row->prompt_tokens, &row->target_tokens, &row->nll, &average, &first,
                   &row->greedy_lcp, &row->weight);
    row->first_match = first != 0;
    return n == 7 && row->target_tokens > 0 && row->weight > 0;
}

ds4_status ds4_score_table_read(const char *path, ds4_score_table *table, ds4_error *error) {
    ds4_strbuf text = {0};
    ds4_status status = ds4_file_read(path, MAX_BYTES, &text, error);
    char *line = text.data;
    for (size_t number = 1; status == DS4_OK && line != NULL && *line != '\0'; number++) {
        char *end = line + strcspn(line, "\n"), *next = *end == '\n' ? end + 1 : end;
        ds4_score row;
        *end = '\0';
        if (number == 1 ? strcmp(line, HEADER) != 0 : !read_row(line, &row))
            status = ds4_fail(error, DS4_FORMAT, "%.200s: line %zu is not of a table of scores",
                              path, number);
        else if (number > 1)
            status = ds4_score_table_add(table, &row, error);
        line = next;
    }
    if (status == DS4_OK && table->n == 0)
        status = ds4_fail(error, DS4_FORMAT, "%.200s holds no scores", path);
    ds4_strbuf_free(&text);
    return status;
}

/* ---- summary ---- */

typedef struct sums {
    double nll, average, weighted, weight;
    uint64_t tokens, first_matches, lcp;
} sums;

static sums add_up(const ds4_score_table *table) {
    sums s = {0};
    for (size_t i = 0; i < table->n; i++) {
        const ds4_score *r = &table->rows[i];
        double average = r->nll / (double)r->target_tokens;
        s.nll += r->nll;
        s.average += average;
        s.weighted += r->weight * average;
        s.weight += r->weight;
        s.tokens += r->target_tokens;
        s.first_matches += r->first_match;
        s.lcp += r->greedy_lcp;
    }
    return s;
}

void ds4_score_table_print_summary(const ds4_score_table *table, FILE *file) {
    sums s = add_up(table);
    double n = (double)table->n;
    fprintf(file,
            "cases %zu, tokens %" PRIu64 "\nnegative log-likelihood: %.6f per token, %.6f mean of "
            "cases, %.6f weighted\nfirst token right %" PRIu64 " (%.1f %%), greedy prefix %.2f "
            "tokens\n",
            table->n, s.tokens, s.nll / (double)s.tokens, s.average / n, s.weighted / s.weight,
            s.first_matches, 100 * (double)s.first_matches / n, (double)s.lcp / n);
}

/* ---- comparison ---- */

static const ds4_score *find(const ds4_score_table *table, const char *id) {
    for (size_t i = 0; i < table->n; i++)
        if (strcmp(table->rows[i].id, id) == 0) return &table->rows[i];
    return NULL;
}

/* Cases of both, in the same order. */
static ds4_status match(const ds4_score_table *baseline, const ds4_score_table *table,
                        ds4_score_table *before, ds4_score_table *after, ds4_error *error) {
    ds4_status status = DS4_OK;
    for (size_t i = 0; status == DS4_OK && i < table->n; i++) {
        const ds4_score *row = &table->rows[i], *old = find(baseline, row->id);
        if (old == NULL) continue;
        if (old->target_tokens != row->target_tokens)
            return ds4_fail(error, DS4_INVALID_ARGUMENT,
                            "case %s has %" PRIu64 " tokens here and %" PRIu64
                            " in the baseline: not the same case or not the same tokenizer",
                            row->id, row->target_tokens, old->target_tokens);
        status = ds4_score_table_add(before, old, error);
        if (status == DS4_OK) status = ds4_score_table_add(after, row, error);
    }
    if (status == DS4_OK && after->n == 0)
        status =
            ds4_fail(error, DS4_INVALID_ARGUMENT, "the baseline shares no case with this table");
    return status;
}

static uint64_t next_random(uint64_t *state) { /* splitmix64 */
    uint64_t z = (*state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Change of the likelihood per token over cases drawn with replacement. */
static void bootstrap(const ds4_score_table *before, const ds4_score_table *after, double *drawn) {
    uint64_t state = 42;
    for (int d = 0; d < DRAWS; d++) {
        double change = 0, tokens = 0;
        for (size_t i = 0; i < after->n; i++) {
            size_t k = (size_t)(next_random(&state) % after->n);
            change += after->rows[k].nll - before->rows[k].nll;
            tokens += (double)after->rows[k].target_tokens;
        }
        drawn[d] = change / tokens;
    }
    qsort(drawn, DRAWS, sizeof *drawn, by_value);
}

ds4_status ds4_score_table_compare(const ds4_score_table *baseline, const ds4_score_table *table,
                                   FILE *file, ds4_error *error) {
    ds4_score_table before = {0}, after = {0};
    double drawn[DRAWS];
    size_t better = 0, worse = 0;
    ds4_status status = match(baseline, table, &before, &after, error);
    if (status != DS4_OK) goto done;
    for (size_t i = 0; i < after.n; i++) {
        double change = after.rows[i].nll - before.rows[i].nll;
        if (change < -1e-9) better++;
        if (change > 1e-9) worse++;
    }
    bootstrap(&before, &after, drawn);
    sums old = add_up(&before), new = add_up(&after);
    double tokens = (double)new.tokens, n = (double)after.n;
    fprintf(file,
            "against the baseline, %zu cases: %.6f -> %.6f per token, change %+.6f (95 %% of "
            "resampled: %+.6f to %+.6f), %+.2f %%\nbetter %zu, worse %zu, equal %zu; first token "
            "right %" PRIu64 " -> %" PRIu64 "; greedy prefix %.2f -> %.2f tokens\n",
            after.n, old.nll / tokens, new.nll / tokens, (new.nll - old.nll) / tokens,
            drawn[DRAWS * 25 / 1000], drawn[DRAWS * 975 / 1000 - 1],
            100 * (new.nll - old.nll) / old.nll, better, worse, after.n - better - worse,
            old.first_matches, new.first_matches, (double)old.lcp / n, (double)new.lcp / n);
done:
    ds4_score_table_free(&before);
    ds4_score_table_free(&after);
    return status;
}
