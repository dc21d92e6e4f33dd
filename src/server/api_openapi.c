/* GET /openapi.json: src/server/openapi.json, embedded at build time. */
#include "server/app.h"

extern const unsigned char ds4_openapi_json[];
extern const size_t ds4_openapi_json_size;

void ds4_api_openapi(ds4_app *app, ds4_http_reply *reply) {
    (void)app;
    ds4_http_reply_send(reply, 200, NULL, "application/json", (const char *)ds4_openapi_json,
                        ds4_openapi_json_size);
}
