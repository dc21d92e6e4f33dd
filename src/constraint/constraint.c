#include "constraint/constraint.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "chat/dsml.h"
#include "constraint/schema.h"

struct ds4_constraint {
    atomic_int references;
    ds4_grammar *grammar;
    bool from_start;
    char note[256];
};

ds4_constraint *ds4_constraint_retain(ds4_constraint *constraint) {
    if (constraint != NULL) atomic_fetch_add(&constraint->references, 1);
    return constraint;
}

void ds4_constraint_release(ds4_constraint *constraint) {
    if (constraint == NULL || atomic_fetch_sub(&constraint->references, 1) != 1) return;
    ds4_grammar_destroy(constraint->grammar);
    free(constraint);
}

const ds4_grammar *ds4_constraint_grammar(const ds4_constraint *constraint) {
    return constraint->grammar;
}
bool ds4_constraint_from_start(const ds4_constraint *constraint) {
    return constraint->from_start;
}
const char *ds4_constraint_note(const ds4_constraint *constraint) {
    return constraint->note;
}

typedef struct plan {
    bool format, calls_may, calls_must;
    ds4_text only; /* the one tool that must be called */
} plan;

static bool has_tool(const ds4_chat_request *r, ds4_text name) {
    for (size_t i = 0; i < r->n_tools; i++)
        if (ds4_text_same(r->tools[i].name, name)) return true;
    return false;
}

static ds4_status make_plan(const ds4_chat_request *r, bool guide_calls, plan *p, char *path,
                            ds4_error *error) {
    *p = (plan){.format = r->format.kind != DS4_FORMAT_TEXT};
    p->calls_must =
        r->tool_choice == DS4_TOOL_CHOICE_REQUIRED || r->tool_choice == DS4_TOOL_CHOICE_NAMED;
    bool active = ds4_chat_request_tools_active(r);
    p->calls_may = active && (guide_calls || p->format) && !p->calls_must;
    snprintf(path, DS4_CONSTRAINT_PATH_BYTES, "tool_choice");
    if (p->calls_must && r->n_tools == 0)
        return ds4_fail(error, DS4_FORMAT, "tool_choice asks for a call, but there are no tools");
    if (r->tool_choice != DS4_TOOL_CHOICE_NAMED) return DS4_OK;
    p->only = r->tool_choice_name;
    if (has_tool(r, p->only)) return DS4_OK;
    return ds4_fail(error, DS4_FORMAT, "tool_choice names %.*s, which is not among the tools",
                    (int)(p->only.n < 100 ? p->only.n : 100), p->only.data);
}

/* The rule of the answer's text. */
static ds4_status compile_format(const ds4_chat_request *r, ds4_grammar *g, uint32_t *start,
                                 char *path, ds4_error *error) {
    *start = ds4_grammar_prelude.object;
    if (r->format.kind != DS4_FORMAT_JSON_SCHEMA) return DS4_OK;
    ds4_schema *schema = NULL;
    ds4_status status = ds4_schema_create(r->format.schema, r->format.param, &schema, path, error);
    if (status != DS4_OK) return status;
    status = ds4_schema_compile(schema, ds4_schema_root(schema), DS4_TYPE_ANY, DS4_SPELL_JSON, g,
                                start, error);
    if (status != DS4_OK) memcpy(path, ds4_schema_failure_path(schema), DS4_CONSTRAINT_PATH_BYTES);
    ds4_schema_destroy(schema);
    return status;
}

/* `with_schemas` false: tools are guided by structure alone. */
static ds4_status build(const ds4_chat_request *r, const plan *p, bool with_schemas,
                        ds4_constraint *c, char *path, ds4_error *error) {
    uint32_t starts[3], root = 0;
    size_t n = 0;
    ds4_tool_rules rules = {0};
    c->grammar = ds4_grammar_create();
    if (c->grammar == NULL) return ds4_fail(error, DS4_NO_MEMORY, "no memory for a grammar");
    c->from_start = p->format || p->calls_must;
    ds4_status status = DS4_OK;
    if (p->format && !p->calls_must) {
        status = compile_format(r, c->grammar, &starts[n++], path, error);
        if (status != DS4_OK) return status;
    }
    if (p->calls_may || p->calls_must) {
        bool one = r->one_call || p->only.data != NULL;
        status =
            ds4_tool_calls_compile(c->grammar, r->tools, r->n_tools, p->only, one, with_schemas,
                                   ds4_grammar_return(c->grammar), &root, &rules, error);
        if (status != DS4_OK) return status;
        uint32_t open = ds4_grammar_markup(c->grammar, "<" DS4_DSML_WORD, root);
        starts[n++] = open;
        starts[n++] = ds4_grammar_literal(c->grammar, "\n\n", 2, open);
    }
    if (c->from_start) root = ds4_grammar_branch(c->grammar, starts, n);
    if (rules.n_free > 0)
        snprintf(c->note, sizeof c->note, "%zu schemas of tool parameters are not enforced: %s",
                 rules.n_free, rules.reason);
    status = ds4_grammar_finish(c->grammar, root, error);
    if (status != DS4_OK && r->format.param.n < DS4_CONSTRAINT_PATH_BYTES)
        snprintf(path, DS4_CONSTRAINT_PATH_BYTES, "%.*s", (int)r->format.param.n,
                 r->format.param.data != NULL ? r->format.param.data : "");
    return status;
}

ds4_status ds4_constraint_create(const ds4_chat_request *request, bool guide_calls,
                                 ds4_constraint **out, char *path, ds4_error *error) {
    plan p;
    *out = NULL;
    ds4_status status = make_plan(request, guide_calls, &p, path, error);
    if (status != DS4_OK || (!p.format && !p.calls_may && !p.calls_must)) return status;
    for (int with_schemas = 1; with_schemas >= 0; with_schemas--) {
        ds4_constraint *c = calloc(1, sizeof *c);
        if (c == NULL) return ds4_fail_memory(error, sizeof *c, "a constraint");
        atomic_init(&c->references, 1);
        status = build(request, &p, with_schemas != 0, c, path, error);
        if (status == DS4_OK) {
            *out = c;
            return status;
        }
        bool too_large = c->grammar != NULL && c->grammar->too_large && p.calls_may | p.calls_must;
        ds4_constraint_release(c);
        if (!too_large) return status;
    }
    return status;
}
