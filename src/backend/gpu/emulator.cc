#include "backend/gpu/emulator.h"

#include <stdio.h>
#include <stdlib.h>

extern "C" {
#include "quant/quant.h"
}

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace GPU_NAMESPACE {

float half_bits_to_float(uint16_t bits) {
    return ds4_f16_to_f32(bits);
}

uint16_t float_to_half_bits(float v) {
    return ds4_f32_to_f16(v);
}

namespace {

enum { MAX_THREADS = 1024, STACK_BYTES = 96 * 1024 };

enum fiber_state { READY, AT_BARRIER, AT_WARP, DONE };

struct fiber {
    emulated_thread self;
    fiber_state state;
    uint32_t n_exchanges;
    void *stack_pointer; /* where to resume */
    uint8_t *stack;
    void *fake_stack; /* the sanitizer's */
};

} // namespace

struct emulator {
    fiber fibers[MAX_THREADS];
    int n_fibers;
    fiber *current;
    void *scheduler_pointer;
    void *scheduler_fake_stack;
    const void *scheduler_bottom;
    size_t scheduler_size;
    emulator_entry entry;
    void *arguments;
    uint8_t *shared;
    uint32_t deposits[MAX_THREADS / 32][2][32];
};

namespace {

thread_local emulator *running; /* the machine whose kernel this host thread is in */

[[noreturn]] void defect(const char *what) {
    const emulated_thread &t = running->current->self;
    fprintf(stderr, "emulated kernel: %s (block %d,%d,%d thread %d)\n", what, t.block[0],
            t.block[1], t.block[2], t.thread);
    abort();
}

/* Saves the callee-saved registers on the stack of the caller, stores the stack pointer in *from
 * and continues at `to`. */
#if defined(__x86_64__)
extern "C" void ds4_fiber_switch(void **from, void *to);
asm(R"(
.text
.type ds4_fiber_switch, @function
ds4_fiber_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size ds4_fiber_switch, .-ds4_fiber_switch
)");
enum { SAVED_WORDS = 6 };
#elif defined(__aarch64__)
extern "C" void ds4_fiber_switch(void **from, void *to);
asm(R"(
.text
.type ds4_fiber_switch, @function
ds4_fiber_switch:
    sub sp, sp, #160
    stp x19, x20, [sp, #0]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    mov x9, sp
    str x9, [x0]
    mov sp, x1
    ldp x19, x20, [sp, #0]
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp x29, x30, [sp, #80]
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    add sp, sp, #160
    ret
.size ds4_fiber_switch, .-ds4_fiber_switch
)");
#else
#error "the emulator switches fibers on x86-64 and AArch64"
#endif

void switch_to_scheduler(bool leaving) {
    emulator *m = running;
    fiber *self = m->current;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(leaving ? nullptr : &self->fake_stack, m->scheduler_bottom,
                                   m->scheduler_size);
#else
    (void)leaving;
#endif
    ds4_fiber_switch(&self->stack_pointer, m->scheduler_pointer);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(self->fake_stack, nullptr, nullptr);
#endif
}

extern "C" void ds4_fiber_main() {
    emulator *m = running;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(nullptr, &m->scheduler_bottom, &m->scheduler_size);
#endif
    m->entry(m->arguments);
    m->current->state = DONE;
    switch_to_scheduler(true);
    abort();
}

void prepare_fiber(fiber *f) {
    if (f->stack == nullptr) f->stack = (uint8_t *)malloc(STACK_BYTES);
    if (f->stack == nullptr) abort();
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(f->stack, STACK_BYTES); /* frames that never returned */
#endif
    uintptr_t top = ((uintptr_t)f->stack + STACK_BYTES) & ~(uintptr_t)15;
#if defined(__x86_64__)
    void **words = (void **)top - 2 - SAVED_WORDS;
    memset(words, 0, (SAVED_WORDS + 2) * sizeof *words);
    words[SAVED_WORDS] =
        (void *)ds4_fiber_main; /* popped by ret; leaves the stack as a call does */
    f->stack_pointer = words;
#else
    void **words = (void **)(top - 160);
    memset(words, 0, 160);
    words[11] = (void *)ds4_fiber_main; /* x30 */
    f->stack_pointer = words;
#endif
    f->state = READY;
    f->n_exchanges = 0;
    f->fake_stack = nullptr;
}

void resume(emulator *m, fiber *f) {
    m->current = f;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&m->scheduler_fake_stack, f->stack, STACK_BYTES);
#endif
    ds4_fiber_switch(&m->scheduler_pointer, f->stack_pointer);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(m->scheduler_fake_stack, nullptr, nullptr);
#endif
}

/* Lanes of a warp that wait for each other may go on when all 32 have arrived. */
bool release_warp(emulator *m, int first) {
    int waiting = 0;
    for (int i = first; i < first + 32; i++) waiting += m->fibers[i].state == AT_WARP;
    if (waiting < 32) return false;
    for (int i = first; i < first + 32; i++) m->fibers[i].state = READY;
    return true;
}

bool release_block(emulator *m) {
    int waiting = 0, done = 0;
    for (int i = 0; i < m->n_fibers; i++) {
        waiting += m->fibers[i].state == AT_BARRIER;
        done += m->fibers[i].state == DONE;
    }
    if (done == m->n_fibers) return false;
    if (waiting != m->n_fibers)
        defect(done > 0 && done + waiting == m->n_fibers
                   ? "threads that ended miss a barrier of the others"
                   : "lanes of a warp miss an operation of the others");
    for (int i = 0; i < m->n_fibers; i++) m->fibers[i].state = READY;
    return true;
}

void run_block(emulator *m, bool reverse) {
    int n_warps = m->n_fibers / 32;
    do {
        for (int w = 0; w < n_warps; w++) {
            int first = 32 * (reverse ? n_warps - 1 - w : w);
            do {
                for (int i = 0; i < 32; i++) {
                    fiber *f = &m->fibers[first + (reverse ? 31 - i : i)];
                    if (f->state == READY) resume(m, f);
                }
            } while (release_warp(m, first));
        }
    } while (release_block(m));
}

} // namespace

const emulated_thread *emulator_self() {
    return &running->current->self;
}

void *emulator_shared() {
    return running->shared;
}

void emulator_barrier() {
    running->current->state = AT_BARRIER;
    switch_to_scheduler(false);
}

const uint32_t *emulator_exchange(uint32_t bits) {
    fiber *self = running->current;
    uint32_t *slots =
        running->deposits[self->self.thread / 32][self->n_exchanges++ & 1]; /* two: see header */
    slots[self->self.thread & 31] = bits;
    self->state = AT_WARP;
    switch_to_scheduler(false);
    return slots;
}

emulator *emulator_create() {
    return (emulator *)calloc(1, sizeof(emulator));
}

void emulator_destroy(emulator *m) {
    if (m == nullptr) return;
    for (fiber &f : m->fibers) free(f.stack);
    free(m);
}

void emulator_run(emulator *m, dim3 grid, int threads, size_t shared_bytes, bool reverse,
                  emulator_entry entry, void *arguments) {
    if (threads % 32 != 0 || threads > MAX_THREADS) abort();
    m->n_fibers = threads;
    m->entry = entry;
    m->arguments = arguments;
    running = m;
    for (unsigned z = 0; z < grid.z; z++) {
        for (unsigned y = 0; y < grid.y; y++) {
            for (unsigned x = 0; x < grid.x; x++) {
                m->shared = (uint8_t *)aligned_alloc(16, (shared_bytes + 31) / 16 * 16);
                if (m->shared == nullptr) abort();
                memset(m->shared, 0xFF, shared_bytes); /* NaN: nothing may rely on old content */
                for (int i = 0; i < threads; i++) {
                    prepare_fiber(&m->fibers[i]);
                    m->fibers[i].self = {i, threads, {(int)x, (int)y, (int)z}};
                }
                run_block(m, reverse);
                free(m->shared);
            }
        }
    }
    running = nullptr;
}

} // namespace GPU_NAMESPACE
