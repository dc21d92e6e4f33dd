/* What the files of the room share. */
#ifndef DS4_IMATRIX_IMATRIX_INTERNAL_H
#define DS4_IMATRIX_IMATRIX_INTERNAL_H

#include "imatrix/imatrix.h"

struct ds4_imatrix {
    ds4_imatrix_entry *entries; /* in the order of their creation */
    size_t n_entries, capacity;
    char *dataset;
    uint32_t chunks, chunk_tokens;
};

/* The two forms, from memory; `what` names the source in messages. */
ds4_status ds4_imatrix_parse_gguf(const void *bytes, size_t n_bytes, const char *what,
                                  ds4_imatrix *imatrix, ds4_error *error);
ds4_status ds4_imatrix_parse_dat(const void *bytes, size_t n_bytes, const char *what,
                                 ds4_imatrix *imatrix, ds4_error *error);

#endif
