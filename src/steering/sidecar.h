/* The JSON file beside a direction (NAME.f32 and NAME.json): how it was made, for which model, and
 * which dial is recommended. Directions work without it. Keys of other tools' sidecars are kept and
 * passed over; ours are in the object "ds4x" (docs/steering.md). Any thread. */
#ifndef DS4_STEERING_SIDECAR_H
#define DS4_STEERING_SIDECAR_H

#include "base/strbuf.h"
#include "ds4.h"

typedef struct ds4_sidecar {
    bool found;
    char model[128];                /* name of the model it was built on; "" when it does not say */
    uint64_t model_fingerprint;     /* 0: it does not say */
    uint64_t direction_fingerprint; /* of the numbers (ds4_direction_info); 0: it does not say */
    bool recommends;
    float ffn, attn; /* recommended scales */
    ds4_steer_mode mode;
    uint32_t first_layer, n_layers; /* recommended layers; n_layers 0: all that follow */
} ds4_sidecar;

/* NAME.f32 -> NAME.json; another ending is kept and ".json" put behind it. */
void ds4_sidecar_path(const char *direction_path, ds4_strbuf *path);

/* Reads the sidecar of a direction file. Without one `found` is false and the status OK. FORMAT
 * when it is no JSON object or a member of "ds4x" has the wrong type. */
ds4_status ds4_sidecar_read(const char *direction_path, ds4_sidecar *sidecar, ds4_error *error);
/* The same from memory; `what` names it in messages. */
ds4_status ds4_sidecar_parse(const char *text, size_t n, const char *what, ds4_sidecar *sidecar,
                             ds4_error *error);

/* Appends one sentence, or nothing: that the sidecar is of other numbers than the direction, or the
 * direction of another model than the one that runs. */
void ds4_sidecar_compare(const ds4_sidecar *sidecar, const ds4_direction *direction,
                         const ds4_model *model, ds4_strbuf *warning);

#endif
