/* A fixed pool of threads for data-parallel loops. The calling thread takes part in every loop; a
 * loop returns when all its pieces are done. How pieces fall to threads varies from run to run, so
 * a piece must not depend on it. */
#ifndef DS4_BASE_THREADS_H
#define DS4_BASE_THREADS_H

#include "ds4.h"

typedef struct ds4_threads ds4_threads;

/* Works on [begin, end) of a loop; `thread` (0 .. count-1) tells which private scratch to use. */
typedef void (*ds4_loop_fn)(void *context, uint32_t thread, size_t begin, size_t end);

/* n_threads 0 means one per online core. */
ds4_status ds4_threads_create(uint32_t n_threads, ds4_threads **threads, ds4_error *error);
void ds4_threads_destroy(ds4_threads *threads);
uint32_t ds4_threads_count(const ds4_threads *threads);
uint32_t ds4_threads_online_cores(void);

/* Runs `body` over [0, n) in pieces of at most `grain` (>= 1). One loop at a time per pool. */
void ds4_threads_for(ds4_threads *threads, size_t n, size_t grain, ds4_loop_fn body, void *context);

#endif
