// What a chain of launches costs on a GPU, beside what its bytes cost: the floor of a decoding
// step.
//   bench_launches            (needs a Hopper GPU and 5 GiB of its memory)
// Prints microseconds per launch of a graph of 64, each with and without programmatic dependent
// launch: empty kernels; kernels that read so many MB of weights by plain loads, and through rings
// of each warp in shared memory, where the first loads are asked for before the launch before has
// ended; and one kernel's barriers of the whole grid.
#include <cstdint>
#include <cstdio>

#include <cuda_runtime.h>

namespace {

enum {
    LAUNCHES = 64,
    WARPS = 8,
    THREADS = 32 * WARPS,
    STEP = 2176,
    DEPTH = 6,
    TRIALS = 6,
    BARRIERS = 200
};

#define CHECK(call)                                                                                \
    do {                                                                                           \
        cudaError_t problem_ = (call);                                                             \
        if (problem_ != cudaSuccess) {                                                             \
            fprintf(stderr, "bench_launches: %s: %s\n", #call, cudaGetErrorString(problem_));      \
            return 1;                                                                              \
        }                                                                                          \
    } while (0)

__device__ void wait_for_previous() {
    asm volatile("griddepcontrol.wait;" ::: "memory");
}
__device__ void let_next_begin() {
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
}

__device__ uint32_t mixed(uint4 v) {
    return v.x ^ v.y ^ v.z ^ v.w;
}

// `out` is written in no real run: it keeps the loads from being left out.
__global__ void nothing(uint32_t *out) {
    let_next_begin();
    wait_for_previous();
    if (out[1] == 1) out[0] = 1;
}

__global__ __launch_bounds__(THREADS, 2) void read_plainly(const uint4 *weights, size_t n,
                                                           uint32_t *out) {
    enum { AT_ONCE = 8 };
    let_next_begin();
    size_t share = (n + gridDim.x - 1) / gridDim.x, begin = share * blockIdx.x;
    size_t end = begin + share < n ? begin + share : n;
    uint32_t sum = 0;
    bool waited = false;
    for (size_t i = begin + threadIdx.x; i < end; i += THREADS * AT_ONCE) {
        uint4 v[AT_ONCE];
#pragma unroll
        for (int k = 0; k < AT_ONCE; k++)
            v[k] = i + THREADS * k < end ? __ldg(weights + i + THREADS * k) : uint4{0, 0, 0, 0};
        if (!waited) wait_for_previous();
        waited = true;
#pragma unroll
        for (int k = 0; k < AT_ONCE; k++) sum ^= mixed(v[k]);
    }
    if (!waited) wait_for_previous();
    if (sum == 1) out[0] = sum;
}

__global__ __launch_bounds__(THREADS, 2) void read_by_rings(const uint8_t *weights, size_t n_steps,
                                                            uint32_t *out) {
    extern __shared__ __align__(16) uint8_t memory[];
    let_next_begin();
    size_t warps = (size_t)gridDim.x * WARPS, warp = (size_t)blockIdx.x * WARPS + threadIdx.x / 32;
    size_t at = n_steps * warp / warps, end = n_steps * (warp + 1) / warps, next = at;
    uint8_t *ring = memory + threadIdx.x / 32 * (STEP * DEPTH);
    int lane = 16 * (threadIdx.x % 32), from = 0, to = 0;
    uint32_t sum = 0;
    auto fetch = [&]() {
        for (int k = lane; next < end && k < STEP; k += 512) {
            uint32_t place = (uint32_t)__cvta_generic_to_shared(ring + to * STEP + k);
            asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(place),
                         "l"(weights + next * STEP + k)
                         : "memory");
        }
        next++;
        to = to + 1 < DEPTH ? to + 1 : 0;
        asm volatile("cp.async.commit_group;" ::: "memory");
    };
    for (int i = 0; i < DEPTH - 1; i++) fetch();
    wait_for_previous();
    for (; at < end; at++) {
        asm volatile("cp.async.wait_group %0;" ::"n"(DEPTH - 2) : "memory");
        __syncwarp();
        fetch();
        for (int k = lane; k < STEP; k += 512)
            sum ^= mixed(*(const uint4 *)(ring + from * STEP + k));
        from = from + 1 < DEPTH ? from + 1 : 0;
    }
    asm volatile("cp.async.wait_group 0;" ::: "memory");
    if (sum == 1) out[0] = sum;
}

__global__ __launch_bounds__(THREADS, 1) void meet(unsigned *count) {
    for (unsigned i = 1; i <= BARRIERS; i++) {
        __syncthreads();
        if (threadIdx.x == 0) {
            __threadfence();
            atomicAdd(count, 1u);
            while (*(volatile unsigned *)count < i * gridDim.x) {
            }
            __threadfence();
        }
        __syncthreads();
    }
}

template <typename... P, typename... A>
cudaError_t launch(void (*kernel)(P...), int grid, int shared, cudaStream_t stream,
                   bool programmatic, A... arguments) {
    cudaLaunchAttribute attribute = {};
    attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attribute.val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t how = {};
    how.gridDim = dim3((unsigned)grid);
    how.blockDim = dim3(THREADS);
    how.dynamicSmemBytes = (size_t)shared;
    how.stream = stream;
    how.attrs = &attribute;
    how.numAttrs = programmatic ? 1 : 0;
    cudaFuncSetAttribute((const void *)kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared);
    return cudaLaunchKernelEx(&how, kernel, arguments...);
}

struct bench {
    uint8_t *weights;
    uint32_t *out;
    cudaStream_t stream;
    cudaEvent_t begin, end;
    int processors;
};

enum kind { NOTHING, PLAINLY, BY_RINGS };

cudaError_t launch_one(const bench &b, kind what, bool programmatic, int i, size_t bytes) {
    const uint8_t *weights = b.weights + (size_t)i * bytes; // each launch has its own
    if (what == NOTHING) return launch(nothing, b.processors, 0, b.stream, programmatic, b.out);
    if (what == PLAINLY)
        return launch(read_plainly, 2 * b.processors, 0, b.stream, programmatic,
                      (const uint4 *)weights, bytes / 16, b.out);
    return launch(read_by_rings, 2 * b.processors, WARPS * STEP * DEPTH, b.stream, programmatic,
                  weights, bytes / STEP, b.out);
}

int run(const bench &b, kind what, const char *name, bool programmatic, size_t bytes) {
    cudaGraph_t graph;
    cudaGraphExec_t executable;
    float best = 1e9f, ms;
    CHECK(cudaStreamBeginCapture(b.stream, cudaStreamCaptureModeThreadLocal));
    for (int i = 0; i < LAUNCHES; i++) CHECK(launch_one(b, what, programmatic, i, bytes));
    CHECK(cudaStreamEndCapture(b.stream, &graph));
    CHECK(cudaGraphInstantiate(&executable, graph, 0));
    for (int i = 0; i < TRIALS; i++) {
        CHECK(cudaEventRecord(b.begin, b.stream));
        CHECK(cudaGraphLaunch(executable, b.stream));
        CHECK(cudaEventRecord(b.end, b.stream));
        CHECK(cudaEventSynchronize(b.end));
        CHECK(cudaEventElapsedTime(&ms, b.begin, b.end));
        if (ms < best) best = ms;
    }
    printf("%-12s %5.1f MB  %-13s %7.2f us a launch", name,
           what == NOTHING ? 0.0 : (double)bytes / 1e6,
           programmatic ? "programmatic" : "one by one", (double)best * 1e3 / LAUNCHES);
    if (what != NOTHING) printf("  %5.0f GB/s", (double)bytes * LAUNCHES / (double)best / 1e6);
    printf("\n");
    CHECK(cudaGraphExecDestroy(executable));
    CHECK(cudaGraphDestroy(graph));
    return 0;
}

int run_barriers(const bench &b) {
    float best = 1e9f, ms;
    for (int i = 0; i < TRIALS; i++) {
        CHECK(cudaMemsetAsync(b.out, 0, 4, b.stream));
        CHECK(cudaEventRecord(b.begin, b.stream));
        CHECK(launch(meet, b.processors, 0, b.stream, false, (unsigned *)b.out));
        CHECK(cudaEventRecord(b.end, b.stream));
        CHECK(cudaEventSynchronize(b.end));
        CHECK(cudaEventElapsedTime(&ms, b.begin, b.end));
        if (ms < best) best = ms;
    }
    printf("a barrier of the grid: %.2f us\n", (double)best * 1e3 / BARRIERS);
    return 0;
}

} // namespace

int main() {
    enum { MOST = 36 << 20 };
    bench b = {};
    CHECK(cudaDeviceGetAttribute(&b.processors, cudaDevAttrMultiProcessorCount, 0));
    CHECK(cudaMalloc(&b.weights, (size_t)LAUNCHES * MOST));
    CHECK(cudaMemset(b.weights, 1, (size_t)LAUNCHES * MOST));
    CHECK(cudaMalloc(&b.out, 64));
    CHECK(cudaMemset(b.out, 0, 64));
    CHECK(cudaStreamCreateWithFlags(&b.stream, cudaStreamNonBlocking));
    CHECK(cudaEventCreate(&b.begin));
    CHECK(cudaEventCreate(&b.end));
    CHECK(cudaDeviceSynchronize());
    const size_t sizes[] = {4 << 20, 18 << 20, MOST};
    for (int programmatic = 1; programmatic >= 0; programmatic--) {
        if (run(b, NOTHING, "nothing", programmatic, 0) != 0) return 1;
        for (size_t bytes : sizes) {
            bytes = bytes / STEP * STEP;
            if (run(b, PLAINLY, "plain loads", programmatic, bytes) != 0) return 1;
            if (run(b, BY_RINGS, "rings", programmatic, bytes) != 0) return 1;
        }
    }
    return run_barriers(b);
}
