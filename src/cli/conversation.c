#include "cli/conversation.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "chat/render.h"

static bool copy_text(ds4_text source, ds4_text *copy) {
    char *bytes = malloc(source.n + 1);
    if (bytes == NULL) return false;
    if (source.n > 0) memcpy(bytes, source.data, source.n);
    bytes[source.n] = '\0';
    *copy = (ds4_text){bytes, source.n};
    return true;
}

static void free_message(ds4_chat_message *message) {
    free((char *)(uintptr_t)message->content.data);
    free((char *)(uintptr_t)message->reasoning.data);
}

ds4_status cli_conversation_add(cli_conversation *conversation, ds4_chat_role role,
                                ds4_text content, ds4_text reasoning, ds4_error *error) {
    if (conversation->n == conversation->capacity) {
        size_t capacity = conversation->capacity > 0 ? 2 * conversation->capacity : 16;
        ds4_chat_message *grown = realloc(conversation->messages, capacity * sizeof *grown);
        if (grown == NULL)
            return ds4_fail_memory(error, capacity * sizeof *grown, "the conversation");
        conversation->messages = grown;
        conversation->capacity = capacity;
    }
    ds4_chat_message message = {.role = role};
    if (!copy_text(content, &message.content) || !copy_text(reasoning, &message.reasoning)) {
        free_message(&message);
        return ds4_fail_memory(error, content.n + reasoning.n, "the conversation");
    }
    conversation->messages[conversation->n++] = message;
    return DS4_OK;
}

void cli_conversation_cut(cli_conversation *conversation, size_t n_keep) {
    while (conversation->n > n_keep) free_message(&conversation->messages[--conversation->n]);
}

void cli_conversation_free(cli_conversation *conversation) {
    cli_conversation_cut(conversation, 0);
    free(conversation->messages);
    *conversation = (cli_conversation){0};
}

ds4_status cli_conversation_render(const cli_conversation *conversation,
                                   const cli_settings *settings, const ds4_tokenizer *tokenizer,
                                   ds4_tokens *ids, ds4_think_mode *mode, ds4_error *error) {
    ds4_render_options options = {.layout = DS4_TEMPLATE_DS4,
                                  .n_context = (uint32_t)settings->n_context};
    ds4_chat_request request = {0};
    ds4_prompt prompt = {0};
    size_t n_system = settings->system != NULL && settings->system[0] != '\0' ? 1 : 0;
    size_t n = conversation->n + n_system;
    ds4_chat_message *messages = calloc(n > 0 ? n : 1, sizeof *messages);
    if (messages == NULL) return ds4_fail_memory(error, n * sizeof *messages, "the prompt");
    if (n_system > 0)
        messages[0] = (ds4_chat_message){.role = DS4_ROLE_SYSTEM,
                                         .content = {settings->system, strlen(settings->system)}};
    if (conversation->n > 0)
        memcpy(messages + n_system, conversation->messages, conversation->n * sizeof *messages);

    ds4_chat_request_init(&request);
    request.messages = messages;
    request.n_messages = n;
    request.think.disabled = settings->think == CLI_THINK_NONE;
    request.think.effort = settings->think == CLI_THINK_MAX ? DS4_EFFORT_MAX : DS4_EFFORT_DEFAULT;
    ds4_status status = ds4_render(&request, &options, &prompt, error);
    if (status == DS4_OK) status = ds4_prompt_tokenize(&prompt, tokenizer, ids, error);
    if (status == DS4_OK) *mode = prompt.think_mode;
    ds4_prompt_free(&prompt);
    ds4_chat_request_free(&request);
    free(messages);
    return status;
}
