/* What the programs share about steering: the option rows, the direction with its sidecar, and the
 * dial that they start with. A ds4_dial is filled once and then only read, by any thread. */
#ifndef DS4_STEERING_DIAL_H
#define DS4_STEERING_DIAL_H

#include "base/options.h"
#include "steering/sidecar.h"

/* As the options write it. */
typedef struct ds4_dial_settings {
    const char *file;   /* NULL: no direction */
    double ffn, attn;   /* DS4_DIAL_UNSET: not given */
    int mode;           /* 0: as the sidecar says; else 1 + ds4_steer_mode */
    const char *layers; /* "2-5", "7"; NULL: as the sidecar says, else all */
} ds4_dial_settings;

#define DS4_DIAL_UNSET 1000.0

/* Rows of an option table whose struct has a ds4_dial_settings as `field`. The names of file and
 * scales are those that users of other engines of this family know. */
#define DS4_DIAL_OPTIONS(type, field)                                                              \
    {.group = "Steering",                                                                          \
     .names = "--dir-steering-file",                                                               \
     .kind = DS4_OPTION_STRING,                                                                    \
     .argument = "FILE",                                                                           \
     .config_key = "dir-steering-file",                                                            \
     .offset = offsetof(type, field.file),                                                         \
     .help = "direction: layers x width float32; FILE.json beside it may recommend a dial"},       \
        {.names = "--dir-steering-ffn",                                                            \
         .kind = DS4_OPTION_FLOAT,                                                                 \
         .argument = "F",                                                                          \
         .min = -100,                                                                              \
         .max = 100,                                                                               \
         .config_key = "dir-steering-ffn",                                                         \
         .offset = offsetof(type, field.ffn),                                                      \
         .help = "scale on feed-forward outputs; when no scale is given, what the sidecar "        \
                 "recommends, else 1"},                                                            \
        {.names = "--dir-steering-attn",                                                           \
         .kind = DS4_OPTION_FLOAT,                                                                 \
         .argument = "F",                                                                          \
         .min = -100,                                                                              \
         .max = 100,                                                                               \
         .config_key = "dir-steering-attn",                                                        \
         .offset = offsetof(type, field.attn),                                                     \
         .help = "scale on attention outputs"},                                                    \
        {.names = "--dir-steering-mode",                                                           \
         .kind = DS4_OPTION_CHOICE,                                                                \
         .argument = "MODE",                                                                       \
         .choices = "auto|project|add",                                                            \
         .default_text = "auto",                                                                   \
         .config_key = "dir-steering-mode",                                                        \
         .offset = offsetof(type, field.mode),                                                     \
         .help = "project: negative scales amplify what points along the direction, positive "     \
                 "ones remove it; add: the scale pushes along it; auto: as the sidecar says, "     \
                 "else project"},                                                                  \
    {                                                                                              \
        .names = "--dir-steering-layers", .kind = DS4_OPTION_STRING, .argument = "A-B",            \
        .config_key = "dir-steering-layers", .offset = offsetof(type, field.layers),               \
        .help = "only these layers, as in 20-42 or 7"                                              \
    }

typedef struct ds4_dial {
    ds4_direction *direction; /* owned; NULL: no steering */
    ds4_sidecar sidecar;
    ds4_steering start; /* the dial at the start; its scales may be 0 */
} ds4_dial;

/* Before the options are parsed: no scale is given. */
void ds4_dial_settings_init(ds4_dial_settings *settings);

/* INVALID_ARGUMENT for scales without a file: what can be said before a model is open. */
ds4_status ds4_dial_settings_check(const ds4_dial_settings *settings, ds4_error *error);

/* Opens the direction that is named and forms the dial. INVALID_ARGUMENT for scales without a file
 * or layers that the model lacks; whatever ds4_direction_open refuses. `warning` gets a sentence
 * when the sidecar does not fit; a sidecar that cannot be read is a warning too, never a failure.
 */
ds4_status ds4_dial_open(const ds4_dial_settings *settings, const ds4_model *model, ds4_dial *dial,
                         ds4_strbuf *warning, ds4_error *error);
void ds4_dial_close(ds4_dial *dial);

const char *ds4_steer_mode_name(ds4_steer_mode mode); /* "project", "add" */

#endif
