/* The bodies of POST /v1/chat/completions and POST /v1/completions. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "chat/body_reader.h"

static ds4_status read_stream_options(ds4_body_reader *b, const char *param, ds4_json_value value) {
    if (value.type != DS4_JSON_OBJECT) return ds4_body_wrong_type(b, param, "an object", value);
    ds4_json_value include;
    if (!ds4_body_find(value, "include_usage", &include)) return DS4_OK;
    return ds4_body_bool(b, "stream_options.include_usage", include, &b->request->stream_usage);
}

static ds4_status read_n(ds4_body_reader *b, const char *param, ds4_json_value value) {
    double number = 0;
    ds4_status status = ds4_body_number(b, param, value, &number);
    if (status != DS4_OK || !b->options.for_generation || number == 1) return status;
    return ds4_request_refuse(b->failure, DS4_UNSUPPORTED, "unsupported_parameter", param,
                              "only %s = 1 is supported", param);
}

static ds4_status read_top_n(ds4_body_reader *b, const char *param, ds4_json_value value) {
    double number = 0;
    ds4_status status = ds4_body_number(b, param, value, &number);
    if (status != DS4_OK) return status;
    if (number < 0 || number > DS4_REQUEST_MAX_TOP_LOGPROBS || number != floor(number))
        return ds4_body_out_of_range(b, param, "a whole number from 0 to 20");
    b->request->n_top_logprobs = (uint32_t)number;
    return DS4_OK;
}

static ds4_status read_logprobs(ds4_body_reader *b, const char *param, ds4_json_value value) {
    return ds4_body_bool(b, param, value, &b->request->logprobs);
}

/* The older API's: how many alternatives, where 0 still means the tokens themselves. */
static ds4_status read_logprobs_number(ds4_body_reader *b, const char *param,
                                       ds4_json_value value) {
    if (value.type == DS4_JSON_TRUE || value.type == DS4_JSON_FALSE)
        return read_logprobs(b, param, value);
    b->request->logprobs = true;
    return read_top_n(b, param, value);
}

/* The schema itself is read by whoever compiles it (src/constraint). */
static ds4_status read_json_schema(ds4_body_reader *b, ds4_json_value format) {
    ds4_json_value wrapper, schema;
    if (!ds4_json_find(format, "json_schema", &wrapper) || wrapper.type != DS4_JSON_OBJECT)
        return ds4_request_refuse(b->failure, DS4_FORMAT, "missing_required_parameter",
                                  "response_format.json_schema",
                                  "response_format.json_schema must be an object with a schema");
    if (!ds4_body_find(wrapper, "schema", &schema))
        return ds4_request_refuse(b->failure, DS4_FORMAT, "missing_required_parameter",
                                  "response_format.json_schema.schema",
                                  "response_format.json_schema.schema is missing");
    ds4_response_format *target = &b->request->format;
    target->kind = DS4_FORMAT_JSON_SCHEMA;
    target->param = DS4_TEXT("response_format.json_schema.schema");
    return ds4_body_raw(b, schema, &target->schema);
}

static ds4_status read_response_format(ds4_body_reader *b, const char *param,
                                       ds4_json_value value) {
    if (value.type != DS4_JSON_OBJECT) return ds4_body_wrong_type(b, param, "an object", value);
    ds4_json_value type;
    b->request->format = (ds4_response_format){.kind = DS4_FORMAT_TEXT};
    if (!ds4_json_find(value, "type", &type) || type.type != DS4_JSON_STRING)
        return ds4_request_refuse(b->failure, DS4_FORMAT, "missing_required_parameter",
                                  "response_format.type", "response_format.type is missing");
    if (ds4_json_string_equals(type, "text")) return DS4_OK;
    if (ds4_json_string_equals(type, "json_schema")) return read_json_schema(b, value);
    if (!ds4_json_string_equals(type, "json_object"))
        return ds4_body_out_of_range(b, "response_format.type",
                                     "one of text, json_object, json_schema");
    b->request->format.kind = DS4_FORMAT_JSON_OBJECT;
    return DS4_OK;
}

static ds4_status read_functions(ds4_body_reader *b, const char *param, ds4_json_value value) {
    if (value.type != DS4_JSON_ARRAY) return ds4_body_wrong_type(b, param, "an array", value);
    if (!b->options.for_generation) return DS4_OK;
    return ds4_body_unsupported(b, param, "functions are not supported, use tools");
}

static ds4_status read_modalities(ds4_body_reader *b, const char *param, ds4_json_value value) {
    if (value.type != DS4_JSON_ARRAY) return ds4_body_wrong_type(b, param, "an array", value);
    ds4_json_cursor cursor = ds4_json_enter(value);
    ds4_json_value element;
    while (ds4_json_next_element(&cursor, &element))
        if (!ds4_json_string_equals(element, "text"))
            return ds4_body_unsupported(b, param, "this model writes text only");
    return DS4_OK;
}

/* Both APIs. */
static const ds4_field common_fields[] = {
    {"model", ds4_field_model},
    {"max_tokens", ds4_field_max_tokens},
    {"temperature", ds4_field_temperature},
    {"top_p", ds4_field_top_p},
    {"top_k", ds4_field_top_k},
    {"min_p", ds4_field_min_p},
    {"seed", ds4_field_seed},
    {"steering", ds4_field_steering},
    {"stop", ds4_field_stop},
    {"stream", ds4_field_stream},
    {"stream_options", read_stream_options},
    {"presence_penalty", ds4_field_penalty},
    {"frequency_penalty", ds4_field_penalty},
    {"repetition_penalty", ds4_field_repetition_penalty},
    {"logit_bias", ds4_field_logit_bias},
    {"thinking", ds4_field_thinking},
    {"think", ds4_field_think},
    {"enable_thinking", ds4_field_think},
    {"thinking_budget", ds4_field_think_budget},
    {"reasoning_effort", ds4_field_effort},
    {"n", read_n},
    /* What other servers know and what would change the answer. */
    {"best_of", read_n},
    {"use_beam_search", ds4_field_refused},
    {"min_tokens", ds4_field_refused},
    {"ignore_eos", ds4_field_refused},
    {"typical_p", ds4_field_refused},
    {"tfs_z", ds4_field_refused},
    {"mirostat", ds4_field_refused},
    {"xtc_probability", ds4_field_refused},
    {"dry_multiplier", ds4_field_refused},
    {"bad_words", ds4_field_refused},
    {"stop_token_ids", ds4_field_refused},
    {"guided_json", ds4_field_refused},
    {"guided_regex", ds4_field_refused},
    {"guided_choice", ds4_field_refused},
    {"guided_grammar", ds4_field_refused},
    {"structured_outputs", ds4_field_refused},
    {"grammar", ds4_field_refused},
    {NULL, NULL},
};

static const ds4_field chat_fields[] = {
    {"messages", ds4_field_messages},
    {"tools", ds4_field_tools},
    {"tool_choice", ds4_field_tool_choice},
    {"parallel_tool_calls", ds4_field_parallel_tool_calls},
    {"max_completion_tokens", ds4_field_max_tokens},
    {"chat_template_kwargs", ds4_field_template_kwargs},
    {"logprobs", read_logprobs},
    {"top_logprobs", read_top_n},
    {"response_format", read_response_format},
    {"functions", read_functions},
    {"function_call", ds4_field_refused},
    {"modalities", read_modalities},
    {"audio", ds4_field_refused},
    {"web_search_options", ds4_field_refused},
    {"continue_final_message", ds4_field_refused},
    {NULL, NULL},
};

static ds4_status check_chat(ds4_body_reader *b, ds4_json_value body) {
    (void)body;
    ds4_chat_request *r = b->request;
    if (!b->has_messages)
        return ds4_request_refuse(b->failure, DS4_FORMAT, "missing_required_parameter", "messages",
                                  "missing messages");
    ds4_body_apply_model_name(b);
    if (!b->options.for_generation) return DS4_OK;
    ds4_status status = ds4_body_check_turns(b, "messages");
    if (status != DS4_OK) return status;
    if (r->n_top_logprobs > 0 && !r->logprobs)
        return ds4_request_refuse(b->failure, DS4_FORMAT, "invalid_value", "top_logprobs",
                                  "top_logprobs needs logprobs: true");
    return DS4_OK;
}

ds4_status ds4_openai_request_parse(const char *body, size_t n, const ds4_request_options *options,
                                    ds4_chat_request *request, ds4_request_error *failure) {
    static const ds4_field *const tables[] = {chat_fields, common_fields, NULL};
    return ds4_body_parse(body, n, options, tables, check_chat, request, failure);
}

/* ---- completions ---- */

/* A string, or an array whose first element is one: further prompts are not answered. */
static ds4_status read_prompt(ds4_body_reader *b, const char *param, ds4_json_value value) {
    ds4_json_value first = value;
    if (value.type == DS4_JSON_ARRAY) {
        ds4_json_cursor cursor = ds4_json_enter(value);
        if (!ds4_json_next_element(&cursor, &first))
            return ds4_request_refuse(b->failure, DS4_FORMAT, "invalid_value", param, "%s is empty",
                                      param);
        if (first.type == DS4_JSON_NUMBER || first.type == DS4_JSON_ARRAY)
            return ds4_body_unsupported(b, param, "a prompt of token ids is not supported");
        if (ds4_body_count(value) > 1) ds4_body_ignore(b, "prompt[1...]");
    }
    if (first.type != DS4_JSON_STRING)
        return ds4_body_wrong_type(b, param, "a string or an array of strings", first);
    ds4_chat_message *message = ds4_chat_request_alloc(b->request, sizeof *message);
    if (message == NULL) return ds4_body_no_memory(b);
    message->role = DS4_ROLE_USER;
    b->request->messages = message;
    b->request->n_messages = 1;
    b->has_messages = true;
    return ds4_body_string(b, param, first, SIZE_MAX, &message->content);
}

static ds4_status read_raw(ds4_body_reader *b, const char *param, ds4_json_value value) {
    return ds4_body_bool(b, param, value, &b->request->raw);
}

static const ds4_field completion_fields[] = {
    {"prompt", read_prompt},
    {"raw", read_raw},
    {"logprobs", read_logprobs_number},
    {"echo", ds4_field_refused},
    {"suffix", ds4_field_refused},
    {NULL, NULL},
};

/* Not raw: the prompt is a user's turn behind the system text that other servers of this model use
 * here. */
static ds4_status check_completion(ds4_body_reader *b, ds4_json_value body) {
    (void)body;
    ds4_chat_request *r = b->request;
    if (!b->has_messages)
        return ds4_request_refuse(b->failure, DS4_FORMAT, "missing_required_parameter", "prompt",
                                  "missing prompt");
    ds4_body_apply_model_name(b);
    if (r->raw) {
        r->think.disabled = true;
        return DS4_OK;
    }
    ds4_chat_message *messages = ds4_chat_request_alloc(r, 2 * sizeof *messages);
    if (messages == NULL) return ds4_body_no_memory(b);
    messages[0] = (ds4_chat_message){.role = DS4_ROLE_SYSTEM,
                                     .content = DS4_TEXT("You are a helpful assistant")};
    messages[1] = r->messages[0];
    r->messages = messages;
    r->n_messages = 2;
    return DS4_OK;
}

ds4_status ds4_completion_request_parse(const char *body, size_t n,
                                        const ds4_request_options *options,
                                        ds4_chat_request *request, ds4_request_error *failure) {
    static const ds4_field *const tables[] = {completion_fields, common_fields, NULL};
    return ds4_body_parse(body, n, options, tables, check_completion, request, failure);
}
