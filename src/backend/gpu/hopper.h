/* Words of Hopper (sm_90a) for kernels that no other device runs: matrix instructions of a
 * warpgroup, copies of tiles that the copy engine makes, barriers that count bytes, and clusters of
 * two blocks. Empty where another architecture is compiled. */
#ifndef DS4_BACKEND_GPU_HOPPER_H
#define DS4_BACKEND_GPU_HOPPER_H

#include "backend/gpu/dialect.h"

#include <cuda.h>

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

namespace GPU_NAMESPACE {

/* ---- barriers and copies (more in dialect.h); places in shared memory are 32-bit addresses ----
 */

/* At the same barrier of a block of the cluster. (Waiting for the matrix unit has ordered what it
 * read; a release to the cluster would wait for all stores of the thread.) */
DEVICE void barrier_arrive(uint32_t barrier, int block) {
    asm volatile("{\n.reg .b32 there;\nmapa.shared::cluster.u32 there, %0, %1;\n"
                 "mbarrier.arrive.shared::cluster.b64 _, [there];\n}\n" ::"r"(barrier),
                 "r"(block)
                 : "memory");
}
/* A box of a tensor to the same place of all blocks of the cluster, which `barrier` of each counts.
 */
template <int CLUSTER>
DEVICE void copy_box(uint32_t to, const CUtensorMap *map, int column, int row, uint32_t barrier) {
    if (CLUSTER > 1)
        asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes"
                     ".multicast::cluster [%0], [%1, {%2, %3}], [%4], %5;" ::"r"(to),
                     "l"(map), "r"(column), "r"(row), "r"(barrier),
                     "h"((uint16_t)((1 << CLUSTER) - 1))
                     : "memory");
    else
        asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes"
                     " [%0], [%1, {%2, %3}], [%4];" ::"r"(to),
                     "l"(map), "r"(column), "r"(row), "r"(barrier)
                     : "memory");
}
/* Some of the block's threads, a multiple of 32. */
DEVICE void part_barrier(int id, int threads) {
    asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
/* Registers of a warpgroup, all of whose threads call it, from and for the others. */
template <int N> DEVICE void give_registers() {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(N));
}
template <int N> DEVICE void take_registers() {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(N));
}
DEVICE int cluster_rank() {
    uint32_t rank;
    asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return (int)rank;
}
DEVICE void cluster_barrier() {
    asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::
                     : "memory");
}

/* ---- matrix instructions of a warpgroup ---- */

#define SUM_4(d, i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])

/* d (64 x N) = a b, or d += a b when `add`: b is 16 columns of a plane. */
template <int N> DEVICE void multiply_group(float *d, const uint32_t *a, uint64_t b, int add);
template <>
__device__ __forceinline__ void multiply_group<32>(float *d, const uint32_t *a, uint64_t b,
                                                   int add) {
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %21, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n32k16.f32.f16.f16 "
                 "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15}, "
                 "{%16,%17,%18,%19}, %20, p, 1, 1, 0;\n}\n"
                 : SUM_4(d, 0), SUM_4(d, 4), SUM_4(d, 8), SUM_4(d, 12)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add));
}
template <>
__device__ __forceinline__ void multiply_group<64>(float *d, const uint32_t *a, uint64_t b,
                                                   int add) {
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %37, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 "
                 "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,"
                 "%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31}, "
                 "{%32,%33,%34,%35}, %36, p, 1, 1, 0;\n}\n"
                 : SUM_4(d, 0), SUM_4(d, 4), SUM_4(d, 8), SUM_4(d, 12), SUM_4(d, 16), SUM_4(d, 20),
                   SUM_4(d, 24), SUM_4(d, 28)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add));
}
template <>
__device__ __forceinline__ void multiply_group<96>(float *d, const uint32_t *a, uint64_t b,
                                                   int add) {
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %53, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n96k16.f32.f16.f16 "
                 "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,"
                 "%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,%32,%33,%34,%35,%36,%37,"
                 "%38,%39,%40,%41,%42,%43,%44,%45,%46,%47}, "
                 "{%48,%49,%50,%51}, %52, p, 1, 1, 0;\n}\n"
                 : SUM_4(d, 0), SUM_4(d, 4), SUM_4(d, 8), SUM_4(d, 12), SUM_4(d, 16), SUM_4(d, 20),
                   SUM_4(d, 24), SUM_4(d, 28), SUM_4(d, 32), SUM_4(d, 36), SUM_4(d, 40),
                   SUM_4(d, 44)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add));
}
template <>
__device__ __forceinline__ void multiply_group<112>(float *d, const uint32_t *a, uint64_t b,
                                                    int add) {
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %61, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n112k16.f32.f16.f16 "
                 "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,"
                 "%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,%32,%33,%34,%35,%36,%37,"
                 "%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55}, "
                 "{%56,%57,%58,%59}, %60, p, 1, 1, 0;\n}\n"
                 : SUM_4(d, 0), SUM_4(d, 4), SUM_4(d, 8), SUM_4(d, 12), SUM_4(d, 16), SUM_4(d, 20),
                   SUM_4(d, 24), SUM_4(d, 28), SUM_4(d, 32), SUM_4(d, 36), SUM_4(d, 40),
                   SUM_4(d, 44), SUM_4(d, 48), SUM_4(d, 52)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add));
}
template <>
__device__ __forceinline__ void multiply_group<128>(float *d, const uint32_t *a, uint64_t b,
                                                    int add) {
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %69, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16 "
                 "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,"
                 "%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,%32,%33,%34,%35,%36,%37,"
                 "%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,"
                 "%56,%57,%58,%59,%60,%61,%62,%63}, "
                 "{%64,%65,%66,%67}, %68, p, 1, 1, 0;\n}\n"
                 : SUM_4(d, 0), SUM_4(d, 4), SUM_4(d, 8), SUM_4(d, 12), SUM_4(d, 16), SUM_4(d, 20),
                   SUM_4(d, 24), SUM_4(d, 28), SUM_4(d, 32), SUM_4(d, 36), SUM_4(d, 40),
                   SUM_4(d, 44), SUM_4(d, 48), SUM_4(d, 52), SUM_4(d, 56), SUM_4(d, 60)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add));
}
DEVICE void group_fence() {
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
DEVICE void group_commit() {
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
/* All but the last N groups are done; d was written by one of them. */
template <int N, int SUMS> DEVICE void group_wait(float *d) {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory");
    UNROLL
    for (int i = 0; i < SUMS; i++) asm volatile("" : "+f"(d[i])::"memory");
}
/* 128-byte rows, eight of them a swizzled unit of 1024 bytes; n bytes further on is n / 16 more. */
DEVICE uint64_t plane_place(uint32_t at) {
    return (uint64_t)(at >> 4 & 0x3fff) | (uint64_t)1 << 16 | (uint64_t)(1024 >> 4) << 32 |
           (uint64_t)1 << 62;
}

} // namespace GPU_NAMESPACE

#endif
#endif
