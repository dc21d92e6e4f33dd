/* The KV state of one session (docs/model.md, "Session state"), in the memory of its backend.
 *
 * Per layer: a ring of raw rows (as attention reads them), the compressed rows (stored as codes,
 * row_codec.h), and a ring of compressor inputs. Both rings reach `journal` tokens further back
 * than the next token needs; that surplus is what makes rewinding exact without recomputation.
 * Compressed rows are append-only and addressed by index.
 */
#ifndef DS4_BACKEND_CPU_KV_H
#define DS4_BACKEND_CPU_KV_H

#include "backend/cpu/row_codec.h"

/* Tokens that can be taken back. */
enum { DS4_JOURNAL_TOKENS = 128 };

/* The memory that rows live in: that of the host, or of a device. Pointers into it are for its
 * owner's kernels; everything else moves bytes with `copy`. */
typedef enum ds4_copy_way { DS4_COPY_IN, DS4_COPY_OUT, DS4_COPY_WITHIN } ds4_copy_way;
typedef struct ds4_kv_memory {
    void *context;
    void *(*allocate)(void *context, size_t n_bytes); /* NULL when there is none left */
    void (*release)(void *context, void *bytes);
    /* n rows of `width` bytes, `to_stride` and `from_stride` apart; IN: from the host, OUT: to it.
     */
    ds4_status (*copy)(void *context, ds4_copy_way way, void *to, size_t to_stride,
                       const void *from, size_t from_stride, size_t width, size_t n,
                       ds4_error *error);
    bool grows; /* memory is taken only when touched: renewing an area gives back what it took */
} ds4_kv_memory;

/* Plain host memory. */
ds4_kv_memory ds4_kv_host_memory(void);

/* Compressor inputs and outputs of one kind (attention or indexer) in one layer. */
typedef struct ds4_compressor_kv {
    uint32_t ratio, width, n_slots; /* inputs of position p live in slot p % n_slots */
    float *value, *gate;            /* [n_slots][width] */
    uint8_t *rows;                  /* [context / ratio], row_stride apart */
    size_t row_bytes, row_stride;   /* what a row says, and the distance of rows */
} ds4_compressor_kv;

typedef struct ds4_layer_kv {
    float *raw; /* [n_raw_slots][head_dim]; position p in slot p % n_raw_slots */
    ds4_compressor_kv attention, indexer; /* ratio 0 when the layer has none */
} ds4_layer_kv;

typedef struct ds4_kv {
    uint32_t n_layers, n_raw_slots, n_context;
    uint32_t width;
    ds4_layer_kv *layers;
    ds4_kv_memory memory;
} ds4_kv;

/* Bytes that a session of n_context tokens takes: what is fixed, and the compressed rows. */
void ds4_kv_bytes(const ds4_hparams *hparams, const ds4_row_codec *codec, uint32_t n_context,
                  uint64_t *fixed, uint64_t *rows);
ds4_status ds4_kv_create(const ds4_hparams *hparams, const ds4_row_codec *codec, uint32_t n_context,
                         ds4_kv_memory memory, ds4_kv *kv, ds4_error *error);
void ds4_kv_free(ds4_kv *kv);
/* Gives `target` (same shape and memory, room for n_tokens) the state of `source`. */
ds4_status ds4_kv_copy(ds4_kv *target, const ds4_kv *source, uint32_t n_tokens, ds4_error *error);

static inline float *ds4_kv_raw(const ds4_kv *kv, uint32_t layer, uint32_t position) {
    return kv->layers[layer].raw + (size_t)(position % kv->n_raw_slots) * kv->width;
}

typedef enum ds4_kv_content {
    DS4_KV_FLOATS, /* raw rows and compressor inputs */
    DS4_KV_ATTENTION_ROWS,
    DS4_KV_INDEXER_ROWS /* both as the row codec stores them */
} ds4_kv_content;

/* Some of a session's rows: n of `width` bytes, `stride` apart, in its memory. */
typedef struct ds4_kv_piece {
    const ds4_kv_memory *memory;
    ds4_kv_content content;
    void *rows;
    size_t width, stride, n;
} ds4_kv_piece;

/* The part of the state that matters at `n_tokens`, visited piece by piece in a fixed order: per
 * layer the raw rows of the window, oldest first; values, then gates of the compressor inputs that
 * open windows still need; compressed rows from token `first` (a multiple of every ratio) on. How
 * rows are cut into pieces may differ, their order does not. Saving and restoring walk alike. */
typedef ds4_status (*ds4_kv_visit_fn)(void *context, const ds4_kv_piece *piece, ds4_error *error);
ds4_status ds4_kv_visit(const ds4_kv *kv, uint32_t window, uint32_t first, uint32_t n_tokens,
                        ds4_kv_visit_fn visit, void *context, ds4_error *error);
/* Only the compressed rows of tokens [first, n_tokens), both multiples of every ratio. */
ds4_status ds4_kv_visit_rows(const ds4_kv *kv, uint32_t first, uint32_t n_tokens,
                             ds4_kv_visit_fn visit, void *context, ds4_error *error);
/* Gives `target` (same shape and memory, room for n_tokens) the compressed rows of `source`. */
ds4_status ds4_kv_copy_rows(ds4_kv *target, const ds4_kv *source, uint32_t n_tokens,
                            ds4_error *error);
/* Gives the memory of the compressed rows back to the system; the areas stay usable. */
void ds4_kv_release_rows(ds4_kv *kv);

#endif
