/* Anthropic's messages: arrays of blocks, where a user's turn may hold results and text. */
#include <stdio.h>
#include <string.h>

#include "chat/anthropic_internal.h"

/* One message while its blocks are read. Text of a kind is collected until another kind comes. */
typedef struct block_reader {
    ds4_body_reader *b;
    ds4_json_value body;
    ds4_chat_role role;
    ds4_strbuf text, thinking;
    ds4_tool_call *calls;
    size_t n_calls, n_blocks;
    bool turn_begun; /* this message has given a part of a turn already */
} block_reader;

static bool take(block_reader *m, ds4_strbuf *from, ds4_text *text) {
    *text = ds4_chat_request_text(m->b->request, from->data, from->n);
    bool taken = text->data != NULL && !from->failed;
    ds4_strbuf_clear(from);
    return taken;
}

/* The text so far becomes a part of the user's turn. */
static ds4_status flush_text(block_reader *m) {
    ds4_chat_message *message = ds4_body_add_message(m->b, m->role);
    if (message == NULL || !take(m, &m->text, &message->content)) return ds4_body_no_memory(m->b);
    message->continues_turn = m->turn_begun;
    m->turn_begun = true;
    return DS4_OK;
}

/* ---- blocks ---- */

static ds4_status unexpected(block_reader *m, const char *param, const char *where) {
    return ds4_request_refuse(m->b->failure, DS4_FORMAT, "invalid_value", param,
                              "%s: such a block belongs into %s message", param, where);
}

static ds4_status read_text(block_reader *m, const char *param, ds4_json_value block) {
    ds4_strbuf_clear(&m->b->scratch);
    ds4_status status = ds4_body_append_part(m->b, param, block);
    ds4_strbuf_append(&m->text, m->b->scratch.data, m->b->scratch.n);
    return status;
}

static ds4_status read_thinking(block_reader *m, const char *param, ds4_json_value block) {
    ds4_text text = {0};
    if (m->role != DS4_ROLE_ASSISTANT) return unexpected(m, param, "an assistant's");
    ds4_status status = ds4_body_member_string(m->b, param, block, "thinking", SIZE_MAX, &text);
    ds4_strbuf_append(&m->thinking, text.data, text.n);
    return status;
}

static ds4_status read_tool_use(block_reader *m, const char *param, ds4_json_value block) {
    ds4_json_value input;
    ds4_param_path path;
    if (m->role != DS4_ROLE_ASSISTANT) return unexpected(m, param, "an assistant's");
    if (m->calls == NULL)
        m->calls = ds4_chat_request_alloc(m->b->request, m->n_blocks * sizeof *m->calls);
    if (m->calls == NULL) return ds4_body_no_memory(m->b);
    ds4_tool_call *call = &m->calls[m->n_calls++];
    *call = (ds4_tool_call){.arguments = DS4_TEXT("{}")};
    ds4_status status =
        ds4_body_member_string(m->b, param, block, "id", DS4_REQUEST_MAX_NAME_BYTES, &call->id);
    if (status == DS4_OK) status = ds4_body_tool_name(m->b, param, block, &call->name);
    if (status != DS4_OK || !ds4_body_find(block, "input", &input)) return status;
    snprintf(path, sizeof path, "%.80s.input", param);
    if (input.type != DS4_JSON_OBJECT) return ds4_body_wrong_type(m->b, path, "an object", input);
    return ds4_body_raw(m->b, input, &call->arguments);
}

/* Whether an earlier message has the call that a result answers. */
static bool is_known_call(const ds4_body_reader *b, ds4_text id) {
    for (size_t i = b->request->n_messages; i-- > 0;)
        for (size_t j = 0; j < b->messages[i].n_calls; j++)
            if (ds4_text_same(b->messages[i].calls[j].id, id)) return true;
    return false;
}

/* A tool that was held back is shown by the result that found it: as the client wrote it. */
static ds4_status append_reference(block_reader *m, const char *param, ds4_json_value part) {
    ds4_json_value name, tools, tool, tool_name;
    ds4_strbuf wanted = {0}, other = {0};
    bool found = false;
    if (!ds4_body_find(part, "tool_name", &name) || name.type != DS4_JSON_STRING)
        return ds4_request_refuse(m->b->failure, DS4_FORMAT, "missing_required_parameter", param,
                                  "%s has no tool_name", param);
    ds4_json_string_decode(name, &wanted);
    ds4_json_cursor cursor = {0};
    if (ds4_body_find(m->body, "tools", &tools) && tools.type == DS4_JSON_ARRAY)
        cursor = ds4_json_enter(tools);
    while (!found && cursor.at != NULL && ds4_json_next_element(&cursor, &tool)) {
        if (!ds4_body_find(tool, "name", &tool_name) || tool_name.type != DS4_JSON_STRING) continue;
        ds4_strbuf_clear(&other);
        ds4_json_string_decode(tool_name, &other);
        found =
            other.n == wanted.n && (other.n == 0 || memcmp(other.data, wanted.data, other.n) == 0);
    }
    if (found)
        ds4_strbuf_append(&m->b->scratch, tool.text, tool.n);
    else
        ds4_strbuf_append(&m->b->scratch, wanted.data, wanted.n);
    ds4_strbuf_putc(&m->b->scratch, '\n');
    ds4_strbuf_free(&wanted);
    ds4_strbuf_free(&other);
    return DS4_OK;
}

static ds4_status read_result_content(block_reader *m, const char *param, ds4_json_value content,
                                      ds4_text *text) {
    ds4_json_cursor cursor;
    ds4_json_value part, type;
    ds4_strbuf_clear(&m->b->scratch);
    if (content.type != DS4_JSON_ARRAY) return ds4_body_content(m->b, param, content, text);
    cursor = ds4_json_enter(content);
    for (size_t i = 0; ds4_json_next_element(&cursor, &part); i++) {
        ds4_param_path path;
        snprintf(path, sizeof path, "%.75s[%zu]", param, i);
        bool reference =
            ds4_body_find(part, "type", &type) && ds4_json_string_equals(type, "tool_reference");
        ds4_status status =
            reference ? append_reference(m, path, part) : ds4_body_append_part(m->b, path, part);
        if (status != DS4_OK) return status;
    }
    return ds4_body_take_scratch(m->b, text);
}

static ds4_status read_tool_result(block_reader *m, const char *param, ds4_json_value block) {
    ds4_json_value content;
    ds4_param_path path;
    ds4_text id = {0}, text = {"", 0};
    if (m->role != DS4_ROLE_USER) return unexpected(m, param, "a user's");
    ds4_status status =
        ds4_body_member_string(m->b, param, block, "tool_use_id", DS4_REQUEST_MAX_NAME_BYTES, &id);
    if (status == DS4_OK && id.n > 0 && !is_known_call(m->b, id)) {
        snprintf(path, sizeof path, "%.80s.tool_use_id", param);
        return ds4_request_refuse(m->b->failure, DS4_FORMAT, "invalid_value", path,
                                  "Anthropic continuation state is not available for tool_use_id "
                                  "%s; retry by replaying the full messages history",
                                  id.data);
    }
    if (status == DS4_OK && m->text.n > 0) status = flush_text(m);
    if (status == DS4_OK && ds4_body_find(block, "content", &content)) {
        snprintf(path, sizeof path, "%.80s.content", param);
        status = read_result_content(m, path, content, &text);
    }
    if (status != DS4_OK) return status;
    ds4_chat_message *message = ds4_body_add_message(m->b, DS4_ROLE_TOOL);
    if (message == NULL) return ds4_body_no_memory(m->b);
    message->content = text;
    message->tool_call_id = id;
    message->continues_turn = m->turn_begun;
    m->turn_begun = true;
    return DS4_OK;
}

static ds4_status read_block(block_reader *m, const char *param, ds4_json_value block) {
    ds4_json_value type;
    if (block.type == DS4_JSON_OBJECT && ds4_body_find(block, "type", &type)) {
        if (ds4_json_string_equals(type, "thinking")) return read_thinking(m, param, block);
        if (ds4_json_string_equals(type, "redacted_thinking")) return DS4_OK;
        if (ds4_json_string_equals(type, "tool_use")) return read_tool_use(m, param, block);
        if (ds4_json_string_equals(type, "tool_result")) return read_tool_result(m, param, block);
    }
    return read_text(m, param, block);
}

/* ---- messages ---- */

static ds4_status read_role(ds4_body_reader *b, const char *param, ds4_json_value message,
                            ds4_chat_role *role) {
    ds4_param_path path;
    ds4_json_value value;
    *role = DS4_ROLE_USER;
    if (!ds4_body_find(message, "role", &value)) return DS4_OK;
    snprintf(path, sizeof path, "%.60s.role", param);
    if (value.type != DS4_JSON_STRING) return ds4_body_wrong_type(b, path, "a string", value);
    if (ds4_json_string_equals(value, "user")) return DS4_OK;
    if (ds4_json_string_equals(value, "assistant")) {
        *role = DS4_ROLE_ASSISTANT;
    } else if (ds4_json_string_equals(value, "system")) {
        *role = DS4_ROLE_SYSTEM;
    } else {
        return ds4_body_out_of_range(b, path, "one of user, assistant, system");
    }
    return DS4_OK;
}

static ds4_status read_blocks(block_reader *m, const char *param, ds4_json_value content) {
    ds4_param_path path;
    ds4_json_value block;
    snprintf(path, sizeof path, "%.60s.content", param);
    if (content.type == DS4_JSON_STRING) return read_text(m, path, content);
    if (content.type != DS4_JSON_ARRAY)
        return ds4_body_wrong_type(m->b, path, "a string or an array", content);
    m->n_blocks = ds4_body_count(content);
    ds4_json_cursor cursor = ds4_json_enter(content);
    for (size_t i = 0; ds4_json_next_element(&cursor, &block); i++) {
        snprintf(path, sizeof path, "%.60s.content[%zu]", param, i);
        ds4_status status = read_block(m, path, block);
        if (status != DS4_OK) return status;
    }
    return DS4_OK;
}

static ds4_status read_message(ds4_body_reader *b, ds4_json_value body, const char *param,
                               ds4_json_value value) {
    block_reader m = {.b = b, .body = body};
    ds4_json_value content;
    if (value.type != DS4_JSON_OBJECT) return ds4_body_wrong_type(b, param, "an object", value);
    ds4_status status = read_role(b, param, value, &m.role);
    if (status == DS4_OK && ds4_body_find(value, "content", &content))
        status = read_blocks(&m, param, content);
    if (status == DS4_OK && m.role != DS4_ROLE_ASSISTANT && (m.text.n > 0 || !m.turn_begun))
        status = flush_text(&m);
    if (status == DS4_OK && m.role == DS4_ROLE_ASSISTANT) {
        ds4_chat_message *message = ds4_body_add_message(b, m.role);
        if (message == NULL || !take(&m, &m.text, &message->content) ||
            !take(&m, &m.thinking, &message->reasoning)) {
            status = ds4_body_no_memory(b);
        } else {
            message->calls = m.calls;
            message->n_calls = m.n_calls;
        }
    }
    ds4_strbuf_free(&m.text);
    ds4_strbuf_free(&m.thinking);
    return status;
}

ds4_status ds4_anthropic_read_messages(ds4_body_reader *b, ds4_json_value body,
                                       ds4_json_value messages) {
    if (messages.type != DS4_JSON_ARRAY)
        return ds4_body_wrong_type(b, "messages", "an array", messages);
    size_t n = ds4_body_count(messages);
    if (n > DS4_REQUEST_MAX_MESSAGES)
        return ds4_request_refuse(b->failure, DS4_FORMAT, "invalid_value", "messages",
                                  "messages has %zu elements, at most %u are allowed", n,
                                  DS4_REQUEST_MAX_MESSAGES);
    ds4_json_cursor cursor = ds4_json_enter(messages);
    ds4_json_value message;
    for (size_t i = 0; ds4_json_next_element(&cursor, &message); i++) {
        ds4_param_path path;
        snprintf(path, sizeof path, "messages[%zu]", i);
        ds4_status status = read_message(b, body, path, message);
        if (status != DS4_OK) return status;
    }
    return DS4_OK;
}
