/* The JSON of the Responses API: the response object and the items of its output. Engine thread. */
#ifndef DS4_SERVER_RESPONSES_OUT_H
#define DS4_SERVER_RESPONSES_OUT_H

#include "server/exchange.h"

typedef enum ds4_response_status {
    DS4_RESPONSE_IN_PROGRESS,
    DS4_RESPONSE_COMPLETED,
    DS4_RESPONSE_INCOMPLETE,
    DS4_RESPONSE_FAILED,
} ds4_response_status;

const char *ds4_response_status_name(ds4_response_status status);
/* COMPLETED or INCOMPLETE. */
ds4_response_status ds4_response_status_of(const ds4_sched_result *result);

/* The whole object. `output`: the items with commas between. `result` NULL: no usage yet. `error`
 * NULL: null. */
void ds4_response_json(const ds4_exchange *x, ds4_response_status status, const ds4_strbuf *output,
                       const ds4_sched_result *result, const ds4_api_error *error, ds4_strbuf *out);

/* One item each. `text` may be NULL: an item that has just begun. */
void ds4_reasoning_item_json(const char *id, ds4_response_status status, const ds4_strbuf *text,
                             bool shown, bool sealed, ds4_strbuf *out);
void ds4_message_item_json(const char *id, ds4_response_status status, const ds4_strbuf *text,
                           const ds4_strbuf *logprobs, ds4_strbuf *out);
/* {"type":"output_text",...} */
void ds4_output_text_json(const ds4_strbuf *text, const ds4_strbuf *logprobs, ds4_strbuf *out);

/* A call. `alias` NULL: a plain function. */
typedef struct ds4_call_item {
    const char *id; /* fc_... */
    const ds4_tool_alias *alias;
    ds4_text name, call_id, arguments;
} ds4_call_item;

const ds4_tool_alias *ds4_find_alias(const ds4_chat_request *request, ds4_text name);
void ds4_call_item_json(const ds4_call_item *call, ds4_response_status status, ds4_strbuf *out);
/* `"name":N[,"namespace":S]` */
void ds4_call_name_json(const ds4_call_item *call, ds4_strbuf *out);
/* The free text that a custom tool was given: its one argument, or all of them as they are. */
void ds4_custom_input(ds4_text arguments, ds4_strbuf *out);

#endif
