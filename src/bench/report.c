#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "base/json_scan.h"
#include "bench/bench.h"

/* The first six columns are read by other tools: names, order and formats stay as they are. */
static const char csv_header[] =
    "ctx_tokens,prefill_tokens,prefill_tps,gen_tokens,gen_tps,kvcache_bytes,"
    "prefill_tps_min,prefill_tps_max,gen_tps_min,gen_tps_max,gen_p99_ms,"
    "weight_bytes_per_token,gen_gb_per_s,roof_gb_per_s,roof_fraction,"
    "flops_per_token,prefill_gflop_per_s";

/* What a row amounts to on this machine. */
typedef struct derived {
    double gen_gb, roof_fraction, prefill_gflop;
} derived;

static derived derive(const bench_report *report, const bench_row *row) {
    const ds4_model_info *info = report->info;
    derived d = {.gen_gb = (double)info->weight_bytes_per_token * row->gen_tps.median / 1e9,
                 .prefill_gflop = (double)info->flops_per_token * row->prefill_tps.median / 1e9};
    if (report->roof_gb_per_second > 0) d.roof_fraction = d.gen_gb / report->roof_gb_per_second;
    return d;
}

static void write_csv_row(const bench_report *report, const bench_row *row) {
    derived d = derive(report, row);
    fprintf(report->file, "%lld,%lld,%.2f,%lld,%.2f,%llu", (long long)row->ctx_tokens,
            (long long)row->prefill_tokens, row->prefill_tps.median, (long long)row->gen_tokens,
            row->gen_tps.median, (unsigned long long)row->kvcache_bytes);
    fprintf(report->file, ",%.2f,%.2f,%.2f,%.2f,%.3f", row->prefill_tps.min, row->prefill_tps.max,
            row->gen_tps.min, row->gen_tps.max, row->gen_p99_ms);
    fprintf(report->file, ",%llu,%.3f,", (unsigned long long)report->info->weight_bytes_per_token,
            d.gen_gb);
    if (report->roof_gb_per_second > 0)
        fprintf(report->file, "%.2f,%.3f", report->roof_gb_per_second, d.roof_fraction);
    else
        fputc(',', report->file); /* not measured: empty cells */
    fprintf(report->file, ",%llu,%.2f", (unsigned long long)report->info->flops_per_token,
            d.prefill_gflop);
    if (report->settings->steering) fprintf(report->file, ",%.3f", 100 * row->steering_cost);
    fputc('\n', report->file);
}

static void write_json_spread(FILE *file, const char *name, const bench_spread *spread) {
    fprintf(file, ",\"%s\":{\"median\":%.4f,\"min\":%.4f,\"max\":%.4f}", name, spread->median,
            spread->min, spread->max);
}

static void write_json_row(const bench_report *report, const bench_row *row) {
    derived d = derive(report, row);
    fprintf(report->file, "%s\n{\"ctx_tokens\":%lld,\"prefill_tokens\":%lld,\"gen_tokens\":%lld",
            report->n_rows > 0 ? "," : "", (long long)row->ctx_tokens,
            (long long)row->prefill_tokens, (long long)row->gen_tokens);
    write_json_spread(report->file, "prefill_tps", &row->prefill_tps);
    write_json_spread(report->file, "gen_tps", &row->gen_tps);
    fprintf(report->file, ",\"gen_p99_ms\":%.3f,\"kvcache_bytes\":%llu,\"gen_gb_per_s\":%.3f",
            row->gen_p99_ms, (unsigned long long)row->kvcache_bytes, d.gen_gb);
    if (report->roof_gb_per_second > 0)
        fprintf(report->file, ",\"roof_fraction\":%.4f", d.roof_fraction);
    fprintf(report->file, ",\"prefill_gflop_per_s\":%.3f", d.prefill_gflop);
    if (report->settings->steering)
        fprintf(report->file, ",\"steering_cost_percent\":%.3f", 100 * row->steering_cost);
    fputc('}', report->file);
}

static void begin_json(const bench_report *report) {
    const ds4_model_info *info = report->info;
    ds4_strbuf name = {0};
    ds4_json_escape(info->name, strlen(info->name), &name);
    fprintf(report->file, "{\"version\":1,\"source\":\"ds4-bench %s\",\"model\":\"%s\"",
            DS4_VERSION, name.failed || name.data == NULL ? "" : name.data);
    ds4_strbuf_free(&name);
    fprintf(report->file, ",\"backend\":\"%s\",\"threads\":%u,\"repeat\":%lld", report->backend,
            report->n_threads, (long long)report->settings->repeat);
    fprintf(report->file, ",\"activations\":\"%s\"",
            report->settings->activations == DS4_ACTIVATIONS_INT8 ? "int8" : "float");
    fprintf(report->file,
            ",\"weight_bytes\":%llu,\"weight_bytes_per_token\":%llu,\"flops_per_token\":%llu",
            (unsigned long long)info->weight_bytes,
            (unsigned long long)info->weight_bytes_per_token,
            (unsigned long long)info->flops_per_token);
    if (report->roof_gb_per_second > 0)
        fprintf(report->file, ",\"roof_gb_per_s\":%.3f", report->roof_gb_per_second);
    else
        fputs(",\"roof_gb_per_s\":null", report->file);
    fputs(",\"rows\":[", report->file);
}

void bench_report_begin(bench_report *report) {
    if (report->json)
        begin_json(report);
    else
        fprintf(report->file, "%s%s\n", csv_header,
                report->settings->steering ? ",steering_cost_percent" : "");
    fflush(report->file);
}

void bench_report_row(bench_report *report, const bench_row *row) {
    if (report->json)
        write_json_row(report, row);
    else
        write_csv_row(report, row);
    fflush(report->file);
    report->n_rows++;
}

ds4_status bench_report_end(bench_report *report, ds4_error *error) {
    if (report->json) fputs("\n]}\n", report->file);
    if (fflush(report->file) != 0 || ferror(report->file))
        return ds4_fail(error, DS4_IO, "cannot write the results: %s", strerror(errno));
    return DS4_OK;
}
