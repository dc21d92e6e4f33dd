#include "backend/cpu/vector_ops.h"

#include <string.h>

#include "quant/quant.h"

extern const ds4_vector_ops ds4_vector_ops_scalar;
#if defined(__x86_64__)
extern const ds4_vector_ops ds4_vector_ops_avx2, ds4_vector_ops_avx512;
#endif

const ds4_vector_ops *ds4_vector_ops_by_name(const char *name) {
    if (ds4_kernels_by_name(name) == NULL) return NULL; /* the CPU lacks it */
#if defined(__x86_64__)
    if (strcmp(name, "avx2") == 0) return &ds4_vector_ops_avx2;
    if (strcmp(name, "avx512") == 0) return &ds4_vector_ops_avx512;
#endif
    return &ds4_vector_ops_scalar;
}

const ds4_vector_ops *ds4_vector_ops_best(void) {
    return ds4_vector_ops_by_name(ds4_kernels_best()->name);
}
