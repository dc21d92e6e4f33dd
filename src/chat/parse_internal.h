/* The parser's inside, shared by its three files: parse.c (door, thinking, content), parse_block.c
 * (tool calls) and parse_emit.c (what leaves). The output is read as symbols: a byte, or a control
 * token. */
#ifndef DS4_CHAT_PARSE_INTERNAL_H
#define DS4_CHAT_PARSE_INTERNAL_H

#include "chat/dsml.h"
#include "chat/parse.h"
#include "chat/stop_match.h"
#include "tokenizer/detokenizer.h"

typedef uint16_t ds4_symbol;
#define DS4_SYMBOL_CONTROL 0x100u /* + ds4_control; below it: a byte */

/* Longer tags are malformed. Bounds what a tag can hold back. */
#define DS4_TAG_LIMIT        1024u
#define DS4_VALUE_JSON_DEPTH 200u

/* How a block spells its tags, fixed by its first one. */
typedef enum ds4_dialect {
    DS4_DIALECT_FULL,  /* with the DSML control token: anywhere */
    DS4_DIALECT_SHORT, /* <DSML|tool_calls>: the first bar was lost */
    DS4_DIALECT_PLAIN, /* <tool_calls> */
    DS4_DIALECT_COUNT,
} ds4_dialect;

typedef enum ds4_parser_state {
    DS4_STATE_THINKING,
    DS4_STATE_TEXT,
    DS4_STATE_OPENED, /* behind a block's first tag; no call announced yet, so it can still turn out
                         to be text */
    DS4_STATE_BLOCK,  /* between calls */
    DS4_STATE_INVOKE, /* between the parameters of a call */
    DS4_STATE_VALUE,
    DS4_STATE_FAILED, /* announced calls are void; the rest is only recorded */
    DS4_STATE_DONE,
} ds4_parser_state;

typedef enum ds4_value_kind {
    DS4_VALUE_UNTYPED, /* no `string` attribute: a string, or parameters inside a parameter */
    DS4_VALUE_STRING,
    DS4_VALUE_JSON, /* collected, because only the end tells whether it is JSON */
} ds4_value_kind;

typedef enum ds4_tag_match { DS4_TAG_NO, DS4_TAG_PARTIAL, DS4_TAG_WHOLE } ds4_tag_match;

struct ds4_parser {
    ds4_parser_options options;
    ds4_parser_state state;
    ds4_finish finish;
    const char *malformed;
    bool repaired;

    unsigned char spelled[16]; /* bytes that may spell a control token (controls_in_text) */
    size_t n_spelled;

    ds4_symbol tag[DS4_TAG_LIMIT]; /* symbols that may be a tag, from its < */
    size_t n_tag;
    ds4_dialect dialect;

    bool at_start;         /* THINKING: nothing seen yet */
    bool line_start;       /* TEXT: the next symbol begins a line */
    bool saw_answer;       /* content other than white space was seen */
    ds4_strbuf separator;  /* white space that is content unless a block follows */
    ds4_strbuf raw;        /* the block, from its first < */
    size_t raw_before_tag; /* raw.n before the symbols of `tag` */

    size_t call_index; /* of the call that is open or comes next */
    size_t n_members;  /* written into the arguments object */
    bool nested;       /* inside a parameter that holds parameters */
    size_t n_leaves;   /* written into that one's object */
    bool string_open;  /* the arguments end inside a JSON string */
    ds4_strbuf key;    /* of the parameter that is being read, JSON-escaped */
    ds4_value_kind value_kind;
    ds4_strbuf value; /* JSON: all of it; untyped: the white space so far */
    bool json_in_string, json_escaped;
    ds4_dsml_unescaper unescaper;

    ds4_stop_matcher stops;
    ds4_detokenizer gate; /* of the channel `delta_type` */
    ds4_strbuf delta;     /* not delivered yet */
    ds4_chat_event_type delta_type;
    size_t delta_index;
    ds4_strbuf scratch, attributes;
};

static inline bool ds4_symbol_is_space(ds4_symbol s) {
    return s == ' ' || (s >= '\t' && s <= '\r');
}

/* ---- parse.c ---- */
void ds4_parser_text_symbol(ds4_parser *p, ds4_symbol s);
/* Whether p->tag is, or may become, `<word...>` (`</word>` when closing) of the dialect. With
 * attributes the tag ends at its first >; without, the word ends it. */
ds4_tag_match ds4_parser_match_tag(const ds4_parser *p, ds4_dialect dialect, bool closing,
                                   const char *word, bool attributes);
/* Why the output ended: sends FINISH. */
void ds4_parser_end(ds4_parser *p, ds4_finish finish);

/* ---- parse_block.c ---- */
void ds4_parser_block_begin(ds4_parser *p, ds4_dialect dialect); /* p->tag is its first tag */
void ds4_parser_block_symbol(ds4_parser *p, ds4_symbol s);
/* The output ended inside a block: repair, or text, or malformed. Returns how it finished. */
ds4_finish ds4_parser_block_end(ds4_parser *p, ds4_finish cause);

/* ---- parse_emit.c ---- */
void ds4_symbol_spell(ds4_symbol s, ds4_strbuf *out);
void ds4_emit_reasoning(ds4_parser *p, ds4_symbol s);
/* True when a stop sequence is complete. */
bool ds4_emit_content(ds4_parser *p, const char *bytes, size_t n);
void ds4_emit_content_end(ds4_parser *p); /* releases what might have been a stop sequence */
void ds4_emit_call_begin(ds4_parser *p, ds4_text name);
void ds4_emit_arguments(ds4_parser *p, const char *json);
void ds4_emit_key(ds4_parser *p);
void ds4_emit_string_begin(ds4_parser *p);
void ds4_emit_string_byte(ds4_parser *p, char byte);
void ds4_emit_string_end(ds4_parser *p);
void ds4_emit_json_value(ds4_parser *p); /* p->value */
void ds4_emit_call_end(ds4_parser *p);   /* closes whatever is open in the arguments */
void ds4_emit_finish(ds4_parser *p);
void ds4_emit_deliver(ds4_parser *p); /* sends the waiting delta */

#endif
