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
} ds4_think_controls;

/* `has_x` is whether the client sent x: a sampling profile may fill in only what was left open. */
typedef struct ds4_sampling_request {
    float temperature, top_p, min_p; /* defaults 1, 1, 0.05 */
    int32_t top_k;                   /* 0 = off */
    bool has_temperature, has_top_p, has_min_p, has_top_k;
    uint64_t seed; /* 0 = not given */
} ds4_sampling_request;

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
    int32_t max_tokens; /* most tokens to generate; 0 = not given */
    const ds4_text *stops;
    size_t n_stops;
    bool stream;
    bool stream_usage; /* a last chunk with the token counts */

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

/* Tools are in the prompt, and calls are looked for in the output: some are given and the choice is
 * not "none". */
bool ds4_chat_request_tools_active(const ds4_chat_request *request);

#endif
