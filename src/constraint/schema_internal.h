/* Shared by the files that read schemas: schema.c (nodes, references), schema_keywords.c (one
 * object's keywords) and schema_merge.c (two nodes at once). */
#ifndef DS4_CONSTRAINT_SCHEMA_INTERNAL_H
#define DS4_CONSTRAINT_SCHEMA_INTERNAL_H

#include "constraint/schema.h"

typedef struct schema_chunk schema_chunk;

struct ds4_schema {
    ds4_json_value document;
    ds4_schema_node *root;
    ds4_schema_node **nodes; /* a hash table by where a node comes from */
    size_t n_nodes, n_slots;
    unsigned depth;            /* of nodes being opened */
    struct schema_task *tasks; /* rules whose bodies are still to be made */
    size_t n_tasks, task_capacity;
    unsigned epoch; /* of the rules that nodes remember: those of a failed compilation are void */
    schema_chunk *memory;
    char failure_path[DS4_SCHEMA_PATH_BYTES];
};

/* Zeroed, lives as long as the schema; NULL when out of memory. */
void *ds4_schema_alloc(ds4_schema *schema, size_t n);
/* The node of a piece of the schema; the same piece gives the same node. NULL: too many, or out of
 * memory. */
ds4_schema_node *ds4_schema_node_of(ds4_schema *schema, ds4_json_value source, const char *path);
ds4_schema_node *ds4_schema_node_of_both(ds4_schema *schema, ds4_schema_node *a,
                                         ds4_schema_node *b);
/* An open node that allows everything. */
ds4_schema_node *ds4_schema_node_any(ds4_schema *schema, const char *path);
/* The failure of a NULL node. */
ds4_status ds4_schema_no_node(ds4_schema *schema, const char *path, ds4_error *error);
/* UNSUPPORTED or FORMAT at `path`.`keyword`. */
ds4_status ds4_schema_refuse(ds4_schema *schema, const char *path, const char *keyword,
                             ds4_status status, ds4_error *error, const char *format, ...)
    __attribute__((format(printf, 6, 7)));
/* Puts where it was before what `error` says. Returns `status`. */
ds4_status ds4_schema_blame(ds4_schema *schema, const ds4_schema_node *node, const char *keyword,
                            ds4_status status, ds4_error *error);
const char *ds4_schema_join(ds4_schema *schema, const char *path, const char *keyword);
/* The piece that `reference` ("#", "#/$defs/x") points to. */
ds4_status ds4_schema_resolve(ds4_schema *schema, const char *path, ds4_json_value reference,
                              ds4_json_value *target, ds4_error *error);

/* ---- schema_keywords.c ---- */
ds4_status ds4_schema_read(ds4_schema *schema, ds4_schema_node *node, ds4_error *error);

/* ---- schema_merge.c ---- */
/* Makes `node` what fits both open nodes. */
ds4_status ds4_schema_merge(ds4_schema *schema, ds4_schema_node *node, ds4_schema_node *a,
                            ds4_schema_node *b, ds4_error *error);
/* Whether no value can fit both open nodes, as far as their types, constants and tagging members
 * tell. */
ds4_status ds4_schema_disjoint(ds4_schema *schema, ds4_schema_node *a, ds4_schema_node *b,
                               bool *disjoint, ds4_error *error);
bool ds4_json_same_value(ds4_json_value a, ds4_json_value b);
unsigned ds4_json_value_type(ds4_json_value value); /* DS4_TYPE_... */

#endif
