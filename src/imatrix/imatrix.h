/* Importance matrices: how strongly each input column of each weight matrix was used by real text.
 * Per matrix (of expert tensors: per expert) the sum of the squared inputs and the number of
 * inputs; quantizers weigh their errors with the mean (docs/quantizers.md).
 *
 * Two files hold them: GGUF with general.type "imatrix" (sums and counts, so that files can be
 * merged), and the older .dat (means only). A file is hostile until it has been read: lengths are
 * compared with what is left, numbers must be finite and not negative, names must be unique.
 *
 * Ownership: an imatrix owns its entries; pointers into it live until the next change. Threads: any
 * number may read one that nobody changes.
 */
#ifndef DS4_IMATRIX_IMATRIX_H
#define DS4_IMATRIX_IMATRIX_H

#include "ds4.h"

typedef struct ds4_imatrix ds4_imatrix;

/* What is known of one weight. In memory that was read from a .dat the experts of a tensor lie
 * behind each other in one matrix (n_matrices 1): the file does not say how many there are. */
typedef struct ds4_imatrix_entry {
    char name[64]; /* of the GGUF tensor: "blk.3.ffn_down_exps.weight" */
    size_t n_columns, n_matrices;
    double *sums;     /* [n_matrices][n_columns], of squared inputs */
    uint64_t *counts; /* [n_matrices] inputs that were summed; 0: never used */
    bool has_counts;  /* false: from a .dat, `counts` are divisors, not numbers of inputs */
} ds4_imatrix_entry;

/* Inputs that an expert needs before its own statistics outweigh those of its tensor; below, a
 * warning is due. */
#define DS4_IMATRIX_SMOOTHING 32.0

ds4_status ds4_imatrix_create(ds4_imatrix **imatrix, ds4_error *error);
void ds4_imatrix_destroy(ds4_imatrix *imatrix); /* NULL is fine */

/* The entry of that name, added with zeros when it is new. INVALID_ARGUMENT when it exists with
 * another shape or the name is longer than 63 bytes. */
ds4_status ds4_imatrix_entry_for(ds4_imatrix *imatrix, const char *name, size_t n_columns,
                                 size_t n_matrices, ds4_imatrix_entry **entry, ds4_error *error);
/* Adds the squares of one input x [n_columns] of matrix `matrix`. */
void ds4_imatrix_entry_add(ds4_imatrix_entry *entry, size_t matrix, const float *x);

size_t ds4_imatrix_n_entries(const ds4_imatrix *imatrix);
const ds4_imatrix_entry *ds4_imatrix_entry_at(const ds4_imatrix *imatrix, size_t index);
const ds4_imatrix_entry *ds4_imatrix_find(const ds4_imatrix *imatrix,
                                          const char *name); /* or NULL */

/* Where it comes from; strings are copied, NULL leaves them. `chunks`: pieces of text that were
 * evaluated. */
void ds4_imatrix_set_source(ds4_imatrix *imatrix, const char *dataset, uint32_t chunks,
                            uint32_t chunk_tokens);
const char *ds4_imatrix_dataset(const ds4_imatrix *imatrix); /* "" when unknown */
uint32_t ds4_imatrix_chunks(const ds4_imatrix *imatrix);

/* The importance of the columns of matrix `matrix` of a weight with n_matrices matrices of
 * n_columns columns: (sum + s * m) / (count + s),   m = mean over all inputs of all matrices of the
 * entry so an expert that saw little text leans on its tensor's mean, and one that saw none takes
 * it. s = `smoothing`; with 0, and always for entries without counts, it is sum / count, and 1
 * where count is 0: the rule of the published files. Looks for `name`, and for single experts under
 * "NAME.expert.N" and "NAME.expert_N" first. *found: false when nothing is known of the weight (no
 * entry, or no matrix of it was ever used); then `importance` [n_columns] is not written. FORMAT
 * when the entry's length does not suit the weight. */
ds4_status ds4_imatrix_importance(const ds4_imatrix *imatrix, const char *name, size_t matrix,
                                  size_t n_columns, size_t n_matrices, double smoothing,
                                  float *importance, bool *found, ds4_error *error);

/* Adds `source` to `target`: sums to sums, counts to counts. INVALID_ARGUMENT when shapes differ or
 * `source` has no counts; then `target` is unchanged. */
ds4_status ds4_imatrix_merge(ds4_imatrix *target, const ds4_imatrix *source, ds4_error *error);

/* How well an entry is covered. */
typedef struct ds4_imatrix_coverage {
    size_t n_unused;          /* matrices that no input reached */
    size_t n_sparse;          /* matrices with 1 .. DS4_IMATRIX_SMOOTHING - 1 inputs */
    uint64_t least, greatest; /* inputs of a matrix */
    uint64_t total;
} ds4_imatrix_coverage;
ds4_imatrix_coverage ds4_imatrix_entry_coverage(const ds4_imatrix_entry *entry);

/* ---- files ---- */

/* Reads either form: a file that begins with "GGUF" is one. IO when it cannot be read, FORMAT
 * naming what is wrong where. On success *imatrix is owned by the caller. */
ds4_status ds4_imatrix_open(const char *path, ds4_imatrix **imatrix, ds4_error *error);
/* The same from memory; `what` names it in messages. */
ds4_status ds4_imatrix_parse(const void *bytes, size_t n_bytes, const char *what,
                             ds4_imatrix **imatrix, ds4_error *error);

/* Tensors "NAME.in_sum2" and "NAME.counts" sorted by name, under a temporary name until it is
 * whole. UNSUPPORTED when an entry has no counts: means cannot become sums. */
ds4_status ds4_imatrix_write_gguf(const ds4_imatrix *imatrix, const char *path, ds4_error *error);
/* One record per entry in the order of their creation, experts behind each other, values as
 * ds4_imatrix_importance gives them with smoothing 0. */
ds4_status ds4_imatrix_write_dat(const ds4_imatrix *imatrix, const char *path, ds4_error *error);

#endif
