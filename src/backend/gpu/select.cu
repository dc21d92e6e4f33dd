/* The indexer's best rows: one block per row. The scores' range is cut into bins; the bin in which
 * the k-th best lies is cut again, until so few are left that each can be compared with the others.
 */
#include "backend/gpu/kernels.h"
#include "backend/gpu/rows.h"

namespace GPU_NAMESPACE {

enum {
    THREADS = 1024,
    WARPS = THREADS / WARP,
    BIN_BITS = 10,
    BINS = 1 << BIN_BITS,
    LISTED = 64,
    MOST_ROUNDS = 5
};
static_assert(BINS == THREADS, "a thread for each bin");

struct best_rows_arguments {
    step_view v;
    selection s;
    int first_row;
};

/* What is no number ranks last. */
DEVICE uint32_t sort_key(float score) {
    return rank_key(fminf(fmaxf(score, -FLT_MAX), FLT_MAX));
}

DEVICE float key_score(uint32_t key) {
    return bits_float(key & 0x80000000u ? key ^ 0x80000000u : ~key);
}

struct select_memory {
    uint32_t bins[BINS], of_warp[WARPS], least_of_warp[WARPS];
    uint32_t key[LISTED], index[LISTED], n_listed;
    uint32_t bin, rest, last_key, last_index;
};

/* A warp has scores [first, first + 32 per), 32 side by side. */
struct warp_keys {
    const float *scores;
    int first, per, n;
};

/* visit(index, key) for each of them, by all lanes together; key 0: beyond the last. */
template <typename F> DEVICE void each_key(const warp_keys &keys, F visit) {
    NOT_UNROLLED
    for (int k = 0; k < keys.per; k++) {
        int index = keys.first + k * WARP + lane_index();
        visit(index, index < keys.n ? sort_key(keys.scores[index]) : 0);
    }
}

/* Sum of the lanes before this one. */
DEVICE uint32_t lanes_before(uint32_t v) {
    int sum = (int)v;
    NOT_UNROLLED
    for (int stride = 1; stride < WARP; stride *= 2) {
        int other = warp_shuffle(sum, (lane_index() - stride) & (WARP - 1));
        if (lane_index() >= stride) sum += other;
    }
    return (uint32_t)sum - v;
}

/* Which keys are looked at: [least, most]; how they fall into bins. */
struct key_range {
    uint32_t least, most;
    bool linear; /* in their scores, not in their keys */
    float first, scale;
    int shift;
};

DEVICE void cut_range(key_range *r, bool linear) {
    r->linear = linear;
    r->first = key_score(r->least);
    r->scale = (float)BINS * reciprocal(key_score(r->most) - r->first);
    int bits = (int)(float_bits((float)(r->most - r->least)) >> 23) - 126;
    r->shift = bits > BIN_BITS ? bits - BIN_BITS : 0;
}

DEVICE uint32_t bin_of(const key_range &r, uint32_t key) {
    if (!r.linear) return (key - r.least) >> r.shift;
    float place = (key_score(key) - r.first) * r.scale;
    return (uint32_t)fminf(fmaxf(place, 0.0f), (float)(BINS - 1));
}

/* The bin of the rest-th best of the range, and which of that bin it is. */
DEVICE void find_bin(const warp_keys &keys, const key_range &r, uint32_t rest, select_memory &m) {
    int mine = BINS - 1 - thread_index();
    m.bins[mine] = 0;
    block_barrier();
    each_key(keys, [&](int, uint32_t key) {
        if (key >= r.least && key <= r.most) atomic_add(&m.bins[bin_of(r, key)], 1);
    });
    block_barrier();
    uint32_t count = m.bins[mine], total = warp_total(count);
    if (lane_index() == 0) m.of_warp[warp_index()] = total;
    if (thread_index() == 0) m.n_listed = 0;
    block_barrier();
    uint32_t of_lane = m.of_warp[lane_index()], above = lanes_before(of_lane);
    above = (uint32_t)warp_shuffle((int)above, warp_index());
    if (above < rest && above + total >= rest) { /* one warp */
        above += lanes_before(count);
        if (above < rest && above + count >= rest) {
            m.bin = (uint32_t)mine;
            m.rest = rest - above;
        }
    }
    block_barrier();
}

/* The range becomes what all warps have; a warp's `least` is inverted. */
DEVICE void set_range(uint32_t most, uint32_t least, key_range *r, select_memory &m) {
    most = warp_most(most);
    least = warp_most(least);
    if (lane_index() == 0) {
        m.of_warp[warp_index()] = most;
        m.least_of_warp[warp_index()] = least;
    }
    block_barrier();
    r->most = warp_most(m.of_warp[lane_index()]);
    r->least = ~warp_most(m.least_of_warp[lane_index()]);
}

DEVICE void whole_range(const warp_keys &keys, key_range *r, select_memory &m) {
    uint32_t most = 0, least = 0;
    UNROLL_4
    for (int k = 0; k < keys.per; k++) {
        int index = keys.first + k * WARP + lane_index();
        if (index >= keys.n) continue;
        uint32_t key = sort_key(keys.scores[index]);
        most = key > most ? key : most;
        least = ~key > least ? ~key : least;
    }
    set_range(most, least, r, m);
}

/* Narrows the range to the keys of the bin; lists them. Returns how many there are. */
DEVICE uint32_t take_bin(const warp_keys &keys, key_range *r, select_memory &m) {
    uint32_t most = 0, least = 0, bin = m.bin;
    each_key(keys, [&](int index, uint32_t key) {
        if (key < r->least || key > r->most || bin_of(*r, key) != bin) return;
        uint32_t place = atomic_next(&m.n_listed);
        if (place < LISTED) {
            m.key[place] = key;
            m.index[place] = (uint32_t)index;
        }
        most = key > most ? key : most;
        least = ~key > least ? ~key : least;
    });
    set_range(most, least, r, m);
    return m.n_listed;
}

/* Of many equal keys the rest-th, by halving. */
DEVICE uint32_t equal_index(const warp_keys &keys, uint32_t wanted, uint32_t rest,
                            select_memory &m) {
    int low = 0, high = keys.n - 1;
    while (low < high) {
        int middle = (low + high) / 2;
        uint32_t count = 0;
        each_key(keys, [&](int index, uint32_t key) { count += key == wanted && index <= middle; });
        count = warp_total(count);
        block_barrier();
        if (lane_index() == 0) m.of_warp[warp_index()] = count;
        block_barrier();
        if (warp_total(m.of_warp[lane_index()]) >= rest)
            high = middle;
        else
            low = middle + 1;
    }
    return (uint32_t)low;
}

/* The last of the k best: its key and index; ties go to the lower index. */
DEVICE void find_last(const warp_keys &keys, int k, select_memory &m) {
    key_range r = {};
    uint32_t rest = (uint32_t)k, n = 0;
    whole_range(keys, &r, m);
    for (int round = 0; round < MOST_ROUNDS; round++) {
        cut_range(&r, round == 0);
        find_bin(keys, r, rest, m);
        rest = m.rest;
        n = take_bin(keys, &r, m);
        if (n <= LISTED || r.least == r.most) break;
    }
    uint32_t i = (uint32_t)thread_index();
    if (n > LISTED) {
        uint32_t index = equal_index(keys, r.most, rest, m);
        if (i == 0) m.last_key = r.most, m.last_index = index;
    } else if (i < n) {
        uint32_t key = m.key[i], index = m.index[i], better = 0;
        NOT_UNROLLED
        for (uint32_t j = 0; j < n; j++)
            better += m.key[j] > key || (m.key[j] == key && m.index[j] < index);
        if (better == rest - 1) m.last_key = key, m.last_index = index;
    }
    block_barrier();
}

/* Rows are written ascending. */
KERNEL LAUNCH_BOUNDS(THREADS, 1) select_kernel(ARGUMENTS best_rows_arguments a) {
    SHARED select_memory m;
    const step_view &v = a.v;
    next_launch();
    int row = a.first_row + block_x(), visible = (v.position[row] + 1) / DS4_RATIO_OVERLAP;
    int *selected = a.s.selected + (size_t)row * (size_t)v.top_k;
    previous_launch();
    if (visible <= v.top_k) {
        for (int i = thread_index(); i < visible; i += THREADS) selected[i] = i;
        return;
    }
    warp_keys keys;
    keys.scores = a.s.scores + (size_t)block_x() * (size_t)a.s.score_stride;
    keys.per = (visible + THREADS - 1) / THREADS;
    keys.first = warp_index() * WARP * keys.per;
    keys.n = visible;
    find_last(keys, v.top_k, m);
    uint32_t last_key = m.last_key, last_index = m.last_index, taken = 0;
    auto is_taken = [&](int index, uint32_t key) {
        return key > last_key || (key == last_key && (uint32_t)index <= last_index);
    };
    each_key(keys, [&](int index, uint32_t key) {
        taken += (uint32_t)count_bits(warp_ballot(is_taken(index, key)));
    });
    if (lane_index() == 0) m.of_warp[warp_index()] = taken;
    block_barrier();
    uint32_t before = lanes_before(m.of_warp[lane_index()]);
    before = (uint32_t)warp_shuffle((int)before, warp_index());
    each_key(keys, [&](int index, uint32_t key) {
        uint32_t mask = warp_ballot(is_taken(index, key));
        if (mask >> lane_index() & 1)
            selected[before + (uint32_t)count_bits(mask & ((1u << lane_index()) - 1))] = index;
        before += (uint32_t)count_bits(mask);
    });
}

void select_run(device *d, const step_view &v, const selection &s, int first_row, int n) {
    best_rows_arguments a = {v, s, first_row};
    launch(d, select_kernel, dim3((unsigned)n), THREADS, 0, a);
}

} // namespace GPU_NAMESPACE
