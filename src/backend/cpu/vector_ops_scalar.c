/* The instruction set every machine of this architecture has (on 64-bit Arm that includes NEON and
 * fma). */
#define DS4_VECTOR_OPS      ds4_vector_ops_scalar
#define DS4_VECTOR_OPS_NAME "scalar"
#include "backend/cpu/vector_ops_body.h"
