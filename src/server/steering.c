#include "server/steering.h"

#include <math.h>
#include <stdio.h>

#include "server/json_out.h"

static const char *policy_name(ds4_steer_policy policy) {
    static const char *const names[] = {[DS4_STEER_FINAL_ANSWER] = "final-answer",
                                        [DS4_STEER_DECODING] = "decoding",
                                        [DS4_STEER_ALWAYS] = "always",
                                        [DS4_STEER_OFF] = "off"};
    return names[policy];
}

static bool refuse(ds4_api_error *failure, const char *param, const char *message) {
    *failure =
        (ds4_api_error){.status = 400, .code = "invalid_value", .param = param, .message = message};
    return false;
}

bool ds4_server_steer(const ds4_app *app, const ds4_steering_wish *wish, ds4_steering *steering,
                      ds4_steer_policy *policy, ds4_api_error *failure) {
    const ds4_server_flags *flags = app->flags;
    *steering = app->dial.start;
    *policy = (ds4_steer_policy)flags->steering_policy;
    if (!wish->given) return true;
    bool off = wish->has_policy && wish->policy == DS4_STEER_OFF;
    if (app->dial.direction == NULL) {
        if (off || (wish->ffn == 0 && wish->attn == 0 && !wish->has_policy)) return true;
        return refuse(failure, "steering",
                      "this server has no steering direction; start it with --dir-steering-file");
    }
    if (wish->has_ffn) steering->ffn = wish->ffn;
    if (wish->has_attn) steering->attn = wish->attn;
    if (wish->has_policy) *policy = wish->policy;
    if (wish->has_mode) steering->mode = wish->additive ? DS4_STEER_ADD : DS4_STEER_PROJECT;
    double limit = flags->steering_limit;
    if (!off && wish->has_ffn && fabs((double)steering->ffn) > limit)
        return refuse(failure, "steering.ffn",
                      "steering.ffn is beyond this server's --dir-steering-limit");
    if (!off && wish->has_attn && fabs((double)steering->attn) > limit)
        return refuse(failure, "steering.attn",
                      "steering.attn is beyond this server's --dir-steering-limit");
    return true;
}

static void append_dial(const ds4_steering *steering, ds4_steer_policy policy, ds4_strbuf *out) {
    ds4_strbuf_printf(out, "\"ffn\":%.6g,\"attn\":%.6g,\"policy\":\"%s\",\"mode\":\"%s\"",
                      (double)steering->ffn, (double)steering->attn, policy_name(policy),
                      ds4_steer_mode_name(steering->mode));
}

void ds4_steering_json(const ds4_exchange *x, const ds4_sched_result *result, ds4_strbuf *out) {
    if (x->app->dial.direction == NULL && !x->request.steering.given) return;
    ds4_strbuf_puts(out, ",\"steering\":{");
    append_dial(&x->steering, x->steer_policy, out);
    ds4_strbuf_printf(out, ",\"tokens\":%u}", result->n_steered);
}

void ds4_steering_status_json(const ds4_app *app, ds4_strbuf *out) {
    if (app->dial.direction == NULL) {
        ds4_strbuf_puts(out, "null");
        return;
    }
    ds4_strbuf_puts(out, "{\"file\":");
    ds4_json_cstring(out, app->flags->dial.file);
    ds4_strbuf_putc(out, ',');
    append_dial(&app->dial.start, (ds4_steer_policy)app->flags->steering_policy, out);
    ds4_strbuf_printf(out, ",\"max_scale\":%.6g}", app->flags->steering_limit);
}

void ds4_steering_log(const ds4_app *app, const char *warning) {
    const ds4_steering *start = &app->dial.start;
    if (warning[0] != '\0') ds4_log_write(app->log, DS4_LOG_WARNING, "%s", warning);
    if (app->dial.direction == NULL) return;
    ds4_log_write(app->log, DS4_LOG_INFO,
                  "directional steering enabled: %s attn=%g ffn=%g policy=%s mode=%s",
                  app->flags->dial.file, (double)start->attn, (double)start->ffn,
                  policy_name((ds4_steer_policy)app->flags->steering_policy),
                  ds4_steer_mode_name(start->mode));
}
