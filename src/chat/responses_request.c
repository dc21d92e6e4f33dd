/* The body of POST /v1/responses and of its compact. The input is read last, behind what a stored
 * response brings. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "chat/responses_internal.h"

/* ---- tools ---- */

static ds4_tool_alias *add_alias(ds4_body_reader *b, ds4_text name) {
    ds4_responses_fields *f = &b->request->responses;
    ds4_tool_alias *grown = ds4_chat_request_alloc(b->request, (f->n_aliases + 1) * sizeof *grown);
    if (grown == NULL) return NULL;
    if (f->n_aliases > 0) memcpy(grown, f->aliases, f->n_aliases * sizeof *grown);
    grown[f->n_aliases] = (ds4_tool_alias){.name = name, .wire_name = name};
    f->aliases = grown;
    return &grown[f->n_aliases++];
}

/* {"name":N,"description":D,"parameters":P} of members that may be absent. */
static ds4_status compose(ds4_body_reader *b, ds4_text name, ds4_json_value tool,
                          const char *description, const char *parameters, ds4_text *schema) {
    ds4_json_value value;
    ds4_strbuf_clear(&b->scratch);
    ds4_strbuf_puts(&b->scratch, "{\"name\":\"");
    ds4_json_escape(name.data, name.n, &b->scratch);
    ds4_strbuf_puts(&b->scratch, "\",\"description\":");
    if (ds4_body_find(tool, "description", &value) && value.type == DS4_JSON_STRING)
        ds4_strbuf_append(&b->scratch, value.text, value.n);
    else
        ds4_strbuf_printf(&b->scratch, "\"%s\"", description);
    ds4_strbuf_puts(&b->scratch, ",\"parameters\":");
    if (ds4_body_find(tool, "parameters", &value) && value.type == DS4_JSON_OBJECT)
        ds4_strbuf_append(&b->scratch, value.text, value.n);
    else
        ds4_strbuf_puts(&b->scratch, parameters);
    ds4_strbuf_putc(&b->scratch, '}');
    return ds4_body_take_scratch(b, schema);
}

/* A function of a namespace: the model knows it by both names as one word. */
static ds4_status read_spaced_tool(ds4_body_reader *b, const char *param, ds4_json_value tool,
                                   ds4_text space) {
    ds4_text own, name, schema;
    ds4_status status = ds4_body_tool_name(b, param, tool, &own);
    if (status != DS4_OK) return status;
    ds4_strbuf_clear(&b->scratch);
    ds4_strbuf_append(&b->scratch, space.data, space.n);
    ds4_strbuf_append(&b->scratch, own.data, own.n);
    status = ds4_body_take_scratch(b, &name);
    if (status == DS4_OK)
        status = compose(b, name, tool, "", "{\"type\":\"object\",\"properties\":{}}", &schema);
    ds4_tool_alias *alias = status == DS4_OK ? add_alias(b, name) : NULL;
    if (alias == NULL) return status != DS4_OK ? status : ds4_body_no_memory(b);
    alias->wire_name = own;
    alias->space = space;
    return ds4_body_add_tool(b, param, name, schema);
}

static ds4_status read_namespace(ds4_body_reader *b, const char *param, ds4_json_value tool) {
    ds4_text space;
    ds4_json_value tools, element;
    ds4_status status = ds4_body_tool_name(b, param, tool, &space);
    if (status != DS4_OK || !ds4_body_find(tool, "tools", &tools)) return status;
    ds4_param_path path;
    snprintf(path, sizeof path, "%.60s.tools", param);
    if (tools.type != DS4_JSON_ARRAY) return ds4_body_wrong_type(b, path, "an array", tools);
    ds4_json_cursor cursor = ds4_json_enter(tools);
    for (size_t i = 0; status == DS4_OK && ds4_json_next_element(&cursor, &element); i++) {
        snprintf(path, sizeof path, "%.60s.tools[%zu]", param, i);
        status = read_spaced_tool(b, path, element, space);
    }
    return status;
}

/* The client searches tools, or takes free text: functions to the model. */
static ds4_status read_client_tool(ds4_body_reader *b, const char *param, ds4_json_value tool,
                                   ds4_tool_alias_kind kind) {
    ds4_text name = DS4_TEXT("tool_search"), schema;
    ds4_status status = DS4_OK;
    if (kind == DS4_TOOL_CUSTOM) status = ds4_body_tool_name(b, param, tool, &name);
    if (status == DS4_OK)
        status = kind == DS4_TOOL_CUSTOM
                     ? compose(b, name, tool, "",
                               "{\"type\":\"object\",\"properties\":{\"input\":{\"type\":"
                               "\"string\"}},\"required\":[\"input\"]}",
                               &schema)
                     : compose(b, name, tool, "Search available tools.",
                               "{\"type\":\"object\",\"properties\":{}}", &schema);
    ds4_tool_alias *alias = status == DS4_OK ? add_alias(b, name) : NULL;
    if (alias == NULL) return status != DS4_OK ? status : ds4_body_no_memory(b);
    alias->kind = kind;
    return ds4_body_add_tool(b, param, name, schema);
}

static ds4_status read_tool(ds4_body_reader *b, const char *param, ds4_json_value tool) {
    ds4_json_value type;
    if (tool.type != DS4_JSON_OBJECT) return ds4_body_wrong_type(b, param, "an object", tool);
    if (!ds4_body_find(tool, "type", &type) || ds4_json_string_equals(type, "function"))
        return ds4_body_function_tool(b, param, tool);
    if (ds4_json_string_equals(type, "namespace")) return read_namespace(b, param, tool);
    if (ds4_json_string_equals(type, "tool_search"))
        return read_client_tool(b, param, tool, DS4_TOOL_SEARCH);
    if (ds4_json_string_equals(type, "custom"))
        return read_client_tool(b, param, tool, DS4_TOOL_CUSTOM);
    ds4_body_ignore(b, param); /* hosted by somebody else: web search and the like */
    return DS4_OK;
}

static ds4_status read_tools(ds4_body_reader *b, const char *param, ds4_json_value value) {
    ds4_responses_fields *f = &b->request->responses;
    b->request->n_tools = 0;
    f->n_aliases = 0;
    ds4_status status = ds4_body_raw(b, value, &f->tools);
    if (status != DS4_OK) return status;
    return ds4_body_each(b, param, value, DS4_REQUEST_MAX_TOOLS, read_tool);
}

static ds4_status read_tool_choice(ds4_body_reader *b, const char *param, ds4_json_value value) {
    ds4_json_value type;
    ds4_chat_request *r = b->request;
    ds4_status status = ds4_body_raw(b, value, &r->responses.tool_choice);
    if (status != DS4_OK) return status;
    if (value.type != DS4_JSON_OBJECT) return ds4_field_tool_choice(b, param, value);
    if (!ds4_body_find(value, "type", &type) ||
        (!ds4_json_string_equals(type, "function") && !ds4_json_string_equals(type, "custom")))
        return ds4_body_unsupported(b, "tool_choice.type",
                                    "a tool_choice of this type is not supported");
    r->tool_choice = DS4_TOOL_CHOICE_NAMED;
    return ds4_body_tool_name(b, param, value, &r->tool_choice_name);
}

/* ---- fields ---- */

static ds4_status read_instructions(ds4_body_reader *b, const char *param, ds4_json_value value) {
    return ds4_body_string(b, param, value, SIZE_MAX, &b->request->responses.instructions);
}

static ds4_status read_reasoning(ds4_body_reader *b, const char *param, ds4_json_value value) {
    ds4_responses_fields *f = &b->request->responses;
    ds4_json_value effort, summary;
    if (value.type != DS4_JSON_OBJECT) return ds4_body_wrong_type(b, param, "an object", value);
    ds4_status status = ds4_body_raw(b, value, &f->reasoning);
    if (status == DS4_OK && ds4_body_find(value, "effort", &effort))
        status = ds4_field_effort(b, "reasoning.effort", effort);
    if (ds4_body_find(value, "summary", &summary) ||
        ds4_body_find(value, "generate_summary", &summary))
        f->show_reasoning = ds4_json_string_equals(summary, "auto") ||
                            ds4_json_string_equals(summary, "concise") ||
                            ds4_json_string_equals(summary, "detailed");
    return status;
}

static ds4_status read_text(ds4_body_reader *b, const char *param, ds4_json_value value) {
    ds4_json_value format, type, schema;
    ds4_response_format *target = &b->request->format;
    if (value.type != DS4_JSON_OBJECT) return ds4_body_wrong_type(b, param, "an object", value);
    *target = (ds4_response_format){.kind = DS4_FORMAT_TEXT};
    ds4_status status = ds4_body_raw(b, value, &b->request->responses.text);
    if (status != DS4_OK || !ds4_body_find(value, "format", &format)) return status;
    if (!ds4_body_find(format, "type", &type))
        return ds4_body_out_of_range(b, "text.format", "an object with a type");
    if (ds4_json_string_equals(type, "text")) return DS4_OK;
    if (ds4_json_string_equals(type, "json_object")) {
        target->kind = DS4_FORMAT_JSON_OBJECT;
        return DS4_OK;
    }
    if (!ds4_json_string_equals(type, "json_schema"))
        return ds4_body_out_of_range(b, "text.format.type",
                                     "one of text, json_object, json_schema");
    if (!ds4_body_find(format, "schema", &schema))
        return ds4_request_refuse(b->failure, DS4_FORMAT, "missing_required_parameter",
                                  "text.format.schema", "text.format.schema is missing");
    target->kind = DS4_FORMAT_JSON_SCHEMA;
    target->param = DS4_TEXT("text.format.schema");
    return ds4_body_raw(b, schema, &target->schema);
}

static ds4_status read_include(ds4_body_reader *b, const char *param, ds4_json_value value) {
    if (value.type != DS4_JSON_ARRAY) return ds4_body_wrong_type(b, param, "an array", value);
    ds4_json_cursor cursor = ds4_json_enter(value);
    ds4_json_value element;
    while (ds4_json_next_element(&cursor, &element)) {
        if (ds4_json_string_equals(element, "message.output_text.logprobs"))
            b->request->logprobs = true;
        if (ds4_json_string_equals(element, "reasoning.encrypted_content"))
            b->request->responses.sealed_reasoning = true;
    }
    return DS4_OK;
}

static ds4_status read_top_logprobs(ds4_body_reader *b, const char *param, ds4_json_value value) {
    double number = 0;
    ds4_status status = ds4_body_number(b, param, value, &number);
    if (status != DS4_OK) return status;
    if (number < 0 || number > DS4_REQUEST_MAX_TOP_LOGPROBS || number != floor(number))
        return ds4_body_out_of_range(b, param, "a whole number from 0 to 20");
    b->request->n_top_logprobs = (uint32_t)number;
    b->request->logprobs = b->request->logprobs || number > 0;
    return DS4_OK;
}

static ds4_status read_store(ds4_body_reader *b, const char *param, ds4_json_value value) {
    bool store = true;
    ds4_status status = ds4_body_bool(b, param, value, &store);
    b->request->responses.no_store = !store;
    return status;
}

static ds4_status read_metadata(ds4_body_reader *b, const char *param, ds4_json_value value) {
    if (value.type != DS4_JSON_OBJECT) return ds4_body_wrong_type(b, param, "an object", value);
    return ds4_body_raw(b, value, &b->request->responses.metadata);
}

static ds4_status read_previous(ds4_body_reader *b, const char *param, ds4_json_value value) {
    return ds4_body_string(b, param, value, DS4_REQUEST_MAX_NAME_BYTES,
                           &b->request->responses.previous_id);
}

static ds4_status read_conversation(ds4_body_reader *b, const char *param, ds4_json_value value) {
    (void)value;
    return ds4_body_unsupported(b, param,
                                "conversation is not supported; replay full input instead, or use "
                                "previous_response_id");
}

static const ds4_field fields[] = {
    {"model", ds4_field_model},
    {"input", NULL},
    {"instructions", read_instructions},
    {"tools", read_tools},
    {"tool_choice", read_tool_choice},
    {"parallel_tool_calls", ds4_field_parallel_tool_calls},
    {"max_output_tokens", ds4_field_max_tokens},
    {"max_tokens", ds4_field_max_tokens},
    {"temperature", ds4_field_temperature},
    {"top_p", ds4_field_top_p},
    {"top_k", ds4_field_top_k},
    {"min_p", ds4_field_min_p},
    {"seed", ds4_field_seed},
    {"steering", ds4_field_steering},
    {"stop", ds4_field_stop},
    {"presence_penalty", ds4_field_penalty},
    {"frequency_penalty", ds4_field_penalty},
    {"repetition_penalty", ds4_field_repetition_penalty},
    {"logit_bias", ds4_field_logit_bias},
    {"stream", ds4_field_stream},
    {"reasoning", read_reasoning},
    {"thinking", ds4_field_thinking},
    {"text", read_text},
    {"include", read_include},
    {"top_logprobs", read_top_logprobs},
    {"store", read_store},
    {"metadata", read_metadata},
    {"previous_response_id", read_previous},
    {"conversation", read_conversation},
    {"background", ds4_field_refused},
    {"prompt", ds4_field_refused},
    {NULL, NULL},
};

/* ---- the input ---- */

/* The items of the stored response into b->scratch. */
static ds4_status find_previous(ds4_body_reader *b) {
    const ds4_responses_fields *f = &b->request->responses;
    ds4_strbuf_clear(&b->scratch);
    ds4_strbuf_putc(&b->scratch, '[');
    if (f->previous_id.n == 0 ||
        (b->options.find_response != NULL &&
         b->options.find_response(b->options.find_context, f->previous_id, &b->scratch))) {
        ds4_strbuf_putc(&b->scratch, ']');
        return DS4_OK;
    }
    ds4_status status = ds4_request_refuse(
        b->failure, DS4_FORMAT, "previous_response_not_found", "previous_response_id",
        "there is no stored response %s; replay full input instead", f->previous_id.data);
    if (b->failure != NULL) b->failure->status = 404;
    return status;
}

/* Remembers all items as JSON values with commas between, for the store. */
static ds4_status keep_items(ds4_body_reader *b, ds4_text previous, ds4_json_value input) {
    ds4_strbuf_clear(&b->scratch);
    ds4_strbuf_append(&b->scratch, previous.data + 1, previous.n - 2);
    bool text = input.type == DS4_JSON_STRING;
    ds4_json_value inside = input;
    if (!text) inside.text++, inside.n -= 2; /* without the brackets */
    bool empty = !text && ds4_body_count(input) == 0;
    if (b->scratch.n > 0 && !empty) ds4_strbuf_putc(&b->scratch, ',');
    if (text) ds4_strbuf_puts(&b->scratch, "{\"type\":\"message\",\"role\":\"user\",\"content\":");
    if (!empty) ds4_strbuf_append(&b->scratch, inside.text, inside.n);
    if (text) ds4_strbuf_putc(&b->scratch, '}');
    return ds4_body_take_scratch(b, &b->request->responses.input_items);
}

static ds4_status read_input(ds4_body_reader *b, ds4_json_value input, ds4_text previous) {
    ds4_strbuf stash = {0};
    ds4_json_value stored;
    ds4_status status =
        ds4_json_scan(previous.data, previous.n, DS4_JSON_DEPTH_LIMIT + 2, &stored, NULL);
    if (status != DS4_OK)
        status = ds4_request_refuse(b->failure, DS4_INTERNAL, NULL, "",
                                    "the stored response cannot be read");
    if (status == DS4_OK) status = ds4_responses_read_items(b, "previous", stored, &stash);
    if (status == DS4_OK && input.type == DS4_JSON_ARRAY) {
        status = ds4_responses_read_items(b, "input", input, &stash);
        if (status == DS4_OK) status = ds4_responses_flush(b, &stash);
    } else if (status == DS4_OK) {
        status = ds4_responses_flush(b, &stash);
        ds4_chat_message *message =
            status == DS4_OK ? ds4_body_add_message(b, DS4_ROLE_USER) : NULL;
        if (message == NULL)
            status = ds4_body_no_memory(b);
        else
            status = ds4_body_string(b, "input", input, SIZE_MAX, &message->content);
    }
    if (stash.failed) status = ds4_body_no_memory(b);
    ds4_strbuf_free(&stash);
    return status;
}

static ds4_status check(ds4_body_reader *b, ds4_json_value body) {
    ds4_responses_fields *f = &b->request->responses;
    ds4_json_value input;
    ds4_text previous;
    if (!ds4_body_find(body, "input", &input))
        return ds4_request_refuse(b->failure, DS4_FORMAT, "missing_required_parameter", "input",
                                  "missing input");
    if (input.type != DS4_JSON_STRING && input.type != DS4_JSON_ARRAY)
        return ds4_body_wrong_type(b, "input", "a string or an array", input);
    if (f->instructions.n > 0) {
        ds4_chat_message *message = ds4_body_add_message(b, DS4_ROLE_SYSTEM);
        if (message == NULL) return ds4_body_no_memory(b);
        message->content = f->instructions;
    }
    ds4_status status = find_previous(b);
    if (status == DS4_OK) status = ds4_body_take_scratch(b, &previous);
    if (status == DS4_OK) status = read_input(b, input, previous);
    if (status == DS4_OK) status = keep_items(b, previous, input);
    if (status != DS4_OK) return status;
    ds4_body_apply_model_name(b);
    if (!b->options.any_turn) status = ds4_body_check_turns(b, "input");
    return status;
}

ds4_status ds4_responses_request_parse(const char *body, size_t n,
                                       const ds4_request_options *options,
                                       ds4_chat_request *request, ds4_request_error *failure) {
    static const ds4_field *const tables[] = {fields, NULL};
    return ds4_body_parse(body, n, options, tables, check, request, failure);
}
