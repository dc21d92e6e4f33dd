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

enum { MAX_FETCHES = 512 };

struct fetch {
    void *to;
    const void *from;
    int group;
};

enum fiber_state { READY, AT_BARRIER, AT_WARP, DONE };

struct fiber {
    emulated_thread self;
    fiber_state state;
    uint32_t n_exchanges;
    void *stack_pointer; /* where to resume */
    uint8_t *stack;
    void *fake_stack; /* the sanitizer's */
    fetch fetches[MAX_FETCHES];
    int n_fetches, n_groups;
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
    uint32_t deposits[MAX_THREADS / 32][2][32][EXCHANGE_WORDS];
    uint32_t single[MAX_THREADS / 32][2][32];
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
    f->n_fetches = f->n_groups = 0;
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
        running->single[self->self.thread / 32][self->n_exchanges++ & 1]; /* two: see header */
    slots[self->self.thread & 31] = bits;
    self->state = AT_WARP;
    switch_to_scheduler(false);
    return slots;
}

const uint32_t *emulator_exchange_words(const uint32_t *words, int n) {
    fiber *self = running->current;
    uint32_t(*slots)[EXCHANGE_WORDS] =
        running->deposits[self->self.thread / 32][self->n_exchanges++ & 1];
    memcpy(slots[self->self.thread & 31], words, (size_t)n * sizeof *words);
    self->state = AT_WARP;
    switch_to_scheduler(false);
    return slots[0];
}

/* ---- matrix units, halves, copies in the background ---- */

uint32_t half2_fma(uint32_t a, uint32_t b, uint32_t c) {
    uint32_t result = 0;
    for (int i = 0; i < 32; i += 16) {
        /* Products and sums of halves are exact in double; one rounding to float is harmless but
         * for the sums that need more than 24 bits, which the callers do not make. */
        double v = (double)half_bits_to_float((uint16_t)(a >> i)) *
                       (double)half_bits_to_float((uint16_t)(b >> i)) +
                   (double)half_bits_to_float((uint16_t)(c >> i));
        result |= (uint32_t)float_to_half_bits((float)v) << i;
    }
    return result;
}

static inline float finite_half(uint32_t bits) { /* not for infinities */
    uint32_t magnitude = (bits & 0x7fffu) << 13, sign = (bits & 0x8000u) << 16;
    return bits_float(float_bits(bits_float(magnitude) * 0x1p112f) | sign);
}

void multiply_tile(float *d, const uint32_t *a, uint32_t b0, uint32_t b1) {
    uint32_t words[EXCHANGE_WORDS] = {a[0], a[1], a[2], a[3], b0, b1};
    const uint32_t(*lanes)[EXCHANGE_WORDS] = (const uint32_t(*)[EXCHANGE_WORDS])(
        const void *)emulator_exchange_words(words, EXCHANGE_WORDS);
    int lane = emulator_self()->thread & 31, g = lane / 4, t = lane % 4;
    double sum[4] = {d[0], d[1], d[2], d[3]};
    for (int k = 0; k < 16; k++) {
        int shift = 16 * (k % 2), from = k % 8 / 2, half = k / 8;
        float x[2], y[2];
        for (int i = 0; i < 2; i++) {
            x[i] = finite_half(lanes[4 * g + from][i + 2 * half] >> shift);
            y[i] = finite_half(lanes[4 * (2 * t + i) + from][4 + half] >> shift);
        }
        for (int i = 0; i < 4; i++) sum[i] += (double)x[i / 2] * (double)y[i % 2];
    }
    for (int i = 0; i < 4; i++) d[i] = (float)sum[i];
}

static const uint16_t *place_of(const uint32_t *lanes, int lane) {
    uint64_t place = lanes[lane * EXCHANGE_WORDS] | (uint64_t)lanes[lane * EXCHANGE_WORDS + 1]
                                                        << 32;
    return (const uint16_t *)(uintptr_t)place;
}

static void load_any(uint32_t *r, const void *row, bool turned) {
    uint64_t place = (uint64_t)(uintptr_t)row;
    uint32_t words[2] = {(uint32_t)place, (uint32_t)(place >> 32)};
    const uint32_t *lanes = emulator_exchange_words(words, 2);
    int lane = emulator_self()->thread & 31, g = lane / 4, t = lane % 4;
    for (int m = 0; m < 4; m++) {
        uint32_t low =
            turned ? place_of(lanes, 8 * m + 2 * t)[g] : place_of(lanes, 8 * m + g)[2 * t];
        uint32_t high =
            turned ? place_of(lanes, 8 * m + 2 * t + 1)[g] : place_of(lanes, 8 * m + g)[2 * t + 1];
        r[m] = low | high << 16;
    }
}

void load_tiles(uint32_t *r, const void *row) {
    load_any(r, row, false);
}

void load_tiles_turned(uint32_t *r, const void *row) {
    load_any(r, row, true);
}

static void finish_oldest(fiber *f) {
    fetch *first = &f->fetches[0];
    int group = first->group, n = 0;
    while (n < f->n_fetches && f->fetches[n].group == group) {
        memcpy(f->fetches[n].to, f->fetches[n].from, 16);
        n++;
    }
    f->n_fetches -= n;
    memmove(f->fetches, f->fetches + n, (size_t)f->n_fetches * sizeof *f->fetches);
}

void fetch_16(void *shared, const void *from) {
    fiber *f = running->current;
    if (f->n_fetches == MAX_FETCHES) defect("too many copies in the background");
    if (((uintptr_t)shared | (uintptr_t)from) % 16 != 0)
        defect("a copy of 16 bytes is not aligned");
    f->fetches[f->n_fetches++] = fetch{shared, from, f->n_groups};
}

void fetch_group() {
    running->current->n_groups++;
}

void emulator_fetch_finished(int n) {
    fiber *f = running->current;
    while (f->n_fetches > 0 && f->fetches[0].group < f->n_groups - n) finish_oldest(f);
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
                    m->fibers[i].self = {i, threads, {(int)x, (int)y, (int)z}, (int)grid.x};
                }
                run_block(m, reverse);
                free(m->shared);
            }
        }
    }
    running = nullptr;
}

} // namespace GPU_NAMESPACE
