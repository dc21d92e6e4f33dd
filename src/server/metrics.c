#include "server/metrics.h"

#include <string.h>

static const double bounds[DS4_METRICS_BUCKETS] = {
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 60, 120, 300, 600};

static const struct {
    const char *name, *help;
} histogram_texts[DS4_METRICS_HISTOGRAM_COUNT] = {
#define DS4_METRICS_TEXT(name, metric, help) {metric, help},
    DS4_METRICS_HISTOGRAMS(DS4_METRICS_TEXT)
#undef DS4_METRICS_TEXT
};

void ds4_metrics_init(ds4_metrics *metrics) {
    memset(metrics, 0, sizeof *metrics);
    pthread_mutex_init(&metrics->mutex, NULL);
}

void ds4_metrics_destroy(ds4_metrics *metrics) {
    pthread_mutex_destroy(&metrics->mutex);
}

void ds4_metrics_observe(ds4_metrics *metrics, ds4_metrics_histogram which, double seconds) {
    size_t bucket = 0;
    while (bucket < DS4_METRICS_BUCKETS && seconds > bounds[bucket]) bucket++;
    pthread_mutex_lock(&metrics->mutex);
    metrics->histograms[which].counts[bucket]++;
    metrics->histograms[which].sum += seconds;
    pthread_mutex_unlock(&metrics->mutex);
}

void ds4_metrics_count_request(ds4_metrics *metrics, const char *endpoint, int status) {
    pthread_mutex_lock(&metrics->mutex);
    size_t i = 0;
    while (i < metrics->n_endings && (metrics->endings[i].status != status ||
                                      strcmp(metrics->endings[i].endpoint, endpoint) != 0))
        i++;
    if (i == metrics->n_endings && i < DS4_METRICS_ENDINGS) {
        metrics->endings[i].endpoint = endpoint;
        metrics->endings[i].status = status;
        metrics->n_endings++;
    }
    if (i < DS4_METRICS_ENDINGS) metrics->endings[i].count++;
    pthread_mutex_unlock(&metrics->mutex);
}

void ds4_metrics_observe_token(void *context, bool first, double seconds) {
    ds4_metrics_observe(context, first ? DS4_METRICS_FIRST_TOKEN : DS4_METRICS_TOKEN_GAP, seconds);
}

static void update_rate(double *rate, double tokens, double seconds) {
    if (tokens < 1 || seconds <= 0) return;
    *rate = *rate > 0 ? 0.7 * *rate + 0.3 * (tokens / seconds) : tokens / seconds;
}

void ds4_metrics_observe_end(void *context, const ds4_sched_result *result) {
    ds4_metrics *metrics = context;
    ds4_metrics_observe(metrics, DS4_METRICS_QUEUE, result->queue_seconds);
    if (result->n_generated == 0) return; /* never came to its answer */
    ds4_metrics_observe(metrics, DS4_METRICS_PREFILL, result->prefill_seconds);
    ds4_metrics_observe(metrics, DS4_METRICS_DECODE, result->decode_seconds);
    pthread_mutex_lock(&metrics->mutex);
    update_rate(&metrics->prefill_rate, (double)(result->n_prompt - result->n_cached),
                result->prefill_seconds);
    update_rate(&metrics->decode_rate, (double)result->n_generated - 1, result->decode_seconds);
    pthread_mutex_unlock(&metrics->mutex);
}

void ds4_metrics_get_rates(ds4_metrics *metrics, double *prefill, double *decode) {
    pthread_mutex_lock(&metrics->mutex);
    *prefill = metrics->prefill_rate;
    *decode = metrics->decode_rate;
    pthread_mutex_unlock(&metrics->mutex);
}

/* ---- text ---- */

void ds4_metrics_family(ds4_strbuf *out, const char *name, const char *type, const char *help) {
    ds4_strbuf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

void ds4_metrics_sample(ds4_strbuf *out, const char *name, const char *type, const char *help,
                        double value) {
    ds4_metrics_family(out, name, type, help);
    ds4_strbuf_printf(out, "%s %.17g\n", name, value);
}

static void write_histogram(const ds4_metrics *metrics, size_t which, ds4_strbuf *out) {
    const char *name = histogram_texts[which].name;
    ds4_metrics_family(out, name, "histogram", histogram_texts[which].help);
    uint64_t total = 0;
    for (size_t i = 0; i < DS4_METRICS_BUCKETS; i++) {
        total += metrics->histograms[which].counts[i];
        ds4_strbuf_printf(out, "%s_bucket{le=\"%g\"} %llu\n", name, bounds[i],
                          (unsigned long long)total);
    }
    total += metrics->histograms[which].counts[DS4_METRICS_BUCKETS];
    ds4_strbuf_printf(out, "%s_bucket{le=\"+Inf\"} %llu\n%s_sum %.9g\n%s_count %llu\n", name,
                      (unsigned long long)total, name, metrics->histograms[which].sum, name,
                      (unsigned long long)total);
}

void ds4_metrics_write(ds4_metrics *metrics, ds4_strbuf *out) {
    pthread_mutex_lock(&metrics->mutex);
    ds4_metrics_family(out, "ds4_requests_total", "counter",
                       "HTTP requests by endpoint and status of the answer; 499: the client left "
                       "before its end.");
    for (size_t i = 0; i < metrics->n_endings; i++)
        ds4_strbuf_printf(out, "ds4_requests_total{endpoint=\"%s\",status=\"%d\"} %llu\n",
                          metrics->endings[i].endpoint, metrics->endings[i].status,
                          (unsigned long long)metrics->endings[i].count);
    for (size_t i = 0; i < DS4_METRICS_HISTOGRAM_COUNT; i++) write_histogram(metrics, i, out);
    pthread_mutex_unlock(&metrics->mutex);
}
