/* Any bytes as a direction file, for a shape that the first two of them choose: refused with a
 * message, or every row is finite and steers. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#include "steering/direction.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2) return 0;
    uint32_t n_layers = 1 + data[0] % 8u, n_embd = 1 + data[1] % 32u, n_steered = 0;
    ds4_direction *direction = NULL;
    ds4_error error = {0};
    if (ds4_direction_decode(data + 2, size - 2, n_layers, n_embd, "input", &direction, &error) !=
        DS4_OK) {
        if (error.message[0] == '\0' || direction != NULL) abort();
        return 0;
    }
    const ds4_direction_info *info = ds4_direction_get_info(direction);
    if (info->n_layers != n_layers || info->n_embd != n_embd) abort();
    for (uint32_t l = 0; l < n_layers; l++) {
        const float *row = ds4_direction_row(direction, l);
        double sum = 0;
        for (uint32_t i = 0; row != NULL && i < n_embd; i++) {
            if (!isfinite(row[i])) abort();
            sum += (double)row[i] * (double)row[i];
        }
        if (row != NULL && !(sum > 0)) abort();
        n_steered += row != NULL;
    }
    if (n_steered == 0 || n_steered != info->n_steered) abort();
    const ds4_steering dial = {.direction = direction, .ffn = 1};
    if (ds4_steering_identity(&dial) == 0) abort();
    ds4_direction_close(direction);
    return 0;
}
