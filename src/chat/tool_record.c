/* One remembered turn as bytes: magic, length and checksum, then the parts. A NUL follows every
 * text, so that a view of it can be read as a string. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "chat/tool_memory.h"

enum { HEAD = 16, MAX_CALLS = 4096 };
static const char MAGIC[4] = {'D', 'S', '4', 'R'};

static uint64_t checksum(const char *bytes, size_t n) {
    uint64_t hash = 1469598103934665603u;
    for (size_t i = 0; i < n; i++) hash = (hash ^ (uint8_t)bytes[i]) * 1099511628211u;
    return hash;
}

static void put_number(ds4_strbuf *out, size_t value) {
    uint32_t number = (uint32_t)value;
    ds4_strbuf_append(out, &number, sizeof number);
}

static void put_text(ds4_strbuf *out, ds4_text text) {
    put_number(out, text.n);
    ds4_strbuf_append(out, text.data, text.n);
    ds4_strbuf_putc(out, '\0');
}

void ds4_tool_turn_encode(const ds4_tool_turn *turn, ds4_strbuf *out) {
    size_t start = out->n;
    char head[HEAD] = {0};
    ds4_strbuf_append(out, head, HEAD);
    put_number(out, turn->n_calls);
    put_number(out, turn->n_ids);
    put_number(out, turn->n_thought);
    put_number(out, turn->n_thought_text);
    ds4_strbuf_append(out, turn->ids, turn->n_ids * sizeof *turn->ids);
    put_text(out, turn->reasoning);
    put_text(out, turn->content);
    put_text(out, turn->text);
    for (size_t i = 0; i < turn->n_calls; i++) {
        put_text(out, turn->calls[i].id);
        put_text(out, turn->calls[i].name);
        put_text(out, turn->calls[i].arguments);
    }
    if (out->failed) return;
    uint32_t n = (uint32_t)(out->n - start - HEAD);
    uint64_t hash = checksum(out->data + start + HEAD, n);
    memcpy(out->data + start, MAGIC, sizeof MAGIC);
    memcpy(out->data + start + 4, &n, sizeof n);
    memcpy(out->data + start + 8, &hash, sizeof hash);
}

typedef struct reader {
    const char *at, *end;
    bool bad;
} reader;

static size_t get_number(reader *r) {
    uint32_t value = 0;
    if (r->bad || r->end - r->at < (ptrdiff_t)sizeof value) {
        r->bad = true;
        return 0;
    }
    memcpy(&value, r->at, sizeof value);
    r->at += sizeof value;
    return value;
}

static ds4_text get_text(reader *r) {
    size_t n = get_number(r);
    if (r->bad || (size_t)(r->end - r->at) <= n || r->at[n] != '\0') {
        r->bad = true;
        return (ds4_text){"", 0};
    }
    ds4_text text = {r->at, n};
    r->at += n + 1;
    return text;
}

ds4_status ds4_tool_turn_decode(const char *bytes, size_t n, ds4_tool_turn *turn, size_t *n_record,
                                ds4_error *error) {
    uint32_t n_payload;
    uint64_t hash;
    *turn = (ds4_tool_turn){0};
    *n_record = n;
    if (n < HEAD || memcmp(bytes, MAGIC, sizeof MAGIC) != 0)
        return ds4_fail(error, DS4_FORMAT, "no record of tool calls");
    memcpy(&n_payload, bytes + 4, sizeof n_payload);
    memcpy(&hash, bytes + 8, sizeof hash);
    if (n_payload > n - HEAD) return ds4_fail(error, DS4_FORMAT, "the record is cut short");
    if (hash != checksum(bytes + HEAD, n_payload))
        return ds4_fail(error, DS4_FORMAT, "the record's checksum is wrong");
    *n_record = HEAD + n_payload;
    reader r = {bytes + HEAD, bytes + HEAD + n_payload, false};
    turn->n_calls = get_number(&r);
    turn->n_ids = get_number(&r);
    turn->n_thought = get_number(&r);
    turn->n_thought_text = get_number(&r);
    size_t id_bytes = turn->n_ids * sizeof(int32_t);
    if (r.bad || turn->n_calls == 0 || turn->n_calls > MAX_CALLS || turn->n_thought > turn->n_ids ||
        (size_t)(r.end - r.at) < id_bytes)
        return ds4_fail(error, DS4_FORMAT, "the record contradicts itself");
    ds4_tool_call *calls = malloc(turn->n_calls * sizeof *calls + id_bytes);
    if (calls == NULL) return ds4_fail_memory(error, id_bytes, "a record of tool calls");
    int32_t *ids = (int32_t *)(void *)(calls + turn->n_calls);
    memcpy(ids, r.at, id_bytes);
    r.at += id_bytes;
    turn->reasoning = get_text(&r);
    turn->content = get_text(&r);
    turn->text = get_text(&r);
    for (size_t i = 0; i < turn->n_calls; i++) {
        calls[i].id = get_text(&r);
        calls[i].name = get_text(&r);
        calls[i].arguments = get_text(&r);
    }
    turn->calls = calls;
    turn->ids = ids;
    if (!r.bad && r.at == r.end && turn->n_thought_text <= turn->text.n) return DS4_OK;
    free(calls);
    *turn = (ds4_tool_turn){0};
    return ds4_fail(error, DS4_FORMAT, "the record contradicts itself");
}
