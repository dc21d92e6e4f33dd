/* The dial of the server: what the operator set, what a request may ask for, and how both are told.
 */
#ifndef DS4_SERVER_STEERING_H
#define DS4_SERVER_STEERING_H

#include "server/exchange.h"

/* The dial of one request: what it wishes within the operator's limits, else the server's. False:
 * `failure` says what is wrong. */
bool ds4_server_steer(const ds4_app *app, const ds4_steering_wish *wish, ds4_steering *steering,
                      ds4_steer_policy *policy, ds4_api_error *failure);

/* Appends `,"steering":{...}` for a usage object: the dial that was applied and how many tokens
 * were evaluated under it. Nothing when the server has no direction and the request did not ask. */
void ds4_steering_json(const ds4_exchange *x, const ds4_sched_result *result, ds4_strbuf *out);

/* Appends the value of "steering" in /v1/status: null without a direction. */
void ds4_steering_status_json(const ds4_app *app, ds4_strbuf *out);

/* The log line of the start. */
void ds4_steering_log(const ds4_app *app, const char *warning);

#endif
