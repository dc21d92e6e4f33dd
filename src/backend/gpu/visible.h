/* What a query sees: the raw window, then compressed rows. For both attention kernels. */
#ifndef DS4_BACKEND_GPU_VISIBLE_H
#define DS4_BACKEND_GPU_VISIBLE_H

#include "backend/gpu/kernels.h"
#include "backend/gpu/rows.h"

namespace GPU_NAMESPACE {

struct attention_arguments {
    step_view v;
    attention a;
    int first_row, splits;
};

/* In the order of summation: raw window ascending, then compressed ascending. */
struct visible {
    int first_position, n_raw, n;
};

DEVICE visible find_visible(const step_view &v, const attention &a, int row) {
    visible s;
    int position = v.position[row];
    s.first_position = position + 1 > v.window ? position + 1 - v.window : 0;
    s.n_raw = position + 1 - s.first_position;
    int compressed = a.ratio == 0 ? 0 : (position + 1) / a.ratio;
    if (a.selected != nullptr && compressed > v.top_k) compressed = v.top_k;
    s.n = s.n_raw + compressed;
    return s;
}

/* Row `index` of them: floats if it is raw, else as the cache stores it. */
DEVICE const uint8_t *visible_row(const attention_arguments &t, int row, const visible &s,
                                  int index) {
    const step_view &v = t.v;
    const item_info &item = v.items[v.item_of_row[row]];
    const layer_state &state = state_of(v, t.a.layer, row);
    int position = s.first_position + index, c = index - s.n_raw;
    if (index < s.n_raw) {
        const float *raw =
            position >= item.position
                ? t.a.kv + (size_t)(item.first_row + position - item.position) * (size_t)v.head_dim
                : state.raw + (size_t)(position % v.raw_slots) * (size_t)v.head_dim;
        return (const uint8_t *)raw;
    }
    if (t.a.selected != nullptr) c = t.a.selected[(size_t)row * (size_t)v.top_k + (size_t)c];
    return state.rows + (size_t)c * (size_t)v.row_stride;
}

} // namespace GPU_NAMESPACE

#endif
