/* The sub-commands of ds4-steer. Each takes the words after its name and returns the exit status.
 */
#ifndef DS4_STEER_TOOL_STEER_H
#define DS4_STEER_TOOL_STEER_H

#include "tool/tool.h"

int ds4_steer_build(int argc, char **argv);
int ds4_steer_inspect(int argc, char **argv);
int ds4_steer_compare(int argc, char **argv);
int ds4_steer_sweep(int argc, char **argv);
int ds4_steer_plot(int argc, char **argv);
int ds4_steer_apply(int argc, char **argv);

/* Opens a model that can read text. On failure *model may be open and is the caller's to close. */
ds4_status ds4_steer_open_model(const char *path, ds4_model **model, ds4_error *error);

/* Rows that several option tables have in common. */
#define STEER_OPTION_MODEL(type)                                                                   \
    {                                                                                              \
        .names = "--model -m", .kind = DS4_OPTION_STRING, .argument = "FILE",                      \
        .default_text = "ds4flash.gguf", .environment = "DS4_MODEL",                               \
        .offset = offsetof(type, model), .help = "GGUF file of the model"                          \
    }
#define STEER_OPTION_THREADS(type)                                                                 \
    {                                                                                              \
        .names = "--threads -t", .kind = DS4_OPTION_INT, .argument = "N", .min = 0, .max = 1024,   \
        .default_text = "0", .offset = offsetof(type, threads),                                    \
        .help = "threads to use; 0: one per core"                                                  \
    }

#endif
