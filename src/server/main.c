/* ds4-server: options, sockets, signals, and the order in which everything starts and stops. */
#include <errno.h>
#include <event2/event.h>
#include <event2/thread.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/instance_lock.h"
#include "server/app.h"
#include "server/supervisor.h"
#include "server/trace.h"

enum {
    EXIT_USAGE = 2,
    EXIT_FORCED = 130,
    WORKER_THREADS = 2,
    DRAIN_POLL_MS = 20,
    DRAIN_GRACE_SECONDS = 3, /* beyond --drain: time for the last step and the last bytes */
    IDLE_POLL_MS = 250,
    BODY_MEMORY = 256 * 1024 * 1024, /* arriving bodies together; and again those that wait */
};

typedef struct server {
    ds4_app app;
    ds4_server_flags flags;
    ds4_log log;
    struct event_base *base;
    struct event *interrupt, *terminate, *hangup, *loaded, *drain, *idle;
    pthread_t loader;
    bool loader_runs, stopping;
    double drain_deadline;
    double last_used; /* when something was asked or being answered */
} server;

/* ---- stopping ---- */

static void join_loader(server *s) {
    if (!s->loader_runs) return;
    pthread_join(s->loader, NULL);
    s->loader_runs = false;
}

static void start_draining(server *s) {
    s->stopping = true;
    ds4_supervisor_tell(ds4_environment("NOTIFY_SOCKET"), "STOPPING=1");
    s->drain_deadline = ds4_app_now() + (double)s->flags.drain + DRAIN_GRACE_SECONDS;
    atomic_store(&s->app.load_cancelled, true);
    ds4_app_set_state(&s->app, DS4_APP_STOPPING);
    ds4_http_stop_listening(s->app.http);
    if (!s->loader_runs && s->app.sched != NULL)
        ds4_sched_drain(s->app.sched, (double)s->flags.drain);
    struct timeval poll = {.tv_usec = DRAIN_POLL_MS * 1000};
    event_add(s->drain, &poll);
}

static void on_drain_poll(evutil_socket_t fd, short what, void *context) {
    (void)fd, (void)what;
    server *s = context;
    bool empty = !s->loader_runs && ds4_http_connection_count(s->app.http) == 0;
    if (empty || ds4_app_now() >= s->drain_deadline) event_base_loopbreak(s->base);
}

static void on_signal(evutil_socket_t number, short what, void *context) {
    (void)number, (void)what;
    server *s = context;
    if (s->stopping) _exit(EXIT_FORCED);
    ds4_log_write(&s->log, DS4_LOG_INFO, "shutdown requested, draining requests");
    start_draining(s);
}

/* ---- loading and unloading: at most one thread does either ---- */

static bool run_loader(server *s, void *(*body)(void *app)) {
    s->loader_runs = pthread_create(&s->loader, NULL, body, &s->app) == 0;
    return s->loader_runs;
}

/* Something waits for a model that is not there. */
static void load_again(server *s) {
    pthread_mutex_lock(&s->app.mutex);
    bool wanted = s->app.state == DS4_APP_UNLOADED && ds4_workers_have_waiting(s->app.workers);
    if (wanted) s->app.state = DS4_APP_LOADING;
    pthread_mutex_unlock(&s->app.mutex);
    if (!wanted) return;
    atomic_store(&s->app.load_done, 0);
    if (run_loader(s, ds4_app_load)) return;
    ds4_app_set_state(&s->app, DS4_APP_UNLOADED);
    ds4_workers_refuse(s->app.workers, "the loader could not be started");
}

static void on_loaded(evutil_socket_t fd, short what, void *context) {
    (void)fd, (void)what;
    server *s = context;
    ds4_app *app = &s->app;
    join_loader(s);
    s->last_used = ds4_app_now();
    if (s->stopping) {
        if (app->sched != NULL) ds4_sched_drain(app->sched, 0);
    } else if (app->load_failed && !app->served) {
        start_draining(s); /* waiting requests are told 503 */
    } else if (app->load_failed) {
        app->load_failed = false;
        ds4_workers_refuse(app->workers, app->load_error.message);
    } else {
        load_again(s);
    }
}

static void on_wanted(void *context) {
    server *s = context;
    s->last_used = ds4_app_now();
    if (!s->loader_runs && !s->stopping) load_again(s);
}

static void on_idle_poll(evutil_socket_t fd, short what, void *context) {
    (void)fd, (void)what;
    server *s = context;
    double now = ds4_app_now();
    if (s->loader_runs || s->stopping) return;
    if (!ds4_app_is_idle(&s->app)) s->last_used = now;
    if (now - s->last_used < (double)s->flags.idle_unload || !ds4_app_begin_unload(&s->app)) return;
    if (!run_loader(s, ds4_app_unload)) ds4_app_set_state(&s->app, DS4_APP_READY);
}

static void loaded(void *context) {
    event_active(((server *)context)->loaded, EV_READ, 0);
}

/* ---- starting ---- */

static ds4_status read_keys(server *s, ds4_error *error) {
    bool exposed = false;
    if (s->flags.api_key != NULL) return ds4_keys_set(&s->app.keys, s->flags.api_key, error);
    if (s->flags.api_key_file == NULL) return DS4_OK;
    ds4_status status = ds4_keys_read(&s->app.keys, s->flags.api_key_file, &exposed, error);
    if (status == DS4_OK && exposed)
        ds4_log_write(&s->log, DS4_LOG_WARNING,
                      "all users of this machine can read the API key file %s",
                      s->flags.api_key_file);
    return status;
}

/* SIGHUP: the key file may have changed. */
static void on_hangup(evutil_socket_t number, short what, void *context) {
    (void)number, (void)what;
    server *s = context;
    ds4_error error = {0};
    if (s->flags.api_key_file == NULL) return;
    if (read_keys(s, &error) == DS4_OK)
        ds4_log_write(&s->log, DS4_LOG_INFO, "read %zu API keys from %s", s->app.keys.n,
                      s->flags.api_key_file);
    else
        ds4_log_write(&s->log, DS4_LOG_ERROR, "%s; the keys stay as they were", error.message);
}

/* Options that contradict each other: usage errors. */
static ds4_status check_flags(const server *s, ds4_error *error) {
    const ds4_server_flags *flags = &s->flags;
    if (flags->api_key != NULL && flags->api_key_file != NULL)
        return ds4_fail(error, DS4_INVALID_ARGUMENT,
                        "--api-key and --api-key-file exclude each other");
    if (flags->api_key != NULL && flags->api_key[0] == '\0')
        return ds4_fail(error, DS4_INVALID_ARGUMENT, "--api-key must not be empty");
    if (flags->kv_cold_max != 0 && flags->kv_cold_max < flags->kv_min_tokens)
        return ds4_fail(error, DS4_INVALID_ARGUMENT,
                        "--kv-cache-cold-max-tokens must be 0 or at least --kv-cache-min-tokens "
                        "(%lld)",
                        (long long)flags->kv_min_tokens);
    if (!ds4_host_is_loopback(flags->host) && flags->api_key == NULL &&
        flags->api_key_file == NULL && !flags->insecure_no_auth)
        return ds4_fail(error, DS4_INVALID_ARGUMENT,
                        "--host %s can be reached from other machines: give --api-key or "
                        "--api-key-file, or say --insecure-no-auth",
                        flags->host);
    return DS4_OK;
}

static ds4_status start_http(server *s, ds4_error *error) {
    const ds4_server_flags *flags = &s->flags;
    ds4_http_options options = {
        .host = flags->host,
        .port = (uint16_t)flags->port,
        .limits = {.head_bytes = 32 * 1024,
                   .header_lines = 100,
                   .uri_bytes = 2048,
                   .body_bytes = 64u * 1024 * 1024},
        .max_connections = (size_t)flags->max_connections,
        .body_memory = BODY_MEMORY,
        .head_seconds = (unsigned)flags->head_timeout,
        .body_seconds = (unsigned)flags->body_timeout,
        .write_seconds = (unsigned)flags->write_timeout,
        .keepalive_seconds = (unsigned)flags->keepalive,
        .output_limit = (size_t)flags->output_kb * 1024,
    };
    ds4_http_handlers handlers = ds4_routes;
    handlers.context = &s->app;
    return ds4_http_create(s->base, &options, &handlers, &s->app.http, error);
}

static ds4_status start_events(server *s, ds4_error *error) {
    s->base = evthread_use_pthreads() == 0 ? event_base_new() : NULL;
    if (s->base == NULL) return ds4_fail(error, DS4_INTERNAL, "no event loop could be made");
    s->interrupt = evsignal_new(s->base, SIGINT, on_signal, s);
    s->terminate = evsignal_new(s->base, SIGTERM, on_signal, s);
    s->hangup = evsignal_new(s->base, SIGHUP, on_hangup, s);
    s->idle = event_new(s->base, -1, EV_PERSIST, on_idle_poll, s);
    s->loaded = event_new(s->base, -1, 0, on_loaded, s);
    s->drain = event_new(s->base, -1, EV_PERSIST, on_drain_poll, s);
    if (s->interrupt == NULL || s->terminate == NULL || s->hangup == NULL || s->idle == NULL ||
        s->loaded == NULL || s->drain == NULL || event_add(s->interrupt, NULL) != 0 ||
        event_add(s->terminate, NULL) != 0 || event_add(s->hangup, NULL) != 0)
        return ds4_fail(error, DS4_INTERNAL, "no event loop could be made");
    struct timeval poll = {.tv_usec = IDLE_POLL_MS * 1000};
    if (s->flags.idle_unload > 0 && event_add(s->idle, &poll) != 0)
        return ds4_fail(error, DS4_INTERNAL, "no event loop could be made");
    s->app.loaded = loaded;
    s->app.wanted = on_wanted;
    s->app.callback_context = s;
    return DS4_OK;
}

static ds4_status start(server *s, ds4_error *error) {
    const ds4_server_flags *flags = &s->flags;
    ds4_app *app = &s->app;
    app->flags = flags;
    app->log = &s->log;
    app->random_fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
    if (read(app->random_fd, &app->nonce, sizeof app->nonce) != (ssize_t)sizeof app->nonce)
        return ds4_fail(error, DS4_IO, "no random numbers from /dev/urandom");
    if (flags->chdir != NULL && chdir(flags->chdir) != 0)
        return ds4_fail(error, DS4_IO, "failed to chdir to %s: %s", flags->chdir, strerror(errno));
    if (flags->lock_file != NULL) {
        ds4_status locked = ds4_instance_lock_take(flags->lock_file, &app->lock_fd, error);
        if (locked == DS4_BUSY) app->load_exit_code = EXIT_USAGE;
        if (locked != DS4_OK) return locked;
    }
    ds4_status status = read_keys(s, error);
    if (status == DS4_OK && flags->trace != NULL) {
        status = ds4_trace_open(flags->trace, &app->trace, error);
        if (status == DS4_OK)
            ds4_log_write(&s->log, DS4_LOG_INFO, "tracing session to %s", flags->trace);
    }
    if (status == DS4_OK) status = start_events(s, error);
    /* The port first: "address in use" must not wait for the model, and clients that come early may
     * wait here. */
    if (status == DS4_OK) status = start_http(s, error);
    if (status != DS4_OK) return status;
    if (!ds4_host_is_loopback(flags->host) && app->keys.n == 0)
        ds4_log_write(&s->log, DS4_LOG_WARNING,
                      "everybody who can reach %s may use this server (--insecure-no-auth)",
                      flags->host);
    ds4_log_write(&s->log, DS4_LOG_INFO, "bound %s port %u, loading %s", flags->host,
                  (unsigned)ds4_http_port(app->http), flags->model);
    app->responses = ds4_response_store_create((size_t)flags->response_store_mb << 20);
    if (app->responses == NULL) return ds4_fail_memory(error, 0, "the stored responses");
    if (!flags->no_tool_replay) {
        status =
            ds4_tool_memory_create((size_t)flags->tool_memory_ids, 0, &app->tool_memory, error);
        if (status != DS4_OK) return status;
    }
    status = ds4_workers_create(app, WORKER_THREADS, (size_t)(flags->queue + flags->slots),
                                BODY_MEMORY, &app->workers, error);
    if (status != DS4_OK) return status;
    if (!run_loader(s, ds4_app_load))
        return ds4_fail(error, DS4_INTERNAL, "the loader could not be started");
    return DS4_OK;
}

/* In this order: those who call into others end first. */
static void stop(server *s) {
    ds4_app_set_state(&s->app, DS4_APP_STOPPING);
    atomic_store(&s->app.load_cancelled, true);
    join_loader(s);
    ds4_workers_destroy(s->app.workers);
    ds4_sched_destroy(s->app.sched);
    ds4_http_destroy(s->app.http);
    ds4_response_store_destroy(s->app.responses);
    ds4_tool_journal_close(s->app.tool_journal);
    ds4_tool_memory_destroy(s->app.tool_memory);
    ds4_dial_close(&s->app.dial);
    ds4_model_close(s->app.model);
    if (s->interrupt != NULL) event_free(s->interrupt);
    if (s->terminate != NULL) event_free(s->terminate);
    if (s->loaded != NULL) event_free(s->loaded);
    if (s->hangup != NULL) event_free(s->hangup);
    if (s->idle != NULL) event_free(s->idle);
    if (s->drain != NULL) event_free(s->drain);
    if (s->base != NULL) event_base_free(s->base);
    libevent_global_shutdown();
    if (s->app.random_fd >= 0) close(s->app.random_fd);
    if (s->app.lock_fd >= 0) close(s->app.lock_fd);
    ds4_keys_free(&s->app.keys);
    ds4_trace_close(s->app.trace);
    pthread_cond_destroy(&s->app.changed);
    pthread_mutex_destroy(&s->app.mutex);
    ds4_metrics_destroy(&s->app.metrics);
}

static int serve(server *s) {
    ds4_error error = {0};
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigaction(SIGPIPE, &ignore, NULL);
    s->log.json = s->flags.log_format == DS4_LOG_FORMAT_JSON;
    s->log.level = (ds4_log_level)s->flags.log_level;
    s->app.started = ds4_app_now();
    s->app.lock_fd = -1;
    s->app.load_exit_code = EXIT_FAILURE;
    ds4_metrics_init(&s->app.metrics);
    pthread_mutex_init(&s->app.mutex, NULL);
    pthread_cond_init(&s->app.changed, NULL);
    bool failed = start(s, &error) != DS4_OK;
    if (failed)
        ds4_log_write(&s->log, DS4_LOG_ERROR, "%s", error.message);
    else
        event_base_dispatch(s->base);
    failed = failed || s->app.load_failed;
    stop(s);
    return failed ? s->app.load_exit_code : EXIT_SUCCESS;
}

static int print_document(ds4_options_action action) {
    ds4_strbuf text = {0};
    ds4_options_document(&ds4_server_program, action, 0, &text);
    bool printed = !text.failed && fwrite(text.data, 1, text.n, stdout) == text.n;
    printed = fflush(stdout) == 0 && printed;
    ds4_strbuf_free(&text);
    return printed ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv) {
    static server s; /* large, and zero */
    ds4_options_parsed parsed = {0};
    ds4_error error = {0};
    int code;
    ds4_dial_settings_init(&s.flags.dial);
    ds4_log_open(&s.log, STDERR_FILENO, ds4_server_program.name);
    ds4_status status =
        ds4_options_parse(&ds4_server_program, argc, argv, &s.flags, &parsed, &error);
    bool run = status == DS4_OK && parsed.action == DS4_OPTIONS_RUN;
    if (run) status = check_flags(&s, &error);
    if (status != DS4_OK) {
        fprintf(stderr, "%s: %s\nTry '%s --help'.\n", ds4_server_program.name, error.message,
                ds4_server_program.name);
        code = EXIT_USAGE;
    } else if (!run) {
        code = print_document(parsed.action);
    } else {
        code = serve(&s);
    }
    ds4_options_free(&parsed);
    return code;
}
