#include <string.h>

#include "chat/parse_internal.h"

static const char UNTERMINATED[] = "unterminated tool call";
static const char MALFORMED[] = "malformed tool call";

/* ---- attributes ---- */

/* p->tag's text behind its word and before its >. */
static void collect_attributes(ds4_parser *p, const char *word) {
    ds4_strbuf_clear(&p->attributes);
    for (size_t i = 0; i + 1 < p->n_tag; i++) ds4_symbol_spell(p->tag[i], &p->attributes);
    const char *at = p->attributes.n > 0 ? strstr(p->attributes.data, word) : NULL;
    size_t skip = at != NULL ? (size_t)(at - p->attributes.data) + strlen(word) : p->attributes.n;
    memmove(p->attributes.data, p->attributes.data + skip, p->attributes.n - skip);
    p->attributes.n -= skip;
}

/* The next name="value"; false at the end, and with *bad set at anything else. */
static bool next_attribute(const ds4_strbuf *text, size_t *at, ds4_text *name, ds4_text *value,
                           bool *bad) {
    const char *s = text->data;
    while (*at < text->n && ds4_symbol_is_space((unsigned char)s[*at])) (*at)++;
    if (*at == text->n) return false;
    *bad = true;
    size_t begin = *at;
    while (*at < text->n && s[*at] != '=' && s[*at] != '"') (*at)++;
    if (text->n - *at < 2 || s[*at] != '=' || s[*at + 1] != '"') return false;
    *name = (ds4_text){s + begin, *at - begin};
    *at += 2;
    begin = *at;
    while (*at < text->n && s[*at] != '"') (*at)++;
    if (*at == text->n) return false;
    *value = (ds4_text){s + begin, *at - begin};
    (*at)++;
    *bad = false;
    return true;
}

/* Reads `name` and `string` (data NULL when absent; the first of duplicates counts). False when
 * malformed. */
static bool read_attributes(ds4_parser *p, const char *word, ds4_text *name, ds4_text *string) {
    *name = *string = (ds4_text){NULL, 0};
    collect_attributes(p, word);
    if (p->attributes.failed) return false;
    size_t at = 0;
    bool bad = false;
    ds4_text key, value;
    while (next_attribute(&p->attributes, &at, &key, &value, &bad)) {
        if (ds4_text_equals(key, "name") && name->data == NULL) *name = value;
        if (ds4_text_equals(key, "string") && string->data == NULL) *string = value;
    }
    return !bad;
}

/* ---- failing ---- */

/* Nothing was announced: what looked like a block is text, and the symbols of the tag that did not
 * fit may begin a real one. White space at the end of the text waits again. */
static void turn_into_text(ds4_parser *p) {
    ds4_symbol tag[DS4_TAG_LIMIT];
    size_t n_tag = p->n_tag, n_raw = p->raw_before_tag, n_text = n_raw;
    memcpy(tag, p->tag, n_tag * sizeof tag[0]);
    while (n_text > 0 && ds4_symbol_is_space((unsigned char)p->raw.data[n_text - 1])) n_text--;
    p->n_tag = 0;
    p->state = DS4_STATE_TEXT;
    bool stop = ds4_emit_content(p, p->separator.data, p->separator.n) ||
                ds4_emit_content(p, p->raw.data, n_text);
    ds4_strbuf_clear(&p->separator);
    ds4_strbuf_append(&p->separator, p->raw.data + n_text, n_raw - n_text);
    p->line_start = n_raw > n_text && p->raw.data[n_raw - 1] == '\n';
    ds4_strbuf_clear(&p->raw);
    if (stop) {
        ds4_parser_end(p, DS4_FINISH_STOP);
        return;
    }
    for (size_t i = 0; i < n_tag && p->state != DS4_STATE_DONE; i++)
        ds4_parser_text_symbol(p, tag[i]);
}

static void fail(ds4_parser *p, const char *why) {
    if (p->state == DS4_STATE_OPENED) {
        turn_into_text(p);
        return;
    }
    p->malformed = why;
    if (p->state == DS4_STATE_INVOKE || p->state == DS4_STATE_VALUE) ds4_emit_call_end(p);
    p->state = DS4_STATE_FAILED;
    p->n_tag = 0;
}

/* ---- what tags do ---- */

void ds4_parser_block_begin(ds4_parser *p, ds4_dialect dialect) {
    p->dialect = dialect;
    p->state = DS4_STATE_OPENED;
    for (size_t i = 0; i < p->n_tag; i++) ds4_symbol_spell(p->tag[i], &p->raw);
    p->n_tag = 0;
}

static void invoke_begin(ds4_parser *p) {
    ds4_text name, string;
    if (!read_attributes(p, "invoke", &name, &string) || name.n == 0) {
        fail(p, MALFORMED);
        return;
    }
    ds4_strbuf_clear(&p->scratch);
    ds4_dsml_unescape_attribute(name, &p->scratch);
    ds4_strbuf_clear(&p->key); /* holds the name meanwhile */
    ds4_detokenizer gate = {0};
    ds4_detokenizer_push_bytes(&gate, p->scratch.data, p->scratch.n, &p->key);
    ds4_detokenizer_finish(&gate, &p->key);
    ds4_emit_content_end(p);
    ds4_emit_call_begin(p, (ds4_text){p->key.data, p->key.n});
    p->n_tag = 0;
    p->state = DS4_STATE_INVOKE;
}

static void value_begin(ds4_parser *p, ds4_value_kind kind) {
    p->value_kind = kind;
    p->json_in_string = p->json_escaped = false;
    ds4_strbuf_clear(&p->value);
    p->state = DS4_STATE_VALUE;
    if (kind != DS4_VALUE_STRING) return;
    ds4_emit_key(p);
    ds4_emit_string_begin(p);
}

static void parameter_begin(ds4_parser *p) {
    ds4_text name, string;
    if (!read_attributes(p, "parameter", &name, &string) || name.data == NULL) {
        fail(p, MALFORMED);
        return;
    }
    ds4_strbuf_clear(&p->scratch);
    ds4_dsml_unescape_attribute(name, &p->scratch);
    ds4_strbuf_clear(&p->value);
    ds4_detokenizer gate = {0};
    ds4_detokenizer_push_bytes(&gate, p->scratch.data, p->scratch.n, &p->value);
    ds4_detokenizer_finish(&gate, &p->value);
    ds4_strbuf_clear(&p->key);
    ds4_json_escape(p->value.data, p->value.n, &p->key);
    p->n_tag = 0;
    if (string.data == NULL) {
        value_begin(p, p->nested ? DS4_VALUE_STRING : DS4_VALUE_UNTYPED);
    } else {
        value_begin(p, ds4_text_equals(string, "true") ? DS4_VALUE_STRING : DS4_VALUE_JSON);
    }
}

/* An untyped value turns out to be a string: what waited is its beginning. */
static void untyped_is_string(ds4_parser *p) {
    p->value_kind = DS4_VALUE_STRING;
    ds4_emit_key(p);
    ds4_emit_string_begin(p);
    for (size_t i = 0; i < p->value.n; i++) ds4_emit_string_byte(p, p->value.data[i]);
}

static void value_end(ds4_parser *p) {
    if (p->value_kind == DS4_VALUE_UNTYPED) untyped_is_string(p);
    if (p->value_kind == DS4_VALUE_STRING) {
        ds4_emit_string_end(p);
    } else {
        ds4_emit_key(p);
        ds4_emit_json_value(p);
    }
    p->n_tag = 0;
    p->state = DS4_STATE_INVOKE;
}

/* A parameter inside an untyped one: that one is an object. */
static void nested_begin(ds4_parser *p) {
    ds4_emit_key(p);
    ds4_emit_arguments(p, "{");
    p->nested = true;
    p->n_leaves = 0;
    parameter_begin(p);
}

static void nested_end(ds4_parser *p) {
    ds4_emit_arguments(p, "}");
    p->nested = false;
    p->n_tag = 0;
}

static void block_close(ds4_parser *p) {
    p->n_tag = 0;
    ds4_emit_content_end(p);
    ds4_parser_end(p, p->call_index > 0 ? DS4_FINISH_TOOL_CALLS : DS4_FINISH_STOP);
}

static void invoke_end(ds4_parser *p) {
    ds4_emit_call_end(p);
    p->n_tag = 0;
    p->state = DS4_STATE_BLOCK;
    if (p->options.single_call) block_close(p);
}

/* ---- symbols ---- */

typedef struct tag_rule {
    bool closing;
    const char *word;
    void (*act)(ds4_parser *p);
} tag_rule;

/* The tags that may stand here. */
static size_t rules_here(const ds4_parser *p, tag_rule rules[3]) {
    size_t n = 0;
    if (p->state == DS4_STATE_OPENED || p->state == DS4_STATE_BLOCK) {
        rules[n++] = (tag_rule){false, "invoke", invoke_begin};
        /* An empty block is one only when the control token says so: prose may well mention
         * <tool_calls></tool_calls>. */
        if (p->state == DS4_STATE_BLOCK || p->dialect == DS4_DIALECT_FULL)
            rules[n++] = (tag_rule){true, "tool_calls", block_close};
    } else if (p->state == DS4_STATE_INVOKE) {
        rules[n++] = (tag_rule){false, "parameter", parameter_begin};
        rules[n++] = (tag_rule){true, "invoke", invoke_end};
        if (p->nested) rules[n++] = (tag_rule){true, "parameter", nested_end};
    } else {
        rules[n++] = (tag_rule){true, "parameter", value_end};
        if (p->value_kind == DS4_VALUE_UNTYPED)
            rules[n++] = (tag_rule){false, "parameter", nested_begin};
    }
    return n;
}

/* Adds s to the tag. PARTIAL: wait; WHOLE: the tag did its work; NO: s does not fit, the tag is as
 * it was. */
static ds4_tag_match tag_symbol(ds4_parser *p, ds4_symbol s) {
    if (p->n_tag == DS4_TAG_LIMIT) return DS4_TAG_NO;
    tag_rule rules[3];
    size_t n_rules = rules_here(p, rules);
    p->tag[p->n_tag++] = s;
    bool partial = false;
    for (size_t i = 0; i < n_rules; i++) {
        ds4_tag_match match =
            ds4_parser_match_tag(p, p->dialect, rules[i].closing, rules[i].word, !rules[i].closing);
        if (match == DS4_TAG_WHOLE) {
            rules[i].act(p);
            return DS4_TAG_WHOLE;
        }
        partial = partial || match == DS4_TAG_PARTIAL;
    }
    if (partial) return DS4_TAG_PARTIAL;
    p->n_tag--;
    return DS4_TAG_NO;
}

static void json_byte(ds4_parser *p, char byte) {
    ds4_strbuf_putc(&p->value, byte);
    if (p->json_escaped) {
        p->json_escaped = false;
    } else if (byte == '"') {
        p->json_in_string = !p->json_in_string;
    } else {
        p->json_escaped = p->json_in_string && byte == '\\';
    }
}

/* A symbol that belongs to a value. */
static void value_symbol(ds4_parser *p, ds4_symbol s) {
    char spelled[32];
    size_t n = 1;
    if (s < DS4_SYMBOL_CONTROL) {
        spelled[0] = (char)(unsigned char)s;
    } else {
        const char *spelling = ds4_control_spelling((ds4_control)(s - DS4_SYMBOL_CONTROL));
        n = strlen(spelling);
        memcpy(spelled, spelling, n);
    }
    if (p->value_kind == DS4_VALUE_UNTYPED) {
        if (n == 1 && ds4_symbol_is_space(s)) {
            ds4_strbuf_putc(&p->value, spelled[0]);
            return;
        }
        untyped_is_string(p);
    }
    for (size_t i = 0; i < n; i++) {
        if (p->value_kind == DS4_VALUE_JSON) {
            json_byte(p, spelled[i]);
        } else {
            ds4_emit_string_byte(p, spelled[i]);
        }
    }
}

/* The tag that was begun is none: its symbols belong to the value. */
static void tag_into_value(ds4_parser *p) {
    size_t n = p->n_tag;
    p->n_tag = 0;
    for (size_t i = 0; i < n; i++) value_symbol(p, p->tag[i]);
}

static void structure_symbol(ds4_parser *p, ds4_symbol s) {
    if (p->n_tag > 0 || s == '<') {
        if (tag_symbol(p, s) != DS4_TAG_NO) return;
        if (p->state == DS4_STATE_VALUE) {
            tag_into_value(p);
            structure_symbol(p, s); /* no tag now: goes one deep */
            return;
        }
        fail(p, MALFORMED);
    } else if (p->state == DS4_STATE_VALUE) {
        value_symbol(p, s);
    } else if (!ds4_symbol_is_space(s)) {
        fail(p, MALFORMED);
    }
    if (p->state == DS4_STATE_TEXT) ds4_parser_text_symbol(p, s);
}

void ds4_parser_block_symbol(ds4_parser *p, ds4_symbol s) {
    if (p->n_tag == 0) p->raw_before_tag = p->raw.n;
    ds4_symbol_spell(
        s, &p->raw); /* first, so that the block is whole when its last tag ends the output */
    if (p->state != DS4_STATE_FAILED) structure_symbol(p, s);
}

/* ---- the end ---- */

/* What stands at the end can only be the beginning of closing tags. */
static bool only_closing_left(const ds4_parser *p) {
    return p->n_tag <= 1 || p->tag[1] == '/';
}

ds4_finish ds4_parser_block_end(ds4_parser *p, ds4_finish cause) {
    if (p->state == DS4_STATE_OPENED) {
        ds4_strbuf text = p->raw;
        p->raw = (ds4_strbuf){0};
        bool stop = ds4_emit_content(p, p->separator.data, p->separator.n) ||
                    ds4_emit_content(p, text.data, text.n);
        ds4_strbuf_free(&text);
        ds4_strbuf_clear(&p->separator);
        ds4_emit_content_end(p);
        return stop ? DS4_FINISH_STOP : cause;
    }
    if (p->state == DS4_STATE_FAILED) return cause;
    /* A model that ended its turn behind a parameter had said all; one that ran out of tokens may
     * have had more. */
    bool whole = p->state == DS4_STATE_BLOCK ||
                 (p->state == DS4_STATE_INVOKE && p->n_members > 0 && cause == DS4_FINISH_STOP);
    if (!whole || !only_closing_left(p)) {
        fail(p, UNTERMINATED);
        return cause;
    }
    if (p->state == DS4_STATE_INVOKE) ds4_emit_call_end(p);
    p->repaired = true;
    return DS4_FINISH_TOOL_CALLS;
}
