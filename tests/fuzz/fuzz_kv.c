/* Files of the KV cache: names, headers, blocks, and records of tool calls. Whatever the bytes are,
 * the parsers accept only what they would have written: encoding what was decoded gives the same
 * bytes again, and a name that was parsed is written the same. The first byte chooses the parser.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "chat/tool_memory.h"
#include "kv/format.h"

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) abort();                                                                 \
    } while (0)

enum { BLOCK_TOKENS = 8 };

static void try_name(const uint8_t *data, size_t n) {
    char name[DS4_KV_NAME_BYTES * 2], again[DS4_KV_NAME_BYTES];
    ds4_kv_file file;
    if (n >= sizeof name) n = sizeof name - 1;
    memcpy(name, data, n);
    name[n] = '\0';
    if (!ds4_kv_file_parse_name(name, &file)) return;
    ds4_kv_file_name(&file, again);
    CHECK(strcmp(name, again) == 0);
}

/* The checksum of the header is made right first: behind it is what matters. */
static void try_file(const uint8_t *data, size_t n, bool mend) {
    uint8_t *bytes = malloc(n + 1), again[DS4_KV_HEADER_BYTES];
    ds4_kv_header header;
    CHECK(bytes != NULL);
    memcpy(bytes, data, n);
    if (mend && n >= DS4_KV_HEADER_BYTES) {
        uint64_t hash = ds4_kv_payload_hash(bytes, DS4_KV_HEADER_BYTES - 8);
        memcpy(bytes + DS4_KV_HEADER_BYTES - 8, &hash, sizeof hash);
    }
    if (ds4_kv_header_decode(bytes, n, n, &header, NULL) == DS4_OK) {
        CHECK(n >= DS4_KV_HEADER_BYTES && header.n_payload == n - DS4_KV_HEADER_BYTES);
        CHECK(header.n_tokens > 0 && header.file.n_tail <= header.n_tokens);
        ds4_kv_header copy = header;
        ds4_kv_header_encode(&copy, again);
        ds4_kv_header second;
        CHECK(ds4_kv_header_decode(again, sizeof again, n, &second, NULL) == DS4_OK);
        CHECK(ds4_kv_key_equal(second.file.key, header.file.key));
        ds4_kv_block block;
        ds4_status status = ds4_kv_block_view(bytes + DS4_KV_HEADER_BYTES, n - DS4_KV_HEADER_BYTES,
                                              BLOCK_TOKENS, &header.file, &block, NULL);
        if (status == DS4_OK) {
            ds4_kv_key key =
                ds4_kv_key_next(header.file.parent, block.tokens, block.dials, BLOCK_TOKENS);
            CHECK(ds4_kv_key_equal(key, header.file.key));
        }
    }
    free(bytes);
}

static void try_record(const uint8_t *data, size_t n) {
    ds4_tool_turn turn;
    size_t n_record;
    if (ds4_tool_turn_decode((const char *)data, n, &turn, &n_record, NULL) != DS4_OK) {
        CHECK(n_record <= n);
        return;
    }
    ds4_strbuf again = {0};
    ds4_tool_turn_encode(&turn, &again);
    CHECK(again.failed || (again.n == n_record && memcmp(again.data, data, n_record) == 0));
    ds4_strbuf_free(&again);
    ds4_tool_memory *memory;
    CHECK(ds4_tool_memory_create(2, 1000, &memory, NULL) == DS4_OK);
    for (int i = 0; i < 3; i++) ds4_tool_memory_put(memory, &turn);
    CHECK(ds4_tool_memory_count(memory) <= (turn.n_calls > 2 ? turn.n_calls : 2));
    ds4_tool_memory_destroy(memory);
    free((void *)turn.calls);
}

/* A record around the input, so that its checksum is right. */
static void try_mended_record(const uint8_t *data, size_t n) {
    uint8_t *bytes = malloc(n + 16);
    uint32_t n_payload = (uint32_t)n;
    uint64_t hash = 1469598103934665603u;
    CHECK(bytes != NULL);
    for (size_t i = 0; i < n; i++) hash = (hash ^ data[i]) * 1099511628211u;
    memcpy(bytes, "DS4R", 4);
    memcpy(bytes + 4, &n_payload, 4);
    memcpy(bytes + 8, &hash, 8);
    if (n > 0) memcpy(bytes + 16, data, n);
    try_record(bytes, n + 16);
    free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    if (n == 0) return 0;
    switch (data[0] % 5) {
    case 0:
        try_name(data + 1, n - 1);
        break;
    case 1:
        try_file(data + 1, n - 1, false);
        break;
    case 2:
        try_file(data + 1, n - 1, true);
        break;
    case 3:
        try_record(data + 1, n - 1);
        break;
    default:
        try_mended_record(data + 1, n - 1);
    }
    return 0;
}
