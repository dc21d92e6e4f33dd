/* Who may ask (Host, Origin, key), what there is to ask for, and what the HTTP parser refuses. */
#include <stdio.h>
#include <string.h>

#include "server/api_error.h"
#include "server/app.h"

typedef enum route_kind {
    ROUTE_NONE,
    ROUTE_SHOW, /* GET, answered at once by the event thread */
    ROUTE_MODEL,
    ROUTE_RESPONSE, /* GET or DELETE of a stored response */
    ROUTE_TASK,     /* POST with a JSON body, answered by a worker */
} route_kind;

/* Every path that is served, apart from /v1/models/ID. */
typedef struct route {
    const char *path;
    route_kind kind;
    void (*show)(ds4_app *app, ds4_http_reply *reply); /* ROUTE_SHOW */
    ds4_task_fn run;                                   /* ROUTE_TASK */
    bool light;                                        /* see ds4_workers_submit */
    ds4_error_shape shape;                             /* of its error bodies */
    bool open;                                         /* needs no key */
} route;

/* A client of the Messages API looks whether anybody is there. */
static void show_nothing(ds4_app *app, ds4_http_reply *reply) {
    (void)app;
    ds4_http_reply_send(reply, 200, NULL, "application/json", "{}\n", 3);
}

static const route routes[] = {
    {"/health", ROUTE_SHOW, .show = ds4_api_health, .open = true},
    {"/v1/health", ROUTE_SHOW, .show = ds4_api_health, .open = true},
    {"/v1/status", ROUTE_SHOW, .show = ds4_api_status},
    {"/metrics", ROUTE_SHOW, .show = ds4_api_metrics},
    {"/openapi.json", ROUTE_SHOW, .show = ds4_api_openapi},
    {"/v1/models", ROUTE_SHOW, .show = ds4_api_models_list},
    {"/v1/chat/completions", ROUTE_TASK, .run = ds4_api_chat},
    {"/v1/completions", ROUTE_TASK, .run = ds4_api_completions},
    {"/v1/responses", ROUTE_TASK, .run = ds4_api_responses},
    {"/v1/responses/compact", ROUTE_TASK, .run = ds4_api_compact},
    {"/v1/messages", ROUTE_TASK, .run = ds4_api_messages, .shape = DS4_ERROR_ANTHROPIC},
    {"/v1/messages/count_tokens", ROUTE_TASK, .run = ds4_api_count_tokens, .light = true,
     .shape = DS4_ERROR_ANTHROPIC},
    {"/", ROUTE_SHOW, .show = ds4_webui_page, .open = true},
    {"/webui.css", ROUTE_SHOW, .show = ds4_webui_style, .open = true},
    {"/webui.js", ROUTE_SHOW, .show = ds4_webui_script, .open = true},
    {"/api/hello", ROUTE_SHOW, .show = show_nothing, .open = true},
};
static const route model_route = {.path = "/v1/models/ID", .kind = ROUTE_MODEL};
static const route response_route = {.path = "/v1/responses/ID", .kind = ROUTE_RESPONSE};
static const route no_route = {.path = "other", .kind = ROUTE_NONE};

enum { STATUS_CLIENT_LEFT = 499 }; /* nobody gets it: for logs and metrics */

static const char model_prefix[] = "/v1/models/", response_prefix[] = "/v1/responses/";

/* What stands behind the prefix; n is 0 when nothing does or the path has another one. */
static ds4_http_text behind(ds4_http_text path, const char *prefix) {
    size_t n = strlen(prefix);
    if (path.n <= n || memcmp(path.data, prefix, n) != 0) return (ds4_http_text){NULL, 0};
    return (ds4_http_text){path.data + n, path.n - n};
}

static const route *find_route(ds4_http_text path) {
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++)
        if (ds4_http_text_equals(path, routes[i].path)) return &routes[i];
    ds4_http_text model = behind(path, model_prefix);
    if (model.n > 0 && memchr(model.data, '/', model.n) == NULL) return &model_route;
    if (behind(path, response_prefix).n > 0) return &response_route;
    return &no_route;
}

/* ---- names ---- */

/* `example.org:80` -> `example.org`, `[::1]:80` -> `[::1]`. */
static ds4_http_text without_port(ds4_http_text host) {
    if (host.n > 0 && host.data[0] == '[') {
        const char *end = memchr(host.data, ']', host.n);
        if (end != NULL) host.n = (size_t)(end + 1 - host.data);
        return host;
    }
    const char *colon = memchr(host.data, ':', host.n);
    if (colon != NULL) host.n = (size_t)(colon - host.data);
    return host;
}

static bool is_address(ds4_http_text host) {
    if (host.n == 0) return false;
    if (host.data[0] == '[') return host.data[host.n - 1] == ']';
    for (size_t i = 0; i < host.n; i++)
        if ((host.data[i] < '0' || host.data[i] > '9') && host.data[i] != '.') return false;
    return true;
}

static bool is_loopback_name(ds4_http_text host) {
    return ds4_http_text_equals_nocase(host, "localhost") || ds4_http_text_equals(host, "[::1]") ||
           (is_address(host) && host.n > 4 && memcmp(host.data, "127.", 4) == 0);
}

bool ds4_host_is_loopback(const char *host) {
    return strcmp(host, "localhost") == 0 || strcmp(host, "::1") == 0 ||
           strncmp(host, "127.", 4) == 0;
}

/* Whether `text` is an element of the comma-separated `list`. */
static bool list_contains(const char *list, ds4_http_text text) {
    while (list != NULL && *list != '\0') {
        const char *comma = strchr(list, ',');
        size_t n = comma != NULL ? (size_t)(comma - list) : strlen(list);
        if (n == text.n && memcmp(list, text.data, n) == 0) return true;
        list = comma != NULL ? comma + 1 : NULL;
    }
    return false;
}

/* A web page that resolves its own name to this machine (DNS rebinding) is told apart by the name
 * it sends. Addresses cannot be rebound. */
static bool host_is_allowed(const ds4_app *app, const ds4_http_head *head) {
    if (head->host.data == NULL) return true; /* HTTP/1.0, no browser */
    ds4_http_text host = without_port(head->host);
    return is_address(host) || is_loopback_name(host) ||
           list_contains(app->flags->allowed_host, host) ||
           ds4_http_text_equals_nocase(host, app->flags->host);
}

/* The page that this server serves itself: its origin is the name that the request was sent to,
 * which host_is_allowed has looked at. */
static bool is_own_origin(const ds4_http_head *head) {
    static const char scheme[] = "http://";
    const size_t n = sizeof scheme - 1;
    ds4_http_text origin = head->origin;
    return head->host.data != NULL && origin.n == n + head->host.n &&
           memcmp(origin.data, scheme, n) == 0 &&
           memcmp(origin.data + n, head->host.data, head->host.n) == 0;
}

static bool origin_is_allowed(const ds4_app *app, ds4_http_text origin) {
    if (!app->flags->cors) return false;
    if (list_contains(app->flags->cors_origin, (ds4_http_text){"*", 1}) ||
        list_contains(app->flags->cors_origin, origin))
        return true;
    const char *colon = memchr(origin.data, ':', origin.n);
    if (colon == NULL) return false;
    size_t scheme = (size_t)(colon - origin.data);
    bool web = (scheme == 4 && memcmp(origin.data, "http", 4) == 0) ||
               (scheme == 5 && memcmp(origin.data, "https", 5) == 0);
    if (!web || origin.n < scheme + 3 || memcmp(colon, "://", 3) != 0) return false;
    return is_loopback_name(without_port((ds4_http_text){colon + 3, origin.n - scheme - 3}));
}

/* ---- the key ---- */

/* Both headers are looked at, whatever comes of the first. */
static bool has_key(const ds4_app *app, const ds4_http_head *head) {
    if (app->keys.n == 0) return true;
    ds4_http_text bearer = head->authorization;
    bool is_bearer =
        bearer.n >= 7 && ds4_http_text_equals_nocase((ds4_http_text){bearer.data, 7}, "bearer ");
    if (is_bearer) bearer = (ds4_http_text){bearer.data + 7, bearer.n - 7};
    bool by_header = ds4_keys_match(&app->keys, head->api_key);
    bool by_bearer = ds4_keys_match(&app->keys, bearer);
    return by_header || (is_bearer && by_bearer);
}

/* ---- admission ---- */

static bool turn_away(ds4_http_reply *reply, int status, const char *message, const char *headers) {
    ds4_api_error_send(reply,
                       &(ds4_api_error){.status = status, .message = message, .headers = headers});
    return false;
}

static void allow_origin(ds4_http_reply *reply, ds4_http_text origin) {
    ds4_strbuf lines = {0};
    ds4_strbuf_puts(&lines, "Access-Control-Allow-Origin: ");
    ds4_strbuf_append(&lines, origin.data, origin.n);
    ds4_strbuf_puts(&lines,
                    "\r\nVary: Origin\r\n"
                    "Access-Control-Allow-Methods: GET, POST, DELETE, OPTIONS\r\n"
                    "Access-Control-Allow-Headers: Authorization, Content-Type, x-api-key, *\r\n");
    if (!lines.failed) ds4_http_reply_set_headers(reply, lines.data);
    ds4_strbuf_free(&lines);
}

static bool is_json(ds4_http_text type) {
    const char *semicolon = type.data != NULL ? memchr(type.data, ';', type.n) : NULL;
    if (semicolon != NULL) type.n = (size_t)(semicolon - type.data);
    while (type.n > 0 && type.data[type.n - 1] == ' ') type.n--;
    return ds4_http_text_equals_nocase(type, "application/json");
}

static bool check_caller(ds4_app *app, const ds4_http_head *head, bool open,
                         ds4_http_reply *reply) {
    if (!host_is_allowed(app, head))
        return turn_away(reply, 403, "this Host name is not served (see --allowed-host)", NULL);
    if (head->origin.data != NULL) {
        bool own = !app->flags->no_webui && is_own_origin(head);
        if (!own && !origin_is_allowed(app, head->origin))
            return turn_away(reply, 403,
                             "requests of web pages of this origin are refused (see --cors)", NULL);
        if (!own) allow_origin(reply, head->origin);
        if (head->method == DS4_HTTP_POST && !is_json(head->content_type))
            return turn_away(reply, 415, "the Content-Type must be application/json", NULL);
    }
    if (!open && !has_key(app, head))
        return turn_away(reply, 401, "a valid API key is needed", "WWW-Authenticate: Bearer\r\n");
    return true;
}

static bool admit(void *context, const ds4_http_head *head, ds4_http_reply *reply) {
    ds4_app *app = context;
    const route *found = find_route(head->path);
    route_kind target = found->kind;
    ds4_http_reply_set_tag(reply, (int)found->shape);
    if (head->method == DS4_HTTP_OPTIONS) {
        if (head->origin.data != NULL && origin_is_allowed(app, head->origin))
            allow_origin(reply, head->origin);
        ds4_http_reply_send(reply, 204, "Allow: GET, HEAD, POST, DELETE, OPTIONS\r\n", NULL, NULL,
                            0);
        return false;
    }
    if (!check_caller(app, head, found->open, reply)) return false;
    if (target == ROUTE_NONE) return turn_away(reply, 404, "unknown endpoint", NULL);
    if (target == ROUTE_TASK) {
        if (head->method != DS4_HTTP_POST)
            return turn_away(reply, 405, "this endpoint takes POST requests",
                             "Allow: POST, OPTIONS\r\n");
        if (head->framing == DS4_HTTP_NO_BODY)
            return turn_away(reply, 411, "a POST request needs a Content-Length", NULL);
        if (ds4_app_get_state(app) == DS4_APP_STOPPING) {
            ds4_api_error_unavailable(reply, "shutting_down", "the server is shutting down");
            return false;
        }
        return true;
    }
    if (target == ROUTE_RESPONSE && head->method == DS4_HTTP_DELETE) return true;
    if (head->method != DS4_HTTP_GET && head->method != DS4_HTTP_HEAD)
        return turn_away(reply, 405, "this endpoint takes GET requests",
                         "Allow: GET, HEAD, OPTIONS\r\n");
    return true;
}

static void handle(void *context, const ds4_http_head *head, ds4_strbuf *body,
                   ds4_http_reply *reply) {
    ds4_app *app = context;
    const route *found = find_route(head->path);
    switch (found->kind) {
    case ROUTE_SHOW:
        found->show(app, reply);
        break;
    case ROUTE_MODEL:
        ds4_api_models_get(app, behind(head->path, model_prefix), reply);
        break;
    case ROUTE_RESPONSE: {
        ds4_http_text id = behind(head->path, response_prefix);
        ds4_api_stored_response(app, id.data, id.n, head->method == DS4_HTTP_DELETE, reply);
        break;
    }
    case ROUTE_TASK:
        if (!ds4_workers_submit(app->workers, found->run, found->light, body, reply))
            ds4_api_error_busy(reply, "too many requests are waiting already; try again later");
        else
            app->wanted(app->callback_context);
        break;
    case ROUTE_NONE:
        break; /* admit answered it */
    }
}

static void refuse(void *context, ds4_http_refusal refusal, ds4_http_reply *reply) {
    (void)context;
    const char *headers = refusal.status == 503 ? "Retry-After: 1\r\n" : NULL;
    turn_away(reply, refusal.status, refusal.reason, headers);
}

static void begun(void *context, ds4_http_reply *reply) {
    ds4_app *app = context;
    char id[40];
    unsigned long long count = atomic_fetch_add(&app->n_connections, 1) + 1;
    snprintf(id, sizeof id, "req_%08x%08llx", (unsigned)app->nonce, count);
    ds4_http_reply_set_id(reply, id);
}

static void ended(void *context, const ds4_http_summary *summary) {
    static const char *const methods[] = {"GET", "HEAD", "POST", "OPTIONS", "DELETE", "other"};
    ds4_app *app = context;
    const char *name = "malformed", *method = "-";
    if (summary->head != NULL) {
        name = find_route(summary->head->path)->path;
        method = methods[summary->head->method];
    }
    int status = summary->complete && summary->status != 0 ? summary->status : STATUS_CLIENT_LEFT;
    ds4_metrics_count_request(&app->metrics, name, status);
    /* The scheduler tells about answers; this is for those who look for a fault. */
    bool fault = status >= 500 && status != 503 && status != 529;
    ds4_log_kind kind = fault ? DS4_LOG_WARNING : DS4_LOG_DEBUG;
    ds4_log_request(app->log, kind, ds4_http_reply_id(summary->reply), "%s %s %d %.1f ms", method,
                    name, status, 1e3 * summary->seconds);
}

const ds4_http_handlers ds4_routes = {
    .begun = begun, .admit = admit, .handle = handle, .refuse = refuse, .ended = ended};
