/* How far a long run is, on standard error: a line that renews itself on a terminal, a line now and
 * then in a log. Any thread. */
#ifndef DS4_GGUF_TOOL_PROGRESS_H
#define DS4_GGUF_TOOL_PROGRESS_H

#include "ds4.h"

typedef struct ds4_progress ds4_progress;

ds4_status ds4_progress_create(uint64_t total_bytes, ds4_progress **progress, ds4_error *error);
void ds4_progress_destroy(ds4_progress *progress); /* ends the line */
void ds4_progress_add(ds4_progress *progress, uint64_t n_bytes);
/* Bytes that an earlier run made: done, but they say nothing of the speed. */
void ds4_progress_skip(ds4_progress *progress, uint64_t n_bytes);

/* "34 %, 12.3 of 86.7 GB, 245 MB/s, 6 min left", into a caller's buffer. `seconds`: since the
 * start; `made` of the `done` bytes are of this run. */
const char *ds4_progress_text(uint64_t done, uint64_t made, uint64_t total, double seconds,
                              char text[96]);

#endif
