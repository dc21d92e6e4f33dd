#include <stdlib.h>

#include "base/error.h"
#include "server/api_error.h"
#include "server/app.h"

typedef struct task {
    struct task *next;
    ds4_task_fn run;
    bool light;
    ds4_strbuf body;
    ds4_http_reply *reply;
} task;

struct ds4_workers {
    ds4_app
        *app; /* its mutex and condition guard the list: tasks wait for the app's state as well */
    pthread_t *threads;
    unsigned n_threads;
    task *first, *last;
    size_t n_waiting, max_waiting, n_running;
    uint64_t waiting_bytes, max_waiting_bytes;
};

static void end_task(task *t) {
    ds4_strbuf_free(&t->body);
    ds4_http_reply_release(t->reply);
    free(t);
}

static void *work(void *context) {
    ds4_workers *workers = context;
    ds4_app *app = workers->app;
    for (;;) {
        pthread_mutex_lock(&app->mutex);
        while (app->state != DS4_APP_STOPPING &&
               (workers->first == NULL || app->state != DS4_APP_READY))
            pthread_cond_wait(&app->changed, &app->mutex);
        task *t = workers->first;
        bool stopping = app->state == DS4_APP_STOPPING;
        if (t != NULL) {
            workers->first = t->next;
            if (t->next == NULL) workers->last = NULL;
            workers->n_waiting -= !t->light;
            workers->waiting_bytes -= t->body.n;
            workers->n_running++;
        }
        pthread_mutex_unlock(&app->mutex);
        if (t == NULL) return NULL;
        if (stopping)
            ds4_api_error_unavailable(t->reply, "shutting_down", "the server is shutting down");
        else if (!ds4_http_reply_gone(t->reply))
            t->run(app, &t->body, t->reply);
        end_task(t);
        pthread_mutex_lock(&app->mutex);
        workers->n_running--;
        pthread_mutex_unlock(&app->mutex);
    }
}

ds4_status ds4_workers_create(ds4_app *app, unsigned n_threads, size_t n_waiting,
                              uint64_t waiting_bytes, ds4_workers **out, ds4_error *error) {
    ds4_workers *workers = calloc(1, sizeof *workers);
    pthread_t *threads = calloc(n_threads, sizeof *threads);
    if (workers == NULL || threads == NULL) {
        free(workers);
        free(threads);
        return ds4_fail_memory(error, sizeof *workers, "the request workers");
    }
    workers->app = app;
    workers->threads = threads;
    workers->max_waiting = n_waiting;
    workers->max_waiting_bytes = waiting_bytes;
    *out = workers;
    for (; workers->n_threads < n_threads; workers->n_threads++)
        if (pthread_create(&threads[workers->n_threads], NULL, work, workers) != 0)
            return ds4_fail(error, DS4_INTERNAL, "a request worker could not be started");
    return DS4_OK;
}

void ds4_workers_destroy(ds4_workers *workers) {
    if (workers == NULL) return;
    for (unsigned i = 0; i < workers->n_threads; i++) pthread_join(workers->threads[i], NULL);
    free(workers->threads);
    free(workers);
}

bool ds4_workers_are_idle(const ds4_workers *workers) {
    return workers->first == NULL && workers->n_running == 0;
}
bool ds4_workers_have_waiting(const ds4_workers *workers) {
    return workers->first != NULL;
}

void ds4_workers_refuse(ds4_workers *workers, const char *message) {
    pthread_mutex_lock(&workers->app->mutex);
    task *list = workers->first;
    workers->first = workers->last = NULL;
    workers->n_waiting = 0;
    workers->waiting_bytes = 0;
    pthread_mutex_unlock(&workers->app->mutex);
    while (list != NULL) {
        task *t = list;
        list = t->next;
        ds4_api_error_unavailable(t->reply, "load_failed", message);
        end_task(t);
    }
}

bool ds4_workers_submit(ds4_workers *workers, ds4_task_fn run, bool light, ds4_strbuf *body,
                        ds4_http_reply *reply) {
    ds4_app *app = workers->app;
    task *t = calloc(1, sizeof *t);
    if (t == NULL) return false;
    t->run = run;
    t->light = light;
    pthread_mutex_lock(&app->mutex);
    bool room =
        (light || workers->n_waiting < workers->max_waiting) &&
        (workers->first == NULL || workers->waiting_bytes + body->n <= workers->max_waiting_bytes);
    if (room) {
        t->body = *body;
        *body = (ds4_strbuf){0};
        t->reply = ds4_http_reply_retain(reply);
        if (workers->last != NULL)
            workers->last->next = t;
        else
            workers->first = t;
        workers->last = t;
        workers->n_waiting += !light;
        workers->waiting_bytes += t->body.n;
        pthread_cond_broadcast(&app->changed);
    }
    pthread_mutex_unlock(&app->mutex);
    if (!room) free(t);
    return room;
}
