#include "cli/answer.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"

enum { POLL_MS = 50, PROGRESS_AFTER_MS = 500, PROGRESS_EVERY_MS = 1000 };

/* Set by the handler, which is installed only while an answer is being made. */
static volatile sig_atomic_t interrupt_requested;

static void on_interrupt(int signal_number) {
    (void)signal_number;
    interrupt_requested = 1;
}

/* A line that is rewritten on a terminal, and one line a second elsewhere. */
typedef struct progress {
    uint64_t base; /* prompt tokens that the scheduler had evaluated before */
    uint32_t n_prompt;
    uint64_t elapsed_ms, printed_ms, printed;
    bool tty, on_screen;
} progress;

static void clear_progress(progress *p) {
    if (p->on_screen && p->tty) fputs("\r\x1b[K", stderr);
    p->on_screen = false;
}

/* What the engine's thread and the waiting main thread share. */
typedef struct watch {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool started, answering, broken, done;
    uint32_t n_cached;
    progress progress;
    ds4_status status;
    char message[400];
    cli_terminal *terminal;
    cli_answer *answer;
} watch;

static void on_started(void *context, uint32_t n_cached) {
    watch *w = context;
    pthread_mutex_lock(&w->mutex);
    w->started = true;
    w->n_cached = n_cached;
    pthread_mutex_unlock(&w->mutex);
}

static void on_event(void *context, const ds4_chat_event *event) {
    watch *w = context;
    if (!w->answering) { /* the answer begins where the progress line stands */
        pthread_mutex_lock(&w->mutex);
        w->answering = true;
        clear_progress(&w->progress);
        pthread_mutex_unlock(&w->mutex);
    }
    cli_terminal_event(w->terminal, event);
    if (w->terminal->failed) {
        pthread_mutex_lock(&w->mutex);
        w->broken = true;
        pthread_mutex_unlock(&w->mutex);
    }
    ds4_chat_result_add(&w->answer->message, event);
}

static void on_done(void *context, const ds4_sched_result *result) {
    watch *w = context;
    pthread_mutex_lock(&w->mutex);
    w->done = true;
    w->status = result->status;
    snprintf(w->message, sizeof w->message, "%s", result->message != NULL ? result->message : "");
    w->answer->n_evaluated = result->n_prompt - result->n_cached;
    w->answer->n_generated = result->n_generated;
    w->answer->n_steered = result->n_steered;
    w->answer->prefill_seconds = result->prefill_seconds;
    w->answer->decode_seconds = result->decode_seconds;
    pthread_cond_signal(&w->changed);
    pthread_mutex_unlock(&w->mutex);
}

static void show_progress(watch *w, ds4_sched *sched) {
    progress *p = &w->progress;
    ds4_sched_status status = {0};
    if (!w->started || w->answering || w->done || p->elapsed_ms < PROGRESS_AFTER_MS) return;
    if (p->on_screen && !p->tty && p->elapsed_ms - p->printed_ms < PROGRESS_EVERY_MS) return;
    ds4_sched_get_status(sched, &status);
    uint32_t total = p->n_prompt - w->n_cached;
    uint64_t k = status.prompt_tokens - p->base;
    if (k >= total || (p->on_screen && k == p->printed)) return;
    fprintf(stderr, "%sprocessing %u input tokens: %llu/%u (%.0f%%)%s", p->tty ? "\r" : "", total,
            (unsigned long long)k, total, 100.0 * (double)k / total, p->tty ? "\x1b[K" : "\n");
    fflush(stderr);
    p->on_screen = true;
    p->printed = k;
    p->printed_ms = p->elapsed_ms;
}

static void wait_until_done(watch *w, ds4_sched *sched, ds4_sched_job *job) {
    bool cancelled = false;
    pthread_mutex_lock(&w->mutex);
    while (!w->done) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += POLL_MS * 1000000L;
        if (until.tv_nsec >= 1000000000L) {
            until.tv_nsec -= 1000000000L;
            until.tv_sec++;
        }
        pthread_cond_timedwait(&w->changed, &w->mutex, &until);
        w->progress.elapsed_ms += POLL_MS;
        show_progress(w, sched);
        if ((interrupt_requested == 0 && !w->broken) || cancelled) continue;
        cancelled = true;
        pthread_mutex_unlock(&w->mutex); /* cancelling a queued job calls `done` at once */
        ds4_sched_cancel(job);
        pthread_mutex_lock(&w->mutex);
    }
    clear_progress(&w->progress);
    pthread_mutex_unlock(&w->mutex);
}

ds4_status cli_engine_open(const cli_settings *settings, const ds4_model *model, ds4_sched **sched,
                           ds4_error *error) {
    ds4_sched_options options = {.engine = {.n_threads = (uint32_t)settings->n_threads,
                                            .max_context = (uint32_t)settings->n_context,
                                            .kv_sim = (ds4_kv_sim)settings->kv_sim,
                                            .backend = (ds4_backend_kind)settings->backend,
                                            .activations = (ds4_activations)settings->activations},
                                 .n_slots = 1,
                                 .n_queue = 1};
    return ds4_sched_create(model, &options, sched, error);
}

ds4_status cli_answer_run(ds4_sched *sched, const cli_settings *settings, const ds4_tokens *prompt,
                          bool thinking, cli_terminal *terminal, cli_answer *answer,
                          ds4_error *error) {
    if ((int64_t)prompt->n + 1 >= settings->n_context)
        return ds4_fail(error, DS4_CONTEXT_FULL,
                        "the prompt has %zu tokens, --ctx is %lld; use --ctx %zu or more",
                        prompt->n, (long long)settings->n_context, prompt->n + 512);
    watch w = {.mutex = PTHREAD_MUTEX_INITIALIZER,
               .changed = PTHREAD_COND_INITIALIZER,
               .terminal = terminal,
               .answer = answer,
               .progress = {.n_prompt = (uint32_t)prompt->n, .tty = isatty(STDERR_FILENO) != 0}};
    ds4_sched_status before = {0};
    ds4_sched_get_status(sched, &before);
    w.progress.base = before.prompt_tokens;
    ds4_sched_request request = {
        .prompt = prompt->ids,
        .n_prompt = (uint32_t)prompt->n,
        .max_tokens = (uint32_t)settings->max_tokens,
        .sampling = {.temperature = (float)settings->temperature,
                     .top_p = (float)settings->top_p,
                     .min_p = (float)settings->min_p,
                     .top_k = (int32_t)settings->top_k,
                     .has_temperature = true,
                     .has_top_p = true,
                     .has_min_p = true,
                     .has_top_k = true,
                     .seed = settings->seed},
        .steering = settings->steering,
        .steer_policy = (ds4_steer_policy)settings->steer_policy,
        .parser = {.thinking = thinking},
        .sink = {.started = on_started, .event = on_event, .done = on_done, .context = &w},
        .label = "cli"};
    struct sigaction action, previous;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_interrupt;
    action.sa_flags = SA_RESTART;
    sigemptyset(&action.sa_mask);
    interrupt_requested = 0;
    sigaction(SIGINT, &action, &previous);
    ds4_sched_job *job = NULL;
    ds4_status status = ds4_sched_submit(sched, &request, &job, error);
    if (status == DS4_OK) {
        wait_until_done(&w, sched, job);
        ds4_sched_job_release(job);
        cli_terminal_end(terminal);
        if (terminal->failed)
            status = ds4_fail(error, DS4_IO, "cannot write the answer");
        else if (w.status == DS4_CANCELLED)
            answer->interrupted = true;
        else if (w.status != DS4_OK)
            status = ds4_fail(error, w.status, "%s", w.message);
        else if (answer->message.failed)
            status = ds4_fail_memory(error, answer->message.content.n, "the answer");
    }
    sigaction(SIGINT, &previous, NULL);
    pthread_cond_destroy(&w.changed);
    pthread_mutex_destroy(&w.mutex);
    return status;
}

static double rate(uint32_t n, double seconds) {
    return seconds > 0 ? n / seconds : 0;
}

void cli_answer_print_rates(const cli_answer *answer) {
    bool colour = isatty(STDERR_FILENO) != 0 && ds4_environment("NO_COLOR") == NULL;
    fprintf(stderr, "%sds4: prefill: %.2f t/s, generation: %.2f t/s%s\n", colour ? "\x1b[36m" : "",
            rate(answer->n_evaluated, answer->prefill_seconds),
            rate(answer->n_generated, answer->decode_seconds), colour ? "\x1b[0m" : "");
}
