#include "base/threads.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"

/* A worker polls this many times for the next loop before it sleeps: between the layers of one
 * token the gap is a few microseconds, far below the cost of a wake-up. */
enum { POLLS_BEFORE_SLEEP = 4000, MAX_THREADS = 1024 };

/* Fields of `loop`. */
static const unsigned long long OPEN = 1ull << 32, NUMBER = 1ull << 33, JOINED = OPEN - 1;

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
    /* Number of the current loop, whether workers may still join it, and how many have: one word,
     * so that closing a loop and joining it cannot cross. A worker that the operating system wakes
     * late finds the loop closed and nobody waits for it: on a busy machine a loop costs no more
     * than its own work. */
    atomic_ullong loop;
    atomic_bool stop;
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

static unsigned long long number_of(unsigned long long loop) {
    return loop / NUMBER;
}

/* Returns the loop word once it differs from the one with number `seen`. */
static unsigned long long wait_for_loop(ds4_threads *pool, unsigned long long seen) {
    unsigned long long loop;
    for (int i = 0; i < POLLS_BEFORE_SLEEP; i++) {
        loop = atomic_load_explicit(&pool->loop, memory_order_acquire);
        if (number_of(loop) != seen) return loop;
        cpu_pause();
    }
    pthread_mutex_lock(&pool->mutex);
    while (number_of(loop = atomic_load_explicit(&pool->loop, memory_order_acquire)) == seen)
        pthread_cond_wait(&pool->wake, &pool->mutex);
    pthread_mutex_unlock(&pool->mutex);
    return loop;
}

/* Whether this worker is now counted in the loop it saw; false when that loop has closed meanwhile.
 */
static bool join_loop(ds4_threads *pool, unsigned long long loop) {
    unsigned long long number = number_of(loop);
    while ((loop & OPEN) != 0 && number_of(loop) == number) {
        if (atomic_compare_exchange_weak_explicit(&pool->loop, &loop, loop + 1,
                                                  memory_order_acquire, memory_order_acquire))
            return true;
    }
    return false;
}

static void *worker_main(void *argument) {
    worker *self = argument;
    ds4_threads *pool = self->pool;
    unsigned long long seen = 0;
    for (;;) {
        unsigned long long loop = wait_for_loop(pool, seen);
        if (atomic_load_explicit(&pool->stop, memory_order_acquire)) return NULL;
        seen = number_of(loop);
        if (!join_loop(pool, loop)) continue;
        run_pieces(pool, self->index);
        atomic_fetch_sub_explicit(&pool->loop, 1, memory_order_release);
    }
}

/* The number changes under the mutex so that no worker can miss it between its check and its sleep.
 */
static void open_loop(ds4_threads *pool) {
    pthread_mutex_lock(&pool->mutex);
    unsigned long long number = number_of(atomic_load_explicit(&pool->loop, memory_order_relaxed));
    atomic_store_explicit(&pool->loop, (number + 1) * NUMBER + OPEN, memory_order_release);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->mutex);
}

static void close_loop(ds4_threads *pool) {
    atomic_fetch_and_explicit(&pool->loop, ~OPEN, memory_order_acq_rel);
    for (unsigned polls = 0;
         (atomic_load_explicit(&pool->loop, memory_order_acquire) & JOINED) != 0; polls++) {
        if (polls < POLLS_BEFORE_SLEEP)
            cpu_pause();
        else
            nanosleep(&(struct timespec){.tv_nsec = 20000},
                      NULL); /* a worker lost its core in the middle of a piece */
    }
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
    open_loop(pool);
    run_pieces(pool, 0);
    close_loop(pool);
}

ds4_status ds4_threads_create(uint32_t n_threads, ds4_threads **threads, ds4_error *error) {
    if (n_threads == 0) n_threads = ds4_threads_online_cores();
    if (n_threads > MAX_THREADS)
        return ds4_fail(error, DS4_INVALID_ARGUMENT, "%u threads asked for; at most %d make sense",
                        n_threads, MAX_THREADS);
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
            return ds4_fail(error, DS4_NO_MEMORY, "could not start thread %u of %u", i + 1,
                            n_threads);
        }
        pool->n_started++;
    }
    *threads = pool;
    return DS4_OK;
}

void ds4_threads_destroy(ds4_threads *pool) {
    if (pool == NULL) return;
    atomic_store_explicit(&pool->stop, true, memory_order_release);
    open_loop(pool);
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
