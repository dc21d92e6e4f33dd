/* The dials that a command goes through: words of its options to scales, a direction with its
 * layers. */
#ifndef DS4_STEER_TOOL_SCALES_H
#define DS4_STEER_TOOL_SCALES_H

#include "steering/dial.h"

enum { DS4_SCALES_MAX = 64 };

typedef enum ds4_scale_site { DS4_SITE_FFN, DS4_SITE_ATTN, DS4_SITE_BOTH } ds4_scale_site;

typedef struct ds4_scales {
    double values[DS4_SCALES_MAX]; /* ascending, different, 0 among them */
    size_t n;
} ds4_scales;

/* "-1,-0.5,0.5": INVALID_ARGUMENT for anything but numbers from -100 to 100. 0 is added. */
ds4_status ds4_scales_parse(const char *text, ds4_scales *scales, ds4_error *error);
/* The dial with this scale on the site; other fields as in `base`. */
ds4_steering ds4_scales_dial(const ds4_steering *base, ds4_scale_site site, double scale,
                             ds4_steer_mode mode);

#define STEER_OPTION_SITE(type)                                                                    \
    {                                                                                              \
        .names = "--site", .kind = DS4_OPTION_CHOICE, .argument = "NAME",                          \
        .choices = "ffn|attn|both", .default_text = "ffn", .offset = offsetof(type, site),         \
        .help = "which outputs are steered"                                                        \
    }
#define STEER_OPTION_POLICY(type)                                                                  \
    {                                                                                              \
        .names = "--policy", .kind = DS4_OPTION_CHOICE, .argument = "NAME",                        \
        .choices = "final-answer|decoding|always", .default_text = "final-answer",                 \
        .offset = offsetof(type, policy), .help = "which rows are steered"                         \
    }
#define STEER_OPTION_CONTEXT(type)                                                                 \
    {                                                                                              \
        .names = "--ctx -c", .kind = DS4_OPTION_INT, .argument = "N", .min = 16, .max = 1 << 20,   \
        .default_text = "8192", .offset = offsetof(type, context),                                 \
        .help = "longest prompt with its answer, in tokens"                                        \
    }
#define STEER_OPTION_BATCH(type, default_batch)                                                    \
    {                                                                                              \
        .names = "--batch", .kind = DS4_OPTION_INT, .argument = "N", .min = 1, .max = 64,          \
        .default_text = default_batch, .offset = offsetof(type, slots),                            \
        .help = "answers in the making at once"                                                    \
    }

#endif
