#include "kv/choose.h"

#include <math.h>
#include <string.h>

#include "tokenizer/tokenizer.h"

enum {
    LEAST_REUSE = 16, /* tokens; less is the beginning that all prompts share */
    SMALL_LOSS = 64,  /* tokens; read again before a copy would be worth a session */
    HALF_LIFE = 1800, /* seconds without use that halve what a session is worth */
};
#define NO_BOUNDARY UINT32_MAX

static uint32_t common_prefix(const ds4_kv_view *view, const ds4_kv_prompt *prompt) {
    uint32_t n = view->n_tokens < prompt->n ? view->n_tokens : prompt->n, i = 0;
    while (i < n && view->tokens[i] == prompt->tokens[i] && view->dials[i] == prompt->dial) i++;
    return i;
}

/* From a common boundary on, by bytes. boundary[i]: the prompt's position at the same byte as the
 * session's position i, or NO_BOUNDARY. Returns the last i that was written; start itself when the
 * texts part within its token. */
static uint32_t align(const ds4_kv_view *view, const ds4_kv_prompt *prompt, uint32_t start,
                      uint32_t *boundary) {
    const ds4_tokenizer *tokenizer = prompt->tokenizer;
    uint32_t i = start, j = start;
    size_t in_i = 0, in_j = 0; /* bytes of token i and j that agreed already */
    boundary[start] = start;
    while (i < view->n_tokens && j < prompt->n && view->dials[i] == prompt->dial) {
        int32_t a = view->tokens[i], b = prompt->tokens[j];
        bool same = a == b && in_i == 0 && in_j == 0;
        if (!same &&
            (!ds4_tokenizer_is_ordinary(tokenizer, a) || !ds4_tokenizer_is_ordinary(tokenizer, b)))
            break;
        ds4_token_string left = ds4_tokenizer_token_bytes(tokenizer, a);
        ds4_token_string right = ds4_tokenizer_token_bytes(tokenizer, b);
        size_t n_left = left.n - in_i, n_right = right.n - in_j;
        size_t n = n_left < n_right ? n_left : n_right;
        if (!same && (n == 0 || memcmp(left.data + in_i, right.data + in_j, n) != 0)) break;
        bool ends_i = same || n == n_left, ends_j = same || n == n_right;
        in_i = ends_i ? 0 : in_i + n;
        in_j = ends_j ? 0 : in_j + n;
        j += ends_j;
        if (!ends_i) continue;
        i++;
        boundary[i] = ends_j ? j : NO_BOUNDARY;
    }
    return i;
}

/* How much of one session a prompt can use, and by which way. */
typedef struct offer {
    uint32_t n_common, n_held, n_read;
    ds4_kv_source source;
} offer;

static void consider(offer *best, uint32_t held, uint32_t read, ds4_kv_source source) {
    if (read > best->n_read) {
        best->n_held = held;
        best->n_read = read;
        best->source = source;
    }
}

static offer make_offer(const ds4_kv_view *view, const ds4_kv_prompt *prompt, uint32_t *scratch) {
    offer best = {.n_common = common_prefix(view, prompt), .source = DS4_KV_SOURCE_NONE};
    uint32_t common = best.n_common, end = common, most = prompt->n - 1;
    bool by_bytes = prompt->tokenizer != NULL && common < view->n_tokens && common < prompt->n;
    if (by_bytes) end = align(view, prompt, common, scratch);
    /* The last prompt token is always evaluated: its logits are what the answer begins with. */
    for (uint32_t i = end; i > common && i >= view->rewind_floor; i--) {
        if (scratch[i] == NO_BOUNDARY || scratch[i] > most) continue;
        consider(&best, i, scratch[i],
                 i == view->n_tokens ? DS4_KV_SOURCE_LIVE : DS4_KV_SOURCE_REWOUND);
        break;
    }
    if (common > most) common = most;
    if (common == view->n_tokens)
        consider(&best, common, common, DS4_KV_SOURCE_LIVE);
    else if (common >= view->rewind_floor)
        consider(&best, common, common, DS4_KV_SOURCE_REWOUND);
    for (uint32_t k = 0; k < view->n_anchors; k++) {
        uint32_t at = view->anchors[k];
        if (at <= common)
            consider(&best, at, at, DS4_KV_SOURCE_ANCHOR);
        else if (by_bytes && at >= best.n_common && at <= end && scratch[at] <= most)
            consider(&best, at, scratch[at], DS4_KV_SOURCE_ANCHOR);
    }
    return best;
}

double ds4_kv_view_worth(const ds4_kv_view *view) {
    return view->n_tokens * exp2(-view->idle_seconds / HALF_LIFE);
}

/* The idle session whose loss hurts least; n_views when there is none. */
static size_t least_worth(const ds4_kv_view *views, size_t n_views, size_t but) {
    size_t found = n_views;
    for (size_t i = 0; i < n_views; i++) {
        if (views[i].busy || i == but) continue;
        if (found == n_views || ds4_kv_view_worth(&views[i]) < ds4_kv_view_worth(&views[found]))
            found = i;
    }
    return found;
}

static ds4_kv_miss judge(const ds4_kv_view *views, size_t n_views, const ds4_kv_prompt *prompt,
                         const ds4_kv_choice *choice, size_t longest) {
    if (choice->source != DS4_KV_SOURCE_NONE &&
        (choice->n_read == prompt->n - 1 || choice->n_held == views[choice->from].n_tokens))
        return DS4_KV_MISS_NONE;
    bool holds = false;
    for (size_t i = 0; i < n_views; i++) holds = holds || views[i].n_tokens > 0;
    if (!holds) return DS4_KV_MISS_COLD;
    uint32_t common = choice->n_common;
    if (common >= LEAST_REUSE && choice->n_read < common && choice->n_read < prompt->n - 1)
        return DS4_KV_MISS_JOURNAL;
    const ds4_kv_view *view = &views[longest];
    bool same_token = common < view->n_tokens && common < prompt->n &&
                      view->tokens[common] == prompt->tokens[common];
    return same_token ? DS4_KV_MISS_STEERING : DS4_KV_MISS_TOKENS;
}

bool ds4_kv_choose(const ds4_kv_view *views, size_t n_views, const ds4_kv_prompt *prompt,
                   uint32_t *scratch, ds4_kv_choice *choice) {
    offer best = {0};
    size_t from = n_views, longest = 0, spare;
    *choice = (ds4_kv_choice){0};
    for (size_t i = 0; i < n_views; i++) {
        offer one = make_offer(&views[i], prompt, scratch);
        if (one.n_common > choice->n_common || i == 0) {
            choice->n_common = one.n_common;
            choice->n_longest = views[i].n_tokens;
            longest = i;
        }
        /* Equal offers: one that is continued at its end, then one that need not be copied. */
        bool better = one.n_read > best.n_read ||
                      (one.n_read == best.n_read && from < n_views &&
                       (one.source == DS4_KV_SOURCE_LIVE && best.source != DS4_KV_SOURCE_LIVE)) ||
                      (one.n_read == best.n_read && from < n_views && one.source == best.source &&
                       views[from].busy && !views[i].busy);
        if (one.n_read < LEAST_REUSE || !better) continue;
        best = one;
        from = i;
    }
    if (from == n_views) { /* nothing worth having */
        choice->target = choice->from = least_worth(views, n_views, n_views);
        choice->miss = judge(views, n_views, prompt, choice, longest);
        return choice->target < n_views;
    }
    choice->from = from;
    choice->source = best.source;
    choice->n_held = best.n_held;
    choice->n_read = best.n_read;
    choice->miss = judge(views, n_views, prompt, choice, longest);
    spare = least_worth(views, n_views, from);
    /* What others may still want behind the common part is not cut off while something of less
     * worth can be given up. */
    uint32_t lost = views[from].n_prompt > best.n_held ? views[from].n_prompt - best.n_held : 0;
    bool in_place = !views[from].busy && (spare == n_views || lost <= SMALL_LOSS ||
                                          lost * exp2(-views[from].idle_seconds / HALF_LIFE) <=
                                              ds4_kv_view_worth(&views[spare]));
    choice->target = in_place ? from : spare;
    if (!in_place) choice->source = DS4_KV_SOURCE_CLONED;
    return choice->target < n_views;
}
