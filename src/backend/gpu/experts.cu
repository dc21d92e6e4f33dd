/* The router's choice, and its grouping: which rows meet which expert. */
#include "backend/gpu/kernels.h"
#include "backend/gpu/sinkhorn.h"

namespace GPU_NAMESPACE {

enum { ROUTE_THREADS = 256, GROUP_THREADS = 256 };

struct route_arguments {
    step_view v;
    routing r;
};

/* sqrt(softplus(z)) */
DEVICE float router_score(float z) {
    float e = expf(z), x = z > 20.0f ? z : z < -20.0f ? e : log1pf(e);
    x = fmaxf(x, 0x1p-126f);
    return x * inverse_root(x);
}

DEVICE float expert_bias(const routing &r, int e) {
    return r.bias != nullptr && e < r.n_experts ? r.bias[e] : 0.0f;
}

/* Shared memory of a row; experts are looked at in groups, a warp each. */
struct route_memory {
    float *score;     /* [X] */
    uint32_t *key;    /* [groups][best] */
    int *candidate;   /* which experts those are */
    int *chosen;      /* [U] */
    int groups, best; /* best: of a group that may be chosen */
};

ANYWHERE int route_groups(const routing &r) {
    return (r.n_experts + WARP - 1) / WARP;
}

ANYWHERE int route_best(const routing &r) {
    return r.n_used < WARP ? r.n_used : (int)WARP;
}

DEVICE route_memory route_places(const routing &r, float *memory) {
    route_memory m;
    m.groups = route_groups(r);
    m.best = route_best(r);
    m.score = memory;
    m.key = (uint32_t *)memory + m.groups * WARP;
    m.candidate = (int *)m.key + m.groups * m.best;
    m.chosen = m.candidate + m.groups * m.best;
    return m;
}

/* The best of each group, best first; ties go to the lower index. */
DEVICE void find_candidates(const routing &r, const route_memory &m, const float *products,
                            float bias) {
    NOT_UNROLLED
    for (int g = warp_index(); g < m.groups; g += ROUTE_THREADS / WARP) {
        int e = g * WARP + lane_index();
        float product = e < r.n_experts ? products[e] : 0.0f;
        if (g >= ROUTE_THREADS / WARP) bias = expert_bias(r, e);
        float s = router_score(product);
        uint32_t key = e < r.n_experts ? rank_key(s + bias) : 0;
        m.score[e] = s;
        NOT_UNROLLED
        for (int i = 0; i < m.best; i++) {
            uint32_t most = warp_most(key), owners = warp_ballot(key == most);
            if ((owners & ((2u << lane_index()) - 1)) != 1u << lane_index()) continue;
            m.key[g * m.best + i] = key;
            m.candidate[g * m.best + i] = e;
            key = 0; /* taken */
        }
    }
}

/* The best of all: four threads count how many are better than one. */
DEVICE void choose_best(const routing &r, const route_memory &m) {
    int n = m.groups * m.best, part = thread_index() % 4;
    NOT_UNROLLED
    for (int c0 = 0; c0 < n; c0 += ROUTE_THREADS / 4) {
        int c = c0 + thread_index() / 4, better = 0;
        uint32_t key = c < n ? m.key[c] : 0;
        UNROLL_4
        for (int j = part; j < n; j += 4) better += m.key[j] > key || (m.key[j] == key && j < c);
        better += warp_shuffle(better, lane_index() ^ 1);
        better += warp_shuffle(better, lane_index() ^ 2);
        if (c < n && part == 0 && better < r.n_used) m.chosen[better] = m.candidate[c];
    }
}

/* Experts that a table names by the token. One warp; `named`: the lane's first. */
DEVICE void take_named(const routing &r, const route_memory &m, const float *products,
                       const int32_t *named_experts, int named) {
    NOT_UNROLLED
    for (int u = lane_index(); u < r.n_used; u += WARP) {
        int e = u < WARP ? named : named_experts[u];
        m.score[e] = router_score(products[e]);
        m.chosen[u] = e;
    }
    warp_barrier();
}

/* Weights of the chosen. One warp; two passes: their total first. */
DEVICE void weigh_chosen(const routing &r, const route_memory &m, int row) {
    float total = 0.0f, factor = 0.0f;
    NOT_UNROLLED
    for (int pass = 0; pass < 2; pass++) {
        NOT_UNROLLED
        for (int u = lane_index(); u - lane_index() < r.n_used; u += WARP) {
            int e = u < r.n_used ? m.chosen[u] : 0;
            float s = u < r.n_used ? m.score[e] : 0.0f;
            total += warp_sum(s);
            if (pass == 0 || u >= r.n_used) continue;
            r.weight[row * r.n_used + u] = s * factor;
            r.expert[row * r.n_used + u] = e;
        }
        factor = r.scale * reciprocal(fmaxf(total, 0x1p-14f));
    }
}

/* A block per row, and one for the mixer's matrix. */
KERNEL LAUNCH_BOUNDS(ROUTE_THREADS, 1) route_kernel(ARGUMENTS route_arguments a) {
    DYNAMIC_SHARED(float, memory);
    const routing &r = a.r;
    next_launch();
    int row = block_x();
    if (block_y() == 1) {
        if (warp_index() == 0)
            sinkhorn_row(a.v, r.mix, row);
        else
            previous_launch();
        return;
    }
    route_memory m = route_places(r, memory);
    const int32_t *names = nullptr;
    int named = 0;
    if (r.hash != nullptr) {
        names = r.hash + (size_t)a.v.token[row] * (size_t)r.n_used;
        if (thread_index() < r.n_used) named = names[thread_index()];
    }
    float bias = expert_bias(r, thread_index());
    const float *products = r.score + (size_t)row * (size_t)r.n_experts;
    previous_launch();
    if (names == nullptr) {
        find_candidates(r, m, products, bias);
        block_barrier();
        choose_best(r, m);
        block_barrier();
    }
    if (warp_index() != 0) return;
    if (names != nullptr) take_named(r, m, products, names, named);
    weigh_chosen(r, m, row);
}

/* Pairs sorted by expert, rows ascending, cut into tiles. A block does one expert: when the number
 * of pairs of each is known, it places its own. Each warp walks through a part of all pairs, 32 at
 * a time. For many pairs a launch counts them, a block for each expert. */
enum { FEW_PAIRS = 2048, FEW_EXPERTS = 1024 };

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

static bool few_pairs(const step_view &v, const routing &r) {
    return v.n_rows * r.n_used <= FEW_PAIRS && r.n_experts <= FEW_EXPERTS;
}

/* Which of pairs [i, i + 32), below `end`, are of the block's expert. */
DEVICE uint32_t owned(const routing &r, int i, int end) {
    return warp_ballot(i + lane_index() < end && r.expert[i + lane_index()] == block_x());
}

/* Pairs and tiles of the experts before this one; tiles of all. */
struct group_place {
    int pair, tile, tiles;
};

DEVICE group_place find_place(const routing &r, const int *counts) {
    enum { WARPS = GROUP_THREADS / WARP };
    SHARED group_place of_warp[WARPS];
    group_place p = {0, 0, 0};
    for (int e = thread_index(); e < r.n_experts; e += GROUP_THREADS) {
        int count = counts[e], tiles = (count + r.tile_rows - 1) / r.tile_rows;
        p.tiles += tiles;
        if (e >= block_x()) continue;
        p.pair += count;
        p.tile += tiles;
    }
    p = group_place{(int)warp_total((uint32_t)p.pair), (int)warp_total((uint32_t)p.tile),
                    (int)warp_total((uint32_t)p.tiles)};
    if (lane_index() == 0) of_warp[warp_index()] = p;
    block_barrier();
    p = group_place{0, 0, 0};
    for (int w = 0; w < WARPS; w++) {
        p.pair += of_warp[w].pair;
        p.tile += of_warp[w].tile;
        p.tiles += of_warp[w].tiles;
    }
    return p;
}

/* FEW: it counts all pairs itself. */
template <int FEW> KERNEL group_kernel(route_arguments a) {
    enum { WARPS = GROUP_THREADS / WARP };
    SHARED uint32_t histogram[FEW ? FEW_EXPERTS : 1];
    SHARED int of_warp[WARPS];
    next_launch();
    const routing &r = a.r;
    int n_pairs = a.v.n_rows * r.n_used, mine = block_x();
    for (int e = thread_index(); FEW && e < r.n_experts; e += GROUP_THREADS) histogram[e] = 0;
    block_barrier();
    previous_launch();
    for (int i = thread_index(); FEW && i < n_pairs; i += GROUP_THREADS)
        atomic_add(&histogram[r.expert[i]], 1);
    block_barrier();
    const int *counts = FEW ? (const int *)histogram : r.count;
    group_place place = find_place(r, counts);
    if (mine == 0 && thread_index() == 0) *r.n_tiles = place.tiles;
    int count = counts[mine], first = place.pair;
    for (int i = thread_index(); i * r.tile_rows < count; i += GROUP_THREADS) {
        int left = count - i * r.tile_rows;
        r.tile_expert[place.tile + i] = mine;
        r.tile_first[place.tile + i] = first + i * r.tile_rows;
        r.tile_count[place.tile + i] = left < r.tile_rows ? left : r.tile_rows;
    }
    if (count == 0) return; /* the whole block */
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
    size_t groups = (size_t)route_groups(r);
    size_t words = groups * WARP + 2 * groups * (size_t)route_best(r) + (size_t)r.n_used;
    launch(d, route_kernel, dim3((unsigned)v.n_rows, 2), ROUTE_THREADS, words * sizeof(float), a);
    if (v.n_rows == 1) return; /* each pair is a tile: tile_multiply.h */
    dim3 experts((unsigned)r.n_experts);
    if (few_pairs(v, r)) {
        launch(d, group_kernel<1>, experts, GROUP_THREADS, 0, a);
        return;
    }
    launch(d, count_kernel, experts, GROUP_THREADS, 0, a);
    launch(d, group_kernel<0>, experts, GROUP_THREADS, 0, a);
}

} // namespace GPU_NAMESPACE
