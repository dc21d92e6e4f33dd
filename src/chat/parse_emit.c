#include <string.h>

#include "base/json_scan.h"
#include "chat/parse_internal.h"

static void send(ds4_parser *p, const ds4_chat_event *event) {
    if (p->options.sink != NULL) p->options.sink(p->options.sink_context, event);
}

static ds4_text text_of(const ds4_strbuf *buffer) {
    return (ds4_text){buffer->n > 0 ? buffer->data : "", buffer->n};
}

void ds4_symbol_spell(ds4_symbol s, ds4_strbuf *out) {
    if (s < DS4_SYMBOL_CONTROL) {
        ds4_strbuf_putc(out, (char)(unsigned char)s);
    } else {
        ds4_strbuf_puts(out, ds4_control_spelling((ds4_control)(s - DS4_SYMBOL_CONTROL)));
    }
}

void ds4_emit_deliver(ds4_parser *p) {
    if (p->delta.n == 0) return;
    ds4_chat_event event = {
        .type = p->delta_type, .index = p->delta_index, .text = text_of(&p->delta)};
    send(p, &event);
    ds4_strbuf_clear(&p->delta);
}

/* Makes `type` the channel that deltas belong to; a character left incomplete in the former one
 * becomes U+FFFD. */
static void switch_channel(ds4_parser *p, ds4_chat_event_type type) {
    if (p->delta_type == type && p->delta_index == p->call_index) return;
    ds4_detokenizer_finish(&p->gate, &p->delta);
    ds4_emit_deliver(p);
    p->delta_type = type;
    p->delta_index = p->call_index;
}

void ds4_emit_reasoning(ds4_parser *p, ds4_symbol s) {
    switch_channel(p, DS4_EVENT_REASONING);
    ds4_strbuf_clear(&p->scratch);
    ds4_symbol_spell(s, &p->scratch);
    ds4_detokenizer_push_bytes(&p->gate, p->scratch.data, p->scratch.n, &p->delta);
}

static void through_gate(ds4_parser *p) {
    ds4_detokenizer_push_bytes(&p->gate, p->scratch.data, p->scratch.n, &p->delta);
    ds4_strbuf_clear(&p->scratch);
}

bool ds4_emit_content(ds4_parser *p, const char *bytes, size_t n) {
    switch_channel(p, DS4_EVENT_CONTENT);
    ds4_strbuf_clear(&p->scratch);
    for (size_t i = 0; i < n; i++) {
        if (!ds4_symbol_is_space((unsigned char)bytes[i])) p->saw_answer = true;
        bool stop = ds4_stop_matcher_push(&p->stops, bytes[i], &p->scratch);
        through_gate(p);
        if (stop) return true;
    }
    return false;
}

void ds4_emit_content_end(ds4_parser *p) {
    ds4_strbuf_clear(&p->scratch);
    ds4_stop_matcher_end(&p->stops, &p->scratch);
    if (p->scratch.n == 0) return;
    switch_channel(p, DS4_EVENT_CONTENT);
    through_gate(p);
}

void ds4_emit_call_begin(ds4_parser *p, ds4_text name) {
    switch_channel(p, DS4_EVENT_TOOL_ARGUMENTS);
    char id[64] = "";
    if (p->options.make_id != NULL)
        p->options.make_id(p->options.make_id_context, p->call_index, name, id);
    ds4_chat_event event = {
        .type = DS4_EVENT_TOOL_BEGIN, .index = p->call_index, .id = {id, strlen(id)}, .name = name};
    send(p, &event);
    p->n_members = 0;
    p->nested = false;
    p->string_open = false;
    ds4_emit_arguments(p, "{");
}

void ds4_emit_arguments(ds4_parser *p, const char *json) {
    switch_channel(p, DS4_EVENT_TOOL_ARGUMENTS);
    ds4_strbuf_puts(&p->delta, json);
}

void ds4_emit_key(ds4_parser *p) {
    size_t *count = p->nested ? &p->n_leaves : &p->n_members;
    ds4_emit_arguments(p, *count > 0 ? ",\"" : "\"");
    ds4_strbuf_append(&p->delta, p->key.data, p->key.n);
    ds4_emit_arguments(p, "\":");
    (*count)++;
}

/* Runs value bytes through the gate and writes what is whole into the JSON string. */
static void string_bytes(ds4_parser *p, const char *bytes, size_t n, bool end) {
    ds4_strbuf_clear(&p->attributes); /* not in use while a value is read */
    ds4_detokenizer_push_bytes(&p->gate, bytes, n, &p->attributes);
    if (end) ds4_detokenizer_finish(&p->gate, &p->attributes);
    ds4_json_escape(p->attributes.data, p->attributes.n, &p->delta);
}

void ds4_emit_string_begin(ds4_parser *p) {
    ds4_emit_arguments(p, "\"");
    p->string_open = true;
}

void ds4_emit_string_byte(ds4_parser *p, char byte) {
    ds4_strbuf_clear(&p->scratch);
    ds4_dsml_unescape_byte(&p->unescaper, byte, &p->scratch);
    string_bytes(p, p->scratch.data, p->scratch.n, false);
}

void ds4_emit_string_end(ds4_parser *p) {
    ds4_strbuf_clear(&p->scratch);
    ds4_dsml_unescape_end(&p->unescaper, &p->scratch);
    string_bytes(p, p->scratch.data, p->scratch.n, true);
    ds4_emit_arguments(p, "\"");
    p->string_open = false;
}

/* Well-formed JSON goes out without white space, nothing at all as null, anything else as the
 * string that it is. */
void ds4_emit_json_value(ds4_parser *p) {
    size_t n_space = 0;
    while (n_space < p->value.n && ds4_symbol_is_space((unsigned char)p->value.data[n_space]))
        n_space++;
    ds4_json_value value;
    if (n_space == p->value.n) {
        ds4_emit_arguments(p, "null");
    } else if (ds4_json_scan(p->value.data, p->value.n, DS4_VALUE_JSON_DEPTH, &value, NULL) ==
               DS4_OK) {
        ds4_emit_arguments(p, "");
        ds4_json_minify(value, &p->delta);
    } else {
        ds4_emit_string_begin(p);
        string_bytes(p, p->value.data, p->value.n, false);
        ds4_emit_string_end(p);
    }
}

void ds4_emit_call_end(ds4_parser *p) {
    if (p->string_open) ds4_emit_string_end(p);
    if (p->nested) ds4_emit_arguments(p, "}");
    p->nested = false;
    ds4_emit_arguments(p, "}");
    ds4_emit_deliver(p);
    ds4_chat_event event = {
        .type = DS4_EVENT_TOOL_END, .index = p->call_index, .malformed = p->malformed};
    send(p, &event);
    p->call_index++;
}

void ds4_emit_finish(ds4_parser *p) {
    ds4_detokenizer_finish(&p->gate, &p->delta);
    ds4_emit_deliver(p);
    ds4_chat_event event = {.type = DS4_EVENT_FINISH,
                            .finish = p->finish,
                            .repaired = p->repaired,
                            .malformed = p->malformed};
    if (p->stops.met != NULL) event.stop = (ds4_text){p->stops.met->bytes, p->stops.met->n};
    if (p->malformed != NULL) {
        /* The block becomes text for whoever wants it: as valid UTF-8, like all that leaves. */
        ds4_strbuf_clear(&p->scratch);
        ds4_detokenizer_push_bytes(&p->gate, p->separator.data, p->separator.n, &p->scratch);
        ds4_detokenizer_push_bytes(&p->gate, p->raw.data, p->raw.n, &p->scratch);
        ds4_detokenizer_finish(&p->gate, &p->scratch);
        event.text = text_of(&p->scratch);
    }
    send(p, &event);
}
