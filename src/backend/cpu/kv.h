/* The KV state of one session on the CPU (docs/model.md, "Session state").
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

/* Compressor inputs and outputs of one kind (attention or indexer) in one layer. */
typedef struct ds4_compressor_kv {
    uint32_t ratio, width, n_slots; /* inputs of position p live in slot p % n_slots */
    float *value, *gate;            /* [n_slots][width] */
    uint8_t *rows;                  /* [context / ratio][row_bytes] */
    size_t row_bytes;
} ds4_compressor_kv;

typedef struct ds4_layer_kv {
    float *raw; /* [n_raw_slots][head_dim]; position p in slot p % n_raw_slots */
    ds4_compressor_kv attention, indexer; /* ratio 0 when the layer has none */
} ds4_layer_kv;

typedef struct ds4_kv {
    uint32_t n_layers, n_raw_slots, n_context;
    uint32_t width;
    ds4_layer_kv *layers;
} ds4_kv;

/* Bytes that a session of n_context tokens takes: what is fixed, and the compressed rows. */
void ds4_kv_bytes(const ds4_hparams *hparams, const ds4_row_codec *codec, uint32_t n_context,
                  uint64_t *fixed, uint64_t *rows);
ds4_status ds4_kv_create(const ds4_hparams *hparams, const ds4_row_codec *codec, uint32_t n_context,
                         ds4_kv *kv, ds4_error *error);
void ds4_kv_free(ds4_kv *kv);

static inline float *ds4_kv_raw(const ds4_kv *kv, uint32_t layer, uint32_t position) {
    return kv->layers[layer].raw + (size_t)(position % kv->n_raw_slots) * kv->width;
}

/* The part of the state that matters at `n_tokens`, visited piece by piece in a fixed order: raw
 * rows of the window oldest first, compressor inputs that open windows still need, compressed rows
 * from token `first` (a multiple of every ratio) on. Saving and restoring walk alike. */
typedef ds4_status (*ds4_kv_visit_fn)(void *context, void *bytes, size_t n, ds4_error *error);
ds4_status ds4_kv_visit(const ds4_kv *kv, uint32_t window, uint32_t first, uint32_t n_tokens,
                        ds4_kv_visit_fn visit, void *context, ds4_error *error);
/* Only the compressed rows of tokens [first, n_tokens), both multiples of every ratio. */
ds4_status ds4_kv_visit_rows(const ds4_kv *kv, uint32_t first, uint32_t n_tokens,
                             ds4_kv_visit_fn visit, void *context, ds4_error *error);
/* Gives the memory of the compressed rows back to the system; the areas stay usable. */
void ds4_kv_release_rows(ds4_kv *kv);

#endif
