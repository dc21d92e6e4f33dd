#include "chat/dsml.h"

#include <string.h>

static const char AMP[] = "amp;";
static const char TAIL[] = "lt;/" DS4_DSML_WORD "parameter>";

static bool starts_with(const char *at, const char *end, const char *prefix, size_t n) {
    return (size_t)(end - at) >= n && memcmp(at, prefix, n) == 0;
}

void ds4_dsml_escape_attribute(ds4_text value, ds4_strbuf *out) {
    for (size_t i = 0; i < value.n; i++) {
        switch (value.data[i]) {
        case '&':
            ds4_strbuf_puts(out, "&amp;");
            break;
        case '<':
            ds4_strbuf_puts(out, "&lt;");
            break;
        case '>':
            ds4_strbuf_puts(out, "&gt;");
            break;
        case '"':
            ds4_strbuf_puts(out, "&quot;");
            break;
        default:
            ds4_strbuf_putc(out, value.data[i]);
        }
    }
}

void ds4_dsml_unescape_attribute(ds4_text value, ds4_strbuf *out) {
    if (value.n == 0) return;
    static const struct {
        const char *entity;
        char byte;
    } entities[] = {
        {"&amp;", '&'}, {"&lt;", '<'}, {"&gt;", '>'}, {"&quot;", '"'}, {"&apos;", '\''}};
    const size_t n_entities = sizeof entities / sizeof entities[0];
    const char *at = value.data, *end = value.data + value.n;
    while (at < end) {
        size_t found = n_entities;
        for (size_t i = 0; *at == '&' && i < n_entities; i++)
            if (starts_with(at, end, entities[i].entity, strlen(entities[i].entity))) found = i;
        if (found < n_entities) {
            ds4_strbuf_putc(out, entities[found].byte);
            at += strlen(entities[found].entity);
        } else {
            ds4_strbuf_putc(out, *at++);
        }
    }
}

void ds4_dsml_escape_string(ds4_text value, ds4_strbuf *out) {
    if (value.n == 0) return;
    const char *at = value.data, *end = value.data + value.n;
    for (; at < end; at++) {
        if (*at == '<' &&
            starts_with(at, end, DS4_DSML_PARAMETER_CLOSE, sizeof DS4_DSML_PARAMETER_CLOSE - 1)) {
            ds4_strbuf_puts(out, "&lt;");
            continue;
        }
        ds4_strbuf_putc(out, *at);
        if (*at != '&') continue;
        const char *piece = at + 1;
        while (starts_with(piece, end, AMP, sizeof AMP - 1)) piece += sizeof AMP - 1;
        if (starts_with(piece, end, TAIL, sizeof TAIL - 1)) ds4_strbuf_puts(out, AMP);
    }
}

void ds4_dsml_unescape_end(ds4_dsml_unescaper *state, ds4_strbuf *out) {
    if (state->stage > 0) ds4_strbuf_putc(out, '&');
    for (size_t i = 0; i < state->n_amp; i++) ds4_strbuf_puts(out, AMP);
    ds4_strbuf_append(out, state->stage == 2 ? AMP : TAIL, state->matched);
    *state = (ds4_dsml_unescaper){0};
}

/* The whole escaped tag was read: one level of escaping less. */
static void unescape_tag(ds4_dsml_unescaper *state, ds4_strbuf *out) {
    if (state->n_amp == 0) {
        ds4_strbuf_puts(out, DS4_DSML_PARAMETER_CLOSE);
        *state = (ds4_dsml_unescaper){0};
    } else {
        state->n_amp--;
        ds4_dsml_unescape_end(state, out);
    }
}

void ds4_dsml_unescape_byte(ds4_dsml_unescaper *state, char byte, ds4_strbuf *out) {
    if (state->stage == 1 && (byte == 'a' || byte == 'l')) {
        state->stage = byte == 'a' ? 2 : 3;
        state->matched = 1;
        return;
    }
    if (state->stage == 2 && byte == AMP[state->matched]) {
        if (++state->matched == sizeof AMP - 1) {
            state->n_amp++;
            state->stage = 1;
            state->matched = 0;
        }
        return;
    }
    if (state->stage == 3 && byte == TAIL[state->matched]) {
        if (++state->matched == sizeof TAIL - 1) unescape_tag(state, out);
        return;
    }
    ds4_dsml_unescape_end(state, out);
    if (byte == '&') {
        state->stage = 1;
    } else {
        ds4_strbuf_putc(out, byte);
    }
}

void ds4_dsml_escape_json(ds4_json_value value, ds4_strbuf *out) {
    ds4_strbuf minified = {0};
    ds4_json_minify(value, &minified);
    const size_t n_tag = sizeof DS4_DSML_PARAMETER_CLOSE - 1;
    for (size_t i = 0; i < minified.n; i++) {
        const char *at = minified.data + i;
        if (*at == '<' &&
            starts_with(at, minified.data + minified.n, DS4_DSML_PARAMETER_CLOSE, n_tag)) {
            ds4_strbuf_puts(out, "\\u003c");
        } else {
            ds4_strbuf_putc(out, *at);
        }
    }
    if (minified.failed) out->failed = true;
    ds4_strbuf_free(&minified);
}
