#include "constraint/matcher.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "constraint/matcher_internal.h"

enum { FIRST_FRAMES = 1024, COLLECT_AT = 4096, SHORT_SET = 16 };

/* ---- stacks ---- */

static uint32_t bucket_of(const ds4_frame *f) {
    uint64_t h =
        f->parent * UINT64_C(0x9E3779B97F4A7C15) ^ f->next_node * UINT64_C(0xC2B2AE3D27D4EB4F);
    h ^= f->seen * UINT64_C(0x165667B19E3779F9) + f->min + ((uint64_t)f->max << 20);
    return (uint32_t)(h >> 40) & (DS4_FRAME_BUCKETS - 1);
}

static bool same_frame(const ds4_frame *a, const ds4_frame *b) {
    return a->parent == b->parent && a->next_node == b->next_node && a->min == b->min &&
           a->max == b->max && a->seen == b->seen;
}

/* The one frame that is equal to `wanted`; 0 when there is no memory for it. */
static uint32_t intern_frame(ds4_matcher *m, ds4_frame wanted) {
    uint32_t bucket = bucket_of(&wanted);
    for (uint32_t i = m->buckets[bucket]; i != 0; i = m->frames[i].chain)
        if (same_frame(&m->frames[i], &wanted)) return i;
    if (m->n_frames == m->frame_capacity) {
        ds4_frame *grown = realloc(m->frames, 2 * m->frame_capacity * sizeof *grown);
        if (grown == NULL) return 0;
        m->frames = grown;
        m->frame_capacity *= 2;
    }
    wanted.chain = m->buckets[bucket];
    m->frames[m->n_frames] = wanted;
    m->buckets[bucket] = (uint32_t)m->n_frames;
    return (uint32_t)m->n_frames++;
}

void ds4_frames_truncate(ds4_matcher *m, size_t n_frames) {
    while (m->n_frames > n_frames) {
        const ds4_frame *last = &m->frames[--m->n_frames];
        m->buckets[bucket_of(last)] = last->chain;
    }
}

/* Keeps only the stacks of the current set. Parents have lower numbers than their children, so one
 * pass down marks and one pass up moves; `chain` holds the mark, then the new number. */
static void collect_frames(ds4_matcher *m) {
    for (size_t i = 0; i < m->n_frames; i++) m->frames[i].chain = 0;
    for (size_t i = 0; i < m->n_set; i++) m->frames[m->set[i].frame].chain = 1;
    for (size_t i = m->n_frames; i-- > 1;)
        if (m->frames[i].chain != 0) m->frames[m->frames[i].parent].chain = 1;
    uint32_t n = 1;
    for (size_t i = 1; i < m->n_frames; i++)
        if (m->frames[i].chain != 0) m->frames[i].chain = n++;
    m->frames[0].chain = 0;
    for (size_t i = 0; i < m->n_set; i++) m->set[i].frame = m->frames[m->set[i].frame].chain;
    for (size_t i = 1; i < m->n_frames; i++) {
        ds4_frame *frame = &m->frames[i];
        if (frame->chain != 0) frame->parent = m->frames[frame->parent].chain;
    }
    for (size_t i = 1; i < m->n_frames; i++)
        if (m->frames[i].chain != 0) m->frames[m->frames[i].chain] = m->frames[i];
    m->n_frames = n;
    memset(m->buckets, 0, sizeof m->buckets);
    for (uint32_t i = 1; i < n; i++) {
        uint32_t bucket = bucket_of(&m->frames[i]);
        m->frames[i].chain = m->buckets[bucket];
        m->buckets[bucket] = i;
    }
}

/* ---- sets ---- */

void ds4_set_begin(ds4_matcher *m, ds4_set_builder *set, ds4_config *out, size_t limit) {
    *set = (ds4_set_builder){.out = out, .limit = limit < DS4_SET_LIMIT ? limit : DS4_SET_LIMIT};
    m->n_seen = 0;
    if (++m->stamp == 0) {
        memset(m->seen, 0, sizeof m->seen);
        m->stamp = 1;
    }
}

/* Notes the configuration; false when it was there already, or there are too many. */
static bool is_new(ds4_matcher *m, ds4_config c) {
    if (m->n_seen >= DS4_SEEN_SLOTS / 2) return false;
    uint32_t slot = (c.node * 0x9E3779B1u ^ c.frame * 0x85EBCA77u ^ c.count * 0xC2B2AE3Du) >> 16;
    for (;; slot++) {
        ds4_seen *s = &m->seen[slot & (DS4_SEEN_SLOTS - 1)];
        if (s->stamp != m->stamp) {
            *s = (ds4_seen){c, m->stamp};
            m->n_seen++;
            return true;
        }
        if (s->config.node == c.node && s->config.frame == c.frame && s->config.count == c.count)
            return false;
    }
}

typedef struct worklist {
    ds4_config *items;
    size_t n;
} worklist;

static void push(ds4_matcher *m, worklist *work, uint32_t node, uint32_t frame, uint32_t count) {
    uint32_t depth = m->frames[frame].depth + m->grammar->nodes[node].height;
    if (depth > DS4_GRAMMAR_MAX_DEPTH) return; /* there would be no way to an end */
    if (depth > m->deepest) m->deepest = depth;
    if (work->n < DS4_SEEN_SLOTS) work->items[work->n++] = (ds4_config){node, frame, count};
}

static void push_members(ds4_matcher *m, worklist *work, const ds4_grammar_node *n,
                         uint32_t frame) {
    ds4_frame written = m->frames[frame];
    if ((written.seen & n->required) == n->required) push(m, work, n->next, frame, 0);
    uint64_t before = written.seen;
    for (uint32_t i = n->n_free; i-- > 0;) {
        if (before >> i & 1) continue;
        written.seen = before | (uint64_t)1 << i;
        uint32_t with = intern_frame(m, written);
        if (with != 0) push(m, work, m->grammar->targets[n->free + i], with, 0);
    }
}

static void push_call(ds4_matcher *m, worklist *work, const ds4_grammar_node *n, uint32_t frame) {
    ds4_frame called = {.parent = frame,
                        .next_node = n->next,
                        .min = n->min,
                        .max = n->max,
                        .depth = m->frames[frame].depth + 1};
    uint32_t inner = intern_frame(m, called);
    if (inner != 0) push(m, work, n->callee, inner, 0);
}

static void leave(ds4_matcher *m, worklist *work, ds4_set_builder *set, ds4_config c) {
    const ds4_frame *frame = &m->frames[c.frame];
    if (c.count < frame->min) return; /* the text is too short */
    if (c.frame == 0)
        set->done = true;
    else
        push(m, work, frame->next_node, frame->parent, 0);
}

/* Adds a configuration that waits for a symbol. */
static void add_waiting(ds4_set_builder *set, ds4_config c) {
    size_t n = set->n < SHORT_SET ? set->n : SHORT_SET;
    for (size_t i = 0; i < n; i++) {
        const ds4_config *have = &set->out[i];
        if (have->node == c.node && have->frame == c.frame && have->count == c.count) return;
    }
    if (set->n < set->limit) set->out[set->n++] = c;
}

void ds4_set_add(ds4_matcher *m, ds4_set_builder *set, ds4_config config) {
    worklist work = {m->work, 0};
    const ds4_grammar_node *first = &m->grammar->nodes[config.node];
    uint32_t depth = m->frames[config.frame].depth + first->height;
    if (first->kind == DS4_NODE_PLAIN && first->n_free == 0 && first->n_edges > 0 &&
        set->n < SHORT_SET && depth <= DS4_GRAMMAR_MAX_DEPTH) { /* the usual case, cheaply */
        if (depth > m->deepest) m->deepest = depth;
        add_waiting(set, config);
        return;
    }
    push(m, &work, config.node, config.frame, config.count);
    while (work.n > 0) {
        ds4_config c = work.items[--work.n];
        if (!is_new(m, c)) continue;
        const ds4_grammar_node *n = &m->grammar->nodes[c.node];
        switch (n->kind) {
        case DS4_NODE_PLAIN:
            if (n->n_edges > 0) add_waiting(set, c);
            for (uint32_t i = n->n_free; i-- > 0;)
                push(m, &work, m->grammar->targets[n->free + i], c.frame, c.count);
            break;
        case DS4_NODE_CALL:
            push_call(m, &work, n, c.frame);
            break;
        case DS4_NODE_MEMBERS:
            push_members(m, &work, n, c.frame);
            break;
        case DS4_NODE_RETURN:
            leave(m, &work, set, c);
            break;
        }
    }
}

/* Characters are counted only where a limit asks for it, so that equal states stay equal. */
static bool count_character(const ds4_frame *frame, uint32_t *count) {
    if (frame->max == DS4_GRAMMAR_NO_LIMIT) {
        if (*count < frame->min) ++*count;
        return true;
    }
    if (*count >= frame->max) return false;
    ++*count;
    return true;
}

void ds4_set_step(ds4_matcher *m, const ds4_config *from, size_t n, uint16_t symbol,
                  ds4_set_builder *set) {
    for (size_t i = 0; i < n; i++) {
        ds4_config c = from[i];
        const ds4_grammar_node *node = &m->grammar->nodes[c.node];
        const ds4_grammar_edge *edges = &m->grammar->edges[node->edge];
        for (uint32_t e = 0; e < node->n_edges; e++) {
            if (symbol < edges[e].low || symbol > edges[e].high) continue;
            uint32_t count = c.count;
            if (edges[e].counts && !count_character(&m->frames[c.frame], &count)) continue;
            ds4_set_add(m, set, (ds4_config){edges[e].target, c.frame, count});
            if (node->exclusive) break;
        }
    }
}

/* ---- the matcher ---- */

static bool accept_symbol(ds4_matcher *m, uint16_t symbol) {
    ds4_config from[DS4_SET_LIMIT];
    size_t n = m->n_set;
    memcpy(from, m->set, n * sizeof from[0]);
    ds4_set_builder set;
    ds4_set_begin(m, &set, m->set, DS4_SET_LIMIT);
    ds4_set_step(m, from, n, symbol, &set);
    m->n_set = set.n;
    m->done = set.done;
    return set.n > 0 || set.done;
}

bool ds4_matcher_accept(ds4_matcher *m, const char *bytes, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!accept_symbol(m, (unsigned char)bytes[i])) return false;
    if (m->n_frames > COLLECT_AT) collect_frames(m);
    return true;
}

bool ds4_matcher_accept_control(ds4_matcher *m, ds4_control control) {
    return accept_symbol(m, DS4_SYMBOL_OF_CONTROL(control));
}

bool ds4_matcher_may_end(const ds4_matcher *m) {
    return m->done;
}

bool ds4_matcher_must_end(const ds4_matcher *m) {
    return m->done && m->n_set == 0;
}

void ds4_matcher_reset(ds4_matcher *m) {
    ds4_frames_truncate(m, 1);
    ds4_set_builder set;
    ds4_set_begin(m, &set, m->set, DS4_SET_LIMIT);
    ds4_set_add(m, &set, (ds4_config){m->grammar->root, 0, 0});
    m->n_set = set.n;
    m->done = set.done;
}

ds4_status ds4_matcher_create(const ds4_grammar *grammar, const ds4_vocabulary *vocabulary,
                              ds4_matcher **matcher, ds4_error *error) {
    ds4_matcher *m = calloc(1, sizeof *m);
    if (m == NULL) return ds4_fail_memory(error, sizeof *m, "a matcher");
    m->grammar = grammar;
    m->vocabulary = vocabulary;
    m->frames = malloc(FIRST_FRAMES * sizeof *m->frames);
    m->pool = malloc(DS4_POOL * sizeof *m->pool);
    size_t n_words = vocabulary != NULL ? vocabulary->n_words : 1;
    m->scratch.allowed = malloc(n_words * sizeof *m->scratch.allowed);
    if (m->frames == NULL || m->pool == NULL || m->scratch.allowed == NULL) {
        ds4_matcher_destroy(m);
        return ds4_fail_memory(error, DS4_POOL * sizeof *m->pool, "a matcher");
    }
    m->frame_capacity = FIRST_FRAMES;
    m->frames[0] = (ds4_frame){.max = DS4_GRAMMAR_NO_LIMIT};
    m->n_frames = 1;
    ds4_matcher_reset(m);
    *matcher = m;
    return DS4_OK;
}

void ds4_matcher_destroy(ds4_matcher *m) {
    if (m == NULL) return;
    for (size_t i = 0; i < DS4_CACHE_SLOTS; i++) {
        free(m->cache[i].allowed);
        free(m->cache[i].exits);
    }
    free(m->scratch.allowed);
    free(m->scratch.exits);
    free(m->frames);
    free(m->pool);
    free(m);
}
