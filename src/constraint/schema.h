/* A JSON Schema (2020-12, the part in docs/structured-output.md) as nodes that say what a value may
 * be: references followed, allOf merged, alternatives distributed. What is not supported is an
 * error that names the keyword and where it stands, never silence.
 *
 * A schema belongs to one thread; its text must outlive it. Nodes are made when they are asked for,
 * so recursive schemas are finite.
 */
#ifndef DS4_CONSTRAINT_SCHEMA_H
#define DS4_CONSTRAINT_SCHEMA_H

#include "base/json_scan.h"
#include "chat/chat_request.h"
#include "constraint/spell.h"

enum {
    DS4_TYPE_NULL = 1,
    DS4_TYPE_BOOLEAN = 2,
    DS4_TYPE_INTEGER = 4,
    DS4_TYPE_FRACTION = 8, /* numbers that are no integers; "number" is both */
    DS4_TYPE_STRING = 16,
    DS4_TYPE_ARRAY = 32,
    DS4_TYPE_OBJECT = 64,
    DS4_TYPE_NUMBER = DS4_TYPE_INTEGER | DS4_TYPE_FRACTION,
    DS4_TYPE_ANY = 127,
};

#define DS4_SCHEMA_MAX_NODES        32768u
#define DS4_SCHEMA_MAX_PROPERTIES   1000u /* of one object */
#define DS4_SCHEMA_MAX_ALTERNATIVES 256u  /* of one value */
#define DS4_SCHEMA_MAX_VALUES       5000u /* of one enum */
#define DS4_SCHEMA_MAX_ITEMS        4096u /* minItems, maxItems, prefixItems */
#define DS4_SCHEMA_MAX_LENGTH       1000000u
#define DS4_SCHEMA_PATH_BYTES       200u

typedef struct ds4_schema ds4_schema;
typedef struct ds4_schema_node ds4_schema_node;

typedef struct ds4_schema_property {
    ds4_text name;         /* decoded */
    ds4_schema_node *node; /* not looked into yet: ds4_schema_open */
    bool required;
} ds4_schema_property;

struct ds4_schema_node {
    /* What it stands for until it is opened: a piece of the schema, or two nodes at once. */
    ds4_json_value source;
    ds4_schema_node *both[2];
    enum { DS4_NODE_CLOSED, DS4_NODE_OPENING, DS4_NODE_OPEN } state;
    char *path; /* where it stands, for complaints */

    /* One of the alternatives, when there are any; the rest is then not used. */
    ds4_schema_node **alternatives;
    size_t n_alternatives;

    unsigned types; /* 0: nothing fits */
    bool has_values;
    ds4_json_value *values; /* one of these */
    size_t n_values;

    uint32_t min_length, max_length;
    ds4_text pattern; /* data NULL: none; of a format, or decoded */
    ds4_number_bound low, high;

    ds4_schema_node **prefix;
    size_t n_prefix;
    ds4_schema_node *items; /* NULL: anything */
    uint32_t min_items, max_items;

    ds4_schema_property *properties; /* in the order of the schema; required ones that it does not
                                        describe come last */
    size_t n_properties;
    bool described;              /* some property is described: then other members must be allowed
                                    by `additional`, otherwise they may come too */
    ds4_schema_node *additional; /* other members; NULL: nothing is said */

    /* compile.c: rules already made, by the types and the spelling that were wanted. */
    struct {
        uint32_t start;
        unsigned types, spelling, epoch;
    } rules[3];
    unsigned n_rules;
};

/* `param` begins every path. On failure `path` (DS4_SCHEMA_PATH_BYTES) says where. `text` is a JSON
 * document. FORMAT, UNSUPPORTED, NO_MEMORY. */
ds4_status ds4_schema_create(ds4_text text, ds4_text param, ds4_schema **schema, char *path,
                             ds4_error *error);
void ds4_schema_destroy(ds4_schema *schema); /* NULL is fine */

ds4_schema_node *ds4_schema_root(ds4_schema *schema);
/* Reads the node's own keywords; its children stay closed. */
ds4_status ds4_schema_open(ds4_schema *schema, ds4_schema_node *node, ds4_error *error);
/* Where the last failure was. */
const char *ds4_schema_failure_path(const ds4_schema *schema);
/* ---- compile.c ---- */

/* The rule for values of these types that the node allows, in this spelling: RAW for the text of a
 * DSML string parameter with the < that begins its closing tag (only strings), otherwise JSON. The
 * rule ends in RETURN. A rule that fails leaves nodes behind that lead nowhere. */
ds4_status ds4_schema_compile(ds4_schema *schema, ds4_schema_node *node, unsigned types,
                              ds4_spelling spelling, ds4_grammar *grammar, uint32_t *start,
                              ds4_error *error);
/* A whole document, as a finished grammar. */
ds4_status ds4_grammar_of_schema(ds4_text text, ds4_text param, ds4_grammar **grammar, char *path,
                                 ds4_error *error);

#endif
