/* Request bodies -> ds4_chat_request, one function for each protocol. Strict: a field of the wrong
 * type or range is refused with its path, never repaired in silence. Which fields are read, ignored
 * or refused: docs/chat.md and the page of each protocol. */
#ifndef DS4_CHAT_REQUEST_PARSE_H
#define DS4_CHAT_REQUEST_PARSE_H

#include "base/strbuf.h"
#include "chat/chat_request.h"

#define DS4_REQUEST_MAX_MESSAGES     20000u
#define DS4_REQUEST_MAX_TOOLS        512u
#define DS4_REQUEST_MAX_STOPS        16u
#define DS4_REQUEST_MAX_STOP_BYTES   256u
#define DS4_REQUEST_MAX_NAME_BYTES   256u
#define DS4_REQUEST_MAX_BIASES       1024u
#define DS4_REQUEST_MAX_TOP_LOGPROBS 20u

/* What an error body needs. `type` and `code` are literals, or NULL for JSON null; `param` is empty
 * when no field is to blame. */
typedef struct ds4_request_error {
    int status; /* HTTP status */
    const char *type;
    const char *code;
    char param[96]; /* such as messages[3].content[0] */
    char message[512];
} ds4_request_error;

/* Fills `failure` (may be NULL) and returns `status`. */
ds4_status ds4_request_refuse(ds4_request_error *failure, ds4_status status, const char *code,
                              const char *param, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

typedef struct ds4_request_options {
    /* The request is meant to be answered, not only rendered or counted. Then also refused: no
     * messages, a last message that is not a user's or a tool's, and fields that would change the
     * answer and are not supported. */
    bool for_generation;
    bool any_turn; /* with for_generation: nothing needs to wait for an answer */
    /* Responses only: appends the items of a stored response (JSON values with commas between
     * them). False: there is none of this id. NULL: nothing is stored. */
    bool (*find_response)(void *context, ds4_text id, ds4_strbuf *items);
    void *find_context;
} ds4_request_options;

/* All of these initialise and fill `request`. On failure `request` is freed and `failure` says what
 * to answer: FORMAT and UNSUPPORTED come with status 400 (or 404: a stored response), NO_MEMORY
 * with 500. `body` is not kept. */
typedef ds4_status ds4_request_parse_fn(const char *body, size_t n,
                                        const ds4_request_options *options,
                                        ds4_chat_request *request, ds4_request_error *failure);

ds4_request_parse_fn ds4_openai_request_parse;     /* POST /v1/chat/completions */
ds4_request_parse_fn ds4_completion_request_parse; /* POST /v1/completions */
ds4_request_parse_fn ds4_anthropic_request_parse;  /* POST /v1/messages and its count_tokens */
ds4_request_parse_fn ds4_responses_request_parse;  /* POST /v1/responses and its compact */

#endif
