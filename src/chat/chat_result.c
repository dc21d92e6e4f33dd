/* The message as a whole, gathered from the parser's events. */
#include <stdlib.h>
#include <string.h>

#include "chat/parse.h"

static void free_calls(ds4_chat_result *result) {
    for (size_t i = 0; i < result->n_calls; i++) {
        ds4_strbuf_free(&result->calls[i].name);
        ds4_strbuf_free(&result->calls[i].arguments);
    }
    free(result->calls);
    result->calls = NULL;
    result->n_calls = result->call_capacity = 0;
}

static void add_call(ds4_chat_result *result, const ds4_chat_event *event) {
    if (result->n_calls == result->call_capacity) {
        size_t capacity = result->call_capacity == 0 ? 4 : result->call_capacity * 2;
        ds4_result_call *grown = realloc(result->calls, capacity * sizeof *grown);
        if (grown == NULL) {
            result->failed = true;
            return;
        }
        result->calls = grown;
        result->call_capacity = capacity;
    }
    ds4_result_call *call = &result->calls[result->n_calls++];
    *call = (ds4_result_call){0};
    size_t n = event->id.n < sizeof call->id - 1 ? event->id.n : sizeof call->id - 1;
    if (n > 0) memcpy(call->id, event->id.data, n);
    ds4_strbuf_append(&call->name, event->name.data, event->name.n);
}

static void finish(ds4_chat_result *result, const ds4_chat_event *event) {
    result->finish = event->finish;
    ds4_strbuf_append(&result->stop, event->stop.data, event->stop.n);
    result->repaired = event->repaired;
    result->malformed = event->malformed != NULL;
    if (result->malformed) {
        free_calls(result);
        ds4_strbuf_append(&result->content, event->text.data, event->text.n);
    }
    bool failed = result->reasoning.failed || result->content.failed || result->stop.failed;
    for (size_t i = 0; i < result->n_calls; i++)
        failed = failed || result->calls[i].name.failed || result->calls[i].arguments.failed;
    result->failed = result->failed || failed;
}

void ds4_chat_result_add(void *context, const ds4_chat_event *event) {
    ds4_chat_result *result = context;
    switch (event->type) {
    case DS4_EVENT_REASONING:
        ds4_strbuf_append(&result->reasoning, event->text.data, event->text.n);
        break;
    case DS4_EVENT_CONTENT:
        ds4_strbuf_append(&result->content, event->text.data, event->text.n);
        break;
    case DS4_EVENT_TOOL_BEGIN:
        add_call(result, event);
        break;
    case DS4_EVENT_TOOL_ARGUMENTS:
        if (event->index < result->n_calls)
            ds4_strbuf_append(&result->calls[event->index].arguments, event->text.data,
                              event->text.n);
        break;
    case DS4_EVENT_TOOL_END:
        break;
    case DS4_EVENT_FINISH:
        finish(result, event);
        break;
    }
}

void ds4_chat_result_free(ds4_chat_result *result) {
    free_calls(result);
    ds4_strbuf_free(&result->reasoning);
    ds4_strbuf_free(&result->content);
    ds4_strbuf_free(&result->stop);
    *result = (ds4_chat_result){0};
}

ds4_status ds4_parse_output(const ds4_parser_options *options, const char *bytes, size_t n,
                            ds4_finish cause, ds4_chat_result *result, ds4_error *error) {
    ds4_parser_options own = *options;
    own.sink = ds4_chat_result_add;
    own.sink_context = result;
    ds4_parser *parser = NULL;
    ds4_status status = ds4_parser_create(&own, &parser, error);
    if (status == DS4_OK) status = ds4_parser_feed(parser, bytes, n, error);
    if (status == DS4_OK) status = ds4_parser_finish(parser, cause, error);
    ds4_parser_destroy(parser);
    if (status == DS4_OK && result->failed) {
        status = DS4_NO_MEMORY;
        if (error != NULL) *error = (ds4_error){DS4_NO_MEMORY, "no memory for the parsed message"};
    }
    return status;
}
