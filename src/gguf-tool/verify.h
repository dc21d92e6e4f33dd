/* Looking for everything that is wrong with a file. */
#ifndef DS4_GGUF_TOOL_VERIFY_H
#define DS4_GGUF_TOOL_VERIFY_H

#include <stdio.h>

#include "gguf/gguf_reader.h"

/* Findings so far; each is printed when it is found, up to a limit. */
typedef struct ds4_findings {
    uint64_t n_problems, n_warnings;
    FILE *out; /* NULL: standard output */
} ds4_findings;

enum { DS4_FINDINGS_SHOWN = 50 };

void ds4_findings_add(ds4_findings *findings, bool is_warning, const char *message);

/* Reads every payload with `n_threads` threads (0: one per core): scales and floats are finite,
 * expert ids are in range; also the token table: unique, as long as the kinds of tokens, merges of
 * two parts. */
ds4_status ds4_verify_deep(const ds4_gguf *gguf, uint32_t n_threads, ds4_findings *findings,
                           ds4_error *error);

#endif
