#include "steer-tool/steer.h"
int ds4_steer_apply(int argc, char **argv) {
    (void)argc;
    (void)argv;
    return EXIT_USAGE;
}
