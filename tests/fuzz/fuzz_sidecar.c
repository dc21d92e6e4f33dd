/* Any bytes as the sidecar of a direction: refused with a message, or every number within its
 * range. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "steering/sidecar.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    ds4_sidecar s;
    ds4_error error = {0};
    if (ds4_sidecar_parse((const char *)data, size, "input", &s, &error) != DS4_OK) {
        if (error.message[0] == '\0') abort();
        return 0;
    }
    if (!s.found || memchr(s.model, '\0', sizeof s.model) == NULL) abort();
    if (s.recommends && (!isfinite(s.ffn) || !isfinite(s.attn) || fabsf(s.ffn) > 100 ||
                         fabsf(s.attn) > 100 || s.first_layer > 1000000))
        abort();
    return 0;
}
