#include <stdio.h>
#include <string.h>

#include "chat/openai_internal.h"

typedef char param_path[96];

static size_t count_elements(ds4_json_value array) {
    ds4_json_cursor cursor = ds4_json_enter(array);
    ds4_json_value element;
    size_t n = 0;
    while (ds4_json_next_element(&cursor, &element)) n++;
    return n;
}

/* The member, null counting as absent. */
static bool find_member(ds4_json_value object, const char *name, ds4_json_value *value) {
    return ds4_json_find(object, name, value) && value->type != DS4_JSON_NULL;
}

/* ---- content ---- */

/* Appends one part of a content array to the scratch text. */
static ds4_status read_part(openai_body *b, const char *param, ds4_json_value part) {
    if (part.type == DS4_JSON_STRING) {
        ds4_json_string_decode(part, &b->scratch);
        return DS4_OK;
    }
    if (part.type != DS4_JSON_OBJECT)
        return ds4_openai_wrong_type(b, param, "a string or an object", part);
    ds4_json_value type, text;
    bool refusal = false;
    if (find_member(part, "type", &type)) {
        refusal = ds4_json_string_equals(type, "refusal");
        if (!refusal && !ds4_json_string_equals(type, "text") &&
            !ds4_json_string_equals(type, "input_text") &&
            !ds4_json_string_equals(type, "output_text"))
            return ds4_request_refuse(
                b->failure, DS4_UNSUPPORTED, "unsupported_content_type", param,
                "%s: unsupported content type, this model reads text only", param);
    }
    bool found =
        find_member(part, "text", &text) || (refusal && find_member(part, "refusal", &text));
    if (!found)
        return ds4_request_refuse(b->failure, DS4_FORMAT, "missing_required_parameter", param,
                                  "%s has no text", param);
    if (text.type != DS4_JSON_STRING) {
        param_path path;
        snprintf(path, sizeof path, "%.80s.text", param);
        return ds4_openai_wrong_type(b, path, "a string", text);
    }
    ds4_json_string_decode(text, &b->scratch);
    return DS4_OK;
}

static ds4_status read_content(openai_body *b, const char *param, ds4_json_value value,
                               ds4_text *text) {
    if (value.type != DS4_JSON_ARRAY) {
        if (value.type != DS4_JSON_STRING)
            return ds4_openai_wrong_type(b, param, "a string, an array or null", value);
        return ds4_openai_string(b, param, value, SIZE_MAX, text);
    }
    ds4_strbuf_clear(&b->scratch);
    ds4_json_cursor cursor = ds4_json_enter(value);
    ds4_json_value part;
    for (size_t j = 0; ds4_json_next_element(&cursor, &part); j++) {
        param_path path;
        snprintf(path, sizeof path, "%.64s[%zu]", param, j);
        ds4_status status = read_part(b, path, part);
        if (status != DS4_OK) return status;
    }
    if (b->scratch.failed) return ds4_openai_no_memory(b);
    *text = ds4_chat_request_text(b->request, b->scratch.data, b->scratch.n);
    return text->data != NULL ? DS4_OK : ds4_openai_no_memory(b);
}

/* ---- tool calls of the history ---- */

/* *complete is false for an entry without a name or arguments: such a call says nothing and is left
 * out. */
static ds4_status read_call(openai_body *b, const char *param, ds4_json_value value,
                            ds4_tool_call *call, bool *complete) {
    param_path path;
    ds4_json_value id, function, name, arguments;
    *complete = false;
    if (value.type != DS4_JSON_OBJECT) return ds4_openai_wrong_type(b, param, "an object", value);
    if (find_member(value, "id", &id)) {
        snprintf(path, sizeof path, "%.80s.id", param);
        ds4_status status = ds4_openai_string(b, path, id, DS4_REQUEST_MAX_NAME_BYTES, &call->id);
        if (status != DS4_OK) return status;
    }
    if (!find_member(value, "function", &function)) return DS4_OK;
    snprintf(path, sizeof path, "%.80s.function", param);
    if (function.type != DS4_JSON_OBJECT)
        return ds4_openai_wrong_type(b, path, "an object", function);
    if (!find_member(function, "name", &name) || !ds4_json_find(function, "arguments", &arguments))
        return DS4_OK;
    snprintf(path, sizeof path, "%.75s.function.name", param);
    ds4_status status = ds4_openai_string(b, path, name, DS4_REQUEST_MAX_NAME_BYTES, &call->name);
    if (status != DS4_OK) return status;
    *complete = true;
    if (arguments.type == DS4_JSON_STRING) {
        snprintf(path, sizeof path, "%.75s.function.arguments", param);
        return ds4_openai_string(b, path, arguments, SIZE_MAX, &call->arguments);
    }
    call->arguments = ds4_chat_request_text(b->request, arguments.text, arguments.n);
    return call->arguments.data != NULL ? DS4_OK : ds4_openai_no_memory(b);
}

static ds4_status read_calls(openai_body *b, const char *param, ds4_json_value value,
                             ds4_chat_message *message) {
    if (value.type != DS4_JSON_ARRAY) return ds4_openai_wrong_type(b, param, "an array", value);
    size_t n = count_elements(value);
    ds4_tool_call *calls = ds4_chat_request_alloc(b->request, n * sizeof *calls);
    if (calls == NULL) return ds4_openai_no_memory(b);
    if (n > 0 && message->role != DS4_ROLE_ASSISTANT)
        return ds4_request_refuse(b->failure, DS4_FORMAT, "invalid_value", param,
                                  "%s: only an assistant's message has tool calls", param);
    ds4_json_cursor cursor = ds4_json_enter(value);
    ds4_json_value element;
    for (size_t j = 0; ds4_json_next_element(&cursor, &element); j++) {
        param_path path;
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

static ds4_status read_role(openai_body *b, const char *param, ds4_json_value value,
                            ds4_chat_role *role) {
    static const struct {
        const char *name;
        ds4_chat_role role;
    } roles[] = {
        {"system", DS4_ROLE_SYSTEM}, {"developer", DS4_ROLE_SYSTEM},
        {"user", DS4_ROLE_USER},     {"assistant", DS4_ROLE_ASSISTANT},
        {"tool", DS4_ROLE_TOOL},     {"function", DS4_ROLE_TOOL},
    };
    if (value.type != DS4_JSON_STRING) return ds4_openai_wrong_type(b, param, "a string", value);
    for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++) {
        if (!ds4_json_string_equals(value, roles[i].name)) continue;
        *role = roles[i].role;
        return DS4_OK;
    }
    return ds4_request_refuse(
        b->failure, DS4_FORMAT, "invalid_value", param,
        "%s must be one of system, developer, user, assistant, tool, function", param);
}

static ds4_status read_message(openai_body *b, size_t i, ds4_json_value value,
                               ds4_chat_message *message) {
    param_path path;
    ds4_json_value member;
    ds4_status status = DS4_OK;
    snprintf(path, sizeof path, "messages[%zu]", i);
    if (value.type != DS4_JSON_OBJECT) return ds4_openai_wrong_type(b, path, "an object", value);
    message->role = DS4_ROLE_USER;
    if (find_member(value, "role", &member)) {
        snprintf(path, sizeof path, "messages[%zu].role", i);
        status = read_role(b, path, member, &message->role);
    }
    if (status == DS4_OK && find_member(value, "content", &member)) {
        snprintf(path, sizeof path, "messages[%zu].content", i);
        status = read_content(b, path, member, &message->content);
    }
    if (status == DS4_OK && find_member(value, "reasoning_content", &member)) {
        snprintf(path, sizeof path, "messages[%zu].reasoning_content", i);
        status = read_content(b, path, member, &message->reasoning);
    }
    if (status == DS4_OK && find_member(value, "tool_calls", &member)) {
        snprintf(path, sizeof path, "messages[%zu].tool_calls", i);
        status = read_calls(b, path, member, message);
    }
    if (status == DS4_OK && find_member(value, "tool_call_id", &member)) {
        snprintf(path, sizeof path, "messages[%zu].tool_call_id", i);
        status =
            ds4_openai_string(b, path, member, DS4_REQUEST_MAX_NAME_BYTES, &message->tool_call_id);
    }
    return status;
}

ds4_status ds4_openai_read_messages(openai_body *b, ds4_json_value value) {
    if (value.type != DS4_JSON_ARRAY)
        return ds4_openai_wrong_type(b, "messages", "an array", value);
    size_t n = count_elements(value);
    if (n > DS4_REQUEST_MAX_MESSAGES)
        return ds4_request_refuse(b->failure, DS4_FORMAT, "invalid_value", "messages",
                                  "messages has %zu elements, at most %u are allowed", n,
                                  DS4_REQUEST_MAX_MESSAGES);
    ds4_chat_message *messages = ds4_chat_request_alloc(b->request, n * sizeof *messages);
    if (messages == NULL) return ds4_openai_no_memory(b);
    ds4_json_cursor cursor = ds4_json_enter(value);
    ds4_json_value element;
    for (size_t i = 0; ds4_json_next_element(&cursor, &element); i++) {
        ds4_status status = read_message(b, i, element, &messages[i]);
        if (status != DS4_OK) return status;
    }
    b->request->messages = messages;
    b->request->n_messages = n;
    b->has_messages = true;
    return DS4_OK;
}

/* ---- tools ---- */

static ds4_status read_tool(openai_body *b, const char *param, ds4_json_value value,
                            ds4_chat_tool *tool) {
    param_path path;
    ds4_json_value type, function, name, shown = value;
    if (value.type != DS4_JSON_OBJECT) return ds4_openai_wrong_type(b, param, "an object", value);
    snprintf(path, sizeof path, "%.70s.name", param);
    if (find_member(value, "type", &type) && ds4_json_string_equals(type, "function") &&
        find_member(value, "function", &function)) {
        snprintf(path, sizeof path, "%.70s.function", param);
        if (function.type != DS4_JSON_OBJECT)
            return ds4_openai_wrong_type(b, path, "an object", function);
        shown = function;
        snprintf(path, sizeof path, "%.70s.function.name", param);
    }
    if (!find_member(shown, "name", &name))
        return ds4_request_refuse(b->failure, DS4_FORMAT, "missing_required_parameter", path,
                                  "%s is missing: a tool needs a name", path);
    ds4_status status = ds4_openai_string(b, path, name, DS4_REQUEST_MAX_NAME_BYTES, &tool->name);
    if (status != DS4_OK) return status;
    if (tool->name.n == 0)
        return ds4_request_refuse(b->failure, DS4_FORMAT, "invalid_value", path, "%s is empty",
                                  path);
    tool->schema = ds4_chat_request_text(b->request, shown.text, shown.n);
    if (tool->schema.data == NULL) return ds4_openai_no_memory(b);
    ds4_json_value parameters;
    bool given = find_member(shown, "parameters", &parameters) ||
                 find_member(shown, "input_schema", &parameters);
    if (!given) return DS4_OK;
    /* Points into the copy: the schema is part of what is shown. */
    tool->parameters = (ds4_text){tool->schema.data + (parameters.text - shown.text), parameters.n};
    return DS4_OK;
}

static bool same_text(ds4_text a, ds4_text b) {
    return a.n == b.n && memcmp(a.data, b.data, a.n) == 0;
}

ds4_status ds4_openai_read_tools(openai_body *b, ds4_json_value value) {
    if (value.type != DS4_JSON_ARRAY) return ds4_openai_wrong_type(b, "tools", "an array", value);
    size_t n = count_elements(value);
    if (n > DS4_REQUEST_MAX_TOOLS)
        return ds4_request_refuse(b->failure, DS4_FORMAT, "invalid_value", "tools",
                                  "tools has %zu elements, at most %u are allowed", n,
                                  DS4_REQUEST_MAX_TOOLS);
    ds4_chat_tool *tools = ds4_chat_request_alloc(b->request, n * sizeof *tools);
    if (tools == NULL) return ds4_openai_no_memory(b);
    ds4_json_cursor cursor = ds4_json_enter(value);
    ds4_json_value element;
    for (size_t i = 0; ds4_json_next_element(&cursor, &element); i++) {
        param_path path;
        snprintf(path, sizeof path, "tools[%zu]", i);
        ds4_status status = read_tool(b, path, element, &tools[i]);
        if (status != DS4_OK) return status;
        for (size_t j = 0; j < i; j++)
            if (same_text(tools[i].name, tools[j].name))
                return ds4_request_refuse(b->failure, DS4_FORMAT, "invalid_value", path,
                                          "%s has the same name as tools[%zu]", path, j);
    }
    b->request->tools = tools;
    b->request->n_tools = n;
    return DS4_OK;
}

ds4_status ds4_openai_read_tool_choice(openai_body *b, ds4_json_value value) {
    ds4_json_value type, function, name;
    if (value.type == DS4_JSON_OBJECT) {
        bool named = find_member(value, "type", &type) &&
                     ds4_json_string_equals(type, "function") &&
                     find_member(value, "function", &function) &&
                     function.type == DS4_JSON_OBJECT && find_member(function, "name", &name);
        if (!named)
            return ds4_request_refuse(b->failure, DS4_FORMAT, "invalid_value", "tool_choice",
                                      "tool_choice as an object must name a function");
        b->request->tool_choice = DS4_TOOL_CHOICE_NAMED;
        return ds4_openai_string(b, "tool_choice.function.name", name, DS4_REQUEST_MAX_NAME_BYTES,
                                 &b->request->tool_choice_name);
    }
    if (value.type != DS4_JSON_STRING)
        return ds4_openai_wrong_type(b, "tool_choice", "a string or an object", value);
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
