#include "tokenizer/unicode.h"

uint8_t ds4_unicode_classes(uint32_t code_point) {
    if (code_point < DS4_UNICODE_DIRECT) return ds4_unicode_direct[code_point];
    size_t low = 0, high = ds4_unicode_n_ranges;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const ds4_unicode_range *range = &ds4_unicode_ranges[middle];
        if (code_point < range->first)
            high = middle;
        else if (code_point > range->last)
            low = middle + 1;
        else
            return range->classes;
    }
    return 0;
}

size_t ds4_utf8_length(uint8_t lead) {
    if (lead < 0x80) return 1;
    if (lead < 0xc2) return 0; /* continuation bytes; C0 and C1 would be overlong */
    if (lead < 0xe0) return 2;
    if (lead < 0xf0) return 3;
    return lead < 0xf5 ? 4 : 0;
}

/* The second byte carries the bounds of the whole code point (Unicode Standard, table 3-7). */
int ds4_utf8_second_fits(uint8_t lead, uint8_t byte) {
    uint8_t first = 0x80, last = 0xbf;
    if (lead == 0xe0) first = 0xa0; /* below: overlong */
    if (lead == 0xed) last = 0x9f;  /* above: surrogates */
    if (lead == 0xf0) first = 0x90; /* below: overlong */
    if (lead == 0xf4) last = 0x8f;  /* above: beyond U+10FFFF */
    return first <= byte && byte <= last;
}

size_t ds4_utf8_next(const uint8_t *text, size_t n, uint32_t *code_point) {
    uint8_t lead = text[0];
    if (lead < 0x80) {
        *code_point = lead;
        return 1;
    }
    size_t length = ds4_utf8_length(lead);
    *code_point = DS4_NOT_A_CHARACTER;
    if (length == 0 || length > n || !ds4_utf8_second_fits(lead, text[1])) return 1;
    uint32_t value = lead & (0x7fu >> length);
    for (size_t i = 1; i < length; i++) {
        if ((text[i] & 0xc0) != 0x80) return 1;
        value = value << 6 | (text[i] & 0x3fu);
    }
    *code_point = value;
    return length;
}
