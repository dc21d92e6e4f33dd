#include "sched/plan.h"

static uint32_t common_prefix(const int32_t *a, uint32_t n_a, const int32_t *b, uint32_t n_b) {
    uint32_t n = n_a < n_b ? n_a : n_b, i = 0;
    while (i < n && a[i] == b[i]) i++;
    return i;
}

/* Tokens of the prompt that the slot can offer. The last prompt token is always evaluated again:
 * its logits are what the first answer token is drawn from. */
static uint32_t usable_prefix(const ds4_slot_view *slot, const int32_t *prompt, uint32_t n_prompt) {
    uint32_t common = common_prefix(slot->tokens, slot->n_tokens, prompt, n_prompt);
    if (common >= n_prompt) common = n_prompt - 1;
    return common == slot->n_tokens || common >= slot->rewind_floor ? common : 0;
}

bool ds4_choose_slot(const ds4_slot_view *slots, size_t n_slots, const int32_t *prompt,
                     uint32_t n_prompt, ds4_slot_choice *choice) {
    bool found = false, worth = false;
    for (size_t i = 0; i < n_slots; i++) {
        const ds4_slot_view *slot = &slots[i];
        if (slot->busy) continue;
        uint32_t reuse = usable_prefix(slot, prompt, n_prompt);
        bool keeps = reuse > 0 && (reuse >= slot->n_tokens / 2 || reuse >= n_prompt / 2);
        bool better = !found || (keeps && !worth) || (keeps && worth && reuse > choice->reuse) ||
                      (!keeps && !worth && slot->last_used < slots[choice->slot].last_used);
        if (!better) continue;
        found = true;
        worth = keeps;
        *choice = (ds4_slot_choice){i, reuse};
    }
    return found;
}

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
