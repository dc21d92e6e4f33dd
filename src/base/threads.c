#include "base/threads.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"

/* A worker polls this many times for the next loop before it sleeps: between the layers of one token the gap is a
 * few microseconds, far below the cost of a wake-up. */
enum { POLLS_BEFORE_SLEEP = 4000, MAX_THREADS = 1024 };

typedef struct worker {
    ds4_threads *pool;
    pthread_t thread;
    uint32_t index;
} worker;

struct ds4_threads {
    uint32_t n; /* with the caller */
    uint32_t n_started;
    worker *workers;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    atomic_uint generation; /* counts loops; a change tells the workers to start */
    atomic_bool stop;
    atomic_uint n_busy; /* workers that have not finished the current loop */
    atomic_size_t next; /* first index nobody has taken yet */
    size_t end, grain;
    ds4_loop_fn body;
    void *context;
};

static inline void cpu_pause(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void run_pieces(ds4_threads *pool, uint32_t index) {
    for (;;) {
        size_t begin = atomic_fetch_add_explicit(&pool->next, pool->grain, memory_order_relaxed);
        if (begin >= pool->end) return;
        size_t end = pool->end - begin > pool->grain ? begin + pool->grain : pool->end;
        pool->body(pool->context, index, begin, end);
    }
}

/* Returns the number of the new generation. */
static unsigned wait_for_loop(ds4_threads *pool, unsigned seen) {
    for (int i = 0; i < POLLS_BEFORE_SLEEP; i++) {
        unsigned now = atomic_load_explicit(&pool->generation, memory_order_acquire);
        if (now != seen) return now;
        cpu_pause();
    }
    pthread_mutex_lock(&pool->mutex);
    while (atomic_load_explicit(&pool->generation, memory_order_acquire) == seen)
        pthread_cond_wait(&pool->wake, &pool->mutex);
    pthread_mutex_unlock(&pool->mutex);
    return atomic_load_explicit(&pool->generation, memory_order_acquire);
}

static void *worker_main(void *argument) {
    worker *self = argument;
    ds4_threads *pool = self->pool;
    unsigned seen = 0;
    for (;;) {
        seen = wait_for_loop(pool, seen);
        if (atomic_load_explicit(&pool->stop, memory_order_acquire)) return NULL;
        run_pieces(pool, self->index);
        atomic_fetch_sub_explicit(&pool->n_busy, 1, memory_order_release);
    }
}

/* The generation changes under the mutex so that no worker can miss it between its check and its sleep. */
static void start_generation(ds4_threads *pool) {
    pthread_mutex_lock(&pool->mutex);
    atomic_fetch_add_explicit(&pool->generation, 1, memory_order_release);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->mutex);
}

void ds4_threads_for(ds4_threads *pool, size_t n, size_t grain, ds4_loop_fn body, void *context) {
    if (n == 0) return;
    if (grain == 0) grain = 1;
    if (pool->n == 1 || n <= grain) {
        body(context, 0, 0, n);
        return;
    }
    pool->end = n;
    pool->grain = grain;
    pool->body = body;
    pool->context = context;
    atomic_store_explicit(&pool->next, 0, memory_order_relaxed);
    atomic_store_explicit(&pool->n_busy, pool->n - 1, memory_order_relaxed);
    start_generation(pool);
    run_pieces(pool, 0);
    for (unsigned polls = 0; atomic_load_explicit(&pool->n_busy, memory_order_acquire) != 0; polls++) {
        if (polls < POLLS_BEFORE_SLEEP)
            cpu_pause();
        else
            nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL); /* a worker lost its core to another process: do not burn ours */
    }
}

ds4_status ds4_threads_create(uint32_t n_threads, ds4_threads **threads, ds4_error *error) {
    if (n_threads == 0) n_threads = ds4_threads_online_cores();
    if (n_threads > MAX_THREADS)
        return ds4_fail(error, DS4_INVALID_ARGUMENT, "%u threads asked for; at most %d make sense", n_threads,
                        MAX_THREADS);
    ds4_threads *pool = calloc(1, sizeof *pool);
    if (pool == NULL) return ds4_fail_memory(error, sizeof *pool, "the thread pool");
    pool->n = n_threads;
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pool->workers = calloc(n_threads, sizeof *pool->workers);
    if (pool->workers == NULL) {
        ds4_threads_destroy(pool);
        return ds4_fail_memory(error, n_threads * sizeof *pool->workers, "the thread pool");
    }
    for (uint32_t i = 1; i < n_threads; i++) {
        worker *w = &pool->workers[pool->n_started];
        *w = (worker){.pool = pool, .index = i};
        if (pthread_create(&w->thread, NULL, worker_main, w) != 0) {
            ds4_threads_destroy(pool);
            return ds4_fail(error, DS4_NO_MEMORY, "could not start thread %u of %u", i + 1, n_threads);
        }
        pool->n_started++;
    }
    *threads = pool;
    return DS4_OK;
}

void ds4_threads_destroy(ds4_threads *pool) {
    if (pool == NULL) return;
    atomic_store_explicit(&pool->stop, true, memory_order_release);
    start_generation(pool);
    for (uint32_t i = 0; i < pool->n_started; i++) pthread_join(pool->workers[i].thread, NULL);
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->mutex);
    free(pool->workers);
    free(pool);
}

uint32_t ds4_threads_count(const ds4_threads *pool) {
    return pool->n;
}

uint32_t ds4_threads_online_cores(void) {
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    if (n < 1) return 1;
    return n > MAX_THREADS ? MAX_THREADS : (uint32_t)n;
}
