/* Which rows of the IQ2_XXS code book are near a combination of eight digits. */
#include <stdlib.h>

#include "base/error.h"
#include "quant/quantize_blocks.h"

enum { N_ROWS = 256, PADDING = 16 };

static unsigned squared_distance(const uint8_t digits[8], unsigned row) {
    unsigned sum = 0;
    for (unsigned lane = 0; lane < 8; lane++) {
        int difference = 2 * ((int)digits[lane] - (int)(ds4_iq2_xxs_digits[row] >> 2 * lane & 3));
        sum += (unsigned)(difference * difference);
    }
    return sum;
}

/* The rows at the two smallest distances, nearest first and by number; returns how many. */
static unsigned near_rows(const uint8_t digits[8], uint8_t rows[N_ROWS]) {
    unsigned distance[N_ROWS], limits[2] = {~0u, ~0u}, n = 0;
    for (unsigned row = 0; row < N_ROWS; row++) {
        unsigned d = distance[row] = squared_distance(digits, row);
        if (d < limits[0]) {
            limits[1] = limits[0];
            limits[0] = d;
        } else if (d > limits[0] && d < limits[1]) {
            limits[1] = d;
        }
    }
    for (unsigned step = 0; step < 2; step++)
        for (unsigned row = 0; row < N_ROWS; row++)
            if (distance[row] == limits[step]) rows[n++] = (uint8_t)row;
    return n;
}

static ds4_status fill(ds4_iq2_search *s, ds4_error *error) {
    size_t capacity = 0, n = 0;
    for (unsigned key = 0; key < DS4_IQ2_KEYS; key++) {
        uint8_t digits[8], rows[N_ROWS];
        for (unsigned lane = 0, rest = key; lane < 8; lane++, rest /= 3)
            digits[lane] = (uint8_t)(rest % 3);
        s->near_begin[key] = (uint32_t)n;
        s->rows[key] = -1;
        unsigned n_near = near_rows(digits, rows);
        if (squared_distance(digits, rows[0]) == 0) {
            s->rows[key] = rows[0];
            continue;
        }
        if (n + n_near + PADDING > capacity) {
            capacity = 2 * capacity + N_ROWS + PADDING;
            uint8_t *grown = realloc(s->near_rows, capacity);
            if (grown != NULL) s->near_rows = grown;
            uint16_t *wider = realloc(s->near_digits, capacity * sizeof *wider);
            if (wider != NULL) s->near_digits = wider;
            if (grown == NULL || wider == NULL)
                return ds4_fail_memory(error, 3 * capacity, "the IQ2_XXS code book");
        }
        for (unsigned i = 0; i < n_near; i++, n++) {
            s->near_rows[n] = rows[i];
            s->near_digits[n] = ds4_iq2_xxs_digits[rows[i]];
        }
    }
    s->near_begin[DS4_IQ2_KEYS] = (uint32_t)n;
    memset(s->near_digits + n, 0, PADDING * sizeof *s->near_digits);
    return DS4_OK;
}

ds4_status ds4_iq2_search_create(ds4_iq2_search **search, ds4_error *error) {
    *search = calloc(1, sizeof **search);
    if (*search == NULL) return ds4_fail_memory(error, sizeof **search, "the IQ2_XXS code book");
    ds4_status status = fill(*search, error);
    if (status == DS4_OK) return DS4_OK;
    ds4_iq2_search_destroy(*search);
    *search = NULL;
    return status;
}

void ds4_iq2_search_destroy(ds4_iq2_search *search) {
    if (search == NULL) return;
    free(search->near_rows);
    free(search->near_digits);
    free(search);
}
