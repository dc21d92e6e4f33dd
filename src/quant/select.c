/* Which kernels this CPU can run: the only place that asks. */
#include "quant/blocks.h"

#if defined(__x86_64__)
#include <cpuid.h>

/* Not every compiler knows this feature's name. */
static bool cpu_has_f16c(void) {
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}

static bool cpu_has_avx2(void) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && cpu_has_f16c();
}

static bool cpu_has_avx512(void) {
    return cpu_has_avx2() && __builtin_cpu_supports("avx512f") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni") &&
           __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512bitalg");
}
#endif

static bool cpu_has(const ds4_kernels *kernels) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (kernels == &ds4_kernels_avx2) return cpu_has_avx2();
    if (kernels == &ds4_kernels_avx512) return cpu_has_avx512();
#endif
    return kernels != NULL; /* scalar needs nothing; NEON is part of every 64-bit Arm */
}

/* Best first. */
static const ds4_kernels *const built_in[] = {
#if defined(__x86_64__)
    &ds4_kernels_avx512,
    &ds4_kernels_avx2,
#elif defined(__aarch64__)
    &ds4_kernels_neon,
#endif
    &ds4_kernels_scalar,
};

const ds4_kernels *ds4_kernels_best(void) {
    size_t i = 0;
    while (!cpu_has(built_in[i])) i++; /* ends at scalar */
    return built_in[i];
}

const ds4_kernels *ds4_kernels_by_name(const char *name) {
    for (size_t i = 0; i < sizeof built_in / sizeof built_in[0]; i++)
        if (strcmp(built_in[i]->name, name) == 0) return cpu_has(built_in[i]) ? built_in[i] : NULL;
    return NULL;
}
