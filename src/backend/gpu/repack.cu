/* GGUF blocks to the two arrays of formats.h. Each thread moves what belongs to one block or group;
 * loads are bytes, for blocks begin anywhere. */
#include "backend/gpu/kernels.h"
#include "backend/gpu/tiles.h"

namespace GPU_NAMESPACE {

void tiled_strides(int type, int n, uint32_t *code_stride, uint32_t *scale_stride) {
    uint32_t macros = (uint32_t)(split_width(n) / MACRO);
    tile_bytes(type, code_stride, scale_stride);
    if (by_macros(type)) *code_stride += *scale_stride, *scale_stride = 0;
    *code_stride *= macros;
    *scale_stride *= macros;
}

void repacked_strides(int type, int n, uint32_t *code_stride, uint32_t *scale_stride) {
    uint32_t codes = 0, scales = 0, k = (uint32_t)n;
    switch (type) {
    case DS4_TYPE_F32:
        codes = 4 * k;
        break;
    case DS4_TYPE_F16:
    case DS4_TYPE_BF16:
        codes = 2 * k;
        break;
    case DS4_TYPE_Q8_0:
        codes = k, scales = k / 16;
        break;
    case DS4_TYPE_Q2_K:
        codes = k / 4, scales = k / 256 * 20;
        break;
    case DS4_TYPE_Q4_K:
        codes = k / 2, scales = k / 256 * 16;
        break;
    case DS4_TYPE_IQ2_XXS:
        codes = k / 4, scales = k / 256 * 6;
        break;
    case DS4_TYPE_MXFP4:
        codes = k / 2, scales = k / 32;
        break;
    default:
        break;
    }
    *code_stride = codes;
    *scale_stride = scales;
}

DEVICE void move(uint8_t *to, const uint8_t *from, int n) {
    for (int i = 0; i < n; i++) to[i] = from[i];
}

/* Seven sign bits are given, the eighth makes their number even. */
DEVICE void repack_iq2(uint8_t *codes, uint8_t *scales, const uint8_t *block) {
    move(scales, block, 2);
    for (int g = 0; g < 8; g++) {
        const uint8_t *group = block + 2 + 8 * g;
        uint32_t signs = (uint32_t)group[4] | (uint32_t)group[5] << 8 | (uint32_t)group[6] << 16 |
                         (uint32_t)group[7] << 24;
        move(codes + 8 * g, group, 4);
        for (int k = 0; k < 4; k++) {
            uint32_t t = signs >> (7 * k) & 127, parity = t ^ t >> 4;
            parity ^= parity >> 2;
            parity ^= parity >> 1;
            codes[8 * g + 4 + k] = (uint8_t)(t | (parity & 1) << 7);
        }
        uint8_t scale = (uint8_t)(signs >> 28);
        scales[2 + g / 2] = (uint8_t)(g % 2 == 0 ? scale : scales[2 + g / 2] | scale << 4);
    }
}

/* ---- tiles.h ---- */

/* Where a row's part of a tile and macro lies: g and upper of tiles.h. */
struct tile_place {
    uint8_t *codes, *scales;
    int g, upper;
};

DEVICE void tile_q8(const tile_place &to, const uint8_t *from, int n_blocks) {
    for (int b = 0; b < n_blocks; b++) {
        const uint8_t *block = from + 34 * b;
        move(to.scales + b / 4 * 128 + (4 * to.g + b % 4) * 4 + to.upper * 2, block, 2);
        for (int t = 0; t < 4; t++)
            for (int i = 0; i < 8; i++)
                to.codes[b * 512 + (4 * to.g + t) * 16 + to.upper * 8 + i] =
                    (uint8_t)(block[2 + 8 * t + i] ^ 0x80); /* + 128 */
    }
}

DEVICE void tile_f16(const tile_place &to, const uint8_t *from, int n) {
    for (int e = 0; e < n; e++)
        move(to.codes + e / 32 * 1024 + to.upper * 512 + (4 * to.g + e % 32 / 8) * 16 + e % 8 * 2,
             from + 2 * e, 2);
}

/* Scales of eight blocks as bytes: block b low, block 4 + b high. */
DEVICE uint8_t scale_byte(const uint8_t *packed, int b) { /* packed: two to a byte, in order */
    int shift = b % 2 * 4;
    return (uint8_t)((packed[b / 2] >> shift & 15) | (packed[2 + b / 2] >> shift & 15) << 4);
}

DEVICE void tile_iq2(const tile_place &to, const uint8_t *block) {
    uint8_t codes[64], scales[6];
    repack_iq2(codes, scales, block);
    for (int b = 0; b < 8; b++)
        for (int t = 0; t < 4; t++) {
            uint8_t *at = to.codes + b / 4 * 512 + (4 * to.g + t) * 16 + b % 4 * 4;
            uint32_t row = codes[8 * b + t], signs = codes[8 * b + 4 + t];
            uint32_t word = row << (to.upper ? 23 : 7);
            for (int e = 0; e < 8; e++) word |= (signs >> e & 1) << iq2_sign_bit(e, to.upper);
            atomic_add((uint32_t *)at, word); /* rows g and g + 8 share a word of zeros */
        }
    for (int b = 0; b < 4; b++) to.scales[to.upper * 32 + to.g * 4 + b] = scale_byte(scales + 2, b);
    move(to.scales + 64 + to.g * 4 + to.upper * 2, scales, 2);
}

DEVICE void tile_q2_k(const tile_place &to, const uint8_t *block) {
    const uint8_t *codes = block + 16;
    for (int b = 0; b < 8; b++)
        for (int t = 0; t < 4; t++) {
            uint32_t even = 0, odd = 0;
            for (int j = 0; j < 8; j++) {
                uint32_t code = (uint32_t)codes[b / 4 * 32 + 8 * t + j] >> (2 * (b % 4)) & 3u;
                if (j % 2 == 0)
                    even |= code << j;
                else
                    odd |= code << (j - 1);
            }
            uint8_t *word = to.codes + b / 4 * 512 + (4 * to.g + t) * 16 + b % 4 * 4 + to.upper;
            word[0] = (uint8_t)even;
            word[2] = (uint8_t)odd;
        }
    for (int h = 0; h < 2; h++)
        for (int b = 0; b < 4; b++)
            to.scales[((to.g * 2 + h) * 2 + to.upper) * 4 + b] =
                (uint8_t)((block[2 * b + h] & 15) | (block[8 + 2 * b + h] & 15) << 4);
    for (int t = 0; t < 4; t++)
        for (int i = 0; i < 2; i++)
            to.scales[128 + (4 * to.g + t) * 4 + to.upper * 2 + i] =
                (uint8_t)(block[4 * t + 2 * i] >> 4 | (block[4 * t + 2 * i + 1] & 0xf0));
    move(to.scales + 256 + to.g * 8 + to.upper * 4, block + 80, 4);
}

struct repack_arguments {
    const uint8_t *source;
    size_t row_bytes, first_row, n_rows;
    matrix m;
};

/* A thread does a row's macro. Rows of a matrix are counted through all experts. */
KERNEL tile_kernel(repack_arguments a) {
    next_launch();
    previous_launch();
    const matrix &m = a.m;
    size_t macros = (size_t)(split_width(m.n_in) / MACRO), n = macros * a.n_rows;
    for (size_t i = (size_t)block_x() * (size_t)block_threads() + (size_t)thread_index(); i < n;
         i += (size_t)block_threads() * 1024) {
        size_t row = i / macros, macro = i % macros, at = a.first_row + row;
        size_t local = at % (size_t)m.n_out;
        int left = m.n_in - (int)macro * MACRO;
        if (left > MACRO) left = MACRO;
        const uint8_t *from = a.source + row * a.row_bytes;
        macro_place place =
            place_of(m, (int)(at / (size_t)m.n_out), (int)(local / TILE), (int)macro);
        tile_place to = {(uint8_t *)place.codes, (uint8_t *)place.scales, (int)(local % 8),
                         (int)(local % TILE / 8)};
        if (m.type == DS4_TYPE_Q8_0)
            tile_q8(to, from + macro * 8 * 34, left / 32);
        else if (m.type == DS4_TYPE_F16)
            tile_f16(to, from + macro * 512, left);
        else if (m.type == DS4_TYPE_IQ2_XXS)
            tile_iq2(to, from + macro * 66);
        else
            tile_q2_k(to, from + macro * 84);
    }
}

KERNEL repack_kernel(repack_arguments a) {
    next_launch();
    previous_launch();
    const matrix &m = a.m;
    int element = m.type == DS4_TYPE_F32 ? 4 : 2;
    bool plain = m.type == DS4_TYPE_F32 || m.type == DS4_TYPE_F16 || m.type == DS4_TYPE_BF16;
    int block = m.type == DS4_TYPE_Q8_0 || m.type == DS4_TYPE_MXFP4 || plain ? 32 : 256;
    size_t per_row = (size_t)(m.n_padded / block), n = per_row * a.n_rows;
    size_t stride = (size_t)block_threads() * 1024;
    for (size_t i = (size_t)block_x() * (size_t)block_threads() + (size_t)thread_index(); i < n;
         i += stride) {
        size_t row = i / per_row, b = i % per_row;
        const uint8_t *from = a.source + row * a.row_bytes;
        uint8_t *codes = (uint8_t *)m.codes + (a.first_row + row) * m.code_stride;
        uint8_t *scales = (uint8_t *)m.scales + (a.first_row + row) * m.scale_stride;
        switch (m.type) {
        case DS4_TYPE_Q8_0:
            move(scales + 2 * b, from + 34 * b, 2);
            move(codes + 32 * b, from + 34 * b + 2, 32);
            break;
        case DS4_TYPE_Q2_K:
            move(scales + 20 * b, from + 84 * b, 16);
            move(scales + 20 * b + 16, from + 84 * b + 80, 4);
            move(codes + 64 * b, from + 84 * b + 16, 64);
            break;
        case DS4_TYPE_Q4_K:
            move(scales + 16 * b, from + 144 * b, 16);
            move(codes + 128 * b, from + 144 * b + 16, 128);
            break;
        case DS4_TYPE_IQ2_XXS:
            repack_iq2(codes + 64 * b, scales + 6 * b, from + 66 * b);
            break;
        case DS4_TYPE_MXFP4:
            move(scales + b, from + 17 * b, 1);
            move(codes + 16 * b, from + 17 * b + 1, 16);
            break;
        default: {
            int first = (int)b * 32, left = m.n_in - first < 32 ? m.n_in - first : 32;
            for (int k = 0; k < 32 * element; k++)
                codes[first * element + k] = k < left * element ? from[first * element + k] : 0;
            break;
        }
        }
    }
}

void repack_run(device *d, int type, const uint8_t *source, size_t row_bytes, const matrix &m,
                size_t first_row, size_t n_rows) {
    (void)type;
    repack_arguments a = {source, row_bytes, first_row, n_rows, m};
    size_t work = n_rows * (size_t)m.n_padded / (m.tiled ? 256 : 32) + n_rows;
    size_t blocks = (work + 255) / 256;
    launch(d, m.tiled ? tile_kernel : repack_kernel,
           dim3((unsigned)(blocks < 1024 ? blocks : 1024)), 256, 0, a);
}

} // namespace GPU_NAMESPACE
