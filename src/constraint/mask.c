/* Which tokens may come next. A token is allowed when walking its bytes down the trie keeps some
 * configuration alive. What follows a node within its own rule does not depend on who called the
 * rule, so it is computed once and kept; only where a token leaves the rule must the walk go on
 * with the real stack. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "constraint/matcher_internal.h"

/* A walk that looked at more nodes than this is worth keeping. */
enum { WORTH_KEEPING = 400 };

static void allow(uint64_t *words, int32_t id) {
    words[(size_t)id / 64] |= (uint64_t)1 << ((size_t)id % 64);
}

/* ---- walks ---- */

typedef struct walk {
    uint32_t first, last, depth; /* the trie's nodes, and the depth of their common parent */
    const ds4_config *from;      /* the set at that parent */
    size_t n_from;
    uint64_t *allowed;
    ds4_local *exits; /* NULL: the bottom frame is the text's end, not the end of a rule */
} walk;

static void add_exit(ds4_local *local, uint32_t trie_node, uint8_t chars) {
    if (local->n_exits == local->exit_capacity) {
        size_t capacity = local->exit_capacity * 2 + 64;
        ds4_exit *grown = realloc(local->exits, capacity * sizeof *grown);
        if (grown == NULL) return; /* longer tokens are then not offered */
        local->exits = grown;
        local->exit_capacity = capacity;
    }
    local->exits[local->n_exits++] = (ds4_exit){trie_node, chars};
}

/* Returns how many nodes of the trie were looked at. */
static size_t run_walk(ds4_matcher *m, const walk *w) {
    const ds4_vocabulary *v = m->vocabulary;
    struct {
        const ds4_config *from;
        size_t n, used; /* used: pool elements up to here belong to this level and those above */
    } levels[DS4_LEVELS];
    levels[0].from = w->from;
    levels[0].n = w->n_from;
    levels[0].used = 0;
    size_t looked = 0;
    for (uint32_t i = w->first; i < w->last; looked++) {
        size_t level = v->depths[i] - w->depth;
        size_t used = levels[level - 1].used;
        ds4_set_builder set;
        ds4_set_begin(m, &set, m->pool + used, DS4_POOL - used);
        ds4_set_step(m, levels[level - 1].from, levels[level - 1].n, v->bytes[i], &set);
        bool has_children = v->ends[i] > i + 1;
        if (set.n > 0 || set.done) {
            if (v->tokens[i] >= 0) allow(w->allowed, v->tokens[i]);
            if (set.done && has_children && w->exits != NULL) add_exit(w->exits, i, 0);
        }
        levels[level].from = m->pool + used;
        levels[level].n = set.n;
        levels[level].used = used + set.n;
        i = set.n > 0 ? i + 1 : v->ends[i];
    }
    return looked;
}

size_t ds4_local_compute(ds4_matcher *m, uint32_t node, ds4_local *local) {
    size_t n_frames = m->n_frames;
    ds4_config start = {node, 0, 0};
    memset(local->allowed, 0, m->vocabulary->n_words * sizeof *local->allowed);
    local->n_exits = 0;
    local->node = node;
    m->deepest = m->grammar->nodes[node].height;
    walk w = {.first = 1,
              .last = m->vocabulary->n_nodes,
              .from = &start,
              .n_from = 1,
              .allowed = local->allowed,
              .exits = local};
    size_t looked = run_walk(m, &w);
    local->deepest = m->deepest;
    ds4_frames_truncate(m, n_frames);
    return looked;
}

/* ---- the two texts whose length may be limited ---- */

typedef struct text_rule {
    uint32_t node;
    const uint8_t *chars;
} text_rule;

/* Characters that each token begins within the text, and every exit with the characters before it.
 */
static void measure_text(ds4_matcher *m, uint32_t rule, uint8_t *chars, ds4_local *local) {
    const ds4_vocabulary *v = m->vocabulary;
    uint32_t nodes[DS4_LEVELS] = {rule};
    unsigned counts[DS4_LEVELS] = {0};
    memset(chars, DS4_CHARS_OUTSIDE, v->n_tokens);
    local->n_exits = 0;
    for (uint32_t i = 1; i < v->n_nodes;) {
        size_t level = v->depths[i];
        const ds4_grammar_node *n = &m->grammar->nodes[nodes[level - 1]];
        bool inside = false;
        for (uint32_t e = 0; e < n->n_edges; e++) {
            const ds4_grammar_edge *edge = &m->grammar->edges[n->edge + e];
            if (v->bytes[i] < edge->low || v->bytes[i] > edge->high) continue;
            if (m->grammar->nodes[edge->target].kind == DS4_NODE_RETURN) {
                add_exit(local, i, (uint8_t)counts[level - 1]);
                continue;
            }
            inside = true;
            nodes[level] = edge->target;
            counts[level] = counts[level - 1] + edge->counts;
        }
        if (inside && v->tokens[i] >= 0 && counts[level] < DS4_CHARS_OUTSIDE)
            chars[v->tokens[i]] = (uint8_t)counts[level];
        inside = inside && counts[level] < DS4_CHARS_OUTSIDE;
        i = inside ? i + 1 : v->ends[i];
    }
}

ds4_status ds4_vocabulary_learn_prelude(ds4_vocabulary *v, ds4_error *error) {
    ds4_matcher *m = NULL;
    ds4_status status = DS4_OK;
    ds4_grammar *grammar = ds4_grammar_create();
    if (grammar == NULL) return ds4_fail_memory(error, 1 << 16, "a grammar");
    status = ds4_grammar_finish(grammar, ds4_grammar_prelude.value, error);
    if (status == DS4_OK) status = ds4_matcher_create(grammar, v, &m, error);
    if (status != DS4_OK) goto done;
    for (uint32_t node = 0; node < ds4_grammar_prelude.end; node++) {
        if (grammar->nodes[node].kind != DS4_NODE_PLAIN || grammar->nodes[node].n_edges == 0)
            continue;
        ds4_local *local = &v->prelude[node];
        local->allowed = malloc(v->n_words * sizeof *local->allowed);
        if (local->allowed == NULL) {
            status = ds4_fail_memory(error, v->n_words * sizeof *local->allowed, "a token mask");
            goto done;
        }
        ds4_local_compute(m, node, local);
    }
    measure_text(m, ds4_grammar_prelude.string, v->string_chars,
                 &v->prelude[ds4_grammar_prelude.string]);
    measure_text(m, ds4_grammar_prelude.raw, v->raw_chars, &v->prelude[ds4_grammar_prelude.raw]);
done:
    ds4_matcher_destroy(m);
    ds4_grammar_destroy(grammar);
    return status;
}

/* ---- masks ---- */

/* The walk goes on below an exit, in whoever called the rule. */
static void follow_exits(ds4_matcher *m, const ds4_config *c, const ds4_local *local,
                         uint64_t *allowed, uint32_t least, uint32_t most) {
    const ds4_vocabulary *v = m->vocabulary;
    const ds4_frame frame = m->frames[c->frame];
    if (local->n_exits == 0) return;
    ds4_config set[DS4_SET_LIMIT];
    size_t n = 0;
    if (c->frame != 0) {
        ds4_set_builder outer;
        ds4_set_begin(m, &outer, set, DS4_SET_LIMIT);
        ds4_set_add(m, &outer, (ds4_config){frame.next_node, frame.parent, 0});
        n = outer.n;
    }
    for (size_t i = 0; i < local->n_exits; i++) {
        ds4_exit exit = local->exits[i];
        if (exit.chars < least || exit.chars > most) continue;
        if (v->tokens[exit.trie_node] >= 0) allow(allowed, v->tokens[exit.trie_node]);
        if (n == 0) continue;
        walk w = {.first = exit.trie_node + 1,
                  .last = v->ends[exit.trie_node],
                  .depth = v->depths[exit.trie_node],
                  .from = set,
                  .n_from = n,
                  .allowed = allowed};
        run_walk(m, &w);
    }
}

static void mask_limited_text(ds4_matcher *m, const ds4_config *c, const uint8_t *chars,
                              const ds4_local *local, uint64_t *allowed) {
    const ds4_frame *frame = &m->frames[c->frame];
    uint32_t room = DS4_CHARS_OUTSIDE - 1;
    if (frame->max != DS4_GRAMMAR_NO_LIMIT && frame->max - c->count < room)
        room = frame->max - c->count;
    size_t n = m->vocabulary->n_tokens;
    for (size_t word = 0; word * 64 < n; word++) {
        uint64_t bits = 0;
        size_t end = n - word * 64 < 64 ? n - word * 64 : 64;
        for (size_t b = 0; b < end; b++) bits |= (uint64_t)(chars[word * 64 + b] <= room) << b;
        allowed[word] |= bits;
    }
    uint32_t least = frame->min > c->count ? frame->min - c->count : 0;
    follow_exits(m, c, local, allowed, least, room);
}

static void mask_with_real_stack(ds4_matcher *m, const ds4_config *c, uint64_t *allowed) {
    walk w = {
        .first = 1, .last = m->vocabulary->n_nodes, .from = c, .n_from = 1, .allowed = allowed};
    run_walk(m, &w);
}

/* NULL when the node must be looked at anew; `scratch` then holds the result. */
static const ds4_local *find_local(ds4_matcher *m, uint32_t node) {
    if (node < ds4_grammar_prelude.end) return &m->vocabulary->prelude[node];
    ds4_local *slot = &m->cache[(node * 0x9E3779B1u) >> 26 & (DS4_CACHE_SLOTS - 1)];
    if (slot->allowed != NULL && slot->node == node) return slot;
    if (ds4_local_compute(m, node, &m->scratch) < WORTH_KEEPING) return &m->scratch;
    ds4_local kept = *slot;
    if (kept.allowed == NULL) kept.allowed = malloc(m->vocabulary->n_words * sizeof *kept.allowed);
    if (kept.allowed == NULL) return &m->scratch;
    *slot = m->scratch;
    m->scratch = kept; /* its buffers are used again */
    return slot;
}

static void mask_config(ds4_matcher *m, const ds4_config *c, uint64_t *allowed) {
    const ds4_vocabulary *v = m->vocabulary;
    const ds4_frame frame = m->frames[c->frame];
    bool limited = frame.min > 0 || frame.max != DS4_GRAMMAR_NO_LIMIT;
    if (c->node == ds4_grammar_prelude.string && limited) {
        mask_limited_text(m, c, v->string_chars, &v->prelude[c->node], allowed);
        return;
    }
    if (c->node == ds4_grammar_prelude.raw && limited) {
        mask_limited_text(m, c, v->raw_chars, &v->prelude[c->node], allowed);
        return;
    }
    const ds4_local *local = limited ? NULL : find_local(m, c->node);
    if (local == NULL || frame.depth + local->deepest > DS4_GRAMMAR_MAX_DEPTH) {
        mask_with_real_stack(m, c, allowed);
        return;
    }
    for (size_t i = 0; i < v->n_words; i++) allowed[i] |= local->allowed[i];
    follow_exits(m, c, local, allowed, 0, UINT32_MAX);
}

void ds4_matcher_mask(ds4_matcher *m, uint64_t *allowed) {
    const ds4_vocabulary *v = m->vocabulary;
    size_t n_frames = m->n_frames;
    memset(allowed, 0, v->n_words * sizeof *allowed);
    for (size_t i = 0; i < m->n_set; i++) mask_config(m, &m->set[i], allowed);
    ds4_set_builder set;
    ds4_set_begin(m, &set, m->pool, DS4_SET_LIMIT);
    ds4_set_step(m, m->set, m->n_set, DS4_SYMBOL_OF_CONTROL(DS4_CONTROL_DSML), &set);
    if ((set.n > 0 || set.done) && v->dsml >= 0) allow(allowed, v->dsml);
    if (m->done && v->end_of_turn >= 0) allow(allowed, v->end_of_turn);
    ds4_frames_truncate(m, n_frames);
}
