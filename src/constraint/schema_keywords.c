/* One schema object: its keywords into a node. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "constraint/schema_internal.h"

typedef struct reading {
    ds4_schema *schema;
    ds4_schema_node *node;
    ds4_error *error;
    bool constrained; /* the node itself says something */
    unsigned implied; /* types that its keywords speak of */
    bool has_type, nullable;
    ds4_json_value reference, all, any, one, required, format;
    bool has_reference, has_all, has_any, has_one, has_required;
} reading;

static ds4_status wrong(reading *r, const char *keyword, const char *what) {
    return ds4_schema_refuse(r->schema, r->node->path, keyword, DS4_FORMAT, r->error, "must be %s",
                             what);
}

static ds4_status no_memory(const reading *r) {
    return ds4_fail(r->error, DS4_NO_MEMORY, "no memory for a schema");
}

static size_t count(ds4_json_value container) {
    ds4_json_cursor cursor = ds4_json_enter(container);
    ds4_json_value key, value;
    size_t n = 0;
    if (container.type == DS4_JSON_OBJECT)
        while (ds4_json_next_member(&cursor, &key, &value)) n++;
    else
        while (ds4_json_next_element(&cursor, &value)) n++;
    return n;
}

static ds4_status decode(reading *r, ds4_json_value string, ds4_text *out) {
    ds4_strbuf text = {0};
    ds4_json_string_decode(string, &text);
    char *copy = ds4_schema_alloc(r->schema, text.n + 1);
    if (!text.failed && copy != NULL) {
        if (text.n > 0) memcpy(copy, text.data, text.n);
        *out = (ds4_text){copy, text.n};
    }
    bool failed = text.failed || copy == NULL;
    ds4_strbuf_free(&text);
    return failed ? no_memory(r) : DS4_OK;
}

/* ---- types and values ---- */

static ds4_status add_type(reading *r, ds4_json_value name, unsigned *types) {
    static const struct {
        const char *name;
        unsigned type;
    } known[] = {{"null", DS4_TYPE_NULL},       {"boolean", DS4_TYPE_BOOLEAN},
                 {"integer", DS4_TYPE_INTEGER}, {"number", DS4_TYPE_NUMBER},
                 {"string", DS4_TYPE_STRING},   {"array", DS4_TYPE_ARRAY},
                 {"object", DS4_TYPE_OBJECT}};
    for (size_t i = 0; name.type == DS4_JSON_STRING && i < sizeof known / sizeof known[0]; i++) {
        if (!ds4_json_string_equals(name, known[i].name)) continue;
        *types |= known[i].type;
        return DS4_OK;
    }
    return wrong(r, "type", "the name of a JSON type, or an array of them");
}

static ds4_status read_type(reading *r, ds4_json_value value) {
    unsigned types = 0;
    ds4_status status = DS4_OK;
    r->has_type = true;
    if (value.type == DS4_JSON_ARRAY) {
        ds4_json_cursor cursor = ds4_json_enter(value);
        ds4_json_value name;
        while (status == DS4_OK && ds4_json_next_element(&cursor, &name))
            status = add_type(r, name, &types);
    } else {
        status = add_type(r, value, &types);
    }
    r->node->types = types;
    return status;
}

static ds4_status read_nullable(reading *r, ds4_json_value value) {
    r->nullable = value.type == DS4_JSON_TRUE;
    return DS4_OK;
}

static ds4_status read_enum(reading *r, ds4_json_value value) {
    if (value.type != DS4_JSON_ARRAY) return wrong(r, "enum", "an array");
    size_t n = count(value);
    if (n > DS4_SCHEMA_MAX_VALUES)
        return ds4_schema_refuse(r->schema, r->node->path, "enum", DS4_UNSUPPORTED, r->error,
                                 "more than %u values", DS4_SCHEMA_MAX_VALUES);
    ds4_json_value *values = ds4_schema_alloc(r->schema, n * sizeof *values);
    if (values == NULL) return no_memory(r);
    ds4_json_cursor cursor = ds4_json_enter(value);
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        ds4_json_next_element(&cursor, &values[kept]);
        bool fits = !r->node->has_values; /* behind a const: only what is equal to it */
        for (size_t k = 0; !fits && k < r->node->n_values; k++)
            fits = ds4_json_same_value(values[kept], r->node->values[k]);
        kept += fits;
    }
    r->node->values = values;
    r->node->n_values = kept;
    r->node->has_values = true;
    return DS4_OK;
}

static ds4_status read_const(reading *r, ds4_json_value value) {
    ds4_json_value *values = ds4_schema_alloc(r->schema, sizeof *values);
    if (values == NULL) return no_memory(r);
    *values = value;
    bool fits = !r->node->has_values;
    for (size_t k = 0; !fits && k < r->node->n_values; k++)
        fits = ds4_json_same_value(value, r->node->values[k]);
    r->node->values = values;
    r->node->n_values = fits ? 1 : 0;
    r->node->has_values = true;
    return DS4_OK;
}

/* ---- strings and numbers ---- */

static ds4_status read_count(reading *r, const char *keyword, ds4_json_value value, uint32_t most,
                             uint32_t *target) {
    double number = value.type == DS4_JSON_NUMBER ? ds4_json_number(value) : -1;
    if (!(number >= 0) || number != floor(number))
        return wrong(r, keyword, "a whole number of at least 0");
    if (number > most)
        return ds4_schema_refuse(r->schema, r->node->path, keyword, DS4_UNSUPPORTED, r->error,
                                 "at most %u is supported", most);
    *target = (uint32_t)number;
    return DS4_OK;
}

static ds4_status read_min_length(reading *r, ds4_json_value value) {
    r->implied |= DS4_TYPE_STRING;
    return read_count(r, "minLength", value, DS4_SCHEMA_MAX_LENGTH, &r->node->min_length);
}

static ds4_status read_max_length(reading *r, ds4_json_value value) {
    double number = value.type == DS4_JSON_NUMBER ? ds4_json_number(value) : 0;
    r->implied |= DS4_TYPE_STRING;
    if (number > DS4_SCHEMA_MAX_LENGTH && number == floor(number)) return DS4_OK; /* no limit */
    return read_count(r, "maxLength", value, DS4_SCHEMA_MAX_LENGTH, &r->node->max_length);
}

static ds4_status set_pattern(reading *r, const char *keyword, ds4_text pattern) {
    r->implied |= DS4_TYPE_STRING;
    if (r->node->pattern.data != NULL)
        return ds4_schema_refuse(r->schema, r->node->path, keyword, DS4_UNSUPPORTED, r->error,
                                 "pattern and format together are not supported");
    r->node->pattern = pattern;
    return DS4_OK;
}

static ds4_status read_pattern(reading *r, ds4_json_value value) {
    if (value.type != DS4_JSON_STRING) return wrong(r, "pattern", "a string");
    ds4_text pattern = {NULL, 0};
    ds4_status status = decode(r, value, &pattern);
    return status == DS4_OK ? set_pattern(r, "pattern", pattern) : status;
}

static ds4_status read_format(reading *r, ds4_json_value value) {
    if (value.type != DS4_JSON_STRING) return wrong(r, "format", "a string");
    ds4_text name = {NULL, 0};
    ds4_status status = decode(r, value, &name);
    if (status != DS4_OK) return status;
    const char *pattern = ds4_format_pattern(name);
    if (pattern == NULL)
        return ds4_schema_refuse(r->schema, r->node->path, "format", DS4_UNSUPPORTED, r->error,
                                 "%.60s is not supported (date, time, date-time, uuid, email, "
                                 "hostname and ipv4 are)",
                                 name.data);
    return set_pattern(r, "format", (ds4_text){pattern, strlen(pattern)});
}

/* Keeps the tighter of two bounds on the same side. */
static ds4_status set_bound(reading *r, const char *keyword, ds4_json_value value, bool low,
                            bool exclusive) {
    if (value.type != DS4_JSON_NUMBER) return wrong(r, keyword, "a number");
    ds4_number_bound *bound = low ? &r->node->low : &r->node->high;
    ds4_number_bound fresh = {true, exclusive, {value.text, value.n}};
    int order = 0;
    r->implied |= DS4_TYPE_NUMBER;
    if (bound->given && !ds4_number_compare(fresh.text, bound->text, &order))
        return ds4_schema_refuse(r->schema, r->node->path, keyword, DS4_UNSUPPORTED, r->error,
                                 "the number has too many digits");
    bool tighter = low ? order > 0 : order < 0;
    if (!bound->given || tighter || (order == 0 && exclusive)) *bound = fresh;
    return DS4_OK;
}

static ds4_status read_minimum(reading *r, ds4_json_value value) {
    return set_bound(r, "minimum", value, true, false);
}
static ds4_status read_maximum(reading *r, ds4_json_value value) {
    return set_bound(r, "maximum", value, false, false);
}
static ds4_status read_exclusive_minimum(reading *r, ds4_json_value value) {
    return set_bound(r, "exclusiveMinimum", value, true, true);
}
static ds4_status read_exclusive_maximum(reading *r, ds4_json_value value) {
    return set_bound(r, "exclusiveMaximum", value, false, true);
}

/* ---- arrays and objects ---- */

static ds4_status read_child(reading *r, const char *keyword, ds4_json_value value,
                             ds4_schema_node **child) {
    if (value.type != DS4_JSON_OBJECT && value.type != DS4_JSON_TRUE &&
        value.type != DS4_JSON_FALSE)
        return wrong(r, keyword, "a schema");
    const char *path = ds4_schema_join(r->schema, r->node->path, keyword);
    *child = ds4_schema_node_of(r->schema, value, path);
    return *child != NULL ? DS4_OK : ds4_schema_no_node(r->schema, path, r->error);
}

static ds4_status read_items(reading *r, ds4_json_value value) {
    r->implied |= DS4_TYPE_ARRAY;
    if (value.type == DS4_JSON_ARRAY)
        return ds4_schema_refuse(r->schema, r->node->path, "items", DS4_UNSUPPORTED, r->error,
                                 "a list of schemas is called prefixItems");
    return read_child(r, "items", value, &r->node->items);
}

static ds4_status read_children(reading *r, const char *keyword, ds4_json_value value, size_t most,
                                ds4_schema_node ***children, size_t *n_children) {
    if (value.type != DS4_JSON_ARRAY) return wrong(r, keyword, "an array of schemas");
    size_t n = count(value);
    if (n > most)
        return ds4_schema_refuse(r->schema, r->node->path, keyword, DS4_UNSUPPORTED, r->error,
                                 "more than %zu elements", most);
    ds4_schema_node **list = ds4_schema_alloc(r->schema, n * sizeof *list);
    if (list == NULL) return no_memory(r);
    ds4_json_cursor cursor = ds4_json_enter(value);
    ds4_json_value element;
    for (size_t i = 0; ds4_json_next_element(&cursor, &element); i++) {
        char name[64];
        snprintf(name, sizeof name, "%s[%zu]", keyword, i);
        ds4_status status = read_child(r, name, element, &list[i]);
        if (status != DS4_OK) return status;
    }
    *children = list;
    *n_children = n;
    return DS4_OK;
}

static ds4_status read_prefix_items(reading *r, ds4_json_value value) {
    r->implied |= DS4_TYPE_ARRAY;
    return read_children(r, "prefixItems", value, DS4_SCHEMA_MAX_ITEMS, &r->node->prefix,
                         &r->node->n_prefix);
}

static ds4_status read_min_items(reading *r, ds4_json_value value) {
    r->implied |= DS4_TYPE_ARRAY;
    return read_count(r, "minItems", value, DS4_SCHEMA_MAX_ITEMS, &r->node->min_items);
}

static ds4_status read_max_items(reading *r, ds4_json_value value) {
    r->implied |= DS4_TYPE_ARRAY;
    return read_count(r, "maxItems", value, DS4_SCHEMA_MAX_ITEMS, &r->node->max_items);
}

static ds4_schema_property *find_property(const ds4_schema_node *node, ds4_text name) {
    for (size_t i = 0; i < node->n_properties; i++) {
        ds4_text have = node->properties[i].name;
        if (have.n != name.n) continue;
        if (name.n == 0 || memcmp(have.data, name.data, name.n) == 0) return &node->properties[i];
    }
    return NULL;
}

static ds4_status read_properties(reading *r, ds4_json_value value) {
    ds4_schema_node *node = r->node;
    r->implied |= DS4_TYPE_OBJECT;
    if (value.type != DS4_JSON_OBJECT) return wrong(r, "properties", "an object");
    size_t n = count(value);
    if (n > DS4_SCHEMA_MAX_PROPERTIES)
        return ds4_schema_refuse(r->schema, node->path, "properties", DS4_UNSUPPORTED, r->error,
                                 "more than %u properties", DS4_SCHEMA_MAX_PROPERTIES);
    node->properties = ds4_schema_alloc(r->schema, n * sizeof *node->properties);
    if (node->properties == NULL) return no_memory(r);
    node->n_properties = 0; /* the keyword twice: the last counts */
    node->described = n > 0;
    ds4_json_cursor cursor = ds4_json_enter(value);
    ds4_json_value key, child;
    while (ds4_json_next_member(&cursor, &key, &child)) {
        ds4_text name = {NULL, 0};
        ds4_status status = decode(r, key, &name);
        if (status != DS4_OK) return status;
        char keyword[96];
        snprintf(keyword, sizeof keyword, "properties.%.60s", name.data);
        ds4_schema_property *property = find_property(node, name); /* twice: the last counts */
        if (property == NULL) property = &node->properties[node->n_properties++];
        property->name = name;
        status = read_child(r, keyword, child, &property->node);
        if (status != DS4_OK) return status;
    }
    return DS4_OK;
}

static ds4_status read_additional(reading *r, ds4_json_value value) {
    r->implied |= DS4_TYPE_OBJECT;
    return read_child(r, "additionalProperties", value, &r->node->additional);
}

static ds4_status read_required(reading *r, ds4_json_value value) {
    r->implied |= DS4_TYPE_OBJECT;
    if (value.type != DS4_JSON_ARRAY) return wrong(r, "required", "an array of strings");
    r->required = value;
    r->has_required = true;
    return DS4_OK;
}

/* Behind all keywords, because a required member that `properties` does not describe is one of the
 * additional ones. */
static ds4_status apply_required(reading *r) {
    ds4_schema_node *node = r->node;
    if (!r->has_required) return DS4_OK;
    size_t n_required = count(r->required), described = node->n_properties;
    if (n_required > DS4_SCHEMA_MAX_PROPERTIES)
        return ds4_schema_refuse(r->schema, node->path, "required", DS4_UNSUPPORTED, r->error,
                                 "more than %u names", DS4_SCHEMA_MAX_PROPERTIES);
    ds4_schema_property *more =
        ds4_schema_alloc(r->schema, (described + n_required) * sizeof *more);
    if (more == NULL) return no_memory(r);
    if (described > 0) memcpy(more, node->properties, described * sizeof *more);
    node->properties = more;
    ds4_json_cursor cursor = ds4_json_enter(r->required);
    ds4_json_value key;
    while (ds4_json_next_element(&cursor, &key)) {
        if (key.type != DS4_JSON_STRING) return wrong(r, "required", "an array of strings");
        ds4_text name = {NULL, 0};
        ds4_status status = decode(r, key, &name);
        if (status != DS4_OK) return status;
        ds4_schema_property *property = find_property(node, name);
        if (property == NULL) {
            property = &node->properties[node->n_properties++];
            property->name = name;
            property->node = node->additional != NULL ? node->additional
                                                      : ds4_schema_node_any(r->schema, node->path);
            if (property->node == NULL) return ds4_schema_no_node(r->schema, node->path, r->error);
        }
        property->required = true;
    }
    return DS4_OK;
}

/* ---- references and combinations ---- */

static ds4_status read_reference(reading *r, ds4_json_value value) {
    r->reference = value;
    r->has_reference = true;
    return DS4_OK;
}
static ds4_status read_all(reading *r, ds4_json_value value) {
    r->all = value;
    r->has_all = true;
    return DS4_OK;
}
static ds4_status read_any(reading *r, ds4_json_value value) {
    r->any = value;
    r->has_any = true;
    return DS4_OK;
}
static ds4_status read_one(reading *r, ds4_json_value value) {
    r->one = value;
    r->has_one = true;
    return DS4_OK;
}

/* The node narrowed by one more. */
static ds4_status narrow(reading *r, ds4_schema_node **so_far, ds4_schema_node *more) {
    ds4_status status = ds4_schema_open(r->schema, more, r->error);
    if (status != DS4_OK) return status;
    if (*so_far == NULL) {
        *so_far = more;
        return DS4_OK;
    }
    ds4_schema_node *both = ds4_schema_node_of_both(r->schema, *so_far, more);
    if (both == NULL) return ds4_schema_no_node(r->schema, r->node->path, r->error);
    *so_far = both;
    return ds4_schema_open(r->schema, both, r->error);
}

static ds4_status check_distinguishable(reading *r, ds4_schema_node **list, size_t n) {
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < i; j++) {
            bool disjoint = false;
            ds4_status status =
                ds4_schema_disjoint(r->schema, list[i], list[j], &disjoint, r->error);
            if (status != DS4_OK) return status;
            if (!disjoint)
                return ds4_schema_refuse(
                    r->schema, r->node->path, "oneOf", DS4_UNSUPPORTED, r->error,
                    "alternatives %zu and %zu may fit the same value (they differ neither in type "
                    "nor in a required constant): use anyOf",
                    j, i);
        }
    }
    return DS4_OK;
}

static ds4_status read_union(reading *r, const char *keyword, ds4_json_value value, bool exclusive,
                             ds4_schema_node **so_far) {
    ds4_schema_node **list = NULL;
    size_t n = 0;
    ds4_status status = read_children(r, keyword, value, DS4_SCHEMA_MAX_ALTERNATIVES, &list, &n);
    for (size_t i = 0; status == DS4_OK && i < n; i++)
        status = ds4_schema_open(r->schema, list[i], r->error);
    if (status == DS4_OK && n == 0) status = wrong(r, keyword, "an array with at least one schema");
    if (status == DS4_OK && exclusive) status = check_distinguishable(r, list, n);
    if (status != DS4_OK) return status;
    ds4_schema_node *either = ds4_schema_node_any(r->schema, r->node->path);
    if (either == NULL) return ds4_schema_no_node(r->schema, r->node->path, r->error);
    either->alternatives = list;
    either->n_alternatives = n;
    return narrow(r, so_far, either);
}

/* References and combinations on top of what the node says itself. */
static ds4_status combine(reading *r) {
    ds4_schema_node *node = r->node, *so_far = NULL;
    ds4_status status = DS4_OK;
    if (!r->has_reference && !r->has_all && !r->has_any && !r->has_one) return DS4_OK;
    if (r->constrained) {
        so_far = ds4_schema_node_any(r->schema, node->path);
        if (so_far == NULL) return ds4_schema_no_node(r->schema, node->path, r->error);
        *so_far = *node;
        so_far->state = DS4_NODE_OPEN;
    }
    if (r->has_reference) {
        ds4_json_value target;
        status = ds4_schema_resolve(r->schema, node->path, r->reference, &target, r->error);
        if (status != DS4_OK) return status;
        const char *path = ds4_schema_join(r->schema, node->path, "$ref");
        ds4_schema_node *referred = ds4_schema_node_of(r->schema, target, path);
        if (referred == NULL) return ds4_schema_no_node(r->schema, path, r->error);
        status = narrow(r, &so_far, referred);
    }
    if (status == DS4_OK && r->has_all) {
        ds4_schema_node **list = NULL;
        size_t n = 0;
        status = read_children(r, "allOf", r->all, DS4_SCHEMA_MAX_ALTERNATIVES, &list, &n);
        for (size_t i = 0; status == DS4_OK && i < n; i++) status = narrow(r, &so_far, list[i]);
    }
    if (status == DS4_OK && r->has_any) status = read_union(r, "anyOf", r->any, false, &so_far);
    if (status == DS4_OK && r->has_one) status = read_union(r, "oneOf", r->one, true, &so_far);
    if (status != DS4_OK || so_far == NULL) return status;
    ds4_schema_node whole = *so_far;
    whole.source = node->source;
    memcpy(whole.both, node->both, sizeof whole.both);
    whole.path = node->path;
    whole.state = node->state;
    *node = whole;
    return DS4_OK;
}

/* ---- the object ---- */

static const struct {
    const char *name;
    ds4_status (*read)(reading *r, ds4_json_value value);
    bool constrains;
} keywords[] = {
    {"type", read_type, true},
    {"nullable", read_nullable, false},
    {"const", read_const, true},
    {"enum", read_enum, true},
    {"minLength", read_min_length, true},
    {"maxLength", read_max_length, true},
    {"pattern", read_pattern, true},
    {"format", read_format, true},
    {"minimum", read_minimum, true},
    {"maximum", read_maximum, true},
    {"exclusiveMinimum", read_exclusive_minimum, true},
    {"exclusiveMaximum", read_exclusive_maximum, true},
    {"items", read_items, true},
    {"prefixItems", read_prefix_items, true},
    {"minItems", read_min_items, true},
    {"maxItems", read_max_items, true},
    {"properties", read_properties, true},
    {"additionalProperties", read_additional, true},
    {"required", read_required, true},
    {"$ref", read_reference, false},
    {"allOf", read_all, false},
    {"anyOf", read_any, false},
    {"oneOf", read_one, false},
};

/* Keywords that restrict values and that we cannot enforce, unless they are written so that they
 * say nothing. All others are annotations, as the standard has it. */
static const struct {
    const char *name, *harmless;
} unsupported[] = {
    {"multipleOf", NULL},
    {"uniqueItems", "false"},
    {"contains", "true"},
    {"minContains", "0"},
    {"maxContains", NULL},
    {"minProperties", "0"},
    {"maxProperties", NULL},
    {"patternProperties", "{}"},
    {"propertyNames", "true"},
    {"dependentRequired", "{}"},
    {"dependentSchemas", "{}"},
    {"dependencies", "{}"},
    {"if", NULL},
    {"then", "true"},
    {"else", "true"},
    {"not", "false"},
    {"unevaluatedProperties", "true"},
    {"unevaluatedItems", "true"},
    {"additionalItems", "true"},
    {"$dynamicRef", NULL},
    {"$recursiveRef", NULL},
    {"divisibleBy", NULL},
    {"disallow", "[]"},
    {"extends", "{}"},
};

static ds4_status read_keyword(reading *r, ds4_json_value key, ds4_json_value value) {
    for (size_t i = 0; i < sizeof keywords / sizeof keywords[0]; i++) {
        if (!ds4_json_string_equals(key, keywords[i].name)) continue;
        r->constrained = r->constrained || keywords[i].constrains;
        return keywords[i].read(r, value);
    }
    for (size_t i = 0; i < sizeof unsupported / sizeof unsupported[0]; i++) {
        if (!ds4_json_string_equals(key, unsupported[i].name)) continue;
        const char *harmless = unsupported[i].harmless;
        if (harmless != NULL && value.n == strlen(harmless) &&
            memcmp(value.text, harmless, value.n) == 0)
            return DS4_OK;
        return ds4_schema_refuse(r->schema, r->node->path, unsupported[i].name, DS4_UNSUPPORTED,
                                 r->error, "this keyword is not supported");
    }
    return DS4_OK;
}

ds4_status ds4_schema_read(ds4_schema *schema, ds4_schema_node *node, ds4_error *error) {
    reading r = {.schema = schema, .node = node, .error = error};
    if (node->source.type == DS4_JSON_TRUE) return DS4_OK;
    if (node->source.type == DS4_JSON_FALSE) {
        node->types = 0;
        return DS4_OK;
    }
    if (node->source.type != DS4_JSON_OBJECT)
        return ds4_schema_refuse(schema, node->path, "", DS4_FORMAT, error,
                                 "a schema must be an object or a boolean");
    ds4_json_cursor cursor = ds4_json_enter(node->source);
    ds4_json_value key, value;
    while (ds4_json_next_member(&cursor, &key, &value)) {
        ds4_status status = read_keyword(&r, key, value);
        if (status != DS4_OK) return status;
    }
    /* Without a type, the keywords of one type would let everything else pass: surely not meant. */
    if (!r.has_type && !node->has_values && r.implied != 0) node->types = r.implied;
    if (r.nullable && (r.has_type || r.implied != 0)) node->types |= DS4_TYPE_NULL;
    ds4_status status = apply_required(&r);
    return status == DS4_OK ? combine(&r) : status;
}
