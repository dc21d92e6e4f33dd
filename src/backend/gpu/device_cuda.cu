#include "backend/gpu/device.h"

#include <stdio.h>
#include <stdlib.h>

namespace GPU_NAMESPACE {

struct device {
    cudaStream_t stream;
    cudaEvent_t mark[2];
    int n_processors, shared_bytes;
    bool is_hopper;
    cudaError_t problem; /* the first since device_finish */
    const char *what;
};

struct device_graph {
    cudaGraphExec_t executable;
};

/* Tells for which architecture the kernels were compiled that this device runs. */
static __global__ void probe_kernel() {}

cudaStream_t device_stream(device *d) {
    return d->stream;
}

void device_note(device *d, cudaError_t problem, const char *what) {
    if (problem == cudaSuccess || d->problem != cudaSuccess) return;
    d->problem = problem;
    d->what = what;
}

ds4_status device_check(ds4_error *error) {
    int n = 0, major = 0, minor = 0;
    cudaError_t problem = cudaGetDeviceCount(&n);
    if (problem != cudaSuccess || n == 0) {
        cudaGetLastError();
        return ds4_fail(
            error, DS4_UNSUPPORTED, "no CUDA device can be used (%s); use --backend cpu",
            n == 0 && problem == cudaSuccess ? "there is none" : cudaGetErrorString(problem));
    }
    cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0);
    cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, 0);
    if (major < 8)
        return ds4_fail(error, DS4_UNSUPPORTED,
                        "the GPU has compute capability %d.%d, 8.0 is needed; use --backend cpu",
                        major, minor);
    return DS4_OK;
}

ds4_status device_create(device **result, ds4_error *error) {
    device *d = (device *)calloc(1, sizeof *d);
    if (d == nullptr) return ds4_fail_memory(error, sizeof *d, "a device");
    device_note(d, cudaStreamCreateWithFlags(&d->stream, cudaStreamNonBlocking), "a stream");
    device_note(d, cudaEventCreate(&d->mark[0]), "an event");
    device_note(d, cudaEventCreate(&d->mark[1]), "an event");
    device_note(d, cudaDeviceGetAttribute(&d->n_processors, cudaDevAttrMultiProcessorCount, 0),
                "a question");
    device_note(
        d, cudaDeviceGetAttribute(&d->shared_bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, 0),
        "a question");
    cudaFuncAttributes code;
    device_note(d, cudaFuncGetAttributes(&code, probe_kernel), "a question");
    d->is_hopper = code.binaryVersion == 90 && code.ptxVersion == 90;
    ds4_status status = device_finish(d, error);
    if (status != DS4_OK)
        device_destroy(d);
    else
        *result = d;
    return status;
}

void device_destroy(device *d) {
    if (d == nullptr) return;
    if (d->mark[0] != nullptr) cudaEventDestroy(d->mark[0]);
    if (d->mark[1] != nullptr) cudaEventDestroy(d->mark[1]);
    if (d->stream != nullptr) cudaStreamDestroy(d->stream);
    free(d);
}

bool device_is_hopper(device *d) {
    return d->is_hopper;
}

int device_processors(device *d) {
    return d->n_processors;
}

int device_shared_bytes(device *d) {
    return d->shared_bytes;
}

uint64_t device_free_bytes() {
    size_t available = 0, total = 0;
    return cudaMemGetInfo(&available, &total) == cudaSuccess ? available : 0;
}

void *device_allocate(device *d, size_t n_bytes) {
    (void)d;
    void *p = nullptr;
    if (cudaMalloc(&p, n_bytes > 0 ? n_bytes : 1) == cudaSuccess) return p;
    cudaGetLastError(); /* no memory is an answer, not a lasting problem */
    return nullptr;
}

void device_release(device *d, void *p) {
    (void)d;
    if (p != nullptr) cudaFree(p);
}

void *device_allocate_host(device *d, size_t n_bytes) {
    (void)d;
    void *p = nullptr;
    if (cudaMallocHost(&p, n_bytes > 0 ? n_bytes : 1) == cudaSuccess) return p;
    cudaGetLastError();
    return nullptr;
}

void device_release_host(device *d, void *p) {
    (void)d;
    if (p != nullptr) cudaFreeHost(p);
}

bool device_is_pinned(device *d, const void *p) {
    (void)d;
    cudaPointerAttributes about;
    if (cudaPointerGetAttributes(&about, p) == cudaSuccess) return about.type == cudaMemoryTypeHost;
    cudaGetLastError();
    return false;
}

void device_copy_in(device *d, void *to, const void *host, size_t n_bytes) {
    device_note(d, cudaMemcpyAsync(to, host, n_bytes, cudaMemcpyHostToDevice, d->stream), "a copy");
}

void device_copy_out(device *d, void *host, const void *from, size_t n_bytes) {
    device_note(d, cudaMemcpyAsync(host, from, n_bytes, cudaMemcpyDeviceToHost, d->stream),
                "a copy");
}

void device_copy_rows(device *d, void *to, size_t to_stride, const void *from, size_t from_stride,
                      size_t width, size_t n) {
    if (width == 0 || n == 0) return;
    if (to_stride == width && from_stride == width)
        device_note(d, cudaMemcpyAsync(to, from, width * n, cudaMemcpyDefault, d->stream),
                    "a copy");
    else
        device_note(d,
                    cudaMemcpy2DAsync(to, to_stride, from, from_stride, width, n, cudaMemcpyDefault,
                                      d->stream),
                    "a copy");
}

void device_clear(device *d, void *p, size_t n_bytes) {
    device_note(d, cudaMemsetAsync(p, 0, n_bytes, d->stream), "clearing");
}

ds4_status device_finish(device *d, ds4_error *error) {
    if (d->stream != nullptr) device_note(d, cudaStreamSynchronize(d->stream), "waiting");
    if (d->problem == cudaSuccess) return DS4_OK;
    ds4_fail(error, d->problem == cudaErrorMemoryAllocation ? DS4_NO_MEMORY : DS4_INTERNAL,
             "the GPU failed at %s: %s", d->what, cudaGetErrorString(d->problem));
    ds4_status status = d->problem == cudaErrorMemoryAllocation ? DS4_NO_MEMORY : DS4_INTERNAL;
    d->problem = cudaSuccess;
    return status;
}

void device_record_begin(device *d) {
    device_note(d, cudaStreamBeginCapture(d->stream, cudaStreamCaptureModeThreadLocal),
                "recording");
}

device_graph *device_record_end(device *d) {
    cudaGraph_t graph = nullptr;
    device_note(d, cudaStreamEndCapture(d->stream, &graph), "recording");
    if (graph == nullptr) return nullptr;
    device_graph *result = (device_graph *)calloc(1, sizeof *result);
    cudaError_t problem = result == nullptr ? cudaErrorMemoryAllocation
                                            : cudaGraphInstantiate(&result->executable, graph, 0);
    cudaGraphDestroy(graph);
    if (problem == cudaSuccess) return result;
    free(result);
    device_note(d, problem, "preparing a graph");
    return nullptr;
}

void device_replay(device *d, device_graph *graph) {
    device_note(d, cudaGraphLaunch(graph->executable, d->stream), "a graph");
}

void device_graph_release(device *d, device_graph *graph) {
    (void)d;
    if (graph == nullptr) return;
    cudaGraphExecDestroy(graph->executable);
    free(graph);
}

void device_mark(device *d, int mark) {
    device_note(d, cudaEventRecord(d->mark[mark], d->stream), "an event");
}

float device_marked_ms(device *d) {
    float ms = 0;
    device_note(d, cudaEventElapsedTime(&ms, d->mark[0], d->mark[1]), "an event");
    return ms;
}

ds4_status device_measure_copy(device *d, void *memory, size_t n_bytes, double *gb_per_second,
                               ds4_error *error) {
    enum { COPIES = 5 };
    size_t half = n_bytes / 2;
    *gb_per_second = 0;
    for (int i = 0; i < COPIES; i++) {
        device_mark(d, 0);
        device_copy_rows(d, memory, half, (uint8_t *)memory + half, half, half, 1);
        device_mark(d, 1);
        ds4_status status = device_finish(d, error);
        if (status != DS4_OK) return status;
        double ms = device_marked_ms(d), rate = ms > 0 ? 2 * (double)half / ms / 1e6 : 0;
        if (rate > *gb_per_second) *gb_per_second = rate;
    }
    return DS4_OK;
}

} // namespace GPU_NAMESPACE
