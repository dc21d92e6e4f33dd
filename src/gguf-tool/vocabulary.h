/* The tokenizer that a model file carries: a table of token strings in the byte-to-character
 * alphabet of byte-level BPE, their kinds, and the merges in order of rank. Not thread-safe while
 * it is built. */
#ifndef DS4_GGUF_TOOL_VOCABULARY_H
#define DS4_GGUF_TOOL_VOCABULARY_H

#include <json-c/json.h>

#include "base/strbuf.h"
#include "gguf/gguf_writer.h"

typedef struct ds4_vocabulary {
    uint32_t n_tokens;
    ds4_gguf_string *tokens; /* `data` points into `text` or into `source` */
    int32_t *types;
    size_t n_merges;
    ds4_gguf_string *merges;
    int64_t bos, eos, pad; /* -1: the vocabulary has none */
    char *text;            /* strings that are in no document */
    size_t n_text, text_capacity;
    json_object *source; /* the document whose strings are borrowed; owned */
    /* Of tokenizer_config.json: -1 where it does not say. */
    int add_bos, add_eos;
    json_object *config;       /* owned */
    const char *chat_template; /* borrowed from it, or NULL */
} ds4_vocabulary;

/* From a Hugging Face tokenizer.json with a BPE model. `n_tokens` ids; those that the file does not
 * define become
 * "[PAD<id>]". FORMAT when it defines others, or is not a BPE tokenizer. */
ds4_status ds4_vocabulary_read(const char *path, uint32_t n_tokens, ds4_vocabulary *vocabulary,
                               ds4_error *error);

/* What DIRECTORY/tokenizer_config.json adds, if there is one: the ids of special tokens, whether
 * they are put around a text, the chat template. FORMAT when it names a token that the vocabulary
 * lacks. */
ds4_status ds4_vocabulary_read_config(const char *directory, ds4_vocabulary *vocabulary,
                                      ds4_error *error);

/* Every byte, a few merges, the control tokens that a chat needs, and padding up to `n_tokens` (>=
 * 300). */
ds4_status ds4_vocabulary_of_bytes(uint32_t n_tokens, ds4_vocabulary *vocabulary, ds4_error *error);

/* Declares tokenizer.ggml.*. */
void ds4_vocabulary_put_metadata(const ds4_vocabulary *vocabulary, ds4_gguf_writer *writer);
void ds4_vocabulary_free(ds4_vocabulary *vocabulary);

#endif
