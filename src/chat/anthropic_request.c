/* The body of POST /v1/messages and of its count_tokens. Messages are read last, when the tools are
 * known: a result may name one that was held back. */
#include <stdio.h>
#include <string.h>

#include "chat/anthropic_internal.h"

/* ---- system ---- */

/* Clients that bill by version put a pseudo header into the first block; it is no prompt text. */
static bool is_pseudo_header(ds4_text text) {
    static const char prefix[] = "x-anthropic-";
    return text.n >= sizeof prefix - 1 && memcmp(text.data, prefix, sizeof prefix - 1) == 0;
}

static ds4_status read_system(ds4_body_reader *b, const char *param, ds4_json_value value) {
    if (value.type != DS4_JSON_ARRAY && value.type != DS4_JSON_STRING)
        return ds4_body_wrong_type(b, param, "a string or an array", value);
    ds4_strbuf joined = {0};
    ds4_json_cursor cursor = ds4_json_enter(value);
    ds4_json_value block = value;
    ds4_status status = DS4_OK;
    bool more = value.type == DS4_JSON_STRING || ds4_json_next_element(&cursor, &block);
    for (size_t i = 0; more && status == DS4_OK; i++) {
        ds4_param_path path;
        ds4_text text = {0};
        snprintf(path, sizeof path, value.type == DS4_JSON_STRING ? "system" : "system[%zu]", i);
        ds4_strbuf_clear(&b->scratch);
        status = ds4_body_append_part(b, path, block);
        if (status == DS4_OK) status = ds4_body_take_scratch(b, &text);
        if (status == DS4_OK && !is_pseudo_header(text)) {
            if (joined.n > 0 && joined.data[joined.n - 1] != '\n') ds4_strbuf_putc(&joined, '\n');
            ds4_strbuf_append(&joined, text.data, text.n);
        }
        more = value.type == DS4_JSON_ARRAY && ds4_json_next_element(&cursor, &block);
    }
    if (joined.failed) status = ds4_body_no_memory(b);
    if (status == DS4_OK && joined.n > 0) {
        ds4_chat_message *message = ds4_body_add_message(b, DS4_ROLE_SYSTEM);
        if (message != NULL)
            message->content = ds4_chat_request_text(b->request, joined.data, joined.n);
        if (message == NULL || message->content.data == NULL) status = ds4_body_no_memory(b);
    }
    ds4_strbuf_free(&joined);
    return status;
}

/* ---- tools ---- */

/* What the vendor's own servers would run; nobody here does. */
static bool is_server_tool(ds4_json_value tool) {
    static const char *const kinds[] = {"web_search_", "web_fetch_", "code_execution_",
                                        "tool_search_tool_", "mcp_toolset"};
    ds4_json_value type;
    if (!ds4_body_find(tool, "type", &type) || type.type != DS4_JSON_STRING) return false;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (type.n > strlen(kinds[i]) && memcmp(type.text + 1, kinds[i], strlen(kinds[i])) == 0)
            return true;
    return false;
}

/* The tool as the client wrote it. Only cache markers are left out: they move from tool to tool
 * between requests and would change the prompt. */
static ds4_status shown_schema(ds4_body_reader *b, ds4_json_value tool, ds4_text *schema) {
    ds4_json_value marker, key, value;
    if (!ds4_json_find(tool, "cache_control", &marker)) return ds4_body_raw(b, tool, schema);
    ds4_json_cursor cursor = ds4_json_enter(tool);
    ds4_strbuf_clear(&b->scratch);
    ds4_strbuf_putc(&b->scratch, '{');
    while (ds4_json_next_member(&cursor, &key, &value)) {
        if (ds4_json_string_equals(key, "cache_control")) continue;
        if (b->scratch.n > 1) ds4_strbuf_putc(&b->scratch, ',');
        ds4_strbuf_append(&b->scratch, key.text, key.n);
        ds4_strbuf_putc(&b->scratch, ':');
        ds4_strbuf_append(&b->scratch, value.text, value.n);
    }
    ds4_strbuf_putc(&b->scratch, '}');
    return ds4_body_take_scratch(b, schema);
}

static ds4_status read_tool(ds4_body_reader *b, const char *param, ds4_json_value tool) {
    ds4_text name, schema;
    ds4_json_value defer;
    if (tool.type != DS4_JSON_OBJECT) return ds4_body_wrong_type(b, param, "an object", tool);
    if (is_server_tool(tool)) {
        ds4_body_ignore(b, param);
        return DS4_OK;
    }
    ds4_status status = ds4_body_tool_name(b, param, tool, &name);
    if (status == DS4_OK && ds4_body_find(tool, "defer_loading", &defer) &&
        defer.type == DS4_JSON_TRUE)
        return DS4_OK; /* shown when a result names it */
    if (status == DS4_OK) status = shown_schema(b, tool, &schema);
    return status == DS4_OK ? ds4_body_add_tool(b, param, name, schema) : status;
}

static ds4_status read_tools(ds4_body_reader *b, const char *param, ds4_json_value value) {
    b->request->n_tools = 0;
    return ds4_body_each(b, param, value, DS4_REQUEST_MAX_TOOLS, read_tool);
}

static ds4_status read_tool_choice(ds4_body_reader *b, const char *param, ds4_json_value value) {
    ds4_json_value type, disable;
    ds4_chat_request *r = b->request;
    if (value.type != DS4_JSON_OBJECT) return ds4_body_wrong_type(b, param, "an object", value);
    if (!ds4_body_find(value, "type", &type))
        return ds4_request_refuse(b->failure, DS4_FORMAT, "missing_required_parameter",
                                  "tool_choice.type", "tool_choice.type is missing");
    if (ds4_body_find(value, "disable_parallel_tool_use", &disable)) {
        ds4_status status =
            ds4_body_bool(b, "tool_choice.disable_parallel_tool_use", disable, &r->one_call);
        if (status != DS4_OK) return status;
    }
    if (ds4_json_string_equals(type, "auto")) {
        r->tool_choice = DS4_TOOL_CHOICE_AUTO;
    } else if (ds4_json_string_equals(type, "none")) {
        r->tool_choice = DS4_TOOL_CHOICE_NONE;
    } else if (ds4_json_string_equals(type, "any")) {
        r->tool_choice = DS4_TOOL_CHOICE_REQUIRED;
    } else if (ds4_json_string_equals(type, "tool")) {
        r->tool_choice = DS4_TOOL_CHOICE_NAMED;
        return ds4_body_tool_name(b, param, value, &r->tool_choice_name);
    } else {
        return ds4_body_out_of_range(b, "tool_choice.type", "one of auto, any, tool, none");
    }
    return DS4_OK;
}

/* ---- the rest ---- */

/* {"effort": ..., "format": {"type": "json_schema", "schema": ...}} */
static ds4_status read_output_config(ds4_body_reader *b, const char *param, ds4_json_value value) {
    ds4_json_value effort, format, type, schema;
    ds4_status status = DS4_OK;
    (void)param;
    if (ds4_body_find(value, "effort", &effort))
        status = ds4_field_effort(b, "output_config.effort", effort);
    if (status != DS4_OK || !ds4_body_find(value, "format", &format)) return status;
    if (!ds4_body_find(format, "type", &type) || !ds4_json_string_equals(type, "json_schema") ||
        !ds4_body_find(format, "schema", &schema))
        return ds4_body_out_of_range(b, "output_config.format",
                                     "an object of type json_schema with a schema");
    b->request->format.kind = DS4_FORMAT_JSON_SCHEMA;
    b->request->format.param = DS4_TEXT("output_config.format.schema");
    return ds4_body_raw(b, schema, &b->request->format.schema);
}

static const ds4_field fields[] = {
    {"model", ds4_field_model},
    {"messages", NULL},
    {"system", read_system},
    {"tools", read_tools},
    {"tool_choice", read_tool_choice},
    {"max_tokens", ds4_field_max_tokens},
    {"temperature", ds4_field_temperature},
    {"top_p", ds4_field_top_p},
    {"top_k", ds4_field_top_k},
    {"min_p", ds4_field_min_p},
    {"seed", ds4_field_seed},
    {"steering", ds4_field_steering},
    {"stop_sequences", ds4_field_stop},
    {"stream", ds4_field_stream},
    {"thinking", ds4_field_thinking},
    {"reasoning_effort", ds4_field_effort},
    {"output_config", read_output_config},
    {"output_format", ds4_field_refused},
    {"mcp_servers", ds4_field_refused},
    {"container", ds4_field_refused},
    {NULL, NULL},
};

static ds4_status check(ds4_body_reader *b, ds4_json_value body) {
    ds4_json_value messages;
    if (!ds4_body_find(body, "messages", &messages))
        return ds4_request_refuse(b->failure, DS4_FORMAT, "missing_required_parameter", "messages",
                                  "missing messages");
    ds4_status status = ds4_anthropic_read_messages(b, body, messages);
    if (status != DS4_OK) return status;
    ds4_body_apply_model_name(b);
    status = ds4_body_check_turns(b, "messages");
    return status;
}

ds4_status ds4_anthropic_request_parse(const char *body, size_t n,
                                       const ds4_request_options *options,
                                       ds4_chat_request *request, ds4_request_error *failure) {
    static const ds4_field *const tables[] = {fields, NULL};
    return ds4_body_parse(body, n, options, tables, check, request, failure);
}
