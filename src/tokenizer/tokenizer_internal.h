/* What a tokenizer holds; private to this room. Everything is filled in by ds4_tokenizer_create and
 * then constant. */
#ifndef DS4_TOKENIZER_TOKENIZER_INTERNAL_H
#define DS4_TOKENIZER_TOKENIZER_INTERNAL_H

#include "tokenizer/bpe.h"
#include "tokenizer/tokenizer.h"

/* n strings, one after the other. */
typedef struct ds4_string_table {
    char *data;
    size_t *begin; /* n + 1 offsets */
} ds4_string_table;

enum {
    DS4_N_CONTROL = 7
}; /* the control tokens of the chat template: ds4_special_ids without pad */

typedef struct ds4_control_token {
    const char *string;
    size_t n;
    int32_t id; /* -1: not in this vocabulary */
} ds4_control_token;

struct ds4_tokenizer {
    size_t n_tokens;
    ds4_string_table strings; /* as in the vocabulary */
    ds4_string_table bytes;   /* what they stand for */
    uint32_t *slots;          /* hash of a string -> id + 1; 0: free */
    size_t slot_mask;
    ds4_bpe_merges merges;
    int32_t byte_ids[256];
    uint64_t *ordinary; /* bit set of ids that plain text may yield */
    ds4_special_ids special;
    ds4_control_token control[DS4_N_CONTROL]; /* in the order in which encode_special tries them */
};

#endif
