/* What the files of the disk store are called and how they are laid out (docs/kv-cache.md). Pure
 * functions over bytes and names; any thread.
 *
 * A conversation is a chain of blocks of equally many tokens, and tips. A block's key hashes its
 * parent's key, its tokens and their dials; the first parent is a hash of the engine's identity. So
 * equal beginnings are equal files, and rows of another model or another dial are never found.
 * A tip is named after the last full block before it and its own tail of tokens: which tips a
 * prompt could continue can be told from names alone. */
#ifndef DS4_KV_FORMAT_H
#define DS4_KV_FORMAT_H

#include "ds4.h"

typedef struct ds4_kv_key {
    uint64_t low, high;
} ds4_kv_key;

ds4_kv_key ds4_kv_key_root(uint64_t identity, uint32_t block_tokens);
ds4_kv_key ds4_kv_key_next(ds4_kv_key parent, const int32_t *tokens, const uint64_t *dials,
                           uint32_t n);
/* The same where every token has this dial. */
ds4_kv_key ds4_kv_key_next_uniform(ds4_kv_key parent, const int32_t *tokens, uint64_t dial,
                                   uint32_t n);
bool ds4_kv_key_equal(ds4_kv_key a, ds4_kv_key b);

typedef enum ds4_kv_kind { DS4_KV_BLOCK = 1, DS4_KV_TIP = 2 } ds4_kv_kind;

/* `key`: of the block; of a tip, the hash of its tail behind `parent` (a tip without a tail has the
 * parent's own key). */
typedef struct ds4_kv_file {
    ds4_kv_kind kind;
    ds4_kv_key key, parent;
    uint32_t n_tail; /* tip: tokens behind the last full block; block: 0 */
} ds4_kv_file;

enum { DS4_KV_NAME_BYTES = 96, DS4_KV_HEADER_BYTES = 96, DS4_KV_VERSION = 1 };

void ds4_kv_file_name(const ds4_kv_file *file, char name[DS4_KV_NAME_BYTES]);
/* False: not a name of ours. A block's name does not tell its parent. */
bool ds4_kv_file_parse_name(const char *name, ds4_kv_file *file);

/* The first DS4_KV_HEADER_BYTES of every file; the payload follows and nothing else. */
typedef struct ds4_kv_header {
    ds4_kv_file file;
    uint64_t identity;
    uint32_t n_tokens;     /* of the conversation up to the end of this file */
    uint32_t reason;       /* ds4_kv_save */
    uint32_t block_tokens; /* of every full block of the conversation */
    uint64_t created;      /* Unix seconds */
    uint64_t n_payload;
    uint64_t payload_hash;
} ds4_kv_header;

void ds4_kv_header_encode(const ds4_kv_header *header, uint8_t bytes[DS4_KV_HEADER_BYTES]);
/* FORMAT with the reason; UNSUPPORTED for a version that this program does not know, which is to be
 * left alone. n_file: the file's length, which must suit. */
ds4_status ds4_kv_header_decode(const uint8_t *bytes, size_t n, uint64_t n_file,
                                ds4_kv_header *header, ds4_error *error);
uint64_t ds4_kv_payload_hash(const void *bytes, size_t n);

/* A block's payload: tokens, dials, rows. */
typedef struct ds4_kv_block {
    const int32_t *tokens;
    const uint64_t *dials;
    const uint8_t *rows;
    size_t n_rows;
} ds4_kv_block;

size_t ds4_kv_block_bytes(uint32_t block_tokens, size_t n_rows);
/* FORMAT when it is shorter than the tokens, or they do not hash to `file`'s key (NULL: that was
 * checked before). `payload` must be aligned for uint64_t. */
ds4_status ds4_kv_block_view(const uint8_t *payload, size_t n, uint32_t block_tokens,
                             const ds4_kv_file *file, ds4_kv_block *block, ds4_error *error);

#endif
