/* Text to ids and ids to bytes. */
#include <string.h>

#include "base/error.h"
#include "tokenizer/pretokenizer.h"
#include "tokenizer/tokenizer_internal.h"

static ds4_status encode_plain(const ds4_tokenizer *tokenizer, const uint8_t *text, size_t n_bytes,
                               ds4_bpe_scratch *scratch, ds4_tokens *out, ds4_error *error) {
    ds4_pretokenizer pieces = {.text = text, .n_bytes = n_bytes};
    ds4_status status = DS4_OK;
    for (size_t n; status == DS4_OK && (n = ds4_pretokenizer_next(&pieces)) > 0;)
        status = ds4_bpe_encode(&tokenizer->merges, tokenizer->byte_ids, text + pieces.position - n,
                                n, scratch, out, error);
    return status;
}

/* The control token that text[0..n) begins with, or NULL. */
static const ds4_control_token *match_control(const ds4_tokenizer *tokenizer, const uint8_t *text,
                                              size_t n) {
    if (text[0] != '<' && text[0] != 0xef) return NULL; /* how all of them begin */
    for (size_t i = 0; i < DS4_N_CONTROL; i++) {
        const ds4_control_token *control = &tokenizer->control[i];
        if (control->id >= 0 && control->n <= n && memcmp(text, control->string, control->n) == 0)
            return control;
    }
    return NULL;
}

static ds4_status encode_rendered(const ds4_tokenizer *tokenizer, const uint8_t *text,
                                  size_t n_bytes, ds4_bpe_scratch *scratch, ds4_tokens *out,
                                  ds4_error *error) {
    ds4_status status = DS4_OK;
    size_t begin = 0, at = 0;
    while (at < n_bytes && status == DS4_OK) {
        const ds4_control_token *control = match_control(tokenizer, text + at, n_bytes - at);
        if (control == NULL) {
            at++;
            continue;
        }
        status = encode_plain(tokenizer, text + begin, at - begin, scratch, out, error);
        if (status == DS4_OK) status = ds4_tokens_push(out, control->id, error);
        at += control->n;
        begin = at;
    }
    if (status != DS4_OK) return status;
    return encode_plain(tokenizer, text + begin, n_bytes - begin, scratch, out, error);
}

typedef ds4_status (*encode_fn)(const ds4_tokenizer *, const uint8_t *, size_t, ds4_bpe_scratch *,
                                ds4_tokens *, ds4_error *);

/* Positions in a piece are 32-bit, hence the limit. */
static ds4_status encode_with(encode_fn encode, const ds4_tokenizer *tokenizer, const void *text,
                              size_t n_bytes, ds4_tokens *out, ds4_error *error) {
    if (n_bytes > INT32_MAX)
        return ds4_fail(error, DS4_INVALID_ARGUMENT,
                        "a text of %zu bytes is too long: the limit is %d", n_bytes, INT32_MAX);
    if (n_bytes == 0) return DS4_OK;
    size_t n_before = out->n;
    ds4_bpe_scratch scratch = {0};
    ds4_status status = encode(tokenizer, text, n_bytes, &scratch, out, error);
    ds4_bpe_scratch_free(&scratch);
    if (status != DS4_OK) out->n = n_before;
    return status;
}

ds4_status ds4_tokenizer_encode(const ds4_tokenizer *tokenizer, const void *text, size_t n_bytes,
                                ds4_tokens *out, ds4_error *error) {
    return encode_with(encode_plain, tokenizer, text, n_bytes, out, error);
}

ds4_status ds4_tokenizer_encode_special(const ds4_tokenizer *tokenizer, const void *text,
                                        size_t n_bytes, ds4_tokens *out, ds4_error *error) {
    return encode_with(encode_rendered, tokenizer, text, n_bytes, out, error);
}

void ds4_tokenizer_decode(const ds4_tokenizer *tokenizer, const int32_t *ids, size_t n,
                          ds4_strbuf *out) {
    for (size_t i = 0; i < n; i++) {
        ds4_token_string bytes = ds4_tokenizer_token_bytes(tokenizer, ids[i]);
        ds4_strbuf_append(out, bytes.data, bytes.n);
    }
}
