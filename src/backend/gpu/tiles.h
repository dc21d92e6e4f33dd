/* Weights for the matrix units. A `tile` is 16 rows; its weights lie in the order in which the
 * lanes of a warp take them, so that each load is one run of 512 bytes (repack.cu makes them, bit
 * by bit the same numbers as in the file).
 *
 * Lane 4 g + t takes rows g and g + 8, of each 32 columns elements 8 t .. 8 t + 7. Element
 * e = 8 t + 4 s + 2 h + l of 32 stands at column 2 t + 8 h + l of matrix-unit step s. Activations
 * are stored in that order (activations.h): a sum of products does not mind the order.
 *
 * Codes and scales of a tile are two arrays, except where macros have factors (IQ2_XXS, Q2_K):
 * there a macro of all tiles of a matrix lies side by side, codes and scales together, so that one
 * copy brings it of several tiles.
 *
 * Per tile and 256 columns (`macro`), in two halves of 128:
 *   Q8_0     codes + 128, 8 x 512: lane: 8 of row g, 8 of row g + 8; scales 2 x 128: word of lane
 *            (g, t): f16 of rows g, g + 8 in block t
 *   F16      codes 16 x 512: per block of 32: row g, then row g + 8
 *   IQ2_XXS  codes 2 x 512: word b of a lane, for block b: code book rows of row g (bits 7 to 14)
 *            and of row g + 8 (bits 23 to 30); in the other bits signs, where iq2_sign_bit says;
 *            scales 96: words [3][g]: 4-bit scales of row g, of g + 8, f16 d of both. Byte b of
 *            such scales: of block b low, of block 4 + b high
 *   Q2_K     codes 2 x 512: word b: 2 bits per weight, even elements low, odd ones 16 bits up, row
 *            g in the low byte; scales 320: [g][t / 2][2]: 4-bit scales of rows g, g + 8, bytes as
 *            above; [g][t]: four 4-bit minima of each; [g][2]: f16 d and dmin of row g, of row g +
 * 8
 *
 * What is multiplied are whole numbers, exact as halves; `factor` per block or macro comes after:
 *   Q8_0 codes; IQ2_XXS (2 s + 1) x {8, 25, 43}, by 2^-15; Q2_K scale x code, by 2^-16, and minus
 *   dmin times the minima times the sums of 16 activations each. (A small whole number in the low
 *   bits of a half is one by 2^-24: its place there costs no instruction.)
 *
 * The order of a sum: macros with their factors one after the other; without such factors blocks
 * (or steps of 16 columns) of a chunk one after the other, then chunks. */
#ifndef DS4_BACKEND_GPU_TILES_H
#define DS4_BACKEND_GPU_TILES_H

#include "backend/gpu/formats.h"

namespace GPU_NAMESPACE {

enum {
    TILE = 16,
    MACRO = 256,
    HALF = 128,       /* columns whose weights a lane loads at once */
    CHUNK_MACROS = 4, /* without factors of macros, columns are summed in chunks of so many */
    CHUNK = CHUNK_MACROS * MACRO,
    HALVES = CHUNK / HALF,
    IQ2_ROW = 4, /* words of a code book row: eight halves */
    IQ2_COPIES = 8,
    IQ2_TABLE = IQ2_GRID * IQ2_ROW * IQ2_COPIES, /* words */
    IQ2_AT = 0x7f80 /* a row number in bits 7 to 14 is its place in the table, in bytes */
};

ANYWHERE bool is_tiled_type(int type) {
    return type == DS4_TYPE_Q8_0 || type == DS4_TYPE_F16 || type == DS4_TYPE_IQ2_XXS ||
           type == DS4_TYPE_Q2_K;
}

/* Half pairs of bytes b0, b1 (which are 128 too large) and b2, b3. */
DEVICE uint32_t bytes_half2(uint32_t word, uint32_t selector) {
    return half2_subtract(byte_mix(word, in_register<0x64646464>(), selector), 0x64806480u);
}

/* Bits of the signs of elements 2 p and 2 p + 1 of eight; `upper`: of row g + 8. Shifted left by
 * iq2_sign_shift they are the signs of the two halves of a word. */
ANYWHERE int iq2_sign_shift(int p, int upper) {
    return upper ? 12 + p : p == 0 ? 0 : 8 + p;
}
ANYWHERE int iq2_sign_bit(int element, int upper) {
    return (element % 2 ? 31 : 15) - iq2_sign_shift(element / 2, upper);
}

/* Of device memory, or of shared memory where a kernel has put them. */
template <int SHARED_MEMORY, typename T> DEVICE T load_word(const T *p) {
    return SHARED_MEMORY ? *p : stream_load(p);
}

/* A lane's copy of the code book, where kernels ask for `table`. */
DEVICE const uint8_t *lane_table(const uint32_t *table) {
    return (const uint8_t *)(table + IQ2_ROW * (lane_index() % IQ2_COPIES));
}

/* The code book of IQ2_XXS in shared memory, one copy for each of the lanes that a load of 16 bytes
 * serves at once, so that no two of them meet in a bank. Rows are halves, 8, 25 and 43 by 2^9; they
 * follow the digits of formats.h in `code_book`. */
DEVICE void fill_iq2_table(uint32_t *table, const uint32_t *code_book) {
    enum { AT_ONCE = 4, N = IQ2_GRID * IQ2_COPIES };
    const uint4 *rows = (const uint4 *)(code_book + IQ2_GRID);
    NOT_UNROLLED
    for (int i0 = thread_index(); i0 < N; i0 += AT_ONCE * block_threads()) {
        uint4 row[AT_ONCE];
        UNROLL
        for (int k = 0; k < AT_ONCE; k++) {
            int i = i0 + k * block_threads();
            if (i < N) row[k] = stream_load(rows + i / IQ2_COPIES);
        }
        UNROLL
        for (int k = 0; k < AT_ONCE; k++) {
            int i = i0 + k * block_threads();
            if (i < N) ((uint4 *)table)[i] = row[k];
        }
    }
}

/* Per format: what a lane loads of half a macro (`load`: half number `half` of `codes`, half `part`
 * of its macro; where macros have factors both bases are the macro's; `next_block`: the second of
 * its blocks becomes the first), the words of a block of 32 (two steps of four words), and
 * what comes after a block (BLOCK_FACTOR: Q8_0) or a macro (factors of rows g and g + 8). */
template <int TYPE> struct tile_format;

template <> struct tile_format<DS4_TYPE_Q8_0> {
    enum { CODE_BYTES = 4096, SCALE_BYTES = 256, BLOCK_FACTOR = 1, MACRO_FACTOR = 0, MINIMA = 0 };
    struct half_data {
        uint4 codes[4];
        uint32_t scales;
    };
    template <int M>
    DEVICE void load(half_data &d, const uint8_t *codes, const uint8_t *scales, int half, int) {
        const uint4 *from = (const uint4 *)codes + half * 4 * WARP + lane_index();
        UNROLL
        for (int b = 0; b < 4; b++) d.codes[b] = load_word<M>(from + b * WARP);
        d.scales = load_word<M>((const uint32_t *)scales + half * WARP + lane_index());
    }
    DEVICE void load_codes(half_data &d, const uint8_t *codes) { /* from shared memory */
        UNROLL
        for (int b = 0; b < 4; b++) d.codes[b] = ((const uint4 *)codes)[b * WARP + lane_index()];
    }
    DEVICE void block(const half_data &d, int b, const uint8_t *, uint32_t (*a)[4]) {
        const uint4 &c = d.codes[b];
        a[0][0] = bytes_half2(c.x, 0x4140);
        a[0][1] = bytes_half2(c.z, 0x4140);
        a[0][2] = bytes_half2(c.x, 0x4342);
        a[0][3] = bytes_half2(c.z, 0x4342);
        a[1][0] = bytes_half2(c.y, 0x4140);
        a[1][1] = bytes_half2(c.w, 0x4140);
        a[1][2] = bytes_half2(c.y, 0x4342);
        a[1][3] = bytes_half2(c.w, 0x4342);
    }
    DEVICE float2 block_factor(const half_data &d, int b) {
        return factor_of((uint32_t)warp_shuffle((int)d.scales, (lane_index() & ~3) + b));
    }
    DEVICE float2 factor_of(uint32_t word) {
        return float2{half_bits_to_float((uint16_t)word),
                      half_bits_to_float((uint16_t)(word >> 16))};
    }
    /* From shared memory: the words of the four blocks of half a macro, without other lanes. */
    DEVICE uint4 half_factors(const uint8_t *scales) {
        return *((const uint4 *)scales + lane_index() / 4);
    }
    DEVICE float2 macro_factor(const half_data &) { return float2{1.0f, 1.0f}; }
    DEVICE float2 minimum_factor(const half_data &) { return float2{0.0f, 0.0f}; }
    DEVICE void minima(const half_data &, uint32_t *) {}
};

template <> struct tile_format<DS4_TYPE_F16> {
    enum { CODE_BYTES = 8192, SCALE_BYTES = 0, BLOCK_FACTOR = 0, MACRO_FACTOR = 0, MINIMA = 0 };
    struct half_data {
        uint4 codes[8];
    };
    template <int M>
    DEVICE void load(half_data &d, const uint8_t *codes, const uint8_t *, int half, int) {
        const uint4 *from = (const uint4 *)codes + half * 8 * WARP + lane_index();
        UNROLL
        for (int b = 0; b < 8; b++) d.codes[b] = load_word<M>(from + b * WARP);
    }
    DEVICE void load_codes(half_data &d, const uint8_t *codes) { load<1>(d, codes, nullptr, 0, 0); }
    DEVICE void block(const half_data &d, int b, const uint8_t *, uint32_t (*a)[4]) {
        const uint4 &low = d.codes[2 * b], &high = d.codes[2 * b + 1];
        a[0][0] = low.x;
        a[0][1] = high.x;
        a[0][2] = low.y;
        a[0][3] = high.y;
        a[1][0] = low.z;
        a[1][1] = high.z;
        a[1][2] = low.w;
        a[1][3] = high.w;
    }
    DEVICE float2 block_factor(const half_data &, int) { return float2{1.0f, 1.0f}; }
    DEVICE float2 factor_of(uint32_t) { return float2{1.0f, 1.0f}; }
    DEVICE uint4 half_factors(const uint8_t *) { return uint4{0, 0, 0, 0}; }
    DEVICE float2 macro_factor(const half_data &) { return float2{1.0f, 1.0f}; }
    DEVICE float2 minimum_factor(const half_data &) { return float2{0.0f, 0.0f}; }
    DEVICE void minima(const half_data &, uint32_t *) {}
};

template <> struct tile_format<DS4_TYPE_IQ2_XXS> {
    enum { CODE_BYTES = 1024, SCALE_BYTES = 96, BLOCK_FACTOR = 0, MACRO_FACTOR = 1, MINIMA = 0 };
    struct half_data {
        uint4 codes;
        uint32_t scales[2], factors; /* scales: byte b: 2 s + 1 of block b */
    };
    DEVICE uint32_t scales_of(uint32_t nibbles, int part) {
        uint32_t twice = part ? nibbles >> 3 : nibbles << 1;
        return (twice & 0x1e1e1e1eu) | in_register<0x01010101>();
    }
    template <int M>
    DEVICE void load(half_data &d, const uint8_t *codes, const uint8_t *scales, int half,
                     int part) {
        const uint32_t *s = (const uint32_t *)scales + lane_index() / 4;
        d.codes = load_word<M>((const uint4 *)codes + half * WARP + lane_index());
        UNROLL
        for (int i = 0; i < 2; i++) d.scales[i] = scales_of(load_word<M>(s + 8 * i), part);
        d.factors = load_word<M>(s + 16);
    }
    DEVICE uint32_t signed_pair(uint32_t pair, uint32_t signs, uint32_t scale) {
        return half2_multiply(pair ^ (signs & 0x80008000u), scale);
    }
    DEVICE void block(const half_data &d, int b, const uint8_t *table, uint32_t (*a)[4],
                      uint32_t lane = 0) {
        uint32_t w = word_of(d.codes, b);
        UNROLL
        for (int upper = 0; upper < 2; upper++) {
            uint4 row = *(const uint4 *)(table + (((upper ? w >> 16 : w) & IQ2_AT) | lane));
            uint32_t two = byte_mix(d.scales[upper], 0, 0x4040u + 0x0101u * (uint32_t)b);
            a[0][upper] = signed_pair(row.x, w << iq2_sign_shift(0, upper), two);
            a[0][upper + 2] = signed_pair(row.y, w << iq2_sign_shift(1, upper), two);
            a[1][upper] = signed_pair(row.z, w << iq2_sign_shift(2, upper), two);
            a[1][upper + 2] = signed_pair(row.w, w << iq2_sign_shift(3, upper), two);
        }
    }
    DEVICE float2 block_factor(const half_data &, int) { return float2{1.0f, 1.0f}; }
    DEVICE float2 macro_factor(const half_data &d) {
        return float2{0x1p12f * half_bits_to_float((uint16_t)d.factors),
                      0x1p12f * half_bits_to_float((uint16_t)(d.factors >> 16))};
    }
    DEVICE float2 minimum_factor(const half_data &) { return float2{0.0f, 0.0f}; }
    DEVICE void minima(const half_data &, uint32_t *) {}
};

template <> struct tile_format<DS4_TYPE_Q2_K> {
    enum { CODE_BYTES = 1024, SCALE_BYTES = 320, BLOCK_FACTOR = 0, MACRO_FACTOR = 1, MINIMA = 1 };
    struct half_data {
        uint4 codes;
        uint2 scales, factors; /* scales: byte b: of block b */
        uint32_t least;
    };
    template <int M>
    DEVICE void load(half_data &d, const uint8_t *codes, const uint8_t *scales, int half,
                     int part) {
        d.codes = load_word<M>((const uint4 *)codes + half * WARP + lane_index());
        d.scales = load_word<M>((const uint2 *)scales + lane_index() / 2);
        d.scales.x = d.scales.x >> (4 * part) & 0x0f0f0f0fu;
        d.scales.y = d.scales.y >> (4 * part) & 0x0f0f0f0fu;
        d.least = load_word<M>((const uint32_t *)(scales + 128) + lane_index());
        d.factors = load_word<M>((const uint2 *)(scales + 256) + lane_index() / 4);
    }
    DEVICE uint32_t scale_pair(uint32_t scales, int b) {
        uint32_t selector = 0x4040u + 0x0101u * (uint32_t)b;
        return half2_subtract(byte_mix(scales, in_register<0x64646464>(), selector), 0x64006400u);
    }
    /* Two codes that stand at bit 8 of each half, times the scale. */
    DEVICE uint32_t scaled(uint32_t codes, uint32_t scale) {
        return half2_multiply(codes & 0x03000300u, scale);
    }
    DEVICE void block(const half_data &d, int b, const uint8_t *, uint32_t (*a)[4], uint32_t = 0) {
        uint32_t w = word_of(d.codes, b);
        uint32_t two = scale_pair(d.scales.x, b), upper = scale_pair(d.scales.y, b);
        a[0][0] = scaled(w << 8, two);
        a[0][2] = scaled(w << 6, two);
        a[1][0] = scaled(w << 4, two);
        a[1][2] = scaled(w << 2, two);
        a[0][1] = scaled(w, upper);
        a[0][3] = scaled(w >> 2, upper);
        a[1][1] = scaled(w >> 4, upper);
        a[1][3] = scaled(w >> 6, upper);
    }
    DEVICE float2 block_factor(const half_data &, int) { return float2{1.0f, 1.0f}; }
    DEVICE float2 macro_factor(const half_data &d) {
        return float2{0x1p16f * half_bits_to_float((uint16_t)d.factors.x),
                      0x1p16f * half_bits_to_float((uint16_t)d.factors.y)};
    }
    DEVICE float2 minimum_factor(const half_data &d) {
        return float2{-half_bits_to_float((uint16_t)(d.factors.x >> 16)),
                      -half_bits_to_float((uint16_t)(d.factors.y >> 16))};
    }
    /* One step: the minima of the macro's 16 groups; group 4 t + 2 h + l at column 2 t + 8 h + l.
     */
    DEVICE void minima(const half_data &d, uint32_t *a) {
        uint32_t low = d.least & 0xffffu, high = d.least >> 16;
        a[0] = pair_of(low);
        a[1] = pair_of(high);
        a[2] = pair_of(low >> 8);
        a[3] = pair_of(high >> 8);
    }
    DEVICE uint32_t pair_of(uint32_t nibbles) {
        return half2_subtract((nibbles & 15) | (nibbles & 0xf0u) << 12 | 0x64006400u, 0x64006400u);
    }
};

/* Bytes per tile and macro of the two arrays; or of both in one. */
ANYWHERE void tile_bytes(int type, uint32_t *codes, uint32_t *scales) {
    *codes = type == DS4_TYPE_F16 ? 8192 : type == DS4_TYPE_Q8_0 ? 4096 : 1024;
    *scales = type == DS4_TYPE_Q8_0      ? 256
              : type == DS4_TYPE_IQ2_XXS ? 96
              : type == DS4_TYPE_Q2_K    ? 320
                                         : 0;
}

ANYWHERE bool by_macros(int type) {
    return type == DS4_TYPE_IQ2_XXS || type == DS4_TYPE_Q2_K;
}

/* Where a macro of a tile begins, and how far it is to the tile's next one. */
struct macro_place {
    const uint8_t *codes, *scales;
    uint32_t code_step, scale_step;
};

ANYWHERE macro_place place_of(const matrix &m, int expert, int tile, int macro) {
    uint32_t codes, scales;
    tile_bytes(m.type, &codes, &scales);
    if (by_macros(m.type)) {
        size_t macros = (size_t)((m.n_in + MACRO - 1) / MACRO), n = (size_t)m.side_tiles;
        uint32_t both = codes + scales, step = both * (uint32_t)n;
        const uint8_t *at =
            m.codes + (((size_t)expert * macros + (size_t)macro) * n + (size_t)tile) * both;
        return macro_place{at, at + codes, step, step};
    }
    size_t place = (size_t)expert * (size_t)((m.n_out + TILE - 1) / TILE) + (size_t)tile;
    return macro_place{m.codes + place * m.code_stride + (size_t)macro * codes,
                       m.scales + place * m.scale_stride + (size_t)macro * scales, codes, scales};
}

/* The same where a macro's codes and scales lie together, `bytes` of them. */
DEVICE const uint8_t *macro_place_of(const matrix &m, int expert, int tile, int macro, int bytes) {
    size_t side = (size_t)m.side_tiles, strip = (size_t)(expert * (m.n_in / MACRO) + macro);
    return m.codes + (strip * side + (size_t)tile) * (size_t)bytes;
}

/* Some tiles of a matrix. */
ANYWHERE matrix tiles_of(const matrix &m, int first, int n_out) {
    matrix part = m;
    macro_place at = place_of(m, 0, first, 0);
    part.codes = at.codes;
    part.scales = at.scales;
    part.n_out = n_out;
    return part;
}

} // namespace GPU_NAMESPACE

#endif
