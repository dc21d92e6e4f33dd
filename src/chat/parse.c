#include "chat/parse.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "chat/parse_internal.h"

const char *ds4_finish_name(ds4_finish finish) {
    switch (finish) {
    case DS4_FINISH_STOP:
        return "stop";
    case DS4_FINISH_LENGTH:
        return "length";
    case DS4_FINISH_TOOL_CALLS:
        return "tool_calls";
    case DS4_FINISH_NONE:
        break;
    }
    return NULL;
}

ds4_status ds4_parser_create(const ds4_parser_options *options, ds4_parser **parser,
                             ds4_error *error) {
    ds4_parser *p = calloc(1, sizeof *p);
    if (p == NULL) return ds4_fail_memory(error, sizeof *p, "the output parser");
    p->options = *options;
    p->options.stops = NULL; /* the caller's; the matcher has copies */
    p->options.n_stops = 0;
    ds4_status status = ds4_stop_matcher_create(&p->stops, options->stops, options->n_stops, error);
    if (status != DS4_OK) {
        ds4_parser_destroy(p);
        return status;
    }
    p->state = options->thinking ? DS4_STATE_THINKING : DS4_STATE_TEXT;
    p->at_start = options->thinking;
    p->line_start = true;
    *parser = p;
    return DS4_OK;
}

void ds4_parser_destroy(ds4_parser *p) {
    if (p == NULL) return;
    ds4_stop_matcher_free(&p->stops);
    ds4_strbuf *buffers[] = {&p->separator, &p->raw,     &p->key,       &p->value,
                             &p->delta,     &p->scratch, &p->attributes};
    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++) ds4_strbuf_free(buffers[i]);
    free(p);
}

void ds4_parser_end(ds4_parser *p, ds4_finish finish) {
    p->finish = finish;
    ds4_emit_finish(p);
    p->state = DS4_STATE_DONE;
}

/* ---- tags ---- */

ds4_tag_match ds4_parser_match_tag(const ds4_parser *p, ds4_dialect dialect, bool closing,
                                   const char *word, bool attributes) {
    ds4_symbol literal[48];
    size_t n = 0;
    literal[n++] = '<';
    if (closing) literal[n++] = '/';
    if (dialect == DS4_DIALECT_FULL) literal[n++] = DS4_SYMBOL_CONTROL + DS4_CONTROL_DSML;
    if (dialect == DS4_DIALECT_SHORT)
        for (const char *at = &DS4_DSML_WORD[3]; *at != '\0'; at++)
            literal[n++] = (unsigned char)*at;
    for (const char *at = word; *at != '\0'; at++) literal[n++] = (unsigned char)*at;
    if (!attributes) literal[n++] = '>';

    size_t n_compare = p->n_tag < n ? p->n_tag : n;
    if (memcmp(p->tag, literal, n_compare * sizeof literal[0]) != 0) return DS4_TAG_NO;
    if (p->n_tag < n) return DS4_TAG_PARTIAL;
    if (!attributes) return p->n_tag == n ? DS4_TAG_WHOLE : DS4_TAG_NO;
    if (p->n_tag == n) return DS4_TAG_PARTIAL;
    if (p->tag[n] != '>' && !ds4_symbol_is_space(p->tag[n])) return DS4_TAG_NO;
    return p->tag[p->n_tag - 1] == '>' ? DS4_TAG_WHOLE : DS4_TAG_PARTIAL;
}

/* The first tag of a block. Without the control token it counts only at the beginning of a line:
 * prose, and answers about markup, mention tags. */
static ds4_tag_match match_open_tag(const ds4_parser *p, ds4_dialect *dialect) {
    bool partial = false;
    for (int d = DS4_DIALECT_FULL; d < DS4_DIALECT_COUNT; d++) {
        if (d != DS4_DIALECT_FULL && !p->line_start) break;
        ds4_tag_match match = ds4_parser_match_tag(p, (ds4_dialect)d, false, "tool_calls", false);
        if (match == DS4_TAG_WHOLE) {
            *dialect = (ds4_dialect)d;
            return DS4_TAG_WHOLE;
        }
        partial = partial || match == DS4_TAG_PARTIAL;
    }
    return partial ? DS4_TAG_PARTIAL : DS4_TAG_NO;
}

/* ---- thinking and content ---- */

static void content_symbol(ds4_parser *p, ds4_symbol s) {
    char byte = (char)(unsigned char)s;
    const char *bytes = &byte;
    size_t n = 1;
    if (s >= DS4_SYMBOL_CONTROL) {
        bytes = ds4_control_spelling((ds4_control)(s - DS4_SYMBOL_CONTROL));
        n = strlen(bytes);
    }
    bool stop = ds4_emit_content(p, p->separator.data, p->separator.n);
    ds4_strbuf_clear(&p->separator);
    if (stop || ds4_emit_content(p, bytes, n)) ds4_parser_end(p, DS4_FINISH_STOP);
}

/* The tag that was begun is none: its symbols are content. */
static void tag_into_content(ds4_parser *p) {
    size_t n = p->n_tag;
    p->n_tag = 0;
    for (size_t i = 0; i < n && p->state == DS4_STATE_TEXT; i++) content_symbol(p, p->tag[i]);
    p->line_start = false;
}

void ds4_parser_text_symbol(ds4_parser *p, ds4_symbol s) {
    if (p->state !=
        DS4_STATE_TEXT) { /* a tag that was fed again opened a block, or a stop sequence was met */
        if (p->state != DS4_STATE_DONE) ds4_parser_block_symbol(p, s);
        return;
    }
    if (!p->options.tools_active) {
        content_symbol(p, s);
        return;
    }
    if (p->n_tag > 0) {
        ds4_dialect dialect;
        p->tag[p->n_tag++] = s;
        ds4_tag_match match = match_open_tag(p, &dialect);
        if (match == DS4_TAG_WHOLE) ds4_parser_block_begin(p, dialect);
        if (match != DS4_TAG_NO) return;
        p->n_tag--;
        tag_into_content(p);
        if (p->state != DS4_STATE_TEXT) return;
    }
    if (s == '<') {
        p->tag[p->n_tag++] = s;
    } else if (ds4_symbol_is_space(s)) {
        ds4_strbuf_putc(&p->separator, (char)s);
        p->line_start = s == '\n';
    } else {
        content_symbol(p, s);
        p->line_start = false;
    }
}

static void symbol(ds4_parser *p, ds4_symbol s) {
    switch (p->state) {
    case DS4_STATE_THINKING:
        if (s == DS4_SYMBOL_CONTROL + DS4_CONTROL_THINK_END) {
            p->state = DS4_STATE_TEXT;
        } else if (!p->at_start || s != DS4_SYMBOL_CONTROL + DS4_CONTROL_THINK) {
            ds4_emit_reasoning(p, s); /* a repeated <think> at the very beginning says nothing */
        }
        p->at_start = false;
        break;
    case DS4_STATE_TEXT:
        ds4_parser_text_symbol(p, s);
        break;
    case DS4_STATE_DONE:
        break;
    default:
        ds4_parser_block_symbol(p, s);
    }
}

/* ---- input ---- */

/* The control that `spelled` begins to spell, if any; *whole when it is complete. */
static ds4_control spelled_control(const ds4_parser *p, bool *whole) {
    static const ds4_control controls[] = {DS4_CONTROL_THINK, DS4_CONTROL_THINK_END,
                                           DS4_CONTROL_DSML};
    for (size_t i = 0; i < sizeof controls / sizeof controls[0]; i++) {
        const char *spelling = ds4_control_spelling(controls[i]);
        if (strncmp(spelling, (const char *)p->spelled, p->n_spelled) != 0) continue;
        *whole = spelling[p->n_spelled] == '\0';
        return controls[i];
    }
    return DS4_CONTROL_NONE;
}

static void flush_spelled(ds4_parser *p) {
    for (size_t i = 0; i < p->n_spelled; i++) symbol(p, p->spelled[i]);
    p->n_spelled = 0;
}

static void input_byte(ds4_parser *p, unsigned char byte) {
    if (!p->options.controls_in_text) {
        symbol(p, byte);
        return;
    }
    for (;;) {
        bool whole = false;
        p->spelled[p->n_spelled++] = byte;
        ds4_control control = byte != 0 ? spelled_control(p, &whole) : DS4_CONTROL_NONE;
        if (control != DS4_CONTROL_NONE) {
            if (!whole) return;
            p->n_spelled = 0;
            symbol(p, (ds4_symbol)(DS4_SYMBOL_CONTROL + control));
            return;
        }
        p->n_spelled--;
        if (p->n_spelled == 0) {
            symbol(p, byte);
            return;
        }
        flush_spelled(
            p); /* only its first byte can begin a spelling; the new one may begin another */
    }
}

static ds4_status fed(ds4_parser *p, ds4_error *error) {
    ds4_emit_deliver(p);
    if (p->separator.failed || p->raw.failed || p->key.failed || p->value.failed ||
        p->delta.failed || p->scratch.failed || p->attributes.failed || p->stops.held.failed)
        return ds4_fail(error, DS4_NO_MEMORY, "no memory to parse the model's output");
    return DS4_OK;
}

ds4_status ds4_parser_feed(ds4_parser *p, const char *bytes, size_t n, ds4_error *error) {
    for (size_t i = 0; i < n && p->state != DS4_STATE_DONE; i++)
        input_byte(p, (unsigned char)bytes[i]);
    return fed(p, error);
}

ds4_status ds4_parser_feed_token(ds4_parser *p, int32_t id, const char *bytes, size_t n,
                                 ds4_error *error) {
    ds4_control control = ds4_control_of_id(&p->options.ids, id);
    if (control == DS4_CONTROL_NONE) return ds4_parser_feed(p, bytes, n, error);
    if (control == DS4_CONTROL_EOS || control == DS4_CONTROL_USER)
        return ds4_parser_finish(p, DS4_FINISH_STOP, error);
    flush_spelled(p);
    symbol(p, (ds4_symbol)(DS4_SYMBOL_CONTROL + control));
    return fed(p, error);
}

ds4_status ds4_parser_finish(ds4_parser *p, ds4_finish cause, ds4_error *error) {
    if (p->state == DS4_STATE_DONE) return DS4_OK;
    if (cause != DS4_FINISH_STOP && cause != DS4_FINISH_LENGTH)
        return ds4_fail(error, DS4_INVALID_ARGUMENT, "output ends by a stop or for its length");
    flush_spelled(p);
    if (p->state == DS4_STATE_THINKING) {
        cause = DS4_FINISH_LENGTH; /* there is no answer: whatever the reason, it was cut off */
    } else if (p->state == DS4_STATE_TEXT) {
        tag_into_content(p);
        if (p->state == DS4_STATE_TEXT && ds4_emit_content(p, p->separator.data, p->separator.n))
            cause = DS4_FINISH_STOP;
        else if (p->state == DS4_STATE_TEXT)
            ds4_emit_content_end(p);
    } else if (p->state != DS4_STATE_DONE) {
        cause = ds4_parser_block_end(p, cause);
    }
    if (p->state != DS4_STATE_DONE) ds4_parser_end(p, cause);
    return fed(p, error);
}

/* ---- questions ---- */

bool ds4_parser_is_done(const ds4_parser *p) {
    return p->state == DS4_STATE_DONE;
}
bool ds4_parser_has_failed(const ds4_parser *p) {
    return p->malformed != NULL;
}

bool ds4_parser_awaits_word(const ds4_parser *p) {
    return p->state == DS4_STATE_TEXT && p->n_tag == 1;
}

ds4_decode_regime ds4_parser_regime(const ds4_parser *p) {
    switch (p->state) {
    case DS4_STATE_OPENED:
        return p->dialect == DS4_DIALECT_FULL ? DS4_REGIME_STRUCTURAL : DS4_REGIME_OUTSIDE;
    case DS4_STATE_BLOCK:
    case DS4_STATE_INVOKE:
        return DS4_REGIME_STRUCTURAL;
    case DS4_STATE_VALUE:
        break;
    default:
        return DS4_REGIME_OUTSIDE;
    }
    /* `<` alone leaves the model free; with one more byte of the closing tag it is bound to end it.
     */
    bool closing = p->n_tag >= 2;
    if (p->value_kind == DS4_VALUE_JSON) {
        if (p->json_in_string) return DS4_REGIME_JSON_STRING;
        return closing ? DS4_REGIME_STRUCTURAL : DS4_REGIME_JSON_STRUCTURAL;
    }
    if (closing || p->value_kind == DS4_VALUE_UNTYPED) return DS4_REGIME_STRUCTURAL;
    return DS4_REGIME_STRING_BODY;
}

bool ds4_regime_is_greedy(ds4_decode_regime regime) {
    return regime == DS4_REGIME_STRUCTURAL || regime == DS4_REGIME_JSON_STRUCTURAL;
}

ds4_output_phase ds4_parser_phase(const ds4_parser *p) {
    switch (p->state) {
    case DS4_STATE_THINKING:
        return DS4_PHASE_THINKING;
    case DS4_STATE_TEXT:
        if (p->n_tag > 0) return DS4_PHASE_DSML;
        return p->saw_answer ? DS4_PHASE_ANSWER : DS4_PHASE_ANSWER_START;
    case DS4_STATE_DONE:
        return DS4_PHASE_DONE;
    default:
        return DS4_PHASE_DSML;
    }
}

static ds4_text view(const ds4_strbuf *buffer) {
    return (ds4_text){buffer->n > 0 ? buffer->data : "", buffer->n};
}

ds4_text ds4_parser_raw_block(const ds4_parser *p) {
    return view(&p->raw);
}

ds4_text ds4_parser_separator(const ds4_parser *p) {
    return p->raw.n > 0 ? view(&p->separator) : (ds4_text){"", 0};
}
