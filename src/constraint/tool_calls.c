/* DSML tool blocks as grammar (docs/chat.md): the markup itself, the names of the tools, and per
 * parameter its schema: a string as raw text, everything else as JSON. Parameters come in any
 * order. What a schema says and we cannot enforce is left free: agents send all sorts. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "chat/dsml.h"
#include "constraint/constraint.h"
#include "constraint/schema_internal.h"

#define WORD DS4_DSML_WORD

enum { MOST_MEMBERS = 64, TYPICAL_DEPTH = 8 }; /* calls that a parameter's value stands in */

/* One parameter: its value's two spellings as they are wished, to be judged when all are known. */
typedef struct parameter {
    uint32_t node;                     /* behind its name: chooses string="true" or "false" */
    uint32_t text, json;               /* rules of its schema; 0: none */
    uint32_t text_member, json_member; /* the same with markup around, ready to be used */
    uint32_t free_member;
} parameter;

typedef struct builder {
    ds4_grammar *g;
    parameter *parameters;
    size_t n_parameters, capacity;
    ds4_tool_rules *rules;
    ds4_error *error;
    bool with_schemas;
} builder;

static uint32_t text_member(builder *b, uint32_t rule, uint32_t after) {
    uint32_t close = ds4_grammar_markup(b->g, "/" WORD "parameter>\n", after); /* < is the rule's */
    return ds4_grammar_markup(b->g, "true\">", ds4_grammar_call(b->g, rule, close));
}

static uint32_t json_member(builder *b, uint32_t rule, uint32_t after) {
    uint32_t close = ds4_grammar_markup(b->g, "</" WORD "parameter>\n", after);
    return ds4_grammar_markup(b->g, "false\">", ds4_grammar_call(b->g, rule, close));
}

static uint32_t free_member(builder *b, uint32_t after) {
    uint32_t both[2] = {text_member(b, ds4_grammar_prelude.raw, after),
                        json_member(b, ds4_grammar_prelude.value, after)};
    return ds4_grammar_branch(b->g, both, 2);
}

static void give_up(builder *b, const char *reason) {
    if (b->rules->n_free++ == 0)
        snprintf(b->rules->reason, sizeof b->rules->reason, "%.150s", reason);
}

/* The parameter behind its name. Its rules may turn out to lead nowhere, which shows only when
 * everything is built: settle() decides. */
static ds4_status add_parameter(builder *b, ds4_schema *schema, ds4_schema_node *node,
                                uint32_t after, uint32_t *start) {
    if (b->n_parameters == b->capacity) {
        size_t capacity = b->capacity * 2 + 64;
        parameter *grown = realloc(b->parameters, capacity * sizeof *grown);
        if (grown == NULL) return ds4_fail(b->error, DS4_NO_MEMORY, "no memory for a grammar");
        b->parameters = grown;
        b->capacity = capacity;
    }
    parameter p = {.node = ds4_grammar_reserve(b->g)};
    ds4_error error = {0};
    ds4_status status = DS4_UNSUPPORTED;
    if (b->with_schemas) {
        status =
            ds4_schema_compile(schema, node, DS4_TYPE_STRING, DS4_SPELL_RAW, b->g, &p.text, &error);
        if (status == DS4_OK)
            status = ds4_schema_compile(schema, node, DS4_TYPE_ANY & ~DS4_TYPE_STRING,
                                        DS4_SPELL_JSON, b->g, &p.json, &error);
        if (status != DS4_OK) {
            give_up(b, error.message);
            p.text = p.json = 0;
        }
    }
    if (status == DS4_NO_MEMORY) return ds4_fail(b->error, status, "no memory for a grammar");
    if (p.text != 0) {
        p.text_member = text_member(b, p.text, after);
        p.json_member = json_member(b, p.json, after);
    }
    p.free_member = free_member(b, after);
    b->parameters[b->n_parameters++] = p;
    *start = p.node;
    return DS4_OK;
}

static bool is_usable(const ds4_grammar *g, uint32_t rule) {
    return rule != 0 && g->nodes[rule].height < DS4_GRAMMAR_MAX_DEPTH - TYPICAL_DEPTH;
}

/* Every parameter gets those of its spellings that can be ended. */
static void settle(builder *b) {
    ds4_grammar_measure(b->g);
    for (size_t i = 0; i < b->n_parameters; i++) {
        const parameter *p = &b->parameters[i];
        uint32_t members[2];
        size_t n = 0;
        if (is_usable(b->g, p->text)) members[n++] = p->text_member;
        if (is_usable(b->g, p->json)) members[n++] = p->json_member;
        if (n == 0) members[n++] = p->free_member;
        if (n == 1 && p->text != 0 && members[0] == p->free_member)
            give_up(b, "nothing fits the schema of a parameter");
        ds4_grammar_define(b->g, p->node, NULL, 0, members, n);
    }
}

/* A name as it stands in an attribute, between what comes before and behind it. */
static uint32_t named_markup(builder *b, const char *before, ds4_text name, const char *behind,
                             uint32_t next) {
    ds4_strbuf escaped = {0};
    ds4_dsml_escape_attribute(name, &escaped);
    if (escaped.failed) b->g->no_memory = true;
    uint32_t node = ds4_grammar_markup(b->g, behind, next);
    node = ds4_grammar_literal(b->g, escaped.data, escaped.n, node);
    ds4_strbuf_free(&escaped);
    return ds4_grammar_markup(b->g, before, node);
}

/* ---- the parameters of one tool ---- */

/* Any names: for tools that describe no parameters. */
static uint32_t free_parameters(builder *b, uint32_t close) {
    static const ds4_char_range letters[] = {{0x21, 0x21}, {0x23, 0x25}, {0x27, 0x3B},
                                             {0x3D, 0x3D}, {0x3F, 0x7E}, {0xA0, 0x10FFFF}};
    uint32_t list = ds4_grammar_reserve(b->g);
    uint32_t value = ds4_grammar_markup(b->g, "\" string=\"", free_member(b, list));
    uint32_t more = ds4_grammar_reserve(b->g);
    uint32_t letter = ds4_spell_characters(b->g, letters, 6, DS4_SPELL_RAW, more);
    ds4_grammar_define(b->g, more, NULL, 0, (const uint32_t[]){letter, value}, 2);
    uint32_t begin = ds4_grammar_markup(b->g, "<" WORD "parameter name=\"", letter);
    ds4_grammar_define(b->g, list, NULL, 0, (const uint32_t[]){begin, close}, 2);
    return list;
}

static ds4_status listed_parameters(builder *b, ds4_schema *schema, const ds4_schema_node *root,
                                    uint32_t close, uint32_t *list) {
    uint32_t members[MOST_MEMBERS];
    uint64_t required = 0;
    *list = ds4_grammar_reserve(b->g);
    for (size_t i = 0; i < root->n_properties; i++) {
        const ds4_schema_property *p = &root->properties[i];
        uint32_t value = 0;
        ds4_status status = add_parameter(b, schema, p->node, *list, &value);
        if (status != DS4_OK) return status;
        members[i] = named_markup(b, "<" WORD "parameter name=\"", p->name, "\" string=\"", value);
        required |= (uint64_t)p->required << i;
    }
    ds4_grammar_define_members(b->g, *list, members, root->n_properties, required, close);
    return DS4_OK;
}

/* The rule of one call, from behind its opening tag to its closing one. */
static ds4_status call_rule(builder *b, const ds4_chat_tool *tool, uint32_t *start) {
    uint32_t close = ds4_grammar_markup(b->g, "</" WORD "invoke>", ds4_grammar_return(b->g));
    uint32_t list = 0;
    ds4_schema *schema = NULL;
    ds4_schema_node *root = NULL;
    ds4_error error = {0};
    char path[DS4_SCHEMA_PATH_BYTES] = "";
    ds4_status status = DS4_OK;
    if (tool->parameters.n > 0) {
        status = ds4_schema_create(tool->parameters, tool->name, &schema, path, &error);
        if (status == DS4_OK) {
            root = ds4_schema_root(schema);
            status = ds4_schema_open(schema, root, &error);
        }
        if (status != DS4_OK) give_up(b, error.message);
    }
    bool listed = status == DS4_OK && root != NULL && root->n_alternatives == 0 &&
                  root->n_properties > 0 && root->n_properties <= MOST_MEMBERS;
    bool none = status == DS4_OK && root != NULL && root->n_alternatives == 0 &&
                root->n_properties == 0 && root->additional != NULL;
    status = DS4_OK;
    if (listed)
        status = listed_parameters(b, schema, root, close, &list);
    else if (none && ds4_schema_open(schema, root->additional, &error) == DS4_OK &&
             root->additional->types == 0 && root->additional->n_alternatives == 0)
        list = close; /* a tool without parameters */
    else
        list = free_parameters(b, close);
    if (root != NULL && !listed && root->n_properties > 0)
        give_up(b, "the parameters are no plain list of at most 64");
    /* The model maker's own template leaves an empty line in a call without parameters. */
    uint32_t empty = ds4_grammar_literal(b->g, "\n", 1, close);
    bool may_be_empty = true;
    for (size_t i = 0; listed && i < root->n_properties; i++)
        may_be_empty = may_be_empty && !root->properties[i].required;
    uint32_t first =
        ds4_grammar_branch(b->g, (const uint32_t[]){list, empty}, may_be_empty ? 2 : 1);
    *start = ds4_grammar_literal(b->g, "\n", 1, first);
    ds4_schema_destroy(schema);
    return status;
}

/* ---- the block ---- */

ds4_status ds4_tool_calls_compile(ds4_grammar *grammar, const ds4_chat_tool *tools, size_t n_tools,
                                  ds4_text only, bool one_call, bool with_schemas, uint32_t next,
                                  uint32_t *start, ds4_tool_rules *rules, ds4_error *error) {
    builder b = {.g = grammar, .rules = rules, .error = error, .with_schemas = with_schemas};
    ds4_status status = DS4_OK;
    ds4_strbuf *names = calloc(n_tools + 1, sizeof *names);
    ds4_choice *choices = calloc(n_tools + 1, sizeof *choices);
    size_t n = 0;
    if (names == NULL || choices == NULL) {
        status = ds4_fail(error, DS4_NO_MEMORY, "no memory for a grammar");
        goto done;
    }
    uint32_t after = ds4_grammar_reserve(grammar); /* behind a call */
    for (size_t i = 0; i < n_tools && status == DS4_OK; i++) {
        if (only.data != NULL && !ds4_text_same(only, tools[i].name)) continue;
        uint32_t rule = 0;
        ds4_dsml_escape_attribute(tools[i].name, &names[i]);
        ds4_strbuf_puts(&names[i], "\">");
        if (names[i].failed) grammar->no_memory = true;
        status = call_rule(&b, &tools[i], &rule);
        choices[n++] =
            (ds4_choice){{names[i].data, names[i].n}, ds4_grammar_call(grammar, rule, after)};
    }
    if (status != DS4_OK || grammar->no_memory) goto done;
    uint32_t name = ds4_spell_choice(grammar, choices, n);
    uint32_t invoke = ds4_grammar_markup(grammar, "<" WORD "invoke name=\"", name);
    uint32_t close = ds4_grammar_markup(grammar, "</" WORD "tool_calls>", next);
    uint32_t ways[2] = {close, invoke};
    uint32_t then = ds4_grammar_branch(grammar, ways, one_call ? 1 : 2);
    uint32_t line = ds4_grammar_literal(grammar, "\n", 1, then);
    ds4_grammar_define(grammar, after, NULL, 0, &line, 1);
    *start = ds4_grammar_markup(grammar, "tool_calls>\n", invoke);
    settle(&b);
done:
    for (size_t i = 0; names != NULL && i < n_tools; i++) ds4_strbuf_free(&names[i]);
    free(names);
    free(choices);
    free(b.parameters);
    return status;
}
