#include "server/api_error.h"

#include "server/json_out.h"

const char *ds4_api_error_type(ds4_error_shape shape, int status) {
    bool anthropic = shape == DS4_ERROR_ANTHROPIC;
    switch (status) {
    case 401:
        return "authentication_error";
    case 403:
        return "permission_error";
    case 404:
        return "not_found_error";
    case 413:
        return anthropic ? "request_too_large" : "invalid_request_error";
    case 429:
        return "rate_limit_error";
    case 503:
    case 529:
        return anthropic ? "overloaded_error" : "server_error";
    default:
        if (status < 500) return "invalid_request_error";
        return anthropic ? "api_error" : "server_error";
    }
}

static void nullable(ds4_strbuf *out, const char *text) {
    if (text == NULL || text[0] == '\0')
        ds4_strbuf_puts(out, "null");
    else
        ds4_json_cstring(out, text);
}

void ds4_api_error_json(ds4_strbuf *out, ds4_error_shape shape, const ds4_api_error *error) {
    const char *type = ds4_api_error_type(shape, error->status);
    if (shape == DS4_ERROR_ANTHROPIC) {
        ds4_strbuf_printf(out, "{\"type\":\"%s\",\"message\":", type);
        ds4_json_cstring(out, error->message);
    } else {
        ds4_strbuf_puts(out, "{\"message\":");
        ds4_json_cstring(out, error->message);
        ds4_strbuf_printf(out, ",\"type\":\"%s\",\"param\":", type);
        nullable(out, error->param);
        ds4_strbuf_puts(out, ",\"code\":");
        nullable(out, error->code);
    }
    if (error->extra != NULL) ds4_strbuf_puts(out, error->extra);
    ds4_strbuf_putc(out, '}');
}

void ds4_api_error_body(ds4_strbuf *out, ds4_error_shape shape, const ds4_api_error *error) {
    ds4_strbuf_puts(out, shape == DS4_ERROR_ANTHROPIC ? "{\"type\":\"error\",\"error\":"
                                                      : "{\"error\":");
    ds4_api_error_json(out, shape, error);
    ds4_strbuf_putc(out, '}');
}

void ds4_api_error_send(ds4_http_reply *reply, const ds4_api_error *error) {
    ds4_strbuf body = {0};
    ds4_api_error_body(&body, (ds4_error_shape)ds4_http_reply_tag(reply), error);
    ds4_strbuf_putc(&body, '\n');
    if (body.failed) {
        static const char bare[] = "{\"type\":\"error\",\"error\":{\"message\":\"out of memory\","
                                   "\"type\":\"api_error\",\"param\":null,\"code\":null}}\n";
        ds4_http_reply_send(reply, 500, NULL, "application/json", bare, sizeof bare - 1);
    } else {
        ds4_http_reply_send(reply, error->status, error->headers, "application/json", body.data,
                            body.n);
    }
    ds4_strbuf_free(&body);
}

void ds4_api_error_unavailable(ds4_http_reply *reply, const char *code, const char *message) {
    ds4_api_error_send(reply, &(ds4_api_error){.status = 503,
                                               .code = code,
                                               .message = message,
                                               .headers = "Retry-After: 2\r\n"});
}

void ds4_api_error_busy(ds4_http_reply *reply, const char *message) {
    bool anthropic = ds4_http_reply_tag(reply) == DS4_ERROR_ANTHROPIC;
    ds4_api_error_send(reply, &(ds4_api_error){.status = anthropic ? 529 : 429,
                                               .code = "queue_full",
                                               .message = message,
                                               .headers = "Retry-After: 5\r\n"});
}
