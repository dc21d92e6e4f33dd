/* Q8_0 in SIMD words (q8_0.c states the format). */
#ifndef DS4_QUANT_WORDS_Q8_0_H
#define DS4_QUANT_WORDS_Q8_0_H

#include "quant/simd.h"

typedef struct {
    f32x16 d;
} q8_0_state;

static inline void q8_0_prepare(const uint8_t *block, q8_0_state *state) {
    state->d = f_set1(f16_scalar(block));
}

/* The 32 weights of group g (here always 0) of a prepared block. */
static inline void q8_0_words(const uint8_t *block, const q8_0_state *state, size_t g,
                              f32x16 w[2]) {
    (void)g;
    w[0] = f_mul(f_load_s8(block + 2), state->d);
    w[1] = f_mul(f_load_s8(block + 18), state->d);
}

static inline ds4_block_product q8_0_product(const uint8_t *block, const int8_t *codes,
                                             const int16_t *sums16) {
    (void)sums16;
    i32acc acc = i_dot(i_zero(), b_load(block + 2), b_load(codes));
    return (ds4_block_product){.dot = i_sum(acc), .scale = f16_scalar(block)};
}

#endif
