#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "constraint/schema_internal.h"

enum { MAX_OPENING = 60, CHUNK = 32768 };

struct schema_chunk {
    schema_chunk *next;
    size_t used, capacity;
    max_align_t bytes[];
};

void *ds4_schema_alloc(ds4_schema *schema, size_t n) {
    const size_t unit = sizeof(max_align_t);
    n = (n / unit + 1) * unit;
    schema_chunk *chunk = schema->memory;
    if (chunk == NULL || chunk->capacity - chunk->used < n) {
        size_t capacity = n > CHUNK ? n : CHUNK;
        chunk = calloc(1, sizeof *chunk + capacity);
        if (chunk == NULL) return NULL;
        chunk->capacity = capacity;
        chunk->next = schema->memory;
        schema->memory = chunk;
    }
    void *piece = (char *)chunk->bytes + chunk->used;
    chunk->used += n;
    return piece;
}

/* ---- complaints ---- */

ds4_status ds4_schema_refuse(ds4_schema *schema, const char *path, const char *keyword,
                             ds4_status status, ds4_error *error, const char *format, ...) {
    char reason[300];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reason, sizeof reason, format, arguments);
    va_end(arguments);
    snprintf(schema->failure_path, sizeof schema->failure_path, "%.150s%s%.40s", path,
             keyword[0] != '\0' ? "." : "", keyword);
    return ds4_fail(error, status, "%s: %s", schema->failure_path, reason);
}

const char *ds4_schema_failure_path(const ds4_schema *schema) {
    return schema->failure_path;
}

ds4_status ds4_schema_blame(ds4_schema *schema, const ds4_schema_node *node, const char *keyword,
                            ds4_status status, ds4_error *error) {
    char reason[300];
    if (error == NULL) return status;
    snprintf(reason, sizeof reason, "%.299s", error->message);
    return ds4_schema_refuse(schema, node->path, keyword, status, error, "%s", reason);
}

/* Long paths lose their middle: the beginning tells the field, the end the keyword. */
const char *ds4_schema_join(ds4_schema *schema, const char *path, const char *keyword) {
    char joined[400];
    int n = snprintf(joined, sizeof joined, "%.149s.%.60s", path, keyword);
    size_t length = n > 0 ? (size_t)n : 0;
    if (length > 149) {
        memmove(joined + 73, joined + length - 73, 74);
        memcpy(joined + 70, "...", 3);
        length = 146;
    }
    char *copy = ds4_schema_alloc(schema, length + 1);
    if (copy == NULL) return path;
    memcpy(copy, joined, length);
    return copy;
}

/* ---- nodes ---- */

typedef struct origin {
    const void *a, *b;
} origin;

static origin origin_of(const ds4_schema_node *node) {
    if (node->both[0] != NULL) return (origin){node->both[0], node->both[1]};
    return (origin){node->source.text, NULL};
}

static size_t slot_of(const ds4_schema *schema, origin o) {
    uint64_t h = (uintptr_t)o.a * UINT64_C(0x9E3779B97F4A7C15) ^
                 (uintptr_t)o.b * UINT64_C(0xC2B2AE3D27D4EB4F);
    return (size_t)(h >> 20) & (schema->n_slots - 1);
}

static ds4_schema_node **find_slot(const ds4_schema *schema, origin o) {
    for (size_t slot = slot_of(schema, o);; slot = (slot + 1) & (schema->n_slots - 1)) {
        ds4_schema_node *node = schema->nodes[slot];
        if (node == NULL) return &schema->nodes[slot];
        origin have = origin_of(node);
        if (have.a == o.a && have.b == o.b) return &schema->nodes[slot];
    }
}

static ds4_schema_node *new_node(ds4_schema *schema, const char *path) {
    if (schema->n_nodes >= schema->n_slots / 2) return NULL;
    ds4_schema_node *node = ds4_schema_alloc(schema, sizeof *node);
    if (node == NULL) return NULL;
    schema->n_nodes++;
    node->path = (char *)path;
    node->types = DS4_TYPE_ANY;
    node->max_length = DS4_GRAMMAR_NO_LIMIT;
    node->max_items = UINT32_MAX;
    return node;
}

static ds4_schema_node *node_from(ds4_schema *schema, origin o, const char *path, bool *fresh) {
    ds4_schema_node **slot = find_slot(schema, o);
    *fresh = *slot == NULL;
    if (*fresh) *slot = new_node(schema, path);
    return *slot;
}

ds4_schema_node *ds4_schema_node_of(ds4_schema *schema, ds4_json_value source, const char *path) {
    bool fresh;
    ds4_schema_node *node = node_from(schema, (origin){source.text, NULL}, path, &fresh);
    if (node != NULL) node->source = source;
    return node;
}

ds4_schema_node *ds4_schema_node_of_both(ds4_schema *schema, ds4_schema_node *a,
                                         ds4_schema_node *b) {
    bool fresh;
    if (a == b) return a;
    ds4_schema_node *node = node_from(schema, (origin){a, b}, a->path, &fresh);
    if (node == NULL) return NULL;
    node->both[0] = a;
    node->both[1] = b;
    return node;
}

ds4_schema_node *ds4_schema_node_any(ds4_schema *schema, const char *path) {
    ds4_schema_node *node = new_node(schema, path);
    if (node != NULL) node->state = DS4_NODE_OPEN;
    return node;
}

ds4_status ds4_schema_no_node(ds4_schema *schema, const char *path, ds4_error *error) {
    if (schema->n_nodes >= schema->n_slots / 2)
        return ds4_schema_refuse(schema, path, "", DS4_UNSUPPORTED, error,
                                 "the schema is too large: more than %zu parts",
                                 schema->n_slots / 2);
    return ds4_fail(error, DS4_NO_MEMORY, "no memory for a schema");
}

ds4_status ds4_schema_open(ds4_schema *schema, ds4_schema_node *node, ds4_error *error) {
    if (node->state == DS4_NODE_OPEN) return DS4_OK;
    if (node->state == DS4_NODE_OPENING)
        return ds4_schema_refuse(schema, node->path, "", DS4_FORMAT, error,
                                 "refers to itself without anything in between");
    if (schema->depth >= MAX_OPENING)
        return ds4_schema_refuse(schema, node->path, "", DS4_UNSUPPORTED, error,
                                 "references and alternatives nest too deep");
    node->state = DS4_NODE_OPENING;
    schema->depth++;
    ds4_status status = DS4_OK;
    if (node->both[0] != NULL) {
        status = ds4_schema_open(schema, node->both[0], error);
        if (status == DS4_OK) status = ds4_schema_open(schema, node->both[1], error);
        if (status == DS4_OK)
            status = ds4_schema_merge(schema, node, node->both[0], node->both[1], error);
    } else {
        status = ds4_schema_read(schema, node, error);
    }
    schema->depth--;
    node->state = status == DS4_OK ? DS4_NODE_OPEN : DS4_NODE_CLOSED;
    return status;
}

/* ---- references ---- */

/* One step of a JSON pointer (RFC 6901), with URI escapes decoded: ~1 is /, ~0 is ~. */
static void decode_step(const char *at, size_t n, ds4_strbuf *out) {
    for (size_t i = 0; i < n; i++) {
        if (at[i] == '~' && i + 1 < n && (at[i + 1] == '0' || at[i + 1] == '1')) {
            ds4_strbuf_putc(out, at[++i] == '0' ? '~' : '/');
        } else if (at[i] == '%' && i + 2 < n) {
            char digits[3] = {at[i + 1], at[i + 2], 0}, *end;
            long code = strtol(digits, &end, 16);
            if (*end == '\0') {
                ds4_strbuf_putc(out, (char)code);
                i += 2;
            } else {
                ds4_strbuf_putc(out, '%');
            }
        } else {
            ds4_strbuf_putc(out, at[i]);
        }
    }
}

static bool step_into(ds4_json_value from, const char *step, ds4_json_value *to) {
    if (from.type == DS4_JSON_OBJECT) return ds4_json_find(from, step, to);
    if (from.type != DS4_JSON_ARRAY || *step < '0' || *step > '9') return false;
    unsigned long index = strtoul(step, NULL, 10);
    ds4_json_cursor cursor = ds4_json_enter(from);
    while (ds4_json_next_element(&cursor, to))
        if (index-- == 0) return true;
    return false;
}

ds4_status ds4_schema_resolve(ds4_schema *schema, const char *path, ds4_json_value reference,
                              ds4_json_value *target, ds4_error *error) {
    if (reference.type != DS4_JSON_STRING)
        return ds4_schema_refuse(schema, path, "$ref", DS4_FORMAT, error, "must be a string");
    ds4_strbuf text = {0}, step = {0};
    ds4_status status = DS4_OK;
    ds4_json_string_decode(reference, &text);
    ds4_strbuf_putc(&text, '\0');
    if (text.failed) {
        status = ds4_fail(error, DS4_NO_MEMORY, "no memory for a reference");
        goto done;
    }
    if (text.data[0] != '#' || (text.data[1] != '\0' && text.data[1] != '/')) {
        status = ds4_schema_refuse(schema, path, "$ref", DS4_UNSUPPORTED, error,
                                   "only references into the same schema (#/...) are supported");
        goto done;
    }
    ds4_json_value at = schema->document;
    for (const char *s = text.data + 1; *s == '/';) {
        size_t n = strcspn(++s, "/");
        ds4_strbuf_clear(&step);
        decode_step(s, n, &step);
        ds4_strbuf_putc(&step, '\0');
        if (step.failed || !step_into(at, step.data, &at)) {
            status = ds4_schema_refuse(schema, path, "$ref", DS4_FORMAT, error,
                                       "%.100s points to nothing", text.data);
            goto done;
        }
        s += n;
    }
    *target = at;
done:
    ds4_strbuf_free(&text);
    ds4_strbuf_free(&step);
    return status;
}

/* ---- life ---- */

ds4_status ds4_schema_create(ds4_text text, ds4_text param, ds4_schema **out, char *path,
                             ds4_error *error) {
    ds4_status status = DS4_OK;
    ds4_schema *schema = calloc(1, sizeof *schema);
    if (schema == NULL) return ds4_fail_memory(error, sizeof *schema, "a schema");
    snprintf(schema->failure_path, sizeof schema->failure_path, "%.*s", (int)param.n, param.data);
    schema->n_slots = 1024; /* a node is at least two bytes of text; merging makes some more */
    while (schema->n_slots < text.n && schema->n_slots < 2 * DS4_SCHEMA_MAX_NODES)
        schema->n_slots *= 2;
    schema->nodes = calloc(schema->n_slots, sizeof *schema->nodes);
    if (schema->nodes == NULL) {
        status = ds4_fail_memory(error, schema->n_slots * sizeof *schema->nodes, "a schema");
        goto done;
    }
    status = ds4_json_scan(text.data, text.n, DS4_JSON_DEPTH_LIMIT, &schema->document, error);
    if (status != DS4_OK) goto done;
    char *root = ds4_schema_alloc(schema, param.n + 1);
    if (root == NULL) {
        status = ds4_fail_memory(error, param.n, "a schema");
        goto done;
    }
    memcpy(root, param.data, param.n);
    schema->root = ds4_schema_node_of(schema, schema->document, root);
    if (schema->root == NULL) status = ds4_schema_no_node(schema, root, error);
done:
    if (status != DS4_OK) {
        snprintf(path, DS4_SCHEMA_PATH_BYTES, "%s", schema->failure_path);
        ds4_schema_destroy(schema);
        return status;
    }
    *out = schema;
    return DS4_OK;
}

void ds4_schema_destroy(ds4_schema *schema) {
    if (schema == NULL) return;
    while (schema->memory != NULL) {
        schema_chunk *next = schema->memory->next;
        free(schema->memory);
        schema->memory = next;
    }
    free(schema->tasks);
    free(schema->nodes);
    free(schema);
}

ds4_schema_node *ds4_schema_root(ds4_schema *schema) {
    return schema->root;
}
