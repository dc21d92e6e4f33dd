/* Many tokens with int8 activations on AVX-512 VNNI: sixteen rows are packed into a panel in which
 * a lane is a row. */
#ifndef DS4_QUANT_PANEL_AVX512_H
#define DS4_QUANT_PANEL_AVX512_H

#include "quant/int8_avx512.h"

enum {
    PANEL_ROWS = 16,
    PANEL_TOKENS =
        8, /* tokens in flight: eight independent chains cover the latency of the dot instruction */
    MAX_PANELS =
        4, /* packed at once, so that activations are fetched from far caches once per 64 rows */
};

/* Where a panel's parts lie in scratch. A quad is four weights of one row. */
typedef struct panel {
    uint8_t (*quads)[64];       /* [n_in / 4][16 rows x 4 weights], unsigned */
    int32_t (*group_scale)[16]; /* [n_in / 32]: integer scale of a 32-group (Q4_K, IQ2_XXS) */
    int32_t (
        *group_mins)[16];   /* [n_in / 32]: minima of both 16-groups as int16 pair (Q2_K, Q4_K) */
    float (*scale)[16];     /* [n_blocks] */
    float (*min_scale)[16]; /* [n_blocks] */
} panel;

/* Properties of a format, constants wherever they are used. */
typedef struct panel_traits {
    bool blocks_of_32; /* one float scale per 32 weights, else per 256 */
    bool offset;       /* weights carry +128, taken back by bias32 */
    bool group_scales; /* 32-groups have integer scales that are not part of the packed weight */
    bool mins;
} panel_traits;

static size_t panel_layout(size_t n_in, uint8_t *base, panel *p) {
    size_t quads = n_in / 4 * 64, groups = n_in / 32 * 64;
    if (p != NULL) {
        p->quads = (uint8_t(*)[64])(void *)base;
        p->group_scale = (int32_t(*)[16])(void *)(base + quads);
        p->group_mins = (int32_t(*)[16])(void *)(base + quads + groups);
        p->scale = (float(*)[16])(void *)(base + quads + 2 * groups);
        p->min_scale = (float(*)[16])(void *)(base + quads + 3 * groups);
    }
    return quads + 4 * groups;
}

/* Eight rows of eight dwords, transposed. */
static inline void transpose8(__m256i v[8]) {
    __m256i a[8];
    for (int i = 0; i < 8; i += 2) {
        a[i] = _mm256_unpacklo_epi32(v[i], v[i + 1]);
        a[i + 1] = _mm256_unpackhi_epi32(v[i], v[i + 1]);
    }
    for (int i = 0; i < 8; i += 4)
        for (int j = 0; j < 2; j++) {
            v[i + 2 * j] = _mm256_unpacklo_epi64(a[i + j], a[i + j + 2]);
            v[i + 2 * j + 1] = _mm256_unpackhi_epi64(a[i + j], a[i + j + 2]);
        }
    for (int i = 0; i < 4; i++) {
        a[i] = _mm256_permute2x128_si256(v[i], v[i + 4], 0x20);
        a[i + 4] = _mm256_permute2x128_si256(v[i], v[i + 4], 0x31);
    }
    for (int i = 0; i < 8; i++) v[i] = a[i];
}

/* 32 packed bytes of each of 16 rows to eight rows of quads. */
static inline void store_quads(const __m256i *rows, uint8_t (*quads)[64]) {
    __m256i low[8], high[8];
    for (int i = 0; i < 8; i++) low[i] = rows[i], high[i] = rows[i + 8];
    transpose8(low);
    transpose8(high);
    for (int i = 0; i < 8; i++) {
        _mm256_store_si256((__m256i *)(void *)quads[i], low[i]);
        _mm256_store_si256((__m256i *)(void *)(quads[i] + 32), high[i]);
    }
}

static inline __m256i with_offset(__m256i v) {
    return _mm256_xor_si256(v, _mm256_set1_epi8(-128));
}

static inline void pack_32(const uint8_t *const *rows, size_t b, bool is_q8_0, const panel *p) {
    __m256i bytes[PANEL_ROWS];
    for (size_t r = 0; r < PANEL_ROWS; r++) {
        const uint8_t *block = rows[r] + b * (size_t)(is_q8_0 ? DS4_Q8_0_BYTES : DS4_MXFP4_BYTES);
        bytes[r] = with_offset(is_q8_0 ? q8_0_bytes(block) : mxfp4_bytes(block));
        p->scale[b][r] = is_q8_0 ? f16_scalar(block) : mxfp4_half_scale(block);
    }
    store_quads(bytes, p->quads + 8 * b);
}

static void pack_q8_0(const uint8_t *const *rows, size_t b, const panel *p) {
    pack_32(rows, b, true, p);
}
static void pack_mxfp4(const uint8_t *const *rows, size_t b, const panel *p) {
    pack_32(rows, b, false, p);
}

/* A 256-block of sixteen rows, unpacked but not yet transposed. */
typedef struct {
    _Alignas(64) uint8_t codes[PANEL_ROWS][256];
    __m256i scales[PANEL_ROWS]; /* eight int32 of the 32-groups */
    __m256i mins[PANEL_ROWS];   /* sixteen int16 of the 16-groups */
} unpacked_rows;

static inline void store_panel_block(const unpacked_rows *u, bool scales, bool mins, size_t b,
                                     const panel *p) {
    for (size_t g = 0; g < 8; g++) {
        __m256i bytes[PANEL_ROWS];
        for (size_t r = 0; r < PANEL_ROWS; r++) bytes[r] = b_load(u->codes[r] + 32 * g);
        store_quads(bytes, p->quads + 64 * b + 8 * g);
    }
    if (scales) store_quads(u->scales, (uint8_t(*)[64])(void *)p->group_scale[8 * b]);
    if (mins) store_quads(u->mins, (uint8_t(*)[64])(void *)p->group_mins[8 * b]);
}

static void pack_q2_k(const uint8_t *const *rows, size_t b, const panel *p) {
    unpacked_rows u;
    for (size_t r = 0; r < PANEL_ROWS; r++) {
        const uint8_t *block = rows[r] + b * DS4_Q2_K_BYTES;
        __m512i products = q2_k_products(block);
        UNROLLED for (int i = 0; i < 4; i++)
            _mm512_store_si512(u.codes[r] + 64 * i, q2_k_quarter(block, products, i));
        u.mins[r] = _mm256_cvtepu8_epi16(q2_k_mins(block));
        p->scale[b][r] = f16_scalar(block + 80);
        p->min_scale[b][r] = f16_scalar(block + 82);
    }
    store_panel_block(&u, false, true, b, p);
}

static void pack_q4_k(const uint8_t *const *rows, size_t b, const panel *p) {
    unpacked_rows u;
    for (size_t r = 0; r < PANEL_ROWS; r++) {
        const uint8_t *block = rows[r] + b * DS4_Q4_K_BYTES;
        uint8_t scale_bytes[8], min_bytes[8];
        q4_k_unpack(block, scale_bytes, min_bytes);
        __m128i mins = _mm_loadl_epi64((const __m128i *)(const void *)min_bytes);
        UNROLLED for (int i = 0; i < 4; i++)
            _mm512_store_si512(u.codes[r] + 64 * i, code_pair(block + 16 + 32 * i, 0, 4, 15));
        u.scales[r] =
            _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)scale_bytes));
        u.mins[r] = _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(mins, mins));
        p->scale[b][r] = f16_scalar(block);
        p->min_scale[b][r] = f16_scalar(block + 2);
    }
    store_panel_block(&u, true, true, b, p);
}

static void pack_iq2_xxs(const uint8_t *const *rows, size_t b, const panel *p) {
    unpacked_rows u;
    for (size_t r = 0; r < PANEL_ROWS; r++) {
        const uint8_t *block = rows[r] + b * DS4_IQ2_XXS_BYTES;
        iq2_xxs_block open = iq2_xxs_open(block);
        UNROLLED for (int i = 0; i < 4; i++) {
            __m512i w = negate_where(iq2_xxs_quarter(&open, i), open.signs[i]);
            _mm512_store_si512(u.codes[r] + 64 * i, _mm512_xor_si512(w, _mm512_set1_epi8(-128)));
        }
        u.scales[r] = open.multipliers;
        p->scale[b][r] = iq2_xxs_scale(block);
    }
    store_panel_block(&u, true, false, b, p);
}

static inline __m512i broadcast_quad(const void *four_bytes) {
    int32_t v;
    memcpy(&v, four_bytes, sizeof v);
    return _mm512_set1_epi32(v);
}

/* acc[t] += the 32-group g of the panel times that of each token. */
ALWAYS_INLINE void dot_group(size_t n_tokens, const panel *p, const ds4_activation_row *x, size_t g,
                             __m512i *acc) {
    UNROLLED for (size_t q = 0; q < 8; q++) {
        __m512i w = _mm512_load_si512(p->quads[8 * g + q]);
        UNROLLED for (size_t t = 0; t < n_tokens; t++) acc[t] =
            _mm512_dpbusd_epi32(acc[t], w, broadcast_quad(x[t].codes + 32 * g + 4 * q));
    }
}

ALWAYS_INLINE void start_group(size_t n_tokens, bool offset, const ds4_activation_row *x, size_t g,
                               __m512i *acc) {
    UNROLLED for (size_t t = 0; t < n_tokens; t++) acc[t] =
        offset ? _mm512_set1_epi32(x[t].bias32[g]) : _mm512_setzero_si512();
}

/* The exact integers of block b for each token. */
ALWAYS_INLINE void block_dots(panel_traits traits, size_t n_tokens, const panel *p,
                              const ds4_activation_row *x, size_t b, __m512i *dot) {
    if (traits.blocks_of_32) {
        start_group(n_tokens, traits.offset, x, b, dot);
        dot_group(n_tokens, p, x, b, dot);
        return;
    }
    UNROLLED for (size_t t = 0; t < n_tokens; t++) dot[t] = _mm512_setzero_si512();
    for (size_t g = 8 * b; g < 8 * b + 8; g++) {
        if (!traits.group_scales) {
            dot_group(n_tokens, p, x, g, dot);
            continue;
        }
        __m512i acc[PANEL_TOKENS], scale = _mm512_load_si512(p->group_scale[g]);
        start_group(n_tokens, traits.offset, x, g, acc);
        dot_group(n_tokens, p, x, g, acc);
        UNROLLED for (size_t t = 0; t < n_tokens; t++) dot[t] =
            _mm512_add_epi32(dot[t], _mm512_mullo_epi32(acc[t], scale));
    }
}

ALWAYS_INLINE __m512i block_min_dot(const panel *p, const ds4_activation_row *x, size_t b) {
    __m512i m = _mm512_setzero_si512();
    UNROLLED for (size_t g = 8 * b; g < 8 * b + 8; g++) m = _mm512_dpwssd_epi32(
        m, _mm512_load_si512(p->group_mins[g]), broadcast_quad(x->sums16 + 2 * g));
    return m;
}

/* y[t][0..15] for up to PANEL_TOKENS tokens. lanes[t][l] holds, for all sixteen rows, lane l of the
 * definition. */
ALWAYS_INLINE void panel_product(panel_traits traits, size_t n_tokens, const panel *p,
                                 const ds4_activation_row *x, size_t n_blocks, float *const *y,
                                 size_t r0) {
    __m512 lanes[PANEL_TOKENS][DS4_LANES];
    for (size_t t = 0; t < n_tokens; t++)
        for (size_t l = 0; l < DS4_LANES; l++) lanes[t][l] = _mm512_setzero_ps();
    for (size_t b = 0; b < n_blocks; b++) {
        __m512i dot[PANEL_TOKENS];
        __m512 scale = _mm512_load_ps(p->scale[b]);
        block_dots(traits, n_tokens, p, x, b, dot);
        UNROLLED for (size_t t = 0; t < n_tokens; t++) {
            __m512 xd = _mm512_set1_ps(x[t].scales[b]), lane = lanes[t][b % DS4_LANES];
            lane = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[t]), _mm512_mul_ps(scale, xd), lane);
            if (traits.mins) {
                __m512 m = _mm512_cvtepi32_ps(block_min_dot(p, &x[t], b));
                lane =
                    _mm512_fnmadd_ps(m, _mm512_mul_ps(_mm512_load_ps(p->min_scale[b]), xd), lane);
            }
            lanes[t][b % DS4_LANES] = lane;
        }
    }
    for (size_t t = 0; t < n_tokens; t++) {
        for (size_t half = DS4_LANES / 2; half > 0; half /= 2)
            for (size_t l = 0; l < half; l++)
                lanes[t][l] = _mm512_add_ps(lanes[t][l], lanes[t][l + half]);
        _mm512_storeu_ps(y[t] + r0, lanes[t][0]);
    }
}

/* All tokens with one panel; the sizes are constants in each call, so that the sums live in
 * registers. */
#define DEFINE_PANEL_FORMAT(F, ...)                                                                \
    static void F##_panel(const panel *p, const ds4_activation_row *x, size_t n_tokens,            \
                          size_t n_blocks, float *const *y, size_t r0) {                           \
        const panel_traits traits = {__VA_ARGS__};                                                 \
        size_t t = 0;                                                                              \
        for (; t + 8 <= n_tokens; t += 8) panel_product(traits, 8, p, x + t, n_blocks, y + t, r0); \
        for (; t + 6 <= n_tokens; t += 6) panel_product(traits, 6, p, x + t, n_blocks, y + t, r0); \
        for (; t + 4 <= n_tokens; t += 4) panel_product(traits, 4, p, x + t, n_blocks, y + t, r0); \
        for (; t < n_tokens; t++) panel_product(traits, 1, p, x + t, n_blocks, y + t, r0);         \
    }

DEFINE_PANEL_FORMAT(q8_0, .blocks_of_32 = true, .offset = true)
DEFINE_PANEL_FORMAT(q2_k, .mins = true)
DEFINE_PANEL_FORMAT(q4_k, .group_scales = true, .mins = true)
DEFINE_PANEL_FORMAT(iq2_xxs, .offset = true, .group_scales = true)

typedef struct panel_kernels {
    void (*pack)(const uint8_t *const *rows, size_t b, const panel *p);
    void (*product)(const panel *p, const ds4_activation_row *x, size_t n_tokens, size_t n_blocks,
                    float *const *y, size_t r0);
} panel_kernels;

static panel_kernels panel_kernels_of(ds4_type type) {
    switch (type) {
    case DS4_TYPE_Q8_0:
        return (panel_kernels){pack_q8_0, q8_0_panel};
    case DS4_TYPE_MXFP4:
        return (panel_kernels){pack_mxfp4, q8_0_panel};
    case DS4_TYPE_Q2_K:
        return (panel_kernels){pack_q2_k, q2_k_panel};
    case DS4_TYPE_Q4_K:
        return (panel_kernels){pack_q4_k, q4_k_panel};
    case DS4_TYPE_IQ2_XXS:
        return (panel_kernels){pack_iq2_xxs, iq2_xxs_panel};
    case DS4_TYPE_F32:
    case DS4_TYPE_F16:
    case DS4_TYPE_I32:
    case DS4_TYPE_BF16:
        break;
    }
    return (panel_kernels){NULL, NULL};
}

static void pack_panel(const ds4_matmul *m, panel_kernels kernels, size_t row, size_t n_blocks,
                       const panel *p) {
    const uint8_t *rows[PANEL_ROWS];
    for (size_t r = 0; r < PANEL_ROWS; r++)
        rows[r] = (const uint8_t *)m->weights + (row + r) * m->row_bytes;
    for (size_t b = 0; b < n_blocks; b++) kernels.pack(rows, b, p);
}

/* Rows row_begin..row_end-1, a multiple of PANEL_ROWS; n_in small enough for one panel in scratch.
 */
static void many_tokens_int8(const ds4_matmul *m, size_t row_begin, size_t row_end,
                             uint8_t *scratch) {
    enum { TOKENS = 64 }; /* activation rows looked up at once */
    panel_kernels kernels = panel_kernels_of(m->type);
    size_t n_blocks = m->n_in / ds4_type_get_info((uint32_t)m->type)->block_elements;
    size_t panel_bytes = panel_layout(m->n_in, NULL, NULL);
    size_t n_fit = min_size(MAX_PANELS, DS4_MATMUL_SCRATCH / panel_bytes);
    for (size_t row = row_begin; row < row_end; row += n_fit * PANEL_ROWS) {
        panel panels[MAX_PANELS];
        size_t n_panels = min_size(n_fit, (row_end - row) / PANEL_ROWS);
        for (size_t i = 0; i < n_panels; i++) {
            panel_layout(m->n_in, scratch + i * panel_bytes, &panels[i]);
            pack_panel(m, kernels, row + i * PANEL_ROWS, n_blocks, &panels[i]);
        }
        for (size_t t0 = 0; t0 < m->n_tokens; t0 += TOKENS) {
            ds4_activation_row x[TOKENS];
            size_t n = min_size(TOKENS, m->n_tokens - t0);
            for (size_t t = 0; t < n; t++)
                ds4_activation_row_layout(m->type, m->n_in, (void *)(uintptr_t)m->xq[t0 + t],
                                          &x[t]);
            for (size_t t = 0; t < n; t += PANEL_TOKENS)
                for (size_t i = 0; i < n_panels; i++)
                    kernels.product(&panels[i], x + t, min_size(PANEL_TOKENS, n - t), n_blocks,
                                    m->y + t0 + t, row + i * PANEL_ROWS);
        }
    }
}

/* Packing a panel costs about as much as multiplying it with three tokens. */
static void matmul_int8_avx512(const ds4_matmul *m, size_t row_begin, size_t row_end,
                               void *scratch) {
    size_t n_packed = 0;
    if (m->n_tokens >= 4 && panel_layout(m->n_in, NULL, NULL) <= DS4_MATMUL_SCRATCH && m->n_in > 0)
        n_packed = (row_end - row_begin) / PANEL_ROWS * PANEL_ROWS;
    if (n_packed > 0) many_tokens_int8(m, row_begin, row_begin + n_packed, scratch);
    few_tokens_int8(m, row_begin + n_packed, row_end);
}

#endif
