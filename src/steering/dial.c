#include "steering/dial.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/error.h"
#include "steering/direction.h"

void ds4_dial_settings_init(ds4_dial_settings *settings) {
    settings->ffn = settings->attn = DS4_DIAL_UNSET;
}

const char *ds4_steer_mode_name(ds4_steer_mode mode) {
    return mode == DS4_STEER_ADD ? "add" : "project";
}

/* "A-B" or "A", both inclusive. */
static ds4_status parse_layers(const char *text, uint32_t n_layers, ds4_steering *steering,
                               ds4_error *error) {
    unsigned first = 0, last = 0;
    char rest = '\0';
    int n = sscanf(text, "%5u-%5u%c", &first, &last, &rest);
    if (n == 1 && sscanf(text, "%5u%c", &first, &rest) == 1) {
        last = first;
        n = 2;
    }
    if (n != 2 || first > last || last >= n_layers)
        return ds4_fail(error, DS4_INVALID_ARGUMENT,
                        "--dir-steering-layers %.40s: expected layers such as 2-%" PRIu32
                        " (the model has 0 to %" PRIu32 ")",
                        text, n_layers - 1, n_layers - 1);
    steering->first_layer = first;
    steering->n_layers = last - first + 1;
    return DS4_OK;
}

static void read_sidecar(const char *path, const ds4_model *model, ds4_dial *dial,
                         ds4_strbuf *warning) {
    ds4_error reason = {0};
    size_t before = warning->n;
    if (ds4_sidecar_read(path, &dial->sidecar, &reason) != DS4_OK) {
        dial->sidecar = (ds4_sidecar){0};
        ds4_strbuf_printf(warning, "the steering sidecar is not used: %s", reason.message);
        return;
    }
    ds4_sidecar_compare(&dial->sidecar, dial->direction, model, warning);
    bool foreign =
        dial->sidecar.direction_fingerprint != 0 &&
        dial->sidecar.direction_fingerprint != ds4_direction_get_info(dial->direction)->fingerprint;
    if (warning->n > before && foreign) dial->sidecar = (ds4_sidecar){0};
}

/* Options first, then the sidecar, then the defaults that are known for files without one. */
static void choose(const ds4_dial_settings *s, ds4_dial *dial) {
    const ds4_sidecar *sidecar = &dial->sidecar;
    bool given = s->ffn != DS4_DIAL_UNSET || s->attn != DS4_DIAL_UNSET;
    ds4_steering *start = &dial->start;
    start->direction = dial->direction;
    start->mode = sidecar->recommends ? sidecar->mode : DS4_STEER_PROJECT;
    if (s->mode > 0) start->mode = (ds4_steer_mode)(s->mode - 1);
    start->ffn = sidecar->recommends ? sidecar->ffn : 1;
    start->attn = sidecar->recommends ? sidecar->attn : 0;
    if (given) {
        start->ffn = s->ffn != DS4_DIAL_UNSET ? (float)s->ffn : 0;
        start->attn = s->attn != DS4_DIAL_UNSET ? (float)s->attn : 0;
    }
    if (sidecar->recommends && s->layers == NULL) {
        start->first_layer = sidecar->first_layer;
        start->n_layers = sidecar->n_layers;
    }
}

ds4_status ds4_dial_settings_check(const ds4_dial_settings *s, ds4_error *error) {
    bool scaled =
        (s->ffn != DS4_DIAL_UNSET && s->ffn != 0) || (s->attn != DS4_DIAL_UNSET && s->attn != 0);
    if (!scaled || (s->file != NULL && s->file[0] != '\0')) return DS4_OK;
    return ds4_fail(error, DS4_INVALID_ARGUMENT, "directional steering needs --dir-steering-file");
}

ds4_status ds4_dial_open(const ds4_dial_settings *s, const ds4_model *model, ds4_dial *dial,
                         ds4_strbuf *warning, ds4_error *error) {
    const ds4_model_info *info = ds4_model_get_info(model);
    *dial = (ds4_dial){0};
    if (s->file == NULL || s->file[0] == '\0') return ds4_dial_settings_check(s, error);
    ds4_status status = ds4_direction_open(s->file, model, &dial->direction, error);
    if (status != DS4_OK) return status;
    const ds4_direction_info *direction = ds4_direction_get_info(dial->direction);
    read_sidecar(s->file, model, dial, warning);
    if (direction->least_norm < 0.999f || direction->greatest_norm > 1.001f)
        ds4_strbuf_printf(warning,
                          "%sthe direction's vectors have norms from %.4g to %.4g instead of 1: "
                          "scales act accordingly",
                          warning->n > 0 ? "; " : "", (double)direction->least_norm,
                          (double)direction->greatest_norm);
    choose(s, dial);
    if (s->layers != NULL) status = parse_layers(s->layers, info->n_layers, &dial->start, error);
    if (status == DS4_OK)
        status = ds4_steering_check(&dial->start, info->n_layers, info->n_embd, error);
    if (status != DS4_OK) ds4_dial_close(dial);
    return status;
}

void ds4_dial_close(ds4_dial *dial) {
    ds4_direction_close(dial->direction);
    *dial = (ds4_dial){0};
}
