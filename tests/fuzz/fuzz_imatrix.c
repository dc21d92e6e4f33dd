/* Any bytes as an imatrix, in either form: refused with a message, or every value can be asked for.
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "imatrix/imatrix.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    ds4_imatrix *imatrix = NULL;
    ds4_error error = {0};
    if (ds4_imatrix_parse(data, size, "input", &imatrix, &error) != DS4_OK) {
        if (imatrix != NULL || error.message[0] == '\0') abort();
        return 0;
    }
    for (size_t i = 0; i < ds4_imatrix_n_entries(imatrix); i++) {
        const ds4_imatrix_entry *entry = ds4_imatrix_entry_at(imatrix, i);
        float *importance = malloc(entry->n_columns * sizeof *importance);
        bool found = false;
        if (importance == NULL) abort();
        for (size_t m = 0; m < entry->n_matrices && m < 8; m++) {
            if (ds4_imatrix_importance(imatrix, entry->name, m, entry->n_columns, entry->n_matrices,
                                       DS4_IMATRIX_SMOOTHING, importance, &found, NULL) != DS4_OK)
                continue; /* an expert's own entry of another length */
            for (size_t c = 0; found && c < entry->n_columns; c++)
                if (importance[c] < 0 || isnan(importance[c])) abort();
        }
        free(importance);
    }
    ds4_imatrix_destroy(imatrix);
    return 0;
}
