/* Products of few activation rows (decoding): every weight is read once per step and multiplied in
 * float32. Many matrices go in one launch. A row's result does not depend on how many rows are
 * multiplied together. */
#ifndef DS4_BACKEND_GPU_PRODUCTS_H
#define DS4_BACKEND_GPU_PRODUCTS_H

#include "backend/gpu/device.h"
#include "backend/gpu/formats.h"

namespace GPU_NAMESPACE {

enum { TILE_ROWS_MAX = 16, MAX_PRODUCTS = 16 };

/* Which pairs (row x chosen expert) meet which expert: experts.cu fills it on the device. A tile is
 * up to `tile_rows` pairs of one expert. */
struct expert_tiles {
    const int *n_tiles;
    const int *expert, *first, *count; /* per tile */
    const int *pairs;                  /* pair numbers, grouped by expert */
    const float *weight;               /* per pair */
};

struct product {
    matrix m;
    matrix gate; /* when codes are set: y = weight * silu(gate x) * (m x), clamped */
    float clamp;
    const float *x;
    int x_stride;
    float *y;
    int y_stride;
    int by_expert; /* rows are pairs from the tiles; x row = pair / x_divisor, y row = pair */
    int x_divisor;
};

struct product_list {
    int n;
    product items[MAX_PRODUCTS];
};

/* Rows that are best multiplied together when there are n_rows: 1, 2, 4, 8 or 16. */
int products_tile_rows(int n_rows);
/* `tile_rows`: as above; expert tiles were made for the same. `max_tiles`: the most that there can
 * be, for the size of the launch. */
void products_run(device *d, const product_list &list, int n_rows, int tile_rows,
                  const expert_tiles &tiles, int max_tiles, const uint32_t *iq2_grid);

} // namespace GPU_NAMESPACE

#endif
