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
    int item, item_position; /* rows from this position on belong to the step */
    const float *step_rows;  /* of the item in this step */
    const float *raw;        /* the session's ring */
    const uint8_t *rows;     /* its compressed rows */
    const int *selected;     /* which of them; NULL: all */
};

/* Reads only what describes the step, so a launch may call it before the one before it ends. */
DEVICE visible find_visible(const step_view &v, const attention &a, int row) {
    visible s;
    int position = v.position[row];
    s.first_position = position + 1 > v.window ? position + 1 - v.window : 0;
    s.n_raw = position + 1 - s.first_position;
    int compressed = a.ratio == 0 ? 0 : (position + 1) / a.ratio;
    if (a.selected != nullptr && compressed > v.top_k) compressed = v.top_k;
    s.n = s.n_raw + compressed;
    s.item = v.item_of_row[row];
    const item_info &item = v.items[s.item];
    const layer_state &state = state_of(v, a.layer, row);
    s.item_position = item.position;
    s.step_rows = a.kv + (size_t)item.first_row * (size_t)v.head_dim;
    s.raw = state.raw;
    s.rows = state.rows;
    s.selected = a.selected == nullptr ? nullptr : a.selected + (size_t)row * (size_t)v.top_k;
    return s;
}

/* Row `index` of them: floats if it is raw, else as the cache stores it. */
DEVICE const uint8_t *visible_row(const step_view &v, const visible &s, int index) {
    int position = s.first_position + index, c = index - s.n_raw;
    if (index < s.n_raw) {
        const float *raw =
            position >= s.item_position
                ? s.step_rows + (size_t)(position - s.item_position) * (size_t)v.head_dim
                : s.raw + (size_t)(position % v.raw_slots) * (size_t)v.head_dim;
        return (const uint8_t *)raw;
    }
    if (s.selected != nullptr) c = s.selected[c];
    return s.rows + (size_t)c * (size_t)v.row_stride;
}

} // namespace GPU_NAMESPACE

#endif
