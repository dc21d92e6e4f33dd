/* Weights as the kernels read them: codes and scales of a row in two arrays, so that codes are
 * aligned and read 16 bytes at a time (repack.cu makes them from GGUF blocks, bit by bit the same
 * numbers). A `unit` is what one lane takes at once; its weights come in quads of four consecutive
 * elements. */
#ifndef DS4_BACKEND_GPU_FORMATS_H
#define DS4_BACKEND_GPU_FORMATS_H

#include "backend/gpu/dialect.h"

extern "C" {
#include "quant/quant.h"
}

namespace GPU_NAMESPACE {

struct matrix {
    int type; /* ds4_type */
    int n_in, n_out;
    int n_padded;                  /* n_in rounded up to 32: zeros follow */
    const uint8_t *codes, *scales; /* rows of expert e begin at row e * n_out */
    uint32_t code_stride, scale_stride;
    int tiled;      /* for the matrix units (tiles.h): strides are those of a tile of 16 rows */
    int side_tiles; /* tiles of an expert that lie side by side */
};

struct unit_data {
    uint4 codes;
    uint32_t s0, s1, s2;
};

/* Code book rows of IQ2_XXS: a digit (0, 1, 2 for 8, 25, 43) in each of eight nibbles. Kernels keep
 * one copy per lane: entry r of lane l at 32 r + l, so that no two lanes meet in a bank. */
enum { IQ2_GRID = 256 };

/* Bytes to floats: a byte under the bits of 2^23 is 2^23 plus the byte, exactly. (The conversion
 * instruction runs at an eighth of the rate.) */
DEVICE float4 unsigned_float4(uint32_t word, float minus) {
    return float4{bits_float(byte_below(word, 0)) - minus, bits_float(byte_below(word, 1)) - minus,
                  bits_float(byte_below(word, 2)) - minus, bits_float(byte_below(word, 3)) - minus};
}

DEVICE float4 codes_float4(uint32_t word) { /* 0 .. 255 */
    return unsigned_float4(word, 0x1p23f);
}

DEVICE float4 bytes_float4(uint32_t word) { /* -128 .. 127 */
    return unsigned_float4(word ^ 0x80808080u, 0x1p23f + 128.0f);
}

DEVICE uint32_t load_u16(const uint8_t *p) {
    return *(const uint16_t *)p;
}

DEVICE uint32_t word_of(const uint4 &v, int i) {
    return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w;
}

/* Per format: weights per unit, loading, the factor of the whole unit, and quad q: its first
 * element and its (unscaled) weights. */
template <int TYPE> struct format;

template <> struct format<DS4_TYPE_F32> {
    enum { UNIT = 4, SCALED = 0 };
    DEVICE void load(unit_data &u, const uint8_t *codes, const uint8_t *, int unit) {
        u.codes = stream_load((const uint4 *)codes + unit);
    }
    DEVICE float scale(const unit_data &) { return 1.0f; }
    DEVICE int first(int unit, int) { return 4 * unit; }
    DEVICE float4 quad(const unit_data &u, int, const uint32_t *) {
        return float4{bits_float(u.codes.x), bits_float(u.codes.y), bits_float(u.codes.z),
                      bits_float(u.codes.w)};
    }
};

template <> struct format<DS4_TYPE_F16> {
    enum { UNIT = 8, SCALED = 0 };
    DEVICE void load(unit_data &u, const uint8_t *codes, const uint8_t *, int unit) {
        u.codes = stream_load((const uint4 *)codes + unit);
    }
    DEVICE float scale(const unit_data &) { return 1.0f; }
    DEVICE int first(int unit, int q) { return 8 * unit + 4 * q; }
    DEVICE float4 quad(const unit_data &u, int q, const uint32_t *) {
        uint32_t a = word_of(u.codes, 2 * q), b = word_of(u.codes, 2 * q + 1);
        return float4{half_bits_to_float((uint16_t)a), half_bits_to_float((uint16_t)(a >> 16)),
                      half_bits_to_float((uint16_t)b), half_bits_to_float((uint16_t)(b >> 16))};
    }
};

template <> struct format<DS4_TYPE_BF16> {
    enum { UNIT = 8, SCALED = 0 };
    DEVICE void load(unit_data &u, const uint8_t *codes, const uint8_t *, int unit) {
        u.codes = stream_load((const uint4 *)codes + unit);
    }
    DEVICE float scale(const unit_data &) { return 1.0f; }
    DEVICE int first(int unit, int q) { return 8 * unit + 4 * q; }
    DEVICE float4 quad(const unit_data &u, int q, const uint32_t *) {
        uint32_t a = word_of(u.codes, 2 * q), b = word_of(u.codes, 2 * q + 1);
        return float4{bits_float(a << 16), bits_float(a & 0xffff0000u), bits_float(b << 16),
                      bits_float(b & 0xffff0000u)};
    }
};

/* codes: int8 [n]; scales: f16 per 32. A unit is half a block. */
template <> struct format<DS4_TYPE_Q8_0> {
    enum { UNIT = 16, SCALED = 1 };
    DEVICE void load(unit_data &u, const uint8_t *codes, const uint8_t *scales, int unit) {
        u.codes = stream_load((const uint4 *)codes + unit);
        u.s0 = load_u16(scales + 2 * (unit / 2));
    }
    DEVICE float scale(const unit_data &u) { return half_bits_to_float((uint16_t)u.s0); }
    DEVICE int first(int unit, int q) { return 16 * unit + 4 * q; }
    DEVICE float4 quad(const unit_data &u, int q, const uint32_t *) {
        return bytes_float4(word_of(u.codes, q));
    }
};

/* codes: 64 bytes per 256 as in the block; scales: 16 bytes (scale | min << 4), f16 d, f16 dmin.
 * A unit is 16 bytes of codes: four runs of 16 elements, 32 apart. */
template <> struct format<DS4_TYPE_Q2_K> {
    enum { UNIT = 64, SCALED = 0 };
    DEVICE void load(unit_data &u, const uint8_t *codes, const uint8_t *scales, int unit) {
        const uint32_t *s = (const uint32_t *)(scales + 20 * (unit / 4));
        u.codes = stream_load((const uint4 *)codes + unit);
        u.s0 = s[2 * (unit / 2 % 2)] >> (8 * (unit % 2));
        u.s1 = s[2 * (unit / 2 % 2) + 1] >> (8 * (unit % 2));
        u.s2 = s[4];
    }
    DEVICE float scale(const unit_data &) { return 1.0f; }
    DEVICE int first(int unit, int q) {
        return 256 * (unit / 4) + 128 * (unit / 2 % 2) + 32 * (q / 4) + 16 * (unit % 2) +
               4 * (q % 4);
    }
    DEVICE float4 quad(const unit_data &u, int q, const uint32_t *) {
        uint32_t s = (q / 4 < 2 ? u.s0 : u.s1) >> (16 * (q / 4 % 2));
        float d = half_bits_to_float((uint16_t)u.s2) * (float)(s & 15);
        float m = half_bits_to_float((uint16_t)(u.s2 >> 16)) * (float)(s >> 4 & 15);
        float4 c = codes_float4(word_of(u.codes, q % 4) >> (2 * (q / 4)) & 0x03030303u);
        return float4{fmaf(d, c.x, -m), fmaf(d, c.y, -m), fmaf(d, c.z, -m), fmaf(d, c.w, -m)};
    }
};

/* codes: 128 bytes per 256; scales: f16 d, f16 dmin, 12 bytes of 6-bit scales and minima. A unit is
 * 16 bytes of codes: two runs of 16 elements, 32 apart. */
template <> struct format<DS4_TYPE_Q4_K> {
    enum { UNIT = 32, SCALED = 0 };
    DEVICE uint32_t scale_min(const uint8_t *p, int j) {
        uint32_t sc = j < 4 ? p[j] & 63u : (p[j + 4] & 15u) | (uint32_t)(p[j - 4] >> 6) << 4;
        uint32_t mn =
            j < 4 ? p[j + 4] & 63u : (uint32_t)(p[j + 4] >> 4) | (uint32_t)(p[j] >> 6) << 4;
        return sc | mn << 8;
    }
    DEVICE void load(unit_data &u, const uint8_t *codes, const uint8_t *scales, int unit) {
        const uint8_t *header = scales + 16 * (unit / 8);
        int j = 2 * (unit % 8 / 2);
        u.codes = stream_load((const uint4 *)codes + unit);
        u.s0 = scale_min(header + 4, j);
        u.s1 = scale_min(header + 4, j + 1);
        u.s2 = *(const uint32_t *)header;
    }
    DEVICE float scale(const unit_data &) { return 1.0f; }
    DEVICE int first(int unit, int q) {
        return 256 * (unit / 8) + 64 * (unit % 8 / 2) + 32 * (q / 4) + 16 * (unit % 2) +
               4 * (q % 4);
    }
    DEVICE float4 quad(const unit_data &u, int q, const uint32_t *) {
        uint32_t s = q / 4 == 0 ? u.s0 : u.s1;
        float d = half_bits_to_float((uint16_t)u.s2) * (float)(s & 255);
        float m = half_bits_to_float((uint16_t)(u.s2 >> 16)) * (float)(s >> 8);
        float4 c = codes_float4(word_of(u.codes, q % 4) >> (4 * (q / 4)) & 0x0f0f0f0fu);
        return float4{fmaf(d, c.x, -m), fmaf(d, c.y, -m), fmaf(d, c.z, -m), fmaf(d, c.w, -m)};
    }
};

/* codes: per 32 elements four code book rows and 32 signs; scales: f16 d, then eight 4-bit scales,
 * per 256. (The file's 7-bit sign indices are spelt out: 6 % more bytes, half the work.) */
template <> struct format<DS4_TYPE_IQ2_XXS> {
    enum { UNIT = 32, SCALED = 1 };
    DEVICE void load(unit_data &u, const uint8_t *codes, const uint8_t *scales, int unit) {
        uint2 group = stream_load((const uint2 *)codes + unit);
        const uint8_t *block = scales + 6 * (unit / 8);
        u.codes.x = group.x;
        u.codes.y = group.y;
        u.s0 = load_u16(block);
        u.s1 = (uint32_t)block[2 + unit % 8 / 2] >> (4 * (unit % 2));
    }
    DEVICE float scale(const unit_data &u) {
        return 0.125f * half_bits_to_float((uint16_t)u.s0) * (float)(2 * (u.s1 & 15) + 1);
    }
    DEVICE int first(int unit, int q) { return 32 * unit + 4 * q; }
    DEVICE float4 quad(const unit_data &u, int q, const uint32_t *grid) {
        uint32_t row = grid[(u.codes.x >> (8 * (q / 2)) & 255) * WARP + (uint32_t)lane_index()];
        uint32_t magnitudes = byte_select(0x002b1908u, row >> (16 * (q % 2)));
        /* Sign bits to the tops of four bytes, then over them. */
        uint32_t mask = byte_signs((u.codes.y >> (4 * q) & 15) * 0x10204080u);
        /* Negation byte by byte: magnitudes are not 0, so that nothing is carried over. */
        return bytes_float4((magnitudes ^ mask) + (mask & 0x01010101u));
    }
};

/* codes: 16 bytes per 32 (low nibbles, then high nibbles); scales: one E8M0 byte per 32. */
template <> struct format<DS4_TYPE_MXFP4> {
    enum { UNIT = 32, SCALED = 1 };
    DEVICE void load(unit_data &u, const uint8_t *codes, const uint8_t *scales, int unit) {
        u.codes = stream_load((const uint4 *)codes + unit);
        u.s0 = scales[unit];
    }
    DEVICE float scale(const unit_data &u) {
        return bits_float(u.s0 == 0 ? 0x00400000u : u.s0 << 23);
    }
    DEVICE int first(int unit, int q) { return 32 * unit + 4 * q; }
    DEVICE float value(uint32_t code) { /* E2M1 in the top bits of a float is the value x 2^-126 */
        return bits_float((code & 7u) << 22 | (code & 8u) << 28) * 0x1p126f;
    }
    DEVICE float4 quad(const unit_data &u, int q, const uint32_t *) {
        uint32_t w = word_of(u.codes, q % 4) >> (4 * (q / 4));
        return float4{value(w & 15), value(w >> 8 & 15), value(w >> 16 & 15), value(w >> 24 & 15)};
    }
};

} // namespace GPU_NAMESPACE

#endif
