/* Preloaded into the server under test: opening a model takes DS4_TEST_OPEN_SECONDS, so that there
 * is time to look at a server that is still loading. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void wait_for_model(const char *path) {
    size_t n = strlen(path);
    const char *seconds = getenv("DS4_TEST_OPEN_SECONDS");
    if (seconds == NULL || n < 5 || strcmp(path + n - 5, ".gguf") != 0) return;
    struct timespec t = {.tv_sec = atoi(seconds)};
    nanosleep(&t, NULL);
}

int open(const char *path, int flags, ...) {
    static int (*next)(const char *, int, ...);
    if (next == NULL) *(void **)&next = dlsym(RTLD_NEXT, "open");
    va_list arguments;
    va_start(arguments, flags);
    unsigned mode = (flags & O_CREAT) != 0 ? va_arg(arguments, unsigned) : 0;
    va_end(arguments);
    wait_for_model(path);
    return next(path, flags, mode);
}
