#include "sched/plan.h"

uint32_t ds4_plan_step(ds4_step_wish *wishes, size_t n, uint32_t max_tokens,
                       uint32_t prefill_tokens) {
    uint32_t used = 0, hungry = 0;
    for (size_t i = 0; i < n; i++) {
        ds4_step_wish *wish = &wishes[i];
        wish->n_tokens = 0;
        if (wish->paused) continue;
        if (wish->prompt_left > 0) {
            hungry++;
        } else if (used < max_tokens) {
            wish->n_tokens = 1;
            used++;
        }
    }
    uint32_t left = max_tokens - used < prefill_tokens ? max_tokens - used : prefill_tokens;
    while (left > 0 && hungry > 0) {
        uint32_t share = left / hungry;
        if (share == 0) share = 1;
        hungry = 0;
        for (size_t i = 0; i < n && left > 0; i++) {
            ds4_step_wish *wish = &wishes[i];
            if (wish->paused || wish->prompt_left == wish->n_tokens || wish->prompt_left == 0)
                continue;
            uint32_t take = wish->prompt_left - wish->n_tokens;
            if (take > share) take = share;
            if (take > left) take = left;
            wish->n_tokens += take;
            used += take;
            left -= take;
            if (wish->n_tokens < wish->prompt_left) hungry++;
        }
    }
    return used;
}

uint32_t ds4_prefill_tokens(double tokens_per_second, double target_seconds, uint32_t least,
                            uint32_t most) {
    if (!(tokens_per_second > 0)) return least;
    double wanted = tokens_per_second * target_seconds;
    if (wanted >= (double)most) return most;
    return wanted <= (double)least ? least : (uint32_t)wanted;
}
