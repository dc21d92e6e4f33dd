/* What the server measures of itself: how long things took, how requests ended. Written as
 * Prometheus text (exposition format 0.0.4) by api_metrics.c.
 *
 * One lock guards everything; observations are a few additions. Any thread. */
#ifndef DS4_SERVER_METRICS_H
#define DS4_SERVER_METRICS_H

#include <pthread.h>
#include <stdint.h>

#include "base/strbuf.h"
#include "sched/sched.h"

/* Histograms in seconds: X(enumerator, metric, help). */
#define DS4_METRICS_HISTOGRAMS(X)                                                                  \
    X(FIRST_TOKEN, "ds4_time_to_first_token_seconds",                                              \
      "From the submission of a request to its first token.")                                      \
    X(TOKEN_GAP, "ds4_inter_token_seconds", "Between two tokens of one answer.")                   \
    X(QUEUE, "ds4_queue_wait_seconds", "Waiting for a slot.")                                      \
    X(PREFILL, "ds4_prefill_seconds", "Reading the part of a prompt that was not cached.")         \
    X(DECODE, "ds4_decode_seconds", "Writing an answer.")

typedef enum ds4_metrics_histogram {
#define DS4_METRICS_ENUM(name, metric, help) DS4_METRICS_##name,
    DS4_METRICS_HISTOGRAMS(DS4_METRICS_ENUM)
#undef DS4_METRICS_ENUM
        DS4_METRICS_HISTOGRAM_COUNT
} ds4_metrics_histogram;

enum { DS4_METRICS_BUCKETS = 18, DS4_METRICS_ENDINGS = 256 };

typedef struct ds4_metrics {
    pthread_mutex_t mutex; /* guards what follows */
    struct {
        uint64_t counts[DS4_METRICS_BUCKETS + 1]; /* the last: above all bounds */
        double sum;
    } histograms[DS4_METRICS_HISTOGRAM_COUNT];
    struct {
        const char *endpoint;
        int status;
        uint64_t count;
    } endings[DS4_METRICS_ENDINGS];
    size_t n_endings;
    double prefill_rate, decode_rate; /* tokens per second, running means; 0: unknown */
} ds4_metrics;

void ds4_metrics_init(ds4_metrics *metrics);
void ds4_metrics_destroy(ds4_metrics *metrics);

void ds4_metrics_observe(ds4_metrics *metrics, ds4_metrics_histogram which, double seconds);
/* `endpoint` has static storage. Status 499: the client left before the end. */
void ds4_metrics_count_request(ds4_metrics *metrics, const char *endpoint, int status);
/* The scheduler's observer. */
void ds4_metrics_observe_token(void *metrics, bool first, double seconds);
void ds4_metrics_observe_end(void *metrics, const ds4_sched_result *result);
void ds4_metrics_get_rates(ds4_metrics *metrics, double *prefill, double *decode);

/* `# HELP` and `# TYPE` of a metric; its samples follow. */
void ds4_metrics_family(ds4_strbuf *out, const char *name, const char *type, const char *help);
/* A metric with one sample. */
void ds4_metrics_sample(ds4_strbuf *out, const char *name, const char *type, const char *help,
                        double value);
/* All histograms and the requests by endpoint and status. */
void ds4_metrics_write(ds4_metrics *metrics, ds4_strbuf *out);

#endif
