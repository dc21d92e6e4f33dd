/* Model output -> events: reasoning, content, tool calls, finish. Incremental: each byte is looked
 * at a bounded number of times, and every way of cutting the output into calls gives the same
 * message.
 *
 * Threads: a parser belongs to one thread at a time. Its buffers grow with the output (the raw tool
 * block is kept); deltas passed to the sink are valid only during the call. All text that leaves is
 * valid UTF-8: a character that is not complete yet waits, bytes that can be none become U+FFFD.
 *
 * The grammar, and where it is deliberately stricter or kinder than other servers: docs/chat.md.
 */
#ifndef DS4_CHAT_PARSE_H
#define DS4_CHAT_PARSE_H

#include "base/strbuf.h"
#include "chat/chat_request.h"
#include "chat/control.h"

typedef enum ds4_finish {
    DS4_FINISH_NONE,   /* still running */
    DS4_FINISH_STOP,   /* the model ended its turn, or a stop sequence was met */
    DS4_FINISH_LENGTH, /* out of tokens */
    DS4_FINISH_TOOL_CALLS,
} ds4_finish;

const char *ds4_finish_name(ds4_finish finish); /* "stop", "length", "tool_calls"; NULL for NONE */

typedef enum ds4_chat_event_type {
    DS4_EVENT_REASONING,      /* text */
    DS4_EVENT_CONTENT,        /* text */
    DS4_EVENT_TOOL_BEGIN,     /* index, id, name */
    DS4_EVENT_TOOL_ARGUMENTS, /* index, text: the fragments of a call concatenate to one JSON
                                 object, always */
    DS4_EVENT_TOOL_END,       /* index, malformed: it broke off here */
    DS4_EVENT_FINISH,         /* finish, repaired, malformed, text; the last event */
} ds4_chat_event_type;

typedef struct ds4_chat_event {
    ds4_chat_event_type type;
    size_t index; /* of the tool call */
    ds4_text text;
    ds4_text id, name;
    ds4_finish finish;
    ds4_text stop; /* FINISH: the stop sequence that was met; else empty */
    bool repaired; /* closing tags that the model left out were added; the calls are complete */
    /* FINISH only: NULL, or why the tool block is no call. Calls that were announced are then void
     * (their JSON was closed legally); `text` is the block as the model wrote it. An answer in one
     * piece shows that as content (ds4_chat_result does); a stream that has announced a call must
     * report an error, or "length" if that is `finish`. When nothing was announced, the text was
     * already sent as content and this is NULL. */
    const char *malformed;
} ds4_chat_event;

typedef void (*ds4_chat_event_fn)(void *context, const ds4_chat_event *event);

/* Writes the id of call `index` named `name` into id[0..64), NUL-terminated (chat/tool_id.h has
 * both kinds). */
typedef void (*ds4_make_tool_id_fn)(void *context, size_t index, ds4_text name, char id[64]);

typedef struct ds4_parser_options {
    bool thinking;         /* the prompt ended in <think> */
    bool tools_active;     /* otherwise tool tags are plain content */
    bool single_call;      /* the output ends behind its first call */
    bool controls_in_text; /* <think>, </think> and the DSML word count when spelled in bytes too
                              (no ids at hand) */
    const ds4_text *stops; /* apply to content only; copied */
    size_t n_stops;
    ds4_control_ids ids; /* for ds4_parser_feed_token; all -1 when only bytes will come */
    ds4_chat_event_fn sink;
    void *sink_context;
    ds4_make_tool_id_fn make_id; /* NULL: ids are empty */
    void *make_id_context;
} ds4_parser_options;

typedef struct ds4_parser ds4_parser;

ds4_status ds4_parser_create(const ds4_parser_options *options, ds4_parser **parser,
                             ds4_error *error);
void ds4_parser_destroy(ds4_parser *parser);

/* One sampled token: its id and its bytes (which may end inside a character). EOS and <|User|> end
 * the turn. */
ds4_status ds4_parser_feed_token(ds4_parser *parser, int32_t id, const char *bytes, size_t n,
                                 ds4_error *error);
/* Output without ids. */
ds4_status ds4_parser_feed(ds4_parser *parser, const char *bytes, size_t n, ds4_error *error);
/* No more output will come: why the loop ended (STOP or LENGTH). Flushes what was held back and
 * sends FINISH, unless the parser had ended by itself (EOS, a stop sequence, a closed tool block).
 */
ds4_status ds4_parser_finish(ds4_parser *parser, ds4_finish cause, ds4_error *error);

/* FINISH was sent: stop generating. What is fed now is ignored. */
bool ds4_parser_is_done(const ds4_parser *parser);
/* The tool block broke after a call was announced: a stream may give up now; FINISH will say
 * `malformed`. */
bool ds4_parser_has_failed(const ds4_parser *parser);

/* The text ends in a < that a DSML word would make the first tag of a tool block. */
bool ds4_parser_awaits_word(const ds4_parser *parser);

/* How the next token should be sampled. */
typedef enum ds4_decode_regime {
    DS4_REGIME_OUTSIDE,         /* as the request says */
    DS4_REGIME_STRUCTURAL,      /* tags: greedy */
    DS4_REGIME_STRING_BODY,     /* as the request says */
    DS4_REGIME_JSON_STRUCTURAL, /* a non-string value, outside its quotes: greedy */
    DS4_REGIME_JSON_STRING,     /* inside its quotes: as the request says */
} ds4_decode_regime;
ds4_decode_regime ds4_parser_regime(const ds4_parser *parser);
bool ds4_regime_is_greedy(ds4_decode_regime regime);

/* Where the output stands, for steering (the prompt's own phase is the caller's). */
typedef enum ds4_output_phase {
    DS4_PHASE_THINKING,
    DS4_PHASE_ANSWER_START, /* behind </think>, nothing but white space yet */
    DS4_PHASE_ANSWER,
    DS4_PHASE_DSML, /* a tool block, or a beginning of what may become its first tag */
    DS4_PHASE_DONE,
} ds4_output_phase;
ds4_output_phase ds4_parser_phase(const ds4_parser *parser);

/* The tool block as the model wrote it (from its first tag), and the white space that stood before
 * it and is not part of the content. Empty when there was none. Valid until the parser is fed again
 * or destroyed. */
ds4_text ds4_parser_raw_block(const ds4_parser *parser);
ds4_text ds4_parser_separator(const ds4_parser *parser);

/* ---- the message as a whole ---- */

typedef struct ds4_result_call {
    char id[64];
    ds4_strbuf name, arguments;
} ds4_result_call;

/* Collects events; zero-initialise, free with ds4_chat_result_free. Strings may be NULL when empty.
 */
typedef struct ds4_chat_result {
    ds4_strbuf reasoning, content;
    ds4_result_call *calls;
    size_t n_calls, call_capacity;
    ds4_finish finish;
    ds4_strbuf stop; /* the stop sequence that ended it */
    bool repaired;
    bool malformed; /* a broken tool block was turned into content; `finish` is then STOP or LENGTH
                     */
    bool failed;    /* out of memory */
} ds4_chat_result;

/* A ds4_chat_event_fn with a ds4_chat_result as context. */
void ds4_chat_result_add(void *result, const ds4_chat_event *event);
void ds4_chat_result_free(ds4_chat_result *result);

/* Feeds everything to a parser at once. `options`' sink is not used. */
ds4_status ds4_parse_output(const ds4_parser_options *options, const char *bytes, size_t n,
                            ds4_finish cause, ds4_chat_result *result, ds4_error *error);

#endif
