/* Contrast pairs for building a direction: two prompts that differ in what the direction shall
 * mean, from two text files (one prompt per line, paired by number) or from one JSONL file:
 *     {"id": "a", "target": {chat-completions body}, "contrast": {body}, "target_answer": "...",
 * "contrast_answer": "..."} The answers are optional; with them activations are taken at answer
 * positions. */
#ifndef DS4_STEER_TOOL_PAIRS_H
#define DS4_STEER_TOOL_PAIRS_H

#include "base/strbuf.h"
#include "ds4.h"

/* One side of a pair as tokens; activations are taken at tokens[first .. n-1]. */
typedef struct ds4_pair_side {
    ds4_tokens tokens;
    size_t first;
} ds4_pair_side;

typedef struct ds4_pairs {
    ds4_pair_side *sides; /* [2 * n]: target and contrast of pair 0, of pair 1, ... */
    size_t n;
    uint64_t sources; /* hash of the texts */
} ds4_pairs;

/* For text files. Prefixes go directly before each line; a line with a Chinese character takes the
 * second one. */
typedef struct ds4_pair_texts {
    const char *target, *contrast;                     /* paths; the same one is fine */
    const char *target_prefix[2], *contrast_prefix[2]; /* English, Chinese; NULL: none */
    const char *system;                                /* NULL: none */
    bool thinking;
} ds4_pair_texts;

/* `max_answer`: answer tokens that are kept for capturing. FORMAT naming file and line. */
ds4_status ds4_pairs_read_jsonl(const char *path, const ds4_tokenizer *tokenizer,
                                uint32_t max_answer, ds4_pairs *pairs, ds4_error *error);
ds4_status ds4_pairs_read_texts(const ds4_pair_texts *texts, const ds4_tokenizer *tokenizer,
                                ds4_pairs *pairs, ds4_error *error);
void ds4_pairs_free(ds4_pairs *pairs);

#endif
