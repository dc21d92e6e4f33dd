/* A grammar over symbols (bytes, and the control tokens of chat/control.h) as a recursive
 * transition network: nodes joined by symbol edges and free edges, and calls that come back. Rules
 * are shared, so nesting in a schema costs nothing and recursion is possible.
 *
 * Built once by one thread; read-only after ds4_grammar_finish, then any number of matchers in any
 * threads may use it. Building never fails half way: memory and size failures are remembered and
 * reported by ds4_grammar_finish.
 */
#ifndef DS4_CONSTRAINT_GRAMMAR_H
#define DS4_CONSTRAINT_GRAMMAR_H

#include "base/strbuf.h"
#include "chat/control.h"
#include "ds4.h"

#define DS4_SYMBOL_OF_CONTROL(control) ((uint16_t)(0x100 + (control)))

#define DS4_GRAMMAR_MAX_NODES 400000u
#define DS4_GRAMMAR_MAX_DEPTH 128u       /* calls within calls */
#define DS4_GRAMMAR_NEVER     0xFFFFu    /* height of a node from which no end can be reached */
#define DS4_GRAMMAR_NO_LIMIT  UINT32_MAX /* characters */

typedef struct ds4_grammar_edge {
    uint16_t low, high; /* symbols, inclusive */
    bool counts;        /* begins a character of a text whose length is limited */
    uint32_t target;
} ds4_grammar_edge;

typedef enum ds4_node_kind {
    DS4_NODE_PLAIN,   /* edges and free edges */
    DS4_NODE_CALL,    /* runs `callee` to its return, then goes on at `next` */
    DS4_NODE_RETURN,  /* the end of a rule; of the outermost one: the text may end here */
    DS4_NODE_MEMBERS, /* members in any order, each at most once, the required ones always */
} ds4_node_kind;

typedef struct ds4_grammar_node {
    ds4_node_kind kind;
    uint32_t edge, n_edges; /* PLAIN: in `edges` */
    uint32_t free, n_free;  /* PLAIN, and MEMBERS (where the members begin): in `targets` */
    uint32_t callee, next;  /* CALL; MEMBERS: `next` is where it goes on when it may end */
    uint32_t min, max;      /* CALL: characters of the called text */
    uint64_t required;      /* MEMBERS: bit i = member i; at most 64 */
    bool exclusive;         /* PLAIN: a symbol has one edge at most */
    uint16_t height;        /* calls within calls that the way to an end needs */
} ds4_grammar_node;

typedef struct ds4_grammar {
    ds4_grammar_node *nodes;
    size_t n_nodes, node_capacity;
    ds4_grammar_edge *edges;
    size_t n_edges, edge_capacity;
    uint32_t *targets;
    size_t n_targets, target_capacity;
    uint32_t root;
    bool no_memory, too_large;
} ds4_grammar;

/* ---- rules that every grammar has, with the same numbers ---- */

/* Nodes below DS4_PRELUDE_END belong to the prelude; what a matcher learns about them holds for
 * every grammar (constraint/vocabulary.h). The rules end in RETURN. */
typedef struct ds4_prelude {
    uint32_t string;  /* a JSON string behind its opening quote, with the closing one */
    uint32_t raw;     /* the text of a DSML string parameter, with the < of its closing tag */
    uint32_t space;   /* optional: one blank, or a line break and at most 24 blanks or tabs */
    uint32_t number;  /* JSON numbers of bounded length, all finite */
    uint32_t integer; /* of at most 19 digits */
    uint32_t value;   /* any JSON value */
    uint32_t object;  /* any JSON object */
    uint32_t end;     /* the first node behind the prelude */
} ds4_prelude;

extern const ds4_prelude ds4_grammar_prelude;

/* ---- building ---- */

/* With the prelude. NULL: out of memory. Owned by the caller. */
ds4_grammar *ds4_grammar_create(void);
void ds4_grammar_destroy(ds4_grammar *grammar); /* NULL is fine */

/* A node to be defined later; defining it twice is a defect. */
uint32_t ds4_grammar_reserve(ds4_grammar *grammar);
void ds4_grammar_define(ds4_grammar *grammar, uint32_t node, const ds4_grammar_edge *edges,
                        size_t n_edges, const uint32_t *targets, size_t n_targets);
void ds4_grammar_define_call(ds4_grammar *grammar, uint32_t node, uint32_t callee, uint32_t min,
                             uint32_t max, uint32_t next);
void ds4_grammar_define_members(ds4_grammar *grammar, uint32_t node, const uint32_t *members,
                                size_t n_members, uint64_t required, uint32_t next);

/* The same in one go. */
uint32_t ds4_grammar_return(ds4_grammar *grammar);
uint32_t ds4_grammar_symbol(ds4_grammar *grammar, uint16_t low, uint16_t high, uint32_t next);
uint32_t ds4_grammar_branch(ds4_grammar *grammar, const uint32_t *targets, size_t n);
uint32_t ds4_grammar_call(ds4_grammar *grammar, uint32_t callee, uint32_t next);
uint32_t ds4_grammar_optional_space(ds4_grammar *grammar, uint32_t next);
uint32_t ds4_grammar_literal(ds4_grammar *grammar, const char *bytes, size_t n, uint32_t next);
/* The template's own words: the DSML word in them stands for its control token. */
uint32_t ds4_grammar_markup(ds4_grammar *grammar, const char *words, uint32_t next);

/* Computes heights and cuts off ways that can never end. NO_MEMORY; UNSUPPORTED when the grammar
 * is too large; FORMAT when no text can match, or only one that nests too deep. */
ds4_status ds4_grammar_finish(ds4_grammar *grammar, uint32_t root, ds4_error *error);
/* Fills in the heights of all nodes as they are now; part of finishing, and a question for rules.
 */
void ds4_grammar_measure(ds4_grammar *grammar);

/* ---- prelude.c, used by ds4_grammar_create ---- */
void ds4_grammar_add_prelude(ds4_grammar *grammar);
/* The node of the JSON string rule that follows `node` (also of that rule) by `byte`; `end` of the
 * prelude when there is none. */
uint32_t ds4_grammar_string_step(const ds4_grammar *grammar, uint32_t node, unsigned char byte);

#endif
