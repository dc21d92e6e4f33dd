/* What one chat request asks for, whatever protocol it came by: the struct between server/api_* and
 * the renderer.
 *
 * Ownership: every ds4_text points into the request's own memory (ds4_chat_request_alloc, _text)
 * or, in a request that was built by hand, wherever its builder likes. ds4_chat_request_free
 * releases the former and only that. A request belongs to one thread at a time. Nothing here knows
 * of HTTP or JSON.
 */
#ifndef DS4_CHAT_CHAT_REQUEST_H
#define DS4_CHAT_CHAT_REQUEST_H

#include "ds4.h"

/* Bytes with a length: may hold NUL, is not NUL-terminated in general (what ds4_chat_request_text
 * returns is). */
typedef struct ds4_text {
    const char *data;
    size_t n;
} ds4_text;

#define DS4_TEXT(literal) ((ds4_text){(literal), sizeof(literal) - 1})

typedef enum ds4_chat_role {
    DS4_ROLE_SYSTEM, /* also "developer" */
    DS4_ROLE_USER,
    DS4_ROLE_ASSISTANT,
    DS4_ROLE_TOOL, /* a tool's result; also "function" */
} ds4_chat_role;

typedef struct ds4_tool_call {
    ds4_text id; /* the client's, may be empty */
    ds4_text name;
    ds4_text arguments; /* raw text: normally a JSON object, but whatever the client sent */
} ds4_tool_call;

typedef struct ds4_chat_message {
    ds4_chat_role role;
    bool developer;      /* a SYSTEM message that came as "developer" */
    bool continues_turn; /* USER and TOOL: the same turn as the message before, as where one user
                            message holds results and text */
    ds4_text content;
    ds4_text reasoning;         /* assistant only: what it thought before `content` */
    const ds4_tool_call *calls; /* assistant only */
    size_t n_calls;
    ds4_text tool_call_id; /* tool only; recorded, not rendered */
} ds4_chat_message;

typedef struct ds4_chat_tool {
    ds4_text name; /* decoded */
    ds4_text
        schema; /* the raw bytes that the prompt will show, exactly as the client spelled them */
    ds4_text parameters; /* the JSON Schema of the arguments, raw; empty: anything goes. Wherever
                            the protocol keeps it: parameters, input_schema */
} ds4_chat_tool;

typedef enum ds4_tool_choice {
    DS4_TOOL_CHOICE_AUTO,
    DS4_TOOL_CHOICE_NONE, /* tools stay out of the prompt and output is not searched for calls */
    DS4_TOOL_CHOICE_REQUIRED, /* the answer is one or more calls, whichever tools */
    DS4_TOOL_CHOICE_NAMED,    /* the answer is one call of `tool_choice_name` */
} ds4_tool_choice;

/* What the answer's text must be. The masks that make it so: src/constraint. */
typedef enum ds4_format_kind {
    DS4_FORMAT_TEXT,        /* anything */
    DS4_FORMAT_JSON_OBJECT, /* some JSON object */
    DS4_FORMAT_JSON_SCHEMA, /* a document that `schema` accepts */
} ds4_format_kind;

typedef struct ds4_response_format {
    ds4_format_kind kind;
    ds4_text schema; /* JSON_SCHEMA: raw, an object or a boolean */
    ds4_text param;  /* JSON_SCHEMA: where the schema stands in the body, such as
                        response_format.json_schema.schema; begins the paths in complaints */
} ds4_response_format;

typedef enum ds4_effort {
    DS4_EFFORT_DEFAULT, /* not asked for */
    DS4_EFFORT_NONE,
    DS4_EFFORT_MINIMAL,
    DS4_EFFORT_LOW,
    DS4_EFFORT_MEDIUM,
    DS4_EFFORT_HIGH,
    DS4_EFFORT_XHIGH,
    DS4_EFFORT_MAX,
} ds4_effort;
#define DS4_EFFORT_COUNT 8

/* The thinking controls after the protocol's fields were read (docs/chat.md). chat/think.h resolves
 * them. */
typedef struct ds4_think_controls {
    bool disabled; /* the request, or the model alias deepseek-chat, switches thinking off */
    ds4_effort effort;
    uint32_t budget; /* most tokens of reasoning, then the answer must begin; 0 = no limit */
} ds4_think_controls;

typedef struct ds4_logit_bias {
    int32_t id;
    float bias; /* added to the logit; -100..100 */
} ds4_logit_bias;

/* `has_x` is whether the client sent x: a sampling profile may fill in only what was left open. */
typedef struct ds4_sampling_request {
    float temperature, top_p, min_p; /* defaults 1, 1, 0.05 */
    int32_t top_k;                   /* 0 = off */
    bool has_temperature, has_top_p, has_min_p, has_top_k;
    uint64_t seed;                             /* 0 = not given */
    float presence_penalty, frequency_penalty; /* -2..2, of what the answer holds so far; 0 = off */
    float repetition_penalty; /* above 0, of what prompt and answer hold so far; 1 or 0 = off */
    const ds4_logit_bias *biases;
    size_t n_biases;
} ds4_sampling_request;

typedef enum ds4_tool_alias_kind {
    DS4_TOOL_FUNCTION,
    DS4_TOOL_SEARCH, /* answered as a tool_search_call */
    DS4_TOOL_CUSTOM, /* answered as a custom_tool_call whose input is free text */
} ds4_tool_alias_kind;

/* A tool of a namespace, or one of the client's own kinds, is a function to the model. */
typedef struct ds4_tool_alias {
    ds4_text name;             /* as the model calls it */
    ds4_text wire_name, space; /* as the client does */
    ds4_tool_alias_kind kind;
} ds4_tool_alias;

/* What only the Responses API has: kept for its answer, no part of the prompt. Texts that are JSON
 * are as the client wrote them; an empty one means absent. */
typedef struct ds4_responses_fields {
    bool show_reasoning;   /* reasoning.summary asks for it */
    bool sealed_reasoning; /* reasoning that is not shown travels as an opaque text */
    bool no_store;
    ds4_text previous_id, instructions, metadata, tools, tool_choice, reasoning, text;
    ds4_text input_items; /* all items that made the prompt, JSON values with commas between */
    const ds4_tool_alias *aliases; /* tools that the client knows by another name */
    size_t n_aliases;
} ds4_responses_fields;

/* Which rows of a request steering edits (docs/steering.md). */
typedef enum ds4_steer_policy {
    DS4_STEER_FINAL_ANSWER, /* visible prose of the answer */
    DS4_STEER_DECODING,     /* everything that is sampled */
    DS4_STEER_ALWAYS,       /* the prompt too */
    DS4_STEER_OFF,
} ds4_steer_policy;

/* What a request asks of the server's dial; what it leaves open keeps the server's values. */
typedef struct ds4_steering_wish {
    bool given; /* the request speaks of steering at all */
    bool has_ffn, has_attn, has_policy, has_mode;
    float ffn, attn;
    ds4_steer_policy policy;
    bool additive; /* mode "add" instead of "project" */
} ds4_steering_wish;

typedef struct ds4_chat_request {
    ds4_text model; /* as the client named it; echoed in the answer */
    const ds4_chat_message *messages;
    size_t n_messages;
    const ds4_chat_tool *tools;
    size_t n_tools;
    ds4_tool_choice tool_choice;
    ds4_text tool_choice_name;
    bool one_call; /* at most one call in the answer (parallel_tool_calls: false) */
    ds4_response_format format;
    ds4_think_controls think;
    ds4_sampling_request sampling;
    ds4_steering_wish steering;
    int32_t max_tokens; /* most tokens to generate; 0 = not given */
    const ds4_text *stops;
    size_t n_stops;
    bool stream;
    bool stream_usage;       /* a last chunk with the token counts */
    bool logprobs;           /* of every token, */
    uint32_t n_top_logprobs; /* with that many alternatives */
    /* Not a conversation: the one message's content is the whole prompt behind BOS. */
    bool raw;
    ds4_responses_fields responses;
    ds4_text ignored; /* names of body members that have no bearing on the answer; for the log */

    struct ds4_request_chunk *memory; /* private: what ds4_chat_request_alloc handed out */
} ds4_chat_request;

/* The defaults of every field: model deepseek-v4-flash, sampling 1 / 1 / 0.05 / off, thinking on.
 */
void ds4_chat_request_init(ds4_chat_request *request);
/* Releases what the request owns; the struct itself is the caller's. A request that was never
 * filled is fine. */
void ds4_chat_request_free(ds4_chat_request *request);

/* Zeroed memory that lives as long as the request; NULL when out of memory. */
void *ds4_chat_request_alloc(ds4_chat_request *request, size_t n_bytes);
/* A copy with a NUL behind it (not counted). `data` is NULL only when out of memory. */
ds4_text ds4_chat_request_text(ds4_chat_request *request, const char *bytes, size_t n);

bool ds4_text_equals(ds4_text text, const char *string);
bool ds4_text_same(ds4_text a, ds4_text b);

/* Tools are in the prompt, and calls are looked for in the output: some are given and the choice is
 * not "none". */
bool ds4_chat_request_tools_active(const ds4_chat_request *request);

#endif
