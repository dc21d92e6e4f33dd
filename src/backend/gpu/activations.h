/* Activations for the matrix units. x times 16 is the sum of two halves, `high` and `low`: 22 bits
 * of it, so that products with weights, which are exact as halves, are those of float32 but for
 * rounding. A row of n columns: per block of 32 columns 64 bytes of high and 64 of low halves, in
 * the order of tiles.h; then, at byte 4 * width, per macro of 256 columns the sums of 16 columns
 * each, 32 bytes of high and 32 of low halves. `width` is n rounded up to whole macros; what is
 * beyond n stays zero. */
#ifndef DS4_BACKEND_GPU_ACTIVATIONS_H
#define DS4_BACKEND_GPU_ACTIVATIONS_H

#include "backend/gpu/tiles.h"

namespace GPU_NAMESPACE {

#define ACTIVATION_SCALE 16.0f

/* The same numbers twice: as floats for the portable kernels, split for the matrix units. Either is
 * NULL when no matrix of the model reads it. */
struct activation {
    float *plain;
    uint8_t *split;
    int n, width;       /* columns of a row; of a split row, in whole macros */
    int first;          /* column where this slice of the row begins, a multiple of 32 */
    uint32_t row_bytes; /* of a split row */
};

ANYWHERE int split_width(int n) {
    return (n + MACRO - 1) / MACRO * MACRO;
}

/* One macro more than the row: a slice at its end may be read in whole macros. */
ANYWHERE uint32_t split_row_bytes(int n) {
    uint32_t macros = (uint32_t)split_width(n) / MACRO + 1;
    return macros * (4 * MACRO + 64);
}

DEVICE uint8_t *split_row(const activation &a, int row) {
    return a.split + (size_t)row * a.row_bytes;
}

DEVICE uint32_t sums_offset(const activation &a) {
    return 4 * (uint32_t)(a.width + MACRO);
}

struct split_value {
    uint16_t high, low;
};

DEVICE split_value split(float x) {
    split_value s;
    x = fminf(fmaxf(x * ACTIVATION_SCALE, -65504.0f), 65504.0f);
    s.high = float_to_half_bits(x);
    s.low = float_to_half_bits(x - half_bits_to_float(s.high));
    return s;
}

/* The same of two numbers below 4,094: words of two high and of two low halves. */
DEVICE void split_small_pair(float x0, float x1, uint32_t *high, uint32_t *low) {
    x0 *= ACTIVATION_SCALE;
    x1 *= ACTIVATION_SCALE;
    *high = floats_half2(x0, x1);
    *low = floats_half2(x0 - half_bits_to_float((uint16_t)*high),
                        x1 - half_bits_to_float((uint16_t)(*high >> 16)));
}

/* Byte of an element's high half in a row; low ones are 64 further. */
DEVICE uint32_t split_offset(int column) {
    uint32_t e = (uint32_t)column & 31, t = e >> 3, s = e >> 2 & 1, h = e >> 1 & 1, l = e & 1;
    return ((uint32_t)column >> 5) * 128 + 2 * (16 * s + 8 * h + 2 * t + l);
}

DEVICE void store_split(uint8_t *row, int column, float x) {
    split_value s = split(x);
    uint8_t *to = row + split_offset(column);
    *(uint16_t *)to = s.high;
    *(uint16_t *)(to + 64) = s.low;
}

/* Columns `column` (even) and the next. */
DEVICE void store_split_pair(uint8_t *row, int column, float x0, float x1) {
    split_value a = split(x0), b = split(x1);
    uint8_t *to = row + split_offset(column);
    *(uint32_t *)to = a.high | (uint32_t)b.high << 16;
    *(uint32_t *)(to + 64) = a.low | (uint32_t)b.low << 16;
}

/* The sum of columns 16 group .. 16 group + 15. */
DEVICE void store_sum(const activation &a, uint8_t *row, int group, float sum) {
    uint32_t g = (uint32_t)group & 15, t = g >> 2, h = g >> 1 & 1, l = g & 1;
    split_value s = split(sum);
    uint8_t *to = row + sums_offset(a) + ((uint32_t)group >> 4) * 64 + 2 * (8 * h + 2 * t + l);
    *(uint16_t *)to = s.high;
    *(uint16_t *)(to + 32) = s.low;
}

/* Four columns of a row, in all forms, when `inside`. A whole warp calls it, with neighbouring
 * quads. */
DEVICE void store_quad(const activation &a, int row, int quad, float4 x, bool inside) {
    if (a.plain != nullptr && inside) ((float4 *)(a.plain + (size_t)row * (size_t)a.n))[quad] = x;
    if (a.split == nullptr) return;
    float sum = inside ? x.x + x.y + x.z + x.w : 0.0f;
    sum += warp_shuffle_xor(sum, 1);
    sum += warp_shuffle_xor(sum, 2);
    if (!inside) return;
    uint8_t *to = split_row(a, row);
    store_split_pair(to, 4 * quad, x.x, x.y);
    store_split_pair(to, 4 * quad + 2, x.z, x.w);
    if (quad % 4 == 0) store_sum(a, to, quad / 4, sum);
}

} // namespace GPU_NAMESPACE

#endif
