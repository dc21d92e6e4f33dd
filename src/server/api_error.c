#include "server/api_error.h"

#include "server/json_out.h"

const char *ds4_api_error_type(int status) {
    switch (status) {
    case 401:
        return "authentication_error";
    case 403:
        return "permission_error";
    case 404:
        return "not_found_error";
    case 429:
        return "rate_limit_error";
    default:
        return status >= 500 ? "server_error" : "invalid_request_error";
    }
}

static void nullable(ds4_strbuf *out, const char *text) {
    if (text == NULL || text[0] == '\0')
        ds4_strbuf_puts(out, "null");
    else
        ds4_json_cstring(out, text);
}

void ds4_api_error_json(ds4_strbuf *out, const ds4_api_error *error) {
    ds4_strbuf_puts(out, "{\"message\":");
    ds4_json_cstring(out, error->message);
    ds4_strbuf_printf(out, ",\"type\":\"%s\",\"param\":", ds4_api_error_type(error->status));
    nullable(out, error->param);
    ds4_strbuf_puts(out, ",\"code\":");
    nullable(out, error->code);
    if (error->extra != NULL) ds4_strbuf_puts(out, error->extra);
    ds4_strbuf_putc(out, '}');
}

void ds4_api_error_send(ds4_http_reply *reply, const ds4_api_error *error) {
    ds4_strbuf body = {0};
    ds4_strbuf_puts(&body, "{\"error\":");
    ds4_api_error_json(&body, error);
    ds4_strbuf_puts(&body, "}\n");
    if (body.failed) {
        static const char bare[] =
            "{\"error\":{\"message\":\"out of memory\",\"type\":\"server_error\","
            "\"param\":null,\"code\":null}}\n";
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
    ds4_api_error_send(reply, &(ds4_api_error){.status = 429,
                                               .code = "queue_full",
                                               .message = message,
                                               .headers = "Retry-After: 5\r\n"});
}
