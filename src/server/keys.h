/* The API keys that a request may carry: one from the command line, or all of a file.
 *
 * The file: one key per line; empty lines and lines that begin with # are skipped. One thread at a
 * time (the event thread, which also reads the file again at SIGHUP). */
#ifndef DS4_SERVER_KEYS_H
#define DS4_SERVER_KEYS_H

#include "base/strbuf.h"
#include "ds4.h"
#include "server/http_parse.h"

/* Zero: no key is asked for. */
typedef struct ds4_keys {
    ds4_strbuf text; /* the keys, each with a NUL behind it */
    size_t n;
} ds4_keys;

ds4_status ds4_keys_set(ds4_keys *keys, const char *key, ds4_error *error);
/* Replaces the keys; on failure (no file, no key in it, a key with control characters) the old ones
 * stay. *exposed: other users of the machine can read the file. */
ds4_status ds4_keys_read(ds4_keys *keys, const char *path, bool *exposed, ds4_error *error);
void ds4_keys_free(ds4_keys *keys);

/* Takes the same time wherever `given` differs, and whichever key it is: all are compared. */
bool ds4_keys_match(const ds4_keys *keys, ds4_http_text given);

#endif
