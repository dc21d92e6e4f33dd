/* Any bytes encode; plain encoding gives only ordinary tokens and comes back unchanged; the special
 * encoding comes back unchanged too; the streamed text does not depend on where the tokens cut it.
 */
#include <stdlib.h>
#include <string.h>

#include "../unit/tokenizer/tiny_vocabulary.h"
#include "tokenizer/detokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds) {
    if (!holds) abort();
}

static void require_equal(const ds4_strbuf *got, const void *expected, size_t n) {
    require(!got->failed && got->n == n);
    require(n == 0 || memcmp(got->data, expected, n) == 0);
}

static void check(const ds4_tokenizer *tokenizer, const uint8_t *data, size_t size,
                  const ds4_tokens *ids) {
    ds4_strbuf back = {0}, whole = {0}, streamed = {0};
    ds4_tokenizer_decode(tokenizer, ids->ids, ids->n, &back);
    require_equal(&back, data, size);
    ds4_detokenizer detokenizer;
    ds4_detokenizer_init(&detokenizer, tokenizer);
    ds4_detokenizer_push_bytes(&detokenizer, data, size, &whole);
    ds4_detokenizer_finish(&detokenizer, &whole);
    for (size_t i = 0; i < ids->n; i++) ds4_detokenizer_push(&detokenizer, ids->ids[i], &streamed);
    ds4_detokenizer_finish(&detokenizer, &streamed);
    require_equal(&streamed, whole.data, whole.n);
    ds4_strbuf_free(&back);
    ds4_strbuf_free(&whole);
    ds4_strbuf_free(&streamed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static ds4_tokenizer *tokenizer; /* made once: the fuzzer calls millions of times */
    if (tokenizer == NULL) {
        static tiny_vocabulary vocabulary;
        tiny_fill(&vocabulary);
        require(ds4_tokenizer_create(&vocabulary.tables, TINY_N_TOKENS, &tokenizer, NULL) ==
                DS4_OK);
    }
    ds4_tokens plain = {0}, special = {0};
    require(ds4_tokenizer_encode(tokenizer, data, size, &plain, NULL) == DS4_OK);
    for (size_t i = 0; i < plain.n; i++)
        require(ds4_tokenizer_is_ordinary(tokenizer, plain.ids[i]));
    check(tokenizer, data, size, &plain);
    require(ds4_tokenizer_encode_special(tokenizer, data, size, &special, NULL) == DS4_OK);
    check(tokenizer, data, size, &special);
    ds4_tokens_free(&plain);
    ds4_tokens_free(&special);
    return 0;
}
