/* What was said in one chat, and its rendering as the prompt of the next answer. One thread. */
#ifndef DS4_CLI_CONVERSATION_H
#define DS4_CLI_CONVERSATION_H

#include "chat/chat_request.h"
#include "chat/think.h"
#include "cli/cli.h"

/* Zero-initialise; free with cli_conversation_cut(conversation, 0) and cli_conversation_free. */
typedef struct cli_conversation {
    ds4_chat_message *messages; /* user and assistant turns; texts are owned */
    size_t n, capacity;
} cli_conversation;

/* Copies the texts. */
ds4_status cli_conversation_add(cli_conversation *conversation, ds4_chat_role role,
                                ds4_text content, ds4_text reasoning, ds4_error *error);
/* Forgets all turns but the first `n_keep`. */
void cli_conversation_cut(cli_conversation *conversation, size_t n_keep);
void cli_conversation_free(cli_conversation *conversation);

/* Appends the prompt's ids; *mode is what holds in a context of this size. */
ds4_status cli_conversation_render(const cli_conversation *conversation,
                                   const cli_settings *settings, const ds4_tokenizer *tokenizer,
                                   ds4_tokens *ids, ds4_think_mode *mode, ds4_error *error);

#endif
