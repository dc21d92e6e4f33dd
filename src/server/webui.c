/* The chat page: three files, embedded at build time (src/server/webui). The page may talk to this
 * server and to nothing else. */
#include "server/api_error.h"
#include "server/app.h"

extern const unsigned char ds4_webui_html[], ds4_webui_css[], ds4_webui_js[];
extern const size_t ds4_webui_html_size, ds4_webui_css_size, ds4_webui_js_size;

static const char POLICY[] =
    "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'\r\n"
    "X-Content-Type-Options: nosniff\r\n"
    "Referrer-Policy: no-referrer\r\n"
    "Cross-Origin-Opener-Policy: same-origin\r\n"
    "Cache-Control: no-cache\r\n";

static void send(const ds4_app *app, ds4_http_reply *reply, const char *type,
                 const unsigned char *bytes, size_t n) {
    if (app->flags->no_webui)
        ds4_api_error_send(reply, &(ds4_api_error){.status = 404, .message = "unknown endpoint"});
    else
        ds4_http_reply_send(reply, 200, POLICY, type, (const char *)bytes, n);
}

void ds4_webui_page(ds4_app *app, ds4_http_reply *reply) {
    send(app, reply, "text/html; charset=utf-8", ds4_webui_html, ds4_webui_html_size);
}

void ds4_webui_style(ds4_app *app, ds4_http_reply *reply) {
    send(app, reply, "text/css; charset=utf-8", ds4_webui_css, ds4_webui_css_size);
}

void ds4_webui_script(ds4_app *app, ds4_http_reply *reply) {
    send(app, reply, "text/javascript; charset=utf-8", ds4_webui_js, ds4_webui_js_size);
}
