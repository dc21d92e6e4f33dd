#include "backend/cpu/cpu.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"

enum { ALIGNMENT = 64, MAX_TILE_ROWS = 64, MIN_TILE_ROWS = 4, TILES_PER_THREAD = 4 };

void *ds4_cpu_allocate(size_t a, size_t b) {
    size_t n;
    if (__builtin_mul_overflow(a, b, &n) || n > SIZE_MAX - ALIGNMENT) return NULL;
    n = (n + ALIGNMENT) & ~(size_t)(ALIGNMENT - 1); /* never zero bytes */
    void *memory = aligned_alloc(ALIGNMENT, n);
    if (memory != NULL) memset(memory, 0, n);
    return memory;
}

ds4_status ds4_cpu_create(uint32_t n_threads, ds4_activations activations, size_t scratch_bytes,
                          ds4_cpu *cpu, ds4_error *error) {
    *cpu = (ds4_cpu){
        .kernels = ds4_kernels_best(),
        .ops = ds4_vector_ops_best(),
        .activations = activations,
        .scratch_bytes = scratch_bytes,
    };
    ds4_status status = ds4_threads_create(n_threads, &cpu->threads, error);
    if (status != DS4_OK) return status;
    cpu->n_threads = ds4_threads_count(cpu->threads);
    cpu->scratch = calloc(cpu->n_threads, sizeof *cpu->scratch);
    cpu->matmul_scratch = calloc(cpu->n_threads, sizeof *cpu->matmul_scratch);
    bool complete = cpu->scratch != NULL && cpu->matmul_scratch != NULL;
    for (uint32_t i = 0; complete && i < cpu->n_threads; i++) {
        cpu->scratch[i] = ds4_cpu_allocate(scratch_bytes, 1);
        cpu->matmul_scratch[i] = ds4_cpu_allocate(ds4_matmul_scratch_bytes(), 1);
        complete = cpu->scratch[i] != NULL && cpu->matmul_scratch[i] != NULL;
    }
    if (complete) return DS4_OK;
    ds4_cpu_free(cpu);
    return ds4_fail_memory(error, scratch_bytes, "per-thread scratch");
}

void ds4_cpu_free(ds4_cpu *cpu) {
    ds4_threads_destroy(cpu->threads);
    for (uint32_t i = 0; i < cpu->n_threads; i++) {
        if (cpu->scratch != NULL) free(cpu->scratch[i]);
        if (cpu->matmul_scratch != NULL) free(cpu->matmul_scratch[i]);
    }
    free(cpu->scratch);
    free(cpu->matmul_scratch);
    *cpu = (ds4_cpu){0};
}

uint64_t ds4_cpu_bytes(uint32_t n_threads, size_t scratch_bytes) {
    return (uint64_t)n_threads * (scratch_bytes + ds4_matmul_scratch_bytes());
}

/* ---- rows ---- */

/* A weight type that stands for each int8 form. */
static const ds4_type INT8_KIND_TYPE[DS4_INT8_KINDS] = {DS4_TYPE_Q8_0, DS4_TYPE_Q2_K};

static int int8_kind(ds4_type type) {
    if (!ds4_type_takes_int8(type)) return -1;
    return ds4_type_get_info((uint32_t)type)->block_elements == 32 ? 0 : 1;
}

static size_t int8_row_bytes(int kind, size_t width) {
    if (width % ds4_type_get_info((uint32_t)INT8_KIND_TYPE[kind])->block_elements != 0) return 0;
    return (ds4_activation_row_bytes(INT8_KIND_TYPE[kind], width) + ALIGNMENT - 1) &
           ~(size_t)(ALIGNMENT - 1);
}

static bool create_int8_rows(ds4_rows *rows, int kind) {
    size_t row_bytes = int8_row_bytes(kind, rows->width);
    if (row_bytes == 0) return true; /* no matrix of this kind can have this width */
    rows->int8_data[kind] = ds4_cpu_allocate(rows->n, row_bytes);
    rows->int8[kind] = calloc(rows->n, sizeof *rows->int8[kind]);
    if (rows->int8_data[kind] == NULL || rows->int8[kind] == NULL) return false;
    for (size_t i = 0; i < rows->n; i++)
        rows->int8[kind][i] = rows->int8_data[kind] + i * row_bytes;
    return true;
}

ds4_status ds4_rows_view(const ds4_cpu *cpu, float *data, size_t n, size_t width, bool is_input,
                         ds4_rows *rows, ds4_error *error) {
    *rows = (ds4_rows){.width = width, .n = n, .data = data, .borrowed = true};
    rows->row = calloc(n, sizeof *rows->row);
    bool complete = data != NULL && rows->row != NULL;
    for (size_t i = 0; complete && i < n; i++) rows->row[i] = data + i * width;
    if (is_input && cpu->activations == DS4_ACTIVATIONS_INT8) {
        for (int kind = 0; complete && kind < DS4_INT8_KINDS; kind++)
            complete = create_int8_rows(rows, kind);
    }
    if (complete) return DS4_OK;
    ds4_rows_free(rows);
    return ds4_fail_memory(error, n * width * sizeof(float), "activation rows");
}

ds4_status ds4_rows_create(const ds4_cpu *cpu, size_t n, size_t width, bool is_input,
                           ds4_rows *rows, ds4_error *error) {
    float *data = ds4_cpu_allocate(n * sizeof(float), width);
    ds4_status status = ds4_rows_view(cpu, data, n, width, is_input, rows, error);
    if (status != DS4_OK)
        free(data);
    else
        rows->borrowed = false;
    return status;
}

void ds4_rows_free(ds4_rows *rows) {
    if (!rows->borrowed) free(rows->data);
    free(rows->row);
    for (int kind = 0; kind < DS4_INT8_KINDS; kind++) {
        free(rows->int8_data[kind]);
        free(rows->int8[kind]);
    }
    *rows = (ds4_rows){0};
}

uint64_t ds4_rows_bytes(ds4_activations activations, size_t n, size_t width, bool is_input) {
    uint64_t row = width * sizeof(float) + sizeof(float *);
    for (int kind = 0; is_input && activations == DS4_ACTIVATIONS_INT8 && kind < DS4_INT8_KINDS;
         kind++)
        row += int8_row_bytes(kind, width) + sizeof(void *);
    return n * row;
}

ds4_row_list ds4_rows_from(const ds4_rows *rows, size_t first) {
    ds4_row_list list = {.row = rows->row + first};
    for (int kind = 0; kind < DS4_INT8_KINDS; kind++)
        if (rows->int8[kind] != NULL) list.int8[kind] = rows->int8[kind] + first;
    return list;
}

/* ---- products ---- */

ds4_product ds4_product_make(const ds4_cpu *cpu, const ds4_matrix *matrix, size_t expert,
                             ds4_row_list x, size_t n_tokens, float *const *y) {
    int kind = cpu->activations == DS4_ACTIVATIONS_INT8 ? int8_kind(matrix->type) : -1;
    return (ds4_product){
        .matmul =
            {
                .type = matrix->type,
                .weights = matrix->data + expert * matrix->n_out * matrix->row_bytes,
                .row_bytes = matrix->row_bytes,
                .n_in = matrix->n_in,
                .n_tokens = n_tokens,
                .x = (const float *const *)x.row,
                .xq = kind < 0 ? NULL : (const void *const *)x.int8[kind],
                .y = y,
            },
        .n_rows = matrix->n_out,
        .matrix = matrix,
        .expert = expert,
    };
}

ds4_product ds4_product_rows(ds4_product product, size_t first, size_t n_rows) {
    product.matmul.weights =
        (const uint8_t *)product.matmul.weights + first * product.matmul.row_bytes;
    product.n_rows = n_rows;
    return product;
}

typedef struct prepare_loop {
    ds4_cpu *cpu;
    const ds4_rows *rows;
    size_t first;
    bool wanted[DS4_INT8_KINDS];
} prepare_loop;

static void prepare_piece(void *context, uint32_t thread, size_t begin, size_t end) {
    (void)thread;
    prepare_loop *loop = context;
    for (size_t i = loop->first + begin; i < loop->first + end; i++) {
        for (int kind = 0; kind < DS4_INT8_KINDS; kind++) {
            if (!loop->wanted[kind]) continue;
            loop->cpu->kernels->quantize_activations(INT8_KIND_TYPE[kind], loop->rows->row[i],
                                                     loop->rows->int8[kind][i], loop->rows->width);
        }
    }
}

void ds4_rows_prepare(ds4_cpu *cpu, const ds4_rows *rows, size_t first, size_t n,
                      const ds4_product *products, size_t n_products) {
    if (cpu->activations != DS4_ACTIVATIONS_INT8) return;
    prepare_loop loop = {.cpu = cpu, .rows = rows, .first = first};
    bool any = false;
    for (size_t i = 0; i < n_products; i++) {
        if (products[i].matmul.xq == NULL) continue;
        loop.wanted[int8_kind(products[i].matmul.type)] = any = true;
    }
    if (any) ds4_threads_for(cpu->threads, n, 1, prepare_piece, &loop);
}

typedef struct product_loop {
    ds4_cpu *cpu;
    const ds4_product *products;
    size_t n_products, tile_rows;
} product_loop;

static size_t count_tiles(const ds4_product *product, size_t tile_rows) {
    return product->matmul.n_tokens == 0 ? 0 : (product->n_rows + tile_rows - 1) / tile_rows;
}

/* Tile number `begin` of the whole list lies in some product: walk to it, then on. */
static void product_piece(void *context, uint32_t thread, size_t begin, size_t end) {
    product_loop *loop = context;
    size_t product = 0, tile = begin;
    for (size_t i = begin; i < end; i++, tile++) {
        size_t n_tiles;
        while (tile >= (n_tiles = count_tiles(&loop->products[product], loop->tile_rows))) {
            tile -= n_tiles;
            product++;
        }
        const ds4_product *p = &loop->products[product];
        size_t first = tile * loop->tile_rows, last = first + loop->tile_rows;
        loop->cpu->kernels->matmul(&p->matmul, first, last < p->n_rows ? last : p->n_rows,
                                   loop->cpu->matmul_scratch[thread]);
    }
}

static void show_products(const ds4_cpu *cpu, const ds4_product *products, size_t n_products) {
    for (size_t i = 0; i < n_products; i++) {
        const ds4_product *p = &products[i];
        const ds4_observed_product seen = {.weight = p->matrix->name,
                                           .matrix = p->expert,
                                           .n_matrices = p->matrix->n_experts,
                                           .x = p->matmul.x,
                                           .n_rows = p->matmul.n_tokens,
                                           .n_columns = p->matrix->n_in};
        if (seen.n_rows > 0) cpu->observe(cpu->observe_context, &seen);
    }
}

/* Tiles are large enough to reuse a decoded tile and small enough to share the list evenly. */
void ds4_products_run(ds4_cpu *cpu, const ds4_product *products, size_t n_products) {
    if (cpu->observe != NULL) show_products(cpu, products, n_products);
    size_t n_rows = 0, n_tiles = 0;
    for (size_t i = 0; i < n_products; i++)
        n_rows += products[i].matmul.n_tokens == 0 ? 0 : products[i].n_rows;
    size_t tile_rows = n_rows / (cpu->n_threads * TILES_PER_THREAD) / MIN_TILE_ROWS * MIN_TILE_ROWS;
    if (tile_rows > MAX_TILE_ROWS) tile_rows = MAX_TILE_ROWS;
    if (tile_rows < MIN_TILE_ROWS) tile_rows = MIN_TILE_ROWS;
    for (size_t i = 0; i < n_products; i++) n_tiles += count_tiles(&products[i], tile_rows);
    product_loop loop = {
        .cpu = cpu, .products = products, .n_products = n_products, .tile_rows = tile_rows};
    ds4_threads_for(cpu->threads, n_tiles, 1, product_piece, &loop);
}
