/* How many random blocks of each format the instruction sets are compared on. */
#ifndef DS4_TESTS_QUANT_BLOCK_COUNT_H
#define DS4_TESTS_QUANT_BLOCK_COUNT_H

#include <stdlib.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define BLOCKS_ARE_DEAR 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define BLOCKS_ARE_DEAR 1
#endif
#endif

/* The environment variable DS4_TEST_BLOCKS, else `usual`; a tenth of it under a sanitizer, which
 * looks for accesses that do not depend on the values: a thousand blocks have every kind and size,
 * and every length of what remains of a batch. */
static inline unsigned block_count(unsigned usual) {
    const char *wanted = getenv("DS4_TEST_BLOCKS");
    if (wanted != NULL) return (unsigned)strtoul(wanted, NULL, 10);
#ifdef BLOCKS_ARE_DEAR
    return usual / 10;
#else
    return usual;
#endif
}

#endif
