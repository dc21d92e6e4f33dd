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
#define DYNAMIC_SHARED(type, name)                                                                 \
    extern __shared__ __align__(16) unsigned char dynamic_shared_memory[];                         \
    type *name = (type *)dynamic_shared_memory
#define UNROLL                         _Pragma("unroll")
#define UNROLL_8                       _Pragma("unroll 8")
#define LAUNCH_BOUNDS(threads, blocks) __launch_bounds__(threads, blocks)

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
DEVICE void atomic_add(uint32_t *p, uint32_t v) {
    atomicAdd(p, v);
}
DEVICE float half_bits_to_float(uint16_t bits) {
    return __half2float(__ushort_as_half(bits));
}
DEVICE uint16_t float_to_half_bits(float v) {
    return __half_as_ushort(__float2half_rn(v));
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
/* Weights are read once per step: past the first-level cache. */
DEVICE uint4 stream_load(const uint4 *p) {
    return __ldg(p);
}
DEVICE uint2 stream_load(const uint2 *p) {
    return __ldg(p);
}

} // namespace GPU_NAMESPACE

#else
#include "backend/gpu/emulator.h"
#endif

namespace GPU_NAMESPACE {

DEVICE int lane_index() {
    return thread_index() & (WARP - 1);
}
DEVICE int warp_index() {
    return thread_index() / WARP;
}

/* Of all threads of the block, in a fixed order; `scratch` is shared memory for 33 floats. */
DEVICE float block_sum(float v, float *scratch) {
    int n_warps = block_threads() / WARP;
    v = warp_sum(v);
    block_barrier();
    if (lane_index() == 0) scratch[warp_index()] = v;
    block_barrier();
    if (warp_index() == 0) {
        float total = warp_sum(lane_index() < n_warps ? scratch[lane_index()] : 0.0f);
        if (lane_index() == 0) scratch[WARP] = total;
    }
    block_barrier();
    return scratch[WARP];
}

} // namespace GPU_NAMESPACE

#endif
