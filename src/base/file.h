/* Whole files, and whether a model file is there at all. Any thread. */
#ifndef DS4_BASE_FILE_H
#define DS4_BASE_FILE_H

#include "base/strbuf.h"
#include "ds4.h"

/* Appends all bytes of `path` ("-": standard input). IO when it cannot be read, INVALID_ARGUMENT
 * when it is longer than `max_bytes`. */
ds4_status ds4_file_read(const char *path, size_t max_bytes, ds4_strbuf *bytes, ds4_error *error);

/* OK when `path` is a regular file that can be read. Otherwise IO with a sentence for a newcomer:
 * what is missing (also: an unfinished download, a dangling link) and which command helps. What is
 * in the file is for ds4_model_open to judge. */
ds4_status ds4_file_check_model(const char *path, ds4_error *error);

#endif
