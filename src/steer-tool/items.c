#include "steer-tool/items.h"

#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/json_scan.h"
#include "chat/render.h"
#include "chat/request_parse.h"

enum { MAX_FILE_BYTES = 1 << 28, REPEATED_BYTES = 24, REPEATED_TIMES = 3 };

/* ---- requests ---- */

ds4_status ds4_asked_parse(const char *body, size_t n, const ds4_tokenizer *tokenizer,
                           uint32_t n_context, ds4_asked *asked, ds4_error *error) {
    const ds4_request_options strict = {.for_generation = true};
    const ds4_render_options options = {.layout = DS4_TEMPLATE_DS4, .n_context = n_context};
    ds4_request_error refusal = {0};
    ds4_prompt prompt = {0};
    char path[DS4_CONSTRAINT_PATH_BYTES] = "";
    *asked = (ds4_asked){0};
    ds4_status status = ds4_openai_request_parse(body, n, &strict, &asked->request, &refusal);
    if (status != DS4_OK) {
        ds4_chat_request_init(&asked->request);
        return ds4_fail(error, status, "%s%s%s", refusal.param, refusal.param[0] ? ": " : "",
                        refusal.message);
    }
    status = ds4_constraint_create(&asked->request, true, &asked->constraint, path, error);
    if (status == DS4_OK) status = ds4_render(&asked->request, &options, &prompt, error);
    if (status == DS4_OK) status = ds4_prompt_tokenize(&prompt, tokenizer, &asked->prompt, error);
    asked->thinking = prompt.think_mode != DS4_THINK_NONE;
    asked->tools_active = prompt.tools_active;
    ds4_prompt_free(&prompt);
    if (status == DS4_OK && asked->prompt.n + 1 >= n_context)
        status = ds4_fail(error, DS4_CONTEXT_FULL, "the prompt has %zu tokens, --ctx is %u",
                          asked->prompt.n, n_context);
    return status;
}

void ds4_asked_free(ds4_asked *asked) {
    ds4_constraint_release(asked->constraint);
    ds4_tokens_free(&asked->prompt);
    ds4_chat_request_free(&asked->request);
    *asked = (ds4_asked){0};
}

/* ---- items ---- */

static ds4_status read_name(ds4_json_value document, const char *member, char *name, size_t size,
                            ds4_error *error) {
    ds4_json_value value;
    ds4_strbuf text = {0};
    ds4_status status = DS4_OK;
    if (!ds4_json_find(document, member, &value) || value.type != DS4_JSON_STRING)
        return ds4_fail(error, DS4_FORMAT, "%s is missing or not a string", member);
    ds4_json_string_decode(value, &text);
    if (text.failed || text.n == 0 || text.n >= size || strcspn(text.data, ",\"\n\r ") != text.n)
        status = ds4_fail(error, DS4_FORMAT,
                          "%s must have 1 to %zu bytes, without spaces, commas and quotes", member,
                          size - 1);
    else
        snprintf(name, size, "%s", text.data);
    ds4_strbuf_free(&text);
    return status;
}

/* A list of texts, or nothing. */
static bool is_list(ds4_json_value check, const char *member) {
    ds4_json_value list, text;
    if (!ds4_json_find(check, member, &list)) return true;
    if (list.type != DS4_JSON_ARRAY) return false;
    ds4_json_cursor cursor = ds4_json_enter(list);
    while (ds4_json_next_element(&cursor, &text))
        if (text.type != DS4_JSON_STRING) return false;
    return true;
}

static ds4_status read_check(ds4_json_value document, const char *member, bool needed, char **check,
                             ds4_error *error) {
    ds4_json_value value, text, arguments;
    if (!ds4_json_find(document, member, &value) && !needed) return DS4_OK;
    if (!ds4_json_find(document, member, &value) || value.type != DS4_JSON_OBJECT)
        return ds4_fail(error, DS4_FORMAT, "%s is missing or not an object", member);
    bool equals = ds4_json_find(value, "equals", &text) && text.type == DS4_JSON_STRING;
    bool tool = ds4_json_find(value, "tool", &text) && text.type == DS4_JSON_STRING &&
                ds4_json_find(value, "arguments", &arguments) && arguments.type == DS4_JSON_OBJECT;
    bool lists = is_list(value, "contains") && is_list(value, "absent") && is_list(value, "any");
    bool listed = ds4_json_find(value, "contains", &text) || ds4_json_find(value, "any", &text) ||
                  ds4_json_find(value, "absent", &text);
    if (!lists || (!equals && !tool && !listed))
        return ds4_fail(error, DS4_FORMAT,
                        "%s needs a text \"equals\", lists of texts \"contains\", \"any\" or "
                        "\"absent\", or \"tool\" with \"arguments\"",
                        member);
    *check = strndup(value.text, value.n);
    return *check != NULL ? DS4_OK : ds4_fail_memory(error, value.n, "a check");
}

static ds4_status read_item(const char *line, size_t n, const ds4_tokenizer *tokenizer,
                            uint32_t n_context, ds4_item *item, ds4_error *error) {
    ds4_json_value document, body;
    ds4_status status = ds4_json_scan(line, n, DS4_JSON_DEPTH_LIMIT, &document, error);
    if (status == DS4_OK && document.type != DS4_JSON_OBJECT)
        status = ds4_fail(error, DS4_FORMAT, "an item must be a JSON object");
    if (status == DS4_OK) status = read_name(document, "id", item->id, sizeof item->id, error);
    if (status == DS4_OK)
        status = read_name(document, "group", item->group, sizeof item->group, error);
    if (status == DS4_OK) status = read_check(document, "check", true, &item->check, error);
    if (status == DS4_OK) status = read_check(document, "other", false, &item->other, error);
    if (status != DS4_OK) return status;
    if (!ds4_json_find(document, "request", &body) || body.type != DS4_JSON_OBJECT)
        return ds4_fail(error, DS4_FORMAT, "request is missing or not an object");
    return ds4_asked_parse(body.text, body.n, tokenizer, n_context, &item->asked, error);
}

ds4_status ds4_items_read(const char *path, const ds4_tokenizer *tokenizer, uint32_t n_context,
                          ds4_items *items, ds4_error *error) {
    ds4_strbuf text = {0};
    ds4_error reason = {0};
    size_t number = 0;
    ds4_status status = ds4_file_read(path, MAX_FILE_BYTES, &text, error);
    const char *line = text.data, *end = line != NULL ? line + text.n : line;
    while (status == DS4_OK && line < end) {
        const char *newline = memchr(line, '\n', (size_t)(end - line));
        size_t n = (size_t)((newline != NULL ? newline : end) - line);
        number++;
        if (n > 0) {
            ds4_item *grown = realloc(items->items, (items->n + 1) * sizeof *grown);
            if (grown == NULL) {
                status = ds4_fail_memory(error, (items->n + 1) * sizeof *grown, "the items");
                break;
            }
            items->items = grown;
            items->items[items->n] = (ds4_item){0};
            status = read_item(line, n, tokenizer, n_context, &items->items[items->n++], &reason);
            if (status != DS4_OK)
                ds4_fail(error, status, "%.150s line %zu: %.300s", path, number, reason.message);
        }
        line += n + 1;
    }
    if (status == DS4_OK && items->n == 0)
        status = ds4_fail(error, DS4_FORMAT, "%s holds no item", path);
    ds4_strbuf_free(&text);
    return status;
}

void ds4_items_free(ds4_items *items) {
    for (size_t i = 0; i < items->n; i++) {
        ds4_asked_free(&items->items[i].asked);
        free(items->items[i].check);
        free(items->items[i].other);
    }
    free(items->items);
    *items = (ds4_items){0};
}

/* ---- checks ---- */

static const char *text_of(const ds4_strbuf *buffer) {
    return buffer->data != NULL ? buffer->data : "";
}

static void trim(const char **text, size_t *n) {
    while (*n > 0 && strchr(" \t\r\n", (*text)[*n - 1]) != NULL) --*n;
    while (*n > 0 && strchr(" \t\r\n", **text) != NULL) {
        ++*text;
        --*n;
    }
}

static bool equals(const ds4_strbuf *answer, struct json_object *wanted) {
    const char *a = text_of(answer), *b = json_object_get_string(wanted);
    size_t n = answer->n, m = (size_t)json_object_get_string_len(wanted);
    trim(&a, &n);
    trim(&b, &m);
    return n == m && memcmp(a, b, n) == 0;
}

static size_t count_found(const ds4_strbuf *answer, struct json_object *list) {
    size_t found = 0;
    for (size_t i = 0; i < json_object_array_length(list); i++) {
        const char *part = json_object_get_string(json_object_array_get_idx(list, i));
        size_t n = strlen(part);
        trim(&part, &n);
        char *wanted = strndup(part, n);
        found += wanted != NULL && strstr(text_of(answer), wanted) != NULL;
        free(wanted);
    }
    return found;
}

static bool calls_match(struct json_object *check, struct json_object *tool,
                        const ds4_chat_result *answer) {
    if (answer->n_calls != 1 ||
        strcmp(text_of(&answer->calls[0].name), json_object_get_string(tool)) != 0)
        return false;
    struct json_object *given = json_tokener_parse(text_of(&answer->calls[0].arguments));
    bool same =
        given != NULL && json_object_equal(given, json_object_object_get(check, "arguments")) != 0;
    json_object_put(given);
    return same;
}

bool ds4_item_fulfils(const char *text, const ds4_chat_result *answer) {
    struct json_object *check = text != NULL ? json_tokener_parse(text) : NULL, *value;
    if (check == NULL) return false;
    bool holds;
    if (json_object_object_get_ex(check, "tool", &value)) {
        holds = calls_match(check, value, answer);
    } else {
        holds = answer->n_calls == 0;
        if (json_object_object_get_ex(check, "equals", &value))
            holds = holds && equals(&answer->content, value);
        if (json_object_object_get_ex(check, "contains", &value))
            holds =
                holds && count_found(&answer->content, value) == json_object_array_length(value);
        if (json_object_object_get_ex(check, "absent", &value))
            holds = holds && count_found(&answer->content, value) == 0;
        if (json_object_object_get_ex(check, "any", &value))
            holds = holds && count_found(&answer->content, value) > 0;
    }
    json_object_put(check);
    return holds;
}

static bool is_one_byte(const char *text, size_t n) {
    for (size_t i = 1; i < n; i++)
        if (text[i] != text[0]) return false;
    return true;
}

/* For every period the longest stretch in which each byte equals the one a period before. Lines of
 * dashes are no repetition. */
bool ds4_text_is_repetitive(const char *text, size_t n) {
    for (size_t period = 2; REPEATED_TIMES * period <= n; period++) {
        size_t run = 0, needed = (REPEATED_TIMES - 1) * period;
        if (needed + period < REPEATED_BYTES) needed = REPEATED_BYTES - period;
        for (size_t i = period; i < n; i++) {
            run = text[i] == text[i - period] ? run + 1 : 0;
            if (run >= needed && !is_one_byte(text + i + 1 - period, period)) return true;
        }
    }
    return false;
}
