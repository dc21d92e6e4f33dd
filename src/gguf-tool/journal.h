/* What a long run has finished, in a text file beside the unfinished one: a line that says of which
 * run, then one line per finished tensor with its number and the hash of its bytes. A line that a
 * kill cut off does not count; bytes that do not match their hash are made again. */
#ifndef DS4_GGUF_TOOL_JOURNAL_H
#define DS4_GGUF_TOOL_JOURNAL_H

#include "ds4.h"

typedef struct ds4_journal ds4_journal;

/* Opens or creates `path`. `run` identifies sources and settings: lines of other runs are
 * forgotten, and so are all when `is_fresh`. *n_found: tensors that were finished. */
ds4_status ds4_journal_open(const char *path, uint64_t run, bool is_fresh, ds4_journal **journal,
                            size_t *n_found, ds4_error *error);
void ds4_journal_close(ds4_journal *journal); /* keeps the file; NULL is fine */
/* Removes the file: the run is complete. */
void ds4_journal_remove(ds4_journal *journal);

bool ds4_journal_find(const ds4_journal *journal, size_t tensor, uint64_t *hash);
ds4_status ds4_journal_add(ds4_journal *journal, size_t tensor, uint64_t hash, ds4_error *error);

#endif
