/* The output parser on arbitrary bytes, cut at arbitrary places: whatever comes, the message does
 * not depend on the cuts, the fragments of every announced call are one JSON object, all text is
 * valid UTF-8, and exactly one FINISH is sent, last. The first four bytes of the input choose
 * options and the cuts. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_scan.h"
#include "chat/parse.h"

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) abort();                                                                 \
    } while (0)

typedef struct listener {
    ds4_chat_result result;
    ds4_strbuf fragments; /* of the call that is open */
    bool open, finished;
    size_t n_calls;
} listener;

/* JSON strings must be UTF-8, so the scanner can tell; quotes and controls are escaped first. */
static void check_utf8(ds4_text text) {
    ds4_strbuf quoted = {0};
    ds4_json_value value;
    ds4_strbuf_putc(&quoted, '"');
    ds4_json_escape(text.data, text.n, &quoted);
    ds4_strbuf_putc(&quoted, '"');
    CHECK(ds4_json_scan(quoted.data, quoted.n, 1, &value, NULL) == DS4_OK);
    ds4_strbuf_free(&quoted);
}

static void listen(void *context, const ds4_chat_event *event) {
    listener *l = context;
    CHECK(!l->finished);
    ds4_chat_result_add(&l->result, event);
    check_utf8(event->text);
    ds4_json_value value;
    switch (event->type) {
    case DS4_EVENT_TOOL_BEGIN:
        CHECK(!l->open && event->index == l->n_calls && event->name.n > 0);
        check_utf8(event->name);
        l->open = true;
        break;
    case DS4_EVENT_TOOL_ARGUMENTS:
        CHECK(l->open && event->index == l->n_calls && event->text.n > 0);
        ds4_strbuf_append(&l->fragments, event->text.data, event->text.n);
        break;
    case DS4_EVENT_TOOL_END:
        CHECK(l->open && event->index == l->n_calls);
        CHECK(ds4_json_scan(l->fragments.data, l->fragments.n, 256, &value, NULL) == DS4_OK);
        CHECK(value.type == DS4_JSON_OBJECT);
        ds4_strbuf_clear(&l->fragments);
        l->open = false;
        l->n_calls++;
        break;
    case DS4_EVENT_FINISH:
        CHECK(!l->open && event->finish != DS4_FINISH_NONE);
        l->finished = true;
        break;
    default:
        CHECK(!l->open && event->text.n > 0);
    }
}

static const ds4_control_ids ids = {{-1, 0, 1, 2, 3, 4, 5, 6}};

/* In pieces of 1..longest bytes (0: all at once). With `by_id` a byte 0x10..0x16 stands for a
 * control token. */
static void run(ds4_parser_options options, const uint8_t *data, size_t size, size_t longest,
                uint32_t random, bool by_id, ds4_finish cause, listener *l) {
    ds4_parser *parser = NULL;
    options.sink = listen;
    options.sink_context = l;
    options.ids = ids;
    CHECK(ds4_parser_create(&options, &parser, NULL) == DS4_OK);
    for (size_t i = 0; i < size;) {
        random = random * 1664525u + 1013904223u;
        size_t piece = longest == 0 ? size : 1 + (random >> 16) % longest;
        if (piece > size - i) piece = size - i;
        if (by_id) {
            size_t plain = 0;
            while (plain < piece && (data[i + plain] < 0x10 || data[i + plain] > 0x16)) plain++;
            int32_t id = plain > 0 ? 9 : data[i] - 0x10;
            piece = plain > 0 ? plain : 1;
            CHECK(ds4_parser_feed_token(parser, id, (const char *)data + i, piece, NULL) == DS4_OK);
        } else {
            CHECK(ds4_parser_feed(parser, (const char *)data + i, piece, NULL) == DS4_OK);
        }
        i += piece;
        (void)ds4_parser_regime(parser);
        CHECK((ds4_parser_phase(parser) == DS4_PHASE_DONE) == ds4_parser_is_done(parser));
        CHECK(ds4_parser_is_done(parser) == l->finished);
    }
    CHECK(ds4_parser_finish(parser, cause, NULL) == DS4_OK);
    CHECK(l->finished);
    ds4_parser_destroy(parser);
}

static void check_same_text(const ds4_strbuf *a, const ds4_strbuf *b) {
    CHECK(a->n == b->n && (a->n == 0 || memcmp(a->data, b->data, a->n) == 0));
}

static void check_same(const ds4_chat_result *a, const ds4_chat_result *b) {
    check_same_text(&a->reasoning, &b->reasoning);
    check_same_text(&a->content, &b->content);
    CHECK(a->finish == b->finish && a->repaired == b->repaired && a->malformed == b->malformed);
    CHECK(a->n_calls == b->n_calls);
    for (size_t i = 0; i < a->n_calls; i++) {
        check_same_text(&a->calls[i].name, &b->calls[i].name);
        check_same_text(&a->calls[i].arguments, &b->calls[i].arguments);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const ds4_text stops[] = {{"END", 3}, {"\n\n", 2}, {"<", 1}};
    if (size < 4) return 0;
    ds4_parser_options options = {
        .thinking = (data[0] & 1) != 0,
        .tools_active = (data[0] & 2) != 0,
        .controls_in_text = (data[0] & 4) == 0,
        .stops = stops,
        .n_stops = (data[0] >> 3) & 3,
    };
    bool by_id = (data[0] & 4) != 0;
    uint32_t random = (uint32_t)data[1] << 8 | data[2];
    ds4_finish cause = (data[0] & 32) != 0 ? DS4_FINISH_LENGTH : DS4_FINISH_STOP;
    listener whole = {0}, pieces = {0};
    run(options, data + 4, size - 4, 0, random, by_id, cause, &whole);
    run(options, data + 4, size - 4, 1 + data[3] % 32, random, by_id, cause, &pieces);
    check_same(&whole.result, &pieces.result);
    ds4_chat_result_free(&whole.result);
    ds4_chat_result_free(&pieces.result);
    ds4_strbuf_free(&whole.fragments);
    ds4_strbuf_free(&pieces.fragments);
    return 0;
}
