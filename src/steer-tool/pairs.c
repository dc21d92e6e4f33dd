#include "steer-tool/pairs.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/error.h"
#include "base/file.h"
#include "base/json_scan.h"
#include "tokenizer/tokenizer.h"
#include "tool/tool.h"

enum { MAX_FILE_BYTES = 1 << 28, CONTEXT = 1 << 20 };

static ds4_status add_sides(ds4_pairs *pairs, ds4_error *error) {
    ds4_pair_side *grown = realloc(pairs->sides, 2 * (pairs->n + 1) * sizeof *grown);
    if (grown == NULL)
        return ds4_fail_memory(error, 2 * (pairs->n + 1) * sizeof *grown, "the pairs");
    pairs->sides = grown;
    memset(grown + 2 * pairs->n, 0, 2 * sizeof *grown);
    pairs->n++;
    return DS4_OK;
}

void ds4_pairs_free(ds4_pairs *pairs) {
    for (size_t i = 0; i < 2 * pairs->n; i++) ds4_tokens_free(&pairs->sides[i].tokens);
    free(pairs->sides);
    *pairs = (ds4_pairs){0};
}

static ds4_status fill_side(const char *body, size_t n, const ds4_tokenizer *tokenizer,
                            ds4_pair_side *side, ds4_error *error) {
    ds4_tool_prompt prompt;
    ds4_status status = ds4_tool_render(body, n, tokenizer, CONTEXT, &prompt, error);
    side->tokens = prompt.ids;
    if (status == DS4_OK && prompt.ids.n == 0)
        status = ds4_fail(error, DS4_FORMAT, "the prompt is empty");
    side->first = prompt.ids.n > 0 ? prompt.ids.n - 1 : 0;
    return status;
}

/* Tokens of an answer behind the prompt: then activations are taken there. */
static ds4_status add_answer(ds4_json_value pair, const char *name, const ds4_tokenizer *tokenizer,
                             uint32_t max_answer, ds4_pair_side *side, ds4_error *error) {
    ds4_json_value value;
    ds4_strbuf text = {0};
    ds4_tokens ids = {0};
    if (max_answer == 0 || !ds4_json_find(pair, name, &value)) return DS4_OK;
    if (value.type != DS4_JSON_STRING)
        return ds4_fail(error, DS4_FORMAT, "%s is not a string", name);
    ds4_json_string_decode(value, &text);
    ds4_status status =
        ds4_tokenizer_encode(tokenizer, text.data != NULL ? text.data : "", text.n, &ids, error);
    size_t n = ids.n < max_answer ? ids.n : max_answer;
    if (status == DS4_OK && n > 0) {
        side->first = side->tokens.n;
        status = ds4_tokens_append(&side->tokens, ids.ids, n, error);
    }
    ds4_tokens_free(&ids);
    ds4_strbuf_free(&text);
    return status;
}

static ds4_status read_pair(const char *line, size_t n, const ds4_tokenizer *tokenizer,
                            uint32_t max_answer, ds4_pairs *pairs, ds4_error *error) {
    static const char *const names[2] = {"target", "contrast"};
    static const char *const answers[2] = {"target_answer", "contrast_answer"};
    ds4_json_value document, body;
    ds4_status status = ds4_json_scan(line, n, DS4_JSON_DEPTH_LIMIT, &document, error);
    if (status == DS4_OK) status = add_sides(pairs, error);
    for (int s = 0; status == DS4_OK && s < 2; s++) {
        ds4_pair_side *side = &pairs->sides[2 * (pairs->n - 1) + (size_t)s];
        if (document.type != DS4_JSON_OBJECT || !ds4_json_find(document, names[s], &body) ||
            body.type != DS4_JSON_OBJECT)
            return ds4_fail(error, DS4_FORMAT, "%s is missing or not an object", names[s]);
        status = fill_side(body.text, body.n, tokenizer, side, error);
        if (status == DS4_OK)
            status = add_answer(document, answers[s], tokenizer, max_answer, side, error);
    }
    return status;
}

/* The next line that is not empty, without white space at its end. */
static bool next_line(const ds4_strbuf *text, size_t *at, size_t *number, const char **line,
                      size_t *n) {
    while (*at < text->n) {
        const char *begin = text->data + *at, *newline = memchr(begin, '\n', text->n - *at);
        *n = newline != NULL ? (size_t)(newline - begin) : text->n - *at;
        *at += *n + 1;
        ++*number;
        while (*n > 0 && strchr(" \t\r", begin[*n - 1]) != NULL) --*n;
        *line = begin;
        if (*n > 0) return true;
    }
    return false;
}

ds4_status ds4_pairs_read_jsonl(const char *path, const ds4_tokenizer *tokenizer,
                                uint32_t max_answer, ds4_pairs *pairs, ds4_error *error) {
    ds4_strbuf text = {0};
    ds4_error reason = {0};
    size_t at = 0, number = 0, n;
    const char *line;
    *pairs = (ds4_pairs){0};
    ds4_status status = ds4_file_read(path, MAX_FILE_BYTES, &text, error);
    while (status == DS4_OK && next_line(&text, &at, &number, &line, &n)) {
        status = read_pair(line, n, tokenizer, max_answer, pairs, &reason);
        if (status != DS4_OK)
            ds4_fail(error, status, "%.150s line %zu: %.300s", path, number, reason.message);
    }
    if (status == DS4_OK && pairs->n == 0)
        status = ds4_fail(error, DS4_FORMAT, "%s: no pairs found", path);
    pairs->sources = XXH3_64bits(text.data, text.n);
    ds4_strbuf_free(&text);
    return status;
}

/* ---- two text files ---- */

/* U+4E00..U+9FFF: three bytes, the first E4..E9. */
static bool is_chinese(const char *line, size_t n) {
    for (size_t i = 0; i + 2 < n; i++) {
        unsigned char a = (unsigned char)line[i], b = (unsigned char)line[i + 1];
        if ((a > 0xE4 && a <= 0xE9) || (a == 0xE4 && b >= 0xB8)) return true;
    }
    return false;
}

static void append_message(const char *role, const char *prefix, const char *text, size_t n,
                           ds4_strbuf *body) {
    ds4_strbuf_printf(body, "{\"role\":\"%s\",\"content\":\"", role);
    if (prefix != NULL) ds4_json_escape(prefix, strlen(prefix), body);
    ds4_json_escape(text, n, body);
    ds4_strbuf_puts(body, "\"}");
}

static ds4_status text_side(const ds4_pair_texts *texts, const char *const prefixes[2],
                            const char *line, size_t n, const ds4_tokenizer *tokenizer,
                            ds4_pair_side *side, ds4_error *error) {
    ds4_strbuf body = {0};
    ds4_strbuf_puts(&body, "{\"messages\":[");
    if (texts->system != NULL && texts->system[0] != '\0') {
        append_message("system", NULL, texts->system, strlen(texts->system), &body);
        ds4_strbuf_putc(&body, ',');
    }
    append_message("user", prefixes[is_chinese(line, n)], line, n, &body);
    ds4_strbuf_printf(&body, "],\"thinking\":{\"type\":\"%s\"}}",
                      texts->thinking ? "enabled" : "disabled");
    ds4_status status = body.failed ? ds4_fail_memory(error, body.n, "a prompt")
                                    : fill_side(body.data, body.n, tokenizer, side, error);
    ds4_strbuf_free(&body);
    return status;
}

/* The next prompt of a text file: lines that begin with # are comments. */
static bool next_prompt(const ds4_strbuf *text, size_t *at, const char **line, size_t *n) {
    size_t number = 0;
    while (next_line(text, at, &number, line, n)) {
        while (*n > 0 && (**line == ' ' || **line == '\t')) ++*line, --*n;
        if (*n > 0 && **line != '#') return true;
    }
    return false;
}

ds4_status ds4_pairs_read_texts(const ds4_pair_texts *texts, const ds4_tokenizer *tokenizer,
                                ds4_pairs *pairs, ds4_error *error) {
    ds4_strbuf text[2] = {{0}, {0}};
    size_t at[2] = {0, 0}, n[2];
    const char *line[2];
    *pairs = (ds4_pairs){0};
    ds4_status status = ds4_file_read(texts->target, MAX_FILE_BYTES, &text[0], error);
    if (status == DS4_OK) status = ds4_file_read(texts->contrast, MAX_FILE_BYTES, &text[1], error);
    while (status == DS4_OK && next_prompt(&text[0], &at[0], &line[0], &n[0]) &&
           next_prompt(&text[1], &at[1], &line[1], &n[1])) {
        status = add_sides(pairs, error);
        if (status == DS4_OK)
            status = text_side(texts, texts->target_prefix, line[0], n[0], tokenizer,
                               &pairs->sides[2 * (pairs->n - 1)], error);
        if (status == DS4_OK)
            status = text_side(texts, texts->contrast_prefix, line[1], n[1], tokenizer,
                               &pairs->sides[2 * (pairs->n - 1) + 1], error);
    }
    if (status == DS4_OK && pairs->n == 0)
        status = ds4_fail(error, DS4_FORMAT, "%s: no prompts found", texts->target);
    pairs->sources = XXH3_64bits(text[0].data, text[0].n) ^ XXH64(text[1].data, text[1].n, 1);
    ds4_strbuf_free(&text[0]);
    ds4_strbuf_free(&text[1]);
    return status;
}
