/* A request body -> request -> prompt: whatever the bytes, it is refused with a sentence or
 * rendered. For the fuzz target of each protocol.
 *
 * What must hold is checked, not only that nothing crashes: a refusal names a 4xx or 500 status and
 * its reason, a prompt's segments lie one behind the other and cover its text, and rendering a
 * second time gives the same bytes. */
#ifndef DS4_FUZZ_BODY_H
#define DS4_FUZZ_BODY_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "chat/render.h"
#include "chat/request_parse.h"

static void check(bool holds) {
    if (!holds) abort();
}

static void check_segments(const ds4_prompt *prompt) {
    size_t end = 0;
    for (size_t i = 0; i < prompt->n_segments; i++) {
        const ds4_segment *segment = &prompt->segments[i];
        check(segment->begin == end && segment->end > segment->begin);
        check(segment->end <= prompt->text.n);
        if (segment->control != DS4_CONTROL_NONE) {
            const char *spelling = ds4_control_spelling(segment->control);
            check(segment->end - segment->begin == strlen(spelling));
            check(memcmp(prompt->text.data + segment->begin, spelling, strlen(spelling)) == 0);
        }
        end = segment->end;
    }
    check(end == prompt->text.n);
}

static void check_rendering(const ds4_chat_request *request, ds4_template layout,
                            uint32_t n_context) {
    ds4_render_options options = {.layout = layout, .n_context = n_context};
    ds4_prompt first = {0}, second = {0};
    ds4_error error = {0};
    check(ds4_render(request, &options, &first, &error) == DS4_OK);
    check_segments(&first);
    check(ds4_render(request, &options, &second, &error) == DS4_OK);
    check(first.text.n == second.text.n &&
          memcmp(first.text.data, second.text.data, first.text.n) == 0);
    ds4_prompt_free(&first);
    ds4_prompt_free(&second);
}

/* A store with one response, whatever it is asked for. */
static bool find_response(void *context, ds4_text id, ds4_strbuf *items) {
    (void)context;
    ds4_strbuf_puts(items, "{\"role\":\"user\",\"content\":\"u\"},{\"type\":\"function_call\","
                           "\"call_id\":\"c\",\"name\":\"f\",\"arguments\":\"{}\"}");
    return id.n > 0;
}

static void fuzz_body(ds4_request_parse_fn *parse, const uint8_t *data, size_t size) {
    for (int generation = 0; generation < 2; generation++) {
        ds4_request_options options = {.for_generation = generation == 1,
                                       .find_response = find_response};
        ds4_chat_request request;
        ds4_request_error failure;
        memset(&failure, 0, sizeof failure);
        ds4_status status = parse((const char *)data, size, &options, &request, &failure);
        if (status != DS4_OK) {
            check(failure.status >= 400 && failure.status <= 500);
            check(failure.type != NULL && failure.message[0] != '\0');
            check(memchr(failure.message, '\0', sizeof failure.message) != NULL);
            check(memchr(failure.param, '\0', sizeof failure.param) != NULL);
            continue;
        }
        check_rendering(&request, DS4_TEMPLATE_DS4, 4096);
        check_rendering(&request, DS4_TEMPLATE_DS4, DS4_THINK_MAX_CONTEXT);
        check_rendering(&request, DS4_TEMPLATE_VENDOR, 4096);
        ds4_chat_request_free(&request);
    }
}

#endif
