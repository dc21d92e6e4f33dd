#include "chat/body_reader.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

ds4_status ds4_request_refuse(ds4_request_error *failure, ds4_status status, const char *code,
                              const char *param, const char *format, ...) {
    if (failure == NULL) return status;
    bool ours = status == DS4_NO_MEMORY || status == DS4_INTERNAL;
    failure->status = ours ? 500 : 400;
    failure->type = ours ? "server_error" : "invalid_request_error";
    failure->code = code;
    snprintf(failure->param, sizeof failure->param, "%s", param);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(failure->message, sizeof failure->message, format, arguments);
    va_end(arguments);
    return status;
}

/* ---- refusals ---- */

static const char *type_name(ds4_json_type type) {
    static const char *const names[] = {"null",     "a boolean", "a boolean", "a number",
                                        "a string", "an array",  "an object"};
    return names[type];
}

ds4_status ds4_body_wrong_type(ds4_body_reader *b, const char *param, const char *wanted,
                               ds4_json_value value) {
    return ds4_request_refuse(b->failure, DS4_FORMAT, "invalid_type", param,
                              "%s must be %s, not %s", param, wanted, type_name(value.type));
}

ds4_status ds4_body_no_memory(ds4_body_reader *b) {
    return ds4_request_refuse(b->failure, DS4_NO_MEMORY, NULL, "",
                              "out of memory while reading the request");
}

ds4_status ds4_body_out_of_range(ds4_body_reader *b, const char *param, const char *rule) {
    return ds4_request_refuse(b->failure, DS4_FORMAT, "invalid_value", param, "%s must be %s",
                              param, rule);
}

ds4_status ds4_body_unsupported(ds4_body_reader *b, const char *param, const char *why) {
    return ds4_request_refuse(b->failure, DS4_UNSUPPORTED, "unsupported_parameter", param, "%s",
                              why);
}

/* ---- values ---- */

bool ds4_body_find(ds4_json_value object, const char *name, ds4_json_value *value) {
    return ds4_json_find(object, name, value) && value->type != DS4_JSON_NULL;
}

size_t ds4_body_count(ds4_json_value array) {
    ds4_json_cursor cursor = ds4_json_enter(array);
    ds4_json_value element;
    size_t n = 0;
    while (ds4_json_next_element(&cursor, &element)) n++;
    return n;
}

ds4_status ds4_body_bool(ds4_body_reader *b, const char *param, ds4_json_value value,
                         bool *target) {
    if (value.type != DS4_JSON_TRUE && value.type != DS4_JSON_FALSE)
        return ds4_body_wrong_type(b, param, "a boolean", value);
    *target = value.type == DS4_JSON_TRUE;
    return DS4_OK;
}

ds4_status ds4_body_number(ds4_body_reader *b, const char *param, ds4_json_value value,
                           double *target) {
    if (value.type != DS4_JSON_NUMBER) return ds4_body_wrong_type(b, param, "a number", value);
    *target = ds4_json_number(value);
    return isnan(*target) ? ds4_body_no_memory(b) : DS4_OK;
}

ds4_status ds4_body_float(ds4_body_reader *b, const char *param, ds4_json_value value, double least,
                          double most, const char *rule, float *target) {
    double number = 0;
    ds4_status status = ds4_body_number(b, param, value, &number);
    if (status != DS4_OK) return status;
    if (number < least || number > most) return ds4_body_out_of_range(b, param, rule);
    *target = (float)number;
    return DS4_OK;
}

ds4_status ds4_body_take_scratch(ds4_body_reader *b, ds4_text *text) {
    if (b->scratch.failed) return ds4_body_no_memory(b);
    *text = ds4_chat_request_text(b->request, b->scratch.data, b->scratch.n);
    return text->data != NULL ? DS4_OK : ds4_body_no_memory(b);
}

ds4_status ds4_body_string(ds4_body_reader *b, const char *param, ds4_json_value value,
                           size_t limit, ds4_text *text) {
    if (value.type != DS4_JSON_STRING) return ds4_body_wrong_type(b, param, "a string", value);
    ds4_strbuf_clear(&b->scratch);
    ds4_json_string_decode(value, &b->scratch);
    if (b->scratch.n > limit)
        return ds4_request_refuse(b->failure, DS4_FORMAT, "invalid_value", param,
                                  "%s is longer than %zu bytes", param, limit);
    return ds4_body_take_scratch(b, text);
}

ds4_status ds4_body_member_string(ds4_body_reader *b, const char *path, ds4_json_value object,
                                  const char *name, size_t limit, ds4_text *text) {
    ds4_json_value value;
    if (!ds4_body_find(object, name, &value)) return DS4_OK;
    ds4_param_path param;
    snprintf(param, sizeof param, "%.70s.%s", path, name);
    return ds4_body_string(b, param, value, limit, text);
}

ds4_status ds4_body_raw(ds4_body_reader *b, ds4_json_value value, ds4_text *text) {
    *text = ds4_chat_request_text(b->request, value.text, value.n);
    return text->data != NULL ? DS4_OK : ds4_body_no_memory(b);
}

/* ---- content ---- */

ds4_status ds4_body_append_part(ds4_body_reader *b, const char *param, ds4_json_value part) {
    static const char *const text_types[] = {"text", "input_text", "output_text", "summary_text",
                                             "reasoning_text"};
    if (part.type == DS4_JSON_STRING) {
        ds4_json_string_decode(part, &b->scratch);
        return DS4_OK;
    }
    if (part.type != DS4_JSON_OBJECT)
        return ds4_body_wrong_type(b, param, "a string or an object", part);
    ds4_json_value type, text;
    bool refusal = false;
    if (ds4_body_find(part, "type", &type)) {
        refusal = ds4_json_string_equals(type, "refusal");
        bool known = refusal;
        for (size_t i = 0; i < sizeof text_types / sizeof text_types[0]; i++)
            known = known || ds4_json_string_equals(type, text_types[i]);
        if (!known)
            return ds4_request_refuse(
                b->failure, DS4_UNSUPPORTED, "unsupported_content_type", param,
                "%s: unsupported content type, this model reads text only", param);
    }
    bool found =
        ds4_json_find(part, "text", &text) || (refusal && ds4_json_find(part, "refusal", &text));
    if (!found)
        return ds4_request_refuse(b->failure, DS4_FORMAT, "missing_required_parameter", param,
                                  "%s has no text", param);
    if (text.type == DS4_JSON_NULL) return DS4_OK;
    if (text.type != DS4_JSON_STRING) {
        ds4_param_path path;
        snprintf(path, sizeof path, "%.80s.text", param);
        return ds4_body_wrong_type(b, path, "a string", text);
    }
    ds4_json_string_decode(text, &b->scratch);
    return DS4_OK;
}

ds4_status ds4_body_append_content(ds4_body_reader *b, const char *param, ds4_json_value value) {
    if (value.type == DS4_JSON_NULL) return DS4_OK;
    if (value.type == DS4_JSON_STRING) return ds4_body_append_part(b, param, value);
    if (value.type != DS4_JSON_ARRAY)
        return ds4_body_wrong_type(b, param, "a string, an array or null", value);
    ds4_json_cursor cursor = ds4_json_enter(value);
    ds4_json_value part;
    for (size_t j = 0; ds4_json_next_element(&cursor, &part); j++) {
        ds4_param_path path;
        snprintf(path, sizeof path, "%.64s[%zu]", param, j);
        ds4_status status = ds4_body_append_part(b, path, part);
        if (status != DS4_OK) return status;
    }
    return DS4_OK;
}

ds4_status ds4_body_content(ds4_body_reader *b, const char *param, ds4_json_value value,
                            ds4_text *text) {
    ds4_strbuf_clear(&b->scratch);
    ds4_status status = ds4_body_append_content(b, param, value);
    return status == DS4_OK ? ds4_body_take_scratch(b, text) : status;
}

/* ---- the body ---- */

static const ds4_field *find_field(const ds4_field *const *tables, ds4_json_value key) {
    for (; *tables != NULL; tables++)
        for (const ds4_field *field = *tables; field->name != NULL; field++)
            if (ds4_json_string_equals(key, field->name)) return field;
    return NULL;
}

static void ignore(ds4_body_reader *b, const char *name, size_t n) {
    if (b->ignored.n > 400) return;
    if (b->ignored.n > 0) ds4_strbuf_puts(&b->ignored, ", ");
    ds4_strbuf_append(&b->ignored, name, n < 64 ? n : 64);
}

void ds4_body_ignore(ds4_body_reader *b, const char *param) {
    ignore(b, param, strlen(param));
}

static ds4_status read_members(ds4_body_reader *b, const ds4_field *const *tables,
                               ds4_json_value body) {
    ds4_json_cursor cursor = ds4_json_enter(body);
    ds4_json_value key, value;
    while (ds4_json_next_member(&cursor, &key, &value)) {
        if (value.type == DS4_JSON_NULL) continue;
        const ds4_field *field = find_field(tables, key);
        if (field == NULL) ignore(b, key.text + 1, key.n - 2);
        if (field == NULL || field->read == NULL) continue;
        ds4_status status = field->read(b, field->name, value);
        if (status != DS4_OK) return status;
    }
    return DS4_OK;
}

static ds4_status keep_ignored(ds4_body_reader *b) {
    if (b->ignored.n == 0) return DS4_OK;
    b->request->ignored = ds4_chat_request_text(b->request, b->ignored.data, b->ignored.n);
    return b->request->ignored.data != NULL ? DS4_OK : ds4_body_no_memory(b);
}

ds4_status ds4_body_parse(const char *body, size_t n, const ds4_request_options *options,
                          const ds4_field *const *tables,
                          ds4_status (*check)(ds4_body_reader *b, ds4_json_value body),
                          ds4_chat_request *request, ds4_request_error *failure) {
    ds4_body_reader b = {.request = request, .failure = failure, .options = *options};
    ds4_chat_request_init(request);
    ds4_error error = {0};
    ds4_json_value value;
    ds4_status status = ds4_json_scan(body, n, DS4_JSON_DEPTH_LIMIT, &value, &error);
    if (status != DS4_OK) {
        ds4_request_refuse(failure, status, "invalid_json", "", "%s", error.message);
    } else if (value.type != DS4_JSON_OBJECT) {
        status = ds4_request_refuse(failure, DS4_FORMAT, "invalid_json", "",
                                    "body must be a JSON object");
    } else {
        status = read_members(&b, tables, value);
        if (status == DS4_OK) status = check(&b, value);
        if (status == DS4_OK) status = keep_ignored(&b);
    }
    ds4_strbuf_free(&b.scratch);
    ds4_strbuf_free(&b.ignored);
    if (status != DS4_OK) ds4_chat_request_free(request);
    return status;
}
