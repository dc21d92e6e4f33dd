/* The fields that several protocols have: sampling, limits, thinking. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "chat/body_reader.h"

ds4_status ds4_field_model(ds4_body_reader *b, const char *param, ds4_json_value value) {
    return ds4_body_string(b, param, value, DS4_REQUEST_MAX_NAME_BYTES, &b->request->model);
}

ds4_status ds4_field_max_tokens(ds4_body_reader *b, const char *param, ds4_json_value value) {
    double number = 0;
    ds4_status status = ds4_body_number(b, param, value, &number);
    if (status != DS4_OK) return status;
    if (number < 1 || (number < 1e15 && number != floor(number)))
        return ds4_body_out_of_range(b, param, "a whole number of at least 1");
    b->request->max_tokens = number > (double)INT32_MAX ? INT32_MAX : (int32_t)number;
    return DS4_OK;
}

ds4_status ds4_field_stream(ds4_body_reader *b, const char *param, ds4_json_value value) {
    return ds4_body_bool(b, param, value, &b->request->stream);
}

/* ---- sampling ---- */

ds4_status ds4_field_temperature(ds4_body_reader *b, const char *param, ds4_json_value value) {
    b->request->sampling.has_temperature = true;
    return ds4_body_float(b, param, value, 0, 2, "between 0 and 2",
                          &b->request->sampling.temperature);
}

ds4_status ds4_field_top_p(ds4_body_reader *b, const char *param, ds4_json_value value) {
    static const char rule[] = "above 0 and at most 1";
    ds4_sampling_request *sampling = &b->request->sampling;
    ds4_status status = ds4_body_float(b, param, value, 0, 1, rule, &sampling->top_p);
    if (status != DS4_OK) return status;
    if (sampling->top_p <= 0) return ds4_body_out_of_range(b, param, rule);
    sampling->has_top_p = true;
    return DS4_OK;
}

ds4_status ds4_field_min_p(ds4_body_reader *b, const char *param, ds4_json_value value) {
    b->request->sampling.has_min_p = true;
    return ds4_body_float(b, param, value, 0, 1, "between 0 and 1", &b->request->sampling.min_p);
}

ds4_status ds4_field_top_k(ds4_body_reader *b, const char *param, ds4_json_value value) {
    double number = 0;
    ds4_status status = ds4_body_number(b, param, value, &number);
    if (status != DS4_OK) return status;
    if (number < -1 || number > (double)INT32_MAX || number != floor(number))
        return ds4_body_out_of_range(b, param, "a whole number of at least 0 (or -1 for off)");
    b->request->sampling.top_k = number < 0 ? 0 : (int32_t)number;
    b->request->sampling.has_top_k = true;
    return DS4_OK;
}

/* Fractions are cut off and what is not above 0 means "no seed", as other servers of this model
 * have it. */
ds4_status ds4_field_seed(ds4_body_reader *b, const char *param, ds4_json_value value) {
    if (ds4_json_uint64(value, &b->request->sampling.seed)) return DS4_OK;
    double number = 0;
    ds4_status status = ds4_body_number(b, param, value, &number);
    if (status != DS4_OK) return status;
    if (number >= 18446744073709551616.0) return ds4_body_out_of_range(b, param, "below 2^64");
    b->request->sampling.seed = number > 0 ? (uint64_t)number : 0;
    return DS4_OK;
}

/* ---- steering ---- */

static ds4_status read_policy(ds4_body_reader *b, ds4_json_value value) {
    static const struct {
        const char *name;
        ds4_steer_policy policy;
    } policies[] = {{"final-answer", DS4_STEER_FINAL_ANSWER},
                    {"decoding", DS4_STEER_DECODING},
                    {"always", DS4_STEER_ALWAYS},
                    {"off", DS4_STEER_OFF}};
    b->request->steering.has_policy = true;
    for (size_t i = 0; i < sizeof policies / sizeof policies[0]; i++) {
        if (value.type != DS4_JSON_STRING || !ds4_json_string_equals(value, policies[i].name))
            continue;
        b->request->steering.policy = policies[i].policy;
        return DS4_OK;
    }
    return ds4_body_out_of_range(b, "steering.policy",
                                 "one of final-answer, decoding, always, off");
}

static ds4_status read_mode(ds4_body_reader *b, ds4_json_value value) {
    b->request->steering.has_mode = true;
    b->request->steering.additive =
        value.type == DS4_JSON_STRING && ds4_json_string_equals(value, "add");
    if (b->request->steering.additive ||
        (value.type == DS4_JSON_STRING && ds4_json_string_equals(value, "project")))
        return DS4_OK;
    return ds4_body_out_of_range(b, "steering.mode", "one of project, add");
}

/* {"ffn", "attn", "policy", "mode"}, all optional; any other member is a mistake that would go
 * unnoticed. */
ds4_status ds4_field_steering(ds4_body_reader *b, const char *param, ds4_json_value value) {
    static const char range[] = "between -100 and 100";
    ds4_steering_wish *wish = &b->request->steering;
    if (value.type != DS4_JSON_OBJECT) return ds4_body_wrong_type(b, param, "an object", value);
    *wish = (ds4_steering_wish){.given = true};
    ds4_json_cursor cursor = ds4_json_enter(value);
    ds4_json_value key, member;
    ds4_status status = DS4_OK;
    while (status == DS4_OK && ds4_json_next_member(&cursor, &key, &member)) {
        if (ds4_json_string_equals(key, "ffn")) {
            wish->has_ffn = true;
            status = ds4_body_float(b, "steering.ffn", member, -100, 100, range, &wish->ffn);
        } else if (ds4_json_string_equals(key, "attn")) {
            wish->has_attn = true;
            status = ds4_body_float(b, "steering.attn", member, -100, 100, range, &wish->attn);
        } else if (ds4_json_string_equals(key, "policy")) {
            status = read_policy(b, member);
        } else if (ds4_json_string_equals(key, "mode")) {
            status = read_mode(b, member);
        } else {
            status = ds4_request_refuse(b->failure, DS4_FORMAT, "invalid_value", param,
                                        "steering has only the members ffn, attn, policy and mode");
        }
    }
    return status;
}

ds4_status ds4_field_penalty(ds4_body_reader *b, const char *param, ds4_json_value value) {
    ds4_sampling_request *sampling = &b->request->sampling;
    float *target = param[0] == 'p' ? &sampling->presence_penalty : &sampling->frequency_penalty;
    return ds4_body_float(b, param, value, -2, 2, "between -2 and 2", target);
}

ds4_status ds4_field_repetition_penalty(ds4_body_reader *b, const char *param,
                                        ds4_json_value value) {
    return ds4_body_float(b, param, value, 0.01, 10, "between 0.01 and 10",
                          &b->request->sampling.repetition_penalty);
}

/* The keys are token ids in decimal; whether the vocabulary has them is the caller's to check. */
static bool read_token_id(ds4_json_value key, int32_t *id) {
    int64_t number = 0;
    if (key.n < 3 || key.n > 12) return false;
    for (size_t i = 1; i + 1 < key.n; i++) {
        if (key.text[i] < '0' || key.text[i] > '9') return false;
        number = number * 10 + (key.text[i] - '0');
    }
    *id = (int32_t)number;
    return number <= INT32_MAX;
}

ds4_status ds4_field_logit_bias(ds4_body_reader *b, const char *param, ds4_json_value value) {
    if (value.type != DS4_JSON_OBJECT) return ds4_body_wrong_type(b, param, "an object", value);
    ds4_json_cursor cursor = ds4_json_enter(value);
    ds4_json_value key, bias;
    size_t n = 0;
    while (ds4_json_next_member(&cursor, &key, &bias)) n++;
    if (n > DS4_REQUEST_MAX_BIASES)
        return ds4_request_refuse(b->failure, DS4_FORMAT, "invalid_value", param,
                                  "%s has more than %u members", param, DS4_REQUEST_MAX_BIASES);
    ds4_logit_bias *biases = ds4_chat_request_alloc(b->request, n * sizeof *biases);
    if (biases == NULL) return ds4_body_no_memory(b);
    cursor = ds4_json_enter(value);
    for (size_t i = 0; ds4_json_next_member(&cursor, &key, &bias); i++) {
        ds4_param_path path;
        snprintf(path, sizeof path, "%s.%.*s", param, (int)(key.n < 14 ? key.n - 2 : 12),
                 key.text + 1);
        if (!read_token_id(key, &biases[i].id))
            return ds4_request_refuse(b->failure, DS4_FORMAT, "invalid_value", param,
                                      "%s: a key is no token id", param);
        ds4_status status =
            ds4_body_float(b, path, bias, -100, 100, "between -100 and 100", &biases[i].bias);
        if (status != DS4_OK) return status;
    }
    b->request->sampling.biases = biases;
    b->request->sampling.n_biases = n;
    return DS4_OK;
}

ds4_status ds4_field_stop(ds4_body_reader *b, const char *name, ds4_json_value value) {
    if (value.type != DS4_JSON_STRING && value.type != DS4_JSON_ARRAY)
        return ds4_body_wrong_type(b, name, "a string or an array of strings", value);
    ds4_text *stops = ds4_chat_request_alloc(b->request, DS4_REQUEST_MAX_STOPS * sizeof *stops);
    if (stops == NULL) return ds4_body_no_memory(b);
    size_t n = 0;
    ds4_json_cursor cursor = ds4_json_enter(value);
    ds4_json_value element = value;
    bool more = value.type == DS4_JSON_STRING || ds4_json_next_element(&cursor, &element);
    for (size_t i = 0; more; i++) {
        ds4_param_path param;
        snprintf(param, sizeof param, "%s", name);
        if (value.type == DS4_JSON_ARRAY) snprintf(param, sizeof param, "%s[%zu]", name, i);
        if (i == DS4_REQUEST_MAX_STOPS)
            return ds4_request_refuse(b->failure, DS4_FORMAT, "invalid_value", name,
                                      "%s has more than %u sequences", name, DS4_REQUEST_MAX_STOPS);
        ds4_status status =
            ds4_body_string(b, param, element, DS4_REQUEST_MAX_STOP_BYTES, &stops[n]);
        if (status != DS4_OK) return status;
        if (stops[n].n > 0) n++;
        more = value.type == DS4_JSON_ARRAY && ds4_json_next_element(&cursor, &element);
    }
    b->request->stops = stops;
    b->request->n_stops = n;
    return DS4_OK;
}

/* ---- thinking ---- */

ds4_status ds4_field_think(ds4_body_reader *b, const char *param, ds4_json_value value) {
    bool enabled = true;
    ds4_status status = ds4_body_bool(b, param, value, &enabled);
    if (status != DS4_OK) return status;
    b->request->think.disabled = !enabled;
    b->think_explicit = true;
    return DS4_OK;
}

ds4_status ds4_field_template_kwargs(ds4_body_reader *b, const char *param, ds4_json_value value) {
    if (value.type != DS4_JSON_OBJECT) return ds4_body_wrong_type(b, param, "an object", value);
    ds4_json_value enable;
    ds4_status status = DS4_OK;
    if (ds4_body_find(value, "enable_thinking", &enable))
        status = ds4_field_think(b, "chat_template_kwargs.enable_thinking", enable);
    if (status == DS4_OK && ds4_body_find(value, "thinking", &enable))
        status = ds4_field_think(b, "chat_template_kwargs.thinking", enable);
    return status;
}

ds4_status ds4_field_think_budget(ds4_body_reader *b, const char *param, ds4_json_value value) {
    double number = 0;
    ds4_status status = ds4_body_number(b, param, value, &number);
    if (status != DS4_OK) return status;
    if (number < 1 || (number < 1e15 && number != floor(number)))
        return ds4_body_out_of_range(b, param, "a whole number of at least 1");
    b->request->think.budget = number > (double)INT32_MAX ? INT32_MAX : (uint32_t)number;
    return DS4_OK;
}

/* A boolean, or {"type": "enabled" | "disabled" | ..., "budget_tokens": n}. */
ds4_status ds4_field_thinking(ds4_body_reader *b, const char *param, ds4_json_value value) {
    ds4_think_controls *think = &b->request->think;
    if (value.type == DS4_JSON_TRUE || value.type == DS4_JSON_FALSE)
        return ds4_field_think(b, param, value);
    if (value.type != DS4_JSON_OBJECT)
        return ds4_body_wrong_type(b, param, "a boolean or an object", value);
    b->think_explicit = true;
    ds4_json_value type, budget;
    if (ds4_body_find(value, "type", &type)) {
        if (type.type != DS4_JSON_STRING)
            return ds4_body_wrong_type(b, "thinking.type", "a string", type);
        if (ds4_json_string_equals(type, "enabled")) think->disabled = false;
        if (ds4_json_string_equals(type, "disabled")) think->disabled = true;
        /* other types, such as "adaptive", leave it to the default */
    }
    if (!ds4_body_find(value, "budget_tokens", &budget)) return DS4_OK;
    return ds4_field_think_budget(b, "thinking.budget_tokens", budget);
}

ds4_status ds4_field_effort(ds4_body_reader *b, const char *param, ds4_json_value value) {
    ds4_text name;
    ds4_status status = ds4_body_string(b, param, value, DS4_REQUEST_MAX_NAME_BYTES, &name);
    if (status != DS4_OK) return status;
    if (!ds4_effort_from_name(name, &b->request->think.effort))
        return ds4_body_out_of_range(b, param,
                                     "one of none, minimal, low, medium, high, xhigh, max");
    return DS4_OK;
}

void ds4_body_apply_model_name(ds4_body_reader *b) {
    /* An effort is a control of its own, so it outweighs what the model's name says. */
    ds4_chat_request *r = b->request;
    if (!b->think_explicit && r->think.effort == DS4_EFFORT_DEFAULT)
        r->think.disabled = ds4_model_name_disables_thinking(r->model);
}

/* ---- the rest ---- */

ds4_status ds4_field_parallel_tool_calls(ds4_body_reader *b, const char *param,
                                         ds4_json_value value) {
    bool parallel = true;
    ds4_status status = ds4_body_bool(b, param, value, &parallel);
    b->request->one_call = !parallel;
    return status;
}

ds4_status ds4_field_refused(ds4_body_reader *b, const char *param, ds4_json_value value) {
    bool empty = (value.type == DS4_JSON_NUMBER && ds4_json_number(value) == 0) ||
                 value.type == DS4_JSON_NULL || value.type == DS4_JSON_FALSE ||
                 (value.type == DS4_JSON_STRING && value.n == 2);
    if (value.type == DS4_JSON_ARRAY) empty = ds4_body_count(value) == 0;
    if (value.type == DS4_JSON_OBJECT) {
        ds4_json_cursor cursor = ds4_json_enter(value);
        ds4_json_value key, member;
        empty = !ds4_json_next_member(&cursor, &key, &member);
    }
    if (empty || !b->options.for_generation) return DS4_OK;
    return ds4_request_refuse(b->failure, DS4_UNSUPPORTED, "unsupported_parameter", param,
                              "%s is not supported", param);
}

ds4_status ds4_body_check_turns(ds4_body_reader *b, const char *param) {
    const ds4_chat_request *r = b->request;
    if (!b->options.for_generation) return DS4_OK;
    if (r->n_messages == 0)
        return ds4_request_refuse(b->failure, DS4_FORMAT, "invalid_value", param, "%s is empty",
                                  param);
    size_t last = r->n_messages;
    while (last > 0 && r->messages[last - 1].role == DS4_ROLE_SYSTEM) last--;
    if (last == 0 || r->messages[last - 1].role == DS4_ROLE_ASSISTANT)
        return ds4_request_refuse(
            b->failure, DS4_FORMAT, "invalid_value", param,
            "%s: the last turn must be a user's or a tool's, or there is nothing to answer", param);
    return DS4_OK;
}
