/* What fits two schema nodes at once, and whether anything can. */
#include <string.h>

#include "base/error.h"
#include "constraint/schema_internal.h"

/* ---- values ---- */

static bool same_string(ds4_json_value a, ds4_json_value b) {
    ds4_strbuf x = {0}, y = {0};
    ds4_json_string_decode(a, &x);
    ds4_json_string_decode(b, &y);
    bool same =
        !x.failed && !y.failed && x.n == y.n && (x.n == 0 || memcmp(x.data, y.data, x.n) == 0);
    ds4_strbuf_free(&x);
    ds4_strbuf_free(&y);
    return same;
}

/* Containers are compared as they are spelled, without white space: equal ones are found equal,
 * others may be missed. */
bool ds4_json_same_value(ds4_json_value a, ds4_json_value b) {
    if (a.type != b.type) return false;
    if (a.type == DS4_JSON_STRING) return same_string(a, b);
    if (a.type == DS4_JSON_NUMBER) {
        int order = 1;
        return ds4_number_compare((ds4_text){a.text, a.n}, (ds4_text){b.text, b.n}, &order) &&
               order == 0;
    }
    if (a.type != DS4_JSON_ARRAY && a.type != DS4_JSON_OBJECT) return true;
    ds4_strbuf x = {0}, y = {0};
    ds4_json_minify(a, &x);
    ds4_json_minify(b, &y);
    bool same = !x.failed && !y.failed && x.n == y.n && memcmp(x.data, y.data, x.n) == 0;
    ds4_strbuf_free(&x);
    ds4_strbuf_free(&y);
    return same;
}

unsigned ds4_json_value_type(ds4_json_value value) {
    switch (value.type) {
    case DS4_JSON_NULL:
        return DS4_TYPE_NULL;
    case DS4_JSON_FALSE:
    case DS4_JSON_TRUE:
        return DS4_TYPE_BOOLEAN;
    case DS4_JSON_NUMBER:
        return ds4_number_is_integer((ds4_text){value.text, value.n}) ? DS4_TYPE_INTEGER
                                                                      : DS4_TYPE_FRACTION;
    case DS4_JSON_STRING:
        return DS4_TYPE_STRING;
    case DS4_JSON_ARRAY:
        return DS4_TYPE_ARRAY;
    case DS4_JSON_OBJECT:
        return DS4_TYPE_OBJECT;
    }
    return 0;
}

static bool has_value(const ds4_schema_node *node, ds4_json_value value) {
    for (size_t i = 0; i < node->n_values; i++)
        if (ds4_json_same_value(node->values[i], value)) return true;
    return false;
}

static ds4_status merge_values(ds4_schema *schema, ds4_schema_node *node, const ds4_schema_node *a,
                               const ds4_schema_node *b, ds4_error *error) {
    const ds4_schema_node *from = a->has_values ? a : b;
    node->has_values = from->has_values;
    node->values = from->values;
    node->n_values = from->n_values;
    if (!a->has_values || !b->has_values) return DS4_OK;
    node->n_values = 0;
    node->values = ds4_schema_alloc(schema, a->n_values * sizeof *node->values);
    if (node->values == NULL) return ds4_fail(error, DS4_NO_MEMORY, "no memory for a schema");
    for (size_t i = 0; i < a->n_values; i++)
        if (has_value(b, a->values[i])) node->values[node->n_values++] = a->values[i];
    return DS4_OK;
}

/* ---- scalars ---- */

static ds4_status merge_bound(ds4_schema *schema, const ds4_schema_node *node, bool low,
                              ds4_number_bound a, ds4_number_bound b, ds4_number_bound *out,
                              ds4_error *error) {
    *out = a.given ? a : b;
    if (!a.given || !b.given) return DS4_OK;
    int order = 0;
    if (!ds4_number_compare(a.text, b.text, &order))
        return ds4_schema_refuse(schema, node->path, low ? "minimum" : "maximum", DS4_UNSUPPORTED,
                                 error, "the numbers have too many digits to be compared");
    bool b_is_tighter = low ? order < 0 : order > 0;
    if (b_is_tighter || (order == 0 && b.exclusive)) *out = b;
    return DS4_OK;
}

static ds4_status merge_scalars(ds4_schema *schema, ds4_schema_node *node, const ds4_schema_node *a,
                                const ds4_schema_node *b, ds4_error *error) {
    node->min_length = a->min_length > b->min_length ? a->min_length : b->min_length;
    node->max_length = a->max_length < b->max_length ? a->max_length : b->max_length;
    node->pattern = a->pattern.data != NULL ? a->pattern : b->pattern;
    if (a->pattern.data != NULL && b->pattern.data != NULL &&
        (a->pattern.n != b->pattern.n ||
         memcmp(a->pattern.data, b->pattern.data, a->pattern.n) != 0))
        return ds4_schema_refuse(schema, node->path, "pattern", DS4_UNSUPPORTED, error,
                                 "two patterns or formats for the same string are not supported");
    ds4_status status = merge_bound(schema, node, true, a->low, b->low, &node->low, error);
    if (status != DS4_OK) return status;
    return merge_bound(schema, node, false, a->high, b->high, &node->high, error);
}

/* ---- arrays and objects ---- */

/* Both children, either of which may be missing (anything). */
static ds4_status both_of(ds4_schema *schema, ds4_schema_node *a, ds4_schema_node *b,
                          ds4_schema_node **out, ds4_error *error) {
    *out = a != NULL ? a : b;
    if (a == NULL || b == NULL) return DS4_OK;
    *out = ds4_schema_node_of_both(schema, a, b);
    return *out != NULL ? DS4_OK : ds4_schema_no_node(schema, a->path, error);
}

static ds4_status merge_arrays(ds4_schema *schema, ds4_schema_node *node, const ds4_schema_node *a,
                               const ds4_schema_node *b, ds4_error *error) {
    node->min_items = a->min_items > b->min_items ? a->min_items : b->min_items;
    node->max_items = a->max_items < b->max_items ? a->max_items : b->max_items;
    ds4_status status = both_of(schema, a->items, b->items, &node->items, error);
    if (status != DS4_OK) return status;
    size_t n = a->n_prefix > b->n_prefix ? a->n_prefix : b->n_prefix;
    node->n_prefix = n;
    node->prefix = ds4_schema_alloc(schema, n * sizeof *node->prefix);
    if (node->prefix == NULL) return ds4_fail(error, DS4_NO_MEMORY, "no memory for a schema");
    for (size_t i = 0; i < n && status == DS4_OK; i++) {
        ds4_schema_node *x = i < a->n_prefix ? a->prefix[i] : a->items;
        ds4_schema_node *y = i < b->n_prefix ? b->prefix[i] : b->items;
        status = both_of(schema, x, y, &node->prefix[i], error);
        if (status == DS4_OK && node->prefix[i] == NULL)
            node->prefix[i] = ds4_schema_node_any(schema, node->path);
        if (node->prefix[i] == NULL) return ds4_schema_no_node(schema, node->path, error);
    }
    return status;
}

static const ds4_schema_property *find_property(const ds4_schema_node *node, ds4_text name) {
    for (size_t i = 0; i < node->n_properties; i++) {
        ds4_text have = node->properties[i].name;
        if (have.n == name.n && memcmp(have.data, name.data, name.n) == 0)
            return &node->properties[i];
    }
    return NULL;
}

/* One property that `from` has, under what `other` says of it: as a property, or as an additional
 * member. */
static ds4_status merge_property(ds4_schema *schema, ds4_schema_node *node,
                                 const ds4_schema_property *from, const ds4_schema_node *other,
                                 ds4_error *error) {
    const ds4_schema_property *twin = find_property(other, from->name);
    ds4_schema_property *property = &node->properties[node->n_properties++];
    property->name = from->name;
    property->required = from->required || (twin != NULL && twin->required);
    return both_of(schema, from->node, twin != NULL ? twin->node : other->additional,
                   &property->node, error);
}

static ds4_status merge_objects(ds4_schema *schema, ds4_schema_node *node, const ds4_schema_node *a,
                                const ds4_schema_node *b, ds4_error *error) {
    ds4_status status = both_of(schema, a->additional, b->additional, &node->additional, error);
    node->properties =
        ds4_schema_alloc(schema, (a->n_properties + b->n_properties) * sizeof *node->properties);
    node->n_properties = 0;
    node->described = a->described || b->described;
    if (node->properties == NULL) return ds4_fail(error, DS4_NO_MEMORY, "no memory for a schema");
    for (size_t i = 0; i < a->n_properties && status == DS4_OK; i++)
        status = merge_property(schema, node, &a->properties[i], b, error);
    for (size_t i = 0; i < b->n_properties && status == DS4_OK; i++)
        if (find_property(a, b->properties[i].name) == NULL)
            status = merge_property(schema, node, &b->properties[i], a, error);
    if (status == DS4_OK && node->n_properties > 2 * DS4_SCHEMA_MAX_PROPERTIES)
        return ds4_schema_refuse(schema, node->path, "allOf", DS4_UNSUPPORTED, error,
                                 "more than %u properties", 2 * DS4_SCHEMA_MAX_PROPERTIES);
    return status;
}

/* ---- nodes ---- */

/* Each alternative of `a`, together with `b`; those that nothing fits are left out. */
static ds4_status distribute(ds4_schema *schema, ds4_schema_node *node, const ds4_schema_node *a,
                             ds4_schema_node *b, ds4_error *error) {
    node->alternatives = ds4_schema_alloc(schema, a->n_alternatives * sizeof *node->alternatives);
    if (node->alternatives == NULL) return ds4_fail(error, DS4_NO_MEMORY, "no memory for a schema");
    node->n_alternatives = 0;
    for (size_t i = 0; i < a->n_alternatives; i++) {
        ds4_schema_node *both = ds4_schema_node_of_both(schema, a->alternatives[i], b);
        if (both == NULL) return ds4_schema_no_node(schema, node->path, error);
        ds4_status status = ds4_schema_open(schema, both, error);
        if (status != DS4_OK) return status;
        if (both->n_alternatives > 0 || both->types != 0)
            node->alternatives[node->n_alternatives++] = both;
    }
    if (node->n_alternatives == 0) node->types = 0;
    return DS4_OK;
}

ds4_status ds4_schema_merge(ds4_schema *schema, ds4_schema_node *node, ds4_schema_node *a,
                            ds4_schema_node *b, ds4_error *error) {
    if (a->n_alternatives > 0) return distribute(schema, node, a, b, error);
    if (b->n_alternatives > 0) return distribute(schema, node, b, a, error);
    node->types = a->types & b->types;
    ds4_status status = merge_values(schema, node, a, b, error);
    if (status == DS4_OK && (node->types & (DS4_TYPE_STRING | DS4_TYPE_NUMBER)) != 0)
        status = merge_scalars(schema, node, a, b, error);
    if (status == DS4_OK && (node->types & DS4_TYPE_ARRAY) != 0)
        status = merge_arrays(schema, node, a, b, error);
    if (status == DS4_OK && (node->types & DS4_TYPE_OBJECT) != 0)
        status = merge_objects(schema, node, a, b, error);
    return status;
}

/* ---- disjointness ---- */

static unsigned possible_types(const ds4_schema_node *node) {
    if (!node->has_values) return node->types;
    unsigned types = 0;
    for (size_t i = 0; i < node->n_values; i++) types |= ds4_json_value_type(node->values[i]);
    return types & node->types;
}

static bool below(ds4_number_bound high, ds4_number_bound low) {
    int order = 0;
    if (!high.given || !low.given || !ds4_number_compare(high.text, low.text, &order)) return false;
    return order < 0 || (order == 0 && (high.exclusive || low.exclusive));
}

static ds4_status forbids(ds4_schema *schema, const ds4_schema_node *node, ds4_text name,
                          bool *forbidden, ds4_error *error) {
    *forbidden = false;
    if (node->additional == NULL || find_property(node, name) != NULL) return DS4_OK;
    if (node->additional->state == DS4_NODE_OPENING) return DS4_OK;
    ds4_status status = ds4_schema_open(schema, node->additional, error);
    *forbidden =
        status == DS4_OK && node->additional->n_alternatives == 0 && node->additional->types == 0;
    return status;
}

/* A member that both must have and that cannot fit both, or that one must have and the other must
 * not. */
static ds4_status objects_disjoint(ds4_schema *schema, const ds4_schema_node *a,
                                   const ds4_schema_node *b, bool *disjoint, ds4_error *error) {
    for (size_t i = 0; i < a->n_properties; i++) {
        const ds4_schema_property *p = &a->properties[i], *q = find_property(b, p->name);
        ds4_status status = DS4_OK;
        if (!p->required) continue;
        if (q == NULL) {
            status = forbids(schema, b, p->name, disjoint, error);
        } else if (q->required && p->node->state != DS4_NODE_OPENING &&
                   q->node->state != DS4_NODE_OPENING) {
            status = ds4_schema_open(schema, p->node, error);
            if (status == DS4_OK) status = ds4_schema_open(schema, q->node, error);
            if (status == DS4_OK)
                status = ds4_schema_disjoint(schema, p->node, q->node, disjoint, error);
        }
        if (status != DS4_OK || *disjoint) return status;
    }
    for (size_t i = 0; i < b->n_properties && !*disjoint; i++) {
        const ds4_schema_property *q = &b->properties[i];
        if (!q->required || find_property(a, q->name) != NULL) continue;
        ds4_status status = forbids(schema, a, q->name, disjoint, error);
        if (status != DS4_OK) return status;
    }
    return DS4_OK;
}

ds4_status ds4_schema_disjoint(ds4_schema *schema, ds4_schema_node *a, ds4_schema_node *b,
                               bool *disjoint, ds4_error *error) {
    const ds4_schema_node *either = a->n_alternatives > 0 ? a : b;
    ds4_schema_node *other = either == a ? b : a;
    *disjoint = false;
    if (either->n_alternatives > 0) {
        for (size_t i = 0; i < either->n_alternatives; i++) {
            ds4_status status =
                ds4_schema_disjoint(schema, either->alternatives[i], other, disjoint, error);
            if (status != DS4_OK || !*disjoint) return status;
        }
        return DS4_OK;
    }
    unsigned common = possible_types(a) & possible_types(b);
    if (common == 0) {
        *disjoint = true;
        return DS4_OK;
    }
    if (a->has_values && b->has_values) {
        bool shared = false;
        for (size_t i = 0; i < a->n_values; i++) shared = shared || has_value(b, a->values[i]);
        bool scalars = (common & (DS4_TYPE_ARRAY | DS4_TYPE_OBJECT)) == 0;
        *disjoint = !shared && scalars;
        return DS4_OK;
    }
    if ((common & ~(unsigned)DS4_TYPE_NUMBER) == 0)
        *disjoint = below(a->high, b->low) || below(b->high, a->low);
    if (common == DS4_TYPE_OBJECT) return objects_disjoint(schema, a, b, disjoint, error);
    return DS4_OK;
}
