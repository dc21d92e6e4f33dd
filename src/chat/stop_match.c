#include "chat/stop_match.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"

static void build_fallback(ds4_stop_sequence *sequence) {
    size_t border = 0;
    sequence->fallback[0] = 0;
    for (size_t i = 1; i < sequence->n; i++) {
        while (border > 0 && sequence->bytes[i] != sequence->bytes[border])
            border = sequence->fallback[border - 1];
        if (sequence->bytes[i] == sequence->bytes[border]) border++;
        sequence->fallback[i] = border;
    }
}

ds4_status ds4_stop_matcher_create(ds4_stop_matcher *matcher, const ds4_text *stops, size_t n_stops,
                                   ds4_error *error) {
    *matcher = (ds4_stop_matcher){0};
    size_t n_used = 0, n_bytes = 0;
    for (size_t i = 0; i < n_stops; i++) {
        if (stops[i].n == 0) continue;
        n_used++;
        n_bytes += stops[i].n;
    }
    if (n_used == 0) return DS4_OK;
    size_t total = n_used * sizeof(ds4_stop_sequence) + n_bytes * (sizeof(size_t) + 1);
    char *memory = calloc(1, total);
    if (memory == NULL) return ds4_fail_memory(error, total, "stop sequences");
    matcher->memory = memory;
    matcher->sequences = (ds4_stop_sequence *)(void *)memory;
    size_t *tables = (size_t *)(void *)(memory + n_used * sizeof(ds4_stop_sequence));
    char *bytes = (char *)(tables + n_bytes);
    for (size_t i = 0; i < n_stops; i++) {
        if (stops[i].n == 0) continue;
        memcpy(bytes, stops[i].data, stops[i].n);
        ds4_stop_sequence *sequence = &matcher->sequences[matcher->n_sequences++];
        *sequence = (ds4_stop_sequence){bytes, stops[i].n, tables, 0};
        build_fallback(sequence);
        tables += stops[i].n;
        bytes += stops[i].n;
    }
    return DS4_OK;
}

void ds4_stop_matcher_free(ds4_stop_matcher *matcher) {
    free(matcher->memory);
    ds4_strbuf_free(&matcher->held);
    *matcher = (ds4_stop_matcher){0};
}

static void advance(ds4_stop_sequence *sequence, char byte) {
    if (sequence->matched == sequence->n) sequence->matched = sequence->fallback[sequence->n - 1];
    while (sequence->matched > 0 && sequence->bytes[sequence->matched] != byte)
        sequence->matched = sequence->fallback[sequence->matched - 1];
    if (sequence->bytes[sequence->matched] == byte) sequence->matched++;
}

/* Moves all but the last `keep` held bytes to `out`. */
static void release(ds4_stop_matcher *matcher, size_t keep, ds4_strbuf *out) {
    ds4_strbuf *held = &matcher->held;
    if (held->n <= keep) return;
    size_t n = held->n - keep;
    ds4_strbuf_append(out, held->data, n);
    memmove(held->data, held->data + n, keep);
    held->n = keep;
}

bool ds4_stop_matcher_push(ds4_stop_matcher *matcher, char byte, ds4_strbuf *out) {
    if (matcher->n_sequences == 0) {
        ds4_strbuf_putc(out, byte);
        return false;
    }
    ds4_strbuf_putc(&matcher->held, byte);
    size_t longest = 0, complete = 0;
    for (size_t i = 0; i < matcher->n_sequences; i++) {
        ds4_stop_sequence *sequence = &matcher->sequences[i];
        advance(sequence, byte);
        if (sequence->matched > longest) longest = sequence->matched;
        if (sequence->matched == sequence->n && sequence->n > complete) {
            complete = sequence->n;
            matcher->met = sequence;
        }
    }
    if (complete > 0) {
        release(matcher, complete, out);
        ds4_strbuf_clear(&matcher->held);
        return true;
    }
    release(matcher, longest, out);
    return false;
}

void ds4_stop_matcher_end(ds4_stop_matcher *matcher, ds4_strbuf *out) {
    release(matcher, 0, out);
}
