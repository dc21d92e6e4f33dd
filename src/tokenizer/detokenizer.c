#include "tokenizer/detokenizer.h"

#include "tokenizer/unicode.h"

static const char REPLACEMENT[] = "\xef\xbf\xbd"; /* U+FFFD */

void ds4_detokenizer_init(ds4_detokenizer *detokenizer, const ds4_tokenizer *tokenizer) {
    *detokenizer = (ds4_detokenizer){.tokenizer = tokenizer};
}

static void begin_character(ds4_detokenizer *detokenizer, uint8_t byte, ds4_strbuf *out) {
    size_t length = ds4_utf8_length(byte);
    if (length == 0) {
        ds4_strbuf_puts(out, REPLACEMENT);
    } else if (length == 1) {
        ds4_strbuf_putc(out, (char)byte);
    } else {
        detokenizer->pending[0] = byte;
        detokenizer->n_pending = 1;
        detokenizer->n_expected = (uint8_t)length;
    }
}

/* Whether `byte` continues the pending bytes towards a well-formed sequence. */
static bool continues(const ds4_detokenizer *detokenizer, uint8_t byte) {
    if (detokenizer->n_pending == 1)
        return ds4_utf8_second_fits(detokenizer->pending[0], byte) != 0;
    return (byte & 0xc0) == 0x80;
}

void ds4_detokenizer_push_bytes(ds4_detokenizer *detokenizer, const void *bytes, size_t n,
                                ds4_strbuf *out) {
    const uint8_t *next = bytes;
    for (size_t i = 0; i < n; i++) {
        if (detokenizer->n_pending > 0 && continues(detokenizer, next[i])) {
            detokenizer->pending[detokenizer->n_pending++] = next[i];
            if (detokenizer->n_pending < detokenizer->n_expected) continue;
            ds4_strbuf_append(out, detokenizer->pending, detokenizer->n_pending);
            detokenizer->n_pending = 0;
            continue;
        }
        ds4_detokenizer_finish(detokenizer,
                               out); /* what was pending cannot become a character any more */
        begin_character(detokenizer, next[i], out);
    }
}

void ds4_detokenizer_push(ds4_detokenizer *detokenizer, int32_t id, ds4_strbuf *out) {
    ds4_token_string bytes = ds4_tokenizer_token_bytes(detokenizer->tokenizer, id);
    ds4_detokenizer_push_bytes(detokenizer, bytes.data, bytes.n, out);
}

void ds4_detokenizer_finish(ds4_detokenizer *detokenizer, ds4_strbuf *out) {
    if (detokenizer->n_pending > 0) ds4_strbuf_puts(out, REPLACEMENT);
    detokenizer->n_pending = 0;
}
