/* Scores of cases: their CSV form, their summary, and the comparison of two models over the same
 * cases. */
#ifndef DS4_GGUF_TOOL_SCORE_TABLE_H
#define DS4_GGUF_TOOL_SCORE_TABLE_H

#include <stdio.h>

#include "ds4.h"

typedef struct ds4_score {
    char id[64];
    double weight;
    uint64_t prompt_tokens, target_tokens;
    double nll;          /* sum over the target's tokens of -log p(token | everything before) */
    bool first_match;    /* the first token is the most likely one */
    uint64_t greedy_lcp; /* how many tokens from the start are the most likely ones */
} ds4_score;

/* Zero-initialise; free with ds4_score_table_free. */
typedef struct ds4_score_table {
    ds4_score *rows;
    size_t n, capacity;
} ds4_score_table;

ds4_status ds4_score_table_add(ds4_score_table *table, const ds4_score *row, ds4_error *error);
void ds4_score_table_free(ds4_score_table *table);

/* A header line and one line per case; written under a temporary name first. */
ds4_status ds4_score_table_write(const ds4_score_table *table, const char *path, ds4_error *error);
ds4_status ds4_score_table_read(const char *path, ds4_score_table *table, ds4_error *error);

/* Prints the means: per token, per case, and weighted. */
void ds4_score_table_print_summary(const ds4_score_table *table, FILE *file);

/* Prints how `table` differs from `baseline` over the cases of both, matched by id: the change of
 * the negative log-likelihood per token with a 95 % interval (percentile bootstrap over cases,
 * 2,000 draws from a fixed seed), wins and ties, first tokens and common prefixes. INVALID_ARGUMENT
 * when they share no case, or the target of a case has another length: then the tokenizers or the
 * cases differ. */
ds4_status ds4_score_table_compare(const ds4_score_table *baseline, const ds4_score_table *table,
                                   FILE *file, ds4_error *error);

#endif
