/* Where the payloads lie: inside the file, aligned, apart from each other. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "gguf/gguf_internal.h"

typedef struct span {
    uint64_t begin; /* relative to data_start, as the directory states it */
    uint64_t n_bytes;
    uint64_t index;
} span;

static int compare_spans(const void *left, const void *right) {
    const span *a = left, *b = right;
    if (a->begin != b->begin) return a->begin < b->begin ? -1 : 1;
    return (a->index > b->index) - (a->index < b->index);
}

static uint64_t saturating_add(uint64_t a, uint64_t b) {
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

/* How many payload bytes the directory promises beyond what the file has. */
static uint64_t missing_bytes(const ds4_gguf *gguf, uint64_t data_bytes) {
    uint64_t end = 0;
    for (uint64_t i = 0; i < gguf->n_tensors; i++) {
        uint64_t e = saturating_add(gguf->tensors[i].file_offset, gguf->tensors[i].n_bytes);
        if (e > end) end = e;
    }
    return end > data_bytes ? end - data_bytes : 0;
}

/* Checks one tensor's place and, when it is sound, makes its offset absolute and appends its span.
 */
static ds4_status place_tensor(ds4_gguf *gguf, ds4_gguf_tensor *tensor, uint64_t data_bytes,
                               uint64_t missing, span *spans, uint64_t *n_spans,
                               ds4_gguf_examiner *examiner) {
    uint64_t offset = tensor->file_offset;
    char shown[GGUF_SHOWN_BYTES];
    if (tensor->n_bytes == 0) return DS4_OK; /* reported when it was parsed */
    ds4_gguf_show(tensor->name, strlen(tensor->name), shown);
    if (offset % gguf->alignment != 0) {
        return ds4_gguf_problem(examiner,
                                "tensor '%s': offset %" PRIu64
                                " is not a multiple of the alignment %" PRIu32,
                                shown, offset, gguf->alignment)
                   ? DS4_OK
                   : DS4_FORMAT;
    }
    if (offset > data_bytes || tensor->n_bytes > data_bytes - offset) {
        return ds4_gguf_problem(examiner,
                                "tensor '%s' needs %" PRIu64 " bytes from data offset %" PRIu64
                                ", but the file has %" PRIu64
                                " bytes of data: it is truncated, at least %" PRIu64
                                " bytes are missing",
                                shown, tensor->n_bytes, offset, data_bytes, missing)
                   ? DS4_OK
                   : DS4_FORMAT;
    }
    spans[*n_spans] = (span){offset, tensor->n_bytes, (uint64_t)(tensor - gguf->tensors)};
    *n_spans += 1;
    tensor->file_offset = gguf->data_start + offset;
    tensor->data = gguf->bytes + tensor->file_offset;
    return DS4_OK;
}

static ds4_status compare_neighbours(const ds4_gguf *gguf, const span *spans, uint64_t n,
                                     uint64_t data_bytes, ds4_gguf_examiner *examiner) {
    uint64_t end = 0;            /* of everything seen so far */
    const char *last = "header"; /* the tensor that reaches there */
    char a[GGUF_SHOWN_BYTES], b[GGUF_SHOWN_BYTES];
    bool is_complete =
        examiner->first == DS4_OK; /* else gaps may only be where unsound tensors are */
    for (uint64_t i = 0; i < n; i++) {
        const char *name = gguf->tensors[spans[i].index].name;
        if (spans[i].begin < end) {
            if (!ds4_gguf_problem(
                    examiner,
                    "the payloads of tensors '%s' and '%s' overlap at data offset %" PRIu64,
                    ds4_gguf_show(last, strlen(last), a), ds4_gguf_show(name, strlen(name), b),
                    spans[i].begin)) {
                return DS4_FORMAT;
            }
        } else if (is_complete && spans[i].begin > ds4_gguf_round_up(end, gguf->alignment)) {
            ds4_gguf_warn(examiner,
                          "%" PRIu64 " unused bytes before tensor '%s'; some readers reject gaps",
                          spans[i].begin - ds4_gguf_round_up(end, gguf->alignment),
                          ds4_gguf_show(name, strlen(name), b));
        }
        if (spans[i].begin + spans[i].n_bytes > end) {
            end = spans[i].begin + spans[i].n_bytes;
            last = name;
        }
    }
    if (is_complete && data_bytes > ds4_gguf_round_up(end, gguf->alignment)) {
        ds4_gguf_warn(examiner, "%" PRIu64 " unused bytes after the last tensor",
                      data_bytes - ds4_gguf_round_up(end, gguf->alignment));
    }
    return DS4_OK;
}

ds4_status ds4_gguf_check_payloads(ds4_gguf *gguf, ds4_gguf_examiner *examiner) {
    uint64_t data_bytes = gguf->n_bytes > gguf->data_start ? gguf->n_bytes - gguf->data_start : 0;
    uint64_t missing = missing_bytes(gguf, data_bytes);
    uint64_t n_spans = 0;
    ds4_status status = DS4_OK;
    span *spans = calloc((size_t)gguf->n_tensors + 1, sizeof *spans);
    if (spans == NULL) {
        return ds4_fail_memory(examiner->error, (size_t)gguf->n_tensors * sizeof *spans,
                               "checking the GGUF payloads");
    }
    for (uint64_t i = 0; i < gguf->n_tensors && status == DS4_OK; i++) {
        status =
            place_tensor(gguf, &gguf->tensors[i], data_bytes, missing, spans, &n_spans, examiner);
    }
    if (status == DS4_OK) {
        if (n_spans > 1) qsort(spans, (size_t)n_spans, sizeof *spans, compare_spans);
        status = compare_neighbours(gguf, spans, n_spans, data_bytes, examiner);
    }
    free(spans);
    return status;
}
