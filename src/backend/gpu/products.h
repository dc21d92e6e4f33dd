/* Products of weights and activation rows. Many matrices go in one launch. A row's result does not
 * depend on how many rows are multiplied together. Tiled matrices (tiles.h) are multiplied by the
 * matrix units, of few rows (tile_products.cu) or many (wide_products.cu); others in float32
 * (products.cu). */
#ifndef DS4_BACKEND_GPU_PRODUCTS_H
#define DS4_BACKEND_GPU_PRODUCTS_H

#include "backend/gpu/activations.h"
#include "backend/gpu/device.h"

namespace GPU_NAMESPACE {

enum { TILE_ROWS_MAX = 16, NARROW_ROWS = 8, WIDE_ROWS = 64, HOPPER_ROWS = 128, MAX_PRODUCTS = 16 };

/* Which pairs (row x chosen expert) meet which expert: experts.cu fills it on the device. A tile is
 * up to `tile_rows` pairs of one expert. */
struct expert_tiles {
    const int *n_tiles;
    const int *expert, *first, *count; /* per tile */
    const int *pairs;                  /* pair numbers, grouped by expert */
    const int *chosen;                 /* per pair: its expert */
    const float *weight;               /* per pair */
    uint8_t *sorted;                   /* room for the split rows of all pairs, in that order */
    int n_pairs;
};

struct product {
    matrix m;
    matrix gate; /* when codes are set: y = weight * silu(gate x) * (m x), clamped */
    float clamp;
    activation x, y; /* y: columns from y.first on */
    int by_expert;   /* rows are pairs from the tiles; x row = pair / x_divisor, y row = pair */
    int x_divisor;
    /* The launch before has waited for the router's before it let this one begin: which rows meet
     * which expert may be read before its end. */
    int rows_known;
    int x_sorted, y_sorted; /* rows are in the order of the tiles' pairs, see keeps_rows_sorted */
};

struct product_list {
    int n;
    product items[MAX_PRODUCTS];
};

/* Rows of an expert tile, and whether many rows at once are worth the other kernel. `max_tiles`:
 * the most that there can be, for the size of the launch. `code_book`: of IQ2_XXS, see formats.h.
 */
int wide_tile_rows(device *d); /* of the matrix units, when there are many */
/* The kernel for tiles of so many rows wants an expert's rows side by side: what it hands to
 * another product may stay so. */
bool keeps_rows_sorted(device *d, int tile_rows);
int products_tile_rows(int n_rows); /* in float32: 1, 4 or 16 */
void products_run(device *d, const product_list &list, int n_rows, int tile_rows,
                  const expert_tiles &tiles, int max_tiles, const uint32_t *code_book);
void float_products_run(device *d, const product_list &list, int n_rows, int tile_rows,
                        const expert_tiles &tiles, int max_tiles, const uint32_t *code_book);
void narrow_products_run(device *d, const product_list &list, int n_rows, int tile_rows,
                         const expert_tiles &tiles, int max_tiles, const uint32_t *code_book);
/* Experts by two-bit weights for a step of several rows, if they fit into shared memory; else it
 * does nothing and returns false. */
bool expert_products_run(device *d, const product_list &list, int n_rows, int tile_rows,
                         const expert_tiles &tiles, const uint32_t *code_book);
void wide_products_run(device *d, const product_list &list, int n_rows, const expert_tiles &tiles,
                       int max_tiles, const uint32_t *code_book);
#ifdef __CUDACC__
void hopper_products_run(device *d, const product_list &list, int n_rows, const expert_tiles &tiles,
                         int max_tiles, const uint32_t *code_book);
#endif

} // namespace GPU_NAMESPACE

#endif
