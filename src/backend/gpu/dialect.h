/* The language GPU kernels are written in: a few words for threads, barriers, warps and memory that
 * mean CUDA C++ when nvcc reads them, and C++ for the CPU otherwise (emulator.h): there each thread
 * of a block is a fiber, barriers and warp operations are scheduled in software, blocks run one
 * after the other. So every kernel runs under the address sanitizer on a machine without a GPU.
 *
 * Rules: a block has a multiple of 32 threads; all 32 lanes of a warp reach each warp operation and
 * all threads each barrier; memory shared between blocks of one launch is only read, or written in
 * disjoint places. Reductions have a fixed order, so results do not depend on scheduling. */
#ifndef DS4_BACKEND_GPU_DIALECT_H
#define DS4_BACKEND_GPU_DIALECT_H

#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { WARP = 32 };

#ifdef __CUDACC__

#include <cuda_fp16.h>
#define GPU_NAMESPACE ds4_cuda
#define KERNEL        static __global__ void
#define DEVICE        static __device__ __forceinline__
#define ANYWHERE      static __host__ __device__ __forceinline__ /* the host too */
#define SHARED        static __shared__
#define SHARED_16     static __shared__ __align__(16)
#define DYNAMIC_SHARED(type, name)                                                                 \
    extern __shared__ __align__(16) unsigned char dynamic_shared_memory[];                         \
    type *name = (type *)dynamic_shared_memory
#define UNROLL                         _Pragma("unroll")
#define UNROLL_8                       _Pragma("unroll 8")
#define UNROLL_4                       _Pragma("unroll 4")
#define NOT_UNROLLED                   _Pragma("unroll 1")
#define PRAGMA(words)                  _Pragma(#words)
#define UNROLL_BY(n)                   PRAGMA(unroll n)
#define LAUNCH_BOUNDS(threads, blocks) __launch_bounds__(threads, blocks)
#define ARGUMENTS                      const __grid_constant__ /* large ones: read where they are */

namespace GPU_NAMESPACE {

DEVICE int thread_index() {
    return (int)threadIdx.x;
}
DEVICE int block_threads() {
    return (int)blockDim.x;
}
DEVICE int block_x() {
    return (int)blockIdx.x;
}
DEVICE int block_y() {
    return (int)blockIdx.y;
}
DEVICE int block_z() {
    return (int)blockIdx.z;
}
DEVICE int blocks_x() { /* of the launch */
    return (int)gridDim.x;
}
DEVICE void block_barrier() {
    __syncthreads();
}
DEVICE void warp_barrier() {
    __syncwarp();
}
DEVICE float warp_shuffle_xor(float v, int mask) {
    return __shfl_xor_sync(0xffffffffu, v, mask);
}
DEVICE int warp_shuffle(int v, int lane) {
    return __shfl_sync(0xffffffffu, v, lane);
}
DEVICE uint32_t warp_ballot(bool v) { /* bit l: of lane l */
    return __ballot_sync(0xffffffffu, v);
}
DEVICE int count_bits(uint32_t v) {
    return __popc(v);
}
/* Of all lanes, as a butterfly: the same bits in each. */
DEVICE float warp_sum(float v) {
    UNROLL
    for (int mask = 16; mask > 0; mask /= 2) v += __shfl_xor_sync(0xffffffffu, v, mask);
    return v;
}
DEVICE float warp_max(float v) {
    UNROLL
    for (int mask = 16; mask > 0; mask /= 2) v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, mask));
    return v;
}
DEVICE uint32_t warp_most(uint32_t v) {
    return __reduce_max_sync(0xffffffffu, v);
}
DEVICE uint32_t warp_total(uint32_t v) {
    return __reduce_add_sync(0xffffffffu, v);
}
DEVICE uint32_t atomic_next(uint32_t *p) { /* adds 1; what it was */
    return atomicAdd(p, 1);
}
DEVICE void atomic_add(uint32_t *p, uint32_t v) {
    atomicAdd(p, v);
}
DEVICE float half_bits_to_float(uint16_t bits) {
    return __half2float(__ushort_as_half(bits));
}
DEVICE uint16_t float_to_half_bits(float v) {
    return __half_as_ushort(__float2half_rn(v));
}
DEVICE uint32_t floats_half2(float low, float high) { /* two halves in a word */
    uint32_t r;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
    return r;
}
/* 1 / x and 1 / sqrt(x), wrong in the last bit or two: one instruction, where division and root are
 * thirty that must come from memory. */
DEVICE float reciprocal(float x) {
    float r;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x));
    return r;
}
DEVICE float inverse_root(float x) {
    float r;
    asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x));
    return r;
}
/* e^x for x <= 0, wrong by a few bits more the smaller it is. */
DEVICE float quick_exp(float x) {
    float r;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x * 0x1.715476p0f));
    return r;
}
DEVICE uint32_t float_bits(float v) {
    return __float_as_uint(v);
}
DEVICE float bits_float(uint32_t v) {
    return __uint_as_float(v);
}
/* Byte i of the result: byte number (nibble i of `selector`, 0 to 3) of `bytes`. */
DEVICE uint32_t byte_select(uint32_t bytes, uint32_t selector) {
    return __byte_perm(bytes, 0, selector & 0x3333u);
}
/* Byte i of `word` below the top byte of 2^23. */
DEVICE uint32_t byte_below(uint32_t word, int i) {
    return __byte_perm(word, 0x4b000000u, (uint32_t)(0x7440 + i));
}
/* Each byte becomes 0xFF when its top bit is set, else 0. */
DEVICE uint32_t byte_signs(uint32_t bytes) {
    uint32_t signs;
    asm("prmt.b32 %0, %1, 0, 0xba98;" : "=r"(signs) : "r"(bytes));
    return signs;
}
/* V, unknown to the compiler: an instruction takes one constant, and the other operand's place in a
 * register is then chosen once, not before each use. */
template <uint32_t V> DEVICE uint32_t in_register() {
    uint32_t r;
    asm("{ .reg .u32 t; mov.u32 t, %%tid.z; add.u32 %0, t, %1; }" : "=r"(r) : "n"(V));
    return r; /* blocks have one plane of threads */
}
/* Two halves in a word. */
DEVICE uint32_t half2_multiply(uint32_t a, uint32_t b) {
    uint32_t r;
    asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b));
    return r;
}
DEVICE uint32_t half2_subtract(uint32_t a, uint32_t b) {
    uint32_t r;
    asm("sub.rn.f16x2 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b));
    return r;
}
/* Bytes by the low four nibbles of the selector, each at most 7: 0-3 of a, 4-7 of b. */
DEVICE uint32_t byte_mix(uint32_t a, uint32_t b, uint32_t selector) {
    uint32_t r;
    asm("prmt.b32 %0, %1, %2, %3;" : "=r"(r) : "r"(a), "r"(b), "r"(selector));
    return r;
}
/* The matrix unit: d += a b for a of 16 x 16 and b of 16 x 8 halves. Lane 4 g + t holds, of a, rows
 * g and g + 8 (words 0, 2 and 1, 3) at columns 2 t, 2 t + 1 (words 0, 1) and 8 more (words 2, 3);
 * of b, column g at rows 2 t, 2 t + 1 and 8 more; of d, rows g and g + 8 at columns 2 t, 2 t + 1.
 */
DEVICE void multiply_tile(float *d, const uint32_t *a, uint32_t b0, uint32_t b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
        "{%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
/* The same for d = a b: no registers have to be cleared before. */
DEVICE void multiply_first_tile(float *d, const uint32_t *a, uint32_t b0, uint32_t b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
        "{%8,%9}, {%10,%10,%10,%10};"
        : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "f"(0.0f));
}
/* Four 8 x 8 matrices of halves from shared memory: lane 8 m + r gives the place of row r of matrix
 * m (16 bytes); lane 4 g + t gets row g, columns 2 t and 2 t + 1, of each. `turned`: row and column
 * exchanged. */
DEVICE void load_tiles(uint32_t *r, const void *row) {
    uint32_t at = (uint32_t)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(at)
                 : "memory");
}
DEVICE void load_tiles_turned(uint32_t *r, const void *row) {
    uint32_t at = (uint32_t)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(at)
                 : "memory");
}
/* 16 bytes to shared memory in the background; finished(n): all but the last n groups have come. */
DEVICE void fetch_16(void *shared, const void *from) {
    uint32_t at = (uint32_t)__cvta_generic_to_shared(shared);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(at), "l"(from) : "memory");
}
DEVICE void fetch_group() {
    asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int N> DEVICE void fetch_finished() {
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}
/* Barriers that count bytes; places in shared memory are 32-bit addresses. */
#if __CUDA_ARCH__ >= 900
DEVICE uint32_t shared_place(const void *p) {
    return (uint32_t)__cvta_generic_to_shared(p);
}
DEVICE void barrier_create(uint32_t barrier, int arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals)
                 : "memory");
}
/* One arrival, and so many bytes that must come. */
DEVICE void barrier_expect(uint32_t barrier, uint32_t bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes)
                 : "memory");
}
DEVICE void barrier_wait(uint32_t barrier, uint32_t parity) {
    asm volatile("{\n.reg .pred done;\nagain:\n"
                 "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
                 "@done bra finished;\nbra again;\nfinished:\n}\n" ::"r"(barrier),
                 "r"(parity)
                 : "memory");
}
#endif
/* Runs of weights to shared memory in the background; a whole warp calls these. A `signal` tells
 * when all runs between fetch_begin and fetch_end have come: the warp's wait for the use of the
 * signal number `use`; MORE: so many uses of other signals may still be on their way. What is read
 * `once` leaves the second-level cache before anything else, above all before the kernels'
 * instructions. Bytes are multiples of 16. fetch_lane(): whether this lane does anything in
 * fetch_begin and fetch_run; the others need neither call them nor know what is copied. */
#if __CUDA_ARCH__ >= 900
DEVICE bool fetch_lane() {
    return thread_index() % WARP == 0;
}
DEVICE void create_signals(uint64_t *signals, int n) {
    int lane = thread_index() % WARP;
    if (lane < n) {
        barrier_create(shared_place(signals + lane), 1);
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    }
    warp_barrier();
}
DEVICE void forget_signals(uint64_t *signals, int n) {
    int lane = thread_index() % WARP;
    warp_barrier();
    if (lane < n)
        asm volatile("mbarrier.inval.shared::cta.b64 [%0];" ::"r"(shared_place(signals + lane))
                     : "memory");
    warp_barrier();
}
DEVICE void fetch_begin(uint64_t *signal, int n_bytes) {
    if (thread_index() % WARP == 0) barrier_expect(shared_place(signal), (uint32_t)n_bytes);
}
DEVICE void fetch_run(void *shared, const void *from, int n_bytes, uint64_t *signal, bool once) {
    if (thread_index() % WARP != 0) return;
    /* Policies as createpolicy.fractional makes them: evict_first, evict_normal. */
    uint64_t policy = once ? 0x12f0000000000000u : 0x1000000000000000u;
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint"
                 " [%0], [%1], %2, [%3], %4;" ::"r"(shared_place(shared)),
                 "l"(from), "r"(n_bytes), "r"(shared_place(signal)), "l"(policy)
                 : "memory");
}
DEVICE void fetch_end() {}
template <int MORE> DEVICE void fetch_wait(uint64_t *signal, uint32_t use) {
    barrier_wait(shared_place(signal), use & 1u);
    warp_barrier();
}
DEVICE void fetch_wait(uint64_t *signal, uint32_t use, int) {
    fetch_wait<0>(signal, use);
}
#else
DEVICE bool fetch_lane() {
    return true;
}
DEVICE void create_signals(uint64_t *, int) {}
DEVICE void forget_signals(uint64_t *, int) {}
DEVICE void fetch_begin(uint64_t *, int) {}
DEVICE void fetch_run(void *shared, const void *from, int n_bytes, uint64_t *, bool) {
    for (int at = 16 * (thread_index() % WARP); at < n_bytes; at += 16 * WARP)
        fetch_16((uint8_t *)shared + at, (const uint8_t *)from + at);
}
DEVICE void fetch_end() {
    fetch_group();
}
template <int MORE> DEVICE void fetch_wait(uint64_t *, uint32_t) {
    fetch_finished<MORE>();
    warp_barrier();
}
DEVICE void fetch_wait(uint64_t *, uint32_t, int more) { /* more: known to the kernel only */
    if (more >= 3)
        fetch_finished<3>();
    else if (more >= 1)
        fetch_finished<1>();
    else
        fetch_finished<0>();
    warp_barrier();
}
#endif
/* A launch may begin while the one before it ends: what that one wrote is there after
 * previous_launch(), which each thread must call. next_launch(): the next may begin. */
DEVICE void previous_launch() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
DEVICE void next_launch() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
/* Weights are read once per step: past the first-level cache. */
DEVICE uint4 stream_load(const uint4 *p) {
    return __ldg(p);
}
DEVICE uint2 stream_load(const uint2 *p) {
    return __ldg(p);
}
DEVICE uint32_t stream_load(const uint32_t *p) {
    return __ldg(p);
}

} // namespace GPU_NAMESPACE

#else
#include "backend/gpu/emulator.h"
#endif

namespace GPU_NAMESPACE {

DEVICE float warp_shuffle(float v, int lane) {
    return bits_float((uint32_t)warp_shuffle((int)float_bits(v), lane));
}
/* Unsigned keys in the order of the floats; none is 0. */
DEVICE uint32_t rank_key(float v) {
    uint32_t bits = float_bits(v + 0.0f); /* -0 ranks as 0 */
    bits = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
    return bits > 0 ? bits : 1; /* of one that is no number */
}
DEVICE int lane_index() {
    return thread_index() & (WARP - 1);
}
DEVICE int warp_index() {
    return thread_index() / WARP;
}

/* Of all threads of the block, in a fixed order; `scratch` is shared memory for 32 floats. */
DEVICE float block_sum(float v, float *scratch) {
    int n_warps = block_threads() / WARP;
    v = warp_sum(v);
    block_barrier();
    if (lane_index() == 0) scratch[warp_index()] = v;
    block_barrier();
    return warp_sum(lane_index() < n_warps ? scratch[lane_index()] : 0.0f);
}

} // namespace GPU_NAMESPACE

#endif
