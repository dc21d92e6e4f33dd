/* ds4-steer: builds, measures and tries steering directions. */
#include "steer-tool/steer.h"

static const ds4_tool_command commands[] = {
    {{"build", "a direction from contrast pairs"}, ds4_steer_build},
    {{"inspect", "what a direction and its sidecar hold"}, ds4_steer_inspect},
    {{"compare", "cosines of directions per layer"}, ds4_steer_compare},
    {{"sweep", "what scales do to held-out requests, as a table, CSV and plot"}, ds4_steer_sweep},
    {{"plot", "the plot of a sweep's CSV"}, ds4_steer_plot},
    {{"apply", "one prompt under several scales, side by side"}, ds4_steer_apply},
};

int main(int argc, char **argv) {
    const ds4_program program = {
        .name = "ds4-steer",
        .summary = "build, measure and try steering directions",
        .description = "Each command has its own --help. Exit status: 0 done, 1 failed, 2 wrong "
                       "usage.",
    };
    return ds4_tool_dispatch(&program, commands, sizeof commands / sizeof commands[0], argc, argv);
}
