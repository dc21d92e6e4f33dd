#include "steer-tool/answers.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"

/* What the engine's thread and the waiting main thread share about one request. */
typedef struct flight {
    struct ds4_answers *owner;
    ds4_sched_job *job;
    ds4_answer answer;
    bool done;
    ds4_status status;
    char message[300];
} flight;

struct ds4_answers {
    ds4_sched *sched;
    uint32_t max_tokens;
    flight *flights; /* a ring */
    size_t n_flights;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
};

static void on_event(void *context, const ds4_chat_event *event) {
    flight *f = context;
    ds4_chat_result_add(&f->answer.message, event);
}

static void on_done(void *context, const ds4_sched_result *result) {
    flight *f = context;
    pthread_mutex_lock(&f->owner->mutex);
    f->done = true;
    f->status = result->status;
    snprintf(f->message, sizeof f->message, "%s", result->message != NULL ? result->message : "");
    f->answer.n_generated = result->n_generated;
    f->answer.n_steered = result->n_steered;
    pthread_cond_signal(&f->owner->changed);
    pthread_mutex_unlock(&f->owner->mutex);
}

ds4_status ds4_answers_create(const ds4_model *model, const ds4_answers_options *options,
                              ds4_answers **answers, ds4_error *error) {
    ds4_answers *a = calloc(1, sizeof *a);
    if (a == NULL) return ds4_fail_memory(error, sizeof *a, "answers");
    *answers = a;
    a->max_tokens = options->max_tokens;
    a->n_flights = 2 * (size_t)options->n_slots;
    pthread_mutex_init(&a->mutex, NULL);
    pthread_cond_init(&a->changed, NULL);
    a->flights = calloc(a->n_flights, sizeof *a->flights);
    ds4_sched_options sched = {.engine = {.n_threads = options->n_threads,
                                          .max_context = options->n_context,
                                          .backend = options->backend,
                                          .activations = options->activations},
                               .n_slots = options->n_slots,
                               .n_sessions = 2 * options->n_slots,
                               .n_queue = 2 * options->n_slots};
    ds4_status status = a->flights != NULL
                            ? ds4_sched_create(model, &sched, &a->sched, error)
                            : ds4_fail_memory(error, a->n_flights * sizeof *a->flights, "answers");
    if (status == DS4_OK) return DS4_OK;
    ds4_answers_destroy(a);
    *answers = NULL;
    return status;
}

void ds4_answers_destroy(ds4_answers *a) {
    if (a == NULL) return;
    if (a->sched != NULL) ds4_sched_destroy(a->sched);
    pthread_cond_destroy(&a->changed);
    pthread_mutex_destroy(&a->mutex);
    free(a->flights);
    free(a);
}

static ds4_status submit(ds4_answers *a, const ds4_answer_task *task, flight *f, ds4_error *error) {
    const ds4_asked *asked = task->asked;
    const ds4_chat_request *r = &asked->request;
    *f = (flight){.owner = a};
    const ds4_sched_request request = {
        .prompt = asked->prompt.ids,
        .n_prompt = (uint32_t)asked->prompt.n,
        .max_tokens = r->max_tokens > 0 ? (uint32_t)r->max_tokens : a->max_tokens,
        .sampling = ds4_sampling_resolve(r->sampling, DS4_SAMPLING_STABLE, asked->thinking),
        .think_budget = r->think.budget,
        .constraint = asked->constraint,
        .steering = task->steering,
        .steer_policy = task->policy,
        .parser = {.thinking = asked->thinking,
                   .tools_active = asked->tools_active,
                   .single_call = r->one_call,
                   .stops = r->stops,
                   .n_stops = r->n_stops},
        .sink = {.event = on_event, .done = on_done, .context = f},
        .label = "steer"};
    return ds4_sched_submit(a->sched, &request, &f->job, error);
}

/* Waits for the request and gives its memory back; its answer goes to `done` when all is well. */
static ds4_status land(ds4_answers *a, flight *f, size_t i, ds4_answer_done_fn done, void *context,
                       ds4_error *error) {
    pthread_mutex_lock(&a->mutex);
    while (!f->done) pthread_cond_wait(&a->changed, &a->mutex);
    pthread_mutex_unlock(&a->mutex);
    ds4_sched_job_release(f->job);
    ds4_status status = f->status;
    if (status != DS4_OK)
        ds4_fail(error, status, "%s", f->message);
    else if (f->answer.message.failed)
        status = ds4_fail_memory(error, f->answer.message.content.n, "an answer");
    else if (done != NULL)
        done(context, i, &f->answer);
    ds4_chat_result_free(&f->answer.message);
    return status;
}

ds4_status ds4_answers_run(ds4_answers *a, size_t n, ds4_answer_next_fn next,
                           ds4_answer_done_fn done, void *context, ds4_error *error) {
    size_t n_submitted = 0, n_landed = 0, n_ring = a->n_flights > 0 ? a->n_flights : 1;
    ds4_status status = DS4_OK;
    while (n_landed < n_submitted || (status == DS4_OK && n_submitted < n)) {
        if (status == DS4_OK && n_submitted < n && n_submitted - n_landed < n_ring) {
            ds4_answer_task task = {0};
            next(context, n_submitted, &task);
            status = submit(a, &task, &a->flights[n_submitted % n_ring], error);
            n_submitted += status == DS4_OK;
            continue;
        }
        bool failed = status != DS4_OK; /* then only wait for those that are on their way */
        ds4_status landed = land(a, &a->flights[n_landed % n_ring], n_landed, failed ? NULL : done,
                                 context, failed ? NULL : error);
        if (!failed) status = landed;
        n_landed++;
    }
    return status;
}
