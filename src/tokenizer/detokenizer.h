/* Bytes or token ids in, valid UTF-8 out, incrementally: a character that a token cuts in half is
 * held back until it is whole, and what can no longer become a character is replaced by U+FFFD,
 * once per maximal subpart of an ill-formed sequence (the Unicode Standard's recommended
 * practice, 3.9). The concatenated output does not depend on how the input was cut.
 *
 * A plain value: copy it to remember a state. It allocates nothing but what `out` grows by; one
 * thread at a time.
 */
#ifndef DS4_TOKENIZER_DETOKENIZER_H
#define DS4_TOKENIZER_DETOKENIZER_H

#include "tokenizer/tokenizer.h"

typedef struct ds4_detokenizer {
    const ds4_tokenizer *tokenizer; /* borrowed; may be NULL when only bytes are pushed */
    uint8_t pending[4];             /* a proper prefix of a well-formed sequence */
    uint8_t n_pending;
    uint8_t n_expected; /* length of the sequence that `pending` begins */
} ds4_detokenizer;

void ds4_detokenizer_init(ds4_detokenizer *detokenizer, const ds4_tokenizer *tokenizer);
/* Appends all complete characters that are known now. */
void ds4_detokenizer_push(ds4_detokenizer *detokenizer, int32_t id, ds4_strbuf *out);
void ds4_detokenizer_push_bytes(ds4_detokenizer *detokenizer, const void *bytes, size_t n,
                                ds4_strbuf *out);
/* The end of the text: an unfinished character becomes one U+FFFD. Ready for a new text afterwards.
 */
void ds4_detokenizer_finish(ds4_detokenizer *detokenizer, ds4_strbuf *out);

#endif
