/* A device that is this machine: launches run at once, fiber by fiber. Every other launch resumes
 * its fibers in the opposite order. */
#include "backend/gpu/device.h"

#include <stdlib.h>

extern "C" {
#include "base/machine.h"
}

namespace GPU_NAMESPACE {

struct device {
    emulator *machine;
    bool reverse;
};

ds4_status device_check(ds4_error *error) {
    (void)error;
    return DS4_OK;
}

ds4_status device_create(device **result, ds4_error *error) {
    device *d = (device *)calloc(1, sizeof *d);
    if (d != nullptr) d->machine = emulator_create();
    if (d == nullptr || d->machine == nullptr) {
        free(d);
        return ds4_fail_memory(error, sizeof *d, "an emulated device");
    }
    *result = d;
    return DS4_OK;
}

void device_destroy(device *d) {
    if (d == nullptr) return;
    emulator_destroy(d->machine);
    free(d);
}

int device_processors(device *d) {
    (void)d;
    return 4; /* few, so that blocks have several shares of work even with small models */
}

int device_shared_bytes(device *d) {
    (void)d;
    return 227 * 1024; /* of a Hopper */
}

uint64_t device_free_bytes() {
    return ds4_machine_memory();
}

void device_run(device *d, dim3 grid, int threads, size_t shared_bytes, emulator_entry entry,
                void *arguments) {
    emulator_run(d->machine, grid, threads, shared_bytes, d->reverse, entry, arguments);
    d->reverse = !d->reverse;
}

void *device_allocate(device *d, size_t n_bytes) {
    (void)d;
    void *p = malloc(n_bytes > 0 ? n_bytes : 1);
    if (p != nullptr) memset(p, 0xFF, n_bytes); /* NaN: what was not written shows */
    return p;
}

void device_release(device *d, void *p) {
    (void)d;
    free(p);
}

void *device_allocate_host(device *d, size_t n_bytes) {
    return device_allocate(d, n_bytes);
}

void device_release_host(device *d, void *p) {
    (void)d;
    free(p);
}

bool device_is_pinned(device *d, const void *p) {
    (void)d;
    return (uintptr_t)p % 32 == 0; /* some: both ways are tried */
}

void device_copy_in(device *d, void *to, const void *host, size_t n_bytes) {
    (void)d;
    memcpy(to, host, n_bytes);
}

void device_copy_out(device *d, void *host, const void *from, size_t n_bytes) {
    (void)d;
    memcpy(host, from, n_bytes);
}

void device_copy_rows(device *d, void *to, size_t to_stride, const void *from, size_t from_stride,
                      size_t width, size_t n) {
    (void)d;
    for (size_t i = 0; i < n && width > 0; i++)
        memcpy((uint8_t *)to + i * to_stride, (const uint8_t *)from + i * from_stride, width);
}

void device_clear(device *d, void *p, size_t n_bytes) {
    (void)d;
    memset(p, 0, n_bytes);
}

ds4_status device_finish(device *d, ds4_error *error) {
    (void)d;
    (void)error;
    return DS4_OK;
}

/* Nothing is recorded: launches run as they come, and no graph is ever given out. */
void device_record_begin(device *d) {
    (void)d;
}

device_graph *device_record_end(device *d) {
    (void)d;
    return nullptr;
}

void device_replay(device *d, device_graph *graph) {
    (void)d;
    (void)graph;
    abort();
}

void device_graph_release(device *d, device_graph *graph) {
    (void)d;
    (void)graph;
}

void device_mark(device *d, int mark) {
    (void)d;
    (void)mark;
}

float device_marked_ms(device *d) {
    (void)d;
    return 0;
}

ds4_status device_measure_copy(device *d, void *memory, size_t n_bytes, double *gb_per_second,
                               ds4_error *error) {
    (void)d;
    (void)memory;
    (void)n_bytes;
    (void)error;
    *gb_per_second = 0;
    return DS4_OK;
}

} // namespace GPU_NAMESPACE
