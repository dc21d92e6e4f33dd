/* Making a tokenizer: the string tables and their checks. */
#include "tokenizer/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "tokenizer/tokenizer_internal.h"
#include "tokenizer/unicode.h"

#define BAR   "\xef\xbd\x9c" /* U+FF5C */
#define BLANK "\xe2\x96\x81" /* U+2581 */

enum { N_BYTE_SYMBOLS = 0x144 }; /* the byte alphabet's code points lie below U+0144 */

/* ---- the byte alphabet ---- */

/* Printable Latin-1 stands for itself; the other 68 bytes, in order, are U+0100, U+0101, ... */
static bool stands_for_itself(uint32_t byte) {
    return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) ||
           (byte >= 0xae && byte <= 0xff);
}

/* code_points[byte] and bytes[code_point], the latter -1 for code points outside the alphabet. */
static void make_byte_alphabet(uint16_t code_points[256], int16_t bytes[N_BYTE_SYMBOLS]) {
    uint16_t next = 0x100;
    for (size_t i = 0; i < N_BYTE_SYMBOLS; i++) bytes[i] = -1;
    for (uint16_t byte = 0; byte < 256; byte++) {
        code_points[byte] = stands_for_itself(byte) ? byte : next++;
        bytes[code_points[byte]] = (int16_t)byte;
    }
}

/* ---- lookup by string ---- */

static uint64_t hash_bytes(uint64_t hash, const char *data, size_t n) {
    for (size_t i = 0; i < n; i++) hash = (hash ^ (uint8_t)data[i]) * 0x100000001b3u;
    return hash;
}

static ds4_token_string string_at(const ds4_string_table *table, size_t index) {
    size_t begin = table->begin[index];
    return (ds4_token_string){table->data + begin, table->begin[index + 1] - begin};
}

/* The slot of the string `left` + `right`, or the free one where it would go. */
static uint32_t *find_slot(const ds4_tokenizer *tokenizer, ds4_token_string left,
                           ds4_token_string right) {
    uint64_t hash = hash_bytes(0xcbf29ce484222325u, left.data, left.n);
    hash = hash_bytes(hash, right.data, right.n);
    hash ^= hash >> 29;
    for (size_t i = (size_t)hash & tokenizer->slot_mask;; i = (i + 1) & tokenizer->slot_mask) {
        uint32_t *slot = &tokenizer->slots[i];
        if (*slot == 0) return slot;
        ds4_token_string known = string_at(&tokenizer->strings, *slot - 1);
        if (known.n == left.n + right.n && memcmp(known.data, left.data, left.n) == 0 &&
            (right.n == 0 || memcmp(known.data + left.n, right.data, right.n) == 0))
            return slot;
    }
}

static int32_t find_joined(const ds4_tokenizer *tokenizer, ds4_token_string left,
                           ds4_token_string right) {
    return (int32_t)*find_slot(tokenizer, left, right) - 1;
}

int32_t ds4_tokenizer_find(const ds4_tokenizer *tokenizer, const char *string, size_t n) {
    return find_joined(tokenizer, (ds4_token_string){string, n}, (ds4_token_string){"", 0});
}

static ds4_status index_strings(ds4_tokenizer *tokenizer, ds4_error *error) {
    size_t n_slots = 16;
    while (n_slots < 2 * tokenizer->n_tokens) n_slots *= 2;
    tokenizer->slots = calloc(n_slots, sizeof *tokenizer->slots);
    if (tokenizer->slots == NULL)
        return ds4_fail_memory(error, n_slots * sizeof *tokenizer->slots, "the token index");
    tokenizer->slot_mask = n_slots - 1;
    for (size_t id = 0; id < tokenizer->n_tokens; id++) {
        ds4_token_string string = string_at(&tokenizer->strings, id);
        uint32_t *slot = find_slot(tokenizer, string, (ds4_token_string){"", 0});
        if (*slot != 0)
            return ds4_fail(
                error, DS4_FORMAT, "vocabulary: tokens %u and %zu are the same string '%.*s'",
                (unsigned)*slot - 1, id, string.n < 64 ? (int)string.n : 64, string.data);
        *slot = (uint32_t)id + 1;
    }
    return DS4_OK;
}

/* ---- strings and bytes ---- */

/* A token never stands for more bytes than its string has, so both tables get the same space. */
static ds4_status allocate_table(ds4_string_table *table, size_t n, size_t n_bytes,
                                 ds4_error *error) {
    table->data = malloc(n_bytes > 0 ? n_bytes : 1);
    table->begin = calloc(n + 1, sizeof *table->begin);
    if (table->data == NULL || table->begin == NULL)
        return ds4_fail_memory(error, n_bytes + (n + 1) * sizeof *table->begin, "the vocabulary");
    return DS4_OK;
}

static bool contains_bar(ds4_token_string string) {
    for (size_t i = 0; i + 3 <= string.n; i++)
        if (memcmp(string.data + i, BAR, 3) == 0) return true;
    return false;
}

/* Writes what the string stands for and returns its length. Code points outside the alphabet stand
 * for nothing. */
static size_t decode_string(ds4_token_string string, const int16_t bytes[N_BYTE_SYMBOLS],
                            char *target) {
    if (contains_bar(string)) {
        memcpy(target, string.data, string.n);
        return string.n;
    }
    size_t n = 0;
    for (size_t i = 0; i < string.n;) {
        uint32_t c;
        i += ds4_utf8_next((const uint8_t *)string.data + i, string.n - i, &c);
        if (c < N_BYTE_SYMBOLS && bytes[c] >= 0) target[n++] = (char)bytes[c];
    }
    return n;
}

static ds4_status copy_strings(ds4_tokenizer *tokenizer, const ds4_tokenizer_tables *tables,
                               const int16_t bytes[N_BYTE_SYMBOLS], ds4_error *error) {
    size_t n = tables->n_tokens, total = 0;
    for (size_t id = 0; id < n; id++) total += tables->tokens[id].n;
    ds4_string_table *strings = &tokenizer->strings, *decoded = &tokenizer->bytes;
    ds4_status status = allocate_table(strings, n, total, error);
    if (status == DS4_OK) status = allocate_table(decoded, n, total, error);
    if (status != DS4_OK) return status;
    for (size_t id = 0; id < n; id++) {
        ds4_token_string string = tables->tokens[id];
        if (string.n > 0) memcpy(strings->data + strings->begin[id], string.data, string.n);
        strings->begin[id + 1] = strings->begin[id] + string.n;
        decoded->begin[id + 1] =
            decoded->begin[id] + decode_string(string, bytes, decoded->data + decoded->begin[id]);
    }
    return DS4_OK;
}

static void mark_ordinary(ds4_tokenizer *tokenizer, int32_t id) {
    tokenizer->ordinary[(size_t)id / 64] |= (uint64_t)1 << ((size_t)id % 64);
}

static ds4_status find_byte_symbols(ds4_tokenizer *tokenizer, const uint16_t code_points[256],
                                    ds4_error *error) {
    for (unsigned byte = 0; byte < 256; byte++) {
        unsigned c = code_points[byte];
        char string[2] = {(char)c, 0};
        size_t n = 1;
        if (c >= 0x80) {
            string[0] = (char)(0xc0 | c >> 6);
            string[1] = (char)(0x80 | (c & 0x3f));
            n = 2;
        }
        int32_t id = ds4_tokenizer_find(tokenizer, string, n);
        if (id < 0)
            return ds4_fail(error, DS4_FORMAT, "vocabulary: no token for byte 0x%02x (U+%04X)",
                            byte, c);
        tokenizer->byte_ids[byte] = id;
        mark_ordinary(tokenizer, id);
    }
    return DS4_OK;
}

/* ---- control tokens ---- */

static int32_t find_text(const ds4_tokenizer *tokenizer, const char *string) {
    return ds4_tokenizer_find(tokenizer, string, strlen(string));
}

static void find_control_tokens(ds4_tokenizer *tokenizer) {
    static const char *const strings[DS4_N_CONTROL] = {
        "<" BAR "begin" BLANK "of" BLANK "sentence" BAR ">",
        "<" BAR "end" BLANK "of" BLANK "sentence" BAR ">",
        "<" BAR "User" BAR ">",
        "<" BAR "Assistant" BAR ">",
        "<think>",
        "</think>",
        BAR "DSML" BAR,
    };
    ds4_special_ids *special = &tokenizer->special;
    int32_t *const ids[DS4_N_CONTROL] = {&special->bos,       &special->eos,   &special->user,
                                         &special->assistant, &special->think, &special->think_end,
                                         &special->dsml};
    for (size_t i = 0; i < DS4_N_CONTROL; i++) {
        *ids[i] = find_text(tokenizer, strings[i]);
        tokenizer->control[i] = (ds4_control_token){strings[i], strlen(strings[i]), *ids[i]};
    }
    special->pad = find_text(tokenizer, "<" BAR BLANK "pad" BLANK BAR ">");
}

ds4_status ds4_tokenizer_require_chat(const ds4_tokenizer *tokenizer, ds4_error *error) {
    for (size_t i = 0; i < DS4_N_CONTROL; i++)
        if (tokenizer->control[i].id < 0)
            return ds4_fail(error, DS4_UNSUPPORTED,
                            "this vocabulary cannot chat: it has no token '%s'",
                            tokenizer->control[i].string);
    return DS4_OK;
}

/* ---- merges ---- */

static ds4_status fail_merge(ds4_error *error, size_t rank, ds4_token_string merge,
                             const char *what) {
    return ds4_fail(error, DS4_FORMAT, "vocabulary: merge %zu '%.*s' %s", rank,
                    merge.n < 128 ? (int)merge.n : 128, merge.n > 0 ? merge.data : "", what);
}

static ds4_status add_merge(ds4_tokenizer *tokenizer, size_t rank, ds4_token_string merge,
                            ds4_error *error) {
    const char *space = merge.n > 0 ? memchr(merge.data, ' ', merge.n) : NULL;
    if (space == NULL) return fail_merge(error, rank, merge, "has no space between its parts");
    ds4_token_string left = {merge.data, (size_t)(space - merge.data)};
    ds4_token_string right = {space + 1, merge.n - left.n - 1};
    if (left.n == 0 || right.n == 0 || memchr(right.data, ' ', right.n) != NULL)
        return fail_merge(error, rank, merge, "is not two parts");
    int32_t left_id = ds4_tokenizer_find(tokenizer, left.data, left.n);
    int32_t right_id = ds4_tokenizer_find(tokenizer, right.data, right.n);
    int32_t result = find_joined(tokenizer, left, right);
    if (left_id < 0 || right_id < 0)
        return fail_merge(error, rank, merge, "has a part that is no token");
    if (result < 0) return fail_merge(error, rank, merge, "gives a string that is no token");
    /* Else plain text could spell a control token. */
    for (size_t i = 0; i < DS4_N_CONTROL; i++)
        if (tokenizer->control[i].id == result)
            return fail_merge(error, rank, merge, "gives a control token");
    if (!ds4_bpe_merges_add(&tokenizer->merges, (uint32_t)left_id, (uint32_t)right_id,
                            (uint32_t)rank, (uint32_t)result))
        return fail_merge(error, rank, merge, "occurs twice");
    mark_ordinary(tokenizer, result);
    return DS4_OK;
}

static ds4_status add_merges(ds4_tokenizer *tokenizer, const ds4_tokenizer_tables *tables,
                             ds4_error *error) {
    ds4_status status = ds4_bpe_merges_init(&tokenizer->merges, tables->n_merges, error);
    for (size_t rank = 0; rank < tables->n_merges && status == DS4_OK; rank++)
        status = add_merge(tokenizer, rank, tables->merges[rank], error);
    return status;
}

/* ---- creation ---- */

static ds4_status fill_in(ds4_tokenizer *tokenizer, const ds4_tokenizer_tables *tables,
                          ds4_error *error) {
    uint16_t code_points[256];
    int16_t bytes[N_BYTE_SYMBOLS];
    make_byte_alphabet(code_points, bytes);
    tokenizer->n_tokens = tables->n_tokens;
    tokenizer->ordinary = calloc(tables->n_tokens / 64 + 1, sizeof *tokenizer->ordinary);
    if (tokenizer->ordinary == NULL)
        return ds4_fail_memory(error, tables->n_tokens / 8 + 8, "the vocabulary");
    ds4_status status = copy_strings(tokenizer, tables, bytes, error);
    if (status == DS4_OK) status = index_strings(tokenizer, error);
    if (status == DS4_OK) status = find_byte_symbols(tokenizer, code_points, error);
    if (status != DS4_OK) return status;
    find_control_tokens(tokenizer);
    return add_merges(tokenizer, tables, error);
}

ds4_status ds4_tokenizer_create(const ds4_tokenizer_tables *tables, size_t n_vocab,
                                ds4_tokenizer **tokenizer, ds4_error *error) {
    *tokenizer = NULL;
    if (n_vocab != 0 && tables->n_tokens != n_vocab)
        return ds4_fail(error, DS4_FORMAT, "vocabulary: %zu tokens, but the model has %zu",
                        tables->n_tokens, n_vocab);
    if (tables->n_tokens >= INT32_MAX || tables->n_merges >= INT32_MAX)
        return ds4_fail(error, DS4_FORMAT, "vocabulary: %zu tokens and %zu merges are too many",
                        tables->n_tokens, tables->n_merges);
    ds4_tokenizer *made = calloc(1, sizeof *made);
    if (made == NULL) return ds4_fail_memory(error, sizeof *made, "a tokenizer");
    ds4_status status = fill_in(made, tables, error);
    if (status != DS4_OK) {
        ds4_tokenizer_destroy(made);
        return status;
    }
    *tokenizer = made;
    return DS4_OK;
}

void ds4_tokenizer_destroy(ds4_tokenizer *tokenizer) {
    if (tokenizer == NULL) return;
    free(tokenizer->strings.data);
    free(tokenizer->strings.begin);
    free(tokenizer->bytes.data);
    free(tokenizer->bytes.begin);
    free(tokenizer->slots);
    free(tokenizer->ordinary);
    ds4_bpe_merges_free(&tokenizer->merges);
    free(tokenizer);
}

/* ---- questions ---- */

const ds4_special_ids *ds4_tokenizer_special_ids(const ds4_tokenizer *tokenizer) {
    return &tokenizer->special;
}

size_t ds4_tokenizer_n_tokens(const ds4_tokenizer *tokenizer) {
    return tokenizer->n_tokens;
}

bool ds4_tokenizer_is_ordinary(const ds4_tokenizer *tokenizer, int32_t id) {
    if (id < 0 || (size_t)id >= tokenizer->n_tokens) return false;
    return (tokenizer->ordinary[(size_t)id / 64] >> ((size_t)id % 64) & 1) != 0;
}

ds4_token_string ds4_tokenizer_token_bytes(const ds4_tokenizer *tokenizer, int32_t id) {
    if (id < 0 || (size_t)id >= tokenizer->n_tokens) return (ds4_token_string){"", 0};
    return string_at(&tokenizer->bytes, (size_t)id);
}
