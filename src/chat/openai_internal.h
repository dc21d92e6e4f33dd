/* Shared by the two files that read a chat-completions body: the fields (openai_request.c), and
 * messages and tools (openai_messages.c). */
#ifndef DS4_CHAT_OPENAI_INTERNAL_H
#define DS4_CHAT_OPENAI_INTERNAL_H

#include "base/json_scan.h"
#include "chat/openai_request.h"
#include "chat/think.h"

typedef struct openai_body {
    ds4_chat_request *request;
    ds4_request_error *failure;
    ds4_openai_options options;
    bool has_messages;
    bool think_explicit; /* the body switches thinking on or off itself */
    ds4_strbuf scratch;
} openai_body;

const char *ds4_openai_type_name(ds4_json_type type);
ds4_status ds4_openai_wrong_type(openai_body *b, const char *param, const char *wanted,
                                 ds4_json_value value);
ds4_status ds4_openai_no_memory(openai_body *b);
/* A STRING of at most `limit` decoded bytes, copied into the request. */
ds4_status ds4_openai_string(openai_body *b, const char *param, ds4_json_value value, size_t limit,
                             ds4_text *text);

ds4_status ds4_openai_read_messages(openai_body *b, ds4_json_value value);
ds4_status ds4_openai_read_tools(openai_body *b, ds4_json_value value);
ds4_status ds4_openai_read_tool_choice(openai_body *b, ds4_json_value value);

#endif
