/* Error answers in the shape of the API that was asked:
 * {"error":{"message","type","param","code"}}, or Anthropic's
 * {"type":"error","error":{"type","message"}}. Any thread. */
#ifndef DS4_SERVER_API_ERROR_H
#define DS4_SERVER_API_ERROR_H

#include "base/strbuf.h"
#include "server/http_reply.h"

/* The reply's tag (ds4_http_reply_set_tag), set by the routes. */
typedef enum ds4_error_shape { DS4_ERROR_OPENAI, DS4_ERROR_ANTHROPIC } ds4_error_shape;

typedef struct ds4_api_error {
    int status;
    const char *code;  /* NULL: JSON null */
    const char *param; /* NULL or "": JSON null */
    const char *
        message; /* one sentence; permanent failures must avoid the words that make clients retry */
    const char *extra;   /* further members of the error object (",\"n_ctx\":4096"), or NULL */
    const char *headers; /* further header lines, or NULL */
} ds4_api_error;

/* The type that goes with a status: invalid_request_error, authentication_error, ..., server_error.
 */
const char *ds4_api_error_type(ds4_error_shape shape, int status);
/* Appends the error object without its wrapper. */
void ds4_api_error_json(ds4_strbuf *out, ds4_error_shape shape, const ds4_api_error *error);
/* The whole body. */
void ds4_api_error_body(ds4_strbuf *out, ds4_error_shape shape, const ds4_api_error *error);
void ds4_api_error_send(ds4_http_reply *reply, const ds4_api_error *error);
/* The two ways of being turned away for a while: 503 with Retry-After, and 429 (529 for
 * Anthropic). */
void ds4_api_error_unavailable(ds4_http_reply *reply, const char *code, const char *message);
void ds4_api_error_busy(ds4_http_reply *reply, const char *message);

#endif
