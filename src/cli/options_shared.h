/* Rows that several option tables of this program have in common. */
#ifndef DS4_CLI_OPTIONS_SHARED_H
#define DS4_CLI_OPTIONS_SHARED_H

#include <stddef.h>

#include "cli/cli.h"

#define CLI_FIELD(field) .offset = offsetof(cli_settings, field)

#define CLI_OPTION_MODEL                                                                           \
    {                                                                                              \
        .group = "Model", .names = "--model -m", .kind = DS4_OPTION_STRING, .argument = "FILE",    \
        .default_text = "ds4flash.gguf", .environment = "DS4_MODEL", .config_key = "model",        \
        CLI_FIELD(model), .help = "GGUF file of the model"                                         \
    }
#define CLI_OPTION_CONTEXT                                                                         \
    {                                                                                              \
        .names = "--ctx -c", .kind = DS4_OPTION_INT, .argument = "N", .min = 1, .max = INT32_MAX,  \
        .default_text = "32768", .config_key = "ctx", CLI_FIELD(n_context),                        \
        .help = "context size in tokens"                                                           \
    }
#define CLI_OPTION_THREADS                                                                         \
    {                                                                                              \
        .group = "Machine", .names = "--threads -t", .kind = DS4_OPTION_INT, .argument = "N",      \
        .min = 1, .max = 1024, .environment = "DS4_THREADS", .config_key = "threads",              \
        CLI_FIELD(n_threads), .help = "threads to compute with, one per core when not given"       \
    }
#define CLI_OPTION_KV_SIM                                                                          \
    {                                                                                              \
        .names = "--kv-sim", .kind = DS4_OPTION_CHOICE, .argument = "MODE",                        \
        .choices = "default|full|fp4|none", .default_text = "default", .config_key = "kv-sim",     \
        CLI_FIELD(kv_sim),                                                                         \
        .help = "simulated quantisation of KV rows; default is what the model file asks for"       \
    }
#define CLI_OPTION_ACTIVATIONS(value)                                                              \
    {                                                                                              \
        .names = "--activations", .kind = DS4_OPTION_CHOICE, .argument = "TYPE",                   \
        .choices = "float|int8", .default_text = value, .config_key = "activations",               \
        CLI_FIELD(activations),                                                                    \
        .help = "arithmetic of products with quantised weights; float is the reference, int8 is "  \
                "faster"                                                                           \
    }

#endif
