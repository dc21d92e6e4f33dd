/* The tokenizer that a GGUF file carries (docs/tokenizer.md). */
#ifndef DS4_TOKENIZER_TOKENIZER_GGUF_H
#define DS4_TOKENIZER_TOKENIZER_GGUF_H

#include "gguf/gguf_reader.h"
#include "tokenizer/tokenizer.h"

/* Reads tokenizer.ggml.tokens and tokenizer.ggml.merges; control tokens are found by their strings,
 * so the token types and ids that converters disagree about are not needed. `n_vocab` as in
 * ds4_tokenizer_create. The reader may be closed afterwards. A file without tokenizer.ggml.tokens
 * gives OK and *tokenizer = NULL. FORMAT when a key has the wrong type, the merges are missing, or
 * the tables are inconsistent; UNSUPPORTED when tokenizer.ggml.model is not "gpt2". */
ds4_status ds4_tokenizer_create_from_gguf(const ds4_gguf *gguf, size_t n_vocab,
                                          ds4_tokenizer **tokenizer, ds4_error *error);

#endif
