/* The CPU backend's context: threads, kernels, private scratch per thread; buffers of activation
 * rows; and matrix products over them. Owned by one engine; used by one thread at a time (which the
 * pool's threads help). */
#ifndef DS4_BACKEND_CPU_CPU_H
#define DS4_BACKEND_CPU_CPU_H

#include "backend/cpu/vector_ops.h"
#include "base/threads.h"
#include "model/weights.h"

typedef struct ds4_cpu {
    ds4_threads *threads;
    const ds4_kernels *kernels;
    const ds4_vector_ops *ops;
    ds4_activations activations;
    uint32_t n_threads;
    size_t scratch_bytes; /* per thread, for whatever loop is running */
    uint8_t **scratch;    /* [n_threads], 64-byte aligned */
    uint8_t **matmul_scratch;
    ds4_product_observer observe; /* NULL: nobody looks */
    void *observe_context;
} ds4_cpu;

/* `scratch_bytes`: what the largest loop body needs per thread. Bytes used are computed by
 * ds4_cpu_bytes. */
ds4_status ds4_cpu_create(uint32_t n_threads, ds4_activations activations, size_t scratch_bytes,
                          ds4_cpu *cpu, ds4_error *error);
void ds4_cpu_free(ds4_cpu *cpu);
uint64_t ds4_cpu_bytes(uint32_t n_threads, size_t scratch_bytes);

/* 64-byte aligned memory, zeroed; free() it. NULL when out of memory or when a * b overflows. */
void *ds4_cpu_allocate(size_t a, size_t b);

/* The int8 forms an activation row can have: 32-blocks (Q8_0, MXFP4) and 256-blocks (K-quants,
 * IQ2_XXS). */
enum { DS4_INT8_KINDS = 2 };

/* Rows as products take them: a pointer per row, and per int8 form another (NULL tables with float
 * activations). */
typedef struct ds4_row_list {
    float *const *row;
    void *const *int8[DS4_INT8_KINDS];
} ds4_row_list;

/* A buffer of activation rows and the row pointers into it. */
typedef struct ds4_rows {
    size_t width, n;
    float *data;   /* [n][width] */
    bool borrowed; /* `data` belongs to another buffer */
    float **row;   /* [n] */
    uint8_t *int8_data[DS4_INT8_KINDS];
    void **int8[DS4_INT8_KINDS]; /* [n] */
} ds4_rows;

/* `is_input`: products will read these rows, so that they need room for int8 forms. */
ds4_status ds4_rows_create(const ds4_cpu *cpu, size_t n, size_t width, bool is_input,
                           ds4_rows *rows, ds4_error *error);
/* The same over memory that another buffer owns: its rows seen with another width. */
ds4_status ds4_rows_view(const ds4_cpu *cpu, float *data, size_t n, size_t width, bool is_input,
                         ds4_rows *rows, ds4_error *error);
void ds4_rows_free(ds4_rows *rows);
uint64_t ds4_rows_bytes(ds4_activations activations, size_t n, size_t width, bool is_input);
ds4_row_list ds4_rows_from(const ds4_rows *rows, size_t first);

/* One matrix product of a list that is run together. */
typedef struct ds4_product {
    ds4_matmul matmul;
    size_t n_rows;
    const ds4_matrix *matrix;
    size_t expert;
} ds4_product;

/* y[t] = matrix(expert) x[t] for t < n_tokens. The pointer tables must live until the product has
 * run. */
ds4_product ds4_product_make(const ds4_cpu *cpu, const ds4_matrix *matrix, size_t expert,
                             ds4_row_list x, size_t n_tokens, float *const *y);
/* Only rows first .. first+n_rows-1 of a product's matrix; y[t][0] is row `first`. */
ds4_product ds4_product_rows(ds4_product product, size_t first, size_t n_rows);

/* Fills the int8 forms that `products` will read of rows first..first+n-1 (nothing with float
 * activations). */
void ds4_rows_prepare(ds4_cpu *cpu, const ds4_rows *rows, size_t first, size_t n,
                      const ds4_product *products, size_t n_products);
/* Runs all products of the list as one parallel loop. Their outputs must not overlap. */
void ds4_products_run(ds4_cpu *cpu, const ds4_product *products, size_t n_products);

#endif
