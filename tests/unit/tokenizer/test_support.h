/* What cmocka wants included, a seeded random number, and UTF-8 writing, for the tests of this
 * room. */
#ifndef TEST_SUPPORT_H
#define TEST_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static inline uint64_t random_next(uint64_t *state) { /* splitmix64 */
    uint64_t x = (*state += 0x9e3779b97f4a7c15u);
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static inline size_t random_below(uint64_t *state, size_t n) {
    return (size_t)(random_next(state) % n);
}

/* Writes the code point as UTF-8 (surrogates too, as if they were allowed) and returns its length.
 */
static inline size_t put_utf8(uint8_t *target, uint32_t c) {
    if (c < 0x80) {
        target[0] = (uint8_t)c;
        return 1;
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const uint8_t lead[5] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = n; i-- > 1; c >>= 6) target[i] = (uint8_t)(0x80 | (c & 0x3f));
    target[0] = (uint8_t)(lead[n] | c);
    return n;
}

#endif
