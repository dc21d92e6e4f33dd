/* ds4-steer: builds and looks at steering directions. */
#include "steer-tool/steer.h"

static const ds4_tool_command commands[] = {
    {{"build", "a direction from contrast pairs"}, ds4_steer_build},
    {{"inspect", "what a direction and its sidecar hold"}, ds4_steer_inspect},
    {{"compare", "cosines of directions per layer"}, ds4_steer_compare},
};

int main(int argc, char **argv) {
    const ds4_program program = {
        .name = "ds4-steer",
        .summary = "build and look at steering directions",
        .description = "Each command has its own --help. Exit status: 0 done, 1 failed, 2 wrong "
                       "usage.",
    };
    return ds4_tool_dispatch(&program, commands, sizeof commands / sizeof commands[0], argc, argv);
}
