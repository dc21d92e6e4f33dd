/* One large engine per machine: a lock file that lives as long as its process.
 *
 * The kernel drops the lock when the process ends, however it ends; the file stays, with the
 * process id of its last holder. Any thread. */
#ifndef DS4_BASE_INSTANCE_LOCK_H
#define DS4_BASE_INSTANCE_LOCK_H

#include "base/strbuf.h"
#include "ds4.h"

/* BUSY with "another ds4 process is already running (pid N); refusing to start" while another
 * process holds it. IO when the file cannot be made; a symbolic link is refused. On success *fd
 * holds the lock until it is closed. */
ds4_status ds4_instance_lock_take(const char *path, int *fd, ds4_error *error);

/* Appends `runtime_directory`/ds4.lock, or the user's own name in /tmp when it is NULL. */
void ds4_instance_lock_path(const char *runtime_directory, ds4_strbuf *path);

#endif
