/* ds4-gguf inspect: what a file holds, for people or as JSON. Payload pages are not touched. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "base/error.h"
#include "gguf-tool/tool.h"
#include "gguf/gguf_reader.h"

typedef struct settings {
    bool json, tensors;
} settings;

static const ds4_option options[] = {
    {.names = "--json",
     .kind = DS4_OPTION_FLAG,
     .offset = offsetof(settings, json),
     .help = "print one JSON object with everything, tensors included"},
    {.names = "--tensors",
     .kind = DS4_OPTION_FLAG,
     .offset = offsetof(settings, tensors),
     .help = "list every tensor"},
};

static const ds4_program program = {
    .name = "ds4-gguf inspect",
    .summary = "what a GGUF file holds",
    .operands = "FILE",
    DS4_PROGRAM_OPTIONS(options),
    .min_operands = 1,
    .max_operands = 1,
};

enum { SHOWN_ELEMENTS = 8, JSON_ELEMENTS = 1024, SHOWN_TEXT = 100, N_TYPES = 64 };

/* ---- text made safe ---- */

/* Length of the valid UTF-8 character at `s`, 0 when there is none. */
static size_t character(const unsigned char *s, size_t n) {
    size_t length = s[0] < 0x80   ? 1
                    : s[0] < 0xC2 ? 0
                    : s[0] < 0xE0 ? 2
                    : s[0] < 0xF0 ? 3
                    : s[0] < 0xF5 ? 4
                                  : 0;
    if (length > n) return 0;
    for (size_t i = 1; i < length; i++) {
        if ((s[i] & 0xC0) != 0x80) return 0;
    }
    bool is_bad = (s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xED && s[1] > 0x9F) ||
                  (s[0] == 0xF0 && s[1] < 0x90) || (s[0] == 0xF4 && s[1] > 0x8F);
    return is_bad ? 0 : length;
}

/* Appends text with every invalid byte replaced; for terminals control characters too, and the end
 * is cut. */
static void append_safe(ds4_strbuf *out, ds4_gguf_string text, bool for_terminal) {
    size_t limit = for_terminal && text.n > SHOWN_TEXT ? SHOWN_TEXT : text.n;
    for (size_t i = 0; i < limit;) {
        const unsigned char *s = (const unsigned char *)text.data + i;
        size_t n = character(s, text.n - i);
        bool is_control = n == 1 && (s[0] < 0x20 || s[0] == 0x7F);
        if (for_terminal && s[0] == '\n')
            ds4_strbuf_puts(out, "\\n");
        else if (n == 0 || (for_terminal && is_control))
            ds4_strbuf_puts(out, "\xEF\xBF\xBD");
        else
            ds4_strbuf_append(out, s, n);
        i += n == 0 ? 1 : n;
    }
    if (limit < text.n) ds4_strbuf_printf(out, "... (%zu bytes)", text.n);
}

/* ---- numbers of the file ---- */

typedef struct summary {
    uint64_t n_tensors[N_TYPES], n_bytes[N_TYPES]; /* by type id */
    uint64_t payload_bytes, parameters;
} summary;

static void summarise(const ds4_gguf *gguf, summary *s) {
    for (uint64_t i = 0; i < ds4_gguf_n_tensors(gguf); i++) {
        const ds4_gguf_tensor *tensor = ds4_gguf_tensor_at(gguf, i);
        if (tensor->type < N_TYPES) {
            s->n_tensors[tensor->type]++;
            s->n_bytes[tensor->type] += tensor->n_bytes;
        }
        s->payload_bytes += tensor->n_bytes;
        s->parameters += tensor->n_elements;
    }
}

/* ---- for people ---- */

static void print_element(ds4_strbuf *out, const ds4_gguf_value *value, uint64_t i) {
    uint64_t u;
    int64_t n;
    double f;
    bool b;
    if (value->type == DS4_GGUF_BOOL && ds4_gguf_value_bool(value, i, &b))
        ds4_strbuf_puts(out, b ? "true" : "false");
    else if (value->type == DS4_GGUF_F32 && ds4_gguf_value_f64(value, i, &f))
        ds4_strbuf_printf(out, "%.9g", f);
    else if (value->type == DS4_GGUF_F64 && ds4_gguf_value_f64(value, i, &f))
        ds4_strbuf_printf(out, "%.17g", f);
    else if (ds4_gguf_value_u64(value, i, &u))
        ds4_strbuf_printf(out, "%" PRIu64, u);
    else if (ds4_gguf_value_i64(value, i, &n))
        ds4_strbuf_printf(out, "%" PRId64, n);
}

static void print_value(ds4_strbuf *out, const ds4_gguf_value *value) {
    uint64_t shown = value->count < SHOWN_ELEMENTS ? value->count : SHOWN_ELEMENTS;
    ds4_gguf_string_cursor cursor = ds4_gguf_strings(value);
    ds4_gguf_string string;
    ds4_strbuf_puts(out, "  ");
    append_safe(out, value->key, true);
    ds4_strbuf_printf(out, " (%s%s) = ", ds4_gguf_value_type_name(value->type),
                      value->is_array ? "[]" : "");
    if (value->is_array) ds4_strbuf_putc(out, '[');
    for (uint64_t i = 0; i < shown; i++) {
        if (i > 0) ds4_strbuf_puts(out, ", ");
        if (ds4_gguf_next_string(&cursor, &string))
            append_safe(out, string, true);
        else
            print_element(out, value, i);
    }
    if (shown < value->count) ds4_strbuf_printf(out, ", ... %" PRIu64 " in all", value->count);
    ds4_strbuf_puts(out, value->is_array ? "]\n" : "\n");
}

static void print_tensor(ds4_strbuf *out, const ds4_gguf_tensor *tensor) {
    ds4_strbuf_puts(out, "  ");
    append_safe(out, (ds4_gguf_string){tensor->name, strlen(tensor->name)}, true);
    ds4_strbuf_printf(out, " %s [", ds4_type_get_info(tensor->type)->name);
    for (uint32_t i = 0; i < tensor->n_dims; i++)
        ds4_strbuf_printf(out, "%s%" PRIu64, i == 0 ? "" : ", ", tensor->ne[i]);
    ds4_strbuf_printf(out, "] at %" PRIu64 ", %" PRIu64 " bytes\n", tensor->file_offset,
                      tensor->n_bytes);
}

static void print_text(const ds4_gguf *gguf, const char *path, bool with_tensors, ds4_strbuf *out) {
    summary s = {0};
    char size[64];
    summarise(gguf, &s);
    ds4_strbuf_printf(out, "%s: GGUF version %" PRIu32 ", %s\n", path, ds4_gguf_version(gguf),
                      ds4_tool_size(ds4_gguf_file_bytes(gguf), size));
    ds4_strbuf_printf(out, "alignment %" PRIu32 ", data at byte %" PRIu64 "\n",
                      ds4_gguf_alignment(gguf), ds4_gguf_data_start(gguf));
    ds4_strbuf_printf(out, "metadata: %" PRIu64 " keys\n", ds4_gguf_n_values(gguf));
    for (uint64_t i = 0; i < ds4_gguf_n_values(gguf); i++)
        print_value(out, ds4_gguf_value_at(gguf, i));
    ds4_strbuf_printf(out, "tensors: %" PRIu64 ", %" PRIu64 " parameters, payload %s\n",
                      ds4_gguf_n_tensors(gguf), s.parameters, ds4_tool_size(s.payload_bytes, size));
    for (uint32_t type = 0; type < N_TYPES; type++) {
        if (s.n_tensors[type] == 0) continue;
        ds4_strbuf_printf(out, "  %-8s %6" PRIu64 " tensors, %s\n", ds4_type_get_info(type)->name,
                          s.n_tensors[type], ds4_tool_size(s.n_bytes[type], size));
    }
    for (uint64_t i = 0; with_tensors && i < ds4_gguf_n_tensors(gguf); i++) {
        print_tensor(out, ds4_gguf_tensor_at(gguf, i));
    }
}

/* ---- for programs ---- */

static json_object *json_text(ds4_gguf_string text) {
    ds4_strbuf safe = {0};
    append_safe(&safe, text, false);
    json_object *result = json_object_new_string_len(safe.n > 0 ? safe.data : "", (int)safe.n);
    ds4_strbuf_free(&safe);
    return result;
}

static json_object *json_number(const ds4_gguf_value *value, uint64_t i) {
    uint64_t u;
    int64_t n;
    double f;
    bool b;
    if (value->type == DS4_GGUF_BOOL)
        return json_object_new_boolean(ds4_gguf_value_bool(value, i, &b) && b);
    if (value->type == DS4_GGUF_F32 || value->type == DS4_GGUF_F64) {
        if (!ds4_gguf_value_f64(value, i, &f) || f != f || f - f != 0)
            return NULL; /* JSON has no NaN, no infinity */
        ds4_strbuf text = {0};
        ds4_strbuf_printf(&text, value->type == DS4_GGUF_F32 ? "%.9g" : "%.17g", f);
        json_object *number = text.failed ? NULL : json_object_new_double_s(f, text.data);
        ds4_strbuf_free(&text);
        return number;
    }
    if (ds4_gguf_value_u64(value, i, &u)) return json_object_new_uint64(u);
    return ds4_gguf_value_i64(value, i, &n) ? json_object_new_int64(n) : NULL;
}

/* {"type", "value"}; long arrays are cut, with their "count". */
static json_object *json_value(const ds4_gguf_value *value) {
    json_object *result = json_object_new_object();
    ds4_gguf_string_cursor cursor = ds4_gguf_strings(value);
    ds4_gguf_string string;
    json_object_object_add(result, "type",
                           json_object_new_string(ds4_gguf_value_type_name(value->type)));
    json_object_object_add(result, "is_array", json_object_new_boolean(value->is_array));
    if (!value->is_array) {
        bool is_text = ds4_gguf_next_string(&cursor, &string);
        json_object_object_add(result, "value",
                               is_text ? json_text(string) : json_number(value, 0));
        return result;
    }
    json_object *elements = json_object_new_array();
    for (uint64_t i = 0; i < value->count && i < JSON_ELEMENTS; i++) {
        bool is_text = ds4_gguf_next_string(&cursor, &string);
        json_object_array_add(elements, is_text ? json_text(string) : json_number(value, i));
    }
    json_object_object_add(result, "count", json_object_new_uint64(value->count));
    json_object_object_add(result, "is_complete",
                           json_object_new_boolean(value->count <= JSON_ELEMENTS));
    json_object_object_add(result, "value", elements);
    return result;
}

static json_object *json_tensor(const ds4_gguf_tensor *tensor) {
    json_object *result = json_object_new_object(), *ne = json_object_new_array();
    for (uint32_t i = 0; i < tensor->n_dims; i++)
        json_object_array_add(ne, json_object_new_uint64(tensor->ne[i]));
    json_object_object_add(result, "name",
                           json_text((ds4_gguf_string){tensor->name, strlen(tensor->name)}));
    json_object_object_add(result, "type",
                           json_object_new_string(ds4_type_get_info(tensor->type)->name));
    json_object_object_add(result, "ne", ne);
    json_object_object_add(result, "offset", json_object_new_uint64(tensor->file_offset));
    json_object_object_add(result, "bytes", json_object_new_uint64(tensor->n_bytes));
    return result;
}

static void print_json(const ds4_gguf *gguf, ds4_strbuf *out) {
    summary s = {0};
    json_object *root = json_object_new_object(), *metadata = json_object_new_object();
    json_object *types = json_object_new_object(), *tensors = json_object_new_array();
    summarise(gguf, &s);
    json_object_object_add(root, "version", json_object_new_uint64(ds4_gguf_version(gguf)));
    json_object_object_add(root, "alignment", json_object_new_uint64(ds4_gguf_alignment(gguf)));
    json_object_object_add(root, "file_bytes", json_object_new_uint64(ds4_gguf_file_bytes(gguf)));
    json_object_object_add(root, "data_start", json_object_new_uint64(ds4_gguf_data_start(gguf)));
    json_object_object_add(root, "payload_bytes", json_object_new_uint64(s.payload_bytes));
    json_object_object_add(root, "parameters", json_object_new_uint64(s.parameters));
    for (uint64_t i = 0; i < ds4_gguf_n_values(gguf); i++) {
        const ds4_gguf_value *value = ds4_gguf_value_at(gguf, i);
        json_object *key =
            json_text(value->key); /* an object's keys end in NUL, a value's key does not */
        json_object_object_add(metadata, json_object_get_string(key), json_value(value));
        json_object_put(key);
    }
    for (uint32_t type = 0; type < N_TYPES; type++) {
        if (s.n_tensors[type] == 0) continue;
        json_object *entry = json_object_new_object();
        json_object_object_add(entry, "tensors", json_object_new_uint64(s.n_tensors[type]));
        json_object_object_add(entry, "bytes", json_object_new_uint64(s.n_bytes[type]));
        json_object_object_add(types, ds4_type_get_info(type)->name, entry);
    }
    for (uint64_t i = 0; i < ds4_gguf_n_tensors(gguf); i++) {
        json_object_array_add(tensors, json_tensor(ds4_gguf_tensor_at(gguf, i)));
    }
    json_object_object_add(root, "metadata", metadata);
    json_object_object_add(root, "types", types);
    json_object_object_add(root, "tensors", tensors);
    ds4_strbuf_puts(out, json_object_to_json_string_ext(root, JSON_C_TO_STRING_PRETTY |
                                                                  JSON_C_TO_STRING_NOSLASHESCAPE));
    ds4_strbuf_putc(out, '\n');
    json_object_put(root);
}

int ds4_tool_inspect(int argc, char **argv) {
    settings s = {0};
    ds4_options_parsed parsed;
    ds4_error error = {0};
    ds4_gguf *gguf = NULL;
    ds4_strbuf out = {0};
    int exit_status = EXIT_OK;
    if (!ds4_tool_parse(&program, argc, argv, &s, &parsed, &exit_status)) goto done;
    if (ds4_gguf_open(parsed.operands[0], NULL, &gguf, &error) != DS4_OK) {
        exit_status = ds4_tool_failed(&program, &error);
        goto done;
    }
    if (s.json)
        print_json(gguf, &out);
    else
        print_text(gguf, parsed.operands[0], s.tensors, &out);
    if (out.failed || fwrite(out.data, 1, out.n, stdout) != out.n || fflush(stdout) != 0) {
        ds4_fail(&error, DS4_IO, "cannot print everything");
        exit_status = ds4_tool_failed(&program, &error);
    }
done:
    ds4_gguf_close(gguf);
    ds4_strbuf_free(&out);
    ds4_options_free(&parsed);
    return exit_status;
}
