#include "gguf-tool/difference.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

enum { PIECE_ELEMENTS = 1 << 18 };

typedef struct comparison {
    const ds4_gguf_tensor *a, *b;
    uint64_t n_rows, rows_per_piece;
    bool is_decoded;
    float **rows;           /* per thread: one row of each */
    ds4_difference *pieces; /* added up in order */
} comparison;

static void compare_blocks(const comparison *c, uint64_t row, ds4_difference *d) {
    const ds4_type_info *info = ds4_type_get_info(c->a->type);
    const uint8_t *a = (const uint8_t *)c->a->data + row * c->a->row_bytes;
    const uint8_t *b = (const uint8_t *)c->b->data + row * c->b->row_bytes;
    for (uint64_t at = 0; at < c->a->row_bytes; at += info->block_bytes)
        d->n_differing += memcmp(a + at, b + at, info->block_bytes) != 0;
}

static void compare_values(const comparison *c, uint64_t row, float *x, ds4_difference *d) {
    const ds4_kernels *kernels = ds4_kernels_best();
    size_t n = (size_t)c->a->ne[0];
    float *y = x + n;
    kernels->decode((ds4_type)c->a->type, (const uint8_t *)c->a->data + row * c->a->row_bytes, x,
                    n);
    kernels->decode((ds4_type)c->b->type, (const uint8_t *)c->b->data + row * c->b->row_bytes, y,
                    n);
    for (size_t i = 0; i < n; i++) {
        double difference = fabs((double)x[i] - (double)y[i]);
        if (!isfinite(difference)) difference = x[i] == y[i] ? 0 : INFINITY;
        d->largest = difference > d->largest ? difference : d->largest;
        d->sum_of_squares += difference * difference;
        d->reference_squares += (double)x[i] * (double)x[i];
        d->squares += (double)y[i] * (double)y[i];
        d->products += (double)x[i] * (double)y[i];
    }
}

static void compare_pieces(void *context, uint32_t thread, size_t begin, size_t end) {
    comparison *c = context;
    for (size_t piece = begin; piece < end; piece++) {
        ds4_difference *d = &c->pieces[piece];
        uint64_t first = piece * c->rows_per_piece, last = first + c->rows_per_piece;
        if (last > c->n_rows) last = c->n_rows;
        for (uint64_t row = first; row < last; row++) {
            bool is_same =
                c->a->type == c->b->type &&
                memcmp((const uint8_t *)c->a->data + row * c->a->row_bytes,
                       (const uint8_t *)c->b->data + row * c->b->row_bytes, c->a->row_bytes) == 0;
            if (!is_same && c->a->type == c->b->type) compare_blocks(c, row, d);
            if (c->is_decoded) compare_values(c, row, c->rows[thread], d);
        }
    }
}

static ds4_status compare(comparison *c, ds4_threads *threads, size_t n_pieces, ds4_error *error) {
    uint32_t n_threads = ds4_threads_count(threads);
    size_t row_bytes = 2 * (size_t)c->a->ne[0] * sizeof(float);
    c->pieces = calloc(n_pieces, sizeof *c->pieces);
    c->rows = calloc(n_threads, sizeof *c->rows);
    if (c->pieces == NULL || c->rows == NULL)
        return ds4_fail_memory(error, n_pieces * sizeof *c->pieces, "a comparison");
    for (uint32_t i = 0; i < n_threads; i++) {
        c->rows[i] = malloc(row_bytes);
        if (c->rows[i] == NULL) return ds4_fail_memory(error, row_bytes, "two rows");
    }
    ds4_threads_for(threads, n_pieces, 1, compare_pieces, c);
    return DS4_OK;
}

ds4_status ds4_difference_of(const ds4_gguf_tensor *a, const ds4_gguf_tensor *b,
                             ds4_threads *threads, ds4_difference *difference, ds4_error *error) {
    const ds4_type_info *info = ds4_type_get_info(a->type);
    comparison c = {.a = a, .b = b, .n_rows = a->ne[1] * a->ne[2] * a->ne[3]};
    *difference = (ds4_difference){0};
    difference->is_equal = a->type == b->type && memcmp(a->data, b->data, (size_t)a->n_bytes) == 0;
    if (a->type == b->type) difference->n_blocks = a->n_bytes / info->block_bytes;
    if (difference->is_equal) return DS4_OK;
    c.is_decoded = info->computable && ds4_type_get_info(b->type)->computable;
    c.rows_per_piece = a->ne[0] < PIECE_ELEMENTS ? PIECE_ELEMENTS / a->ne[0] : 1;
    size_t n_pieces = (size_t)((c.n_rows + c.rows_per_piece - 1) / c.rows_per_piece);
    ds4_status status = compare(&c, threads, n_pieces, error);
    for (size_t i = 0; status == DS4_OK && i < n_pieces; i++) {
        const ds4_difference *d = &c.pieces[i];
        difference->n_differing += d->n_differing;
        difference->largest = d->largest > difference->largest ? d->largest : difference->largest;
        difference->sum_of_squares += d->sum_of_squares;
        difference->reference_squares += d->reference_squares;
        difference->squares += d->squares;
        difference->products += d->products;
    }
    for (uint32_t i = 0; c.rows != NULL && i < ds4_threads_count(threads); i++) free(c.rows[i]);
    free(c.rows);
    free(c.pieces);
    return status;
}
