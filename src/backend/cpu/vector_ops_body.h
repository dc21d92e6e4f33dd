/* The bodies behind vector_ops.h. Included by one small file per instruction set, which defines
 * DS4_VECTOR_OPS (the name of the table) and DS4_VECTOR_OPS_NAME. */
#include <math.h>
#include <string.h>

#include "backend/cpu/vector_ops.h"

enum { LANES = 16 };

/* exp for x <= 88: 2^n * p(r) with n = round(x / ln 2) and |r| <= ln(2)/2; degree-6 polynomial,
 * error below 2 ulp. Below -87 the result is 0. Same operations on every machine, unlike the C
 * library's. */
static inline float exp_lane(float x) {
    float clamped = x < -87.0f ? -87.0f : x;
    float n = rintf(clamped * 1.44269504088896341f);
    float r = fmaf(n, -0.693145751953125f, clamped);
    r = fmaf(n, -1.42860682030941723e-6f, r);
    float p = 1.38888889e-3f;
    p = fmaf(p, r, 8.33333333e-3f);
    p = fmaf(p, r, 4.16666667e-2f);
    p = fmaf(p, r, 1.66666667e-1f);
    p = fmaf(p, r, 0.5f);
    p = fmaf(p, r, 1.0f);
    p = fmaf(p, r, 1.0f);
    int32_t bits;
    memcpy(&bits, &p, sizeof bits);
    bits += (int32_t)n * (1 << 23);
    memcpy(&p, &bits, sizeof p);
    return x < -87.0f ? 0.0f : p;
}

static double dot(const float *x, const float *y, size_t n) {
    double lane[8] = {0};
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (size_t l = 0; l < 8; l++) lane[l] = fma((double)x[i + l], (double)y[i + l], lane[l]);
    for (size_t l = 0; i + l < n; l++) lane[l] = fma((double)x[i + l], (double)y[i + l], lane[l]);
    return ((lane[0] + lane[4]) + (lane[2] + lane[6])) +
           ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

static float rms_scale(const float *x, size_t n, float eps) {
    return 1.0f / sqrtf((float)(dot(x, x, n) / (double)n) + eps);
}

static void scale(const float *x, float factor, const float *w, float *y, size_t n) {
    if (w == NULL) {
        for (size_t i = 0; i < n; i++) y[i] = x[i] * factor;
    } else {
        for (size_t i = 0; i < n; i++) y[i] = (x[i] * factor) * w[i];
    }
}

static void axpy(float a, const float *restrict x, float *restrict y, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] = fmaf(a, x[i], y[i]);
}

static void combine(const float *a, const float *const *rows, size_t n_rows, float *restrict y,
                    size_t n) {
    const float *restrict first = rows[0];
    for (size_t i = 0; i < n; i++) y[i] = a[0] * first[i];
    for (size_t r = 1; r < n_rows; r++) axpy(a[r], rows[r], y, n);
}

static void mix_streams(float *streams, const float *restrict y, const float *post,
                        const float *mix, size_t n_streams, size_t n) {
    float mixed[64][LANES]; /* hparams caps the number of streams at 64 */
    for (size_t i = 0; i < n; i += LANES) {
        size_t width = n - i < LANES ? n - i : LANES;
        for (size_t k = 0; k < n_streams; k++) {
            for (size_t l = 0; l < width; l++) mixed[k][l] = post[k] * y[i + l];
            for (size_t j = 0; j < n_streams; j++) {
                const float *source = streams + j * n + i;
                float factor = mix[j * n_streams + k];
                for (size_t l = 0; l < width; l++)
                    mixed[k][l] = fmaf(factor, source[l], mixed[k][l]);
            }
        }
        for (size_t k = 0; k < n_streams; k++)
            memcpy(streams + k * n + i, mixed[k], width * sizeof(float));
    }
}

static void swiglu(float *restrict gate, const float *restrict up, float clamp, float weight,
                   size_t n) {
    float limit = clamp > 1e-6f ? clamp : INFINITY;
    for (size_t i = 0; i < n; i++) {
        float g = gate[i] > limit ? limit : gate[i];
        float u = up[i] > limit ? limit : up[i];
        u = u < -limit ? -limit : u;
        /* exp(-g) overflows past 87; there silu(g) has long been 0 in float32 sums. */
        float e = exp_lane(g < -87.0f ? 87.0f : -g);
        gate[i] = weight * ((g / (1.0f + e)) * u);
    }
}

static void exp_minus(float *x, float max, size_t n) {
    for (size_t i = 0; i < n; i++) x[i] = exp_lane(x[i] - max);
}

static float sum(const float *x, size_t n) {
    float lane[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t l = 0; l < LANES; l++) lane[l] += x[i + l];
    for (size_t l = 0; i + l < n; l++) lane[l] += x[i + l];
    for (size_t half = LANES / 2; half > 0; half /= 2)
        for (size_t l = 0; l < half; l++) lane[l] += lane[l + half];
    return lane[0];
}

static float max(const float *x, size_t n) {
    float lane[LANES];
    size_t i = 0;
    for (size_t l = 0; l < LANES; l++) lane[l] = -INFINITY;
    for (; i + LANES <= n; i += LANES)
        for (size_t l = 0; l < LANES; l++) lane[l] = x[i + l] > lane[l] ? x[i + l] : lane[l];
    for (size_t l = 0; i + l < n; l++) lane[l] = x[i + l] > lane[l] ? x[i + l] : lane[l];
    for (size_t l = 1; l < LANES; l++) lane[0] = lane[l] > lane[0] ? lane[l] : lane[0];
    return lane[0];
}

static void pool(const float *const *value, const float *const *gate, size_t n_rows, float *y,
                 size_t n) {
    for (size_t d = 0; d < n; d += LANES) {
        size_t width = n - d < LANES ? n - d : LANES;
        float top[LANES], weight[LANES] = {0}, total[LANES] = {0};
        for (size_t l = 0; l < LANES; l++) top[l] = -INFINITY;
        for (size_t i = 0; i < n_rows; i++)
            for (size_t l = 0; l < width; l++)
                top[l] = gate[i][d + l] > top[l] ? gate[i][d + l] : top[l];
        for (size_t i = 0; i < n_rows; i++) {
            for (size_t l = 0; l < width; l++) {
                float e = exp_lane(gate[i][d + l] - top[l]);
                weight[l] += e;
                total[l] = fmaf(e, value[i][d + l], total[l]);
            }
        }
        for (size_t l = 0; l < width; l++) y[d + l] = total[l] / weight[l];
    }
}

static void hadamard(float *x, size_t n) {
    for (size_t stride = 1; stride < n; stride *= 2) {
        for (size_t block = 0; block < n; block += 2 * stride) {
            for (size_t i = block; i < block + stride; i++) {
                float a = x[i], b = x[i + stride];
                x[i] = a + b;
                x[i + stride] = a - b;
            }
        }
    }
    float norm = (float)(1.0 / sqrt((double)n));
    for (size_t i = 0; i < n; i++) x[i] *= norm;
}

/* Four heads by 32 lanes stay in registers while all rows pass. */
enum { HEAD_TILE = 4, WIDTH_TILE = 32 };

static void weighted_tile(const float *p, size_t p_stride, const float *restrict rows,
                          size_t n_rows, size_t n, float *restrict y, size_t y_stride) {
    float acc[HEAD_TILE][WIDTH_TILE];
    for (size_t h = 0; h < HEAD_TILE; h++) memcpy(acc[h], y + h * y_stride, sizeof acc[h]);
    for (size_t i = 0; i < n_rows; i++) {
        const float *row = rows + i * n;
        for (size_t h = 0; h < HEAD_TILE; h++) {
            float factor = p[h * p_stride + i];
            for (size_t l = 0; l < WIDTH_TILE; l++) acc[h][l] = fmaf(factor, row[l], acc[h][l]);
        }
    }
    for (size_t h = 0; h < HEAD_TILE; h++) memcpy(y + h * y_stride, acc[h], sizeof acc[h]);
}

static void weighted_rows(const float *p, size_t p_stride, size_t n_heads, const float *rows,
                          size_t n_rows, float *y, size_t y_stride, size_t n) {
    size_t whole = n - n % WIDTH_TILE, h = 0;
    for (; h + HEAD_TILE <= n_heads; h += HEAD_TILE) {
        for (size_t d = 0; d < whole; d += WIDTH_TILE)
            weighted_tile(p + h * p_stride, p_stride, rows + d, n_rows, n, y + h * y_stride + d,
                          y_stride);
    }
    for (size_t head = 0; head < n_heads; head++) {
        size_t from = head < h ? whole : 0;
        for (size_t i = 0; i < n_rows && from < n; i++)
            axpy(p[head * p_stride + i], rows + i * n + from, y + head * y_stride + from, n - from);
    }
}

static void relu_axpy(const float *restrict scores, float w, float *restrict acc, size_t n) {
    for (size_t i = 0; i < n; i++) acc[i] = fmaf(scores[i] > 0.0f ? scores[i] : 0.0f, w, acc[i]);
}

/* An E4M3 code, shifted so that its exponent and mantissa fill the top of a float32, is the value
 * times 2^-120, subnormal codes included; the sign goes back to bit 31. */
static void decode_fp8(const uint8_t *restrict codes, float factor, float *restrict y, size_t n) {
    for (size_t i = 0; i < n; i++) {
        uint32_t code = codes[i];
        uint32_t bits = (code & 127u) << 20 | (code & 128u) << 24;
        float value;
        memcpy(&value, &bits, sizeof value);
        y[i] = (value * 0x1p120f) * factor;
    }
}

/* The same with E2M1: the shifted code is the value times 2^-126. */
static void decode_fp4(const uint8_t *restrict codes, float factor, float *restrict y, size_t n) {
    for (size_t i = 0; i < n; i++) {
        uint32_t code = (uint32_t)codes[i / 2] >> (4 * (i & 1)) & 15u;
        uint32_t bits = (code & 7u) << 22 | (code & 8u) << 28;
        float value;
        memcpy(&value, &bits, sizeof value);
        y[i] = (value * 0x1p126f) * factor;
    }
}

const ds4_vector_ops DS4_VECTOR_OPS = {
    .name = DS4_VECTOR_OPS_NAME,
    .dot = dot,
    .rms_scale = rms_scale,
    .scale = scale,
    .axpy = axpy,
    .combine = combine,
    .mix_streams = mix_streams,
    .swiglu = swiglu,
    .exp_minus = exp_minus,
    .sum = sum,
    .max = max,
    .pool = pool,
    .hadamard = hadamard,
    .weighted_rows = weighted_rows,
    .relu_axpy = relu_axpy,
    .decode_fp8 = decode_fp8,
    .decode_fp4 = decode_fp4,
};
