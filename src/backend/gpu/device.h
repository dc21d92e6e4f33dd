/* What the host side needs of a device: memory, copies, a queue of launches, graphs. Implemented
 * by device_cuda.cu and device_emulated.cc; everything above is the same source for both. A device
 * is used by one thread at a time. */
#ifndef DS4_BACKEND_GPU_DEVICE_H
#define DS4_BACKEND_GPU_DEVICE_H

#include "backend/gpu/dialect.h"

extern "C" {
#include "base/error.h"
}

namespace GPU_NAMESPACE {

struct device;       /* memory and a queue; work runs in the order in which it was given */
struct device_graph; /* launches recorded once and replayed */

ds4_status device_check(ds4_error *error); /* whether there is one that our kernels run on */
ds4_status device_create(device **result, ds4_error *error);
void device_destroy(device *d);
int device_processors(device *d);   /* blocks run on so many multiprocessors at once */
int device_shared_bytes(device *d); /* shared memory that a block can have */
uint64_t device_free_bytes();       /* memory that can still be had; 0 when unknown */

void *device_allocate(device *d, size_t n_bytes); /* NULL when there is none left */
void device_release(device *d, void *p);
void *device_allocate_host(device *d, size_t n_bytes); /* pinned: copies to and from it are fast */
void device_release_host(device *d, void *p);
bool device_is_pinned(device *d, const void *p); /* of device_allocate_host */

/* Queued copies; the host memory must stay until the queue is done. */
void device_copy_in(device *d, void *to, const void *host, size_t n_bytes);
void device_copy_out(device *d, void *host, const void *from, size_t n_bytes);
void device_copy_rows(device *d, void *to, size_t to_stride, const void *from, size_t from_stride,
                      size_t width, size_t n); /* any direction */
void device_clear(device *d, void *p, size_t n_bytes);

/* Waits for the queue; reports what went wrong since the last call. */
ds4_status device_finish(device *d, ds4_error *error);

/* Between record_begin and record_end launches are kept, not run. NULL: recording failed. */
void device_record_begin(device *d);
device_graph *device_record_end(device *d);
void device_replay(device *d, device_graph *graph);
void device_graph_release(device *d, device_graph *graph);

/* The time of everything queued between two marks, in milliseconds (after device_finish). */
void device_mark(device *d, int mark); /* 0 or 1 */
float device_marked_ms(device *d);

/* The best rate, in GB/s (10^9 bytes read and written), at which half of `memory` is copied to its
 * other half; 0 where there is no clock. Waits for the queue. */
ds4_status device_measure_copy(device *d, void *memory, size_t n_bytes, double *gb_per_second,
                               ds4_error *error);

#ifdef __CUDACC__

cudaStream_t device_stream(device *d);
void device_note(device *d, cudaError_t problem, const char *what);

/* The code for sm_90a is what runs: launches may begin while the one before ends (dialect.h), and
 * hopper_products.cu works. */
bool device_is_hopper(device *d);

template <typename... P, typename... A>
void launch(device *d, void (*kernel)(P...), dim3 grid, int threads, size_t shared_bytes,
            A... arguments) {
    enum { ALWAYS_THERE = 32 * 1024 }; /* beside what the kernel itself declares */
    if (shared_bytes > ALWAYS_THERE)
        device_note(d,
                    cudaFuncSetAttribute((const void *)kernel,
                                         cudaFuncAttributeMaxDynamicSharedMemorySize,
                                         (int)shared_bytes),
                    "shared memory");
    cudaLaunchAttribute overlap = {};
    overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    overlap.val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t how = {};
    how.gridDim = grid;
    how.blockDim = dim3((unsigned)threads);
    how.dynamicSmemBytes = shared_bytes;
    how.stream = device_stream(d);
    how.attrs = &overlap;
    how.numAttrs = device_is_hopper(d) ? 1 : 0;
    device_note(d, cudaLaunchKernelEx(&how, kernel, arguments...), "a launch");
}

#else

void device_run(device *d, dim3 grid, int threads, size_t shared_bytes, emulator_entry entry,
                void *arguments);

template <typename F> void call_entry(void *f) {
    (*(F *)f)();
}

template <typename... P, typename... A>
void launch(device *d, void (*kernel)(P...), dim3 grid, int threads, size_t shared_bytes,
            A... arguments) {
    auto call = [&]() { kernel(arguments...); };
    device_run(d, grid, threads, shared_bytes, call_entry<decltype(call)>, &call);
}

#endif

} // namespace GPU_NAMESPACE

#endif
