#include "kv/disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"

static const char TEMPORARY[] = "tmp-", QUARANTINE[] = "quarantine";
enum { STALE_SECONDS = 3600, PRIVATE_FILE = 0600, PRIVATE_DIRECTORY = 0700 };

struct ds4_kv_disk {
    int fd;
    const ds4_log *log;
    unsigned long n_written; /* tells this process's temporary files from each other */
    char path[];
};

/* ---- the directory ---- */

/* Every missing parent, then the directory itself. */
static bool make_directories(char *path) {
    for (char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        int result = mkdir(path, PRIVATE_DIRECTORY);
        int reason = errno;
        *slash = '/';
        if (result != 0 && reason != EEXIST) return false;
    }
    return mkdir(path, PRIVATE_DIRECTORY) == 0 || errno == EEXIST;
}

ds4_status ds4_kv_disk_open(const char *path, const ds4_log *log, ds4_kv_disk **out,
                            ds4_error *error) {
    struct stat info;
    ds4_status status = DS4_OK;
    size_t n = strlen(path) + 1;
    ds4_kv_disk *disk = malloc(sizeof *disk + n);
    if (disk == NULL) return ds4_fail_memory(error, n, "the KV cache directory");
    *disk = (ds4_kv_disk){.fd = -1, .log = log};
    memcpy(disk->path, path, n);
    if (n == 1 || !make_directories(disk->path)) {
        status = ds4_fail(error, DS4_IO, "failed to create KV cache directory %s: %s", path,
                          n == 1 ? "no name" : strerror(errno));
        goto done;
    }
    disk->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (disk->fd < 0 || fstat(disk->fd, &info) != 0) {
        status =
            ds4_fail(error, DS4_IO, "cannot open KV cache directory %s: %s", path, strerror(errno));
        goto done;
    }
    if (info.st_uid != geteuid()) {
        status =
            ds4_fail(error, DS4_IO,
                     "KV cache directory %s belongs to another user; choose one of your own", path);
        goto done;
    }
    if ((info.st_mode & 077) != 0 && fchmod(disk->fd, PRIVATE_DIRECTORY) == 0)
        ds4_log_write(log, DS4_LOG_WARNING,
                      "KV cache directory %s could be read by other users: its mode is now 0700",
                      path);
    *out = disk;
    disk = NULL;
done:
    ds4_kv_disk_close(disk);
    return status;
}

void ds4_kv_disk_close(ds4_kv_disk *disk) {
    if (disk == NULL) return;
    if (disk->fd >= 0) close(disk->fd);
    free(disk);
}

const char *ds4_kv_disk_path(const ds4_kv_disk *disk) {
    return disk->path;
}

/* ---- reading ---- */

static bool is_ours(const struct stat *info) {
    return S_ISREG(info->st_mode) && info->st_uid == geteuid();
}

ds4_status ds4_kv_disk_read(ds4_kv_disk *disk, const char *name, size_t most, uint8_t **bytes,
                            size_t *n, uint64_t *n_file, bool *missing, ds4_error *error) {
    struct stat info;
    ds4_status status = DS4_OK;
    uint8_t *buffer = NULL;
    size_t wanted, done = 0;
    int fd = openat(disk->fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (missing != NULL) *missing = fd < 0 && errno == ENOENT;
    if (fd < 0 || fstat(fd, &info) != 0) {
        status = ds4_fail(error, DS4_IO, "cannot read: %s", strerror(errno));
        goto done;
    }
    if (!is_ours(&info)) {
        status = ds4_fail(error, DS4_FORMAT, "it is no regular file of this user");
        goto done;
    }
    wanted = (uint64_t)info.st_size < most ? (size_t)info.st_size : most;
    buffer = malloc(wanted + 1);
    if (buffer == NULL) {
        status = ds4_fail_memory(error, wanted, "a file of the KV cache");
        goto done;
    }
    while (done < wanted) {
        ssize_t got = read(fd, buffer + done, wanted - done);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
        done += (size_t)got;
    }
    if (done < wanted) {
        status = ds4_fail(error, DS4_IO, "cannot read: %s", strerror(errno));
        goto done;
    }
    *bytes = buffer;
    *n = done;
    *n_file = (uint64_t)info.st_size;
    buffer = NULL;
done:
    free(buffer);
    if (fd >= 0) close(fd);
    return status;
}

bool ds4_kv_disk_stat(ds4_kv_disk *disk, const char *name, uint64_t *n_bytes, uint64_t *used) {
    struct stat info;
    if (fstatat(disk->fd, name, &info, AT_SYMLINK_NOFOLLOW) != 0) return false;
    *n_bytes = (uint64_t)info.st_size;
    *used = (uint64_t)info.st_mtime;
    return true;
}

struct timespec ds4_kv_disk_changed(ds4_kv_disk *disk) {
    struct stat info;
    return fstat(disk->fd, &info) == 0 ? info.st_mtim : (struct timespec){0};
}

/* ---- writing ---- */

static bool write_all(int fd, const ds4_kv_part *part) {
    for (size_t done = 0; done < part->n;) {
        ssize_t put = write(fd, (const char *)part->bytes + done, part->n - done);
        if (put < 0 && errno == EINTR) continue;
        if (put <= 0) return false;
        done += (size_t)put;
    }
    return true;
}

ds4_status ds4_kv_disk_write(ds4_kv_disk *disk, const char *name, const ds4_kv_part *parts,
                             size_t n_parts, ds4_error *error) {
    char temporary[128];
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    /* The clock keeps apart what processes of the same number in other containers write. */
    snprintf(temporary, sizeof temporary, "%s%ld-%lx-%lu", TEMPORARY, (long)getpid(),
             (unsigned long)now.tv_nsec, disk->n_written++);
    int fd = openat(disk->fd, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                    PRIVATE_FILE);
    bool written = fd >= 0;
    for (size_t i = 0; i < n_parts && written; i++) written = write_all(fd, &parts[i]);
    written = written && fsync(fd) == 0;
    int reason = errno;
    if (fd >= 0 && close(fd) != 0 && written) {
        written = false;
        reason = errno;
    }
    if (written && renameat(disk->fd, temporary, disk->fd, name) != 0) {
        written = false;
        reason = errno;
    }
    if (written) return DS4_OK;
    if (fd >= 0) unlinkat(disk->fd, temporary, 0);
    return ds4_fail(error, DS4_IO, "cannot write to KV cache directory %s: %s", disk->path,
                    strerror(reason));
}

void ds4_kv_disk_sync(ds4_kv_disk *disk) {
    (void)fsync(disk->fd); /* not all file systems can; then the names are as durable as they get */
}

void ds4_kv_disk_remove(ds4_kv_disk *disk, const char *name) {
    (void)unlinkat(disk->fd, name, 0); /* another server may have been quicker */
}

void ds4_kv_disk_touch(ds4_kv_disk *disk, const char *name) {
    const struct timespec times[2] = {{.tv_nsec = UTIME_NOW}, {.tv_nsec = UTIME_NOW}};
    (void)utimensat(disk->fd, name, times, AT_SYMLINK_NOFOLLOW);
}

void ds4_kv_disk_quarantine(ds4_kv_disk *disk, const char *name, const char *why) {
    (void)mkdirat(disk->fd, QUARANTINE, PRIVATE_DIRECTORY);
    int folder = openat(disk->fd, QUARANTINE, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    bool moved = folder >= 0 && renameat(disk->fd, name, folder, name) == 0;
    if (folder >= 0) close(folder);
    if (!moved) ds4_kv_disk_remove(disk, name);
    ds4_log_write(disk->log, DS4_LOG_WARNING, "KV cache: %s was %s: %s", name,
                  moved ? "moved to the folder quarantine" : "removed", why);
}

/* ---- listing ---- */

ds4_status ds4_kv_disk_list(ds4_kv_disk *disk, ds4_kv_found_fn found, void *context,
                            ds4_error *error) {
    int fd = openat(disk->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *directory = fd >= 0 ? fdopendir(fd) : NULL;
    if (directory == NULL) {
        if (fd >= 0) close(fd);
        return ds4_fail(error, DS4_IO, "cannot list KV cache directory %s: %s", disk->path,
                        strerror(errno));
    }
    time_t now = time(NULL);
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        uint64_t n_bytes, used;
        if (strncmp(entry->d_name, TEMPORARY, sizeof TEMPORARY - 1) != 0)
            found(context, entry->d_name);
        else if (ds4_kv_disk_stat(disk, entry->d_name, &n_bytes, &used) &&
                 (uint64_t)now > used + STALE_SECONDS)
            ds4_kv_disk_remove(disk, entry->d_name);
    }
    closedir(directory);
    return DS4_OK;
}
