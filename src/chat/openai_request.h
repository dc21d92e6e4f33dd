/* The body of POST /v1/chat/completions -> ds4_chat_request. Strict: a field of the wrong type or
 * range is refused with its path, never repaired in silence. Which fields are read, ignored or
 * refused: docs/chat.md. */
#ifndef DS4_CHAT_OPENAI_REQUEST_H
#define DS4_CHAT_OPENAI_REQUEST_H

#include "chat/chat_request.h"

#define DS4_REQUEST_MAX_MESSAGES   20000u
#define DS4_REQUEST_MAX_TOOLS      512u
#define DS4_REQUEST_MAX_STOPS      16u
#define DS4_REQUEST_MAX_STOP_BYTES 256u
#define DS4_REQUEST_MAX_NAME_BYTES 256u

/* What the error body of an OpenAI-style API needs. `type` and `code` are literals, or NULL for
 * JSON null; `param` is empty when no field is to blame. */
typedef struct ds4_request_error {
    int status; /* HTTP status */
    const char *type;
    const char *code;
    char param[96]; /* such as messages[3].content[0] */
    char message[512];
} ds4_request_error;

/* Fills `failure` (may be NULL) and returns `status`; for the other request parsers too. */
ds4_status ds4_request_refuse(ds4_request_error *failure, ds4_status status, const char *code,
                              const char *param, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

typedef struct ds4_openai_options {
    /* The request is meant to be answered, not only rendered. Then also refused: no messages, a
     * last message that is not a user's or a tool's, tool_choice "required" or a named tool, n > 1,
     * logprobs, response_format other than text, penalties and logit_bias that would change
     * something. */
    bool for_generation;
} ds4_openai_options;

/* Initialises and fills `request`. On failure `request` is freed and `failure` says what to answer:
 * FORMAT and UNSUPPORTED come with status 400, NO_MEMORY with 500. `body` is not kept. */
ds4_status ds4_openai_request_parse(const char *body, size_t n, const ds4_openai_options *options,
                                    ds4_chat_request *request, ds4_request_error *failure);

#endif
