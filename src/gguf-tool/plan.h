/* Which tensors a deepseek4 model of a given shape has: names in GGUF and in the original
 * checkpoint, dimensions, and the part each one plays, which decides its storage type. Any thread.
 */
#ifndef DS4_GGUF_TOOL_PLAN_H
#define DS4_GGUF_TOOL_PLAN_H

#include "gguf-tool/shape.h"

/* The part a tensor plays: recipes give each part a type. */
typedef enum ds4_part {
    DS4_PART_VECTOR,     /* one-dimensional: always F32 */
    DS4_PART_TABLE,      /* token embedding */
    DS4_PART_CONTROL,    /* small matrices: hyper-connections, router, compressor, indexer */
    DS4_PART_PROJECTION, /* attention projections, shared experts, output head */
    DS4_PART_GATE_UP,    /* routed experts, into the hidden width */
    DS4_PART_DOWN,       /* routed experts, back */
    DS4_PART_IDS,        /* token id -> expert ids: always I32 */
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
    uint64_t ne[3]; /* fastest first */
    ds4_type type;  /* set by ds4_plan_set_types */
} ds4_tensor_plan;

typedef struct ds4_plan {
    ds4_tensor_plan *tensors;
    size_t n;
} ds4_plan;

/* All tensors in canonical order: globals, then layer by layer. Free with ds4_plan_free. */
ds4_status ds4_plan_create(const ds4_shape *shape, ds4_plan *plan, ds4_error *error);
void ds4_plan_free(ds4_plan *plan);

/* Types by part; vectors become F32, ids I32. A matrix whose rows are not whole blocks of its type
 * becomes F16. */
typedef struct ds4_recipe {
    ds4_type table, control, projection, gate_up, down;
} ds4_recipe;
void ds4_plan_set_types(ds4_plan *plan, const ds4_recipe *recipe);

/* Gives matrices other types by name: `rules` is "PATTERN=TYPE,PATTERN=TYPE,..." with shell
 * patterns on GGUF names (fnmatch: * ? [...]); of several that match, the last decides. Fails when
 * a rule is malformed, names a type that cannot be written, matches no matrix, or does not fit the
 * row width of one. NULL changes nothing. After ds4_plan_set_types. */
ds4_status ds4_plan_override_types(ds4_plan *plan, const char *rules, ds4_error *error);

/* Declares every tensor, in order. */
void ds4_plan_put_tensors(const ds4_plan *plan, ds4_gguf_writer *writer);

/* Makes the rows [row_begin, row_end) of tensor `index`, as stored, at `target`. Rows count through
 * all matrices of a three-dimensional tensor. Called by several threads at once; `scratch` holds
 * ne[0] floats for this thread alone. */
typedef ds4_status (*ds4_produce_fn)(void *context, size_t index, uint64_t row_begin,
                                     uint64_t row_end, float *scratch, uint8_t *target,
                                     ds4_error *error);
/* Writes all payloads with `n_threads` threads (0: one per core) and a few MiB per thread, whatever
 * the model's size. After ds4_gguf_writer_begin. `report` may be NULL; it is called after each
 * tensor with the bytes done. */
typedef struct ds4_stream {
    ds4_gguf_writer *writer;
    const ds4_plan *plan;
    uint32_t n_threads;
    ds4_produce_fn produce;
    void *produce_context;
    void (*report)(uint64_t done, uint64_t total);
} ds4_stream;
ds4_status ds4_stream_payloads(const ds4_stream *stream, ds4_error *error);

#endif
