/* The dialect's words on the CPU. A launch runs its blocks one after the other; the threads of a
 * block are fibers that give way at barriers and warp operations. Wrong use (lanes of a warp that
 * miss an operation, threads that miss a barrier) ends in a message and abort(): it is a defect of
 * the kernel. Launches on several host threads at once are independent. */
#ifndef DS4_BACKEND_GPU_EMULATOR_H
#define DS4_BACKEND_GPU_EMULATOR_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define GPU_NAMESPACE              ds4_emulated
#define KERNEL                     static void
#define DEVICE                     static inline
#define ANYWHERE                   static inline
#define SHARED                     static thread_local
#define ARGUMENTS                  const
#define SHARED_16                  alignas(16) static thread_local
#define DYNAMIC_SHARED(type, name) type *name = (type *)GPU_NAMESPACE::emulator_shared()
#define UNROLL
#define NOT_UNROLLED
#define UNROLL_BY(n)
#define UNROLL_8
#define UNROLL_4
#define LAUNCH_BOUNDS(threads, blocks)

struct alignas(8) uint2 {
    uint32_t x, y;
};
struct alignas(16) uint4 {
    uint32_t x, y, z, w;
};
struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct dim3 {
    unsigned x, y, z;
    dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c) {}
};

namespace GPU_NAMESPACE {

/* ---- called by kernels ---- */

struct emulated_thread {
    int thread, threads;
    int block[3];
    int blocks_x;
};
const emulated_thread *emulator_self();
void *emulator_shared();
void emulator_barrier();
/* Deposits `bits` and returns the deposits of all 32 lanes once every lane has made its own; valid
 * until this lane's next operation. */
const uint32_t *emulator_exchange(uint32_t bits);
/* The same for several words: returns [lane][EXCHANGE_WORDS]. */
enum { EXCHANGE_WORDS = 6 };
const uint32_t *emulator_exchange_words(const uint32_t *words, int n);

static inline int thread_index() {
    return emulator_self()->thread;
}
static inline int block_threads() {
    return emulator_self()->threads;
}
static inline int block_x() {
    return emulator_self()->block[0];
}
static inline int block_y() {
    return emulator_self()->block[1];
}
static inline int block_z() {
    return emulator_self()->block[2];
}
static inline int blocks_x() {
    return emulator_self()->blocks_x;
}
static inline void block_barrier() {
    emulator_barrier();
}
static inline void warp_barrier() {
    emulator_exchange(0);
}
static inline uint32_t float_bits(float v) {
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}
static inline float bits_float(uint32_t bits) {
    float v;
    memcpy(&v, &bits, sizeof v);
    return v;
}
static inline float reciprocal(float x) {
    return 1.0f / x;
}
static inline float inverse_root(float x) {
    return 1.0f / sqrtf(x);
}
static inline float quick_exp(float x) {
    return expf(x);
}
static inline float warp_shuffle_xor(float v, int mask) {
    return bits_float(emulator_exchange(float_bits(v))[(thread_index() & 31) ^ mask]);
}
static inline int warp_shuffle(int v, int lane) {
    return (int)emulator_exchange((uint32_t)v)[lane];
}
static inline uint32_t warp_ballot(bool v) {
    const uint32_t *lanes = emulator_exchange(v);
    uint32_t bits = 0;
    for (int i = 0; i < 32; i++) bits |= lanes[i] << i;
    return bits;
}
static inline int count_bits(uint32_t v) {
    return __builtin_popcount(v);
}
/* The butterfly's additions, each once: its lanes all hold the same sum. */
static inline float warp_sum(float v) {
    const uint32_t *lanes = emulator_exchange(float_bits(v));
    float sum[32];
    for (int i = 0; i < 32; i++) sum[i] = bits_float(lanes[i]);
    for (int mask = 16; mask > 0; mask /= 2)
        for (int i = 0; i < mask; i++) sum[i] += sum[i + mask];
    return sum[0];
}
static inline float warp_max(float v) {
    const uint32_t *lanes = emulator_exchange(float_bits(v));
    float most = bits_float(lanes[0]);
    for (int i = 1; i < 32; i++) most = fmaxf(most, bits_float(lanes[i]));
    return most;
}
static inline uint32_t warp_most(uint32_t v) {
    const uint32_t *lanes = emulator_exchange(v);
    uint32_t most = lanes[0];
    for (int i = 1; i < 32; i++) most = lanes[i] > most ? lanes[i] : most;
    return most;
}
static inline uint32_t warp_total(uint32_t v) {
    const uint32_t *lanes = emulator_exchange(v);
    uint32_t total = 0;
    for (int i = 0; i < 32; i++) total += lanes[i];
    return total;
}
static inline uint32_t atomic_next(uint32_t *p) {
    return (*p)++;
}
static inline void atomic_add(uint32_t *p, uint32_t v) {
    *p += v; /* fibers give way only where they say so */
}
static inline uint32_t byte_select(uint32_t bytes, uint32_t selector) {
    uint32_t result = 0;
    for (int i = 0; i < 4; i++)
        result |= (bytes >> (8 * (selector >> (4 * i) & 3)) & 255u) << (8 * i);
    return result;
}
static inline uint32_t byte_below(uint32_t word, int i) {
    return (word >> (8 * i) & 255u) | 0x4b000000u;
}
static inline uint32_t byte_signs(uint32_t bytes) {
    return (bytes >> 7 & 0x01010101u) * 255u;
}
template <uint32_t V> static inline uint32_t in_register() {
    return V;
}
float half_bits_to_float(uint16_t bits);
uint16_t float_to_half_bits(float v);
static inline uint32_t floats_half2(float low, float high) {
    return float_to_half_bits(low) | (uint32_t)float_to_half_bits(high) << 16;
}
uint32_t half2_fma(uint32_t a, uint32_t b, uint32_t c);
static inline uint32_t half2_multiply(uint32_t a, uint32_t b) {
    return half2_fma(a, b, 0x80008000u);
}
static inline uint32_t half2_subtract(uint32_t a, uint32_t b) {
    return half2_fma(a, 0x3c003c00u, b ^ 0x80008000u);
}
static inline uint32_t byte_mix(uint32_t a, uint32_t b, uint32_t selector) {
    uint32_t result = 0;
    uint64_t both = a | (uint64_t)b << 32;
    for (int i = 0; i < 4; i++)
        result |= (uint32_t)(both >> (8 * (selector >> (4 * i) & 7)) & 255u) << (8 * i);
    return result;
}
void multiply_tile(float *d, const uint32_t *a, uint32_t b0, uint32_t b1);
static inline void multiply_first_tile(float *d, const uint32_t *a, uint32_t b0, uint32_t b1) {
    d[0] = d[1] = d[2] = d[3] = 0.0f;
    multiply_tile(d, a, b0, b1);
}
void load_tiles(uint32_t *r, const void *row);
void load_tiles_turned(uint32_t *r, const void *row);
/* Bytes come when the kernel waits for them, not earlier: what is used too soon shows. */
void fetch_16(void *shared, const void *from);
void fetch_group();
void emulator_fetch_finished(int n);
template <int N> static inline void fetch_finished() {
    emulator_fetch_finished(N);
}
/* dialect.h: here groups of fetch_16, which each lane waits for. */
static inline void create_signals(uint64_t *, int) {}
static inline void forget_signals(uint64_t *, int) {}
static inline bool fetch_lane() {
    return true;
}
static inline void fetch_begin(uint64_t *, int) {}
static inline void fetch_run(void *shared, const void *from, int n_bytes, uint64_t *, bool) {
    for (int at = 16 * (thread_index() & 31); at < n_bytes; at += 16 * 32)
        fetch_16((uint8_t *)shared + at, (const uint8_t *)from + at);
}
static inline void fetch_end() {
    fetch_group();
}
template <int MORE> static inline void fetch_wait(uint64_t *, uint32_t) {
    emulator_fetch_finished(MORE);
    warp_barrier();
}
static inline void fetch_wait(uint64_t *, uint32_t, int more) {
    emulator_fetch_finished(more);
    warp_barrier();
}
static inline void previous_launch() {}
static inline void next_launch() {}
static inline uint4 stream_load(const uint4 *p) {
    return *p;
}
static inline uint2 stream_load(const uint2 *p) {
    return *p;
}
static inline uint32_t stream_load(const uint32_t *p) {
    return *p;
}

/* ---- called by the host side ---- */

struct emulator;             /* fibers and their stacks; used by one host thread at a time */
emulator *emulator_create(); /* NULL when out of memory */
void emulator_destroy(emulator *machine);

typedef void (*emulator_entry)(void *arguments);
/* Runs entry(arguments) once per thread of grid x threads. `reverse`: the fibers of a block are
 * resumed in the opposite order: a kernel without a needed barrier gives other results then. */
void emulator_run(emulator *machine, dim3 grid, int threads, size_t shared_bytes, bool reverse,
                  emulator_entry entry, void *arguments);

} // namespace GPU_NAMESPACE

#endif
