#include "chat/openai_request.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "chat/openai_internal.h"

ds4_status ds4_request_refuse(ds4_request_error *failure, ds4_status status, const char *code,
                              const char *param, const char *format, ...) {
    if (failure == NULL) return status;
    bool ours = status == DS4_NO_MEMORY || status == DS4_INTERNAL;
    failure->status = ours ? 500 : 400;
    failure->type = ours ? "server_error" : "invalid_request_error";
    failure->code = code;
    snprintf(failure->param, sizeof failure->param, "%s", param);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(failure->message, sizeof failure->message, format, arguments);
    va_end(arguments);
    return status;
}

const char *ds4_openai_type_name(ds4_json_type type) {
    static const char *const names[] = {"null",     "a boolean", "a boolean", "a number",
                                        "a string", "an array",  "an object"};
    return names[type];
}

ds4_status ds4_openai_wrong_type(openai_body *b, const char *param, const char *wanted,
                                 ds4_json_value value) {
    return ds4_request_refuse(b->failure, DS4_FORMAT, "invalid_type", param,
                              "%s must be %s, not %s", param, wanted,
                              ds4_openai_type_name(value.type));
}

ds4_status ds4_openai_no_memory(openai_body *b) {
    return ds4_request_refuse(b->failure, DS4_NO_MEMORY, NULL, "",
                              "out of memory while reading the request");
}

static ds4_status out_of_range(openai_body *b, const char *param, const char *rule) {
    return ds4_request_refuse(b->failure, DS4_FORMAT, "invalid_value", param, "%s must be %s",
                              param, rule);
}

static ds4_status unsupported(openai_body *b, const char *param, const char *why) {
    return ds4_request_refuse(b->failure, DS4_UNSUPPORTED, "unsupported_parameter", param, "%s",
                              why);
}

ds4_status ds4_openai_string(openai_body *b, const char *param, ds4_json_value value, size_t limit,
                             ds4_text *text) {
    if (value.type != DS4_JSON_STRING) return ds4_openai_wrong_type(b, param, "a string", value);
    ds4_strbuf_clear(&b->scratch);
    ds4_json_string_decode(value, &b->scratch);
    if (b->scratch.failed) return ds4_openai_no_memory(b);
    if (b->scratch.n > limit)
        return ds4_request_refuse(b->failure, DS4_FORMAT, "invalid_value", param,
                                  "%s is longer than %zu bytes", param, limit);
    *text = ds4_chat_request_text(b->request, b->scratch.data, b->scratch.n);
    return text->data != NULL ? DS4_OK : ds4_openai_no_memory(b);
}

/* ---- scalars ---- */

static ds4_status read_bool(openai_body *b, const char *param, ds4_json_value value, bool *target) {
    if (value.type != DS4_JSON_TRUE && value.type != DS4_JSON_FALSE)
        return ds4_openai_wrong_type(b, param, "a boolean", value);
    *target = value.type == DS4_JSON_TRUE;
    return DS4_OK;
}

static ds4_status read_number(openai_body *b, const char *param, ds4_json_value value,
                              double *target) {
    if (value.type != DS4_JSON_NUMBER) return ds4_openai_wrong_type(b, param, "a number", value);
    *target = ds4_json_number(value);
    return isnan(*target) ? ds4_openai_no_memory(b) : DS4_OK;
}

static ds4_status read_model(openai_body *b, ds4_json_value value) {
    return ds4_openai_string(b, "model", value, DS4_REQUEST_MAX_NAME_BYTES, &b->request->model);
}

static ds4_status read_max(openai_body *b, const char *param, ds4_json_value value) {
    double number = 0;
    ds4_status status = read_number(b, param, value, &number);
    if (status != DS4_OK) return status;
    if (number < 1 || (number < 1e15 && number != floor(number)))
        return out_of_range(b, param, "a whole number of at least 1");
    b->request->max_tokens = number > (double)INT32_MAX ? INT32_MAX : (int32_t)number;
    return DS4_OK;
}

static ds4_status read_max_tokens(openai_body *b, ds4_json_value value) {
    return read_max(b, "max_tokens", value);
}

static ds4_status read_max_completion_tokens(openai_body *b, ds4_json_value value) {
    return read_max(b, "max_completion_tokens", value);
}

static ds4_status read_temperature(openai_body *b, ds4_json_value value) {
    double number = 0;
    ds4_status status = read_number(b, "temperature", value, &number);
    if (status != DS4_OK) return status;
    if (number < 0 || number > 2) return out_of_range(b, "temperature", "between 0 and 2");
    b->request->sampling.temperature = (float)number;
    b->request->sampling.has_temperature = true;
    return DS4_OK;
}

static ds4_status read_top_p(openai_body *b, ds4_json_value value) {
    double number = 0;
    ds4_status status = read_number(b, "top_p", value, &number);
    if (status != DS4_OK) return status;
    if (number <= 0 || number > 1) return out_of_range(b, "top_p", "above 0 and at most 1");
    b->request->sampling.top_p = (float)number;
    b->request->sampling.has_top_p = true;
    return DS4_OK;
}

static ds4_status read_min_p(openai_body *b, ds4_json_value value) {
    double number = 0;
    ds4_status status = read_number(b, "min_p", value, &number);
    if (status != DS4_OK) return status;
    if (number < 0 || number > 1) return out_of_range(b, "min_p", "between 0 and 1");
    b->request->sampling.min_p = (float)number;
    b->request->sampling.has_min_p = true;
    return DS4_OK;
}

static ds4_status read_top_k(openai_body *b, ds4_json_value value) {
    double number = 0;
    ds4_status status = read_number(b, "top_k", value, &number);
    if (status != DS4_OK) return status;
    if (number < -1 || number > (double)INT32_MAX || number != floor(number))
        return out_of_range(b, "top_k", "a whole number of at least 0 (or -1 for off)");
    b->request->sampling.top_k = number < 0 ? 0 : (int32_t)number;
    b->request->sampling.has_top_k = true;
    return DS4_OK;
}

/* Fractions are cut off and what is not above 0 means "no seed", as other servers of this model
 * have it. */
static ds4_status read_seed(openai_body *b, ds4_json_value value) {
    if (ds4_json_uint64(value, &b->request->sampling.seed)) return DS4_OK;
    double number = 0;
    ds4_status status = read_number(b, "seed", value, &number);
    if (status != DS4_OK) return status;
    if (number >= 18446744073709551616.0) return out_of_range(b, "seed", "below 2^64");
    b->request->sampling.seed = number > 0 ? (uint64_t)number : 0;
    return DS4_OK;
}

static ds4_status read_stream(openai_body *b, ds4_json_value value) {
    return read_bool(b, "stream", value, &b->request->stream);
}

static ds4_status read_stream_options(openai_body *b, ds4_json_value value) {
    if (value.type != DS4_JSON_OBJECT)
        return ds4_openai_wrong_type(b, "stream_options", "an object", value);
    ds4_json_value include;
    if (!ds4_json_find(value, "include_usage", &include) || include.type == DS4_JSON_NULL)
        return DS4_OK;
    return read_bool(b, "stream_options.include_usage", include, &b->request->stream_usage);
}

static ds4_status read_stop(openai_body *b, ds4_json_value value) {
    if (value.type != DS4_JSON_STRING && value.type != DS4_JSON_ARRAY)
        return ds4_openai_wrong_type(b, "stop", "a string or an array of strings", value);
    ds4_text *stops = ds4_chat_request_alloc(b->request, DS4_REQUEST_MAX_STOPS * sizeof *stops);
    if (stops == NULL) return ds4_openai_no_memory(b);
    size_t n = 0;
    ds4_json_cursor cursor = ds4_json_enter(value);
    ds4_json_value element = value;
    bool more = value.type == DS4_JSON_STRING || ds4_json_next_element(&cursor, &element);
    for (size_t i = 0; more; i++) {
        char param[96] = "stop";
        if (value.type == DS4_JSON_ARRAY) snprintf(param, sizeof param, "stop[%zu]", i);
        if (i == DS4_REQUEST_MAX_STOPS)
            return ds4_request_refuse(b->failure, DS4_FORMAT, "invalid_value", "stop",
                                      "stop has more than %u sequences", DS4_REQUEST_MAX_STOPS);
        ds4_status status =
            ds4_openai_string(b, param, element, DS4_REQUEST_MAX_STOP_BYTES, &stops[n]);
        if (status != DS4_OK) return status;
        if (stops[n].n > 0) n++;
        more = value.type == DS4_JSON_ARRAY && ds4_json_next_element(&cursor, &element);
    }
    b->request->stops = stops;
    b->request->n_stops = n;
    return DS4_OK;
}

/* ---- thinking ---- */

static ds4_status read_think_bool(openai_body *b, const char *param, ds4_json_value value) {
    bool enabled = true;
    ds4_status status = read_bool(b, param, value, &enabled);
    if (status != DS4_OK) return status;
    b->request->think.disabled = !enabled;
    b->think_explicit = true;
    return DS4_OK;
}

static ds4_status read_think(openai_body *b, ds4_json_value value) {
    return read_think_bool(b, "think", value);
}

static ds4_status read_enable_thinking(openai_body *b, ds4_json_value value) {
    return read_think_bool(b, "enable_thinking", value);
}

static ds4_status read_template_kwargs(openai_body *b, ds4_json_value value) {
    if (value.type != DS4_JSON_OBJECT)
        return ds4_openai_wrong_type(b, "chat_template_kwargs", "an object", value);
    ds4_json_value enable;
    if (!ds4_json_find(value, "enable_thinking", &enable) || enable.type == DS4_JSON_NULL)
        return DS4_OK;
    return read_think_bool(b, "chat_template_kwargs.enable_thinking", enable);
}

static ds4_status read_thinking(openai_body *b, ds4_json_value value) {
    if (value.type != DS4_JSON_OBJECT) {
        if (value.type == DS4_JSON_TRUE || value.type == DS4_JSON_FALSE)
            return read_think_bool(b, "thinking", value);
        return ds4_openai_wrong_type(b, "thinking", "a boolean or an object", value);
    }
    b->think_explicit = true;
    ds4_json_value type;
    if (!ds4_json_find(value, "type", &type) || type.type == DS4_JSON_NULL) return DS4_OK;
    if (type.type != DS4_JSON_STRING)
        return ds4_openai_wrong_type(b, "thinking.type", "a string", type);
    if (ds4_json_string_equals(type, "enabled")) b->request->think.disabled = false;
    if (ds4_json_string_equals(type, "disabled")) b->request->think.disabled = true;
    return DS4_OK; /* other types, such as "adaptive", leave it to the default */
}

static ds4_status read_effort(openai_body *b, ds4_json_value value) {
    ds4_text name;
    ds4_status status =
        ds4_openai_string(b, "reasoning_effort", value, DS4_REQUEST_MAX_NAME_BYTES, &name);
    if (status != DS4_OK) return status;
    if (!ds4_effort_from_name(name, &b->request->think.effort))
        return out_of_range(b, "reasoning_effort",
                            "one of none, minimal, low, medium, high, xhigh, max");
    return DS4_OK;
}

/* ---- what we cannot do ---- */

static ds4_status read_n(openai_body *b, ds4_json_value value) {
    double number = 0;
    ds4_status status = read_number(b, "n", value, &number);
    if (status != DS4_OK || !b->options.for_generation || number == 1) return status;
    return unsupported(b, "n", "only n = 1 is supported");
}

static ds4_status read_logprobs(openai_body *b, ds4_json_value value) {
    bool wanted = false;
    ds4_status status = read_bool(b, "logprobs", value, &wanted);
    if (status != DS4_OK || !b->options.for_generation || !wanted) return status;
    return unsupported(b, "logprobs", "logprobs are not supported");
}

static ds4_status refuse_nonzero(openai_body *b, const char *param, ds4_json_value value) {
    double number = 0;
    ds4_status status = read_number(b, param, value, &number);
    if (status != DS4_OK || !b->options.for_generation || number == 0) return status;
    return ds4_request_refuse(b->failure, DS4_UNSUPPORTED, "unsupported_parameter", param,
                              "%s is not supported", param);
}

static ds4_status read_top_logprobs(openai_body *b, ds4_json_value value) {
    return refuse_nonzero(b, "top_logprobs", value);
}

static ds4_status read_presence_penalty(openai_body *b, ds4_json_value value) {
    return refuse_nonzero(b, "presence_penalty", value);
}

static ds4_status read_frequency_penalty(openai_body *b, ds4_json_value value) {
    return refuse_nonzero(b, "frequency_penalty", value);
}

static ds4_status read_logit_bias(openai_body *b, ds4_json_value value) {
    if (value.type != DS4_JSON_OBJECT)
        return ds4_openai_wrong_type(b, "logit_bias", "an object", value);
    ds4_json_cursor cursor = ds4_json_enter(value);
    ds4_json_value key, bias;
    if (!b->options.for_generation || !ds4_json_next_member(&cursor, &key, &bias)) return DS4_OK;
    return unsupported(b, "logit_bias", "logit_bias is not supported");
}

/* The schema itself is read by whoever compiles it (src/constraint). */
static ds4_status read_json_schema(openai_body *b, ds4_json_value format) {
    ds4_json_value wrapper, schema;
    if (!ds4_json_find(format, "json_schema", &wrapper) || wrapper.type != DS4_JSON_OBJECT)
        return ds4_request_refuse(b->failure, DS4_FORMAT, "missing_required_parameter",
                                  "response_format.json_schema",
                                  "response_format.json_schema must be an object with a schema");
    if (!ds4_json_find(wrapper, "schema", &schema) || schema.type == DS4_JSON_NULL)
        return ds4_request_refuse(b->failure, DS4_FORMAT, "missing_required_parameter",
                                  "response_format.json_schema.schema",
                                  "response_format.json_schema.schema is missing");
    ds4_response_format *target = &b->request->format;
    target->kind = DS4_FORMAT_JSON_SCHEMA;
    target->schema = ds4_chat_request_text(b->request, schema.text, schema.n);
    target->param = DS4_TEXT("response_format.json_schema.schema");
    return target->schema.data != NULL ? DS4_OK : ds4_openai_no_memory(b);
}

static ds4_status read_response_format(openai_body *b, ds4_json_value value) {
    if (value.type != DS4_JSON_OBJECT)
        return ds4_openai_wrong_type(b, "response_format", "an object", value);
    ds4_json_value type;
    b->request->format = (ds4_response_format){.kind = DS4_FORMAT_TEXT};
    if (!ds4_json_find(value, "type", &type) || type.type != DS4_JSON_STRING)
        return ds4_request_refuse(b->failure, DS4_FORMAT, "missing_required_parameter",
                                  "response_format.type", "response_format.type is missing");
    if (ds4_json_string_equals(type, "text")) return DS4_OK;
    if (ds4_json_string_equals(type, "json_schema")) return read_json_schema(b, value);
    if (!ds4_json_string_equals(type, "json_object"))
        return ds4_request_refuse(
            b->failure, DS4_FORMAT, "invalid_value", "response_format.type",
            "response_format.type must be one of text, json_object, json_schema");
    b->request->format.kind = DS4_FORMAT_JSON_OBJECT;
    return DS4_OK;
}

static ds4_status read_parallel_calls(openai_body *b, ds4_json_value value) {
    bool parallel = true;
    ds4_status status = read_bool(b, "parallel_tool_calls", value, &parallel);
    b->request->one_call = !parallel;
    return status;
}

static ds4_status read_functions(openai_body *b, ds4_json_value value) {
    if (value.type != DS4_JSON_ARRAY)
        return ds4_openai_wrong_type(b, "functions", "an array", value);
    if (!b->options.for_generation) return DS4_OK;
    return unsupported(b, "functions", "functions are not supported, use tools");
}

/* ---- the body ---- */

/* null counts as absent. Members that are not here have no bearing on the answer and are passed
 * over. */
static const struct {
    const char *name;
    ds4_status (*read)(openai_body *b, ds4_json_value value);
} fields[] = {
    {"model", read_model},
    {"messages", ds4_openai_read_messages},
    {"tools", ds4_openai_read_tools},
    {"tool_choice", ds4_openai_read_tool_choice},
    {"max_tokens", read_max_tokens},
    {"max_completion_tokens", read_max_completion_tokens},
    {"temperature", read_temperature},
    {"top_p", read_top_p},
    {"top_k", read_top_k},
    {"min_p", read_min_p},
    {"seed", read_seed},
    {"stop", read_stop},
    {"stream", read_stream},
    {"stream_options", read_stream_options},
    {"thinking", read_thinking},
    {"think", read_think},
    {"enable_thinking", read_enable_thinking},
    {"chat_template_kwargs", read_template_kwargs},
    {"reasoning_effort", read_effort},
    {"n", read_n},
    {"logprobs", read_logprobs},
    {"top_logprobs", read_top_logprobs},
    {"presence_penalty", read_presence_penalty},
    {"frequency_penalty", read_frequency_penalty},
    {"logit_bias", read_logit_bias},
    {"response_format", read_response_format},
    {"parallel_tool_calls", read_parallel_calls},
    {"functions", read_functions},
};

static ds4_status read_fields(openai_body *b, ds4_json_value body) {
    ds4_json_cursor cursor = ds4_json_enter(body);
    ds4_json_value key, value;
    while (ds4_json_next_member(&cursor, &key, &value)) {
        for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
            if (value.type == DS4_JSON_NULL || !ds4_json_string_equals(key, fields[i].name))
                continue;
            ds4_status status = fields[i].read(b, value);
            if (status != DS4_OK) return status;
        }
    }
    return DS4_OK;
}

static ds4_status check_whole(openai_body *b) {
    ds4_chat_request *r = b->request;
    if (!b->has_messages)
        return ds4_request_refuse(b->failure, DS4_FORMAT, "missing_required_parameter", "messages",
                                  "missing messages");
    /* An effort is a control of its own, so it outweighs what the model's name says. */
    if (!b->think_explicit && r->think.effort == DS4_EFFORT_DEFAULT)
        r->think.disabled = ds4_model_name_disables_thinking(r->model);
    if (!b->options.for_generation) return DS4_OK;
    if (r->n_messages == 0)
        return ds4_request_refuse(b->failure, DS4_FORMAT, "invalid_value", "messages",
                                  "messages is empty");
    size_t last = r->n_messages;
    while (last > 0 && r->messages[last - 1].role == DS4_ROLE_SYSTEM) last--;
    if (last == 0 || r->messages[last - 1].role == DS4_ROLE_ASSISTANT)
        return ds4_request_refuse(
            b->failure, DS4_FORMAT, "invalid_value", "messages",
            "the last turn must be a user's or a tool's: there is nothing to answer");
    if (r->format.kind != DS4_FORMAT_TEXT)
        return unsupported(b, "response_format.type",
                           "only response_format of type text is supported");
    if (r->tool_choice == DS4_TOOL_CHOICE_REQUIRED || r->tool_choice == DS4_TOOL_CHOICE_NAMED)
        return unsupported(b, "tool_choice",
                           "a tool call cannot be forced: use \"auto\" or \"none\"");
    return DS4_OK;
}

ds4_status ds4_openai_request_parse(const char *body, size_t n, const ds4_openai_options *options,
                                    ds4_chat_request *request, ds4_request_error *failure) {
    openai_body b = {.request = request, .failure = failure, .options = *options};
    ds4_chat_request_init(request);
    ds4_error error = {0};
    ds4_json_value value;
    ds4_status status = ds4_json_scan(body, n, DS4_JSON_DEPTH_LIMIT, &value, &error);
    if (status != DS4_OK) {
        ds4_request_refuse(failure, status, "invalid_json", "", "%s", error.message);
    } else if (value.type != DS4_JSON_OBJECT) {
        status = ds4_request_refuse(failure, DS4_FORMAT, "invalid_json", "",
                                    "body must be a JSON object");
    } else {
        status = read_fields(&b, value);
        if (status == DS4_OK) status = check_whole(&b);
    }
    ds4_strbuf_free(&b.scratch);
    if (status != DS4_OK) ds4_chat_request_free(request);
    return status;
}
