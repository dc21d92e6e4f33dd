/* The items of a Responses input -> messages. Calls and texts that follow each other are one
 * assistant's turn. */
#include <stdio.h>
#include <string.h>

#include "chat/responses_internal.h"

typedef struct item_reader {
    ds4_body_reader *b;
    ds4_strbuf *stash; /* reasoning that belongs to the next assistant's item */
} item_reader;

static bool is_type(ds4_json_value type, const char *const *names) {
    for (; *names != NULL; names++)
        if (ds4_json_string_equals(type, *names)) return true;
    return false;
}

ds4_status ds4_responses_flush(ds4_body_reader *b, ds4_strbuf *stash) {
    if (stash->n == 0) return DS4_OK;
    ds4_chat_message *message = ds4_body_add_message(b, DS4_ROLE_ASSISTANT);
    if (message == NULL || stash->failed) return ds4_body_no_memory(b);
    message->reasoning = ds4_chat_request_text(b->request, stash->data, stash->n);
    ds4_strbuf_clear(stash);
    return message->reasoning.data != NULL ? DS4_OK : ds4_body_no_memory(b);
}

/* A new assistant's message that takes what was thought before it. */
static ds4_chat_message *add_assistant(item_reader *r) {
    ds4_body_reader *b = r->b;
    if (r->stash->n > 0)
        return ds4_responses_flush(b, r->stash) == DS4_OK ? &b->messages[b->request->n_messages - 1]
                                                          : NULL;
    return ds4_body_add_message(b, DS4_ROLE_ASSISTANT);
}

/* ---- messages ---- */

static ds4_status read_message(item_reader *r, const char *param, ds4_json_value item) {
    ds4_body_reader *b = r->b;
    ds4_json_value role, content;
    ds4_param_path path;
    ds4_text text = {"", 0};
    ds4_status status = DS4_OK;
    if (ds4_body_find(item, "content", &content)) {
        snprintf(path, sizeof path, "%.60s.content", param);
        status = ds4_body_content(b, path, content, &text);
        if (status != DS4_OK) return status;
    }
    bool has_role = ds4_body_find(item, "role", &role);
    if (has_role && ds4_json_string_equals(role, "assistant")) {
        ds4_chat_message *message = add_assistant(r);
        if (message == NULL) return ds4_body_no_memory(b);
        message->content = text;
        return DS4_OK;
    }
    bool system = has_role && ds4_json_string_equals(role, "system");
    bool developer = has_role && ds4_json_string_equals(role, "developer");
    if (has_role && !system && !developer && !ds4_json_string_equals(role, "user")) {
        snprintf(path, sizeof path, "%.60s.role", param);
        return ds4_body_out_of_range(b, path, "one of user, assistant, system, developer");
    }
    if (!system && !developer) status = ds4_responses_flush(b, r->stash);
    if (status != DS4_OK) return status;
    ds4_chat_message *message =
        ds4_body_add_message(b, system || developer ? DS4_ROLE_SYSTEM : DS4_ROLE_USER);
    if (message == NULL) return ds4_body_no_memory(b);
    message->content = text;
    message->developer = developer;
    return DS4_OK;
}

/* Summary, then content; failing both, the opaque text when we wrote it. */
static ds4_status read_reasoning(item_reader *r, const char *param, ds4_json_value item) {
    static const char *const members[] = {"summary", "content"};
    static const char mark[] = DS4_RESPONSES_REASONING_MARK;
    ds4_body_reader *b = r->b;
    ds4_json_value value;
    ds4_strbuf_clear(&b->scratch);
    for (size_t i = 0; i < 2; i++) {
        ds4_param_path path;
        size_t before = b->scratch.n;
        if (!ds4_body_find(item, members[i], &value)) continue;
        snprintf(path, sizeof path, "%.60s.%s", param, members[i]);
        if (before > 0) ds4_strbuf_putc(&b->scratch, '\n');
        ds4_status status = ds4_body_append_content(b, path, value);
        if (status != DS4_OK) return status;
        if (before > 0 && b->scratch.n == before + 1) b->scratch.n = before;
    }
    if (b->scratch.n == 0 && ds4_body_find(item, "encrypted_content", &value) &&
        value.type == DS4_JSON_STRING) {
        ds4_json_string_decode(value, &b->scratch);
        size_t n_mark = sizeof mark - 1;
        if (b->scratch.n < n_mark || memcmp(b->scratch.data, mark, n_mark) != 0) return DS4_OK;
        ds4_strbuf_append(r->stash, b->scratch.data + n_mark, b->scratch.n - n_mark);
        return DS4_OK;
    }
    if (r->stash->n > 0 && b->scratch.n > 0) ds4_strbuf_putc(r->stash, '\n');
    ds4_strbuf_append(r->stash, b->scratch.data, b->scratch.n);
    return DS4_OK;
}

/* A conversation that was compacted here goes on behind its summary. */
static ds4_status read_compaction(item_reader *r, const char *param, ds4_json_value item) {
    static const char mark[] = DS4_RESPONSES_SUMMARY_MARK;
    ds4_body_reader *b = r->b;
    ds4_json_value value;
    if (!ds4_body_find(item, "encrypted_content", &value) || value.type != DS4_JSON_STRING)
        return DS4_OK;
    ds4_strbuf_clear(&b->scratch);
    ds4_json_string_decode(value, &b->scratch);
    size_t n_mark = sizeof mark - 1;
    if (b->scratch.n < n_mark || memcmp(b->scratch.data, mark, n_mark) != 0) {
        ds4_body_ignore(b, param); /* another server's: nobody else can read it */
        return DS4_OK;
    }
    memmove(b->scratch.data, b->scratch.data + n_mark, b->scratch.n - n_mark);
    b->scratch.n -= n_mark;
    ds4_status status = ds4_responses_flush(b, r->stash);
    ds4_chat_message *message = status == DS4_OK ? ds4_body_add_message(b, DS4_ROLE_USER) : NULL;
    if (message == NULL) return ds4_body_no_memory(b);
    return ds4_body_take_scratch(b, &message->content);
}

/* ---- calls ---- */

static ds4_status join_name(ds4_body_reader *b, const char *param, ds4_json_value item,
                            ds4_text *name) {
    ds4_text space = {0}, own = {0};
    ds4_status status =
        ds4_body_member_string(b, param, item, "namespace", DS4_REQUEST_MAX_NAME_BYTES, &space);
    if (status == DS4_OK) status = ds4_body_tool_name(b, param, item, &own);
    if (status != DS4_OK) return status;
    ds4_strbuf_clear(&b->scratch);
    ds4_strbuf_append(&b->scratch, space.data, space.n);
    ds4_strbuf_append(&b->scratch, own.data, own.n);
    return ds4_body_take_scratch(b, name);
}

/* The first of these members that is there: as text, or as it was written. */
static ds4_status read_call_arguments(ds4_body_reader *b, const char *param, ds4_json_value item,
                                      const char *const *names, ds4_text *arguments) {
    ds4_json_value value;
    *arguments = DS4_TEXT("{}");
    for (; *names != NULL; names++) {
        if (!ds4_body_find(item, *names, &value)) continue;
        return ds4_body_arguments(b, param, value, arguments);
    }
    return DS4_OK;
}

/* What a tool of free text was given stands in the one parameter that its function has. */
static ds4_status wrap_input(ds4_body_reader *b, ds4_text *arguments) {
    ds4_text input = *arguments;
    ds4_strbuf_clear(&b->scratch);
    ds4_strbuf_puts(&b->scratch, "{\"input\":\"");
    ds4_json_escape(input.data, input.n, &b->scratch);
    ds4_strbuf_puts(&b->scratch, "\"}");
    return ds4_body_take_scratch(b, arguments);
}

static ds4_status call_id(ds4_body_reader *b, const char *param, ds4_json_value item,
                          ds4_text *id) {
    ds4_status status =
        ds4_body_member_string(b, param, item, "call_id", DS4_REQUEST_MAX_NAME_BYTES, id);
    if (status != DS4_OK || id->n > 0) return status;
    return ds4_body_member_string(b, param, item, "id", DS4_REQUEST_MAX_NAME_BYTES, id);
}

/* Appends to the assistant's message that came directly before, or begins one. */
static ds4_status add_call(item_reader *r, ds4_tool_call call) {
    ds4_body_reader *b = r->b;
    size_t n = b->request->n_messages;
    bool joins = r->stash->n == 0 && n > 0 && b->messages[n - 1].role == DS4_ROLE_ASSISTANT;
    ds4_chat_message *message = joins ? &b->messages[n - 1] : add_assistant(r);
    if (message == NULL) return ds4_body_no_memory(b);
    ds4_tool_call *calls =
        ds4_chat_request_alloc(b->request, (message->n_calls + 1) * sizeof *calls);
    if (calls == NULL) return ds4_body_no_memory(b);
    if (message->n_calls > 0) memcpy(calls, message->calls, message->n_calls * sizeof *calls);
    calls[message->n_calls++] = call;
    message->calls = calls;
    return DS4_OK;
}

static ds4_status read_call(item_reader *r, const char *param, ds4_json_value type,
                            ds4_json_value item) {
    static const char *const function_members[] = {"arguments", "input", NULL};
    static const char *const action_members[] = {"action", "arguments", "input", NULL};
    static const struct {
        const char *type, *name;
    } fixed[] = {{"local_shell_call", "local_shell"},
                 {"tool_search_call", "tool_search"},
                 {"web_search_call", "web_search_call"},
                 {"image_generation_call", "image_generation_call"}};
    ds4_body_reader *b = r->b;
    ds4_tool_call call = {0};
    ds4_status status = call_id(b, param, item, &call.id);
    for (size_t i = 0; i < sizeof fixed / sizeof fixed[0]; i++)
        if (ds4_json_string_equals(type, fixed[i].type))
            call.name = (ds4_text){fixed[i].name, strlen(fixed[i].name)};
    bool function = call.name.n == 0, custom = ds4_json_string_equals(type, "custom_tool_call");
    if (status == DS4_OK && function) status = join_name(b, param, item, &call.name);
    if (status == DS4_OK)
        status = read_call_arguments(b, param, item, function ? function_members : action_members,
                                     &call.arguments);
    if (status == DS4_OK && custom) status = wrap_input(b, &call.arguments);
    return status == DS4_OK ? add_call(r, call) : status;
}

static bool is_known_call(const ds4_body_reader *b, ds4_text id) {
    for (size_t i = b->request->n_messages; i-- > 0;)
        for (size_t j = 0; j < b->messages[i].n_calls; j++)
            if (ds4_text_same(b->messages[i].calls[j].id, id)) return true;
    return false;
}

static ds4_status read_output(item_reader *r, const char *param, ds4_json_value item) {
    static const char *const members[] = {"output", "result", "tools"};
    ds4_body_reader *b = r->b;
    ds4_text id = {0}, text = {"", 0};
    ds4_json_value value;
    ds4_status status = call_id(b, param, item, &id);
    if (status == DS4_OK && !is_known_call(b, id)) {
        ds4_param_path path;
        snprintf(path, sizeof path, "%.80s.call_id", param);
        return ds4_request_refuse(b->failure, DS4_FORMAT, "invalid_value", path,
                                  "Responses continuation state is not available for call_id %s; "
                                  "retry by replaying the full input history",
                                  id.n > 0 ? id.data : "(none)");
    }
    for (size_t i = 0; status == DS4_OK && i < 3; i++) {
        if (!ds4_body_find(item, members[i], &value)) continue;
        ds4_param_path path;
        snprintf(path, sizeof path, "%.60s.%s", param, members[i]);
        bool text_like = value.type == DS4_JSON_STRING || (value.type == DS4_JSON_ARRAY && i == 0);
        status =
            text_like ? ds4_body_content(b, path, value, &text) : ds4_body_raw(b, value, &text);
        break;
    }
    if (status == DS4_OK) status = ds4_responses_flush(b, r->stash);
    if (status != DS4_OK) return status;
    ds4_chat_message *message = ds4_body_add_message(b, DS4_ROLE_TOOL);
    if (message == NULL) return ds4_body_no_memory(b);
    message->content = text;
    message->tool_call_id = id;
    return DS4_OK;
}

/* ---- items ---- */

static ds4_status read_item(item_reader *r, const char *param, ds4_json_value item) {
    static const char *const calls[] = {"function_call",
                                        "custom_tool_call",
                                        "local_shell_call",
                                        "tool_search_call",
                                        "web_search_call",
                                        "image_generation_call",
                                        NULL};
    static const char *const outputs[] = {"function_call_output",    "custom_tool_call_output",
                                          "local_shell_call_output", "web_search_call_output",
                                          "tool_search_call_output", "image_generation_call_output",
                                          "tool_search_output",      NULL};
    static const char *const compactions[] = {"compaction", "context_compaction",
                                              "compaction_summary", NULL};
    static const char *const states[] = {"", "completed", "incomplete", "in_progress", NULL};
    ds4_body_reader *b = r->b;
    ds4_json_value type, status;
    ds4_param_path path;
    if (item.type != DS4_JSON_OBJECT) return ds4_body_wrong_type(b, param, "an object", item);
    if (ds4_body_find(item, "status", &status) && !is_type(status, states)) {
        snprintf(path, sizeof path, "%.60s.status", param);
        return ds4_body_out_of_range(b, path, "one of completed, incomplete, in_progress");
    }
    if (!ds4_body_find(item, "type", &type) || ds4_json_string_equals(type, "message"))
        return read_message(r, param, item);
    if (ds4_json_string_equals(type, "reasoning")) return read_reasoning(r, param, item);
    if (is_type(type, calls)) return read_call(r, param, type, item);
    if (is_type(type, outputs)) return read_output(r, param, item);
    if (is_type(type, compactions)) return read_compaction(r, param, item);
    snprintf(path, sizeof path, "%.60s.type", param);
    return ds4_request_refuse(b->failure, DS4_UNSUPPORTED, "invalid_value", path,
                              "%s: items of this type are not supported", path);
}

ds4_status ds4_responses_read_items(ds4_body_reader *b, const char *param, ds4_json_value items,
                                    ds4_strbuf *stash) {
    item_reader r = {b, stash};
    ds4_json_cursor cursor = ds4_json_enter(items);
    ds4_json_value item;
    for (size_t i = 0; ds4_json_next_element(&cursor, &item); i++) {
        ds4_param_path path;
        if (i + b->request->n_messages > DS4_REQUEST_MAX_MESSAGES)
            return ds4_request_refuse(b->failure, DS4_FORMAT, "invalid_value", param,
                                      "%s has more than %u items", param, DS4_REQUEST_MAX_MESSAGES);
        snprintf(path, sizeof path, "%.40s[%zu]", param, i);
        ds4_status status = read_item(&r, path, item);
        if (status != DS4_OK) return status;
    }
    return DS4_OK;
}
