#include "kv/format.h"

#include <stdio.h>
#include <string.h>

#include <xxhash.h>

#include "base/error.h"
#include "kv/stats.h"

static const char MAGIC[4] = {'D', 'S', '4', 'K'};

/* ---- keys ---- */

ds4_kv_key ds4_kv_key_root(uint64_t identity, uint32_t block_tokens) {
    uint64_t seed[3] = {0x3163766b34736464u, identity, block_tokens};
    XXH128_hash_t hash = XXH3_128bits(seed, sizeof seed);
    return (ds4_kv_key){hash.low64, hash.high64};
}

/* Dials are hashed as runs: nearly always there is one. */
static uint64_t hash_run(uint64_t hash, uint64_t dial, uint64_t length) {
    uint64_t run[2] = {dial, length};
    return XXH3_64bits_withSeed(run, sizeof run, hash);
}

static ds4_kv_key hash_all(ds4_kv_key parent, const int32_t *tokens, uint32_t n, uint64_t dials) {
    XXH128_hash_t inner = XXH3_128bits(tokens, n * sizeof *tokens);
    uint64_t whole[6] = {parent.low, parent.high, inner.low64, inner.high64, dials, n};
    XXH128_hash_t hash = XXH3_128bits(whole, sizeof whole);
    return (ds4_kv_key){hash.low64, hash.high64};
}

ds4_kv_key ds4_kv_key_next(ds4_kv_key parent, const int32_t *tokens, const uint64_t *dials,
                           uint32_t n) {
    uint64_t hash = 0;
    if (n == 0) return parent;
    for (uint32_t begin = 0, i = 1; i <= n; i++) {
        if (i < n && dials[i] == dials[begin]) continue;
        hash = hash_run(hash, dials[begin], i - begin);
        begin = i;
    }
    return hash_all(parent, tokens, n, hash);
}

ds4_kv_key ds4_kv_key_next_uniform(ds4_kv_key parent, const int32_t *tokens, uint64_t dial,
                                   uint32_t n) {
    return n == 0 ? parent : hash_all(parent, tokens, n, hash_run(0, dial, n));
}

bool ds4_kv_key_equal(ds4_kv_key a, ds4_kv_key b) {
    return a.low == b.low && a.high == b.high;
}

/* ---- names ---- */

void ds4_kv_file_name(const ds4_kv_file *file, char name[DS4_KV_NAME_BYTES]) {
    if (file->kind == DS4_KV_BLOCK)
        snprintf(name, DS4_KV_NAME_BYTES, "%016llx%016llx.blk", (unsigned long long)file->key.high,
                 (unsigned long long)file->key.low);
    else
        snprintf(name, DS4_KV_NAME_BYTES, "%016llx%016llx-%08x-%016llx%016llx.tip",
                 (unsigned long long)file->parent.high, (unsigned long long)file->parent.low,
                 file->n_tail, (unsigned long long)file->key.high,
                 (unsigned long long)file->key.low);
}

static bool parse_hex(const char **at, int digits, uint64_t *value) {
    *value = 0;
    for (int i = 0; i < digits; i++) {
        char c = *(*at)++;
        unsigned digit;
        if (c >= '0' && c <= '9')
            digit = (unsigned)(c - '0');
        else if (c >= 'a' && c <= 'f')
            digit = (unsigned)(c - 'a') + 10;
        else
            return false;
        *value = *value << 4 | digit;
    }
    return true;
}

static bool parse_key(const char **at, ds4_kv_key *key) {
    return parse_hex(at, 16, &key->high) && parse_hex(at, 16, &key->low);
}

bool ds4_kv_file_parse_name(const char *name, ds4_kv_file *file) {
    ds4_kv_key first;
    uint64_t n_tail;
    *file = (ds4_kv_file){0};
    if (!parse_key(&name, &first)) return false;
    if (strcmp(name, ".blk") == 0) {
        file->kind = DS4_KV_BLOCK;
        file->key = first;
        return true;
    }
    file->kind = DS4_KV_TIP;
    file->parent = first;
    if (*name++ != '-' || !parse_hex(&name, 8, &n_tail) || *name++ != '-' ||
        !parse_key(&name, &file->key))
        return false;
    file->n_tail = (uint32_t)n_tail;
    return strcmp(name, ".tip") == 0;
}

/* ---- headers ---- */

/* Little-endian like every machine this engine runs on. */
static void put(uint8_t *bytes, size_t at, const void *value, size_t n) {
    memcpy(bytes + at, value, n);
}

enum {
    AT_VERSION = 4,
    AT_KIND = 6,
    AT_REASON = 7,
    AT_IDENTITY = 8,
    AT_TOKENS = 16,
    AT_TAIL = 20,
    AT_KEY = 24,
    AT_PARENT = 40,
    AT_CREATED = 56,
    AT_PAYLOAD = 64,
    AT_PAYLOAD_HASH = 72,
    AT_BLOCK_TOKENS = 80, /* four bytes behind it are zero */
    AT_HEADER_HASH = 88,
};

void ds4_kv_header_encode(const ds4_kv_header *h, uint8_t bytes[DS4_KV_HEADER_BYTES]) {
    uint16_t version = DS4_KV_VERSION;
    memset(bytes, 0, DS4_KV_HEADER_BYTES);
    put(bytes, 0, MAGIC, sizeof MAGIC);
    put(bytes, AT_VERSION, &version, sizeof version);
    bytes[AT_KIND] = (uint8_t)h->file.kind;
    bytes[AT_REASON] = (uint8_t)h->reason;
    put(bytes, AT_IDENTITY, &h->identity, 8);
    put(bytes, AT_TOKENS, &h->n_tokens, 4);
    put(bytes, AT_TAIL, &h->file.n_tail, 4);
    put(bytes, AT_KEY, &h->file.key, 16);
    put(bytes, AT_PARENT, &h->file.parent, 16);
    put(bytes, AT_CREATED, &h->created, 8);
    put(bytes, AT_PAYLOAD, &h->n_payload, 8);
    put(bytes, AT_PAYLOAD_HASH, &h->payload_hash, 8);
    put(bytes, AT_BLOCK_TOKENS, &h->block_tokens, 4);
    uint64_t hash = XXH3_64bits(bytes, AT_HEADER_HASH);
    put(bytes, AT_HEADER_HASH, &hash, 8);
}

ds4_status ds4_kv_header_decode(const uint8_t *bytes, size_t n, uint64_t n_file, ds4_kv_header *h,
                                ds4_error *error) {
    uint16_t version;
    uint64_t hash;
    if (n < DS4_KV_HEADER_BYTES) return ds4_fail(error, DS4_FORMAT, "the header is cut short");
    if (memcmp(bytes, MAGIC, sizeof MAGIC) != 0)
        return ds4_fail(error, DS4_FORMAT, "it is no file of the KV cache");
    memcpy(&version, bytes + AT_VERSION, sizeof version);
    if (version != DS4_KV_VERSION)
        return ds4_fail(error, version > DS4_KV_VERSION ? DS4_UNSUPPORTED : DS4_FORMAT,
                        "version %u of the KV cache's files is not known", version);
    memcpy(&hash, bytes + AT_HEADER_HASH, 8);
    if (hash != XXH3_64bits(bytes, AT_HEADER_HASH))
        return ds4_fail(error, DS4_FORMAT, "the header's checksum is wrong");
    *h = (ds4_kv_header){.file.kind = (ds4_kv_kind)bytes[AT_KIND], .reason = bytes[AT_REASON]};
    memcpy(&h->identity, bytes + AT_IDENTITY, 8);
    memcpy(&h->n_tokens, bytes + AT_TOKENS, 4);
    memcpy(&h->file.n_tail, bytes + AT_TAIL, 4);
    memcpy(&h->file.key, bytes + AT_KEY, 16);
    memcpy(&h->file.parent, bytes + AT_PARENT, 16);
    memcpy(&h->created, bytes + AT_CREATED, 8);
    memcpy(&h->n_payload, bytes + AT_PAYLOAD, 8);
    memcpy(&h->payload_hash, bytes + AT_PAYLOAD_HASH, 8);
    memcpy(&h->block_tokens, bytes + AT_BLOCK_TOKENS, 4);
    if ((h->file.kind != DS4_KV_BLOCK && h->file.kind != DS4_KV_TIP) ||
        h->reason >= DS4_KV_SAVE_COUNT || h->n_tokens == 0 || h->file.n_tail > h->n_tokens ||
        h->block_tokens == 0)
        return ds4_fail(error, DS4_FORMAT, "the header contradicts itself");
    if (n_file < DS4_KV_HEADER_BYTES || h->n_payload != n_file - DS4_KV_HEADER_BYTES)
        return ds4_fail(error, DS4_FORMAT, "%llu bytes of payload are announced, %llu are there",
                        (unsigned long long)h->n_payload,
                        (unsigned long long)(n_file - DS4_KV_HEADER_BYTES));
    return DS4_OK;
}

uint64_t ds4_kv_payload_hash(const void *bytes, size_t n) {
    return XXH3_64bits(bytes, n);
}

/* ---- blocks ---- */

size_t ds4_kv_block_bytes(uint32_t block_tokens, size_t n_rows) {
    return block_tokens * (sizeof(uint64_t) + sizeof(int32_t)) + n_rows;
}

ds4_status ds4_kv_block_view(const uint8_t *payload, size_t n, uint32_t block_tokens,
                             const ds4_kv_file *file, ds4_kv_block *block, ds4_error *error) {
    size_t n_dials = block_tokens * sizeof(uint64_t), n_tokens = block_tokens * sizeof(int32_t);
    if (n < n_dials + n_tokens) return ds4_fail(error, DS4_FORMAT, "the block is cut short");
    block->dials = (const uint64_t *)(const void *)payload;
    block->tokens = (const int32_t *)(const void *)(payload + n_dials);
    block->rows = payload + n_dials + n_tokens;
    block->n_rows = n - n_dials - n_tokens;
    if (file == NULL) return DS4_OK;
    ds4_kv_key key = ds4_kv_key_next(file->parent, block->tokens, block->dials, block_tokens);
    if (!ds4_kv_key_equal(key, file->key))
        return ds4_fail(error, DS4_FORMAT, "the block's tokens are not those of its name");
    return DS4_OK;
}
