/* The options that convert and quantize have in common. */
#ifndef DS4_GGUF_TOOL_TRANSCODE_OPTIONS_H
#define DS4_GGUF_TOOL_TRANSCODE_OPTIONS_H

#include "gguf-tool/recipe.h"
#include "gguf-tool/transcode.h"

typedef struct ds4_transcode_settings {
    const char *output;
    int recipe;
    ds4_option_list types;
    const char *imatrix;
    bool imatrix_strict, refit, dry_run, restart, force;
    int64_t threads;
} ds4_transcode_settings;

static inline ds4_transcode_options ds4_transcode_options_of(const ds4_transcode_settings *s) {
    return (ds4_transcode_options){.output = s->output,
                                   .imatrix = s->imatrix,
                                   .imatrix_strict = s->imatrix_strict,
                                   .refit = s->refit,
                                   .restart = s->restart,
                                   .force = s->force,
                                   .n_threads = (uint32_t)s->threads};
}

/* Entries of an option table; `member` of the struct `type` is a ds4_transcode_settings. */
#define DS4_TRANSCODE_OPTIONS(type, member)                                                        \
    {.names = "--output -o",                                                                       \
     .kind = DS4_OPTION_STRING,                                                                    \
     .argument = "OUT.gguf",                                                                       \
     .offset = offsetof(type, member.output),                                                      \
     .help = "file to write (required)"},                                                          \
        {.names = "--force -f",                                                                    \
         .kind = DS4_OPTION_FLAG,                                                                  \
         .offset = offsetof(type, member.force),                                                   \
         .help = "replace OUT.gguf when it exists"},                                               \
        {.names = "--recipe",                                                                      \
         .kind = DS4_OPTION_CHOICE,                                                                \
         .argument = "NAME",                                                                       \
         .choices = DS4_RECIPE_CHOICES,                                                            \
         .offset = offsetof(type, member.recipe),                                                  \
         .help = "types of all tensors (required)"},                                               \
        {.names = "--type",                                                                        \
         .kind = DS4_OPTION_LIST,                                                                  \
         .argument = "PATTERN=TYPE",                                                               \
         .offset = offsetof(type, member.types),                                                   \
         .help = "another type for the matrices whose GGUF names match, as in "                    \
                 "'blk.3[7-9].ffn_*_exps.weight=q4_k'; may be repeated, or several with commas; "  \
                 "the last match decides"},                                                        \
        {.names = "--imatrix",                                                                     \
         .kind = DS4_OPTION_STRING,                                                                \
         .argument = "FILE",                                                                       \
         .offset = offsetof(type, member.imatrix),                                                 \
         .help =                                                                                   \
             "importance matrix (ds4-gguf imatrix): errors in columns that matter count more"},    \
        {.names = "--imatrix-strict",                                                              \
         .kind = DS4_OPTION_FLAG,                                                                  \
         .offset = offsetof(type, member.imatrix_strict),                                          \
         .help = "fail when a tensor that would use importances has none in the file"},            \
        {.names = "--refit",                                                                       \
         .kind = DS4_OPTION_FLAG,                                                                  \
         .offset = offsetof(type, member.refit),                                                   \
         .help = "slower, smaller errors: scales and codes are fitted once more to what decoders " \
                 "compute; without it, bytes equal those of the published algorithms"},            \
        {.names = "--dry-run",                                                                     \
         .kind = DS4_OPTION_FLAG,                                                                  \
         .offset = offsetof(type, member.dry_run),                                                 \
         .help = "check everything, print the sizes by type, write nothing"},                      \
        {.names = "--restart",                                                                     \
         .kind = DS4_OPTION_FLAG,                                                                  \
         .offset = offsetof(type, member.restart),                                                 \
         .help = "begin anew where an interrupted run left a part"},                               \
    {                                                                                              \
        .names = "--threads -t", .kind = DS4_OPTION_INT, .argument = "N", .min = 0, .max = 1024,   \
        .default_text = "0", .offset = offsetof(type, member.threads),                             \
        .help = "threads to use; 0: one per core"                                                  \
    }

#endif
