/* The comparisons of the unit tests without a test library, for machines that are reached through a
 * cross compiler. Usage: neon_check SET BLOCKS REFIT_BLOCKS. Fails when SET differs from the scalar
 * code on that many blocks of a format; prints a hash of all results that is the same on every
 * machine and for every set. */
#include "compare.h"
#include "compare_quantizers.h"

static bool check_quantizers(const char *set, bool refit, uint32_t n_blocks, uint64_t *hash) {
    const char *const names[] = {"scalar", set};
    ds4_quantizer *quantizers[2] = {NULL, NULL};
    ds4_error error = {0};
    bool ok = true;
    for (int q = 0; q < 2 && ok; q++) {
        const ds4_quantizer_options options = {.set = names[q], .refit = refit};
        ok = ds4_quantizer_create(&options, &quantizers[q], &error) == DS4_OK;
        if (!ok) fprintf(stderr, "%s\n", error.message);
    }
    ok = ok && quantizers_agree(quantizers, names, 2, n_blocks, hash);
    for (int q = 0; q < 2; q++) ds4_quantizer_destroy(quantizers[q]);
    return ok;
}

int main(int argc, char **argv) {
    const ds4_kernels *set = argc == 4 ? ds4_kernels_by_name(argv[1]) : NULL;
    uint64_t hash = 0xCBF29CE484222325u;
    if (set == NULL) {
        fprintf(stderr, "usage: neon_check SET BLOCKS REFIT_BLOCKS; this machine has no set %s\n",
                argc > 1 ? argv[1] : "(none given)");
        return 2;
    }
    unsigned n_blocks = (unsigned)strtoul(argv[2], NULL, 10),
             n_refit_blocks = (unsigned)strtoul(argv[3], NULL, 10);
    for (int i = 0; i < COMPARE_N_TYPES; i++)
        if (compare_type(ds4_kernels_by_name("scalar"), set, compare_types[i], n_blocks,
                         1000u + (unsigned)i, &hash) != 0)
            return 1;
    if (!check_quantizers(argv[1], false, n_blocks, &hash) ||
        !check_quantizers(argv[1], true, n_refit_blocks, &hash))
        return 1;
    printf("%016llx\n", (unsigned long long)hash);
    return 0;
}
