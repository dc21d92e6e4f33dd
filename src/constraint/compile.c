/* Schema nodes into rules of a grammar. Rules are made from a list of tasks, not by recursion:
 * a hostile schema cannot exhaust the stack. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "chat/dsml.h"
#include "constraint/schema_internal.h"

typedef struct schema_task {
    ds4_schema_node *node;
    unsigned types;
    ds4_spelling spelling;
    uint32_t start;
} schema_task;

typedef struct compiler {
    ds4_schema *schema;
    ds4_grammar *g;
    ds4_error *error;
    uint32_t end; /* a RETURN */
    bool no_memory;
} compiler;

/* The start of the node's rule, whose body may come later. */
static uint32_t rule_of(compiler *c, ds4_schema_node *node, unsigned types, ds4_spelling spelling) {
    ds4_schema *schema = c->schema;
    for (unsigned i = 0; i < node->n_rules; i++)
        if (node->rules[i].epoch == schema->epoch && node->rules[i].types == types &&
            node->rules[i].spelling == (unsigned)spelling)
            return node->rules[i].start;
    if (schema->n_tasks == schema->task_capacity) {
        size_t capacity = schema->task_capacity * 2 + 64;
        schema_task *grown = realloc(schema->tasks, capacity * sizeof *grown);
        if (grown == NULL) {
            c->no_memory = true;
            return c->end;
        }
        schema->tasks = grown;
        schema->task_capacity = capacity;
    }
    uint32_t start = ds4_grammar_reserve(c->g);
    schema->tasks[schema->n_tasks++] = (schema_task){node, types, spelling, start};
    if (node->n_rules > 0 && node->rules[0].epoch != schema->epoch) node->n_rules = 0;
    if (node->n_rules < sizeof node->rules / sizeof node->rules[0]) {
        node->rules[node->n_rules].start = start;
        node->rules[node->n_rules].types = types;
        node->rules[node->n_rules].spelling = (unsigned)spelling;
        node->rules[node->n_rules++].epoch = schema->epoch;
    }
    return start;
}

static uint32_t call_value(compiler *c, ds4_schema_node *node, uint32_t next) {
    return ds4_grammar_call(c->g, rule_of(c, node, DS4_TYPE_ANY, DS4_SPELL_JSON), next);
}

static ds4_status blame(const compiler *c, const ds4_schema_node *node, const char *keyword,
                        ds4_status status) {
    return ds4_schema_blame(c->schema, node, keyword, status, c->error);
}

static ds4_status no_memory(const compiler *c) {
    return ds4_fail(c->error, DS4_NO_MEMORY, "no memory for a grammar");
}

/* ---- enum and const ---- */

static bool is_only_typed(const ds4_schema_node *node) {
    return node->min_length == 0 && node->max_length == DS4_GRAMMAR_NO_LIMIT &&
           node->pattern.data == NULL && !node->low.given && !node->high.given &&
           node->n_prefix == 0 && node->items == NULL && node->min_items == 0 &&
           node->max_items == UINT32_MAX && node->n_properties == 0 && node->additional == NULL;
}

static void spell_value(ds4_json_value value, ds4_spelling spelling, ds4_strbuf *out) {
    if (value.type != DS4_JSON_STRING) {
        ds4_json_minify(value, out);
        return;
    }
    ds4_strbuf text = {0};
    ds4_json_string_decode(value, &text);
    if (spelling == DS4_SPELL_RAW) {
        ds4_dsml_escape_string((ds4_text){text.data, text.n}, out);
        ds4_strbuf_putc(out, '<');
    } else {
        ds4_strbuf_putc(out, '"');
        ds4_spell_string((ds4_text){text.data, text.n}, out);
        ds4_strbuf_putc(out, '"');
    }
    if (text.failed) out->failed = true;
    ds4_strbuf_free(&text);
}

static ds4_status compile_values(compiler *c, const schema_task *task) {
    const ds4_schema_node *node = task->node;
    if (!is_only_typed(node))
        return blame(c, node, "enum",
                     ds4_fail(c->error, DS4_UNSUPPORTED,
                              "enum or const together with keywords other than type is not "
                              "supported"));
    ds4_strbuf text = {0};
    size_t *begins = malloc((node->n_values + 1) * sizeof *begins), n = 0;
    ds4_choice *choices = malloc((node->n_values + 1) * sizeof *choices);
    ds4_status status = DS4_OK;
    if (begins == NULL || choices == NULL) {
        status = no_memory(c);
        goto done;
    }
    for (size_t i = 0; i < node->n_values; i++) {
        if ((ds4_json_value_type(node->values[i]) & node->types & task->types) == 0) continue;
        begins[n++] = text.n;
        spell_value(node->values[i], task->spelling, &text);
    }
    begins[n] = text.n;
    if (text.failed) {
        status = no_memory(c);
        goto done;
    }
    for (size_t i = 0; i < n; i++)
        choices[i] = (ds4_choice){{text.data + begins[i], begins[i + 1] - begins[i]}, c->end};
    uint32_t body = ds4_spell_choice(c->g, choices, n);
    ds4_grammar_define(c->g, task->start, NULL, 0, &body, 1);
done:
    ds4_strbuf_free(&text);
    free(begins);
    free(choices);
    return status;
}

/* ---- strings ---- */

static ds4_status compile_string(compiler *c, const ds4_schema_node *node, ds4_spelling spelling,
                                 uint32_t *start) {
    bool raw = spelling == DS4_SPELL_RAW;
    if (node->pattern.data != NULL) {
        uint16_t last = raw ? '<' : '"';
        uint32_t close = ds4_grammar_symbol(c->g, last, last, c->end);
        ds4_status status = ds4_spell_pattern(c->g, node->pattern, node->min_length,
                                              node->max_length, spelling, close, start, c->error);
        if (status == DS4_OK && c->g->too_large)
            status = ds4_fail(c->error, DS4_UNSUPPORTED,
                              "the pattern (with its length limits) has too many states");
        if (status != DS4_OK) return blame(c, node, "pattern", status);
    } else {
        *start = ds4_grammar_reserve(c->g);
        ds4_grammar_define_call(c->g, *start,
                                raw ? ds4_grammar_prelude.raw : ds4_grammar_prelude.string,
                                node->min_length, node->max_length, c->end);
    }
    if (!raw) *start = ds4_grammar_symbol(c->g, '"', '"', *start);
    return DS4_OK;
}

/* ---- arrays ---- */

/* The element at an index, then `after`. */
static uint32_t call_element(compiler *c, const ds4_schema_node *node, size_t index,
                             uint32_t after) {
    ds4_schema_node *element = index < node->n_prefix ? node->prefix[index] : node->items;
    return element != NULL ? call_value(c, element, after)
                           : ds4_grammar_call(c->g, ds4_grammar_prelude.value, after);
}

/* From the last index to the first; the last one repeats itself when there is no upper limit. */
static uint32_t compile_array(compiler *c, const ds4_schema_node *node) {
    bool endless = node->max_items == UINT32_MAX;
    size_t least = node->min_items, last = least > node->n_prefix ? least : node->n_prefix;
    if (!endless) last = node->max_items > 0 ? node->max_items - 1 : 0;
    uint32_t end = ds4_grammar_symbol(c->g, ']', ']', c->end);
    uint32_t close = ds4_grammar_optional_space(c->g, end);
    uint32_t next = 0; /* the element behind the current one */
    bool has_next = false;
    for (size_t index = last + 1; index-- > 0 && !c->g->too_large;) {
        if (index >= node->max_items) continue;
        uint32_t after = ds4_grammar_reserve(c->g);
        uint32_t here = call_element(c, node, index, after);
        if (index == last && endless) {
            next = here;
            has_next = true;
        }
        ds4_grammar_edge comma = {',', ',', false, 0};
        if (has_next) comma.target = ds4_grammar_optional_space(c->g, next);
        ds4_grammar_define(c->g, after, &comma, has_next, &close, index + 1 >= least);
        next = here;
        has_next = true;
    }
    uint32_t firsts[2];
    size_t n = 0;
    if (has_next) firsts[n++] = next;
    if (least == 0) firsts[n++] = end;
    uint32_t inside = ds4_grammar_branch(c->g, firsts, n);
    return ds4_grammar_symbol(c->g, '[', '[', ds4_grammar_optional_space(c->g, inside));
}

/* ---- objects ---- */

typedef struct object_rule {
    uint32_t end;         /* the closing brace */
    uint32_t close;       /* the same behind optional white space */
    uint32_t other;       /* an additional member, from its opening quote */
    uint32_t other_after; /* behind one */
    bool has_other;
} object_rule;

static uint32_t member_value(compiler *c, ds4_schema_node *value, uint32_t after) {
    uint32_t node = call_value(c, value, after);
    return ds4_grammar_symbol(c->g, ':', ':', ds4_grammar_optional_space(c->g, node));
}

/* Keys as they stand between quotes, in one piece of memory that `text` holds. */
static ds4_status spell_keys(compiler *c, const ds4_schema_node *node, ds4_strbuf *text,
                             ds4_text *keys) {
    for (size_t i = 0; i < node->n_properties; i++) {
        size_t begin = text->n;
        ds4_spell_string(node->properties[i].name, text);
        keys[i].n = text->n - begin;
    }
    if (text->failed) return no_memory(c);
    size_t begin = 0;
    for (size_t i = 0; i < node->n_properties; i++) {
        keys[i].data = text->data != NULL ? text->data + begin : "";
        begin += keys[i].n;
    }
    return DS4_OK;
}

static void compile_other_members(compiler *c, const ds4_schema_node *node, const ds4_text *keys,
                                  ds4_text *scratch, object_rule *r) {
    ds4_schema_node *additional = node->additional;
    r->has_other = additional != NULL || !node->described;
    if (!r->has_other) return;
    if (node->n_properties > 0) memcpy(scratch, keys, node->n_properties * sizeof *keys);
    uint32_t key = ds4_spell_other_key(c->g, scratch, node->n_properties);
    r->other_after = ds4_grammar_reserve(c->g);
    uint32_t value = additional != NULL
                         ? call_value(c, additional, r->other_after)
                         : ds4_grammar_call(c->g, ds4_grammar_prelude.value, r->other_after);
    value = ds4_grammar_symbol(c->g, ':', ':', ds4_grammar_optional_space(c->g, value));
    r->other = ds4_grammar_symbol(c->g, '"', '"', ds4_grammar_call(c->g, key, value));
    ds4_grammar_edge comma = {',', ',', false, ds4_grammar_optional_space(c->g, r->other)};
    ds4_grammar_define(c->g, r->other_after, &comma, 1, &r->close, 1);
}

/* From the last property to the first. `first`: no member was written yet; `more`: behind a comma.
 * Optional properties may be passed over; a required one may not. */
static void compile_members(compiler *c, const ds4_schema_node *node, const ds4_text *keys,
                            const object_rule *r, uint32_t *start) {
    const uint32_t none[1] = {0};
    uint32_t first_targets[2] = {r->end, r->other};
    uint32_t first = ds4_grammar_branch(c->g, first_targets, r->has_other ? 2 : 1);
    uint32_t more = ds4_grammar_branch(c->g, r->has_other ? &r->other : none, r->has_other);
    bool may_close = true;
    for (size_t i = node->n_properties; i-- > 0 && !c->g->too_large;) {
        const ds4_schema_property *p = &node->properties[i];
        uint32_t after = ds4_grammar_reserve(c->g);
        ds4_grammar_edge comma = {',', ',', false, ds4_grammar_optional_space(c->g, more)};
        ds4_grammar_define(c->g, after, &comma, 1, &r->close, may_close);
        uint32_t member = ds4_grammar_symbol(c->g, '"', '"', member_value(c, p->node, after));
        member = ds4_grammar_literal(c->g, keys[i].data, keys[i].n, member);
        member = ds4_grammar_symbol(c->g, '"', '"', member);
        if (p->required) {
            first = more = member;
            may_close = false;
        } else {
            first = ds4_grammar_branch(c->g, (const uint32_t[]){member, first}, 2);
            more = ds4_grammar_branch(c->g, (const uint32_t[]){member, more}, 2);
        }
    }
    *start = first;
}

static ds4_status compile_object(compiler *c, const ds4_schema_node *node, uint32_t *start) {
    ds4_strbuf text = {0};
    object_rule r = {0};
    size_t n = node->n_properties;
    ds4_text *keys = calloc(2 * n + 1, sizeof *keys);
    if (keys == NULL) return no_memory(c);
    r.end = ds4_grammar_symbol(c->g, '}', '}', c->end);
    r.close = ds4_grammar_optional_space(c->g, r.end);
    ds4_status status = spell_keys(c, node, &text, keys);
    if (status == DS4_OK) {
        uint32_t inside = 0;
        compile_other_members(c, node, keys, keys + n, &r);
        compile_members(c, node, keys, &r, &inside);
        *start = ds4_grammar_symbol(c->g, '{', '{', ds4_grammar_optional_space(c->g, inside));
    }
    ds4_strbuf_free(&text);
    free(keys);
    return status;
}

/* ---- nodes ---- */

static ds4_status compile_alternatives(compiler *c, const schema_task *task) {
    const ds4_schema_node *node = task->node;
    uint32_t starts[DS4_SCHEMA_MAX_ALTERNATIVES];
    size_t n = node->n_alternatives;
    for (size_t i = 0; i < n; i++)
        starts[i] = rule_of(c, node->alternatives[i], task->types, task->spelling);
    ds4_grammar_define(c->g, task->start, NULL, 0, starts, n);
    return DS4_OK;
}

static ds4_status compile_task(compiler *c, const schema_task *task) {
    ds4_schema_node *node = task->node;
    ds4_status status = ds4_schema_open(c->schema, node, c->error);
    if (status != DS4_OK) return status;
    if (node->n_alternatives > 0) return compile_alternatives(c, task);
    if (node->has_values) return compile_values(c, task);
    unsigned types = node->types & task->types;
    if (task->spelling == DS4_SPELL_RAW) types &= DS4_TYPE_STRING;
    if (types == DS4_TYPE_ANY && is_only_typed(node)) {
        ds4_grammar_define(c->g, task->start, NULL, 0, &ds4_grammar_prelude.value, 1);
        return DS4_OK;
    }
    uint32_t starts[8];
    size_t n = 0;
    if ((types & DS4_TYPE_NULL) != 0) starts[n++] = ds4_grammar_literal(c->g, "null", 4, c->end);
    if ((types & DS4_TYPE_BOOLEAN) != 0) {
        starts[n++] = ds4_grammar_literal(c->g, "true", 4, c->end);
        starts[n++] = ds4_grammar_literal(c->g, "false", 5, c->end);
    }
    if ((types & DS4_TYPE_NUMBER) != 0) {
        bool integer = (types & DS4_TYPE_FRACTION) == 0;
        status =
            ds4_spell_number(c->g, integer, node->low, node->high, c->end, &starts[n++], c->error);
        if (status != DS4_OK) return blame(c, node, "minimum", status);
    }
    if ((types & DS4_TYPE_STRING) != 0 && node->min_length <= node->max_length)
        status = compile_string(c, node, task->spelling, &starts[n++]);
    if (status == DS4_OK && (types & DS4_TYPE_ARRAY) != 0 && node->min_items <= node->max_items)
        starts[n++] = compile_array(c, node);
    if (status == DS4_OK && (types & DS4_TYPE_OBJECT) != 0)
        status = compile_object(c, node, &starts[n++]);
    if (status == DS4_OK) ds4_grammar_define(c->g, task->start, NULL, 0, starts, n);
    return status;
}

ds4_status ds4_schema_compile(ds4_schema *schema, ds4_schema_node *node, unsigned types,
                              ds4_spelling spelling, ds4_grammar *grammar, uint32_t *start,
                              ds4_error *error) {
    compiler c = {.schema = schema, .g = grammar, .error = error};
    ds4_status status = DS4_OK;
    c.end = ds4_grammar_return(grammar);
    *start = rule_of(&c, node, types, spelling);
    while (status == DS4_OK && schema->n_tasks > 0 && !c.no_memory && !grammar->too_large &&
           !grammar->no_memory) {
        schema_task task = schema->tasks[--schema->n_tasks];
        status = compile_task(&c, &task);
    }
    if (status == DS4_OK && (c.no_memory || grammar->no_memory)) status = no_memory(&c);
    if (status == DS4_OK && grammar->too_large)
        status = blame(&c, node, "",
                       ds4_fail(error, DS4_UNSUPPORTED,
                                "the schema is too large: its grammar would have more than %u "
                                "states",
                                DS4_GRAMMAR_MAX_NODES));
    if (status != DS4_OK) {
        schema->n_tasks = 0;
        schema->epoch++;
    }
    return status;
}

ds4_status ds4_grammar_of_schema(ds4_text text, ds4_text param, ds4_grammar **out, char *path,
                                 ds4_error *error) {
    ds4_schema *schema = NULL;
    uint32_t start = 0;
    ds4_status status = ds4_schema_create(text, param, &schema, path, error);
    if (status != DS4_OK) return status;
    ds4_grammar *grammar = ds4_grammar_create();
    if (grammar == NULL) {
        status = ds4_fail_memory(error, sizeof *grammar, "a grammar");
        goto done;
    }
    status = ds4_schema_compile(schema, ds4_schema_root(schema), DS4_TYPE_ANY, DS4_SPELL_JSON,
                                grammar, &start, error);
    if (status != DS4_OK) goto done;
    status = ds4_grammar_finish(grammar, start, error);
    if (status != DS4_OK) {
        status = ds4_schema_blame(schema, ds4_schema_root(schema), "", status, error);
        goto done;
    }
    *out = grammar;
    grammar = NULL;
done:
    if (status != DS4_OK) memcpy(path, ds4_schema_failure_path(schema), DS4_SCHEMA_PATH_BYTES);
    ds4_grammar_destroy(grammar);
    ds4_schema_destroy(schema);
    return status;
}
