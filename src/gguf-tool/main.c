/* ds4-gguf: looks into, checks and makes GGUF files of deepseek4 models. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gguf-tool/tool.h"

static const struct {
    ds4_command words;
    int (*run)(int argc, char **argv);
} commands[] = {
    {{"inspect", "what a GGUF file holds"}, ds4_tool_inspect},
    {{"verify", "whether a GGUF file is sound; names every problem"}, ds4_tool_verify},
    {{"convert", "safetensors checkpoint to GGUF"}, ds4_tool_convert},
    {{"synth", "valid model with seeded random weights"}, ds4_tool_synth},
};
enum { N_COMMANDS = sizeof commands / sizeof commands[0] };

int main(int argc, char **argv) {
    for (size_t i = 0; argc > 1 && i < N_COMMANDS; i++) {
        if (strcmp(argv[1], commands[i].words.name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    }
    ds4_command words[N_COMMANDS];
    for (size_t i = 0; i < N_COMMANDS; i++) words[i] = commands[i].words;
    const ds4_program program = {
        .name = "ds4-gguf",
        .summary = "look into, check and make GGUF model files",
        .operands = "COMMAND ...",
        .commands = words,
        .n_commands = N_COMMANDS,
        .max_operands = DS4_OPERANDS_MAX,
        .description = "Each command has its own --help. Exit status: 0 done, 1 failed or unsound "
                       "file, 2 wrong usage.",
    };
    ds4_options_parsed parsed;
    char unused;
    int exit_status = EXIT_USAGE;
    if (ds4_tool_parse(&program, argc, argv, &unused, &parsed, &exit_status)) {
        char message[160];
        if (parsed.n_operands == 0) {
            snprintf(message, sizeof message,
                     "missing command (inspect, verify, convert or synth)");
        } else {
            snprintf(message, sizeof message,
                     "unknown command: %.60s (inspect, verify, convert or synth)",
                     parsed.operands[0]);
        }
        exit_status = ds4_tool_misused(&program, message);
    }
    ds4_options_free(&parsed);
    return exit_status;
}
