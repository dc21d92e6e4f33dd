/* Wording and collecting of problems, and the small helpers that parsing and lookup share. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "gguf/gguf_internal.h"

bool ds4_gguf_problem(ds4_gguf_examiner *examiner, const char *format, ...) {
    char message[sizeof((ds4_error *)0)->message];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    if (examiner->first == DS4_OK) {
        examiner->first = ds4_fail(examiner->error, DS4_FORMAT, "%s", message);
    }
    if (examiner->options == NULL || examiner->options->report == NULL) return false;
    examiner->options->report(examiner->options->report_context, false, message);
    return true;
}

void ds4_gguf_warn(ds4_gguf_examiner *examiner, const char *format, ...) {
    char message[sizeof((ds4_error *)0)->message];
    va_list arguments;
    if (examiner->options == NULL || examiner->options->report == NULL) return;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    examiner->options->report(examiner->options->report_context, true, message);
}

const char *ds4_gguf_show(const char *data, size_t n, char shown[GGUF_SHOWN_BYTES]) {
    size_t limit = GGUF_SHOWN_BYTES - 4;
    size_t kept = n <= limit ? n : limit;
    for (size_t i = 0; i < kept; i++) {
        unsigned char byte = (unsigned char)data[i];
        shown[i] = byte < 0x20 || byte == 0x7F ? '?' : data[i];
    }
    memcpy(shown + kept, n > limit ? "..." : "", n > limit ? 4 : 1);
    return shown;
}

bool ds4_gguf_is_utf8_name(const char *data, size_t n) {
    const unsigned char *s = (const unsigned char *)data;
    for (size_t i = 0; i < n;) {
        unsigned char lead = s[i];
        size_t length = lead < 0x80   ? 1
                        : lead < 0xC2 ? 0
                        : lead < 0xE0 ? 2
                        : lead < 0xF0 ? 3
                        : lead < 0xF5 ? 4
                                      : 0;
        if (lead == 0 || length == 0 || length > n - i) return false;
        for (size_t k = 1; k < length; k++) {
            if ((s[i + k] & 0xC0) != 0x80) return false;
        }
        /* overlong forms, surrogates, beyond U+10FFFF */
        if (lead == 0xE0 && s[i + 1] < 0xA0) return false;
        if (lead == 0xED && s[i + 1] > 0x9F) return false;
        if (lead == 0xF0 && s[i + 1] < 0x90) return false;
        if (lead == 0xF4 && s[i + 1] > 0x8F) return false;
        i += length;
    }
    return true;
}

size_t ds4_gguf_scalar_bytes(uint32_t type) {
    static const uint8_t sizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    return type < sizeof sizes ? sizes[type] : 0;
}

uint32_t ds4_gguf_load_u32(const uint8_t *bytes) {
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
           (uint32_t)bytes[3] << 24;
}

uint64_t ds4_gguf_load_u64(const uint8_t *bytes) {
    return (uint64_t)ds4_gguf_load_u32(bytes) | (uint64_t)ds4_gguf_load_u32(bytes + 4) << 32;
}

static int compare_text(const char *a, size_t n_a, const char *b, size_t n_b) {
    int order = memcmp(a, b, n_a < n_b ? n_a : n_b);
    return order != 0 ? order : (n_a > n_b) - (n_a < n_b);
}

static int compare_names(const void *left, const void *right) {
    const ds4_gguf_name *a = left, *b = right;
    int order = compare_text(a->data, a->n, b->data, b->n);
    return order != 0 ? order : (a->index > b->index) - (a->index < b->index);
}

void ds4_gguf_sort_names(ds4_gguf_name *names, uint64_t n) {
    if (n > 1) qsort(names, (size_t)n, sizeof *names, compare_names);
}

uint64_t ds4_gguf_find_name(const ds4_gguf_name *names, uint64_t n, const char *name) {
    size_t n_name = strlen(name);
    uint64_t low = 0, high = n;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        int order = compare_text(names[middle].data, names[middle].n, name, n_name);
        if (order == 0) return names[middle].index;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return UINT64_MAX;
}
