/* A model's vocabulary as a trie of bytes, made for asking "which tokens may come next": built once
 * per model, with the answers for every state of the rules that all grammars share.
 *
 * Read-only after creation: any number of threads. The tokenizer is not kept.
 */
#ifndef DS4_CONSTRAINT_VOCABULARY_H
#define DS4_CONSTRAINT_VOCABULARY_H

#include "ds4.h"

typedef struct ds4_vocabulary ds4_vocabulary;

/* Tokens that an answer may never contain (chat/control.h) are left out, and so are control tokens,
 * which matchers treat as symbols of their own. */
ds4_status ds4_vocabulary_create(const ds4_tokenizer *tokenizer, ds4_vocabulary **vocabulary,
                                 ds4_error *error);
void ds4_vocabulary_destroy(ds4_vocabulary *vocabulary); /* NULL is fine */

size_t ds4_vocabulary_n_words(const ds4_vocabulary *vocabulary); /* of a mask: (tokens + 63) / 64 */

#endif
