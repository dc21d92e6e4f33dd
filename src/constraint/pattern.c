/* Regular expressions of ECMA-262 (with the u flag), the part that is a regular language: parsed
 * into a small tree, then spelled as grammar. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "constraint/spell.h"

enum {
    MAX_PATTERN_BYTES = 2000,
    MAX_GROUPS = 50,
    MAX_TREE = 8192,
    MAX_RANGES = 8192,
    MAX_REPEAT = 10000
};
#define FOREVER         UINT32_MAX
#define LAST_CODE_POINT 0x10FFFFu

typedef enum tree_kind { TREE_EMPTY, TREE_SET, TREE_BOTH, TREE_EITHER, TREE_REPEAT } tree_kind;

typedef struct tree {
    tree_kind kind;
    uint32_t a, b;     /* BOTH, EITHER: trees; REPEAT: a; SET: ranges [a, b) */
    uint32_t min, max; /* REPEAT */
} tree;

typedef struct parser {
    const char *at, *end, *begin;
    unsigned depth;
    tree *trees;
    size_t n_trees;
    ds4_char_range *ranges;
    size_t n_ranges;
    const char *problem; /* NULL: fine so far */
    bool unsupported;
} parser;

static uint32_t fail(parser *p, const char *problem, bool unsupported) {
    if (p->problem == NULL) {
        p->problem = problem;
        p->unsupported = unsupported;
    }
    return 0;
}

static uint32_t add_tree(parser *p, tree t) {
    if (p->n_trees == MAX_TREE) return fail(p, "it is too long", true);
    p->trees[p->n_trees] = t;
    return (uint32_t)p->n_trees++;
}

/* ---- characters and classes ---- */

static void add_range(parser *p, uint32_t low, uint32_t high) {
    if (p->n_ranges == MAX_RANGES) {
        fail(p, "it is too long", true);
        return;
    }
    p->ranges[p->n_ranges++] = (ds4_char_range){low, high};
}

static const ds4_char_range digits[] = {{'0', '9'}};
static const ds4_char_range words[] = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
static const ds4_char_range spaces[] = {
    {0x09, 0x0D},     {0x20, 0x20},     {0xA0, 0xA0},     {0x1680, 0x1680}, {0x2000, 0x200A},
    {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};
static const ds4_char_range line_ends[] = {{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}};

static int compare_ranges(const void *a, const void *b) {
    const ds4_char_range *x = a, *y = b;
    return x->low < y->low ? -1 : x->low > y->low;
}

/* Replaces the ranges from `first` on by all other characters. */
static void invert(parser *p, size_t first) {
    size_t n = p->n_ranges - first;
    ds4_char_range *list = p->ranges + first;
    qsort(list, n, sizeof *list, compare_ranges);
    size_t begin = p->n_ranges;
    uint32_t next = 0;
    for (size_t i = 0; i < n && p->problem == NULL; i++) {
        if (list[i].low > next) add_range(p, next, list[i].low - 1);
        if (list[i].high >= next) next = list[i].high + 1;
    }
    if (next <= LAST_CODE_POINT) add_range(p, next, LAST_CODE_POINT);
    size_t made = p->n_ranges - begin;
    memmove(list, p->ranges + begin, made * sizeof *list);
    p->n_ranges = first + made;
}

static void add_class(parser *p, const ds4_char_range *list, size_t n, bool inverted) {
    size_t first = p->n_ranges;
    for (size_t i = 0; i < n; i++) add_range(p, list[i].low, list[i].high);
    if (inverted && p->problem == NULL) invert(p, first);
}

#define ADD_CLASS(p, list, inverted) add_class(p, list, sizeof(list) / sizeof((list)[0]), inverted)

/* \d \w \s and their complements; false for other letters. */
static bool add_class_escape(parser *p, char letter) {
    switch (letter) {
    case 'd':
    case 'D':
        ADD_CLASS(p, digits, letter == 'D');
        return true;
    case 'w':
    case 'W':
        ADD_CLASS(p, words, letter == 'W');
        return true;
    case 's':
    case 'S':
        ADD_CLASS(p, spaces, letter == 'S');
        return true;
    default:
        return false;
    }
}

/* One code point; the pattern is valid UTF-8. */
static uint32_t take_code_point(parser *p) {
    unsigned char lead = (unsigned char)*p->at++;
    if (lead < 0x80) return lead;
    unsigned n = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : 1;
    uint32_t code = lead & (0x3Fu >> n);
    for (; n > 0 && p->at < p->end; n--) code = code << 6 | ((unsigned char)*p->at++ & 0x3F);
    return code;
}

static uint32_t take_hex(parser *p, size_t least, size_t most) {
    uint32_t code = 0;
    size_t n = 0;
    for (; n < most && p->at < p->end && *p->at != '\0' &&
           strchr("0123456789abcdefABCDEF", *p->at) != NULL;
         n++) {
        char digit = *p->at++;
        code = code << 4 | (uint32_t)(digit <= '9' ? digit - '0' : (digit | 0x20) - 'a' + 10);
    }
    if (n < least) return fail(p, "an escape lacks hexadecimal digits", false);
    return code;
}

static uint32_t take_unicode_escape(parser *p) {
    if (p->at < p->end && *p->at == '{') {
        p->at++;
        uint32_t code = take_hex(p, 1, 6);
        if (p->at == p->end || *p->at != '}') return fail(p, "\\u{ is not closed", false);
        p->at++;
        return code <= LAST_CODE_POINT ? code : fail(p, "\\u{} is out of range", false);
    }
    uint32_t code = take_hex(p, 4, 4);
    if (code < 0xD800 || code > 0xDBFF) return code;
    if (p->end - p->at < 6 || p->at[0] != '\\' || p->at[1] != 'u')
        return fail(p, "half of a surrogate pair matches no text", false);
    p->at += 2;
    return 0x10000 + ((code - 0xD800) << 10) + (take_hex(p, 4, 4) - 0xDC00);
}

/* Behind a backslash: an escape that stands for one character. */
static uint32_t take_escape(parser *p) {
    if (p->at == p->end) return fail(p, "it ends in a backslash", false);
    char letter = *p->at++;
    switch (letter) {
    case 'n':
        return '\n';
    case 't':
        return '\t';
    case 'r':
        return '\r';
    case 'f':
        return '\f';
    case 'v':
        return '\v';
    case 'x':
        return take_hex(p, 2, 2);
    case 'u':
        return take_unicode_escape(p);
    case '0':
        if (p->at < p->end && *p->at >= '0' && *p->at <= '9') break;
        return 0;
    default:
        if (letter != '\0' && strchr("^$\\.*+?()[]{}|/-", letter) != NULL)
            return (unsigned char)letter;
        break;
    }
    if ((letter >= '1' && letter <= '9') || letter == 'k')
        return fail(p, "back references are not supported", true);
    if (letter == 'b' || letter == 'B') return fail(p, "word boundaries are not supported", true);
    if (letter == 'p' || letter == 'P') return fail(p, "\\p classes are not supported", true);
    return fail(p, "it holds an unknown escape", false);
}

/* One member of a bracket; true when it was a class and cannot begin a range. */
static bool take_class_member(parser *p, uint32_t *code) {
    if (*p->at != '\\') {
        *code = take_code_point(p);
        return false;
    }
    p->at++;
    if (p->at < p->end && add_class_escape(p, *p->at)) {
        p->at++;
        return true;
    }
    if (p->at < p->end && *p->at == 'b') {
        p->at++;
        *code = '\b';
        return false;
    }
    *code = take_escape(p);
    return false;
}

static uint32_t parse_bracket(parser *p) {
    size_t first = p->n_ranges;
    bool inverted = p->at < p->end && *p->at == '^';
    if (inverted) p->at++;
    while (p->problem == NULL) {
        if (p->at == p->end) return fail(p, "a [ is not closed", false);
        if (*p->at == ']') break;
        uint32_t low = 0, high = 0;
        if (take_class_member(p, &low)) continue;
        high = low;
        if (p->end - p->at >= 2 && p->at[0] == '-' && p->at[1] != ']') {
            p->at++;
            if (take_class_member(p, &high)) return fail(p, "a class cannot end a range", false);
            if (high < low) return fail(p, "a range is out of order", false);
        }
        add_range(p, low, high);
    }
    if (p->problem != NULL) return 0;
    p->at++;
    if (inverted) invert(p, first);
    return add_tree(p, (tree){.kind = TREE_SET, .a = (uint32_t)first, .b = (uint32_t)p->n_ranges});
}

/* ---- the expression ---- */

static uint32_t parse_choice(parser *p, bool outermost);

static uint32_t parse_group(parser *p) {
    if (p->at < p->end && *p->at == '?') {
        const char *kind = p->at + 1;
        size_t left = (size_t)(p->end - kind);
        if (left >= 1 && kind[0] == ':') {
            p->at += 2;
        } else if (left >= 2 && kind[0] == '<' && kind[1] != '=' && kind[1] != '!') {
            const char *close = memchr(kind, '>', left);
            if (close == NULL) return fail(p, "a group's name is not closed", false);
            p->at = close + 1;
        } else {
            return fail(p, "look-around and modifiers are not supported", true);
        }
    }
    if (++p->depth > MAX_GROUPS) return fail(p, "its groups nest too deep", true);
    uint32_t inner = parse_choice(p, false);
    p->depth--;
    if (p->problem != NULL) return 0;
    if (p->at == p->end) return fail(p, "a ( is not closed", false);
    p->at++;
    return inner;
}

static uint32_t parse_atom(parser *p) {
    size_t first = p->n_ranges;
    char c = *p->at;
    if (c == '(') {
        p->at++;
        return parse_group(p);
    }
    if (c == '[') {
        p->at++;
        return parse_bracket(p);
    }
    if (c == '^' || c == '$')
        return fail(p, "^ and $ are supported at the ends of the outermost alternatives only",
                    true);
    if (strchr("*+?{", c) != NULL && c != '\0')
        return fail(p, "a quantifier follows nothing", false);
    if (c == '}' || c == ']') return fail(p, "a bracket closes nothing", false);
    if (c == '.') {
        p->at++;
        ADD_CLASS(p, line_ends, true);
    } else if (c == '\\') {
        p->at++;
        if (p->at < p->end && add_class_escape(p, *p->at)) {
            p->at++;
        } else {
            uint32_t code = take_escape(p);
            add_range(p, code, code);
        }
    } else {
        uint32_t code = take_code_point(p);
        add_range(p, code, code);
    }
    return add_tree(p, (tree){.kind = TREE_SET, .a = (uint32_t)first, .b = (uint32_t)p->n_ranges});
}

static uint32_t take_count(parser *p) {
    uint32_t count = 0;
    if (p->at == p->end || *p->at < '0' || *p->at > '9')
        return fail(p, "a quantifier lacks a number", false);
    while (p->at < p->end && *p->at >= '0' && *p->at <= '9' && count <= MAX_REPEAT)
        count = count * 10 + (uint32_t)(*p->at++ - '0');
    return count <= MAX_REPEAT ? count : fail(p, "it repeats too often", true);
}

static uint32_t parse_repeated(parser *p) {
    uint32_t atom = parse_atom(p);
    if (p->problem != NULL || p->at == p->end || *p->at == '\0' || strchr("*+?{", *p->at) == NULL)
        return atom;
    tree repeat = {.kind = TREE_REPEAT, .a = atom, .min = 0, .max = FOREVER};
    char kind = *p->at++;
    if (kind == '+') repeat.min = 1;
    if (kind == '?') repeat.max = 1;
    if (kind == '{') {
        repeat.min = repeat.max = take_count(p);
        if (p->problem == NULL && p->at < p->end && *p->at == ',') {
            p->at++;
            repeat.max = p->at < p->end && *p->at == '}' ? FOREVER : take_count(p);
        }
        if (p->problem != NULL) return 0;
        if (p->at == p->end || *p->at != '}') return fail(p, "a { is not closed", false);
        p->at++;
        if (repeat.max < repeat.min) return fail(p, "a quantifier is out of order", false);
    }
    if (p->at < p->end && *p->at == '?') p->at++; /* lazy: the same texts */
    return add_tree(p, repeat);
}

/* Any text: what may stand before and behind a match that is not anchored. */
static uint32_t add_anything(parser *p) {
    size_t first = p->n_ranges;
    add_range(p, 0, LAST_CODE_POINT);
    uint32_t any =
        add_tree(p, (tree){.kind = TREE_SET, .a = (uint32_t)first, .b = (uint32_t)p->n_ranges});
    return add_tree(p, (tree){.kind = TREE_REPEAT, .a = any, .min = 0, .max = FOREVER});
}

static bool take(parser *p, char c) {
    if (p->at == p->end || *p->at != c) return false;
    p->at++;
    return true;
}

static bool at_branch_end(const parser *p) {
    return p->at == p->end || *p->at == '|' || *p->at == ')';
}

static uint32_t parse_branch(parser *p, bool outermost) {
    bool starts = !outermost || take(p, '^'), ends = !outermost;
    uint32_t whole = starts ? add_tree(p, (tree){.kind = TREE_EMPTY}) : add_anything(p);
    while (p->problem == NULL && !at_branch_end(p)) {
        if (outermost && *p->at == '$' && (p->at + 1 == p->end || p->at[1] == '|')) {
            p->at++;
            ends = true;
            break;
        }
        uint32_t next = parse_repeated(p);
        whole = add_tree(p, (tree){.kind = TREE_BOTH, .a = whole, .b = next});
    }
    if (!ends) {
        uint32_t rest = add_anything(p);
        whole = add_tree(p, (tree){.kind = TREE_BOTH, .a = whole, .b = rest});
    }
    return whole;
}

static uint32_t parse_choice(parser *p, bool outermost) {
    uint32_t whole = parse_branch(p, outermost);
    while (p->problem == NULL && take(p, '|')) {
        uint32_t other = parse_branch(p, outermost);
        whole = add_tree(p, (tree){.kind = TREE_EITHER, .a = whole, .b = other});
    }
    if (p->problem == NULL && outermost && p->at < p->end)
        return fail(p, "a ) closes nothing", false);
    return whole;
}

/* ---- spelling ---- */

static uint32_t spell_tree(ds4_grammar *g, const parser *p, uint32_t at, ds4_spelling spelling,
                           uint32_t next);

static uint32_t spell_repeat(ds4_grammar *g, const parser *p, const tree *t, ds4_spelling spelling,
                             uint32_t next) {
    uint32_t node = next;
    if (t->max == FOREVER) {
        node = ds4_grammar_reserve(g);
        uint32_t once = spell_tree(g, p, t->a, spelling, node);
        ds4_grammar_define(g, node, NULL, 0, (const uint32_t[]){once, next}, 2);
    } else {
        for (uint32_t i = t->min; i < t->max && !g->too_large && !g->no_memory; i++) {
            uint32_t once = spell_tree(g, p, t->a, spelling, node);
            node = ds4_grammar_branch(g, (const uint32_t[]){once, next}, 2);
        }
    }
    for (uint32_t i = 0; i < t->min && !g->too_large && !g->no_memory; i++)
        node = spell_tree(g, p, t->a, spelling, node);
    return node;
}

static uint32_t spell_tree(ds4_grammar *g, const parser *p, uint32_t at, ds4_spelling spelling,
                           uint32_t next) {
    const tree *t = &p->trees[at];
    if (g->too_large || g->no_memory) return next;
    switch (t->kind) {
    case TREE_EMPTY:
        return next;
    case TREE_SET:
        return ds4_spell_characters(g, p->ranges + t->a, t->b - t->a, spelling, next);
    case TREE_BOTH:
        return spell_tree(g, p, t->a, spelling, spell_tree(g, p, t->b, spelling, next));
    case TREE_EITHER: {
        uint32_t first = spell_tree(g, p, t->a, spelling, next);
        uint32_t second = spell_tree(g, p, t->b, spelling, next);
        return ds4_grammar_branch(g, (const uint32_t[]){first, second}, 2);
    }
    case TREE_REPEAT:
        return spell_repeat(g, p, t, spelling, next);
    }
    return next;
}

/* ---- length limits ---- */

typedef struct product {
    ds4_grammar *g;
    uint32_t first, last; /* the nodes of the pattern: [first, last) */
    uint32_t base; /* of the copies: node (first + i) with count k is base + i * layers + k */
    uint32_t layers, min, max;
    uint32_t next;
    uint32_t nowhere;
} product;

/* Where a way to `target` leads with `count` characters behind it. */
static uint32_t copy_of(const product *p, uint32_t target, uint64_t count) {
    if (count > p->max) return p->nowhere;
    if (count >= p->layers) count = p->layers - 1; /* no upper limit: enough is enough */
    if (target >= p->first && target < p->last)
        return p->base + (target - p->first) * p->layers + (uint32_t)count;
    return count >= p->min ? target : p->nowhere;
}

static void copy_node(const product *p, uint32_t node, uint32_t count) {
    ds4_grammar_edge edges[512];
    uint32_t targets[512];
    const ds4_grammar_node *n = &p->g->nodes[node];
    uint32_t n_edges = n->n_edges, n_free = n->n_free; /* at most 512: spell_characters */
    for (uint32_t i = 0; i < n_edges; i++) {
        edges[i] = p->g->edges[n->edge + i];
        edges[i].target = copy_of(p, edges[i].target, (uint64_t)count + edges[i].counts);
        edges[i].counts = false;
    }
    for (uint32_t i = 0; i < n_free; i++)
        targets[i] = copy_of(p, p->g->targets[n->free + i], count);
    ds4_grammar_define(p->g, copy_of(p, node, count), edges, n_edges, targets, n_free);
}

/* Every state of the pattern once per number of characters, so that no way runs into a limit from
 * which the pattern cannot be completed. */
static uint32_t limit_length(ds4_grammar *g, uint32_t first, uint32_t start, uint32_t min,
                             uint32_t max, uint32_t next) {
    product p = {.g = g, .first = first, .last = (uint32_t)g->n_nodes, .min = min, .max = max};
    if (min == 0 && max == DS4_GRAMMAR_NO_LIMIT) return start;
    uint64_t layers = (uint64_t)(max == DS4_GRAMMAR_NO_LIMIT ? min : max) + 1;
    if (layers * (p.last - first) > DS4_GRAMMAR_MAX_NODES) {
        g->too_large = true;
        return start;
    }
    p.layers = (uint32_t)layers;
    p.next = next;
    p.nowhere = ds4_grammar_branch(g, NULL, 0);
    p.base = (uint32_t)g->n_nodes;
    for (uint64_t i = 0; i < layers * (p.last - first); i++) ds4_grammar_reserve(g);
    for (uint32_t node = first; node < p.last; node++)
        for (uint32_t k = 0; k < p.layers && !g->too_large && !g->no_memory; k++)
            copy_node(&p, node, k);
    return copy_of(&p, start, 0);
}

ds4_status ds4_spell_pattern(ds4_grammar *g, ds4_text pattern, uint32_t min, uint32_t max,
                             ds4_spelling spelling, uint32_t next, uint32_t *start,
                             ds4_error *error) {
    if (pattern.n > MAX_PATTERN_BYTES)
        return ds4_fail(error, DS4_UNSUPPORTED, "the pattern is longer than %d bytes",
                        MAX_PATTERN_BYTES);
    ds4_status status = DS4_OK;
    parser p = {.at = pattern.data, .begin = pattern.data, .end = pattern.data + pattern.n};
    p.trees = malloc(MAX_TREE * sizeof *p.trees);
    p.ranges = malloc(MAX_RANGES * sizeof *p.ranges);
    if (p.trees == NULL || p.ranges == NULL) {
        status = ds4_fail_memory(error, MAX_TREE * sizeof *p.trees, "a pattern");
        goto done;
    }
    uint32_t whole = parse_choice(&p, true);
    if (p.problem != NULL) {
        status = ds4_fail(error, p.unsupported ? DS4_UNSUPPORTED : DS4_FORMAT,
                          "the pattern cannot be used, near its byte %zu: %s",
                          (size_t)(p.at - p.begin), p.problem);
        goto done;
    }
    uint32_t first = (uint32_t)g->n_nodes;
    *start = spell_tree(g, &p, whole, spelling, next);
    *start = limit_length(g, first, *start, min, max, next);
done:
    free(p.trees);
    free(p.ranges);
    return status;
}

/* ---- formats ---- */

#define DATE                                                                                       \
    "(?:\\d{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\\d|30)" \
    "|02-(?:0[1-9]|1\\d|2[0-8]))|(?:\\d\\d(?:0[48]|[2468][048]|[13579][26])|"                      \
    "(?:[02468][048]|[13579][26])00)-02-29)"
#define TIME                                                                                       \
    "(?:(?:[01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(?:\\.\\d{1,9})?(?:Z|[+-](?:[01]\\d|2[0-3]):[0-5]\\d)" \
    ")"
#define OCTET "(?:\\d|[1-9]\\d|1\\d\\d|2[0-4]\\d|25[0-5])"
#define LABEL "[A-Za-z0-9](?:[A-Za-z0-9-]{0,30}[A-Za-z0-9])?"
#define LOCAL "[A-Za-z0-9_+-]{1,20}"

/* Each is a part of what the format allows (RFC 3339, RFC 9562, RFC 5321): whatever matches is
 * valid. */
const char *ds4_format_pattern(ds4_text format) {
    static const struct {
        const char *name, *pattern;
    } formats[] = {
        {"date", "^" DATE "$"},
        {"time", "^" TIME "$"},
        {"date-time", "^" DATE "T" TIME "$"},
        {"uuid", "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"},
        {"email", "^" LOCAL "(?:\\." LOCAL "){0,2}@" LABEL "(?:\\." LABEL "){1,3}$"},
        {"hostname", "^" LABEL "(?:\\." LABEL "){0,4}$"},
        {"ipv4", "^(?:" OCTET "\\.){3}" OCTET "$"},
    };
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++)
        if (ds4_text_equals(format, formats[i].name)) return formats[i].pattern;
    return NULL;
}
