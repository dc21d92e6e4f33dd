/* How far two tensors of one shape are apart. */
#ifndef DS4_GGUF_TOOL_DIFFERENCE_H
#define DS4_GGUF_TOOL_DIFFERENCE_H

#include "base/threads.h"
#include "gguf/gguf_reader.h"

typedef struct ds4_difference {
    bool is_equal;                  /* the same bytes */
    uint64_t n_blocks, n_differing; /* 0 when the types differ */
    double largest;                 /* of a value; infinite when one of the two is not finite */
    double sum_of_squares;          /* of the differences */
    double reference_squares;       /* of a's values */
    double squares, products;       /* of b's values; of a's with b's */
} ds4_difference;

/* Types that cannot be decoded are compared as bytes only; then both must have one type. The result
 * does not depend on the number of threads. */
ds4_status ds4_difference_of(const ds4_gguf_tensor *a, const ds4_gguf_tensor *b,
                             ds4_threads *threads, ds4_difference *difference, ds4_error *error);

#endif
