/* Byte-level BPE over the vocabulary of DeepSeek V3/V4 (docs/tokenizer.md): text to token ids and
 * back.
 *
 * A tokenizer is made once, from string tables (here) or from a GGUF file
 * (tokenizer/tokenizer_gguf.h), copies everything it keeps, and never changes afterwards: any
 * number of threads may use one at the same time. Text is bytes, not necessarily valid UTF-8 and
 * not NUL-terminated.
 *
 * Text from a user must go through ds4_tokenizer_encode, which can never yield a control token.
 * Only text that this program rendered itself may go through ds4_tokenizer_encode_special.
 */
#ifndef DS4_TOKENIZER_TOKENIZER_H
#define DS4_TOKENIZER_TOKENIZER_H

#include "base/strbuf.h"
#include "ds4.h"

/* A borrowed string of n bytes. */
typedef struct ds4_token_string {
    const char *data;
    size_t n;
} ds4_token_string;

/* The string tables of a vocabulary, as GGUF carries them. Only read during creation. */
typedef struct ds4_tokenizer_tables {
    const ds4_token_string
        *tokens; /* index = id; ordinary tokens in the byte-to-unicode alphabet */
    size_t n_tokens;
    const ds4_token_string *merges; /* "left right", index = rank (lower merges first) */
    size_t n_merges;
} ds4_tokenizer_tables;

/* Control tokens are found by their strings, -1 when the vocabulary has none. */
typedef struct ds4_special_ids {
    int32_t bos; /* <|begin_of_sentence|>, written with U+FF5C and U+2581 like the following ones */
    int32_t eos; /* <|end_of_sentence|> */
    int32_t pad; /* <|_pad_|>; not recognised by encode_special */
    int32_t user;      /* <|User|> */
    int32_t assistant; /* <|Assistant|> */
    int32_t think;     /* <think> */
    int32_t think_end; /* </think> */
    int32_t dsml;      /* |DSML|, a fragment: tags such as <|DSML|tool_calls> are '<', this id, and
                          ordinary text */
} ds4_special_ids;

/* `n_vocab` is the number of rows of the embedding; the token table must have exactly as many (0:
 * do not compare). FORMAT, naming the token or merge, when the counts differ, a token string occurs
 * twice, one of the 256 byte symbols is missing, or a merge is malformed, repeated, or made of
 * strings that are not tokens. Missing control tokens are no error here: see
 * ds4_tokenizer_require_chat. */
ds4_status ds4_tokenizer_create(const ds4_tokenizer_tables *tables, size_t n_vocab,
                                ds4_tokenizer **tokenizer, ds4_error *error);
void ds4_tokenizer_destroy(ds4_tokenizer *tokenizer); /* NULL is fine */

/* UNSUPPORTED, naming the first one that is missing, unless the vocabulary has all seven control
 * tokens of the chat template (all of ds4_special_ids but pad). */
ds4_status ds4_tokenizer_require_chat(const ds4_tokenizer *tokenizer, ds4_error *error);

const ds4_special_ids *ds4_tokenizer_special_ids(const ds4_tokenizer *tokenizer);
size_t ds4_tokenizer_n_tokens(const ds4_tokenizer *tokenizer);

/* The id whose token string (not: decoded bytes) is exactly these n bytes, or -1. */
int32_t ds4_tokenizer_find(const ds4_tokenizer *tokenizer, const char *string, size_t n);

/* Whether plain text may yield this id: it is a byte symbol or the result of a merge. All others
 * (control tokens, placeholders, padding) come only from a template or from a model. False for ids
 * out of range. */
bool ds4_tokenizer_is_ordinary(const ds4_tokenizer *tokenizer, int32_t id);

/* Appends the ids of the text. Nothing in it becomes a control token, whatever it spells. On error
 * (NO_MEMORY, or INVALID_ARGUMENT for 2 GiB and more) `out` is as it was. */
ds4_status ds4_tokenizer_encode(const ds4_tokenizer *tokenizer, const void *text, size_t n_bytes,
                                ds4_tokens *out, ds4_error *error);

/* The same for text that was rendered by a template: the strings of the seven control tokens that
 * the vocabulary has become these tokens, and what lies between them is encoded piece by piece as
 * plain text. */
ds4_status ds4_tokenizer_encode_special(const ds4_tokenizer *tokenizer, const void *text,
                                        size_t n_bytes, ds4_tokens *out, ds4_error *error);

/* The bytes that a token stands for, in the tokenizer's own storage (valid until it is destroyed).
 * A string that contains U+FF5C stands for itself, any other is mapped back to bytes. May be part
 * of a UTF-8 sequence, and may hold any byte. Empty for an id out of range. */
ds4_token_string ds4_tokenizer_token_bytes(const ds4_tokenizer *tokenizer, int32_t id);

/* Appends the bytes of n tokens as they are; look at out->failed once at the end. */
void ds4_tokenizer_decode(const ds4_tokenizer *tokenizer, const int32_t *ids, size_t n,
                          ds4_strbuf *out);

#endif
