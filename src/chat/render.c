#include "chat/render.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "chat/dsml.h"
#include "chat/render_internal.h"

#define WORD DS4_DSML_WORD

/* Written to the model before and behind the tools' schemas, one schema a line. The control words
 * in it are the template's own and become control tokens. */
static const char TOOLS_HEAD[] =
    "## Tools\n\n"
    "You have access to a set of tools to help answer the user question. You can invoke tools by "
    "writing a "
    "\"<" WORD "tool_calls>\" block like the following:\n\n"
    "<" WORD "tool_calls>\n"
    "<" WORD "invoke name=\"$TOOL_NAME\">\n"
    "<" WORD "parameter name=\"$PARAMETER_NAME\" string=\"true|false\">$PARAMETER_VALUE</" WORD
    "parameter>\n"
    "...\n"
    "</" WORD "invoke>\n"
    "<" WORD "invoke name=\"$TOOL_NAME2\">\n"
    "...\n"
    "</" WORD "invoke>\n"
    "</" WORD "tool_calls>\n\n"
    "String parameters should be specified as raw text and set `string=\"true\"`. Preserve "
    "characters such as "
    "`>`, `&`, and `&&` exactly; never replace normal string characters with XML or HTML entity "
    "escapes. Only "
    "if a string value itself contains the exact closing parameter tag `</" WORD
    "parameter>`, write that tag "
    "as `&lt;/" WORD
    "parameter>` inside the value. For all other types (numbers, booleans, arrays, objects), "
    "pass the value in JSON format and set `string=\"false\"`.\n\n"
    "If thinking_mode is enabled (triggered by <think>), you MUST output your complete reasoning "
    "inside "
    "<think>...</think> BEFORE any tool calls or final response.\n\n"
    "Otherwise, output directly after </think> with tool calls or final response.\n\n"
    "### Available Tool Schemas\n\n";

static const char TOOLS_TAIL[] = "\n\nYou MUST strictly follow the above defined tool name and "
                                 "parameter schemas to invoke tool calls. Use "
                                 "the exact parameter names from the schemas.";

/* ---- segments ---- */

static void add_segment(ds4_prompt *prompt, ds4_control control, size_t begin) {
    ds4_segment *last = prompt->n_segments > 0 ? &prompt->segments[prompt->n_segments - 1] : NULL;
    if (prompt->text.n == begin) return;
    if (control == DS4_CONTROL_NONE && last != NULL && last->control == DS4_CONTROL_NONE &&
        last->n_ids == 0) {
        last->end = prompt->text.n;
        return;
    }
    if (prompt->n_segments == prompt->segment_capacity) {
        size_t capacity = prompt->segment_capacity == 0 ? 64 : prompt->segment_capacity * 2;
        ds4_segment *grown = realloc(prompt->segments, capacity * sizeof *grown);
        if (grown == NULL) {
            prompt->text.failed = true; /* remembered like the text's own failures */
            return;
        }
        prompt->segments = grown;
        prompt->segment_capacity = capacity;
    }
    prompt->segments[prompt->n_segments++] =
        (ds4_segment){.control = control, .begin = begin, .end = prompt->text.n};
}

void ds4_render_control(ds4_prompt *prompt, ds4_control control) {
    size_t begin = prompt->text.n;
    ds4_strbuf_puts(&prompt->text, ds4_control_spelling(control));
    add_segment(prompt, control, begin);
}

static void put_text(ds4_prompt *prompt, const char *bytes, size_t n) {
    size_t begin = prompt->text.n;
    ds4_strbuf_append(&prompt->text, bytes, n);
    add_segment(prompt, DS4_CONTROL_NONE, begin);
}

/* The control that is spelled at the beginning of these bytes. */
static ds4_control control_at(const char *at, size_t n) {
    if (n == 0 || (*at != '<' && *at != WORD[0])) return DS4_CONTROL_NONE;
    for (int c = DS4_CONTROL_BOS; c < DS4_CONTROL_COUNT; c++) {
        const char *spelling = ds4_control_spelling((ds4_control)c);
        size_t length = strlen(spelling);
        if (length <= n && memcmp(at, spelling, length) == 0) return (ds4_control)c;
    }
    return DS4_CONTROL_NONE;
}

/* Never for anything that came with the request. */
void ds4_render_words(ds4_prompt *prompt, const char *words) {
    size_t n = strlen(words), begin = 0;
    for (size_t i = 0; i < n;) {
        ds4_control control = control_at(words + i, n - i);
        if (control == DS4_CONTROL_NONE) {
            i++;
            continue;
        }
        put_text(prompt, words + begin, i - begin);
        ds4_render_control(prompt, control);
        i += strlen(ds4_control_spelling(control));
        begin = i;
    }
    put_text(prompt, words + begin, n - begin);
}

void ds4_render_text(ds4_prompt *prompt, ds4_text text) {
    put_text(prompt, text.data, text.n);
}

/* ---- the system text ---- */

/* Tools first, then every system message wherever it stands: cutting a prompt's tail loses the
 * volatile end, not the schemas. The separator depends on what is there already, even before an
 * empty message. */
static void put_system(ds4_prompt *prompt, const ds4_chat_request *request) {
    size_t begin = prompt->text.n;
    if (prompt->tools_active) {
        ds4_render_words(prompt, TOOLS_HEAD);
        for (size_t i = 0; i < request->n_tools; i++) {
            if (i > 0) put_text(prompt, "\n", 1);
            ds4_render_text(prompt, request->tools[i].schema);
        }
        ds4_render_words(prompt, TOOLS_TAIL);
    }
    for (size_t i = 0; i < request->n_messages; i++) {
        if (request->messages[i].role != DS4_ROLE_SYSTEM) continue;
        if (prompt->text.n > begin) put_text(prompt, "\n\n", 2);
        ds4_render_text(prompt, request->messages[i].content);
    }
    if (request->format.kind != DS4_FORMAT_JSON_SCHEMA) return;
    if (prompt->text.n > begin) put_text(prompt, "\n\n", 2);
    ds4_render_text(prompt, DS4_TEXT(DS4_RENDER_FORMAT_HEAD));
    ds4_render_text(prompt, request->format.schema);
}

/* ---- tool calls ---- */

static void put_parameter(ds4_prompt *prompt, ds4_text key, bool is_string,
                          const ds4_strbuf *value) {
    ds4_strbuf name = {0};
    ds4_dsml_escape_attribute(key, &name);
    ds4_render_words(prompt, "<" WORD "parameter name=\"");
    put_text(prompt, name.data, name.n);
    put_text(prompt, is_string ? "\" string=\"true\">" : "\" string=\"false\">",
             is_string ? 16 : 17);
    put_text(prompt, value->data, value->n);
    ds4_render_words(prompt, "</" WORD "parameter>\n");
    if (name.failed || value->failed) prompt->text.failed = true;
    ds4_strbuf_free(&name);
}

static void put_json_parameter(ds4_prompt *prompt, ds4_json_value key, ds4_json_value json) {
    ds4_strbuf name = {0}, decoded = {0}, value = {0};
    ds4_json_string_decode(key, &name);
    if (json.type == DS4_JSON_STRING) {
        ds4_json_string_decode(json, &decoded);
        ds4_dsml_escape_string((ds4_text){decoded.data, decoded.n}, &value);
    } else {
        ds4_dsml_escape_json(json, &value);
    }
    put_parameter(prompt, (ds4_text){name.data, name.n}, json.type == DS4_JSON_STRING, &value);
    if (name.failed || decoded.failed) prompt->text.failed = true;
    ds4_strbuf_free(&name);
    ds4_strbuf_free(&decoded);
    ds4_strbuf_free(&value);
}

static void put_call(ds4_prompt *prompt, const ds4_tool_call *call) {
    ds4_strbuf name = {0};
    ds4_dsml_escape_attribute(call->name, &name);
    ds4_render_words(prompt, "<" WORD "invoke name=\"");
    put_text(prompt, name.data, name.n);
    put_text(prompt, "\">\n", 3);
    if (name.failed) prompt->text.failed = true;
    ds4_strbuf_free(&name);

    ds4_json_value arguments;
    if (ds4_json_scan(call->arguments.data, call->arguments.n, DS4_JSON_DEPTH_LIMIT, &arguments,
                      NULL) == DS4_OK &&
        arguments.type == DS4_JSON_OBJECT) {
        ds4_json_cursor cursor = ds4_json_enter(arguments);
        ds4_json_value key, value;
        while (ds4_json_next_member(&cursor, &key, &value)) put_json_parameter(prompt, key, value);
    } else {
        ds4_strbuf value = {0};
        ds4_dsml_escape_string(call->arguments, &value);
        put_parameter(prompt, DS4_TEXT("arguments"), true, &value);
        ds4_strbuf_free(&value);
    }
    ds4_render_words(prompt, "</" WORD "invoke>\n");
}

static void put_calls(ds4_prompt *prompt, const ds4_chat_message *message) {
    if (message->n_calls == 0) return;
    ds4_render_words(prompt, "\n\n<" WORD "tool_calls>\n");
    for (size_t i = 0; i < message->n_calls; i++) put_call(prompt, &message->calls[i]);
    ds4_render_words(prompt, "</" WORD "tool_calls>");
}

/* ---- turns ---- */

void ds4_render_result(ds4_prompt *prompt, ds4_text content) {
    static const char CLOSE[] = "</tool_result>";
    const size_t n_close = sizeof CLOSE - 1;
    put_text(prompt, "<tool_result>", 13);
    size_t begin = 0;
    for (size_t i = 0; i + n_close <= content.n; i++) {
        if (memcmp(content.data + i, CLOSE, n_close) != 0) continue;
        put_text(prompt, content.data + begin, i - begin);
        put_text(prompt, "&lt;", 4);
        begin = i + 1;
    }
    if (content.n > 0) put_text(prompt, content.data + begin, content.n - begin);
    put_text(prompt, CLOSE, n_close);
}

/* The part of an assistant's turn that is remembered as it was sampled: everything behind the
 * <think> or </think> that the template writes. False: nothing was put. */
static bool put_sampled(ds4_prompt *prompt, ds4_tool_memory *memory,
                        const ds4_chat_message *message, bool keep_reasoning) {
    size_t first_id = prompt->sampled.n, begin;
    ds4_strbuf text = {0};
    bool with_thought = false;
    if (memory == NULL || !ds4_tool_memory_find(memory, message, keep_reasoning, &prompt->sampled,
                                                &text, &with_thought))
        return false;
    if (keep_reasoning) ds4_render_control(prompt, DS4_CONTROL_THINK);
    if (keep_reasoning && !with_thought) ds4_render_text(prompt, message->reasoning);
    if (!with_thought) ds4_render_control(prompt, DS4_CONTROL_THINK_END);
    begin = prompt->text.n;
    ds4_strbuf_append(&prompt->text, text.data, text.n);
    if (text.failed) prompt->text.failed = true;
    ds4_strbuf_free(&text);
    add_segment(prompt, DS4_CONTROL_NONE, begin);
    if (prompt->n_segments > 0) {
        ds4_segment *segment = &prompt->segments[prompt->n_segments - 1];
        segment->first_id = first_id;
        segment->n_ids = prompt->sampled.n - first_id;
    }
    return true;
}

static void put_assistant(ds4_prompt *prompt, ds4_tool_memory *memory,
                          const ds4_chat_message *message, bool pending, bool keep_reasoning) {
    if (pending) ds4_render_control(prompt, DS4_CONTROL_ASSISTANT);
    if (!pending || !put_sampled(prompt, memory, message, keep_reasoning)) {
        if (pending && keep_reasoning) {
            ds4_render_control(prompt, DS4_CONTROL_THINK);
            ds4_render_text(prompt, message->reasoning);
        }
        if (pending) ds4_render_control(prompt, DS4_CONTROL_THINK_END);
        ds4_render_text(prompt, message->content);
        put_calls(prompt, message);
    }
    ds4_render_control(prompt, DS4_CONTROL_EOS);
}

static void put_turns(ds4_prompt *prompt, const ds4_chat_request *request,
                      ds4_tool_memory *memory) {
    bool tool_context = prompt->tools_active, pending = false, in_results = false;
    size_t last_user = 0; /* index + 1 */
    for (size_t i = 0; i < request->n_messages; i++) {
        const ds4_chat_message *message = &request->messages[i];
        if (message->role == DS4_ROLE_USER || message->role == DS4_ROLE_TOOL) last_user = i + 1;
        if (message->role == DS4_ROLE_TOOL ||
            (message->role == DS4_ROLE_ASSISTANT && message->n_calls > 0))
            tool_context = true;
    }
    for (size_t i = 0; i < request->n_messages; i++) {
        const ds4_chat_message *message = &request->messages[i];
        switch (message->role) {
        case DS4_ROLE_SYSTEM:
            continue; /* hoisted; does not end a run of results */
        case DS4_ROLE_USER:
            if (!message->continues_turn) ds4_render_control(prompt, DS4_CONTROL_USER);
            ds4_render_text(prompt, message->content);
            pending = true;
            break;
        case DS4_ROLE_TOOL:
            if (!in_results && !message->continues_turn)
                ds4_render_control(prompt, DS4_CONTROL_USER);
            ds4_render_result(prompt, message->content);
            pending = true;
            break;
        case DS4_ROLE_ASSISTANT:
            put_assistant(prompt, memory, message, pending,
                          prompt->think_mode != DS4_THINK_NONE &&
                              (tool_context || i + 1 > last_user));
            pending = false;
            break;
        }
        in_results = message->role == DS4_ROLE_TOOL;
    }
    prompt->awaits_answer = pending;
    if (!pending) return;
    ds4_render_control(prompt, DS4_CONTROL_ASSISTANT);
    ds4_render_control(prompt, prompt->think_mode == DS4_THINK_NONE ? DS4_CONTROL_THINK_END
                                                                    : DS4_CONTROL_THINK);
}

static bool has_look_alike(const ds4_prompt *prompt) {
    for (size_t i = 0; i < prompt->n_segments; i++) {
        const ds4_segment *segment = &prompt->segments[i];
        if (segment->control != DS4_CONTROL_NONE || segment->n_ids > 0) continue;
        for (size_t at = segment->begin; at < segment->end; at++)
            if (control_at(prompt->text.data + at, segment->end - at) != DS4_CONTROL_NONE)
                return true;
    }
    return false;
}

ds4_status ds4_render(const ds4_chat_request *request, const ds4_render_options *options,
                      ds4_prompt *prompt, ds4_error *error) {
    if (options->layout != DS4_TEMPLATE_DS4 && options->layout != DS4_TEMPLATE_VENDOR)
        return ds4_fail(error, DS4_INVALID_ARGUMENT, "there is no chat template number %d",
                        (int)options->layout);
    const ds4_effort_table *table =
        options->effort != NULL ? options->effort : &ds4_effort_table_first;
    ds4_effort_rule rule = ds4_think_resolve(table, request->think, options->n_context);
    prompt->think_mode = rule.mode;
    prompt->tools_active = ds4_chat_request_tools_active(request);

    ds4_render_control(prompt, DS4_CONTROL_BOS);
    if (request->raw) {
        for (size_t i = 0; i < request->n_messages; i++)
            ds4_render_text(prompt, request->messages[i].content);
        prompt->awaits_answer = true;
        goto done;
    }
    if (rule.prefix != NULL) ds4_render_words(prompt, rule.prefix);
    if (options->layout == DS4_TEMPLATE_VENDOR) {
        ds4_render_vendor(prompt, request);
    } else {
        put_system(prompt, request);
        put_turns(prompt, request, options->tool_memory);
    }
done:
    if (prompt->text.failed) {
        ds4_prompt_free(prompt);
        return ds4_fail(error, DS4_NO_MEMORY, "no memory for the rendered prompt");
    }
    prompt->has_look_alike = has_look_alike(prompt);
    return DS4_OK;
}

void ds4_prompt_free(ds4_prompt *prompt) {
    ds4_strbuf_free(&prompt->text);
    free(prompt->segments);
    ds4_tokens_free(&prompt->sampled);
    *prompt = (ds4_prompt){0};
}
