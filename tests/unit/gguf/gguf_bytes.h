/* Hand-made GGUF bytes for the tests of this room: well-formed pieces, put together well or badly.
 */
#ifndef DS4_TESTS_GGUF_BYTES_H
#define DS4_TESTS_GGUF_BYTES_H

#include <string.h>

#include "base/strbuf.h"
#include "gguf/gguf_reader.h"

static inline void put_u8(ds4_strbuf *b, unsigned v) {
    ds4_strbuf_putc(b, (char)(uint8_t)v);
}

static inline void put_u16(ds4_strbuf *b, unsigned v) {
    put_u8(b, v & 255);
    put_u8(b, v >> 8);
}

static inline void put_u32(ds4_strbuf *b, uint32_t v) {
    for (int i = 0; i < 4; i++) put_u8(b, v >> 8 * i & 255);
}

static inline void put_u64(ds4_strbuf *b, uint64_t v) {
    put_u32(b, (uint32_t)v);
    put_u32(b, (uint32_t)(v >> 32));
}

static inline void put_f32(ds4_strbuf *b, float v) {
    uint32_t bits;
    memcpy(&bits, &v, 4);
    put_u32(b, bits);
}

static inline void put_f64(ds4_strbuf *b, double v) {
    uint64_t bits;
    memcpy(&bits, &v, 8);
    put_u64(b, bits);
}

static inline void put_text(ds4_strbuf *b, const char *text) {
    put_u64(b, strlen(text));
    ds4_strbuf_puts(b, text);
}

static inline void put_header(ds4_strbuf *b, uint32_t version, uint64_t n_tensors,
                              uint64_t n_values) {
    ds4_strbuf_append(b, "GGUF", 4);
    put_u32(b, version);
    put_u64(b, n_tensors);
    put_u64(b, n_values);
}

/* Key and type; the value follows by the caller's hand. */
static inline void put_key(ds4_strbuf *b, const char *key, uint32_t type) {
    put_text(b, key);
    put_u32(b, type);
}

static inline void put_array_key(ds4_strbuf *b, const char *key, uint32_t type, uint64_t count) {
    put_key(b, key, DS4_GGUF_ARRAY);
    put_u32(b, type);
    put_u64(b, count);
}

static inline void put_tensor(ds4_strbuf *b, const char *name, uint32_t n_dims, const uint64_t *ne,
                              uint32_t type, uint64_t offset) {
    put_text(b, name);
    put_u32(b, n_dims);
    for (uint32_t i = 0; i < n_dims; i++) put_u64(b, ne[i]);
    put_u32(b, type);
    put_u64(b, offset);
}

static inline void put_zeros(ds4_strbuf *b, size_t n) {
    for (size_t i = 0; i < n; i++) put_u8(b, 0);
}

/* Zeros up to the next multiple of n. */
static inline void pad_to(ds4_strbuf *b, size_t n) {
    while (b->n % n != 0) put_u8(b, 0);
}

#endif
