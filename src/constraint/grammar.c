#include "constraint/grammar.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "chat/dsml.h"

ds4_grammar *ds4_grammar_create(void) {
    ds4_grammar *grammar = calloc(1, sizeof *grammar);
    if (grammar == NULL) return NULL;
    ds4_grammar_add_prelude(grammar);
    if (!grammar->no_memory) return grammar;
    ds4_grammar_destroy(grammar);
    return NULL;
}

void ds4_grammar_destroy(ds4_grammar *grammar) {
    if (grammar == NULL) return;
    free(grammar->nodes);
    free(grammar->edges);
    free(grammar->targets);
    free(grammar);
}

/* Room for n more elements; false, remembered, when there is none. */
static bool grow(ds4_grammar *grammar, void *array, size_t *capacity, size_t used, size_t n,
                 size_t size) {
    if (*capacity - used >= n) return true;
    size_t wanted = (used + n) * 2 + 256;
    void *grown = realloc(*(void **)array, wanted * size);
    if (grown == NULL) {
        grammar->no_memory = true;
        return false;
    }
    *(void **)array = grown;
    *capacity = wanted;
    return true;
}

uint32_t ds4_grammar_reserve(ds4_grammar *grammar) {
    if (grammar->n_nodes >= DS4_GRAMMAR_MAX_NODES) {
        grammar->too_large = true;
        return 0;
    }
    if (!grow(grammar, &grammar->nodes, &grammar->node_capacity, grammar->n_nodes, 1,
              sizeof *grammar->nodes))
        return 0;
    grammar->nodes[grammar->n_nodes] = (ds4_grammar_node){.kind = DS4_NODE_PLAIN};
    return (uint32_t)grammar->n_nodes++;
}

/* After a failure every reservation is node 0, which must stay what it is. */
static bool may_define(const ds4_grammar *grammar, uint32_t node) {
    return !grammar->no_memory && !grammar->too_large && node < grammar->n_nodes;
}

static uint32_t add_targets(ds4_grammar *grammar, const uint32_t *targets, size_t n) {
    if (!grow(grammar, &grammar->targets, &grammar->target_capacity, grammar->n_targets, n,
              sizeof *targets))
        return 0;
    if (n > 0) memcpy(grammar->targets + grammar->n_targets, targets, n * sizeof *targets);
    grammar->n_targets += n;
    return (uint32_t)(grammar->n_targets - n);
}

/* Only asked for small nodes: large ones are rare, and looking at all edges is never wrong. */
static bool is_exclusive(const ds4_grammar_edge *edges, size_t n) {
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < i; j++)
            if (edges[i].low <= edges[j].high && edges[j].low <= edges[i].high) return false;
    return true;
}

void ds4_grammar_define(ds4_grammar *grammar, uint32_t node, const ds4_grammar_edge *edges,
                        size_t n_edges, const uint32_t *targets, size_t n_targets) {
    if (!may_define(grammar, node)) return;
    if (grammar->n_edges + n_edges + grammar->n_targets + n_targets > 8u * DS4_GRAMMAR_MAX_NODES) {
        grammar->too_large = true;
        return;
    }
    uint32_t first = add_targets(grammar, targets, n_targets);
    if (!grow(grammar, &grammar->edges, &grammar->edge_capacity, grammar->n_edges, n_edges,
              sizeof *edges))
        return;
    if (n_edges > 0) memcpy(grammar->edges + grammar->n_edges, edges, n_edges * sizeof *edges);
    ds4_grammar_node *n = &grammar->nodes[node];
    n->edge = (uint32_t)grammar->n_edges;
    n->n_edges = (uint32_t)n_edges;
    n->free = first;
    n->n_free = (uint32_t)n_targets;
    n->exclusive = n_edges <= 24 && is_exclusive(edges, n_edges);
    grammar->n_edges += n_edges;
}

void ds4_grammar_define_call(ds4_grammar *grammar, uint32_t node, uint32_t callee, uint32_t min,
                             uint32_t max, uint32_t next) {
    if (!may_define(grammar, node)) return;
    grammar->nodes[node] = (ds4_grammar_node){
        .kind = DS4_NODE_CALL, .callee = callee, .min = min, .max = max, .next = next};
}

void ds4_grammar_define_members(ds4_grammar *grammar, uint32_t node, const uint32_t *members,
                                size_t n_members, uint64_t required, uint32_t next) {
    if (!may_define(grammar, node)) return;
    grammar->nodes[node] = (ds4_grammar_node){.kind = DS4_NODE_MEMBERS,
                                              .free = add_targets(grammar, members, n_members),
                                              .n_free = (uint32_t)n_members,
                                              .required = required,
                                              .next = next};
}

uint32_t ds4_grammar_return(ds4_grammar *grammar) {
    uint32_t node = ds4_grammar_reserve(grammar);
    if (may_define(grammar, node)) grammar->nodes[node].kind = DS4_NODE_RETURN;
    return node;
}

uint32_t ds4_grammar_symbol(ds4_grammar *grammar, uint16_t low, uint16_t high, uint32_t next) {
    uint32_t node = ds4_grammar_reserve(grammar);
    ds4_grammar_define(grammar, node, &(ds4_grammar_edge){low, high, false, next}, 1, NULL, 0);
    return node;
}

uint32_t ds4_grammar_branch(ds4_grammar *grammar, const uint32_t *targets, size_t n) {
    uint32_t node = ds4_grammar_reserve(grammar);
    ds4_grammar_define(grammar, node, NULL, 0, targets, n);
    return node;
}

uint32_t ds4_grammar_call(ds4_grammar *grammar, uint32_t callee, uint32_t next) {
    uint32_t node = ds4_grammar_reserve(grammar);
    ds4_grammar_define_call(grammar, node, callee, 0, DS4_GRAMMAR_NO_LIMIT, next);
    return node;
}

uint32_t ds4_grammar_optional_space(ds4_grammar *grammar, uint32_t next) {
    return ds4_grammar_call(grammar, ds4_grammar_prelude.space, next);
}

uint32_t ds4_grammar_literal(ds4_grammar *grammar, const char *bytes, size_t n, uint32_t next) {
    while (n-- > 0) {
        unsigned char byte = (unsigned char)bytes[n];
        next = ds4_grammar_symbol(grammar, byte, byte, next);
    }
    return next;
}

uint32_t ds4_grammar_markup(ds4_grammar *grammar, const char *words, uint32_t next) {
    const uint16_t control = DS4_SYMBOL_OF_CONTROL(DS4_CONTROL_DSML);
    const char *at = strstr(words, DS4_DSML_WORD);
    if (at == NULL) return ds4_grammar_literal(grammar, words, strlen(words), next);
    next = ds4_grammar_markup(grammar, at + sizeof DS4_DSML_WORD - 1, next);
    next = ds4_grammar_symbol(grammar, control, control, next);
    return ds4_grammar_literal(grammar, words, (size_t)(at - words), next);
}

/* ---- finishing ---- */

static uint16_t height_of_call(const ds4_grammar *grammar, const ds4_grammar_node *n) {
    uint16_t inner = grammar->nodes[n->callee].height, rest = grammar->nodes[n->next].height;
    if (inner == DS4_GRAMMAR_NEVER || rest == DS4_GRAMMAR_NEVER) return DS4_GRAMMAR_NEVER;
    if (inner >= DS4_GRAMMAR_MAX_DEPTH) return DS4_GRAMMAR_NEVER; /* deeper than any matcher goes */
    return inner + 1 > rest ? (uint16_t)(inner + 1) : rest;
}

/* A member's own needs are bounded by whoever builds it; what counts is that the list can end. */
static uint16_t height_of(const ds4_grammar *grammar, const ds4_grammar_node *n) {
    if (n->kind == DS4_NODE_RETURN) return 0;
    if (n->kind == DS4_NODE_CALL) return height_of_call(grammar, n);
    if (n->kind == DS4_NODE_MEMBERS) return grammar->nodes[n->next].height;
    uint16_t least = DS4_GRAMMAR_NEVER;
    for (uint32_t i = 0; i < n->n_edges; i++) {
        uint16_t h = grammar->nodes[grammar->edges[n->edge + i].target].height;
        if (h < least) least = h;
    }
    for (uint32_t i = 0; i < n->n_free; i++) {
        uint16_t h = grammar->nodes[grammar->targets[n->free + i]].height;
        if (h < least) least = h;
    }
    return least;
}

static bool lower(ds4_grammar *grammar, size_t i) {
    uint16_t h = height_of(grammar, &grammar->nodes[i]);
    if (h >= grammar->nodes[i].height) return false;
    grammar->nodes[i].height = h;
    return true;
}

/* Heights only fall, from NEVER to the least that a way to an end needs: a fixed point, swept in
 * both directions because chains run both ways. */
void ds4_grammar_measure(ds4_grammar *grammar) {
    for (size_t i = 0; i < grammar->n_nodes; i++) grammar->nodes[i].height = DS4_GRAMMAR_NEVER;
    for (bool changed = true; changed;) {
        changed = false;
        for (size_t i = 0; i < grammar->n_nodes; i++) changed = lower(grammar, i) || changed;
        for (size_t i = grammar->n_nodes; i-- > 0;) changed = lower(grammar, i) || changed;
    }
}

static bool leads_nowhere(const ds4_grammar *grammar, uint32_t target) {
    return grammar->nodes[target].height == DS4_GRAMMAR_NEVER;
}

static void cut_dead_ends(ds4_grammar *grammar) {
    for (size_t i = 0; i < grammar->n_nodes; i++) {
        ds4_grammar_node *n = &grammar->nodes[i];
        if (n->kind != DS4_NODE_PLAIN) continue;
        uint32_t kept = 0;
        for (uint32_t e = 0; e < n->n_edges; e++) {
            ds4_grammar_edge edge = grammar->edges[n->edge + e];
            if (!leads_nowhere(grammar, edge.target)) grammar->edges[n->edge + kept++] = edge;
        }
        n->n_edges = kept;
        kept = 0;
        for (uint32_t t = 0; t < n->n_free; t++) {
            uint32_t target = grammar->targets[n->free + t];
            if (!leads_nowhere(grammar, target)) grammar->targets[n->free + kept++] = target;
        }
        n->n_free = kept;
    }
}

ds4_status ds4_grammar_finish(ds4_grammar *grammar, uint32_t root, ds4_error *error) {
    if (grammar->no_memory) return ds4_fail(error, DS4_NO_MEMORY, "no memory for a grammar");
    if (grammar->too_large)
        return ds4_fail(error, DS4_UNSUPPORTED,
                        "the schema is too large: its grammar would have more than %u states",
                        DS4_GRAMMAR_MAX_NODES);
    grammar->root = root;
    ds4_grammar_measure(grammar);
    if (grammar->nodes[root].height == DS4_GRAMMAR_NEVER)
        return ds4_fail(error, DS4_FORMAT,
                        "no finite document of at most %u levels can satisfy the schema",
                        DS4_GRAMMAR_MAX_DEPTH);
    cut_dead_ends(grammar);
    return DS4_OK;
}
