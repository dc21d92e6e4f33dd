#include "chat/tool_id.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Two running 64-bit hashes. The first basis is the FNV-1a one with its last digit missing: part of
 * the format. */
typedef struct id_hash {
    uint64_t first, second;
} id_hash;

static void hash_byte(id_hash *hash, unsigned char byte) {
    hash->first = (hash->first ^ byte) * UINT64_C(1099511628211);
    hash->second ^= byte + UINT64_C(0x9e3779b97f4a7c15) + (hash->second << 6) + (hash->second >> 2);
}

static void hash_field(id_hash *hash, const char *bytes, size_t n) {
    for (size_t i = 0; i < n; i++) hash_byte(hash, (unsigned char)bytes[i]);
    hash_byte(hash, 0xFF);
}

static void hash_string(id_hash *hash, const char *string) {
    hash_field(hash, string, strlen(string));
}

static void hash_integer(id_hash *hash, uint64_t value) {
    char digits[32];
    snprintf(digits, sizeof digits, "%" PRIu64, value);
    hash_string(hash, digits);
}

static void hash_float(id_hash *hash, float value) {
    char digits[32];
    snprintf(digits, sizeof digits, "%.9g", (double)value);
    for (char *at = digits; *at != '\0'; at++)
        if (*at == ',') *at = '.'; /* a locale's decimal comma */
    hash_string(hash, digits);
}

static const char *prefix_of(ds4_tool_id_protocol protocol) {
    return protocol == DS4_TOOL_ID_ANTHROPIC ? "toolu_" : "call_";
}

void ds4_tool_id_derive(const ds4_tool_id_source *source, size_t index, uint64_t attempt,
                        ds4_text name, char id[64]) {
    id_hash hash = {UINT64_C(1469598103934665603), UINT64_C(0x84222325cbf29ce4)};
    hash_string(&hash, "ds4-tool-id-v1");
    hash_string(&hash, source->protocol == DS4_TOOL_ID_ANTHROPIC ? "anthropic" : "openai");
    hash_integer(&hash, source->sampling.seed);
    hash_field(&hash, source->model.data, source->model.n);
    hash_field(&hash, source->prompt.data, source->prompt.n);
    hash_integer(&hash, source->max_tokens);
    hash_integer(&hash, (uint64_t)(int64_t)source->sampling.top_k);
    hash_float(&hash, source->sampling.temperature);
    hash_float(&hash, source->sampling.top_p);
    hash_float(&hash, source->sampling.min_p);
    hash_integer(&hash, (uint64_t)source->think_mode);
    hash_integer(&hash, index);
    hash_integer(&hash, attempt);
    hash_field(&hash, name.data, name.n);
    snprintf(id, 64, "%s%016" PRIx64 "%016" PRIx64, prefix_of(source->protocol), hash.first,
             hash.second);
}

void ds4_tool_id_random(ds4_tool_id_protocol protocol, const uint8_t random[16], char id[64]) {
    int n = snprintf(id, 64, "%s", prefix_of(protocol));
    for (int i = 0; i < 16; i++) snprintf(id + n + 2 * i, 3, "%02x", random[i]);
}
