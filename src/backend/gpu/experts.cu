/* The router's choice, and its grouping: which rows meet which expert. */
#include "backend/gpu/kernels.h"
#include "backend/gpu/sinkhorn.h"

namespace GPU_NAMESPACE {

enum { GROUP_THREADS = 256 };

struct route_arguments {
    step_view v;
    routing r;
};

DEVICE float router_score(float z) {
    float softplus = z > 20.0f ? z : z < -20.0f ? expf(z) : log1pf(expf(z));
    return sqrtf(softplus);
}

/* One warp per row. Best first; ties go to the lower index. `rank`: what experts are chosen by. */
DEVICE void choose_top(const routing &r, float *rank, int *chosen) {
    for (int u = 0; u < r.n_used; u++) {
        float best = -INFINITY;
        int index = r.n_experts;
        UNROLL_8
        for (int e = lane_index(); e < r.n_experts; e += WARP) {
            float s = rank[e];
            if (!(s > best)) continue;
            best = s;
            index = e;
        }
        UNROLL
        for (int mask = 16; mask > 0; mask /= 2) {
            float other = warp_shuffle_xor(best, mask);
            int other_index = warp_shuffle(index, lane_index() ^ mask);
            if (!(other > best || (other == best && other_index < index))) continue;
            best = other;
            index = other_index;
        }
        if (index >= r.n_experts) index = 0; /* scores that are no numbers: any expert will do */
        if (lane_index() == 0) {
            rank[index] = -INFINITY; /* taken */
            chosen[u] = index;
        }
        warp_barrier();
    }
}

KERNEL route_kernel(route_arguments a) {
    next_launch();
    previous_launch();
    DYNAMIC_SHARED(float, score); /* [X], then ranks [X], then the chosen [U] */
    const routing &r = a.r;
    int row = block_x();
    if (block_y() == 1) {
        sinkhorn_row(a.v, r.mix, row);
        return;
    }
    float *rank = score + r.n_experts, *weight = r.weight + (size_t)row * (size_t)r.n_used;
    int *chosen = (int *)(rank + r.n_experts);
    const float *products = r.score + (size_t)row * (size_t)r.n_experts;
    UNROLL_8
    for (int e = lane_index(); e < r.n_experts; e += WARP) {
        float s = router_score(products[e]);
        score[e] = s;
        rank[e] = r.bias == nullptr ? s : s + r.bias[e];
    }
    warp_barrier();
    if (r.hash != nullptr) {
        const int32_t *row_experts = r.hash + (size_t)a.v.token[row] * (size_t)r.n_used;
        for (int u = lane_index(); u < r.n_used; u += WARP) chosen[u] = row_experts[u];
        warp_barrier();
    } else {
        choose_top(r, rank, chosen);
    }
    float total = 0.0f;
    for (int u = 0; u < r.n_used; u++) total += score[chosen[u]];
    total = fmaxf(total, 0x1p-14f);
    for (int u = lane_index(); u < r.n_used; u += WARP) {
        weight[u] = score[chosen[u]] / total * r.scale;
        r.expert[row * r.n_used + u] = chosen[u];
    }
}

/* Sum of `value` over the threads before this one; *total: over all. */
DEVICE int sum_before(int value, int *part, int *total) {
    block_barrier();
    part[thread_index()] = value;
    block_barrier();
    for (int stride = 1; stride < GROUP_THREADS; stride *= 2) {
        int add = thread_index() >= stride ? part[thread_index() - stride] : 0;
        block_barrier();
        part[thread_index()] += add;
        block_barrier();
    }
    *total = part[GROUP_THREADS - 1];
    return part[thread_index()] - value;
}

/* Pairs sorted by expert, rows ascending, cut into tiles. A block does one expert: it counts its
 * pairs, then, when all counts are known, places them. Each warp walks through a part of all pairs,
 * 32 at a time. */
KERNEL count_kernel(route_arguments a) {
    SHARED uint32_t total;
    if (thread_index() == 0) total = 0;
    next_launch();
    previous_launch();
    block_barrier();
    const routing &r = a.r;
    int n_pairs = a.v.n_rows * r.n_used;
    uint32_t count = 0;
    UNROLL_8
    for (int i = thread_index(); i < n_pairs; i += GROUP_THREADS) count += r.expert[i] == block_x();
    if (count > 0) atomic_add(&total, count);
    block_barrier();
    if (thread_index() == 0) r.count[block_x()] = (int)total;
}

/* Which of pairs [i, i + 32), below `end`, are of the block's expert. */
DEVICE uint32_t owned(const routing &r, int i, int end) {
    return warp_ballot(i + lane_index() < end && r.expert[i + lane_index()] == block_x());
}

KERNEL group_kernel(route_arguments a) {
    enum { WARPS = GROUP_THREADS / WARP };
    SHARED int part[GROUP_THREADS], of_warp[WARPS], first_pair, first_tile;
    next_launch();
    previous_launch();
    const routing &r = a.r;
    int pairs_before = 0, tiles_before = 0, mine = block_x();
    for (int e0 = 0; e0 < r.n_experts; e0 += GROUP_THREADS) {
        int e = e0 + thread_index(), n_pairs_here, n_tiles_here;
        int count = e < r.n_experts ? r.count[e] : 0;
        int pair = pairs_before + sum_before(count, part, &n_pairs_here);
        int tile =
            tiles_before + sum_before((count + r.tile_rows - 1) / r.tile_rows, part, &n_tiles_here);
        if (e == mine) {
            first_pair = pair;
            first_tile = tile;
        }
        pairs_before += n_pairs_here;
        tiles_before += n_tiles_here;
    }
    if (mine == 0 && thread_index() == 0) *r.n_tiles = tiles_before;
    block_barrier();
    int n_pairs = a.v.n_rows * r.n_used, count = r.count[mine], first = first_pair;
    for (int i = thread_index(); i * r.tile_rows < count; i += GROUP_THREADS) {
        int left = count - i * r.tile_rows;
        r.tile_expert[first_tile + i] = mine;
        r.tile_first[first_tile + i] = first + i * r.tile_rows;
        r.tile_count[first_tile + i] = left < r.tile_rows ? left : r.tile_rows;
    }
    int per = (n_pairs + GROUP_THREADS - 1) / GROUP_THREADS * WARP, from = warp_index() * per;
    int end = from + per < n_pairs ? from + per : n_pairs, own = 0;
    UNROLL_8
    for (int i = from; i < end; i += WARP) own += count_bits(owned(r, i, end));
    if (lane_index() == 0) of_warp[warp_index()] = own;
    block_barrier();
    for (int w = 0; w < warp_index(); w++) first += of_warp[w];
    UNROLL_8
    for (int i = from; i < end; i += WARP) {
        uint32_t owners = owned(r, i, end);
        if (owners >> lane_index() & 1)
            r.pairs[first + count_bits(owners & ((1u << lane_index()) - 1))] = i + lane_index();
        first += count_bits(owners);
    }
}

int most_expert_tiles(int n_pairs, int n_experts, int tile_rows) {
    /* Every expert may have one tile that is not full. */
    int partial = n_pairs < n_experts ? n_pairs : n_experts;
    return n_pairs / tile_rows + partial;
}

void route_run(device *d, const step_view &v, const routing &r) {
    route_arguments a = {v, r};
    size_t shared = (2 * (size_t)r.n_experts + (size_t)r.n_used) * sizeof(float);
    launch(d, route_kernel, dim3((unsigned)v.n_rows, 2), WARP, shared, a);
    if (v.n_rows == 1) return; /* each pair is a tile: tile_multiply.h */
    launch(d, count_kernel, dim3((unsigned)r.n_experts), GROUP_THREADS, 0, a);
    launch(d, group_kernel, dim3((unsigned)r.n_experts), GROUP_THREADS, 0, a);
}

} // namespace GPU_NAMESPACE
