/* The model maker's own layout (docs/chat.md, "Two templates"): tools behind the system text, user
 * and tool messages that follow each other as one turn, results in the order of their calls. */
#include <string.h>

#include "chat/dsml.h"
#include "chat/python_json.h"
#include "chat/render_internal.h"

#define WORD DS4_DSML_WORD

static const char TOOLS_HEAD[] =
    "## Tools\n\n"
    "You have access to a set of tools to help answer the user's question. You can invoke tools by "
    "writing a \"<" WORD "tool_calls>\" block like the following:\n\n"
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
    "String parameters should be specified as is and set `string=\"true\"`. For all other types "
    "(numbers, booleans, arrays, objects), pass the value in JSON format and set "
    "`string=\"false\"`.\n\n"
    "If thinking_mode is enabled (triggered by <think>), you MUST output your complete reasoning "
    "inside <think>...</think> BEFORE any tool calls or final response.\n\n"
    "Otherwise, output directly after </think> with tool calls or final response.\n\n"
    "### Available Tool Schemas\n\n";

static const char TOOLS_TAIL[] = "\n\nYou MUST strictly follow the above defined tool name and "
                                 "parameter schemas to invoke tool calls.\n";

static void words(ds4_prompt *prompt, const char *text) {
    ds4_render_words(prompt, text);
}

/* Appends JSON text in Python's spelling; text that is no JSON as it is. */
static void put_json(ds4_prompt *prompt, ds4_text json) {
    ds4_strbuf spelled = {0};
    ds4_json_value value;
    if (ds4_json_scan(json.data, json.n, DS4_JSON_DEPTH_LIMIT, &value, NULL) == DS4_OK) {
        ds4_python_json(value, &spelled);
        json = (ds4_text){spelled.data, spelled.n};
    }
    ds4_render_text(prompt, json);
    if (spelled.failed) prompt->text.failed = true;
    ds4_strbuf_free(&spelled);
}

static bool is_system(const ds4_chat_message *message) {
    return message->role == DS4_ROLE_SYSTEM && !message->developer;
}
static bool is_user_like(const ds4_chat_message *message) {
    return message->role == DS4_ROLE_USER || message->role == DS4_ROLE_TOOL || message->developer;
}

static void put_tools(ds4_prompt *prompt, const ds4_chat_request *request) {
    ds4_render_text(prompt, DS4_TEXT("\n\n"));
    words(prompt, TOOLS_HEAD);
    for (size_t i = 0; i < request->n_tools; i++) {
        if (i > 0) ds4_render_text(prompt, DS4_TEXT("\n"));
        put_json(prompt, request->tools[i].schema);
    }
    words(prompt, TOOLS_TAIL);
}

static void put_system(ds4_prompt *prompt, const ds4_chat_request *request) {
    size_t begin = prompt->text.n;
    for (size_t i = 0; i < request->n_messages; i++) {
        if (!is_system(&request->messages[i])) continue;
        if (prompt->text.n > begin) ds4_render_text(prompt, DS4_TEXT("\n\n"));
        ds4_render_text(prompt, request->messages[i].content);
    }
    if (prompt->tools_active) put_tools(prompt, request);
    if (request->format.kind != DS4_FORMAT_JSON_SCHEMA) return;
    ds4_render_text(prompt, DS4_TEXT("\n\n" DS4_RENDER_FORMAT_HEAD));
    put_json(prompt, request->format.schema);
}

/* ---- calls ---- */

static void put_parameter(ds4_prompt *prompt, ds4_text name, bool string, ds4_text value) {
    words(prompt, "<" WORD "parameter name=\"");
    ds4_render_text(prompt, name);
    ds4_render_text(prompt,
                    string ? DS4_TEXT("\" string=\"true\">") : DS4_TEXT("\" string=\"false\">"));
    if (string)
        ds4_render_text(prompt, value);
    else
        put_json(prompt, value);
    words(prompt, "</" WORD "parameter>\n");
}

static void put_json_parameter(ds4_prompt *prompt, ds4_json_value key, ds4_json_value value) {
    ds4_strbuf name = {0}, text = {0};
    bool string = value.type == DS4_JSON_STRING;
    ds4_json_string_decode(key, &name);
    if (string) ds4_json_string_decode(value, &text);
    put_parameter(prompt, (ds4_text){name.data, name.n}, string,
                  string ? (ds4_text){text.data, text.n} : (ds4_text){value.text, value.n});
    if (name.failed || text.failed) prompt->text.failed = true;
    ds4_strbuf_free(&name);
    ds4_strbuf_free(&text);
}

/* A call without parameters has an empty line where they would be. */
static void put_call(ds4_prompt *prompt, const ds4_tool_call *call) {
    ds4_json_value arguments, key, value;
    words(prompt, "<" WORD "invoke name=\"");
    ds4_render_text(prompt, call->name);
    ds4_render_text(prompt, DS4_TEXT("\">\n"));
    size_t begin = prompt->text.n;
    if (ds4_json_scan(call->arguments.data, call->arguments.n, DS4_JSON_DEPTH_LIMIT, &arguments,
                      NULL) == DS4_OK &&
        arguments.type == DS4_JSON_OBJECT) {
        ds4_json_cursor cursor = ds4_json_enter(arguments);
        while (ds4_json_next_member(&cursor, &key, &value)) put_json_parameter(prompt, key, value);
    } else {
        put_parameter(prompt, DS4_TEXT("arguments"), true, call->arguments);
    }
    if (prompt->text.n == begin) ds4_render_text(prompt, DS4_TEXT("\n"));
    words(prompt, "</" WORD "invoke>\n");
}

/* ---- turns ---- */

/* Where the call that a result answers stands among the calls before it; results of no known call
 * come last, in their own order. */
static size_t call_order(const ds4_chat_request *request, size_t first, ds4_text id) {
    while (first > 0 && request->messages[first - 1].n_calls == 0) first--;
    if (first == 0 || id.n == 0) return SIZE_MAX;
    const ds4_chat_message *caller = &request->messages[first - 1];
    for (size_t i = 0; i < caller->n_calls; i++)
        if (ds4_text_same(caller->calls[i].id, id)) return i;
    return SIZE_MAX;
}

/* The results of messages[begin, end) sorted into the order of their calls: the nth of them. Stable
 * selection: turns are short. */
static size_t nth_result(const ds4_chat_request *request, size_t begin, size_t end, size_t nth) {
    for (size_t i = begin; i < end; i++) {
        if (request->messages[i].role != DS4_ROLE_TOOL) continue;
        size_t own = call_order(request, begin, request->messages[i].tool_call_id), before = 0;
        for (size_t j = begin; j < end; j++) {
            if (request->messages[j].role != DS4_ROLE_TOOL) continue;
            size_t other = call_order(request, begin, request->messages[j].tool_call_id);
            before += other < own || (other == own && j < i);
        }
        if (before == nth) return i;
    }
    return begin;
}

/* messages[begin, end): one turn, its parts joined by an empty line. Results keep the places of
 * results. */
static void put_user_turn(ds4_prompt *prompt, const ds4_chat_request *request, size_t begin,
                          size_t end) {
    size_t n_results = 0;
    bool first = true;
    ds4_render_control(prompt, DS4_CONTROL_USER);
    for (size_t i = begin; i < end; i++) {
        const ds4_chat_message *message = &request->messages[i];
        if (is_system(message)) continue;
        if (!first) ds4_render_text(prompt, DS4_TEXT("\n\n"));
        first = false;
        if (message->role == DS4_ROLE_TOOL)
            ds4_render_result(
                prompt, request->messages[nth_result(request, begin, end, n_results++)].content);
        else
            ds4_render_text(prompt, message->content);
    }
}

static void put_assistant(ds4_prompt *prompt, const ds4_chat_message *message, bool pending,
                          bool keep_reasoning) {
    if (pending) {
        ds4_render_control(prompt, DS4_CONTROL_ASSISTANT);
        if (keep_reasoning) {
            ds4_render_control(prompt, DS4_CONTROL_THINK);
            ds4_render_text(prompt, message->reasoning);
        }
        ds4_render_control(prompt, DS4_CONTROL_THINK_END);
    }
    ds4_render_text(prompt, message->content);
    if (message->n_calls > 0) {
        words(prompt, "\n\n<" WORD "tool_calls>\n");
        for (size_t i = 0; i < message->n_calls; i++) put_call(prompt, &message->calls[i]);
        words(prompt, "</" WORD "tool_calls>");
    }
    ds4_render_control(prompt, DS4_CONTROL_EOS);
}

/* Reasoning before the last user's turn is dropped, unless the request has tools. */
static void put_turns(ds4_prompt *prompt, const ds4_chat_request *request) {
    bool pending = false;
    size_t last_user = 0; /* index + 1 */
    for (size_t i = 0; i < request->n_messages; i++)
        if (is_user_like(&request->messages[i])) last_user = i + 1;
    for (size_t i = 0; i < request->n_messages;) {
        const ds4_chat_message *message = &request->messages[i];
        if (is_system(message)) {
            i++;
        } else if (is_user_like(message)) {
            size_t end = i;
            while (end < request->n_messages && request->messages[end].role != DS4_ROLE_ASSISTANT)
                end++;
            put_user_turn(prompt, request, i, end);
            pending = true;
            i = end;
        } else {
            put_assistant(prompt, message, pending,
                          prompt->think_mode != DS4_THINK_NONE &&
                              (prompt->tools_active || i + 1 > last_user));
            pending = false;
            i++;
        }
    }
    prompt->awaits_answer = pending;
    if (!pending) return;
    ds4_render_control(prompt, DS4_CONTROL_ASSISTANT);
    ds4_render_control(prompt, prompt->think_mode == DS4_THINK_NONE ? DS4_CONTROL_THINK_END
                                                                    : DS4_CONTROL_THINK);
}

void ds4_render_vendor(ds4_prompt *prompt, const ds4_chat_request *request) {
    put_system(prompt, request);
    put_turns(prompt, request);
}
