/* The body of Anthropic's messages (fuzz_body.h). */
#include "fuzz_body.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_body(ds4_anthropic_request_parse, data, size);
    return 0;
}
