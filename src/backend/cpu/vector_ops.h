/* Element-wise float32 operations of the forward pass. Plain C written for the auto-vectoriser and
 * compiled once per instruction set; every reduction runs over a fixed number of lanes with fused
 * multiply-adds, so all builds of a function give the same bits (docs/numerics.md). */
#ifndef DS4_BACKEND_CPU_VECTOR_OPS_H
#define DS4_BACKEND_CPU_VECTOR_OPS_H

#include <stddef.h>
#include <stdint.h>

typedef struct ds4_vector_ops {
    const char *name;
    /* Summed in double over 8 lanes. */
    double (*dot)(const float *x, const float *y, size_t n);
    /* 1 / sqrt(mean(x^2) + eps), the mean by `dot`. */
    float (*rms_scale)(const float *x, size_t n, float eps);
    /* y = (x * scale) * w; w may be NULL. y may be x. */
    void (*scale)(const float *x, float scale, const float *w, float *y, size_t n);
    /* y += a * x */
    void (*axpy)(float a, const float *x, float *y, size_t n);
    /* y = sum over i < n_rows, ascending, of a[i] * rows[i] */
    void (*combine)(const float *a, const float *const *rows, size_t n_rows, float *y, size_t n);
    /* streams[k] = post[k] * y + sum over j of mix[j][k] * streams[j], in place; streams are n
     * apart. */
    void (*mix_streams)(float *streams, const float *y, const float *post, const float *mix,
                        size_t n_streams, size_t n);
    /* gate = weight * silu(min(gate, clamp)) * clamp(up); clamp <= 1e-6: none */
    void (*swiglu)(float *gate, const float *up, float clamp, float weight, size_t n);
    /* x[i] = exp(x[i] - max); returns nothing: the caller sums in its own order. */
    void (*exp_minus)(float *x, float max, size_t n);
    float (*sum)(const float *x, size_t n);
    float (*max)(const float *x, size_t n);
    /* Per lane d: softmax over i < n_rows of gate[i][d], applied to value[i][d]. */
    void (*pool)(const float *const *value, const float *const *gate, size_t n_rows, float *y,
                 size_t n);
    /* Walsh-Hadamard transform in natural order, times 1/sqrt(n); n a power of two. */
    void (*hadamard)(float *x, size_t n);
    /* y[h][d] += sum over i ascending of p[h][i] * rows[i][d] for n_heads heads; p rows are
     * p_stride apart. */
    void (*weighted_rows)(const float *p, size_t p_stride, size_t n_heads, const float *rows,
                          size_t n_rows, float *y, size_t y_stride, size_t n);
    /* acc[j] += relu(scores[j]) * w */
    void (*relu_axpy)(const float *scores, float w, float *acc, size_t n);
    /* FP8 E4M3 codes and FP4 E2M1 codes (low nibble first) to float32, times scale (a power of
     * two). */
    void (*decode_fp8)(const uint8_t *codes, float scale, float *y, size_t n);
    void (*decode_fp4)(const uint8_t *codes, float scale, float *y, size_t n);
} ds4_vector_ops;

const ds4_vector_ops *ds4_vector_ops_best(void);
const ds4_vector_ops *ds4_vector_ops_by_name(const char *name);

#endif
