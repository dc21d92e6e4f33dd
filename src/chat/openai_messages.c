#include <stdio.h>
#include <string.h>

#include "chat/body_reader.h"

/* ---- tool calls of the history ---- */

ds4_status ds4_body_arguments(ds4_body_reader *b, const char *path, ds4_json_value value,
                              ds4_text *arguments) {
    ds4_param_path param;
    if (value.type != DS4_JSON_STRING) return ds4_body_raw(b, value, arguments);
    snprintf(param, sizeof param, "%.80s.arguments", path);
    return ds4_body_string(b, param, value, SIZE_MAX, arguments);
}

/* *complete is false for an entry without a name or arguments: such a call says nothing and is left
 * out. */
static ds4_status read_call(ds4_body_reader *b, const char *param, ds4_json_value value,
                            ds4_tool_call *call, bool *complete) {
    ds4_param_path path;
    ds4_json_value function, name, arguments;
    *complete = false;
    if (value.type != DS4_JSON_OBJECT) return ds4_body_wrong_type(b, param, "an object", value);
    ds4_status status =
        ds4_body_member_string(b, param, value, "id", DS4_REQUEST_MAX_NAME_BYTES, &call->id);
    if (status != DS4_OK || !ds4_body_find(value, "function", &function)) return status;
    snprintf(path, sizeof path, "%.75s.function", param);
    if (function.type != DS4_JSON_OBJECT)
        return ds4_body_wrong_type(b, path, "an object", function);
    if (!ds4_body_find(function, "name", &name) ||
        !ds4_json_find(function, "arguments", &arguments))
        return DS4_OK;
    *complete = true;
    status =
        ds4_body_member_string(b, path, function, "name", DS4_REQUEST_MAX_NAME_BYTES, &call->name);
    if (status != DS4_OK) return status;
    return ds4_body_arguments(b, path, arguments, &call->arguments);
}

static ds4_status read_calls(ds4_body_reader *b, const char *param, ds4_json_value value,
                             ds4_chat_message *message) {
    if (value.type != DS4_JSON_ARRAY) return ds4_body_wrong_type(b, param, "an array", value);
    size_t n = ds4_body_count(value);
    ds4_tool_call *calls = ds4_chat_request_alloc(b->request, n * sizeof *calls);
    if (calls == NULL) return ds4_body_no_memory(b);
    if (n > 0 && message->role != DS4_ROLE_ASSISTANT)
        return ds4_request_refuse(b->failure, DS4_FORMAT, "invalid_value", param,
                                  "%s: only an assistant's message has tool calls", param);
    ds4_json_cursor cursor = ds4_json_enter(value);
    ds4_json_value element;
    for (size_t j = 0; ds4_json_next_element(&cursor, &element); j++) {
        ds4_param_path path;
        bool complete;
        snprintf(path, sizeof path, "%.60s[%zu]", param, j);
        ds4_status status = read_call(b, path, element, &calls[message->n_calls], &complete);
        if (status != DS4_OK) return status;
        if (complete) message->n_calls++;
    }
    message->calls = calls;
    return DS4_OK;
}

/* ---- messages ---- */

ds4_chat_message *ds4_body_add_message(ds4_body_reader *b, ds4_chat_role role) {
    ds4_chat_request *r = b->request;
    if (r->n_messages == b->message_capacity) {
        size_t capacity = b->message_capacity == 0 ? 32 : 2 * b->message_capacity;
        ds4_chat_message *grown = ds4_chat_request_alloc(r, capacity * sizeof *grown);
        if (grown == NULL) return NULL;
        if (r->n_messages > 0) memcpy(grown, b->messages, r->n_messages * sizeof *grown);
        b->messages = grown;
        b->message_capacity = capacity;
        r->messages = grown;
    }
    ds4_chat_message *message = &b->messages[r->n_messages++];
    *message = (ds4_chat_message){.role = role};
    return message;
}

static ds4_status read_role(ds4_body_reader *b, const char *param, ds4_json_value value,
                            ds4_chat_message *message) {
    static const struct {
        const char *name;
        ds4_chat_role role;
    } roles[] = {
        {"system", DS4_ROLE_SYSTEM}, {"developer", DS4_ROLE_SYSTEM},
        {"user", DS4_ROLE_USER},     {"assistant", DS4_ROLE_ASSISTANT},
        {"tool", DS4_ROLE_TOOL},     {"function", DS4_ROLE_TOOL},
    };
    if (value.type != DS4_JSON_STRING) return ds4_body_wrong_type(b, param, "a string", value);
    for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++) {
        if (!ds4_json_string_equals(value, roles[i].name)) continue;
        message->role = roles[i].role;
        message->developer = ds4_json_string_equals(value, "developer");
        return DS4_OK;
    }
    return ds4_request_refuse(
        b->failure, DS4_FORMAT, "invalid_value", param,
        "%s must be one of system, developer, user, assistant, tool, function", param);
}

static ds4_status read_message(ds4_body_reader *b, const char *param, ds4_json_value value) {
    ds4_chat_message *message = ds4_body_add_message(b, DS4_ROLE_USER);
    ds4_param_path path;
    ds4_json_value member;
    ds4_status status = DS4_OK;
    if (message == NULL) return ds4_body_no_memory(b);
    if (value.type != DS4_JSON_OBJECT) return ds4_body_wrong_type(b, param, "an object", value);
    if (ds4_body_find(value, "role", &member)) {
        snprintf(path, sizeof path, "%.60s.role", param);
        status = read_role(b, path, member, message);
    }
    if (status == DS4_OK && ds4_body_find(value, "content", &member)) {
        snprintf(path, sizeof path, "%.60s.content", param);
        status = ds4_body_content(b, path, member, &message->content);
    }
    if (status == DS4_OK && ds4_body_find(value, "reasoning_content", &member)) {
        snprintf(path, sizeof path, "%.60s.reasoning_content", param);
        status = ds4_body_content(b, path, member, &message->reasoning);
    }
    if (status == DS4_OK && ds4_body_find(value, "tool_calls", &member)) {
        snprintf(path, sizeof path, "%.60s.tool_calls", param);
        status = read_calls(b, path, member, message);
    }
    if (status == DS4_OK)
        status = ds4_body_member_string(b, param, value, "tool_call_id", DS4_REQUEST_MAX_NAME_BYTES,
                                        &message->tool_call_id);
    return status;
}

ds4_status ds4_field_messages(ds4_body_reader *b, const char *param, ds4_json_value value) {
    b->request->n_messages = 0; /* of two members the last counts */
    b->has_messages = true;
    return ds4_body_each(b, param, value, DS4_REQUEST_MAX_MESSAGES, read_message);
}

/* ---- tools ---- */

ds4_status ds4_body_add_tool(ds4_body_reader *b, const char *param, ds4_text name,
                             ds4_text schema) {
    ds4_chat_request *r = b->request;
    if (r->n_tools == DS4_REQUEST_MAX_TOOLS)
        return ds4_request_refuse(b->failure, DS4_FORMAT, "invalid_value", "tools",
                                  "at most %u tools are allowed", DS4_REQUEST_MAX_TOOLS);
    if (b->tools == NULL)
        b->tools = ds4_chat_request_alloc(r, DS4_REQUEST_MAX_TOOLS * sizeof *b->tools);
    if (b->tools == NULL) return ds4_body_no_memory(b);
    for (size_t j = 0; j < r->n_tools; j++)
        if (ds4_text_same(b->tools[j].name, name))
            return ds4_request_refuse(b->failure, DS4_FORMAT, "invalid_value", param,
                                      "%s has the same name as another tool", param);
    ds4_chat_tool *tool = &b->tools[r->n_tools++];
    *tool = (ds4_chat_tool){.name = name, .schema = schema};
    ds4_json_value shown, parameters;
    if (ds4_json_scan(schema.data, schema.n, DS4_JSON_DEPTH_LIMIT, &shown, NULL) == DS4_OK &&
        (ds4_body_find(shown, "parameters", &parameters) ||
         ds4_body_find(shown, "input_schema", &parameters)))
        tool->parameters = (ds4_text){parameters.text, parameters.n};
    r->tools = b->tools;
    return DS4_OK;
}

ds4_status ds4_body_tool_name(ds4_body_reader *b, const char *param, ds4_json_value tool,
                              ds4_text *name) {
    ds4_param_path path;
    ds4_json_value value;
    if (tool.type != DS4_JSON_OBJECT) return ds4_body_wrong_type(b, param, "an object", tool);
    snprintf(path, sizeof path, "%.80s.name", param);
    if (!ds4_body_find(tool, "name", &value))
        return ds4_request_refuse(b->failure, DS4_FORMAT, "missing_required_parameter", path,
                                  "%s is missing: a tool needs a name", path);
    ds4_status status = ds4_body_string(b, path, value, DS4_REQUEST_MAX_NAME_BYTES, name);
    if (status != DS4_OK || name->n > 0) return status;
    return ds4_request_refuse(b->failure, DS4_FORMAT, "invalid_value", path, "%s is empty", path);
}

ds4_status ds4_body_function_tool(ds4_body_reader *b, const char *param, ds4_json_value value) {
    ds4_param_path path;
    ds4_json_value type, function;
    ds4_text name, schema;
    if (value.type != DS4_JSON_OBJECT) return ds4_body_wrong_type(b, param, "an object", value);
    snprintf(path, sizeof path, "%.70s", param);
    if (ds4_body_find(value, "type", &type) && ds4_json_string_equals(type, "function") &&
        ds4_body_find(value, "function", &function)) {
        snprintf(path, sizeof path, "%.70s.function", param);
        value = function;
    }
    ds4_status status = ds4_body_tool_name(b, path, value, &name);
    if (status == DS4_OK) status = ds4_body_raw(b, value, &schema);
    return status == DS4_OK ? ds4_body_add_tool(b, param, name, schema) : status;
}

ds4_status ds4_body_each(ds4_body_reader *b, const char *param, ds4_json_value value, size_t limit,
                         ds4_field_fn *read) {
    if (value.type != DS4_JSON_ARRAY) return ds4_body_wrong_type(b, param, "an array", value);
    size_t n = ds4_body_count(value);
    if (n > limit)
        return ds4_request_refuse(b->failure, DS4_FORMAT, "invalid_value", param,
                                  "%s has %zu elements, at most %zu are allowed", param, n, limit);
    ds4_json_cursor cursor = ds4_json_enter(value);
    ds4_json_value element;
    for (size_t i = 0; ds4_json_next_element(&cursor, &element); i++) {
        ds4_param_path path;
        snprintf(path, sizeof path, "%.70s[%zu]", param, i);
        ds4_status status = read(b, path, element);
        if (status != DS4_OK) return status;
    }
    return DS4_OK;
}

ds4_status ds4_field_tools(ds4_body_reader *b, const char *param, ds4_json_value value) {
    b->request->n_tools = 0; /* of two members the last counts */
    return ds4_body_each(b, param, value, DS4_REQUEST_MAX_TOOLS, ds4_body_function_tool);
}

ds4_status ds4_field_tool_choice(ds4_body_reader *b, const char *param, ds4_json_value value) {
    ds4_json_value type, function, name;
    if (value.type == DS4_JSON_OBJECT) {
        bool named = ds4_body_find(value, "type", &type) &&
                     ds4_json_string_equals(type, "function") &&
                     ds4_body_find(value, "function", &function) &&
                     function.type == DS4_JSON_OBJECT && ds4_body_find(function, "name", &name);
        if (!named)
            return ds4_request_refuse(b->failure, DS4_FORMAT, "invalid_value", "tool_choice",
                                      "tool_choice as an object must name a function");
        b->request->tool_choice = DS4_TOOL_CHOICE_NAMED;
        return ds4_body_string(b, "tool_choice.function.name", name, DS4_REQUEST_MAX_NAME_BYTES,
                               &b->request->tool_choice_name);
    }
    if (value.type != DS4_JSON_STRING)
        return ds4_body_wrong_type(b, param, "a string or an object", value);
    if (ds4_json_string_equals(value, "auto")) {
        b->request->tool_choice = DS4_TOOL_CHOICE_AUTO;
    } else if (ds4_json_string_equals(value, "none")) {
        b->request->tool_choice = DS4_TOOL_CHOICE_NONE;
    } else if (ds4_json_string_equals(value, "required")) {
        b->request->tool_choice = DS4_TOOL_CHOICE_REQUIRED;
    } else {
        return ds4_request_refuse(
            b->failure, DS4_FORMAT, "invalid_value", "tool_choice",
            "tool_choice must be \"auto\", \"none\", \"required\" or a named function");
    }
    return DS4_OK;
}
