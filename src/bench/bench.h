/* The program `ds4-bench`: prefill and decode speed at growing context sizes, beside what the
 * machine could do at best. */
#ifndef DS4_BENCH_BENCH_H
#define DS4_BENCH_BENCH_H

#include <stdio.h>

#include "base/options.h"
#include "ds4.h"

typedef struct bench_settings {
    const char *model, *prompt_file, *chat_prompt_file, *system, *csv_file;
    bool synthetic, warm, json, no_roof, steering;
    int64_t ctx_start, ctx_max, ctx_alloc, step_incr, gen_tokens, repeat, n_threads;
    double step_mul;
    uint64_t seed;
    int kv_sim, activations, backend;
} bench_settings;

extern const ds4_program bench_program;

/* The context sizes to measure at: ctx_start, then + step_incr (step_mul 1) or x step_mul rounded
 * up and at least one more, up to ctx_max, which is always the last. Returns the one after
 * `current`. */
int64_t bench_next_frontier(const bench_settings *settings, int64_t current);

/* ---- the prompt (prompt.c) ---- */

/* Reads the prompt file, if there is one, before anything else is opened. */
ds4_status bench_read_prompt(const bench_settings *settings, ds4_strbuf *text, ds4_error *error);
/* Appends the ids; INVALID_ARGUMENT when they are fewer than ctx_max. */
ds4_status bench_tokenize_prompt(const bench_settings *settings, const ds4_model *model,
                                 const ds4_strbuf *text, ds4_tokens *ids, ds4_error *error);

/* ---- the machine (roof.c) ---- */

double bench_seconds(void); /* of a clock that only goes forward */
/* The best rate in GB/s (10^9) at which all threads together read memory that is in no cache. */
ds4_status bench_read_bandwidth(uint32_t n_threads, double *gb_per_second, ds4_error *error);

/* ---- one frontier (measure.c) ---- */

typedef struct bench_spread {
    double median, min, max;
} bench_spread;

typedef struct bench_row {
    int64_t ctx_tokens, prefill_tokens, gen_tokens;
    bench_spread prefill_tps, gen_tps;
    double gen_p99_ms; /* slowest of a hundred decode steps, over all repeats */
    uint64_t kvcache_bytes;
    double steering_cost; /* of a decode step, as a share of it; only measured with --steering */
} bench_row;

typedef struct bench_run bench_run;

ds4_status bench_run_create(const bench_settings *settings, const ds4_model *model,
                            const ds4_tokens *prompt, bench_run **run, ds4_error *error);
void bench_run_destroy(bench_run *run);
uint32_t bench_run_threads(const bench_run *run);
ds4_backend_kind bench_run_backend(const bench_run *run); /* what `auto` became */
/* The machine's roof for streaming weights in GB/s: what the CPU's threads read, what the GPU
 * copies (read and written); 0 when it could not be measured. */
ds4_status bench_run_measure_roof(bench_run *run, double *gb_per_second, ds4_error *error);
/* Measures the way from the previous frontier to this one, and decoding behind it. */
ds4_status bench_run_frontier(bench_run *run, int64_t frontier, bench_row *row, ds4_error *error);

/* ---- the report (report.c) ---- */

typedef struct bench_report {
    FILE *file;
    bool json;
    const bench_settings *settings;
    const ds4_model_info *info;
    uint32_t n_threads;
    const char *backend;
    double roof_gb_per_second; /* 0: not measured */
    size_t n_rows;
} bench_report;

void bench_report_begin(bench_report *report);
void bench_report_row(bench_report *report, const bench_row *row);
/* IO when something could not be written. */
ds4_status bench_report_end(bench_report *report, ds4_error *error);

#endif
