/* Which tensors a deepseek4 model of a given shape has: names in GGUF and in the original
 * checkpoint, dimensions, and the part each one plays, which decides its storage type. Any thread.
 */
#ifndef DS4_GGUF_TOOL_PLAN_H
#define DS4_GGUF_TOOL_PLAN_H

#include "gguf-tool/shape.h"
#include "gguf/gguf_reader.h"

/* The part a tensor plays: recipes give each part a type. */
typedef enum ds4_part {
    DS4_PART_VECTOR,     /* one-dimensional: always F32 */
    DS4_PART_TABLE,      /* token embedding */
    DS4_PART_CONTROL,    /* small matrices: hyper-connections, router, compressor, indexer */
    DS4_PART_PROJECTION, /* attention projections, shared experts, output head */
    DS4_PART_GATE_UP,    /* routed experts, into the hidden width */
    DS4_PART_DOWN,       /* routed experts, back */
    DS4_PART_IDS,        /* token id -> expert ids: always I32 */
    DS4_PART_OTHER,      /* in files of others: keeps its type */
} ds4_part;

/* What random values suit a tensor. */
typedef enum ds4_fill {
    DS4_FILL_MATRIX, /* root mean square 1/sqrt(inputs): keeps the size of what passes through */
    DS4_FILL_EMBEDDING,
    DS4_FILL_HEAD,
    DS4_FILL_NORM,
    DS4_FILL_SMALL,
    DS4_FILL_POSITION, /* added to compressor scores */
    DS4_FILL_HC_SCALE,
    DS4_FILL_HC_BASE,
    DS4_FILL_IDS,
} ds4_fill;

typedef struct ds4_tensor_plan {
    char name[64];
    char source[96]; /* in the original checkpoint; of routed experts: expert number as "%u" */
    ds4_part part;
    ds4_fill fill;
    bool is_optional; /* the checkpoint may lack it */
    uint32_t n_dims;
    uint64_t ne[4]; /* fastest first */
    ds4_type type;  /* set by a recipe (recipe.h); in plans of files any type id */
} ds4_tensor_plan;

typedef struct ds4_plan {
    ds4_tensor_plan *tensors;
    size_t n;
} ds4_plan;

/* All tensors in canonical order: globals, then layer by layer. Free with ds4_plan_free. */
ds4_status ds4_plan_create(const ds4_shape *shape, ds4_plan *plan, ds4_error *error);
void ds4_plan_free(ds4_plan *plan);

/* The tensors of a file, with the types they have. Names that we do not know play DS4_PART_OTHER.
 */
ds4_status ds4_plan_of_gguf(const ds4_gguf *gguf, ds4_plan *plan, ds4_error *error);

/* A tensor is a number of matrices of rows: experts lie behind each other. */
uint64_t ds4_plan_rows_per_matrix(const ds4_tensor_plan *tensor);
uint64_t ds4_plan_n_matrices(const ds4_tensor_plan *tensor);

/* Declares every tensor, in order. */
void ds4_plan_put_tensors(const ds4_plan *plan, ds4_gguf_writer *writer);

#endif
