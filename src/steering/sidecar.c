#include "steering/sidecar.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/json_scan.h"

enum { MAX_BYTES = 16 << 20, MAX_DEPTH = 64 };

void ds4_sidecar_path(const char *direction_path, ds4_strbuf *path) {
    size_t n = strlen(direction_path);
    if (n > 4 && strcmp(direction_path + n - 4, ".f32") == 0) n -= 4;
    ds4_strbuf_append(path, direction_path, n);
    ds4_strbuf_puts(path, ".json");
}

/* ---- members ---- */

typedef struct reader {
    const char *what;
    ds4_json_value object; /* "ds4x", or an object in it */
    const char *path;      /* its name in messages */
    ds4_error *error;
} reader;

static ds4_status wrong(const reader *r, const char *name, const char *wanted) {
    return ds4_fail(r->error, DS4_FORMAT, "%.200s: %s.%s is not %s", r->what, r->path, name,
                    wanted);
}

static ds4_status read_number(const reader *r, const char *name, double least, double most,
                              double *number) {
    ds4_json_value value;
    if (!ds4_json_find(r->object, name, &value)) return DS4_OK;
    if (value.type != DS4_JSON_NUMBER) return wrong(r, name, "a number");
    *number = ds4_json_number(value);
    if (*number >= least && *number <= most) return DS4_OK;
    return ds4_fail(r->error, DS4_FORMAT, "%.200s: %s.%s is outside %g..%g", r->what, r->path, name,
                    least, most);
}

/* 16 hexadecimal digits. */
static ds4_status read_fingerprint(const reader *r, const char *name, uint64_t *fingerprint) {
    ds4_json_value value;
    char digits[17] = "";
    char *end = digits;
    if (!ds4_json_find(r->object, name, &value)) return DS4_OK;
    if (value.type == DS4_JSON_STRING && value.n == 18) memcpy(digits, value.text + 1, 16);
    if (strspn(digits, "0123456789abcdefABCDEF") == 16) *fingerprint = strtoull(digits, &end, 16);
    return end == digits + 16 ? DS4_OK : wrong(r, name, "a string of 16 hexadecimal digits");
}

static ds4_status read_recommended(const reader *r, ds4_sidecar *s) {
    ds4_json_value mode;
    double ffn = 0, attn = 0, first = 0, n = 0;
    ds4_status status = read_number(r, "ffn", -100, 100, &ffn);
    if (status == DS4_OK) status = read_number(r, "attn", -100, 100, &attn);
    if (status == DS4_OK) status = read_number(r, "first_layer", 0, 1e6, &first);
    if (status == DS4_OK) status = read_number(r, "n_layers", 0, 1e6, &n);
    if (status != DS4_OK) return status;
    s->mode = DS4_STEER_PROJECT;
    if (ds4_json_find(r->object, "mode", &mode)) {
        if (mode.type == DS4_JSON_STRING && ds4_json_string_equals(mode, "add"))
            s->mode = DS4_STEER_ADD;
        else if (mode.type != DS4_JSON_STRING || !ds4_json_string_equals(mode, "project"))
            return wrong(r, "mode", "\"project\" or \"add\"");
    }
    s->recommends = true;
    s->ffn = (float)ffn;
    s->attn = (float)attn;
    s->first_layer = (uint32_t)first;
    s->n_layers = (uint32_t)n;
    return DS4_OK;
}

static ds4_status read_extension(reader *r, ds4_sidecar *s) {
    ds4_json_value model, recommended;
    ds4_status status = read_fingerprint(r, "model_fingerprint", &s->model_fingerprint);
    if (status == DS4_OK)
        status = read_fingerprint(r, "direction_fingerprint", &s->direction_fingerprint);
    if (status != DS4_OK) return status;
    if (ds4_json_find(r->object, "model", &model)) {
        ds4_strbuf name = {0};
        if (model.type != DS4_JSON_STRING) return wrong(r, "model", "a string");
        ds4_json_string_decode(model, &name);
        snprintf(s->model, sizeof s->model, "%s", name.data != NULL ? name.data : "");
        ds4_strbuf_free(&name);
    }
    if (!ds4_json_find(r->object, "recommended", &recommended)) return DS4_OK;
    if (recommended.type != DS4_JSON_OBJECT) return wrong(r, "recommended", "an object");
    r->object = recommended;
    r->path = "ds4x.recommended";
    return read_recommended(r, s);
}

ds4_status ds4_sidecar_parse(const char *text, size_t n, const char *what, ds4_sidecar *s,
                             ds4_error *error) {
    ds4_json_value document;
    ds4_error reason = {0};
    reader r = {.what = what, .path = "ds4x", .error = error};
    *s = (ds4_sidecar){.found = true};
    if (ds4_json_scan(text, n, MAX_DEPTH, &document, &reason) != DS4_OK)
        return ds4_fail(error, DS4_FORMAT, "%.200s: %.280s", what, reason.message);
    if (document.type != DS4_JSON_OBJECT)
        return ds4_fail(error, DS4_FORMAT, "%.200s is not a JSON object", what);
    if (!ds4_json_find(document, "ds4x", &r.object)) return DS4_OK;
    if (r.object.type != DS4_JSON_OBJECT)
        return ds4_fail(error, DS4_FORMAT, "%.200s: ds4x is not an object", what);
    return read_extension(&r, s);
}

ds4_status ds4_sidecar_read(const char *direction_path, ds4_sidecar *sidecar, ds4_error *error) {
    ds4_strbuf path = {0}, text = {0};
    ds4_status status = DS4_OK;
    *sidecar = (ds4_sidecar){0};
    ds4_sidecar_path(direction_path, &path);
    if (path.failed) {
        status = ds4_fail_memory(error, path.n, "a path");
    } else if (access(path.data, F_OK) == 0) {
        status = ds4_file_read(path.data, MAX_BYTES, &text, error);
        if (status == DS4_OK)
            status = ds4_sidecar_parse(text.data != NULL ? text.data : "", text.n, path.data,
                                       sidecar, error);
    }
    ds4_strbuf_free(&text);
    ds4_strbuf_free(&path);
    return status;
}

void ds4_sidecar_compare(const ds4_sidecar *s, const ds4_direction *direction,
                         const ds4_model *model, ds4_strbuf *warning) {
    uint64_t numbers = ds4_direction_get_info(direction)->fingerprint;
    const ds4_model_info *running = ds4_model_get_info(model);
    if (s->direction_fingerprint != 0 && s->direction_fingerprint != numbers)
        ds4_strbuf_puts(warning, "the steering sidecar describes other numbers than those of the "
                                 "direction file: it is not used");
    else if (s->model_fingerprint != 0 && s->model_fingerprint != running->fingerprint)
        ds4_strbuf_printf(warning,
                          "the steering direction was built on %s; on %s its effect was not "
                          "measured",
                          s->model[0] != '\0' ? s->model : "another model", running->name);
}
