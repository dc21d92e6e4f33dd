#if defined(__x86_64__)
#define DS4_VECTOR_OPS      ds4_vector_ops_avx512
#define DS4_VECTOR_OPS_NAME "avx512"
#include "backend/cpu/vector_ops_body.h"
#else
typedef int ds4_not_on_this_machine;
#endif
