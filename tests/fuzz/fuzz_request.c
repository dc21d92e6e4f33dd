/* The body of a chat completion -> request -> prompt: whatever the bytes, it is refused with a
 * sentence or rendered.
 *
 * What must hold is checked, not only that nothing crashes: a refusal names a 4xx or 500 status and
 * its reason, a prompt's segments lie one behind the other and cover its text, and rendering a
 * second time gives the same bytes. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "chat/render.h"
#include "chat/request_parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

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

static void render(const ds4_chat_request *request, uint32_t n_context) {
    ds4_render_options options = {.layout = DS4_TEMPLATE_DS4, .n_context = n_context};
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    for (int generation = 0; generation < 2; generation++) {
        ds4_request_options options = {.for_generation = generation == 1};
        ds4_chat_request request;
        ds4_request_error failure;
        memset(&failure, 0, sizeof failure);
        ds4_status status =
            ds4_openai_request_parse((const char *)data, size, &options, &request, &failure);
        if (status != DS4_OK) {
            check(failure.status >= 400 && failure.status <= 500);
            check(failure.type != NULL && failure.message[0] != '\0');
            check(memchr(failure.message, '\0', sizeof failure.message) != NULL);
            check(memchr(failure.param, '\0', sizeof failure.param) != NULL);
            continue;
        }
        render(&request, 4096);
        render(&request, DS4_THINK_MAX_CONTEXT);
        ds4_chat_request_free(&request);
    }
    return 0;
}
