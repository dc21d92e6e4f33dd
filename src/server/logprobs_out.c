#include "server/logprobs_out.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "server/json_out.h"
#include "tokenizer/tokenizer.h"

void ds4_logprobs_out_free(ds4_logprobs_out *out) {
    while (out->first != NULL) {
        ds4_logprobs_entry *next = out->first->next;
        free(out->first);
        out->first = next;
    }
    out->last = NULL;
}

void ds4_logprobs_out_add(ds4_logprobs_out *out, const ds4_sampled_token *token) {
    ds4_logprobs_entry *entry = calloc(1, sizeof *entry + token->bytes.n + 1);
    if (entry == NULL) {
        out->failed = true;
        return;
    }
    char *copy = (char *)(entry + 1);
    if (token->bytes.n > 0) memcpy(copy, token->bytes.data, token->bytes.n);
    entry->bytes = (ds4_text){copy, token->bytes.n};
    entry->reasoning = token->reasoning;
    entry->begin = out->n_sampled[token->reasoning];
    out->n_sampled[token->reasoning] += token->bytes.n;
    entry->logprob = token->logprob;
    for (size_t i = 0; i < token->n_top && token->top[i].id >= 0; i++)
        entry->top[entry->n_top++] = token->top[i];
    if (out->last != NULL)
        out->last->next = entry;
    else
        out->first = entry;
    out->last = entry;
}

void ds4_logprobs_out_release(ds4_logprobs_out *out, bool reasoning, size_t n) {
    out->n_released[reasoning] += n;
}

/* The first waiting entry of the channel, if its text was released; the list is left. */
static ds4_logprobs_entry *take(ds4_logprobs_out *out, bool reasoning) {
    ds4_logprobs_entry **link = &out->first, *previous = NULL;
    while (*link != NULL && (*link)->reasoning != reasoning) {
        previous = *link;
        link = &(*link)->next;
    }
    ds4_logprobs_entry *entry = *link;
    if (entry == NULL || entry->begin >= out->n_released[reasoning]) return NULL;
    *link = entry->next;
    if (out->last == entry) out->last = previous;
    return entry;
}

/* JSON has no infinity; what cannot be sampled is as unlikely as other servers put it. */
static void append_number(float logprob, ds4_strbuf *json) {
    ds4_strbuf_printf(json, "%.7g", isfinite(logprob) ? (double)logprob : -9999.0);
}

static void append_token(ds4_text bytes, float logprob, ds4_strbuf *json) {
    ds4_strbuf_puts(json, "{\"token\":");
    ds4_json_string(json, bytes.data, bytes.n);
    ds4_strbuf_puts(json, ",\"logprob\":");
    append_number(logprob, json);
    ds4_strbuf_puts(json, ",\"bytes\":[");
    for (size_t i = 0; i < bytes.n; i++)
        ds4_strbuf_printf(json, i > 0 ? ",%u" : "%u", (unsigned)(unsigned char)bytes.data[i]);
    ds4_strbuf_putc(json, ']');
}

static ds4_text token_text(const ds4_logprobs_out *out, int32_t id) {
    ds4_token_string bytes = ds4_tokenizer_token_bytes(out->tokenizer, id);
    return (ds4_text){bytes.data, bytes.n};
}

bool ds4_logprobs_out_take(ds4_logprobs_out *out, bool reasoning, ds4_strbuf *json) {
    ds4_logprobs_entry *entry;
    bool any = false;
    while ((entry = take(out, reasoning)) != NULL) {
        if (any) ds4_strbuf_putc(json, ',');
        any = true;
        append_token(entry->bytes, entry->logprob, json);
        ds4_strbuf_puts(json, ",\"top_logprobs\":[");
        for (uint32_t i = 0; i < entry->n_top; i++) {
            if (i > 0) ds4_strbuf_putc(json, ',');
            append_token(token_text(out, entry->top[i].id), entry->top[i].logprob, json);
            ds4_strbuf_putc(json, '}');
        }
        ds4_strbuf_puts(json, "]}");
        free(entry);
    }
    return any;
}

/* One entry into the four arrays. */
static void append_legacy(const ds4_logprobs_out *out, const ds4_logprobs_entry *entry, bool first,
                          ds4_strbuf parts[4]) {
    for (int i = 0; i < 4 && !first; i++) ds4_strbuf_putc(&parts[i], ',');
    ds4_json_string(&parts[0], entry->bytes.data, entry->bytes.n);
    append_number(entry->logprob, &parts[1]);
    ds4_strbuf_putc(&parts[2], '{');
    for (uint32_t i = 0; i < entry->n_top; i++) {
        ds4_text text = token_text(out, entry->top[i].id);
        if (i > 0) ds4_strbuf_putc(&parts[2], ',');
        ds4_json_string(&parts[2], text.data, text.n);
        ds4_strbuf_putc(&parts[2], ':');
        append_number(entry->top[i].logprob, &parts[2]);
    }
    ds4_strbuf_putc(&parts[2], '}');
    ds4_strbuf_printf(&parts[3], "%zu", entry->begin);
}

void ds4_logprobs_out_take_legacy(ds4_logprobs_out *out, ds4_strbuf *json) {
    static const char *const names[] = {"{\"tokens\":[", "],\"token_logprobs\":[",
                                        "],\"top_logprobs\":[", "],\"text_offset\":["};
    ds4_strbuf parts[4] = {{0}};
    ds4_logprobs_entry *entry;
    for (bool first = true; (entry = take(out, false)) != NULL; first = false) {
        append_legacy(out, entry, first, parts);
        free(entry);
    }
    for (int i = 0; i < 4; i++) {
        ds4_strbuf_puts(json, names[i]);
        if (parts[i].failed) json->failed = true;
        if (parts[i].n > 0) ds4_strbuf_append(json, parts[i].data, parts[i].n);
        ds4_strbuf_free(&parts[i]);
    }
    ds4_strbuf_puts(json, "]}");
}
