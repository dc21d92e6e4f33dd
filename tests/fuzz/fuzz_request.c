/* The body of a chat completion (fuzz_body.h). */
#include "fuzz_body.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_body(ds4_openai_request_parse, data, size);
    return 0;
}
