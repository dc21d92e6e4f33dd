#include "constraint/spell.h"

#include <stdlib.h>
#include <string.h>

/* ---- characters ---- */

typedef struct character_edges {
    ds4_grammar *grammar;
    ds4_grammar_edge list[512];
    size_t n;
    uint32_t next;
    uint32_t escaped[0x80]; /* bit set: this character is wanted and must be escaped */
    bool any_escaped;
} character_edges;

static void add_edge(character_edges *c, unsigned low, unsigned high, uint32_t target) {
    if (c->n == sizeof c->list / sizeof c->list[0]) {
        c->grammar->too_large = true;
        return;
    }
    c->list[c->n++] = (ds4_grammar_edge){(uint16_t)low, (uint16_t)high, true, target};
}

static void add_ascii(character_edges *c, uint32_t low, uint32_t high, ds4_spelling spelling) {
    if (spelling == DS4_SPELL_RAW) {
        add_edge(c, low, high, c->next);
        return;
    }
    uint32_t begin = low;
    for (uint32_t at = low; at <= high; at++) {
        if (at >= 0x20 && at != '"' && at != '\\') continue;
        c->escaped[at] = 1;
        c->any_escaped = true;
        if (at > begin) add_edge(c, begin, at - 1, c->next);
        begin = at + 1;
    }
    if (begin <= high) add_edge(c, begin, high, c->next);
}

static size_t encode(uint32_t code, unsigned char out[4]) {
    size_t n = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    static const unsigned char leads[] = {0, 0, 0xC0, 0xE0, 0xF0};
    for (size_t i = n; i-- > 1; code >>= 6) out[i] = (unsigned char)(0x80 | (code & 0x3F));
    out[0] = (unsigned char)(leads[n] | code);
    return n;
}

/* [low, high] of one encoded length, cut where the tails do not run over the whole range of
 * continuation bytes; each piece is then a product of byte ranges. */
static void add_encoded(character_edges *c, uint32_t low, uint32_t high, size_t n) {
    for (size_t i = 1; i < n; i++) {
        uint32_t tail = ((uint32_t)1 << (6 * i)) - 1;
        if ((low & ~tail) == (high & ~tail)) continue;
        if ((low & tail) != 0) {
            add_encoded(c, low, low | tail, n);
            add_encoded(c, (low | tail) + 1, high, n);
            return;
        }
        if ((high & tail) != tail) {
            add_encoded(c, low, (high & ~tail) - 1, n);
            add_encoded(c, high & ~tail, high, n);
            return;
        }
    }
    unsigned char first[4] = {0}, last[4] = {0};
    encode(low, first);
    encode(high, last);
    uint32_t node = c->next;
    for (size_t i = n; i-- > 1;) node = ds4_grammar_symbol(c->grammar, first[i], last[i], node);
    add_edge(c, first[0], last[0], node);
}

static void add_range(character_edges *c, uint32_t low, uint32_t high, ds4_spelling spelling) {
    static const struct {
        uint32_t low, high;
        size_t n;
    } lengths[] = {
        {0x80, 0x7FF, 2}, {0x800, 0xD7FF, 3}, {0xE000, 0xFFFF, 3}, {0x10000, 0x10FFFF, 4}};
    if (low < 0x80) add_ascii(c, low, high < 0x7F ? high : 0x7F, spelling);
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        uint32_t from = low > lengths[i].low ? low : lengths[i].low;
        uint32_t to = high < lengths[i].high ? high : lengths[i].high;
        if (from <= to) add_encoded(c, from, to, lengths[i].n);
    }
}

static char short_escape(uint32_t code) {
    switch (code) {
    case '\b':
        return 'b';
    case '\f':
        return 'f';
    case '\n':
        return 'n';
    case '\r':
        return 'r';
    case '\t':
        return 't';
    case '"':
    case '\\':
        return (char)code;
    default:
        return 0;
    }
}

static void add_escapes(character_edges *c) {
    ds4_grammar_edge behind[16];
    size_t n = 0;
    for (uint32_t half = 0; half < 2; half++) {
        ds4_grammar_edge digits[16];
        size_t n_digits = 0;
        for (uint32_t low = 0; low < 16; low++) {
            uint32_t code = half * 16 + low;
            if (!c->escaped[code] || short_escape(code) != 0) continue;
            uint16_t digit = (uint16_t) "0123456789abcdef"[low];
            digits[n_digits++] = (ds4_grammar_edge){digit, digit, false, c->next};
        }
        if (n_digits == 0) continue;
        uint32_t last = ds4_grammar_reserve(c->grammar);
        ds4_grammar_define(c->grammar, last, digits, n_digits, NULL, 0);
        uint16_t digit = (uint16_t)('0' + half);
        uint32_t node = ds4_grammar_symbol(c->grammar, digit, digit, last);
        node = ds4_grammar_literal(c->grammar, "00", 2, node);
        behind[n++] = (ds4_grammar_edge){'u', 'u', false, node};
    }
    for (uint32_t code = 0; code < 0x80; code++) {
        uint16_t letter = (uint16_t)(unsigned char)short_escape(code);
        if (c->escaped[code] && letter != 0)
            behind[n++] = (ds4_grammar_edge){letter, letter, false, c->next};
    }
    uint32_t node = ds4_grammar_reserve(c->grammar);
    ds4_grammar_define(c->grammar, node, behind, n, NULL, 0);
    add_edge(c, '\\', '\\', node);
}

uint32_t ds4_spell_characters(ds4_grammar *grammar, const ds4_char_range *ranges, size_t n,
                              ds4_spelling spelling, uint32_t next) {
    character_edges edges = {.grammar = grammar, .next = next};
    for (size_t i = 0; i < n; i++) add_range(&edges, ranges[i].low, ranges[i].high, spelling);
    if (edges.any_escaped) add_escapes(&edges);
    uint32_t node = ds4_grammar_reserve(grammar);
    ds4_grammar_define(grammar, node, edges.list, edges.n, NULL, 0);
    return node;
}

/* ---- literals ---- */

void ds4_spell_string(ds4_text text, ds4_strbuf *out) {
    for (size_t i = 0; i < text.n; i++) {
        unsigned char byte = (unsigned char)text.data[i];
        char letter = short_escape(byte);
        if (letter != 0)
            ds4_strbuf_printf(out, "\\%c", letter);
        else if (byte < 0x20)
            ds4_strbuf_printf(out, "\\u%04x", byte);
        else
            ds4_strbuf_putc(out, (char)byte);
    }
}

static int compare_texts(const void *a, const void *b) {
    const ds4_text *x = a, *y = b;
    size_t n = x->n < y->n ? x->n : y->n;
    int order = n > 0 ? memcmp(x->data, y->data, n) : 0;
    if (order != 0) return order;
    return x->n < y->n ? -1 : x->n > y->n;
}

/* How many of the sorted texts have the same byte as the first at `depth`. */
static size_t same_byte(const ds4_text *texts, size_t n, size_t depth) {
    size_t count = 1;
    while (count < n && texts[count].data[depth] == texts[0].data[depth]) count++;
    return count;
}

static int compare_choices(const void *a, const void *b) {
    return compare_texts(&((const ds4_choice *)a)->text, &((const ds4_choice *)b)->text);
}

/* The sorted choices agree in their first `depth` bytes. */
static uint32_t choice_node(ds4_grammar *g, const ds4_choice *choices, size_t n, size_t depth) {
    if (n == 1)
        return ds4_grammar_literal(g, choices[0].text.data + depth, choices[0].text.n - depth,
                                   choices[0].next);
    if (g->too_large || g->no_memory) return choices[0].next;
    ds4_grammar_edge edges[256];
    size_t n_edges = 0, n_ends = 0, i = 0;
    uint32_t ends[1] = {0};
    for (; i < n && choices[i].text.n == depth; i++) {
        ends[0] = choices[0].next;
        n_ends = 1;
    }
    while (i < n) {
        size_t same = 1;
        uint16_t byte = (unsigned char)choices[i].text.data[depth];
        while (i + same < n && (unsigned char)choices[i + same].text.data[depth] == byte) same++;
        uint32_t target = choice_node(g, choices + i, same, depth + 1);
        edges[n_edges++] = (ds4_grammar_edge){byte, byte, false, target};
        i += same;
    }
    uint32_t node = ds4_grammar_reserve(g);
    ds4_grammar_define(g, node, edges, n_edges, ends, n_ends);
    return node;
}

uint32_t ds4_spell_choice(ds4_grammar *g, ds4_choice *choices, size_t n) {
    if (n == 0) return ds4_grammar_branch(g, NULL, 0); /* nothing fits */
    qsort(choices, n, sizeof *choices, compare_choices);
    return choice_node(g, choices, n, 0);
}

/* ---- keys that are not declared ---- */

/* Between the u of a \u escape and its last digit. */
static bool in_escaped_code(ds4_text name, size_t depth, uint32_t plain) {
    if (plain == ds4_grammar_prelude.string) return false;
    for (size_t back = 1; back <= 4 && back < depth; back++)
        if (name.data[depth - back] == 'u' && name.data[depth - back - 1] == '\\') return true;
    return false;
}

/* The node behind `depth` bytes that all n names share. `plain` is the node of the free string rule
 * at the same place: whatever leaves the tree of names goes on there. An escape leaves it only when
 * it is canonical, so that no name comes in by another spelling. */
static uint32_t other_node(ds4_grammar *g, const ds4_text *names, size_t n, size_t depth,
                           uint32_t plain) {
    const uint32_t none = ds4_grammar_prelude.end;
    uint32_t targets[256];
    bool behind_backslash =
        depth > 0 && names[0].data[depth - 1] == '\\' && plain != ds4_grammar_prelude.string;
    bool in_code = in_escaped_code(names[0], depth, plain);
    for (unsigned byte = 0; byte < 256; byte++) {
        targets[byte] = ds4_grammar_string_step(g, plain, (unsigned char)byte);
        if (in_code || (behind_backslash && (byte == '/' || byte == 'u'))) targets[byte] = none;
    }
    size_t i = 0;
    if (names[0].n == depth) { /* a whole name: it may not end here */
        targets['"'] = none;
        i = 1;
    }
    if (plain == ds4_grammar_prelude.string && targets['\\'] != none) {
        /* No name has an escape here: any canonical one leads away. */
        static const char letters[] = "\"\\bfnrt";
        ds4_grammar_edge edges[sizeof letters];
        for (size_t e = 0; e + 1 < sizeof letters; e++)
            edges[e] = (ds4_grammar_edge){(uint16_t)letters[e], (uint16_t)letters[e], false,
                                          ds4_grammar_prelude.string};
        uint32_t escape = ds4_grammar_reserve(g);
        ds4_grammar_define(g, escape, edges, sizeof letters - 1, NULL, 0);
        targets['\\'] = escape;
    }
    while (i < n) {
        size_t same = same_byte(names + i, n - i, depth);
        unsigned char byte = (unsigned char)names[i].data[depth];
        uint32_t step = ds4_grammar_string_step(g, plain, byte);
        if (step != none) targets[byte] = other_node(g, names + i, same, depth + 1, step);
        i += same;
    }
    ds4_grammar_edge edges[256];
    size_t n_edges = 0;
    for (unsigned byte = 0; byte < 256;) {
        unsigned last = byte;
        while (last + 1 < 256 && targets[last + 1] == targets[byte]) last++;
        if (targets[byte] != none)
            edges[n_edges++] =
                (ds4_grammar_edge){(uint16_t)byte, (uint16_t)last, false, targets[byte]};
        byte = last + 1;
    }
    uint32_t node = ds4_grammar_reserve(g);
    ds4_grammar_define(g, node, edges, n_edges, NULL, 0);
    return node;
}

uint32_t ds4_spell_other_key(ds4_grammar *g, ds4_text *names, size_t n) {
    if (n == 0) return ds4_grammar_prelude.string;
    qsort(names, n, sizeof *names, compare_texts);
    return other_node(g, names, n, 0, ds4_grammar_prelude.string);
}
