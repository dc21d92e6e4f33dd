/* The store's directory: whole files written atomically and read with suspicion. Files are 0600,
 * the directory 0700; links, pipes, directories and files of other users are never opened for their
 * content. Several processes may use one directory: files appear complete or not at all, and any
 * of them may vanish at any time. One thread at a time. */
#ifndef DS4_KV_DISK_H
#define DS4_KV_DISK_H

#include <time.h>

#include "base/log.h"
#include "ds4.h"

typedef struct ds4_kv_disk ds4_kv_disk;

/* Makes the directory and its parents when they are missing. IO when that fails or it belongs to
 * another user. `log` may be NULL. */
ds4_status ds4_kv_disk_open(const char *path, const ds4_log *log, ds4_kv_disk **disk,
                            ds4_error *error);
void ds4_kv_disk_close(ds4_kv_disk *disk);
const char *ds4_kv_disk_path(const ds4_kv_disk *disk);

/* All bytes of a file (malloc'ed, the caller's), or its first `most`; *n_file: its length. IO:
 * `missing` (may be NULL) tells a file that is gone from one that cannot be read; FORMAT when it is
 * no regular file of ours. */
ds4_status ds4_kv_disk_read(ds4_kv_disk *disk, const char *name, size_t most, uint8_t **bytes,
                            size_t *n, uint64_t *n_file, bool *missing, ds4_error *error);

typedef struct ds4_kv_part {
    const void *bytes;
    size_t n;
} ds4_kv_part;

/* Writes to a temporary file, syncs it and gives it its name. What was written is removed again
 * when anything fails. */
ds4_status ds4_kv_disk_write(ds4_kv_disk *disk, const char *name, const ds4_kv_part *parts,
                             size_t n_parts, ds4_error *error);
/* Makes the names of the files written so far durable. */
void ds4_kv_disk_sync(ds4_kv_disk *disk);

void ds4_kv_disk_remove(ds4_kv_disk *disk, const char *name);
/* It was used now. */
void ds4_kv_disk_touch(ds4_kv_disk *disk, const char *name);
/* Moves a file to the subfolder `quarantine` (or removes it when that fails) and logs one warning
 * with the reason. */
void ds4_kv_disk_quarantine(ds4_kv_disk *disk, const char *name, const char *why);

/* Calls `found` for each regular file; temporary files of dead writers are removed instead. */
typedef void (*ds4_kv_found_fn)(void *context, const char *name);
ds4_status ds4_kv_disk_list(ds4_kv_disk *disk, ds4_kv_found_fn found, void *context,
                            ds4_error *error);
/* When a name was last added or removed; used to skip listing. */
struct timespec ds4_kv_disk_changed(ds4_kv_disk *disk);
/* False: it is gone. */
bool ds4_kv_disk_stat(ds4_kv_disk *disk, const char *name, uint64_t *n_bytes, uint64_t *used);

#endif
