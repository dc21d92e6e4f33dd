#include "gguf-tool/vocabulary.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "gguf-tool/json_file.h"

enum { TYPE_NORMAL = 1, TYPE_CONTROL = 3, TYPE_USER_DEFINED = 4, TYPE_UNUSED = 5 };

#define BOS                                                                                        \
    "<\xEF\xBD\x9C"                                                                                \
    "begin\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C>"
#define EOS                                                                                        \
    "<\xEF\xBD\x9C"                                                                                \
    "end\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C>"
#define PAD  "<\xEF\xBD\x9C\xE2\x96\x81pad\xE2\x96\x81\xEF\xBD\x9C>"
#define USER "<\xEF\xBD\x9CUser\xEF\xBD\x9C>"
#define ASSISTANT                                                                                  \
    "<\xEF\xBD\x9C"                                                                                \
    "Assistant\xEF\xBD\x9C>"
#define DSML                                                                                       \
    "\xEF\xBD\x9C"                                                                                 \
    "DSML\xEF\xBD\x9C"

void ds4_vocabulary_free(ds4_vocabulary *vocabulary) {
    free(vocabulary->tokens);
    free(vocabulary->types);
    free(vocabulary->merges);
    free(vocabulary->text);
    json_object_put(vocabulary->source);
    json_object_put(vocabulary->config);
    *vocabulary = (ds4_vocabulary){0};
}

static ds4_status allocate(ds4_vocabulary *v, uint32_t n_tokens, size_t n_merges, size_t n_text,
                           ds4_error *error) {
    v->bos = v->eos = v->pad = -1;
    v->add_bos = v->add_eos = -1;
    v->n_tokens = n_tokens;
    v->text_capacity = n_text;
    v->tokens = calloc(n_tokens, sizeof *v->tokens);
    v->types = calloc(n_tokens, sizeof *v->types);
    v->merges = calloc(n_merges + 1, sizeof *v->merges);
    v->text = malloc(n_text + 1);
    if (v->tokens != NULL && v->types != NULL && v->merges != NULL && v->text != NULL)
        return DS4_OK;
    return ds4_fail_memory(error,
                           n_tokens * sizeof *v->tokens + n_merges * sizeof *v->merges + n_text,
                           "a vocabulary");
}

/* Bytes that the vocabulary owns; the room was counted beforehand. */
static ds4_gguf_string keep(ds4_vocabulary *v, const char *bytes, size_t n) {
    ds4_gguf_string kept = {v->text + v->n_text, n};
    if (n > v->text_capacity - v->n_text) return (ds4_gguf_string){NULL, 0};
    memcpy(v->text + v->n_text, bytes, n);
    v->n_text += n;
    return kept;
}

enum { PAD_TEXT_BYTES = 16 }; /* "[PAD4294967295]" and its NUL */

static void pad_undefined(ds4_vocabulary *v) {
    for (uint32_t id = 0; id < v->n_tokens; id++) {
        char text[PAD_TEXT_BYTES];
        if (v->tokens[id].data != NULL) continue;
        int n = snprintf(text, sizeof text, "[PAD%" PRIu32 "]", id);
        v->tokens[id] = keep(v, text, (size_t)n);
        v->types[id] = TYPE_UNUSED;
    }
}

static void find_control_ids(ds4_vocabulary *v) {
    for (uint32_t id = 0; id < v->n_tokens; id++) {
        const ds4_gguf_string *token = &v->tokens[id];
        if (token->n == strlen(BOS) && memcmp(token->data, BOS, token->n) == 0) v->bos = id;
        if (token->n == strlen(EOS) && memcmp(token->data, EOS, token->n) == 0) v->eos = id;
        if (token->n == strlen(PAD) && memcmp(token->data, PAD, token->n) == 0) v->pad = id;
    }
}

/* ---- tokenizer.json ---- */

static ds4_status define(ds4_vocabulary *v, const char *path, json_object *id, const char *text,
                         size_t n, int32_t type, bool may_repeat, ds4_error *error) {
    int64_t number = json_object_is_type(id, json_type_int) ? json_object_get_int64(id) : -1;
    if (number < 0 || number >= v->n_tokens) {
        return ds4_fail(error, DS4_FORMAT,
                        "%s: token '%.60s' has the id %" PRId64 "; the model has %" PRIu32 " ids",
                        path, text, number, v->n_tokens);
    }
    ds4_gguf_string *token = &v->tokens[number];
    bool is_same = token->data != NULL && token->n == n && memcmp(token->data, text, n) == 0;
    if (token->data != NULL && !(may_repeat && is_same)) {
        return ds4_fail(error, DS4_FORMAT, "%s: id %" PRId64 " is both '%.60s' and '%.60s'", path,
                        number, token->data, text);
    }
    *token = (ds4_gguf_string){text, n};
    v->types[number] = type;
    return DS4_OK;
}

/* "<|...|>" or the same with full-width bars: a control token, whatever its flag says. */
static bool looks_like_control(const char *text, size_t n) {
    static const char bar[] = "\xEF\xBD\x9C";
    if (n >= 4 && text[0] == '<' && text[1] == '|' && text[n - 2] == '|' && text[n - 1] == '>')
        return true;
    return n >= 8 && text[0] == '<' && memcmp(text + 1, bar, 3) == 0 &&
           memcmp(text + n - 4, bar, 3) == 0 && text[n - 1] == '>';
}

static ds4_status read_added(ds4_vocabulary *v, const char *path, json_object *added,
                             ds4_error *error) {
    size_t n = json_object_is_type(added, json_type_array) ? json_object_array_length(added) : 0;
    for (size_t i = 0; i < n; i++) {
        json_object *entry = json_object_array_get_idx(added, i), *id = NULL, *content = NULL,
                    *special = NULL;
        json_object_object_get_ex(entry, "id", &id);
        json_object_object_get_ex(entry, "special", &special);
        if (!json_object_object_get_ex(entry, "content", &content) ||
            !json_object_is_type(content, json_type_string)) {
            return ds4_fail(error, DS4_FORMAT, "%s: added_tokens[%zu] has no content", path, i);
        }
        const char *text = json_object_get_string(content);
        size_t n_text = (size_t)json_object_get_string_len(content);
        bool is_control = json_object_get_boolean(special) || looks_like_control(text, n_text);
        ds4_status status = define(v, path, id, text, n_text,
                                   is_control ? TYPE_CONTROL : TYPE_USER_DEFINED, true, error);
        if (status != DS4_OK) return status;
    }
    return DS4_OK;
}

/* One side of a merge given as a pair: a space within it is written as its byte's character. */
static size_t copy_part(const char *part, size_t n, char *target) {
    size_t used = 0;
    for (size_t i = 0; i < n; i++) {
        if (part[i] == ' ') {
            memcpy(target + used, "\xC4\xA0", 2);
            used += 2;
        } else {
            target[used++] = part[i];
        }
    }
    return used;
}

/* A merge as "left right". */
static ds4_status read_merge(ds4_vocabulary *v, const char *path, json_object *merge, size_t rank,
                             ds4_error *error) {
    if (json_object_is_type(merge, json_type_string)) {
        const char *text = json_object_get_string(merge);
        size_t n = (size_t)json_object_get_string_len(merge);
        const char *space = memchr(text, ' ', n);
        if (space != NULL && space != text && space != text + n - 1) {
            v->merges[v->n_merges++] = (ds4_gguf_string){text, n};
            return DS4_OK;
        }
    } else if (json_object_is_type(merge, json_type_array) &&
               json_object_array_length(merge) == 2) {
        json_object *left = json_object_array_get_idx(merge, 0),
                    *right = json_object_array_get_idx(merge, 1);
        if (json_object_is_type(left, json_type_string) &&
            json_object_is_type(right, json_type_string)) {
            char *start = v->text + v->n_text, *end = start;
            end += copy_part(json_object_get_string(left), (size_t)json_object_get_string_len(left),
                             end);
            *end++ = ' ';
            end += copy_part(json_object_get_string(right),
                             (size_t)json_object_get_string_len(right), end);
            v->n_text += (size_t)(end - start);
            v->merges[v->n_merges++] = (ds4_gguf_string){start, (size_t)(end - start)};
            return DS4_OK;
        }
    }
    return ds4_fail(error, DS4_FORMAT,
                    "%s: model.merges[%zu] is neither \"left right\" nor a pair of strings", path,
                    rank);
}

/* Bytes that pairs of strings may need when they are joined. */
static size_t joined_bytes(json_object *merges) {
    size_t total = 0;
    for (size_t i = 0; i < json_object_array_length(merges); i++) {
        json_object *merge = json_object_array_get_idx(merges, i);
        size_t n =
            json_object_is_type(merge, json_type_array) ? json_object_array_length(merge) : 0;
        for (size_t k = 0; k < n && k < 2; k++) {
            json_object *part = json_object_array_get_idx(merge, k);
            if (json_object_is_type(part, json_type_string))
                total += 2 * (size_t)json_object_get_string_len(part) + 1;
        }
    }
    return total;
}

ds4_status ds4_vocabulary_read(const char *path, uint32_t n_tokens, ds4_vocabulary *vocabulary,
                               ds4_error *error) {
    json_object *model = NULL, *vocab = NULL, *merges = NULL, *added = NULL;
    ds4_vocabulary v = {0};
    ds4_status status = ds4_json_read_file(path, &v.source, error);
    if (status != DS4_OK) goto done;
    if (!json_object_object_get_ex(v.source, "model", &model) ||
        !json_object_object_get_ex(model, "vocab", &vocab) ||
        !json_object_is_type(vocab, json_type_object) ||
        !json_object_object_get_ex(model, "merges", &merges) ||
        !json_object_is_type(merges, json_type_array)) {
        status = ds4_fail(error, DS4_FORMAT,
                          "%s: not a BPE tokenizer (model.vocab or model.merges is missing)", path);
        goto done;
    }
    status = allocate(&v, n_tokens, json_object_array_length(merges),
                      joined_bytes(merges) + (size_t)n_tokens * PAD_TEXT_BYTES, error);
    if (status != DS4_OK) goto done;
    json_object_object_foreach(vocab, text, id) {
        status = define(&v, path, id, text, strlen(text), TYPE_NORMAL, false, error);
        if (status != DS4_OK) goto done;
    }
    json_object_object_get_ex(v.source, "added_tokens", &added);
    status = read_added(&v, path, added, error);
    for (size_t i = 0; status == DS4_OK && i < json_object_array_length(merges); i++) {
        status = read_merge(&v, path, json_object_array_get_idx(merges, i), i, error);
    }
    if (status != DS4_OK) goto done;
    pad_undefined(&v);
    find_control_ids(&v);
    *vocabulary = v;
    return DS4_OK;
done:
    ds4_vocabulary_free(&v);
    return status;
}

/* ---- bytes ---- */

/* The character that stands for a byte: itself when printable, else the next of U+0100... */
static size_t encode_byte(unsigned byte, char text[2]) {
    unsigned code = byte;
    bool is_printable =
        (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    if (!is_printable) {
        code = 0x100 + (byte <= 0x20 ? byte : byte == 0xAD ? 0x43 : byte - 0x7F + 0x21);
    }
    if (code < 0x80) {
        text[0] = (char)code;
        return 1;
    }
    text[0] = (char)(0xC0 | code >> 6);
    text[1] = (char)(0x80 | (code & 0x3F));
    return 2;
}

static void add(ds4_vocabulary *v, uint32_t *id, const char *text, size_t n, int32_t type) {
    v->tokens[*id] = keep(v, text, n);
    v->types[*id] = type;
    *id += 1;
}

ds4_status ds4_vocabulary_of_bytes(uint32_t n_tokens, ds4_vocabulary *vocabulary,
                                   ds4_error *error) {
    static const char *const first[] = {BOS, EOS, PAD}; /* at the ids they have in V4 Flash */
    static const char *const last[] = {USER, ASSISTANT, "<think>", "</think>", DSML};
    /* In order of rank; each side is a byte or the product of an earlier merge. "\xC4\xA0" is the
     * space. */
    static const char *const merges[] = {
        "\xC4\xA0 t", "h e",        "i n", "\xC4\xA0 a", "r e", "o n",        "\xC4\xA0t he",
        "e r",        "\xC4\xA0 s", "a t", "in g",       "o u", "\xC4\xA0 w", "\xC4\xA0\x61 n"};
    enum { N_MERGES = sizeof merges / sizeof merges[0], ENOUGH_TEXT = 2048 };
    ds4_vocabulary v = {0};
    uint32_t id = 0;
    if (n_tokens < 300) {
        return ds4_fail(error, DS4_INVALID_ARGUMENT,
                        "a byte-level vocabulary needs 300 ids; the model has %" PRIu32, n_tokens);
    }
    ds4_status status =
        allocate(&v, n_tokens, N_MERGES, ENOUGH_TEXT + (size_t)n_tokens * PAD_TEXT_BYTES, error);
    if (status != DS4_OK) {
        ds4_vocabulary_free(&v);
        return status;
    }
    for (size_t i = 0; i < sizeof first / sizeof first[0]; i++)
        add(&v, &id, first[i], strlen(first[i]), TYPE_CONTROL);
    for (unsigned byte = 0; byte < 256; byte++) {
        char text[2];
        size_t n = encode_byte(byte, text);
        add(&v, &id, text, n, TYPE_NORMAL);
    }
    for (size_t i = 0; i < N_MERGES; i++) {
        char product[16];
        const char *space = strchr(merges[i], ' ');
        size_t n_left = (size_t)(space - merges[i]), n_right = strlen(space + 1);
        memcpy(product, merges[i], n_left);
        memcpy(product + n_left, space + 1, n_right);
        add(&v, &id, product, n_left + n_right, TYPE_NORMAL);
        v.merges[v.n_merges++] = (ds4_gguf_string){merges[i], strlen(merges[i])};
    }
    for (size_t i = 0; i < sizeof last / sizeof last[0]; i++) {
        bool is_control = looks_like_control(last[i], strlen(last[i]));
        add(&v, &id, last[i], strlen(last[i]), is_control ? TYPE_CONTROL : TYPE_USER_DEFINED);
    }
    pad_undefined(&v);
    find_control_ids(&v);
    *vocabulary = v;
    return DS4_OK;
}

void ds4_vocabulary_put_metadata(const ds4_vocabulary *vocabulary, ds4_gguf_writer *writer) {
    const ds4_vocabulary *v = vocabulary;
    ds4_gguf_writer_put_string(writer, "tokenizer.ggml.model", "gpt2", 4);
    ds4_gguf_writer_put_string(writer, "tokenizer.ggml.pre", "joyai-llm", 9);
    ds4_gguf_writer_put_string_array(writer, "tokenizer.ggml.tokens", v->tokens, v->n_tokens);
    ds4_gguf_writer_put_i32_array(writer, "tokenizer.ggml.token_type", v->types, v->n_tokens);
    ds4_gguf_writer_put_string_array(writer, "tokenizer.ggml.merges", v->merges, v->n_merges);
    if (v->bos >= 0)
        ds4_gguf_writer_put_u32(writer, "tokenizer.ggml.bos_token_id", (uint32_t)v->bos);
    if (v->eos >= 0)
        ds4_gguf_writer_put_u32(writer, "tokenizer.ggml.eos_token_id", (uint32_t)v->eos);
    if (v->pad >= 0)
        ds4_gguf_writer_put_u32(writer, "tokenizer.ggml.padding_token_id", (uint32_t)v->pad);
    if (v->add_bos >= 0)
        ds4_gguf_writer_put_bool(writer, "tokenizer.ggml.add_bos_token", v->add_bos == 1);
    if (v->add_eos >= 0)
        ds4_gguf_writer_put_bool(writer, "tokenizer.ggml.add_eos_token", v->add_eos == 1);
    if (v->chat_template != NULL)
        ds4_gguf_writer_put_string(writer, "tokenizer.chat_template", v->chat_template,
                                   strlen(v->chat_template));
}
