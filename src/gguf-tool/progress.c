#include "gguf-tool/progress.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"

enum { TERMINAL_MS = 500, LOG_MS = 30000 };

struct ds4_progress {
    uint64_t total, started_ms;
    _Atomic uint64_t done, made, shown_ms;
    bool is_terminal;
};

static uint64_t now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

ds4_status ds4_progress_create(uint64_t total_bytes, ds4_progress **progress, ds4_error *error) {
    ds4_progress *p = *progress = calloc(1, sizeof *p);
    if (p == NULL) return ds4_fail_memory(error, sizeof *p, "a progress line");
    p->total = total_bytes;
    p->started_ms = now_ms();
    p->is_terminal = isatty(STDERR_FILENO);
    atomic_init(&p->done, 0);
    atomic_init(&p->made, 0);
    atomic_init(&p->shown_ms, p->started_ms);
    return DS4_OK;
}

const char *ds4_progress_text(uint64_t done, uint64_t made, uint64_t total, double seconds,
                              char text[96]) {
    double speed = seconds > 0 ? (double)made / seconds : 0;
    double left = speed > 0 ? (double)(total - done) / speed : 0;
    int n = snprintf(text, 96, "%d %%, %.2f of %.2f GB, %.0f MB/s",
                     total > 0 ? (int)(100.0 * (double)done / (double)total) : 100,
                     (double)done / 1e9, (double)total / 1e9, speed / 1e6);
    if (n > 0 && n < 96 && left > 0)
        snprintf(text + n, 96 - (size_t)n,
                 left >= 5400 ? ", %.1f h left"
                 : left >= 90 ? ", %.0f min left"
                              : ", %.0f s left",
                 left >= 5400 ? left / 3600
                 : left >= 90 ? left / 60
                              : left);
    return text;
}

static void show(ds4_progress *p, uint64_t now) {
    char text[96];
    ds4_progress_text(atomic_load(&p->done), atomic_load(&p->made), p->total,
                      (double)(now - p->started_ms) / 1000, text);
    fprintf(stderr, p->is_terminal ? "\r%s \033[K" : "%s\n", text);
}

void ds4_progress_add(ds4_progress *progress, uint64_t n_bytes) {
    uint64_t now = now_ms(), shown = atomic_load(&progress->shown_ms);
    atomic_fetch_add(&progress->done, n_bytes);
    atomic_fetch_add(&progress->made, n_bytes);
    if (now - shown < (progress->is_terminal ? TERMINAL_MS : LOG_MS)) return;
    if (atomic_compare_exchange_strong(&progress->shown_ms, &shown, now)) show(progress, now);
}

void ds4_progress_skip(ds4_progress *progress, uint64_t n_bytes) {
    atomic_fetch_add(&progress->done, n_bytes);
}

void ds4_progress_destroy(ds4_progress *progress) {
    if (progress == NULL) return;
    if (progress->is_terminal && atomic_load(&progress->shown_ms) != progress->started_ms)
        fputs("\r\033[K", stderr);
    free(progress);
}
