/* pi-ds4: the public interface of the engine for DeepSeek V4 Flash ("deepseek4") models.
 *
 * Objects: a model (weights, mapped read-only), a tokenizer (owned by its model), an engine
 * (scratch memory and threads for one model), sessions (the KV state of one conversation). Tokens
 * go in, logits come out; chat, sampling and serving are built on top and live in their own rooms
 * under src/.
 *
 * Errors: each fallible function returns a ds4_status and, when `error` is not NULL, writes one
 * sentence there. Nothing here prints or exits. Threads: a model and a tokenizer may be used by
 * many threads at once; an engine and its sessions belong to one thread at a time.
 */
#ifndef DS4_H
#define DS4_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- status ---- */

#define DS4_STATUS_LIST(X)                                                                         \
    X(OK, "ok")                                                                                    \
    X(INVALID_ARGUMENT, "invalid argument")                                                        \
    X(NO_MEMORY, "out of memory")                                                                  \
    X(IO, "input/output error")                                                                    \
    X(FORMAT, "malformed data")                                                                    \
    X(UNSUPPORTED, "unsupported")                                                                  \
    X(DOES_NOT_FIT, "does not fit")                                                                \
    X(CONTEXT_FULL, "context is full")                                                             \
    X(CANCELLED, "cancelled")                                                                      \
    X(BUSY, "busy")                                                                                \
    X(INTERNAL, "internal error")

typedef enum ds4_status {
#define DS4_STATUS_ENUM(name, text) DS4_##name,
    DS4_STATUS_LIST(DS4_STATUS_ENUM)
#undef DS4_STATUS_ENUM
} ds4_status;

/* Owned by the caller; zero-initialise it once. `message` is one sentence: what was wrong, where,
 * what to do. */
typedef struct ds4_error {
    ds4_status status;
    char message[512];
} ds4_error;

const char *ds4_status_text(ds4_status status);

/* ---- token list ---- */

/* A growable array of token ids. Zero-initialise; free with ds4_tokens_free. */
typedef struct ds4_tokens {
    int32_t *ids;
    size_t n;
    size_t capacity;
} ds4_tokens;

ds4_status ds4_tokens_push(ds4_tokens *tokens, int32_t id, ds4_error *error);
ds4_status ds4_tokens_append(ds4_tokens *tokens, const int32_t *ids, size_t n, ds4_error *error);
void ds4_tokens_free(ds4_tokens *tokens);

/* ---- model ---- */

typedef struct ds4_model ds4_model;
typedef struct ds4_tokenizer ds4_tokenizer;

/* How much of the model's quantisation-aware training is replayed on KV and indexer rows
 * (docs/numerics.md). */
typedef enum ds4_kv_sim {
    DS4_KV_SIM_DEFAULT, /* what the model file asks for: key ds4.simulated_quantization, `full` when
                           absent */
    DS4_KV_SIM_FULL,    /* FP8 + F16 on attention rows, Hadamard + FP4 on indexer rows: the model's
                           definition */
    DS4_KV_SIM_FP4,     /* only the indexer's Hadamard + FP4 */
    DS4_KV_SIM_NONE,    /* every row stays float32 */
} ds4_kv_sim;

typedef struct ds4_model_info {
    const char *name; /* general.name, or the file's base name */
    const char *path;
    uint32_t n_layers, n_embd, n_vocab;
    uint64_t context_length; /* what the file states; 0 when it does not */
    uint64_t file_bytes;
    uint64_t weight_bytes;           /* all tensors */
    uint64_t weight_bytes_per_token; /* read by one decoded token: dense, shared, the used experts,
                                        the output head */
    uint64_t flops_per_token; /* 2 x the multiply-adds of one decoded token's matrix products */
    ds4_kv_sim default_kv_sim;
    uint64_t
        fingerprint; /* of the metadata, the directory of tensors and samples of their payloads */
} ds4_model_info;

/* Called while a model loads: `done` of `total` bytes were read. Return false to cancel (status
 * CANCELLED). */
typedef bool (*ds4_progress_fn)(void *context, uint64_t done, uint64_t total);

typedef struct ds4_model_options {
    bool warm; /* read every weight page now, so that the first prompt does not wait for the disk */
    ds4_progress_fn progress; /* may be NULL */
    void *progress_context;
} ds4_model_options;

/* Opens and validates a GGUF file of architecture deepseek4 and maps its weights read-only.
 * `options` may be NULL. On success *model is owned by the caller. */
ds4_status ds4_model_open(const char *path, const ds4_model_options *options, ds4_model **model,
                          ds4_error *error);
void ds4_model_close(ds4_model *model);
const ds4_model_info *ds4_model_get_info(const ds4_model *model);
/* NULL when the file carries no tokenizer. */
const ds4_tokenizer *ds4_model_get_tokenizer(const ds4_model *model);

/* ---- engine ---- */

typedef struct ds4_engine ds4_engine;
typedef struct ds4_session ds4_session;

/* Which arithmetic multiplies activations with quantised weights. */
typedef enum ds4_activations {
    DS4_ACTIVATIONS_FLOAT, /* float32 activations: the reference */
    DS4_ACTIVATIONS_INT8,  /* activations rounded to 8-bit blocks before products with quantised
                              weights: faster */
} ds4_activations;

/* How rotary angles are formed (docs/numerics.md). */
typedef enum ds4_rope_angles_kind {
    DS4_ROPE_ANGLES_EXACT,   /* in double: right at every position */
    DS4_ROPE_ANGLES_FLOAT32, /* by repeated float32 products, like other engines: for comparing
                                traces with them */
} ds4_rope_angles_kind;

/* Where an engine computes. */
typedef enum ds4_backend_kind {
    DS4_BACKEND_CPU,
    DS4_BACKEND_CUDA, /* the GPU of this machine; UNSUPPORTED when the build or the machine has none
                       */
    DS4_BACKEND_AUTO, /* CUDA when there is a GPU that holds the plan, else the CPU */
    DS4_BACKEND_EMULATED, /* the GPU's kernels on the CPU: slow, for tests */
} ds4_backend_kind;

typedef struct ds4_engine_options {
    uint32_t n_threads;        /* 0: one per online core */
    uint32_t max_batch_tokens; /* most tokens one forward call may carry; 0: 512, on a GPU 4096 if
                                  its memory holds their scratch */
    uint32_t max_context;      /* longest session that will be created, in tokens; 0: 32768 */
    uint32_t max_sessions;     /* only for the memory plan; 0: 1 */
    uint64_t row_budget;       /* only for the memory plan: the most bytes that the compressed rows
                                  of all sessions, and tips kept of them, will take together; 0: no
                                  such promise */
    ds4_kv_sim kv_sim;
    ds4_activations activations;
    ds4_rope_angles_kind rope_angles;
    ds4_backend_kind backend; /* a GPU always multiplies float activations */
    ds4_progress_fn progress; /* while weights go to a GPU; may be NULL */
    void *progress_context;
} ds4_engine_options;

/* What will be resident, in bytes. Computed from shapes alone: nothing is allocated or read. */
typedef struct ds4_memory_plan {
    uint64_t weights;       /* mapped, shared with the page cache */
    uint64_t scratch;       /* the engine's buffers */
    uint64_t session_fixed; /* per session, whatever its length */
    uint64_t session_rows;  /* per session, compressed rows at max_context */
    uint64_t rows;          /* of all sessions: max_sessions x session_rows, or the row_budget */
    uint64_t total;         /* weights + scratch + max_sessions x session_fixed + rows */
    uint64_t available;     /* what this machine can give, 0 when it could not be found out */
    const char *backend;    /* "cpu", "cuda": on a GPU all of the above is GPU memory */
    uint64_t host;          /* with a GPU: bytes of host memory besides */
} ds4_memory_plan;

ds4_status ds4_engine_plan(const ds4_model *model, const ds4_engine_options *options,
                           ds4_memory_plan *plan, ds4_error *error);
/* Refuses with DS4_DOES_NOT_FIT, naming the numbers, when the plan exceeds the machine. `model`
 * must outlive it. */
ds4_status ds4_engine_create(const ds4_model *model, const ds4_engine_options *options,
                             ds4_engine **engine, ds4_error *error);
void ds4_engine_destroy(ds4_engine *engine);
const ds4_engine_options *
ds4_engine_get_options(const ds4_engine *engine); /* with the defaults filled in */

/* How fast the GPU copies its own memory, in GB/s (10^9 bytes read and written), best of a few
 * copies: what reading weights could come to. 0 where there is no memory left for it, or no clock
 * (the emulator). UNSUPPORTED on the CPU, where it depends on who reads. */
ds4_status ds4_engine_measure_copy(ds4_engine *engine, double *gb_per_second, ds4_error *error);

/* What a product of the forward pass multiplies: rows of activations with one matrix of a weight.
 */
typedef struct ds4_observed_product {
    const char *weight;        /* name of the tensor, owned by the model */
    size_t matrix, n_matrices; /* of expert tensors, which expert; 0 and 1 otherwise */
    const float *const
        *x; /* [n_rows] pointers to n_columns floats, as they are before any rounding */
    size_t n_rows, n_columns;
} ds4_observed_product;
typedef void (*ds4_product_observer)(void *context, const ds4_observed_product *product);

/* From now on `observe` is told about each product before it is computed, on the thread that calls
 * ds4_engine_forward; it must not change anything. The grouped attention output shows each group as
 * a product of its own. NULL ends it. For collecting importance matrices. UNSUPPORTED on a GPU. */
ds4_status ds4_engine_observe(ds4_engine *engine, ds4_product_observer observe, void *context,
                              ds4_error *error);

/* ---- steering (docs/steering.md) ---- */

/* One vector per layer along which outputs of the layer's halves are edited. Immutable: any thread
 * may use it, and several requests may share it. */
typedef struct ds4_direction ds4_direction;

typedef struct ds4_direction_info {
    uint32_t n_layers, n_embd;
    uint32_t n_steered;              /* layers whose vector is not zero */
    float least_norm, greatest_norm; /* of those layers' vectors; builders make them 1 */
    uint64_t fingerprint;            /* of the numbers */
} ds4_direction_info;

/* Reads a file of n_layers x n_embd little-endian float32, layer 0 first. FORMAT when its size does
 * not suit the model, a number is not finite or all are zero. On success *direction is owned by the
 * caller and must outlive every call that uses it. */
ds4_status ds4_direction_open(const char *path, const ds4_model *model, ds4_direction **direction,
                              ds4_error *error);
/* The same from memory: vectors [n_layers][n_embd] are copied. */
ds4_status ds4_direction_create(const float *vectors, uint32_t n_layers, uint32_t n_embd,
                                ds4_direction **direction, ds4_error *error);
void ds4_direction_close(ds4_direction *direction);
const ds4_direction_info *ds4_direction_get_info(const ds4_direction *direction);

/* y is the output of a half of a layer (attention or feed-forward), d the layer's vector, s the
 * scale. */
typedef enum ds4_steer_mode {
    DS4_STEER_PROJECT, /* y -= s (d.y) d: negative s amplifies what points along d, either way */
    DS4_STEER_ADD,     /* y += s |y| d: the sign of d counts */
} ds4_steer_mode;

/* A dial. All zero: no steering. */
typedef struct ds4_steering {
    const ds4_direction *direction; /* NULL: no steering */
    float ffn, attn;                /* scales from -100 to 100; 0 leaves that half alone */
    ds4_steer_mode mode;
    uint32_t first_layer, n_layers; /* the layers that are steered; n_layers 0: all that follow */
} ds4_steering;

/* What tells rows computed under one dial from rows computed under another: 0 for no steering (also
 * when `steering` is NULL). */
uint64_t ds4_steering_identity(const ds4_steering *steering);

/* ---- session ---- */

/* `n_context` tokens at most (<= the engine's max_context). All its memory is allocated here. */
ds4_status ds4_session_create(ds4_engine *engine, uint32_t n_context, ds4_session **session,
                              ds4_error *error);
void ds4_session_destroy(ds4_session *session);
uint32_t ds4_session_length(const ds4_session *session);  /* tokens evaluated so far */
uint32_t ds4_session_context(const ds4_session *session); /* the n_context it was created with */
const int32_t *
ds4_session_tokens(const ds4_session *session); /* ds4_session_length ids, owned by the session */
/* The dial each of them was evaluated under (ds4_steering_identity): rows are fit for another
 * request only where its tokens and its dials are the same. Owned by the session. */
const uint64_t *ds4_session_dials(const ds4_session *session);
void ds4_session_reset(ds4_session *session); /* back to zero tokens */

/* Returns to the state after the first `n_tokens` tokens, exactly. UNSUPPORTED when that is further
 * back than the session's journal reaches (ds4_session_rewind_floor); then reset and evaluate
 * again. Logits are not restored: to have those after token n-1, rewind to n-1 and evaluate that
 * token. */
ds4_status ds4_session_rewind(ds4_session *session, uint32_t n_tokens, ds4_error *error);
uint32_t
ds4_session_rewind_floor(const ds4_session *session); /* smallest n_tokens that can be rewound to */

/* Makes `target` (same engine) the same conversation state as `source`. */
ds4_status ds4_session_copy(ds4_session *target, const ds4_session *source, ds4_error *error);

/* The whole state as bytes, canonical: equal states give equal bytes. `*bytes` is malloc'ed; free()
 * it. */
ds4_status ds4_session_save(const ds4_session *session, uint8_t **bytes, size_t *n_bytes,
                            ds4_error *error);
ds4_status ds4_session_restore(ds4_session *session, const uint8_t *bytes, size_t n_bytes,
                               ds4_error *error);

/* ---- a session in parts ----
 *
 * Compressed rows are only ever appended, so the rows of a full block of tokens stay what they are
 * while the session grows; the tip is everything else: the rows behind the last full block, the
 * window, the inputs of open compressor windows. State that is kept elsewhere is a chain of blocks
 * and a tip. A restored session continues with the same bits as one that evaluated the tokens. */

uint32_t ds4_engine_block_tokens(const ds4_engine *engine); /* tokens per block */
/* Of everything but tokens and dials that rows depend on: the model, its numerics, the version of
 * our arithmetic. Equal identities can exchange parts. */
uint64_t ds4_engine_identity(const ds4_engine *engine);

/* Bytes of compressed rows that n_tokens take. */
uint64_t ds4_session_row_bytes(const ds4_session *session, uint32_t n_tokens);
/* Resets the session and gives the memory of its rows back to the system. */
void ds4_session_release(ds4_session *session);

size_t ds4_session_block_bytes(const ds4_session *session);
/* The rows of the block that begins at token `first`, to bytes [block_bytes]. */
ds4_status ds4_session_save_block(const ds4_session *session, uint32_t first, uint8_t *bytes,
                                  ds4_error *error);
/* Puts a block with its tokens and dials into a session that is no longer than `first`. Its length
 * does not change: ds4_session_restore_tip sets it. */
ds4_status ds4_session_restore_block(ds4_session *session, uint32_t first, const int32_t *tokens,
                                     const uint64_t *dials, const uint8_t *bytes, size_t n_bytes,
                                     ds4_error *error);
/* Copies the full blocks of the first n_tokens of another session of the same engine. Leaves
 * `target` empty until a tip is restored. */
ds4_status ds4_session_share(ds4_session *target, const ds4_session *source, uint32_t n_tokens,
                             ds4_error *error);

size_t ds4_session_tip_bytes(const ds4_session *session, uint32_t n_tokens);
/* The tip after the first n_tokens, to bytes [tip_bytes]; UNSUPPORTED when the journal does not
 * reach back so far (ds4_session_rewind_floor). */
ds4_status ds4_session_save_tip(const ds4_session *session, uint32_t n_tokens, uint8_t *bytes,
                                ds4_error *error);
/* Makes the session the state after n_tokens tokens whose full blocks it already holds: evaluated
 * by itself, shared or restored. A failure leaves it empty. */
ds4_status ds4_session_restore_tip(ds4_session *session, uint32_t n_tokens, const uint8_t *bytes,
                                   size_t n_bytes, ds4_error *error);

/* ---- forward ---- */

typedef enum ds4_logit_rows { DS4_LOGITS_NONE, DS4_LOGITS_LAST, DS4_LOGITS_ALL } ds4_logit_rows;

/* One session's share of a step: its next `n_tokens` tokens. A session may appear once per call. */
typedef struct ds4_batch_item {
    ds4_session *session;
    const int32_t *tokens;
    uint32_t n_tokens;
    ds4_logit_rows want;
    float
        *logits; /* [rows][n_vocab] float32, caller-owned; rows = 0, 1 or n_tokens as `want` says */
    const ds4_steering *steering; /* of these tokens; NULL: none */
    /* What the layers' halves said about these tokens, before any edit of theirs: caller-owned
     * [n_tokens][n_layers][n_embd], or NULL. For building directions. */
    float *attn_outputs, *ffn_outputs;
} ds4_batch_item;

/* Memory for logits, [n_rows][n_vocab], which an engine on a GPU fills without a copy in between
 * (any other memory will do as well); NULL when there is none. Freed before the engine is
 * destroyed. On the engine's thread. */
float *ds4_engine_allocate_logits(ds4_engine *engine, size_t n_rows);
void ds4_engine_free_logits(ds4_engine *engine, float *logits); /* NULL: nothing */

/* Evaluates all items in one pass over the weights. The sum of n_tokens must not exceed
 * max_batch_tokens. The result of an item depends on its session's tokens and dials alone: not on
 * the other items, on how its tokens were cut into calls, or on the number of threads, bit for bit.
 * On error no session has moved. */
ds4_status ds4_engine_forward(ds4_engine *engine, const ds4_batch_item *items, size_t n_items,
                              ds4_error *error);

#endif
