/* The rules that every grammar begins with. Their node numbers are fixed: `ds4_grammar_prelude`
 * names them, and tests/unit/constraint/test_constraint.c compares it with what is built here. */
#include "constraint/grammar.h"

enum { INDENT = 24, INTEGER_DIGITS = 19, FRACTION_DIGITS = 17, EXPONENT_DIGITS = 2 };

/* In the order in which ds4_grammar_add_prelude reserves them. */
enum {
    RETURN,
    STRING,
    STRING_ESCAPE,
    STRING_HEX,   /* behind \u */
    STRING_HEX_D, /* behind \uD: not a surrogate, or the first of a pair */
    STRING_HEX_3, /* three more digits, then two, then one */
    STRING_HEX_2,
    STRING_HEX_1,
    STRING_PAIR_2, /* two digits of a first surrogate, one, then \uDC00 to \uDFFF */
    STRING_PAIR_1,
    STRING_PAIR_SLASH,
    STRING_PAIR_U,
    STRING_PAIR_D,
    STRING_PAIR_C,
    STRING_MORE_1, /* continuation bytes of UTF-8 */
    STRING_MORE_2,
    STRING_MORE_3,
    STRING_E0,
    STRING_ED,
    STRING_F0,
    STRING_F4,
    RAW,
    RAW_MORE_1,
    RAW_MORE_2,
    RAW_MORE_3,
    RAW_E0,
    RAW_ED,
    RAW_F0,
    RAW_F4,
    SPACE,
    SPACE_INDENT,
    NUMBER = SPACE_INDENT + INDENT + 1,
    NUMBER_DIGITS, /* behind the sign */
    NUMBER_TAIL,   /* behind a leading 0 */
    NUMBER_MORE,   /* INTEGER_DIGITS nodes: i digits were read, i >= 1 */
    NUMBER_POINT = NUMBER_MORE + INTEGER_DIGITS,
    NUMBER_FRACTION, /* FRACTION_DIGITS nodes */
    NUMBER_SIGN = NUMBER_FRACTION + FRACTION_DIGITS,
    NUMBER_EXPONENT,
    NUMBER_EXPONENT_MORE, /* EXPONENT_DIGITS nodes */
    INTEGER = NUMBER_EXPONENT_MORE + EXPONENT_DIGITS,
    INTEGER_FIRST,
    INTEGER_MORE, /* INTEGER_DIGITS nodes */
    VALUE = INTEGER_MORE + INTEGER_DIGITS,
    VALUE_STRING,
    VALUE_NUMBER,
    OBJECT,
    OBJECT_FIRST,
    OBJECT_FIRST_MEMBER,
    OBJECT_CLOSE,
    OBJECT_KEY,
    OBJECT_KEY_BODY,
    OBJECT_COLON,
    OBJECT_SPACE,
    OBJECT_VALUE,
    OBJECT_AFTER,
    OBJECT_COMMA,
    OBJECT_END,
    ARRAY,
    ARRAY_FIRST,
    ARRAY_FIRST_ELEMENT,
    ARRAY_ELEMENT,
    ARRAY_AFTER,
    ARRAY_COMMA,
    ARRAY_END,
    ARRAY_CLOSE,
    FIXED_END
};

#define TRUE_FALSE_NULL 13 /* literal nodes behind the fixed ones */

const ds4_prelude ds4_grammar_prelude = {.string = STRING,
                                         .raw = RAW,
                                         .space = SPACE,
                                         .number = NUMBER,
                                         .integer = INTEGER,
                                         .value = VALUE,
                                         .object = OBJECT,
                                         .end = FIXED_END + TRUE_FALSE_NULL};

#define EDGE(low, high, target)                                                                    \
    { low, high, false, target }
#define COUNTED(low, high, target)                                                                 \
    { low, high, true, target }
#define DEFINE(node, ...)                                                                          \
    do {                                                                                           \
        const ds4_grammar_edge list[] = {__VA_ARGS__};                                             \
        ds4_grammar_define(g, node, list, sizeof list / sizeof list[0], NULL, 0);                  \
    } while (0)

/* Well-formed UTF-8 behind a first byte (RFC 3629, section 4). */
static void define_utf8(ds4_grammar *g, uint32_t home, uint32_t more_1, uint32_t e0) {
    uint32_t more_2 = more_1 + 1, more_3 = more_1 + 2, ed = e0 + 1, f0 = e0 + 2, f4 = e0 + 3;
    DEFINE(more_1, EDGE(0x80, 0xBF, home));
    DEFINE(more_2, EDGE(0x80, 0xBF, more_1));
    DEFINE(more_3, EDGE(0x80, 0xBF, more_2));
    DEFINE(e0, EDGE(0xA0, 0xBF, more_1));
    DEFINE(ed, EDGE(0x80, 0x9F, more_1));
    DEFINE(f0, EDGE(0x90, 0xBF, more_2));
    DEFINE(f4, EDGE(0x80, 0x8F, more_2));
}

#define UTF8_EDGES(prefix)                                                                         \
    COUNTED(0xC2, 0xDF, prefix##_MORE_1), COUNTED(0xE0, 0xE0, prefix##_E0),                        \
        COUNTED(0xE1, 0xEC, prefix##_MORE_2), COUNTED(0xED, 0xED, prefix##_ED),                    \
        COUNTED(0xEE, 0xEF, prefix##_MORE_2), COUNTED(0xF0, 0xF0, prefix##_F0),                    \
        COUNTED(0xF1, 0xF3, prefix##_MORE_3), COUNTED(0xF4, 0xF4, prefix##_F4)

/* Surrogates only in pairs, so that every string is text and a pair is one character. */
static void add_string(ds4_grammar *g) {
    DEFINE(STRING, COUNTED(0x5D, 0x7F, STRING), COUNTED(0x23, 0x5B, STRING),
           COUNTED(0x20, 0x21, STRING), EDGE('"', '"', RETURN), COUNTED('\\', '\\', STRING_ESCAPE),
           UTF8_EDGES(STRING));
    DEFINE(STRING_ESCAPE, EDGE('"', '"', STRING), EDGE('\\', '\\', STRING), EDGE('/', '/', STRING),
           EDGE('b', 'b', STRING), EDGE('f', 'f', STRING), EDGE('n', 'n', STRING),
           EDGE('r', 'r', STRING), EDGE('t', 't', STRING), EDGE('u', 'u', STRING_HEX));
    DEFINE(STRING_HEX, EDGE('0', '9', STRING_HEX_3), EDGE('a', 'c', STRING_HEX_3),
           EDGE('e', 'f', STRING_HEX_3), EDGE('A', 'C', STRING_HEX_3), EDGE('E', 'F', STRING_HEX_3),
           EDGE('d', 'd', STRING_HEX_D), EDGE('D', 'D', STRING_HEX_D));
    DEFINE(STRING_HEX_D, EDGE('0', '7', STRING_HEX_2), EDGE('8', '9', STRING_PAIR_2),
           EDGE('a', 'b', STRING_PAIR_2), EDGE('A', 'B', STRING_PAIR_2));
#define HEX(target) EDGE('0', '9', target), EDGE('a', 'f', target), EDGE('A', 'F', target)
    DEFINE(STRING_HEX_3, HEX(STRING_HEX_2));
    DEFINE(STRING_HEX_2, HEX(STRING_HEX_1));
    DEFINE(STRING_HEX_1, HEX(STRING));
    DEFINE(STRING_PAIR_2, HEX(STRING_PAIR_1));
    DEFINE(STRING_PAIR_1, HEX(STRING_PAIR_SLASH));
    DEFINE(STRING_PAIR_SLASH, EDGE('\\', '\\', STRING_PAIR_U));
    DEFINE(STRING_PAIR_U, EDGE('u', 'u', STRING_PAIR_D));
    DEFINE(STRING_PAIR_D, EDGE('d', 'd', STRING_PAIR_C), EDGE('D', 'D', STRING_PAIR_C));
    DEFINE(STRING_PAIR_C, EDGE('c', 'f', STRING_HEX_2), EDGE('C', 'F', STRING_HEX_2));
#undef HEX
    define_utf8(g, STRING, STRING_MORE_1, STRING_E0);
}

/* Any text. A < may be text, or begin the closing tag, which the caller goes on with. */
static void add_raw(ds4_grammar *g) {
    DEFINE(RAW, COUNTED(0x00, 0x7F, RAW), EDGE('<', '<', RETURN), UTF8_EDGES(RAW));
    define_utf8(g, RAW, RAW_MORE_1, RAW_E0);
}

static void add_space(ds4_grammar *g) {
    const uint32_t done[] = {RETURN};
    const ds4_grammar_edge first[] = {EDGE(' ', ' ', RETURN), EDGE('\n', '\n', SPACE_INDENT)};
    ds4_grammar_define(g, SPACE, first, 2, done, 1);
    for (uint32_t i = 0; i <= INDENT; i++) {
        const ds4_grammar_edge deeper[] = {EDGE(' ', ' ', SPACE_INDENT + i + 1),
                                           EDGE('\t', '\t', SPACE_INDENT + i + 1)};
        ds4_grammar_define(g, SPACE_INDENT + i, deeper, i < INDENT ? 2 : 0, done, 1);
    }
}

/* The lengths are bounded so that a model cannot write digits for ever, and that every number is
 * finite: less than 1e19 before an exponent of at most 99. */
static void add_number(ds4_grammar *g) {
    const uint32_t done[] = {RETURN};
    DEFINE(NUMBER, EDGE('-', '-', NUMBER_DIGITS), EDGE('0', '0', NUMBER_TAIL),
           EDGE('1', '9', NUMBER_MORE));
    DEFINE(NUMBER_DIGITS, EDGE('0', '0', NUMBER_TAIL), EDGE('1', '9', NUMBER_MORE));
#define EXPONENT EDGE('e', 'e', NUMBER_SIGN), EDGE('E', 'E', NUMBER_SIGN)
    const ds4_grammar_edge tail[] = {EDGE('.', '.', NUMBER_POINT), EXPONENT};
    ds4_grammar_define(g, NUMBER_TAIL, tail, 3, done, 1);
    for (uint32_t i = 0; i < INTEGER_DIGITS; i++) {
        const ds4_grammar_edge more[] = {EDGE('.', '.', NUMBER_POINT), EXPONENT,
                                         EDGE('0', '9', NUMBER_MORE + i + 1)};
        ds4_grammar_define(g, NUMBER_MORE + i, more, i + 1 < INTEGER_DIGITS ? 4 : 3, done, 1);
    }
    DEFINE(NUMBER_POINT, EDGE('0', '9', NUMBER_FRACTION));
    for (uint32_t i = 0; i < FRACTION_DIGITS; i++) {
        const ds4_grammar_edge more[] = {EXPONENT, EDGE('0', '9', NUMBER_FRACTION + i + 1)};
        ds4_grammar_define(g, NUMBER_FRACTION + i, more, i + 1 < FRACTION_DIGITS ? 3 : 2, done, 1);
    }
#undef EXPONENT
    DEFINE(NUMBER_SIGN, EDGE('+', '+', NUMBER_EXPONENT), EDGE('-', '-', NUMBER_EXPONENT),
           EDGE('0', '9', NUMBER_EXPONENT_MORE));
    DEFINE(NUMBER_EXPONENT, EDGE('0', '9', NUMBER_EXPONENT_MORE));
    for (uint32_t i = 0; i < EXPONENT_DIGITS; i++) {
        const ds4_grammar_edge more[] = {EDGE('0', '9', NUMBER_EXPONENT_MORE + i + 1)};
        ds4_grammar_define(g, NUMBER_EXPONENT_MORE + i, more, i + 1 < EXPONENT_DIGITS ? 1 : 0, done,
                           1);
    }
}

static void add_integer(ds4_grammar *g) {
    const uint32_t done[] = {RETURN};
    DEFINE(INTEGER, EDGE('-', '-', INTEGER_FIRST), EDGE('0', '0', RETURN),
           EDGE('1', '9', INTEGER_MORE));
    DEFINE(INTEGER_FIRST, EDGE('1', '9', INTEGER_MORE));
    for (uint32_t i = 0; i < INTEGER_DIGITS; i++) {
        const ds4_grammar_edge more[] = {EDGE('0', '9', INTEGER_MORE + i + 1)};
        ds4_grammar_define(g, INTEGER_MORE + i, more, i + 1 < INTEGER_DIGITS ? 1 : 0, done, 1);
    }
}

static void call(ds4_grammar *g, uint32_t node, uint32_t callee, uint32_t next) {
    ds4_grammar_define_call(g, node, callee, 0, DS4_GRAMMAR_NO_LIMIT, next);
}

static void go(ds4_grammar *g, uint32_t node, uint32_t first, uint32_t second) {
    ds4_grammar_define(g, node, NULL, 0, (const uint32_t[]){first, second}, 2);
}

static void add_value(ds4_grammar *g) {
    uint32_t words[3] = {ds4_grammar_literal(g, "true", 4, RETURN),
                         ds4_grammar_literal(g, "false", 5, RETURN),
                         ds4_grammar_literal(g, "null", 4, RETURN)};
    const uint32_t kinds[] = {VALUE_NUMBER, OBJECT, ARRAY, words[0], words[1], words[2]};
    const ds4_grammar_edge quote[] = {EDGE('"', '"', VALUE_STRING)};
    ds4_grammar_define(g, VALUE, quote, 1, kinds, 6);
    call(g, VALUE_STRING, STRING, RETURN);
    call(g, VALUE_NUMBER, NUMBER, RETURN);
    DEFINE(OBJECT, EDGE('{', '{', OBJECT_FIRST));
    call(g, OBJECT_FIRST, SPACE, OBJECT_FIRST_MEMBER);
    go(g, OBJECT_FIRST_MEMBER, OBJECT_KEY, OBJECT_END);
    DEFINE(OBJECT_KEY, EDGE('"', '"', OBJECT_KEY_BODY));
    call(g, OBJECT_KEY_BODY, STRING, OBJECT_COLON);
    DEFINE(OBJECT_COLON, EDGE(':', ':', OBJECT_SPACE));
    call(g, OBJECT_SPACE, SPACE, OBJECT_VALUE);
    call(g, OBJECT_VALUE, VALUE, OBJECT_AFTER);
    const ds4_grammar_edge comma[] = {EDGE(',', ',', OBJECT_COMMA)};
    ds4_grammar_define(g, OBJECT_AFTER, comma, 1, (const uint32_t[]){OBJECT_CLOSE}, 1);
    call(g, OBJECT_COMMA, SPACE, OBJECT_KEY);
    call(g, OBJECT_CLOSE, SPACE, OBJECT_END);
    DEFINE(OBJECT_END, EDGE('}', '}', RETURN));
    DEFINE(ARRAY, EDGE('[', '[', ARRAY_FIRST));
    call(g, ARRAY_FIRST, SPACE, ARRAY_FIRST_ELEMENT);
    go(g, ARRAY_FIRST_ELEMENT, ARRAY_ELEMENT, ARRAY_END);
    call(g, ARRAY_ELEMENT, VALUE, ARRAY_AFTER);
    const ds4_grammar_edge next[] = {EDGE(',', ',', ARRAY_COMMA)};
    ds4_grammar_define(g, ARRAY_AFTER, next, 1, (const uint32_t[]){ARRAY_CLOSE}, 1);
    call(g, ARRAY_COMMA, SPACE, ARRAY_ELEMENT);
    call(g, ARRAY_CLOSE, SPACE, ARRAY_END);
    DEFINE(ARRAY_END, EDGE(']', ']', RETURN));
}

void ds4_grammar_add_prelude(ds4_grammar *g) {
    for (uint32_t i = 0; i < FIXED_END; i++) {
        if (i == RETURN)
            ds4_grammar_return(g);
        else
            ds4_grammar_reserve(g);
    }
    add_string(g);
    add_raw(g);
    add_space(g);
    add_number(g);
    add_integer(g);
    add_value(g);
}

uint32_t ds4_grammar_string_step(const ds4_grammar *g, uint32_t node, unsigned char byte) {
    const ds4_grammar_node *n = &g->nodes[node];
    for (uint32_t i = 0; i < n->n_edges; i++) {
        const ds4_grammar_edge *edge = &g->edges[n->edge + i];
        if (byte >= edge->low && byte <= edge->high) return edge->target;
    }
    return ds4_grammar_prelude.end;
}
