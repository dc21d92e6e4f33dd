/* A vocabulary small enough to reason about: the 256 byte symbols, the results of a few merges, and
 * control tokens. Some merges lead into each other, some compete, one crosses a UTF-8 character. */
#ifndef TINY_VOCABULARY_H
#define TINY_VOCABULARY_H

#include <stdio.h>
#include <string.h>

#include "tokenizer/tokenizer.h"

#define BAR          "\xef\xbd\x9c"
#define BLANK        "\xe2\x96\x81"
#define BLANK_SYMBOL "\xc4\xa0" /* U+0120: the byte 0x20 */
#define LINE_SYMBOL  "\xc4\x8a" /* U+010A: the byte 0x0a */

static const char *const tiny_merges[] = {
    "a a",
    "h e",
    "l l",
    "he ll",
    "hell o",
    BLANK_SYMBOL " hello",
    "aa a",
    "aa aa",
    "b c",
    "a b",
    "ab c",
    "t h",
    "th i",
    "thi n",
    "thin k",
    LINE_SYMBOL " " LINE_SYMBOL,
    BLANK_SYMBOL " " BLANK_SYMBOL,
    /* the bytes e4 bd a0 (U+4F60): first with second, then with third */
    "\xc3\xa4 \xc2\xbd",
    "\xc3\xa4\xc2\xbd \xc5\x82",
    "1 2",
    "12 3",
    "< think",
    "( )",
};

static const char *const tiny_controls[] = {
    "<" BAR "begin" BLANK "of" BLANK "sentence" BAR ">",
    "<" BAR "end" BLANK "of" BLANK "sentence" BAR ">",
    "<" BAR BLANK "pad" BLANK BAR ">",
    "<" BAR "User" BAR ">",
    "<" BAR "Assistant" BAR ">",
    "<think>",
    "</think>",
    BAR "DSML" BAR,
    "<|EOT|>",
};

enum {
    TINY_N_MERGES = sizeof tiny_merges / sizeof tiny_merges[0],
    TINY_N_CONTROLS = sizeof tiny_controls / sizeof tiny_controls[0],
    TINY_FIRST_CONTROL =
        0, /* controls come first, then byte symbols, then results of merges in order */
    TINY_FIRST_BYTE = TINY_N_CONTROLS,
    TINY_FIRST_MERGE = TINY_FIRST_BYTE + 256,
    TINY_N_TOKENS = TINY_FIRST_MERGE + TINY_N_MERGES,
};

typedef struct tiny_vocabulary {
    char text[TINY_N_TOKENS][64];
    ds4_token_string tokens[TINY_N_TOKENS];
    ds4_token_string merges[TINY_N_MERGES];
    ds4_tokenizer_tables tables;
} tiny_vocabulary;

static inline unsigned tiny_symbol(unsigned byte) {
    if ((byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte != 0xad)) return byte;
    unsigned n = 0;
    for (unsigned b = 0; b < byte; b++)
        n += (b < 0x21 || (b > 0x7e && b < 0xa1) || b == 0xad) ? 1 : 0;
    return 0x100 + n;
}

static inline void tiny_put(tiny_vocabulary *v, size_t id, const char *text) {
    snprintf(v->text[id], sizeof v->text[id], "%s", text);
    v->tokens[id] = (ds4_token_string){v->text[id], strlen(v->text[id])};
}

static inline void tiny_fill(tiny_vocabulary *v) {
    for (size_t i = 0; i < TINY_N_CONTROLS; i++)
        tiny_put(v, TINY_FIRST_CONTROL + i, tiny_controls[i]);
    for (unsigned byte = 0; byte < 256; byte++) {
        unsigned c = tiny_symbol(byte);
        char text[3] = {(char)c, 0, 0};
        if (c >= 0x80) {
            text[0] = (char)(0xc0 | c >> 6);
            text[1] = (char)(0x80 | (c & 0x3f));
        }
        tiny_put(v, TINY_FIRST_BYTE + byte, text);
    }
    for (size_t i = 0; i < TINY_N_MERGES; i++) {
        const char *merge = tiny_merges[i], *space = strchr(merge, ' ');
        char text[64];
        snprintf(text, sizeof text, "%.*s%s", (int)(space - merge), merge, space + 1);
        tiny_put(v, TINY_FIRST_MERGE + i, text);
        v->merges[i] = (ds4_token_string){merge, strlen(merge)};
    }
    v->tables = (ds4_tokenizer_tables){v->tokens, TINY_N_TOKENS, v->merges, TINY_N_MERGES};
}

static inline int32_t tiny_byte(unsigned byte) {
    return (int32_t)(TINY_FIRST_BYTE + byte);
}

#endif
