#include "base/instance_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/error.h"

void ds4_instance_lock_path(const char *runtime_directory, ds4_strbuf *path) {
    if (runtime_directory != NULL)
        ds4_strbuf_printf(path, "%s/ds4.lock", runtime_directory);
    else
        ds4_strbuf_printf(path, "/tmp/ds4-%lu.lock", (unsigned long)getuid());
}

static ds4_status held(int fd, ds4_error *error) {
    char text[32] = "";
    ssize_t n = read(fd, text, sizeof text - 1);
    long pid = n > 0 ? strtol(text, NULL, 10) : 0;
    if (pid > 0)
        return ds4_fail(error, DS4_BUSY,
                        "another ds4 process is already running (pid %ld); refusing to start", pid);
    return ds4_fail(error, DS4_BUSY, "another ds4 process is already running; refusing to start");
}

ds4_status ds4_instance_lock_take(const char *path, int *out, ds4_error *error) {
    ds4_status status = DS4_OK;
    char text[32];
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return ds4_fail(error, DS4_IO, "failed to open lock file %s: %s", path, strerror(errno));
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        status = errno == EWOULDBLOCK
                     ? held(fd, error)
                     : ds4_fail(error, DS4_IO, "failed to lock %s: %s", path, strerror(errno));
        goto done;
    }
    int n = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    if (ftruncate(fd, 0) != 0 || write(fd, text, (size_t)n) != n) {
        status =
            ds4_fail(error, DS4_IO, "failed to truncate lock file %s: %s", path, strerror(errno));
        goto done;
    }
    *out = fd;
    fd = -1;
done:
    if (fd >= 0) close(fd);
    return status;
}
